//! `vwctl`: what a running `vw-renderer` does.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vw_host_renderer::config::Listen;
use vw_host_renderer::control::{self, SessionInfo};

/// Asks a running vw-renderer.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Where the renderer listens
    #[arg(long, value_name = "unix:PATH", default_value = "unix:/run/vw/vw.sock")]
    socket: Listen,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the sessions.
    Status,
}

fn main() -> ExitCode {
    let Cli { socket: Listen::Unix(socket), command: Command::Status } = Cli::parse();
    match control::sessions(&socket) {
        Ok(sessions) => {
            print!("{}", table(&sessions));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("vwctl: no answer from the renderer at {}: {error}", socket.display());
            ExitCode::FAILURE
        }
    }
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
    use super::*;

    #[test]
    fn table_when_sessions_are_listed_has_a_line_for_each() {
        let session =
            SessionInfo { number: 7, memory: 3 << 20, program: "vkcube".to_owned(), ..Default::default() };
        let text = table(&[session.clone(), session]);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("3.0 MiB") && text.contains("vkcube"), "{text}");
    }
}
