//! What virtual machines of the tests are made of: QEMU, kernels, a vsock device; and an older C library to link against.
//!
//! All of it is unpacked below `target/setup/vm`, and nothing is installed. The guest's files are put together by the tests
//! (`conformance/src/vm`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::apt::{self, Apt};
use crate::process::{self, Error, Result, file_error};
use crate::python::stamped;
use crate::workspace::Workspace;

const STABLE: &str = "bookworm";
const BACKPORTS: &str = "bookworm-backports";

/// The version of the vsock device that is built where Debian's package does not run.
const VSOCK_DEVICE: &str = "0.3.0";
/// How long building it may take.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// Unpacks QEMU, the two kernels, udev and the vsock device, unless done already.
pub(crate) fn unpack(workspace: &Workspace) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Error::Message(format!(
            "guests of the tests are x86-64, this is {}",
            std::env::consts::ARCH
        )));
    }
    let folder = workspace.setup().join("vm");
    stamped(&folder.join("machine-installed"), "QEMU 10, kernels 6.1 and 6.12, udev, 1", || {
        machine(&folder)
    })?;
    stamped(&folder.join("vsock-installed"), "vhost-device-vsock, 1", || vsock_device(workspace, &folder))
}

fn machine(folder: &Path) -> Result<()> {
    let apt = Apt::new(folder, &[STABLE, BACKPORTS])?;
    apt.unpack_with_dependencies("qemu-system-x86", BACKPORTS, &folder.join("qemu"))?;
    // For the guest: its devices are opened to users by the package's rules.
    let udev = ["udev", "libkmod2"].map(|package| format!("{package}/{STABLE}"));
    apt.unpack(&udev, &folder.join("udev"))?;
    for (name, suite) in [("linux-6.1", STABLE), ("linux-6.12", BACKPORTS)] {
        // Named after its version, which the package of this name depends on.
        let image = apt.depends(&format!("linux-image-cloud-amd64/{suite}"))?;
        let image = image.iter().find(|package| package.starts_with("linux-image-"));
        let image = image.ok_or_else(|| Error::Message(format!("{suite} has no kernel for clouds")))?;
        apt.unpack(&[format!("{image}/{suite}")], &folder.join(name))?;
        if apt::find(&folder.join(name).join("boot"), &|file| file.starts_with("vmlinuz-")).is_none() {
            return Err(Error::Message(format!("{image} holds no kernel")));
        }
    }
    Ok(())
}

/// `vhost-device-vsock`, which is vsock where the host's kernel has none for guests: the package of a newer Debian, which needs
/// the C library alone, else built.
fn vsock_device(workspace: &Workspace, folder: &Path) -> Result<()> {
    let root = folder.join("vsock");
    let program = root.join("usr/bin/vhost-device-vsock");
    let packaged = Apt::new(&folder.join("sid"), &["sid"])
        .and_then(|apt| apt.unpack(&["vhost-device-vsock/sid".to_owned()], &root));
    let runs = || {
        let mut command = Command::new(&program);
        command
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    // Lists of all of Debian's packages, for one.
    let _ = fs::remove_dir_all(folder.join("sid"));
    if packaged.is_ok() && runs() {
        return Ok(());
    }
    let mut cargo = workspace.cargo();
    cargo.args(["install", "--quiet", "--locked", "vhost-device-vsock", "--version", VSOCK_DEVICE]);
    process::run_within(BUILD_LIMIT, cargo.arg("--root").arg(root.join("usr")))?;
    if runs() { Ok(()) } else { Err(Error::Message(format!("{} does not run", program.display()))) }
}

/// The C library of Debian 11, which the guest driver is linked against so that it runs where an older one is.
pub(crate) fn older_libc(workspace: &Workspace) -> Result<()> {
    let folder = workspace.setup().join("libc");
    stamped(&folder.join("installed"), "glibc 2.31 and libgcc of GCC 10, 1", || {
        let root = folder.join("root");
        let wanted = ["libc6/bullseye", "libc6-dev/bullseye", "libgcc-10-dev/bullseye"].map(str::to_owned);
        Apt::new(&folder, &["bullseye"])?.unpack(&wanted, &root)?;
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        relink(&root.join("lib64"), &root)?;
        relink(&libraries, &root)?;
        // A driver that needs the C library alone brings what unwinds with it: this names the static library where the linker
        // is asked for the shared one.
        let gcc = "/usr/lib/gcc/x86_64-linux-gnu/10";
        fs::write(libraries.join("libgcc_s.so"), format!("INPUT ( {gcc}/libgcc_eh.a {gcc}/libgcc.a )\n"))
            .map_err(file_error("writing the linker's text"))
    })
}

/// Has links in a folder that name files as they would be if `root` were installed name those in `root`.
fn relink(folder: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(file_error(format!("listing {}", folder.display())))? {
        let link = entry.map_err(file_error("listing the C library"))?.path();
        if let Ok(target) = fs::read_link(&link)
            && let Ok(inside) = target.strip_prefix("/")
        {
            fs::remove_file(&link).map_err(file_error("removing a link"))?;
            symlink(root.join(inside), &link).map_err(file_error("making a link"))?;
        }
    }
    Ok(())
}
