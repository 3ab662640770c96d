//! How much is done for a number.

use std::time::{Duration, Instant};

use clap::ValueEnum;

/// How often things are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Effort {
    /// Once or twice: whether it works at all.
    Smoke,
    /// A first impression.
    Quick,
    /// For the table.
    Full,
    /// The same amount of work whatever the time: for comparing processor time.
    Work,
}

impl Effort {
    /// How often to do what takes `full` repetitions for the table.
    pub(crate) fn count(self, full: usize) -> usize {
        match self {
            Self::Smoke => full.min(2),
            Self::Quick => full.div_ceil(4),
            Self::Full => full,
            Self::Work => full.div_ceil(2),
        }
    }

    /// How large to make what is `full` large for the table: commands in a command buffer, calls in a batch.
    pub(crate) fn batch(self, full: u32) -> u32 {
        if self == Self::Smoke { full.min(20) } else { full }
    }

    /// After what time no more repetitions are begun.
    fn limit(self) -> Duration {
        match self {
            Self::Smoke | Self::Work => Duration::from_secs(60),
            Self::Quick => Duration::from_millis(250),
            Self::Full => Duration::from_millis(800),
        }
    }

    /// Times of `run` in microseconds: `count` of them, fewer when they take long. Some runs before do not count.
    pub(crate) fn times(self, count: usize, mut run: impl FnMut()) -> Times {
        self.timed(count, || {
            let started = Instant::now();
            run();
            started.elapsed()
        })
    }

    /// The same for what takes its own time.
    pub(crate) fn timed(self, count: usize, mut run: impl FnMut() -> Duration) -> Times {
        let count = self.count(count);
        let started = Instant::now();
        for _ in 0..count.div_ceil(10) {
            run();
            if started.elapsed() > self.limit() / 4 {
                break;
            }
        }
        let started = Instant::now();
        let mut times = Vec::with_capacity(count);
        while times.len() < count {
            times.push(run().as_secs_f64() * 1e6);
            if started.elapsed() > self.limit() {
                break;
            }
        }
        times.sort_by(f64::total_cmp);
        Times(times)
    }
}

/// Times in microseconds, in order; at least one.
#[derive(Debug)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The one that the part `q` (0 to 1) of all does not exceed.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let place = (last as f64 * q).round() as usize;
        self.0.get(place.min(last)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Effort;

    #[test]
    fn times_when_taken_are_as_many_as_asked_and_in_order() {
        let mut next = 0;
        let times = Effort::Full.timed(100, || {
            next = (next * 7 + 3) % 101;
            Duration::from_micros(next)
        });
        assert_eq!(times.0.len(), 100);
        assert!(times.0.is_sorted());
        assert!(times.quantile(0.0) <= times.median() && times.median() <= times.quantile(0.99));
    }

    #[test]
    fn times_when_they_take_long_are_fewer() {
        let times = Effort::Quick.times(1000, || std::thread::sleep(Duration::from_millis(20)));
        assert!(times.0.len() < 50);
    }
}
