//! What belongs to the device as a whole: groups, clocks, priorities, drivers without a loader.

use std::ffi::{CStr, c_char};

use ash::{ext, vk};

use crate::commands::barrier_all;
use crate::gpu::{Gpu, create_instance};
use crate::report::Report;
use crate::resources::ANY_USE;

/// A device group of the one device: masks, binding, submission, addressed memory.
pub(super) unsafe fn group(gpu: &Gpu, report: &Report) {
    let physical = [gpu.physical];
    let mut group = vk::DeviceGroupDeviceCreateInfo::default().physical_devices(&physical);
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut group);
    let device = gpu.instance.create_device(gpu.physical, &info, None).unwrap();
    let queue = device.get_device_queue(gpu.family, 0);
    let info = vk::BufferCreateInfo::default().size(1024).usage(ANY_USE);
    let buffer = device.create_buffer(&info, None).unwrap();
    let needs = device.get_buffer_memory_requirements(buffer);
    let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let mut flags =
        vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_MASK).device_mask(1);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(needs.size)
        .memory_type_index(gpu.memory_type(needs.memory_type_bits, wanted))
        .push_next(&mut flags);
    let memory = device.allocate_memory(&info, None).unwrap();
    let indices = [0];
    let mut bind_group = vk::BindBufferMemoryDeviceGroupInfo::default().device_indices(&indices);
    let bind = vk::BindBufferMemoryInfo::default().buffer(buffer).memory(memory).push_next(&mut bind_group);
    report.debug("bound", device.bind_buffer_memory2(&[bind]));
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = device.create_command_pool(&info, None).unwrap();
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let cb = device.allocate_command_buffers(&info).unwrap()[0];
    let mut mask = vk::DeviceGroupCommandBufferBeginInfo::default().device_mask(1);
    device.begin_command_buffer(cb, &vk::CommandBufferBeginInfo::default().push_next(&mut mask)).unwrap();
    device.cmd_set_device_mask(cb, 1);
    device.cmd_fill_buffer(cb, buffer, 0, 1024, 0x1357_9bdf);
    barrier_all(&device, cb);
    device.end_command_buffer(cb).unwrap();
    let (buffers, masks) = ([cb], [1]);
    let mut group = vk::DeviceGroupSubmitInfo::default().command_buffer_device_masks(&masks);
    let submit = vk::SubmitInfo::default().command_buffers(&buffers).push_next(&mut group);
    report.debug("submitted", device.queue_submit(queue, &[submit], vk::Fence::null()));
    device.queue_wait_idle(queue).unwrap();
    let mapped = device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).unwrap();
    report.line("filled", format!("{:x}", mapped.cast::<u32>().read()));
    device.destroy_buffer(buffer, None);
    device.free_memory(memory, None);
    device.destroy_command_pool(pool, None);
    device.destroy_device(None);
}

/// The device's clock beside the machine's: which there are, and that they go on.
pub(super) unsafe fn clocks(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::calibrated_timestamps::NAME) {
        report.line("calibrated timestamps", "not offered");
        return;
    }
    let of_instance = ext::calibrated_timestamps::Instance::new(&gpu.entry, &gpu.instance);
    let domains = of_instance.get_physical_device_calibrateable_time_domains(gpu.physical).unwrap();
    report.debug("domains", &domains);
    let functions = ext::calibrated_timestamps::Device::new(&gpu.instance, &gpu.device);
    let info = domains
        .iter()
        .map(|domain| vk::CalibratedTimestampInfoKHR::default().time_domain(*domain))
        .collect::<Vec<_>>();
    let (first, _) = functions.get_calibrated_timestamps(&info).unwrap();
    let (second, _) = functions.get_calibrated_timestamps(&info).unwrap();
    report.line("in order", first.iter().zip(&second).all(|(first, second)| first <= second));
}

/// Priorities of memory, at allocation and after.
pub(super) unsafe fn priorities(gpu: &Gpu, report: &Report) {
    if gpu.more.pageable.pageable_device_local_memory == 0 {
        report.line("memory priorities", "not offered");
        return;
    }
    let functions = ext::pageable_device_local_memory::Device::new(&gpu.instance, &gpu.device);
    let local = gpu.memory_type(!0, vk::MemoryPropertyFlags::DEVICE_LOCAL);
    let mut priority = vk::MemoryPriorityAllocateInfoEXT::default().priority(0.75);
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(4096)
        .memory_type_index(local)
        .push_next(&mut priority);
    let memory = gpu.device.allocate_memory(&info, None).unwrap();
    (functions.fp().set_device_memory_priority_ext)(gpu.device.handle(), memory, 0.25);
    gpu.device.free_memory(memory, None);
    report.line("set", true);
}

