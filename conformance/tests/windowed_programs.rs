//! Programs of others in windows, natively and through vw: what is on the screen is the same, and the host sees it too.
//!
//! What stands still must be equal. What moves follows the clock, so that two runs are never at the same moment; of it
//! the colours are compared, which there are and how much of each, with those of several moments.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use vw_conformance::child::{self, Running};
use vw_conformance::compositor::Compositor;
use vw_conformance::display::Display;
use vw_conformance::driver::Driver;
use vw_conformance::opengl::{Mesa, zink_in_windows};
use vw_conformance::picture::Picture;
use vw_conformance::renderer::Renderer;
use vw_conformance::{or_skip, products};

const LIMIT: Duration = Duration::from_secs(360);

/// Native pictures of what moves: it looks like one of them every so often.
const MOMENTS: usize = 10;

/// How a program is looked at.
enum Look {
    /// It shows one picture.
    Still,
    /// It moves; so much of two pictures has the same colours at any time.
    Moves(f64),
}

impl Look {
    /// Native pictures to compare with.
    fn moments(&self) -> usize {
        match self {
            Self::Still => 1,
            Self::Moves(_) => MOMENTS,
        }
    }

    /// Whether a picture shows what one of the others does.
    fn finds(&self, seen: &Picture, native: &[Picture]) -> bool {
        native.iter().any(|native| match self {
            Self::Still => seen == native,
            Self::Moves(least) => seen.likeness(native) >= *least,
        })
    }
}

/// What a program draws with.
#[derive(Clone, Copy)]
enum Api {
    Vulkan,
    /// With an option that names the device, because it takes no CPU by itself.
    VulkanDevice(&'static str),
    /// OpenGL by zink of that Mesa.
    Zink(Mesa),
}

/// A program in a window.
struct Program {
    package: &'static str,
    command: &'static [&'static str],
    api: Api,
    look: Look,
}

/// Of mpv's, whose renderer is libplacebo: one picture for ever.
const MPV: &[&str] = &[
    "mpv",
    "--no-config",
    "--vo=gpu",
    "--gpu-api=vulkan",
    "--no-audio",
    "--no-osc",
    "--osd-level=0",
    "--geometry=+0+0",
    "av://lavfi:smptebars=size=320x240:rate=25",
];

const PROGRAMS: &[Program] = &[
    Program { package: "xvfb", command: &["vkcube"], api: Api::Vulkan, look: Look::Moves(0.75) },
    Program { package: "vkd3d-demos", command: &["vkd3d-triangle"], api: Api::Vulkan, look: Look::Still },
    Program { package: "vkd3d-demos", command: &["vkd3d-gears"], api: Api::Vulkan, look: Look::Moves(0.9) },
    Program {
        package: "mesa-utils",
        command: &["glxgears"],
        api: Api::Zink(Mesa::System),
        look: Look::Moves(0.9),
    },
    Program {
        package: "glmark2",
        command: &["glmark2", "--size", "300x200", "-b", "shading:duration=60:shading=phong"],
        api: Api::Zink(Mesa::System),
        look: Look::Moves(0.8),
    },
    Program {
        package: "glmark2",
        command: &["glmark2", "--size", "300x200", "-b", "effect2d:duration=60"],
        api: Api::Zink(Mesa::System),
        look: Look::Still,
    },
    Program {
        package: "mesa-utils",
        command: &["glxgears"],
        api: Api::Zink(Mesa::Newer),
        look: Look::Moves(0.9),
    },
    Program {
        package: "glmark2",
        command: &["glmark2", "--size", "300x200", "-b", "effect2d:duration=60"],
        api: Api::Zink(Mesa::Newer),
        look: Look::Still,
    },
    Program { package: "mpv", command: MPV, api: Api::VulkanDevice("--vulkan-device"), look: Look::Still },
];

