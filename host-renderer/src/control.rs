//! What `vwctl` asks the broker: a connection to the control socket for each request, which is a line of text.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use vw_transport::attached::RegionId;

use crate::config::{RegionConfig, Size};
use crate::frames::picture::Picture;
use crate::frames::statistics::Summary;
use crate::frames::surfaces::Number;

/// Most that is read of an answer, in bytes.
const MAX_ANSWER: u64 = 4 << 20;

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 512;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// All sessions: a line for each.
    Status,
    /// What was measured of the frames of the session with this number.
    Statistics(u64),
    /// The frames of the session with this number: of the surface with that number, or of whichever is presented to.
    Pictures(u64, Option<Number>),
    /// All regions: a line for each.
    Regions,
    /// This region, which is made unless it is there: its line.
    Region(RegionConfig),
    /// That the region of this name is given up.
    Forget(String),
}

impl Request {
    /// Reads a line; none for one that is no request.
    pub fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            None if line == "regions" => Some(Self::Regions),
            None => (line == "status").then_some(Self::Status),
            Some(("frames", number)) => number.parse().ok().map(Self::Statistics),
            Some(("pictures", numbers)) => match numbers.split_once(' ') {
                None => Some(Self::Pictures(numbers.parse().ok()?, None)),
                Some((session, surface)) => {
                    Some(Self::Pictures(session.parse().ok()?, Some(surface.parse().ok()?)))
                }
            },
            Some(("region", region)) => {
                let mut words = region.splitn(3, ' ');
                let (name, size) = (words.next()?.to_owned(), Size(words.next()?.parse().ok()?));
                Some(Self::Region(RegionConfig { name, size, guest: words.next().map(ToOwned::to_owned) }))
            }
            Some(("forget", name)) => Some(Self::Forget(name.to_owned())),
            Some(_) => None,
        }
    }

    /// The line, with its end.
    fn to_line(&self) -> String {
        match self {
            Self::Regions => "regions\n".to_owned(),
            Self::Region(RegionConfig { name, size, guest }) => {
                let guest = guest.iter().map(|guest| format!(" {guest}")).collect::<String>();
                format!("region {name} {}{guest}\n", size.0)
            }
            Self::Forget(name) => format!("forget {name}\n"),
            Self::Status => "status\n".to_owned(),
            Self::Statistics(number) => format!("frames {number}\n"),
            Self::Pictures(number, None) => format!("pictures {number}\n"),
            Self::Pictures(number, Some(surface)) => format!("pictures {number} {surface}\n"),
        }
    }

    /// Asks the broker that listens at `socket`.
    fn send(&self, socket: &Path) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(path(socket))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(self.to_line().as_bytes())?;
        Ok(stream)
    }
}

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

/// A region as the broker knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionInfo {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The name in its header.
    pub id: RegionId,
    /// What a virtual machine's monitor opens, as the broker's user or as root: gone with the broker.
    pub path: String,
    /// Sessions that have a slice.
    pub sessions: usize,
    /// Bytes of their slices.
    pub used: u64,
    /// Bytes that have pages now.
    pub resident: u64,
    /// The one guest that may use it.
    pub guest: Option<String>,
}

impl RegionInfo {
    /// Appends the line of this region.
    pub fn write(&self, text: &mut String) {
        let Self { name, size, id, path, sessions, used, resident, guest } = self;
        let guest = guest.as_deref().unwrap_or("-");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} {size} {id} {path} {sessions} {used} {resident} {guest}");
    }

    /// The line of this region.
    pub fn to_line(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// Reads a line; `None` for one that is not a region's.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(8, ' ');
        Some(Self {
            name: parts.next()?.to_owned(),
            size: parts.next()?.parse().ok()?,
            id: parts.next()?.parse().ok()?,
            path: parts.next()?.to_owned(),
            sessions: parts.next()?.parse().ok()?,
            used: parts.next()?.parse().ok()?,
            resident: parts.next()?.parse().ok()?,
            guest: Some(parts.next()?).filter(|guest| *guest != "-").map(ToOwned::to_owned),
        })
    }
}

/// Where a renderer listens, as one says who asks it: `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket(pub PathBuf);

impl FromStr for Socket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self(path.into())),
            _ => Err("write unix:PATH".to_owned()),
        }
    }
}

/// Where the broker that listens at `socket` answers.
pub fn path(socket: &Path) -> PathBuf {
    let mut name = OsString::from(socket);
    name.push(".ctl");
    name.into()
}

/// The text that is the answer to a request.
fn ask(socket: &Path, request: &Request) -> io::Result<String> {
    let mut text = String::new();
    request.send(socket)?.take(MAX_ANSWER).read_to_string(&mut text)?;
    match text.strip_prefix("error: ") {
        Some(why) => Err(io::Error::other(why.trim_end().to_owned())),
        None => Ok(text),
    }
}

