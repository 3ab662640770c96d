//! What dynamic rendering wrote, read while it goes on.

use ash::{khr, vk};

use crate::gpu::Gpu;
use crate::graphics::{BACKGROUND, COLOUR, State, Target, area, cleared, cover, opaque};
use crate::report::Report;
use crate::resources::{Image, SIDE, TARGET, plain};
use crate::shaders;

/// Attachments that are read at the pixel where they are written.
unsafe fn readable(gpu: &Gpu) -> Image {
    gpu.image(&plain(COLOUR, SIDE, TARGET | vk::ImageUsageFlags::INPUT_ATTACHMENT))
}

/// A layout of one input attachment.
unsafe fn input_layout(gpu: &Gpu) -> vk::DescriptorSetLayout {
    let binding = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::INPUT_ATTACHMENT)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::FRAGMENT)];
    gpu.set_layout_of(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&binding))
}

/// The second draw reads what the first wrote; locations and indices are swapped in between.
pub(super) unsafe fn attachments(gpu: &Gpu, report: &Report) {
    if gpu.more.local_read.dynamic_rendering_local_read == 0 {
        report.line("local read", "not offered");
        return;
    }
    let functions = khr::dynamic_rendering_local_read::Device::new(&gpu.instance, &gpu.device);
    let set_layout = input_layout(gpu);
    let layout = gpu.pipeline_layout(&[set_layout]);
    for swapped in [false, true] {
        let images = [readable(gpu), readable(gpu)];
        let set = gpu.set(set_layout, &[vk::DescriptorType::INPUT_ATTACHMENT]);
        let input = vk::DescriptorType::INPUT_ATTACHMENT;
        gpu.write_image(set, 0, input, images[usize::from(swapped)].view, vk::Sampler::null());
        let unused = vk::ATTACHMENT_UNUSED;
        // The first draw writes one attachment, the second reads it and writes the other.
        let (first, second) = if swapped { ([unused, 0], [0, unused]) } else { ([0, unused], [unused, 0]) };
        let inputs = if swapped { [unused, 0] } else { [0, unused] };
        let pipeline = |locations: &[u32; 2], fragment| {
            let mut state = State::new(shaders::COVER, fragment);
            state.target = Target::Formats(vec![COLOUR; 2], vk::Format::UNDEFINED, vk::Format::UNDEFINED);
            state.attachments = vec![opaque(); 2];
            state.locations = Some((locations.to_vec(), inputs.to_vec()));
            state.build(gpu, layout)
        };
        let pipelines = [pipeline(&first, shaders::PUSH_COLOUR), pipeline(&second, shaders::SUBPASS)];
        gpu.run(|cb| {
            images.iter().for_each(|image| gpu.to_general(cb, image));
            let colours = images.map(|image| cleared(&image, BACKGROUND));
            let info = vk::RenderingInfo::default()
                .render_area(area(SIDE))
                .layer_count(1)
                .color_attachments(&colours);
            gpu.device.cmd_begin_rendering(cb, &info);
            let inputs =
                vk::RenderingInputAttachmentIndexInfoKHR::default().color_attachment_input_indices(&inputs);
            for (pipeline, locations) in pipelines.into_iter().zip([first, second]) {
                gpu.bind_graphics(cb, pipeline);
                let info =
                    vk::RenderingAttachmentLocationInfoKHR::default().color_attachment_locations(&locations);
                functions.cmd_set_rendering_attachment_locations(cb, &info);
                functions.cmd_set_rendering_input_attachment_indices(cb, &inputs);
                let point = vk::PipelineBindPoint::GRAPHICS;
                gpu.device.cmd_bind_descriptor_sets(cb, point, layout, 0, &[set], &[]);
                let push = cover([0.2, 0.7, 0.9, 1.0], 0.0);
                gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &push);
                gpu.device.cmd_draw(cb, 3, 1, 0, 0);
                let barrier = [vk::MemoryBarrier::default()
                    .src_access_mask(vk::AccessFlags::COLOR_ATTACHMENT_WRITE)
                    .dst_access_mask(vk::AccessFlags::INPUT_ATTACHMENT_READ)];
                let stages = [
                    vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT,
                    vk::PipelineStageFlags::FRAGMENT_SHADER,
                ];
                let region = vk::DependencyFlags::BY_REGION;
                gpu.device.cmd_pipeline_barrier(cb, stages[0], stages[1], region, &barrier, &[], &[]);
            }
            gpu.device.cmd_end_rendering(cb);
        });
        for (label, image) in ["first", "second"].into_iter().zip(&images) {
            gpu.show(report, &format!("{label}, swapped {swapped}"), image);
        }
    }
}

