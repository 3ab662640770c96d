//! Those who look at a session's frames. Their connections come from the broker; what a guest sends never reaches them but
//! as a picture.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Frames;
use super::surfaces::Number;
use crate::broker::handoff;

/// Most who look at a session at a time.
const MAX_WATCHERS: usize = 16;

/// How long one may take to read a picture.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether one who waits for a frame is still there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What somebody wants of a session, as its process is told with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A [`Summary`](super::statistics::Summary) as text.
    Statistics,
    /// For each byte that is sent a [`Picture`](super::picture::Picture): the first of the last frame if there is one, the
    /// others of later frames. Of the surface with this number, or of whichever is presented to.
    Pictures(Option<Number>),
}

impl Wish {
    const STATISTICS: u64 = 1;
    const PICTURES: u64 = 2;

    /// As it travels: the kind, and above it the surface's number, 0 for any.
    pub(crate) fn to_u64(self) -> u64 {
        match self {
            Self::Statistics => Self::STATISTICS,
            Self::Pictures(surface) => Self::PICTURES | u64::from(surface.map_or(0, Number::get)) << 32,
        }
    }

    fn from_u64(number: u64) -> Option<Self> {
        let (kind, surface) = (number & u64::from(u32::MAX), Number::new((number >> 32) as u32));
        match (kind, surface) {
            (Self::STATISTICS, None) => Some(Self::Statistics),
            (Self::PICTURES, surface) => Some(Self::Pictures(surface)),
            _ => None,
        }
    }
}

/// Serves those whom the broker sends, until it sends no more.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(broker: OwnedFd, frames: Arc<Frames>) -> std::io::Result<()> {
    let watchers = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("vw-frames".to_owned()).spawn(move || {
        while let Ok(Some(parcel)) = handoff::receive(broker.as_fd()) {
            let (Some(wish), Some(connection)) = (Wish::from_u64(parcel.words[0]), parcel.fd) else {
                continue;
            };
            if watchers.fetch_add(1, Ordering::Relaxed) >= MAX_WATCHERS {
                watchers.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (frames, count) = (Arc::clone(&frames), Arc::clone(&watchers));
            let served = thread::Builder::new().name("vw-watcher".to_owned()).spawn(move || {
                if let Err(error) = serve(wish, UnixStream::from(connection), &frames) {
                    tracing::debug!("somebody who looked at frames is gone: {error}");
                }
                count.fetch_sub(1, Ordering::Relaxed);
            });
            if let Err(error) = served {
                watchers.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!("no thread for one who wants to look at frames: {error}");
            }
        }
    })?;
    Ok(())
}

fn serve(wish: Wish, mut stream: UnixStream, frames: &Frames) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let Wish::Pictures(surface) = wish else {
        return stream.write_all(frames.statistics().to_text().as_bytes());
    };
    let mut serial = 0;
    while stream.read(&mut [0])? == 1 {
        let picture = loop {
            match frames.picture(surface, serial, LOOK_EVERY) {
                Some(picture) => break picture,
                None if is_gone(&stream) => return Ok(()),
                None => {}
            }
        };
        serial = picture.serial;
        picture.write(&mut stream)?;
    }
    Ok(())
}

/// Whether nobody is at the other end.
fn is_gone(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && !fds[0].revents().is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use vw_transport::SharedFile;

    use super::super::picture::{Format, Picture};
    use super::super::statistics::Summary;
    use super::super::{Frame, Place};
    use super::*;

    #[test]
    fn watcher_when_sent_by_the_broker_gets_what_it_asks_for() {
        let (broker, process) = UnixStream::pair().unwrap();
        let frames = Arc::new(Frames::default());
        start(process.into(), Arc::clone(&frames)).unwrap();
        let introduce = |wish: Wish| {
            let (mine, theirs) = UnixStream::pair().unwrap();
            handoff::send(broker.as_fd(), [wish.to_u64(), 0, 0, 0, 0], Some(theirs.as_fd())).unwrap();
            mine
        };
        let mut watcher = introduce(Wish::Pictures(None));
        watcher.write_all(&[0, 0]).unwrap();
        let present = |byte: u8| {
            let file = Arc::new(SharedFile::create(4096).unwrap());
            // SAFETY: the file is larger.
            unsafe { file.base().write_bytes(byte, 4) };
            let frame = Frame {
                surface: byte.into(),
                memory: byte.into(),
                place: Place::File(file),
                offset: 0,
                width: 1,
                height: 1,
                row: 4,
                format: Format::Rgba,
                submitted: Instant::now(),
            };
            frames.announce(frame).complete();
        };
        for byte in [5, 6] {
            present(byte);
            let picture = Picture::read(&mut watcher).unwrap();
            assert_eq!((picture.texels, picture.format), (vec![byte; 4], Format::Rgba));
        }
        let mut second = introduce(Wish::Pictures(Number::new(2)));
        second.write_all(&[0]).unwrap();
        assert_eq!(Picture::read(&mut second).unwrap().texels, [6; 4]);
        let mut text = String::new();
        introduce(Wish::Statistics).read_to_string(&mut text).unwrap();
        assert_eq!(Summary::parse(&text).unwrap().frames, 2);
        // One who leaves while waiting, and one who wants what there is not.
        watcher.write_all(&[0]).unwrap();
        drop(watcher);
        let (mut mine, theirs) = UnixStream::pair().unwrap();
        handoff::send(broker.as_fd(), [99; 5], Some(theirs.as_fd())).unwrap();
        drop(theirs);
        assert_eq!(mine.read(&mut [0]).unwrap(), 0);
    }
}
