//! Images of every shape, and their views.

use ash::vk;
use vk::{Format, ImageAspectFlags as Aspect, ImageUsageFlags as Use};

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{SIDE, TARGET, aspect_of, pattern, plain};

const TRANSFER: Use = Use::from_raw(Use::TRANSFER_SRC.as_raw() | Use::TRANSFER_DST.as_raw());

/// Clears an image of each format and reads it back.
pub(super) unsafe fn clears(gpu: &Gpu, report: &Report) {
    let formats = [
        (Format::R8_UNORM, 1),
        (Format::R8G8_UNORM, 2),
        (Format::R8G8B8A8_UNORM, 4),
        (Format::R8G8B8A8_SRGB, 4),
        (Format::B8G8R8A8_UNORM, 4),
        (Format::A2B10G10R10_UNORM_PACK32, 4),
        (Format::R5G6B5_UNORM_PACK16, 2),
        (Format::R16G16B16A16_SFLOAT, 8),
        (Format::R32_UINT, 4),
        (Format::R32G32B32A32_SFLOAT, 16),
        (Format::B10G11R11_UFLOAT_PACK32, 4),
        (Format::R8G8B8A8_SNORM, 4),
        (Format::R16_SINT, 2),
    ];
    for (format, texel) in formats {
        let image = gpu.image(&plain(format, 16, TRANSFER));
        gpu.run(|cb| {
            gpu.to_general(cb, &image);
            let value = match format {
                Format::R32_UINT => vk::ClearColorValue { uint32: [123_456, 2, 3, 4] },
                Format::R16_SINT => vk::ClearColorValue { int32: [-1234, 2, 3, 4] },
                _ => vk::ClearColorValue { float32: [0.25, 0.5, 0.75, 1.0] },
            };
            let layout = vk::ImageLayout::GENERAL;
            gpu.device.cmd_clear_color_image(cb, image.handle, layout, &value, &[image.all()]);
        });
        report.bytes(&format!("{format:?}"), &gpu.read_image(&image, texel, 0, 0));
    }
}

/// A chain of levels made by blits.
pub(super) unsafe fn levels(gpu: &Gpu, report: &Report) {
    let image = gpu.image(&plain(Format::R8G8B8A8_UNORM, SIDE, TARGET | Use::SAMPLED).mip_levels(7));
    let texels: Vec<u32> = (0..SIDE * SIDE).map(|i| pattern(i, 1)).collect();
    gpu.fill_image(&image, &gpu.buffer_of(&texels));
    gpu.run(|cb| {
        for level in 1..7 {
            let corner = |level| {
                let extent = image.extent_of(level);
                [
                    vk::Offset3D::default(),
                    vk::Offset3D { x: extent.width as i32, y: extent.height as i32, z: 1 },
                ]
            };
            let blit = vk::ImageBlit {
                src_subresource: image.layers_of(level - 1),
                src_offsets: corner(level - 1),
                dst_subresource: image.layers_of(level),
                dst_offsets: corner(level),
            };
            let general = vk::ImageLayout::GENERAL;
            gpu.device.cmd_blit_image(
                cb,
                image.handle,
                general,
                image.handle,
                general,
                &[blit],
                vk::Filter::LINEAR,
            );
            barrier_all(&gpu.device, cb);
        }
    });
    for level in 0..7 {
        let size = image.extent_of(level).width;
        report.pixels(&format!("level {level}"), size, size, &gpu.read_image(&image, 4, level, 0));
    }
}

pub(super) unsafe fn layers(gpu: &Gpu, report: &Report) {
    for (label, layers, flags) in [
        ("array", 5, vk::ImageCreateFlags::empty()),
        ("cube", 6, vk::ImageCreateFlags::CUBE_COMPATIBLE),
        ("cubes", 12, vk::ImageCreateFlags::CUBE_COMPATIBLE),
    ] {
        let info = plain(Format::R8G8B8A8_UNORM, 16, TARGET | Use::SAMPLED).array_layers(layers).flags(flags);
        let image = gpu.image(&info);
        let texels: Vec<u32> = (0..16 * 16 * layers).map(|i| pattern(i, layers)).collect();
        gpu.fill_image(&image, &gpu.buffer_of(&texels));
        for layer in 0..layers {
            report.bytes(&format!("{label} {layer}"), &gpu.read_image(&image, 4, 0, layer));
        }
        if layers == 12 {
            gpu.view(&image, vk::ImageViewType::CUBE_ARRAY, image.all());
        }
    }
}

