//! Programs whose memory in common with the host is a device, as in a virtual machine. The device is the daemon's own file; on both
//! sides futexes are the process's own, so that nothing but frames on the socket wakes the other side.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::{Duration, Instant};

use vw_conformance::compare::{Explained, assert_same_suite};
use vw_conformance::driver::Driver;
use vw_conformance::own::{NOTHING_PASSES, assert_same_scene, suite};
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, products, scratch_folder};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(240);

/// Bytes of a region: small enough that a program gets a part of what it asks for.
const SIZE: u64 = 1 << 30;

#[test]
fn differential_suite_when_memory_is_a_device_answers_as_natively() {
    let host = Driver::lavapipe().unwrap();
    let renderer = Renderer::start(&host).unwrap();
    let before = renderer.region("vm", SIZE).unwrap();
    let vw = suite(&renderer.guest().attached(&before.path), NOTHING_PASSES);
    assert_same_suite(&suite(&host, NOTHING_PASSES), &vw, Explained::from_file("attached.txt"));
    assert!(renderer.log().contains("memory=attached"), "{}", renderer.log());
    wait_until(&renderer, "nothing is left", || {
        let after = renderer.region("vm", SIZE).unwrap();
        (after.sessions, after.resident) == (0, before.resident)
    });
}

#[test]
fn frame_when_memory_is_a_device_is_pixel_identical() {
    let host = Driver::lavapipe().unwrap();
    let renderer = Renderer::start(&host).unwrap();
    let region = renderer.region("vm", SIZE).unwrap();
    assert_same_scene(&host, &renderer.guest().attached(&region.path));
}

/// Two guests, each with a region and a door of its own. One is killed while it draws: the other does not notice, and everything of
/// the first is freed.
#[test]
fn guest_when_killed_in_the_middle_of_its_work_leaves_nothing_and_the_other_goes_on() {
    let folder = scratch_folder("doors").unwrap();
    let door = folder.join("second.sock");
    let listen = format!("unix:{}", door.display());
    let renderer = Renderer::start_with(&Driver::lavapipe().unwrap(), &["--listen", &listen]).unwrap();
    let first = renderer.region("first", SIZE).unwrap();
    let second = renderer.region("second", SIZE).unwrap();
    let start = |driver: Driver, seconds: &str| {
        let mut command = driver.command(products::program("vw-load").unwrap());
        child::start(command.args(["work", "--threads", "4", "--seconds", seconds])).unwrap()
    };
    let survivor = start(Driver::vw(&door, &folder).unwrap().attached(&second.path), "6");
    let mut victim = start(renderer.guest().attached(&first.path), "600");
    let resident = |name| renderer.region(name, SIZE).unwrap().resident;
    wait_until(&renderer, "the guests work", || resident("first") > 4 << 20 && resident("second") > 4 << 20);
    thread::sleep(Duration::from_millis(200));
    victim.kill();
    let killed = Instant::now();
    wait_until(&renderer, "everything is freed", || {
        let left = renderer.region("first", SIZE).unwrap();
        (left.sessions, left.resident) == (0, first.resident)
    });
    println!("freed after {:?}", killed.elapsed());
    survivor.wait(LIMIT).unwrap().expect_success("the other guest");
    wait_until(&renderer, "nothing is left", || renderer.sessions().is_empty());
    std::fs::remove_dir_all(folder).unwrap();
}

fn wait_until(renderer: &Renderer, what: &str, ready: impl Fn() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < LIMIT, "{what}: not so\n{}", renderer.log());
        thread::sleep(Duration::from_millis(5));
    }
}
