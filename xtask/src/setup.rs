//! `cargo xtask setup`: everything that the tests need besides Rust.

use std::fmt::Write as _;
use std::fs;

use crate::process::{Result, file_error};
use crate::workspace::Workspace;
use crate::{mesa, package, packages, python, vm};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only what `cargo xtask demo` needs.
    #[arg(long)]
    demo: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    packages::ensure(packages::RUN)?;
    if options.demo {
        return Ok(());
    }
    for_tests(workspace)
}

/// Installs what the tests need. The programs of others that run through vw, and the second Mesa, are optional: what
/// cannot be had is written down, and the tests that need it say so and are skipped.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    let wanted: Vec<&str> = packages::RUN.iter().chain(packages::TEST).copied().collect();
    packages::ensure(&wanted)?;
    let mut state = State::default();
    // All at once is quicker; where that fails, each by itself.
    let all: Vec<&str> =
        packages::PROGRAMS.iter().flat_map(|(_, packages)| packages.iter().copied()).collect();
    let together = packages::ensure(&all).is_ok();
    for (name, packages) in packages::PROGRAMS {
        state.note(name, if together { Ok(()) } else { packages::ensure(packages) });
    }
    for name in python::names() {
        state.note(name, python::packages(workspace, name));
    }
    state.note("webgpu", python::node(workspace));
    state.note("mesa", mesa::unpack(workspace));
    state.note("libc", vm::older_libc(workspace));
    state.note("packages", package::tool(workspace));
    state.note("vm", vm::unpack(workspace));
    fs::write(workspace.setup().join("state"), state.text).map_err(file_error("writing what is installed"))
}

/// What the last set-up could not have, one line each; empty when it had everything.
pub(crate) fn missing(workspace: &Workspace) -> Vec<String> {
    let state = fs::read_to_string(workspace.setup().join("state")).unwrap_or_default();
    state.lines().filter(|line| !line.ends_with(": installed")).map(str::to_owned).collect()
}

/// Whether the last set-up has installed something.
pub(crate) fn has(workspace: &Workspace, name: &str) -> bool {
    let state = fs::read_to_string(workspace.setup().join("state")).unwrap_or_default();
    state.lines().any(|line| line.strip_prefix(name) == Some(": installed"))
}

/// What is installed and what could not be, a line each: `name: installed` or `name: reason`. The tests read it.
#[derive(Default)]
struct State {
    text: String,
}

impl State {
    fn note(&mut self, name: &str, result: Result<()>) {
        let words = match result {
            Ok(()) => "installed".to_owned(),
            Err(error) => {
                let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                eprintln!("xtask: tests that need {name} are skipped: {reason}");
                format!("cannot be installed: {reason}")
            }
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{name}: {words}");
    }
}