pub(super) unsafe fn volumes(gpu: &Gpu, report: &Report) {
    let info = plain(Format::R8G8B8A8_UNORM, 16, TRANSFER | Use::SAMPLED)
        .image_type(vk::ImageType::TYPE_3D)
        .extent(vk::Extent3D { width: 16, height: 8, depth: 4 })
        .mip_levels(3);
    let image = gpu.image(&info);
    let texels: Vec<u32> = (0..16 * 8 * 4).map(|i| pattern(i, 2)).collect();
    gpu.fill_image(&image, &gpu.buffer_of(&texels));
    gpu.run(|cb| {
        let value = vk::ClearColorValue { float32: [1.0, 0.5, 0.0, 1.0] };
        let range = vk::ImageSubresourceRange { base_mip_level: 1, level_count: 2, ..image.all() };
        gpu.device.cmd_clear_color_image(cb, image.handle, vk::ImageLayout::GENERAL, &value, &[range]);
    });
    for level in 0..3 {
        report.bytes(&format!("level {level}"), &gpu.read_image(&image, 4, level, 0));
    }
}

/// Linear images, written by the host through the layout that the driver tells.
pub(super) unsafe fn linear(gpu: &Gpu, report: &Report) {
    let info = plain(Format::R8G8B8A8_UNORM, 20, TRANSFER)
        .tiling(vk::ImageTiling::LINEAR)
        .initial_layout(vk::ImageLayout::PREINITIALIZED);
    let handle = gpu.device.create_image(&info, None).unwrap();
    let needs = gpu.device.get_image_memory_requirements(handle);
    report.line("size", format!("{} {}", needs.size, needs.alignment));
    let kind = gpu.memory_type(needs.memory_type_bits, vk::MemoryPropertyFlags::HOST_VISIBLE);
    let allocate = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(kind);
    let memory = gpu.device.allocate_memory(&allocate, None).unwrap();
    gpu.device.bind_image_memory(handle, memory, 0).unwrap();
    let first = vk::ImageSubresource { aspect_mask: Aspect::COLOR, mip_level: 0, array_layer: 0 };
    let layout = gpu.device.get_image_subresource_layout(handle, first);
    report.line("layout", format!("{} {} {}", layout.offset, layout.size, layout.row_pitch));
    let place =
        gpu.device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).unwrap().cast::<u8>();
    for (x, y) in (0..20u64).flat_map(|y| (0..20u64).map(move |x| (x, y))) {
        let texel = place.add((layout.offset + y * layout.row_pitch + x * 4) as usize).cast::<u32>();
        texel.write_unaligned(pattern((y * 20 + x) as u32, 9));
    }
    let target = gpu.image(&plain(Format::R8G8B8A8_UNORM, 20, TRANSFER));
    gpu.run(|cb| {
        gpu.to_general(cb, &target);
        let barrier = vk::ImageMemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::HOST_WRITE)
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ)
            .old_layout(vk::ImageLayout::PREINITIALIZED)
            .new_layout(vk::ImageLayout::TRANSFER_SRC_OPTIMAL)
            .image(handle)
            .subresource_range(target.all());
        let (host, transfer) = (vk::PipelineStageFlags::HOST, vk::PipelineStageFlags::TRANSFER);
        gpu.device.cmd_pipeline_barrier(
            cb,
            host,
            transfer,
            vk::DependencyFlags::empty(),
            &[],
            &[],
            &[barrier],
        );
        let region = vk::ImageCopy::default()
            .src_subresource(target.layers_of(0))
            .dst_subresource(target.layers_of(0))
            .extent(target.extent);
        let (from, to) = (vk::ImageLayout::TRANSFER_SRC_OPTIMAL, vk::ImageLayout::GENERAL);
        gpu.device.cmd_copy_image(cb, handle, from, target.handle, to, &[region]);
    });
    gpu.show(report, "copied", &target);
    gpu.device.destroy_image(handle, None);
    gpu.device.free_memory(memory, None);
}

