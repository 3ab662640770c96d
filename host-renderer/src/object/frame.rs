//! Frames that the guest presents: what it says of them.

use std::sync::Arc;
use std::time::Instant;

use ash::vk;
use vw_wire_protocol::codec::Reader;
use vw_wire_protocol::record::{MAX_FRAMES, MAX_SHOWN};

use super::memory::Pages;
use crate::frames::picture::{Format, MAX_SIDE};
use crate::frames::{Frame, Place};
use crate::session::Session;
use crate::session::end::{End, violation};

impl Session {
    /// The record `FRAME`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn announce_frame(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let mut long = || reader.take_u64().map_err(violation);
        let (queue, surface, memory, offset) = (long()?, long()?, long()?, long()?);
        let mut short = || reader.take_u32().map_err(violation);
        let (width, height, row, format) = (short()?, short()?, short()?, short()?);
        reader.finish().map_err(violation)?;
        let wrong = |what: &str| violation(format!("a frame of {width} x {height} texels {what}"));
        let format = vk::Format::from_raw(format.cast_signed());
        let format = Format::of(format).ok_or_else(|| wrong(&format!("of format {}", format.as_raw())))?;
        let fits = (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height);
        if !fits || u64::from(row) < u64::from(width) * Format::TEXEL as u64 {
            return Err(wrong(&format!("with rows of {row} bytes")));
        }
        let (place, begin, length) = match self.memories.get(memory).map(|memory| &memory.pages) {
            Some(Pages::Window(begin, length) | Pages::Copied(begin, length)) => {
                (Place::Window(Arc::clone(&self.region)), *begin, *length)
            }
            Some(Pages::File(file, length)) => (Place::File(Arc::clone(file)), 0, *length),
            _ => return Err(wrong(&format!("in memory {memory:#x}, which is none that the guest sees"))),
        };
        let end = Frame::bytes(width, height, row).and_then(|bytes| bytes.checked_add(offset));
        if end.is_none_or(|end| end > length) {
            return Err(wrong(&format!("at {offset:#x} of {length} bytes")));
        }
        let submitted = Instant::now();
        let offset = begin + offset;
        let frame = Frame { surface, memory, place, offset, width, height, row, format, submitted };
        let announced = self.frames.announce(frame);
        let (queue, _) = self.queue_mut(queue).ok_or_else(|| wrong("without a queue"))?;
        if queue.announce(announced) {
            Ok(())
        } else {
            Err(wrong(&format!("above {MAX_FRAMES} of one submission")))
        }
    }

    /// The record `SHOWN`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn frames_shown(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let count = reader.take_u32().map_err(violation)? as usize;
        if count > MAX_SHOWN {
            return Err(violation(format!("{count} frames were seen: at most {MAX_SHOWN} at a time")));
        }
        let latencies: Result<Vec<u64>, End> =
            (0..count).map(|_| reader.take_u64().map_err(violation)).collect();
        reader.finish().map_err(violation)?;
        self.frames.shown(&latencies?);
        Ok(())
    }
}
