//! Sparse resources: bound in parts, bound anew, and in part not at all.

use ash::vk;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, SIDE, TARGET, pattern, plain};

/// Whether the device has them, and the queue binds them.
unsafe fn offered(gpu: &Gpu, report: &Report, feature: vk::Bool32) -> bool {
    let family = gpu.instance.get_physical_device_queue_family_properties(gpu.physical)[gpu.family as usize];
    let offered = feature != 0 && family.queue_flags.contains(vk::QueueFlags::SPARSE_BINDING);
    report.line("offered", offered);
    offered
}

/// Memory of whole sparse blocks, mapped where it can be.
unsafe fn memory(gpu: &Gpu, needs: &vk::MemoryRequirements, blocks: u64) -> (vk::DeviceMemory, *mut u8) {
    let visible = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(needs.alignment * blocks)
        .memory_type_index(gpu.memory_type(needs.memory_type_bits, visible));
    let memory = gpu.device.allocate_memory(&info, None).unwrap();
    let place = gpu.device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).unwrap();
    gpu.later(move |device| device.free_memory(memory, None));
    (memory, place.cast())
}

/// Binds and waits.
unsafe fn bind(gpu: &Gpu, info: vk::BindSparseInfo<'_>) {
    let fence = gpu.device.create_fence(&vk::FenceCreateInfo::default(), None).unwrap();
    {
        let _queue = gpu.queue_lock.lock().unwrap();
        gpu.device.queue_bind_sparse(gpu.queue, &[info], fence).unwrap();
    }
    gpu.device.wait_for_fences(&[fence], true, u64::MAX).unwrap();
    gpu.device.destroy_fence(fence, None);
}

