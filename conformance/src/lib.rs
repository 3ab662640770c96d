//! How vw shows that it works, end to end: programs run on the native driver and through vw, and what they answer
//! is compared.
//!
//! This library is the harness: it finds the products ([`products`]), starts renderers on private sockets
//! ([`renderer`]), runs programs with a time limit ([`child`]) on a driver of choice ([`driver`]) and compares their
//! output ([`compare`]). The suites are in `tests/`, the programs that they run in `src/bin/` and `programs/`.
//!
//! A test that needs something that is not installed fails and says what: `cargo xtask setup` installs it. Only what
//! set-up tried and could not have is no failure: such a test is skipped and says so ([`or_skip`]).

pub mod capture;
pub mod child;
pub mod compare;
pub mod compositor;
pub mod coverage;
pub mod display;
pub mod driver;
pub mod opengl;
pub mod own;
pub mod picture;
pub mod procfs;
pub mod products;
pub mod programs;
pub mod renderer;
pub mod vm;

use std::io;
use std::path::PathBuf;

/// Why the harness could not do its part. The text is what a failed test shows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the test needs is not installed or not built.
    #[error("not available: {what}; {remedy}")]
    NotAvailable {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Set-up could not install something: no package for this machine, no network, no right to.
    #[error("{what} {reason}")]
    CannotInstall {
        /// What it tried to.
        what: String,
        /// How it failed.
        reason: String,
    },
    /// A program did not end in time and was killed.
    #[error(
        "`{program}` hung: killed after {seconds} s\nthreads:\n{threads}\nstdout:\n{stdout}\nstderr:\n{stderr}"
    )]
    Hung {
        /// Which.
        program: String,
        /// Its limit.
        seconds: u64,
        /// Name, state and kernel wait of each of its threads at the end.
        threads: String,
        /// What it had written until then.
        stdout: String,
        /// The same for its standard error.
        stderr: String,
    },
    /// A renderer ended or did not begin to listen.
    #[error("vw-renderer {what}; its log:\n{log}")]
    Renderer {
        /// What happened.
        what: String,
        /// What it wrote.
        log: String,
    },
    /// A virtual machine did not do its job.
    #[error("the guest {what}; its console:\n{console}")]
    Guest {
        /// What it did instead.
        what: String,
        /// What it wrote.
        console: String,
    },
    /// An operation of the system failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Result of the harness.
pub type Result<T> = std::result::Result<T, Error>;

/// What a test needs, or `None`, said on standard error, where set-up could not install it: the test ends then.
///
/// # Panics
/// With any other error (for tests).
#[track_caller]
pub fn or_skip<T>(needed: Result<T>) -> Option<T> {
    match needed {
        Ok(value) => Some(value),
        Err(error @ Error::CannotInstall { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Says in an error what was being done.
pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what: what.into(), source }
}

/// A new empty folder of this process, short enough to hold sockets. It is not removed by itself.
///
/// # Errors
/// When the system's folder for temporary files cannot be written.
pub fn scratch_folder(purpose: &str) -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("vw-{purpose}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(doing(format!("making {}", folder.display())))?;
    Ok(folder)
}
