//! Descriptors in a program that may close, and open, what it likes.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor by which its file is known again: a program that closes descriptors it does not know must not have us use, or
/// close, what it opens under the same number.
#[derive(Debug)]
pub(crate) struct Descriptor {
    /// Closed in `drop`, unless it is a stranger's by then.
    fd: ManuallyDrop<OwnedFd>,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl Descriptor {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let identity = identity(fd.as_fd());
        Self { fd: ManuallyDrop::new(fd), identity }
    }

    /// The descriptor; none where the number is a stranger's now.
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        Some(self.unchecked()).filter(|fd| identity(*fd) == self.identity)
    }

    /// The same, to keep.
    pub(crate) fn into_owned(self) -> Option<OwnedFd> {
        self.get()?;
        let mut kept = ManuallyDrop::new(self);
        // SAFETY: `kept` is neither used nor dropped after this.
        Some(unsafe { ManuallyDrop::take(&mut kept.fd) })
    }

    /// The same without a look at it.
    pub(crate) fn unchecked(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.get().is_some() {
            // SAFETY: dropped here alone, and not used after this.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

fn identity(fd: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let stat = rustix::fs::fstat(fd).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn descriptor_when_its_number_is_a_strangers_is_neither_used_nor_closed() {
        let zero = Descriptor::new(File::open("/dev/zero").unwrap().into());
        assert!(zero.get().is_some());
        let number = zero.unchecked().as_raw_fd();
        let null = File::open("/dev/null").unwrap();
        // SAFETY: the number stays open, as another file, which nobody but this test knows.
        assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), number) }, number);
        assert!(zero.get().is_none());
        assert!(zero.into_owned().is_none());
        // SAFETY: as above; it is this test's to close.
        assert_eq!(unsafe { libc::close(number) }, 0, "it is still open");
    }
}
