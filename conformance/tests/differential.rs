//! The differential suite: what Vulkan answers natively it answers through vw.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use vw_conformance::compare::{Explained, assert_same_suite};
use vw_conformance::driver::Driver;
use vw_conformance::own::{NOTHING_PASSES, suite};
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, products, scratch_folder};

/// How long the suite may take on any driver.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the suite; what it printed, and the folder with its images.
fn run(driver: &Driver, label: &str) -> (String, PathBuf) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("differential-{label}"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = driver.command(products::program("vw-differential").unwrap());
    let output = child::run(command.arg("--dump").arg(&folder), LIMIT).unwrap();
    println!("{label}: images in {}, {:.1} s", folder.display(), output.elapsed.as_secs_f64());
    (output.expect_success(label).to_owned(), folder)
}

fn compare(host: &Driver, label: &str, arguments: &[&str]) {
    compare_tuned(host, label, arguments, "");
}

/// `perf` is `VW_PERF` of both sides.
fn compare_tuned(host: &Driver, label: &str, arguments: &[&str], perf: &str) {
    let (native, _) = run(host, &format!("{label}-native"));
    let renderer = Renderer::start_with(&host.clone().with("VW_PERF", perf), arguments).unwrap();
    let (vw, _) = run(&renderer.guest().with("VW_PERF", perf), &format!("{label}-vw"));
    assert_same_suite(&native, &vw, Explained::nothing());
    // Twice the same program on the same renderer: nothing of the first is left.
    let mut again = renderer.guest().command(products::program("vw-differential").unwrap());
    let again = child::run(again.args(["--only", "memory", "--only", "synchronisation"]), LIMIT).unwrap();
    for line in
        again.expect_success("the second run").lines().filter(|line| !line.starts_with("cases failed"))
    {
        assert!(vw.lines().any(|before| before == line), "in the second run alone: {line}");
    }
}

#[test]
fn differential_suite_when_run_through_vw_answers_as_natively() {
    compare(&Driver::lavapipe().unwrap(), "lavapipe", &[]);
}

#[test]
fn differential_suite_when_the_host_has_vulkan_1_4_answers_as_natively() {
    compare(&Driver::newer_lavapipe().unwrap(), "newer", &[]);
}

/// Nothing of what driver and renderer do for speed changes an answer.
#[test]
fn differential_suite_when_every_optimisation_is_off_answers_as_natively() {
    compare_tuned(&Driver::lavapipe().unwrap(), "plain", &[], "none");
}

/// Guest and host have no page in common: everything goes over the socket, and what the program has written is found by what the
/// kernel tells, and by comparison.
#[test]
fn differential_suite_when_no_memory_is_shared_answers_as_natively() {
    let host = Driver::lavapipe().unwrap();
    let native = suite(&host, NOTHING_PASSES);
    let renderer = Renderer::start(&host).unwrap();
    for memory in ["stream", "stream-compared"] {
        let vw = suite(&renderer.guest().with("VW_MEMORY", memory), NOTHING_PASSES);
        assert_same_suite(&native, &vw, Explained::from_file("stream.txt"));
    }
    let log = renderer.log();
    assert!(log.contains("what went over the stream") && !log.contains("memory=passed"), "{log}");
}

/// Everything on the way is too small for what travels: records come in parts, answers are fetched piece by piece,
/// writers wait for room.
#[test]
fn differential_suite_when_ring_and_arena_are_tiny_answers_as_natively() {
    let folder = scratch_folder("tiny").unwrap();
    let config = folder.join("vw.toml");
    let limits = "[limits]\nring = \"64 KiB\"\nreply = \"4 KiB\"\narena = \"64 KiB\"\n";
    std::fs::write(&config, limits).unwrap();
    compare(&Driver::lavapipe().unwrap(), "tiny", &["--config", config.to_str().unwrap()]);
    std::fs::remove_dir_all(folder).unwrap();
}

/// The heap that the program sees is the region's share; beyond it allocation fails, and within it does not.
#[test]
fn memory_when_the_session_has_little_is_refused_beyond_it_and_given_within() {
    let folder = scratch_folder("little").unwrap();
    let config = folder.join("vw.toml");
    std::fs::write(&config, "[limits]\nwindow = \"32 MiB\"\n").unwrap();
    let arguments = ["--config", config.to_str().unwrap()];
    let renderer = Renderer::start_with(&Driver::lavapipe().unwrap(), &arguments).unwrap();
    let mut command = renderer.guest().command(products::program("vw-load").unwrap());
    let output = child::run(command.args(["fill-memory"]), LIMIT).unwrap();
    let text = output.expect_success("vw-load").to_owned();
    let number = |name: &str| -> u64 {
        text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.parse().ok()).expect(name)
    };
    assert_eq!(number("heap: "), 32 << 20, "{text}");
    for round in ["first: ", "second: "] {
        let given = number(round);
        assert!((30 << 20..=32 << 20).contains(&given), "{text}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// An allocation that cannot be is refused at once, whatever the host's driver promises.
#[test]
fn allocation_when_larger_than_all_memory_is_refused() {
    for host in [Driver::lavapipe().unwrap(), Driver::newer_lavapipe().unwrap()] {
        let renderer = Renderer::start(&host).unwrap();
        let mut command = renderer.guest().command(products::program("vw-differential").unwrap());
        let output = child::run(command.args(["--only", "memory.too_much"]), LIMIT).unwrap();
        let text = output.expect_success("the allocation");
        for line in ["a petabyte: ", "a petabyte more: "] {
            assert!(text.contains(&format!("{line}Err(ERROR_OUT_OF_DEVICE_MEMORY)")), "{text}");
        }
    }
}
