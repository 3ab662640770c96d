//! Queues: every submission is numbered and its completion published.
//!
//! The session's thread looks for the completion of the last submission itself as long as it has nothing else to do and
//! it is worth it; after that a thread of the queue waits for it. A thread costs two wakes for each submission.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ash::vk;
use ash::vk::Handle as _;
use vw_transport::{Consumer, Liveness, Region};
use vw_wire_protocol::codec::{Reader, Request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{MAX_FRAMES, lost};
use vw_wire_protocol::schema::Command;

use super::joined::batches_behind;
use super::payload::{Change, Gate, Signals, Waits};
use super::semaphore::Shares;
use super::submission::Batches;
use crate::frames::Announced;
use crate::session::Session;
use crate::session::end::{End, violation};
use crate::session::resolve::Seen;
use crate::window::Window;

/// Indices of the number of batches and of the batches among the arguments of `vkQueueSubmit`, `vkQueueSubmit2` and
/// `vkQueueBindSparse`.
pub(super) const COUNT: usize = 1;
pub(super) const BATCHES: usize = 2;

pub(crate) const SUBMIT: u16 = commands::VK_QUEUE_SUBMIT.opcode;
pub(crate) const SUBMIT_2: u16 = commands::VK_QUEUE_SUBMIT_2.opcode;

/// How long a completion thread waits for a fence before it looks whether it is to end, in nanoseconds.
const WAIT: u64 = 100_000_000;

/// The same, where programs that look at memory without waiting have to be sent what the device writes meanwhile.
const LOOK: u64 = 5_000_000;

/// How long what a guest has left running may take, once the guest is gone, until semaphores and fences that others wait for
/// are signalled all the same. Shorter than the session process lives then.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the queues of a device share.
pub struct Shared {
    /// The device's functions.
    pub device: ash::Device,
    /// Where completions are published.
    pub region: Arc<Region>,
    /// The region's window.
    window: Arc<Window>,
    /// Unsignalled fences without use.
    fences: Mutex<Vec<vk::Fence>>,
    /// Completion threads are to end.
    quit: AtomicBool,
    /// Nothing waits for payloads any more.
    open: AtomicBool,
    /// When the guest was found to be gone.
    left: OnceLock<Instant>,
}

/// Of the processes whose payloads are waited for, as far as it is of interest.
impl Liveness for Shared {
    fn alive(&self) -> bool {
        !self.open.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("device", &self.device.handle()).finish_non_exhaustive()
    }
}

impl Shared {
    /// What the queues of `device` share.
    pub fn new(device: ash::Device, region: Arc<Region>, window: Arc<Window>) -> Arc<Self> {
        Arc::new(Self {
            device,
            region,
            window,
            fences: Mutex::default(),
            quit: AtomicBool::new(false),
            open: AtomicBool::new(false),
            left: OnceLock::new(),
        })
    }

    /// An unsignalled fence.
    ///
    /// # Errors
    /// When the driver cannot make one.
    pub fn take_fence(&self) -> Result<vk::Fence, vk::Result> {
        if let Some(fence) = self.fences.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(fence);
        }
        // SAFETY: the device is live as long as this.
        unsafe { self.device.create_fence(&vk::FenceCreateInfo::default(), None) }
    }

    /// Takes back an unsignalled fence without use.
    pub fn give_fence(&self, fence: vk::Fence) {
        self.fences.lock().unwrap_or_else(PoisonError::into_inner).push(fence);
    }

    /// Tells completion threads to end without waiting for what is outstanding.
    pub fn quit(&self) {
        self.quit.store(true, Ordering::Release);
    }

    /// Lets everything go on that waits for payloads.
    pub fn open_gates(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// The guest is gone: nobody waits for other processes on its behalf, and nobody for it much longer.
    pub fn leave(&self) {
        self.open_gates();
        self.left.get_or_init(Instant::now);
    }

    /// Whether completion threads are to end without waiting.
    fn is_over(&self) -> bool {
        self.quit.load(Ordering::Acquire) || self.left.get().is_some_and(|left| left.elapsed() > PATIENCE)
    }

    /// Destroys the fences that are not in use.
    pub fn destroy_fences(&self) {
        for fence in self.fences.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // SAFETY: the fence is of this device and in nobody's use.
            unsafe { self.device.destroy_fence(fence, None) };
        }
    }

    /// The driver has not taken a submission: the device is lost.
    pub fn refused(&self, command: &Command, result: vk::Result) {
        let code = if result == vk::Result::ERROR_DEVICE_LOST { lost::DRIVER } else { lost::REFUSED };
        self.lose(code, &format!("{}: {result}", command.name));
    }

    /// Tells the guest that the device is lost, with `reason` for the log.
    pub fn lose(&self, code: u32, reason: &str) {
        if self.region.control().device_lost().is_none() {
            tracing::error!("device lost: {reason}");
        }
        self.region.control().lose_device(code);
    }
}

