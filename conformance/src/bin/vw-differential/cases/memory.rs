//! Device memory: mapped, shared, measured, refused.

use ash::vk;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, SIDE, TARGET, pattern, plain};

/// What the host writes the device reads, and the other way round.
pub(super) unsafe fn round_trip(gpu: &Gpu, report: &Report) {
    for size in [4u64, 256, 4096, 65_536 + 4, 8 << 20] {
        let words: Vec<u32> = (0..(size / 4) as u32).map(|i| pattern(i, 7)).collect();
        let source = gpu.buffer_of(&words);
        let target = gpu.buffer(size, ANY_USE);
        gpu.run(|cb| {
            let region = vk::BufferCopy { src_offset: 0, dst_offset: 0, size };
            gpu.device.cmd_copy_buffer(cb, source.handle, target.handle, &[region]);
            barrier_all(&gpu.device, cb);
        });
        report.bytes(&format!("{size}"), &target.read());
    }
}

/// One mapping written and read between many submissions, never renewed.
pub(super) unsafe fn persistent_mapping(gpu: &Gpu, report: &Report) {
    let source = gpu.buffer(256, ANY_USE);
    let target = gpu.buffer(256, ANY_USE);
    let cb = gpu.record(vk::CommandBufferUsageFlags::empty(), |cb| {
        barrier_all(&gpu.device, cb);
        let region = vk::BufferCopy { src_offset: 0, dst_offset: 0, size: 256 };
        gpu.device.cmd_copy_buffer(cb, source.handle, target.handle, &[region]);
        barrier_all(&gpu.device, cb);
    });
    for round in 0..50u32 {
        source.write(0, &[round; 64]);
        gpu.submit_and_wait(cb);
        let seen = target.words(64);
        if seen.iter().any(|word| *word != round) {
            report.words(&format!("stale in round {round}"), &seen);
        }
    }
    report.words("last", &target.words(4));
}

/// Mapped in parts, flushed and invalidated, unmapped and mapped again.
pub(super) unsafe fn ranges(gpu: &Gpu, report: &Report) {
    let host = gpu.memory_type(!0, vk::MemoryPropertyFlags::HOST_VISIBLE);
    let info = vk::MemoryAllocateInfo::default().allocation_size(1 << 16).memory_type_index(host);
    let memory = gpu.device.allocate_memory(&info, None).unwrap();
    let atom = gpu.properties.limits.non_coherent_atom_size;
    let range = vk::MappedMemoryRange::default().memory(memory).offset(4 * atom).size(4 * atom);
    for offset in [0, 4096, 16_384 + 256] {
        let place =
            gpu.device.map_memory(memory, offset, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).unwrap();
        place.cast::<u64>().write(offset ^ 0xabcd);
        if offset == 0 {
            report.debug("flush", gpu.device.flush_mapped_memory_ranges(&[range]));
            report.debug("invalidate", gpu.device.invalidate_mapped_memory_ranges(&[range]));
        }
        gpu.device.unmap_memory(memory);
    }
    let place = gpu.device.map_memory(memory, 0, 1 << 16, vk::MemoryMapFlags::empty()).unwrap();
    for offset in [0usize, 4096, 16_384 + 256] {
        report.line(&format!("at {offset}"), place.cast::<u8>().add(offset).cast::<u64>().read());
    }
    report.line("alignment of the mapping", place as usize % gpu.properties.limits.min_memory_map_alignment);
    gpu.device.unmap_memory(memory);
    gpu.device.free_memory(memory, None);
}

/// Buffers and an image in one block of memory, each at its offset.
pub(super) unsafe fn shared_by_buffers(gpu: &Gpu, report: &Report) {
    let info = vk::BufferCreateInfo::default().size(1000).usage(ANY_USE);
    let buffers = [0; 3].map(|_| gpu.device.create_buffer(&info, None).unwrap());
    let image = gpu.device.create_image(&plain(vk::Format::R8G8B8A8_UNORM, SIDE, TARGET), None).unwrap();
    let needs = buffers.map(|buffer| gpu.device.get_buffer_memory_requirements(buffer));
    let image_needs = gpu.device.get_image_memory_requirements(image);
    let mut offset = 0u64;
    let offsets = needs.map(|needs| {
        let here = offset.next_multiple_of(needs.alignment);
        offset = here + needs.size;
        here
    });
    let image_offset =
        offset.next_multiple_of(image_needs.alignment.max(gpu.properties.limits.buffer_image_granularity));
    let types = needs.iter().fold(image_needs.memory_type_bits, |all, needs| all & needs.memory_type_bits);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(image_offset + image_needs.size)
        .memory_type_index(gpu.memory_type(types, vk::MemoryPropertyFlags::HOST_VISIBLE));
    let memory = gpu.device.allocate_memory(&info, None).unwrap();
    let binds: Vec<_> = buffers
        .iter()
        .zip(offsets)
        .map(|(buffer, offset)| {
            vk::BindBufferMemoryInfo::default().buffer(*buffer).memory(memory).memory_offset(offset)
        })
        .collect();
    report.debug("bound", gpu.device.bind_buffer_memory2(&binds));
    let bind = vk::BindImageMemoryInfo::default().image(image).memory(memory).memory_offset(image_offset);
    report.debug("image bound", gpu.device.bind_image_memory2(&[bind]));
    gpu.run(|cb| {
        for (i, buffer) in buffers.iter().enumerate() {
            gpu.device.cmd_fill_buffer(cb, *buffer, 0, vk::WHOLE_SIZE, 0x1111_1111 * (i as u32 + 1));
        }
        barrier_all(&gpu.device, cb);
    });
    let place =
        gpu.device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).unwrap().cast::<u8>();
    for (i, offset) in offsets.iter().enumerate() {
        let bytes = std::slice::from_raw_parts(place.add(*offset as usize), 1000);
        report.bytes(&format!("buffer {i}"), bytes);
    }
    gpu.device.destroy_image(image, None);
    for buffer in buffers {
        gpu.device.destroy_buffer(buffer, None);
    }
    gpu.device.free_memory(memory, None);
}

