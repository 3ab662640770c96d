//! Other people's benchmarks: `vkoverhead` and `vkmark`, where they are installed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use vw_conformance::child;

use super::side::Side;
use super::{Error, Result};
use crate::effort::Effort;
use crate::row::Row;

/// Groups of vkoverhead: the option that chooses one, and its row.
pub(crate) const OVERHEAD: [(&str, Row); 4] = [
    ("-draw-only", Row::higher("vkoverhead, draw: geometric mean", "op/s").native(2.0)),
    ("-submit-only", Row::higher("vkoverhead, submit: geometric mean", "op/s").native(0.8)),
    ("-descriptor-only", Row::higher("vkoverhead, descriptor: geometric mean", "op/s").native(0.4)),
    ("-misc-only", Row::higher("vkoverhead, misc: geometric mean", "op/s").native(1.5)),
];

/// Scenes of vkmark, and its score.
pub(crate) const MARK: [Row; 4] = [
    Row::higher("vkmark 320 × 240: clear", "frames/s").native(0.85),
    Row::higher("vkmark 320 × 240: cube", "frames/s").native(0.85),
    Row::higher("vkmark 320 × 240: shading", "frames/s").native(0.85),
    Row::higher("vkmark 320 × 240: score", "1").native(0.85),
];

const SCENES: [&str; 3] = ["clear", "cube", "shading"];

/// Longest run of either.
const LIMIT: Duration = Duration::from_secs(60);

/// Frames a second of each scene, and the score: their mean.
pub(crate) fn mark(program: &Path, side: &Side, effort: Effort) -> Result<Vec<f64>> {
    // Long beside the compilation of the pipelines, which a driver may do in the first of them.
    let seconds = if effort == Effort::Smoke { "0.5" } else { "2.0" };
    let mut command = side.command(program);
    command.args(["--winsys", "headless", "--size", "320x240"]);
    for scene in SCENES {
        command.arg("-b").arg(format!("{scene}:duration={seconds}"));
    }
    let output = child::run(&mut command, LIMIT)?;
    let rates: Vec<f64> = output.stdout.lines().filter_map(frames_per_second).collect();
    if rates.len() != SCENES.len() {
        return Err(Error::Message(format!("vkmark failed:\n{}{}", output.stdout, output.stderr)));
    }
    let score = rates.iter().sum::<f64>() / rates.len() as f64;
    Ok(rates.into_iter().chain([score]).collect())
}

/// The number in `[clear] <options>: FPS: 1234 FrameTime: 0.8 ms`.
pub(crate) fn frames_per_second(line: &str) -> Option<f64> {
    line.split("FPS:").nth(1)?.split_ascii_whitespace().next()?.parse().ok()
}

/// Operations a second of the cases of one group, by their number.
pub(crate) type Cases = BTreeMap<u32, f64>;

/// The group whose cases run one by one: one after the other they do not end, on any driver.
const SUBMITS: &str = "-submit-only";

/// Runs one group of vkoverhead.
pub(crate) fn overhead(program: &Path, side: &Side, group: &str, effort: Effort) -> Result<Cases> {
    let seconds = if effort == Effort::Smoke { "0.02" } else { "0.1" };
    let run = |arguments: &[&str]| {
        let mut command = side.command(program);
        let output = child::run(command.arg("-nocolor").args(arguments), LIMIT)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Error::Message(format!("vkoverhead failed:\n{}{}", output.stdout, output.stderr)))
    };
    let measure = |which: &[&str]| {
        let text = run(&[&["-csv", "-duration", seconds], which].concat())?;
        Ok(text.lines().filter_map(case).collect::<Cases>())
    };
    if group != SUBMITS {
        let cases = measure(&[group])?;
        return if cases.is_empty() {
            Err(Error::Message("vkoverhead prints nothing".into()))
        } else {
            Ok(cases)
        };
    }
    let list = run(&["-list"])?;
    let numbers =
        list.lines().filter_map(|line| line.split_once(", submit_").map(|(number, _)| number.trim()));
    let cases = numbers.map(|number| measure(&["-test", number])).collect::<Result<Vec<_>>>()?;
    Ok(cases.into_iter().flatten().collect())
}

/// Number and rate in a line like ` 12, draw_multi, 12345, 98.7%`; none for a case that the driver cannot do.
fn case(line: &str) -> Option<(u32, f64)> {
    let mut fields = line.split(',').map(str::trim);
    let number = fields.next()?.parse().ok()?;
    let rate: f64 = fields.nth(1)?.parse().ok()?;
    // Rates are printed in whole numbers, and a mean of logarithms has no place for 0.
    Some((number, rate.max(0.5)))
}

/// For each of several drivers the geometric mean over the cases that all of them can do.
pub(crate) fn means(all: &[&Cases]) -> Vec<f64> {
    let common = |number: &u32| all.iter().all(|cases| cases.contains_key(number));
    let mean = |cases: &&Cases| {
        let logarithms: Vec<f64> =
            cases.iter().filter(|(number, _)| common(number)).map(|(_, rate)| rate.ln()).collect();
        (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp()
    };
    all.iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_when_printed_by_the_programs_are_read() {
        assert_eq!(frames_per_second("[cube] duration=2.0: FPS: 812 FrameTime: 1.232 ms"), Some(812.0));
        assert_eq!(frames_per_second("    Device Name:    llvmpipe"), None);
        assert_eq!(case("  12, draw_multi                   ,    12345,  98.7%"), Some((12, 12345.0)));
        assert_eq!(case("  13, draw_mesh, unsupported, smh llvmpipe"), None);
    }

    #[test]
    fn means_when_a_case_is_missing_leave_it_out() {
        let (one, two) = (Cases::from([(1, 2.0), (2, 8.0), (3, 1e9)]), Cases::from([(1, 1.0), (2, 1.0)]));
        let means = means(&[&one, &two]);
        assert!((means[0] - 4.0).abs() < 1e-9 && (means[1] - 1.0).abs() < 1e-9);
    }
}
