//! Memory of the driver's own that guests see: mapped by the driver from a file, whose descriptor is handed on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use vw_transport::pages::{self, FilePages};

/// The files of a process's driver, numbered as they are met.
#[derive(Debug, Default)]
pub struct Files(Vec<File>);

#[derive(Debug)]
struct File {
    /// Device and inode; the descriptor keeps them from being used again.
    identity: (u64, u64),
    fd: OwnedFd,
}

/// Where mapped memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the file.
    pub file: usize,
    /// Offset in it, in bytes.
    pub offset: u64,
    /// The file was not met before.
    pub new: bool,
}

impl Files {
    /// The file that is mapped, to be shared, at `address` and the `len` bytes from there on; none if it is not one.
    pub fn locate(&mut self, address: *const u8, len: usize) -> Option<Place> {
        let FilePages { identity, offset } = pages::file_at(address, len).ok()??;
        if let Some(file) = self.0.iter().position(|file| file.identity == identity) {
            return Some(Place { file, offset, new: false });
        }
        self.0.push(File { identity, fd: find(identity)? });
        Some(Place { file: self.0.len() - 1, offset, new: true })
    }

    /// The descriptor of a file.
    pub fn fd(&self, file: usize) -> Option<BorrowedFd<'_>> {
        self.0.get(file).map(|file| file.fd.as_fd())
    }
}

/// A descriptor of this process for the file.
fn find(identity: (u64, u64)) -> Option<OwnedFd> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).find_map(|number| {
        // SAFETY: the descriptor was open a moment ago; if it is no more, or another's, what it is shows that below.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let own = fcntl_dupfd_cloexec(fd, 3).ok()?;
        let stat = rustix::fs::fstat(&own).ok()?;
        ((stat.st_dev, stat.st_ino) == identity).then_some(own)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use vw_transport::SharedFile;

    use super::*;

    #[test]
    fn memory_when_of_a_file_is_located_and_when_of_none_is_not() {
        let mapped = SharedFile::create(8192).unwrap();
        let mut files = Files::default();
        // SAFETY: within the mapping.
        let second = unsafe { mapped.base().as_ptr().add(4096) };
        assert_eq!(files.locate(second, 4096), Some(Place { file: 0, offset: 4096, new: true }));
        assert_eq!(
            files.locate(mapped.base().as_ptr(), 8192),
            Some(Place { file: 0, offset: 0, new: false })
        );
        let stat = rustix::fs::fstat(files.fd(0).unwrap()).unwrap();
        assert_eq!((stat.st_ino, stat.st_size), (rustix::fs::fstat(&mapped).unwrap().st_ino, 8192));
        let own = vec![0u8; 8192];
        assert_eq!(files.locate(own.as_ptr(), 1), None);
        assert!(files.fd(1).is_none());
    }
}
