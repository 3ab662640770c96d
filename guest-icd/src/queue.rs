//! `VkQueue`: submission.
//!
//! Each record of a submission has a number in its queue that guest and host count alike. No fence travels: a fence
//! is signalled when the last number of its submission is finished, by the host where other processes share it. The host
//! publishes the completion of those numbers alone that are watched: somebody may wait for them. Who waits for another
//! one [watches](Queue::watch) a new one.

use std::ffi::c_void;
use std::sync::Mutex;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::{Writer, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::{FLAG_WATCH, op};
use vw_wire_protocol::schema::Command;

use crate::completion::{Point, Waited};
use crate::dispatch::{self, Head};
use crate::failure::Failure;
use crate::fence::Fence;
use crate::forward;
use crate::sender::Sender;
use crate::session::{Session, lock};
use crate::submission::{Batch, Info, Plain, cut};
use crate::wsi::{Lists, Submissions};

/// Submissions of which one looks whether the host is still there.
const LOOK_EVERY: u64 = 16;

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

    /// Submits `count` infos, and notes what their end signals.
    ///
    /// # Safety
    /// There must be so many valid infos.
    unsafe fn submit<T: Lists>(
        &self,
        session: &Session,
        infos: *const T,
        count: u32,
        fence: u64,
    ) -> vk::Result {
        if session.holds_recordings() {
            // SAFETY: the caller's promise.
            let buffers = (0..count as usize).flat_map(|i| unsafe { (*infos.add(i)).command_buffers() });
            // SAFETY: as above.
            let ids = buffers.map(|buffer| unsafe { dispatch::id(buffer.as_raw() as *const c_void) });
            if let Err(failure) = session.hand_over_held(ids) {
                return failure.result();
            }
            session.hand_over_oldest();
        }
        if !session.objects.owed.has_any() {
            // SAFETY: the caller's promise.
            return unsafe { self.submit_all(session, infos, count, fence, None) };
        }
        // SAFETY: as above; what is left is as many infos, and as valid.
        unsafe {
            let left = Submissions::new(session, self, infos, count);
            self.submit_all(session, left.infos(), count, fence, Some(&left))
        }
    }

    /// As [`submit`](Self::submit), without what the guest does itself; `left`: what these infos are part of.
    ///
    /// # Safety
    /// As there.
    unsafe fn submit_all<T: Lists>(
        &self,
        session: &Session,
        infos: *const T,
        count: u32,
        fence: u64,
        left: Option<&Submissions<T>>,
    ) -> vk::Result {
        let watch_end = fence != 0 || left.is_some_and(Submissions::leave_out_signal);
        let note = |submitted: &Submitted| {
            if let Some(left) = left {
                left.signal_at(session, self, Point { slot: self.slot, seq: submitted.last });
            }
        };
        // SAFETY: the caller's promise.
        if let Some(plain) = unsafe { Plain::new(session, infos, count) }
            && let Some(result) = self.send(session, fence, |sender, submitted| {
                let pushed = self.push_plain(session, sender, submitted, &plain, watch_end)?;
                if pushed {
                    note(submitted);
                }
                Ok(pushed)
            })
        {
            return result;
        }
        // SAFETY: the caller's promise.
        let batches = unsafe { cut(session, infos, count) };
        let result = self.send(session, fence, |sender, submitted| {
            for (i, batch) in batches.iter().enumerate() {
                let ends = watch_end && i + 1 == batches.len();
                let watch = ends || batch.ties.signal_anything() || !session.perf.unwatched;
                // SAFETY: as above.
                unsafe { self.push_batch(session, sender, submitted, T::COMMAND, batch, watch)? };
            }
            note(submitted);
            Ok(true)
        });
        result.unwrap_or(vk::Result::ERROR_DEVICE_LOST)
    }

    /// Sends the records of a submission, which `push` appends, and has its end signal the fence. None when it appends
    /// nothing, which it says.
    #[inline]
    fn send(
        &self,
        session: &Session,
        fence: u64,
        push: impl FnOnce(&mut Sender, &mut Submitted) -> Result<bool, Failure>,
    ) -> Option<vk::Result> {
        let mut submitted = lock(&self.submitted);
        let result = session.with_sender(|sender| {
            session.settle();
            if !push(sender, &mut submitted)? {
                return Ok(false);
            }
            let signalled = session.objects.fences.with(fence, |fence| {
                // A fence alone is signalled when all earlier submissions are finished.
                if submitted.watched != submitted.last {
                    self.push_marker(sender, &mut submitted)?;
                }
                self.push_fence(sender, fence, Point { slot: self.slot, seq: submitted.last })
            });
            sender.publish();
            signalled.unwrap_or(Ok(())).map(|()| true)
        });
        // Whether the host is there at all costs a look at the clock.
        let look = submitted.last.is_multiple_of(LOOK_EVERY) || session.lost();
        match result {
            Ok(false) => None,
            Ok(true) if look && session.lost_now() => Some(vk::Result::ERROR_DEVICE_LOST),
            Ok(true) => Some(vk::Result::SUCCESS),
            Err(failure) => Some(failure.result()),
        }
    }

    /// Appends a submission as one record, without the tables. False when that cannot be.
    #[inline]
    fn push_plain<T: Info>(
        &self,
        session: &Session,
        sender: &mut Sender,
        submitted: &mut Submitted,
        plain: &Plain<T>,
        ends: bool,
    ) -> Result<bool, Failure> {
        let watch = ends || plain.signals || !session.perf.unwatched;
        let flags = if watch { FLAG_WATCH } else { 0 };
        let mut record = sender.begin()?;
        if plain.put(&mut record, self.id()).is_none() {
            return Ok(false);
        }
        sender.end(record, T::OPCODE, flags);
        let point = self.count(submitted, watch);
        if plain.signals {
            for (semaphore, value) in plain.signalled() {
                let signal = |value| {
                    let timelines = &session.objects.semaphores;
                    timelines.with(semaphore.as_raw(), |timeline| timeline.signal_at(value, point, session))
                };
                value.and_then(signal);
            }
        }
        Ok(true)
    }

    /// Counts a record of a submission that was appended and that the host cannot see yet.
    fn count(&self, submitted: &mut Submitted, watched: bool) -> Point {
        submitted.last += 1;
        if watched {
            submitted.watched = submitted.last;
        }
        Point { slot: self.slot, seq: submitted.last }
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
        let point = self.count(submitted, watch);
        // Noted before the host can see the record, let alone finish it.
        for (timeline, value) in &ties.values {
            timeline.signal_at(*value, point, session);
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
        let batches = unsafe { cut(session, info, 1) };
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
    pub(crate) fn signal(&self, session: &Session, semaphores: &[vk::Semaphore]) {
        let info = vk::SubmitInfo::default().signal_semaphores(semaphores);
        // SAFETY: the structure is valid for the call.
        let _ = unsafe { self.submit_own(session, &info, |_| Ok(())) };
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
    unsafe { with_queue(queue, |queue, session| queue.submit(session, infos, count, fence)) }
}

/// `vkQueueSubmit2`
pub(crate) unsafe extern "system" fn vkQueueSubmit2(
    queue: *mut Queue,
    count: u32,
    infos: *const vk::SubmitInfo2<'_>,
    fence: u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command: `count` infos.
    unsafe { with_queue(queue, |queue, session| queue.submit(session, infos, count, fence)) }
}

/// `vkQueueBindSparse`
pub(crate) unsafe extern "system" fn vkQueueBindSparse(
    queue: *mut Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command: `count` infos.
    unsafe { with_queue(queue, |queue, session| queue.submit(session, infos, count, fence)) }
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