/// Several instances and devices at once, destroyed in an order of their own.
pub(super) unsafe fn several(gpu: &Gpu, report: &Report) {
    let instances = [0; 3].map(|_| create_instance(&gpu.entry));
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[1.0])];
    let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true);
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut timeline);
    let mut devices = Vec::new();
    for instance in &instances {
        let physical = instance.enumerate_physical_devices().unwrap()[0];
        for _ in 0..2 {
            devices.push(instance.create_device(physical, &info, None).unwrap());
        }
    }
    // The timeline of each device is its own.
    for (i, device) in (1..).zip(&devices) {
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(i);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        let semaphore = device.create_semaphore(&info, None).unwrap();
        let signal = vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(i * 10);
        device.signal_semaphore(&signal).unwrap();
        report.debug(&format!("timeline {i}"), device.get_semaphore_counter_value(semaphore));
        device.destroy_semaphore(semaphore, None);
    }
    for i in [3, 0, 5, 1, 4, 2] {
        devices[i].device_wait_idle().unwrap();
        devices[i].destroy_device(None);
    }
    let [first, second, third] = instances;
    for instance in [second, third, first] {
        instance.destroy_instance(None);
    }
}

/// The driver's own library, as the loader sees it: commands that the loader answers by itself.
pub(super) unsafe fn without_loader(_: &Gpu, report: &Report) {
    let manifest = std::env::var("VK_DRIVER_FILES").expect("the driver's manifest");
    let text = std::fs::read_to_string(manifest).expect("a manifest");
    let text: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let path = text["ICD"]["library_path"].as_str().expect("a library");
    // The library stays open: the loader uses it too.
    let library = std::mem::ManuallyDrop::new(libloading::Library::new(path).expect("the driver"));
    let get: vk::PFN_vkGetInstanceProcAddr = *library.get(b"vk_icdGetInstanceProcAddr\0").expect("its entry");
    let negotiate: unsafe extern "system" fn(*mut u32) -> vk::Result =
        *library.get(b"vk_icdNegotiateLoaderICDInterfaceVersion\0").expect("its version");
    let mut version = 5;
    report.line("interface", format!("{:?} {version}", negotiate(&mut version)));
    let null = vk::Instance::null();
    let find = |get: vk::PFN_vkGetInstanceProcAddr, instance, name: &CStr| get(instance, name.as_ptr());
    for name in [c"vkCreateDevice", c"vkCmdDraw", c"vkNoSuchThing"] {
        report.line(&format!("{name:?} without an instance"), find(get, null, name).is_some());
    }
    let entry = ash::Entry::from_static_fn(ash::StaticFn { get_instance_proc_addr: get });
    report.debug("version", entry.try_enumerate_instance_version().map(|version| version.is_some()));
    let instance = create_instance(&entry);
    // The same commands by way of the driver's own vkGetInstanceProcAddr.
    let own = find(get, instance.handle(), c"vkGetInstanceProcAddr").expect("a command of every driver");
    let own: vk::PFN_vkGetInstanceProcAddr = std::mem::transmute(own);
    report.line("the same way", find(own, instance.handle(), c"vkDestroyInstance").is_some());
    type Layers = unsafe extern "system" fn(*mut u32, *mut vk::LayerProperties) -> vk::Result;
    if let Some(layers) = find(own, null, c"vkEnumerateInstanceLayerProperties") {
        let layers: Layers = std::mem::transmute(layers);
        let mut count = 9;
        report.line("layers", format!("{:?} {count}", layers(&mut count, std::ptr::null_mut())));
    }
    let physical = instance.enumerate_physical_devices().expect("devices")[0];
    if find(own, instance.handle(), c"vkEnumerateDeviceLayerProperties").is_some() {
        let layers = instance.enumerate_device_layer_properties(physical);
        report.line("no layers of the device", layers.map_or(true, |layers| layers.is_empty()));
    }
    type Extensions =
        unsafe extern "system" fn(*const c_char, *mut u32, *mut vk::ExtensionProperties) -> vk::Result;
    let extensions = find(own, null, c"vkEnumerateInstanceExtensionProperties").expect("a global command");
    let extensions: Extensions = std::mem::transmute(extensions);
    let mut count = 0;
    let code = extensions(std::ptr::null(), &mut count, std::ptr::null_mut());
    report.line("extensions", format!("{code:?} {}", count > 0));
    instance.destroy_instance(None);
    // The loader delivers a program's own messages by itself.
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
    let enabled = [ext::debug_utils::NAME.as_ptr()];
    let info =
        vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(&enabled);
    let instance = entry.create_instance(&info, None).expect("an instance with messages");
    super::device::messages(&entry, &instance, report);
    instance.destroy_instance(None);
}
