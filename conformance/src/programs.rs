//! Programs that others wrote, run natively and through vw: what they print must be equal.

use std::process::Command;
use std::time::Duration;

use crate::child;
use crate::compare::{Explained, assert_same};
use crate::driver::Driver;
use crate::renderer::Renderer;

/// How long such a program may take: the first run compiles its shaders.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a program on a driver and returns what it printed.
///
/// # Panics
/// When it fails or hangs (for tests).
#[track_caller]
pub fn run(driver: &Driver, mut command: Command) -> String {
    driver.apply(&mut command);
    child::run(&mut command, LIMIT)
        .unwrap_or_else(|error| panic!("{error}"))
        .expect_success(&driver.name)
        .to_owned()
}

/// A renderer on `host`.
///
/// # Panics
/// When it does not start (for tests).
#[track_caller]
pub fn renderer(host: &Driver) -> Renderer {
    Renderer::start(host).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs what `program` makes on `host` and through vw on `host`, each with `above` put above the Vulkan driver, and
/// returns what it printed through vw. Lines may differ where `programs.txt` says why.
///
/// # Panics
/// When a line differs or a run did not use vw (for tests).
#[track_caller]
pub fn compare_above(
    host: &Driver,
    above: impl Fn(Driver) -> Driver,
    program: impl Fn() -> Command,
) -> String {
    let native = run(&above(host.clone()), program());
    let renderer = renderer(host);
    let vw = run(&above(renderer.guest()), program());
    let name = format!("{:?}", program());
    assert!(renderer.log().contains("session starts"), "{name} did not use vw");
    assert_same(&name, &native, &vw, &Explained::from_file("programs.txt"));
    vw
}

/// The same with nothing above the driver.
///
/// # Panics
/// As [`compare_above`].
#[track_caller]
pub fn compare(host: &Driver, program: impl Fn() -> Command) -> String {
    compare_above(host, |driver| driver, program)
}
