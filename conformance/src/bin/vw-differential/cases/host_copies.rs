//! Copies between the program's memory and images by the host's processor.

use ash::{ext, vk};

use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{Image, aspect_of, pattern, plain};

const GENERAL: vk::ImageLayout = vk::ImageLayout::GENERAL;
const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::HOST_TRANSFER_EXT.as_raw() | vk::ImageUsageFlags::TRANSFER_SRC.as_raw(),
);

fn functions(gpu: &Gpu) -> Option<ext::host_image_copy::Device> {
    gpu.has(ext::host_image_copy::NAME).then(|| ext::host_image_copy::Device::new(&gpu.instance, &gpu.device))
}

fn words(count: usize, seed: u32) -> Vec<u32> {
    (0..count as u32).map(|i| pattern(i, seed)).collect()
}

/// An image in the layout GENERAL, brought there by the host.
unsafe fn prepared(gpu: &Gpu, copy: &ext::host_image_copy::Device, info: &vk::ImageCreateInfo<'_>) -> Image {
    let image = gpu.image(&info.usage(USAGE));
    let transition = vk::HostImageLayoutTransitionInfoEXT::default()
        .image(image.handle)
        .old_layout(info.initial_layout)
        .new_layout(GENERAL)
        .subresource_range(image.all());
    copy.transition_image_layout(&[transition]).expect("a layout");
    image
}

/// Rows and slices longer than the image, in both directions: what lies between stays as it was.
pub(super) unsafe fn pitches(gpu: &Gpu, report: &Report) {
    let Some(copy) = functions(gpu) else { return report.line("offered", false) };
    let volume = vk::ImageCreateInfo {
        image_type: vk::ImageType::TYPE_3D,
        extent: vk::Extent3D { width: 20, height: 12, depth: 5 },
        ..plain(vk::Format::R8G8B8A8_UNORM, 20, USAGE)
    };
    let layers = plain(vk::Format::R8G8B8A8_UNORM, 20, USAGE).array_layers(4).mip_levels(2);
    let blocks = plain(vk::Format::BC1_RGB_UNORM_BLOCK, 20, USAGE).array_layers(2);
    let depth = plain(vk::Format::D32_SFLOAT, 20, USAGE);
    let linear = plain(vk::Format::R8G8B8A8_UNORM, 20, USAGE).tiling(vk::ImageTiling::LINEAR);
    let kinds =
        [("volume", volume), ("layers", layers), ("blocks", blocks), ("depth", depth), ("linear", linear)];
    for (name, info) in kinds {
        let image = prepared(gpu, &copy, &info);
        let extent = image.extent;
        let texels = words(40 * 40 * 5, 7);
        let up = vk::MemoryToImageCopyEXT::default()
            .host_pointer(texels.as_ptr().cast())
            .memory_row_length(24)
            .memory_image_height(28)
            .image_subresource(image.layers_of(0))
            .image_extent(extent);
        let info = vk::CopyMemoryToImageInfoEXT::default()
            .dst_image(image.handle)
            .dst_image_layout(GENERAL)
            .regions(std::slice::from_ref(&up));
        report.debug(&format!("{name} up"), copy.copy_memory_to_image(&info));
        let mut back = vec![0x5a5a_5a5a_u32; 40 * 40 * 5];
        let down = vk::ImageToMemoryCopyEXT::default()
            .host_pointer(back.as_mut_ptr().cast())
            .memory_row_length(32)
            .memory_image_height(20)
            .image_subresource(image.layers_of(0))
            .image_offset(vk::Offset3D { x: 4, y: 4, z: 0 })
            .image_extent(vk::Extent3D { width: 16, height: 8, depth: extent.depth });
        let info = vk::CopyImageToMemoryInfoEXT::default()
            .src_image(image.handle)
            .src_image_layout(GENERAL)
            .regions(std::slice::from_ref(&down));
        report.debug(&format!("{name} down"), copy.copy_image_to_memory(&info));
        report.bytes(&format!("{name} texels"), bytemuck::cast_slice(&back));
        if aspect_of(image.format) == vk::ImageAspectFlags::COLOR && image.layers == 4 {
            report.bytes("seen by the device", &gpu.read_image(&image, 4, 0, 3));
        }
    }
}

