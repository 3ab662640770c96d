//! A socket that carries frames: any number of threads write, one thread reads.
//!
//! The thread that reads never waits for room to write, so that two sides that both have much to say cannot wait for each
//! other. What it has to say itself (answers) goes along with what others write, or when there is room.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send};

use crate::descriptor::Descriptor;
use crate::frame::{self, Frame, FrameError, HEADER, Kind, MAX_FRAME, MAX_PAYLOAD};
use crate::liveness::PeerGone;

/// Bytes read at once at most.
const READ: usize = 256 << 10;

/// How long the other side may take nothing that is written to it, or give no answer to a ping, until it counts as gone.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing comes until the other side is asked whether it is there, where an answer may be owed.
const QUIET: Duration = Duration::from_secs(2);

/// Why the thread that reads has come to its end.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side closed the socket, or this one did.
    #[error(transparent)]
    Gone(#[from] PeerGone),
    /// The other side is there and says nothing.
    #[error("the other side has not answered for {0:?}: the stream is stalled")]
    Stalled(Duration),
    /// What came is no stream of frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The operating system refused.
    #[error("the stream cannot be read: {0}")]
    Os(#[source] io::Error),
}

/// A socket after the handshake, with frames on it.
pub struct Link {
    socket: Descriptor,
    out: Mutex<Out>,
    gone: AtomicBool,
    /// Something was written since something was last read.
    awaiting: AtomicBool,
    /// There is something in `answers`.
    owes: AtomicBool,
    /// What the thread that reads has to say: of each kind the last.
    answers: Mutex<BTreeMap<u8, (Kind, Vec<u8>)>>,
    patience: Duration,
    words: Mutex<Option<String>>,
    blame: OnceLock<String>,
    sent: Traffic,
    received: Traffic,
}

#[derive(Debug, Default)]
struct Traffic {
    bytes: AtomicU64,
    frames: AtomicU64,
}

/// What went one way so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes, headers included.
    pub bytes: u64,
    /// Frames.
    pub frames: u64,
}

impl Traffic {
    fn volume(&self) -> Volume {
        Volume { bytes: self.bytes.load(Ordering::Relaxed), frames: self.frames.load(Ordering::Relaxed) }
    }
}

/// Frames that are not written yet.
#[derive(Debug, Default)]
struct Out {
    bytes: Vec<u8>,
    /// Number of the next frame.
    number: u16,
}

impl Out {
    fn put(&mut self, kind: Kind, flags: u8, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        debug_assert!(length <= MAX_PAYLOAD, "{length} bytes in a frame");
        self.bytes.extend(frame::header(kind, flags, self.number, length));
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.number = self.number.wrapping_add(1);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("gone", &self.is_gone()).finish_non_exhaustive()
    }
}

impl Link {
    /// Over a connected socket, on which nothing but frames follows. `patience`: [`PATIENCE`] but for tests.
    pub fn new(socket: OwnedFd, patience: Duration) -> Self {
        Self {
            socket: Descriptor::new(socket),
            out: Mutex::default(),
            gone: AtomicBool::new(false),
            awaiting: AtomicBool::new(false),
            owes: AtomicBool::new(false),
            answers: Mutex::default(),
            patience,
            words: Mutex::default(),
            blame: OnceLock::new(),
            sent: Traffic::default(),
            received: Traffic::default(),
        }
    }

    /// Whether the connection is over.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether the connection is there, as far as is known, and its socket still this one's.
    pub(crate) fn is_up(&self) -> bool {
        !self.is_gone() && self.socket().is_ok()
    }

    /// Why the other side left, if it said so, or what was wrong with it.
    pub fn last_words(&self) -> Option<String> {
        lock(&self.words).clone().or_else(|| self.fault().map(ToOwned::to_owned))
    }

    /// What was wrong with the stream, if that is why it is over.
    pub fn fault(&self) -> Option<&str> {
        self.blame.get().map(String::as_str)
    }

    /// Says something without waiting; only for the thread that reads. Of several answers of a kind the last counts.
    pub(crate) fn answer(&self, kind: Kind, payload: &[u8]) {
        lock(&self.answers).insert(kind as u8, (kind, payload.to_vec()));
        self.owes.store(true, Ordering::Release);
    }

    /// What was written so far.
    pub fn sent(&self) -> Volume {
        self.sent.volume()
    }

    /// What has come so far.
    pub fn received(&self) -> Volume {
        self.received.volume()
    }

