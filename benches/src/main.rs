//! `vw-bench`: what a program pays for vw, measured natively and through vw, alternating in one run.
//!
//! Each measurement runs in a process of its own (the hidden `measure` mode), some rounds natively and some through
//! vw in turn, so that a machine that gets slower or faster in between does so for both. The table has the medians.

mod measure;
mod vulkan;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, Subcommand};
use vw_conformance::child;
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;

/// One round takes some seconds.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Parser)]
#[command(about = "Measure vw against the native driver (lavapipe)")]
struct Arguments {
    /// Rounds on each driver.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Subcommand)]
enum Mode {
    /// Measures once on the driver that the environment gives and prints `name unit value` lines.
    #[command(hide = true)]
    Measure,
}

/// Values by measurement: name and unit, in the order in which they are printed.
type Values = BTreeMap<(usize, String, String), Vec<f64>>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Mode::Measure) = arguments.mode {
        for result in measure::all() {
            println!("{}\t{}\t{}", result.name, result.unit, result.value);
        }
        return ExitCode::SUCCESS;
    }
    match compare(arguments.rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vw-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let host = Driver::lavapipe()?;
    let renderer = Renderer::start(&host)?;
    let (mut native, mut vw) = (Values::new(), Values::new());
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        // The order changes, so that neither always follows the other's heat.
        let mut turns = [(&host, &mut native), (&renderer.guest(), &mut vw)];
        if round % 2 == 0 {
            turns.reverse();
        }
        for (driver, values) in turns {
            one_round(driver.command(std::env::current_exe()?), values)?;
        }
    }
    println!("| Measurement | unit | native | vw | vw / native |");
    println!("|---|---|---:|---:|---:|");
    for ((place, name, unit), values) in &native {
        let native = median(values);
        let Some(vw) = vw.get(&(*place, name.clone(), unit.clone())).map(|values| median(values)) else {
            continue;
        };
        println!("| {name} | {unit} | {native:.3} | {vw:.3} | {:.2} |", vw / native);
    }
    Ok(())
}

fn one_round(mut command: Command, values: &mut Values) -> Result<(), Box<dyn std::error::Error>> {
    let output = child::run(command.arg("measure"), LIMIT)?;
    if !output.status.success() {
        return Err(format!("a measurement failed:\n{}{}", output.stdout, output.stderr).into());
    }
    for (place, line) in output.stdout.lines().enumerate() {
        let mut fields = line.split('\t');
        let (Some(name), Some(unit), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        values.entry((place, name.to_owned(), unit.to_owned())).or_default().push(value.parse()?);
    }
    Ok(())
}

/// The middle value; the mean of the two middle ones of an even number.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_when_the_number_of_values_is_odd_or_even_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}
