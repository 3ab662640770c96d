//! A program that uses the hottest commands, each a number of times.

use ash::vk;

use super::TIMES;
use crate::vulkan::{
    Buffer, Constant, GraphicsPipeline, Image, Vulkan, image_barrier, image_view_info, shader,
};

/// Records, updates, creates and submits; nothing that is drawn is ever executed.
pub(crate) fn run() {
    let vulkan = Vulkan::open();
    let image = vulkan.image(64, 64);
    let usage = vk::BufferUsageFlags::VERTEX_BUFFER
        | vk::BufferUsageFlags::INDEX_BUFFER
        | vk::BufferUsageFlags::UNIFORM_BUFFER
        | vk::BufferUsageFlags::TRANSFER_SRC
        | vk::BufferUsageFlags::TRANSFER_DST;
    let buffer = vulkan.buffer(64 << 10, usage);
    let cb = vulkan.command_buffer();
    let sets = update(&vulkan, &buffer);
    vulkan.record(cb, |device| {
        outside(&vulkan, device, cb, &image, &buffer);
        inside(&vulkan, device, cb, &image, &buffer, &sets);
    });
    create(&vulkan, &image);
    submit(&vulkan);
}

/// A set layout, and sets that were updated a number of times.
fn update(vulkan: &Vulkan, buffer: &Buffer) -> (vk::DescriptorSetLayout, Vec<vk::DescriptorSet>) {
    let kind = vk::DescriptorType::UNIFORM_BUFFER;
    let layout = vulkan.set_layout(kind);
    (layout, vulkan.sets(kind, layout, TIMES, buffer.buffer))
}

/// Commands outside of rendering.
fn outside(vulkan: &Vulkan, device: &ash::Device, cb: vk::CommandBuffer, image: &Image, buffer: &Buffer) {
    let general = vk::ImageLayout::GENERAL;
    let one = image_barrier(image.image, general, general);
    let two = [vk::ImageMemoryBarrier2::default()
        .image(image.image)
        .old_layout(general)
        .new_layout(general)
        .subresource_range(one.subresource_range)];
    let dependency = vk::DependencyInfo::default().image_memory_barriers(&two);
    let copy = [vk::BufferCopy { src_offset: 0, dst_offset: 32 << 10, size: 4096 }];
    let region = [vk::BufferImageCopy::default().image_extent(image.extent.into()).image_subresource(
        vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1),
    )];
    for _ in 0..TIMES {
        vulkan.barrier(device, cb, &one);
        // SAFETY: recording with live objects.
        unsafe {
            device.cmd_pipeline_barrier2(cb, &dependency);
            device.cmd_copy_buffer(cb, buffer.buffer, buffer.buffer, &copy);
            device.cmd_copy_buffer_to_image(cb, buffer.buffer, image.image, general, &region);
            device.cmd_dispatch(cb, 1, 1, 1);
        }
    }
}

/// Commands of rendering.
fn inside(
    vulkan: &Vulkan,
    device: &ash::Device,
    cb: vk::CommandBuffer,
    image: &Image,
    buffer: &Buffer,
    (set_layout, sets): &(vk::DescriptorSetLayout, Vec<vk::DescriptorSet>),
) {
    let layout = vulkan.layout(&[*set_layout]);
    let pipeline = vulkan.graphics_pipeline(&GraphicsPipeline {
        vertex: vulkan.module(shader!("mesh.vert")),
        fragment: Some(vulkan.module(shader!("mesh.frag"))),
        layout,
        mesh: true,
        blend: false,
        constant: Constant(0),
    });
    let (graphics, stages) = (vk::PipelineBindPoint::GRAPHICS, vk::ShaderStageFlags::ALL);
    for set in sets {
        // `begin_rendering` also sets viewport and scissor.
        vulkan.begin_rendering(cb, image);
        // SAFETY: recording with live objects.
        unsafe {
            device.cmd_bind_pipeline(cb, graphics, pipeline);
            device.cmd_bind_vertex_buffers(cb, 0, &[buffer.buffer; 2], &[0, 256]);
            device.cmd_bind_index_buffer(cb, buffer.buffer, 0, vk::IndexType::UINT32);
            device.cmd_bind_descriptor_sets(cb, graphics, layout, 0, &[*set], &[]);
            device.cmd_push_constants(cb, layout, stages, 0, &[0; 16]);
            device.cmd_draw(cb, 3, 1, 0, 0);
            device.cmd_draw_indexed(cb, 3, 1, 0, 0, 0);
            device.cmd_end_rendering(cb);
        }
    }
}

fn create(vulkan: &Vulkan, image: &Image) {
    let info = vk::BufferCreateInfo::default().size(4096).usage(vk::BufferUsageFlags::VERTEX_BUFFER);
    let view_info = image_view_info(image.image);
    for _ in 0..TIMES {
        // SAFETY: Vulkan calls; nothing uses the new objects.
        unsafe {
            let buffer = vulkan.device.create_buffer(&info, None).expect("a buffer");
            let view = vulkan.device.create_image_view(&view_info, None).expect("a view");
            vulkan.device.destroy_buffer(buffer, None);
            vulkan.device.destroy_image_view(view, None);
        }
    }
}

fn submit(vulkan: &Vulkan) {
    vulkan.record(vulkan.command_buffer, |_| ());
    for _ in 0..TIMES {
        vulkan.run(vulkan.command_buffer);
    }
}
