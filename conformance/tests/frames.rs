//! What is presented in a guest, seen from the host: the very texels, whatever the window system.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vw_conformance::compositor::Compositor;
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::picture::Picture;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, or_skip, products};

const LIMIT: Duration = Duration::from_secs(120);

/// `vwctl` with a renderer; what it prints.
fn vwctl(renderer: &Renderer, arguments: &[&str]) -> String {
    let mut command = Command::new(products::control().unwrap());
    command.arg("--socket").arg(format!("unix:{}", renderer.socket().display())).args(arguments);
    child::run(&mut command, LIMIT).unwrap().expect_success("vwctl").to_owned()
}

/// Presents a picture by a surface of this kind, and compares what is seen on the host.
fn compare(surface: &str, display: impl FnOnce(&mut Command)) {
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    let drawn = renderer.folder().join("drawn");
    let mut command = renderer.guest().command("timeout");
    display(&mut command);
    command.arg("120").arg(products::program("vw-window").unwrap());
    command.args(["--surface", surface, "still"]).arg(&drawn);
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "still");

    let folder = renderer.folder().join("frames");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    // The last frame may be on its way yet; then the first that is seen is the one before.
    let drawn = std::fs::read(drawn).unwrap();
    let last = folder.join("00000005-173x121.bgra");
    while !last.exists() {
        vwctl(&renderer, &["record", "1", &path(&folder), "--frames", "1", "--raw"]);
    }
    assert!(std::fs::read(last).unwrap() == drawn, "{surface}: not what was drawn");
    let shot = renderer.folder().join("shot.png");
    assert!(vwctl(&renderer, &["screenshot", "1", &path(&shot)]).contains("frame 5: 173 x 121"));
    let rgb: Vec<u8> = drawn.chunks_exact(4).flat_map(|texel| [texel[2], texel[1], texel[0]]).collect();
    assert!(Picture::read(&shot).unwrap().rgb == rgb, "{surface}: not what was drawn");
    let frames = vwctl(&renderer, &["frames", "1"]);
    assert!(frames.starts_with("5 frames"), "{frames}");

    drop(program.stdin.take());
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    assert!(program.wait().unwrap().success());
}

/// Frames that nobody waits for replace each other, so that most are not copied; the last one is.
#[test]
fn frames_when_they_replace_each_other_end_with_the_last() {
    const FRAMES: u64 = 2_000;
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    let (drawn, shot) = (renderer.folder().join("drawn"), renderer.folder().join("shot.png"));
    let mut command = renderer.guest().command("timeout");
    command.arg("120").arg(products::program("vw-window").unwrap());
    command.args(["--surface", "headless", "still"]).arg(&drawn);
    command.args(["--mailbox", "--frames", &FRAMES.to_string()]);
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "still");
    let drawn = std::fs::read(drawn).unwrap();
    let rgb: Vec<u8> = drawn.chunks_exact(4).flat_map(|texel| [texel[2], texel[1], texel[0]]).collect();
    let started = Instant::now();
    loop {
        vwctl(&renderer, &["screenshot", "1", shot.to_str().unwrap()]);
        if Picture::read(&shot).unwrap().rgb == rgb {
            break;
        }
        assert!(started.elapsed() < LIMIT, "the last frame is not seen");
    }
    let frames = vwctl(&renderer, &["frames", "1"]);
    let seen: u64 = frames.split_ascii_whitespace().next().unwrap().parse().unwrap();
    assert!((1..FRAMES).contains(&seen), "{frames}");
    drop(program.stdin.take());
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    assert!(program.wait().unwrap().success());
    assert!(!renderer.log().contains("device lost"), "{}", renderer.log());
}

#[test]
fn frame_when_presented_to_no_window_is_seen_on_the_host() {
    compare("headless", |_| {});
}

#[test]
fn frame_when_presented_to_a_window_is_seen_on_the_host() {
    let Some(display) = or_skip(Display::start()) else { return };
    for surface in ["xcb", "xlib"] {
        compare(surface, |command| _ = command.env("DISPLAY", &display.name));
    }
    let Some(compositor) = or_skip(Compositor::start()) else { return };
    compare("wayland", |command| compositor.apply(command));
}

#[test]
fn viewer_when_it_looks_at_a_session_shows_its_frames() {
    let Some(display) = or_skip(Display::start()) else { return };
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    let drawn = renderer.folder().join("drawn");
    let mut command = renderer.guest().command("timeout");
    command.arg("120").arg(products::program("vw-window").unwrap());
    command.args(["--surface", "headless", "still"]).arg(&drawn);
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "still");

    let mut viewer = Command::new("timeout");
    viewer.arg("120").arg(products::viewer().unwrap()).env("DISPLAY", &display.name);
    viewer.env_remove("WAYLAND_DISPLAY").arg("--socket").arg(format!("unix:{}", renderer.socket().display()));
    let mut viewer = viewer.spawn().unwrap();
    let drawn = std::fs::read(drawn).unwrap();
    let rgb = drawn.chunks_exact(4).flat_map(|texel| [texel[2], texel[1], texel[0]]).collect();
    let drawn = Picture { width: 173, height: 121, rgb };
    let shot = renderer.folder().join("screen.png");
    let started = Instant::now();
    loop {
        let mut look = Command::new(products::program("vw-window").unwrap());
        look.env("DISPLAY", &display.name).arg("screenshot").arg(&shot);
        child::run(&mut look, LIMIT).unwrap().expect_success("a look at the screen");
        if Picture::read(&shot).unwrap().find(&drawn).is_some() {
            break;
        }
        assert!(started.elapsed() < LIMIT, "the frame is not on the screen: {}", shot.display());
    }
    // It ends with the session, and well.
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    assert!(viewer.wait().unwrap().success());
}
