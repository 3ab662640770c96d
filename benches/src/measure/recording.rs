//! Recording command buffers. They are never submitted: recording alone is measured.

use std::time::Instant;

use ash::vk;

use super::{Bench, Measure};
use crate::row::Row;
use crate::vulkan::{Constant, GraphicsPipeline, Image, image_barrier, shader};

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "begin-end",
        rows: &[Row::lower("vkBeginCommandBuffer + vkEndCommandBuffer, empty", "µs").scaled(0.25, 0.04)],
        run: begin_end,
    },
    Measure {
        name: "draws",
        rows: &[
            Row::higher("vkCmdDraw, recorded", "M/s").scaled(50.0, 29.0),
            Row::higher("vkCmdDraw, drained", "M/s").scaled(16.0, 26.0),
        ],
        run: draws,
    },
    Measure {
        name: "push-constants",
        rows: &[
            Row::higher("vkCmdPushConstants 16 B, recorded", "M/s").scaled(30.0, 8.1),
            Row::higher("vkCmdPushConstants 16 B, drained", "M/s").scaled(7.0, 7.7),
        ],
        run: push_constants,
    },
    Measure {
        name: "bind-descriptor-sets",
        rows: &[
            Row::higher("vkCmdBindDescriptorSets, recorded", "M/s").scaled(40.0, 5.1),
            Row::higher("vkCmdBindDescriptorSets, drained", "M/s").scaled(4.8, 5.1),
        ],
        run: bind_descriptor_sets,
    },
    Measure {
        name: "barriers",
        rows: &[
            Row::higher("vkCmdPipelineBarrier of an image, recorded", "M/s"),
            Row::higher("vkCmdPipelineBarrier of an image, drained", "M/s").scaled(3.0, 3.3),
        ],
        run: barriers,
    },
];

fn begin_end(bench: &Bench) -> Vec<f64> {
    let batch = bench.effort.batch(1_000);
    let times = bench.effort.timed(50, || {
        let started = Instant::now();
        (0..batch).for_each(|_| bench.vulkan.record(bench.vulkan.command_buffer, |_| ()));
        let elapsed = started.elapsed();
        bench.vulkan.ask();
        elapsed
    });
    vec![times.median() / f64::from(batch)]
}

/// Millions of commands a second: until recording has ended, and until the driver has taken all of it.
fn rates(bench: &Bench, commands: u32, record: impl Fn(&ash::Device, u32)) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    let commands = bench.effort.batch(commands);
    let mut recorded = Vec::new();
    let drained = bench.effort.timed(30, || {
        let started = Instant::now();
        vulkan.record(vulkan.command_buffer, |device| record(device, commands));
        recorded.push(started.elapsed().as_secs_f64() * 1e6);
        vulkan.ask();
        started.elapsed()
    });
    recorded.sort_by(f64::total_cmp);
    [recorded[recorded.len() / 2], drained.median()].map(|micros| f64::from(commands) / micros).to_vec()
}

fn draws(bench: &Bench) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    let cb = vulkan.command_buffer;
    let image = vulkan.image(64, 64);
    let pipeline = vulkan.graphics_pipeline(&GraphicsPipeline {
        vertex: vulkan.module(shader!("cover.vert")),
        fragment: None,
        layout: vulkan.layout(&[]),
        mesh: false,
        blend: false,
        constant: Constant(0),
    });
    // SAFETY: recording with live objects.
    rates(bench, 50_000, |device, commands| unsafe {
        vulkan.begin_rendering(cb, &image);
        device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::GRAPHICS, pipeline);
        for vertex in 0..commands {
            device.cmd_draw(cb, 3, 1, vertex, 0);
        }
        device.cmd_end_rendering(cb);
    })
}

fn push_constants(bench: &Bench) -> Vec<f64> {
    let cb = bench.vulkan.command_buffer;
    let layout = bench.vulkan.layout(&[]);
    let stages = vk::ShaderStageFlags::ALL;
    // SAFETY: recording with live objects.
    rates(bench, 50_000, |device, commands| unsafe {
        for number in 0..commands {
            let mut data = [0u8; 16];
            data[..4].copy_from_slice(&number.to_ne_bytes());
            device.cmd_push_constants(cb, layout, stages, 0, &data);
        }
    })
}

fn bind_descriptor_sets(bench: &Bench) -> Vec<f64> {
    const SETS: u32 = 16;
    let vulkan = &bench.vulkan;
    let cb = vulkan.command_buffer;
    let kind = vk::DescriptorType::UNIFORM_BUFFER;
    let buffer = vulkan.buffer(4096, vk::BufferUsageFlags::UNIFORM_BUFFER);
    let set_layout = vulkan.set_layout(kind);
    let layout = vulkan.layout(&[set_layout]);
    let sets = vulkan.sets(kind, set_layout, SETS, buffer.buffer);
    let graphics = vk::PipelineBindPoint::GRAPHICS;
    // SAFETY: recording with live objects.
    rates(bench, 50_000, |device, commands| unsafe {
        for number in 0..commands {
            let set = sets[(number % SETS) as usize];
            device.cmd_bind_descriptor_sets(cb, graphics, layout, 0, &[set], &[]);
        }
    })
}

fn barriers(bench: &Bench) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    let Image { image, .. } = vulkan.image(64, 64);
    let barrier = image_barrier(image, vk::ImageLayout::GENERAL, vk::ImageLayout::GENERAL);
    rates(bench, 20_000, |device, commands| {
        for _ in 0..commands {
            vulkan.barrier(device, vulkan.command_buffer, &barrier);
        }
    })
}
