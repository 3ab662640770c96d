//! Binary semaphores that the guest takes care of itself, without the host.
//!
//! An image is free when it is acquired, so that there is nothing to wait for: the semaphore is noted here, and the wait
//! for it is left out of the submission that makes it. What is presented is ready when its submission is finished, which is
//! known: the semaphore that a presentation waits for is not signalled on the host from then on. Where somebody else waits
//! after all, a submission of vw's own signals the semaphore.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashMap;

use crate::completion::Point;
use crate::session::lock;

/// How a semaphore is signalled that the host does not know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signalled {
    /// It is.
    Now,
    /// When this is finished, which was submitted to the queue with this address.
    At(usize, Point),
}

/// Semaphores that are signalled in the guest and not on the host.
#[derive(Default)]
pub(crate) struct Owed {
    /// So that programs without windows take no lock.
    count: AtomicUsize,
    semaphores: Mutex<Semaphores>,
}

#[derive(Default)]
struct Semaphores {
    signalled: FxHashMap<u64, Signalled>,
    /// Those that presentations wait for, and whether nobody else does.
    presented: FxHashMap<u64, bool>,
}

impl Owed {
    /// Changes what is known, and says whether there is anything.
    fn update<R>(&self, change: impl FnOnce(&mut Semaphores) -> R) -> R {
        let mut semaphores = lock(&self.semaphores);
        let result = change(&mut semaphores);
        self.count.store(semaphores.signalled.len() + semaphores.presented.len(), Ordering::Release);
        result
    }

    /// Whether there is anything to be known about a semaphore.
    pub(crate) fn has_any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }

    /// Signals a binary semaphore.
    pub(crate) fn signal(&self, semaphore: u64, how: Signalled) {
        self.update(|all| all.signalled.insert(semaphore, how));
    }

    /// Takes the signal back, if the semaphore was signalled here: for a wait.
    pub(crate) fn take(&self, semaphore: u64) -> Option<Signalled> {
        if !self.has_any() {
            return None;
        }
        self.update(|all| all.signalled.remove(&semaphore))
    }

    /// A presentation waits for a semaphore that the host has signalled: the next time it need not.
    pub(crate) fn present(&self, semaphore: u64) {
        self.update(|all| {
            all.presented.entry(semaphore).or_insert(true);
        });
    }

    /// Somebody else waits for it too.
    pub(crate) fn share(&self, semaphore: u64) {
        self.update(|all| all.presented.insert(semaphore, false));
    }

    /// Whether presentations alone wait for it.
    pub(crate) fn is_presented(&self, semaphore: u64) -> bool {
        lock(&self.semaphores).presented.get(&semaphore) == Some(&true)
    }

    /// A semaphore is destroyed.
    pub(crate) fn forget(&self, semaphore: u64) {
        if self.has_any() {
            self.update(|all| {
                all.signalled.remove(&semaphore);
                all.presented.remove(&semaphore);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semaphore_when_somebody_else_waits_for_it_is_presented_no_more() {
        let owed = Owed::default();
        assert!(!owed.has_any() && !owed.is_presented(7));
        owed.present(7);
        assert!(owed.has_any() && owed.is_presented(7) && !owed.is_presented(8));
        owed.share(7);
        owed.present(7);
        assert!(!owed.is_presented(7));
        owed.forget(7);
        assert!(!owed.has_any());
    }

    #[test]
    fn semaphore_when_signalled_is_taken_once() {
        let owed = Owed::default();
        let at = Signalled::At(1, Point { slot: 2, seq: 3 });
        owed.signal(7, Signalled::Now);
        owed.signal(8, at);
        assert_eq!([7, 8, 7, 8].map(|id| owed.take(id)), [Some(Signalled::Now), Some(at), None, None]);
        assert!(!owed.has_any());
        owed.signal(7, at);
        owed.forget(7);
        assert_eq!(owed.take(7), None);
    }
}
