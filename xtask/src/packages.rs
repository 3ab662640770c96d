//! System packages, on Debian and Ubuntu.

use std::process::{Command, Stdio};

use crate::process::{self, Error, Result};

/// What running a program through vw needs: the loader, and a host driver that needs no GPU.
pub(crate) const RUN: &[&str] = &["libvulkan1", "mesa-vulkan-drivers"];

/// What the tests need besides: `vulkaninfo`, the Khronos validation layer, Python's environments.
pub(crate) const TEST: &[&str] = &["vulkan-tools", "vulkan-validationlayers", "python3-venv"];

/// Programs of others that the tests run through vw, by the names under which the tests ask for them.
pub(crate) const PROGRAMS: &[(&str, &[&str])] = &[
    ("opengl", &["libegl1", "libegl-mesa0", "libgl1", "libgl1-mesa-dri", "libglx-mesa0"]),
    ("xvfb", &["xvfb"]),
    ("weston", &["weston"]),
    ("mesa-utils", &["mesa-utils", "mesa-utils-bin"]),
    ("glmark2", &["glmark2-x11"]),
    ("vkd3d-demos", &["vkd3d-demos"]),
    ("libsdl2-tests", &["libsdl2-tests"]),
    ("mpv", &["mpv"]),
    ("apitrace", &["apitrace"]),
    ("gfxreconstruct", &["gfxreconstruct"]),
    ("lintian", &["lintian", "dpkg-dev"]),
    ("crun", &["crun"]),
];

/// Seconds to wait for another package manager to finish.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";
/// A server that does not answer is given up after a while.
pub(crate) const NETWORK: &[&str] = &["-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=60"];

/// Those of the packages that are not installed. Without dpkg that cannot be known and none is reported missing.
fn missing<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    if !process::exists("dpkg-query") {
        return Vec::new();
    }
    let installed = |package: &str| {
        Command::new("dpkg-query")
            .args(["-W", "-f=${db:Status-Status}", package])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .is_ok_and(|output| output.stdout == b"installed")
    };
    wanted.iter().copied().filter(|package| !installed(package)).collect()
}

/// Installs the packages that are missing when running as root; names them, with the command, otherwise.
pub(crate) fn ensure(wanted: &[&str]) -> Result<()> {
    if !process::exists("apt-get") {
        eprintln!(
            "xtask: not Debian or Ubuntu: make sure that what these packages hold is there: {}",
            wanted.join(" ")
        );
        return Ok(());
    }
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Message(format!(
            "packages are missing; install them with\n\n    sudo apt-get update && sudo apt-get install --no-install-recommends -y {}\n",
            missing.join(" ")
        )));
    }
    process::run(apt_get().arg("update"))?;
    process::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&missing))
}

/// `apt-get` that never asks and waits for its lock.
pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", LOCK_TIMEOUT]).args(NETWORK);
    command
}
