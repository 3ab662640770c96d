//! Buffers, their views, their addresses.

use ash::vk;

use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, pattern};
use crate::shaders;

pub(super) unsafe fn usages(gpu: &Gpu, report: &Report) {
    for bit in 0..9 {
        let usage = vk::BufferUsageFlags::from_raw(1 << bit);
        for sharing in [vk::SharingMode::EXCLUSIVE, vk::SharingMode::CONCURRENT] {
            if sharing == vk::SharingMode::CONCURRENT {
                continue; // Needs two families.
            }
            let info = vk::BufferCreateInfo::default().size(64 << bit).usage(usage).sharing_mode(sharing);
            let buffer = gpu.device.create_buffer(&info, None);
            report.debug(&format!("{usage:?}"), buffer.map(|_| ()));
            if let Ok(buffer) = buffer {
                gpu.device.destroy_buffer(buffer, None);
            }
        }
    }
}

pub(super) unsafe fn views(gpu: &Gpu, report: &Report) {
    let data: Vec<u32> = (0..64).map(|i| pattern(i, 3)).collect();
    let buffer = gpu.buffer_of(&data);
    for format in [vk::Format::R32_UINT, vk::Format::R8G8B8A8_UNORM, vk::Format::R32G32B32A32_SFLOAT] {
        for (offset, range) in [(0, vk::WHOLE_SIZE), (64, 64)] {
            let info = vk::BufferViewCreateInfo::default()
                .buffer(buffer.handle)
                .format(format)
                .offset(offset)
                .range(range);
            let view = gpu.device.create_buffer_view(&info, None);
            report.debug(&format!("{format:?} at {offset}"), view.map(|_| ()));
            if let Ok(view) = view {
                gpu.device.destroy_buffer_view(view, None);
            }
        }
    }
}

pub(super) unsafe fn addresses(gpu: &Gpu, report: &Report) {
    let usage = ANY_USE | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
    let source = gpu.buffer(256, usage);
    let target = gpu.buffer(256, usage);
    source.write(0, &(0..64).map(|i| pattern(i, 5)).collect::<Vec<_>>());
    let address =
        |buffer| gpu.device.get_buffer_device_address(&vk::BufferDeviceAddressInfo::default().buffer(buffer));
    let (from, to) = (address(source.handle), address(target.handle));
    report.line("addresses are set and differ", from != 0 && to != 0 && from != to);
    report.line("the same twice", from == address(source.handle));
    let push: Vec<u8> = [from.to_le_bytes(), to.to_le_bytes(), 64u64.to_le_bytes()].concat();
    gpu.dispatch(shaders::ADDRESS, &[], &push, [1, 1, 1]);
    report.bytes("reversed", &target.read());
}
