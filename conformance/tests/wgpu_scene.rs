//! A wgpu program, natively and through vw: the same picture, pixel by pixel.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use vw_conformance::compare::{Explained, assert_same};
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, products};

const LIMIT: Duration = Duration::from_secs(120);

fn run(driver: &Driver, label: &str) -> (String, Vec<u8>) {
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("scene-{label}.png"));
    let mut command = driver.command(products::program("vw-wgpu-scene").unwrap());
    command.args(["--frames", "12", "--width", "480", "--height", "270", "--output"]).arg(&picture);
    let output = child::run(&mut command, LIMIT).unwrap();
    (output.expect_success(label).to_owned(), std::fs::read(picture).unwrap())
}

#[test]
fn wgpu_scene_when_rendered_through_vw_is_pixel_identical() {
    for host in [Driver::lavapipe().unwrap(), Driver::newer_lavapipe().unwrap()] {
        let label = host.name.replace(' ', "-");
        let (native, native_picture) = run(&host, &format!("{label}-native"));
        let renderer = Renderer::start(&host).unwrap();
        let (vw, vw_picture) = run(&renderer.guest(), &format!("{label}-vw"));
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first(&vw), first(&native).replace("device: ", "device: vw (") + ")");
        assert_same("the scene", &native, &vw, &Explained::from_file("scene.txt"));
        assert_eq!(native_picture, vw_picture, "pictures differ on {}", host.name);
    }
}
