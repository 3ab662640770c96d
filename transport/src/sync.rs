//! The atomics and the futex that the sleep handshake is made of, so that loom can take their place.
//!
//! Everything that takes part in the handshake ([`crate::wait`], [`crate::cursor`]) uses these and no other, and so does
//! [`crate::credit`].

#[cfg(not(loom))]
pub use self::real::FutexWord;
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use self::model::FutexWord;
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Whose threads sleep on a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of every process that maps the page.
    Machine,
    /// This process's: found by address, so that it works on pages of a device too, of which the kernel has no files.
    Process,
}

#[cfg(not(loom))]
mod real {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use rustix::thread::futex;
    use rustix::time::Timespec;

    use super::Scope;

    /// A 32-bit word in shared memory on which threads can sleep.
    #[repr(transparent)]
    #[derive(Debug, Default)]
    pub struct FutexWord(AtomicU32);

    impl FutexWord {
        /// The value now.
        pub fn load(&self, order: Ordering) -> u32 {
            self.0.load(order)
        }

        /// Adds one, wrapping; returns the value before.
        pub fn bump(&self, order: Ordering) -> u32 {
            self.0.fetch_add(1, order)
        }

        /// Sleeps while the word is `expected`, until a wake of the same scope, `timeout` or a signal; may wake for no
        /// reason.
        pub fn wait(&self, scope: Scope, expected: u32, timeout: Option<Duration>) {
            let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
            // Each way to return (woken, changed, timed out, interrupted) means the same to the caller: look again.
            let _ = futex::wait(&self.0, flags(scope), expected, timeout.as_ref());
        }

        /// Wakes every thread that sleeps in [`FutexWord::wait`] with the same scope.
        pub fn wake_all(&self, scope: Scope) {
            // The only errors are bad addresses and bad flags, which a reference and a constant exclude.
            let _ = futex::wake(&self.0, flags(scope), i32::MAX as u32);
        }
    }

    fn flags(scope: Scope) -> futex::Flags {
        match scope {
            Scope::Machine => futex::Flags::empty(),
            Scope::Process => futex::Flags::PRIVATE,
        }
    }
}

#[cfg(loom)]
mod model {
    use std::time::Duration;

    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    use super::Scope;

    /// A futex as loom sees it: the comparison and going to sleep are one step, as in the kernel. It never times
    /// out, so that a lost wake is a deadlock that loom reports.
    #[derive(Debug)]
    pub struct FutexWord {
        value: AtomicU32,
        bucket: Mutex<()>,
        woken: Condvar,
    }

    impl Default for FutexWord {
        fn default() -> Self {
            Self { value: AtomicU32::new(0), bucket: Mutex::new(()), woken: Condvar::new() }
        }
    }

    impl FutexWord {
        /// The value now.
        pub fn load(&self, order: Ordering) -> u32 {
            self.value.load(order)
        }

        /// Adds one, wrapping; returns the value before.
        pub fn bump(&self, order: Ordering) -> u32 {
            self.value.fetch_add(1, order)
        }

        /// Sleeps until a wake, if the word is `expected`.
        pub fn wait(&self, _scope: Scope, expected: u32, _timeout: Option<Duration>) {
            let bucket = self.bucket.lock().expect("no thread of the model panics");
            if self.value.load(Ordering::Relaxed) == expected {
                drop(self.woken.wait(bucket));
            }
        }

        /// Wakes every sleeper.
        pub fn wake_all(&self, _scope: Scope) {
            let _bucket = self.bucket.lock().expect("no thread of the model panics");
            self.woken.notify_all();
        }
    }
}
