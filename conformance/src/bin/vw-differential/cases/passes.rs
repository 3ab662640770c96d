//! Render passes, of both versions, and rendering without them.

use ash::vk;
use vk::{AttachmentLoadOp as Load, AttachmentStoreOp as Store, ImageLayout as Layout};

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::{BACKGROUND, COLOUR, Mesh, State, Target, area, cleared, cover, opaque};
use crate::report::Report;
use crate::resources::{Image, SIDE, TARGET, plain};
use crate::shaders;

fn attachment(format: vk::Format) -> vk::AttachmentDescription {
    vk::AttachmentDescription {
        format,
        samples: vk::SampleCountFlags::TYPE_1,
        load_op: Load::CLEAR,
        store_op: Store::STORE,
        stencil_load_op: Load::DONT_CARE,
        stencil_store_op: Store::DONT_CARE,
        initial_layout: Layout::UNDEFINED,
        final_layout: Layout::GENERAL,
        ..Default::default()
    }
}

fn reference(attachment: u32, layout: Layout) -> [vk::AttachmentReference; 1] {
    [vk::AttachmentReference { attachment, layout }]
}

unsafe fn keep_pass(gpu: &Gpu, pass: vk::RenderPass) -> vk::RenderPass {
    gpu.later(move |device| device.destroy_render_pass(pass, None));
    pass
}

unsafe fn framebuffer(gpu: &Gpu, pass: vk::RenderPass, views: &[vk::ImageView]) -> vk::Framebuffer {
    let info = vk::FramebufferCreateInfo::default()
        .render_pass(pass)
        .attachments(views)
        .width(SIDE)
        .height(SIDE)
        .layers(1);
    let framebuffer = gpu.device.create_framebuffer(&info, None).unwrap();
    gpu.later(move |device| device.destroy_framebuffer(framebuffer, None));
    framebuffer
}

const FAR: vk::ClearValue =
    vk::ClearValue { depth_stencil: vk::ClearDepthStencilValue { depth: 1.0, stencil: 0 } };

unsafe fn simple_pass(gpu: &Gpu) -> vk::RenderPass {
    let attachments = [attachment(COLOUR), attachment(vk::Format::D32_SFLOAT)];
    let colour = reference(0, Layout::COLOR_ATTACHMENT_OPTIMAL);
    let depth = reference(1, Layout::DEPTH_STENCIL_ATTACHMENT_OPTIMAL);
    let subpasses = [vk::SubpassDescription::default()
        .pipeline_bind_point(vk::PipelineBindPoint::GRAPHICS)
        .color_attachments(&colour)
        .depth_stencil_attachment(&depth[0])];
    let info = vk::RenderPassCreateInfo::default().attachments(&attachments).subpasses(&subpasses);
    keep_pass(gpu, gpu.device.create_render_pass(&info, None).unwrap())
}

unsafe fn depth_image(gpu: &Gpu) -> Image {
    let usage = vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC;
    gpu.image(&plain(vk::Format::D32_SFLOAT, SIDE, usage))
}

unsafe fn draw_in(gpu: &Gpu, cb: vk::CommandBuffer, pipeline: vk::Pipeline, mesh: &Mesh) {
    gpu.bind_graphics(cb, pipeline);
    mesh.bind(gpu, cb);
    gpu.device.cmd_draw(cb, 9, 2, 0, 0);
}

pub(super) unsafe fn one_subpass(gpu: &Gpu, report: &Report) {
    let pass = simple_pass(gpu);
    report.debug("granularity", gpu.device.get_render_area_granularity(pass));
    let (colour, depth) = (gpu.target(), depth_image(gpu));
    let frame = framebuffer(gpu, pass, &[colour.view, depth.view]);
    let mut state = State::mesh().with_depth(vk::Format::D32_SFLOAT, vk::CompareOp::LESS);
    state.target = Target::Pass(pass, 0);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    gpu.run(|cb| {
        let clears = [BACKGROUND, FAR];
        let part = vk::Rect2D { offset: vk::Offset2D { x: 4, y: 8 }, ..area(SIDE - 12) };
        for area in [area(SIDE), part] {
            let begin = vk::RenderPassBeginInfo::default()
                .render_pass(pass)
                .framebuffer(frame)
                .render_area(area)
                .clear_values(&clears);
            gpu.device.cmd_begin_render_pass(cb, &begin, vk::SubpassContents::INLINE);
            draw_in(gpu, cb, pipeline, &mesh);
            gpu.device.cmd_end_render_pass(cb);
            barrier_all(&gpu.device, cb);
        }
    });
    gpu.show(report, "colour", &colour);
    report.bytes("depth", &gpu.read_image(&depth, 4, 0, 0));
}

