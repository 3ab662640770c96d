//! Wakes across kernels: a frame for each that somebody sleeps for.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::bell::{Bell, Word};
use crate::frame::{Frame, FrameError, Kind};
use crate::handshake::Versions;
use crate::link::{Link, PATIENCE};
use crate::peer::Peer;
use crate::region::Region;
use crate::thread::Thread;

/// Rings by frames.
#[derive(Debug)]
struct Frames(Arc<Link>);

impl Bell for Frames {
    fn ring(&self, word: Word) {
        let mut batch = self.0.batch();
        // Who waits for the other side learns that it is gone.
        let _ = batch.put(Kind::Bell, 0, &[&word.bit().to_le_bytes()]).and_then(|()| batch.flush());
    }
}

/// The peer at the other end of `socket`, on which frames follow: a thread turns those that ring into wakes of this process's
/// threads. `asks`: this side asks whether the other one is there when it is long silent.
///
/// # Errors
/// When there is no descriptor left, or no thread.
pub(crate) fn connect(
    region: &Arc<Region>,
    socket: OwnedFd,
    versions: Versions,
    asks: bool,
) -> io::Result<Peer> {
    let link = Arc::new(Link::new(socket.try_clone()?, PATIENCE));
    region.control().set_bell(Arc::new(Frames(Arc::clone(&link))));
    let (region, pumped) = (Arc::clone(region), Arc::clone(&link));
    let reader = Thread::start(c"vw-bells", move || {
        pumped.pump(asks, |frame| wake(&region, frame));
        for word in Word::ALL {
            region.control().word(word).wake_here();
        }
    })?;
    Ok(Peer::on_stream(socket, versions, link, reader))
}

fn wake(region: &Region, mut frame: Frame<'_>) -> Result<(), FrameError> {
    if frame.kind != Kind::Bell {
        return Err(FrameError::malformed(frame.kind, "it does not belong to memory that both sides see"));
    }
    let bits = frame.take_u32()?;
    frame.finish()?;
    for word in Word::ALL.into_iter().filter(|word| bits & word.bit() != 0) {
        region.control().word(word).wake_here();
    }
    Ok(())
}
