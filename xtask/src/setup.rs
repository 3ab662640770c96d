//! `cargo xtask setup`: everything that the tests need besides Rust.

use std::fs;

use crate::process::{self, Error, Result, file_error};
use crate::workspace::Workspace;
use crate::{mesa, packages};

/// Python packages whose programs run through vw in the tests. Pinned: their numbers are compared.
const PYTHON_PACKAGES: &[&str] = &["numpy==2.4.6", "ncnn==1.0.20261020", "wgpu==0.32.0"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only what `cargo xtask demo` needs.
    #[arg(long)]
    demo: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    packages::ensure(packages::RUN)?;
    if options.demo {
        return Ok(());
    }
    for_tests(workspace)
}

/// Installs what the tests need. The two optional parts, Python packages and the second Mesa, only warn when they
/// cannot be had: the tests that need them then say so by themselves.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    let wanted: Vec<&str> = packages::RUN.iter().chain(packages::TEST).copied().collect();
    packages::ensure(&wanted)?;
    if let Err(error) = python(workspace) {
        eprintln!("xtask: no Python packages, tests that need them will say so: {error}");
    }
    if let Err(error) = mesa::unpack(workspace) {
        eprintln!("xtask: no second Mesa, tests that need it will say so: {error}");
    }
    Ok(())
}

/// Makes the virtual environment with [`PYTHON_PACKAGES`] unless it is there already.
fn python(workspace: &Workspace) -> Result<()> {
    let folder = workspace.setup().join("venv");
    let stamp = folder.join("installed");
    let wanted = PYTHON_PACKAGES.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(file_error("removing the old Python environment"))?;
    }
    fs::create_dir_all(&folder).map_err(file_error(format!("making {}", folder.display())))?;
    // The system's Python first: the one in PATH may be another version without the wheels.
    let system = std::path::Path::new("/usr/bin/python3");
    let python = if system.is_file() { system } else { std::path::Path::new("python3") };
    process::run(std::process::Command::new(python).args(["-m", "venv"]).arg(&folder))?;
    let pip = folder.join("bin/pip");
    process::run(
        std::process::Command::new(&pip)
            .args(["install", "--quiet", "--only-binary=:all:", "--retries=2"])
            .args(PYTHON_PACKAGES),
    )?;
    fs::write(&stamp, wanted).map_err(|source| Error::File { what: "writing the stamp".into(), source })
}
