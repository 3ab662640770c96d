//! `VkQueue`: submission.
//!
//! Each record of a submission has a number in its queue that guest and host count alike. No fence travels: a fence
//! is signalled when the last number of its submission is finished. The host publishes the completion of those numbers
//! alone that are watched: somebody may wait for them. Who waits for another one [watches](Queue::watch) a new one.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::encode_request;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::FLAG_WATCH;
use vw_wire_protocol::schema::Command;

use crate::chain;
use crate::completion::{Point, Waited};
use crate::dispatch::Head;
use crate::failure::Failure;
use crate::forward;
use crate::semaphore::Timeline;
use crate::sender::Sender;
use crate::session::{Session, lock};
use crate::wsi::Submissions;

/// What a `VkQueue` points to.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Queue {
    head: Head,
    /// Where the host publishes what is finished.
    slot: u8,
    /// Family, index in the family, and creation flags.
    pub(crate) address: QueueAddress,
    submitted: Mutex<Submitted>,
}

/// Numbers of submissions.
#[derive(Debug, Default)]
struct Submitted {
    /// The last one.
    last: u64,
    /// The last one that is watched.
    watched: u64,
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
        Self { head, slot, address, submitted: Mutex::default() }
    }

    /// Id on the wire.
    pub(crate) fn id(&self) -> u64 {
        self.head.id()
    }

    /// Slot in the control page.
    pub(crate) fn slot(&self) -> u8 {
        self.slot
    }

    /// What is finished when all submissions so far are.
    pub(crate) fn watch(&self, session: &Session) -> Result<Point, Failure> {
        let mut submitted = lock(&self.submitted);
        if submitted.watched != submitted.last {
            session.with_sender(|sender| {
                self.push_marker(sender, &mut submitted)?;
                sender.publish();
                Ok(())
            })?;
        }
        Ok(Point { slot: self.slot, seq: submitted.last })
    }

    /// Appends a watched submission of nothing.
    fn push_marker(&self, sender: &mut Sender, submitted: &mut Submitted) -> Result<(), Failure> {
        let cmd = &commands::VK_QUEUE_SUBMIT;
        let args = [&raw const *self as u64, 0, 0, 0];
        // SAFETY: valid arguments of `vkQueueSubmit`, with no batches.
        sender.push_with(cmd.opcode, FLAG_WATCH, &|w| unsafe { encode_request(cmd, &args, w) })?;
        submitted.last += 1;
        submitted.watched = submitted.last;
        Ok(())
    }

    /// Sends `batches`, each a record of its own, and notes what their end signals.
    ///
    /// # Safety
    /// `cmd` must be a submission command; the batches must be valid arrays for it.
    unsafe fn submit(&self, session: &Session, cmd: &Command, batches: &[Batch], fence: u64) -> vk::Result {
        let fence = session.objects.fences.get(fence);
        let mut submitted = lock(&self.submitted);
        let result = session.with_sender(|sender| {
            for (i, batch) in batches.iter().enumerate() {
                let args = [&raw const *self as u64, u64::from(batch.count), batch.infos as u64, 0];
                let ends = fence.is_some() && i + 1 == batches.len();
                let watch = ends || !batch.signals.is_empty() || !session.perf.unwatched;
                let flags = if watch { FLAG_WATCH } else { 0 };
                // SAFETY: the caller's promise.
                sender.push_with(cmd.opcode, flags, &|w| unsafe { encode_request(cmd, &args, w) })?;
                submitted.last += 1;
                if watch {
                    submitted.watched = submitted.last;
                }
                // Noted before the host can see the record, let alone finish it.
                for (timeline, value) in &batch.signals {
                    timeline.signal_at(*value, Point { slot: self.slot, seq: submitted.last }, session);
                }
            }
            if let Some(fence) = fence {
                // A fence alone is signalled when all earlier submissions are finished.
                if submitted.watched != submitted.last {
                    self.push_marker(sender, &mut submitted)?;
                }
                fence.submit(Point { slot: self.slot, seq: submitted.last });
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

    /// Submits something of the driver's own; what is finished when it is.
    ///
    /// # Safety
    /// `info` must be valid.
    pub(crate) unsafe fn submit_own(
        &self,
        session: &Session,
        info: &vk::SubmitInfo<'_>,
    ) -> Result<Point, vk::Result> {
        let cmd = &commands::VK_QUEUE_SUBMIT;
        let args = [&raw const *self as u64, 1, std::ptr::from_ref(info) as u64, 0];
        let mut submitted = lock(&self.submitted);
        let sent = session.with_sender(|sender| {
            // SAFETY: the caller's promise.
            sender.push_with(cmd.opcode, FLAG_WATCH, &|w| unsafe { encode_request(cmd, &args, w) })?;
            submitted.last += 1;
            submitted.watched = submitted.last;
            sender.publish();
            Ok(())
        });
        match sent {
            Ok(()) if session.lost_now() => Err(vk::Result::ERROR_DEVICE_LOST),
            Ok(()) => Ok(Point { slot: self.slot, seq: submitted.last }),
            Err(failure) => Err(failure.result()),
        }
    }

    /// Signals binary semaphores when all earlier submissions are finished. Where that fails the device is lost.
    fn signal(&self, session: &Session, semaphores: &[vk::Semaphore]) {
        let info = vk::SubmitInfo::default().signal_semaphores(semaphores);
        // SAFETY: the structure is valid for the call.
        let _ = unsafe { self.submit_own(session, &info) };
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
pub(crate) unsafe fn with_queue(queue: *mut Queue, work: impl FnOnce(&Queue, &Session) -> vk::Result) -> i32 {
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
            let sent = Submissions::new(session, infos, count, |owed| queue.signal(session, owed));
            let batches = cut(sent.infos(), count, |info| {
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
            let sent = Submissions::new(session, infos, count, |owed| queue.signal(session, owed));
            let batches = cut(sent.infos(), count, |info| {
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
            let sent = Submissions::new(session, infos, count, |owed| queue.signal(session, owed));
            let batches = cut(sent.infos(), count, |info| {
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
            wait_idle(session, std::slice::from_ref(queue))
                .map_or_else(Failure::result, |()| vk::Result::SUCCESS)
        })
    }
}

/// Waits until all submissions to `queues` are finished.
pub(crate) fn wait_idle(session: &Session, queues: &[Queue]) -> Result<(), Failure> {
    let points: Vec<Point> = watch_all(session, queues)?;
    for point in points {
        if session.wait(u64::MAX, || session.reached(point)) != Waited::Ready {
            return Err(Failure::Lost);
        }
    }
    Ok(())
}

/// [`Queue::watch`] for each.
pub(crate) fn watch_all(session: &Session, queues: &[Queue]) -> Result<Vec<Point>, Failure> {
    queues.iter().map(|queue| queue.watch(session)).collect()
}
