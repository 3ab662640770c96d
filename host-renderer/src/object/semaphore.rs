//! Submissions with semaphores that several processes share: these are taken out, since the driver knows nothing of them.

use std::sync::Arc;

use ash::vk;
use vw_transport::Payload;
use vw_wire_protocol::codec::{Arena, Reader};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{FLAG_WATCH, lost};

use super::external::find;
use super::payload::{Change, Signals, Waits};
use super::queue::{BATCHES, COUNT, SUBMIT, SUBMIT_2};
use crate::session::end::{End, violation};
use crate::session::policy::Kind;
use crate::session::{Decoded, Session};

/// A semaphore that has a payload.
#[derive(Debug)]
struct Named {
    semaphore: u64,
    payload: Arc<Payload>,
    timeline: bool,
}

/// What a submission has to do with payloads.
#[derive(Debug, Default)]
pub struct Shares {
    /// What it waits for.
    pub waits: Waits,
    /// What it signals.
    pub signals: Signals,
}

impl Session {
    /// The record `SUBMIT_SHARED`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn submit_shared(
        &mut self,
        arena: &Arena,
        flags: u16,
        mut reader: Reader<'_>,
    ) -> Result<(), End> {
        if !self.shares_sync {
            return Err(violation("shared semaphores, which this session was not offered"));
        }
        let waited = self.semaphores_with_payloads(&mut reader)?;
        let signalled = self.semaphores_with_payloads(&mut reader)?;
        let opcode = reader.take_u32().map_err(violation)?;
        let command = u16::try_from(opcode).ok().and_then(commands::by_opcode);
        let Some(command) = command.filter(|command| self.policies.of(command).kind == Kind::Submit) else {
            return Err(violation(format!("a submission with opcode {opcode:#x}")));
        };
        let Decoded { request, seen } = self.decode_listing(arena, command, reader)?;
        let batch = request.args[BATCHES];
        if request.args[COUNT] as u32 != 1 || batch == 0 {
            return Err(violation(format!("{} with shared semaphores is of one batch", command.name)));
        }
        let mut batch = match command.opcode {
            SUBMIT => Batch::Submit(batch as *mut _),
            SUBMIT_2 => Batch::Submit2(batch as *mut _),
            _ => Batch::BindSparse(batch as *mut _),
        };
        // SAFETY: decoded by this command's table, to one batch.
        let mut semaphores = unsafe { batch.semaphores() };
        let (signals, _) = take(&mut semaphores.signals, &signalled);
        let (waits, stages) = take(&mut semaphores.waits, &waited);
        let shares = Shares { waits, signals: Signals(signals) };
        let device = self.device_mut(seen.device)?;
        let shared = Arc::clone(&device.shared);
        let Some(queue) = device.queue_mut(seen.queue) else {
            return Err(violation("a submission without a queue"));
        };
        if !shares.waits.is_empty() {
            match queue.pass_gate(&shared) {
                Ok((gate, value)) => {
                    let wait = vk::SemaphoreSubmitInfo::default().semaphore(gate).value(value);
                    semaphores.waits.push(wait.stage_mask(stages));
                }
                Err(result) => {
                    // The guest counts it too.
                    queue.count();
                    shared.lose(lost::REFUSED, &format!("no gate for {}: {result}", command.name));
                    return Ok(());
                }
            }
        }
        let mut columns = Columns::of(&semaphores);
        // SAFETY: as above; both outlive the call that reads the batch.
        unsafe { batch.set(&semaphores, &mut columns) };
        // What is to be signalled has to be seen to complete, whether the guest says so or not.
        let watched = flags & FLAG_WATCH != 0 || !shares.signals.0.is_empty();
        self.submit(command, &request, seen, watched, shares)
    }

    /// A list of semaphores, with their payloads.
    fn semaphores_with_payloads(&self, reader: &mut Reader<'_>) -> Result<Vec<Named>, End> {
        let mut list = Vec::new();
        for _ in 0..reader.take_u32().map_err(violation)? {
            let mut word = || reader.take_u64().map_err(violation);
            let (id, number, timeline) = (word()?, word()?, word()? != 0);
            let Some(object) = self.tables.object(HandleType::Semaphore, id) else {
                return Err(violation(format!("Semaphore {id:#x} is not live")));
            };
            list.push(Named { semaphore: object.raw, payload: self.payloads.get(number)?, timeline });
        }
        Ok(list)
    }
}

