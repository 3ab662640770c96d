//! Instances, physical devices, devices, queues.

use std::sync::atomic::{AtomicU32, Ordering};

use ash::vk;
use ash::vk::Handle;

use crate::extensions::{self, Features};
use crate::gpu::{Gpu, create_instance};
use crate::report::{Report, hash};
use crate::resources::ANY_USE;

pub(super) unsafe fn instances(gpu: &Gpu, report: &Report) {
    for round in 0..3 {
        let instance = create_instance(&gpu.entry);
        let devices = instance.enumerate_physical_devices().unwrap();
        report.line(&format!("devices in round {round}"), devices.len());
        let groups = vec![
            vk::PhysicalDeviceGroupProperties::default();
            instance.enumerate_physical_device_groups_len().unwrap()
        ];
        let mut groups = groups;
        instance.enumerate_physical_device_groups(&mut groups).unwrap();
        report.line("groups", groups.len());
        report.line("devices in the first group", groups[0].physical_device_count);
        report.line("the group's device is the device", groups[0].physical_devices[0] == devices[0]);
        instance.destroy_instance(None);
    }
}

pub(super) unsafe fn facts(gpu: &Gpu, report: &Report) {
    let properties = &gpu.properties;
    report.line("api version", properties.api_version);
    report.line("vendor", properties.vendor_id);
    report.line("device", properties.device_id);
    report.debug("type", properties.device_type);
    report.fields("limits", properties.limits);
    report.fields("sparse", properties.sparse_properties);
    report.fields("features", gpu.features);
    for (i, family) in
        gpu.instance.get_physical_device_queue_family_properties(gpu.physical).iter().enumerate()
    {
        report.fields(&format!("family {i}"), family);
    }
    for (i, kind) in gpu.memory.memory_types_as_slice().iter().enumerate() {
        report.debug(&format!("memory type {i}"), kind);
    }
    report.debug(
        "heap flags",
        gpu.memory.memory_heaps_as_slice().iter().map(|heap| heap.flags).collect::<Vec<_>>(),
    );
}

pub(super) unsafe fn properties(gpu: &Gpu, report: &Report) {
    let mut v11 = vk::PhysicalDeviceVulkan11Properties::default();
    let mut v12 = vk::PhysicalDeviceVulkan12Properties::default();
    let mut v13 = vk::PhysicalDeviceVulkan13Properties::default();
    let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
    let mut indexing = vk::PhysicalDeviceDescriptorIndexingProperties::default();
    let mut all = vk::PhysicalDeviceProperties2::default()
        .push_next(&mut v11)
        .push_next(&mut v12)
        .push_next(&mut v13)
        .push_next(&mut subgroup)
        .push_next(&mut indexing);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut all);
    report.line(
        "limits are the same",
        format!("{:?}", all.properties.limits) == format!("{:?}", gpu.properties.limits),
    );
    report.line("uuid", format!("{:x?}", v11.device_uuid));
    report.debug("driver", v12.driver_id);
    report.debug("conformance", v12.conformance_version);
    // The names are vw's; the rest is the host's.
    (v12.driver_name, v12.driver_info) = ([0; 256], [0; 256]);
    let strip = |text: String| hash(text.replace('\n', " ").as_bytes());
    report.line("1.1", strip(format!("{:?} {:?}", v11.subgroup_size, v11.max_memory_allocation_size)));
    report.debug("1.2 bind limits", v12.max_descriptor_set_update_after_bind_sampled_images);
    report.debug("1.3 texel alignment", v13.storage_texel_buffer_offset_alignment_bytes);
    report.debug(
        "subgroup",
        (subgroup.subgroup_size, subgroup.supported_stages, subgroup.supported_operations),
    );
    report.debug("indexing", indexing.max_per_stage_update_after_bind_resources);
    let mut tools = vec![vk::PhysicalDeviceToolProperties::default(); 8];
    let count = gpu.instance.get_physical_device_tool_properties_len(gpu.physical).unwrap();
    tools.truncate(count);
    report.line("tools", count);
}

pub(super) unsafe fn extensions(gpu: &Gpu, report: &Report) {
    for name in &gpu.enabled {
        report.line("enabled", name.to_string_lossy());
    }
    let address = |name: &std::ffi::CStr| {
        let function = (gpu.instance.fp_v1_0().get_device_proc_addr)(gpu.device.handle(), name.as_ptr());
        function.is_some()
    };
    for name in [
        c"vkCmdDraw",
        c"vkQueueSubmit2",
        c"vkCmdPushDescriptorSetKHR",
        c"vkCreateSwapchainKHR",
        c"vkNoSuchThing",
    ] {
        report.line(&format!("address of {}", name.to_string_lossy()), address(name));
    }
    // Not enabled on this device.
    for name in [c"vkCmdTraceRaysKHR", c"vkCmdDrawMeshTasksEXT", c"vkGetMemoryFdKHR"] {
        report.line(&format!("address of {}", name.to_string_lossy()), address(name));
    }
}

