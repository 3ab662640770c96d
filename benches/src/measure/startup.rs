//! The first steps of a program.

use std::thread;
use std::time::{Duration, Instant};

use super::{Bench, Measure};
use crate::effort::Effort;
use crate::row::Row;
use crate::vulkan::{create_device, create_instance};

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "instance",
        rows: &[Row::lower("vkCreateInstance, warm", "ms").scaled(5.0, 0.47)],
        run: instance,
    },
    Measure {
        name: "device",
        rows: &[
            Row::lower("vkEnumeratePhysicalDevices + vkCreateDevice, new instance", "ms").scaled(12.0, 10.8)
        ],
        run: device,
    },
    Measure {
        name: "start",
        rows: &[Row::lower("both together, from nothing to a device", "ms")],
        run: start,
    },
];

/// Time in which a host that keeps something ready for the next program can make it ready.
fn breathe(effort: Effort) {
    if effort != Effort::Smoke {
        thread::sleep(Duration::from_millis(60));
    }
}

fn instance(bench: &Bench) -> Vec<f64> {
    let times = bench.effort.timed(10, || {
        breathe(bench.effort);
        let started = Instant::now();
        let instance = create_instance(&bench.vulkan.entry);
        let elapsed = started.elapsed();
        // SAFETY: nothing was made from it.
        unsafe { instance.destroy_instance(None) };
        elapsed
    });
    vec![times.median() / 1e3]
}

fn device(bench: &Bench) -> Vec<f64> {
    let times = bench.effort.timed(10, || {
        breathe(bench.effort);
        let instance = create_instance(&bench.vulkan.entry);
        let started = Instant::now();
        let device = create_device(&instance);
        let elapsed = started.elapsed();
        destroy(&instance, &device);
        elapsed
    });
    vec![times.median() / 1e3]
}

fn start(bench: &Bench) -> Vec<f64> {
    let times = bench.effort.timed(10, || {
        breathe(bench.effort);
        let started = Instant::now();
        let instance = create_instance(&bench.vulkan.entry);
        let device = create_device(&instance);
        let elapsed = started.elapsed();
        destroy(&instance, &device);
        elapsed
    });
    vec![times.median() / 1e3]
}

fn destroy(instance: &ash::Instance, device: &ash::Device) {
    // SAFETY: nothing else was made from them.
    unsafe {
        device.destroy_device(None);
        instance.destroy_instance(None);
    }
}
