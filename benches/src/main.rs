//! `vw-bench`: what a program pays for vw, next to the native driver and to the peer, measured in one run.
//!
//! Without a mode it measures (in a process of its own, see [`collect`]), counts the codec's instructions and reports.

mod collect;
mod effort;
mod instructions;
mod measure;
mod report;
mod results;
mod root;
mod row;
mod vulkan;

use std::error::Error;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, Subcommand};
use vw_conformance::products;

use crate::effort::Effort;
use crate::results::Results;

#[derive(Parser)]
#[command(
    about = "Measure vw against the native driver and against Mesa's Venus",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(flatten)]
    options: collect::Options,
    /// Write all numbers to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the chart into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write all three into the checkout: the table into benches/RESULTS.md, results.json and results.svg beside it.
    #[arg(long)]
    write: bool,
    /// Leave out the counting of instructions.
    #[arg(long)]
    no_instructions: bool,
    /// Report these numbers, written with --json earlier, and measure nothing.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Measure, print the numbers as JSON and report nothing.
    #[arg(long, hide = true)]
    collect: bool,
    #[command(subcommand)]
    mode: Option<Mode>,
}

/// What the processes do that this one starts.
#[derive(Subcommand)]
enum Mode {
    /// Takes measurements on the driver that the environment gives.
    #[command(hide = true)]
    Measure {
        #[arg(long)]
        effort: Effort,
        /// Names of the measurements.
        names: Vec<String>,
    },
    /// A program that is measured from outside.
    #[command(hide = true, subcommand)]
    Play(collect::Play),
    /// Encodes and decodes, for callgrind.
    #[command(hide = true)]
    Codec,
    /// Uses commands of the driver that the environment gives, for callgrind.
    #[command(hide = true)]
    Commands,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.mode {
        Some(Mode::Measure { effort, names }) => {
            measure::run(*effort, names);
            Ok(())
        }
        Some(Mode::Play(what)) => {
            collect::play(what);
            Ok(())
        }
        Some(Mode::Codec) => {
            instructions::run_codec();
            Ok(())
        }
        Some(Mode::Commands) => {
            instructions::run_commands();
            Ok(())
        }
        None if arguments.collect => collect(&arguments.options),
        None => report(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vw-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn collect(options: &collect::Options) -> Result<(), Box<dyn Error>> {
    let results = collect::collect(options)?;
    println!("{}", serde_json::to_string(&results)?);
    Ok(())
}

fn report(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let results = match &arguments.from {
        Some(file) => serde_json::from_str(&fs::read_to_string(file)?)?,
        None => measured(arguments)?,
    };
    let table = report::table(&results);
    print!("{table}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Of the ways to have memory in common there is the table alone.
    let written = |name: &str| (arguments.write && !results.is_about_transports()).then(|| folder.join(name));
    for file in arguments.json.iter().chain(&written("results.json")) {
        fs::write(file, serde_json::to_string_pretty(&results)?)?;
    }
    for file in arguments.svg.iter().chain(&written("results.svg")) {
        fs::write(file, report::draw(&results)?)?;
    }
    if arguments.write {
        report::write_into(&folder.join("RESULTS.md"), &results)?;
    }
    Ok(())
}

/// Measures in a process of its own, which is a session of its own to the scheduler and may live in another root.
fn measured(arguments: &Arguments) -> Result<Results, Box<dyn Error>> {
    // Under cargo these are built; the measuring process could not do that.
    products::renderer()?;
    products::guest_driver()?;
    products::frame_times()?;
    let program = std::env::current_exe()?;
    let mut results = collected(&program, &[])?;
    if arguments.options.has_windows_outside() {
        let windows = collected(&program, &["--windows-alone"])?;
        results.rows.extend(windows.rows);
        results.notes.extend(windows.notes);
        results.notes.push(
            "Venus has no rows of windows, because it presents to no X server without DRI3; they were measured outside of its folder".into(),
        );
    }
    if !arguments.no_instructions && !arguments.options.is_about_transports() {
        count(&program, &arguments.options, &mut results);
    }
    Ok(results)
}

/// What a measuring process with these arguments and more has found.
fn collected(program: &Path, more: &[&str]) -> Result<Results, Box<dyn Error>> {
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).args(more).arg("--collect").env("VW_PRODUCTS_BUILT", "1");
    // SAFETY: a system call and nothing else between fork and exec.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(|_| ())?)) };
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the measuring process failed ({})", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn count(program: &Path, options: &collect::Options, results: &mut Results) {
    let mut notes = Vec::new();
    let mut counted = || -> Result<_, Box<dyn Error>> {
        let vw = collect::open_vw(options)?;
        Ok(instructions::count(program, |command| vw.apply(command), &mut notes)?)
    };
    let lines = counted();
    results.notes.append(&mut notes);
    match lines {
        Ok(Some(lines)) => results.instructions = lines,
        Ok(None) => results.notes.push("instructions not counted: valgrind is not installed".into()),
        Err(error) => results.notes.push(format!("instructions not counted: {error}")),
    }
}