/// A second subpass reads what the first wrote.
pub(super) unsafe fn input_attachment(gpu: &Gpu, report: &Report) {
    let attachments = [attachment(COLOUR), attachment(COLOUR)];
    let first = reference(0, Layout::COLOR_ATTACHMENT_OPTIMAL);
    let input = reference(0, Layout::SHADER_READ_ONLY_OPTIMAL);
    let second = reference(1, Layout::COLOR_ATTACHMENT_OPTIMAL);
    let subpasses = [
        vk::SubpassDescription::default().color_attachments(&first),
        vk::SubpassDescription::default().input_attachments(&input).color_attachments(&second),
    ];
    let dependencies = [vk::SubpassDependency {
        src_subpass: 0,
        dst_subpass: 1,
        src_stage_mask: vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT,
        dst_stage_mask: vk::PipelineStageFlags::FRAGMENT_SHADER,
        src_access_mask: vk::AccessFlags::COLOR_ATTACHMENT_WRITE,
        dst_access_mask: vk::AccessFlags::INPUT_ATTACHMENT_READ,
        dependency_flags: vk::DependencyFlags::BY_REGION,
    }];
    let info = vk::RenderPassCreateInfo::default()
        .attachments(&attachments)
        .subpasses(&subpasses)
        .dependencies(&dependencies);
    let pass = keep_pass(gpu, gpu.device.create_render_pass(&info, None).unwrap());
    let images =
        [0; 2].map(|_| gpu.image(&plain(COLOUR, SIDE, TARGET | vk::ImageUsageFlags::INPUT_ATTACHMENT)));
    let frame = framebuffer(gpu, pass, &images.map(|image| image.view));
    let types = [vk::DescriptorType::INPUT_ATTACHMENT];
    let bindings = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(types[0])
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::FRAGMENT)];
    let set_layout = gpu.set_layout_of(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings));
    let set = gpu.set(set_layout, &types);
    let infos = [vk::DescriptorImageInfo {
        sampler: vk::Sampler::null(),
        image_view: images[0].view,
        image_layout: Layout::SHADER_READ_ONLY_OPTIMAL,
    }];
    let write = vk::WriteDescriptorSet::default().dst_set(set).descriptor_type(types[0]).image_info(&infos);
    gpu.device.update_descriptor_sets(&[write], &[]);
    let layout = gpu.pipeline_layout(&[set_layout]);
    let mut state = State::mesh();
    state.target = Target::Pass(pass, 0);
    let drawing = state.build(gpu, layout);
    let mut state = State::new(shaders::COVER, shaders::SUBPASS);
    state.target = Target::Pass(pass, 1);
    let inverting = state.build(gpu, layout);
    let mesh = Mesh::triangles(gpu);
    gpu.run(|cb| {
        let clears = [BACKGROUND, BACKGROUND];
        let begin = vk::RenderPassBeginInfo::default()
            .render_pass(pass)
            .framebuffer(frame)
            .render_area(area(SIDE))
            .clear_values(&clears);
        gpu.device.cmd_begin_render_pass(cb, &begin, vk::SubpassContents::INLINE);
        draw_in(gpu, cb, drawing, &mesh);
        gpu.device.cmd_next_subpass(cb, vk::SubpassContents::INLINE);
        gpu.bind_graphics(cb, inverting);
        gpu.device.cmd_bind_descriptor_sets(cb, vk::PipelineBindPoint::GRAPHICS, layout, 0, &[set], &[]);
        gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &cover([0.0; 4], 0.0));
        gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        gpu.device.cmd_end_render_pass(cb);
    });
    gpu.show(report, "first", &images[0]);
    gpu.show(report, "inverted", &images[1]);
}

fn attachment2(format: vk::Format, samples: vk::SampleCountFlags) -> vk::AttachmentDescription2<'static> {
    vk::AttachmentDescription2::default()
        .format(format)
        .samples(samples)
        .load_op(Load::CLEAR)
        .store_op(Store::STORE)
        .stencil_load_op(Load::DONT_CARE)
        .stencil_store_op(Store::DONT_CARE)
        .final_layout(Layout::GENERAL)
}

