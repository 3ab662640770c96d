//! Memory that others see too: the program's own pages, and memory that passes between devices and processes.

use std::alloc::Layout;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::Command;

use ash::{ext, khr, vk};
use vk::ExternalMemoryHandleTypeFlags as Handles;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, SIDE, TARGET, pattern, plain};

/// Bytes that most of the cases share.
const SIZE: u64 = 64 << 10;

/// The handle type of what passes between processes.
const FILE: Handles = Handles::OPAQUE_FD;

/// What the device says about handles of each kind.
pub(super) unsafe fn capabilities(gpu: &Gpu, report: &Report) {
    for (name, handle_type) in [
        ("file", FILE),
        ("host", Handles::HOST_ALLOCATION_EXT),
        ("foreign", Handles::HOST_MAPPED_FOREIGN_MEMORY_EXT),
    ] {
        for usage in [ANY_USE, vk::BufferUsageFlags::TRANSFER_SRC] {
            let info = vk::PhysicalDeviceExternalBufferInfo::default().usage(usage).handle_type(handle_type);
            let mut found = vk::ExternalBufferProperties::default();
            gpu.instance.get_physical_device_external_buffer_properties(gpu.physical, &info, &mut found);
            show(
                report,
                &format!("{name} of a buffer {:x}", usage.as_raw()),
                found.external_memory_properties,
            );
        }
        if handle_type == Handles::HOST_MAPPED_FOREIGN_MEMORY_EXT {
            // Whether images are refused or supported without any feature is the driver's choice.
            continue;
        }
        for tiling in [vk::ImageTiling::OPTIMAL, vk::ImageTiling::LINEAR] {
            let mut external = vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(handle_type);
            let info = vk::PhysicalDeviceImageFormatInfo2::default()
                .format(vk::Format::R8G8B8A8_UNORM)
                .ty(vk::ImageType::TYPE_2D)
                .tiling(tiling)
                .usage(TARGET)
                .push_next(&mut external);
            let mut found = vk::ExternalImageFormatProperties::default();
            let mut properties = vk::ImageFormatProperties2::default().push_next(&mut found);
            let result = gpu.instance.get_physical_device_image_format_properties2(
                gpu.physical,
                &info,
                &mut properties,
            );
            let label = format!("{name} of a {tiling:?} image");
            report.debug(&label, result);
            report.debug(&label, properties.image_format_properties);
            show(report, &label, found.external_memory_properties);
        }
    }
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut properties);
    report.line("alignment of host pointers", host.min_imported_host_pointer_alignment);
}

fn show(report: &Report, label: &str, found: vk::ExternalMemoryProperties) {
    report.line(
        label,
        format!(
            "{:x} {:x} {:x}",
            found.external_memory_features.as_raw(),
            found.export_from_imported_handle_types.as_raw(),
            found.compatible_handle_types.as_raw()
        ),
    );
}

/// Pages of the program.
struct Pages(*mut u8, Layout);

impl Pages {
    fn new(size: u64) -> Self {
        let layout = Layout::from_size_align(size as usize, 65_536).unwrap();
        // SAFETY: the layout is not empty.
        Self(unsafe { std::alloc::alloc(layout) }, layout)
    }

    unsafe fn fill(&self, seed: u32) {
        for i in 0..self.1.size() / 4 {
            self.0.cast::<u32>().add(i).write(pattern(i as u32, seed));
        }
    }

    unsafe fn bytes(&self) -> &[u8] {
        std::slice::from_raw_parts(self.0, self.1.size())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.0, self.1) };
    }
}

/// Memory that is imported from the pages of the program.
unsafe fn import_pages(gpu: &Gpu, pages: &Pages, allowed: u32) -> vk::DeviceMemory {
    let host = ext::external_memory_host::Device::new(&gpu.instance, &gpu.device);
    let mut found = vk::MemoryHostPointerPropertiesEXT::default();
    (host.fp().get_memory_host_pointer_properties_ext)(
        gpu.device.handle(),
        Handles::HOST_ALLOCATION_EXT,
        pages.0.cast(),
        &mut found,
    )
    .result()
    .unwrap();
    let mut import = vk::ImportMemoryHostPointerInfoEXT::default()
        .handle_type(Handles::HOST_ALLOCATION_EXT)
        .host_pointer(pages.0.cast());
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(pages.1.size() as u64)
        .memory_type_index((allowed & found.memory_type_bits).trailing_zeros())
        .push_next(&mut import);
    gpu.device.allocate_memory(&info, None).unwrap()
}

/// A buffer that may be bound to memory of the handle type, and its memory types.
unsafe fn buffer_for(device: &ash::Device, handle_type: Handles) -> (vk::Buffer, vk::MemoryRequirements) {
    let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(handle_type);
    let info = vk::BufferCreateInfo::default().size(SIZE).usage(ANY_USE).push_next(&mut external);
    let buffer = device.create_buffer(&info, None).unwrap();
    (buffer, device.get_buffer_memory_requirements(buffer))
}

