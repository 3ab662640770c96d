//! The numbers of a run, as they are written to JSON.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::collect::{NATIVE, PEER, PEER_NO_FEEDBACK, STREAM, VW};
use crate::row::{Better, Met, Row, Target};

/// Everything that a run gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Names of the drivers, in order.
    pub(crate) sides: Vec<String>,
    pub(crate) rows: Vec<RowResult>,
    /// Instructions by command, where they were counted.
    pub(crate) instructions: Vec<Instructions>,
    /// What to know about the run: what is missing, and why.
    pub(crate) notes: Vec<String>,
    /// What the virtual machines were, where vw was measured in some.
    #[serde(default)]
    pub(crate) guests: Option<Guests>,
}

/// Virtual machines that something was measured in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Guests {
    /// Version of their kernel.
    pub(crate) kernel: String,
    /// Whether their processor is QEMU's own work.
    pub(crate) emulated: bool,
}

/// Where it ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Load average of the last minute when it began: numbers of a busy machine are noise.
    pub(crate) load: f64,
    /// Seconds since 1970.
    pub(crate) time: u64,
}

/// One row, with the value of each round for each driver; none where there is no such thing or it failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
    pub(crate) target: Option<Target>,
    pub(crate) values: BTreeMap<String, Vec<Option<f64>>>,
}

/// Instructions of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Instructions {
    pub(crate) command: String,
    /// Of the guest driver's entry point, with everything that it does.
    pub(crate) entry: Option<u64>,
    /// Of the tables' encoder alone.
    pub(crate) encode: u64,
    /// Of the tables' decoder alone.
    pub(crate) decode: u64,
    /// Of the decoder without the tables, the driver's function left out.
    #[serde(default)]
    pub(crate) straight: Option<u64>,
}

impl Results {
    /// None yet.
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            sides: Vec::new(),
            rows: Vec::new(),
            instructions: Vec::new(),
            notes: Vec::new(),
            guests: None,
        }
    }

    /// The results of a row, made when they are the first.
    pub(crate) fn row(&mut self, row: &Row) -> &mut RowResult {
        let place = self.rows.iter().position(|result| result.name == row.name).unwrap_or_else(|| {
            self.rows.push(RowResult {
                name: row.name.to_owned(),
                unit: row.unit.to_owned(),
                better: row.better,
                target: row.target,
                values: BTreeMap::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }

    /// Whether vw was measured over a stream.
    pub(crate) fn has_stream(&self) -> bool {
        self.sides.iter().any(|side| side == STREAM)
    }

    /// Whether it is the ways between guest and host that were compared.
    pub(crate) fn is_about_transports(&self) -> bool {
        self.has_stream() || self.guests.is_some()
    }

    /// Whether the peer was measured.
    pub(crate) fn has_peer(&self) -> bool {
        self.sides.iter().any(|side| side == PEER)
    }
}

impl RowResult {
    /// Median of a driver's values.
    pub(crate) fn median(&self, side: &str) -> Option<f64> {
        median(self.values.get(side)?.iter().flatten().copied())
    }

    /// Median of the values of several drivers together.
    pub(crate) fn median_of_all(&self, sides: &[String]) -> Option<f64> {
        median(sides.iter().filter_map(|side| self.values.get(side)).flatten().flatten().copied())
    }

    /// Median of the quotients of two drivers' values in the same round.
    pub(crate) fn ratio(&self, side: &str, other: &str) -> Option<f64> {
        let pairs = self.values.get(side)?.iter().zip(self.values.get(other)?);
        let quotients = pairs.filter_map(|(value, other)| Some((*value)? / (*other)?));
        median(quotients).filter(|ratio| ratio.is_finite() && *ratio > 0.0)
    }

    /// The peer's mode that is better in this row.
    pub(crate) fn best_peer(&self) -> Option<&'static str> {
        let of = |side| self.median(side).map(|value| (side, value));
        match (of(PEER), of(PEER_NO_FEEDBACK)) {
            (Some((_, a)), Some((_, b))) if self.better.advantage(b, a) > 1.0 => Some(PEER_NO_FEEDBACK),
            (Some(_), _) => Some(PEER),
            (None, Some(_)) => Some(PEER_NO_FEEDBACK),
            (None, None) => None,
        }
    }

    /// How many times better vw is than the peer.
    pub(crate) fn lead(&self) -> Option<f64> {
        let ratio = self.ratio(VW, self.best_peer()?)?;
        Some(self.better.advantage(ratio, 1.0))
    }

    /// Whether vw reaches its target.
    pub(crate) fn is_met(&self) -> Option<Met> {
        let (target, vw) = (self.target?, self.median(VW)?);
        // The ratio of the rounds is steadier than that of the medians.
        let native = match (target, self.ratio(VW, NATIVE)) {
            (Target::Native(_) | Target::Scaled { .. }, Some(ratio)) => vw / ratio,
            (Target::Absolute(_), _) => 0.0,
            _ => self.median(NATIVE)?,
        };
        Some(target.is_met(self.better, vw, native))
    }
}

impl Machine {
    /// This one, now.
    pub(crate) fn look() -> Self {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            processor: model.unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            // What stands behind the version is the distributor's or the operator's.
            kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            time: now.map_or(0, |time| time.as_secs()),
        }
    }
}

/// The middle value; the mean of the two middle ones of an even number; none of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_when_the_number_of_values_is_odd_or_even_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn ratio_when_the_machine_slows_down_in_between_is_that_of_the_rounds() {
        let mut results = Results::new(Machine::look());
        let row = results.row(&Row::lower("a time", "s").native(1.3));
        let values = |values: [f64; 3]| values.map(Some).to_vec();
        row.values.insert(NATIVE.into(), values([1.0, 10.0, 5.0]));
        row.values.insert(VW.into(), values([1.2, 12.0, 6.0]));
        row.values.insert(PEER.into(), values([3.0, 30.0, 15.0]));
        row.values.insert(PEER_NO_FEEDBACK.into(), values([2.4, 24.0, 12.0]));
        assert!((row.ratio(VW, NATIVE).expect("a ratio") - 1.2).abs() < 1e-9);
        assert_eq!(row.best_peer(), Some(PEER_NO_FEEDBACK));
        assert!((row.lead().expect("both were measured") - 2.0).abs() < 1e-9);
        assert_eq!(row.is_met(), Some(Met::Yes));
    }
}