fn reference2(
    attachment: u32,
    layout: Layout,
    aspect: vk::ImageAspectFlags,
) -> vk::AttachmentReference2<'static> {
    vk::AttachmentReference2::default().attachment(attachment).layout(layout).aspect_mask(aspect)
}

/// Four samples of colour and depth, resolved at the end of the pass.
unsafe fn resolved(gpu: &Gpu, report: &Report, with_depth: bool) {
    let four = vk::SampleCountFlags::TYPE_4;
    let one = vk::SampleCountFlags::TYPE_1;
    let (depth_format, aspect) = (vk::Format::D32_SFLOAT, vk::ImageAspectFlags::DEPTH);
    let attachments = [
        attachment2(COLOUR, four),
        attachment2(depth_format, four),
        attachment2(COLOUR, one).load_op(Load::DONT_CARE),
        attachment2(depth_format, one).load_op(Load::DONT_CARE),
    ];
    let colour_aspect = vk::ImageAspectFlags::COLOR;
    let colours = [reference2(0, Layout::COLOR_ATTACHMENT_OPTIMAL, colour_aspect)];
    let depth = reference2(1, Layout::DEPTH_STENCIL_ATTACHMENT_OPTIMAL, aspect);
    let resolves = [reference2(2, Layout::COLOR_ATTACHMENT_OPTIMAL, colour_aspect)];
    let depth_target = reference2(3, Layout::DEPTH_STENCIL_ATTACHMENT_OPTIMAL, aspect);
    let mut depth_resolve = vk::SubpassDescriptionDepthStencilResolve::default()
        .depth_resolve_mode(vk::ResolveModeFlags::SAMPLE_ZERO)
        .stencil_resolve_mode(vk::ResolveModeFlags::NONE)
        .depth_stencil_resolve_attachment(&depth_target);
    let mut subpass = vk::SubpassDescription2::default()
        .color_attachments(&colours)
        .resolve_attachments(&resolves)
        .depth_stencil_attachment(&depth);
    if with_depth {
        subpass = subpass.push_next(&mut depth_resolve);
    }
    let subpasses = [subpass];
    let used = if with_depth { 4 } else { 3 };
    let info = vk::RenderPassCreateInfo2::default().attachments(&attachments[..used]).subpasses(&subpasses);
    let pass = keep_pass(gpu, gpu.device.create_render_pass2(&info, None).unwrap());
    let usage = vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT;
    let multi = gpu.image(&plain(COLOUR, SIDE, vk::ImageUsageFlags::COLOR_ATTACHMENT).samples(four));
    let multi_depth = gpu.image(&plain(depth_format, SIDE, usage).samples(four));
    let (colour, depth) = (gpu.target(), depth_image(gpu));
    let views = [multi.view, multi_depth.view, colour.view, depth.view];
    let frame = framebuffer(gpu, pass, &views[..used]);
    let mut state = State::mesh().with_depth(depth_format, vk::CompareOp::LESS);
    state.target = Target::Pass(pass, 0);
    state.multisample = state.multisample.rasterization_samples(four);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    gpu.run(|cb| {
        let clears = [BACKGROUND, FAR];
        let begin = vk::RenderPassBeginInfo::default()
            .render_pass(pass)
            .framebuffer(frame)
            .render_area(area(SIDE))
            .clear_values(&clears);
        let inline = vk::SubpassBeginInfo::default().contents(vk::SubpassContents::INLINE);
        gpu.device.cmd_begin_render_pass2(cb, &begin, &inline);
        draw_in(gpu, cb, pipeline, &mesh);
        gpu.device.cmd_end_render_pass2(cb, &vk::SubpassEndInfo::default());
    });
    gpu.show(report, "colour", &colour);
    if with_depth {
        report.bytes("depth", &gpu.read_image(&depth, 4, 0, 0));
    }
}

pub(super) unsafe fn second_version(gpu: &Gpu, report: &Report) {
    resolved(gpu, report, false);
}

pub(super) unsafe fn depth_resolve(gpu: &Gpu, report: &Report) {
    resolved(gpu, report, true);
}

