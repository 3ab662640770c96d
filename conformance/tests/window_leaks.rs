//! Windows that change their size a thousand times, and a hundred swapchains at a time: nothing is left behind, in the
//! program, in its session, in the X server.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vw_conformance::compositor::Compositor;
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{or_skip, procfs, products};

/// What may come and go, in KiB: caches, the allocator's own.
const SLACK: u64 = 16 << 10;

/// What is held after a round.
#[derive(Debug)]
struct Held {
    /// Of the program and of its session.
    descriptors: [usize; 2],
    /// In KiB.
    resident: [u64; 2],
    /// Of the X server, for the program.
    resources: u32,
}

/// Open descriptors of a process once what is on its way is gone: the same number for a while.
fn descriptors_left(process: u32) -> usize {
    let started = Instant::now();
    let (mut left, mut since) = (procfs::descriptors(process), Instant::now());
    while since.elapsed() < Duration::from_millis(250) && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
        let now = procfs::descriptors(process);
        if now != left {
            (left, since) = (now, Instant::now());
        }
    }
    left
}

fn rounds(surface: &str, display: impl FnOnce(&mut Command)) {
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    let mut command = renderer.guest().command(products::program("vw-window").unwrap());
    display(&mut command);
    command.args(["--surface", surface, "leaks"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = command.spawn().unwrap();
    let mut input = program.stdin.take().unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut rounds = Vec::new();
    for line in lines {
        let Some(resources) = line.strip_prefix("resources: ") else { continue };
        let processes = [program.id(), renderer.sessions()[0]];
        rounds.push(Held {
            descriptors: processes.map(descriptors_left),
            resident: processes.map(procfs::resident_kib),
            resources: resources.parse().unwrap(),
        });
        input.write_all(b"\n").unwrap();
    }
    assert!(program.wait().unwrap().success(), "{surface}: {rounds:?}");
    // The first brings everything to where it stays.
    let [_, before, .., after] = rounds.as_slice() else { panic!("{surface}: {rounds:?}") };
    println!("{surface}: {before:?}\n{after:?}");
    assert_eq!(before.resources, after.resources, "{surface}: resources of the X server");
    for (i, who) in ["program", "session"].iter().enumerate() {
        let (few, many) = (before.descriptors[i], after.descriptors[i]);
        // One more or less is on its way.
        assert!(many <= few + 2, "{surface}: descriptors of the {who}: {few}, then {many}");
        let (few, many) = (before.resident[i], after.resident[i]);
        assert!(many <= few + SLACK, "{surface}: memory of the {who}: {few} KiB, then {many}");
    }
}

#[test]
fn windows_of_x_when_resized_and_swapchains_remade_leave_nothing() {
    let Some(display) = or_skip(Display::start()) else { return };
    rounds("xcb", |command| _ = command.env("DISPLAY", &display.name));
    let Some(display) = or_skip(Display::start_with(&["-extension", "Present"])) else { return };
    rounds("xcb", |command| _ = command.env("DISPLAY", &display.name));
}

#[test]
fn windows_of_wayland_when_resized_and_swapchains_remade_leave_nothing() {
    let Some(compositor) = or_skip(Compositor::start()) else { return };
    rounds("wayland", |command| compositor.apply(command));
}
