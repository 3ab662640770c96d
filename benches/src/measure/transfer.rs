//! Data to the device and back.

use ash::vk;

use super::{Bench, Measure};
use crate::row::Row;

pub(super) const ALL: &[Measure] = &[
    Measure {
        name: "transfer-small",
        rows: &[Row::lower("64 KiB up, copy, down", "µs").native(1.3)],
        run: |bench| vec![up_and_down(bench, 64 << 10, 2_000)],
    },
    Measure {
        name: "transfer-large",
        rows: &[Row::higher("64 MiB up, copy, down", "GB/s").native(0.98)],
        run: |bench| {
            const SIZE: usize = 64 << 20;
            vec![SIZE as f64 / 1e3 / up_and_down(bench, SIZE, 12)]
        },
    },
    Measure {
        name: "upload",
        rows: &[Row::higher("16 MiB up, copied on the device", "GB/s").native(0.98)],
        run: |bench| {
            const SIZE: usize = 16 << 20;
            vec![SIZE as f64 / 1e3 / up(bench, SIZE, 40)]
        },
    },
];

/// Microseconds to write `size` bytes through a mapping and copy them on the device to where the program does not look.
fn up(bench: &Bench, size: usize, count: usize) -> f64 {
    let vulkan = &bench.vulkan;
    let upload = vulkan.buffer(size as u64, vk::BufferUsageFlags::TRANSFER_SRC);
    let (buffer, memory) = vulkan.unmapped_buffer(size as u64, vk::BufferUsageFlags::TRANSFER_DST);
    let region = vk::BufferCopy { src_offset: 0, dst_offset: 0, size: size as u64 };
    let cb = vulkan.command_buffer;
    // SAFETY: recording with live objects; both buffers are of that size.
    vulkan.record(cb, |device| unsafe { device.cmd_copy_buffer(cb, upload.buffer, buffer, &[region]) });
    let mut value = 0u8;
    let times = bench.effort.times(count, || {
        value = value.wrapping_add(1);
        // SAFETY: the mapping is of that size; the device is idle.
        unsafe { std::ptr::write_bytes(upload.address, value, size) };
        vulkan.run(cb);
    });
    vulkan.destroy_buffer(&upload);
    // SAFETY: the device is idle, and nothing else uses them.
    unsafe {
        vulkan.device.destroy_buffer(buffer, None);
        vulkan.device.free_memory(memory, None);
    }
    times.median()
}

/// Microseconds to write `size` bytes through a mapping, copy them on the device and read them through another.
fn up_and_down(bench: &Bench, size: usize, count: usize) -> f64 {
    let vulkan = &bench.vulkan;
    let usage = vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
    let (upload, readback) = (vulkan.buffer(size as u64, usage), vulkan.buffer(size as u64, usage));
    let region = vk::BufferCopy { src_offset: 0, dst_offset: 0, size: size as u64 };
    let cb = vulkan.command_buffer;
    let barrier = vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
        .dst_access_mask(vk::AccessFlags::HOST_READ);
    let (transfer, host) = (vk::PipelineStageFlags::TRANSFER, vk::PipelineStageFlags::HOST);
    let none = vk::DependencyFlags::empty();
    // SAFETY: recording with live objects; both buffers are of that size.
    vulkan.record(cb, |device| unsafe {
        device.cmd_copy_buffer(cb, upload.buffer, readback.buffer, &[region]);
        device.cmd_pipeline_barrier(cb, transfer, host, none, &[barrier], &[], &[]);
    });
    let mut copy = vec![0u8; size];
    let mut value = 0u8;
    let times = bench.effort.times(count, || {
        value = value.wrapping_add(1);
        // SAFETY: the mapping is of that size; the device is idle.
        unsafe { std::ptr::write_bytes(upload.address, value, size) };
        vulkan.run(cb);
        // SAFETY: the mapping is of that size; the device is idle.
        unsafe { std::ptr::copy_nonoverlapping(readback.address, copy.as_mut_ptr(), size) };
    });
    assert!(copy.iter().all(|byte| *byte == value), "what came back is not what was sent");
    vulkan.destroy_buffer(&upload);
    vulkan.destroy_buffer(&readback);
    times.median()
}
