//! Samplers, looked at through a compute shader that samples a grid around and beyond the image.

use ash::{ext, vk};

use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, Image, plain};
use crate::shaders;

unsafe fn sampled(gpu: &Gpu, image: &Image, info: &vk::SamplerCreateInfo<'_>, lod: f32) -> Vec<u8> {
    let sampler = gpu.device.create_sampler(info, None).expect("a sampler");
    gpu.later(move |device| device.destroy_sampler(sampler, None));
    let types = [vk::DescriptorType::COMBINED_IMAGE_SAMPLER, vk::DescriptorType::STORAGE_BUFFER];
    let layout = gpu.set_layout(&types);
    let set = gpu.set(layout, &types);
    let result = gpu.buffer(16 * 16 * 16, ANY_USE);
    gpu.write_image(set, 0, types[0], image.view, sampler);
    gpu.write_buffer(set, 1, types[1], result.whole());
    let scale = if info.unnormalized_coordinates != 0 { 16.0f32 } else { 1.0 };
    gpu.dispatch(shaders::SAMPLE, &[(layout, set)], bytemuck::cast_slice(&[scale, lod]), [2, 2, 1]);
    result.read()
}

const MODES: [vk::SamplerAddressMode; 5] = [
    vk::SamplerAddressMode::REPEAT,
    vk::SamplerAddressMode::MIRRORED_REPEAT,
    vk::SamplerAddressMode::CLAMP_TO_EDGE,
    vk::SamplerAddressMode::CLAMP_TO_BORDER,
    vk::SamplerAddressMode::MIRROR_CLAMP_TO_EDGE,
];

pub(super) unsafe fn filters(gpu: &Gpu, report: &Report) {
    let image = gpu.patterned(16, 21);
    for filter in [vk::Filter::NEAREST, vk::Filter::LINEAR] {
        for mode in MODES {
            let info = vk::SamplerCreateInfo::default()
                .mag_filter(filter)
                .min_filter(filter)
                .address_mode_u(mode)
                .address_mode_v(mode)
                .address_mode_w(mode)
                .max_lod(vk::LOD_CLAMP_NONE);
            report.bytes(&format!("{filter:?} {mode:?}"), &sampled(gpu, &image, &info, 0.0));
        }
    }
    let clamp = vk::SamplerAddressMode::CLAMP_TO_EDGE;
    let info = vk::SamplerCreateInfo::default()
        .unnormalized_coordinates(true)
        .address_mode_u(clamp)
        .address_mode_v(clamp);
    report.bytes("texel coordinates", &sampled(gpu, &image, &info, 0.0));
}

pub(super) unsafe fn borders(gpu: &Gpu, report: &Report) {
    let image = gpu.patterned(16, 22);
    let mode = vk::SamplerAddressMode::CLAMP_TO_BORDER;
    let info = vk::SamplerCreateInfo::default().address_mode_u(mode).address_mode_v(mode);
    for colour in [
        vk::BorderColor::FLOAT_TRANSPARENT_BLACK,
        vk::BorderColor::FLOAT_OPAQUE_BLACK,
        vk::BorderColor::FLOAT_OPAQUE_WHITE,
    ] {
        report.bytes(&format!("{colour:?}"), &sampled(gpu, &image, &info.border_color(colour), 0.0));
    }
    if gpu.has(ext::custom_border_color::NAME) {
        let mut custom = vk::SamplerCustomBorderColorCreateInfoEXT::default()
            .custom_border_color(vk::ClearColorValue { float32: [0.2, 0.4, 0.6, 0.8] })
            .format(image.format);
        let info = info.border_color(vk::BorderColor::FLOAT_CUSTOM_EXT).push_next(&mut custom);
        report.bytes("custom", &sampled(gpu, &image, &info, 0.0));
    }
}

pub(super) unsafe fn comparison(gpu: &Gpu, report: &Report) {
    let usage = vk::ImageUsageFlags::SAMPLED
        | vk::ImageUsageFlags::TRANSFER_DST
        | vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT;
    let image = gpu.image(&plain(vk::Format::D32_SFLOAT, 16, usage));
    let depths: Vec<f32> = (0..256).map(|i| (i % 16) as f32 / 15.0 * 0.5 + (i / 16) as f32 / 30.0).collect();
    gpu.fill_image(&image, &gpu.buffer_of(&depths));
    let types = [vk::DescriptorType::COMBINED_IMAGE_SAMPLER, vk::DescriptorType::STORAGE_BUFFER];
    for compare in
        [vk::CompareOp::LESS, vk::CompareOp::GREATER_OR_EQUAL, vk::CompareOp::ALWAYS, vk::CompareOp::NEVER]
    {
        let info = vk::SamplerCreateInfo::default().compare_enable(true).compare_op(compare);
        let sampler = gpu.device.create_sampler(&info, None).unwrap();
        gpu.later(move |device| device.destroy_sampler(sampler, None));
        let layout = gpu.set_layout(&types);
        let set = gpu.set(layout, &types);
        let result = gpu.buffer(16 * 16 * 4, ANY_USE);
        gpu.write_image(set, 0, types[0], image.view, sampler);
        gpu.write_buffer(set, 1, types[1], result.whole());
        gpu.dispatch(shaders::COMPARE, &[(layout, set)], &[], [2, 2, 1]);
        report.bytes(&format!("{compare:?}"), &result.read());
    }
}

pub(super) unsafe fn anisotropy(gpu: &Gpu, report: &Report) {
    let usage = vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::TRANSFER_DST;
    let image = gpu.image(&plain(vk::Format::R8G8B8A8_UNORM, 16, usage).mip_levels(3));
    gpu.run(|cb| {
        gpu.to_general(cb, &image);
        for level in 0..3 {
            let value =
                vk::ClearColorValue { float32: [level as f32 / 2.0, 1.0 - level as f32 / 2.0, 0.3, 1.0] };
            let range = vk::ImageSubresourceRange { base_mip_level: level, level_count: 1, ..image.all() };
            gpu.device.cmd_clear_color_image(cb, image.handle, vk::ImageLayout::GENERAL, &value, &[range]);
        }
    });
    for lod in [0.0, 0.7, 1.5, 5.0] {
        for mode in [vk::SamplerMipmapMode::NEAREST, vk::SamplerMipmapMode::LINEAR] {
            let mut info = vk::SamplerCreateInfo::default()
                .mipmap_mode(mode)
                .mip_lod_bias(0.25)
                .min_lod(0.1)
                .max_lod(1.8);
            if gpu.features.sampler_anisotropy != 0 {
                info = info
                    .anisotropy_enable(true)
                    .max_anisotropy(gpu.properties.limits.max_sampler_anisotropy.min(8.0));
            }
            let mut minmax = vk::SamplerReductionModeCreateInfo::default()
                .reduction_mode(vk::SamplerReductionMode::WEIGHTED_AVERAGE);
            let info = info.push_next(&mut minmax);
            report.bytes(&format!("{lod} {mode:?}"), &sampled(gpu, &image, &info, lod));
        }
    }
}