/// Attachments in the layout that is made for it; the draw after the barrier reads and overwrites the very same one.
pub(super) unsafe fn own_layout(gpu: &Gpu, report: &Report) {
    if gpu.more.local_read.dynamic_rendering_local_read == 0 {
        report.line("local read", "not offered");
        return;
    }
    let image = readable(gpu);
    let set_layout = input_layout(gpu);
    let layout = gpu.pipeline_layout(&[set_layout]);
    let set = gpu.set(set_layout, &[vk::DescriptorType::INPUT_ATTACHMENT]);
    let own = vk::ImageLayout::RENDERING_LOCAL_READ_KHR;
    let infos =
        [vk::DescriptorImageInfo { sampler: vk::Sampler::null(), image_view: image.view, image_layout: own }];
    let write = vk::WriteDescriptorSet::default()
        .dst_set(set)
        .descriptor_type(vk::DescriptorType::INPUT_ATTACHMENT)
        .image_info(&infos);
    gpu.device.update_descriptor_sets(&[write], &[]);
    let pipelines = [shaders::PUSH_COLOUR, shaders::SUBPASS].map(|fragment| {
        let mut state = State::new(shaders::COVER, fragment);
        state.locations = Some((vec![0], vec![0]));
        state.build(gpu, layout)
    });
    let transition = |cb: vk::CommandBuffer, from: vk::ImageLayout, to: vk::ImageLayout| {
        let all = vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE;
        let barrier = [vk::ImageMemoryBarrier::default()
            .src_access_mask(all)
            .dst_access_mask(all)
            .old_layout(from)
            .new_layout(to)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image.handle)
            .subresource_range(image.all())];
        let stages = vk::PipelineStageFlags::ALL_COMMANDS;
        let none = vk::DependencyFlags::empty();
        gpu.device.cmd_pipeline_barrier(cb, stages, stages, none, &[], &[], &barrier);
    };
    gpu.run(|cb| {
        transition(cb, vk::ImageLayout::UNDEFINED, own);
        let colours = [cleared(&image, BACKGROUND).image_layout(own)];
        let info =
            vk::RenderingInfo::default().render_area(area(SIDE)).layer_count(1).color_attachments(&colours);
        gpu.device.cmd_begin_rendering(cb, &info);
        // The second pipeline reads what the first wrote, and in the next round what it wrote itself.
        for pipeline in [pipelines[0], pipelines[1], pipelines[1]] {
            gpu.bind_graphics(cb, pipeline);
            let point = vk::PipelineBindPoint::GRAPHICS;
            gpu.device.cmd_bind_descriptor_sets(cb, point, layout, 0, &[set], &[]);
            let push = cover([0.9, 0.4, 0.1, 1.0], 0.0);
            gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &push);
            gpu.device.cmd_draw(cb, 3, 1, 0, 0);
            let barrier = [vk::MemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::COLOR_ATTACHMENT_WRITE)
                .dst_access_mask(vk::AccessFlags::INPUT_ATTACHMENT_READ)];
            let stages =
                [vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT, vk::PipelineStageFlags::FRAGMENT_SHADER];
            let region = vk::DependencyFlags::BY_REGION;
            gpu.device.cmd_pipeline_barrier(cb, stages[0], stages[1], region, &barrier, &[], &[]);
        }
        gpu.device.cmd_end_rendering(cb);
        transition(cb, own, vk::ImageLayout::GENERAL);
    });
    gpu.show(report, "read and overwritten", &image);
}

