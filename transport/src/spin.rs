//! How long a wait spins before it sleeps.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest spin: about what a sleep and a wake cost together, on a machine whose idle cores are slow to wake. A
/// spinner lets others have its core in between, so that few cores are no reason to spin less.
pub const MAX_SPIN: Duration = Duration::from_micros(100);

/// Looks at the predicate before the core is offered to others, and the clock is read: few while others take it, more while
/// the offer is a system call in vain, during which nobody looks.
const FEWEST_LOOKS: u32 = 16;
const MOST_LOOKS: u32 = 64;
const MORE_LOOKS: u32 = 4;

/// An offer of the core that takes longer was taken.
const TAKEN: Duration = Duration::from_micros(2);

/// Spins are no shorter than this: below, reading the clock costs as much as the spin.
const MIN_SPIN_NS: u32 = 1_000;

/// How far hits can make up for misses to come.
const MAX_SCORE: i32 = 8;

/// What a miss takes from the score; a hit adds 1. So spinning stops when it fails in more than a third of the waits.
const MISS: i32 = 2;

/// What a wait spins while spinning pauses: less than it costs to sleep. When that is enough the pause is over.
const GLANCE: Duration = Duration::from_micros(8);

/// Waits that do not spin after spinning failed, before it is tried again: doubled each time that it fails again.
const MIN_PAUSE: u32 = 16;
const MAX_PAUSE: u32 = 1024;

/// A spin budget that learns from the waits it is used for. One per kind of wait (replies, completions, ...),
/// shared by the threads that wait for it.
///
/// What counts is whether spinning itself was successful, not how long the wait was: a spinner that shares a core
/// with the thread it waits for makes each wait longer, although all of them are short. After a hit the budget moves
/// towards twice the wait; after a miss it doubles. When misses prevail no wait spins for a while, and then one tries
/// again.
///
/// Threads that share it may lose each other's notes; it is an estimate.
#[derive(Debug)]
pub struct Spin {
    max_ns: u32,
    budget_ns: AtomicU32,
    /// Hits and misses of late; below 0 spinning pauses.
    score: AtomicI32,
    /// Waits left that do not spin.
    paused: AtomicU32,
    /// Length of the last pause, in waits.
    pause: AtomicU32,
    /// Looks before the core is offered.
    looks: AtomicU32,
}

impl Spin {
    /// Starts at [`MAX_SPIN`], but never spins on one core.
    pub fn adaptive() -> Self {
        Self::with_max(if cores() > 1 { MAX_SPIN } else { Duration::ZERO })
    }

    /// Starts at, and never exceeds, `max` (itself limited to 1 s). Zero never spins.
    pub fn with_max(max: Duration) -> Self {
        let max_ns = max.as_nanos().min(1_000_000_000) as u32;
        Self {
            max_ns,
            budget_ns: AtomicU32::new(max_ns),
            score: AtomicI32::new(0),
            paused: AtomicU32::new(0),
            pause: AtomicU32::new(0),
            looks: AtomicU32::new(FEWEST_LOOKS),
        }
    }

    /// Never spins.
    pub fn off() -> Self {
        Self::with_max(Duration::ZERO)
    }

    /// How long the wait that begins now may spin. Then [`Spin::hit`] or [`Spin::missed`] tells how that went.
    fn begin(&self) -> Duration {
        if self.max_ns == 0 {
            return Duration::ZERO;
        }
        let paused = self.paused.load(Ordering::Relaxed);
        if paused > 0 {
            self.paused.store(paused - 1, Ordering::Relaxed);
            return Duration::ZERO;
        }
        Duration::from_nanos(u64::from(self.budget_ns.load(Ordering::Relaxed)))
    }

    /// Spins for the budget, or until `deadline`: whether `ready` holds. The wait began at `start`.
    pub fn until(&self, start: Instant, deadline: Option<Instant>, mut ready: impl FnMut() -> bool) -> bool {
        let budget = self.begin();
        if budget.is_zero() {
            let end = start + GLANCE;
            let come = !self.is_off()
                && self.look_until(deadline.map_or(end, |deadline| deadline.min(end)), &mut ready);
            if come {
                self.paused.store(0, Ordering::Relaxed);
            }
            return come;
        }
        let end = start + budget;
        if self.look_until(deadline.map_or(end, |deadline| deadline.min(end)), &mut ready) {
            self.hit(start.elapsed());
            return true;
        }
        if deadline.is_none_or(|deadline| deadline >= end) {
            self.missed();
        }
        false
    }

    /// Looks until `end`, letting others have the core in between: whether `ready` holds.
    pub(crate) fn look_until(&self, end: Instant, mut ready: impl FnMut() -> bool) -> bool {
        let mut looks = self.looks.load(Ordering::Relaxed);
        loop {
            for _ in 0..looks {
                std::hint::spin_loop();
                if ready() {
                    return true;
                }
            }
            let offered = Instant::now();
            std::thread::yield_now();
            let now = Instant::now();
            let next = if now - offered > TAKEN { FEWEST_LOOKS } else { MOST_LOOKS.min(looks + MORE_LOOKS) };
            if next != looks {
                looks = next;
                self.looks.store(looks, Ordering::Relaxed);
            }
            if now >= end {
                return false;
            }
        }
    }

