//! The second versions of commands, and what the maintenance extensions add.

use ash::{khr, vk};

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State};
use crate::report::Report;
use crate::resources::{ANY_USE, SIDE, TARGET, plain};
use crate::shaders;

/// Facts of the physical device asked for in both versions.
pub(super) unsafe fn facts(gpu: &Gpu, report: &Report) {
    let (instance, physical) = (&gpu.instance, gpu.physical);
    let first = instance.get_physical_device_features(physical);
    report.line("features", format!("{first:?}") == format!("{:?}", gpu.features));
    let mut memory = vk::PhysicalDeviceMemoryProperties2::default();
    instance.get_physical_device_memory_properties2(physical, &mut memory);
    let types = |memory: &vk::PhysicalDeviceMemoryProperties| format!("{:?}", memory.memory_types_as_slice());
    report.line("memory", types(&memory.memory_properties) == types(&gpu.memory));
    let count = instance.get_physical_device_queue_family_properties2_len(physical);
    let mut families = vec![vk::QueueFamilyProperties2::default(); count];
    instance.get_physical_device_queue_family_properties2(physical, &mut families);
    report.debug(
        "families",
        families.iter().map(|f| f.queue_family_properties.queue_count).collect::<Vec<_>>(),
    );
    let info = vk::PhysicalDeviceSparseImageFormatInfo2::default()
        .format(COLOUR)
        .ty(vk::ImageType::TYPE_2D)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(TARGET)
        .tiling(vk::ImageTiling::OPTIMAL);
    let count = instance.get_physical_device_sparse_image_format_properties2_len(physical, &info);
    if gpu.features.sparse_residency_image2_d != 0 {
        report.line("sparse formats", count);
    }
    let mut found = vk::ExternalSemaphoreProperties::default();
    // No driver knows this type: it is the same everywhere.
    let info = vk::PhysicalDeviceExternalSemaphoreInfo::default()
        .handle_type(vk::ExternalSemaphoreHandleTypeFlags::D3D12_FENCE);
    instance.get_physical_device_external_semaphore_properties(physical, &info, &mut found);
    report.debug("external semaphores", found.external_semaphore_features);
}

/// Requirements of an image in the second version.
pub(super) unsafe fn requirements(gpu: &Gpu, report: &Report) {
    let info = plain(COLOUR, SIDE, TARGET);
    let image = gpu.device.create_image(&info, None).unwrap();
    let mut dedicated = vk::MemoryDedicatedRequirements::default();
    let mut needs = vk::MemoryRequirements2::default().push_next(&mut dedicated);
    let ask = vk::ImageMemoryRequirementsInfo2::default().image(image);
    gpu.device.get_image_memory_requirements2(&ask, &mut needs);
    let needs = needs.memory_requirements;
    report.line("image", format!("{} {} {:x}", needs.size, needs.alignment, needs.memory_type_bits));
    report.debug(
        "dedicated",
        (dedicated.prefers_dedicated_allocation, dedicated.requires_dedicated_allocation),
    );
    let (mut of_image, mut of_info) = (0, 0);
    // Drivers without sparse resources leave the numbers as they are.
    if gpu.features.sparse_residency_image2_d != 0 {
        let ask = vk::ImageSparseMemoryRequirementsInfo2::default().image(image);
        of_image = gpu.device.get_image_sparse_memory_requirements2_len(&ask);
        let ask = vk::DeviceImageMemoryRequirements::default().create_info(&info);
        of_info = gpu.device.get_device_image_sparse_memory_requirements_len(&ask);
    }
    report.debug("of an image that is not sparse", (of_image, of_info));
    gpu.device.destroy_image(image, None);
}

/// Memory mapped and unmapped in the second version.
pub(super) unsafe fn mapping(gpu: &Gpu, report: &Report) {
    if !gpu.has(khr::map_memory2::NAME) {
        report.line("second mapping", "not offered");
        return;
    }
    let functions = khr::map_memory2::Device::new(&gpu.instance, &gpu.device);
    let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(8192)
        .memory_type_index(gpu.memory_type(!0, wanted));
    let memory = gpu.device.allocate_memory(&info, None).unwrap();
    for (offset, size) in [(0, vk::WHOLE_SIZE), (4096, 16)] {
        let info = vk::MemoryMapInfoKHR::default().memory(memory).offset(offset).size(size);
        let mut at = std::ptr::null_mut();
        let mapped = (functions.fp().map_memory2_khr)(gpu.device.handle(), &info, &mut at);
        report.debug("mapped", mapped);
        let at = at.cast::<u32>();
        if offset == 0 {
            at.add(1024).write(77);
        }
        report.line(&format!("word at {offset}"), if offset == 0 { at.add(1024).read() } else { at.read() });
        let info = vk::MemoryUnmapInfoKHR::default().memory(memory);
        report.debug("unmapped", (functions.fp().unmap_memory2_khr)(gpu.device.handle(), &info));
    }
    gpu.device.free_memory(memory, None);
}

