//! Instances, devices and objects, in numbers and in every order.

use std::thread;

use ash::vk;

use crate::gpu::{Gpu, Outcome, check, text};

/// The same shader as the differential suite's.
const FILL: &[u8] = include_bytes!("../../../shaders/fill.comp.spv");

pub(crate) unsafe fn many() -> Outcome {
    // At once, destroyed in another order than they were made.
    let mut alive = Vec::new();
    for value in 0..4 {
        let gpu = Gpu::open()?;
        gpu.work(value).map_err(text("one of several instances"))?;
        alive.push(gpu);
    }
    alive.swap(0, 2);
    while let Some(gpu) = alive.pop() {
        gpu.work(9).map_err(text("one of several instances"))?;
        gpu.close(None);
        for other in &alive {
            other.work(10).map_err(text("after another instance is gone"))?;
        }
    }
    // Several devices of one instance.
    let gpu = Gpu::open()?;
    let queues =
        [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
    for round in 0..40 {
        let device = gpu.instance.create_device(gpu.physical, &info, None).map_err(text("vkCreateDevice"))?;
        let event = device.create_event(&vk::EventCreateInfo::default(), None).map_err(text("an event"))?;
        gpu.work(round).map_err(text("beside another device"))?;
        device.destroy_event(event, None);
        device.destroy_device(None);
    }
    gpu.close(None);
    // From several threads.
    let threads: Vec<_> = (0..6)
        .map(|number| {
            thread::spawn(move || {
                for round in 0..4 {
                    let gpu = Gpu::open()?;
                    gpu.work(number * 100 + round).map_err(text("in a thread"))?;
                    gpu.close(None);
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
}

pub(crate) unsafe fn orders() -> Outcome {
    let gpu = Gpu::open()?;
    nothing_to_destroy(&gpu);
    memory_first(&gpu).map_err(text("memory before what is bound to it"))?;
    pools_first(&gpu).map_err(text("pools before what is allocated from them"))?;
    ingredients_first(&gpu).map_err(text("what a pipeline was made of before it"))?;
    named_by_recordings(&gpu).map_err(text("what a recording names before it"))?;
    gpu.work(1).map_err(text("at the end"))?;
    gpu.close(None);
    Ok(())
}

/// Null handles.
unsafe fn nothing_to_destroy(gpu: &Gpu) {
    let device = &gpu.device;
    device.destroy_buffer(vk::Buffer::null(), None);
    device.destroy_buffer_view(vk::BufferView::null(), None);
    device.destroy_image(vk::Image::null(), None);
    device.destroy_image_view(vk::ImageView::null(), None);
    device.free_memory(vk::DeviceMemory::null(), None);
    device.destroy_fence(vk::Fence::null(), None);
    device.destroy_semaphore(vk::Semaphore::null(), None);
    device.destroy_event(vk::Event::null(), None);
    device.destroy_query_pool(vk::QueryPool::null(), None);
    device.destroy_shader_module(vk::ShaderModule::null(), None);
    device.destroy_pipeline_cache(vk::PipelineCache::null(), None);
    device.destroy_pipeline(vk::Pipeline::null(), None);
    device.destroy_pipeline_layout(vk::PipelineLayout::null(), None);
    device.destroy_sampler(vk::Sampler::null(), None);
    device.destroy_sampler_ycbcr_conversion(vk::SamplerYcbcrConversion::null(), None);
    device.destroy_descriptor_set_layout(vk::DescriptorSetLayout::null(), None);
    device.destroy_descriptor_pool(vk::DescriptorPool::null(), None);
    device.destroy_descriptor_update_template(vk::DescriptorUpdateTemplate::null(), None);
    device.destroy_framebuffer(vk::Framebuffer::null(), None);
    device.destroy_render_pass(vk::RenderPass::null(), None);
    device.destroy_command_pool(vk::CommandPool::null(), None);
    device.destroy_private_data_slot(vk::PrivateDataSlot::null(), None);
}

unsafe fn memory_first(gpu: &Gpu) -> Result<(), vk::Result> {
    let device = &gpu.device;
    let usage = vk::BufferUsageFlags::UNIFORM_TEXEL_BUFFER | vk::BufferUsageFlags::TRANSFER_DST;
    let buffer = device.create_buffer(&vk::BufferCreateInfo::default().size(4096).usage(usage), None)?;
    let info = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(vk::Format::R8G8B8A8_UNORM)
        .extent(vk::Extent3D { width: 8, height: 8, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::SAMPLED);
    let image = device.create_image(&info, None)?;
    let needs = device.get_image_memory_requirements(image);
    let allocate = |size, kind| {
        let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(kind);
        device.allocate_memory(&info, None)
    };
    let of_image = allocate(needs.size, needs.memory_type_bits.trailing_zeros())?;
    device.bind_image_memory(image, of_image, 0)?;
    let of_buffer = allocate(device.get_buffer_memory_requirements(buffer).size, gpu.memory_type)?;
    device.bind_buffer_memory(buffer, of_buffer, 0)?;
    let info = vk::BufferViewCreateInfo::default()
        .buffer(buffer)
        .format(vk::Format::R8G8B8A8_UNORM)
        .range(vk::WHOLE_SIZE);
    let buffer_view = device.create_buffer_view(&info, None)?;
    let info = vk::ImageViewCreateInfo::default()
        .image(image)
        .view_type(vk::ImageViewType::TYPE_2D)
        .format(vk::Format::R8G8B8A8_UNORM)
        .subresource_range(vk::ImageSubresourceRange {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            level_count: 1,
            layer_count: 1,
            ..Default::default()
        });
    let image_view = device.create_image_view(&info, None)?;
    // A mapping goes with its memory.
    device.map_memory(of_buffer, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty())?;
    device.free_memory(of_buffer, None);
    device.free_memory(of_image, None);
    device.destroy_buffer(buffer, None);
    device.destroy_image(image, None);
    device.destroy_image_view(image_view, None);
    device.destroy_buffer_view(buffer_view, None);
    gpu.work(2)
}

unsafe fn pools_first(gpu: &Gpu) -> Result<(), vk::Result> {
    let device = &gpu.device;
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = device.create_command_pool(&info, None)?;
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(8);
    let commands = device.allocate_command_buffers(&info)?;
    // Freed, recorded, being recorded and untouched ones.
    device.free_command_buffers(pool, &commands[..2]);
    device.begin_command_buffer(commands[2], &vk::CommandBufferBeginInfo::default())?;
    device.end_command_buffer(commands[2])?;
    device.begin_command_buffer(commands[3], &vk::CommandBufferBeginInfo::default())?;
    device.destroy_command_pool(pool, None);

    let bindings = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::SAMPLER)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    let layout = device.create_descriptor_set_layout(&info, None)?;
    let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::SAMPLER, descriptor_count: 8 }];
    let info = vk::DescriptorPoolCreateInfo::default()
        .max_sets(8)
        .pool_sizes(&sizes)
        .flags(vk::DescriptorPoolCreateFlags::FREE_DESCRIPTOR_SET);
    let pool = device.create_descriptor_pool(&info, None)?;
    let layouts = [layout; 8];
    let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    let sets = device.allocate_descriptor_sets(&info)?;
    let sampler = device.create_sampler(&vk::SamplerCreateInfo::default(), None)?;
    let written = [vk::DescriptorImageInfo::default().sampler(sampler)];
    let write = vk::WriteDescriptorSet::default()
        .dst_set(sets[0])
        .descriptor_type(vk::DescriptorType::SAMPLER)
        .image_info(&written);
    device.update_descriptor_sets(&[write], &[]);
    // The layout before its sets, the sampler before the set that it is in, some sets before the rest.
    device.destroy_descriptor_set_layout(layout, None);
    device.destroy_sampler(sampler, None);
    device.free_descriptor_sets(pool, &sets[..3])?;
    device.destroy_descriptor_pool(pool, None);
    gpu.work(3)
}

unsafe fn ingredients_first(gpu: &Gpu) -> Result<(), vk::Result> {
    let device = &gpu.device;
    let bindings = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    let set_layout = device.create_descriptor_set_layout(&info, None)?;
    let push = [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::COMPUTE, offset: 0, size: 12 }];
    let layouts = [set_layout];
    let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts).push_constant_ranges(&push);
    let layout = device.create_pipeline_layout(&info, None)?;
    // A pipeline layout keeps what it needs of its set layouts.
    device.destroy_descriptor_set_layout(set_layout, None);
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(FILL);
    let module = device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None)?;
    let cache = device.create_pipeline_cache(&vk::PipelineCacheCreateInfo::default(), None)?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    let info = vk::ComputePipelineCreateInfo::default().layout(layout).stage(stage);
    let pipelines = device.create_compute_pipelines(cache, &[info, info], None).map_err(|(_, code)| code)?;
    device.destroy_shader_module(module, None);
    device.destroy_pipeline_cache(cache, None);
    device.destroy_pipeline(pipelines[1], None);
    device.destroy_pipeline_layout(layout, None);
    device.destroy_pipeline(pipelines[0], None);
    gpu.work(4)
}

unsafe fn named_by_recordings(gpu: &Gpu) -> Result<(), vk::Result> {
    let device = &gpu.device;
    let info = vk::CommandPoolCreateInfo::default()
        .queue_family_index(gpu.family)
        .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
    let pool = device.create_command_pool(&info, None)?;
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(2);
    let commands = device.allocate_command_buffers(&info)?;
    for round in 0..3 {
        let event = device.create_event(&vk::EventCreateInfo::default(), None)?;
        let info =
            vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::OCCLUSION).query_count(1 + round);
        let queries = device.create_query_pool(&info, None)?;
        for &recording in &commands {
            device.begin_command_buffer(recording, &vk::CommandBufferBeginInfo::default())?;
            device.cmd_reset_query_pool(recording, queries, 0, 1);
            device.cmd_set_event(recording, event, vk::PipelineStageFlags::TRANSFER);
            device.end_command_buffer(recording)?;
        }
        let submit = [vk::SubmitInfo::default().command_buffers(&commands[..1])];
        device.queue_submit(gpu.queue, &submit, vk::Fence::null())?;
        device.queue_wait_idle(gpu.queue)?;
        // Both recordings are invalid from here on, the one that was never submitted too.
        device.destroy_event(event, None);
        device.destroy_query_pool(queries, None);
        if round == 1 {
            device.reset_command_buffer(commands[1], vk::CommandBufferResetFlags::empty())?;
        }
    }
    device.free_command_buffers(pool, &commands);
    device.destroy_command_pool(pool, None);
    gpu.work(5)
}