/// Takes the semaphores that are `named` out of a list: what becomes of their payloads, and the stages that wait.
fn take(list: &mut Vec<Info>, named: &[Named]) -> (Waits, vk::PipelineStageFlags2) {
    let (mut taken, mut stages) = (Waits::new(), vk::PipelineStageFlags2::empty());
    list.retain(|info| {
        let Some(named) = named.iter().find(|named| named.semaphore == vk::Handle::as_raw(info.semaphore))
        else {
            return true;
        };
        let change = if named.timeline { Change::Timeline(info.value) } else { Change::Binary };
        taken.push((Arc::clone(&named.payload), change));
        stages |= info.stage_mask;
        false
    });
    (taken, stages)
}

/// A semaphore, with its value, stages and device: what older structures say in arrays beside each other.
type Info = vk::SemaphoreSubmitInfo<'static>;

/// The semaphores of a batch.
struct Semaphores {
    waits: Vec<Info>,
    signals: Vec<Info>,
}

/// A batch of each of the submitting commands.
enum Batch {
    Submit(*mut vk::SubmitInfo<'static>),
    Submit2(*mut vk::SubmitInfo2<'static>),
    BindSparse(*mut vk::BindSparseInfo<'static>),
}

impl Batch {
    /// Its semaphores.
    ///
    /// # Safety
    /// The batch must be valid; its arrays may be missing.
    unsafe fn semaphores(&self) -> Semaphores {
        // SAFETY: the caller's promise.
        unsafe {
            match *self {
                Self::Submit(info) => {
                    let stages = (*info).p_wait_dst_stage_mask;
                    let waits = ((*info).wait_semaphore_count, (*info).p_wait_semaphores, stages);
                    joined(
                        (*info).p_next,
                        waits,
                        ((*info).signal_semaphore_count, (*info).p_signal_semaphores),
                    )
                }
                Self::Submit2(info) => Semaphores {
                    waits: list((*info).p_wait_semaphore_infos, (*info).wait_semaphore_info_count),
                    signals: list((*info).p_signal_semaphore_infos, (*info).signal_semaphore_info_count),
                },
                Self::BindSparse(info) => {
                    let waits = ((*info).wait_semaphore_count, (*info).p_wait_semaphores, std::ptr::null());
                    joined(
                        (*info).p_next,
                        waits,
                        ((*info).signal_semaphore_count, (*info).p_signal_semaphores),
                    )
                }
            }
        }
    }

    /// Gives it other semaphores. `columns` are theirs.
    ///
    /// # Safety
    /// The batch must be valid; nothing given may move or end before the batch was used.
    unsafe fn set(&mut self, semaphores: &Semaphores, columns: &mut Columns) {
        let (waits, signals) = (&semaphores.waits, &semaphores.signals);
        // SAFETY: the caller's promise.
        unsafe {
            match *self {
                Self::Submit(info) => {
                    (*info).wait_semaphore_count = waits.len() as u32;
                    (*info).p_wait_semaphores = columns.waits.semaphores.as_ptr();
                    (*info).p_wait_dst_stage_mask = columns.waits.stages.as_ptr();
                    (*info).signal_semaphore_count = signals.len() as u32;
                    (*info).p_signal_semaphores = columns.signals.semaphores.as_ptr();
                    columns.chain(&mut (*info).p_next);
                }
                Self::Submit2(info) => {
                    (*info).wait_semaphore_info_count = waits.len() as u32;
                    (*info).p_wait_semaphore_infos = waits.as_ptr();
                    (*info).signal_semaphore_info_count = signals.len() as u32;
                    (*info).p_signal_semaphore_infos = signals.as_ptr();
                }
                Self::BindSparse(info) => {
                    (*info).wait_semaphore_count = waits.len() as u32;
                    (*info).p_wait_semaphores = columns.waits.semaphores.as_ptr();
                    (*info).signal_semaphore_count = signals.len() as u32;
                    (*info).p_signal_semaphores = columns.signals.semaphores.as_ptr();
                    columns.chain(&mut (*info).p_next);
                }
            }
        }
    }
}

/// The elements of an array; none if it is missing.
///
/// # Safety
/// `first` must be null or point to `count` elements.
unsafe fn list<T: Copy>(first: *const T, count: u32) -> Vec<T> {
    if first.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count as usize) }.to_vec()
}

/// Joins arrays to semaphores, with the values and devices that the chain gives them.
///
/// # Safety
/// The chain must be valid, and the arrays null or as long as their counts say.
unsafe fn joined(
    chain: *const std::ffi::c_void,
    (waits, wait, stages): (u32, *const vk::Semaphore, *const vk::PipelineStageFlags),
    (signals, signal): (u32, *const vk::Semaphore),
) -> Semaphores {
    let (mut values, mut devices) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    // SAFETY: the caller's promise.
    let (wait, stages, signal) = unsafe {
        if let Some(info) = find::<vk::TimelineSemaphoreSubmitInfo<'_>>(chain) {
            values = [
                list(info.p_wait_semaphore_values, info.wait_semaphore_value_count),
                list(info.p_signal_semaphore_values, info.signal_semaphore_value_count),
            ];
        }
        if let Some(info) = find::<vk::DeviceGroupSubmitInfo<'_>>(chain) {
            devices = [
                list(info.p_wait_semaphore_device_indices, info.wait_semaphore_count),
                list(info.p_signal_semaphore_device_indices, info.signal_semaphore_count),
            ];
        }
        (list(wait, waits), list(stages, waits), list(signal, signals))
    };
    let join = |semaphores: Vec<vk::Semaphore>, side: usize, stages: &[vk::PipelineStageFlags]| {
        let info = |(i, semaphore): (usize, vk::Semaphore)| {
            let stages = stages.get(i).map_or(0, |stages| u64::from(stages.as_raw()));
            vk::SemaphoreSubmitInfo::default()
                .semaphore(semaphore)
                .value(values[side].get(i).copied().unwrap_or_default())
                .stage_mask(vk::PipelineStageFlags2::from_raw(stages))
                .device_index(devices[side].get(i).copied().unwrap_or_default())
        };
        semaphores.into_iter().enumerate().map(info).collect()
    };
    Semaphores { waits: join(wait, 0, &stages), signals: join(signal, 1, &[]) }
}