    /// Frames of one thread that follow each other; others wait until it is dropped. What is not flushed is written with
    /// what comes next.
    pub fn batch(&self) -> Batch<'_> {
        Batch { link: self, out: lock(&self.out) }
    }

    /// Ends the connection and says why. What cannot be written at once is lost.
    pub fn close(&self, reason: &str) {
        if self.gone.swap(true, Ordering::AcqRel) {
            return;
        }
        if let (Ok(socket), Ok(mut out)) = (self.socket(), self.out.try_lock()) {
            let mut end = reason.len().min(1024);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            out.put(Kind::Goodbye, 0, &[&reason.as_bytes()[..end]]);
            let _ = self.write_some(socket, &mut out);
        }
        self.hang_up();
    }

    /// Ends the connection.
    pub fn hang_up(&self) {
        self.gone.store(true, Ordering::Release);
        if let Ok(socket) = self.socket() {
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }

    /// The socket, unless the program has closed it under us.
    fn socket(&self) -> Result<BorrowedFd<'_>, PeerGone> {
        self.socket.get().ok_or(PeerGone)
    }

    /// Writes what there is room for. Whether that was all.
    fn write_some(&self, socket: BorrowedFd<'_>, out: &mut Out) -> Result<bool, Errno> {
        let mut written = 0;
        let result = loop {
            let rest = &out.bytes[written..];
            if rest.is_empty() {
                break Ok(true);
            }
            match send(socket, &rest[..rest.len().min(MAX_FRAME)], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
            {
                Ok(n) => written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        out.bytes.drain(..written);
        self.sent.bytes.fetch_add(written as u64, Ordering::Relaxed);
        result
    }

    /// Writes everything; waits as long as the other side takes something now and then.
    fn write_all(&self, out: &mut Out) -> Result<(), PeerGone> {
        let mut since = Instant::now();
        loop {
            if self.is_gone() {
                out.bytes.clear();
                return Err(PeerGone);
            }
            let socket = self.socket()?;
            let before = out.bytes.len();
            match self.write_some(socket, out) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) => {
                    self.hang_up();
                    return Err(PeerGone);
                }
            }
            if out.bytes.len() < before {
                since = Instant::now();
            }
            let left = self.patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                self.hang_up();
                return Err(PeerGone);
            }
            // Woken by a hang-up too.
            let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)], Some(&timespec(left)));
        }
    }

    /// Adds the answers that are owed.
    fn settle(&self, out: &mut Out) {
        if self.owes.swap(false, Ordering::AcqRel) {
            for (kind, payload) in std::mem::take(&mut *lock(&self.answers)).into_values() {
                self.count(out, kind, 0, &[&payload]);
            }
        }
    }

    fn count(&self, out: &mut Out, kind: Kind, flags: u8, parts: &[&[u8]]) {
        self.sent.frames.fetch_add(1, Ordering::Relaxed);
        out.put(kind, flags, parts);
    }

    /// Lets `say` add to what is written, and the answers, without waiting for anything. Whether something is left to be
    /// written.
    fn murmur(&self, say: impl FnOnce(&mut Out)) -> bool {
        let mut out = match self.out.try_lock() {
            Ok(out) => out,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Who holds it may have looked for answers already.
            Err(TryLockError::WouldBlock) => return true,
        };
        say(&mut out);
        let Ok(socket) = self.socket() else { return false };
        // Answers are not gathered in memory for a side that does not read them.
        let mut written = self.write_some(socket, &mut out);
        if written == Ok(true) && self.owes.load(Ordering::Acquire) {
            self.settle(&mut out);
            written = self.write_some(socket, &mut out);
        }
        written == Ok(false)
    }

    /// Reads until the connection is over, and hands each frame to `take`, but for those that are about the stream itself.
    /// `asks`: this side asks after the other one when an answer is owed and nothing comes. To be called by one thread.
    ///
    /// # Errors
    /// Always: why it is over. The socket is shut down then, unless the other side has done it.
    pub fn pump(&self, asks: bool, mut take: impl FnMut(Frame<'_>) -> Result<(), FrameError>) -> LinkError {
        let error = self.read(asks, &mut take).err().unwrap_or(LinkError::Gone(PeerGone));
        if matches!(error, LinkError::Gone(_)) {
            // The socket stays as it is until it is closed: that tells the other side's owner that this one has let go of memory.
            self.gone.store(true, Ordering::Release);
        } else {
            // Before anybody can ask why.
            let _ = self.blame.set(error.to_string());
            self.hang_up();
        }
        error
    }

    fn read(
        &self,
        asks: bool,
        take: &mut dyn FnMut(Frame<'_>) -> Result<(), FrameError>,
    ) -> Result<(), LinkError> {
        let mut buffer = vec![0; READ + MAX_FRAME];
        let (mut filled, mut number) = (0, 0_u16);
        let mut asked = None;
        let mut unwritten = false;
        loop {
            let socket = self.socket()?;
            let room = if unwritten { PollFlags::OUT } else { PollFlags::empty() };
            let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN | room)];
            let limit = asks.then(|| timespec(QUIET));
            match poll(&mut fds, limit.as_ref()) {
                Ok(0) if self.awaiting.load(Ordering::Relaxed) => {
                    let since = *asked.get_or_insert_with(|| {
                        unwritten |= self.murmur(|out| self.count(out, Kind::Ping, 0, &[]));
                        Instant::now()
                    });
                    if since.elapsed() >= self.patience {
                        return Err(LinkError::Stalled(self.patience));
                    }
                    continue;
                }
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(LinkError::Os(error.into())),
            }
            let ready = fds[0].revents();
            if ready.contains(PollFlags::OUT) {
                unwritten = self.murmur(|_| {});
            }
            if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                continue;
            }
            match recv(socket, &mut buffer[filled..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Ok(()),
                Ok((_, n)) => {
                    filled += n;
                    self.received.bytes.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(Errno::CONNRESET | Errno::PIPE) => return Ok(()),
                Err(error) => return Err(LinkError::Os(error.into())),
            }
            self.awaiting.store(false, Ordering::Relaxed);
            asked = None;
            let mut at = 0;
            while let Some((frame, length)) = frame::parse(&buffer[at..filled], number)? {
                number = number.wrapping_add(1);
                self.received.frames.fetch_add(1, Ordering::Relaxed);
                match frame.kind {
                    Kind::Ping => self.answer(Kind::Pong, &[]),
                    Kind::Pong => {}
                    Kind::Goodbye => *lock(&self.words) = Some(clean(frame.payload)),
                    _ => take(frame)?,
                }
                at += length;
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
            if self.owes.load(Ordering::Acquire) {
                unwritten |= self.murmur(|_| {});
            }
        }
    }
}

/// Frames of one thread, in order.
pub struct Batch<'a> {
    link: &'a Link,
    out: MutexGuard<'a, Out>,
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("bytes", &self.out.bytes.len()).finish()
    }
}

