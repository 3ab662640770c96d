//! The host's part: commands come in, everything else goes out.

use std::sync::atomic::{Ordering, fence};

use super::{Mirror, Told, lock};
use crate::control::SHORT_REPLY;
use crate::frame::{END, Frame, FrameError, Kind, MAX_PAYLOAD};
use crate::link::Batch;
use crate::liveness::PeerGone;
use crate::region::Region;

/// How far the ring is read is told at the latest when it is so much of it, so that a guest that waits for room need not ask.
const HEAD_PART: u64 = 8;

/// Bytes of a reply in a frame.
const REPLY_PART: usize = MAX_PAYLOAD - 16;

impl Mirror {
    /// Tells how far the ring is read, if it is time or the guest has asked.
    pub(super) fn tell_head(&self, region: &Region) -> Result<(), PeerGone> {
        let head = region.control().head_cursor().load();
        let told = self.told_head.load(Ordering::Relaxed);
        let asked = self.asked.load(Ordering::Relaxed);
        let due = head - told >= region.ring().1 as u64 / HEAD_PART;
        if !due && (asked > head || asked <= told) {
            return Ok(());
        }
        let mut told = lock(&self.told);
        let mut batch = self.link.batch();
        self.state(region, &mut told, &mut batch, &[])?;
        batch.flush()
    }

    /// Sends the reply that stands in the reply area, and which queues are new.
    pub(super) fn tell_reply(&self, region: &Region) -> Result<(), PeerGone> {
        let mut told = lock(&self.told);
        let control = region.control();
        let number = control.reply_seq();
        if number == told.replies {
            return Ok(());
        }
        let mut batch = self.link.batch();
        let begun = (0..told.completed.len()).filter(|slot| control.completed(*slot) < told.completed[*slot]);
        let begun: Vec<_> = begun.map(|slot| (slot as u64, control.completed(slot))).collect();
        self.state(region, &mut told, &mut batch, &begun)?;
        let length = control.reply_len();
        let (area, size) = region.reply();
        let short = control.short_reply();
        let bytes = match &short {
            Some(words) => &bytemuck::bytes_of(words)[..SHORT_REPLY.min(length as usize)],
            // SAFETY: the reply area is mapped, and written by the thread alone that posts replies: this one.
            None => unsafe { std::slice::from_raw_parts(area.as_ptr(), size.min(length as usize)) },
        };
        let mut offset = 0;
        loop {
            let part = &bytes[offset..bytes.len().min(offset + REPLY_PART)];
            let ends = offset + part.len() == bytes.len();
            let head = [number, length, offset as u32].map(u32::to_le_bytes);
            batch.put(Kind::Reply, if ends { END } else { 0 }, &[head.as_flattened(), part])?;
            offset += part.len();
            if ends {
                break;
            }
        }
        told.replies = number;
        batch.flush()
    }

    /// Tells what is complete, after what the device has written until then.
    pub(super) fn tell_completions(&self, region: &Region) -> Result<(), PeerGone> {
        let mut told = lock(&self.told);
        let control = region.control();
        // Taken before the window is looked at, so that nothing is told of that was not looked at.
        let more = (0..told.completed.len()).filter(|slot| control.completed(*slot) != told.completed[*slot]);
        let more: Vec<_> = more.map(|slot| (slot as u64, control.completed(slot))).collect();
        if more.is_empty() && control.device_lost().unwrap_or(0) == told.lost {
            return Ok(());
        }
        fence(Ordering::Acquire);
        let mut batch = self.link.batch();
        self.changes(region, &mut batch)?;
        self.state(region, &mut told, &mut batch, &more)?;
        batch.flush()
    }

    fn state(
        &self,
        region: &Region,
        told: &mut Told,
        batch: &mut Batch<'_>,
        completed: &[(u64, u64)],
    ) -> Result<(), PeerGone> {
        told.head = region.control().head_cursor().load();
        told.lost = region.control().device_lost().unwrap_or(0);
        self.told_head.store(told.head, Ordering::Relaxed);
        let mut numbers = Vec::with_capacity(2 * completed.len());
        for (slot, number) in completed {
            told.completed[*slot as usize] = *number;
            numbers.extend([slot.to_le_bytes(), number.to_le_bytes()]);
        }
        let lost = u64::from(told.lost);
        let head = [told.head, lost].map(u64::to_le_bytes);
        batch.put(Kind::State, 0, &[head.as_flattened(), numbers.as_flattened()])
    }

    /// Pages of the window were given back to the system on this side.
    pub(crate) fn punched(&self, offset: usize, length: usize) {
        let _told = lock(&self.told);
        lock(&self.shadow).punch(offset, length);
        let range = [offset as u64, length as u64].map(u64::to_le_bytes);
        // Goes with what follows. Where the guest is gone it has no use for it.
        let _ = self.link.batch().put(Kind::Punch, 0, &[range.as_flattened()]);
    }

    pub(super) fn take_as_host(
        &self,
        region: &Region,
        received: &mut u64,
        mut frame: Frame<'_>,
    ) -> Result<(), FrameError> {
        let control = region.control();
        match frame.kind {
            Kind::Pages => self.apply(region, frame.payload),
            Kind::Ring => {
                let (ring, capacity) = region.ring();
                let (bytes, used) = (frame.payload, *received - control.head_cursor().load());
                if !bytes.len().is_multiple_of(8) || bytes.len() as u64 > capacity as u64 - used {
                    let what = format!("{} bytes where {used} of {capacity} are not read", bytes.len());
                    return Err(FrameError::malformed(frame.kind, what));
                }
                let at = *received as usize & (capacity - 1);
                // SAFETY: the ring is mapped twice, so that there is room for its size from everywhere in it; what is written over
                // was read.
                unsafe { ring.as_ptr().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                *received += bytes.len() as u64;
                if frame.flags & END != 0 {
                    let tail = control.tail_cursor();
                    tail.position.store(*received, Ordering::Release);
                    tail.moved.signal_here();
                }
                Ok(())
            }
            Kind::Ask => {
                let position = frame.take_u64()?;
                frame.finish()?;
                // Who has asked for less waits no longer than for this.
                self.asked.fetch_max(position, Ordering::Relaxed);
                // Either who reads the ring sees the question, or this sees how far that is.
                fence(Ordering::SeqCst);
                let head = control.head_cursor().load();
                if head >= position {
                    let lost = u64::from(control.device_lost().unwrap_or(0));
                    self.link.answer(Kind::State, [head, lost].map(u64::to_le_bytes).as_flattened());
                }
                Ok(())
            }
            kind => Err(FrameError::malformed(kind, "a guest does not send it")),
        }
    }
}
