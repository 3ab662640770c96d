//! A wgpu program, natively and through vw: the same picture, pixel by pixel.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use vw_conformance::compare::{Explained, assert_same};
use vw_conformance::driver::Driver;
use vw_conformance::own::scene;
use vw_conformance::renderer::Renderer;

const ARGUMENTS: &[&str] = &["--frames", "12", "--width", "480", "--height", "270"];

#[test]
fn wgpu_scene_when_rendered_through_vw_is_pixel_identical() {
    for host in [Driver::lavapipe().unwrap(), Driver::newer_lavapipe().unwrap()] {
        let (native, native_picture) = scene(&host, ARGUMENTS);
        let renderer = Renderer::start(&host).unwrap();
        let (vw, vw_picture) = scene(&renderer.guest(), ARGUMENTS);
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first(&vw), first(&native).replace("device: ", "device: vw (") + ")");
        assert_same("the scene", &native, &vw, &Explained::from_file("scene.txt"));
        assert_eq!(native_picture, vw_picture, "pictures differ on {}", host.name);
    }
}
