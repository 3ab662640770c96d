//! A command buffer's stream of records, written without any lock.
//!
//! Records go to a chunk of the command arena, or to memory of the guest's own of the same size when no chunk is free. A
//! full chunk is handed over while recording goes on, or held back while the host is behind: until it is not, or until
//! the recording is needed (see `held.rs`).

use std::collections::VecDeque;
use std::ptr::NonNull;

use vw_wire_protocol::codec::{EncodeError, Writer, encode_request};
use vw_wire_protocol::record::{ALIGNMENT, HEADER_SIZE, Header, MAX_RECORD, op, record_length};
use vw_wire_protocol::schema::Command;

use crate::chunks::{CHUNK_SIZE, Words};
use crate::failure::Failure;
use crate::frame;
use crate::log::{self, Level};
use crate::sender::Sender;
use crate::session::Session;

/// A chunk with less room than this is not worth keeping for the next recording.
const WORTH_KEEPING: usize = 4 << 10;

/// Where a stream is being written.
#[derive(Debug)]
pub(crate) struct Space {
    memory: Memory,
    /// First byte of the memory.
    base: NonNull<u8>,
    /// Where straight-line recording must stop: the chunk's end, or 0 where it is switched off.
    straight_end: usize,
    /// First byte that has not been handed over; a multiple of 8.
    start: usize,
    /// First byte that has not been written; a multiple of 8.
    end: usize,
    /// Ring position behind the last hand-over; 0 when there was none.
    position: u64,
}

#[derive(Debug)]
enum Memory {
    /// The chunk at this offset of the arena.
    Arena(u64),
    /// Memory of the guest, [`CHUNK_SIZE`] bytes, which `base` points to.
    Heap(Words),
}

// SAFETY: the memory that `base` points to is this space's alone: its own vector, or a chunk of the arena, which is
// mapped as long as the session.
unsafe impl Send for Space {}

impl Space {
    fn new(session: &Session) -> Self {
        let (memory, base) = match session.take_chunk() {
            Some(offset) => {
                // SAFETY: chunks lie in the arena.
                let base = unsafe { session.region().arena().0.add(offset as usize) };
                (Memory::Arena(offset), base)
            }
            None => {
                let mut words = session.take_words();
                let base = NonNull::from(words.as_mut_slice()).cast();
                (Memory::Heap(words), base)
            }
        };
        let straight_end = if session.perf.straight && !log::enabled(Level::Trace) { CHUNK_SIZE } else { 0 };
        Self { memory, base, straight_end, start: 0, end: 0, position: 0 }
    }

    /// The bytes from `end` on.
    fn room(&mut self) -> (*mut u8, usize) {
        // SAFETY: `end` is at most the chunk's size.
        (unsafe { self.base.as_ptr().add(self.end) }, CHUNK_SIZE - self.end)
    }

    /// Gives the records written since the last time to the host, and returns how many bytes they are.
    fn hand_over(&mut self, sender: &mut Sender, buffer: u64, ticket: u64) -> Result<usize, Failure> {
        if self.start == self.end {
            return Ok(0);
        }
        let (start, length) = (self.start, self.end - self.start);
        // SAFETY: both ends lie in the chunk, and what is between them was written.
        let records = unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(start), length) };
        self.position = match self.memory {
            Memory::Arena(offset) => sender.push(op::ARENA_STREAM, &|w| {
                w.put_u64(buffer);
                w.put_u64(offset + start as u64);
                w.put_u64(length as u64);
                w.put_u64(ticket);
            })?,
            Memory::Heap(_) => sender.push(op::STREAM, &|w| {
                w.put_u64(buffer);
                w.put_bytes(records);
            })?,
        };
        // What the ring holds a copy of may be written over.
        match self.memory {
            Memory::Arena(_) => self.start = self.end,
            Memory::Heap(_) => (self.start, self.end) = (0, 0),
        }
        Ok(length)
    }

    /// Whether another recording can begin here.
    pub(crate) fn worth_keeping(&self, session: &Session) -> bool {
        match self.memory {
            Memory::Arena(_) => CHUNK_SIZE - self.end >= WORTH_KEEPING,
            // Where there is no arena nothing better comes.
            Memory::Heap(_) => !session.has_arena(),
        }
    }

    /// Lets go of the memory; records that were not handed over are lost.
    pub(crate) fn release(self, session: &Session) {
        match self.memory {
            Memory::Arena(offset) => session.give_chunk_back(offset, self.position),
            Memory::Heap(words) => session.keep_words(words),
        }
    }
}