/// More than travels at a time, and images copied to each other.
pub(super) unsafe fn large(gpu: &Gpu, report: &Report) {
    let Some(copy) = functions(gpu) else { return report.line("offered", false) };
    let side = 1500;
    let info = plain(vk::Format::R8G8B8A8_UNORM, side, USAGE).array_layers(2);
    let (image, other) = (prepared(gpu, &copy, &info), prepared(gpu, &copy, &info));
    let texels = words((side * side * 2) as usize, 9);
    let up = vk::MemoryToImageCopyEXT::default()
        .host_pointer(texels.as_ptr().cast())
        .image_subresource(image.layers_of(0))
        .image_extent(image.extent);
    let info = vk::CopyMemoryToImageInfoEXT::default()
        .dst_image(image.handle)
        .dst_image_layout(GENERAL)
        .regions(std::slice::from_ref(&up));
    report.debug("up", copy.copy_memory_to_image(&info));
    let across = vk::ImageCopy2::default()
        .src_subresource(image.layers_of(0))
        .dst_subresource(image.layers_of(0))
        .extent(image.extent);
    let info = vk::CopyImageToImageInfoEXT::default()
        .src_image(image.handle)
        .src_image_layout(GENERAL)
        .dst_image(other.handle)
        .dst_image_layout(GENERAL)
        .regions(std::slice::from_ref(&across));
    report.debug("across", copy.copy_image_to_image(&info));
    let mut back = vec![0_u32; texels.len()];
    let down = vk::ImageToMemoryCopyEXT::default()
        .host_pointer(back.as_mut_ptr().cast())
        .image_subresource(image.layers_of(0))
        .image_extent(image.extent);
    let info = vk::CopyImageToMemoryInfoEXT::default()
        .src_image(other.handle)
        .src_image_layout(GENERAL)
        .regions(std::slice::from_ref(&down));
    report.debug("down", copy.copy_image_to_memory(&info));
    report.line("the same", back == texels);
}

/// Bytes of unknown order, out of one image and into another.
pub(super) unsafe fn opaque(gpu: &Gpu, report: &Report) {
    let Some(copy) = functions(gpu) else { return report.line("offered", false) };
    let info = plain(vk::Format::R8G8B8A8_UNORM, 40, USAGE).array_layers(3);
    let (image, other) = (prepared(gpu, &copy, &info), prepared(gpu, &copy, &info));
    let texels = words(40 * 40 * 3, 11);
    let up = vk::MemoryToImageCopyEXT::default()
        .host_pointer(texels.as_ptr().cast())
        .image_subresource(image.layers_of(0))
        .image_extent(image.extent);
    let info = vk::CopyMemoryToImageInfoEXT::default()
        .dst_image(image.handle)
        .dst_image_layout(GENERAL)
        .regions(std::slice::from_ref(&up));
    report.debug("up", copy.copy_memory_to_image(&info));
    let subresource = vk::ImageSubresource2KHR::default().image_subresource(vk::ImageSubresource {
        aspect_mask: image.aspect,
        mip_level: 0,
        array_layer: 0,
    });
    let mut size = vk::SubresourceHostMemcpySizeEXT::default();
    let mut layout = vk::SubresourceLayout2KHR::default().push_next(&mut size);
    copy.get_image_subresource_layout2(image.handle, &subresource, &mut layout);
    report.line("size", size.size);
    for layer in 0..3 {
        let mut bytes = vec![0_u8; size.size as usize];
        let place =
            vk::ImageSubresourceLayers { base_array_layer: layer, layer_count: 1, ..image.layers_of(0) };
        let down = vk::ImageToMemoryCopyEXT::default()
            .host_pointer(bytes.as_mut_ptr().cast())
            .image_subresource(place)
            .image_extent(image.extent);
        let info = vk::CopyImageToMemoryInfoEXT::default()
            .flags(vk::HostImageCopyFlagsEXT::MEMCPY)
            .src_image(image.handle)
            .src_image_layout(GENERAL)
            .regions(std::slice::from_ref(&down));
        report.debug("out", copy.copy_image_to_memory(&info));
        let up = vk::MemoryToImageCopyEXT::default()
            .host_pointer(bytes.as_ptr().cast())
            .image_subresource(place)
            .image_extent(image.extent);
        let info = vk::CopyMemoryToImageInfoEXT::default()
            .flags(vk::HostImageCopyFlagsEXT::MEMCPY)
            .dst_image(other.handle)
            .dst_image_layout(GENERAL)
            .regions(std::slice::from_ref(&up));
        report.debug("in", copy.copy_memory_to_image(&info));
        report.bytes("layer", &gpu.read_image(&other, 4, 0, layer));
    }
}

