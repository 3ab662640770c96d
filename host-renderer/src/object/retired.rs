//! Semaphores that the guest has destroyed and the driver may not be done with.
//!
//! Mesa's common code signals the fence of a submission first and lets go of its semaphores afterwards, in a thread of its
//! own, while the guest, told of the fence, may already destroy them. They are destroyed when a later submission of each
//! queue is complete: its thread has the first behind it then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ash::vk;

use super::queue::Shared;
use crate::session::Session;

/// More than so many are not kept: the device is waited for.
const MAX: usize = 256;

/// Those of a device.
#[derive(Debug, Default)]
pub struct Retired {
    list: Mutex<Vec<Semaphore>>,
    /// The list may have something in it.
    any: AtomicBool,
}

#[derive(Debug)]
struct Semaphore {
    raw: vk::Semaphore,
    /// Slots of queues, with the last submission that may have named it.
    after: Vec<(usize, u64)>,
}

impl Retired {
    /// Keeps a semaphore until submissions after these are complete: slots of queues with their numbers. Returns how many
    /// are kept.
    pub fn add(&self, raw: vk::Semaphore, after: Vec<(usize, u64)>) -> usize {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(Semaphore { raw, after });
        self.any.store(true, Ordering::Release);
        list.len()
    }

    /// Submission `number` of a queue is complete: takes out what waited for nothing else.
    pub fn completed(&self, slot: usize, number: u64) -> Vec<vk::Semaphore> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter_mut().for_each(|one| one.after.retain(|(of, last)| *of != slot || *last >= number));
        let free = list.extract_if(.., |one| one.after.is_empty()).map(|one| one.raw).collect();
        self.any.store(!list.is_empty(), Ordering::Release);
        free
    }

    /// Takes out all.
    pub fn take(&self) -> Vec<vk::Semaphore> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::Release);
        list.drain(..).map(|one| one.raw).collect()
    }
}

impl Shared {
    /// Destroys semaphores that nothing uses any more.
    pub fn destroy_semaphores(&self, semaphores: Vec<vk::Semaphore>) {
        for semaphore in semaphores {
            // SAFETY: a semaphore of this device that the guest has destroyed; every submission that named it is behind
            // its queue.
            unsafe { self.device.destroy_semaphore(semaphore, None) };
        }
    }
}

impl Session {
    /// The guest destroys a semaphore that submissions have named.
    pub(crate) fn retire_semaphore(&mut self, device: u16, raw: vk::Semaphore) {
        let Ok(device) = self.device(device) else { return };
        let shared = &device.shared;
        let after = device.queues.iter().filter_map(|queue| Some((queue.slot, queue.last()?))).collect();
        // SAFETY: the device is live; this thread is the only one that submits.
        if shared.retired.add(raw, after) > MAX && unsafe { shared.device.device_wait_idle() }.is_ok() {
            shared.destroy_semaphores(shared.retired.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use ash::vk::Handle as _;

    use super::*;

    #[test]
    fn semaphores_when_all_queues_went_on_are_free() {
        let retired = Retired::default();
        let [first, second] = [1, 2].map(vk::Semaphore::from_raw);
        assert_eq!(retired.add(first, vec![(0, 7), (3, 1)]), 1);
        assert_eq!(retired.add(second, vec![(0, 8)]), 2);
        assert!(retired.completed(0, 7).is_empty());
        assert!(retired.completed(0, 8).is_empty());
        assert_eq!(retired.completed(3, 2), [first]);
        assert_eq!(retired.completed(0, 100), [second]);
        assert!(retired.take().is_empty());
        retired.add(first, vec![(0, 100)]);
        assert_eq!(retired.take(), [first]);
    }
}
