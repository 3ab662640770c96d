//! Programs captured by gfxreconstruct on the native driver and replayed natively and through vw.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use vw_conformance::capture::{self, Fill};
use vw_conformance::driver::Driver;
use vw_conformance::{or_skip, products, programs, scratch_folder};

/// Makes a command run under the capture layer.
fn captured(mut command: Command, file: &Path, tracking: &str) -> Command {
    command
        .env("GFXRECON_CAPTURE_FILE", file)
        .env("GFXRECON_CAPTURE_FILE_TIMESTAMP", "false")
        .env("GFXRECON_MEMORY_TRACKING_MODE", tracking);
    command
}

fn run(driver: &Driver, command: Command) -> String {
    programs::run(&driver.clone().with("VK_INSTANCE_LAYERS", "VK_LAYER_LUNARG_gfxreconstruct"), command)
}

/// Replays a capture and returns what it left in mapped memory at each submission, by capturing the replay.
fn replay(driver: &Driver, file: &Path, folder: &Path) -> Vec<Fill> {
    let result = folder.join("replayed.gfxr");
    let mut command = Command::new("gfxrecon-replay");
    // Each submission is waited for: what memory holds during one is nobody's business. Window systems, which a
    // program may have enabled without using them, are dropped where they are not offered.
    command.args(["--sync", "--remove-unsupported"]).arg(file);
    run(driver, captured(command, &result, "unassisted"));
    let mut fills = capture::fills(&result).unwrap();
    // At one submission, in no order; those of one memory stay in theirs.
    fills.sort_by_key(|fill| fill.memory);
    std::fs::remove_file(result).unwrap();
    fills
}

fn compare(name: &str, program: impl Fn(PathBuf) -> Command) {
    if or_skip(products::installed("gfxreconstruct")).is_none() {
        return;
    }
    let Some(python) = or_skip(products::python(name)) else { return };
    let folder = scratch_folder("capture").unwrap();
    let host = Driver::lavapipe().unwrap();
    let renderer = programs::renderer(&host);
    // Captured natively, and through vw.
    for (label, driver) in [("native", &host), ("vw", &renderer.guest())] {
        let file = folder.join(format!("{label}.gfxr"));
        run(driver, captured(program(python.clone()), &file, "page_guard"));
        let native = replay(&host, &file, &folder);
        assert!(native.len() > 3, "{name}: nothing to compare: {native:?}");
        assert_eq!(native, replay(&renderer.guest(), &file, &folder), "{name}, captured on {label}");
    }
    assert!(renderer.log().contains("session starts"), "nothing ran through vw");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn wgpu_capture_when_replayed_through_vw_leaves_the_same_memory() {
    compare("wgpu", |python| {
        let mut command = Command::new(python);
        command.arg(products::script("wgpu_examples.py")).env("WGPU_BACKEND_TYPE", "Vulkan");
        command
    });
}

#[test]
fn taichi_capture_when_replayed_through_vw_leaves_the_same_memory() {
    compare("taichi", |python| {
        let mut command = Command::new(python);
        command.arg(products::script("taichi_kernels.py"));
        command
    });
}
