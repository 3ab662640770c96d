//! Frames of other people's programs in windows of an X server without a screen: how many, and how evenly.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vw_conformance::child;
use vw_conformance::display::Display;
use vw_conformance::opengl::{Mesa, zink_in_windows};
use vw_conformance::{products, scratch_folder};

use super::side::Side;
use super::{Error, Result, system};
use crate::effort::Effort;
use crate::row::Row;

/// Longest run of one program.
const LIMIT: Duration = Duration::from_secs(120);

/// Name of the layer that notes the frames.
const LAYER: &str = "VK_LAYER_VW_frame_times";

/// A program at a size.
pub(crate) struct Window {
    /// Rate and unevenness.
    pub(crate) rows: [Row; 2],
    program: Program,
    size: (u32, u32),
}

enum Program {
    /// Frames that replace each other, as fast as can be: so many take some seconds.
    Vkcube { frames: u32 },
    /// A scene by zink on the driver.
    Glmark2,
}

const fn rate(name: &'static str) -> Row {
    Row::higher(name, "frames/s").native(0.9)
}

const fn interval(name: &'static str) -> Row {
    Row::lower(name, "ms").native(1.3)
}

pub(crate) const ALL: [Window; 4] = [
    Window {
        rows: [
            rate("vkcube in a window of 500 × 500"),
            interval("vkcube in a window of 500 × 500, p99 from frame to frame"),
        ],
        program: Program::Vkcube { frames: 3000 },
        size: (500, 500),
    },
    Window {
        rows: [
            rate("vkcube in a window of 1920 × 1080"),
            interval("vkcube in a window of 1920 × 1080, p99 from frame to frame"),
        ],
        program: Program::Vkcube { frames: 600 },
        size: (1920, 1080),
    },
    Window {
        rows: [
            rate("glmark2 (build) in a window of 500 × 500"),
            interval("glmark2 (build) in a window of 500 × 500, p99 from frame to frame"),
        ],
        program: Program::Glmark2,
        size: (500, 500),
    },
    Window {
        rows: [
            rate("glmark2 (build) in a window of 1920 × 1080"),
            interval("glmark2 (build) in a window of 1920 × 1080, p99 from frame to frame"),
        ],
        program: Program::Glmark2,
        size: (1920, 1080),
    },
];

/// An X server with room for all of them.
pub(crate) fn display() -> Result<Display> {
    Ok(Display::start_with(&["-noreset", "-screen", "0", "1920x1080x24"])?)
}

impl Window {
    /// Frames in a second, and the time from one frame to the next that is exceeded by one of a hundred, in milliseconds.
    pub(crate) fn measure(&self, side: &Side, display: &Display, effort: Effort) -> Result<[f64; 2]> {
        let mut command = match self.program {
            Program::Vkcube { frames } => self.vkcube(side, frames, effort),
            Program::Glmark2 => self.glmark2(side, effort)?,
        };
        let folder = scratch_folder("frame-times")?;
        let file = folder.join("frames");
        command.env("DISPLAY", &display.name).env("VW_FRAME_TIMES", &file);
        note_frames(&mut command, &folder)?;
        let output = child::run(&mut command, LIMIT)?;
        let written = fs::read(&file);
        // What is left in the folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&folder);
        let failed = |why: &str| {
            let program = command.get_program().display();
            Error::Message(format!("{program} {why}:\n{}{}", output.stdout, output.stderr))
        };
        let finished = match self.program {
            Program::Vkcube { .. } => output.status.success(),
            // The driver's own threads may still show a frame in the window that it has closed: an X error, now and then.
            Program::Glmark2 => output.stdout.contains("glmark2 Score"),
        };
        if !finished {
            return Err(failed("failed"));
        }
        let written = written.map_err(|error| failed(&format!("notes no frames ({error})")))?;
        summary(&written.as_chunks::<8>().0.iter().map(|time| u64::from_ne_bytes(*time)).collect::<Vec<_>>())
            .ok_or_else(|| failed("presents next to nothing"))
    }

    fn vkcube(&self, side: &Side, frames: u32, effort: Effort) -> Command {
        let frames = match effort {
            Effort::Full | Effort::Work => frames,
            Effort::Quick => frames / 4,
            Effort::Smoke => 50,
        };
        let (width, height) = (self.size.0.to_string(), self.size.1.to_string());
        let mut command = side.command("vkcube");
        command.args(["--present_mode", "1", "--width", &width, "--height", &height]);
        command.args(["--c", &frames.to_string()]);
        command
    }

    fn glmark2(&self, side: &Side, effort: Effort) -> Result<Command> {
        let seconds = match effort {
            Effort::Full | Effort::Work => "4",
            Effort::Quick => "2",
            Effort::Smoke => "0.5",
        };
        let driver = zink_in_windows(side.driver().clone(), Mesa::System)?;
        let mut command = driver.command(Path::new("glmark2"));
        command.args(["--size", &format!("{}x{}", self.size.0, self.size.1), "--swap-mode", "immediate"]);
        command.args(["-b", &format!("build:duration={seconds}")]);
        Ok(command)
    }
}

/// Puts the layer between a program and its driver. The manifest is written to `folder`.
fn note_frames(command: &mut Command, folder: &Path) -> Result<()> {
    let manifest = serde_json::json!({
        "file_format_version": "1.1.2",
        "layer": {
            "name": LAYER,
            "type": "GLOBAL",
            "library_path": products::frame_times()?,
            "api_version": "1.4.309",
            "implementation_version": "1",
            "description": "Notes when a program presents"
        }
    });
    let path = folder.join("frame_times.json");
    fs::write(&path, manifest.to_string()).map_err(system("writing the layer's manifest"))?;
    command.env("VK_LAYER_PATH", folder).env("VK_INSTANCE_LAYERS", LAYER);
    Ok(())
}

/// Rate and 99th percentile of the intervals of frames that were presented at these nanoseconds, the first tenth left out;
/// none where there are too few.
fn summary(times: &[u64]) -> Option<[f64; 2]> {
    let times = &times[times.len() / 10..];
    let mut intervals: Vec<u64> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    intervals.sort_unstable();
    let all: u64 = intervals.iter().sum();
    let late = *intervals.get(intervals.len() * 99 / 100)?;
    (all > 0).then(|| [intervals.len() as f64 * 1e9 / all as f64, late as f64 / 1e6])
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn summary_when_one_frame_in_fifty_is_late_has_its_interval() {
        // A frame each millisecond; each fiftieth takes eleven.
        let mut now = 0;
        let times: Vec<u64> = (0..1000)
            .map(|frame| {
                now += if frame % 50 == 0 { 11_000_000 } else { 1_000_000 };
                now
            })
            .collect();
        let [rate, late] = summary(&times).expect("frames");
        // Behind the first tenth, which is left out, there are 899 intervals, 17 of them late.
        assert!((rate - 899e3 / (899.0 + 17.0 * 10.0)).abs() < 1e-6, "{rate}");
        assert!((late - 11.0).abs() < 1e-9, "{late}");
        assert_eq!(summary(&[5]), None);
    }
}
