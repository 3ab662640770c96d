//! Compute: dispatches and what shaders see of them.

use ash::vk;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::ANY_USE;
use crate::shaders;

pub(super) unsafe fn fill(gpu: &Gpu, report: &Report) {
    for count in [1u32, 64, 1000, 100_000] {
        let buffer = gpu.buffer(u64::from(count) * 4, ANY_USE);
        let set = gpu.storage_set(&[buffer]);
        gpu.dispatch(shaders::FILL, &[set], bytemuck::cast_slice(&[5, 3, count]), [count.div_ceil(64), 1, 1]);
        report.bytes(&format!("{count}"), &buffer.read());
    }
}

pub(super) unsafe fn specialisation(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(64 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[buffer]);
    let pipeline_layout = gpu.pipeline_layout(&[layout]);
    let module = shaders::module(gpu, shaders::SPECIALISED);
    let variants: [(u32, u32, f32, u32, i32); 3] =
        [(16, 4, 1.0, 0, 0), (32, 8, 2.5, 1, 7), (8, 3, 0.5, 1, -1)];
    for (size, count, scale, add, offset) in variants {
        let data: Vec<u8> = [
            size.to_ne_bytes(),
            count.to_ne_bytes(),
            scale.to_ne_bytes(),
            add.to_ne_bytes(),
            offset.to_ne_bytes(),
        ]
        .concat();
        let entries: [_; 5] = std::array::from_fn(|i| vk::SpecializationMapEntry {
            constant_id: i as u32,
            offset: i as u32 * 4,
            size: 4,
        });
        let constants = vk::SpecializationInfo::default().map_entries(&entries).data(&data);
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main")
            .specialization_info(&constants);
        let info = vk::ComputePipelineCreateInfo::default().layout(pipeline_layout).stage(stage);
        let pipeline = gpu.compute_of(&info, vk::PipelineCache::null());
        gpu.run(|cb| {
            gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], &[]);
            gpu.device.cmd_dispatch(cb, 64 / size, 1, 1);
            barrier_all(&gpu.device, cb);
        });
        report.words(&format!("{size} {count} {scale} {add} {offset}"), &buffer.words(64));
    }
}

pub(super) unsafe fn subgroups(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(40 * 4, ANY_USE);
    let set = gpu.storage_set(&[buffer]);
    gpu.dispatch(shaders::SUBGROUP, &[set], &[], [1, 1, 1]);
    report.words("words", &buffer.words(35));
}

/// Many dispatches in one command buffer, each using what the one before wrote.
pub(super) unsafe fn chain(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(256 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[buffer]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::FILL, &[layout]);
    gpu.run(|cb| {
        for i in 0..200u32 {
            let push = [i, i * 3, 256 - i];
            gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], bytemuck::cast_slice(&push));
            gpu.device.cmd_dispatch(cb, 4, 1, 1);
            barrier_all(&gpu.device, cb);
        }
    });
    report.bytes("chain", &buffer.read());
}

pub(super) unsafe fn base_group(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(512 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[buffer]);
    let pipeline_layout = gpu.pipeline_layout(&[layout]);
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(shaders::module(gpu, shaders::FILL))
        .name(c"main");
    let info = vk::ComputePipelineCreateInfo::default()
        .flags(vk::PipelineCreateFlags::DISPATCH_BASE)
        .layout(pipeline_layout)
        .stage(stage);
    let pipeline = gpu.compute_of(&info, vk::PipelineCache::null());
    gpu.run(|cb| {
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], bytemuck::cast_slice(&[1u32, 1, 512]));
        gpu.device.cmd_dispatch_base(cb, 3, 0, 0, 2, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("from the third group", &buffer.read());
}