pub(super) unsafe fn one_dimension(gpu: &Gpu, report: &Report) {
    let info = plain(Format::R32_UINT, 128, TRANSFER | Use::STORAGE)
        .image_type(vk::ImageType::TYPE_1D)
        .extent(vk::Extent3D { width: 128, height: 1, depth: 1 })
        .array_layers(3);
    let image = gpu.image(&info);
    let texels: Vec<u32> = (0..128 * 3).map(|i| pattern(i, 4)).collect();
    gpu.fill_image(&image, &gpu.buffer_of(&texels));
    for layer in 0..3 {
        report.bytes(&format!("layer {layer}"), &gpu.read_image(&image, 4, 0, layer));
    }
}

pub(super) unsafe fn depth_stencil(gpu: &Gpu, report: &Report) {
    let formats = [
        (Format::D16_UNORM, 2),
        (Format::D32_SFLOAT, 4),
        (Format::D24_UNORM_S8_UINT, 4),
        (Format::D32_SFLOAT_S8_UINT, 4),
        (Format::S8_UINT, 0),
    ];
    for (format, texel) in formats {
        let found = gpu.instance.get_physical_device_format_properties(gpu.physical, format);
        let attachment = vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT;
        if !found.optimal_tiling_features.contains(attachment) {
            report.line(&format!("{format:?}"), "not offered");
            continue;
        }
        let image = gpu.image(&plain(format, 16, TRANSFER | Use::DEPTH_STENCIL_ATTACHMENT));
        gpu.run(|cb| {
            gpu.to_general(cb, &image);
            let value = vk::ClearDepthStencilValue { depth: 0.375, stencil: 0x5a };
            let layout = vk::ImageLayout::GENERAL;
            gpu.device.cmd_clear_depth_stencil_image(cb, image.handle, layout, &value, &[image.all()]);
        });
        if aspect_of(format).contains(Aspect::DEPTH) {
            let bytes = gpu.read_aspect(&image, Aspect::DEPTH, texel, 0, 0);
            report.bytes(&format!("{format:?} depth"), &bytes);
        }
        if aspect_of(format).contains(Aspect::STENCIL) {
            report.bytes(&format!("{format:?} stencil"), &gpu.read_aspect(&image, Aspect::STENCIL, 1, 0, 0));
        }
    }
}

/// Views of parts, with swizzled components, as other kinds.
pub(super) unsafe fn views(gpu: &Gpu, report: &Report) {
    let info = plain(Format::R8G8B8A8_UNORM, 32, TARGET | Use::SAMPLED)
        .array_layers(6)
        .mip_levels(4)
        .flags(vk::ImageCreateFlags::CUBE_COMPATIBLE);
    let image = gpu.image(&info);
    use vk::ImageViewType as Kind;
    for (kind, layers) in [(Kind::TYPE_2D, 1), (Kind::TYPE_2D_ARRAY, 3), (Kind::CUBE, 6)] {
        for level in 0..4 {
            let info = vk::ImageViewCreateInfo::default()
                .image(image.handle)
                .view_type(kind)
                .format(image.format)
                .components(vk::ComponentMapping {
                    r: vk::ComponentSwizzle::B,
                    g: vk::ComponentSwizzle::ONE,
                    b: vk::ComponentSwizzle::R,
                    a: vk::ComponentSwizzle::IDENTITY,
                })
                .subresource_range(vk::ImageSubresourceRange {
                    base_mip_level: level,
                    level_count: 4 - level,
                    layer_count: layers,
                    ..image.all()
                });
            let mut usage = vk::ImageViewUsageCreateInfo::default().usage(Use::SAMPLED);
            let view = gpu.device.create_image_view(&info.push_next(&mut usage), None);
            report.debug(&format!("{kind:?} from level {level}"), view.map(|_| ()));
            if let Ok(view) = view {
                gpu.device.destroy_image_view(view, None);
            }
        }
    }
}

