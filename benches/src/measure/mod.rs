//! The measurements. Each is a loop around one thing that programs do, and runs on whatever driver the environment
//! gives.
//!
//! "Drained" includes the time until the driver has taken everything: forwarding drivers return before that.

mod calls;
mod descriptors;
mod frames;
mod memory;
mod objects;
mod pipelines;
mod recording;
mod startup;
mod submission;
mod transfer;

use crate::effort::Effort;
use crate::row::Row;
use crate::vulkan::Vulkan;

pub(crate) use frames::Scene;

/// What a measurement works with.
pub(crate) struct Bench {
    pub(crate) vulkan: Vulkan,
    pub(crate) effort: Effort,
}

/// One measurement, which may give several numbers.
pub(crate) struct Measure {
    /// Name for choosing it.
    pub(crate) name: &'static str,
    /// What its numbers are.
    pub(crate) rows: &'static [Row],
    /// Gives a number for each row.
    pub(crate) run: fn(&Bench) -> Vec<f64>,
}

/// All of them, in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Measure> {
    let families: [&[Measure]; 10] = [
        calls::ALL,
        startup::ALL,
        objects::ALL,
        memory::ALL,
        submission::ALL,
        recording::ALL,
        descriptors::ALL,
        transfer::ALL,
        pipelines::ALL,
        frames::ALL,
    ];
    families.into_iter().flatten()
}

/// Runs those of the measurements whose names are given, and prints `name value...` for each.
pub(crate) fn run(effort: Effort, names: &[String]) {
    let bench = Bench { vulkan: Vulkan::open(), effort };
    for measure in all().filter(|measure| names.iter().any(|name| name == measure.name)) {
        let values = (measure.run)(&bench);
        let values: Vec<String> = values.iter().map(f64::to_string).collect();
        println!("{}\t{}", measure.name, values.join("\t"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_when_listed_are_distinct() {
        let names: Vec<&str> = super::all().map(|measure| measure.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        let rows: Vec<&str> = super::all().flat_map(|measure| measure.rows).map(|row| row.name).collect();
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len());
    }
}