/// The images are named when the pass begins.
pub(super) unsafe fn imageless(gpu: &Gpu, report: &Report) {
    let pass = simple_pass(gpu);
    let (colour_format, depth_format) = ([COLOUR], [vk::Format::D32_SFLOAT]);
    let describe = |usage, formats| {
        vk::FramebufferAttachmentImageInfo::default()
            .usage(usage)
            .width(SIDE)
            .height(SIDE)
            .layer_count(1)
            .view_formats(formats)
    };
    let depth_usage = vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC;
    let infos = [describe(TARGET, &colour_format), describe(depth_usage, &depth_format)];
    let mut attachments = vk::FramebufferAttachmentsCreateInfo::default().attachment_image_infos(&infos);
    let mut info = vk::FramebufferCreateInfo::default()
        .flags(vk::FramebufferCreateFlags::IMAGELESS)
        .render_pass(pass)
        .width(SIDE)
        .height(SIDE)
        .layers(1)
        .push_next(&mut attachments);
    // Without images the array is ignored, its length is not.
    info.attachment_count = 2;
    let frame = gpu.device.create_framebuffer(&info, None).unwrap();
    gpu.later(move |device| device.destroy_framebuffer(frame, None));
    let mut state = State::mesh().with_depth(vk::Format::D32_SFLOAT, vk::CompareOp::LESS);
    state.target = Target::Pass(pass, 0);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    for round in 0..2 {
        let (colour, depth) = (gpu.target(), depth_image(gpu));
        gpu.run(|cb| {
            let (clears, views) = ([BACKGROUND, FAR], [colour.view, depth.view]);
            let mut views = vk::RenderPassAttachmentBeginInfo::default().attachments(&views);
            let begin = vk::RenderPassBeginInfo::default()
                .render_pass(pass)
                .framebuffer(frame)
                .render_area(area(SIDE))
                .clear_values(&clears)
                .push_next(&mut views);
            gpu.device.cmd_begin_render_pass(cb, &begin, vk::SubpassContents::INLINE);
            draw_in(gpu, cb, pipeline, &mesh);
            gpu.device.cmd_end_render_pass(cb);
        });
        gpu.show(report, &format!("round {round}"), &colour);
    }
}

/// Two layers rendered by one draw, in a render pass and without.
pub(super) unsafe fn multiview(gpu: &Gpu, report: &Report) {
    let layered = || gpu.image(&plain(COLOUR, SIDE, TARGET).array_layers(2));
    let attachments = [attachment(COLOUR)];
    let colour = reference(0, Layout::COLOR_ATTACHMENT_OPTIMAL);
    let subpasses = [vk::SubpassDescription::default().color_attachments(&colour)];
    let masks = [0b11];
    let mut views = vk::RenderPassMultiviewCreateInfo::default().view_masks(&masks).correlation_masks(&masks);
    let info = vk::RenderPassCreateInfo::default()
        .attachments(&attachments)
        .subpasses(&subpasses)
        .push_next(&mut views);
    let pass = keep_pass(gpu, gpu.device.create_render_pass(&info, None).unwrap());
    let image = layered();
    let frame = framebuffer(gpu, pass, &[image.view]);
    let layout = gpu.pipeline_layout(&[]);
    let mut state = State::new(shaders::VIEW, shaders::PASS_COLOUR);
    state.target = Target::Pass(pass, 0);
    let pipeline = state.build(gpu, layout);
    gpu.run(|cb| {
        let clears = [BACKGROUND];
        let begin = vk::RenderPassBeginInfo::default()
            .render_pass(pass)
            .framebuffer(frame)
            .render_area(area(SIDE))
            .clear_values(&clears);
        gpu.device.cmd_begin_render_pass(cb, &begin, vk::SubpassContents::INLINE);
        gpu.bind_graphics(cb, pipeline);
        gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        gpu.device.cmd_end_render_pass(cb);
    });
    let other = layered();
    let mut state = State::new(shaders::VIEW, shaders::PASS_COLOUR);
    state.view_mask = 0b11;
    let pipeline = state.build(gpu, layout);
    gpu.run(|cb| {
        gpu.to_general(cb, &other);
        let colours = [cleared(&other, BACKGROUND)];
        let info =
            vk::RenderingInfo::default().render_area(area(SIDE)).view_mask(0b11).color_attachments(&colours);
        gpu.device.cmd_begin_rendering(cb, &info);
        gpu.bind_graphics(cb, pipeline);
        gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        gpu.device.cmd_end_rendering(cb);
    });
    for (label, image) in [("pass", image), ("rendering", other)] {
        for layer in 0..2 {
            report.pixels(&format!("{label} {layer}"), SIDE, SIDE, &gpu.read_image(&image, 4, 0, layer));
        }
    }
}