/// One image seen in two formats.
pub(super) unsafe fn mutable(gpu: &Gpu, report: &Report) {
    let formats = [Format::R8G8B8A8_UNORM, Format::R32_UINT];
    let mut list = vk::ImageFormatListCreateInfo::default().view_formats(&formats);
    let info = plain(formats[0], 16, TARGET).flags(vk::ImageCreateFlags::MUTABLE_FORMAT).push_next(&mut list);
    let image = gpu.image(&info);
    let other = vk::ImageViewCreateInfo::default()
        .image(image.handle)
        .view_type(vk::ImageViewType::TYPE_2D)
        .format(formats[1])
        .subresource_range(image.all());
    let view = gpu.device.create_image_view(&other, None).unwrap();
    gpu.run(|cb| {
        gpu.to_general(cb, &image);
        let attachment = [vk::RenderingAttachmentInfo::default()
            .image_view(view)
            .image_layout(vk::ImageLayout::GENERAL)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .clear_value(vk::ClearValue { color: vk::ClearColorValue { uint32: [0x8040_2010, 0, 0, 0] } })];
        let info = vk::RenderingInfo::default()
            .render_area(crate::graphics::area(16))
            .layer_count(1)
            .color_attachments(&attachment);
        gpu.device.cmd_begin_rendering(cb, &info);
        gpu.device.cmd_end_rendering(cb);
    });
    gpu.show(report, "cleared as words", &image);
    gpu.device.destroy_image_view(view, None);
}

/// Blocks of compressed formats, copied in and decoded by a blit where that is offered.
pub(super) unsafe fn compressed(gpu: &Gpu, report: &Report) {
    let formats = [
        (Format::BC1_RGB_UNORM_BLOCK, 8u32),
        (Format::BC3_UNORM_BLOCK, 16),
        (Format::ETC2_R8G8B8_UNORM_BLOCK, 8),
    ];
    for (format, block) in formats {
        let found = gpu.instance.get_physical_device_format_properties(gpu.physical, format);
        if !found.optimal_tiling_features.contains(vk::FormatFeatureFlags::BLIT_SRC) {
            report.line(&format!("{format:?}"), "not offered");
            continue;
        }
        let image = gpu.image(&plain(format, 32, TRANSFER | Use::SAMPLED));
        let words: Vec<u32> = (0..8 * 8 * block / 4).map(|i| pattern(i, 11)).collect();
        gpu.fill_image(&image, &gpu.buffer_of(&words));
        let decoded = gpu.image(&plain(Format::R8G8B8A8_UNORM, 32, TARGET));
        gpu.run(|cb| {
            gpu.to_general(cb, &decoded);
            let corners = [vk::Offset3D::default(), vk::Offset3D { x: 32, y: 32, z: 1 }];
            let blit = vk::ImageBlit {
                src_subresource: image.layers_of(0),
                src_offsets: corners,
                dst_subresource: decoded.layers_of(0),
                dst_offsets: corners,
            };
            let general = vk::ImageLayout::GENERAL;
            gpu.device.cmd_blit_image(
                cb,
                image.handle,
                general,
                decoded.handle,
                general,
                &[blit],
                vk::Filter::NEAREST,
            );
        });
        gpu.show(report, &format!("{format:?}"), &decoded);
    }
}

pub(super) unsafe fn requirements(gpu: &Gpu, report: &Report) {
    for side in [1, 17, 256, 2048] {
        for format in
            [Format::R8_UNORM, Format::R8G8B8A8_UNORM, Format::R32G32B32A32_SFLOAT, Format::D32_SFLOAT]
        {
            let info = plain(format, side, TRANSFER);
            let image = gpu.device.create_image(&info, None).unwrap();
            let needs = gpu.device.get_image_memory_requirements(image);
            let mut again = vk::MemoryRequirements2::default();
            let ask = vk::DeviceImageMemoryRequirements::default().create_info(&info);
            gpu.device.get_device_image_memory_requirements(&ask, &mut again);
            let again = again.memory_requirements;
            report.line(
                &format!("{format:?} {side}"),
                format!(
                    "{} {} {:x}, {} {}",
                    needs.size, needs.alignment, needs.memory_type_bits, again.size, again.alignment
                ),
            );
            if gpu.features.sparse_residency_image2_d != 0 {
                let sparse = gpu.device.get_image_sparse_memory_requirements(image);
                report.line("sparse", sparse.len());
            }
            gpu.device.destroy_image(image, None);
        }
    }
}