pub(super) unsafe fn requirements(gpu: &Gpu, report: &Report) {
    let show = |label: &str, needs: vk::MemoryRequirements| {
        report.line(label, format!("{} {} {:x}", needs.size, needs.alignment, needs.memory_type_bits));
    };
    for size in [1u64, 100, 4096, 1_000_000] {
        for usage in [ANY_USE, vk::BufferUsageFlags::UNIFORM_BUFFER, vk::BufferUsageFlags::TRANSFER_SRC] {
            let info = vk::BufferCreateInfo::default().size(size).usage(usage);
            let buffer = gpu.device.create_buffer(&info, None).unwrap();
            let label = format!("{size} {:x}", usage.as_raw());
            show(&label, gpu.device.get_buffer_memory_requirements(buffer));
            let mut dedicated = vk::MemoryDedicatedRequirements::default();
            let mut needs = vk::MemoryRequirements2::default().push_next(&mut dedicated);
            let info2 = vk::BufferMemoryRequirementsInfo2::default().buffer(buffer);
            gpu.device.get_buffer_memory_requirements2(&info2, &mut needs);
            show(&label, needs.memory_requirements);
            report.line(
                "dedicated",
                dedicated.prefers_dedicated_allocation + 2 * dedicated.requires_dedicated_allocation,
            );
            let mut needs = vk::MemoryRequirements2::default();
            let ask = vk::DeviceBufferMemoryRequirements::default().create_info(&info);
            gpu.device.get_device_buffer_memory_requirements(&ask, &mut needs);
            show(&label, needs.memory_requirements);
            gpu.device.destroy_buffer(buffer, None);
        }
    }
    // Asked for after all of them are there, twice, of sizes that come once and that come again.
    let images: Vec<_> = (0..100u32)
        .map(|i| {
            let extent = vk::Extent3D { width: 1 + i * 13 % 90, height: 1 + i % 7, depth: 1 };
            let info = vk::ImageCreateInfo::default()
                .image_type(vk::ImageType::TYPE_2D)
                .format(if i % 3 == 0 { vk::Format::R16G16B16A16_SFLOAT } else { vk::Format::R8G8B8A8_UNORM })
                .extent(extent)
                .mip_levels(1)
                .array_layers(1 + i % 2)
                .samples(vk::SampleCountFlags::TYPE_1)
                .usage(vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::TRANSFER_DST);
            gpu.device.create_image(&info, None).unwrap()
        })
        .collect();
    for (i, image) in images.iter().enumerate() {
        show(&format!("image {i}"), gpu.device.get_image_memory_requirements(*image));
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut needs = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        let ask = vk::ImageMemoryRequirementsInfo2::default().image(*image);
        gpu.device.get_image_memory_requirements2(&ask, &mut needs);
        show(&format!("image {i}"), needs.memory_requirements);
        let (prefers, requires) =
            (dedicated.prefers_dedicated_allocation, dedicated.requires_dedicated_allocation);
        report.line("dedicated", prefers + 2 * requires);
    }
    for image in images {
        gpu.device.destroy_image(image, None);
    }
}

/// More than there is must be refused at once, and leave the rest as it was.
pub(super) unsafe fn too_much(gpu: &Gpu, report: &Report) {
    let info = vk::MemoryAllocateInfo::default().allocation_size(1 << 50).memory_type_index(0);
    report.debug("a petabyte", gpu.device.allocate_memory(&info, None).map(|_| ()));
    // Also after allocations that a driver may be quick with because it knows that there is room.
    let host = gpu.memory_type(!0, vk::MemoryPropertyFlags::HOST_VISIBLE);
    let some = [2 << 20, 3 << 20, 4 << 20].map(|size| {
        let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(host);
        gpu.device.allocate_memory(&info, None).unwrap()
    });
    report.debug("a petabyte more", gpu.device.allocate_memory(&info, None).map(|_| ()));
    for memory in some {
        gpu.device.free_memory(memory, None);
    }
    round_trip(gpu, report);
}

/// Thousands of allocations, freed in another order; what is freed can be had again.
pub(super) unsafe fn accounting(gpu: &Gpu, report: &Report) {
    let host = gpu.memory_type(!0, vk::MemoryPropertyFlags::HOST_VISIBLE);
    for round in 0..3u64 {
        let mut blocks = Vec::new();
        for i in 0..500u64 {
            let size = 4096 * (1 + (i * 37 + round) % 40);
            let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(host);
            let memory = gpu.device.allocate_memory(&info, None).unwrap();
            let place =
                gpu.device.map_memory(memory, 0, size, vk::MemoryMapFlags::empty()).unwrap().cast::<u64>();
            place.write(i);
            place.add(size as usize / 8 - 1).write(!i);
            blocks.push((memory, place, size));
        }
        let intact = blocks
            .iter()
            .zip(0u64..)
            .all(|((_, place, size), i)| place.read() == i && place.add(*size as usize / 8 - 1).read() == !i);
        report.line(&format!("intact in round {round}"), intact);
        let (odd, even): (Vec<_>, Vec<_>) = blocks.into_iter().zip(0..).partition(|(_, i)| i % 2 == 1);
        for ((memory, ..), _) in odd.into_iter().chain(even.into_iter().rev()) {
            gpu.device.free_memory(memory, None);
        }
    }
}
