//! Many programs, many threads, for a while: no error, no growth, nothing left behind.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use std::{env, thread};

use vw_conformance::child::{self, Running};
use vw_conformance::compare::{Explained, assert_same, assert_same_suite};
use vw_conformance::driver::{Driver, in_stream};
use vw_conformance::own::NOTHING_PASSES;
use vw_conformance::renderer::Renderer;
use vw_conformance::{procfs, products};

/// Seconds of load; a minute and more with this variable.
const SOAK: &str = "VW_SOAK_SECONDS";

fn seconds() -> u64 {
    env::var(SOAK).ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

fn start(driver: &Driver, program: &str, arguments: &[&str]) -> Running {
    child::start(driver.command(products::program(program).unwrap()).args(arguments)).unwrap()
}

#[test]
fn four_programs_when_run_at_once_answer_as_natively() {
    let scene = ["--frames", "8", "--width", "320", "--height", "180"];
    let suite = if in_stream() { NOTHING_PASSES } else { &[] };
    let programs: [(&str, &[&str]); 4] = [
        ("vw-wgpu-scene", &scene),
        ("vw-differential", suite),
        ("vw-wgpu-scene", &scene),
        ("vw-differential", suite),
    ];
    let limit = Duration::from_secs(240);
    let host = Driver::lavapipe().unwrap();
    let renderer = Renderer::start(&host).unwrap();
    let running: Vec<_> =
        programs.iter().map(|(name, arguments)| start(&renderer.guest(), name, arguments)).collect();
    for (vw, (name, arguments)) in running.into_iter().zip(programs) {
        let vw = vw.wait(limit).unwrap();
        let native = start(&host, name, arguments).wait(limit).unwrap();
        let (native, vw) = (native.expect_success(name), vw.expect_success(name));
        if name == "vw-differential" {
            assert_same_suite(native, vw, Explained::of_this_run());
        } else {
            assert_same(name, native, vw, &Explained::from_file("scene.txt"));
        }
    }
    assert_nothing_left(&renderer);
}

/// Eight threads create, record, submit, wait, check and destroy.
#[test]
fn eight_threads_when_they_work_for_a_while_keep_memory_stable() {
    let seconds = seconds();
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let mut program =
        start(&renderer.guest(), "vw-load", &["work", "--threads", "8", "--seconds", &seconds.to_string()]);
    let started = Instant::now();
    let mut samples = Vec::new();
    while program.is_running() {
        thread::sleep(Duration::from_millis(250));
        if let Some(session) = renderer.sessions().first().copied() {
            let now = [
                procfs::resident_kib(session),
                procfs::resident_kib(program.pid()),
                procfs::descriptors(session) as u64,
            ];
            samples.push((started.elapsed(), now));
        }
        assert!(started.elapsed() < Duration::from_secs(seconds + 60), "the program does not end");
    }
    let output = program.wait(Duration::from_secs(seconds + 120)).unwrap();
    let text = output.expect_success("vw-load");
    let rounds = text
        .lines()
        .find_map(|line| line.strip_prefix("rounds: "))
        .and_then(|rounds| rounds.parse::<u64>().ok());
    println!("{text}");
    assert!(rounds.is_some_and(|rounds| rounds > 100), "{text}");
    // The last samples may be of processes that end.
    let running = Duration::from_secs(seconds.saturating_sub(1));
    let at = |share: f64| {
        let wanted = running.mul_f64(share);
        samples.iter().rev().find(|(when, _)| *when <= wanted).map(|(_, sample)| *sample).expect("samples")
    };
    let (early, late) = (at(0.4), at(1.0));
    println!("after 40 %: {early:?} (session KiB, program KiB, session descriptors); at the end: {late:?}");
    for (what, early, late) in [("session", early[0], late[0]), ("program", early[1], late[1])] {
        assert!(
            late < early + early / 20 + 8192,
            "resident memory of the {what} grew from {early} to {late} KiB"
        );
    }
    assert!(late[2] <= early[2] + 2, "descriptors of the session grew from {} to {}", early[2], late[2]);
    assert_nothing_left(&renderer);
}

/// Programs that come and go, half of them killed at some moment: the daemon keeps nothing of them.
#[test]
fn daemon_when_programs_are_killed_at_random_keeps_nothing() {
    const PROGRAMS: u64 = 120;
    // Processes that wait for a guest have descriptors, and come and go with time.
    let renderer = Renderer::start_with(&Driver::lavapipe().unwrap(), &["--warm", "0"]).unwrap();
    let mut before = None;
    for round in 0..PROGRAMS {
        let mut running: Vec<_> = (0..2)
            .map(|_| start(&renderer.guest(), "vw-load", &["work", "--threads", "2", "--seconds", "1"]))
            .collect();
        // Before it connects, while it does, while it works.
        thread::sleep(Duration::from_millis(round * 37 % 180));
        for program in &mut running {
            program.kill();
        }
        drop(running);
        if round == 20 {
            assert_nothing_left(&renderer);
            before = Some((procfs::descriptors(renderer.pid()), procfs::resident_kib(renderer.pid())));
        }
    }
    assert_nothing_left(&renderer);
    let (descriptors, resident) = before.expect("more than twenty rounds");
    let now = (procfs::descriptors(renderer.pid()), procfs::resident_kib(renderer.pid()));
    assert!(now.0 <= descriptors + 1, "descriptors of the daemon grew from {descriptors} to {}", now.0);
    assert!(now.1 <= resident + 4096, "resident memory of the daemon grew from {resident} to {} KiB", now.1);
    // And it still works.
    start(&renderer.guest(), "vw-differential", &["--only", "compute"])
        .wait(Duration::from_secs(60))
        .unwrap()
        .expect_success("the last program");
}

/// Fails unless all sessions end soon: a second, and what a machine with too much to do adds.
#[track_caller]
fn assert_nothing_left(renderer: &Renderer) {
    let asked = Instant::now();
    let mut sessions: BTreeSet<u32> = renderer.sessions().into_iter().collect();
    while !sessions.is_empty() && asked.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(10));
        sessions = renderer.sessions().into_iter().collect();
    }
    assert!(sessions.is_empty(), "sessions left: {sessions:?}");
}
