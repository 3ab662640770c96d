//! What the host has finished, and waiting for it.
//!
//! Every submission to a queue has a number; the host publishes in the control page up to which number each queue's
//! submissions are finished. Fences, timeline semaphores and idle waits are answered from that alone.

use std::time::{Duration, Instant};

use ash::vk;
use vw_transport::Woken;
use vw_wire_protocol::record::lost;

use crate::session::Session;

/// A submission: its queue's slot in the control page, and its number in that queue, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// Slot, below 64.
    pub(crate) slot: u8,
    /// Number; 0 is before the first submission.
    pub(crate) seq: u64,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// What was waited for has happened.
    Ready,
    /// The time is up.
    TimedOut,
    /// It will never happen.
    Lost,
}

impl Waited {
    /// The result of a waiting command.
    pub(crate) fn result(self) -> vk::Result {
        match self {
            Self::Ready => vk::Result::SUCCESS,
            Self::TimedOut => vk::Result::TIMEOUT,
            Self::Lost => vk::Result::ERROR_DEVICE_LOST,
        }
    }
}

impl Session {
    /// Whether the submission, and all before it in its queue, are finished.
    pub(crate) fn reached(&self, point: Point) -> bool {
        self.control().completed(point.slot.into()) >= point.seq
    }

    /// Whether nothing will be finished any more.
    pub(crate) fn lost(&self) -> bool {
        self.broken() || self.control().device_lost().is_some()
    }

    /// [`Session::lost`], and a look, now and then, at whether the host is there at all.
    pub(crate) fn lost_now(&self) -> bool {
        self.check();
        if let Some(code) = self.control().device_lost() {
            self.tell_loss(lost::words(code));
        }
        self.lost()
    }

    /// Waits up to `timeout` nanoseconds until `ready`.
    pub(crate) fn wait(&self, timeout: u64, mut ready: impl FnMut() -> bool) -> Waited {
        if ready() {
            return Waited::Ready;
        }
        if self.lost_now() {
            return Waited::Lost;
        }
        if timeout == 0 {
            return Waited::TimedOut;
        }
        // Too far off to be represented is for ever.
        let deadline = if timeout == u64::MAX {
            None
        } else {
            Instant::now().checked_add(Duration::from_nanos(timeout))
        };
        let word = &self.control().completion;
        let woken = word.wait_until(&self.completion_spin, deadline, &*self.peer, || ready() || self.lost());
        match woken {
            Ok(Woken::TimedOut) => Waited::TimedOut,
            Ok(Woken::Ready) if ready() => Waited::Ready,
            Ok(Woken::Ready) => {
                self.lost_now();
                Waited::Lost
            }
            Err(gone) => {
                self.give_up(&gone);
                Waited::Lost
            }
        }
    }

    /// Waits until something is finished after `seen` was [taken](Session::progress).
    pub(crate) fn wait_for_progress(&self, seen: u64) -> Waited {
        // Progress of a queue that this wait is not about ends it too, and the caller looks again.
        self.wait(u64::MAX, || self.progress() != seen)
    }

    /// A number that changes whenever a submission is finished.
    pub(crate) fn progress(&self) -> u64 {
        (0..64).fold(0, |sum, slot| sum.wrapping_add(self.control().completed(slot)))
    }

    /// Wakes the threads that wait, so that they look at what changed in the guest.
    pub(crate) fn wake_waiters(&self) {
        self.control().completion.signal();
    }
}
