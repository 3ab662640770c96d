//! Pipelines, each another one, so that no cache has it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ash::vk;

use super::{Bench, Measure};
use crate::row::Row;
use crate::vulkan::{Constant, GraphicsPipeline, Vulkan, shader};

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "graphics-pipeline",
        rows: &[Row::lower("vkCreateGraphicsPipelines, the call", "µs").absolute(2.0)],
        run: graphics,
    },
    Measure {
        name: "compute-pipeline",
        rows: &[
            Row::lower("compute pipeline, from creation to the end of its first dispatch", "ms").native(1.02)
        ],
        run: compute,
    },
    Measure {
        name: "many-pipelines",
        rows: &[
            Row::lower("16 graphics pipelines, until all of them are bound and the work is done", "ms")
                .native(1.0),
            Row::lower("empty submit + fence wait after 16 graphics pipelines were created, p50", "µs"),
        ],
        run: many,
    },
];

/// A graphics pipeline that no cache has, once its constant is raised.
fn graphics_pipeline(vulkan: &Vulkan) -> GraphicsPipeline {
    GraphicsPipeline {
        vertex: vulkan.module(shader!("cover.vert")),
        fragment: Some(vulkan.module(shader!("push.frag"))),
        layout: vulkan.layout(&[]),
        mesh: false,
        blend: false,
        constant: Constant(new_number()),
    }
}

fn graphics(bench: &Bench) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    let mut from = graphics_pipeline(vulkan);
    let times = bench.effort.timed(200, || {
        from.constant.0 += 1;
        let started = Instant::now();
        let pipeline = vulkan.graphics_pipeline(&from);
        let elapsed = started.elapsed();
        // SAFETY: nothing uses the pipeline.
        unsafe { vulkan.device.destroy_pipeline(pipeline, None) };
        // The next one is not to wait for this one.
        vulkan.ask();
        elapsed
    });
    vec![times.median()]
}

fn compute(bench: &Bench) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    let kind = vk::DescriptorType::STORAGE_BUFFER;
    let buffer = vulkan.buffer(4096, vk::BufferUsageFlags::STORAGE_BUFFER);
    let set_layout = vulkan.set_layout(kind);
    let layout = vulkan.layout(&[set_layout]);
    let set = vulkan.sets(kind, set_layout, 1, buffer.buffer)[0];
    let module = vulkan.module(shader!("specialised.comp"));
    let mut offset = new_number();
    let times = bench.effort.timed(24, || {
        offset += 1;
        // Size of the workgroup, and what is added to each word.
        let constants = [(0, 64), (4, offset)];
        let started = Instant::now();
        let pipeline = vulkan.compute_pipeline(module, layout, &constants);
        dispatch(bench, pipeline, layout, set);
        let elapsed = started.elapsed();
        // SAFETY: nothing uses the pipeline any more.
        unsafe { vulkan.device.destroy_pipeline(pipeline, None) };
        elapsed
    });
    // SAFETY: the mapping holds words; the device is idle.
    let first = unsafe { buffer.address.cast::<u32>().read() };
    // Sixty-four invocations add 0 to 63 to four sums; the first sum is that of the multiples of four.
    assert_eq!(first, 480 + offset, "the dispatch gave something else");
    vulkan.destroy_buffer(&buffer);
    vec![times.median() / 1e3]
}

/// Pipelines that do not depend on each other, and work that does not depend on them.
fn many(bench: &Bench) -> Vec<f64> {
    const MANY: usize = 16;
    let vulkan = &bench.vulkan;
    let mut from = graphics_pipeline(vulkan);
    let mut create = || -> [vk::Pipeline; MANY] {
        std::array::from_fn(|_| {
            from.constant.0 += 1;
            vulkan.graphics_pipeline(&from)
        })
    };
    // SAFETY: what used the pipelines is done; recording with live objects.
    let destroy = |pipeline: vk::Pipeline| unsafe { vulkan.device.destroy_pipeline(pipeline, None) };
    let (cb, graphics) = (vulkan.command_buffer, vk::PipelineBindPoint::GRAPHICS);
    let usable = bench.effort.timed(50, || {
        let started = Instant::now();
        let pipelines = create();
        vulkan.record(cb, |device| {
            for pipeline in pipelines {
                // SAFETY: as above.
                unsafe { device.cmd_bind_pipeline(cb, graphics, pipeline) };
            }
        });
        vulkan.run(cb);
        let elapsed = started.elapsed();
        pipelines.into_iter().for_each(destroy);
        vulkan.ask();
        elapsed
    });
    vulkan.record(cb, |_| ());
    let beside = bench.effort.timed(50, || {
        let pipelines = create();
        let started = Instant::now();
        vulkan.run(cb);
        let elapsed = started.elapsed();
        pipelines.into_iter().for_each(destroy);
        vulkan.ask();
        elapsed
    });
    vec![usable.median() / 1e3, beside.median()]
}

/// Where a process starts to count: drivers keep what they compiled on disk.
fn new_number() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Milliseconds of three weeks: below the sign bit with all that is added.
    (now.as_millis() % (1 << 30)) as u32
}

fn dispatch(bench: &Bench, pipeline: vk::Pipeline, layout: vk::PipelineLayout, set: vk::DescriptorSet) {
    let vulkan = &bench.vulkan;
    let (cb, compute) = (vulkan.command_buffer, vk::PipelineBindPoint::COMPUTE);
    // SAFETY: recording with live objects.
    vulkan.record(cb, |device| unsafe {
        device.cmd_bind_pipeline(cb, compute, pipeline);
        device.cmd_bind_descriptor_sets(cb, compute, layout, 0, &[set], &[]);
        device.cmd_dispatch(cb, 1, 1, 1);
    });
    vulkan.run(cb);
}
