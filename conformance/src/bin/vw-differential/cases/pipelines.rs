//! Making pipelines: caches, flags, libraries.

use ash::{ext, vk};

use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State, Target};
use crate::report::Report;
use crate::resources::ANY_USE;
use crate::shaders;

pub(super) unsafe fn cache(gpu: &Gpu, report: &Report) {
    let create = |data: &[u8]| {
        let info = vk::PipelineCacheCreateInfo::default().initial_data(data);
        gpu.device.create_pipeline_cache(&info, None)
    };
    let first = create(&[]).unwrap();
    let layout = gpu.pipeline_layout(&[]);
    let state = State::new(shaders::COVER, shaders::PUSH_COLOUR);
    state.try_build(gpu, layout, first).unwrap();
    let data = gpu.device.get_pipeline_cache_data(first).unwrap();
    report.line("header", format!("{:?}", &data[..8]));
    report.line("vendor", u32::from_le_bytes(data[8..12].try_into().unwrap()) == gpu.properties.vendor_id);
    report.line("uuid", data[16..32] == gpu.properties.pipeline_cache_uuid);
    let second = create(&data).unwrap();
    state.try_build(gpu, layout, second).unwrap();
    let rubbish = create(&[7; 40]);
    report.debug("rubbish", rubbish.map(|_| ()));
    report.debug("merged", gpu.device.merge_pipeline_caches(first, &[second]));
    for cache in [Ok(first), Ok(second), rubbish].into_iter().flatten() {
        gpu.device.destroy_pipeline_cache(cache, None);
    }
}

pub(super) unsafe fn feedback_and_flags(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(256, ANY_USE);
    let (layout, set) = gpu.storage_set(&[buffer]);
    let pipeline_layout = gpu.pipeline_layout(&[layout]);
    let mut whole = vk::PipelineCreationFeedback::default();
    let mut stages = [vk::PipelineCreationFeedback::default()];
    let mut feedback = vk::PipelineCreationFeedbackCreateInfo::default()
        .pipeline_creation_feedback(&mut whole)
        .pipeline_stage_creation_feedbacks(&mut stages);
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(shaders::module(gpu, shaders::FILL))
        .name(c"main");
    let info = vk::ComputePipelineCreateInfo::default().layout(pipeline_layout).stage(stage);
    let pipeline = gpu.compute_of(&info.push_next(&mut feedback), vk::PipelineCache::null());
    report.line("feedback is valid", whole.flags.contains(vk::PipelineCreationFeedbackFlags::VALID));
    gpu.run(|cb| {
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], bytemuck::cast_slice(&[1u32, 2, 64]));
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        crate::commands::barrier_all(&gpu.device, cb);
    });
    report.bytes("ran", &buffer.read());
    let flags = vk::PipelineCreateFlags::FAIL_ON_PIPELINE_COMPILE_REQUIRED;
    let info = vk::ComputePipelineCreateInfo::default().layout(pipeline_layout).stage(stage).flags(flags);
    match gpu.device.create_compute_pipelines(vk::PipelineCache::null(), &[info, info], None) {
        Ok(pipelines) => {
            report.line("compiled", pipelines.len());
            pipelines.into_iter().for_each(|pipeline| gpu.device.destroy_pipeline(pipeline, None));
        }
        Err((pipelines, code)) => {
            let made = pipelines.iter().filter(|pipeline| **pipeline != vk::Pipeline::null()).count();
            report.line("not compiled", format!("{code:?}, {made} made"));
        }
    }
}

pub(super) unsafe fn derivatives(gpu: &Gpu, report: &Report) {
    let layout = gpu.pipeline_layout(&[]);
    let mut state = State::new(shaders::COVER, shaders::PUSH_COLOUR);
    state.flags = vk::PipelineCreateFlags::ALLOW_DERIVATIVES;
    let parent = state.build(gpu, layout);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, parent);
        let push = crate::graphics::cover([1.0, 0.5, 0.0, 1.0], 0.0);
        gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &push);
        gpu.device.cmd_draw(cb, 3, 1, 0, 0);
    });
    gpu.show(report, "parent", &target);
}

