//! Which commands are executed by a test: all that the driver has.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vw_conformance::compositor::Compositor;
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, coverage, products};

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(240);

/// Commands that the null device does not see when they are called by their tables alone, and why.
const NOT_SENT: &[(&str, &str)] = &[(
    "vkDestroyPipelineBinaryKHR",
    "what it destroys is created inside a structure: null is nothing to destroy",
)];

/// Commands that no test executes, and why.
const NEVER: &[(&str, &str)] =
    &[("vkGetMemoryFdPropertiesKHR", "opaque descriptors are not asked about, and others are not offered")];

/// A new folder for notes.
fn folder(label: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("coverage").join(label);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The differential suite executes what lavapipe offers, and another program what vw shares; the rest is carried to the null device, whose log says what
/// arrived.
#[test]
fn every_command_when_the_suites_have_run_was_executed() {
    let notes = folder("lavapipe");
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    let driver = renderer.guest().counted(&notes).unwrap();
    let mut command = driver.command(products::program("vw-differential").unwrap());
    child::run(&mut command, LIMIT).unwrap().expect_success("the differential suite");
    // Windows of an X server.
    let display = Display::start().unwrap();
    for surface in ["xcb", "xlib"] {
        let mut command = driver.command(products::program("vw-window").unwrap());
        command.env("DISPLAY", &display.name).args(["--surface", surface, "pictures"]);
        child::run(&mut command, LIMIT).unwrap().expect_success("a program with a window");
    }
    let compositor = Compositor::start().unwrap();
    let mut command = driver.command(products::program("vw-window").unwrap());
    compositor.apply(&mut command);
    let output = child::run(command.args(["--surface", "wayland", "pictures"]), LIMIT).unwrap();
    output.expect_success("a program with a Wayland surface");
    let mut command = driver.command(products::program("vw-life").unwrap());
    let command = command.args(["sharing", "temporary"]);
    child::run(command, LIMIT).unwrap().expect_success("semaphores and fences that are shared");
    drop(renderer);
    let on_lavapipe = coverage::called(&notes).unwrap();

    let all: BTreeSet<_> = coverage::offered(u32::MAX, |_| true).into_values().flatten().collect();
    let left: Vec<_> = all.difference(&on_lavapipe).copied().collect();
    let notes = folder("null");
    let renderer = Renderer::start_with(&Driver::lavapipe().unwrap(), &["--null", "--log", "trace"]).unwrap();
    let driver = renderer.guest().counted(&notes).unwrap();
    let mut command = driver.command(products::program("vw-every-command").unwrap());
    let output = child::run(command.args(&left), LIMIT).unwrap();
    let text = output.expect_success("the remaining commands on the null device").to_owned();
    let on_null = coverage::called(&notes).unwrap();
    let log = renderer.log();
    drop(renderer);
    let called = text.lines().filter_map(|line| line.strip_prefix("called: "));
    let arrived = |name: &str| log.contains(&format!("command=\"{name}\""));
    let lost: Vec<_> =
        called.filter(|name| !arrived(name) && NOT_SENT.iter().all(|(known, _)| known != name)).collect();
    assert!(lost.is_empty(), "commands that did not arrive: {lost:?}; log:\n{log}");

    let (mut report, mut missing) = (String::new(), String::new());
    for (provider, commands) in coverage::offered(u32::MAX, |_| true) {
        let mut never = commands.clone();
        never.retain(|name| !on_lavapipe.contains(name) && !on_null.contains(name));
        never.retain(|name| NEVER.iter().all(|(known, _)| known != name));
        let here = commands.iter().filter(|name| on_lavapipe.contains(*name)).count();
        let total = commands.len();
        let _ =
            writeln!(report, "{provider}: {total} commands, {here} on lavapipe, never executed: {never:?}");
        if !never.is_empty() {
            let _ = writeln!(missing, "{provider}: {never:?}");
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("coverage/report.txt");
    std::fs::write(&path, &report).unwrap();
    println!("{report}also in {}", path.display());
    assert!(missing.is_empty(), "commands that no test executes:\n{missing}");
}