/// What semaphores are made of, in arrays.
#[derive(Default)]
struct Column {
    semaphores: Vec<vk::Semaphore>,
    stages: Vec<vk::PipelineStageFlags>,
    values: Vec<u64>,
    devices: Vec<u32>,
}

impl Column {
    fn of(list: &[Info]) -> Self {
        let mut column = Self::default();
        for info in list {
            column.semaphores.push(info.semaphore);
            column.stages.push(vk::PipelineStageFlags::from_raw(info.stage_mask.as_raw() as u32));
            column.values.push(info.value);
            column.devices.push(info.device_index);
        }
        column
    }
}

/// The semaphores of a batch in the arrays of older structures.
struct Columns {
    waits: Column,
    signals: Column,
    /// For a batch that has none.
    timeline: vk::TimelineSemaphoreSubmitInfo<'static>,
}

impl Columns {
    fn of(semaphores: &Semaphores) -> Self {
        Self {
            waits: Column::of(&semaphores.waits),
            signals: Column::of(&semaphores.signals),
            timeline: vk::TimelineSemaphoreSubmitInfo::default(),
        }
    }

    /// Puts values and devices into a chain.
    ///
    /// # Safety
    /// The chain must be valid and writable; `self` must stay where it is until the chain was used.
    unsafe fn chain(&mut self, next: &mut *const std::ffi::c_void) {
        let (waits, signals) = (&self.waits, &self.signals);
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(info) = find::<vk::DeviceGroupSubmitInfo<'_>>(*next) {
                info.wait_semaphore_count = waits.devices.len() as u32;
                info.p_wait_semaphore_device_indices = waits.devices.as_ptr();
                info.signal_semaphore_count = signals.devices.len() as u32;
                info.p_signal_semaphore_device_indices = signals.devices.as_ptr();
            }
            let info = match find::<vk::TimelineSemaphoreSubmitInfo<'_>>(*next) {
                Some(info) => info,
                None => {
                    self.timeline.p_next = *next;
                    *next = (&raw const self.timeline).cast();
                    &mut self.timeline
                }
            };
            info.wait_semaphore_value_count = waits.values.len() as u32;
            info.p_wait_semaphore_values = waits.values.as_ptr();
            info.signal_semaphore_value_count = signals.values.len() as u32;
            info.p_signal_semaphore_values = signals.values.as_ptr();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use vk::Handle as _;
    use vw_transport::payload::Kind;

    use super::*;

    fn named(semaphore: u64, timeline: bool) -> Named {
        let (payload, _) = Payload::create(Kind::BinarySemaphore, 0).unwrap();
        Named { semaphore, payload: Arc::new(payload), timeline }
    }

    #[test]
    fn batch_when_shared_semaphores_are_taken_out_keeps_the_others_with_what_is_theirs() {
        let semaphores = [1, 2, 3].map(vk::Semaphore::from_raw);
        let stages = [1, 2, 4].map(vk::PipelineStageFlags::from_raw);
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&[10, 20, 30])
            .signal_semaphore_values(&[40, 50, 60]);
        let mut group = vk::DeviceGroupSubmitInfo::default()
            .wait_semaphore_device_indices(&[7, 8, 9])
            .signal_semaphore_device_indices(&[4, 5, 6]);
        let mut info = vk::SubmitInfo::default()
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&stages)
            .signal_semaphores(&semaphores)
            .push_next(&mut timeline)
            .push_next(&mut group);
        let mut batch = Batch::Submit((&raw mut info).cast());
        // SAFETY: a valid batch, whose arrays and the new ones outlive it.
        unsafe {
            let mut lists = batch.semaphores();
            let (waits, waiting) = take(&mut lists.waits, &[named(1, true), named(3, false)]);
            let (signals, _) = take(&mut lists.signals, &[named(2, true)]);
            assert_eq!(
                waits.iter().map(|(_, c)| *c).collect::<Vec<_>>(),
                [Change::Timeline(10), Change::Binary]
            );
            assert_eq!(signals.iter().map(|(_, c)| *c).collect::<Vec<_>>(), [Change::Timeline(50)]);
            assert_eq!(waiting.as_raw(), 1 | 4);
            let gate = vk::SemaphoreSubmitInfo::default().semaphore(vk::Semaphore::from_raw(99)).value(5);
            lists.waits.push(gate.stage_mask(waiting));
            let mut columns = Columns::of(&lists);
            batch.set(&lists, &mut columns);
            let read = batch.semaphores();
            let plain = |list: &[Info]| -> Vec<_> {
                let words = |i: &Info| (i.semaphore.as_raw(), i.value, i.stage_mask.as_raw(), i.device_index);
                list.iter().map(words).collect()
            };
            assert_eq!(plain(&read.waits), [(2, 20, 2, 8), (99, 5, 5, 0)]);
            assert_eq!(plain(&read.signals), [(1, 40, 0, 4), (3, 60, 0, 6)]);
        }
    }

    #[test]
    fn batch_when_it_has_no_values_gets_some_for_its_gate() {
        let semaphores = [1].map(vk::Semaphore::from_raw);
        let mut info = vk::BindSparseInfo::default().wait_semaphores(&semaphores);
        let mut batch = Batch::BindSparse((&raw mut info).cast());
        // SAFETY: as above.
        unsafe {
            let mut lists = batch.semaphores();
            let (waits, _) = take(&mut lists.waits, &[named(1, false)]);
            assert_eq!(waits.len(), 1);
            lists
                .waits
                .push(vk::SemaphoreSubmitInfo::default().semaphore(vk::Semaphore::from_raw(2)).value(3));
            let mut columns = Columns::of(&lists);
            batch.set(&lists, &mut columns);
            let read = batch.semaphores();
            assert_eq!((read.waits.len(), read.waits[0].value, read.signals.len()), (1, 3, 0));
        }
    }
}