/// One queue of a device.
#[derive(Debug)]
pub struct Queue {
    /// The guest's id.
    pub id: u64,
    /// Where its completions are published.
    pub slot: usize,
    /// Number of the last submission.
    submitted: u64,
    completion: Option<Completion>,
    gate: Option<Gate>,
    /// What the next submission writes.
    announced: Vec<Announced>,
}

#[derive(Debug)]
struct Completion {
    sender: Sender<Pending>,
    thread: JoinHandle<()>,
}

/// A submission that is not known to be complete.
#[derive(Debug)]
struct Pending {
    number: u64,
    /// Of the host's own; none where it is complete with the one before.
    fence: Option<vk::Fence>,
    signals: Signals,
    frames: Vec<Announced>,
}

impl Pending {
    /// Publishes that it is complete. Its fence must be signalled, and nobody else may use it.
    fn publish(self, shared: &Shared, slot: usize) {
        let Self { number, fence, signals, frames } = self;
        shared.window.give();
        // Who is told of the end may count on the semaphores, and present other frames.
        drop(signals);
        frames.into_iter().for_each(Announced::complete);
        shared.region.control().complete(slot, number);
        let Some(fence) = fence else { return };
        // SAFETY: the fence is signalled and in nobody else's use.
        match unsafe { shared.device.reset_fences(&[fence]) } {
            Ok(()) => shared.give_fence(fence),
            // SAFETY: as above.
            Err(_) => unsafe { shared.device.destroy_fence(fence, None) },
        }
    }
}

/// The last submission, while the session's thread looks for its completion.
#[derive(Debug)]
pub(crate) struct Held {
    /// Number of its device.
    device: u16,
    /// The guest's id of its queue, and the queue's slot.
    queue: u64,
    slot: usize,
    shared: Arc<Shared>,
    pending: Pending,
}

impl Held {
    fn is_complete(&self) -> bool {
        // SAFETY: the fence is of this device, whose queues' threads do not have it.
        let status = |fence| unsafe { self.shared.device.get_fence_status(fence) };
        self.pending.fence.is_none_or(|fence| status(fence) == Ok(true))
    }
}

impl Queue {
    /// A queue without submissions.
    pub fn new(id: u64, slot: usize) -> Self {
        Self { id, slot, submitted: 0, completion: None, gate: None, announced: Vec::new() }
    }

    /// Counts a submission; also one that will be refused.
    pub fn count(&mut self) -> u64 {
        self.submitted += 1;
        self.submitted
    }

    /// The next submission waits for payloads: what it is to wait for instead.
    ///
    /// # Errors
    /// As [`Gate::new`].
    pub fn pass_gate(&mut self, shared: &Arc<Shared>) -> Result<(vk::Semaphore, u64), vk::Result> {
        let gate = match self.gate.take() {
            Some(gate) => gate,
            None => Gate::new(shared, self.slot)?,
        };
        Ok(self.gate.insert(gate).pass())
    }

    /// The next submission writes a frame. Whether there are not too many.
    pub fn announce(&mut self, frame: Announced) -> bool {
        self.announced.push(frame);
        self.announced.len() <= MAX_FRAMES
    }

    /// The last submission goes on after `waits`.
    fn open_gate_after(&self, waits: Waits) {
        if let Some(gate) = self.gate.as_ref().filter(|_| !waits.is_empty()) {
            gate.open_after(waits);
        }
    }

    /// The queue's thread is to publish the completion of a submission.
    ///
    /// # Errors
    /// When the thread cannot be started.
    fn watch(&mut self, shared: &Arc<Shared>, pending: Pending) -> Result<(), std::io::Error> {
        let completion = match &self.completion {
            Some(completion) => completion,
            None => {
                let (sender, receiver) = channel();
                let (shared, slot) = (Arc::clone(shared), self.slot);
                let thread = std::thread::Builder::new()
                    .name(format!("vw-queue-{slot}"))
                    .spawn(move || complete(&shared, slot, &receiver))?;
                self.completion.insert(Completion { sender, thread })
            }
        };
        // The thread ends only when the sender is dropped or the device is lost.
        let _ = completion.sender.send(pending);
        Ok(())
    }

