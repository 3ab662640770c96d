//! An instance with a device, and a little work that shows whether they work.

use std::ffi::CStr;

use ash::vk;

/// What went wrong, for the program's last line.
pub(crate) type Outcome = Result<(), String>;

/// How long a wait may last, in nanoseconds.
pub(crate) const PATIENCE: u64 = 20_000_000_000;

/// Bytes that [`Gpu::work`] fills.
const SIZE: u64 = 4096;

/// An instance and a device of its own.
pub(crate) struct Gpu {
    /// Keeps the Vulkan loader open.
    pub(crate) entry: ash::Entry,
    pub(crate) instance: ash::Instance,
    pub(crate) physical: vk::PhysicalDevice,
    pub(crate) device: ash::Device,
    pub(crate) queue: vk::Queue,
    pub(crate) family: u32,
    pub(crate) memory_type: u32,
}

/// For `map_err`.
pub(crate) fn text(what: &str) -> impl Fn(vk::Result) -> String {
    move |code| format!("{what}: {code:?}")
}

/// An error with `what` unless `good`.
pub(crate) fn check(good: bool, what: impl FnOnce() -> String) -> Outcome {
    if good { Ok(()) } else { Err(what()) }
}

impl Gpu {
    /// Opens the first device with nothing enabled.
    pub(crate) unsafe fn open() -> Result<Self, String> {
        let entry = ash::Entry::load().map_err(|error| error.to_string())?;
        Self::open_with(entry, &[], &[], None)
    }

    /// Opens the first device with these instance and device extensions and allocation callbacks.
    pub(crate) unsafe fn open_with(
        entry: ash::Entry,
        instance_extensions: &[&CStr],
        device_extensions: &[&CStr],
        callbacks: Option<&vk::AllocationCallbacks<'_>>,
    ) -> Result<Self, String> {
        let names: Vec<_> = instance_extensions.iter().map(|name| name.as_ptr()).collect();
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info =
            vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(&names);
        let instance = entry.create_instance(&info, callbacks).map_err(text("vkCreateInstance"))?;
        let devices = instance.enumerate_physical_devices().map_err(text("vkEnumeratePhysicalDevices"))?;
        let physical = *devices.first().ok_or("no Vulkan device")?;
        let families = instance.get_physical_device_queue_family_properties(physical);
        let family = families.iter().position(|family| family.queue_flags.contains(vk::QueueFlags::COMPUTE));
        let family = family.ok_or("no queue for compute")? as u32;
        let memory = instance.get_physical_device_memory_properties(physical);
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let memory_type =
            memory.memory_types_as_slice().iter().position(|kind| kind.property_flags.contains(wanted));
        let memory_type = memory_type.ok_or("no memory that the host sees")? as u32;
        let queues =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let names: Vec<_> = device_extensions.iter().map(|name| name.as_ptr()).collect();
        let mut newer = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true);
        let mut newest =
            vk::PhysicalDeviceVulkan13Features::default().private_data(true).synchronization2(true);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut newer)
            .push_next(&mut newest);
        let device = instance.create_device(physical, &info, callbacks).map_err(text("vkCreateDevice"))?;
        let queue = device.get_device_queue(family, 0);
        Ok(Self { entry, instance, physical, device, queue, family, memory_type })
    }

    /// Destroys the device and the instance, and lets the loader go.
    pub(crate) unsafe fn close(self, callbacks: Option<&vk::AllocationCallbacks<'_>>) {
        self.device.destroy_device(callbacks);
        self.instance.destroy_instance(callbacks);
    }

    /// Fills a buffer with `value` on the device and reads it back. A wrong content is an error of its own.
    pub(crate) unsafe fn work(&self, value: u32) -> Result<(), vk::Result> {
        let device = &self.device;
        let info = vk::BufferCreateInfo::default().size(SIZE).usage(vk::BufferUsageFlags::TRANSFER_DST);
        let buffer = device.create_buffer(&info, None)?;
        let size = device.get_buffer_memory_requirements(buffer).size;
        let info =
            vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(self.memory_type);
        let memory = device.allocate_memory(&info, None)?;
        device.bind_buffer_memory(buffer, memory, 0)?;
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(self.family);
        let pool = device.create_command_pool(&info, None)?;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        let commands = device.allocate_command_buffers(&info)?;
        device.begin_command_buffer(commands[0], &vk::CommandBufferBeginInfo::default())?;
        device.cmd_fill_buffer(commands[0], buffer, 0, SIZE, value);
        device.end_command_buffer(commands[0])?;
        let fence = device.create_fence(&vk::FenceCreateInfo::default(), None)?;
        device.queue_submit(self.queue, &[vk::SubmitInfo::default().command_buffers(&commands)], fence)?;
        device.wait_for_fences(&[fence], true, PATIENCE)?;
        let data = device.map_memory(memory, 0, SIZE, vk::MemoryMapFlags::empty())?.cast::<u32>();
        let right = (0..SIZE as usize / 4).all(|i| data.add(i).read_volatile() == value);
        device.unmap_memory(memory);
        device.destroy_fence(fence, None);
        device.destroy_command_pool(pool, None);
        device.destroy_buffer(buffer, None);
        device.free_memory(memory, None);
        if right { Ok(()) } else { Err(vk::Result::ERROR_UNKNOWN) }
    }
}
