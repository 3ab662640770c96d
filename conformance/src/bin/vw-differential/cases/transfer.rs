//! Copies, blits, clears, resolves, fills, updates.

use ash::vk;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State, area, cleared};
use crate::report::Report;
use crate::resources::{ANY_USE, SIDE, TARGET, pattern, plain};

const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;

pub(super) unsafe fn buffers(gpu: &Gpu, report: &Report) {
    let source = gpu.buffer_of(&(0..1024).map(|i| pattern(i, 80)).collect::<Vec<u32>>());
    let target = gpu.buffer(4096, ANY_USE);
    gpu.run(|cb| {
        let region = |src_offset, dst_offset, size| vk::BufferCopy { src_offset, dst_offset, size };
        let regions = [region(0, 100, 33), region(1000, 500, 1), region(4000, 0, 96), region(7, 2001, 1999)];
        gpu.device.cmd_copy_buffer(cb, source.handle, target.handle, &regions);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("regions", &target.read());
}

pub(super) unsafe fn images(gpu: &Gpu, report: &Report) {
    let source = gpu.patterned(32, 81);
    let target = gpu.image(&plain(COLOUR, 32, TARGET).array_layers(3));
    gpu.run(|cb| {
        gpu.to_general(cb, &target);
        let black = vk::ClearColorValue::default();
        gpu.device.cmd_clear_color_image(cb, target.handle, GENERAL, &black, &[target.all()]);
        barrier_all(&gpu.device, cb);
        let region = |layer, x, size| {
            vk::ImageCopy::default()
                .src_subresource(source.layers_of(0))
                .src_offset(vk::Offset3D { x, y: 3, z: 0 })
                .dst_subresource(vk::ImageSubresourceLayers {
                    base_array_layer: layer,
                    ..source.layers_of(0)
                })
                .dst_offset(vk::Offset3D { x: 1, y: 2, z: 0 })
                .extent(vk::Extent3D { width: size, height: size, depth: 1 })
        };
        let regions = [region(0, 0, 20), region(1, 5, 7), region(2, 8, 16)];
        gpu.device.cmd_copy_image(cb, source.handle, GENERAL, target.handle, GENERAL, &regions);
    });
    for layer in 0..3 {
        report.pixels(&format!("layer {layer}"), 32, 32, &gpu.read_image(&target, 4, 0, layer));
    }
    // Rows longer than the image, an offset, a part of the image.
    let rows = gpu.buffer_of(&(0..4096).map(|i| pattern(i, 82)).collect::<Vec<u32>>());
    gpu.run(|cb| {
        let region = vk::BufferImageCopy {
            buffer_offset: 64,
            buffer_row_length: 50,
            buffer_image_height: 30,
            image_subresource: vk::ImageSubresourceLayers {
                base_array_layer: 1,
                layer_count: 2,
                ..source.layers_of(0)
            },
            image_offset: vk::Offset3D { x: 4, y: 6, z: 0 },
            image_extent: vk::Extent3D { width: 20, height: 9, depth: 1 },
        };
        gpu.device.cmd_copy_buffer_to_image(cb, rows.handle, target.handle, GENERAL, &[region]);
    });
    for layer in 1..3 {
        report.pixels(&format!("rows in layer {layer}"), 32, 32, &gpu.read_image(&target, 4, 0, layer));
    }
}

pub(super) unsafe fn blits(gpu: &Gpu, report: &Report) {
    let source = gpu.patterned(32, 83);
    let corner = |x, y| vk::Offset3D { x, y, z: 0 };
    let far = |x, y| vk::Offset3D { x, y, z: 1 };
    let areas = [
        ("larger", [corner(0, 0), far(32, 32)], [corner(0, 0), far(64, 64)]),
        ("smaller", [corner(2, 3), far(30, 31)], [corner(10, 10), far(23, 21)]),
        ("mirrored", [corner(0, 0), far(32, 32)], [corner(60, 4), far(4, 60)]),
        ("turned over", [corner(0, 32), far(32, 0)], [corner(0, 0), far(40, 20)]),
    ];
    for filter in [vk::Filter::NEAREST, vk::Filter::LINEAR] {
        for (label, from, to) in areas {
            let target = gpu.target();
            gpu.run(|cb| {
                gpu.to_general(cb, &target);
                let black = vk::ClearColorValue::default();
                gpu.device.cmd_clear_color_image(cb, target.handle, GENERAL, &black, &[target.all()]);
                barrier_all(&gpu.device, cb);
                let blit = vk::ImageBlit {
                    src_subresource: source.layers_of(0),
                    src_offsets: from,
                    dst_subresource: target.layers_of(0),
                    dst_offsets: to,
                };
                gpu.device.cmd_blit_image(
                    cb,
                    source.handle,
                    GENERAL,
                    target.handle,
                    GENERAL,
                    &[blit],
                    filter,
                );
            });
            gpu.show(report, &format!("{label} {filter:?}"), &target);
        }
    }
    let half = gpu.image(&plain(vk::Format::R16G16B16A16_SFLOAT, 32, TARGET));
    gpu.run(|cb| {
        gpu.to_general(cb, &half);
        let all = [corner(0, 0), far(32, 32)];
        let blit = vk::ImageBlit {
            src_subresource: source.layers_of(0),
            src_offsets: all,
            dst_subresource: half.layers_of(0),
            dst_offsets: all,
        };
        gpu.device.cmd_blit_image(
            cb,
            source.handle,
            GENERAL,
            half.handle,
            GENERAL,
            &[blit],
            vk::Filter::NEAREST,
        );
    });
    report.bytes("converted", &gpu.read_image(&half, 8, 0, 0));
}

pub(super) unsafe fn resolve(gpu: &Gpu, report: &Report) {
    let four = vk::SampleCountFlags::TYPE_4;
    let usage = vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC;
    let multi = gpu.image(&plain(COLOUR, SIDE, usage).samples(four));
    let target = gpu.target();
    let mut state = State::mesh();
    state.multisample = state.multisample.rasterization_samples(four);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    gpu.run(|cb| {
        gpu.to_general(cb, &multi);
        gpu.to_general(cb, &target);
        let colours = [cleared(&multi, crate::graphics::BACKGROUND)];
        let info =
            vk::RenderingInfo::default().render_area(area(SIDE)).layer_count(1).color_attachments(&colours);
        gpu.device.cmd_begin_rendering(cb, &info);
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        gpu.device.cmd_draw(cb, 9, 1, 0, 0);
        gpu.device.cmd_end_rendering(cb);
        barrier_all(&gpu.device, cb);
        let region = vk::ImageResolve::default()
            .src_subresource(multi.layers_of(0))
            .dst_subresource(target.layers_of(0))
            .extent(target.extent);
        gpu.device.cmd_resolve_image(cb, multi.handle, GENERAL, target.handle, GENERAL, &[region]);
    });
    gpu.show(report, "resolved", &target);
    let again = gpu.target();
    gpu.run(|cb| {
        gpu.to_general(cb, &again);
        let regions = [vk::ImageResolve2::default()
            .src_subresource(multi.layers_of(0))
            .dst_subresource(again.layers_of(0))
            .extent(again.extent)];
        let info = vk::ResolveImageInfo2::default()
            .src_image(multi.handle)
            .src_image_layout(GENERAL)
            .dst_image(again.handle)
            .dst_image_layout(GENERAL)
            .regions(&regions);
        gpu.device.cmd_resolve_image2(cb, &info);
    });
    gpu.show(report, "second version", &again);
}

pub(super) unsafe fn clears(gpu: &Gpu, report: &Report) {
    let image = gpu.image(&plain(COLOUR, 32, TARGET).mip_levels(4).array_layers(4));
    gpu.run(|cb| {
        gpu.to_general(cb, &image);
        for (i, (level, layer)) in [(0, 0), (1, 1), (3, 2)].into_iter().enumerate() {
            let value = vk::ClearColorValue { float32: [i as f32 / 3.0, 0.5, 1.0 - i as f32 / 3.0, 1.0] };
            let range = |level, layer| vk::ImageSubresourceRange {
                base_mip_level: level,
                level_count: vk::REMAINING_MIP_LEVELS,
                base_array_layer: layer,
                layer_count: vk::REMAINING_ARRAY_LAYERS,
                ..image.all()
            };
            gpu.device.cmd_clear_color_image(cb, image.handle, GENERAL, &value, &[range(level, layer)]);
            barrier_all(&gpu.device, cb);
        }
    });
    for (level, layer) in (0..4).flat_map(|level| (0..4).map(move |layer| (level, layer))) {
        report.bytes(&format!("level {level} layer {layer}"), &gpu.read_image(&image, 4, level, layer));
    }
}

pub(super) unsafe fn updates(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(70_000, ANY_USE);
    let data: Vec<u8> = (0..65_536u32).map(|i| (i ^ i >> 5) as u8).collect();
    gpu.run(|cb| {
        gpu.device.cmd_fill_buffer(cb, buffer.handle, 0, vk::WHOLE_SIZE, 0xcafe_f00d);
        barrier_all(&gpu.device, cb);
        gpu.device.cmd_update_buffer(cb, buffer.handle, 4, &data[..4]);
        gpu.device.cmd_update_buffer(cb, buffer.handle, 100, &data[..1000]);
        barrier_all(&gpu.device, cb);
        gpu.device.cmd_update_buffer(cb, buffer.handle, 4000, &data);
        barrier_all(&gpu.device, cb);
        gpu.device.cmd_fill_buffer(cb, buffer.handle, 8000, 400, 0);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("updated", &buffer.read());
}

/// The same operations as structures that can be extended.
pub(super) unsafe fn second_version(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let source = gpu.patterned(32, 84);
    let (copied, blitted) = (gpu.image(&plain(COLOUR, 32, TARGET)), gpu.target());
    let bytes = gpu.buffer(32 * 32 * 4, ANY_USE);
    let again = gpu.buffer(32 * 32 * 4, ANY_USE);
    let back = gpu.image(&plain(COLOUR, 32, TARGET));
    gpu.run(|cb| {
        [&copied, &blitted, &back].into_iter().for_each(|image| gpu.to_general(cb, image));
        let regions = [vk::ImageCopy2::default()
            .src_subresource(source.layers_of(0))
            .dst_subresource(source.layers_of(0))
            .extent(source.extent)];
        let info = vk::CopyImageInfo2::default()
            .src_image(source.handle)
            .src_image_layout(GENERAL)
            .dst_image(copied.handle)
            .dst_image_layout(GENERAL)
            .regions(&regions);
        device.cmd_copy_image2(cb, &info);
        let far = |size| vk::Offset3D { x: size, y: size, z: 1 };
        let regions = [vk::ImageBlit2::default()
            .src_subresource(source.layers_of(0))
            .src_offsets([vk::Offset3D::default(), far(32)])
            .dst_subresource(source.layers_of(0))
            .dst_offsets([vk::Offset3D::default(), far(64)])];
        let info = vk::BlitImageInfo2::default()
            .src_image(source.handle)
            .src_image_layout(GENERAL)
            .dst_image(blitted.handle)
            .dst_image_layout(GENERAL)
            .regions(&regions)
            .filter(vk::Filter::LINEAR);
        device.cmd_blit_image2(cb, &info);
        let regions = [vk::BufferImageCopy2::default()
            .image_subresource(source.layers_of(0))
            .image_extent(source.extent)];
        let info = vk::CopyImageToBufferInfo2::default()
            .src_image(source.handle)
            .src_image_layout(GENERAL)
            .dst_buffer(bytes.handle)
            .regions(&regions);
        device.cmd_copy_image_to_buffer2(cb, &info);
        let barriers = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_READ)];
        device.cmd_pipeline_barrier2(cb, &vk::DependencyInfo::default().memory_barriers(&barriers));
        let copies = [vk::BufferCopy2::default().size(32 * 32 * 4)];
        let info =
            vk::CopyBufferInfo2::default().src_buffer(bytes.handle).dst_buffer(again.handle).regions(&copies);
        device.cmd_copy_buffer2(cb, &info);
        device.cmd_pipeline_barrier2(cb, &vk::DependencyInfo::default().memory_barriers(&barriers));
        let info = vk::CopyBufferToImageInfo2::default()
            .src_buffer(again.handle)
            .dst_image(back.handle)
            .dst_image_layout(GENERAL)
            .regions(&regions);
        device.cmd_copy_buffer_to_image2(cb, &info);
    });
    gpu.show(report, "copied", &copied);
    gpu.show(report, "blitted", &blitted);
    gpu.show(report, "there and back", &back);
}