/// On Wayland.
const ON_WAYLAND: &[Program] = &[
    Program { package: "weston", command: &["vkcube-wayland"], api: Api::Vulkan, look: Look::Moves(0.75) },
    Program {
        package: "weston",
        command: &["weston-simple-egl"],
        api: Api::Zink(Mesa::System),
        look: Look::Moves(0.75),
    },
    Program {
        package: "weston",
        command: &["weston-simple-egl"],
        api: Api::Zink(Mesa::Newer),
        look: Look::Moves(0.75),
    },
];

impl Program {
    fn name(&self) -> String {
        let mesa = if let Api::Zink(Mesa::Newer) = self.api { " on Mesa 25" } else { "" };
        format!("{}{mesa}", self.command.join(" "))
    }

    /// Of pictures of it.
    fn file(&self, side: &str) -> PathBuf {
        let mesa = if let Api::Zink(Mesa::Newer) = self.api { "-25" } else { "" };
        let option =
            self.command.last().map_or("", |last| last.split([':', '=']).next_back().unwrap_or(last));
        pictures().join(format!("{}-{option}{mesa}-{side}.png", self.command[0]))
    }

    fn is_installed(&self) -> bool {
        let zink = if let Api::Zink(Mesa::Newer) = self.api { products::installed("mesa") } else { Ok(()) };
        or_skip(zink.and_then(|()| products::installed(self.package))).is_some()
    }

    /// What it runs on natively: zink's own Mesa.
    fn host(&self) -> Driver {
        match self.api {
            Api::Zink(Mesa::Newer) => Driver::newer_lavapipe().unwrap(),
            _ => Driver::lavapipe().unwrap(),
        }
    }

    /// A command that runs it on a driver.
    fn on(&self, driver: &Driver) -> Command {
        let over = match self.api {
            Api::Zink(mesa) => zink_in_windows(driver.clone(), mesa).unwrap(),
            _ => driver.clone(),
        };
        let mut command = over.command(self.command[0]);
        if let Api::VulkanDevice(option) = self.api {
            command.arg(format!("{option}={}", device(driver)));
        }
        command.args(&self.command[1..]);
        command
    }
}

/// The name of a driver's device, as `vulkaninfo` has it.
fn device(driver: &Driver) -> String {
    let output = child::run(driver.command("vulkaninfo").arg("--summary"), LIMIT).unwrap();
    let names = output.expect_success("vulkaninfo").lines();
    let name = names.filter_map(|line| line.trim().strip_prefix("deviceName")?.split_once("= ")).next();
    name.unwrap().1.to_owned()
}

/// Takes pictures of the screen until one is what is looked for.
fn look(
    mut take: impl FnMut() -> Option<Picture>,
    file: &Path,
    program: &mut Running,
    is_it: impl Fn(&Picture) -> bool,
) -> Picture {
    let started = Instant::now();
    loop {
        let picture = take();
        if let Some(picture) = &picture {
            picture.write(file).unwrap();
        }
        match picture {
            Some(picture) if is_it(&picture) => return picture,
            _ => {}
        }
        assert!(program.is_running(), "the program has ended");
        assert!(started.elapsed() < LIMIT, "not on the screen: {}", file.display());
        thread::sleep(Duration::from_millis(50));
    }
}

/// How much a picture is like the one of the others that it is most alike.
fn likeness(seen: &Picture, native: &[Picture]) -> f64 {
    native.iter().map(|native| seen.likeness(native)).fold(0.0, f64::max)
}

/// Of the X server's screen.
fn of_x(display: &Display) -> impl FnMut() -> Option<Picture> {
    let file = pictures().join(format!("screen{}.png", display.name));
    let mut command = Command::new(products::program("vw-window").unwrap());
    command.env("DISPLAY", &display.name).arg("screenshot").arg(&file);
    move || {
        child::run(&mut command, LIMIT).unwrap().expect_success("a look at the screen");
        let picture = Picture::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        Some(picture)
    }
}

