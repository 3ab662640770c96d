//! The programs that are measured from outside.

use std::thread;
use std::time::{Duration, Instant};

use ash::vk;
use clap::Subcommand;

use super::client::mark;
use crate::effort::Effort;
use crate::measure::{self, Bench, Scene};
use crate::vulkan::Vulkan;

/// Marks at which the programs stop.
pub(crate) const READY: &str = "ready";
pub(crate) const DONE: &str = "done";

/// What a program does.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Play {
    /// A fixed amount of everything that is measured, or the least of it.
    Work {
        /// Everything once or twice only.
        #[arg(long)]
        smoke: bool,
    },
    /// Some frames.
    Frames {
        /// How many.
        count: u32,
    },
    /// One frame, and then nothing.
    Idle,
    /// Some objects, all alive.
    Objects {
        /// How many.
        count: u32,
    },
    /// Frames for some time; prints how many.
    Loop {
        /// How long.
        milliseconds: u64,
    },
}

/// Plays one.
pub(crate) fn play(what: &Play) {
    let vulkan = Vulkan::open();
    match what {
        Play::Work { smoke } => work(vulkan, *smoke),
        Play::Frames { count } => {
            let mut scene = Scene::new(&vulkan);
            // The first frame compiles shaders.
            scene.frame(&vulkan, true);
            scene.finish(&vulkan);
            mark(READY);
            (0..*count).for_each(|_| scene.frame(&vulkan, true));
            scene.finish(&vulkan);
            mark(DONE);
        }
        Play::Idle => {
            let mut scene = Scene::new(&vulkan);
            scene.frame(&vulkan, true);
            scene.finish(&vulkan);
            thread::sleep(Duration::from_secs(1));
            mark(DONE);
        }
        Play::Objects { count } => objects(&vulkan, *count),
        Play::Loop { milliseconds } => {
            let mut scene = Scene::new(&vulkan);
            scene.frame(&vulkan, true);
            scene.finish(&vulkan);
            mark(READY);
            let (started, limit) = (Instant::now(), Duration::from_millis(*milliseconds));
            let mut frames = 0;
            while started.elapsed() < limit {
                scene.frame(&vulkan, true);
                frames += 1;
            }
            scene.finish(&vulkan);
            println!("{}", f64::from(frames) / started.elapsed().as_secs_f64());
            mark(DONE);
        }
    }
}

fn work(vulkan: Vulkan, smoke: bool) {
    let bench = Bench { vulkan, effort: if smoke { Effort::Smoke } else { Effort::Work } };
    for measure in measure::all() {
        (measure.run)(&bench);
    }
    mark(DONE);
}

fn objects(vulkan: &Vulkan, count: u32) {
    let device = &vulkan.device;
    // What is shared by all objects, the ring above all, is to be in use before.
    for _ in 0..count {
        // SAFETY: Vulkan calls; nothing uses the event.
        unsafe {
            let event = device.create_event(&vk::EventCreateInfo::default(), None);
            device.destroy_event(event.expect("an event"), None);
        }
    }
    vulkan.ask();
    mark(READY);
    let info = vk::BufferCreateInfo::default().size(256).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    // SAFETY: a Vulkan call.
    let create = |_| unsafe { device.create_buffer(&info, None) }.expect("a buffer");
    let buffers: Vec<vk::Buffer> = (0..count).map(create).collect();
    vulkan.ask();
    mark(DONE);
    // SAFETY: a Vulkan call; nothing uses the buffers.
    buffers.iter().for_each(|buffer| unsafe { device.destroy_buffer(*buffer, None) });
}
