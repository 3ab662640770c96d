//! `VkQueue`: submission.
//!
//! Each record of a submission has a number in its queue that guest and host count alike. No fence travels: a fence
//! is signalled when the last number of its submission is finished.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::encode_request;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Command;

use crate::chain;
use crate::completion::Point;
use crate::dispatch::Head;
use crate::failure::Failure;
use crate::forward;
use crate::semaphore::Timeline;
use crate::session::{Session, lock};

/// What a `VkQueue` points to.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Queue {
    head: Head,
    /// Where the host publishes what is finished.
    slot: u8,
    /// Family, index in the family, and creation flags.
    pub(crate) address: QueueAddress,
    /// Number of the last submission.
    last: Mutex<u64>,
}

/// How a program names a queue of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueAddress {
    /// Queue family.
    pub(crate) family: u32,
    /// Index among the queues of that family and these flags.
    pub(crate) index: u32,
    /// `VkDeviceQueueCreateFlags`.
    pub(crate) flags: u32,
}

/// Values that a batch signals.
type Signals = Vec<(Arc<Timeline>, u64)>;

impl Queue {
    /// A queue with no submissions.
    pub(crate) fn new(head: Head, slot: u8, address: QueueAddress) -> Self {
        Self { head, slot, address, last: Mutex::new(0) }
    }

    /// Id on the wire.
    pub(crate) fn id(&self) -> u64 {
        self.head.id()
    }

    /// Slot in the control page.
    pub(crate) fn slot(&self) -> u8 {
        self.slot
    }

    /// The last submission.
    pub(crate) fn last_point(&self) -> Point {
        Point { slot: self.slot, seq: *lock(&self.last) }
    }

    /// Sends `batches`, each a record of its own, and notes what their end signals.
    ///
    /// # Safety
    /// `cmd` must be a submission command; the batches must be valid arrays for it.
    unsafe fn submit(&self, session: &Session, cmd: &Command, batches: &[Batch], fence: u64) -> vk::Result {
        let mut last = lock(&self.last);
        let result = session.with_sender(|sender| {
            for batch in batches {
                let args = [&raw const *self as u64, u64::from(batch.count), batch.infos as u64, 0];
                // SAFETY: the caller's promise.
                sender.push(cmd.opcode, &|w| unsafe { encode_request(cmd, &args, w) })?;
                *last += 1;
                // Noted before the host can see the record, let alone finish it.
                for (timeline, value) in &batch.signals {
                    timeline.signal_at(*value, Point { slot: self.slot, seq: *last }, session);
                }
            }
            // A fence alone is signalled when all earlier submissions are finished, which are counted already.
            if let Some(fence) = session.objects.fences.get(fence) {
                fence.submit(Point { slot: self.slot, seq: *last });
            }
            sender.publish();
            Ok(())
        });
        match result {
            Ok(()) if session.lost_now() => vk::Result::ERROR_DEVICE_LOST,
            Ok(()) => vk::Result::SUCCESS,
            Err(failure) => failure.result(),
        }
    }
}

/// Consecutive infos that travel in one record.
struct Batch {
    infos: *const c_void,
    count: u32,
    signals: Signals,
}

/// Cuts `count` infos into records: one, unless timeline semaphores are signalled in between, whose values are
/// reached at different times.
///
/// # Safety
/// `infos` must point to `count` valid structures.
unsafe fn cut<T>(infos: *const T, count: u32, signals: impl Fn(&T) -> Signals) -> Vec<Batch> {
    if count == 0 {
        return Vec::new();
    }
    let batch = |i: usize, count, signals| {
        // SAFETY: `i` is below the number of structures.
        Batch { infos: unsafe { infos.add(i) }.cast(), count, signals }
    };
    // SAFETY: the caller's promise.
    let mut all: Vec<Signals> = (0..count as usize).map(|i| signals(unsafe { &*infos.add(i) })).collect();
    let last = all.pop().unwrap_or_default();
    if all.iter().all(Vec::is_empty) {
        // What the last one signals, the end of the record signals.
        return vec![batch(0, count, last)];
    }
    all.into_iter().chain([last]).enumerate().map(|(i, signals)| batch(i, 1, signals)).collect()
}

