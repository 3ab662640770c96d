//! Real calls against their bytes in `golden/`: a change of the wire format shows up as a diff there.
//!
//! `VW_UPDATE_GOLDEN=1 cargo test -p vw-wire-protocol --test golden` writes the files anew.
#![cfg(not(miri))]

mod common;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::ptr::{from_mut, from_ref, null};

use ash::vk::{self, Handle};
use common::host::Objects;
use common::written;
use vw_wire_protocol::codec::{Arena, Reader, decode_reply, decode_request, encode_reply, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::Command;

/// A pointer as an argument.
fn slot<T>(t: &T) -> u64 {
    from_ref(t).expose_provenance() as u64
}

fn slot_mut<T>(t: &mut T) -> u64 {
    from_mut(t).expose_provenance() as u64
}

fn id<T: Handle>(raw: u64) -> T {
    T::from_raw(raw)
}

/// Compares the request of a call with the file of its name, and checks that it decodes.
fn check(name: &str, cmd: &'static Command, args: &[u64], objects: &mut Objects) {
    // SAFETY: the tests pass arguments with which the command may be called.
    let bytes = unsafe { written(|w| encode_request(cmd, args, w)) };
    let arena = Arena::default();
    let mut r = Reader::new(&bytes);
    // SAFETY: the command is of the tables.
    unsafe { decode_request(cmd, &mut r, &arena, objects) }.expect("encoded by ourselves");
    assert_eq!(r.left(), 0);
    compare(name, &bytes);
}

fn compare(name: &str, bytes: &[u8]) {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(text, "{}", hex.join(" ")).expect("a string takes anything");
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("VW_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the golden files can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, text, "{name} differs from {}", path.display());
}

fn device(objects: &mut Objects) -> u64 {
    objects.handle(HandleType::Device, 0x1_0000_0001)
}

fn command_buffer(objects: &mut Objects) -> u64 {
    objects.handle(HandleType::CommandBuffer, 0x1_0000_0009)
}

#[test]
fn create_buffer() {
    let mut o = Objects::default();
    let families = [0xAAu32, 0xBB];
    let info = vk::BufferCreateInfo::default()
        .size(4096)
        .usage(vk::BufferUsageFlags::VERTEX_BUFFER | vk::BufferUsageFlags::TRANSFER_DST)
        .sharing_mode(vk::SharingMode::CONCURRENT)
        .queue_family_indices(&families);
    let mut buffer = vk::Buffer::from_raw(0x2_0000_0003);
    let args = [device(&mut o), slot(&info), 0, slot_mut(&mut buffer)];
    check("vkCreateBuffer", &commands::VK_CREATE_BUFFER, &args, &mut o);
}

#[test]
fn create_image_with_a_format_list() {
    let mut o = Objects::default();
    let formats = [vk::Format::R8G8B8A8_UNORM, vk::Format::R8G8B8A8_SRGB];
    let mut list = vk::ImageFormatListCreateInfo::default().view_formats(&formats);
    let info = vk::ImageCreateInfo::default()
        .flags(vk::ImageCreateFlags::MUTABLE_FORMAT)
        .image_type(vk::ImageType::TYPE_2D)
        .format(vk::Format::R8G8B8A8_UNORM)
        .extent(vk::Extent3D { width: 640, height: 480, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::SAMPLED)
        .push_next(&mut list);
    let mut image = vk::Image::from_raw(7);
    let args = [device(&mut o), slot(&info), 0, slot_mut(&mut image)];
    check("vkCreateImage", &commands::VK_CREATE_IMAGE, &args, &mut o);
}

#[test]
fn create_graphics_pipeline() {
    let mut o = Objects::default();
    let value = 0x1234_5678u32.to_le_bytes();
    let entries = [vk::SpecializationMapEntry { constant_id: 3, offset: 0, size: 4 }];
    let specialization = vk::SpecializationInfo::default().map_entries(&entries).data(&value);
    let stages = [
        vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::VERTEX)
            .module(id(4))
            .name(c"main")
            .specialization_info(&specialization),
        vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::FRAGMENT)
            .module(id(5))
            .name(c"shade"),
    ];
    let bindings = [vk::VertexInputBindingDescription { stride: 20, ..Default::default() }];
    let attributes =
        [vk::VertexInputAttributeDescription { format: vk::Format::R32G32B32_SFLOAT, ..Default::default() }];
    let vertex_input = vk::PipelineVertexInputStateCreateInfo::default()
        .vertex_binding_descriptions(&bindings)
        .vertex_attribute_descriptions(&attributes);
    let assembly =
        vk::PipelineInputAssemblyStateCreateInfo::default().topology(vk::PrimitiveTopology::TRIANGLE_LIST);
    let viewports = [vk::Viewport { width: 640.0, height: 480.0, max_depth: 1.0, ..Default::default() }];
    let scissors = [vk::Rect2D { extent: vk::Extent2D { width: 640, height: 480 }, ..Default::default() }];
    let viewport = vk::PipelineViewportStateCreateInfo::default().viewports(&viewports).scissors(&scissors);
    let raster = vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0);
    let mask = [0xFFFF_FFFFu32];
    let multisample = vk::PipelineMultisampleStateCreateInfo::default()
        .rasterization_samples(vk::SampleCountFlags::TYPE_1)
        .sample_mask(&mask);
    let attachments = [vk::PipelineColorBlendAttachmentState {
        color_write_mask: vk::ColorComponentFlags::RGBA,
        ..Default::default()
    }];
    let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&attachments);
    let dynamic = [vk::DynamicState::LINE_WIDTH];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&dynamic);
    let formats = [vk::Format::R8G8B8A8_UNORM];
    let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
    let infos = [vk::GraphicsPipelineCreateInfo::default()
        .stages(&stages)
        .vertex_input_state(&vertex_input)
        .input_assembly_state(&assembly)
        .viewport_state(&viewport)
        .rasterization_state(&raster)
        .multisample_state(&multisample)
        .color_blend_state(&blend)
        .dynamic_state(&dynamic)
        .layout(id(6))
        .base_pipeline_index(-1)
        .push_next(&mut rendering)];
    let mut pipelines = [vk::Pipeline::from_raw(8)];
    let args = [device(&mut o), 0, infos.len() as u64, slot(&infos), 0, slot_mut(&mut pipelines)];
    check("vkCreateGraphicsPipelines", &commands::VK_CREATE_GRAPHICS_PIPELINES, &args, &mut o);
}

