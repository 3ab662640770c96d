//! Command buffers: how they are recorded, kept and used again.

use ash::vk;
use vk::CommandBufferUsageFlags as Usage;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State};
use crate::report::Report;
use crate::resources::ANY_USE;
use crate::shaders;

/// Secondary command buffers inside of rendering and outside.
pub(super) unsafe fn secondary(gpu: &Gpu, report: &Report) {
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let secondaries = gpu.command_buffers(vk::CommandBufferLevel::SECONDARY, 3);
    let formats = [COLOUR];
    for (i, cb) in (0u32..).zip(&secondaries) {
        let mut rendering = vk::CommandBufferInheritanceRenderingInfo::default()
            .color_attachment_formats(&formats)
            .rasterization_samples(vk::SampleCountFlags::TYPE_1);
        let inherited = vk::CommandBufferInheritanceInfo::default().push_next(&mut rendering);
        let begin = vk::CommandBufferBeginInfo::default()
            .flags(Usage::RENDER_PASS_CONTINUE | Usage::SIMULTANEOUS_USE)
            .inheritance_info(&inherited);
        gpu.device.begin_command_buffer(*cb, &begin).unwrap();
        gpu.bind_graphics(*cb, pipeline);
        mesh.bind(gpu, *cb);
        gpu.device.cmd_draw(*cb, 3, 1, i * 3, i);
        gpu.device.end_command_buffer(*cb).unwrap();
    }
    let target = gpu.target();
    gpu.run(|cb| {
        gpu.to_general(cb, &target);
        gpu.execute(cb, &target, &[&secondaries[..2], &secondaries[2..]]);
    });
    gpu.show(report, "inside", &target);

    let buffer = gpu.buffer(64, ANY_USE);
    let outside = gpu.command_buffers(vk::CommandBufferLevel::SECONDARY, 1)[0];
    let inherited = vk::CommandBufferInheritanceInfo::default();
    let begin = vk::CommandBufferBeginInfo::default().inheritance_info(&inherited);
    gpu.device.begin_command_buffer(outside, &begin).unwrap();
    gpu.device.cmd_fill_buffer(outside, buffer.handle, 0, 64, 0x0102_0304);
    gpu.device.end_command_buffer(outside).unwrap();
    gpu.run(|cb| {
        gpu.device.cmd_execute_commands(cb, &[outside]);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("outside", &buffer.read());
}

/// A primary command buffer's inheritance pointer is ignored whatever it holds.
pub(super) unsafe fn inheritance(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(64, ANY_USE);
    let cb = gpu.command_buffers(vk::CommandBufferLevel::PRIMARY, 1)[0];
    let begin = vk::CommandBufferBeginInfo {
        p_inheritance_info: std::ptr::without_provenance(0x1230),
        ..Default::default()
    };
    gpu.device.begin_command_buffer(cb, &begin).unwrap();
    gpu.device.cmd_fill_buffer(cb, buffer.handle, 0, 64, 9);
    barrier_all(&gpu.device, cb);
    gpu.device.end_command_buffer(cb).unwrap();
    gpu.submit_and_wait(cb);
    report.words("filled", &buffer.words(2));
}

/// Recorded once, submitted often.
pub(super) unsafe fn reuse(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(40 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[buffer]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::SUBGROUP, &[layout]);
    let cb = gpu.record(Usage::empty(), |cb| {
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], &[]);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    for _ in 0..25 {
        gpu.submit_and_wait(cb);
    }
    report.words("after 25 times", &buffer.words(35)[32..]);
}

/// Recorded anew into the same command buffer, by each of the ways to reset it.
pub(super) unsafe fn reset(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(16, ANY_USE);
    let pool = gpu.command_pool();
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let cb = gpu.device.allocate_command_buffers(&info).unwrap()[0];
    for round in 0..9u32 {
        let result = match round % 3 {
            0 => gpu.device.reset_command_buffer(cb, vk::CommandBufferResetFlags::RELEASE_RESOURCES),
            1 => gpu.device.reset_command_pool(pool, vk::CommandPoolResetFlags::empty()),
            // Beginning resets by itself.
            _ => Ok(()),
        };
        let begin = vk::CommandBufferBeginInfo::default().flags(Usage::ONE_TIME_SUBMIT);
        gpu.device.begin_command_buffer(cb, &begin).unwrap();
        gpu.device.cmd_fill_buffer(cb, buffer.handle, 0, 16, round + 100);
        barrier_all(&gpu.device, cb);
        gpu.device.end_command_buffer(cb).unwrap();
        gpu.submit_and_wait(cb);
        report.line(&format!("round {round}"), format!("{result:?} {:?}", buffer.words(1)));
    }
}

pub(super) unsafe fn pools(gpu: &Gpu, report: &Report) {
    let pool = gpu.command_pool();
    for round in 0..10 {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(20);
        let buffers = gpu.device.allocate_command_buffers(&info).unwrap();
        let distinct: std::collections::HashSet<_> = buffers.iter().collect();
        if distinct.len() != 20 {
            report.line(&format!("round {round}"), distinct.len());
        }
        for cb in &buffers {
            gpu.device.begin_command_buffer(*cb, &vk::CommandBufferBeginInfo::default()).unwrap();
            gpu.device.end_command_buffer(*cb).unwrap();
        }
        gpu.device.free_command_buffers(pool, &buffers[..15]);
        gpu.device.trim_command_pool(pool, vk::CommandPoolTrimFlags::empty());
    }
    report.line("done", true);
    // The pool goes with the command buffers that are left in it.
}

/// One command buffer in several submissions at a time.
pub(super) unsafe fn simultaneous(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(40 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[buffer]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::SUBGROUP, &[layout]);
    let cb = gpu.record(Usage::SIMULTANEOUS_USE, |cb| {
        barrier_all(&gpu.device, cb);
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], &[]);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    let twice = [cb, cb];
    let submit = vk::SubmitInfo::default().command_buffers(&twice);
    for _ in 0..10 {
        gpu.device.queue_submit(gpu.queue, &[submit, submit], vk::Fence::null()).unwrap();
    }
    gpu.device.queue_wait_idle(gpu.queue).unwrap();
    report.words("after 40 times", &buffer.words(35)[32..]);
}

/// A command buffer of many megabytes: more than any buffer on the way holds at once.
pub(super) unsafe fn large(gpu: &Gpu, report: &Report) {
    let target = gpu.buffer(65_536, ANY_USE);
    let payload: Vec<u8> = (0..65_536u32).map(|i| ((i * 31) >> 3) as u8).collect();
    gpu.run(|cb| {
        for round in 0..300usize {
            let mut part = payload.clone();
            part.rotate_left(round);
            gpu.device.cmd_update_buffer(cb, target.handle, 0, &part);
            barrier_all(&gpu.device, cb);
        }
    });
    report.bytes("last update", &target.read());
    let counter = gpu.buffer(256 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[counter]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::FILL, &[layout]);
    gpu.run(|cb| {
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], &[]);
        for i in 0..20_000u32 {
            let push = [i, i, 4];
            let bytes = bytemuck::cast_slice(&push);
            gpu.device.cmd_push_constants(cb, pipeline_layout, vk::ShaderStageFlags::ALL, 0, bytes);
            if i % 100 == 0 {
                gpu.device.cmd_dispatch(cb, 1, 1, 1);
                barrier_all(&gpu.device, cb);
            }
        }
    });
    report.words("last dispatch", &counter.words(4));
}
