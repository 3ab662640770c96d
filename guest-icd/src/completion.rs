//! What the host has finished, and waiting for it.
//!
//! Every submission to a queue has a number; the host publishes in the control page up to which number each queue's
//! submissions are finished. Fences, timeline semaphores and idle waits are answered from that alone, unless other processes
//! share them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ash::vk;
use vw_transport::{Signal, Woken};
use vw_wire_protocol::record::lost;

use crate::payload::Shared;
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

/// What a program waits for.
pub(crate) trait Awaited {
    /// Whether it has happened.
    fn ready(&self, session: &Session) -> bool;

    /// The payload that tells, if it is not the control page.
    fn shared(&self) -> Option<Arc<Shared>>;
}

/// How long a wait for the first of several things sleeps that are told of in several places.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// When `timeout` nanoseconds are over. None: never, or too far off to be represented.
fn deadline(timeout: u64) -> Option<Instant> {
    if timeout == u64::MAX { None } else { Instant::now().checked_add(Duration::from_nanos(timeout)) }
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

    /// Waits up to `timeout` nanoseconds for all or any of `awaited`.
    pub(crate) fn wait_for(&self, awaited: &[impl Awaited], all: bool, timeout: u64) -> Waited {
        let mut any = || awaited.iter().any(|one| one.ready(self));
        if awaited.iter().all(|one| one.shared().is_none()) {
            // Those before `first` were seen to have happened.
            let mut first = 0;
            return self.wait(timeout, || {
                if !all {
                    return any();
                }
                while awaited.get(first).is_some_and(|one| one.ready(self)) {
                    first += 1;
                }
                first == awaited.len()
            });
        }
        let deadline = deadline(timeout);
        if all || awaited.len() == 1 {
            for one in awaited {
                let shared = one.shared();
                let word = shared.as_ref().map_or(self.control().completion(), |s| s.payload.moved());
                let waited = self.wait_on(word, deadline, || one.ready(self));
                if waited != Waited::Ready {
                    return waited;
                }
            }
            return Waited::Ready;
        }
        loop {
            let now = Instant::now();
            let until = deadline.map_or(now + LOOK_EVERY, |deadline| deadline.min(now + LOOK_EVERY));
            match self.wait_on(self.control().completion(), Some(until), &mut any) {
                Waited::TimedOut if deadline.is_none_or(|deadline| until < deadline) => {}
                waited => return waited,
            }
        }
    }

    /// Waits up to `timeout` nanoseconds until `ready`.
    pub(crate) fn wait(&self, timeout: u64, mut ready: impl FnMut() -> bool) -> Waited {
        if ready() {
            return Waited::Ready;
        }
        if timeout == 0 {
            return if self.lost_now() { Waited::Lost } else { Waited::TimedOut };
        }
        self.wait_on(self.control().completion(), deadline(timeout), ready)
    }

    /// Waits until `ready`, which changes with `word`, or the deadline has passed.
    fn wait_on(
        &self,
        word: Signal<'_>,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> bool,
    ) -> Waited {
        if ready() {
            return Waited::Ready;
        }
        if self.lost_now() {
            return Waited::Lost;
        }
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
        self.control().completion().signal_here();
    }
}
