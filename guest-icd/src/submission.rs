//! What a submission consists of: its structures, and the records that these become.

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::Writer;
use vw_wire_protocol::generated::commands::{self, opcodes};
use vw_wire_protocol::schema::Command;

use crate::chain;
use crate::generated::entry::structures;
use crate::payload::Shared;
use crate::semaphore::Semaphore;
use crate::session::Session;
use crate::straight::Straight;

/// `VkSubmitInfo`, `VkSubmitInfo2` or `VkBindSparseInfo`.
pub(crate) trait Info: Copy {
    /// The command whose structure it is: `vkX(queue, count, infos, fence)`.
    const COMMAND: &'static Command;
    /// Its opcode.
    const OPCODE: u16;

    /// The command buffers that it executes.
    ///
    /// # Safety
    /// The structure must be valid, as long as the iterator is used.
    unsafe fn command_buffers(&self) -> impl Iterator<Item = vk::CommandBuffer>;

    /// The semaphores that it waits for.
    ///
    /// # Safety
    /// As [`command_buffers`](Self::command_buffers).
    unsafe fn waits(&self) -> impl Iterator<Item = vk::Semaphore>;

    /// The semaphores that it signals, with the values that timeline semaphores get.
    ///
    /// # Safety
    /// As [`command_buffers`](Self::command_buffers).
    unsafe fn signals(&self) -> impl Iterator<Item = (vk::Semaphore, Option<u64>)>;
}

impl Info for vk::SubmitInfo<'_> {
    const COMMAND: &'static Command = &commands::VK_QUEUE_SUBMIT;
    const OPCODE: u16 = opcodes::VK_QUEUE_SUBMIT;

    unsafe fn command_buffers(&self) -> impl Iterator<Item = vk::CommandBuffer> {
        // SAFETY: the caller's promise.
        unsafe { elements(self.p_command_buffers, self.command_buffer_count) }
    }

    unsafe fn waits(&self) -> impl Iterator<Item = vk::Semaphore> {
        // SAFETY: the caller's promise.
        unsafe { elements(self.p_wait_semaphores, self.wait_semaphore_count) }
    }

    unsafe fn signals(&self) -> impl Iterator<Item = (vk::Semaphore, Option<u64>)> {
        // SAFETY: the caller's promise.
        unsafe { signals(self.p_next, self.p_signal_semaphores, self.signal_semaphore_count) }
    }
}

impl Info for vk::SubmitInfo2<'_> {
    const COMMAND: &'static Command = &commands::VK_QUEUE_SUBMIT_2;
    const OPCODE: u16 = opcodes::VK_QUEUE_SUBMIT_2;

    unsafe fn command_buffers(&self) -> impl Iterator<Item = vk::CommandBuffer> {
        // SAFETY: the caller's promise.
        let infos = unsafe { elements(self.p_command_buffer_infos, self.command_buffer_info_count) };
        infos.map(|info| info.command_buffer)
    }

    unsafe fn waits(&self) -> impl Iterator<Item = vk::Semaphore> {
        // SAFETY: the caller's promise.
        let waits = unsafe { elements(self.p_wait_semaphore_infos, self.wait_semaphore_info_count) };
        waits.map(|wait| wait.semaphore)
    }

    unsafe fn signals(&self) -> impl Iterator<Item = (vk::Semaphore, Option<u64>)> {
        // SAFETY: the caller's promise.
        let signals = unsafe { elements(self.p_signal_semaphore_infos, self.signal_semaphore_info_count) };
        signals.map(|signal| (signal.semaphore, Some(signal.value)))
    }
}

impl Info for vk::BindSparseInfo<'_> {
    const COMMAND: &'static Command = &commands::VK_QUEUE_BIND_SPARSE;
    const OPCODE: u16 = opcodes::VK_QUEUE_BIND_SPARSE;

    unsafe fn command_buffers(&self) -> impl Iterator<Item = vk::CommandBuffer> {
        std::iter::empty()
    }

    unsafe fn waits(&self) -> impl Iterator<Item = vk::Semaphore> {
        // SAFETY: the caller's promise.
        unsafe { elements(self.p_wait_semaphores, self.wait_semaphore_count) }
    }

    unsafe fn signals(&self) -> impl Iterator<Item = (vk::Semaphore, Option<u64>)> {
        // SAFETY: the caller's promise.
        unsafe { signals(self.p_next, self.p_signal_semaphores, self.signal_semaphore_count) }
    }
}

