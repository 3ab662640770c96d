//! Whether a session may still be used, in this process.

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// True until it is cut, and false in every process that is forked from this one: the child shares the parent's ring
/// and must leave it alone.
///
/// The word lies in a page that the kernel fills with zeros in a child (`MADV_WIPEONFORK`), so that no handler and no
/// system call is needed to notice, however the child was made.
#[derive(Debug)]
pub(crate) struct Lifeline {
    word: NonNull<AtomicU32>,
    /// The page, which is unmapped again; without one, where the system has none left, the word is on the heap.
    mapped: bool,
}

// SAFETY: an atomic that is owned.
unsafe impl Send for Lifeline {}
// SAFETY: as above.
unsafe impl Sync for Lifeline {}

/// Size of the mapping in bytes; the kernel rounds it up to a page.
const SIZE: usize = size_of::<AtomicU32>();

impl Lifeline {
    /// An uncut one.
    pub(crate) fn new() -> Self {
        // SAFETY: a new private mapping, of which nothing else knows.
        let page = unsafe {
            mmap_anonymous(ptr::null_mut(), SIZE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let page = page.ok().and_then(|page| NonNull::new(page.cast::<AtomicU32>()));
        let mapped = page.is_some();
        let word = page.unwrap_or_else(|| NonNull::from(Box::leak(Box::new(AtomicU32::new(0)))));
        if mapped {
            // A kernel before 4.14 does not know it: there, children are not told from their parents.
            // SAFETY: the mapping made above.
            let _ = unsafe { madvise(word.as_ptr().cast(), SIZE, Advice::LinuxWipeOnFork) };
        }
        let lifeline = Self { word, mapped };
        lifeline.word().store(1, Ordering::Release);
        lifeline
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the word lives as long as this; zeros are a valid atomic.
        unsafe { self.word.as_ref() }
    }

    /// Whether the session may be used.
    pub(crate) fn holds(&self) -> bool {
        self.word().load(Ordering::Acquire) != 0
    }

    /// Cuts it; true for the first who does.
    pub(crate) fn cut(&self) -> bool {
        self.word().swap(0, Ordering::AcqRel) != 0
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        // SAFETY: made in `new` in this way, and the owner's last use.
        unsafe {
            if self.mapped {
                let _ = munmap(self.word.as_ptr().cast(), SIZE);
            } else {
                drop(Box::from_raw(self.word.as_ptr()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifeline_when_cut_tells_the_first_alone() {
        let lifeline = Lifeline::new();
        assert!(lifeline.holds());
        assert!(lifeline.cut());
        assert!(!lifeline.holds());
        assert!(!lifeline.cut());
    }
}