pub(super) unsafe fn dynamic_rendering(gpu: &Gpu, report: &Report) {
    let (colour, depth) = (gpu.target(), depth_image(gpu));
    let state = State::mesh().with_depth(vk::Format::D32_SFLOAT, vk::CompareOp::LESS);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    gpu.render(&colour, Some((&depth, FAR)), |cb| draw_in(gpu, cb, pipeline, &mesh));
    gpu.show(report, "colour", &colour);
    report.bytes("depth", &gpu.read_image(&depth, 4, 0, 0));
    // Without a colour attachment at the place that the pipeline names.
    gpu.run(|cb| {
        gpu.to_general(cb, &depth);
        let colours = [vk::RenderingAttachmentInfo::default()];
        let far = cleared(&depth, FAR);
        let info = vk::RenderingInfo::default()
            .render_area(area(SIDE))
            .layer_count(1)
            .color_attachments(&colours)
            .depth_attachment(&far);
        gpu.device.cmd_begin_rendering(cb, &info);
        gpu.device.cmd_end_rendering(cb);
    });
    report.bytes("depth cleared", &gpu.read_image(&depth, 4, 0, 0));
}

/// Rendering that one command buffer suspends and the next resumes.
pub(super) unsafe fn suspended(gpu: &Gpu, report: &Report) {
    let colour = gpu.target();
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    gpu.run(|cb| gpu.to_general(cb, &colour));
    let colours = [cleared(&colour, BACKGROUND)];
    let parts: Vec<_> = [vk::RenderingFlags::SUSPENDING, vk::RenderingFlags::RESUMING]
        .into_iter()
        .zip([0, 6])
        .map(|(flags, first)| {
            gpu.record(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, |cb| {
                let info = vk::RenderingInfo::default()
                    .flags(flags)
                    .render_area(area(SIDE))
                    .layer_count(1)
                    .color_attachments(&colours);
                gpu.device.cmd_begin_rendering(cb, &info);
                gpu.bind_graphics(cb, pipeline);
                mesh.bind(gpu, cb);
                gpu.device.cmd_draw(cb, 3, 1, first, 0);
                gpu.device.cmd_end_rendering(cb);
            })
        })
        .collect();
    let submit = vk::SubmitInfo::default().command_buffers(&parts);
    gpu.device.queue_submit(gpu.queue, &[submit], vk::Fence::null()).unwrap();
    gpu.device.queue_wait_idle(gpu.queue).unwrap();
    gpu.show(report, "both parts", &colour);
}

pub(super) unsafe fn two_targets(gpu: &Gpu, report: &Report) {
    let images = [gpu.target(), gpu.image(&plain(vk::Format::R16G16B16A16_SFLOAT, SIDE, TARGET))];
    let mut state = State::new(shaders::COVER, shaders::TWO_TARGETS);
    let formats = vec![COLOUR, vk::Format::R16G16B16A16_SFLOAT];
    state.target = Target::Formats(formats, vk::Format::UNDEFINED, vk::Format::UNDEFINED);
    let mask = vk::ColorComponentFlags::R | vk::ColorComponentFlags::B;
    state.attachments = vec![opaque(), opaque()];
    if gpu.features.independent_blend != 0 {
        state.attachments[1] = opaque().color_write_mask(mask);
    }
    let layout = gpu.pipeline_layout(&[]);
    let pipeline = state.build(gpu, layout);
    gpu.run(|cb| {
        images.iter().for_each(|image| gpu.to_general(cb, image));
        let colours = images.map(|image| cleared(&image, BACKGROUND));
        let info =
            vk::RenderingInfo::default().render_area(area(SIDE)).layer_count(1).color_attachments(&colours);
        gpu.device.cmd_begin_rendering(cb, &info);
        gpu.bind_graphics(cb, pipeline);
        gpu.device.cmd_push_constants(
            cb,
            layout,
            vk::ShaderStageFlags::ALL,
            0,
            &cover([0.9, 0.5, 0.1, 1.0], 0.0),
        );
        gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        gpu.device.cmd_end_rendering(cb);
    });
    gpu.show(report, "first", &images[0]);
    report.bytes("second", &gpu.read_image(&images[1], 8, 0, 0));
}
