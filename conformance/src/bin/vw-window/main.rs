//! A program with a window: draws pictures, looks at what is shown, and treats window and server badly. Checks itself;
//! what it prints is the same on every driver.

// As in vw-differential: every function is a sequence of Vulkan calls, sound because it is valid usage.
#![allow(unsafe_op_in_unsafe_fn)]
#![allow(clippy::missing_safety_doc, clippy::unwrap_used)]

mod gpu;
mod headless;
mod wayland;
mod window;
mod work;
mod xwindow;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Present pictures in a window and check what is shown")]
struct Arguments {
    /// The kind of surface.
    #[arg(long, default_value = "xcb")]
    surface: Kind,
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Xcb,
    Xlib,
    Wayland,
    Headless,
}

#[derive(Subcommand)]
enum Mode {
    /// Pictures in every present mode, each compared with what the server shows.
    Pictures,
    /// Changes the window's size over and over while it presents.
    Resizes {
        #[arg(long, default_value_t = 1000)]
        rounds: u32,
    },
    /// Makes and destroys swapchains, in turn and many at a time.
    Swapchains {
        #[arg(long, default_value_t = 100)]
        count: u32,
    },
    /// Both of these over and over; says each time how many resources the X server has, and waits for a line.
    Leaks,
    /// Hides the window while it presents, and shows it again.
    Hidden,
    /// Destroys the window while it presents.
    Destroyed,
    /// Opens windows and closes them, in order, while frames are on their way to them.
    Closed {
        #[arg(long, default_value_t = 50)]
        windows: u32,
    },
    /// Presents until the server is gone, which somebody else ends.
    Orphaned,
    /// Makes no window: writes what the X server's screen shows, as PNG.
    Screenshot { output: PathBuf },
    /// Presents a few frames, writes the last one's bytes to a file, and waits for the end of the input.
    Still {
        output: PathBuf,
        #[arg(long, default_value_t = 5)]
        frames: u32,
        /// They replace each other.
        #[arg(long)]
        mailbox: bool,
    },
    /// As many frames as can be in some seconds.
    Rate {
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
}

fn main() {
    let arguments = Arguments::parse();
    if let Mode::Screenshot { output } = &arguments.mode {
        return xwindow::screenshot(output);
    }
    // SAFETY: valid usage of Vulkan throughout.
    unsafe {
        let mut stage = work::Stage::open(arguments.surface);
        match arguments.mode {
            Mode::Pictures => work::pictures(&mut stage),
            Mode::Resizes { rounds } => work::resizes(&mut stage, rounds),
            Mode::Swapchains { count } => work::swapchains(&mut stage, count),
            Mode::Leaks => work::leaks(&mut stage, || match arguments.surface {
                Kind::Xcb | Kind::Xlib => xwindow::resources(),
                Kind::Wayland | Kind::Headless => 0,
            }),
            Mode::Hidden => work::hidden(&mut stage),
            Mode::Destroyed => work::destroyed(&mut stage),
            Mode::Closed { windows } => work::closed(&mut stage, arguments.surface, windows),
            Mode::Orphaned => work::orphaned(&mut stage),
            Mode::Screenshot { .. } => unreachable!("it has no window"),
            Mode::Still { output, frames, mailbox } => work::still(&mut stage, &output, frames, mailbox),
            Mode::Rate { seconds } => work::rate(&mut stage, seconds),
        }
        stage.close();
    }
    println!("done");
}
