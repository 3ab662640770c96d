//! `VkQueue`: submission.
//!
//! Each record of a submission has a number in its queue that guest and host count alike. No fence travels: a fence
//! is signalled when the last number of its submission is finished, by the host where other processes share it. The host
//! publishes the completion of those numbers alone that are watched: somebody may wait for them. Who waits for another
//! one [watches](Queue::watch) a new one.

use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::{Writer, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::{FLAG_WATCH, op};
use vw_wire_protocol::schema::Command;

use crate::chain;
use crate::completion::{Point, Waited};
use crate::dispatch::Head;
use crate::failure::Failure;
use crate::fence::Fence;
use crate::forward;
use crate::payload::Shared;
use crate::semaphore::Semaphore;
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
            session.settle();
            for (i, batch) in batches.iter().enumerate() {
                let ends = fence.is_some() && i + 1 == batches.len();
                let watch = ends || batch.ties.signal_anything() || !session.perf.unwatched;
                // SAFETY: the caller's promise.
                unsafe { self.push_batch(session, sender, &mut submitted, cmd, batch, watch)? };
            }
            if let Some(fence) = fence {
                // A fence alone is signalled when all earlier submissions are finished.
                if submitted.watched != submitted.last {
                    self.push_marker(sender, &mut submitted)?;
                }
                self.push_fence(sender, &fence, Point { slot: self.slot, seq: submitted.last })?;
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

    /// Appends a batch.
    ///
    /// # Safety
    /// As [`Queue::submit`].
    unsafe fn push_batch(
        &self,
        session: &Session,
        sender: &mut Sender,
        submitted: &mut Submitted,
        cmd: &Command,
        batch: &Batch,
        watch: bool,
    ) -> Result<(), Failure> {
        let args = [&raw const *self as u64, u64::from(batch.count), batch.infos as u64, 0];
        let flags = if watch { FLAG_WATCH } else { 0 };
        // SAFETY: the caller's promise.
        let request = |w: &mut Writer<'_>| unsafe { encode_request(cmd, &args, w) };
        let ties = &batch.ties;
        if ties.are_shared() {
            sender.push_with(op::SUBMIT_SHARED, flags, &|w| {
                ties.write(w);
                w.put_u32(cmd.opcode.into());
                request(w);
            })?;
        } else {
            sender.push_with(cmd.opcode, flags, &request)?;
        }
        submitted.last += 1;
        if watch {
            submitted.watched = submitted.last;
        }
        // Noted before the host can see the record, let alone finish it.
        for (timeline, value) in &ties.values {
            timeline.signal_at(*value, Point { slot: self.slot, seq: submitted.last }, session);
        }
        for shared in &ties.used_up {
            sender.push(op::DETACH_PAYLOAD, &|w| w.put_u64(shared.number))?;
        }
        Ok(())
    }

    /// The fence is signalled when the last submission is finished, which is watched.
    fn push_fence(&self, sender: &mut Sender, fence: &Fence, point: Point) -> Result<(), Failure> {
        if let Some(shared) = fence.submit(point) {
            sender.push(op::SIGNAL_FENCE, &|w| {
                w.put_u64(self.id());
                w.put_u64(shared.number);
            })?;
        }
        Ok(())
    }

    /// Signals a fence when what [`Queue::submit_own`] has submitted is finished. Where that fails the device is lost.
    pub(crate) fn signal_fence(&self, session: &Session, fence: &Fence, point: Point) {
        let _ = session.with_sender(|sender| {
            self.push_fence(sender, fence, point)?;
            sender.publish();
            Ok(())
        });
    }

    /// Submits something of the driver's own; what is finished when it is. Records of `before` come right before it.
    ///
    /// # Safety
    /// `info` must be valid.
    pub(crate) unsafe fn submit_own(
        &self,
        session: &Session,
        info: &vk::SubmitInfo<'_>,
        before: impl FnOnce(&mut Sender) -> Result<(), Failure>,
    ) -> Result<Point, vk::Result> {
        let cmd = &commands::VK_QUEUE_SUBMIT;
        // SAFETY: the caller's promise.
        let batches = unsafe { cut(info, 1, |info, ties| ties.of_submission(session, info)) };
        let mut submitted = lock(&self.submitted);
        let sent = session.with_sender(|sender| {
            session.settle();
            before(sender)?;
            for batch in &batches {
                // SAFETY: the caller's promise.
                unsafe { self.push_batch(session, sender, &mut submitted, cmd, batch, true)? };
            }
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
        let _ = unsafe { self.submit_own(session, &info, |_| Ok(())) };
    }
}

/// Consecutive infos that travel in one record.
struct Batch {
    infos: *const c_void,
    count: u32,
    ties: Ties,
}

/// What the guest has to do with the semaphores of a batch.
#[derive(Default)]
struct Ties {
    /// Values of this session's own timeline semaphores that it signals.
    values: Vec<(Arc<Semaphore>, u64)>,
    /// Semaphores with payloads that it waits for.
    waits: Vec<Tie>,
    /// Semaphores with payloads that it signals.
    signals: Vec<Tie>,
    /// Payloads that were imported for one wait.
    used_up: Vec<Arc<Shared>>,
}

/// A semaphore with a payload.
struct Tie {
    semaphore: vk::Semaphore,
    timeline: bool,
    payload: Arc<Shared>,
}

impl Ties {
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

    /// Those of a batch of `vkQueueSubmit`.
    ///
    /// # Safety
    /// The structure must be valid.
    unsafe fn of_submission(&mut self, session: &Session, info: &vk::SubmitInfo<'_>) {
        let waits = (info.wait_semaphore_count, info.p_wait_semaphores);
        let signals = (info.signal_semaphore_count, info.p_signal_semaphores);
        // SAFETY: the caller's promise.
        unsafe { self.chained(session, info.p_next, waits, signals) };
    }

    /// The batch waits for and signals semaphores of an older structure, with the values that its chain gives them.
    ///
    /// # Safety
    /// The chain and the arrays of so many semaphores must be valid.
    unsafe fn chained(
        &mut self,
        session: &Session,
        chain: *const c_void,
        (waits, wait): (u32, *const vk::Semaphore),
        (signals, signal): (u32, *const vk::Semaphore),
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for i in 0..waits as usize {
                self.wait(session, *wait.add(i));
            }
            let values = chain::find::<vk::TimelineSemaphoreSubmitInfo<'_>>(chain).as_ref();
            for i in 0..signals as usize {
                let values = values.filter(|values| i < values.signal_semaphore_value_count as usize);
                let value = values.map(|values| *values.p_signal_semaphore_values.add(i));
                self.signal(session, *signal.add(i), value);
            }
        }
    }

    fn signal_anything(&self) -> bool {
        !self.values.is_empty() || !self.signals.is_empty()
    }

    fn are_shared(&self) -> bool {
        !self.waits.is_empty() || !self.signals.is_empty()
    }

    /// Writes the lists of semaphores with payloads.
    fn write(&self, w: &mut Writer<'_>) {
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
unsafe fn cut<T>(infos: *const T, count: u32, tie: impl Fn(&T, &mut Ties)) -> Vec<Batch> {
    let batch = |i: usize, count, ties| {
        // SAFETY: `i` is below the number of structures.
        Batch { infos: unsafe { infos.add(i) }.cast(), count, ties }
    };
    let ties = |i: usize| {
        let mut ties = Ties::default();
        // SAFETY: as above.
        tie(unsafe { &*infos.add(i) }, &mut ties);
        ties
    };
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
            let batches = cut(sent.infos(), count, |info, ties| ties.of_submission(session, info));
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
            let batches = cut(sent.infos(), count, |info, ties| {
                for i in 0..info.wait_semaphore_info_count as usize {
                    ties.wait(session, (*info.p_wait_semaphore_infos.add(i)).semaphore);
                }
                for i in 0..info.signal_semaphore_info_count as usize {
                    let signal = &*info.p_signal_semaphore_infos.add(i);
                    ties.signal(session, signal.semaphore, Some(signal.value));
                }
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
            let batches = cut(sent.infos(), count, |info, ties| {
                let waits = (info.wait_semaphore_count, info.p_wait_semaphores);
                let signals = (info.signal_semaphore_count, info.p_signal_semaphores);
                ties.chained(session, info.p_next, waits, signals);
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
