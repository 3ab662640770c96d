//! The life of processes and objects around a Vulkan device: forks, unloading, lost descriptors, allocation callbacks,
//! orders of destruction, messages. Each mode checks itself and says what is wrong.

// As in vw-differential: every function is a sequence of Vulkan calls, sound because it is valid usage.
#![allow(unsafe_op_in_unsafe_fn)]
#![allow(clippy::missing_safety_doc)]

mod ahead;
mod callbacks;
mod gpu;
mod messages;
mod objects;
mod processes;
mod sharing;
mod side;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Check how processes and objects come and go around a Vulkan device")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Forks with a device alive; the parent goes on after the child has ended.
    Fork {
        #[arg(long)]
        child: processes::Child,
    },
    /// Forks before any Vulkan; both use it at the same time.
    ForkFirst,
    /// Forks with a device alive, and ends; the child lives on until its input closes.
    LeaveChild,
    /// Loads the Vulkan loader, uses it and unloads it, over and over; nothing stays behind.
    Reload {
        #[arg(long, default_value_t = 20)]
        rounds: u32,
    },
    /// Ends with work submitted and nothing destroyed.
    JustExit,
    /// Closes every descriptor but the standard ones, opens others in their place, and goes on until the end.
    CloseDescriptors,
    /// Submits and waits, over and over, for a while.
    Work {
        #[arg(long)]
        seconds: u64,
        /// Made when the work has begun.
        #[arg(long)]
        ready: PathBuf,
    },
    /// Records far more than any buffer on the way holds before it submits it, and checks what that did.
    RecordAhead {
        /// Made when it could begin.
        #[arg(long)]
        ready: PathBuf,
        /// It records when this is there, and submits when it is gone.
        #[arg(long)]
        go: PathBuf,
        /// Made when all is recorded.
        #[arg(long)]
        recorded: PathBuf,
    },
    /// Several instances and devices at once, one after another, and from several threads.
    Many,
    /// Objects in every order of destruction that is allowed.
    Orders,
    /// Allocation callbacks: called for every object, balanced, and believed when they refuse.
    Callbacks,
    /// Deferred operations, with ray tracing pipelines.
    Deferred,
    /// Messengers, names, tags and labels. Prints what messengers hear.
    Messages,
    /// Works until the device is lost, and prints what messengers hear of it.
    MessageOfLoss {
        /// Made when the work has begun.
        #[arg(long)]
        ready: PathBuf,
    },
    /// Semaphores and fences that two processes share.
    Sharing { scene: sharing::Scene },
    /// The other of the two processes.
    Partner {
        scene: sharing::Scene,
        /// What it is given.
        descriptors: Vec<i32>,
    },
    /// Names a buffer and records a fill of it, which its usage does not allow and which is never submitted.
    NamedMisuse,
}

fn main() -> ExitCode {
    // SAFETY: valid usage, see above; modes that fork do so while there is one thread.
    let result = unsafe {
        match Arguments::parse().mode {
            Mode::Fork { child } => processes::fork(child),
            Mode::ForkFirst => processes::fork_first(),
            Mode::LeaveChild => processes::leave_child(),
            Mode::Reload { rounds } => processes::reload(rounds),
            Mode::JustExit => processes::just_exit(),
            Mode::CloseDescriptors => processes::close_descriptors(),
            Mode::Work { seconds, ready } => processes::work(seconds, &ready),
            Mode::RecordAhead { ready, go, recorded } => ahead::run(&ready, &go, &recorded),
            Mode::Many => objects::many(),
            Mode::Orders => objects::orders(),
            Mode::Deferred => objects::deferred(),
            Mode::Callbacks => callbacks::run(),
            Mode::Messages => messages::run(),
            Mode::MessageOfLoss { ready } => messages::of_loss(&ready),
            Mode::Sharing { scene } => sharing::run(scene),
            Mode::Partner { scene, descriptors } => sharing::partner(scene, &descriptors),
            Mode::NamedMisuse => messages::named_misuse(),
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            println!("failed: {text}");
            ExitCode::FAILURE
        }
    }
}
