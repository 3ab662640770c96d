//! What a guest is to do, and what came of it: the words that the host and process 1 of the guest share.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

/// Where the job lies in the guest.
pub const PATH: &str = "/vm/job.json";

/// The user that steps run as, unless they say otherwise, and the group that may use the GPU.
pub const USER: u32 = 1000;
/// The number of the group `render` in the guest.
pub const RENDER: u32 = 105;

/// Modules to load, then steps in order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Job {
    /// Paths of modules in the guest, those first that others need.
    pub modules: Vec<String>,
    /// Programs to run, one after the other.
    pub steps: Vec<Step>,
}

/// A program that is run in the guest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Step {
    /// The name of its answer.
    pub name: String,
    /// The program, then its arguments.
    pub command: Vec<String>,
    /// Environment, besides `PATH` and `HOME`.
    pub environment: Vec<(String, String)>,
    /// Runs as root instead of as [`USER`].
    pub root: bool,
    /// Runs beside the steps that come after it, and has no answer.
    pub background: bool,
    /// A file that it writes and that belongs to the answer; in the background, where its standard error goes.
    pub file: Option<String>,
}

impl Step {
    /// A program with arguments.
    pub fn new(name: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        Self { name: name.to_owned(), command, ..Self::default() }
    }

    /// The same as root.
    #[must_use]
    pub fn as_root(self) -> Self {
        Self { root: true, ..self }
    }

    /// The same beside the steps that come after it.
    #[must_use]
    pub fn in_background(self) -> Self {
        Self { background: true, ..self }
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a file that it writes.
    #[must_use]
    pub fn writing(self, file: &str) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The step's name.
    pub name: String,
    /// `exit code 0`, or how else it ended.
    pub status: String,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// What is in its file; empty where it has none.
    pub file: Vec<u8>,
    /// How long it ran, in milliseconds of the guest.
    pub ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    name: String,
    status: String,
    ms: u64,
    lengths: [usize; 3],
}

impl Answer {
    /// Writes it: a line of JSON, then the bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let parts: [&[u8]; 3] = [self.stdout.as_bytes(), self.stderr.as_bytes(), &self.file];
        let header = Header {
            name: self.name.clone(),
            status: self.status.clone(),
            ms: self.ms,
            lengths: parts.map(<[u8]>::len),
        };
        let mut all = serde_json::to_vec(&header)?;
        all.push(b'\n');
        parts.iter().for_each(|part| all.extend_from_slice(part));
        out.write_all(&all)?;
        out.flush()
    }

    /// Reads what [`write`](Self::write) wrote; none where nothing more comes.
    ///
    /// # Errors
    /// `InvalidData` for what is no answer, `UnexpectedEof` for one that is cut.
    pub fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Header { name, status, ms, lengths } = serde_json::from_str(&line)?;
        let mut part = |length: usize| {
            let mut bytes = Vec::new();
            from.by_ref().take(length as u64).read_to_end(&mut bytes)?;
            if bytes.len() == length { Ok(bytes) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof)) }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr, file) = (text(part(lengths[0])?), text(part(lengths[1])?), part(lengths[2])?);
        Ok(Some(Self { name, status, stdout, stderr, file, ms }))
    }

    /// Its standard output, if it ended well.
    ///
    /// # Panics
    /// With everything it wrote, if it did not (for tests).
    #[track_caller]
    pub fn expect_success(&self) -> &str {
        assert!(
            self.status == "exit code 0",
            "{} failed in the guest: {}\nstdout:\n{}\nstderr:\n{}",
            self.name,
            self.status,
            self.stdout,
            self.stderr
        );
        &self.stdout
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn answers_when_written_and_read_are_the_same() {
        let answer = Answer {
            name: "one".into(),
            status: "exit code 0".into(),
            stdout: "a\nb\n".into(),
            stderr: String::new(),
            file: vec![0, 10, 255],
            ms: 7,
        };
        let mut bytes = Vec::new();
        answer.write(&mut bytes).unwrap();
        answer.write(&mut bytes).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(Answer::read(&mut from).unwrap(), Some(answer.clone()));
        assert_eq!(Answer::read(&mut from).unwrap(), Some(answer));
        assert_eq!(Answer::read(&mut from).unwrap(), None);
        let cut = &bytes[..bytes.len() / 2 - 1];
        assert!(Answer::read(&mut &*cut).is_err());
    }
}
