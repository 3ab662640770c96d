//! `vw-cts --deqp PATH/deqp-vk`: the Vulkan CTS natively and through vw, and a report of where they differ.
//!
//! Results are kept in CSV files as the run goes on; the same command again continues where it was stopped.

mod about;
mod cases;
mod expectations;
mod report;
mod run;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use vw_conformance::compositor::Compositor;
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;

use cases::Selection;
use expectations::Expectations;
use run::Suite;

/// Cases after which the other driver takes its turn and the results are saved, so that both meet the same noise. They
/// go first by turns: the second finds the shaders in the host driver's cache.
const PART: usize = 1000;

/// Run the Vulkan CTS natively and through vw, and report where they differ.
#[derive(Parser)]
struct Arguments {
    /// The CTS's program, `deqp-vk`, in the folder that it was built in.
    #[arg(long)]
    deqp: PathBuf,
    /// Files with case names, one a line, such as those of the must-pass list.
    #[arg(long, required = true)]
    list: Vec<PathBuf>,
    /// Only cases that match a pattern of this file; `conformance/cts/subset.txt` is what the project stands for.
    #[arg(long)]
    subset: Option<PathBuf>,
    /// Only cases that match this regular expression.
    #[arg(long)]
    filter: Option<String>,
    /// One case of this many, evenly.
    #[arg(long, default_value_t = 1)]
    fraction: usize,
    /// Draw about so many cases, from each group by the square root of its size.
    #[arg(long)]
    sample: Option<usize>,
    /// Where the drawing starts: another number draws other cases.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only natively.
    #[arg(long, conflicts_with = "vw_only")]
    native: bool,
    /// Only through vw; native results are taken from an earlier run.
    #[arg(long)]
    vw_only: bool,
    /// Use the newer Mesa that `cargo xtask setup` unpacked as the host driver.
    #[arg(long)]
    newer_mesa: bool,
    /// Give the cases an X server and a Wayland compositor without screens, for `dEQP-VK.wsi`.
    #[arg(long)]
    windows: bool,
    /// Programs at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Seconds for one case.
    #[arg(long, default_value_t = 60.0)]
    timeout: f32,
    /// Where results and the report go.
    #[arg(long, default_value = "target/cts")]
    output: PathBuf,
    /// The expectations file.
    #[arg(long, default_value = "conformance/cts/expectations.toml")]
    expectations: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vw-cts: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The cases in parts of about [`PART`], each of which has some of every group: a run that was stopped has seen all.
fn parts(cases: &[String]) -> impl Iterator<Item = Vec<String>> {
    let count = cases.len().div_ceil(PART);
    (0..count).map(move |first| cases.iter().skip(first).step_by(count).cloned().collect())
}

/// True when nothing differs that should not.
fn run(arguments: &Arguments) -> Result<bool> {
    let expectations = Expectations::read(&arguments.expectations)?;
    let selection = Selection {
        subset: arguments.subset.clone(),
        filter: arguments.filter.clone(),
        fraction: arguments.fraction,
        sample: arguments.sample,
        seed: arguments.seed,
    };
    let cases = selection.cases(&arguments.list)?;
    println!("{} cases", cases.len());
    rayon::ThreadPoolBuilder::new().num_threads(arguments.jobs).build_global()?;
    std::fs::create_dir_all(&arguments.output)
        .with_context(|| format!("making {}", arguments.output.display()))?;

    let host = if arguments.newer_mesa { Driver::newer_lavapipe()? } else { Driver::lavapipe()? };
    // The server would start anew, and refuse programs meanwhile, whenever the last one has gone.
    let display = arguments.windows.then(|| Display::start_with(&["-noreset"])).transpose()?;
    let compositor = arguments.windows.then(Compositor::start).transpose()?;
    let windows: Vec<(&'static str, OsString)> = display
        .iter()
        .map(|display| ("DISPLAY", OsString::from(&display.name)))
        .chain(
            compositor.iter().flat_map(Compositor::variables).map(|(name, value)| (name, value.to_owned())),
        )
        .collect();
    let suite = |name, driver: &Driver| {
        let driver = windows.iter().fold(driver.clone(), |driver, (name, value)| driver.with(name, value));
        Suite::new(name, &arguments.deqp, &driver, &arguments.output, arguments.timeout, &expectations)
    };
    let mut native = suite("native", &host)?;
    if arguments.native {
        parts(&cases).try_for_each(|part| native.run(&part))?;
        report::print_counts("native", &native.results);
        return Ok(true);
    }
    let renderer = Renderer::start(&host)?;
    let mut vw = suite("vw", &renderer.guest())?;
    for (turn, part) in parts(&cases).enumerate() {
        if turn % 2 == 1 {
            vw.run(&part)?;
        }
        if !arguments.vw_only {
            native.run(&part)?;
        }
        vw.run(&part)?;
    }
    std::fs::write(arguments.output.join("renderer.log"), renderer.log())?;
    let about = about::line(&arguments.deqp, &host, &arguments.output)?;
    report::write(&arguments.output.join("report.md"), &about, &cases, &native, &vw, &expectations)
}
