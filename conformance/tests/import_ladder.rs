//! How the driver gets memory that guests see: each rung by itself, where it can be had.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use vw_conformance::compare::{Explained, assert_same_suite};
use vw_conformance::driver::Driver;
use vw_conformance::own::{assert_same_scene, suite};
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, products, scratch_folder};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(240);

/// Has the host copy between what guests see and what its driver has.
const COPY: &[&str] = &["--import", "copy"];

#[test]
fn differential_suite_when_memory_is_copied_answers_as_natively() {
    // Pages in common with the host, in a device, or none there either.
    for (host, memory) in [
        (Driver::lavapipe().unwrap(), "passed"),
        (Driver::lavapipe().unwrap(), "stream"),
        (Driver::newer_lavapipe().unwrap(), "attached"),
    ] {
        let renderer = Renderer::start_with(&host, COPY).unwrap();
        let guest = match memory {
            "attached" => renderer.guest().attached(&renderer.region("vm", 1 << 30).unwrap().path),
            _ => renderer.guest().with("VW_MEMORY", memory),
        };
        // What is imported as it is, by descriptor or by address, is not offered.
        let suite = |driver: &Driver| suite(driver, &["--skip", "external."]);
        assert_same_suite(&suite(&host), &suite(&guest), Explained::from_file("copy.txt"));
        let log = renderer.log();
        assert!(log.contains("import=\"copy\"") && log.contains(&format!("{memory} ")), "{log}");
    }
}

#[test]
fn frame_when_memory_is_copied_is_pixel_identical() {
    let host = Driver::lavapipe().unwrap();
    let renderer = Renderer::start_with(&host, COPY).unwrap();
    assert_same_scene(&host, &renderer.guest());
}

/// What the host's doctor says with such a configuration.
fn doctor(host: &Driver, import: &str) -> (bool, String) {
    let folder = scratch_folder("import").unwrap();
    let config = folder.join("vw.toml");
    let text = format!("listen = \"unix:{}\"\nimport = \"{import}\"\n", folder.join("vw.sock").display());
    std::fs::write(&config, text).unwrap();
    let mut command: Command = host.command(products::control().unwrap());
    command.arg("doctor").arg("--config").arg(&config);
    let output = child::run(&mut command, LIMIT).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    (output.status.success(), output.stdout)
}

/// The one that is chosen is named, and where it cannot be, so is the reason: to the host's operator and to the guest.
#[test]
fn rung_when_chosen_is_taken_or_refused_with_the_reason() {
    let host = Driver::lavapipe().unwrap();
    let (_, text) = doctor(&host, "auto");
    assert!(text.contains("imported by host pointer"), "{text}");
    let (_, text) = doctor(&host, "copy");
    assert!(text.contains("copied between their pages and the GPU's memory"), "{text}");
    // This Mesa does not import dma-bufs, whatever the kernel has.
    let reason = "import = \"udmabuf\" is chosen, but the driver of llvmpipe";
    let (well, text) = doctor(&host, "udmabuf");
    assert!(
        !well && text.contains(reason) && text.contains("lacks VK_EXT_external_memory_dma_buf"),
        "{text}"
    );
    let renderer = Renderer::start_with(&host, &["--import", "udmabuf"]).unwrap();
    let mut command = renderer.guest().command("vulkaninfo");
    let output = child::run(command.arg("--summary"), LIMIT).unwrap();
    assert!(output.stderr.contains(reason), "{}", output.stderr);
    assert!(renderer.log().contains(reason), "{}", renderer.log());
}