pub(crate) unsafe fn deferred() -> Outcome {
    use ash::khr::{acceleration_structure, deferred_host_operations, ray_tracing_pipeline};
    let entry = ash::Entry::load().map_err(|error| error.to_string())?;
    let extensions =
        [deferred_host_operations::NAME, acceleration_structure::NAME, ray_tracing_pipeline::NAME];
    let gpu = Gpu::open_with(entry, &[], &extensions, None)?;
    let deferred = deferred_host_operations::Device::new(&gpu.instance, &gpu.device);
    let pipelines = ray_tracing_pipeline::Device::new(&gpu.instance, &gpu.device);
    let operation = deferred.create_deferred_operation(None).map_err(text("a deferred operation"))?;
    let layout = gpu.device.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default(), None);
    let layout = layout.map_err(text("a pipeline layout"))?;
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(FILL);
    let info = vk::ShaderModuleCreateInfo::default().code(&words);
    let module = gpu.device.create_shader_module(&info, None).map_err(text("a shader module"))?;
    let stages = [vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::RAYGEN_KHR)
        .module(module)
        .name(c"main")];
    let groups = [vk::RayTracingShaderGroupCreateInfoKHR::default()
        .ty(vk::RayTracingShaderGroupTypeKHR::GENERAL)
        .general_shader(0)
        .closest_hit_shader(vk::SHADER_UNUSED_KHR)
        .any_hit_shader(vk::SHADER_UNUSED_KHR)
        .intersection_shader(vk::SHADER_UNUSED_KHR)];
    let infos = [vk::RayTracingPipelineCreateInfoKHR::default()
        .stages(&stages)
        .groups(&groups)
        .max_pipeline_ray_recursion_depth(1)
        .layout(layout); 2];
    for (operation, expected) in [
        (vk::DeferredOperationKHR::null(), vk::Result::SUCCESS),
        (operation, vk::Result::OPERATION_NOT_DEFERRED_KHR),
        // Used again, after it was completed.
        (operation, vk::Result::OPERATION_NOT_DEFERRED_KHR),
    ] {
        let mut made = [vk::Pipeline::null(); 2];
        let code = (pipelines.fp().create_ray_tracing_pipelines_khr)(
            gpu.device.handle(),
            operation,
            vk::PipelineCache::null(),
            infos.len() as u32,
            infos.as_ptr(),
            std::ptr::null(),
            made.as_mut_ptr(),
        );
        check(code == expected, || format!("ray tracing pipelines: {code:?} instead of {expected:?}"))?;
        for pipeline in made {
            check(pipeline != vk::Pipeline::null(), || "a pipeline is null".into())?;
            let handles = pipelines.get_ray_tracing_shader_group_handles(pipeline, 0, 1, 32);
            handles.map_err(text("a shader group's handle"))?;
            gpu.device.destroy_pipeline(pipeline, None);
        }
    }
    check(deferred.get_deferred_operation_max_concurrency(operation) == 0, || "work is left".into())?;
    deferred.get_deferred_operation_result(operation).map_err(text("the operation's result"))?;
    deferred.deferred_operation_join(operation).map_err(text("joining the operation"))?;
    deferred.destroy_deferred_operation(operation, None);
    gpu.device.destroy_shader_module(module, None);
    gpu.device.destroy_pipeline_layout(layout, None);
    gpu.close(None);
    Ok(())
}