/// Of Weston's screen, which is grey where no window is: what has a colour. None as long as that is next to nothing.
fn of_weston(compositor: &Compositor) -> impl FnMut() -> Option<Picture> {
    const LEAST: usize = 1000;
    || {
        let mut picture = compositor.screenshot().unwrap()?;
        let mut coloured = 0;
        for pixel in picture.rgb.as_chunks_mut::<3>().0 {
            let (least, most) = (pixel.iter().min(), pixel.iter().max());
            if most.zip(least).is_some_and(|(most, least)| most - least > 40) {
                coloured += 1;
            } else {
                *pixel = [0; 3];
            }
        }
        (coloured > LEAST).then_some(picture)
    }
}

#[test]
fn programs_when_run_in_windows_through_vw_show_what_they_show_natively() {
    if or_skip(products::installed("xvfb")).is_none() {
        return;
    }
    for program in PROGRAMS.iter().filter(|program| program.is_installed()) {
        let (name, host) = (program.name(), program.host());
        let start = |driver: &Driver, display: &Display| {
            let mut command = program.on(driver);
            child::start(command.env("DISPLAY", &display.name).env_remove("WAYLAND_DISPLAY")).unwrap()
        };
        // A screen of its own for each: what another has left there is no picture.
        let display = Display::start().unwrap();
        let mut running = start(&host, &display);
        let there = |picture: &Picture| picture.colours().len() > 8;
        let mut take = || look(of_x(&display), &program.file("native"), &mut running, there);
        let native: Vec<Picture> = (0..program.look.moments()).map(|_| take()).collect();
        drop(running);
        let display = Display::start().unwrap();
        let renderer = Renderer::start(&host).unwrap();
        let mut running = start(&renderer.guest(), &display);
        let is_it = |picture: &Picture| program.look.finds(picture, &native);
        look(of_x(&display), &program.file("vw"), &mut running, is_it);
        // The same window seen from the host.
        let started = Instant::now();
        loop {
            let session = vwctl(&renderer, &["status"]);
            let session = session.lines().last().unwrap().split_ascii_whitespace().next().unwrap();
            let shot = program.file("host");
            vwctl(&renderer, &["screenshot", session, shot.to_str().unwrap()]);
            let seen = Picture::read(&shot).unwrap();
            let parts: Vec<Picture> =
                native.iter().map(|native| native.part(seen.width, seen.height)).collect();
            if program.look.finds(&seen, &parts) {
                println!("{name}: {:.3} alike", likeness(&seen, &parts));
                break;
            }
            assert!(running.is_running(), "{name} has ended");
            // What moves comes back to where it was.
            assert!(started.elapsed() < LIMIT, "{name}: the host sees something else");
        }
    }
}

#[test]
fn programs_when_run_on_wayland_through_vw_show_what_they_show_natively() {
    if or_skip(products::installed("weston")).is_none() {
        return;
    }
    for program in ON_WAYLAND.iter().filter(|program| program.is_installed()) {
        let host = program.host();
        let start = |driver: &Driver, compositor: &Compositor| {
            let mut command = program.on(driver);
            compositor.apply(&mut command);
            child::start(command.env_remove("DISPLAY")).unwrap()
        };
        let compositor = Compositor::start().unwrap();
        let mut running = start(&host, &compositor);
        let file = program.file("wayland-native");
        let mut take = || look(of_weston(&compositor), &file, &mut running, |_| true);
        let native: Vec<Picture> = (0..program.look.moments()).map(|_| take()).collect();
        drop(running);
        let compositor = Compositor::start().unwrap();
        let renderer = Renderer::start(&host).unwrap();
        let mut running = start(&renderer.guest(), &compositor);
        let is_it = |picture: &Picture| program.look.finds(picture, &native);
        let seen = look(of_weston(&compositor), &program.file("wayland-vw"), &mut running, is_it);
        println!("{} on Wayland: {:.3} alike", program.name(), likeness(&seen, &native));
    }
}

/// `vwctl` with a renderer; what it prints.
fn vwctl(renderer: &Renderer, arguments: &[&str]) -> String {
    let mut command = Command::new(products::control().unwrap());
    command.arg("--socket").arg(format!("unix:{}", renderer.socket().display())).args(arguments);
    child::run(&mut command, LIMIT).unwrap().expect_success("vwctl").to_owned()
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
