//! Waiting for the other side: spin a little, then sleep, and never miss a wake.

use std::time::{Duration, Instant};

use crate::bell::{Bell, Word};
use crate::liveness::{Liveness, PeerGone};
use crate::spin::Spin;
use crate::sync::{AtomicU32, FutexWord, Ordering, Scope, fence};

/// How long a thread sleeps at most before it asks whether the other side is alive.
pub const LIVENESS_PERIOD: Duration = Duration::from_millis(100);

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The predicate holds.
    Ready,
    /// The deadline passed and the predicate did not hold when last asked.
    TimedOut,
}

/// A word in shared memory on which any number of threads of both sides sleep until something has changed. What
/// they wait for stands elsewhere: each waiter brings a predicate.
///
/// The handshake (modelled in `tests/loom_sleep.rs`):
///
/// ```text
/// waiter                                signaller
/// s = seq                               (makes the predicate true)
/// sleeping = 1                          fence
/// fence                                 if sleeping is 0: done, nobody can miss it
/// predicate? done                       sleeping = 0
/// futex_wait(seq while == s)            seq += 1
///                                       futex_wake
/// ```
///
/// Of the two fences one comes first: either the waiter sees the change, or the signaller sees the flag. The flag
/// is cleared before `seq` moves, so a waiter whose flag is cleared has the old `seq` and cannot fall asleep on
/// the new one. `seq` moves only when somebody sleeps, so it counts the wakes. A waiter whose sleep has timed out may
/// clear the flag itself ([`Signal::disarm`]): it asks its predicate afterwards, and sets the flag before it sleeps again.
#[repr(C)]
#[derive(Debug, Default)]
pub struct WaitWord {
    seq: FutexWord,
    sleeping: AtomicU32,
}

impl WaitWord {
    /// The word as sides of one kernel use it.
    pub fn shared(&self) -> Signal<'_> {
        Signal { word: self, bell: None }
    }

    /// How many signals found a sleeper so far (wraps).
    pub fn wakes(&self) -> u32 {
        self.seq.load(Ordering::Relaxed)
    }

    /// Ends the sleep that somebody has announced, but for the wake itself. Returns whether anybody had.
    fn rouse(&self) -> bool {
        fence(Ordering::SeqCst);
        // The look before the swap keeps the line shared while nobody sleeps.
        if self.sleeping.load(Ordering::Relaxed) == 0 || self.sleeping.swap(0, Ordering::AcqRel) == 0 {
            return false;
        }
        self.seq.bump(Ordering::Release);
        true
    }
}

/// A wait word, and how those who sleep on it are woken: by the kernel that both sides run on, or by a bell.
#[derive(Debug, Clone, Copy)]
pub struct Signal<'a> {
    word: &'a WaitWord,
    bell: Option<(&'a dyn Bell, Word)>,
}

impl<'a> Signal<'a> {
    /// `word` where the other side's threads are reached by `bell`, if there is one.
    pub fn new(word: &'a WaitWord, name: Word, bell: Option<&'a dyn Bell>) -> Self {
        Self { word, bell: bell.map(|bell| (bell, name)) }
    }

    fn scope(self) -> Scope {
        if self.bell.is_some() { Scope::Process } else { Scope::Machine }
    }

    /// Wakes all of the other side that sleep here, if any do. Call it after the store that makes a predicate true.
    ///
    /// Returns whether somebody had said that it sleeps.
    pub fn signal(self) -> bool {
        if !self.word.rouse() {
            return false;
        }
        match self.bell {
            None => self.word.seq.wake_all(Scope::Machine),
            Some((bell, name)) => bell.ring(name),
        }
        true
    }

    /// As [`signal`](Self::signal), for threads of this process.
    pub fn signal_here(self) {
        if self.word.rouse() {
            self.word.seq.wake_all(self.scope());
        }
    }

    /// Wakes the threads of this process that sleep here: the other side has done the rest, and rung.
    pub fn wake_here(self) {
        self.word.seq.wake_all(self.scope());
    }

    /// Says for threads of the other side, which cannot, that they sleep.
    pub fn arm(self) {
        self.word.sleeping.store(1, Ordering::SeqCst);
    }

    /// Takes back that it sleeps, so that nobody wakes it: for a word that one thread alone sleeps on, and is awake.
    pub fn disarm(self) {
        self.word.sleeping.store(0, Ordering::Relaxed);
    }

    /// Whether somebody has said that it sleeps. A hint, with no order to anything else.
    pub fn is_slept_on(self) -> bool {
        self.word.sleeping.load(Ordering::Relaxed) != 0
    }

    /// One round of the handshake: says that it sleeps, asks `ready` once more, and sleeps until a signal or
    /// `timeout`. Returns true if `ready` held and it did not sleep; after false ask again.
    pub fn sleep_unless(self, timeout: Option<Duration>, ready: impl FnOnce() -> bool) -> bool {
        let seen = self.word.seq.load(Ordering::Acquire);
        self.word.sleeping.store(1, Ordering::Release);
        fence(Ordering::SeqCst);
        if ready() {
            return true;
        }
        self.word.seq.wait(self.scope(), seen, timeout);
        false
    }

