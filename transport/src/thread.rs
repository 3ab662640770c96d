//! A thread that leaves nothing behind in who starts it.
//!
//! `std::thread` registers a destructor in the thread that starts another one. In a library that a program loads and unloads,
//! that keeps the library loaded until the program's own thread ends.

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

type Body = Box<dyn FnOnce() + Send>;

/// A thread that runs, or has come to its end.
#[derive(Debug)]
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: the name of a thread, which any thread may join once.
unsafe impl Send for Thread {}
// SAFETY: nothing is done with it by reference.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread with this name. Signals that are sent to the process are handled by others.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn start(name: &CStr, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let body: Box<Body> = Box::new(Box::new(body));
        let argument = Box::into_raw(body);
        let mut thread = MaybeUninit::uninit();
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: sets of signals that are filled before they are read; the thread gets its own box, which nobody else uses.
        let error = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            let error =
                libc::pthread_create(thread.as_mut_ptr(), std::ptr::null(), run, argument.cast::<c_void>());
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut());
            error
        };
        if error != 0 {
            // SAFETY: no thread has it.
            drop(unsafe { Box::from_raw(argument) });
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: the thread was started.
        let thread = unsafe { thread.assume_init() };
        // SAFETY: a live thread, which is not joined yet, and a C string. A name that is too long is not given.
        unsafe { libc::pthread_setname_np(thread, name.as_ptr()) };
        Ok(Self(thread))
    }

    /// Waits for its end.
    pub(crate) fn join(self) {
        // SAFETY: joined once. It cannot be this thread, which would have to own itself.
        unsafe { libc::pthread_join(self.0, null_mut()) };
    }
}

extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    // SAFETY: the box of `start`, which is given to one thread.
    let body = unsafe { Box::from_raw(argument.cast::<Body>()) };
    // What failed was said by the panic's message; nothing may unwind into the system.
    let _ = catch_unwind(AssertUnwindSafe(body));
    null_mut()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn thread_when_joined_has_run_even_if_it_panicked() {
        let (sender, receiver) = channel();
        let thread = Thread::start(c"vw-test", move || {
            sender.send(std::fs::read_to_string("/proc/thread-self/comm").unwrap()).unwrap();
        });
        thread.unwrap().join();
        assert!(receiver.recv().is_ok());
        Thread::start(c"vw-test", || panic!("as the test wants")).unwrap().join();
    }
}
