//! Two regions that share no page and are kept alike over a stream.
//!
//! Each side has a region of its own, of the same layout, and works in it as if the other side saw it: producer, consumer,
//! replies and completions know of nothing. Where one side wakes the other ([`Bell`]), the mirror sends what has changed; a
//! thread reads what comes, puts it where it would be if the pages were shared, and wakes who waits there.
//!
//! The window travels as differences. A shadow copy holds what was last sent or received of it, so that both sides' shadows are
//! alike but for what is on the way. What differs from it is sent byte by byte ([`patch`]): what both sides write in
//! the same page, or line, stays as long as it is different bytes, which is all that Vulkan promises.
//!
//! The guest sends before a record is sent that lets the host or its device read; the host, before it tells of something that lets
//! the program read: a completion, a reply. Only what the program has been shown is looked at: on the guest's side those pages
//! that were [written](written), on the host's side what the device may write.

mod guest;
mod host;
mod look;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use self::look::Look;
use crate::bell::{Bell, Word};
use crate::control::QUEUE_SLOTS;
use crate::frame::{FrameError, Kind};
use crate::handshake::Versions;
use crate::link::{Batch, Link, PATIENCE, Volume};
use crate::liveness::PeerGone;
use crate::patch::{self, Change, Encoder, LINE};
use crate::peer::Peer;
use crate::region::Region;
use crate::shadow::Shadow;
use crate::thread::Thread;

/// Bytes that are compared at a time, while nothing that comes can be put there.
const PIECE: u64 = 64 << 10;

/// Which side of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It sends commands.
    Guest,
    /// It executes them.
    Host,
}

/// What the other side has been told. Who holds it is the only one to send.
#[derive(Debug)]
struct Told {
    tail: u64,
    head: u64,
    replies: u32,
    lost: u32,
    completed: [u64; QUEUE_SLOTS],
}

/// A region's part of keeping two regions alike.
pub struct Mirror {
    side: Side,
    region: Weak<Region>,
    link: Arc<Link>,
    told: Mutex<Told>,
    look: Mutex<Look>,
    shadow: Mutex<Shadow>,
    /// How often everything that has changed was sent.
    settled: AtomicU64,
    /// How far the guest wants to know that the ring is read.
    asked: AtomicU64,
    /// What [`Told::head`] is, to be looked at without the lock.
    told_head: AtomicU64,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("side", &self.side).field("link", &self.link).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mirror {
    /// Keeps `region` like the one of the other side, to which `socket` leads after the handshake; see [`start`](Self::start).
    ///
    /// # Errors
    /// As there, or when there is no descriptor left.
    pub fn connect(
        region: &Arc<Region>,
        socket: OwnedFd,
        versions: Versions,
        side: Side,
        compare: bool,
    ) -> io::Result<Peer> {
        let link = Arc::new(Link::new(socket.try_clone()?, PATIENCE));
        let reader = Self::start(region, Arc::clone(&link), side, compare)?;
        Ok(Peer::on_stream(socket, versions, link, reader))
    }

    /// Keeps `region`, of which nothing was used yet, and the one at the other end of `link` alike from now on. The thread that
    /// is returned reads the link until that is over. `compare`: which pages are written is found by comparison, whatever the
    /// kernel can tell.
    ///
    /// # Errors
    /// When there is no memory for a shadow, or no thread.
    fn start(region: &Arc<Region>, link: Arc<Link>, side: Side, compare: bool) -> io::Result<Thread> {
        let (base, size) = region.window();
        let mirror = Arc::new(Self {
            side,
            region: Arc::downgrade(region),
            link,
            told: Mutex::new(Told { tail: 0, head: 0, replies: 0, lost: 0, completed: [0; QUEUE_SLOTS] }),
            look: Mutex::new(Look::new(side, base, size, compare)),
            shadow: Mutex::new(Shadow::new(size)?),
            settled: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            told_head: AtomicU64::new(0),
        });
        let region = Arc::clone(region);
        region.set_mirror(Arc::clone(&mirror));
        mirror.arm(&region);
        Thread::start(c"vw-stream", move || mirror.read(&region))
    }

    /// The words by which this side wakes the other one.
    fn words(&self) -> &'static [Word] {
        match self.side {
            Side::Guest => &[Word::Command],
            Side::Host => &[Word::Space, Word::Reply, Word::Completion],
        }
    }

    /// The other side always sleeps, as far as this one can see.
    fn arm(&self, region: &Region) {
        for word in self.words() {
            region.control().word(*word).arm();
        }
    }

    /// Reads what comes until the connection is over.
    fn read(&self, region: &Region) {
        let mut ring = 0;
        self.link.pump(self.side == Side::Guest, |frame| match self.side {
            Side::Guest => self.take_as_guest(region, frame),
            Side::Host => self.take_as_host(region, &mut ring, frame),
        });
        for word in Word::ALL {
            region.control().word(word).signal_here();
        }
    }

    /// The program sees `length` bytes of the window from `offset` on, from now on.
    pub fn show(&self, offset: u64, length: u64) {
        lock(&self.look).show(offset, length);
    }

    /// It sees them no more.
    pub fn hide(&self, offset: u64, length: u64) {
        lock(&self.look).hide(offset, length);
    }