/// A device with every extension and every feature that is offered at once.
pub(super) unsafe fn everything_enabled(gpu: &Gpu, report: &Report) {
    let mut offered = extensions::offered(&gpu.instance, gpu.physical);
    offered.retain(|name| !extensions::is_exceptional(name));
    let names: Vec<_> = offered.iter().map(|name| name.as_ptr()).collect();
    for name in &offered {
        report.line("offered", name.to_string_lossy());
    }
    let mut features = Box::<Features>::default();
    let mut chain = features.chain(&offered);
    gpu.instance.get_physical_device_features2(gpu.physical, &mut chain);
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[0.5])];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&names)
        .push_next(&mut chain);
    match gpu.instance.create_device(gpu.physical, &info, None) {
        Ok(device) => {
            report.debug("idle", device.device_wait_idle());
            device.destroy_device(None);
        }
        Err(code) => report.debug("refused", code),
    }
}

/// What must not be created, and how it is refused.
pub(super) unsafe fn refused(gpu: &Gpu, report: &Report) {
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[1.0])];
    let names = [c"VK_VW_no_such_extension".as_ptr()];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
    report.debug("unknown extension", gpu.instance.create_device(gpu.physical, &info, None).map(|_| ()));
    let mut features = gpu.features;
    if features.sparse_residency_aliased == 0 {
        features.sparse_residency_aliased = 1;
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_features(&features);
        report
            .debug("feature not offered", gpu.instance.create_device(gpu.physical, &info, None).map(|_| ()));
    }
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
    let names = [c"VK_VW_no_such_extension".as_ptr()];
    let info =
        vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(&names);
    report.debug("unknown instance extension", gpu.entry.create_instance(&info, None).map(|_| ()));
}

pub(super) unsafe fn queues(gpu: &Gpu, report: &Report) {
    let info = vk::DeviceQueueInfo2::default().queue_family_index(gpu.family).queue_index(0);
    report.line("the same queue both ways", gpu.device.get_device_queue2(&info) == gpu.queue);
    let families = gpu.instance.get_physical_device_queue_family_properties(gpu.physical);
    let count = families[gpu.family as usize].queue_count.min(4);
    let priorities = vec![0.5; count as usize];
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&priorities)];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
    let device = gpu.instance.create_device(gpu.physical, &info, None).unwrap();
    for index in 0..count {
        let queue = device.get_device_queue(gpu.family, index);
        report.line(&format!("queue {index}"), !queue.is_null());
        report.debug("an empty submission", device.queue_submit(queue, &[], vk::Fence::null()));
        report.debug("idle", device.queue_wait_idle(queue));
    }
    device.destroy_device(None);
}

/// Every slot keeps a value of its own for every object, which begins as zero and goes with the slot.
pub(super) unsafe fn private_data(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let slot = || device.create_private_data_slot(&vk::PrivateDataSlotCreateInfo::default(), None).unwrap();
    let fence = || device.create_fence(&vk::FenceCreateInfo::default(), None).unwrap();
    let slots = [slot(), slot(), slot()];
    let (fences, buffer) = ([fence(), fence()], gpu.buffer(64, ANY_USE).handle);
    let show = |label: &str| {
        for (i, slot) in slots.iter().enumerate() {
            let of_fences = fences.map(|fence| device.get_private_data(fence, *slot));
            let others = [
                device.get_private_data(buffer, *slot),
                device.get_private_data(gpu.queue, *slot),
                device.get_private_data(device.handle(), *slot),
            ];
            report.line(&format!("{label}, slot {i}"), format!("{of_fences:x?} {others:x?}"));
        }
    };
    show("before");
    device.set_private_data(fences[0], slots[0], 0x1234_5678_9abc).unwrap();
    device.set_private_data(fences[0], slots[2], u64::MAX).unwrap();
    device.set_private_data(fences[1], slots[1], 1).unwrap();
    device.set_private_data(buffer, slots[1], 2).unwrap();
    device.set_private_data(gpu.queue, slots[2], 3).unwrap();
    device.set_private_data(device.handle(), slots[0], 4).unwrap();
    show("after");
    device.set_private_data(fences[0], slots[0], 5).unwrap();
    device.set_private_data(fences[0], slots[2], 0).unwrap();
    show("again");
    device.destroy_private_data_slot(slots[1], None);
    let new = slot();
    report.line("a new slot", device.get_private_data(fences[1], new));
    fences.into_iter().for_each(|fence| device.destroy_fence(fence, None));
    for slot in [slots[0], slots[2], new] {
        device.destroy_private_data_slot(slot, None);
    }
}

