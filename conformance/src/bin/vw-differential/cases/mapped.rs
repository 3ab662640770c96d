//! Memory mapped where the program wants it, and reports of memory: checked here, because few drivers have them to compare
//! with. Nothing is printed.

use std::alloc::Layout;
use std::ffi::{CStr, c_void};
use std::sync::Mutex;

use ash::{ext, khr, vk};
use vk::DeviceMemoryReportEventTypeEXT as Kind;

use crate::extensions;
use crate::gpu::Gpu;
use crate::report::Report;

/// A device with these extensions and what else the chain asks for; none where they are not offered.
unsafe fn device(
    gpu: &Gpu,
    names: &[&CStr],
    chain: &mut vk::PhysicalDeviceFeatures2<'_>,
) -> Option<ash::Device> {
    let offered = extensions::offered(&gpu.instance, gpu.physical);
    if !names.iter().all(|name| offered.contains(*name)) {
        return None;
    }
    let names: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .push_next(chain);
    Some(gpu.instance.create_device(gpu.physical, &info, None).unwrap())
}

unsafe fn allocate(gpu: &Gpu, device: &ash::Device, size: u64) -> vk::DeviceMemory {
    let ty = gpu.memory_type(!0, vk::MemoryPropertyFlags::HOST_VISIBLE);
    let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(ty);
    device.allocate_memory(&info, None).unwrap()
}

/// Whole and in part, unmapped with and without a reservation, freed while mapped.
pub(super) unsafe fn placed(gpu: &Gpu, _: &Report) {
    let mut wanted = vk::PhysicalDeviceMapMemoryPlacedFeaturesEXT::default()
        .memory_map_placed(true)
        .memory_map_range_placed(true)
        .memory_unmap_reserve(true);
    let names = [khr::map_memory2::NAME, ext::map_memory_placed::NAME];
    let mut chain = vk::PhysicalDeviceFeatures2::default().push_next(&mut wanted);
    let Some(device) = device(gpu, &names, &mut chain) else { return };
    let map = khr::map_memory2::Device::new(&gpu.instance, &device);
    let mut limits = vk::PhysicalDeviceMapMemoryPlacedPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut limits);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut properties);
    let page = limits.min_placed_memory_map_alignment;
    assert!(page.is_power_of_two() && page >= 4096, "{page}");
    let size = 4 * page;
    let layout = Layout::from_size_align(4 * size as usize, page as usize).unwrap();
    // Never given back: where it was mapped over it is not the allocator's any more.
    let room = std::alloc::alloc(layout);
    let here = room.add(size as usize);
    let memory = allocate(gpu, &device, size);
    let place = |offset, size, at: *mut u8| {
        let mut placed = vk::MemoryMapPlacedInfoEXT::default().placed_address(at.cast());
        let info = vk::MemoryMapInfoKHR::default()
            .flags(vk::MemoryMapFlags::PLACED_EXT)
            .memory(memory)
            .offset(offset)
            .size(size)
            .push_next(&mut placed);
        let mut data = std::ptr::null_mut();
        (map.fp().map_memory2_khr)(device.handle(), &info, &mut data).result().unwrap();
        data
    };
    assert_eq!(place(0, vk::WHOLE_SIZE, here), here.cast());
    here.add(page as usize).cast::<u64>().write(0x1234);
    let reserve =
        vk::MemoryUnmapInfoKHR::default().flags(vk::MemoryUnmapFlagsKHR::RESERVE_EXT).memory(memory);
    (map.fp().unmap_memory2_khr)(device.handle(), &reserve).result().unwrap();
    assert_eq!(place(page, page, here), here.cast());
    assert_eq!(here.cast::<u64>().read(), 0x1234);
    device.unmap_memory(memory);
    let anywhere = device.map_memory(memory, page, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).unwrap();
    assert_eq!(anywhere.cast::<u64>().read(), 0x1234);
    device.unmap_memory(memory);
    place(0, vk::WHOLE_SIZE, here);
    device.free_memory(memory, None);
    device.destroy_device(None);
}

/// What was reported: kind, object, size, handle.
type Told = Mutex<Vec<(Kind, u64, u64, u64)>>;

unsafe extern "system" fn hear(data: *const vk::DeviceMemoryReportCallbackDataEXT<'_>, told: *mut c_void) {
    let data = &*data;
    assert!(data.flags.is_empty() && data.object_type == vk::ObjectType::DEVICE_MEMORY);
    let told = &*told.cast::<Told>();
    told.lock().unwrap().push((data.ty, data.memory_object_id, data.size, data.object_handle));
}

/// Allocated, imported, freed, refused.
pub(super) unsafe fn reported(gpu: &Gpu, _: &Report) {
    let told = Told::default();
    let mut wanted = vk::PhysicalDeviceDeviceMemoryReportFeaturesEXT::default().device_memory_report(true);
    let mut listen = vk::DeviceDeviceMemoryReportCreateInfoEXT {
        pfn_user_callback: Some(hear),
        p_user_data: (&raw const told).cast_mut().cast(),
        ..Default::default()
    };
    let mut chain = vk::PhysicalDeviceFeatures2::default().push_next(&mut wanted);
    chain.p_next = {
        listen.p_next = chain.p_next;
        std::ptr::from_mut(&mut listen).cast()
    };
    let names = [ext::device_memory_report::NAME, khr::external_memory_fd::NAME];
    let Some(device) = device(gpu, &names, &mut chain) else { return };
    let plain = allocate(gpu, &device, 100);
    let file = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;
    let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(file);
    let ty = gpu.memory_type(!0, vk::MemoryPropertyFlags::HOST_VISIBLE);
    let info = vk::MemoryAllocateInfo::default().allocation_size(8192).memory_type_index(ty);
    let exported = device.allocate_memory(&info.push_next(&mut export), None).unwrap();
    let files = khr::external_memory_fd::Device::new(&gpu.instance, &device);
    let fd =
        files.get_memory_fd(&vk::MemoryGetFdInfoKHR::default().memory(exported).handle_type(file)).unwrap();
    let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(file).fd(fd);
    let imported = device.allocate_memory(&info.push_next(&mut import), None).unwrap();
    let refused = device.allocate_memory(&info.allocation_size(1 << 60), None);
    for memory in [exported, imported, plain] {
        device.free_memory(memory, None);
    }
    device.destroy_device(None);
    let told = told.into_inner().unwrap();
    let kinds: Vec<_> = told.iter().map(|(kind, ..)| kind.as_raw()).collect();
    let expected = [
        Kind::ALLOCATE,
        Kind::ALLOCATE,
        Kind::IMPORT,
        Kind::ALLOCATION_FAILED,
        Kind::FREE,
        Kind::UNIMPORT,
        Kind::FREE,
    ];
    assert!(refused.is_err());
    assert_eq!(kinds, expected.map(Kind::as_raw));
    let objects: Vec<_> = told.iter().map(|(_, object, ..)| *object).collect();
    assert!(objects[0] != objects[1] && objects[1] == objects[2]);
    assert_eq!(objects[4..], [objects[1], objects[2], objects[0]]);
    let handles: Vec<_> = told.iter().map(|(.., handle)| *handle).collect();
    // A layer may give the program handles of its own, so that they are compared with each other alone.
    let [plain, exported, imported] = [handles[0], handles[1], handles[2]];
    assert!(plain != exported && exported != imported && imported != plain);
    assert_eq!(handles[3..], [0, exported, imported, plain]);
    assert!(![plain, exported, imported].contains(&0));
    assert!(told[..3].iter().all(|(_, _, size, _)| *size >= 100) && told[3].2 == 1 << 60);
}