    /// Whether no wait ever spins.
    pub(crate) fn is_off(&self) -> bool {
        self.max_ns == 0
    }

    /// The wait ended while it spun, after `waited`.
    fn hit(&self, waited: Duration) {
        let score = self.score.load(Ordering::Relaxed);
        if score < MAX_SCORE {
            self.score.store(score + 1, Ordering::Relaxed);
        } else if self.pause.load(Ordering::Relaxed) != 0 {
            self.pause.store(0, Ordering::Relaxed);
        }
        let ns = u32::try_from(waited.as_nanos()).unwrap_or(u32::MAX);
        let aim = ns.saturating_mul(2).max(MIN_SPIN_NS).min(self.max_ns);
        let budget = self.budget_ns.load(Ordering::Relaxed);
        // Down slowly, up at once: too short a spin costs a sleep.
        let next = if aim >= budget { aim } else { budget - (budget - aim) / 8 };
        if next != budget {
            self.budget_ns.store(next, Ordering::Relaxed);
        }
    }

    /// The wait spun for its whole budget in vain.
    fn missed(&self) {
        let score = self.score.load(Ordering::Relaxed) - MISS;
        if score >= 0 {
            self.score.store(score, Ordering::Relaxed);
            let budget = self.budget_ns.load(Ordering::Relaxed);
            self.budget_ns.store(budget.saturating_mul(2).min(self.max_ns), Ordering::Relaxed);
            return;
        }
        let pause = self.pause.load(Ordering::Relaxed).saturating_mul(2).clamp(MIN_PAUSE, MAX_PAUSE);
        self.pause.store(pause, Ordering::Relaxed);
        self.paused.store(pause, Ordering::Relaxed);
        // The next try is a full one, and a single miss ends it.
        self.score.store(0, Ordering::Relaxed);
        self.budget_ns.store(self.max_ns, Ordering::Relaxed);
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::adaptive()
    }
}

/// The cores that this process may use, asked once: affinity and cgroup limits do not change often.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(50);

    /// Of `waits` waits, how many spun, if none of them ends while spinning.
    fn spins_in_vain(spin: &Spin, waits: u32) -> u32 {
        let mut spun = 0;
        for _ in 0..waits {
            if !spin.begin().is_zero() {
                spin.missed();
                spun += 1;
            }
        }
        spun
    }

    #[test]
    fn spin_when_it_never_pays_is_tried_ever_more_rarely() {
        let spin = Spin::with_max(MAX);
        assert!(spins_in_vain(&spin, 1000) <= 8);
        assert!(spins_in_vain(&spin, 10_000) <= 11);
    }

    #[test]
    fn spin_when_it_pays_again_comes_back() {
        let spin = Spin::with_max(MAX);
        spins_in_vain(&spin, 10_000);
        let waits = (0..10_000).take_while(|_| spin.begin().is_zero()).count();
        assert!(waits <= MAX_PAUSE as usize);
        for _ in 0..100 {
            spin.hit(Duration::from_micros(2));
            assert!(!spin.begin().is_zero());
        }
    }

    #[test]
    fn spin_when_hits_prevail_survives_single_misses() {
        let spin = Spin::with_max(MAX);
        for _ in 0..100 {
            for _ in 0..4 {
                assert!(!spin.begin().is_zero());
                spin.hit(Duration::from_micros(2));
            }
            assert!(!spin.begin().is_zero());
            spin.missed();
        }
    }

    #[test]
    fn budget_when_waits_are_short_follows_them_and_stays_positive() {
        let spin = Spin::with_max(MAX);
        assert_eq!(spin.begin(), MAX);
        for _ in 0..100 {
            spin.hit(Duration::from_nanos(200));
        }
        assert!(spin.begin() >= Duration::from_micros(1) && spin.begin() < Duration::from_micros(2));
        spin.hit(Duration::from_micros(12));
        assert_eq!(spin.begin(), Duration::from_micros(24));
        spin.hit(Duration::from_secs(2));
        assert_eq!(spin.begin(), MAX);
    }

    #[test]
    fn pause_when_a_glance_is_enough_is_over() {
        let spin = Spin::with_max(MAX);
        spins_in_vain(&spin, 1000);
        let paused = spin.paused.load(Ordering::Relaxed);
        assert!(paused > 1 && !spin.until(Instant::now(), None, || false));
        assert_eq!(spin.paused.load(Ordering::Relaxed), paused - 1);
        assert!(spin.until(Instant::now(), None, || true));
        assert!(!spin.begin().is_zero());
    }

    #[test]
    fn spin_when_off_never_spins() {
        let spin = Spin::off();
        spin.hit(Duration::from_nanos(100));
        spin.missed();
        assert_eq!(spin.begin(), Duration::ZERO);
    }
}
