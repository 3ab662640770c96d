//! Formats: what each can be used for.

use ash::vk;

use crate::gpu::Gpu;
use crate::report::Report;

/// The formats of Vulkan 1.0 and those of later core versions.
fn all() -> impl Iterator<Item = vk::Format> {
    let later = [1_000_156_000..=1_000_156_033, 1_000_066_000..=1_000_066_013, 1_000_330_000..=1_000_330_003];
    (1..=184)
        .chain(later.into_iter().flatten())
        .chain([1_000_340_000, 1_000_340_001])
        .map(vk::Format::from_raw)
}

pub(super) unsafe fn properties(gpu: &Gpu, report: &Report) {
    for format in all() {
        let mut third = vk::FormatProperties3::default();
        let mut second = vk::FormatProperties2::default().push_next(&mut third);
        gpu.instance.get_physical_device_format_properties2(gpu.physical, format, &mut second);
        let second = second.format_properties;
        let first = gpu.instance.get_physical_device_format_properties(gpu.physical, format);
        let same = format!("{first:?}") == format!("{second:?}");
        report.line(
            &format!("{}", format.as_raw()),
            format!(
                "{:x} {:x} {:x} / {:x} {:x} {:x} same {same}",
                first.linear_tiling_features.as_raw(),
                first.optimal_tiling_features.as_raw(),
                first.buffer_features.as_raw(),
                third.linear_tiling_features.as_raw(),
                third.optimal_tiling_features.as_raw(),
                third.buffer_features.as_raw(),
            ),
        );
    }
}

pub(super) unsafe fn image_formats(gpu: &Gpu, report: &Report) {
    use vk::{ImageCreateFlags as Flags, ImageTiling as Tiling, ImageType as Type, ImageUsageFlags as Use};
    let usages = [
        Use::SAMPLED | Use::TRANSFER_DST,
        Use::COLOR_ATTACHMENT,
        Use::STORAGE,
        Use::DEPTH_STENCIL_ATTACHMENT,
    ];
    let flags = [Flags::empty(), Flags::CUBE_COMPATIBLE, Flags::MUTABLE_FORMAT];
    for format in all() {
        let mut text = String::new();
        for kind in [Type::TYPE_1D, Type::TYPE_2D, Type::TYPE_3D] {
            for (tiling, usage) in
                [Tiling::OPTIMAL, Tiling::LINEAR].into_iter().flat_map(|t| usages.map(|u| (t, u)))
            {
                for flags in flags {
                    let found = gpu.instance.get_physical_device_image_format_properties(
                        gpu.physical,
                        format,
                        kind,
                        tiling,
                        usage,
                        flags,
                    );
                    text += &format!("{found:?}");
                }
            }
        }
        report.bytes(&format!("{}", format.as_raw()), text.as_bytes());
    }
    let info = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(vk::Format::R8G8B8A8_UNORM)
        .ty(Type::TYPE_2D)
        .tiling(Tiling::OPTIMAL)
        .usage(Use::SAMPLED);
    let mut properties = vk::ImageFormatProperties2::default();
    report.debug(
        "second version",
        gpu.instance.get_physical_device_image_format_properties2(gpu.physical, &info, &mut properties),
    );
    report.debug("properties", properties.image_format_properties);
}

pub(super) unsafe fn sparse(gpu: &Gpu, report: &Report) {
    let found = gpu.instance.get_physical_device_sparse_image_format_properties(
        gpu.physical,
        vk::Format::R8G8B8A8_UNORM,
        vk::ImageType::TYPE_2D,
        vk::SampleCountFlags::TYPE_1,
        vk::ImageUsageFlags::SAMPLED,
        vk::ImageTiling::OPTIMAL,
    );
    report.debug("sparse", found);
}

pub(super) unsafe fn external(gpu: &Gpu, report: &Report) {
    // Handles to share with other processes do not reach over to the host: asked for kinds that neither has.
    let info = vk::PhysicalDeviceExternalBufferInfo::default()
        .usage(vk::BufferUsageFlags::STORAGE_BUFFER)
        .handle_type(vk::ExternalMemoryHandleTypeFlags::OPAQUE_WIN32);
    let mut found = vk::ExternalBufferProperties::default();
    gpu.instance.get_physical_device_external_buffer_properties(gpu.physical, &info, &mut found);
    report.debug("buffer", found.external_memory_properties.external_memory_features);
    let info = vk::PhysicalDeviceExternalFenceInfo::default()
        .handle_type(vk::ExternalFenceHandleTypeFlags::OPAQUE_WIN32);
    let mut found = vk::ExternalFenceProperties::default();
    gpu.instance.get_physical_device_external_fence_properties(gpu.physical, &info, &mut found);
    report.debug("fence", found.external_fence_features);
}