/// A pipeline linked from the four parts that each were made apart.
pub(super) unsafe fn libraries(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::graphics_pipeline_library::NAME) {
        report.line("libraries", "not offered");
        return;
    }
    use vk::GraphicsPipelineLibraryFlagsEXT as Part;
    let layout = gpu.pipeline_layout(&[]);
    let state = State::mesh();
    let Target::Formats(formats, ..) = &state.target else { return };
    let vertex_input = state
        .vertex_input
        .vertex_binding_descriptions(&state.bindings)
        .vertex_attribute_descriptions(&state.attributes);
    let viewport =
        vk::PipelineViewportStateCreateInfo::default().viewports(&state.viewports).scissors(&state.scissors);
    let blend = state.blend.attachments(&state.attachments);
    let stage = |flag, code| {
        vk::PipelineShaderStageCreateInfo::default()
            .stage(flag)
            .module(shaders::module(gpu, code))
            .name(c"main")
    };
    let vertex = [stage(vk::ShaderStageFlags::VERTEX, shaders::MESH)];
    let fragment = [stage(vk::ShaderStageFlags::FRAGMENT, shaders::PASS_COLOUR)];
    let parts: Vec<vk::Pipeline> = [
        Part::VERTEX_INPUT_INTERFACE,
        Part::PRE_RASTERIZATION_SHADERS,
        Part::FRAGMENT_SHADER,
        Part::FRAGMENT_OUTPUT_INTERFACE,
    ]
    .into_iter()
    .map(|part| {
        let mut which = vk::GraphicsPipelineLibraryCreateInfoEXT::default().flags(part);
        let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(formats);
        let mut info = vk::GraphicsPipelineCreateInfo::default()
            .flags(vk::PipelineCreateFlags::LIBRARY_KHR)
            .layout(layout);
        info = match part {
            Part::VERTEX_INPUT_INTERFACE => {
                info.vertex_input_state(&vertex_input).input_assembly_state(&state.assembly)
            }
            Part::PRE_RASTERIZATION_SHADERS => {
                info.stages(&vertex).viewport_state(&viewport).rasterization_state(&state.raster)
            }
            Part::FRAGMENT_SHADER => {
                info.stages(&fragment).multisample_state(&state.multisample).depth_stencil_state(&state.depth)
            }
            _ => info.multisample_state(&state.multisample).color_blend_state(&blend),
        };
        let info = info.push_next(&mut which).push_next(&mut rendering);
        let made = gpu.device.create_graphics_pipelines(vk::PipelineCache::null(), &[info], None);
        let pipeline = made.expect("a part of a pipeline")[0];
        gpu.later(move |device| device.destroy_pipeline(pipeline, None));
        pipeline
    })
    .collect();
    let mut linked = vk::PipelineLibraryCreateInfoKHR::default().libraries(&parts);
    let info = vk::GraphicsPipelineCreateInfo::default().layout(layout).push_next(&mut linked);
    let pipeline = gpu.device.create_graphics_pipelines(vk::PipelineCache::null(), &[info], None).unwrap()[0];
    gpu.later(move |device| device.destroy_pipeline(pipeline, None));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        gpu.device.cmd_draw(cb, 9, 2, 0, 0);
    });
    gpu.show(report, "linked", &target);
}

/// Several pipelines of one call, and pipelines that leave pointers unset which their state makes ignored.
pub(super) unsafe fn many_at_once(gpu: &Gpu, report: &Report) {
    let layout = gpu.pipeline_layout(&[]);
    let vertex = shaders::module(gpu, shaders::COVER);
    let stage = [vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::VERTEX)
        .module(vertex)
        .name(c"main")];
    let vertex_input = vk::PipelineVertexInputStateCreateInfo::default();
    let assembly =
        vk::PipelineInputAssemblyStateCreateInfo::default().topology(vk::PrimitiveTopology::TRIANGLE_LIST);
    let raster =
        vk::PipelineRasterizationStateCreateInfo::default().rasterizer_discard_enable(true).line_width(1.0);
    let formats = [COLOUR];
    let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
    let mut info = vk::GraphicsPipelineCreateInfo::default()
        .stages(&stage)
        .vertex_input_state(&vertex_input)
        .input_assembly_state(&assembly)
        .rasterization_state(&raster)
        .layout(layout)
        .push_next(&mut rendering);
    // Rasterisation is discarded: these are ignored whatever they hold.
    info.p_viewport_state = std::ptr::without_provenance(0x1000);
    info.p_multisample_state = std::ptr::without_provenance(0x1008);
    info.p_depth_stencil_state = std::ptr::without_provenance(0x1010);
    info.p_color_blend_state = std::ptr::without_provenance(0x1018);
    // No tessellation stage: ignored too.
    info.p_tessellation_state = std::ptr::without_provenance(0x1020);
    let pipelines =
        gpu.device.create_graphics_pipelines(vk::PipelineCache::null(), &[info; 5], None).unwrap();
    report.line("made", pipelines.len());
    pipelines.into_iter().for_each(|pipeline| gpu.device.destroy_pipeline(pipeline, None));

    // Dynamic viewports and scissors: the arrays are ignored, their counts are not.
    let mut state = State::new(shaders::COVER, shaders::PUSH_COLOUR);
    state.dynamic = vec![vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR];
    state.build(gpu, layout);
    report.line("dynamic", true);
}