/// What the program writes the device reads where it stands, and the other way round, again and again.
pub(super) unsafe fn host_pointer(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::external_memory_host::NAME) {
        return report.line("external memory", "not offered");
    }
    let pages = Pages::new(SIZE);
    for round in 0..3u32 {
        pages.fill(round);
        let (buffer, needs) = buffer_for(&gpu.device, Handles::HOST_ALLOCATION_EXT);
        let memory = import_pages(gpu, &pages, needs.memory_type_bits);
        report.debug("bound", gpu.device.bind_buffer_memory(buffer, memory, 0));
        let seen = gpu.buffer(SIZE, ANY_USE);
        let copy = |size| {
            let region = vk::BufferCopy { src_offset: 0, dst_offset: 0, size };
            gpu.run(|cb| {
                barrier_all(&gpu.device, cb);
                gpu.device.cmd_copy_buffer(cb, buffer, seen.handle, &[region]);
                barrier_all(&gpu.device, cb);
            });
        };
        copy(SIZE);
        report.bytes("what stood there before", &seen.read());
        pages.fill(100 + round);
        copy(SIZE / 2);
        report.bytes("what was written since", &seen.read());
        gpu.run(|cb| {
            gpu.device.cmd_fill_buffer(cb, buffer, SIZE / 4, SIZE / 4, 0x5eed_0000 + round);
            barrier_all(&gpu.device, cb);
        });
        report.bytes("what the device wrote", pages.bytes());
        let place = gpu.device.map_memory(memory, 0, SIZE, vk::MemoryMapFlags::empty()).unwrap();
        report.bytes("mapped", std::slice::from_raw_parts(place.cast::<u8>(), SIZE as usize));
        gpu.device.unmap_memory(memory);
        gpu.device.destroy_buffer(buffer, None);
        gpu.device.free_memory(memory, None);
        report.bytes("after it was freed", pages.bytes());
    }
}

/// An image in the program's pages.
pub(super) unsafe fn host_pointer_image(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::external_memory_host::NAME) {
        return report.line("external memory", "not offered");
    }
    let mut external =
        vk::ExternalMemoryImageCreateInfo::default().handle_types(Handles::HOST_ALLOCATION_EXT);
    let info = plain(vk::Format::R8G8B8A8_UNORM, SIDE, TARGET).push_next(&mut external);
    let image = gpu.device.create_image(&info, None).unwrap();
    let needs = gpu.device.get_image_memory_requirements(image);
    let pages = Pages::new(needs.size.next_multiple_of(65_536));
    let memory = import_pages(gpu, &pages, needs.memory_type_bits);
    gpu.device.bind_image_memory(image, memory, 0).unwrap();
    let seen = gpu.buffer(u64::from(4 * SIDE * SIDE), ANY_USE);
    let range = vk::ImageSubresourceRange::default()
        .aspect_mask(vk::ImageAspectFlags::COLOR)
        .level_count(1)
        .layer_count(1);
    let layer = vk::ImageSubresourceLayers {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        layer_count: 1,
        ..Default::default()
    };
    let region = vk::BufferImageCopy::default().image_subresource(layer).image_extent(vk::Extent3D {
        width: SIDE,
        height: SIDE,
        depth: 1,
    });
    gpu.run(|cb| {
        let general = vk::ImageLayout::GENERAL;
        let barrier = vk::ImageMemoryBarrier::default()
            .dst_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .new_layout(general)
            .image(image)
            .subresource_range(range);
        let (top, transfer) = (vk::PipelineStageFlags::TOP_OF_PIPE, vk::PipelineStageFlags::TRANSFER);
        gpu.device.cmd_pipeline_barrier(
            cb,
            top,
            transfer,
            vk::DependencyFlags::empty(),
            &[],
            &[],
            &[barrier],
        );
        let color = vk::ClearColorValue { float32: [0.25, 0.5, 0.75, 1.0] };
        gpu.device.cmd_clear_color_image(cb, image, general, &color, &[range]);
        barrier_all(&gpu.device, cb);
        gpu.device.cmd_copy_image_to_buffer(cb, image, general, seen.handle, &[region]);
        barrier_all(&gpu.device, cb);
    });
    report.pixels("image", SIDE, SIDE, &seen.read());
    gpu.device.destroy_image(image, None);
    gpu.device.free_memory(memory, None);
}

/// A buffer whose memory passes as a file.
struct Shared {
    device: ash::Device,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    place: *mut u8,
}