    /// Ends the completion thread, after what is outstanding unless the device was told to [`quit`](Shared::quit).
    pub fn finish(&mut self, shared: &Shared) {
        if let Some(gate) = self.gate.take() {
            gate.finish(shared);
        }
        if let Some(Completion { sender, thread }) = self.completion.take() {
            drop(sender);
            if thread.join().is_err() {
                tracing::error!(slot = self.slot, "a completion thread panicked");
            }
        }
    }
}

impl Session {
    /// `vkQueueSubmit`, `vkQueueSubmit2`, `vkQueueBindSparse`: numbered; if the guest wants to know of the completion
    /// (`watched`), with a fence of the host's own. `shares`: what was taken out of it.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn submit(
        &mut self,
        command: &'static Command,
        request: &Request<'_>,
        seen: Seen,
        watched: bool,
        shares: Shares,
    ) -> Result<(), End> {
        if let Some(reason) = self.unfit_submission(request) {
            let device = self.device_mut(seen.device)?;
            if let Some(queue) = device.queue_mut(seen.queue) {
                queue.count();
                queue.announced.clear();
            }
            device.shared.lose(lost::REFUSED, &format!("{} refused: {reason}", command.name));
            return Ok(());
        }
        if command.opcode == commands::VK_QUEUE_BIND_SPARSE.opcode {
            // SAFETY: decoded by its table, listing; nothing is poisoned.
            unsafe { self.check_binding(command, request, seen)? };
        }
        let batches = Batches {
            command,
            queue: request.args[0],
            infos: request.args[BATCHES] as *const u8,
            count: request.args[COUNT] as u32,
            semaphores: self.touched.iter().any(|(ty, _)| *ty == HandleType::Semaphore),
        };
        // SAFETY: decoded by the command's table; nothing is poisoned.
        unsafe { self.submit_batches(&batches, seen, watched, shares) }
    }

    /// As [`submit`](Self::submit), of what may be submitted.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    ///
    /// # Safety
    /// `batches` must be valid for its command.
    pub(crate) unsafe fn submit_batches(
        &mut self,
        batches: &Batches,
        seen: Seen,
        watched: bool,
        shares: Shares,
    ) -> Result<(), End> {
        let device = self.device_mut(seen.device)?;
        let Some(queue) = device.queue_mut(seen.queue) else {
            return Err(violation("a submission without a queue"));
        };
        let (number, slot) = (queue.count(), queue.slot);
        let frames = std::mem::take(&mut queue.announced);
        self.window.take();
        let shares_nothing = shares.waits.is_empty() && shares.signals.0.is_empty() && frames.is_empty();
        // SAFETY: the caller's promise.
        if self.perf.join && !watched && shares_nothing && unsafe { self.join(batches, seen)? } {
            return Ok(());
        }
        let ahead = self.joined_ahead_of(batches.command, seen)?;
        let (mut infos, mut count) = (batches.infos, batches.count);
        let together;
        if !ahead.is_empty() {
            // SAFETY: the same; it is a `vkQueueSubmit`.
            together = unsafe { batches_behind(&ahead, batches) };
            (infos, count) = (together.as_ptr().cast(), together.len() as u32);
        }
        let command = batches.command;
        let shared = Arc::clone(&self.device(seen.device)?.shared);
        let fence = match watched.then(|| shared.take_fence()).transpose() {
            Ok(fence) => fence,
            Err(result) => {
                shared.lose(lost::REFUSED, &format!("no fence for {}: {result}", command.name));
                return Ok(());
            }
        };
        // Mesa's common code signals the fence of a submission first and touches its timeline semaphores afterwards, while
        // the guest, told of the fence, may already destroy them: with semaphores the fence is a submission of its own,
        // which the driver's thread reaches when it is done with the first.
        let (with, apart) = if batches.semaphores { (None, fence) } else { (fence, None) };
        let args = [batches.queue, count.into(), infos as u64, with.map_or(0, vk::Handle::as_raw)];
        let device = self.device(seen.device)?;
        // SAFETY: the caller's promise; the fence is unsignalled and in no other use.
        let ret = unsafe { self.call_args(&device.procs, command, &args)? };
        let mut result = vk::Result::from_raw(ret as i32);
        if let Some(fence) = apart
            && result == vk::Result::SUCCESS
        {
            let queue = vk::Queue::from_raw(batches.queue);
            // SAFETY: the queue was resolved for this record and is used by this thread alone; the fence as above.
            result = unsafe { shared.device.queue_submit(queue, &[], fence) }.err().unwrap_or(result);
        }
        if result != vk::Result::SUCCESS {
            if let Some(fence) = fence {
                shared.give_fence(fence);
            }
            shared.refused(command, result);
            return Ok(());
        }
        if let Some(queue) = self.device_mut(seen.device)?.queue_mut(seen.queue) {
            queue.open_gate_after(shares.waits);
        }
        if fence.is_none() {
            return Ok(());
        }
        self.held = Some(Held {
            device: seen.device,
            queue: seen.queue,
            slot,
            shared,
            pending: Pending { number, fence, signals: shares.signals, frames },
        });
        Ok(())
    }

    /// With nothing else to do: looks whether the last submission completes, or a record comes first. In the end either
    /// its completion is published or its queue's thread will do that.
    pub(crate) fn look_for_completion(&mut self, consumer: &mut Consumer) {
        let Some(held) = &self.held else { return };
        consumer.look(&self.completion_spin, || held.is_complete());
        if held.is_complete()
            && let Some(Held { shared, slot, pending, .. }) = self.held.take()
        {
            pending.publish(&shared, slot);
        }
        self.hand_over();
    }

    /// The last submission is its queue's thread's from now on.
    pub(crate) fn hand_over(&mut self) {
        if self.held.is_none() {
            return;
        }
        let Some(Held { device, queue, shared, pending, .. }) = self.held.take() else { return };
        let watched = match self.device_mut(device).ok().and_then(|device| device.queue_mut(queue)) {
            Some(queue) => queue.watch(&shared, pending),
            None => return,
        };
        if let Err(error) = watched {
            shared.lose(lost::REFUSED, &no_thread(&error));
        }
    }

    /// The queue with this id, and what its device's queues share.
    pub(crate) fn queue_mut(&mut self, id: u64) -> Option<(&mut Queue, Arc<Shared>)> {
        self.devices.iter_mut().flatten().find_map(|device| {
            let shared = Arc::clone(&device.shared);
            Some((device.queue_mut(id)?, shared))
        })
    }

    /// The record `SIGNAL_FENCE`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn signal_fence(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let id = reader.take_u64().map_err(violation)?;
        let payload = self.payloads.get(reader.take_u64().map_err(violation)?)?;
        reader.finish().map_err(violation)?;
        let (queue, shared) = self.queue_mut(id).ok_or_else(|| violation("a fence without a queue"))?;
        let signals = Signals(vec![(payload, Change::Binary)]);
        let pending = Pending { number: queue.submitted, fence: None, signals, frames: Vec::new() };
        // Behind the last submission, which no record finds held.
        if let Err(error) = queue.watch(&shared, pending) {
            shared.lose(lost::REFUSED, &no_thread(&error));
        }
        Ok(())
    }

    /// Why a submission may not be made; `None` if it may.
    fn unfit_submission(&self, request: &Request<'_>) -> Option<String> {
        if let Some(bad) = request.poisoned {
            return Some(format!("{} {:#x} could not be created", bad.ty.name(), bad.id));
        }
        let buffers = self.touched.iter().filter(|(ty, _)| *ty == HandleType::CommandBuffer);
        buffers.into_iter().find_map(|(_, id)| {
            self.buffers.unfit(*id).map(|reason| format!("command buffer {id:#x} may not run: {reason}"))
        })
    }
}

