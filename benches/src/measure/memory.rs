//! Memory that the host sees.

use std::time::Instant;

use super::{Bench, Measure};
use crate::row::Row;

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "memory-small",
        rows: &[Row::lower("allocate 64 KiB + map + touch + free", "µs").scaled(12.0, 7.9)],
        run: small,
    },
    Measure {
        name: "memory-new",
        rows: &[
            Row::lower("allocate 2 MiB and a size of its own + free", "µs"),
            Row::lower("the same, 64 at a time, each", "µs"),
        ],
        run: new,
    },
    Measure {
        name: "memory-large",
        rows: &[Row::lower("2 × (allocate 64 MiB + map)", "ms").scaled(0.1, 0.04)],
        run: large,
    },
];

fn small(bench: &Bench) -> Vec<f64> {
    const SIZE: usize = 64 << 10;
    const PAGE: usize = 4096;
    let vulkan = &bench.vulkan;
    let mut value = 0u8;
    let times = bench.effort.times(2_000, || {
        let (memory, address) = vulkan.mapped_memory(SIZE as u64);
        value = value.wrapping_add(1);
        for page in (0..SIZE).step_by(PAGE) {
            // SAFETY: the mapping is of that size and nothing else uses it.
            unsafe { address.add(page).write_volatile(value) };
        }
        // SAFETY: nothing uses the memory.
        unsafe { vulkan.device.free_memory(memory, None) };
    });
    vec![times.median()]
}

/// Sizes that no allocation before had, larger than what is kept for the next one alike.
fn new(bench: &Bench) -> Vec<f64> {
    const LEAST: u64 = 2 << 20;
    const AT_ONCE: u64 = 64;
    let vulkan = &bench.vulkan;
    let mut number = 0;
    let mut allocate = || {
        number = (number + 1) % 1024;
        vulkan.memory(LEAST + (number << 12))
    };
    // SAFETY: nothing uses the memory.
    let free = |memory| unsafe { vulkan.device.free_memory(memory, None) };
    let one = bench.effort.times(2_000, || free(allocate()));
    let many = bench.effort.times(100, || {
        let all: Vec<_> = (0..AT_ONCE).map(|_| allocate()).collect();
        all.into_iter().for_each(free);
    });
    vec![one.median(), many.median() / AT_ONCE as f64]
}

fn large(bench: &Bench) -> Vec<f64> {
    const SIZE: u64 = 64 << 20;
    let vulkan = &bench.vulkan;
    let times = bench.effort.timed(50, || {
        let started = Instant::now();
        let memory = [vulkan.mapped_memory(SIZE), vulkan.mapped_memory(SIZE)];
        let elapsed = started.elapsed();
        for (memory, _) in memory {
            // SAFETY: nothing uses the memory.
            unsafe { vulkan.device.free_memory(memory, None) };
        }
        elapsed
    });
    vec![times.median() / 1e3]
}
