//! Programs with windows: what is shown is what was drawn, natively and through vw, and nothing that happens to a window or
//! its server hangs a program.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use vw_conformance::compositor::Compositor;
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, or_skip, products};

const LIMIT: Duration = Duration::from_secs(120);

/// Servers without these have frames shown in other ways.
const LACKS: [&[&str]; 3] = [&[], &["-extension", "Present"], &["-extension", "MIT-SHM"]];

fn window(driver: &Driver, display: &Display, arguments: &[&str]) -> Command {
    let mut command = driver.command(products::program("vw-window").unwrap());
    command.env("DISPLAY", &display.name).args(arguments);
    command
}

/// Runs the program to its end; what it has printed.
fn run(driver: &Driver, display: &Display, arguments: &[&str]) -> String {
    let output = child::run(&mut window(driver, display, arguments), LIMIT).unwrap();
    output.expect_success(&format!("vw-window {} on {}", arguments.join(" "), driver.name)).to_owned()
}

#[test]
fn pictures_when_presented_through_vw_are_shown_as_natively() {
    for host in [Driver::lavapipe().unwrap(), Driver::newer_lavapipe().unwrap()] {
        let renderer = Renderer::start(&host).unwrap();
        for lacks in LACKS {
            let Some(display) = or_skip(Display::start_with(lacks)) else { return };
            for surface in ["xcb", "xlib"] {
                let arguments = ["--surface", surface, "pictures"];
                let native = run(&host, &display, &arguments);
                assert_eq!(native, run(&renderer.guest(), &display, &arguments), "{lacks:?}");
            }
        }
    }
}

#[test]
fn window_when_it_is_treated_badly_costs_nothing_but_its_surface() {
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    for lacks in LACKS {
        let Some(display) = or_skip(Display::start_with(lacks)) else { return };
        for arguments in [&["resizes"][..], &["swapchains"], &["hidden"], &["destroyed"], &["closed"]] {
            run(&renderer.guest(), &display, arguments);
        }
    }
}

#[test]
fn server_when_it_is_killed_costs_the_program_its_surface_alone() {
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    for lacks in LACKS {
        let Some(mut display) = or_skip(Display::start_with(lacks)) else { return };
        let mut command = renderer.guest().command("timeout");
        command.env("DISPLAY", &display.name).arg("60").arg(products::program("vw-window").unwrap());
        command.arg("orphaned");
        orphan(command, || display.kill());
    }
}

fn on_wayland(driver: &Driver, compositor: &Compositor, arguments: &[&str]) -> String {
    let mut command = driver.command(products::program("vw-window").unwrap());
    compositor.apply(&mut command);
    let output = child::run(command.args(["--surface", "wayland"]).args(arguments), LIMIT).unwrap();
    output.expect_success(&format!("vw-window {} on {}", arguments.join(" "), driver.name)).to_owned()
}

#[test]
fn wayland_surface_when_presented_to_through_vw_shows_what_it_shows_natively() {
    let host = Driver::newer_lavapipe().unwrap();
    let renderer = Renderer::start(&host).unwrap();
    let lines = |driver: &Driver, arguments: &[&str]| {
        let compositor = or_skip(Compositor::start())?;
        Some(on_wayland(driver, &compositor, arguments))
    };
    let Some(native) = lines(&host, &["pictures"]) else { return };
    assert_eq!(Some(native), lines(&renderer.guest(), &["pictures"]));
    for arguments in [&["resizes", "--rounds", "300"][..], &["swapchains"], &["hidden"], &["closed"]] {
        lines(&renderer.guest(), arguments);
    }
}

#[test]
fn compositor_when_it_is_killed_costs_the_program_its_surface_alone() {
    let Some(mut compositor) = or_skip(Compositor::start()) else { return };
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    let mut command = renderer.guest().command("timeout");
    compositor.apply(&mut command);
    command.arg("60").arg(products::program("vw-window").unwrap()).args(["--surface", "wayland", "orphaned"]);
    orphan(command, || compositor.kill());
}

/// Kills the server of a program that has begun to present.
fn orphan(mut command: Command, kill: impl FnOnce()) {
    let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "presenting");
    std::thread::sleep(Duration::from_millis(300));
    kill();
    assert_eq!(lines.next().unwrap().unwrap(), "orphaned: the surface is lost");
    assert!(program.wait().unwrap().success());
}

#[test]
fn vkcube_when_run_on_wayland_through_vw_ends_well() {
    let Some(compositor) = or_skip(Compositor::start()) else { return };
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    for mode in ["1", "2"] {
        let mut command = renderer.guest().command("vkcube-wayland");
        compositor.apply(&mut command);
        child::run(command.args(["--c", "60", "--present_mode", mode]), LIMIT)
            .unwrap()
            .expect_success("vkcube");
    }
}

/// The loader's own cube: seconds of frames, and no complaint.
#[test]
fn vkcube_when_run_through_vw_ends_well() {
    let Some(display) = or_skip(Display::start()) else { return };
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    for mode in ["0", "1", "2", "3"] {
        let mut command = renderer.guest().command("vkcube");
        command.env("DISPLAY", &display.name).args(["--c", "60", "--present_mode", mode]);
        child::run(&mut command, LIMIT).unwrap().expect_success("vkcube");
    }
}
