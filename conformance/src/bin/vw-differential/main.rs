//! Exercises every kind of Vulkan object and prints what it got: return codes, and hashes of buffers and images.
//!
//! The output is the same in every run on one driver; two drivers that are one and the same underneath print the
//! same. A case that panics prints `FAILED` and the next one starts on a new device.

// Every function here is a sequence of Vulkan calls, and what makes each of them sound is one and the same: the
// program is valid usage of Vulkan, which the suite shows by running it under the Khronos validation layer.
#![allow(unsafe_op_in_unsafe_fn)]
#![allow(clippy::missing_safety_doc, clippy::unwrap_used)]

mod cases;
mod commands;
mod extensions;
mod generated_types;
mod gpu;
mod graphics;
mod report;
mod resources;
mod shaders;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::gpu::Gpu;
use crate::report::Report;

#[derive(Parser)]
#[command(about = "Exercise Vulkan and print what it answers")]
struct Arguments {
    /// Print the names of the cases and do nothing.
    #[arg(long)]
    list: bool,
    /// Only cases whose name begins with one of these.
    #[arg(long)]
    only: Vec<String>,
    /// No case whose name begins with one of these.
    #[arg(long)]
    skip: Vec<String>,
    /// Be the other process of a case: what it is to do, and a descriptor that was left open for it.
    #[arg(long, num_args = 2, value_names = ["WORK", "DESCRIPTOR"], hide = true)]
    peer: Option<Vec<String>>,
    /// Write images to this folder, as PNG.
    #[arg(long)]
    dump: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some([work, descriptor]) = arguments.peer.as_deref() {
        // SAFETY: the process that started this one left a descriptor of that number open.
        unsafe { cases::run_peer(&Gpu::open(), work, descriptor.parse().expect("a descriptor")) };
        return ExitCode::SUCCESS;
    }
    let begins =
        |name: &str, prefixes: &[String]| prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()));
    let chosen = cases::ALL.iter().filter(|(name, _)| {
        (arguments.only.is_empty() || begins(name, &arguments.only)) && !begins(name, &arguments.skip)
    });
    if arguments.list {
        chosen.for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let mut gpu = None;
    let mut failed = 0;
    for (name, case) in chosen {
        let report = Report::new(name, arguments.dump.clone());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let gpu = gpu.get_or_insert_with(Gpu::open);
            // SAFETY: the case is valid usage on a device of its own or on this one, which lives until it is dropped.
            unsafe { case(gpu, &report) };
            gpu.clean_up();
        }));
        if let Err(reason) = outcome {
            let text = reason.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| reason.downcast_ref::<&str>().copied()).unwrap_or("?");
            report.line("FAILED", text.lines().next().unwrap_or_default());
            failed += 1;
            // What the case left behind is in an unknown state: the process keeps it.
            if let Some(gpu) = gpu.take() {
                gpu.abandon();
            }
        }
    }
    drop(gpu);
    println!("cases failed: {failed}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
