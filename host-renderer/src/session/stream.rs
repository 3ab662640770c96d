//! Streams: the `vkCmd*` records of a command buffer, replayed into it.
//!
//! An id that names nothing poisons the command buffer alone: a program may destroy an object and never submit what it
//! had recorded. Everything else that is wrong ends the session.

use std::sync::atomic::{AtomicU64, Ordering};

use vw_wire_protocol::codec::{Arena, DecodeError, Reader, decode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{ABANDONED_SLOTS, ALIGNMENT, HEADER_SIZE, Header, abandoned_offset};
use vw_wire_protocol::schema::{Class, Command};
use vw_wire_protocol::straight::Target;

use super::Session;
use super::end::{End, violation};
use super::policy::Kind;
use super::resolve::Resolver;
use super::tables::Object;
use crate::gpu::procs::Entry;
use crate::null;
use crate::object::command_buffer::State;

impl Session {
    /// The record `ARENA_STREAM`: command buffer, offset and length in the command arena, ticket.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(super) fn arena_stream(&mut self, arena: &mut Arena, mut reader: Reader<'_>) -> Result<(), End> {
        let mut word = || reader.take_u64().map_err(violation);
        let (id, offset, length, ticket) = (word()?, word()?, word()?, word()?);
        reader.finish().map_err(violation)?;
        let (base, size) = self.region.arena();
        let inside = offset.checked_add(length).is_some_and(|end| end <= size as u64);
        if !inside || !offset.is_multiple_of(ALIGNMENT as u64) {
            return Err(violation(format!(
                "a stream of {length} bytes at {offset:#x} of a command arena of {size} bytes"
            )));
        }
        if self.is_abandoned(id, ticket) {
            self.buffers.abandon(id);
        }
        // SAFETY: the range was checked to lie in the arena, which is mapped as long as the region.
        unsafe { self.stream(arena, id, base.as_ptr().add(offset as usize), length as usize) }
    }

    /// Whether the guest has said that nobody will execute this recording any more.
    fn is_abandoned(&self, id: u64, ticket: u64) -> bool {
        let (base, size) = self.region.arena();
        let slot = id as u32 as usize;
        abandoned_offset(size).filter(|_| ticket != 0 && slot < ABANDONED_SLOTS).is_some_and(|table| {
            // SAFETY: the table lies in the arena, which is mapped as long as the region, aligned; so many slots are there.
            let last = unsafe { base.add(table).cast::<AtomicU64>().add(slot).as_ref() };
            last.load(Ordering::Acquire) >= ticket
        })
    }

    /// Replays the records at `start` into the command buffer `id`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    ///
    /// # Safety
    /// `length` bytes at `start` stay mapped and readable during the call; the guest may change them.
    pub(super) unsafe fn stream(
        &mut self,
        arena: &mut Arena,
        id: u64,
        start: *const u8,
        length: usize,
    ) -> Result<(), End> {
        let Some(buffer) = self.tables.object(HandleType::CommandBuffer, id).copied() else {
            return Err(violation(format!("a stream for CommandBuffer {id:#x}: names no live object")));
        };
        if self.buffers.state(id) == State::Abandoned {
            return Ok(());
        }
        let mut at = 0;
        loop {
            if self.buffers.state(id) == State::Recording {
                // SAFETY: as the caller promises.
                at += unsafe { self.straight(&buffer, id, start.add(at), length - at)? };
            }
            if at == length {
                self.recording = self.buffers.state(id) == State::Recording;
                return Ok(());
            }
            // SAFETY: as the caller promises; the reader checks the length.
            let mut reader = unsafe { Reader::from_raw(start.add(at), length - at) };
            let header = Header::from_word(reader.take_u64().map_err(violation)?);
            let size = header.length as usize;
            if size < HEADER_SIZE || !size.is_multiple_of(ALIGNMENT) || size > length - at {
                return Err(violation(format!(
                    "a record of {size} bytes in a stream of which {} are left",
                    length - at
                )));
            }
            let command = commands::by_opcode(header.opcode)
                .filter(|command| command.class == Class::Record)
                .ok_or_else(|| {
                    violation(format!("opcode {:#x} in a command buffer's stream", header.opcode))
                })?;
            // SAFETY: the record lies in the stream.
            let payload = unsafe { Reader::from_raw(start.add(at + HEADER_SIZE), size - HEADER_SIZE) };
            at += size;
            match self.buffers.state(id) {
                State::Recording => {
                    if let Some(reason) = self.replay(arena, &buffer, command, payload)? {
                        self.buffers.poison(id, format!("{}: {reason}", command.name));
                    }
                }
                // Whatever follows a bad record is not executed.
                State::Poisoned | State::Abandoned => {}
                State::Initial | State::Executable => {
                    self.buffers.poison(id, format!("{} outside of a recording", command.name));
                }
            }
        }
    }

    /// Executes records without the tables, up to the first that needs them, and returns how many bytes these were.
    ///
    /// # Errors
    /// When the command buffer is of no device.
    ///
    /// # Safety
    /// As [`stream`](Self::stream).
    unsafe fn straight(
        &mut self,
        buffer: &Object,
        id: u64,
        start: *const u8,
        length: usize,
    ) -> Result<usize, End> {
        // What comes in parts may be anywhere.
        if !start.cast::<u64>().is_aligned() {
            return Ok(0);
        }
        let index = usize::from(buffer.device).wrapping_sub(1);
        let Some(Some(device)) = self.devices.get(index) else {
            return Err(violation("a command buffer without a device"));
        };
        let mut target = Target::new(&self.tables, buffer.device, (id, buffer.raw), &mut self.scratch);
        let mut at = 0;
        while length - at >= HEADER_SIZE {
            // SAFETY: the header is there.
            let word = unsafe { start.add(at).cast::<u64>().read_volatile() };
            let header = Header::from_word(u64::from_le(word));
            let size = header.length as usize;
            let sound = size >= HEADER_SIZE && size.is_multiple_of(ALIGNMENT) && size <= length - at;
            let Some((take, pfn)) = device.straight.get(header.opcode).filter(|_| sound) else { break };
            // SAFETY: the payload lies in the stream; both functions are of the same command.
            let taken = unsafe { target.take(take, pfn, start.add(at + HEADER_SIZE), size - HEADER_SIZE) };
            if taken.is_none() {
                break;
            }
            at += size;
        }
        Ok(at)
    }

    /// Executes one record of a stream; `Some` says why the command buffer is poisoned by it.
    #[inline]
    fn replay(
        &mut self,
        arena: &mut Arena,
        buffer: &Object,
        command: &'static Command,
        mut reader: Reader<'_>,
    ) -> Result<Option<String>, End> {
        arena.reset();
        let executes = self.policies.of(command).kind == Kind::Execute;
        let mut resolver = if executes {
            Resolver::listing(&mut self.tables, &mut self.compiling, &mut self.touched)
        } else {
            Resolver::new(&mut self.tables, &mut self.compiling)
        };
        // SAFETY: the command is of the tables.
        let decoded = unsafe { decode_request(command, &mut reader, arena, &mut resolver) };
        let request = match decoded {
            Ok(request) => request,
            Err(error @ DecodeError::Handle { .. }) => return Ok(Some(error.to_string())),
            Err(error) => return Err(violation(format!("{}: {error}", command.name))),
        };
        reader.finish().map_err(|error| violation(format!("{}: {error}", command.name)))?;
        if let Some(bad) = request.poisoned {
            return Ok(Some(format!("{} {:#x} could not be created", bad.ty.name(), bad.id)));
        }
        if request.args[0] != buffer.raw {
            return Err(violation(format!("{} for another command buffer than its stream's", command.name)));
        }
        if executes {
            let others = self.touched.iter().filter(|(ty, _)| *ty == HandleType::CommandBuffer).skip(1);
            for (_, other) in others {
                if let Some(reason) = self.buffers.unfit(*other) {
                    return Ok(Some(format!("command buffer {other:#x} may not run: {reason}")));
                }
            }
        }
        match self.device(buffer.device)?.procs.get(command) {
            Entry::Native(pfn) => {
                // SAFETY: the pointer was looked up by the command's name, the arguments decoded by its table.
                unsafe { (command.invoke)(pfn, &request.args) };
            }
            Entry::Null => {
                // SAFETY: the request was decoded for this command.
                unsafe { null::answer(command, &request) };
            }
            Entry::Absent if self.policies.of(command).kind == Kind::Label => {}
            Entry::Absent => return Ok(Some("is not available on this device".to_owned())),
        }
        Ok(None)
    }
}
