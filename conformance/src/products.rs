//! Where the built programs and libraries are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{Error, Result};

/// Says that the products are built already and need no look (set by `cargo xtask test`).
const BUILT: &str = "VW_PRODUCTS_BUILT";

/// The root folder of the workspace.
pub fn workspace() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_path_buf()
}

/// What `cargo xtask setup` unpacked: Python packages, a second Mesa.
pub fn setup_folder() -> PathBuf {
    workspace().join("target/setup")
}

/// The renderer's program. Built first when this is a test that cargo started.
///
/// # Errors
/// [`Error::NotAvailable`] when it cannot be built or found.
pub fn renderer() -> Result<PathBuf> {
    built("vw-renderer")
}

/// The program that asks the renderer.
///
/// # Errors
/// As [`renderer`].
pub fn control() -> Result<PathBuf> {
    built("vwctl")
}

/// The window that shows a session's frames.
///
/// # Errors
/// As [`renderer`].
pub fn viewer() -> Result<PathBuf> {
    built("vw-viewer")
}

/// The program that has another one run on vw.
///
/// # Errors
/// As [`renderer`].
pub fn runner() -> Result<PathBuf> {
    built("vw-run")
}

/// The program that looks after a guest.
///
/// # Errors
/// As [`renderer`].
pub fn guest_tool() -> Result<PathBuf> {
    built("vw-guest")
}

/// The guest driver.
///
/// # Errors
/// As [`renderer`].
pub fn guest_driver() -> Result<PathBuf> {
    built("libvulkan_vw.so")
}

/// The driver that counts the calls of another.
///
/// # Errors
/// As [`renderer`].
pub fn counting_driver() -> Result<PathBuf> {
    built("libvw_counting.so")
}

/// The layer that notes when a program presents.
///
/// # Errors
/// As [`renderer`].
pub fn frame_times() -> Result<PathBuf> {
    built("libvw_frame_times.so")
}

/// The Debian package with this name, as `cargo xtask package` makes it.
///
/// # Errors
/// As [`installed`]; [`Error::NotAvailable`] when it was not made.
pub fn package(name: &str) -> Result<PathBuf> {
    installed("packages")?;
    let target = folder()?.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let entries = std::fs::read_dir(target.join("packages")).into_iter().flatten();
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is = |file: &PathBuf| {
        let name = format!("{name}_");
        file.extension().is_some_and(|extension| extension == "deb")
            && file.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&name))
    };
    files.filter(is).max().ok_or_else(|| Error::NotAvailable {
        what: format!("the package {name}"),
        remedy: "`cargo xtask package` makes it",
    })
}

/// A program of this crate.
///
/// # Errors
/// As [`renderer`].
pub fn program(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    if path.is_file() { Ok(path) } else { Err(absent(name)) }
}

/// Whether set-up installed something, by the name that it has there (`xtask/src`).
///
/// # Errors
/// [`Error::CannotInstall`] when it tried and failed, [`Error::NotAvailable`] when it was not run.
pub fn installed(name: &str) -> Result<()> {
    let state = std::fs::read_to_string(setup_folder().join("state")).unwrap_or_default();
    let line = state.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    match line {
        Some("installed") => Ok(()),
        Some(reason) => Err(Error::CannotInstall { what: name.to_owned(), reason: reason.to_owned() }),
        None => Err(Error::NotAvailable { what: name.to_owned(), remedy: "run `cargo xtask setup`" }),
    }
}

/// The Python interpreter that has the packages of a program.
///
/// # Errors
/// As [`installed`].
pub fn python(program: &str) -> Result<PathBuf> {
    installed(program)?;
    Ok(setup_folder().join("venv/bin/python3"))
}

/// Node and the folder to run it in, where it finds npm's packages.
///
/// # Errors
/// As [`installed`].
pub fn node() -> Result<(PathBuf, PathBuf)> {
    installed("webgpu")?;
    let folder = setup_folder().join("node");
    Ok((folder.join("bin-node"), folder))
}

/// A script of this crate that a program of others runs.
pub fn script(name: &str) -> PathBuf {
    workspace().join("conformance/programs").join(name)
}

fn absent(name: &str) -> Error {
    Error::NotAvailable {
        what: name.to_owned(),
        remedy: "`cargo build -p vw-guest-icd -p vw-host-renderer -p vw-conformance` (with --release if this is a release build)",
    }
}

/// The folder of this build's programs: the one that this program lies in, or the one above `deps`.
fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(crate::doing("finding this program"))?;
    let mut folder = program.parent().unwrap_or(Path::new("/")).to_path_buf();
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.pop();
    }
    Ok(folder)
}

fn built(name: &str) -> Result<PathBuf> {
    let folder = folder()?;
    build(&folder);
    let path = folder.join(name);
    if path.is_file() { Ok(path) } else { Err(absent(name)) }
}

/// Brings the products up to date once in a process: cargo builds no other package's programs for a test by itself,
/// and a test of yesterday's driver misleads. Only for tests, which cargo starts; an installed program builds nothing.
fn build(folder: &Path) {
    static DONE: OnceLock<()> = OnceLock::new();
    let Some(cargo) = std::env::var_os("CARGO").filter(|_| std::env::var_os(BUILT).is_none()) else { return };
    DONE.get_or_init(|| {
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet"]);
        for package in
            ["vw-guest-icd", "vw-host-renderer", "vw-viewer", "vw-counting-driver", "vw-frame-times"]
        {
            command.args(["--package", package]);
        }
        if folder.ends_with("release") {
            command.arg("--release");
        }
        // What comes out of it is looked at by the caller, who misses the file if it failed.
        let _ = command.current_dir(workspace()).stdin(Stdio::null()).status();
    });
}