    /// Host: the device may write there from now on, until [`forget`](Self::forget).
    pub fn may_change(&self, offset: u64, length: u64) {
        lock(&self.look).may_change(offset, length);
    }

    /// Host: it may not any more, and the program does not see it.
    pub fn forget(&self, offset: u64, length: u64) {
        lock(&self.look).forget(offset, length);
    }

    /// Sends what has changed of all that the program sees; it comes before whatever this side sends next. Where the other side
    /// is gone nothing happens.
    pub fn settle(&self) {
        self.settled.fetch_add(1, Ordering::SeqCst);
        if let Some(region) = self.region.upgrade() {
            let _told = lock(&self.told);
            // Who waits for the other side learns that it is gone.
            let _ = self.changes(&region, &mut self.link.batch());
        }
    }

    /// How often [`settle`](Self::settle) was called. Nothing on the other side was let go since, if it is the same number as before.
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::SeqCst)
    }

    /// As [`settle`](Self::settle), with nothing to follow.
    pub fn settle_now(&self) {
        self.settle();
        // As there.
        let _ = self.link.batch().flush();
    }

    /// As [`settle`](Self::settle), for `length` bytes from `offset` on, which the program need not see.
    pub fn settle_range(&self, offset: u64, length: u64) {
        if let Some(region) = self.region.upgrade() {
            let _told = lock(&self.told);
            let _ = self.differences(&region, &mut self.link.batch(), [(offset, offset + length)]);
        }
    }

    /// Host: as [`settle`](Self::settle), for what the device may have written of `length` bytes from `offset` on.
    pub fn settle_changes(&self, offset: u64, length: u64) {
        if let Some(region) = self.region.upgrade() {
            let _told = lock(&self.told);
            let parts = lock(&self.look).changeable(offset, length);
            let _ = self.differences(&region, &mut self.link.batch(), parts);
        }
    }

    /// What went through the socket so far: sent, received.
    pub fn volume(&self) -> (Volume, Volume) {
        (self.link.sent(), self.link.received())
    }

    /// Sends what has changed of all that is to be looked at.
    fn changes(&self, region: &Region, batch: &mut Batch<'_>) -> Result<(), PeerGone> {
        let parts = lock(&self.look).parts(region);
        self.differences(region, batch, parts)
    }

    /// Sends what differs from the shadow in these parts of the window, from start to end.
    fn differences(
        &self,
        region: &Region,
        batch: &mut Batch<'_>,
        parts: impl IntoIterator<Item = (u64, u64)>,
    ) -> Result<(), PeerGone> {
        let line = LINE as u64;
        let (window, size) = region.window();
        let mut encoder = Encoder::default();
        let mut copy = Vec::new();
        for (start, end) in parts {
            let (mut at, end) = (start / line * line, end.min(size as u64).next_multiple_of(line));
            while at < end {
                let length = (PIECE - at % PIECE).min(end - at) as usize;
                copy.resize(length, 0);
                {
                    let mut shadow = lock(&self.shadow);
                    // SAFETY: the range lies in the window, and is copied once: others may write there at any time. What
                    // comes from the other side is put there under the lock of the shadow.
                    unsafe {
                        window.as_ptr().add(at as usize).copy_to_nonoverlapping(copy.as_mut_ptr(), length);
                    };
                    encoder.differences(at / line, shadow.bytes(at as usize, length), &copy);
                }
                at += length as u64;
                for patch in encoder.take(false) {
                    batch.put(Kind::Pages, 0, &[&patch])?;
                }
            }
        }
        for patch in encoder.take(true) {
            batch.put(Kind::Pages, 0, &[&patch])?;
        }
        Ok(())
    }

    /// What has changed on the other side.
    fn apply(&self, region: &Region, patch: &[u8]) -> Result<(), FrameError> {
        let (window, size) = region.window();
        let mut shadow = lock(&self.shadow);
        patch::read(patch, size as u64, |change| match change {
            Change::Lines(at, bytes) => {
                shadow.bytes(at as usize, bytes.len()).copy_from_slice(bytes);
                // SAFETY: the change lies in the window.
                unsafe {
                    let to = window.as_ptr().add(at as usize);
                    to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
            }
            Change::Bytes(at, mut bits, bytes) => {
                let shadow = shadow.bytes(at as usize, LINE);
                for byte in bytes {
                    let place = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    shadow[place] = *byte;
                    // SAFETY: as above; the other bytes of the line are not touched.
                    unsafe { window.as_ptr().add(at as usize + place).write_volatile(*byte) };
                }
            }
        })
    }
}

impl Bell for Mirror {
    fn ring(&self, word: Word) {
        let Some(region) = self.region.upgrade().filter(|_| self.words().contains(&word)) else { return };
        region.control().word(word).arm();
        // Either what changes after this finds the flag again, or it is seen below.
        fence(Ordering::SeqCst);
        // Who waits for the other side learns that it is gone.
        let _ = match word {
            Word::Command => self.tell_tail(&region),
            Word::Space => self.tell_head(&region),
            Word::Reply => self.tell_reply(&region),
            Word::Completion => self.tell_completions(&region),
        };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
