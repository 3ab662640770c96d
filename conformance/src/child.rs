//! Runs a program to its end, within a time limit: a hang is a failure that says where it hung.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Error, Result, doing, procfs};

/// What a program answered.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Output {
    /// The standard output of a program that ended well.
    ///
    /// # Panics
    /// With everything it wrote, if it did not (for tests).
    #[track_caller]
    pub fn expect_success(&self, what: &str) -> &str {
        assert!(
            self.status.success(),
            "{what} failed: {}\nstdout:\n{}\nstderr:\n{}",
            describe(self.status),
            self.stdout,
            self.stderr
        );
        &self.stdout
    }
}

/// How a program ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no status".into(),
    }
}

/// A program that runs. Killed, with everything that it started, when dropped.
pub struct Running {
    child: Child,
    name: String,
    started: Instant,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

/// Starts a program in a process group of its own, without standard input, and collects what it writes.
///
/// # Errors
/// When it cannot be started.
pub fn start(command: &mut Command) -> Result<Running> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(doing(format!("starting {name}")))?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    Ok(Running { child, name, started: Instant::now(), stdout, stderr })
}

/// Runs a program to its end.
///
/// # Errors
/// [`Error::Hung`] when it has not ended after `limit`; then it is killed.
pub fn run(command: &mut Command, limit: Duration) -> Result<Output> {
    start(command)?.wait(limit)
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it, with everything that it started.
    pub fn kill(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits for its end, for at most `limit` from its start.
    ///
    /// # Errors
    /// As [`run`].
    pub fn wait(mut self, limit: Duration) -> Result<Output> {
        loop {
            if let Some(status) =
                self.child.try_wait().map_err(doing(format!("waiting for {}", self.name)))?
            {
                let elapsed = self.started.elapsed();
                // Whatever it left behind holds the pipes open.
                self.kill();
                return Ok(Output {
                    status,
                    stdout: join(self.stdout.take()),
                    stderr: join(self.stderr.take()),
                    elapsed,
                });
            }
            if self.started.elapsed() > limit {
                let threads = procfs::threads(self.pid());
                self.kill();
                let _ = self.child.wait();
                return Err(Error::Hung {
                    program: self.name.clone(),
                    seconds: limit.as_secs(),
                    threads,
                    stdout: join(self.stdout.take()),
                    stderr: join(self.stderr.take()),
                });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn join(thread: Option<JoinHandle<String>>) -> String {
    thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
}
