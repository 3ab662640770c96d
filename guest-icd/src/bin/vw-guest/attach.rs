//! Devices that hold memory of vw, made ready for programs that are not root's.
//!
//! A file that a virtual machine has as virtio-pmem is a block device at first, which the kernel caches: writes to it reach
//! the host some day. As a "devdax" device it is the memory itself. The kernel can make that of it by a few files in /sys, which
//! is what `ndctl create-namespace --mode=devdax` does too. The kernel notes it down in the first 2 MiB, so that the device comes
//! up like this when the guest is started again.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vw_transport::attached::MAGIC;

/// The group of those who may use the GPU.
const GROUP: &str = "render";
/// Pages that programs map at least, in bytes.
const ALIGNMENT: &str = "2097152";
/// Where devices of non-volatile memory are.
const BUS: &str = "/sys/bus/nd";

/// Prepares a device: the name of a block device of virtio-pmem, or the path of a PCI device below /sys.
pub(crate) fn run(device: &str) -> ExitCode {
    let result = if device.starts_with('/') { open_memory(Path::new(device)) } else { make_devdax(device) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vw-guest: {device}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Turns an ivshmem device on, and lets the group map its memory.
fn open_memory(device: &Path) -> io::Result<()> {
    fs::write(device.join("enable"), "1")?;
    let group = group(&fs::read_to_string("/etc/group")?)
        .ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("there is no group {GROUP}")))?;
    for memory in ["resource2_wc", "resource2"] {
        let path = device.join(memory);
        // Not every device has memory that is written in bursts.
        if path.exists() {
            chown(&path, None, Some(group))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
        }
    }
    Ok(())
}

/// The number of the group.
fn group(file: &str) -> Option<u32> {
    let line = file.lines().find_map(|line| line.strip_prefix(GROUP)?.strip_prefix(':'))?;
    line.split(':').nth(1)?.parse().ok()
}

/// Makes a devdax device of a block device, if it begins with vw's header.
fn make_devdax(name: &str) -> io::Result<()> {
    let mut first = [0; MAGIC.len()];
    File::open(Path::new("/dev").join(name))?.read_exact(&mut first)?;
    if first != MAGIC {
        // Somebody else's.
        return Ok(());
    }
    let namespace = fs::canonicalize(Path::new("/sys/class/block").join(name).join("device"))?;
    let parts = namespace.file_name().zip(namespace.parent());
    let (namespace, region) = parts.ok_or(ErrorKind::NotFound)?;
    let namespace = namespace.to_string_lossy();
    let seed = fs::read_to_string(region.join("dax_seed"))?;
    let seed = seed.trim();
    let dax: PathBuf = region.join(seed);
    fs::write(Path::new(BUS).join("drivers/nd_pmem/unbind"), namespace.as_bytes())?;
    fs::write(dax.join("uuid"), fs::read_to_string("/proc/sys/kernel/random/uuid")?)?;
    for (file, value) in [("mode", "ram"), ("align", ALIGNMENT), ("namespace", &*namespace)] {
        fs::write(dax.join(file), value)?;
    }
    match fs::write(Path::new(BUS).join("drivers/dax_pmem/bind"), seed) {
        // The kernel was quicker.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_when_it_is_in_the_file_is_found() {
        assert_eq!(group("root:x:0:\nrenderer:x:7:\nrender:x:105:a,b\n"), Some(105));
        assert_eq!(group("root:x:0:\n"), None);
    }
}