#[test]
fn update_descriptor_sets() {
    let mut o = Objects::default();
    let buffers = [vk::DescriptorBufferInfo { buffer: id(3), offset: 256, range: vk::WHOLE_SIZE }];
    let images = [vk::DescriptorImageInfo {
        sampler: id(4),
        image_view: id(5),
        image_layout: vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL,
    }];
    let writes = [
        vk::WriteDescriptorSet::default()
            .dst_set(id(2))
            .descriptor_type(vk::DescriptorType::UNIFORM_BUFFER)
            .buffer_info(&buffers),
        vk::WriteDescriptorSet::default()
            .dst_set(id(2))
            .dst_binding(1)
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .image_info(&images),
    ];
    let copies = [vk::CopyDescriptorSet::default().src_set(id(2)).dst_set(id(6)).descriptor_count(1)];
    let args = [device(&mut o), writes.len() as u64, slot(&writes), copies.len() as u64, slot(&copies)];
    check("vkUpdateDescriptorSets", &commands::VK_UPDATE_DESCRIPTOR_SETS, &args, &mut o);
}

#[test]
fn queue_submit_2() {
    let mut o = Objects::default();
    let queue = o.handle(HandleType::Queue, 2);
    let cb = vk::CommandBuffer::from_raw(command_buffer(&mut o));
    let waits = [vk::SemaphoreSubmitInfo::default()
        .semaphore(id(3))
        .value(17)
        .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
    let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(cb)];
    let signals = [vk::SemaphoreSubmitInfo::default().semaphore(id(3)).value(18)];
    let submits = [vk::SubmitInfo2::default()
        .wait_semaphore_infos(&waits)
        .command_buffer_infos(&buffers)
        .signal_semaphore_infos(&signals)];
    let args = [queue, submits.len() as u64, slot(&submits), 0];
    check("vkQueueSubmit2", &commands::VK_QUEUE_SUBMIT_2, &args, &mut o);
}

#[test]
fn create_render_pass_2() {
    let mut o = Objects::default();
    let attachments = [vk::AttachmentDescription2::default()
        .format(vk::Format::B8G8R8A8_UNORM)
        .samples(vk::SampleCountFlags::TYPE_1)
        .final_layout(vk::ImageLayout::TRANSFER_SRC_OPTIMAL)];
    let color = [vk::AttachmentReference2::default()
        .layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)
        .aspect_mask(vk::ImageAspectFlags::COLOR)];
    let subpasses = [vk::SubpassDescription2::default().color_attachments(&color)];
    let info = vk::RenderPassCreateInfo2::default().attachments(&attachments).subpasses(&subpasses);
    let mut pass = vk::RenderPass::from_raw(11);
    let args = [device(&mut o), slot(&info), 0, slot_mut(&mut pass)];
    check("vkCreateRenderPass2", &commands::VK_CREATE_RENDER_PASS_2, &args, &mut o);
}

#[test]
fn begin_rendering() {
    let mut o = Objects::default();
    let clear = vk::ClearValue { color: vk::ClearColorValue { float32: [0.25, 0.5, 0.75, 1.0] } };
    let color = [vk::RenderingAttachmentInfo::default()
        .image_view(id(5))
        .image_layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)
        .load_op(vk::AttachmentLoadOp::CLEAR)
        .clear_value(clear)];
    let info = vk::RenderingInfo::default()
        .render_area(vk::Rect2D { extent: vk::Extent2D { width: 64, height: 32 }, ..Default::default() })
        .layer_count(1)
        .color_attachments(&color);
    let args = [command_buffer(&mut o), slot(&info)];
    check("vkCmdBeginRendering", &commands::VK_CMD_BEGIN_RENDERING, &args, &mut o);
}