/// The timeline semaphores among `semaphores`, with the values that `chain` gives them.
///
/// # Safety
/// The chain and the array of `count` semaphores must be valid.
unsafe fn chained_signals(
    session: &Session,
    chain: *const c_void,
    count: u32,
    semaphores: *const vk::Semaphore,
) -> Signals {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(values) = chain::find::<vk::TimelineSemaphoreSubmitInfo<'_>>(chain).as_ref() else {
            return Signals::new();
        };
        (0..count.min(values.signal_semaphore_value_count) as usize)
            .filter_map(|i| {
                let timeline = session.objects.timelines.get((*semaphores.add(i)).as_raw())?;
                Some((timeline, *values.p_signal_semaphore_values.add(i)))
            })
            .collect()
    }
}

/// Runs a submission on a queue.
///
/// # Safety
/// `queue` must be null or a live queue.
unsafe fn with_queue(queue: *mut Queue, work: impl FnOnce(&Queue, &Session) -> vk::Result) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the caller's promise.
    unsafe {
        forward::guard(queue.cast(), lost, || {
            match queue.as_ref().and_then(|q| Some((q, q.head.session()?))) {
                Some((queue, session)) => work(queue, session),
                None => lost,
            }
        })
    }
    .as_raw()
}

/// `vkQueueSubmit`
pub(crate) unsafe extern "system" fn vkQueueSubmit(
    queue: *mut Queue,
    count: u32,
    infos: *const vk::SubmitInfo<'_>,
    fence: u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command: `count` infos.
    unsafe {
        with_queue(queue, |queue, session| {
            let batches = cut(infos, count, |info| {
                chained_signals(session, info.p_next, info.signal_semaphore_count, info.p_signal_semaphores)
            });
            queue.submit(session, &commands::VK_QUEUE_SUBMIT, &batches, fence)
        })
    }
}

/// `vkQueueSubmit2`
pub(crate) unsafe extern "system" fn vkQueueSubmit2(
    queue: *mut Queue,
    count: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command: `count` infos.
    unsafe {
        with_queue(queue, |queue, session| {
            let batches = cut(infos, count, |info| {
                (0..info.signal_semaphore_info_count as usize)
                    .filter_map(|i| {
                        let signal = &*info.p_signal_semaphore_infos.add(i);
                        Some((session.objects.timelines.get(signal.semaphore.as_raw())?, signal.value))
                    })
                    .collect()
            });
            queue.submit(session, &commands::VK_QUEUE_SUBMIT_2, &batches, fence)
        })
    }
}

/// `vkQueueBindSparse`
pub(crate) unsafe extern "system" fn vkQueueBindSparse(
    queue: *mut Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command: `count` infos.
    unsafe {
        with_queue(queue, |queue, session| {
            let batches = cut(infos, count, |info| {
                chained_signals(session, info.p_next, info.signal_semaphore_count, info.p_signal_semaphores)
            });
            queue.submit(session, &commands::VK_QUEUE_BIND_SPARSE, &batches, fence)
        })
    }
}

/// `vkQueueWaitIdle`
pub(crate) unsafe extern "system" fn vkQueueWaitIdle(queue: *mut Queue) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        with_queue(queue, |queue, session| {
            let last = queue.last_point();
            session.wait(u64::MAX, || session.reached(last)).result()
        })
    }
}

/// Waits until all submissions to `queues` are finished.
pub(crate) fn wait_idle(session: &Session, queues: &[Queue]) -> Result<(), Failure> {
    for queue in queues {
        let last = queue.last_point();
        if session.wait(u64::MAX, || session.reached(last)).result() != vk::Result::SUCCESS {
            return Err(Failure::Lost);
        }
    }
    Ok(())
}
