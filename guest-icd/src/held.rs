//! Recordings that have ended and are held back: the host is behind, and nobody needs them yet.
//!
//! They change under the sender's lock alone, so that whoever needs one, drops one, or finds the host waiting may come from
//! any thread.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use vw_wire_protocol::generated::commands::opcodes;

use crate::failure::Failure;
use crate::sender::Sender;
use crate::session::Session;
use crate::stream::Stream;

/// The host begins with a stream of this many bytes at its end, not only at the submission.
const WORTH_A_WAKE: usize = 4 << 10;

/// A recording that has ended.
pub(crate) struct Held {
    /// Id of the command buffer.
    buffer: u64,
    /// Its ticket, to say when it is over.
    recording: u64,
    stream: Stream,
}

/// The held recordings of a session, oldest first.
pub(crate) type HeldRecordings = VecDeque<Held>;

/// Sends what is left of a recording of the command buffer with this id, and its end.
fn end(session: &Session, sender: &mut Sender, stream: &mut Stream, buffer: u64) -> Result<(), Failure> {
    let recorded = stream.finish(session, sender, buffer);
    // Its one argument is the command buffer.
    // SAFETY: there is room for an id.
    sender.push_straight(opcodes::VK_END_COMMAND_BUFFER, |to| unsafe { to.put(buffer) })?;
    if recorded? >= WORTH_A_WAKE {
        sender.publish();
    }
    Ok(())
}

impl Session {
    /// Ends a recording: what is left of it goes to the host, or all of it is held back, and the stream is empty then.
    /// Returns whether it is held.
    pub(crate) fn end_recording(
        &self,
        stream: &mut Stream,
        buffer: u64,
        recording: &mut Option<u64>,
    ) -> Result<bool, Failure> {
        let held = self.with_sender(|sender| {
            if !stream.is_held(self, sender, buffer)? {
                return end(self, sender, stream, buffer).map(|()| false);
            }
            let recording = recording.take().unwrap_or(0);
            sender.held.push_back(Held { buffer, recording, stream: stream.split_off() });
            self.held.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        })?;
        self.hand_over_oldest();
        Ok(held)
    }

    /// Whether recordings are held back, so that a submission has to look for its own.
    #[inline]
    pub(crate) fn holds_recordings(&self) -> bool {
        self.held.load(Ordering::Relaxed) != 0
    }

    /// Hands over those of these command buffers that are held back: they are needed.
    pub(crate) fn hand_over_held(&self, buffers: impl Iterator<Item = u64>) -> Result<(), Failure> {
        let over = self.with_sender(|sender| {
            let mut over = Vec::new();
            for buffer in buffers {
                if let Some(held) = self.take_held(sender, buffer) {
                    over.push(self.hand_over_whole(sender, held)?);
                }
            }
            Ok(over)
        })?;
        over.into_iter().for_each(|recording| self.recording_over(recording));
        Ok(())
    }

    /// Hands over the oldest that are held back, until the host is behind. It fails only when the session is lost, and then
    /// whatever needs them fails.
    pub(crate) fn hand_over_oldest(&self) {
        while self.holds_recordings() {
            let oldest = self.with_sender(|sender| {
                let Some(mut held) = sender.held.pop_front() else { return Ok(None) };
                if held.stream.is_held(self, sender, held.buffer)? {
                    sender.publish();
                    sender.held.push_front(held);
                    return Ok(None);
                }
                self.held.fetch_sub(1, Ordering::Relaxed);
                self.hand_over_whole(sender, held).map(Some)
            });
            match oldest {
                Ok(Some(recording)) => self.recording_over(recording),
                _ => return,
            }
        }
    }

    /// Takes the recording of this command buffer out of those that are held back.
    fn take_held(&self, sender: &mut Sender, buffer: u64) -> Option<Held> {
        let index = sender.held.iter().position(|held| held.buffer == buffer)?;
        self.held.fetch_sub(1, Ordering::Relaxed);
        sender.held.remove(index)
    }

    /// Hands over what is left of a recording; returns its ticket, which is over now.
    fn hand_over_whole(&self, sender: &mut Sender, mut held: Held) -> Result<u64, Failure> {
        end(self, sender, &mut held.stream, held.buffer)?;
        held.stream.release(self);
        Ok(held.recording)
    }

    /// Drops a recording that was held back and is not needed any more, unless it was handed over meanwhile.
    pub(crate) fn drop_held(&self, buffer: u64) {
        let held = self.with_sender(|sender| Ok(self.take_held(sender, buffer)));
        if let Ok(Some(mut held)) = held {
            held.stream.reset(self);
            held.stream.release(self);
            self.recording_over(held.recording);
        }
    }
}