#[test]
fn pipeline_barrier_2() {
    let mut o = Objects::default();
    let images = [vk::ImageMemoryBarrier2::default()
        .src_stage_mask(vk::PipelineStageFlags2::COLOR_ATTACHMENT_OUTPUT)
        .old_layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)
        .new_layout(vk::ImageLayout::TRANSFER_SRC_OPTIMAL)
        .image(id(7))
        .subresource_range(vk::ImageSubresourceRange {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            level_count: 1,
            layer_count: 1,
            ..Default::default()
        })];
    let info = vk::DependencyInfo::default().image_memory_barriers(&images);
    let args = [command_buffer(&mut o), slot(&info)];
    check("vkCmdPipelineBarrier2", &commands::VK_CMD_PIPELINE_BARRIER_2, &args, &mut o);
}

#[test]
fn hot_commands_of_a_command_buffer() {
    let mut o = Objects::default();
    let cb = command_buffer(&mut o);
    check("vkCmdDraw", &commands::VK_CMD_DRAW, &[cb, 3, 1, 0, 0], &mut o);
    let (buffers, offsets) = ([0x21u64, 0x22], [0u64, 1024]);
    let args = [cb, 1, 2, slot(&buffers), slot(&offsets)];
    check("vkCmdBindVertexBuffers", &commands::VK_CMD_BIND_VERTEX_BUFFERS, &args, &mut o);
    let data = [1u8, 2, 3, 4, 5, 6, 7, 8];
    let stages = u64::from(vk::ShaderStageFlags::VERTEX.as_raw());
    let args = [cb, 6, stages, 16, data.len() as u64, slot(&data)];
    check("vkCmdPushConstants", &commands::VK_CMD_PUSH_CONSTANTS, &args, &mut o);
    let (sets, dynamic) = ([0x31u64], [64u32]);
    let args = [cb, 0, 6, 0, 1, slot(&sets), 1, slot(&dynamic)];
    check("vkCmdBindDescriptorSets", &commands::VK_CMD_BIND_DESCRIPTOR_SETS, &args, &mut o);
}

#[test]
fn create_shader_module() {
    let mut o = Objects::default();
    let code = [0x0723_0203u32, 0x0001_0000, 0, 1, 0];
    let info = vk::ShaderModuleCreateInfo::default().code(&code);
    let mut module = vk::ShaderModule::from_raw(4);
    let args = [device(&mut o), slot(&info), 0, slot_mut(&mut module)];
    check("vkCreateShaderModule", &commands::VK_CREATE_SHADER_MODULE, &args, &mut o);
}

#[test]
fn create_descriptor_set_layout_ignores_samplers_of_other_types() {
    let mut o = Objects::default();
    let samplers = [id(4)];
    let mut bindings = [
        vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(vk::DescriptorType::COMBINED_IMAGE_SAMPLER)
            .immutable_samplers(&samplers),
        vk::DescriptorSetLayoutBinding::default()
            .binding(1)
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .descriptor_count(1),
    ];
    bindings[1].p_immutable_samplers = null();
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    let mut layout = vk::DescriptorSetLayout::from_raw(9);
    let args = [device(&mut o), slot(&info), 0, slot_mut(&mut layout)];
    check("vkCreateDescriptorSetLayout", &commands::VK_CREATE_DESCRIPTOR_SET_LAYOUT, &args, &mut o);
}

#[test]
fn memory_requirements_travel_back() {
    let mut o = Objects::default();
    let info = vk::ImageMemoryRequirementsInfo2::default().image(id(7));
    let mut dedicated = vk::MemoryDedicatedRequirements::default();
    let mut requirements = vk::MemoryRequirements2::default().push_next(&mut dedicated);
    let cmd = &commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS_2;
    let args = [device(&mut o), slot(&info), slot_mut(&mut requirements)];
    check("vkGetImageMemoryRequirements2", cmd, &args, &mut o);
    let arena = Arena::default();
    // SAFETY: the arguments are of the command; the "driver" fills what the request made room for.
    unsafe {
        let bytes = written(|w| encode_request(cmd, &args, w));
        let req =
            decode_request(cmd, &mut Reader::new(&bytes), &arena, &mut o).expect("encoded by ourselves");
        let host: *mut vk::MemoryRequirements2<'_> =
            std::ptr::with_exposed_provenance_mut(req.args[2] as usize);
        (*host).memory_requirements =
            vk::MemoryRequirements { size: 65536, alignment: 256, memory_type_bits: 5 };
        (*(*host).p_next.cast::<vk::MemoryDedicatedRequirements<'_>>()).prefers_dedicated_allocation =
            vk::TRUE;
        let reply = written(|w| encode_reply(cmd, &req, 0, w));
        compare("vkGetImageMemoryRequirements2.reply", &reply);
        assert_eq!(decode_reply(cmd, &args, &mut Reader::new(&reply)), Ok(0));
    }
    assert_eq!(requirements.memory_requirements.size, 65536);
    assert_eq!(dedicated.prefers_dedicated_allocation, vk::TRUE);
}
