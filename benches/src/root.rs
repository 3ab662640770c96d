//! Running inside another system's folder: there the peer, the native driver and vw find the same libraries.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{self, MountPropagationFlags};
use rustix::process;
use rustix::thread::{self, UnshareFlags};

/// Folders of the system that are the same inside.
const SHARED: [&str; 4] = ["/dev", "/proc", "/sys", "/tmp"];

/// Makes `root` the root folder of this process. The system's own folders and `also` are seen inside under their own
/// paths. Mounts are the process's own and end with it. To be called while there is one thread.
///
/// # Errors
/// When the system does not allow it: it wants root, or namespaces for ordinary users.
pub(crate) fn enter(root: &Path, also: &[PathBuf]) -> io::Result<()> {
    let (uid, gid) = (process::getuid(), process::getgid());
    let mut flags = UnshareFlags::NEWNS;
    if !uid.is_root() {
        flags |= UnshareFlags::NEWUSER;
    }
    // SAFETY: neither namespace takes anything from under this process's feet; descriptors stay shared.
    unsafe { thread::unshare_unsafe(flags) }?;
    if !uid.is_root() {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))?;
        fs::write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()))?;
    }
    mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let root = root.canonicalize()?;
    for folder in SHARED.iter().map(Path::new).chain(also.iter().map(PathBuf::as_path)) {
        let inside = root.join(folder.strip_prefix("/").unwrap_or(folder));
        fs::create_dir_all(&inside)?;
        mount::mount_bind_recursive(folder, &inside)?;
    }
    process::chroot(&root)?;
    process::chdir("/")?;
    Ok(())
}
