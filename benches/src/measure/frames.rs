//! Whole frames.

use std::time::Instant;

use ash::vk;

use super::{Bench, Measure};
use crate::row::Row;
use crate::vulkan::{Buffer, Constant, GraphicsPipeline, Image, Vulkan, image_barrier, shader};

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "frames-states",
        rows: &[Row::higher("frames of 1,000 draws with state changes", "1/s").native(1.0)],
        run: |bench| vec![small(bench, true, 40)],
    },
    Measure {
        name: "frames",
        rows: &[Row::higher("frames of 1,000 draws without state changes", "1/s").native(0.95)],
        run: |bench| vec![small(bench, false, 120)],
    },
    Measure {
        name: "frames-1080p",
        rows: &[Row::higher("frames of 1920 × 1080, each read back", "1/s").native(1.0)],
        run: large,
    },
];

/// Draws in a small frame.
const DRAWS: u32 = 1_000;

/// Side of a small frame in pixels.
const SIDE: u32 = 256;

/// Frames that are recorded while others are still drawn.
const IN_FLIGHT: usize = 2;

/// Frames of many small draws, two in flight.
pub(crate) struct Scene {
    image: Image,
    slots: [(vk::CommandBuffer, vk::Fence); IN_FLIGHT],
    pipelines: [vk::Pipeline; 2],
    layout: vk::PipelineLayout,
    sets: Vec<vk::DescriptorSet>,
    vertices: Buffer,
    next: usize,
}

impl Scene {
    /// Everything for the frames.
    pub(crate) fn new(vulkan: &Vulkan) -> Self {
        let kind = vk::DescriptorType::UNIFORM_BUFFER;
        let vertices = triangles(vulkan);
        let set_layout = vulkan.set_layout(kind);
        let layout = vulkan.layout(&[set_layout]);
        let (vertex, fragment) = (vulkan.module(shader!("mesh.vert")), vulkan.module(shader!("mesh.frag")));
        let pipelines = [false, true].map(|blend| {
            let (fragment, constant) = (Some(fragment), Constant(0));
            vulkan.graphics_pipeline(&GraphicsPipeline {
                vertex,
                fragment,
                layout,
                mesh: true,
                blend,
                constant,
            })
        });
        // As if just drawn: the first wait of each slot is for nothing.
        let signalled = vk::FenceCreateInfo::default().flags(vk::FenceCreateFlags::SIGNALED);
        // SAFETY: a Vulkan call.
        let fence = || unsafe { vulkan.device.create_fence(&signalled, None) }.expect("a fence");
        Self {
            image: vulkan.image(SIDE, SIDE),
            slots: std::array::from_fn(|_| (vulkan.command_buffer(), fence())),
            pipelines,
            layout,
            sets: vulkan.sets(kind, set_layout, 16, vertices.buffer),
            vertices,
            next: 0,
        }
    }

    /// Records and submits the next frame as soon as its command buffer is free.
    pub(crate) fn frame(&mut self, vulkan: &Vulkan, states: bool) {
        let (cb, fence) = self.slots[self.next];
        self.next = (self.next + 1) % IN_FLIGHT;
        vulkan.wait(fence);
        vulkan.record(cb, |device| self.record(vulkan, device, cb, states));
        vulkan.submit(cb, fence);
    }

    /// Waits for all frames.
    pub(crate) fn finish(&self, vulkan: &Vulkan) {
        // SAFETY: Vulkan calls; this thread alone uses the queue.
        unsafe { vulkan.device.queue_wait_idle(vulkan.queue) }.expect("the last frame");
    }

    fn record(&self, vulkan: &Vulkan, device: &ash::Device, cb: vk::CommandBuffer, states: bool) {
        let graphics = vk::PipelineBindPoint::GRAPHICS;
        vulkan.begin_rendering(cb, &self.image);
        // SAFETY: recording with live objects.
        unsafe {
            let buffer = self.vertices.buffer;
            device.cmd_bind_vertex_buffers(cb, 0, &[buffer, buffer], &[0, OFFSETS]);
            device.cmd_bind_pipeline(cb, graphics, self.pipelines[0]);
            for draw in 0..DRAWS {
                if states {
                    let number = draw as usize;
                    let set = self.sets[number % self.sets.len()];
                    device.cmd_bind_pipeline(cb, graphics, self.pipelines[number % self.pipelines.len()]);
                    device.cmd_bind_descriptor_sets(cb, graphics, self.layout, 0, &[set], &[]);
                    let push = [draw.to_ne_bytes(); 4];
                    let stages = vk::ShaderStageFlags::ALL;
                    device.cmd_push_constants(cb, self.layout, stages, 0, push.as_flattened());
                    vulkan.set_viewport(cb, self.image.extent);
                }
                device.cmd_draw(cb, 3, 1, 0, draw);
            }
            device.cmd_end_rendering(cb);
        }
    }
}

