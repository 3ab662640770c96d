//! The Khronos validation layer, under the program and under the renderer: it reports nothing that it does not
//! report natively.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use vw_conformance::compare::Explained;
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, products};

const LIMIT: Duration = Duration::from_secs(300);
const LAYER: &str = "VK_LAYER_KHRONOS_validation";
/// The layer of Debian 12 reads a pointer here that the specification says is ignored, and crashes.
const SKIPPED: [&str; 2] = ["--skip", "recording.inheritance"];

/// Makes the layer part of every instance.
fn validated(driver: Driver) -> Driver {
    let manifests = ["/usr/share/vulkan/explicit_layer.d", "/etc/vulkan/explicit_layer.d"];
    let file = "VkLayer_khronos_validation.json";
    assert!(
        manifests.iter().any(|folder| Path::new(folder).join(file).is_file()),
        "the Khronos validation layer is not installed: package vulkan-validationlayers (`cargo xtask setup`)"
    );
    driver.with("VK_INSTANCE_LAYERS", LAYER)
}

/// The message identifiers in a text, with the first message of each.
fn messages(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        for word in words.filter(|word| word.starts_with("VUID-") || word.starts_with("UNASSIGNED-")) {
            found.entry(word.to_owned()).or_insert_with(|| line.to_owned());
        }
    }
    found
}

fn run(driver: &Driver, program: &str, arguments: &[&str]) -> String {
    let mut command = driver.command(products::program(program).unwrap());
    let output = child::run(command.args(arguments), LIMIT).unwrap();
    output.expect_success(program);
    output.stdout + &output.stderr
}

#[track_caller]
fn assert_no_more(what: &str, native: &str, vw: &str) {
    let native = messages(native);
    let explained = Explained::from_file("validation.txt");
    let new = |id: &str| !native.contains_key(id) && !explained.allows(id);
    let more: Vec<_> = messages(vw).into_iter().filter(|(id, _)| new(id)).collect();
    let text: String = more.iter().map(|(_, line)| format!("{line}\n")).collect();
    assert!(more.is_empty(), "{what}: reported through vw and not natively:\n{text}");
}

fn compare(program: &str, arguments: &[&str]) {
    let host = Driver::lavapipe().unwrap();
    let native = run(&validated(host.clone()), program, arguments);
    // Under the program.
    let renderer = Renderer::start(&host).unwrap();
    let vw = run(&validated(renderer.guest()), program, arguments);
    assert_no_more(&format!("{program}, layer under the program"), &native, &vw);
    drop(renderer);
    // Under the renderer.
    let renderer = Renderer::start(&validated(host)).unwrap();
    run(&renderer.guest(), program, arguments);
    assert_no_more(&format!("{program}, layer under the renderer"), &native, &renderer.log());
}

#[test]
fn validation_layer_when_the_differential_suite_runs_reports_nothing_new() {
    compare("vw-differential", &SKIPPED);
}

#[test]
fn validation_layer_when_the_scene_runs_reports_nothing_new() {
    compare("vw-wgpu-scene", &["--frames", "3", "--width", "160", "--height", "90"]);
}

/// That the layer works at all: what is wrong is reported, on both sides.
#[test]
fn validation_layer_when_a_program_is_wrong_reports_it() {
    const EXPECTED: &str = "VUID-VkBufferCreateInfo-usage-requiredbitmask";
    let host = Driver::lavapipe().unwrap();
    let renderer = Renderer::start(&host).unwrap();
    let text = run(&validated(renderer.guest()), "vw-load", &["misuse"]);
    assert!(messages(&text).contains_key(EXPECTED), "under the program:\n{text}");
    let renderer = Renderer::start(&validated(host)).unwrap();
    run(&renderer.guest(), "vw-load", &["misuse"]);
    let log = renderer.log();
    assert!(messages(&log).contains_key(EXPECTED), "under the renderer:\n{log}");
}