    /// Waits until `ready` holds: spins for `spin`'s budget, then sleeps. `deadline`: `None` waits for ever.
    ///
    /// What a live peer owes is waited for; a dead one is noticed within about [`LIVENESS_PERIOD`], also by callers
    /// that poll with a deadline in the past.
    ///
    /// # Errors
    /// [`PeerGone`] if `peer` is no longer alive and `ready` does not hold.
    pub fn wait_until(
        self,
        spin: &Spin,
        deadline: Option<Instant>,
        peer: &dyn Liveness,
        mut ready: impl FnMut() -> bool,
    ) -> Result<Woken, PeerGone> {
        if ready() {
            return Ok(Woken::Ready);
        }
        let start = Instant::now();
        let expired = |now| deadline.is_some_and(|d| now >= d);
        if !expired(start) && spin.until(start, deadline, &mut ready) {
            return Ok(Woken::Ready);
        }
        // Asked by the clock and not by the futex's time-out: a hostile peer may keep changing the word.
        let mut ask_at = Some(start);
        loop {
            let now = Instant::now();
            if ask_at.is_some_and(|at| now >= at) || expired(now) {
                if !peer.alive() {
                    // What it did before it went still counts.
                    return if ready() { Ok(Woken::Ready) } else { Err(PeerGone) };
                }
                ask_at = peer.ask_every().map(|period| now + period);
            }
            if expired(now) {
                return Ok(Woken::TimedOut);
            }
            let until = deadline.into_iter().chain(ask_at).min();
            let timeout = until.map(|until| until.saturating_duration_since(now));
            if self.sleep_unless(timeout, &mut ready) || ready() {
                return Ok(Woken::Ready);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32 as Counter};

    use super::*;
    use crate::liveness::AlwaysAlive;

    /// A peer that lives for so many questions.
    struct Lives(Counter);

    impl Liveness for Lives {
        fn alive(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        }
    }

    fn lives(n: u32) -> Lives {
        Lives(Counter::new(n))
    }

    #[test]
    fn wait_when_ready_returns_without_asking_for_the_peer() {
        let word = WaitWord::default();
        assert_eq!(word.shared().wait_until(&Spin::off(), None, &lives(0), || true), Ok(Woken::Ready));
    }

    #[test]
    fn wait_when_the_deadline_is_past_looks_once_and_does_not_sleep() {
        let word = WaitWord::default();
        let start = Instant::now();
        let mut looks = 0;
        let woken = word.shared().wait_until(&Spin::adaptive(), Some(start), &AlwaysAlive, || {
            looks += 1;
            false
        });
        assert_eq!((woken, looks), (Ok(Woken::TimedOut), 1));
    }

    #[test]
    fn wait_when_the_deadline_is_past_and_the_peer_is_dead_says_so() {
        let word = WaitWord::default();
        assert_eq!(
            word.shared().wait_until(&Spin::off(), Some(Instant::now()), &lives(0), || false),
            Err(PeerGone)
        );
    }

    #[test]
    fn wait_when_nobody_signals_times_out_at_the_deadline() {
        let word = WaitWord::default();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(30);
        assert_eq!(
            word.shared().wait_until(&Spin::adaptive(), Some(deadline), &AlwaysAlive, || false),
            Ok(Woken::TimedOut)
        );
        assert!(start.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn wait_when_the_peer_dies_while_asleep_notices_within_a_second() {
        let word = WaitWord::default();
        let start = Instant::now();
        assert_eq!(word.shared().wait_until(&Spin::off(), None, &lives(2), || false), Err(PeerGone));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }

    #[test]
    fn wait_when_the_peer_died_after_making_it_ready_is_ready() {
        let word = WaitWord::default();
        let mut looks = 0;
        let woken = word.shared().wait_until(&Spin::off(), None, &lives(0), || {
            looks += 1;
            looks > 1
        });
        assert_eq!(woken, Ok(Woken::Ready));
    }

    #[test]
    fn wait_when_the_word_is_kept_moving_by_a_hostile_peer_still_ends() {
        let word = Arc::new(WaitWord::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (other, stopped) = (word.clone(), stop.clone());
        let mover = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                other.seq.bump(Ordering::Relaxed);
                other.seq.wake_all(Scope::Machine);
            }
        });
        let start = Instant::now();
        let deadline = start + Duration::from_millis(50);
        assert_eq!(
            word.shared().wait_until(&Spin::off(), Some(deadline), &AlwaysAlive, || false),
            Ok(Woken::TimedOut)
        );
        assert_eq!(word.shared().wait_until(&Spin::off(), None, &lives(2), || false), Err(PeerGone));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        stop.store(true, Ordering::Relaxed);
        mover.join().unwrap();
    }

    #[test]
    fn signal_when_many_threads_wait_for_different_things_wakes_each() {
        const THREADS: u32 = 8;
        let word = Arc::new(WaitWord::default());
        let value = Arc::new(Counter::new(0));
        let waiters: Vec<_> = (1..=THREADS)
            .map(|n| {
                let (word, value) = (word.clone(), value.clone());
                std::thread::spawn(move || {
                    word.shared()
                        .wait_until(&Spin::off(), None, &AlwaysAlive, || value.load(Ordering::Acquire) >= n)
                })
            })
            .collect();
        for _ in 0..THREADS {
            std::thread::sleep(Duration::from_millis(2));
            value.fetch_add(1, Ordering::Release);
            word.shared().signal();
        }
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(Woken::Ready));
        }
        assert!(word.wakes() <= THREADS);
    }
}
