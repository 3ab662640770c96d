//! Programs that others wrote, unmodified: the same answers natively and through vw.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use vw_conformance::child;
use vw_conformance::compare::{Explained, assert_same};
use vw_conformance::driver::Driver;
use vw_conformance::products;
use vw_conformance::renderer::Renderer;

/// The first run compiles the network's shaders.
const LIMIT: Duration = Duration::from_secs(300);

fn compare(script: &str, explained: &str, environment: &[(&str, &str)]) -> String {
    let python = products::python().unwrap();
    let script = products::workspace().join("conformance/programs").join(script);
    let run = |driver: &Driver| {
        let mut command = driver.command(&python);
        command.arg(&script).envs(environment.iter().copied());
        let output = child::run(&mut command, LIMIT).unwrap();
        output.expect_success(&driver.name).to_owned()
    };
    let host = Driver::lavapipe().unwrap();
    let native = run(&host);
    let renderer = Renderer::start(&host).unwrap();
    let vw = run(&renderer.guest());
    assert!(vw.lines().any(|line| line.starts_with("device: vw (")), "{vw}");
    assert_same(&script.display().to_string(), &native, &vw, &Explained::from_file(explained));
    vw
}

/// A convolutional network of SqueezeNet's shape.
#[test]
fn ncnn_network_when_run_through_vw_gives_the_same_numbers() {
    let text = compare("ncnn_network.py", "programs.txt", &[]);
    assert_eq!(text.matches("as on the CPU True").count(), 2, "{text}");
}

#[test]
fn python_wgpu_when_run_through_vw_gives_the_same_results() {
    let text = compare("wgpu_examples.py", "programs.txt", &[("WGPU_BACKEND_TYPE", "Vulkan")]);
    assert!(text.contains("backend: Vulkan") && text.contains("picture: True"), "{text}");
}
