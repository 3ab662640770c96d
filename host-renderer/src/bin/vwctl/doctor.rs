//! `vwctl doctor`: the chain from a guest's connection to the GPU, as far as it is on this side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use vw_host_renderer::config::{Config, Listen};
use vw_host_renderer::control;
use vw_host_renderer::session::greet::Ready;
use vw_host_renderer::session::process::prepare_libc;

/// What is looked at.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The renderer's configuration; without it and without the default one, that is the usual one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The configuration of the service.
const CONFIG: &str = "/etc/vw/renderer.toml";

/// A link that broke: its name, why, and what to do.
struct Broken {
    link: &'static str,
    why: String,
    remedy: &'static str,
}

/// Walks the chain and says how it went; the exit code is 0 if it holds.
pub(crate) fn run(options: &Options, socket: &Path) -> ExitCode {
    match walk(options, socket) {
        Ok(()) => {
            println!("everything works on this side; in a guest, `vw-guest doctor` walks the rest");
            ExitCode::SUCCESS
        }
        Err(Broken { link, why, remedy }) => {
            println!("{link:<14} BROKEN: {why}");
            println!("{:<14} {remedy}", "what to do");
            ExitCode::FAILURE
        }
    }
}

fn holds(link: &str, what: &str) {
    println!("{link:<14} {what}");
}

fn walk(options: &Options, socket: &Path) -> Result<(), Broken> {
    let broken = |link, remedy| move |why: String| Broken { link, why, remedy };
    let (config, from) =
        configuration(options).map_err(broken("configuration", "correct the file; `man vw-renderer`"))?;
    holds("configuration", &from);
    prepare_libc();
    let ready = Ready::new(&config, None).map_err(broken(
        "GPU",
        "install its Vulkan driver and the loader (Debian: mesa-vulkan-drivers, libvulkan1), see whether `vulkaninfo` shows it, or choose another one with `device`",
    ))?;
    let (device, memory) = ready.describe();
    holds("GPU", &device);
    holds("memory", &memory);
    let sessions = control::sessions(socket).map_err(|error| Broken {
        link: "renderer",
        why: format!("no answer at {}: {error}", socket.display()),
        remedy: "start it (`systemctl start vw-renderer`), and say with --socket where it listens; as another user than its own nobody may ask it",
    })?;
    holds("renderer", &format!("answers at {}, {} sessions", socket.display(), sessions.len()));
    for listen in &config.listen {
        let there = match listen {
            Listen::Unix(path) => path.exists(),
            Listen::Vsock(_) => Path::new("/dev/vsock").exists(),
        };
        if !there {
            let remedy = match listen {
                Listen::Unix(_) => "start the renderer again: it was started with other addresses",
                Listen::Vsock(_) => "load the kernel's module: `modprobe vhost_vsock`",
            };
            return Err(broken("listeners", remedy)(format!("nothing is there for {listen}")));
        }
        holds("listens at", &listen.to_string());
    }
    Ok(())
}

/// The configuration, and where it is from.
fn configuration(options: &Options) -> Result<(Config, String), String> {
    let file = options.config.clone().or_else(|| Some(PathBuf::from(CONFIG)).filter(|file| file.exists()));
    match file {
        Some(file) => {
            let config = Config::read(&file).map_err(|error| error.to_string())?;
            Ok((config, file.display().to_string()))
        }
        None => Ok((Config::default(), format!("the usual one: there is no {CONFIG}"))),
    }
}
