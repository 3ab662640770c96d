//! The guest's part: commands go out, everything else comes in.

use std::sync::atomic::Ordering;

use super::{Mirror, lock};
use crate::control::QUEUE_SLOTS;
use crate::frame::{END, Frame, FrameError, Kind, MAX_PAYLOAD};
use crate::liveness::PeerGone;
use crate::region::Region;

impl Mirror {
    /// Sends what was published of the ring.
    pub(super) fn tell_tail(&self, region: &Region) -> Result<(), PeerGone> {
        let mut told = lock(&self.told);
        let tail = region.control().tail_cursor().load();
        let mut batch = self.link.batch();
        let (ring, capacity) = region.ring();
        while told.tail < tail {
            let at = told.tail as usize & (capacity - 1);
            let length = (tail - told.tail).min(MAX_PAYLOAD as u64) as usize;
            // SAFETY: the ring is mapped twice, so that `length` bytes, at most the ring's size, follow. What was published is
            // not written again before the head has passed it, which comes after this.
            let bytes = unsafe { std::slice::from_raw_parts(ring.as_ptr().add(at), length) };
            told.tail += length as u64;
            batch.put(Kind::Ring, if told.tail == tail { END } else { 0 }, &[bytes])?;
        }
        batch.flush()
    }

    /// Asks the host to tell when it has read the ring up to `position`, which it need not otherwise while it has nothing else to
    /// say.
    pub fn ask(&self, position: u64) {
        let mut batch = self.link.batch();
        // Who waits for the host learns that it is gone.
        let _ = batch.put(Kind::Ask, 0, &[&position.to_le_bytes()]).and_then(|()| batch.flush());
    }

    pub(super) fn take_as_guest(&self, region: &Region, mut frame: Frame<'_>) -> Result<(), FrameError> {
        match frame.kind {
            Kind::Pages => self.apply(region, frame.payload),
            Kind::State => take_state(region, &mut frame),
            Kind::Reply => take_reply(region, frame),
            Kind::Punch => {
                let (offset, length) = (frame.take_u64()?, frame.take_u64()?);
                frame.finish()?;
                let mut shadow = lock(&self.shadow);
                region
                    .punch_here(offset as usize, length as usize)
                    .map_err(|error| FrameError::malformed(frame.kind, error.to_string()))?;
                shadow.punch(offset as usize, length as usize);
                Ok(())
            }
            kind => Err(FrameError::malformed(kind, "a host does not send it")),
        }
    }
}

fn take_state(region: &Region, frame: &mut Frame<'_>) -> Result<(), FrameError> {
    let control = region.control();
    let (head, lost, _) = (frame.take_u64()?, frame.take_u32()?, frame.take_u32()?);
    while !frame.payload.is_empty() {
        let (slot, number) = (frame.take_u64()?, frame.take_u64()?);
        let completed = usize::try_from(slot).ok().and_then(|slot| control.page().completed.get(slot));
        let Some(completed) = completed else {
            return Err(FrameError::malformed(frame.kind, format!("slot {slot} of {QUEUE_SLOTS}")));
        };
        completed.store(number, Ordering::Release);
    }
    // Whether it can be is for the producer to judge; answers to questions may come late.
    control.page().head.fetch_max(head, Ordering::AcqRel);
    control.head_cursor().moved.signal_here();
    if lost != 0 {
        let _ = control.page().device_lost.compare_exchange(0, lost, Ordering::AcqRel, Ordering::Relaxed);
    }
    control.completion().signal_here();
    Ok(())
}

fn take_reply(region: &Region, mut frame: Frame<'_>) -> Result<(), FrameError> {
    let (number, length, offset) = (frame.take_u32()?, frame.take_u32()?, frame.take_u32()? as usize);
    let (area, size) = region.reply();
    let bytes = frame.payload;
    if offset > size || bytes.len() > size - offset {
        let what = format!("{} bytes at {offset:#x} of a reply area of {size} bytes", bytes.len());
        return Err(FrameError::malformed(frame.kind, what));
    }
    // SAFETY: the range lies in the reply area, which the guest reads after the end of the reply alone.
    unsafe { area.as_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    if frame.flags & END != 0 {
        let state = &region.control().page().reply_state;
        state.len.store(length, Ordering::Relaxed);
        state.seq.store(number, Ordering::Release);
        region.control().reply().signal_here();
    }
    Ok(())
}
