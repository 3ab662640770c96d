//! Runs a program on vw with nothing to set up: starts a renderer on a private socket, makes vw the program's only
//! driver, ends the renderer after it. `vw-try vulkaninfo --summary`.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use vw_conformance::products;
use vw_conformance::renderer::Renderer;

#[derive(Parser)]
#[command(about = "Run a program on vw, with a renderer of its own")]
struct Arguments {
    /// Host device, as `vw-renderer --device` takes it.
    #[arg(long)]
    device: Option<String>,
    /// Print the renderer's log at the end.
    #[arg(long)]
    log: bool,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
    program: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vw-try: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // The renderer takes the machine's own drivers, all of them.
    let mut command = Command::new(products::renderer()?);
    if let Some(device) = &arguments.device {
        command.arg("--device").arg(device);
    }
    let renderer = Renderer::start_command(command)?;
    let [program, rest @ ..] = arguments.program.as_slice() else { return Ok(ExitCode::FAILURE) };
    let status = renderer.guest().command(program).args(rest).stdin(Stdio::null()).status();
    if arguments.log {
        eprint!("{}", renderer.log());
    }
    let status = status.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    if !status.success() && !arguments.log {
        eprint!("{}", renderer.log());
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
