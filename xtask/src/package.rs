//! `cargo xtask package`: Debian packages of guest and host, and a tarball with the files of both.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Error, Result, file_error};
use crate::python::stamped;
use crate::test::build_products;
use crate::vm;
use crate::workspace::Workspace;

/// What builds packages, with everything that it depends on.
const TOOL: &str = "cargo-deb";
const TOOL_VERSION: &str = "3.8.0";
/// How long building it may take.
const TOOL_LIMIT: Duration = Duration::from_secs(900);
/// The crates that become packages.
const CRATES: &[&str] = &["vw-guest-icd", "vw-host-renderer"];

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    tool(workspace)?;
    if let Err(error) = vm::older_libc(workspace) {
        eprintln!(
            "xtask: the driver is linked against this machine's C library and needs one as new: {error}"
        );
    }
    build_products(workspace)?;
    make(workspace)
}

/// Installs what builds packages below `target/setup`, unless done already.
pub(crate) fn tool(workspace: &Workspace) -> Result<()> {
    if !process::exists("dpkg-deb") {
        return Err(Error::Message("dpkg-deb is missing: packages are made on Debian and Ubuntu".into()));
    }
    let root = workspace.setup().join("tools");
    stamped(&root.join("installed"), TOOL_VERSION, || {
        let mut cargo = workspace.cargo();
        // Not optimised: it runs for a second and is built in one minute instead of five.
        cargo.args(["install", "--quiet", "--debug", "--locked", TOOL, "--version", TOOL_VERSION]);
        process::run_within(TOOL_LIMIT, cargo.arg("--root").arg(&root))
    })
}

/// Where packages go.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("packages")
}

/// Makes the packages and the tarball of products that are built.
pub(crate) fn make(workspace: &Workspace) -> Result<()> {
    let folder = folder(workspace);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(file_error("removing old packages"))?;
    }
    let files = folder.join("files");
    fs::create_dir_all(&files).map_err(file_error("making a folder for packages"))?;
    let tool = workspace.setup().join("tools/bin").join(TOOL);
    for name in CRATES {
        let mut command = Command::new(&tool);
        command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target);
        command.args(["--quiet", "--no-build", "--strip", "--package", name, "--output"]).arg(&folder);
        process::run(&mut command)?;
    }
    for entry in fs::read_dir(&folder).map_err(file_error("listing packages"))? {
        let path = entry.map_err(file_error("listing packages"))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            process::run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&files))?;
            println!("package: {}", path.display());
        }
    }
    let name = format!("vw-{}-{}.tar.gz", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let tarball = folder.join(name);
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--sort=name", "-czf"]).arg(&tarball).arg("-C").arg(&files).arg(".");
    process::run(&mut tar)?;
    fs::remove_dir_all(&files).map_err(file_error("removing unpacked packages"))?;
    println!("tarball: {}", tarball.display());
    if workspace.sysroot().is_some() {
        println!("the guest's programs need glibc 2.31 or newer");
    }
    Ok(())
}
