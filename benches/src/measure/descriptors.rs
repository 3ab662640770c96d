//! Updates of descriptor sets.

use std::time::Instant;

use ash::vk;

use super::{Bench, Measure};
use crate::row::Row;
use crate::vulkan::shader;

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "descriptor-writes-1",
        rows: &[
            Row::higher("vkUpdateDescriptorSets, 1 write a call, drained", "M writes/s").scaled(25.0, 79.0)
        ],
        run: |bench| updates(bench, 1, 100_000),
    },
    Measure {
        name: "descriptor-writes-16",
        rows: &[Row::higher("vkUpdateDescriptorSets, 16 writes a call, drained", "M writes/s")
            .scaled(40.0, 124.0)],
        run: |bench| updates(bench, 16, 12_000),
    },
];

const SETS: u32 = 16;

/// Millions of writes a second, until a submission that uses the sets has ended: updates may be kept until then.
fn updates(bench: &Bench, writes: usize, calls: u32) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    let calls = bench.effort.batch(calls);
    let kind = vk::DescriptorType::STORAGE_BUFFER;
    let buffer = vulkan.buffer(64 << 10, vk::BufferUsageFlags::STORAGE_BUFFER);
    let set_layout = vulkan.set_layout(kind);
    let layout = vulkan.layout(&[set_layout]);
    let sets = vulkan.sets(kind, set_layout, SETS, buffer.buffer);
    let pipeline = vulkan.compute_pipeline(vulkan.module(shader!("fill.comp")), layout, &[]);
    let (cb, compute) = (vulkan.command_buffer, vk::PipelineBindPoint::COMPUTE);
    let times = bench.effort.timed(30, || {
        let started = Instant::now();
        for call in 0..calls {
            let place = u64::from(call % 16) * 256;
            let buffers = [vk::DescriptorBufferInfo { buffer: buffer.buffer, offset: place, range: 4096 }];
            let write: [_; SETS as usize] = std::array::from_fn(|number| {
                let set = sets[(call as usize + number) % SETS as usize];
                vk::WriteDescriptorSet::default().dst_set(set).descriptor_type(kind).buffer_info(&buffers)
            });
            // SAFETY: a Vulkan call; no submission that uses the sets is pending.
            unsafe { vulkan.device.update_descriptor_sets(&write[..writes], &[]) };
        }
        // SAFETY: recording with live objects. No word is written: the pushed count is 0.
        vulkan.record(cb, |device| unsafe {
            device.cmd_bind_pipeline(cb, compute, pipeline);
            device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &[0; 12]);
            for set in &sets {
                device.cmd_bind_descriptor_sets(cb, compute, layout, 0, &[*set], &[]);
                device.cmd_dispatch(cb, 1, 1, 1);
            }
        });
        vulkan.run(cb);
        started.elapsed()
    });
    vulkan.destroy_buffer(&buffer);
    vec![f64::from(calls) * writes as f64 / times.median()]
}