/// Such bytes of several layers at once, level by level; those that the driver does not need are not written.
pub(super) unsafe fn opaque_layers(gpu: &Gpu, report: &Report) {
    /// What bytes are that nobody wrote.
    const UNTOUCHED: u8 = 0x5a;
    let Some(copy) = functions(gpu) else { return report.line("offered", false) };
    let layers = plain(vk::Format::R8G8B8A8_UNORM, 40, USAGE).array_layers(3).mip_levels(2);
    let volume = vk::ImageCreateInfo {
        image_type: vk::ImageType::TYPE_3D,
        extent: vk::Extent3D { width: 20, height: 12, depth: 5 },
        ..plain(vk::Format::R8G8B8A8_UNORM, 20, USAGE)
    };
    let blocks = plain(vk::Format::BC1_RGB_UNORM_BLOCK, 20, USAGE).array_layers(2);
    for (name, info) in [("layers", layers), ("volume", volume), ("blocks", blocks)] {
        let (image, other) = (prepared(gpu, &copy, &info), prepared(gpu, &copy, &info));
        for level in 0..image.levels {
            let (place, extent) = (image.layers_of(level), image.extent_of(level));
            let texels = words(40 * 40 * 5, 13 + level);
            let up = vk::MemoryToImageCopyEXT::default()
                .host_pointer(texels.as_ptr().cast())
                .image_subresource(place)
                .image_extent(extent);
            let info = vk::CopyMemoryToImageInfoEXT::default()
                .dst_image(image.handle)
                .dst_image_layout(GENERAL)
                .regions(std::slice::from_ref(&up));
            copy.copy_memory_to_image(&info).unwrap();
            let subresource = vk::ImageSubresource2KHR::default().image_subresource(vk::ImageSubresource {
                aspect_mask: image.aspect,
                mip_level: level,
                array_layer: 0,
            });
            let mut size = vk::SubresourceHostMemcpySizeEXT::default();
            let mut layout = vk::SubresourceLayout2KHR::default().push_next(&mut size);
            copy.get_image_subresource_layout2(image.handle, &subresource, &mut layout);
            let label = format!("{name}, level {level}");
            report.line(&format!("{label}: size of one layer"), size.size);
            let all = size.size as usize * image.layers as usize;
            let mut bytes = vec![UNTOUCHED; all + 4096];
            let down = vk::ImageToMemoryCopyEXT::default()
                .host_pointer(bytes.as_mut_ptr().cast())
                .image_subresource(place)
                .image_extent(extent);
            let info = vk::CopyImageToMemoryInfoEXT::default()
                .flags(vk::HostImageCopyFlagsEXT::MEMCPY)
                .src_image(image.handle)
                .src_image_layout(GENERAL)
                .regions(std::slice::from_ref(&down));
            report.debug(&format!("{label}: out"), copy.copy_image_to_memory(&info));
            let written = bytes.iter().rposition(|byte| *byte != UNTOUCHED).map_or(0, |last| last + 1);
            report.line(&format!("{label}: written"), written);
            report.bytes(&format!("{label}: bytes"), &bytes);
            let up = vk::MemoryToImageCopyEXT::default()
                .host_pointer(bytes.as_ptr().cast())
                .image_subresource(place)
                .image_extent(extent);
            let info = vk::CopyMemoryToImageInfoEXT::default()
                .flags(vk::HostImageCopyFlagsEXT::MEMCPY)
                .dst_image(other.handle)
                .dst_image_layout(GENERAL)
                .regions(std::slice::from_ref(&up));
            report.debug(&format!("{label}: in"), copy.copy_memory_to_image(&info));
            if name != "blocks" {
                for layer in 0..image.layers {
                    report.bytes(&format!("{label}, {layer}"), &gpu.read_image(&other, 4, level, layer));
                }
            }
        }
    }
}
