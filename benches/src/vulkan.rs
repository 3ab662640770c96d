//! The Vulkan objects that the measurements use.

use ash::vk;

/// A device, a queue, a command buffer, two buffers and a pipeline.
pub(crate) struct Vulkan {
    _entry: ash::Entry,
    _instance: ash::Instance,
    pub(crate) device: ash::Device,
    pub(crate) queue: vk::Queue,
    pub(crate) command_buffer: vk::CommandBuffer,
    pub(crate) fence: vk::Fence,
    pub(crate) upload: Mapped,
    pub(crate) readback: Mapped,
    pub(crate) memory_type: u32,
    /// Draws nothing: rasterisation is discarded.
    pub(crate) pipeline: vk::Pipeline,
}

/// A buffer in memory that the host has mapped.
pub(crate) struct Mapped {
    pub(crate) buffer: vk::Buffer,
    pub(crate) address: *mut u8,
}

/// Size of each buffer in bytes.
pub(crate) const SIZE: usize = 64 << 20;

impl Vulkan {
    /// Opens the first device. Nothing is destroyed: all lives as long as the process, which is short.
    pub(crate) fn open() -> Self {
        // SAFETY: valid usage: the structures live through the calls, the handles are live.
        unsafe {
            let entry = ash::Entry::load().expect("the Vulkan loader");
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None).expect("an instance");
            let physical =
                *instance.enumerate_physical_devices().expect("devices").first().expect("a device");
            let memory = instance.get_physical_device_memory_properties(physical);
            let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
            let kinds = memory.memory_types_as_slice();
            let memory_type = kinds.iter().position(|kind| kind.property_flags.contains(wanted));
            let memory_type = memory_type.expect("memory that the host sees") as u32;
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let mut features = vk::PhysicalDeviceVulkan13Features::default().dynamic_rendering(true);
            let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut features);
            let device = instance.create_device(physical, &info, None).expect("a device");
            let info =
                vk::CommandPoolCreateInfo::default().flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
            let pool = device.create_command_pool(&info, None).expect("a command pool");
            let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
            Self {
                queue: device.get_device_queue(0, 0),
                command_buffer: device.allocate_command_buffers(&info).expect("a command buffer")[0],
                fence: device.create_fence(&vk::FenceCreateInfo::default(), None).expect("a fence"),
                upload: Mapped::new(&device, memory_type),
                readback: Mapped::new(&device, memory_type),
                pipeline: create_pipeline(&device),
                _entry: entry,
                _instance: instance,
                device,
                memory_type,
            }
        }
    }

    /// Records the command buffer anew.
    pub(crate) fn record(&self, commands: impl FnOnce(vk::CommandBuffer)) {
        let info = vk::CommandBufferBeginInfo::default();
        // SAFETY: the command buffer is not pending: every submission is waited for.
        unsafe {
            self.device.begin_command_buffer(self.command_buffer, &info).expect("recording begins");
            commands(self.command_buffer);
            self.device.end_command_buffer(self.command_buffer).expect("recording ends");
        }
    }

    /// Submits the command buffer and waits for its fence.
    pub(crate) fn submit_and_wait(&self) {
        let buffers = [self.command_buffer];
        let submit = vk::SubmitInfo::default().command_buffers(&buffers);
        // SAFETY: the command buffer is recorded, the fence unsignalled; one thread uses the queue.
        unsafe {
            self.device.queue_submit(self.queue, &[submit], self.fence).expect("a submission");
            self.device.wait_for_fences(&[self.fence], true, u64::MAX).expect("the submission's end");
            self.device.reset_fences(&[self.fence]).expect("a reset fence");
        }
    }
}

/// A graphics pipeline of a vertex shader alone, for rendering without attachments.
///
/// # Safety
/// The device is live and has dynamic rendering enabled.
unsafe fn create_pipeline(device: &ash::Device) -> vk::Pipeline {
    const VERTEX: &[u8] = include_bytes!("../../conformance/shaders/cover.vert.spv");
    let words: Vec<u32> =
        VERTEX.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
    let push = [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::ALL, offset: 0, size: 32 }];
    let layout = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&push);
    // SAFETY: the device is live, the structures live through the calls.
    let (module, layout) = unsafe {
        let module = device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None);
        (module.expect("a shader module"), device.create_pipeline_layout(&layout, None).expect("a layout"))
    };
    let stages = [vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::VERTEX)
        .module(module)
        .name(c"main")];
    let input = vk::PipelineVertexInputStateCreateInfo::default();
    let assembly =
        vk::PipelineInputAssemblyStateCreateInfo::default().topology(vk::PrimitiveTopology::TRIANGLE_LIST);
    let raster =
        vk::PipelineRasterizationStateCreateInfo::default().rasterizer_discard_enable(true).line_width(1.0);
    let mut rendering = vk::PipelineRenderingCreateInfo::default();
    let info = vk::GraphicsPipelineCreateInfo::default()
        .stages(&stages)
        .vertex_input_state(&input)
        .input_assembly_state(&assembly)
        .rasterization_state(&raster)
        .layout(layout)
        .push_next(&mut rendering);
    // SAFETY: as above; what the pipeline lacks is not needed when rasterisation is discarded.
    let made = unsafe { device.create_graphics_pipelines(vk::PipelineCache::null(), &[info], None) };
    made.expect("a pipeline")[0]
}

impl Mapped {
    fn new(device: &ash::Device, memory_type: u32) -> Self {
        let usage = vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
        let info = vk::BufferCreateInfo::default().size(SIZE as u64).usage(usage);
        // SAFETY: valid usage: the buffer is new, the memory as large as it needs.
        unsafe {
            let buffer = device.create_buffer(&info, None).expect("a buffer");
            let needs = device.get_buffer_memory_requirements(buffer);
            let info =
                vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(memory_type);
            let memory = device.allocate_memory(&info, None).expect("memory");
            device.bind_buffer_memory(buffer, memory, 0).expect("bound memory");
            let address =
                device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).expect("a mapping");
            Self { buffer, address: address.cast() }
        }
    }
}
