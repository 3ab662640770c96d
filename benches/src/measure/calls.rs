//! Calls that only the driver can answer.

use std::thread;
use std::time::{Duration, Instant};

use super::{Bench, Measure};
use crate::row::Row;

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "call",
        rows: &[Row::lower("call that needs an answer, back to back", "µs").absolute(1.5)],
        run: |bench| vec![bench.effort.times(20_000, || bench.vulkan.ask()).median()],
    },
    Measure {
        name: "call-after-2ms",
        rows: &[Row::lower("call that needs an answer, after 2 ms of idleness", "µs").absolute(35.0)],
        run: |bench| vec![after(bench, 2, 200)],
    },
    Measure {
        name: "call-after-16ms",
        rows: &[Row::lower("call that needs an answer, after 16 ms of idleness", "µs").absolute(45.0)],
        run: |bench| vec![after(bench, 16, 40)],
    },
];

fn after(bench: &Bench, milliseconds: u64, count: usize) -> f64 {
    let times = bench.effort.timed(count, || {
        thread::sleep(Duration::from_millis(milliseconds));
        let started = Instant::now();
        bench.vulkan.ask();
        started.elapsed()
    });
    times.median()
}