impl Shared {
    /// With new memory, or that behind a descriptor.
    unsafe fn new(device: &ash::Device, imported: Option<OwnedFd>) -> Self {
        let (buffer, needs) = buffer_for(device, FILE);
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(FILE);
        let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(FILE);
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(needs.memory_type_bits.trailing_zeros())
            .push_next(&mut export);
        if let Some(fd) = imported {
            // The driver has it from now on.
            import.fd = fd.into_raw_fd();
            info = info.push_next(&mut import);
        }
        let memory = device.allocate_memory(&info, None).unwrap();
        device.bind_buffer_memory(buffer, memory, 0).unwrap();
        let place = device.map_memory(memory, 0, SIZE, vk::MemoryMapFlags::empty()).unwrap().cast();
        Self { device: device.clone(), buffer, memory, place }
    }

    unsafe fn export(&self, instance: &ash::Instance) -> OwnedFd {
        let file = khr::external_memory_fd::Device::new(instance, &self.device);
        let info = vk::MemoryGetFdInfoKHR::default().memory(self.memory).handle_type(FILE);
        OwnedFd::from_raw_fd(file.get_memory_fd(&info).unwrap())
    }

    unsafe fn bytes(&self) -> &[u8] {
        std::slice::from_raw_parts(self.place, SIZE as usize)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: no work is under way.
        unsafe {
            self.device.destroy_buffer(self.buffer, None);
            self.device.free_memory(self.memory, None);
        }
    }
}

/// Between allocations of one device, and of two instances.
pub(super) unsafe fn file(gpu: &Gpu, report: &Report) {
    if !gpu.has(khr::external_memory_fd::NAME) {
        return report.line("external memory", "not offered");
    }
    let first = Shared::new(&gpu.device, None);
    report.bytes("new", first.bytes());
    let second = Shared::new(&gpu.device, Some(first.export(&gpu.instance)));
    let other = Gpu::open();
    let third = Shared::new(&other.device, Some(second.export(&gpu.instance)));
    gpu.run(|cb| {
        gpu.device.cmd_fill_buffer(cb, first.buffer, 0, vk::WHOLE_SIZE, 0x1234_5678);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("another allocation", second.bytes());
    report.bytes("another instance", third.bytes());
    drop((first, second));
    other.run(|cb| {
        other.device.cmd_fill_buffer(cb, third.buffer, SIZE / 2, SIZE / 2, 0x8765_4321);
        barrier_all(&other.device, cb);
    });
    report.bytes("after the first was freed", third.bytes());
    let fourth = Shared::new(&gpu.device, Some(third.export(&other.instance)));
    drop(third);
    drop(other);
    report.bytes("after its instance was destroyed", fourth.bytes());
    // Given away, though the import fails: some drivers close it all the same.
    let pipe = rustix::pipe::pipe().unwrap().0.into_raw_fd();
    let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(FILE).fd(pipe);
    let info = vk::MemoryAllocateInfo::default().allocation_size(SIZE).push_next(&mut import);
    report.debug("a pipe", gpu.device.allocate_memory(&info, None).map(|_| ()));
}

/// Starts this program as the other process of a case, and prints what it prints.
fn with_peer(report: &Report, work: &str, descriptor: &OwnedFd) {
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).unwrap();
    let program = std::env::current_exe().unwrap();
    let descriptor = descriptor.as_raw_fd().to_string();
    let output = Command::new(program).args(["--peer", work, &descriptor]).output().unwrap();
    report.line("the other process", output.status);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        report.line("the other process", line);
    }
}

/// Between two processes.
pub(super) unsafe fn processes(gpu: &Gpu, report: &Report) {
    if !gpu.has(khr::external_memory_fd::NAME) {
        return report.line("external memory", "not offered");
    }
    let shared = Shared::new(&gpu.device, None);
    gpu.run(|cb| {
        gpu.device.cmd_fill_buffer(cb, shared.buffer, 0, SIZE / 2, 0xaaaa_0001);
        barrier_all(&gpu.device, cb);
    });
    with_peer(report, "memory", &shared.export(&gpu.instance));
    report.bytes("afterwards", shared.bytes());
}

/// The work of the other process.
pub(crate) unsafe fn run_peer(gpu: &Gpu, work: &str, descriptor: i32) {
    let report = Report::new("peer", None);
    let descriptor = OwnedFd::from_raw_fd(descriptor);
    match work {
        "memory" => {
            let shared = Shared::new(&gpu.device, Some(descriptor));
            report.bytes("found", shared.bytes());
            gpu.run(|cb| {
                let region = vk::BufferCopy { src_offset: 0, dst_offset: SIZE / 2, size: SIZE / 2 };
                gpu.device.cmd_copy_buffer(cb, shared.buffer, shared.buffer, &[region]);
                barrier_all(&gpu.device, cb);
                gpu.device.cmd_fill_buffer(cb, shared.buffer, 0, SIZE / 4, 0xbbbb_0002);
                barrier_all(&gpu.device, cb);
            });
            report.bytes("left", shared.bytes());
        }
        _ => panic!("no such work: {work}"),
    }
}
