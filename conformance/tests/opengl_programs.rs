//! OpenGL programs on Mesa's zink, unmodified: the same answers and pictures natively and through vw.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::opengl::{Mesa, zink};
use vw_conformance::programs::{self, compare_above};
use vw_conformance::{or_skip, products};

/// Scenes of glmark2 that do not take long.
const SCENES: &[&str] = &[
    "build",
    "build:use-vbo=false",
    "texture",
    "shading:shading=phong",
    "bump:bump-render=high-poly",
    "effect2d:kernel=1,1,1;1,1,1;1,1,1;",
    "pulsar:quads=5:texture=false:light=true",
    "desktop:effect=blur:passes=1:separable=true:windows=4",
    "desktop:effect=shadow:windows=4",
    "buffer:columns=200:update-method=map",
    "buffer:columns=200:update-method=subdata:interleave=true",
    "ideas",
    "jellyfish",
    "shadow",
    "refract",
    "conditionals:fragment-steps=5:vertex-steps=0",
    "function:fragment-complexity=medium:fragment-steps=5",
    "loop:fragment-steps=5:fragment-uniform=true:vertex-steps=5",
];

/// Each Mesa that set-up has, with its own lavapipe below.
fn mesas() -> Vec<(Mesa, Driver)> {
    let mut mesas = vec![(Mesa::System, Driver::lavapipe().unwrap())];
    if or_skip(products::installed("mesa")).is_some() {
        mesas.push((Mesa::Newer, Driver::newer_lavapipe().unwrap()));
    }
    mesas
}

fn on_display(program: &str, display: &Display) -> Command {
    let mut command = Command::new(program);
    command.env("DISPLAY", &display.name);
    command
}

fn glmark2(command: &mut Command, suffix: &str) {
    command.args(["--reuse-context", "--size", "160x120"]);
    for scene in SCENES {
        command.arg("--benchmark").arg(format!("{scene}{suffix}"));
    }
}

/// Everything that OpenGL says about itself.
#[test]
fn glxinfo_when_zink_runs_through_vw_says_the_same() {
    let Some(display) = or_skip(Display::start()) else { return };
    if or_skip(products::installed("mesa-utils")).is_none() {
        return;
    }
    for (mesa, host) in mesas() {
        let above = |driver| zink(driver, mesa).unwrap();
        let text = compare_above(&host, above, || {
            let mut command = on_display("glxinfo", &display);
            // Limits too, and each extension on a line of its own.
            command.args(["-l", "-s"]);
            command
        });
        assert!(text.contains("zink"), "{text}");
        let text = compare_above(&host, above, || {
            let mut command = Command::new("sh");
            // It fails for the window systems that are not there. Each word on a line of its own.
            command.args(["-c", "eglinfo | sed -n '/^Surfaceless/,/^Device/p' | tr -s ' ' '\\n'"]);
            command
        });
        assert!(text.contains("EGL_KHR_surfaceless_context"), "{text}");
    }
}

/// Textures, depth, samples, several targets, geometry shaders, transform feedback, compute shaders, by moderngl. `memory`: what
/// the program has as `VW_MEMORY`.
fn compare_scenes(mesas: impl IntoIterator<Item = (Mesa, Driver)>, memory: &str) {
    let Some(python) = or_skip(products::python("moderngl")) else { return };
    for (mesa, host) in mesas {
        let text = compare_above(
            &host,
            |driver| zink(driver, mesa).unwrap().with("VW_MEMORY", memory),
            || {
                let mut command = Command::new(&python);
                command.arg(products::script("opengl_scenes.py"));
                command
            },
        );
        assert_eq!(text.matches("varied True").count(), 10, "{text}");
    }
}

#[test]
fn opengl_scenes_when_zink_runs_through_vw_are_pixel_identical() {
    compare_scenes(mesas(), "auto");
}

#[test]
fn opengl_scenes_when_zink_runs_over_a_stream_are_pixel_identical() {
    compare_scenes(mesas().into_iter().take(1), "stream");
}

/// glmark2 looks at a pixel of each scene itself.
#[test]
fn glmark2_when_zink_runs_through_vw_validates_the_same_scenes() {
    let Some(display) = or_skip(Display::start()) else { return };
    if or_skip(products::installed("glmark2")).is_none() {
        return;
    }
    for (mesa, host) in mesas() {
        let text = compare_above(
            &host,
            |driver| zink(driver, mesa).unwrap(),
            || {
                let mut command = on_display("glmark2", &display);
                command.args(["--validate", "--off-screen"]);
                glmark2(&mut command, "");
                command
            },
        );
        assert!(text.matches("Validation: Success").count() >= 10 && !text.contains("Failure"), "{text}");
    }
}

/// Frames of glmark2's scenes, whose animation follows the clock: its OpenGL calls are recorded once, on a driver
/// without Vulkan, and played natively and through vw.
#[test]
fn glmark2_when_its_calls_are_played_by_zink_through_vw_is_pixel_identical() {
    let Some(display) = or_skip(Display::start()) else { return };
    if or_skip(products::installed("glmark2").and_then(|()| products::installed("apitrace"))).is_none() {
        return;
    }
    let trace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("glmark2.trace");
    let mut record = on_display("apitrace", &display);
    record.args(["trace", "--output"]).arg(&trace).arg("glmark2");
    glmark2(&mut record, ":nframes=2");
    programs::run(&Driver::lavapipe().unwrap(), record);
    for (mesa, host) in mesas() {
        let hashes = compare_above(
            &host,
            |driver| zink(driver, mesa).unwrap(),
            || {
                // The first frame is swapped before anything was drawn: its picture is undefined.
                let mut command = Command::new("sh");
                command.env("DISPLAY", &display.name).arg("-c").arg(format!(
                    "glretrace -b --headless --snapshot-format=MD5 -s - -S frame '{}' | tail -n +2",
                    trace.display()
                ));
                command
            },
        );
        assert_eq!(hashes.lines().count(), SCENES.len() * 2 - 1, "{hashes}");
    }
}
