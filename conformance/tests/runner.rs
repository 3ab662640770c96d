//! `vw-run PROGRAM`: Vulkan and OpenGL of a program that knows nothing are vw's.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, or_skip, products};

const LIMIT: Duration = Duration::from_secs(120);

/// `vw-run` with a renderer, whose name comes by an option or by the environment.
fn runner(renderer: &Renderer, option: bool) -> Command {
    let mut command = Command::new(products::runner().unwrap());
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VW_HOST"] {
        command.env_remove(name);
    }
    command.env("XDG_CACHE_HOME", renderer.folder().join("cache"));
    let host = format!("unix:{}", renderer.socket().display());
    if option {
        command.args(["--host", &host])
    } else {
        command.env("VW_HOST", host)
    };
    command
}

#[test]
fn program_when_run_by_vw_run_has_vw_as_its_vulkan() {
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    for option in [true, false] {
        let output = child::run(runner(&renderer, option).args(["vulkaninfo", "--summary"]), LIMIT).unwrap();
        let text = output.expect_success("vulkaninfo");
        assert!(text.contains("deviceName         = vw ("), "{text}");
        let said = output.stderr.lines().find(|line| line.starts_with("vw-run: vulkaninfo has vw ("));
        assert!(said.is_some(), "{}", output.stderr);
    }
}

#[test]
fn program_when_run_by_vw_run_has_zink_on_vw_as_its_opengl() {
    let Some(display) = or_skip(Display::start()) else { return };
    if or_skip(products::installed("mesa-utils")).is_none() {
        return;
    }
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let mut command = runner(&renderer, true);
    command.env("DISPLAY", &display.name).args(["glxinfo", "-B"]);
    let output = child::run(&mut command, LIMIT).unwrap();
    let text = output.expect_success("glxinfo");
    assert!(text.contains("OpenGL renderer string: zink (vw ("), "{text}");
}

#[test]
fn program_when_vw_run_cannot_run_it_is_not_run_and_the_reason_is_told() {
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let mut nowhere = runner(&renderer, true);
    nowhere.args(["--host", "unix:/nowhere", "echo", "started"]);
    for (mut command, code, reason) in [
        (nowhere, 1, "no socket at /nowhere"),
        (
            {
                let mut c = runner(&renderer, true);
                c.arg("no-such-program");
                c
            },
            127,
            "cannot be started",
        ),
        (
            {
                let mut c = runner(&renderer, true);
                c.args(["--dance", "echo"]);
                c
            },
            2,
            "no option --dance",
        ),
        (runner(&renderer, true), 2, "usage"),
    ] {
        let output = child::run(&mut command, LIMIT).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_str()), (Some(code), ""), "{}", output.stderr);
        assert!(output.stderr.contains(reason), "{}", output.stderr);
    }
}
