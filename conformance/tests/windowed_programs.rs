//! Programs of others in windows, natively and through vw: what is on the screen is the same, and the host sees it too.
//!
//! What stands still must be equal. What moves follows the clock, so that two runs are never at the same moment; of it
//! the colours are compared: which there are, and how much of each.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use vw_conformance::child::{self, Running};
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::opengl::{Mesa, zink_in_windows};
use vw_conformance::picture::Picture;
use vw_conformance::renderer::Renderer;
use vw_conformance::{or_skip, products};

const LIMIT: Duration = Duration::from_secs(120);

/// How a program is looked at.
enum Look {
    /// It shows one picture.
    Still,
    /// It moves; so much of two pictures has the same colours at any time.
    Moves(f64),
}

/// A program in a window.
struct Program {
    package: &'static str,
    command: &'static [&'static str],
    opengl: bool,
    look: Look,
}

const PROGRAMS: &[Program] = &[
    Program { package: "xvfb", command: &["vkcube"], opengl: false, look: Look::Moves(0.75) },
    Program { package: "vkd3d-demos", command: &["vkd3d-triangle"], opengl: false, look: Look::Still },
    Program { package: "vkd3d-demos", command: &["vkd3d-gears"], opengl: false, look: Look::Moves(0.9) },
    Program { package: "mesa-utils", command: &["glxgears"], opengl: true, look: Look::Moves(0.9) },
    Program {
        package: "glmark2",
        command: &["glmark2", "--size", "300x200", "-b", "shading:duration=60:shading=phong"],
        opengl: true,
        look: Look::Moves(0.8),
    },
    Program {
        package: "glmark2",
        command: &["glmark2", "--size", "300x200", "-b", "effect2d:duration=60"],
        opengl: true,
        look: Look::Still,
    },
];

/// Takes pictures of the screen until one is what is looked for.
fn look(display: &Display, file: &Path, program: &mut Running, is_it: impl Fn(&Picture) -> bool) -> Picture {
    let started = Instant::now();
    loop {
        let mut look = Command::new(products::program("vw-window").unwrap());
        look.env("DISPLAY", &display.name).arg("screenshot").arg(file);
        child::run(&mut look, LIMIT).unwrap().expect_success("a look at the screen");
        let picture = Picture::read(file).unwrap();
        if is_it(&picture) {
            return picture;
        }
        assert!(program.is_running(), "the program has ended");
        assert!(started.elapsed() < LIMIT, "not on the screen: {}", file.display());
        thread::sleep(Duration::from_millis(50));
    }
}

fn start(program: &Program, driver: &Driver, display: &Display) -> Running {
    let driver =
        if program.opengl { zink_in_windows(driver.clone(), Mesa::System).unwrap() } else { driver.clone() };
    let mut command = driver.command(program.command[0]);
    command.args(&program.command[1..]).env("DISPLAY", &display.name);
    child::start(&mut command).unwrap()
}

#[test]
fn programs_when_run_in_windows_through_vw_show_what_they_show_natively() {
    let host = Driver::lavapipe().unwrap();
    for program in PROGRAMS {
        let name = program.command.join(" ");
        if or_skip(products::installed("xvfb").and_then(|()| products::installed(program.package))).is_none()
        {
            continue;
        }
        let folder = pictures();
        let file = |side: &str| folder.join(format!("{}-{side}.png", program.command.last().unwrap()));
        // A screen of its own for each: what another has left there is no picture.
        let display = Display::start().unwrap();
        let mut running = start(program, &host, &display);
        let native = look(&display, &file("native"), &mut running, |picture| picture.colours().len() > 8);
        drop(running);
        let display = Display::start().unwrap();
        let renderer = Renderer::start(&host).unwrap();
        let mut running = start(program, &renderer.guest(), &display);
        let alike = |picture: &Picture| match program.look {
            Look::Still => *picture == native,
            Look::Moves(least) => picture.likeness(&native) >= least,
        };
        look(&display, &file("vw"), &mut running, alike);
        // The same window seen from the host.
        let shot = file("host");
        let started = Instant::now();
        loop {
            let mut look = Command::new(products::control().unwrap());
            look.arg("--socket").arg(format!("unix:{}", renderer.socket().display()));
            child::run(look.args(["screenshot", "1"]).arg(&shot), LIMIT).unwrap().expect_success("vwctl");
            let seen = Picture::read(&shot).unwrap();
            let part = native.part(seen.width, seen.height);
            let alike = seen.likeness(&part);
            let is_it = match program.look {
                Look::Still => seen == part,
                Look::Moves(least) => alike >= least,
            };
            if is_it {
                println!("{name}: {alike:.3} alike");
                break;
            }
            assert!(running.is_running(), "{name} has ended");
            // What moves comes back to where it was.
            assert!(started.elapsed() < LIMIT, "{name}: the host sees something else: {alike}");
        }
    }
}

/// SDL's own test of Vulkan, which checks the results of all calls itself. (On Wayland it crashes, natively too.)
#[test]
fn sdl_when_run_through_vw_presents() {
    const PROGRAM: &str = "/usr/libexec/installed-tests/SDL2/testvulkan";
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let Some(display) = or_skip(Display::start()) else { return };
    if or_skip(products::installed("libsdl2-tests")).is_none() {
        return;
    }
    let mut command = renderer.guest().command(PROGRAM);
    command.env("DISPLAY", &display.name).env("SDL_VIDEODRIVER", "x11");
    let mut program = child::start(&mut command).unwrap();
    let started = Instant::now();
    while renderer.sessions().is_empty() {
        assert!(program.is_running() && started.elapsed() < LIMIT, "SDL has no session");
        thread::sleep(Duration::from_millis(20));
    }
    let folder = pictures().join("sdl");
    // What an earlier run has left; nothing is as good.
    let _ = std::fs::remove_dir_all(&folder);
    let mut record = Command::new(products::control().unwrap());
    record.arg("--socket").arg(format!("unix:{}", renderer.socket().display()));
    record.args(["record", "1"]).arg(&folder).args(["--frames", "20"]);
    let text = child::run(&mut record, LIMIT).unwrap();
    assert!(text.expect_success("vwctl").starts_with("20 frames"), "{}", text.stdout);
    // It clears its window with a colour that changes all the time.
    let colours = std::fs::read_dir(&folder).unwrap().map(|entry| {
        let colours = Picture::read(&entry.unwrap().path()).unwrap().colours();
        assert_eq!(colours.len(), 1);
        *colours.keys().next().unwrap()
    });
    assert!(colours.collect::<std::collections::BTreeSet<_>>().len() > 5);
}

/// Where the pictures are left, to be looked at.
fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("windows");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
