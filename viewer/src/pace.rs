//! How many frames come in a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is looked back at.
const SPAN: Duration = Duration::from_secs(2);

/// The numbers of the last frames that were seen; not all are.
#[derive(Debug, Default)]
pub(crate) struct Pace(VecDeque<(u64, Instant)>);

impl Pace {
    /// The frame of this number was seen.
    pub(crate) fn add(&mut self, serial: u64, now: Instant) {
        self.0.push_back((serial, now));
        while self.0.len() > 2 && self.0.front().is_some_and(|(_, seen)| now - *seen > SPAN) {
            self.0.pop_front();
        }
    }

    /// Frames in a second, those that were not seen included.
    pub(crate) fn rate(&self) -> f64 {
        match (self.0.front(), self.0.back()) {
            (Some((first, from)), Some((last, to))) if to > from => {
                last.saturating_sub(*first) as f64 / (*to - *from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_when_frames_are_left_out_counts_them() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.rate().abs() < 1e-9);
        for seen in 0..100 {
            pace.add(seen * 5, start + Duration::from_millis(seen * 50));
        }
        assert!((pace.rate() - 100.0).abs() < 0.1, "{}", pace.rate());
        assert!(pace.0.len() < 50);
    }
}