/// What an array of the program's holds.
///
/// # Safety
/// It must have so many elements, as long as the iterator is used.
unsafe fn elements<T: Copy>(array: *const T, count: u32) -> impl Iterator<Item = T> {
    // SAFETY: the caller's promise.
    (0..count as usize).map(move |i| unsafe { *array.add(i) })
}

/// The semaphores that an older structure signals, with the values that its chain gives them.
///
/// # Safety
/// As [`elements`]; the chain must be valid.
unsafe fn signals(
    chain: *const c_void,
    semaphores: *const vk::Semaphore,
    count: u32,
) -> impl Iterator<Item = (vk::Semaphore, Option<u64>)> {
    // SAFETY: the caller's promise.
    let values = unsafe { chain::find::<vk::TimelineSemaphoreSubmitInfo<'_>>(chain).as_ref() };
    // SAFETY: the caller's promise.
    unsafe { elements(semaphores, count) }.enumerate().map(move |(i, semaphore)| {
        let values = values.filter(|values| i < values.signal_semaphore_value_count as usize);
        // SAFETY: the array has so many values.
        (semaphore, values.map(|values| unsafe { *values.p_signal_semaphore_values.add(i) }))
    })
}

/// A submission that may become one record, written without the tables: no semaphore has a payload.
pub(crate) struct Plain<T> {
    infos: *const T,
    count: u32,
    /// Its end signals timeline semaphores.
    pub(crate) signals: bool,
}

impl<T: Info> Plain<T> {
    /// Takes `count` infos; none when the submission has to go the common way.
    ///
    /// # Safety
    /// There must be so many valid infos, as long as this is used.
    #[inline]
    pub(crate) unsafe fn new(session: &Session, infos: *const T, count: u32) -> Option<Self> {
        if !session.perf.straight || count == 0 {
            return None;
        }
        let semaphores = &session.objects.semaphores;
        let has_payload =
            |semaphore: vk::Semaphore| semaphores.with(semaphore.as_raw(), |state| state.payloads.has_any());
        let mut signals = false;
        // SAFETY: the caller's promise.
        for info in unsafe { elements(infos, count) } {
            // What any but the last one signals is reached before the record's end.
            if signals {
                return None;
            }
            // SAFETY: as above.
            unsafe {
                if info.waits().any(|wait| has_payload(wait) == Some(true)) {
                    return None;
                }
                for (semaphore, value) in info.signals() {
                    match has_payload(semaphore) {
                        Some(true) => return None,
                        Some(false) => signals |= value.is_some(),
                        None => {}
                    }
                }
            }
        }
        Some(Self { infos, count, signals })
    }

    /// Writes what is behind the record's header; none when it has to go the common way after all.
    #[inline]
    pub(crate) fn put(&self, to: &mut Straight, queue: u64) -> Option<()> {
        let (size, put) = structures::submission(T::OPCODE)?;
        to.need(20)?;
        // SAFETY: there is room, and the infos are valid.
        unsafe {
            to.put(queue);
            to.put(self.count);
            // No fence travels.
            to.put(0u64);
            to.structures(self.infos.cast(), self.count as usize, size, |to, info| put(to, info))
        }
    }

    /// What its end signals, with the values of timeline semaphores.
    pub(crate) fn signalled(&self) -> impl Iterator<Item = (vk::Semaphore, Option<u64>)> {
        // SAFETY: the infos are valid, and not none.
        unsafe { (*self.infos.add(self.count as usize - 1)).signals() }
    }
}

/// Consecutive infos that travel in one record.
pub(crate) struct Batch {
    pub(crate) infos: *const c_void,
    pub(crate) count: u32,
    pub(crate) ties: Ties,
}

/// What the guest has to do with the semaphores of a batch.
#[derive(Default)]
pub(crate) struct Ties {
    /// Values of this session's own timeline semaphores that it signals.
    pub(crate) values: Vec<(Arc<Semaphore>, u64)>,
    /// Semaphores with payloads that it waits for.
    waits: Vec<Tie>,
    /// Semaphores with payloads that it signals.
    signals: Vec<Tie>,
    /// Payloads that were imported for one wait.
    pub(crate) used_up: Vec<Arc<Shared>>,
}

/// A semaphore with a payload.
struct Tie {
    semaphore: vk::Semaphore,
    timeline: bool,
    payload: Arc<Shared>,
}

impl Ties {
    /// Those of an info.
    ///
    /// # Safety
    /// It must be valid.
    unsafe fn new<T: Info>(session: &Session, info: &T) -> Self {
        let mut ties = Self::default();
        // SAFETY: the caller's promise.
        unsafe {
            info.waits().for_each(|semaphore| ties.wait(session, semaphore));
            info.signals().for_each(|(semaphore, value)| ties.signal(session, semaphore, value));
        }
        ties
    }

    /// The batch waits for a semaphore.
    fn wait(&mut self, session: &Session, semaphore: vk::Semaphore) {
        let Some(state) = session.objects.semaphores.get(semaphore.as_raw()) else { return };
        if let Some(payload) = state.payloads.current() {
            self.used_up.extend(state.payloads.restore());
            self.waits.push(Tie { semaphore, timeline: state.is_timeline(), payload });
        }
    }

    /// The batch signals a semaphore, with a value if it is a timeline semaphore.
    fn signal(&mut self, session: &Session, semaphore: vk::Semaphore, value: Option<u64>) {
        let Some(state) = session.objects.semaphores.get(semaphore.as_raw()) else { return };
        if let Some(payload) = state.payloads.current() {
            self.signals.push(Tie { semaphore, timeline: state.is_timeline(), payload });
        } else if let Some(value) = value {
            self.values.push((state, value));
        }
    }

    /// Somebody may wait for what its end signals.
    pub(crate) fn signal_anything(&self) -> bool {
        !self.values.is_empty() || !self.signals.is_empty()
    }

    /// Semaphores of it have payloads.
    pub(crate) fn are_shared(&self) -> bool {
        !self.waits.is_empty() || !self.signals.is_empty()
    }

    /// Writes the lists of semaphores with payloads.
    pub(crate) fn write(&self, w: &mut Writer<'_>) {
        for list in [&self.waits, &self.signals] {
            w.put_u32(list.len() as u32);
            for tie in list {
                w.put_u64(tie.semaphore.as_raw());
                w.put_u64(tie.payload.number);
                w.put_u64(tie.timeline.into());
            }
        }
    }
}

/// Cuts `count` infos into records: one, unless timeline semaphores are signalled in between, whose values are
/// reached at different times, or semaphores have payloads.
///
/// # Safety
/// `infos` must point to `count` valid structures.
pub(crate) unsafe fn cut<T: Info>(session: &Session, infos: *const T, count: u32) -> Vec<Batch> {
    let batch = |i: usize, count, ties| {
        // SAFETY: `i` is below the number of structures.
        Batch { infos: unsafe { infos.add(i) }.cast(), count, ties }
    };
    // SAFETY: as above.
    let ties = |i: usize| unsafe { Ties::new(session, &*infos.add(i)) };
    if count == 1 {
        return vec![batch(0, 1, ties(0))];
    }
    let mut all: Vec<Ties> = (0..count as usize).map(ties).collect();
    let Some(last) = all.pop() else { return Vec::new() };
    let alone = |ties: &Ties| ties.are_shared() || !ties.values.is_empty();
    if !all.iter().any(alone) && !last.are_shared() {
        // What the last one signals, the end of the record signals.
        return vec![batch(0, count, last)];
    }
    all.into_iter().chain([last]).enumerate().map(|(i, ties)| batch(i, 1, ties)).collect()
}