/// Where the offsets of the instances begin in the buffer of vertices.
const OFFSETS: u64 = 256;

/// A triangle of a few pixels, and an offset for each draw.
fn triangles(vulkan: &Vulkan) -> Buffer {
    const EDGE: f32 = 0.05;
    let usage = vk::BufferUsageFlags::VERTEX_BUFFER | vk::BufferUsageFlags::UNIFORM_BUFFER;
    let buffer = vulkan.buffer(OFFSETS + u64::from(DRAWS) * 8, usage);
    let mut words = Vec::new();
    for (x, y) in [(0.0, 0.0), (EDGE, 0.0), (0.0, EDGE)] {
        words.extend([x, y, 0.5, 1.0, x * 10.0, y * 10.0, 1.0]);
    }
    words.resize(OFFSETS as usize / 4, 0.0);
    for draw in 0..DRAWS {
        words.extend([(draw % 40) as f32 / 20.0 - 1.0, (draw / 40) as f32 / 20.0 - 1.0]);
    }
    // SAFETY: the mapping has room for that many words; the device does not use it yet.
    unsafe { buffer.address.cast::<f32>().copy_from_nonoverlapping(words.as_ptr(), words.len()) };
    buffer
}

fn small(bench: &Bench, states: bool, frames: usize) -> f64 {
    let vulkan = &bench.vulkan;
    let mut scene = Scene::new(vulkan);
    let frames = bench.effort.count(frames);
    let mut draw = |frames: usize| {
        let started = Instant::now();
        (0..frames).for_each(|_| scene.frame(vulkan, states));
        scene.finish(vulkan);
        frames as f64 / started.elapsed().as_secs_f64()
    };
    draw(frames.div_ceil(5));
    draw(frames)
}

/// Three layers over every pixel, copied to a buffer, and from there to the program.
fn large(bench: &Bench) -> Vec<f64> {
    let vulkan = &bench.vulkan;
    let cb = vulkan.command_buffer;
    let image = vulkan.image(1920, 1080);
    let size = image.extent.width as usize * image.extent.height as usize * 4;
    let readback = vulkan.buffer(size as u64, vk::BufferUsageFlags::TRANSFER_DST);
    let layout = vulkan.layout(&[]);
    let pipeline = vulkan.graphics_pipeline(&GraphicsPipeline {
        vertex: vulkan.module(shader!("cover.vert")),
        fragment: Some(vulkan.module(shader!("push.frag"))),
        layout,
        mesh: false,
        blend: true,
        constant: Constant(0),
    });
    let mut pixels = vec![0u8; size];
    let times = bench.effort.times(40, || {
        vulkan.record(cb, |_| layers(vulkan, &image, pipeline, layout, readback.buffer));
        vulkan.run(cb);
        // SAFETY: the mapping is of that size; the device is idle.
        unsafe { std::ptr::copy_nonoverlapping(readback.address, pixels.as_mut_ptr(), size) };
    });
    assert!(pixels.chunks_exact(4).all(|pixel| pixel[3] == 255), "a pixel was not drawn");
    vulkan.destroy_buffer(&readback);
    vec![1e6 / times.median()]
}

fn layers(
    vulkan: &Vulkan,
    image: &Image,
    pipeline: vk::Pipeline,
    layout: vk::PipelineLayout,
    readback: vk::Buffer,
) {
    let (device, cb) = (&vulkan.device, vulkan.command_buffer);
    let push: [f32; 8] = [0.1, 0.2, 0.3, 1.0, 0.5, 0.0, 0.0, 0.0];
    let push = push.map(f32::to_ne_bytes);
    let general = vk::ImageLayout::GENERAL;
    let region = vk::BufferImageCopy::default().image_extent(image.extent.into()).image_subresource(
        vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1),
    );
    vulkan.begin_rendering(cb, image);
    // SAFETY: recording with live objects.
    unsafe {
        device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::GRAPHICS, pipeline);
        device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, push.as_flattened());
        (0..3).for_each(|_| device.cmd_draw(cb, 3, 1, 0, 0));
        device.cmd_end_rendering(cb);
        vulkan.barrier(device, cb, &image_barrier(image.image, general, general));
        device.cmd_copy_image_to_buffer(cb, image.image, general, readback, &[region]);
        let host = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ);
        let (from, to) = (vk::PipelineStageFlags::TRANSFER, vk::PipelineStageFlags::HOST);
        device.cmd_pipeline_barrier(cb, from, to, vk::DependencyFlags::empty(), &[host], &[], &[]);
    }
}
