//! A device, and a compute pipeline that fills a buffer.

use std::sync::Mutex;

use ash::vk;

/// The same shader as the differential suite's.
const FILL: &[u8] = include_bytes!("../../../shaders/fill.comp.spv");

/// Words in a buffer that the shader fills.
pub(crate) const WORDS: u32 = 1024;

/// A device and what all threads share of it.
pub(crate) struct Gpu {
    _entry: ash::Entry,
    _instance: ash::Instance,
    pub(crate) device: ash::Device,
    pub(crate) queue: Mutex<vk::Queue>,
    pub(crate) family: u32,
    pub(crate) memory_type: u32,
    /// Size in bytes of that type's heap.
    pub(crate) heap: u64,
    pub(crate) set_layout: vk::DescriptorSetLayout,
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) module: vk::ShaderModule,
    pub(crate) pipeline: vk::Pipeline,
}

impl Gpu {
    /// Opens the first device; without one the program ends.
    pub(crate) fn open() -> Self {
        // SAFETY: valid usage: every structure lives through its call, every handle is live. Nothing is destroyed:
        // the device lives as long as the program.
        unsafe {
            let entry = ash::Entry::load().expect("the Vulkan loader");
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None).expect("an instance");
            let physical =
                *instance.enumerate_physical_devices().expect("devices").first().expect("a Vulkan device");
            let families = instance.get_physical_device_queue_family_properties(physical);
            let family =
                families.iter().position(|family| family.queue_flags.contains(vk::QueueFlags::COMPUTE));
            let family = family.expect("a queue for compute") as u32;
            let memory = instance.get_physical_device_memory_properties(physical);
            let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
            let memory_type =
                memory.memory_types_as_slice().iter().position(|kind| kind.property_flags.contains(wanted));
            let memory_type = memory_type.expect("memory that the host sees") as u32;
            let heap = memory.memory_types[memory_type as usize].heap_index;
            let queues =
                [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
            let mut timeline =
                vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true);
            let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut timeline);
            let device = instance.create_device(physical, &info, None).expect("a device");
            let bindings = [vk::DescriptorSetLayoutBinding::default()
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)];
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let set_layout = device.create_descriptor_set_layout(&info, None).expect("a set layout");
            let push =
                [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::COMPUTE, offset: 0, size: 12 }];
            let layouts = [set_layout];
            let info =
                vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts).push_constant_ranges(&push);
            let layout = device.create_pipeline_layout(&info, None).expect("a pipeline layout");
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(FILL);
            let info = vk::ShaderModuleCreateInfo::default().code(&words);
            let module = device.create_shader_module(&info, None).expect("a shader module");
            let pipeline = create_pipeline(&device, layout, module).expect("a pipeline");
            Self {
                queue: Mutex::new(device.get_device_queue(family, 0)),
                memory_type,
                heap: memory.memory_heaps[heap as usize].size,
                _entry: entry,
                _instance: instance,
                device,
                family,
                set_layout,
                layout,
                module,
                pipeline,
            }
        }
    }
}

/// The pipeline of the shader.
pub(crate) unsafe fn create_pipeline(
    device: &ash::Device,
    layout: vk::PipelineLayout,
    module: vk::ShaderModule,
) -> Result<vk::Pipeline, vk::Result> {
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    let info = vk::ComputePipelineCreateInfo::default().layout(layout).stage(stage);
    let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
    made.map(|pipelines| pipelines[0]).map_err(|(_, code)| code)
}
