//! Frame rates of other people's programs in windows of an X server without a screen.

use std::path::Path;
use std::time::{Duration, Instant};

use vw_conformance::child;
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::opengl::{Mesa, zink_in_windows};

use super::side::Side;
use super::{Error, Result};
use crate::effort::Effort;
use crate::row::Row;

/// Longest run of one program.
const LIMIT: Duration = Duration::from_secs(120);

/// Least part of the native rate that is aimed at.
const AIM: f64 = 0.9;

/// A program at a size.
pub(crate) struct Window {
    pub(crate) row: Row,
    program: Program,
    size: (u32, u32),
}

enum Program {
    /// Frames that replace each other, as fast as can be: so many take some seconds.
    Vkcube { frames: u32 },
    /// A scene by zink on the driver.
    Glmark2,
}

pub(crate) const ALL: [Window; 4] = [
    Window {
        row: Row::higher("vkcube in a window of 500 × 500", "frames/s").native(AIM),
        program: Program::Vkcube { frames: 3000 },
        size: (500, 500),
    },
    Window {
        row: Row::higher("vkcube in a window of 1920 × 1080", "frames/s").native(AIM),
        program: Program::Vkcube { frames: 600 },
        size: (1920, 1080),
    },
    Window {
        row: Row::higher("glmark2 (build) in a window of 500 × 500", "frames/s").native(AIM),
        program: Program::Glmark2,
        size: (500, 500),
    },
    Window {
        row: Row::higher("glmark2 (build) in a window of 1920 × 1080", "frames/s").native(AIM),
        program: Program::Glmark2,
        size: (1920, 1080),
    },
];

/// An X server with room for all of them.
pub(crate) fn display() -> Result<Display> {
    Ok(Display::start_with(&["-noreset", "-screen", "0", "1920x1080x24"])?)
}

impl Window {
    /// Frames in a second.
    pub(crate) fn rate(&self, side: &Side, display: &Display, effort: Effort) -> Result<f64> {
        match self.program {
            Program::Vkcube { frames } => {
                let frames = if effort == Effort::Full { frames } else { frames / 10 };
                // What it takes to begin and to end is not counted.
                let (begin, all) = (self.cube(side, display, 1)?, self.cube(side, display, frames + 1)?);
                Ok(f64::from(frames) / all.saturating_sub(begin).as_secs_f64())
            }
            Program::Glmark2 => self.glmark2(side, display, effort),
        }
    }

    /// How long so many frames take.
    fn cube(&self, side: &Side, display: &Display, frames: u32) -> Result<Duration> {
        let (width, height) = (self.size.0.to_string(), self.size.1.to_string());
        let mut command = side.command("vkcube");
        command.args(["--present_mode", "1", "--width", &width, "--height", &height]);
        command.args(["--c", &frames.to_string()]).env("DISPLAY", &display.name);
        let started = Instant::now();
        let output = child::run(&mut command, LIMIT)?;
        if !output.status.success() {
            return Err(Error::Message(format!("vkcube failed:\n{}{}", output.stdout, output.stderr)));
        }
        Ok(started.elapsed())
    }

    fn glmark2(&self, side: &Side, display: &Display, effort: Effort) -> Result<f64> {
        let seconds = if effort == Effort::Full { 4 } else { 1 };
        let driver: Driver = zink_in_windows(side.driver().clone(), Mesa::System)?;
        let mut command = driver.command(Path::new("glmark2"));
        command.args(["--size", &format!("{}x{}", self.size.0, self.size.1), "--swap-mode", "immediate"]);
        command.args(["-b", &format!("build:duration={seconds}")]).env("DISPLAY", &display.name);
        let output = child::run(&mut command, LIMIT)?;
        let rate = output.stdout.lines().find_map(frames_per_second);
        let failed = || Error::Message(format!("glmark2 failed:\n{}{}", output.stdout, output.stderr));
        rate.ok_or_else(failed)
    }
}

/// The number in `[build] duration=4: FPS: 812 FrameTime: 1.232 ms`.
fn frames_per_second(line: &str) -> Option<f64> {
    super::programs::frames_per_second(line).filter(|rate| *rate > 0.0)
}