/// The messages that [`heard`] was given.
static HEARD: AtomicU32 = AtomicU32::new(0);

unsafe extern "system" fn heard(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    message: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    _: *mut std::ffi::c_void,
) -> vk::Bool32 {
    if (*message).message_id_number == 77 {
        HEARD.fetch_add(1, Ordering::Relaxed);
    }
    vk::FALSE
}

/// A message of the program's own reaches its messenger, unless it is not severe enough.
pub(super) unsafe fn messages(entry: &ash::Entry, instance: &ash::Instance, report: &Report) {
    use vk::DebugUtilsMessageSeverityFlagsEXT as Severity;
    let functions = ash::ext::debug_utils::Instance::new(entry, instance);
    let kind = vk::DebugUtilsMessageTypeFlagsEXT::GENERAL;
    let info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(Severity::WARNING)
        .message_type(kind)
        .pfn_user_callback(Some(heard));
    let messenger = functions.create_debug_utils_messenger(&info, None).unwrap();
    let data =
        vk::DebugUtilsMessengerCallbackDataEXT::default().message_id_number(77).message(c"of the program");
    for severity in [Severity::INFO, Severity::WARNING] {
        let before = HEARD.load(Ordering::Relaxed);
        functions.submit_debug_utils_message(severity, kind, &data);
        report.line(&format!("{severity:?} heard"), HEARD.load(Ordering::Relaxed) > before);
    }
    functions.destroy_debug_utils_messenger(messenger, None);
}

/// Names and labels of the debug utilities, which belong to the instance.
pub(super) unsafe fn names(gpu: &Gpu, report: &Report) {
    let offered = gpu.entry.enumerate_instance_extension_properties(None).unwrap();
    let name = ash::ext::debug_utils::NAME;
    if !offered.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name)) {
        report.line("debug utilities", "not offered");
        return;
    }
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
    let enabled = [name.as_ptr()];
    let info =
        vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(&enabled);
    let instance = gpu.entry.create_instance(&info, None).unwrap();
    let physical = instance.enumerate_physical_devices().unwrap()[0];
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
    let device = instance.create_device(physical, &info, None).unwrap();
    let utilities = ash::ext::debug_utils::Device::new(&instance, &device);
    let fence = device.create_fence(&vk::FenceCreateInfo::default(), None).unwrap();
    let info =
        vk::DebugUtilsObjectNameInfoEXT::default().object_handle(fence).object_name(c"a fence with a name");
    report.debug("named", utilities.set_debug_utils_object_name(&info));
    let tag = vk::DebugUtilsObjectTagInfoEXT::default().object_handle(fence).tag_name(7).tag(&[1, 2, 3]);
    report.debug("tagged", utilities.set_debug_utils_object_tag(&tag));
    messages(&gpu.entry, &instance, report);
    let queue = device.get_device_queue(gpu.family, 0);
    utilities.queue_begin_debug_utils_label(queue, &vk::DebugUtilsLabelEXT::default().label_name(c"a label"));
    let label = vk::DebugUtilsLabelEXT::default().label_name(c"another");
    utilities.queue_insert_debug_utils_label(queue, &label);
    utilities.queue_end_debug_utils_label(queue);
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = device.create_command_pool(&info, None).unwrap();
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let buffers = device.allocate_command_buffers(&info).unwrap();
    device.begin_command_buffer(buffers[0], &vk::CommandBufferBeginInfo::default()).unwrap();
    utilities.cmd_begin_debug_utils_label(buffers[0], &label);
    utilities.cmd_insert_debug_utils_label(buffers[0], &label);
    utilities.cmd_end_debug_utils_label(buffers[0]);
    device.end_command_buffer(buffers[0]).unwrap();
    let submit = [vk::SubmitInfo::default().command_buffers(&buffers)];
    report.debug("labels recorded", device.queue_submit(queue, &submit, vk::Fence::null()));
    report.debug("labels run", device.queue_wait_idle(queue));
    device.destroy_command_pool(pool, None);
    device.destroy_fence(fence, None);
    device.destroy_device(None);
    instance.destroy_instance(None);
}
