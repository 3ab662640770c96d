//! `vw-renderer`: executes the Vulkan of its guests on the host's GPU.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use vw_host_renderer::broker::Broker;
use vw_host_renderer::config::{Config, ConfigError, Listen};
use vw_host_renderer::gpu::import::Choice;
use vw_host_renderer::session::process;

/// Executes the Vulkan of its guests on the host's GPU.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
struct Options {
    /// Where guests connect; may be repeated [default: unix:/run/vw/vw.sock]
    #[arg(long, value_name = "unix:PATH|vsock:PORT")]
    listen: Vec<Listen>,
    /// Physical device for guests: index, UUID, PCI address or part of the name [default: the best]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Configuration in TOML; the command line overrides it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Decode and validate only; needs no GPU
    #[arg(long)]
    null: bool,
    /// How host-visible memory of guests becomes the device's [default: auto, the best that works]
    #[arg(long, value_name = "WAY")]
    import: Option<Choice>,
    /// What is logged: error, warn, info, debug, trace, or a filter [default: `VW_LOG`, else info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Most sessions at a time [default: 64]
    #[arg(long, value_name = "COUNT")]
    max_sessions: Option<usize>,
    /// Session processes that have the host's device ready and wait for a guest [default: 1]
    #[arg(long, value_name = "COUNT")]
    warm: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Serves one guest, which comes by standard input; started by the daemon.
    #[command(hide = true)]
    Session(SessionArgs),
}

#[derive(Debug, Args)]
struct SessionArgs {
    #[arg(long)]
    broker: u32,
    #[arg(long)]
    config_text: String,
    #[arg(long)]
    tried: Option<String>,
}

impl Options {
    fn config(self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if !self.listen.is_empty() {
            config.listen = self.listen;
        }
        config.device = self.device.or(config.device);
        config.null |= self.null;
        config.import = self.import.unwrap_or(config.import);
        config.log = self.log.or_else(|| std::env::var("VW_LOG").ok()).unwrap_or(config.log);
        config.max_sessions = self.max_sessions.unwrap_or(config.max_sessions);
        config.warm = self.warm.unwrap_or(config.warm);
        Ok(config)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Session(args)) => match Config::parse(&args.config_text, "the broker's configuration") {
            Ok(config) => {
                start_log(&config.log);
                process::run(&config, args.broker, args.tried.as_deref())
            }
            Err(error) => fail(&error),
        },
        None => match cli.options.config() {
            Ok(config) => {
                start_log(&config.log);
                match Broker::new(config).and_then(Broker::run) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error) => fail(&error),
                }
            }
            Err(error) => fail(&error),
        },
    }
}

fn start_log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        eprintln!("vw-renderer: `{filter}` is no log filter ({error}); `info` is used");
        EnvFilter::new("info")
    });
    let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .init();
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("vw-renderer: {error}");
    ExitCode::from(2)
}
