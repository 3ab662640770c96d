//! What `vwctl` asks the broker: one connection to the control socket, one line per session in return.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most that is read of an answer, in bytes.
const MAX_ANSWER: u64 = 4 << 20;

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// One session as the broker knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionInfo {
    /// The broker's number for it.
    pub number: u64,
    /// Its process.
    pub pid: u32,
    /// The guest's process, as the guest says.
    pub guest_pid: u32,
    /// How long it has lasted, in milliseconds.
    pub age_ms: u64,
    /// Live objects.
    pub objects: u32,
    /// Device memory in bytes.
    pub memory: u64,
    /// Records taken from the ring.
    pub records: u64,
    /// The guest's program, as the guest says.
    pub program: String,
}

impl SessionInfo {
    /// Appends the line of this session.
    pub fn write(&self, text: &mut String) {
        let Self { number, pid, guest_pid, age_ms, objects, memory, records, program } = self;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number} {pid} {guest_pid} {age_ms} {objects} {memory} {records} {program}");
    }

    /// Reads a line; `None` for one that is not a session's.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(8, ' ');
        let mut number = || parts.next()?.parse::<u64>().ok();
        Some(Self {
            number: number()?,
            pid: number()?.try_into().ok()?,
            guest_pid: number()?.try_into().ok()?,
            age_ms: number()?,
            objects: number()?.try_into().ok()?,
            memory: number()?,
            records: number()?,
            program: parts.next()?.to_owned(),
        })
    }
}

/// Where the broker that listens at `socket` answers.
pub fn path(socket: &Path) -> PathBuf {
    let mut name = OsString::from(socket);
    name.push(".ctl");
    name.into()
}

/// Asks the broker that listens at `socket` for its sessions.
///
/// # Errors
/// What the system says; `InvalidData` for an answer that is none.
pub fn sessions(socket: &Path) -> io::Result<Vec<SessionInfo>> {
    let stream = UnixStream::connect(path(socket))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut text)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not a list of sessions");
    text.lines().map(|line| SessionInfo::parse(line).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_when_written_and_parsed_is_the_same() {
        let session = SessionInfo {
            number: 1,
            pid: 2,
            guest_pid: 3,
            age_ms: 4,
            objects: 5,
            memory: 6 << 40,
            records: 7,
            program: "a program with spaces".to_owned(),
        };
        let mut text = String::new();
        session.write(&mut text);
        assert_eq!(SessionInfo::parse(text.trim_end_matches('\n')), Some(session));
        assert_eq!(SessionInfo::parse("1 2 x"), None);
    }
}
