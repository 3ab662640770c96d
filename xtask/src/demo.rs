//! `cargo xtask demo`: one picture rendered through vw, and a cube in a window.

use std::path::PathBuf;
use std::time::Instant;

use crate::cube;
use crate::packages;
use crate::process::{self, Error, Result};
use crate::test::build_products;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Host device, as `vw-renderer --device` takes it: index, UUID, PCI address or part of the name.
    #[arg(long)]
    device: Option<String>,
    /// Frames to render.
    #[arg(long, default_value_t = 120)]
    frames: u32,
    /// Where the picture goes; `target/demo.png` by default.
    #[arg(long)]
    output: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let started = Instant::now();
    packages::ensure(packages::RUN)?;
    build_products(workspace)?;
    let picture = options.output.clone().unwrap_or_else(|| workspace.target.join("demo.png"));
    let mut command = std::process::Command::new(workspace.release().join("vw-try"));
    if let Some(device) = &options.device {
        command.args(["--device", device]);
    }
    command.arg("--").arg(workspace.release().join("vw-wgpu-scene"));
    command.arg("--frames").arg(options.frames.to_string()).arg("--output").arg(&picture);
    let output = process::capture(&mut command)?;
    print!("{output}");
    let field = |name: &str| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .ok_or_else(|| Error::Message(format!("the scene did not print its `{name}`")))
    };
    let device = field("device")?;
    if !device.starts_with("vw (") {
        return Err(Error::Message(format!("the scene ran on `{device}`, which is not vw's device")));
    }
    println!(
        "demo: ok, {} frames at {} frames/s on {device}, picture in {} ({:.0} s with set-up and build)",
        field("frames")?,
        field("frames per second")?,
        picture.display(),
        started.elapsed().as_secs_f64()
    );
    cube::run(workspace, options.device.as_deref(), &picture.with_file_name("demo-cube.png"))
}
