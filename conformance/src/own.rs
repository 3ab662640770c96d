//! The project's own programs by which each way of having memory in common is judged, for tests.

use std::time::Duration;

use crate::compare::{Explained, assert_same};
use crate::driver::Driver;
use crate::{child, products, scratch_folder};

/// How long either may take on any driver.
const LIMIT: Duration = Duration::from_secs(240);

/// Arguments of the differential suite by which it leaves out what needs descriptors that pass, or pages of both sides.
pub const NOTHING_PASSES: &[&str] = &["--skip", "external.", "--skip", "sparse."];

/// What the differential suite prints.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn suite(driver: &Driver, arguments: &[&str]) -> String {
    run(driver, "vw-differential", arguments)
}

/// What the scene of wgpu prints, and its last picture as PNG.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn scene(driver: &Driver, arguments: &[&str]) -> (String, Vec<u8>) {
    let folder = scratch_folder("scene").expect("a folder");
    let picture = folder.join("scene.png");
    let output = ["--output", picture.to_str().expect("a path of words")];
    let text = run(driver, "vw-wgpu-scene", &[arguments, &output].concat());
    let bytes = std::fs::read(&picture).expect("the picture");
    std::fs::remove_dir_all(folder).expect("the folder is this run's");
    (text, bytes)
}

/// The scene is the same on both, pixel by pixel.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn assert_same_scene(native: &Driver, vw: &Driver) {
    let arguments = ["--frames", "6", "--width", "320", "--height", "180"];
    let (expected, picture) = scene(native, &arguments);
    let (text, drawn) = scene(vw, &arguments);
    assert_same("the scene", &expected, &text, &Explained::from_file("scene.txt"));
    assert!(picture == drawn, "the pictures differ");
}

#[track_caller]
fn run(driver: &Driver, program: &str, arguments: &[&str]) -> String {
    let mut command = driver.command(products::program(program).expect("a product"));
    let output = child::run(command.args(arguments), LIMIT).expect(program);
    output.expect_success(&format!("{program} on {}", driver.name)).to_owned()
}
