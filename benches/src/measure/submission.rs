//! Submitting and waiting.

use std::thread;
use std::time::{Duration, Instant};

use ash::vk;

use super::{Bench, Measure};
use crate::row::Row;

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "fence-status",
        rows: &[Row::lower("vkGetFenceStatus", "µs").scaled(0.01, 0.046)],
        run: fence_status,
    },
    Measure {
        name: "queue-wait-idle",
        rows: &[Row::lower("vkQueueWaitIdle, idle queue", "µs").scaled(1.0, 13.7)],
        run: queue_wait_idle,
    },
    Measure {
        name: "submit",
        rows: &[
            Row::lower("empty submit + fence wait, p50", "µs").scaled(29.0, 24.0),
            Row::lower("empty submit + fence wait, p99", "µs").scaled(75.0, 52.0),
        ],
        run: submit,
    },
    Measure {
        name: "submit-after-2ms",
        rows: &[Row::lower("empty submit + fence wait after 2 ms of idleness, p50", "µs").native(1.3)],
        run: submit_after_idleness,
    },
    Measure {
        name: "submits",
        rows: &[Row::higher("submits, 100 and then a wait", "1/s").native(1.0)],
        run: submits,
    },
];

/// Of a fence that is signalled.
fn fence_status(bench: &Bench) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    empty(bench);
    vulkan.submit(vulkan.command_buffer, vulkan.fence);
    let fence = vulkan.fence;
    let batch = bench.effort.batch(10_000);
    // SAFETY: Vulkan calls with a live fence, here and below.
    unsafe { vulkan.device.wait_for_fences(&[fence], true, u64::MAX) }.expect("the submission's end");
    let times = bench.effort.times(50, || {
        for _ in 0..batch {
            // SAFETY: as above.
            let signalled = unsafe { vulkan.device.get_fence_status(fence) }.expect("a status");
            assert!(signalled);
        }
    });
    vulkan.wait(fence);
    vec![times.median() / f64::from(batch)]
}

fn queue_wait_idle(bench: &Bench) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    empty(bench);
    vulkan.run(vulkan.command_buffer);
    // SAFETY: a Vulkan call; this thread alone uses the queue.
    let times = bench.effort.times(2_000, || unsafe {
        vulkan.device.queue_wait_idle(vulkan.queue).expect("an idle queue");
    });
    vec![times.median()]
}

fn submit(bench: &Bench) -> Vec<f64> {
    empty(bench);
    let times = bench.effort.times(5_000, || bench.vulkan.run(bench.vulkan.command_buffer));
    vec![times.median(), times.quantile(0.99)]
}

fn submit_after_idleness(bench: &Bench) -> Vec<f64> {
    empty(bench);
    let times = bench.effort.timed(200, || {
        thread::sleep(Duration::from_millis(2));
        let started = Instant::now();
        bench.vulkan.run(bench.vulkan.command_buffer);
        started.elapsed()
    });
    vec![times.median()]
}

fn submits(bench: &Bench) -> Vec<f64> {
    const SUBMITS: u32 = 100;
    let vulkan = &bench.vulkan;
    empty(bench);
    let times = bench.effort.times(100, || {
        (1..SUBMITS).for_each(|_| vulkan.submit(vulkan.command_buffer, vk::Fence::null()));
        vulkan.run(vulkan.command_buffer);
    });
    vec![f64::from(SUBMITS) / times.median() * 1e6]
}

/// Records the command buffer with nothing in it.
fn empty(bench: &Bench) {
    bench.vulkan.record(bench.vulkan.command_buffer, |_| ());
}