/// The stream of one command buffer.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Full ones that are held back.
    full: VecDeque<Space>,
    space: Option<Space>,
    /// The first error of the recording; `vkEndCommandBuffer` returns it.
    failure: Option<Failure>,
    /// Of the recording; 0 before the first.
    ticket: u64,
}

impl Stream {
    /// Whether the stream has no memory to write to yet.
    pub(crate) fn needs_space(&self) -> bool {
        self.space.is_none()
    }

    /// Room for a record that the caller writes at once, and its size in bytes; aligned to 8. None: append it.
    #[inline(always)]
    pub(crate) fn straight(&mut self) -> Option<(*mut u8, usize)> {
        let space = self.space.as_ref()?;
        // SAFETY: the end lies in the chunk.
        let start = unsafe { space.base.as_ptr().add(space.end) };
        Some((start, space.straight_end.checked_sub(space.end)?))
    }

    /// A record of `length` bytes, a multiple of 8, was written into that room.
    #[inline(always)]
    pub(crate) fn advance(&mut self, length: usize) {
        if let Some(space) = &mut self.space {
            space.end += length;
        }
    }

    /// Continues in the rest of another recording's chunk.
    pub(crate) fn set_space(&mut self, space: Space) {
        self.space = Some(space);
    }

    /// Appends a record.
    ///
    /// # Safety
    /// `args` must be valid arguments of `cmd`.
    pub(crate) unsafe fn append(&mut self, session: &Session, buffer: u64, cmd: &Command, args: &[u64]) {
        let space = self.space.get_or_insert_with(|| Space::new(session));
        // SAFETY: the caller's promise.
        match unsafe { write(space, cmd, args) } {
            Ok(()) => {}
            Err(EncodeError::Overflow { needed }) => {
                // SAFETY: the caller's promise.
                let appended = unsafe { self.append_elsewhere(session, buffer, cmd, args, needed) };
                if let Err(failure) = appended {
                    self.failure.get_or_insert(failure);
                }
            }
            Err(_) => {
                self.failure.get_or_insert(Failure::TooLarge);
            }
        }
    }

    /// Appends a record for which the chunk has no room.
    #[cold]
    unsafe fn append_elsewhere(
        &mut self,
        session: &Session,
        buffer: u64,
        cmd: &Command,
        args: &[u64],
        needed: usize,
    ) -> Result<(), Failure> {
        if let Some(full) = self.space.take() {
            self.full.push_back(full);
            session.with_sender(|sender| {
                if self.hand_over_full(session, sender, buffer, false)? > 0 {
                    // The host may begin to read while the recording goes on.
                    sender.publish();
                }
                Ok(())
            })?;
        }
        // SAFETY: the caller's promise.
        unsafe {
            if record_length(needed) + ALIGNMENT > CHUNK_SIZE {
                self.catch_up(session, buffer)?;
                return send_large(session, buffer, cmd, args);
            }
            let space = self.space.get_or_insert_with(|| Space::new(session));
            match write(space, cmd, args) {
                Ok(()) => Ok(()),
                // What is needed was not known before. The fresh space is empty, so that the order is kept.
                Err(EncodeError::Overflow { .. }) => {
                    self.catch_up(session, buffer)?;
                    send_large(session, buffer, cmd, args)
                }
                Err(_) => Err(Failure::TooLarge),
            }
        }
    }

    /// Hands over full spaces from the first on: `all`, or until the host is behind. Returns how many bytes these were.
    #[inline]
    fn hand_over_full(
        &mut self,
        session: &Session,
        sender: &mut Sender,
        buffer: u64,
        all: bool,
    ) -> Result<usize, Failure> {
        if self.full.is_empty() { Ok(0) } else { self.hand_over_held_back(session, sender, buffer, all) }
    }

    #[cold]
    fn hand_over_held_back(
        &mut self,
        session: &Session,
        sender: &mut Sender,
        buffer: u64,
        all: bool,
    ) -> Result<usize, Failure> {
        let mut handed_over = 0;
        while (all || !self.full.is_empty() && !session.host_is_behind(sender))
            && let Some(mut full) = self.full.pop_front()
        {
            let length = full.hand_over(sender, buffer, self.ticket);
            if self.space.is_none() && full.end == 0 && full.worth_keeping(session) {
                self.space = Some(full);
            } else {
                full.release(session);
            }
            handed_over += length?;
        }
        Ok(handed_over)
    }

