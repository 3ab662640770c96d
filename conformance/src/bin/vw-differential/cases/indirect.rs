//! Draws and dispatches whose parameters are in buffers.

use ash::vk;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::State;
use crate::report::Report;
use crate::resources::ANY_USE;
use crate::shaders;

unsafe fn shown(gpu: &Gpu, report: &Report, label: &str, draw: impl FnOnce(vk::CommandBuffer)) {
    let state = State::new(shaders::DRAW_PARAMETERS, shaders::PASS_COLOUR);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        draw(cb);
    });
    gpu.show(report, label, &target);
}

/// vertex count, instance count, first vertex, first instance
const DRAWS: [[u32; 5]; 4] = [[3, 2, 0, 0, 99], [3, 1, 3, 1, 99], [3, 2, 6, 2, 99], [0, 0, 0, 0, 99]];

pub(super) unsafe fn draws(gpu: &Gpu, report: &Report) {
    let commands = gpu.buffer_of(&DRAWS);
    shown(gpu, report, "one", |cb| gpu.device.cmd_draw_indirect(cb, commands.handle, 20, 1, 20));
    if gpu.features.multi_draw_indirect != 0 {
        shown(gpu, report, "four", |cb| gpu.device.cmd_draw_indirect(cb, commands.handle, 0, 4, 20));
    }
}

pub(super) unsafe fn indexed(gpu: &Gpu, report: &Report) {
    let indices = gpu.buffer_of(&[0u32, 1, 2, 2, 1, 0]);
    // index count, instance count, first index, vertex offset, first instance
    let commands = gpu.buffer_of(&[[3u32, 1, 0, 0, 0], [3, 2, 3, 3, 1], [6, 1, 0, 6, 2]]);
    shown(gpu, report, "three", |cb| {
        gpu.device.cmd_bind_index_buffer(cb, indices.handle, 0, vk::IndexType::UINT32);
        gpu.device.cmd_draw_indexed_indirect(cb, commands.handle, 0, 3, 20);
    });
}

/// How many draws is in a buffer too.
pub(super) unsafe fn counts(gpu: &Gpu, report: &Report) {
    if !gpu.indexing.draw_count {
        report.line("counts", "not offered");
        return;
    }
    let commands = gpu.buffer_of(&DRAWS);
    let counts = gpu.buffer_of(&[2u32, 9]);
    for (i, most) in [4, 4].into_iter().enumerate() {
        shown(gpu, report, &format!("count {i}"), |cb| {
            let offset = i as u64 * 4;
            gpu.device.cmd_draw_indirect_count(cb, commands.handle, 0, counts.handle, offset, most, 20);
        });
    }
}

pub(super) unsafe fn indexed_counts(gpu: &Gpu, report: &Report) {
    if !gpu.indexing.draw_count {
        report.line("counts", "not offered");
        return;
    }
    let indices = gpu.buffer_of(&[0u32, 1, 2, 2, 1, 0]);
    let commands = gpu.buffer_of(&[[3u32, 1, 0, 0, 0], [3, 2, 3, 3, 1], [6, 1, 0, 6, 2]]);
    let count = gpu.buffer_of(&[0u32, 2]);
    shown(gpu, report, "two of three", |cb| {
        gpu.device.cmd_bind_index_buffer(cb, indices.handle, 0, vk::IndexType::UINT32);
        gpu.device.cmd_draw_indexed_indirect_count(cb, commands.handle, 0, count.handle, 4, 3, 20);
    });
}

pub(super) unsafe fn dispatches(gpu: &Gpu, report: &Report) {
    let words = gpu.buffer(1024 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[words]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::FILL, &[layout]);
    let groups = gpu.buffer_of(&[0u32, 5, 1, 1, 0, 0, 0, 9]);
    gpu.run(|cb| {
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], bytemuck::cast_slice(&[2u32, 7, 1024]));
        gpu.device.cmd_dispatch_indirect(cb, groups.handle, 4);
        gpu.device.cmd_dispatch_indirect(cb, groups.handle, 16);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("five groups", &words.read());
}