/// Blocks of a buffer in two allocations, the other way round, and moved while it lives.
pub(super) unsafe fn buffer(gpu: &Gpu, report: &Report) {
    if !offered(gpu, report, gpu.features.sparse_binding & gpu.features.sparse_residency_buffer) {
        return;
    }
    const BLOCKS: u64 = 4;
    let info = |size| {
        let flags = vk::BufferCreateFlags::SPARSE_BINDING | vk::BufferCreateFlags::SPARSE_RESIDENCY;
        vk::BufferCreateInfo::default().flags(flags).size(size).usage(ANY_USE)
    };
    let probe = gpu.device.create_buffer(&info(4), None).unwrap();
    let block = gpu.device.get_buffer_memory_requirements(probe).alignment;
    gpu.device.destroy_buffer(probe, None);
    let buffer = gpu.device.create_buffer(&info(BLOCKS * block), None).unwrap();
    gpu.later(move |device| device.destroy_buffer(buffer, None));
    let needs = gpu.device.get_buffer_memory_requirements(buffer);
    report.line("needs", format!("{} {} {:x}", needs.size, needs.alignment, needs.memory_type_bits));
    let (first, first_place) = memory(gpu, &needs, 2);
    let (second, second_place) = memory(gpu, &needs, 3);
    for (i, place) in [(1, first_place), (2, second_place)] {
        for word in 0..2 * block / 4 {
            place.cast::<u32>().add(word as usize).write(pattern(word as u32, i));
        }
    }
    let part = |at: u64, memory, from: u64, count: u64| {
        vk::SparseMemoryBind::default()
            .resource_offset(at * block)
            .size(count * block)
            .memory(memory)
            .memory_offset(from * block)
    };
    let apply = |binds: &[vk::SparseMemoryBind]| {
        let info = vk::SparseBufferMemoryBindInfo::default().buffer(buffer).binds(binds);
        bind(gpu, vk::BindSparseInfo::default().buffer_binds(&[info]));
    };
    let seen = gpu.buffer(BLOCKS * block, ANY_USE);
    let look = |label: &str, blocks: std::ops::Range<u64>| {
        let region = vk::BufferCopy {
            src_offset: blocks.start * block,
            dst_offset: 0,
            size: (blocks.end - blocks.start) * block,
        };
        gpu.run(|cb| {
            barrier_all(&gpu.device, cb);
            gpu.device.cmd_copy_buffer(cb, buffer, seen.handle, &[region]);
            barrier_all(&gpu.device, cb);
        });
        report.bytes(label, &seen.read()[..region.size as usize]);
    };
    apply(&[part(0, second, 1, 1), part(1, first, 0, 2), part(3, second, 0, 1)]);
    look("bound", 0..BLOCKS);
    gpu.run(|cb| {
        gpu.device.cmd_fill_buffer(cb, buffer, block / 2, 2 * block, 0x5a5a_0001);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("first memory", std::slice::from_raw_parts(first_place, 2 * block as usize));
    report.bytes("second memory", std::slice::from_raw_parts(second_place, 2 * block as usize));
    apply(&[part(0, first, 1, 1), part(2, vk::DeviceMemory::null(), 0, 1)]);
    look("moved", 0..2);
    look("behind the hole", 3..BLOCKS);
    let strict = {
        let mut properties = vk::PhysicalDeviceProperties2::default();
        gpu.instance.get_physical_device_properties2(gpu.physical, &mut properties);
        properties.properties.sparse_properties.residency_non_resident_strict
    };
    if strict != 0 {
        look("hole", 2..3);
    }
}

/// An image whose memory is bound in blocks, and one of which a single tile is there.
pub(super) unsafe fn images(gpu: &Gpu, report: &Report) {
    if !offered(gpu, report, gpu.features.sparse_binding & gpu.features.sparse_residency_image2_d) {
        return;
    }
    let side = 4 * SIDE;
    for residency in [false, true] {
        let mut flags = vk::ImageCreateFlags::SPARSE_BINDING;
        if residency {
            flags |= vk::ImageCreateFlags::SPARSE_RESIDENCY;
        }
        let info = plain(vk::Format::R8G8B8A8_UNORM, side, TARGET).flags(flags);
        let image = gpu.device.create_image(&info, None).unwrap();
        gpu.later(move |device| device.destroy_image(image, None));
        let needs = gpu.device.get_image_memory_requirements(image);
        report.line("needs", format!("{} {} {:x}", needs.size, needs.alignment, needs.memory_type_bits));
        let blocks = needs.size.div_ceil(needs.alignment);
        let (memory, _) = memory(gpu, &needs, blocks);
        let mut extent = vk::Extent3D { width: side, height: side, depth: 1 };
        if residency {
            let found = gpu.device.get_image_sparse_memory_requirements(image);
            report.debug("sparse", &found);
            extent = found[0].format_properties.image_granularity;
            let tile = vk::SparseImageMemoryBind::default()
                .subresource(vk::ImageSubresource::default().aspect_mask(vk::ImageAspectFlags::COLOR))
                .offset(vk::Offset3D { x: extent.width as i32, y: 0, z: 0 })
                .extent(extent)
                .memory(memory);
            let tiles = [tile];
            let info = vk::SparseImageMemoryBindInfo::default().image(image).binds(&tiles);
            bind(gpu, vk::BindSparseInfo::default().image_binds(&[info]));
        } else {
            // The last block first.
            let binds: Vec<_> = (0..blocks)
                .map(|i| {
                    vk::SparseMemoryBind::default()
                        .resource_offset(i * needs.alignment)
                        .size(needs.alignment)
                        .memory(memory)
                        .memory_offset((blocks - 1 - i) * needs.alignment)
                })
                .collect();
            let info = vk::SparseImageOpaqueMemoryBindInfo::default().image(image).binds(&binds);
            bind(gpu, vk::BindSparseInfo::default().image_opaque_binds(&[info]));
        }
        let x = if residency { extent.width as i32 } else { 0 };
        let texels: Vec<u32> = (0..extent.width * extent.height).map(|i| pattern(i, 9)).collect();
        let (source, seen) = (gpu.buffer_of(&texels), gpu.buffer(4 * texels.len() as u64, ANY_USE));
        let color = vk::ImageAspectFlags::COLOR;
        let region = vk::BufferImageCopy::default()
            .image_subresource(vk::ImageSubresourceLayers::default().aspect_mask(color).layer_count(1))
            .image_offset(vk::Offset3D { x, y: 0, z: 0 })
            .image_extent(extent);
        let range = vk::ImageSubresourceRange::default().aspect_mask(color).level_count(1).layer_count(1);
        gpu.run(|cb| {
            let general = vk::ImageLayout::GENERAL;
            let barrier = vk::ImageMemoryBarrier::default()
                .dst_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .new_layout(general)
                .image(image)
                .subresource_range(range);
            let (top, transfer) = (vk::PipelineStageFlags::TOP_OF_PIPE, vk::PipelineStageFlags::TRANSFER);
            let none = vk::DependencyFlags::empty();
            gpu.device.cmd_pipeline_barrier(cb, top, transfer, none, &[], &[], &[barrier]);
            gpu.device.cmd_copy_buffer_to_image(cb, source.handle, image, general, &[region]);
            barrier_all(&gpu.device, cb);
            gpu.device.cmd_copy_image_to_buffer(cb, image, general, seen.handle, &[region]);
            barrier_all(&gpu.device, cb);
        });
        report.line("as written", seen.read() == source.read());
        report.pixels("texels", extent.width, extent.height, &seen.read());
    }
}
