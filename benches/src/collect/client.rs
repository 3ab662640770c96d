//! Programs that are measured from outside: they stop at marks, and go on when they are told to.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Error, Result};

/// Longest time from one mark to the next.
const PATIENCE: Duration = Duration::from_secs(120);

/// In the program: prints a mark and waits for the word to go on.
pub(crate) fn mark(name: &str) {
    println!("mark {name}");
    // Both fail only when whoever measures is gone; then nothing matters any more.
    let _ = io::stdout().flush();
    let _ = io::stdin().lock().read_line(&mut String::new());
}

/// A program that runs. Killed when dropped.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Client {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|source| Error::System { what: "starting a program".into(), source })?;
        let (sender, lines) = channel();
        let stdout = child.stdout.take();
        thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
            for line in lines.map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { stdin: child.stdin.take(), child, lines })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next mark; returns the lines before it.
    pub(crate) fn until(&self, name: &str) -> Result<Vec<String>> {
        let started = Instant::now();
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
                Ok(line) if line.strip_prefix("mark ") == Some(name) => return Ok(before),
                Ok(line) => before.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::Message(format!("no mark `{name}` in time")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Message(format!("it ended before the mark `{name}`")));
                }
            }
        }
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            // One that has ended is noticed at the next mark.
            let _ = stdin.write_all(b"\n");
        }
    }

    /// Lets it go on to its end.
    pub(crate) fn finish(mut self) -> Result<()> {
        drop(self.stdin.take());
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(Error::Message(format!("it failed ({status})"))),
                Ok(None) => thread::sleep(Duration::from_millis(2)),
                Err(source) => return Err(Error::System { what: "waiting for a program".into(), source }),
            }
        }
        Err(Error::Message("it did not end".into()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
