//! Programs on WebGPU, unmodified: the same pictures and numbers natively and through vw.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use vw_conformance::driver::Driver;
use vw_conformance::{or_skip, products, programs};

fn wgpu(program: &str, script: &str) -> Option<String> {
    let python = or_skip(products::python("wgpu"))?;
    or_skip(products::installed(program))?;
    Some(programs::compare(&Driver::lavapipe().unwrap(), || {
        let mut command = Command::new(&python);
        command.arg(products::script(script)).env("WGPU_BACKEND_TYPE", "Vulkan");
        command
    }))
}

#[test]
fn python_wgpu_when_run_through_vw_gives_the_same_results() {
    let Some(text) = wgpu("wgpu", "wgpu_examples.py") else { return };
    assert!(text.contains("backend: Vulkan") && text.contains("picture: True"), "{text}");
}

/// A renderer of scenes on wgpu.
#[test]
fn pygfx_scenes_when_drawn_through_vw_are_pixel_identical() {
    let Some(text) = wgpu("pygfx", "pygfx_scenes.py") else { return };
    assert_eq!(text.matches("colours True").count(), 4, "{text}");
}

/// npm's `webgpu`. It needs features that only the newer lavapipe has.
#[test]
fn dawn_when_run_through_vw_gives_the_same_results() {
    let Some((node, folder)) = or_skip(products::node()) else { return };
    if or_skip(products::installed("mesa")).is_none() {
        return;
    }
    for memory in ["auto", "stream"] {
        let host = Driver::newer_lavapipe().unwrap();
        let above = |driver: Driver| driver.with("VW_MEMORY", memory);
        let text = programs::compare_above(&host, above, || {
            let mut command = Command::new(&node);
            command.arg(products::script("dawn.mjs")).current_dir(&folder);
            command
        });
        assert!(text.contains("reduce: right true") && text.contains("seen true, nothing true"), "{text}");
    }
}
