//! The Vulkan objects that the measurements use.
//!
//! Small things are not destroyed: a measurement's process is short. Mistakes of the driver are panics: there is
//! nothing to measure then.
//!
//! Everything `unsafe` here and in the measurements is a Vulkan call, and rests on the same facts: one thread makes
//! them; handles are live, because nothing that is used later is destroyed; what a structure points to lives through
//! the call; what is pending is waited for before it is recorded, written or destroyed.

mod image;
mod pipeline;

use ash::vk;

pub(crate) use image::{Image, barrier as image_barrier, info as image_info, view_info as image_view_info};
pub(crate) use pipeline::{Constant, GraphicsPipeline, shader};

/// A device with one queue, a command buffer and a fence.
pub(crate) struct Vulkan {
    pub(crate) entry: ash::Entry,
    pub(crate) device: ash::Device,
    pub(crate) queue: vk::Queue,
    pub(crate) pool: vk::CommandPool,
    pub(crate) command_buffer: vk::CommandBuffer,
    pub(crate) fence: vk::Fence,
    /// Memory that the host has mapped and that needs no flush.
    pub(crate) host_memory: u32,
    /// An empty cache: asking for its contents is a call that only the driver can answer.
    cache: vk::PipelineCache,
}

/// A buffer in memory that the host has mapped.
pub(crate) struct Buffer {
    pub(crate) buffer: vk::Buffer,
    pub(crate) memory: vk::DeviceMemory,
    pub(crate) address: *mut u8,
}

impl Vulkan {
    /// Opens the first device.
    pub(crate) fn open() -> Self {
        // SAFETY: the loader's library has nothing unsound in its initialiser.
        let entry = unsafe { ash::Entry::load() }.expect("the Vulkan loader");
        let instance = create_instance(&entry);
        // SAFETY: a Vulkan call, see the module; `create_device` takes the first one too.
        let physical = unsafe { instance.enumerate_physical_devices() }.expect("devices")[0];
        let device = create_device(&instance);
        // SAFETY: Vulkan calls, see the module.
        unsafe {
            let memory = instance.get_physical_device_memory_properties(physical);
            let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
            let host_memory =
                memory.memory_types_as_slice().iter().position(|kind| kind.property_flags.contains(wanted));
            let info =
                vk::CommandPoolCreateInfo::default().flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
            let pool = device.create_command_pool(&info, None).expect("a command pool");
            let cache = device.create_pipeline_cache(&vk::PipelineCacheCreateInfo::default(), None);
            let mut vulkan = Self {
                queue: device.get_device_queue(0, 0),
                pool,
                command_buffer: vk::CommandBuffer::null(),
                fence: device.create_fence(&vk::FenceCreateInfo::default(), None).expect("a fence"),
                host_memory: host_memory.expect("memory that the host sees") as u32,
                cache: cache.expect("a pipeline cache"),
                entry,
                device,
            };
            vulkan.command_buffer = vulkan.command_buffer();
            vulkan
        }
    }

    /// One more command buffer.
    pub(crate) fn command_buffer(&self) -> vk::CommandBuffer {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        // SAFETY: a Vulkan call, see the module.
        unsafe { self.device.allocate_command_buffers(&info) }.expect("a command buffer")[0]
    }

    /// Records a command buffer, which is not pending.
    pub(crate) fn record(&self, buffer: vk::CommandBuffer, commands: impl FnOnce(&ash::Device)) {
        let flags = vk::CommandBufferUsageFlags::SIMULTANEOUS_USE;
        let info = vk::CommandBufferBeginInfo::default().flags(flags);
        // SAFETY: Vulkan calls, see the module.
        unsafe {
            self.device.begin_command_buffer(buffer, &info).expect("recording begins");
            commands(&self.device);
            self.device.end_command_buffer(buffer).expect("recording ends");
        }
    }

    /// Submits a command buffer.
    pub(crate) fn submit(&self, buffer: vk::CommandBuffer, fence: vk::Fence) {
        let buffers = [buffer];
        let submit = vk::SubmitInfo::default().command_buffers(&buffers);
        // SAFETY: a Vulkan call, see the module.
        unsafe { self.device.queue_submit(self.queue, &[submit], fence) }.expect("a submission");
    }

