//! Child processes: run one and turn its failure into a message that names it.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Why a task did not succeed; every message says what to do next or what was being done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot start `{command}`: {source}")]
    Start { command: String, source: io::Error },
    #[error("`{command}` failed ({status})")]
    Failed { command: String, status: std::process::ExitStatus },
    #[error("`{command}` was ended after {seconds} s")]
    TooLong { command: String, seconds: u64 },
    #[error("{what}: {source}")]
    File { what: String, source: io::Error },
    #[error("{0}")]
    Message(String),
}

/// Result of a task.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Runs a command with this process's output, without standard input; an exit status other than zero is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    eprintln!("$ {line}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Error::Start { command: line.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: line, status }) }
}

/// As [`run`], for commands that wait for others, a network say: ended when it takes longer than `limit`.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Result<()> {
    let line = display(command);
    eprintln!("$ {line}");
    let start = |source| Error::Start { command: line.clone(), source };
    let mut child = command.stdin(Stdio::null()).spawn().map_err(start)?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(file_error(format!("waiting for `{line}`")))? {
            return if status.success() { Ok(()) } else { Err(Error::Failed { command: line, status }) };
        }
        if started.elapsed() > limit {
            // It may have ended by itself since; either way it is over.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::TooLong { command: line, seconds: limit.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a command and returns its standard output; standard error is passed on.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let line = display(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::Start { command: line.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Failed { command: line, status: output.status })
    }
}

/// Whether a program of this name can be started (found in `PATH`).
pub(crate) fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// A command as one would type it; arguments with spaces are quoted.
fn display(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| {
            let part = part.to_string_lossy();
            if part.contains(' ') { format!("'{part}'") } else { part.into_owned() }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Names the file or folder in an input or output error.
pub(crate) fn file_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { what: what.into(), source }
}
