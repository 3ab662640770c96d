//! The differential suite: what Vulkan answers natively it answers through vw.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use vw_conformance::compare::{Explained, assert_same};
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, products};

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

fn compare(host: &Driver, label: &str, change: impl Fn(Driver) -> Driver) {
    let (native, _) = run(host, &format!("{label}-native"));
    let renderer = Renderer::start(host).unwrap();
    let (vw, _) = run(&change(renderer.guest()), &format!("{label}-vw"));
    assert_same("the differential suite", &native, &vw, &Explained::from_file("differential.txt"));
    // Twice the same program on the same renderer: nothing of the first is left.
    let mut again = change(renderer.guest()).command(products::program("vw-differential").unwrap());
    let again = child::run(again.args(["--only", "memory", "--only", "synchronisation"]), LIMIT).unwrap();
    for line in
        again.expect_success("the second run").lines().filter(|line| !line.starts_with("cases failed"))
    {
        assert!(vw.lines().any(|before| before == line), "in the second run alone: {line}");
    }
}

#[test]
fn differential_suite_when_run_through_vw_answers_as_natively() {
    compare(&Driver::lavapipe().unwrap(), "lavapipe", |driver| driver);
}

#[test]
fn differential_suite_when_the_host_has_vulkan_1_4_answers_as_natively() {
    compare(&Driver::newer_lavapipe().unwrap(), "newer", |driver| driver);
}

/// An allocation that cannot be is refused at once, whatever the host's driver promises.
#[test]
fn allocation_when_larger_than_all_memory_is_refused() {
    for host in [Driver::lavapipe().unwrap(), Driver::newer_lavapipe().unwrap()] {
        let renderer = Renderer::start(&host).unwrap();
        let mut command = renderer.guest().command(products::program("vw-differential").unwrap());
        let output = child::run(command.args(["--only", "memory.too_much"]), LIMIT).unwrap();
        let text = output.expect_success("the allocation");
        assert!(text.contains("a petabyte: Err(ERROR_OUT_OF_DEVICE_MEMORY)"), "{text}");
    }
}
