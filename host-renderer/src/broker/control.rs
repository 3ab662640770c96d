//! The control socket: who asks there is trusted, and nobody is waited for.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use vw_transport::Listener;

use super::{BrokerError, system};
use crate::control::{self, MAX_REQUEST, Request};

/// How long one may take to say what he wants.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most who have not said it yet; the next ones wait to be accepted.
const MAX_ASKING: usize = 64;

/// The socket, and those who have connected to it.
#[derive(Debug)]
pub(super) struct Control {
    listener: Listener,
    asking: Vec<Asking>,
}

/// One who has not said yet what he wants.
#[derive(Debug)]
struct Asking {
    stream: UnixStream,
    line: Vec<u8>,
    since: Instant,
}

impl Control {
    /// The control socket of the broker that listens at `socket`, for its user alone.
    pub(super) fn new(socket: &Path) -> Result<Self, BrokerError> {
        let path = control::path(socket);
        let listener = Listener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(system("protect the control socket"))?;
        listener.set_nonblocking(true).map_err(system("use the control socket"))?;
        Ok(Self { listener, asking: Vec::new() })
    }

    /// What is readable when there is something to do.
    pub(super) fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        let listener = (self.asking.len() < MAX_ASKING).then(|| self.listener.as_fd());
        let fds = listener.into_iter().chain(self.asking.iter().map(|asking| asking.stream.as_fd()));
        fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    /// When there is something to do all the same.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asking.iter().map(|asking| asking.since + PATIENCE).min()
    }

    /// Those who have said what they want.
    pub(super) fn look(&mut self) -> Vec<(Request, UnixStream)> {
        while self.asking.len() < MAX_ASKING
            && let Ok(stream) = self.listener.accept()
        {
            if stream.set_nonblocking(true).is_ok() {
                self.asking.push(Asking { stream, line: Vec::new(), since: Instant::now() });
            }
        }
        let mut ready = Vec::new();
        for mut asking in std::mem::take(&mut self.asking) {
            match asking.read() {
                Some(Ok(request)) => ready.push((request, asking.stream)),
                Some(Err(why)) => refuse(&asking.stream, &why),
                None if asking.since.elapsed() < PATIENCE => self.asking.push(asking),
                None => {}
            }
        }
        ready
    }
}

impl Asking {
    /// What he wants, or why that is nothing; none as long as he has not said it. What follows the line is the session's.
    fn read(&mut self) -> Option<Result<Request, String>> {
        let mut byte = [0];
        while self.line.len() < MAX_REQUEST {
            match self.stream.read(&mut byte) {
                Ok(0) => return Some(Err("the request has no end".to_owned())),
                Ok(_) if byte == *b"\n" => {
                    let line = String::from_utf8_lossy(&self.line);
                    let request = Request::parse(&line);
                    return Some(request.ok_or_else(|| format!("`{line}` is nothing that can be asked")));
                }
                Ok(_) => self.line.extend(byte),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => return Some(Err(error.to_string())),
            }
        }
        Some(Err("the request is too long".to_owned()))
    }
}

/// Tells one who asked why he gets nothing. It fits the socket's buffer; one who is gone does not hear it.
pub(super) fn refuse(mut stream: &UnixStream, why: &str) {
    let _ = stream.write_all(format!("error: {why}\n").as_bytes());
}

/// Answers with a text, as much of it as the socket takes at once, or with why there is none.
pub(super) fn answer(mut stream: &UnixStream, text: Result<String, String>) {
    match text {
        // Who does not read gets what fits.
        Ok(text) => drop(stream.write_all(text.as_bytes())),
        Err(why) => refuse(stream, &why),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn asking() -> (Asking, UnixStream) {
        let (mine, theirs) = UnixStream::pair().unwrap();
        mine.set_nonblocking(true).unwrap();
        (Asking { stream: mine, line: Vec::new(), since: Instant::now() }, theirs)
    }

    #[test]
    fn request_when_it_comes_in_parts_is_joined() {
        let (mut asking, mut client) = asking();
        assert_eq!(asking.read(), None);
        client.write_all(b"pictu").unwrap();
        assert_eq!(asking.read(), None);
        client.write_all(b"res 7\nmore").unwrap();
        assert_eq!(asking.read(), Some(Ok(Request::Pictures(7, None))));
        let mut rest = [0; 4];
        asking.stream.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"more", "not the broker's");
    }

    #[test]
    fn request_when_it_means_nothing_is_refused() {
        for text in [&b"dance\n"[..], b"pictures x\n", &[b'x'; MAX_REQUEST]] {
            let (mut asking, mut client) = asking();
            client.write_all(text).unwrap();
            assert!(asking.read().unwrap().is_err());
        }
    }
}