fn no_thread(error: &std::io::Error) -> String {
    format!("no thread can be started to wait for submissions: {error}")
}

/// Waits for fences in order and publishes what is complete.
fn complete(shared: &Shared, slot: usize, receiver: &Receiver<Pending>) {
    let apart = shared.window.is_apart();
    // What a look has cost holds for the next submissions too.
    let mut wait = if apart { LOOK } else { WAIT };
    while let Ok(pending) = receiver.recv() {
        let fences = Vec::from_iter(pending.fence);
        while !fences.is_empty() {
            // SAFETY: the fence is of this device and used by this thread alone once it is submitted.
            match unsafe { shared.device.wait_for_fences(&fences, true, wait) } {
                Ok(()) => break,
                Err(vk::Result::TIMEOUT) if !shared.is_over() => {
                    let start = Instant::now();
                    if apart {
                        shared.window.give_now();
                        // Not for more than a small part of the time.
                        wait = LOOK.max(20 * start.elapsed().as_nanos() as u64).min(WAIT);
                    }
                }
                Err(vk::Result::TIMEOUT) => return,
                Err(result) => {
                    let number = pending.number;
                    shared.lose(
                        lost::DRIVER,
                        &format!("waiting for submission {number} on queue slot {slot}: {result}"),
                    );
                    return;
                }
            }
        }
        pending.publish(shared, slot);
    }
}
