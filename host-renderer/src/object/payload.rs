//! The state of semaphores and fences that several processes share: pages that guests and sessions map.
//!
//! No driver takes part. What a submission signals there, the thread does that waits for its fence; what it waits for there,
//! a thread of its queue waits for, and lets it go on by a timeline semaphore that only vw knows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use ash::vk;
use vw_transport::{Payload, Spin};
use vw_wire_protocol::codec::Reader;

use super::queue::Shared;
use crate::session::Session;
use crate::session::end::{End, violation};

/// Payloads that a session may have at a time.
const LIMIT: usize = 1 << 16;

/// The payloads of a session, by the guest's numbers.
#[derive(Debug, Default)]
pub struct Payloads(HashMap<u64, Arc<Payload>>);

impl Payloads {
    /// The payload with this number.
    ///
    /// # Errors
    /// A violation when there is none.
    pub fn get(&self, number: u64) -> Result<Arc<Payload>, End> {
        self.0.get(&number).cloned().ok_or_else(|| violation(format!("no payload has the number {number}")))
    }
}

/// What happens to a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A binary semaphore or a fence: signalled, or waited for and taken back.
    Binary,
    /// A timeline semaphore: this value.
    Timeline(u64),
}

/// What is signalled when a submission is finished; or when it will never be, so that nobody in another process waits for
/// it for ever.
#[derive(Debug, Default)]
pub struct Signals(pub Vec<(Arc<Payload>, Change)>);

impl Drop for Signals {
    fn drop(&mut self) {
        for (payload, change) in &self.0 {
            match change {
                Change::Binary => payload.set(),
                Change::Timeline(value) => payload.raise(*value),
            }
        }
    }
}

/// What a submission waits for.
pub type Waits = Vec<(Arc<Payload>, Change)>;

/// Lets the submissions of a queue that wait for payloads go on, in their order.
#[derive(Debug)]
pub struct Gate {
    /// A timeline semaphore; each such submission waits for a value of its own.
    semaphore: vk::Semaphore,
    /// The last value that a submission waits for.
    last: u64,
    sender: Sender<(Waits, u64)>,
    thread: JoinHandle<()>,
}

impl Gate {
    /// A gate for a queue of this device, which must have timeline semaphores enabled.
    ///
    /// # Errors
    /// When the driver makes no semaphore, or the system no thread.
    pub fn new(shared: &Arc<Shared>, slot: usize) -> Result<Self, vk::Result> {
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the device is live as long as `shared`.
        let semaphore = unsafe { shared.device.create_semaphore(&info, None)? };
        let (sender, receiver) = channel();
        let owner = Arc::clone(shared);
        let thread = std::thread::Builder::new()
            .name(format!("vw-gate-{slot}"))
            .spawn(move || keep(&owner, semaphore, &receiver));
        match thread {
            Ok(thread) => Ok(Self { semaphore, last: 0, sender, thread }),
            Err(_) => {
                // SAFETY: of this device, and in nobody's use.
                unsafe { shared.device.destroy_semaphore(semaphore, None) };
                Err(vk::Result::ERROR_OUT_OF_HOST_MEMORY)
            }
        }
    }

    /// What the next submission is to wait for instead of payloads.
    pub fn pass(&mut self) -> (vk::Semaphore, u64) {
        self.last += 1;
        (self.semaphore, self.last)
    }

    /// The submission that waits for the [last](Self::pass) value was made, and goes on after `waits`.
    pub fn open_after(&self, waits: Waits) {
        // The thread ends only when the sender is dropped.
        let _ = self.sender.send((waits, self.last));
    }

    /// Ends the thread, once it has let all submissions go on. The device must be idle after them.
    pub fn finish(self, shared: &Shared) {
        drop(self.sender);
        if self.thread.join().is_err() {
            tracing::error!("the thread of a gate panicked");
        }
        // SAFETY: of this device; the submissions that wait for it are finished.
        unsafe { shared.device.destroy_semaphore(self.semaphore, None) };
    }
}

fn keep(shared: &Shared, semaphore: vk::Semaphore, receiver: &Receiver<(Waits, u64)>) {
    let spin = Spin::adaptive();
    while let Ok((waits, value)) = receiver.recv() {
        for (payload, change) in &waits {
            // Ends with an error when all gates are opened: what another process owes may never come.
            let _ = payload.moved().wait_until(&spin, None, shared, || match change {
                Change::Binary => payload.take(),
                Change::Timeline(value) => payload.value() >= *value,
            });
        }
        let info = vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value);
        // SAFETY: a timeline semaphore of this live device, which nobody else signals; the values rise.
        if let Err(result) = unsafe { shared.device.signal_semaphore(&info) } {
            tracing::error!("vkSignalSemaphore: {result}");
        }
    }
}

impl Session {
    /// The record `ATTACH_PAYLOAD`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn attach_payload(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let number = reader.take_u64().map_err(violation)?;
        reader.finish().map_err(violation)?;
        if !self.shares_sync {
            return Err(violation("a payload, which this session was not offered"));
        }
        let full = self.payloads.0.len() >= LIMIT;
        let Entry::Vacant(entry) = self.payloads.0.entry(number) else {
            return Err(violation(format!("the number {number} has a payload already")));
        };
        let fd =
            self.peer.receive_descriptor().ok_or_else(|| violation("a payload without its descriptor"))?;
        let result = match Payload::attach(fd) {
            _ if full => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
            Ok((payload, _)) => {
                entry.insert(Arc::new(payload));
                vk::Result::SUCCESS
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(violation(error)),
            Err(error) => {
                tracing::warn!("a payload cannot be mapped: {error}");
                vk::Result::ERROR_OUT_OF_HOST_MEMORY
            }
        };
        self.replies.post(|writer| writer.put_u32(result.as_raw().cast_unsigned()))
    }

    /// The record `DETACH_PAYLOAD`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn detach_payload(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let number = reader.take_u64().map_err(violation)?;
        reader.finish().map_err(violation)?;
        // Submissions that wait for it or signal it keep it.
        match self.payloads.0.remove(&number) {
            Some(_) => Ok(()),
            None => Err(violation(format!("no payload has the number {number}"))),
        }
    }
}