    /// Hands over all that is held back.
    fn catch_up(&mut self, session: &Session, buffer: u64) -> Result<(), Failure> {
        if self.full.is_empty() {
            return Ok(());
        }
        session.with_sender(|sender| self.hand_over_full(session, sender, buffer, true).map(|_| ()))
    }

    /// At the end of a recording: whether a part of it is held back, and the rest with it. One with a failure is not.
    pub(crate) fn is_held(
        &mut self,
        session: &Session,
        sender: &mut Sender,
        buffer: u64,
    ) -> Result<bool, Failure> {
        self.hand_over_full(session, sender, buffer, self.failure.is_some())?;
        Ok(!self.full.is_empty())
    }

    /// Hands over what is left, and returns how many bytes that is or the recording's error. The space stays for
    /// another recording.
    pub(crate) fn finish(
        &mut self,
        session: &Session,
        sender: &mut Sender,
        buffer: u64,
    ) -> Result<usize, Failure> {
        let failure = self.failure.take();
        let handed_over = self.hand_over(session, sender, buffer)?;
        failure.map_or(Ok(handed_over), Err)
    }

    /// Hands over what is written so far, and goes on. Returns how many bytes that is.
    pub(crate) fn hand_over(
        &mut self,
        session: &Session,
        sender: &mut Sender,
        buffer: u64,
    ) -> Result<usize, Failure> {
        let full = self.hand_over_full(session, sender, buffer, true)?;
        let rest = match &mut self.space {
            Some(space) => space.hand_over(sender, buffer, self.ticket)?,
            None => 0,
        };
        Ok(full + rest)
    }

    /// Takes the space out, to be kept or released.
    pub(crate) fn take_space(&mut self) -> Option<Space> {
        self.space.take()
    }

    /// A recording with this ticket begins.
    pub(crate) fn begin(&mut self, ticket: u64) {
        self.ticket = ticket;
    }

    /// Takes the recording out, to be finished or reset apart from its command buffer.
    pub(crate) fn split_off(&mut self) -> Self {
        let fresh = Self { ticket: self.ticket, ..Self::default() };
        std::mem::replace(self, fresh)
    }

    /// Lets go of the memory of a stream that was finished or reset.
    pub(crate) fn release(self, session: &Session) {
        if let Some(space) = self.space {
            space.release(session);
        }
    }

    /// Forgets what was recorded and not handed over. Returns the ticket of a recording whose handed over part is not
    /// needed any more; 0 for none.
    pub(crate) fn reset(&mut self, session: &Session) -> u64 {
        self.failure = None;
        if !self.full.is_empty() {
            self.full.drain(..).for_each(|full| full.release(session));
        }
        if let Some(space) = &mut self.space {
            space.end = space.start;
        }
        std::mem::take(&mut self.ticket)
    }
}

/// Writes a record into the space that is left.
///
/// # Safety
/// `args` must be valid arguments of `cmd`.
unsafe fn write(space: &mut Space, cmd: &Command, args: &[u64]) -> Result<(), EncodeError> {
    let (ptr, room) = space.room();
    // SAFETY: the room belongs to this stream alone: the host is not told of it before the hand-over. The arguments
    // are the caller's promise.
    space.end += unsafe { frame::write(ptr, room, cmd.opcode, 0, |w| encode_request(cmd, args, w))? };
    Ok(())
}

/// Sends a record that is larger than a chunk, as a stream of its own.
///
/// # Safety
/// `args` must be valid arguments of `cmd`.
unsafe fn send_large(session: &Session, buffer: u64, cmd: &Command, args: &[u64]) -> Result<(), Failure> {
    let mut payload = Vec::new();
    let mut writer = Writer::growing(&mut payload, MAX_RECORD);
    // SAFETY: the caller's promise.
    unsafe { encode_request(cmd, args, &mut writer) };
    writer.pad_to(8);
    let length = HEADER_SIZE + writer.finish().map_err(|_| Failure::TooLarge)?;
    let header = Header { opcode: cmd.opcode, flags: 0, length: length as u32 };
    let send = |w: &mut Writer<'_>| {
        w.put_u64(buffer);
        w.put_u64(header.to_word());
        w.put_bytes(&payload);
    };
    session.send(op::STREAM, &send).map(|_| ())
}