fn no_answer(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is not {what}"))
}

/// Asks the broker that listens at `socket` for its sessions.
///
/// # Errors
/// What the system says; `InvalidData` for an answer that is none.
pub fn sessions(socket: &Path) -> io::Result<Vec<SessionInfo>> {
    let text = ask(socket, &Request::Status)?;
    text.lines().map(|line| SessionInfo::parse(line).ok_or_else(|| no_answer("a list of sessions"))).collect()
}

/// The regions of the broker that listens at `socket`.
///
/// # Errors
/// As [`sessions`].
pub fn regions(socket: &Path) -> io::Result<Vec<RegionInfo>> {
    let text = ask(socket, &Request::Regions)?;
    text.lines().map(|line| RegionInfo::parse(line).ok_or_else(|| no_answer("a list of regions"))).collect()
}

/// The region that `config` says, which the broker that listens at `socket` makes unless it is there.
///
/// # Errors
/// As [`sessions`]; `Other` with the broker's words where it cannot be.
pub fn region(socket: &Path, config: RegionConfig) -> io::Result<RegionInfo> {
    config.check().map_err(io::Error::other)?;
    let text = ask(socket, &Request::Region(config))?;
    RegionInfo::parse(text.trim_end()).ok_or_else(|| no_answer("a region"))
}

/// Has the broker that listens at `socket` give up a region that no session uses.
///
/// # Errors
/// As [`region`].
pub fn forget_region(socket: &Path, name: &str) -> io::Result<()> {
    ask(socket, &Request::Forget(name.to_owned())).map(drop)
}

/// What was measured of the frames of a session of the broker that listens at `socket`.
///
/// # Errors
/// As [`sessions`]; `Other` with the broker's words where there is no such session.
pub fn statistics(socket: &Path, session: u64) -> io::Result<Summary> {
    let text = ask(socket, &Request::Statistics(session))?;
    Summary::parse(&text).ok_or_else(|| no_answer("a summary of frames"))
}

/// The frames of a session, one after the other. Those that come while nobody asks are missed; the guest waits for nobody.
#[derive(Debug)]
pub struct Pictures(UnixStream);

impl Pictures {
    /// Of a session of the broker that listens at `socket`: of one of its surfaces, or of whichever is presented to.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(socket: &Path, session: u64, surface: Option<Number>) -> io::Result<Self> {
        Request::Pictures(session, surface).send(socket).map(Self)
    }

    /// The next frame; the first time the last one, if there is one.
    ///
    /// # Errors
    /// As [`Picture::read`]; `WouldBlock` where none comes within `patience`, after which nothing can be asked any more.
    pub fn next(&mut self, patience: Duration) -> io::Result<Picture> {
        self.0.set_read_timeout(Some(patience))?;
        // One who is gone has said why, or nothing.
        let _ = self.0.write_all(&[0]);
        // A process that ends leaves its connections as they are.
        Picture::read(&mut self.0).map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionReset => io::ErrorKind::UnexpectedEof.into(),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_when_written_and_parsed_is_the_same() {
        let region = |guest: Option<&str>| RegionConfig {
            name: "x".repeat(64),
            size: Size(u64::MAX),
            guest: guest.map(ToOwned::to_owned),
        };
        for request in [
            Request::Status,
            Request::Statistics(1),
            Request::Pictures(u64::MAX, None),
            Request::Pictures(u64::MAX, Some(Number::MAX)),
            Request::Regions,
            Request::Region(region(None)),
            Request::Region(region(Some("unix:/run/a path/with spaces"))),
            Request::Forget("vm-1".to_owned()),
        ] {
            let line = request.to_line();
            assert!(line.len() <= MAX_REQUEST);
            assert_eq!(Request::parse(line.trim_end()), Some(request));
        }
        assert_eq!(Request::parse("status 1"), None);
        assert_eq!(Request::parse("pictures 1 0"), None);
        assert_eq!(Request::parse("region a"), None);
    }

    #[test]
    fn region_when_written_and_parsed_is_the_same() {
        for guest in [None, Some("vsock:4".to_owned())] {
            let region = RegionInfo {
                name: "vm-1".to_owned(),
                size: 1 << 30,
                id: "0123456789abcdef0123456789abcdef".parse().expect("an id"),
                path: "/proc/1/fd/2".to_owned(),
                sessions: 3,
                used: 4,
                resident: 5,
                guest,
            };
            assert_eq!(RegionInfo::parse(region.to_line().trim_end()), Some(region));
        }
        assert_eq!(RegionInfo::parse("a 1 2"), None);
    }

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
