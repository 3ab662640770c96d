//! When the next records come, by when the last ones came.
//!
//! A program that draws a picture sixty times a second is idle in between, and so is the core that waits for it: waking it
//! takes longer than what it is woken for. Such programs are punctual. Whoever waits for one can be awake when it comes.

use std::time::{Duration, Instant};

/// Shorter waits are a part of the same burst of records.
const LEAST_REST: Duration = Duration::from_millis(1);

/// Longer periods are not foretold: nobody wakes up for a program that is idle.
const LONGEST: Duration = Duration::from_millis(500);

/// How much too early or too late it may come: this part of the period, within bounds.
const MARGIN_PART: u32 = 32;
const LEAST_MARGIN: Duration = Duration::from_micros(40);
const MOST_MARGIN: Duration = Duration::from_micros(200);

/// Most bursts in a period.
const MOST_BURSTS: usize = 3;

/// Beginnings of bursts that are remembered.
const REMEMBERED: usize = 2 * MOST_BURSTS + 1;

/// Bursts that are not foretold after one did not come, doubled each time up to the other one.
const LEAST_PAUSE: u32 = 4;
const MOST_PAUSE: u32 = 256;

/// What a thread is late when a timer wakes it, before that was seen, and at most.
const FIRST_DELAY: Duration = Duration::from_micros(80);
const MOST_DELAY: Duration = Duration::from_micros(300);

/// A stretch of time in which records will probably come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// To sleep until, so as to be awake when the window begins.
    pub(crate) wake: Instant,
    /// When it is over.
    pub(crate) end: Instant,
}

/// The beginnings of the last bursts of records, and what follows from them.
#[derive(Debug)]
pub(crate) struct Rhythm {
    /// The newest last.
    bursts: Vec<Instant>,
    /// How late timers are.
    delay: Duration,
    /// Bursts left that are not foretold.
    paused: u32,
    /// Length of the last pause.
    pause: u32,
}

impl Rhythm {
    pub(crate) fn new() -> Self {
        Self { bursts: Vec::with_capacity(REMEMBERED), delay: FIRST_DELAY, paused: 0, pause: 0 }
    }

    /// Records have come, for which was waited since `waited_from`.
    pub(crate) fn came(&mut self, now: Instant, waited_from: Instant) {
        if now.saturating_duration_since(waited_from) < LEAST_REST {
            return;
        }
        if self.bursts.len() == REMEMBERED {
            self.bursts.remove(0);
        }
        self.bursts.push(now);
        self.paused = self.paused.saturating_sub(1);
    }

    /// When the next records come; none when nothing is known of it, or it is not worth while.
    pub(crate) fn next(&self, now: Instant) -> Option<Window> {
        if self.paused > 0 {
            return None;
        }
        let at = (1..=MOST_BURSTS).find_map(|bursts| self.foretell(bursts))?;
        let window = Window { wake: at.0.checked_sub(at.1 + self.delay)?, end: at.0 + at.1 };
        (window.wake.saturating_duration_since(now) >= LEAST_REST / 2).then_some(window)
    }

    /// The next burst, and by how much it may miss, if so many make a period: each of the last came one period after another.
    fn foretell(&self, bursts: usize) -> Option<(Instant, Duration)> {
        let age = |n: usize| self.bursts.len().checked_sub(n + 1).map(|i| self.bursts[i]);
        let period = age(0)? - age(bursts)?;
        let margin = (period / MARGIN_PART).clamp(LEAST_MARGIN, MOST_MARGIN);
        let steady = (1..=bursts.max(2)).all(|n| {
            let before = age(n).zip(age(n + bursts)).map(|(later, earlier)| later - earlier);
            before.is_some_and(|before| before.abs_diff(period) <= margin)
        });
        (steady && period <= LONGEST).then(|| age(bursts - 1).map(|last| (last + period, margin)))?
    }

    /// A timer that was to end a sleep at `wake` did so at `now`.
    pub(crate) fn woken(&mut self, wake: Instant, now: Instant) {
        let late = now.saturating_duration_since(wake).min(MOST_DELAY);
        // Up at once, down slowly: who comes too late has slept for nothing.
        self.delay = if late > self.delay { late } else { self.delay - (self.delay - late) / 8 };
    }

