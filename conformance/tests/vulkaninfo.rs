//! `vulkaninfo` prints through vw what it prints natively, but for an explained list of lines.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;
use vw_conformance::compare::{Explained, assert_same};
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, scratch_folder};

const LIMIT: Duration = Duration::from_secs(60);

fn vulkaninfo(driver: &Driver, arguments: &[&str]) -> String {
    let folder = scratch_folder("vulkaninfo").unwrap();
    let mut command = driver.command("vulkaninfo");
    // Without a display it looks for none.
    command.args(arguments).current_dir(&folder).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    let output = child::run(&mut command, LIMIT)
        .unwrap_or_else(|error| panic!("vulkaninfo (package vulkan-tools, `cargo xtask setup`): {error}"));
    output.expect_success("vulkaninfo");
    // Some versions write JSON to a file, some to standard output.
    let file = std::fs::read_dir(&folder).unwrap().filter_map(Result::ok).map(|entry| entry.path()).next();
    let text = file.map_or(output.stdout, |path| std::fs::read_to_string(path).unwrap());
    std::fs::remove_dir_all(folder).unwrap();
    text
}

/// With single spaces: columns are as wide as their longest name, in either text.
fn squeeze(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// A JSON document as lines of `path = value`.
fn flatten(text: &str) -> String {
    fn walk(path: &str, value: &Value, lines: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| walk(&format!("{path}/{name}"), value, lines));
            }
            Value::Array(elements) => {
                elements.iter().enumerate().for_each(|(i, value)| walk(&format!("{path}/{i}"), value, lines));
            }
            value => lines.push(format!("{path} = {value}")),
        }
    }
    let start = text.find('{').unwrap_or(0);
    let document: Value =
        serde_json::from_str(&text[start..]).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let mut lines = Vec::new();
    walk("", &document, &mut lines);
    lines.join("\n")
}

fn hosts() -> [Driver; 2] {
    [Driver::lavapipe().unwrap(), Driver::newer_lavapipe().unwrap()]
}

#[test]
fn vulkaninfo_when_run_through_vw_prints_what_it_prints_natively() {
    for host in hosts() {
        let renderer = Renderer::start(&host).unwrap();
        let (native, vw) = (squeeze(&vulkaninfo(&host, &[])), squeeze(&vulkaninfo(&renderer.guest(), &[])));
        assert!(native.lines().count() > 1000, "{native}");
        let what = format!("vulkaninfo on {}", host.name);
        assert_same(&what, &native, &vw, &Explained::from_file("vulkaninfo.txt"));
    }
}

#[test]
fn vulkaninfo_when_asked_for_json_through_vw_writes_what_it_writes_natively() {
    for host in hosts() {
        let renderer = Renderer::start(&host).unwrap();
        let json = ["--json=0"];
        let (native, vw) =
            (flatten(&vulkaninfo(&host, &json)), flatten(&vulkaninfo(&renderer.guest(), &json)));
        assert!(native.lines().count() > 500, "{native}");
        let what = format!("vulkaninfo --json on {}", host.name);
        assert_same(&what, &native, &vw, &Explained::from_file("vulkaninfo-json.txt"));
    }
}
