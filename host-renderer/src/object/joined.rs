//! Submissions of command buffers alone: the driver gets several in one call.
//!
//! A call makes a driver lock, wake a thread or enter the kernel, which costs more than to decode a record. What is joined
//! reaches the driver before any other record does, and before the session's thread waits for one.

use std::slice;

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Command;

use super::queue::{SUBMIT, SUBMIT_2};
use super::submission::Batches;
use crate::session::Session;
use crate::session::end::End;
use crate::session::resolve::Seen;

/// So many are no longer kept: the device should not wait for more to come.
const MOST: usize = 64;

/// Whether records with this opcode may be joined, or go with what was.
pub(crate) fn joins(opcode: u16) -> bool {
    matches!(opcode, SUBMIT | SUBMIT_2)
}

/// What the driver has not got yet, all of one queue.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    device: u16,
    /// The guest's id of the queue, and the driver's handle.
    id: u64,
    queue: u64,
    buffers: Vec<vk::CommandBuffer>,
}

impl Session {
    /// Keeps a submission of command buffers alone, which nobody is to be told the end of. Whether it is one.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    ///
    /// # Safety
    /// `batches` must be valid for its command.
    pub(crate) unsafe fn join(&mut self, batches: &Batches, seen: Seen) -> Result<bool, End> {
        if self.joined.id != seen.queue {
            self.submit_joined()?;
        }
        let joined = &mut self.joined;
        let before = joined.buffers.len();
        // SAFETY: the caller's promise.
        if !unsafe { append(batches, &mut joined.buffers) } {
            joined.buffers.truncate(before);
            return Ok(false);
        }
        (joined.device, joined.id, joined.queue) = (seen.device, seen.queue, batches.queue);
        if joined.buffers.len() >= MOST {
            self.submit_joined()?;
        }
        Ok(true)
    }

    /// Gives the driver what was joined.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn submit_joined(&mut self) -> Result<(), End> {
        let Joined { device, queue, buffers, .. } = &self.joined;
        if buffers.is_empty() {
            return Ok(());
        }
        let (command, batch) =
            (&commands::VK_QUEUE_SUBMIT, vk::SubmitInfo::default().command_buffers(buffers));
        let device = self.device(*device)?;
        let args = [*queue, 1, (&raw const batch) as u64, 0];
        // SAFETY: the queue and the command buffers were resolved for the records before this one, with which nothing was
        // destroyed; the queue is used by this thread alone.
        let ret = unsafe { self.call_args(&device.procs, command, &args)? };
        let result = vk::Result::from_raw(ret as i32);
        if result != vk::Result::SUCCESS {
            device.shared.refused(command, result);
        }
        self.joined.buffers.clear();
        Ok(())
    }

    /// What was joined and may go in front of this submission, in the same call: command buffers of a batch of their own.
    /// The driver gets the rest now.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn joined_ahead_of(
        &mut self,
        command: &Command,
        seen: Seen,
    ) -> Result<Vec<vk::CommandBuffer>, End> {
        if command.opcode != SUBMIT || self.joined.id != seen.queue {
            self.submit_joined()?;
        }
        Ok(std::mem::take(&mut self.joined.buffers))
    }
}

/// The batches of a `vkQueueSubmit` behind one of `ahead`.
///
/// # Safety
/// `batches` must be valid for that command.
pub(crate) unsafe fn batches_behind<'a>(
    ahead: &'a [vk::CommandBuffer],
    batches: &Batches,
) -> Vec<vk::SubmitInfo<'a>> {
    let mut all = vec![vk::SubmitInfo::default().command_buffers(ahead)];
    // SAFETY: the caller's promise.
    all.extend_from_slice(unsafe { array(batches.infos.cast(), batches.count) });
    all
}

/// Appends the command buffers of a submission; false where there is anything else in it.
///
/// # Safety
/// `batches` must be valid for its command.
unsafe fn append(batches: &Batches, buffers: &mut Vec<vk::CommandBuffer>) -> bool {
    let (infos, count) = (batches.infos, batches.count);
    // SAFETY: the caller's promise: as many batches as the count says, with arrays as long as theirs.
    unsafe {
        match batches.command.opcode {
            SUBMIT => array(infos.cast::<vk::SubmitInfo<'_>>(), count).iter().all(|batch| {
                let alone = batch.p_next.is_null()
                    && batch.wait_semaphore_count == 0
                    && batch.signal_semaphore_count == 0;
                if alone {
                    buffers.extend_from_slice(array(batch.p_command_buffers, batch.command_buffer_count));
                }
                alone
            }),
            SUBMIT_2 => array(infos.cast::<vk::SubmitInfo2<'_>>(), count).iter().all(|batch| {
                let infos = array(batch.p_command_buffer_infos, batch.command_buffer_info_count);
                let alone = batch.p_next.is_null()
                    && batch.flags.is_empty()
                    && batch.wait_semaphore_info_count == 0
                    && batch.signal_semaphore_info_count == 0
                    && infos.iter().all(|info| info.p_next.is_null() && info.device_mask == 0);
                if alone {
                    buffers.extend(infos.iter().map(|info| info.command_buffer));
                }
                alone
            }),
            _ => false,
        }
    }
}

/// What an array of a structure holds; nothing where there is none.
///
/// # Safety
/// `data` must be null or point to `count` elements.
unsafe fn array<'a, T>(data: *const T, count: u32) -> &'a [T] {
    if data.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(data, count as usize) }
}