/// Index buffers with a size, layouts without an object, granularity.
pub(super) unsafe fn fifth(gpu: &Gpu, report: &Report) {
    if gpu.more.maintenance5.maintenance5 == 0 {
        report.line("maintenance 5", "not offered");
        return;
    }
    let functions = khr::maintenance5::Device::new(&gpu.instance, &gpu.device);
    let mesh = Mesh::triangles(gpu);
    let indices = gpu.buffer_of(&[0u16, 0, 3, 4, 5, 6, 7, 8, 0, 1, 2, 0]);
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        let bind = functions.fp().cmd_bind_index_buffer2_khr;
        bind(cb, indices.handle, 4, 12, vk::IndexType::UINT16);
        gpu.device.cmd_draw_indexed(cb, 6, 1, 0, 0, 0);
    });
    gpu.show(report, "six indices", &target);
    let formats = [COLOUR];
    let area = vk::RenderingAreaInfoKHR::default().color_attachment_formats(&formats);
    report.debug("granularity", functions.get_rendering_area_granularity(&area));
    let info = plain(COLOUR, SIDE, TARGET).tiling(vk::ImageTiling::LINEAR);
    let part = vk::ImageSubresource2KHR::default().image_subresource(vk::ImageSubresource {
        aspect_mask: vk::ImageAspectFlags::COLOR,
        mip_level: 0,
        array_layer: 0,
    });
    let ask = vk::DeviceImageSubresourceInfoKHR::default().create_info(&info).subresource(&part);
    let mut found = [vk::SubresourceLayout2KHR::default(), vk::SubresourceLayout2KHR::default()];
    functions.get_device_image_subresource_layout(&ask, &mut found[0]);
    let image = gpu.device.create_image(&info, None).unwrap();
    functions.get_image_subresource_layout2(image, &part, &mut found[1]);
    gpu.device.destroy_image(image, None);
    for layout in found {
        report.debug("layout", layout.subresource_layout);
    }
}

/// Sets, push constants and pushed descriptors bound for several stages at once.
pub(super) unsafe fn sixth(gpu: &Gpu, report: &Report) {
    if gpu.more.maintenance6.maintenance6 == 0 || !gpu.has(khr::push_descriptor::NAME) {
        report.line("maintenance 6", "not offered");
        return;
    }
    let functions = khr::maintenance6::Device::new(&gpu.instance, &gpu.device);
    let stages = vk::ShaderStageFlags::ALL;
    let buffers = [0; 3].map(|_| gpu.buffer(256, ANY_USE));
    let push = |value: u32| [value, 3, 64];

    let (set_layout, set) = gpu.storage_set(&buffers[..1]);
    let (pipeline, layout) = gpu.compute(shaders::FILL, &[set_layout]);
    let binding = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
        .descriptor_count(1)
        .stage_flags(stages)];
    let pushed = vk::DescriptorSetLayoutCreateInfo::default()
        .flags(vk::DescriptorSetLayoutCreateFlags::PUSH_DESCRIPTOR_KHR)
        .bindings(&binding);
    let pushed_layout = gpu.set_layout_of(&pushed);
    let (pushed_pipeline, pushed_pipeline_layout) = gpu.compute(shaders::FILL, &[pushed_layout]);
    let entries = [vk::DescriptorUpdateTemplateEntry {
        descriptor_count: 1,
        descriptor_type: vk::DescriptorType::STORAGE_BUFFER,
        stride: size_of::<vk::DescriptorBufferInfo>(),
        ..Default::default()
    }];
    let info = vk::DescriptorUpdateTemplateCreateInfo::default()
        .descriptor_update_entries(&entries)
        .template_type(vk::DescriptorUpdateTemplateType::PUSH_DESCRIPTORS_KHR)
        .pipeline_bind_point(vk::PipelineBindPoint::COMPUTE)
        .pipeline_layout(pushed_pipeline_layout);
    let template = gpu.device.create_descriptor_update_template(&info, None).unwrap();
    gpu.run(|cb| {
        let point = vk::PipelineBindPoint::COMPUTE;
        gpu.device.cmd_bind_pipeline(cb, point, pipeline);
        let sets = [set];
        let info = vk::BindDescriptorSetsInfoKHR::default()
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
            .layout(layout)
            .descriptor_sets(&sets);
        (functions.fp().cmd_bind_descriptor_sets2_khr)(cb, &info);
        let constants = |layout, value: &[u32; 3]| {
            let info = vk::PushConstantsInfoKHR::default()
                .layout(layout)
                .stage_flags(stages)
                .values(bytemuck::cast_slice(value));
            (functions.fp().cmd_push_constants2_khr)(cb, &info);
        };
        constants(layout, &push(10));
        gpu.device.cmd_dispatch(cb, 1, 1, 1);

        gpu.device.cmd_bind_pipeline(cb, point, pushed_pipeline);
        constants(pushed_pipeline_layout, &push(20));
        let infos = [buffers[1].whole()];
        let writes = [vk::WriteDescriptorSet::default()
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .buffer_info(&infos)];
        let info = vk::PushDescriptorSetInfoKHR::default()
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
            .layout(pushed_pipeline_layout)
            .descriptor_writes(&writes);
        (functions.fp().cmd_push_descriptor_set2_khr)(cb, &info);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        let data = buffers[2].whole();
        let mut info = vk::PushDescriptorSetWithTemplateInfoKHR::default()
            .descriptor_update_template(template)
            .layout(pushed_pipeline_layout);
        info.p_data = (&raw const data).cast();
        (functions.fp().cmd_push_descriptor_set_with_template2_khr)(cb, &info);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    gpu.device.destroy_descriptor_update_template(template, None);
    for (label, buffer) in ["bound", "pushed", "pushed by template"].into_iter().zip(buffers) {
        report.bytes(label, &buffer.read());
    }
}