    /// Waits for a fence and resets it.
    pub(crate) fn wait(&self, fence: vk::Fence) {
        // SAFETY: Vulkan calls, see the module.
        unsafe {
            self.device.wait_for_fences(&[fence], true, u64::MAX).expect("the submission's end");
            self.device.reset_fences(&[fence]).expect("a reset fence");
        }
    }

    /// Submits the command buffer and waits for its end.
    pub(crate) fn run(&self, buffer: vk::CommandBuffer) {
        self.submit(buffer, self.fence);
        self.wait(self.fence);
    }

    /// A call that only the driver can answer (`vkGetPipelineCacheData`). Forwarding drivers work in order, so that
    /// the answer also says that all calls before are done.
    pub(crate) fn ask(&self) {
        let mut size = 0;
        let get = self.device.fp_v1_0().get_pipeline_cache_data;
        // SAFETY: a Vulkan call, see the module; ash has none that asks for the size alone.
        let result = unsafe { get(self.device.handle(), self.cache, &raw mut size, std::ptr::null_mut()) };
        assert!(result == vk::Result::SUCCESS && size > 0, "no answer: {result:?}");
    }

    /// A buffer, mapped.
    pub(crate) fn buffer(&self, size: u64, usage: vk::BufferUsageFlags) -> Buffer {
        let (buffer, memory) = self.unmapped_buffer(size, usage);
        Buffer { buffer, memory, address: self.map(memory) }
    }

    /// A buffer and its memory, which the program does not look at.
    pub(crate) fn unmapped_buffer(
        &self,
        size: u64,
        usage: vk::BufferUsageFlags,
    ) -> (vk::Buffer, vk::DeviceMemory) {
        let info = vk::BufferCreateInfo::default().size(size).usage(usage);
        // SAFETY: Vulkan calls, see the module.
        unsafe {
            let buffer = self.device.create_buffer(&info, None).expect("a buffer");
            let needs = self.device.get_buffer_memory_requirements(buffer);
            let memory = self.memory(needs.size);
            self.device.bind_buffer_memory(buffer, memory, 0).expect("bound memory");
            (buffer, memory)
        }
    }

    /// Memory that the host sees, and its mapping.
    pub(crate) fn mapped_memory(&self, size: u64) -> (vk::DeviceMemory, *mut u8) {
        let memory = self.memory(size);
        (memory, self.map(memory))
    }

    /// Memory that the host sees.
    pub(crate) fn memory(&self, size: u64) -> vk::DeviceMemory {
        let info =
            vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(self.host_memory);
        // SAFETY: a Vulkan call, see the module.
        unsafe { self.device.allocate_memory(&info, None) }.expect("memory")
    }

    fn map(&self, memory: vk::DeviceMemory) -> *mut u8 {
        let flags = vk::MemoryMapFlags::empty();
        // SAFETY: a Vulkan call, see the module.
        unsafe { self.device.map_memory(memory, 0, vk::WHOLE_SIZE, flags) }.expect("a mapping").cast()
    }

    /// Destroys a buffer that nothing uses, with its memory.
    pub(crate) fn destroy_buffer(&self, buffer: &Buffer) {
        // SAFETY: Vulkan calls, see the module.
        unsafe {
            self.device.destroy_buffer(buffer.buffer, None);
            self.device.free_memory(buffer.memory, None);
        }
    }
}

/// An instance with nothing special.
pub(crate) fn create_instance(entry: &ash::Entry) -> ash::Instance {
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
    let info = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: a Vulkan call, see the module.
    unsafe { entry.create_instance(&info, None) }.expect("an instance")
}

/// Enumerates, and creates a device with one queue on the first physical device.
pub(crate) fn create_device(instance: &ash::Instance) -> ash::Device {
    let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
    let mut features = vk::PhysicalDeviceVulkan13Features::default();
    features = features.dynamic_rendering(true).synchronization2(true);
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut features);
    // SAFETY: Vulkan calls, see the module.
    unsafe {
        let devices = instance.enumerate_physical_devices().expect("devices");
        let physical = *devices.first().expect("a device");
        instance.create_device(physical, &info, None).expect("a device")
    }
}
