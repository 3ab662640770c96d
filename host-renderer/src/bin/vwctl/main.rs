//! `vwctl`: what a running `vw-renderer` does.

mod cdi;
mod doctor;
mod record;
mod vm;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vw_host_renderer::control::{self, Pictures, SessionInfo, Socket};
use vw_host_renderer::frames::statistics::{Quantiles, Summary};
use vw_host_renderer::frames::surfaces::Number;

/// Asks a running vw-renderer.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where the renderer listens
    #[arg(long, value_name = "unix:PATH", default_value = "unix:/run/vw/vw.sock")]
    socket: Socket,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the sessions.
    Status,
    /// Says how many frames a session has presented, to which surfaces, how fast, and how long they took.
    Frames {
        /// The session's number
        session: u64,
    },
    /// Writes the last frame of a session to a file, as PNG
    Screenshot {
        /// The session's number
        session: u64,
        /// The file
        file: PathBuf,
        /// Of the surface with this number, as `frames` lists them; by default of the one that was presented to last
        #[arg(long)]
        surface: Option<Number>,
    },
    /// Writes the frames of a session to files until it ends. The guest does not wait: frames that come too fast are left out.
    Record {
        /// The session's number
        session: u64,
        /// The folder, which is made if there is none
        folder: PathBuf,
        /// How many
        #[arg(long)]
        frames: Option<u64>,
        /// Of the surface with this number, as `frames` lists them; by default of all
        #[arg(long)]
        surface: Option<Number>,
        /// As bytes, in the order of the file's extension, instead of PNG
        #[arg(long)]
        raw: bool,
    },
    /// Makes memory for a virtual machine, and prints with which options it is started
    Vm(vm::Options),
    /// Prints what containers need, as a specification of the Container Device Interface: for /etc/cdi/vw.json
    Cdi(cdi::Options),
    /// Walks the chain from a guest's connection to the GPU and says where it breaks
    Doctor(doctor::Options),
}

fn main() -> ExitCode {
    let Cli { socket: Socket(socket), command } = Cli::parse();
    match run(&socket, command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vwctl: no answer from the renderer at {}: {error}", socket.display());
            ExitCode::FAILURE
        }
    }
}

fn run(socket: &Path, command: Command) -> io::Result<ExitCode> {
    match command {
        Command::Status => print!("{}", table(&control::sessions(socket)?)),
        Command::Frames { session } => print!("{}", frames(&control::statistics(socket, session)?)),
        Command::Screenshot { session, file, surface } => {
            record::screenshot(&mut Pictures::of(socket, session, surface)?, &file)?;
        }
        Command::Record { session, folder, frames, surface, raw } => {
            record::record(&mut Pictures::of(socket, session, surface)?, &folder, frames, raw)?;
        }
        Command::Vm(options) => vm::run(&options, socket)?,
        Command::Cdi(options) => return Ok(cdi::run(&options, socket)),
        Command::Doctor(options) => return Ok(doctor::run(&options, socket)),
    }
    Ok(ExitCode::SUCCESS)
}

fn frames(summary: &Summary) -> String {
    let mut text = format!(
        "{} frames, {:.1} per second\n\n{:<26} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        summary.frames,
        summary.rate(),
        "MILLISECONDS",
        "COUNT",
        "P50",
        "P90",
        "P99",
        "MAX"
    );
    let mut line = |name, quantiles: &Quantiles| {
        let ms = |time: u64| format!("{:.3}", time as f64 / 1e6);
        let Quantiles { count, p50, p90, p99, max } = *quantiles;
        text +=
            &format!("{name:<26} {count:>9} {:>9} {:>9} {:>9} {:>9}\n", ms(p50), ms(p90), ms(p99), ms(max));
    };
    line("from submission to done", &summary.done);
    line("from presenting to shown", &summary.shown);
    line("from frame to frame", &summary.interval);
    text += &format!("\n{:<7} {:>11} {:>9} {:>9}\n", "SURFACE", "SIZE", "FRAMES", "A SECOND");
    for surface in &summary.surfaces {
        let size = format!("{} x {}", surface.width, surface.height);
        text += &format!("{:<7} {size:>11} {:>9} {:>9.1}\n", surface.number, surface.frames, surface.rate());
    }
    if summary.stream != (0, 0) {
        let each = |bytes: u64| bytes as f64 / 1024.0 / summary.frames.max(1) as f64;
        let (to, from) = summary.stream;
        text += &format!(
            "\nover the stream, KiB a frame: {:.1} to the guest, {:.1} from it\n",
            each(to),
            each(from)
        );
    }
    text
}

fn table(sessions: &[SessionInfo]) -> String {
    let mut text = format!(
        "{:>7} {:>8} {:>9} {:>9} {:>8} {:>12} {:>12} PROGRAM\n",
        "SESSION", "PID", "GUEST PID", "AGE", "OBJECTS", "MEMORY", "RECORDS"
    );
    for s in sessions {
        text += &format!(
            "{:>7} {:>8} {:>9} {:>7.1} s {:>8} {:>8.1} MiB {:>12} {}\n",
            s.number,
            s.pid,
            s.guest_pid,
            s.age_ms as f64 / 1e3,
            s.objects,
            s.memory as f64 / f64::from(1 << 20),
            s.records,
            s.program
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use vw_host_renderer::frames::statistics::SurfaceSummary;

    use super::*;

    #[test]
    fn frames_when_measured_are_told_in_milliseconds() {
        let done = Quantiles { count: 3, p50: 1_500_000, p90: 2_000_000, p99: 3_000_000, max: 4_000_000 };
        let stream = (6 << 10, 3 << 9);
        let number = Number::MIN;
        let surface = SurfaceSummary { number, frames: 2, span: 2_000_000_000, width: 640, height: 480 };
        let surfaces = vec![surface];
        let text =
            frames(&Summary { frames: 3, span: 1_000_000_000, done, surfaces, stream, ..Default::default() });
        assert!(text.ends_with("2.0 to the guest, 0.5 from it\n"), "{text}");
        assert!(
            text.starts_with("3 frames, 2.0 per second") && text.contains("    1.500     2.000"),
            "{text}"
        );
        assert!(text.contains("\n1         640 x 480         2       0.5\n"), "{text}");
    }

    #[test]
    fn table_when_sessions_are_listed_has_a_line_for_each() {
        let session =
            SessionInfo { number: 7, memory: 3 << 20, program: "vkcube".to_owned(), ..Default::default() };
        let text = table(&[session.clone(), session]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("3.0 MiB") && text.contains("vkcube"), "{text}");
    }
}
