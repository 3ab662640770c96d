//! Sampler conversions of colour models, and images of several planes.

use ash::vk;

use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, pattern};
use crate::shaders;

/// A frame of two or three planes, sampled as RGB.
pub(super) unsafe fn planes(gpu: &Gpu, report: &Report) {
    if gpu.more.v11.sampler_ycbcr_conversion == 0 {
        report.line("conversions", "not offered");
        return;
    }
    let formats = [vk::Format::G8_B8R8_2PLANE_420_UNORM, vk::Format::G8_B8_R8_3PLANE_420_UNORM];
    for format in formats {
        let found = gpu.instance.get_physical_device_format_properties(gpu.physical, format);
        let wanted = vk::FormatFeatureFlags::SAMPLED_IMAGE | vk::FormatFeatureFlags::TRANSFER_DST;
        if !found.optimal_tiling_features.contains(wanted) {
            report.line(&format!("{format:?}"), "not offered");
            continue;
        }
        for model in [
            vk::SamplerYcbcrModelConversion::RGB_IDENTITY,
            vk::SamplerYcbcrModelConversion::YCBCR_601,
            vk::SamplerYcbcrModelConversion::YCBCR_709,
        ] {
            let midpoint = vk::FormatFeatureFlags::MIDPOINT_CHROMA_SAMPLES;
            let location = if found.optimal_tiling_features.contains(midpoint) {
                vk::ChromaLocation::MIDPOINT
            } else {
                vk::ChromaLocation::COSITED_EVEN
            };
            let info = vk::SamplerYcbcrConversionCreateInfo::default()
                .format(format)
                .ycbcr_model(model)
                .ycbcr_range(vk::SamplerYcbcrRange::ITU_NARROW)
                .x_chroma_offset(location)
                .y_chroma_offset(location)
                .chroma_filter(vk::Filter::NEAREST);
            let conversion = gpu.device.create_sampler_ycbcr_conversion(&info, None).unwrap();
            gpu.later(move |device| device.destroy_sampler_ycbcr_conversion(conversion, None));
            let result = sample(gpu, format, conversion);
            report.bytes(&format!("{format:?} {model:?}"), &result);
        }
    }
}

/// The size of the frame in pixels.
const SIDE: u32 = 16;

/// Fills each plane, samples the frame on a grid.
unsafe fn sample(gpu: &Gpu, format: vk::Format, conversion: vk::SamplerYcbcrConversion) -> Vec<u8> {
    let usage = vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::TRANSFER_DST;
    let info = crate::resources::plain(format, SIDE, usage);
    let image = gpu.device.create_image(&info, None).unwrap();
    let needs = gpu.device.get_image_memory_requirements(image);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(needs.size)
        .memory_type_index(gpu.memory_type(needs.memory_type_bits, vk::MemoryPropertyFlags::empty()));
    let memory = gpu.device.allocate_memory(&info, None).unwrap();
    gpu.device.bind_image_memory(image, memory, 0).unwrap();
    let mut how = vk::SamplerYcbcrConversionInfo::default().conversion(conversion);
    let whole = vk::ImageSubresourceRange {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        base_mip_level: 0,
        level_count: 1,
        base_array_layer: 0,
        layer_count: 1,
    };
    let info = vk::ImageViewCreateInfo::default()
        .image(image)
        .view_type(vk::ImageViewType::TYPE_2D)
        .format(format)
        .subresource_range(whole)
        .push_next(&mut how);
    let view = gpu.device.create_image_view(&info, None).unwrap();
    let edge = vk::SamplerAddressMode::CLAMP_TO_EDGE;
    let mut how = vk::SamplerYcbcrConversionInfo::default().conversion(conversion);
    let info = vk::SamplerCreateInfo::default().address_mode_u(edge).address_mode_v(edge).push_next(&mut how);
    let sampler = gpu.device.create_sampler(&info, None).unwrap();
    gpu.later(move |device| {
        device.destroy_sampler(sampler, None);
        device.destroy_image_view(view, None);
        device.destroy_image(image, None);
        device.free_memory(memory, None);
    });

    let texels = gpu.buffer_of(&(0..SIDE * SIDE).map(|i| pattern(i, 40)).collect::<Vec<u32>>());
    let planes = if format == vk::Format::G8_B8R8_2PLANE_420_UNORM { 2 } else { 3 };
    let aspects =
        [vk::ImageAspectFlags::PLANE_0, vk::ImageAspectFlags::PLANE_1, vk::ImageAspectFlags::PLANE_2];
    gpu.run(|cb| {
        let barrier = vk::ImageMemoryBarrier::default()
            .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)
            .new_layout(vk::ImageLayout::GENERAL)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image)
            .subresource_range(whole);
        let stages = vk::PipelineStageFlags::ALL_COMMANDS;
        let flags = vk::DependencyFlags::empty();
        gpu.device.cmd_pipeline_barrier(cb, stages, stages, flags, &[], &[], &[barrier]);
        for (i, aspect) in aspects.into_iter().take(planes).enumerate() {
            let side = if i == 0 { SIDE } else { SIDE / 2 };
            let region = vk::BufferImageCopy::default()
                .buffer_offset(256 * i as u64)
                .image_subresource(vk::ImageSubresourceLayers {
                    aspect_mask: aspect,
                    mip_level: 0,
                    base_array_layer: 0,
                    layer_count: 1,
                })
                .image_extent(vk::Extent3D { width: side, height: side, depth: 1 });
            let general = vk::ImageLayout::GENERAL;
            gpu.device.cmd_copy_buffer_to_image(cb, texels.handle, image, general, &[region]);
        }
        crate::commands::barrier_all(&gpu.device, cb);
    });

    let kinds = [vk::DescriptorType::COMBINED_IMAGE_SAMPLER, vk::DescriptorType::STORAGE_BUFFER];
    let samplers = [sampler];
    let binding = |binding: u32| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(binding)
            .descriptor_type(kinds[binding as usize])
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let bindings = [binding(0).immutable_samplers(&samplers), binding(1)];
    let layout = gpu.set_layout_of(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings));
    let set = gpu.set(layout, &kinds);
    let result = gpu.buffer(16 * 16 * 16, ANY_USE);
    gpu.write_image(set, 0, kinds[0], view, vk::Sampler::null());
    gpu.write_buffer(set, 1, kinds[1], result.whole());
    gpu.dispatch(shaders::SAMPLE, &[(layout, set)], bytemuck::cast_slice(&[1.0f32, 0.0]), [2, 2, 1]);
    result.read()
}
