//! The measurements. Each is a loop around one thing that programs do.

use std::time::Instant;

use ash::vk;

use crate::vulkan::{SIZE, Vulkan};

/// What was measured.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

/// All measurements on the driver that the environment gives.
pub(crate) fn all() -> Vec<Measurement> {
    let vulkan = Vulkan::open();
    let measure = |name, unit, value| Measurement { name, unit, value };
    let (upload, readback) = bandwidth(&vulkan);
    vec![
        measure("round trip (vkAllocateMemory + vkFreeMemory, 4 KiB)", "µs", round_trip(&vulkan)),
        measure("recording vkCmdDraw", "million/s", recording(&vulkan)),
        measure("submit an empty command buffer and wait", "µs", submit(&vulkan)),
        measure("write 64 MiB through the mapping and copy on the device", "GiB/s", upload),
        measure("copy 64 MiB on the device and read through the mapping", "GiB/s", readback),
    ]
}

/// Median time of `count` runs in microseconds, after some that do not count.
fn median_micros(count: usize, mut run: impl FnMut()) -> f64 {
    (0..count / 10).for_each(|_| run());
    let mut times: Vec<f64> = (0..count)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// An allocation must be answered: through vw the shortest call to the host.
fn round_trip(vulkan: &Vulkan) -> f64 {
    let info = vk::MemoryAllocateInfo::default().allocation_size(4096).memory_type_index(vulkan.memory_type);
    // SAFETY: the memory is used by nothing.
    median_micros(2_000, || unsafe {
        let memory = vulkan.device.allocate_memory(&info, None).expect("memory");
        vulkan.device.free_memory(memory, None);
    })
}

/// Draws recorded, in millions a second, with the beginning and the end of the rendering. They are never submitted:
/// recording alone is measured.
fn recording(vulkan: &Vulkan) -> f64 {
    const DRAWS: u32 = 100_000;
    let device = &vulkan.device;
    let area = vk::Rect2D { offset: vk::Offset2D::default(), extent: vk::Extent2D { width: 1, height: 1 } };
    let rendering = vk::RenderingInfo::default().render_area(area).layer_count(1);
    let micros = median_micros(20, || {
        // SAFETY: recording in a command buffer that is not pending, with a live pipeline.
        vulkan.record(|cb| unsafe {
            device.cmd_begin_rendering(cb, &rendering);
            device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::GRAPHICS, vulkan.pipeline);
            for vertex in 0..DRAWS {
                device.cmd_draw(cb, 3, 1, vertex, 0);
            }
            device.cmd_end_rendering(cb);
        });
    });
    f64::from(DRAWS) / micros
}

/// From the submission to the end of the wait, in microseconds.
fn submit(vulkan: &Vulkan) -> f64 {
    vulkan.record(|_| ());
    median_micros(2_000, || vulkan.submit_and_wait())
}

/// Data from the program to the device and back, in GiB a second.
fn bandwidth(vulkan: &Vulkan) -> (f64, f64) {
    let region = vk::BufferCopy { src_offset: 0, dst_offset: 0, size: SIZE as u64 };
    vulkan.record(|cb| {
        let barrier = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ);
        let (transfer, host) = (vk::PipelineStageFlags::TRANSFER, vk::PipelineStageFlags::HOST);
        // SAFETY: recording; both buffers are live and of that size.
        unsafe {
            vulkan.device.cmd_copy_buffer(cb, vulkan.upload.buffer, vulkan.readback.buffer, &[region]);
            let none = vk::DependencyFlags::empty();
            vulkan.device.cmd_pipeline_barrier(cb, transfer, host, none, &[barrier], &[], &[]);
        }
    });
    let mut host = vec![0u8; SIZE];
    let mut value = 0u8;
    let up = median_micros(10, || {
        value = value.wrapping_add(1);
        // SAFETY: the mapping is of that size; the device is idle.
        unsafe { std::ptr::write_bytes(vulkan.upload.address, value, SIZE) };
        vulkan.submit_and_wait();
    });
    let down = median_micros(10, || {
        vulkan.submit_and_wait();
        // SAFETY: the mapping is of that size; the device is idle.
        unsafe { std::ptr::copy_nonoverlapping(vulkan.readback.address, host.as_mut_ptr(), SIZE) };
    });
    assert!(host.iter().all(|byte| *byte == value), "what came back is not what was sent");
    let gib = SIZE as f64 / f64::from(1 << 30);
    (gib / (up / 1e6), gib / (down / 1e6))
}
