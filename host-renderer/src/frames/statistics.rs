//! What is measured of a session's frames: how many, how long each takes, and how long it is from one to the next.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::surfaces::Number;

/// Longest time that is told from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// Collected of all frames of a session.
#[derive(Debug, Default)]
pub struct Statistics {
    frames: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// The last that was said of any.
    last_shown: u64,
    /// None without frames: most sessions have none.
    times: Option<Box<Times>>,
}

/// In nanoseconds.
#[derive(Debug)]
struct Times {
    done: Histogram<u64>,
    shown: Histogram<u64>,
    interval: Histogram<u64>,
}

impl Times {
    fn new() -> Option<Box<Self>> {
        // These bounds are good ones.
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 2).ok();
        Some(Box::new(Self { done: histogram()?, shown: histogram()?, interval: histogram()? }))
    }
}

/// Quantiles of a time, in nanoseconds; 0 without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Half of them take no longer.
    pub p50: u64,
    /// 9 of 10 take no longer.
    pub p90: u64,
    /// 99 of 100 take no longer.
    pub p99: u64,
    /// None takes longer.
    pub max: u64,
}

impl Quantiles {
    fn of(times: &Histogram<u64>) -> Self {
        let at = |quantile| times.value_at_quantile(quantile);
        Self { count: times.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: times.max() }
    }

    fn write(&self, name: &str, text: &mut String) {
        let Self { count, p50, p90, p99, max } = self;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} {count} {p50} {p90} {p99} {max}");
    }

    fn parse(line: &str, name: &str) -> Option<Self> {
        let mut numbers = line.strip_prefix(name)?.split_ascii_whitespace().map(|word| word.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self { count: next()?, p50: next()?, p90: next()?, p99: next()?, max: next()? })
    }
}

/// What is said of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Complete frames.
    pub frames: u64,
    /// Nanoseconds from the first to the last of them.
    pub span: u64,
    /// From a frame's submission until it was complete.
    pub done: Quantiles,
    /// From the program's presenting until the window system was done with it, as the guest says.
    pub shown: Quantiles,
    /// From one complete frame to the next of the same surface.
    pub interval: Quantiles,
    /// Of each surface.
    pub surfaces: Vec<SurfaceSummary>,
    /// Bytes that went over the guest's stream, to it and from it; 0 where both have the same pages.
    pub stream: (u64, u64),
}

/// What is said of one surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SurfaceSummary {
    /// Its number in the session.
    pub number: Number,
    /// Its complete frames.
    pub frames: u64,
    /// Nanoseconds from the first to the last of them.
    pub span: u64,
    /// Texels in a row of the last one.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

impl SurfaceSummary {
    /// Frames in a second.
    pub fn rate(&self) -> f64 {
        rate(self.frames, self.span)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("surface ")?.split_ascii_whitespace();
        Some(Self {
            number: words.next()?.parse().ok()?,
            frames: words.next()?.parse().ok()?,
            span: words.next()?.parse().ok()?,
            width: words.next()?.parse().ok()?,
            height: words.next()?.parse().ok()?,
        })
    }
}

/// Frames in a second, of so many within so many nanoseconds from the first to the last.
fn rate(frames: u64, span: u64) -> f64 {
    if span == 0 { 0.0 } else { frames.saturating_sub(1) as f64 * 1e9 / span as f64 }
}

impl Summary {
    /// Frames in a second.
    pub fn rate(&self) -> f64 {
        rate(self.frames, self.span)
    }

    /// For [`parse`](Self::parse).
    pub fn to_text(&self) -> String {
        let mut text = format!("frames {} {}\n", self.frames, self.span);
        self.done.write("done", &mut text);
        self.shown.write("shown", &mut text);
        self.interval.write("interval", &mut text);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "stream {} {}", self.stream.0, self.stream.1);
        for SurfaceSummary { number, frames, span, width, height } in &self.surfaces {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "surface {number} {frames} {span} {width} {height}");
        }
        text
    }

    /// Reads it; none for what is no summary.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (frames, span) = lines.next()?.strip_prefix("frames ")?.split_once(' ')?;
        Some(Self {
            frames: frames.parse().ok()?,
            span: span.parse().ok()?,
            done: Quantiles::parse(lines.next()?, "done ")?,
            shown: Quantiles::parse(lines.next()?, "shown ")?,
            interval: Quantiles::parse(lines.next()?, "interval ")?,
            stream: {
                let (to, from) = lines.next()?.strip_prefix("stream ")?.split_once(' ')?;
                (to.parse().ok()?, from.parse().ok()?)
            },
            surfaces: lines.map(SurfaceSummary::parse).collect::<Option<_>>()?,
        })
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Statistics {
    /// A frame is complete, so long after its submission, and so long after the one before of its surface.
    pub fn complete(&mut self, took: Duration, since: Option<Duration>) {
        let now = Instant::now();
        self.frames += 1;
        self.first.get_or_insert(now);
        self.last = Some(now);
        let Some(times) = self.times() else { return };
        times.done.saturating_record(nanoseconds(took));
        if let Some(since) = since {
            times.interval.saturating_record(nanoseconds(since));
        }
    }

    /// The guest says that a frame was seen after so many nanoseconds.
    pub fn shown(&mut self, latency: u64) {
        self.last_shown = latency.min(LONGEST);
        if let Some(times) = self.times() {
            times.shown.saturating_record(latency);
        }
    }

    /// What it said last; 0 if it has said nothing.
    pub fn last_shown(&self) -> u64 {
        self.last_shown
    }

    fn times(&mut self) -> Option<&mut Times> {
        if self.times.is_none() {
            self.times = Times::new();
        }
        self.times.as_deref_mut()
    }

    /// All of it, and what is known of the surfaces.
    pub fn summary(&self, surfaces: Vec<SurfaceSummary>) -> Summary {
        let span = self.first.zip(self.last).map_or(0, |(first, last)| nanoseconds(last - first));
        let frames = self.frames;
        match &self.times {
            None => Summary { frames, span, surfaces, ..Default::default() },
            Some(times) => Summary {
                frames,
                span,
                done: Quantiles::of(&times.done),
                shown: Quantiles::of(&times.shown),
                interval: Quantiles::of(&times.interval),
                stream: (0, 0),
                surfaces,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn summary_when_frames_were_counted_has_their_quantiles_and_survives_the_text() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.summary(Vec::new()), Summary::default());
        for milliseconds in 1..=100 {
            let since = (milliseconds > 2).then_some(Duration::from_millis(7));
            statistics.complete(Duration::from_millis(milliseconds), since);
            statistics.shown(milliseconds * 2_000_000);
        }
        statistics.shown(u64::MAX);
        let surface =
            SurfaceSummary { number: Number::MIN, frames: 3, span: 1_000_000_000, width: 5, height: 6 };
        let summary = statistics.summary(vec![surface]);
        let about = |found: u64, milliseconds: u64| found.abs_diff(milliseconds * 1_000_000) <= found / 50;
        assert_eq!((summary.frames, summary.interval.count), (100, 98));
        assert!(about(summary.interval.p50, 7) && (summary.surfaces[0].rate() - 2.0).abs() < 1e-9);
        assert!(about(summary.done.p50, 50) && about(summary.done.p99, 99), "{summary:?}");
        assert!(about(summary.shown.p50, 102) && about(summary.shown.max, 60_000), "{summary:?}");
        assert_eq!(Summary::parse(&summary.to_text()), Some(summary));
        assert_eq!(Summary::parse("frames 1"), None);
    }
}