    /// Whether what was foretold has come.
    pub(crate) fn turned_out(&mut self, came: bool) {
        self.pause = if came { 0 } else { (self.pause * 2).clamp(LEAST_PAUSE, MOST_PAUSE) };
        self.paused = self.pause;
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Bursts so many microseconds after the first, each after a rest.
    fn after(start: Instant, rhythm: &mut Rhythm, bursts: impl IntoIterator<Item = u64>) -> Instant {
        let mut last = start;
        for us in bursts {
            last = start + Duration::from_micros(us);
            rhythm.came(last, last - 2 * LEAST_REST);
        }
        last
    }

    fn middle(window: Window, rhythm: &Rhythm) -> Instant {
        let margin = (window.end - window.wake - rhythm.delay) / 2;
        window.end - margin
    }

    #[test]
    fn bursts_when_punctual_are_foretold() {
        let (start, mut rhythm) = (Instant::now(), Rhythm::new());
        let last = after(start, &mut rhythm, [0, 16_000, 32_000]);
        assert_eq!(rhythm.next(last), None, "two periods may be chance");
        let last = after(start, &mut rhythm, [48_030]);
        let window = rhythm.next(last).unwrap();
        assert_eq!(middle(window, &rhythm), start + Duration::from_micros(64_060));
        assert_eq!(rhythm.next(window.wake), None, "too late to sleep");
    }

    #[test]
    fn bursts_when_several_make_a_period_are_foretold() {
        let (start, mut rhythm) = (Instant::now(), Rhythm::new());
        let last = after(start, &mut rhythm, [0, 5_000, 16_000, 21_000, 32_000, 37_000, 48_000]);
        assert_eq!(middle(rhythm.next(last).unwrap(), &rhythm), start + Duration::from_millis(53));
        let last = after(start, &mut rhythm, [53_000]);
        assert_eq!(middle(rhythm.next(last).unwrap(), &rhythm), start + Duration::from_millis(64));
    }

    #[test]
    fn bursts_when_irregular_rare_or_close_together_are_not_foretold() {
        let start = Instant::now();
        for bursts in [
            [0, 16_000, 33_000, 48_000, 64_000, 81_000, 96_500],
            [0, 600_000, 1_200_000, 1_800_000, 2_400_000, 3_000_000, 3_600_000],
            [0, 500, 1000, 1500, 2000, 2500, 3000],
        ] {
            let mut rhythm = Rhythm::new();
            let last = after(start, &mut rhythm, bursts);
            assert_eq!(rhythm.next(last), None, "{bursts:?}");
        }
    }

    #[test]
    fn waits_when_short_do_not_count() {
        let (start, mut rhythm) = (Instant::now(), Rhythm::new());
        let last = after(start, &mut rhythm, (0..7).map(|i| i * 4000));
        rhythm.came(last + LEAST_REST / 2, last);
        assert_eq!(middle(rhythm.next(last).unwrap(), &rhythm), last + Duration::from_millis(4));
    }

    #[test]
    fn rhythm_when_it_deceives_is_given_up_for_ever_longer() {
        let (start, mut rhythm) = (Instant::now(), Rhythm::new());
        let mut foretold = 0;
        for i in 0..1000 {
            let last = after(start, &mut rhythm, [i * 4000]);
            if rhythm.next(last).is_some() {
                rhythm.turned_out(false);
                foretold += 1;
            }
        }
        assert!((5..15).contains(&foretold), "{foretold}");
        rhythm.turned_out(true);
        rhythm.turned_out(false);
        assert_eq!(rhythm.paused, LEAST_PAUSE);
    }

    #[test]
    fn sleeper_when_timers_are_late_goes_to_sleep_for_less() {
        let (start, mut rhythm) = (Instant::now(), Rhythm::new());
        let last = after(start, &mut rhythm, (0..7).map(|i| i * 4000));
        let before = rhythm.next(last).unwrap();
        rhythm.woken(last, last + Duration::from_micros(180));
        let later = rhythm.next(last).unwrap();
        assert_eq!(before.wake - later.wake, Duration::from_micros(100));
        assert_eq!(before.end, later.end);
    }
}
