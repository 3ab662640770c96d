//! The second half of the demo: `vkcube` in a window, through vw.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::packages;
use crate::process::{self, Error, Result, file_error};
use crate::workspace::Workspace;

/// What the cube and a display without a screen are in.
const PACKAGES: &[&str] = &["vulkan-tools", "xvfb"];

/// Frames of the measured run.
const FRAMES: u32 = 2000;

/// An X server; ended when dropped.
struct Server {
    child: Child,
    display: String,
}

impl Server {
    fn start() -> Result<Self> {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-screen", "0", "700x700x24", "-nolisten", "tcp"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(file_error("starting Xvfb"))?;
        let mut number = String::new();
        if let Some(output) = child.stdout.take() {
            let read = BufReader::new(output).read_line(&mut number);
            read.map_err(file_error("reading the number of the display"))?;
        }
        Ok(Self { child, display: format!(":{}", number.trim()) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows the cube: a picture of it, its frame rate, and the cube itself where there is a display.
pub(crate) fn run(workspace: &Workspace, device: Option<&str>, picture: &Path) -> Result<()> {
    packages::ensure(PACKAGES)?;
    let run_cube = |program: &str, frames: u32, mode: &str| {
        let mut command = Command::new(workspace.release().join("vw-try"));
        command.args(device.into_iter().flat_map(|device| ["--device", device]));
        command.args(["--", program, "--present_mode", mode, "--c", &frames.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let cube = |display: &str, frames: u32, mode: &str| {
        let mut command = run_cube("vkcube", frames, mode);
        command.env("DISPLAY", display);
        command
    };
    let server = Server::start()?;
    // Three seconds in step with the display, and a look at it.
    let mut shown = cube(&server.display, 180, "2").spawn().map_err(file_error("starting vkcube"))?;
    thread::sleep(Duration::from_secs(2));
    let mut look = Command::new(workspace.release().join("vw-window"));
    let looked = process::run(look.env("DISPLAY", &server.display).arg("screenshot").arg(picture));
    let status = shown.wait().map_err(file_error("waiting for vkcube"))?;
    looked?;
    if !status.success() {
        return Err(Error::Message(format!("vkcube through vw: {status}")));
    }
    // What it takes to begin and to end is not counted.
    let timed = |frames| -> Result<f64> {
        let started = Instant::now();
        process::run(&mut cube(&server.display, frames, "1"))?;
        Ok(started.elapsed().as_secs_f64())
    };
    let (begin, all) = (timed(1)?, timed(FRAMES)?);
    let rate = f64::from(FRAMES) / (all - begin).max(0.001);
    println!("demo: vkcube, 500x500: {rate:.0} frames/s (mailbox), picture in {}", picture.display());
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    match (set("WAYLAND_DISPLAY"), set("DISPLAY")) {
        (Some(display), _) => {
            println!("demo: vkcube on {display}, for ten seconds");
            process::run(&mut run_cube("vkcube-wayland", 600, "2"))
        }
        (None, Some(display)) => {
            println!("demo: vkcube on display {display}, for ten seconds");
            process::run(&mut cube(&display, 600, "2"))
        }
        (None, None) => Ok(()),
    }
}
