//! Keeps a Vulkan device busy: for a while with many threads, or until the device is lost.

// As in vw-differential: every function is a sequence of Vulkan calls, sound because it is valid usage.
#![allow(unsafe_op_in_unsafe_fn)]
#![allow(clippy::missing_safety_doc)]

mod device;
mod lost;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::device::Gpu;

#[derive(Parser)]
#[command(about = "Keep a Vulkan device busy")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Threads that create, record, submit, wait, check and destroy, over and over.
    Work {
        #[arg(long, default_value_t = 8)]
        threads: u32,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Makes one call over and over, or once if it blocks for ever, until it says that the device is lost.
    UntilLost {
        #[arg(long)]
        call: lost::Call,
        /// Made when the call is about to be made.
        #[arg(long)]
        ready: PathBuf,
    },
    /// Allocates all memory of the heap, in pieces of 1 MiB, frees it and does so again.
    FillMemory,
    /// Creates a buffer that has no use, which is not valid and harms nobody.
    Misuse,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().mode {
        Mode::Work { threads, seconds } => work::run(&Gpu::open(), threads, seconds),
        Mode::FillMemory => work::fill_memory(&Gpu::open()),
        Mode::Misuse => work::misuse(&Gpu::open()),
        Mode::UntilLost { call, ready } => lost::run(&Gpu::open(), call, &ready),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("failed: {text}");
            ExitCode::FAILURE
        }
    }
}