/// A second pass of version 2 with an input attachment, in two subpasses.
pub(super) unsafe fn subpasses(gpu: &Gpu, report: &Report) {
    let images = [readable(gpu), readable(gpu)];
    let attachment = vk::AttachmentDescription2::default()
        .format(COLOUR)
        .samples(vk::SampleCountFlags::TYPE_1)
        .load_op(vk::AttachmentLoadOp::CLEAR)
        .store_op(vk::AttachmentStoreOp::STORE)
        .final_layout(vk::ImageLayout::GENERAL);
    let reference = |attachment| {
        [vk::AttachmentReference2::default()
            .attachment(attachment)
            .layout(vk::ImageLayout::GENERAL)
            .aspect_mask(vk::ImageAspectFlags::COLOR)]
    };
    let (first, second) = (reference(0), reference(1));
    let subpasses = [
        vk::SubpassDescription2::default().color_attachments(&first),
        vk::SubpassDescription2::default().color_attachments(&second).input_attachments(&first),
    ];
    let dependencies = [vk::SubpassDependency2::default()
        .src_subpass(0)
        .dst_subpass(1)
        .src_stage_mask(vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT)
        .dst_stage_mask(vk::PipelineStageFlags::FRAGMENT_SHADER)
        .src_access_mask(vk::AccessFlags::COLOR_ATTACHMENT_WRITE)
        .dst_access_mask(vk::AccessFlags::INPUT_ATTACHMENT_READ)
        .dependency_flags(vk::DependencyFlags::BY_REGION)];
    let attachments = [attachment, attachment];
    let info = vk::RenderPassCreateInfo2::default()
        .attachments(&attachments)
        .subpasses(&subpasses)
        .dependencies(&dependencies);
    let pass = gpu.device.create_render_pass2(&info, None).unwrap();
    gpu.later(move |device| device.destroy_render_pass(pass, None));
    let views = images.map(|image| image.view);
    let info = vk::FramebufferCreateInfo::default()
        .render_pass(pass)
        .attachments(&views)
        .width(SIDE)
        .height(SIDE)
        .layers(1);
    let frame = gpu.device.create_framebuffer(&info, None).unwrap();
    gpu.later(move |device| device.destroy_framebuffer(frame, None));
    let set_layout = input_layout(gpu);
    let set = gpu.set(set_layout, &[vk::DescriptorType::INPUT_ATTACHMENT]);
    gpu.write_image(set, 0, vk::DescriptorType::INPUT_ATTACHMENT, views[0], vk::Sampler::null());
    let layout = gpu.pipeline_layout(&[set_layout]);
    let pipelines = [shaders::PUSH_COLOUR, shaders::SUBPASS].map(|fragment| {
        let mut state = State::new(shaders::COVER, fragment);
        state.target = Target::Pass(pass, u32::from(fragment == shaders::SUBPASS));
        state.build(gpu, layout)
    });
    gpu.run(|cb| {
        let clears = [BACKGROUND, BACKGROUND];
        let begin = vk::RenderPassBeginInfo::default()
            .render_pass(pass)
            .framebuffer(frame)
            .render_area(area(SIDE))
            .clear_values(&clears);
        let inline = vk::SubpassBeginInfo::default().contents(vk::SubpassContents::INLINE);
        let end = vk::SubpassEndInfo::default();
        gpu.device.cmd_begin_render_pass2(cb, &begin, &inline);
        for (i, pipeline) in pipelines.into_iter().enumerate() {
            if i > 0 {
                gpu.device.cmd_next_subpass2(cb, &inline, &end);
            }
            gpu.bind_graphics(cb, pipeline);
            let point = vk::PipelineBindPoint::GRAPHICS;
            gpu.device.cmd_bind_descriptor_sets(cb, point, layout, 0, &[set], &[]);
            let push = cover([0.6, 0.1, 0.4, 1.0], 0.0);
            gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &push);
            gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        }
        gpu.device.cmd_end_render_pass2(cb, &end);
    });
    images.iter().for_each(|image| gpu.show(report, "image", image));
}