impl Batch<'_> {
    /// Adds a frame; `parts` are together at most [`MAX_PAYLOAD`] bytes. What is too much to be kept is written.
    ///
    /// # Errors
    /// The other side is gone, or takes nothing any more.
    pub fn put(&mut self, kind: Kind, flags: u8, parts: &[&[u8]]) -> Result<(), PeerGone> {
        self.link.count(&mut self.out, kind, flags, parts);
        if self.out.bytes.len() < MAX_FRAME - HEADER { Ok(()) } else { self.flush() }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn flush(&mut self) -> Result<(), PeerGone> {
        self.link.settle(&mut self.out);
        self.link.awaiting.store(true, Ordering::Relaxed);
        self.link.write_all(&mut self.out)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // Who reads could not answer meanwhile.
        if self.link.owes.load(Ordering::Acquire) {
            self.link.settle(&mut self.out);
            let _ = self.link.write_all(&mut self.out);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Text of the other side, fit for a log.
fn clean(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).replace(|c: char| c.is_control(), " ")
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX), tv_nsec: 0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::thread::JoinHandle;

    use super::*;

    type Taken = Arc<Mutex<Vec<(Kind, Vec<u8>)>>>;

    /// A link whose frames are kept, and the thread that reads it.
    fn link(socket: UnixStream, asks: bool, patience: Duration) -> (Arc<Link>, Taken, JoinHandle<LinkError>) {
        let link = Arc::new(Link::new(socket.into(), patience));
        let taken = Taken::default();
        let (reads, keeps) = (link.clone(), taken.clone());
        let reader = std::thread::spawn(move || {
            reads.pump(asks, |frame| {
                lock(&keeps).push((frame.kind, frame.payload.to_vec()));
                Ok(())
            })
        });
        (link, taken, reader)
    }

    #[test]
    fn frames_when_both_sides_say_much_at_once_all_arrive_in_order() {
        const FRAMES: u32 = 4000;
        let (a, b) = UnixStream::pair().unwrap();
        let ends = [link(a, true, PATIENCE), link(b, false, PATIENCE)];
        std::thread::scope(|scope| {
            for (link, ..) in &ends {
                scope.spawn(move || {
                    for number in 0..FRAMES {
                        let mut batch = link.batch();
                        let filler = vec![7; number as usize * 31 % (MAX_PAYLOAD - 4)];
                        batch.put(Kind::Pages, 0, &[&number.to_le_bytes(), &filler]).unwrap();
                        batch.flush().unwrap();
                    }
                });
            }
        });
        for (_, taken, _) in &ends {
            while lock(taken).len() < FRAMES as usize {
                std::thread::yield_now();
            }
            for (number, (_, bytes)) in (0..).zip(&*lock(taken)) {
                assert_eq!(bytes[..4], u32::to_le_bytes(number));
            }
        }
        let [(a, ..), _] = &ends;
        a.close("enough");
        let [(.., first), (.., second)] = ends.map(|(link, _, reader)| (link, reader));
        assert!(matches!(first.join().unwrap(), LinkError::Gone(_)));
        assert!(matches!(second.join().unwrap(), LinkError::Gone(_)));
    }

    #[test]
    fn link_when_what_comes_is_no_frame_ends_and_says_why() {
        let header = |kind: u8, number: u16, length: u32| {
            let [a, b] = number.to_le_bytes();
            [[kind, 0, a, b], length.to_le_bytes()].concat()
        };
        for (bytes, why) in [
            (header(99, 0, 0), "unknown kind 99"),
            (header(Kind::Ring as u8, 0, 1 << 20), "frame of 1048576 bytes"),
            (header(Kind::Ring as u8, 1, 0), "frame number 1 where 0"),
            ([header(Kind::Pong as u8, 0, 0), header(Kind::Pong as u8, 2, 0)].concat(), "number 2 where 1"),
        ] {
            let (a, mut b) = UnixStream::pair().unwrap();
            let (_link, taken, reader) = link(a, false, PATIENCE);
            b.write_all(&bytes).unwrap();
            let error = reader.join().unwrap();
            assert!(matches!(error, LinkError::Frame(_)) && error.to_string().contains(why), "{error}");
            assert!(lock(&taken).is_empty());
            // It has hung up.
            assert_eq!(b.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn link_when_a_frame_is_cut_off_waits_and_then_is_gone() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let (_link, taken, reader) = link(a, false, PATIENCE);
        b.write_all(&frame::header(Kind::Ring, 0, 0, 100)).unwrap();
        b.write_all(&[1; 99]).unwrap();
        drop(b);
        assert!(matches!(reader.join().unwrap(), LinkError::Gone(_)));
        assert!(lock(&taken).is_empty());
    }

    #[test]
    fn link_when_pinged_without_end_answers_without_keeping_more_than_one() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let (link, ..) = link(a, false, PATIENCE);
        // Nobody reads the answers, which soon find no room.
        for number in 0..20_000_u32 {
            b.write_all(&frame::header(Kind::Ping, 0, number as u16, 0)).unwrap();
        }
        while link.received().frames < 20_000 {
            std::thread::yield_now();
        }
        assert!(lock(&link.out).bytes.len() <= HEADER, "{}", lock(&link.out).bytes.len());
    }

    #[test]
    fn link_when_the_other_side_says_nothing_is_stalled_and_when_it_takes_nothing_is_gone() {
        let patience = Duration::from_millis(300);
        let (a, b) = UnixStream::pair().unwrap();
        let (asking, _, reader) = link(a, true, patience);
        asking.batch().flush().unwrap();
        // `b` is there and reads nothing: the ping is not answered.
        assert!(matches!(reader.join().unwrap(), LinkError::Stalled(_)));
        assert!(asking.is_gone());
        drop(b);

        let (a, b) = UnixStream::pair().unwrap();
        let (writing, _, reader) = link(a, false, patience);
        let mut batch = writing.batch();
        let full = (0..10_000).find_map(|_| batch.put(Kind::Pages, 0, &[&[0; MAX_PAYLOAD]]).err());
        assert_eq!(full, Some(PeerGone));
        drop(batch);
        assert!(matches!(reader.join().unwrap(), LinkError::Gone(_)));
        drop(b);
    }

    #[test]
    fn link_when_the_other_side_is_there_is_not_stalled_however_quiet() {
        let (a, b) = UnixStream::pair().unwrap();
        let (asking, ..) = link(a, true, PATIENCE);
        let (other, ..) = link(b, false, PATIENCE);
        asking.batch().flush().unwrap();
        // Asked once, and then nothing is owed any more.
        while other.sent().frames == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(QUIET + Duration::from_millis(500));
        assert!(asking.is_up() && asking.sent().frames == 1, "{:?}", asking.sent());
    }
}
