//! Submissions that are read without the tables: those without chains, whose command buffers may run.

use std::cell::Cell;

use vw_wire_protocol::codec::HandleError;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::generated::straight::submission;
use vw_wire_protocol::record::{FLAG_WATCH, Header};
use vw_wire_protocol::schema::Command;
use vw_wire_protocol::straight::{Host, Target};

use super::command_buffer::{CommandBuffers, State};
use super::queue::SUBMIT;
use super::semaphore::Shares;
use crate::session::Session;
use crate::session::end::End;
use crate::session::resolve::Seen;
use crate::session::tables::Tables;

/// What a submission consists of, decoded: its objects exist, and its command buffers may run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batches {
    /// `vkQueueSubmit`, `vkQueueSubmit2` or `vkQueueBindSparse`.
    pub(crate) command: &'static Command,
    /// The driver's handle of the queue.
    pub(crate) queue: u64,
    /// The command's structures, as many as `count`.
    pub(crate) infos: *const u8,
    pub(crate) count: u32,
    /// Semaphores are waited for or signalled.
    pub(crate) semaphores: bool,
}

/// The objects of submissions.
struct Objects<'a> {
    tables: &'a Tables,
    buffers: &'a CommandBuffers,
    /// A semaphore was met.
    semaphores: Cell<bool>,
}

impl Host for Objects<'_> {
    #[inline(always)]
    fn handle(&self, device: u16, ty: HandleType, id: u64) -> Result<u64, HandleError> {
        match ty {
            // The tables say why it may not.
            HandleType::CommandBuffer if self.buffers.state(id) != State::Executable => {
                return Err(HandleError::Poisoned);
            }
            HandleType::Semaphore => self.semaphores.set(true),
            _ => {}
        }
        self.tables.handle(device, ty, id)
    }
}

impl Session {
    /// Makes a submission, if it has no need of the tables; false: nothing was done.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    ///
    /// # Safety
    /// `length` bytes at `payload`, a multiple of 8, are readable during the call; the guest may change them.
    pub(crate) unsafe fn submit_straight(
        &mut self,
        header: Header,
        payload: *const u8,
        length: usize,
    ) -> Result<bool, End> {
        // What comes in parts may be anywhere.
        let readable = length >= size_of::<u64>() && payload.cast::<u64>().is_aligned();
        if !readable || !self.perf.straight || header.flags & !FLAG_WATCH != 0 {
            return Ok(false);
        }
        // SAFETY: a word is there, aligned.
        let id = u64::from_le(unsafe { payload.cast::<u64>().read_volatile() });
        let Some(submission) = submission::<Objects<'_>>(header.opcode) else { return Ok(false) };
        let command =
            if header.opcode == SUBMIT { &commands::VK_QUEUE_SUBMIT } else { &commands::VK_QUEUE_SUBMIT_2 };
        let Some(queue) = self.tables.object(HandleType::Queue, id).filter(|queue| !queue.poisoned) else {
            return Ok(false);
        };
        let (device, queue) = (queue.device, queue.raw);
        let objects = Objects { tables: &self.tables, buffers: &self.buffers, semaphores: Cell::new(false) };
        let mut target = Target::new(&objects, device, (id, queue), &mut self.scratch);
        // SAFETY: the caller's promise.
        let Some((infos, count)) = (unsafe { target.submission(submission, payload, length) }) else {
            return Ok(false);
        };
        let batches = Batches { command, queue, infos, count, semaphores: objects.semaphores.get() };
        let seen = Seen { device, queue: id, ..Seen::default() };
        // SAFETY: read by the command's table, into memory that nothing else uses before the next record.
        unsafe { self.submit_batches(&batches, seen, header.flags & FLAG_WATCH != 0, Shares::default())? };
        Ok(true)
    }
}
