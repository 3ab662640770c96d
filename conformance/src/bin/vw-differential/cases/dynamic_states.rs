//! Each dynamic state of the extensions, one after the other, where its feature is offered.

use ash::{ext, khr, vk};
use vk::DynamicState as Dynamic;

use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State, cleared, cover};
use crate::report::Report;
use crate::resources::{Image, SIDE, plain};
use crate::shaders;

/// Draws the mesh with what `set` sets.
unsafe fn picture(gpu: &Gpu, report: &Report, label: &str, state: &State, set: impl Fn(vk::CommandBuffer)) {
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        set(cb);
        gpu.device.cmd_draw(cb, 9, 2, 0, 0);
    });
    gpu.show(report, label, &target);
}

/// Covers the target with triangles at depths of which the first and the last are outside of what is visible.
unsafe fn depths(gpu: &Gpu, report: &Report, label: &str, dynamic: Dynamic, set: impl Fn(vk::CommandBuffer)) {
    let layout = gpu.pipeline_layout(&[]);
    let mut state = State::new(shaders::COVER, shaders::PUSH_COLOUR);
    state.dynamic = vec![dynamic, Dynamic::SCISSOR];
    let pipeline = state.build(gpu, layout);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        set(cb);
        for (i, depth) in [-0.5, 0.5, 1.5].into_iter().enumerate() {
            let strip = vk::Rect2D {
                offset: vk::Offset2D { x: 20 * i as i32, y: 0 },
                extent: vk::Extent2D { width: 20, height: SIDE },
            };
            gpu.device.cmd_set_scissor(cb, 0, &[strip]);
            let push = cover([1.0, 0.5, 0.2, 1.0], depth);
            gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &push);
            gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        }
    });
    gpu.show(report, label, &target);
}

/// A state of the mesh with one dynamic state.
fn with(dynamic: Dynamic) -> State {
    let mut state = State::mesh();
    state.dynamic = vec![dynamic];
    state
}

pub(super) unsafe fn rasterisation(gpu: &Gpu, report: &Report) {
    let found = &gpu.more.dynamic_state3;
    let more = ext::extended_dynamic_state3::Device::new(&gpu.instance, &gpu.device);
    if found.extended_dynamic_state3_depth_clamp_enable != 0 && gpu.features.depth_clamp != 0 {
        for on in [false, true] {
            let dynamic = Dynamic::DEPTH_CLAMP_ENABLE_EXT;
            depths(gpu, report, &format!("clamped {on}"), dynamic, |cb| {
                more.cmd_set_depth_clamp_enable(cb, on);
            });
        }
    }
    if found.extended_dynamic_state3_depth_clip_enable != 0 && gpu.more.depth_clip.depth_clip_enable != 0 {
        for on in [false, true] {
            let dynamic = Dynamic::DEPTH_CLIP_ENABLE_EXT;
            depths(gpu, report, &format!("clipped {on}"), dynamic, |cb| {
                more.cmd_set_depth_clip_enable(cb, on);
            });
        }
    }
    if found.extended_dynamic_state3_depth_clip_negative_one_to_one != 0
        && gpu.more.depth_clip_control.depth_clip_control != 0
    {
        for on in [false, true] {
            let dynamic = Dynamic::DEPTH_CLIP_NEGATIVE_ONE_TO_ONE_EXT;
            depths(gpu, report, &format!("from -1 {on}"), dynamic, |cb| {
                more.cmd_set_depth_clip_negative_one_to_one(cb, on);
            });
        }
    }
    if found.extended_dynamic_state3_provoking_vertex_mode != 0
        && gpu.more.provoking.provoking_vertex_last != 0
    {
        for mode in [vk::ProvokingVertexModeEXT::FIRST_VERTEX, vk::ProvokingVertexModeEXT::LAST_VERTEX] {
            let state = with(Dynamic::PROVOKING_VERTEX_MODE_EXT);
            picture(gpu, report, &format!("{mode:?}"), &state, |cb| {
                more.cmd_set_provoking_vertex_mode(cb, mode);
            });
        }
    }
    lines(gpu, report);
}

unsafe fn lines(gpu: &Gpu, report: &Report) {
    let found = &gpu.more.dynamic_state3;
    let more = ext::extended_dynamic_state3::Device::new(&gpu.instance, &gpu.device);
    let lines = &gpu.more.lines;
    if lines.bresenham_lines == 0 || lines.stippled_bresenham_lines == 0 {
        report.line("stippled lines", "not offered");
        return;
    }
    // The older name of the command; the newer one where there is one.
    let stipple = if gpu.has(khr::line_rasterization::NAME) {
        khr::line_rasterization::Device::new(&gpu.instance, &gpu.device).fp().cmd_set_line_stipple_khr
    } else {
        ext::line_rasterization::Device::new(&gpu.instance, &gpu.device).fp().cmd_set_line_stipple_ext
    };
    let mut how = vk::PipelineRasterizationLineStateCreateInfoEXT::default()
        .line_rasterization_mode(vk::LineRasterizationModeEXT::BRESENHAM)
        .stippled_line_enable(true)
        .line_stipple_factor(1);
    let mut state = with(Dynamic::LINE_STIPPLE_EXT);
    state.assembly = state.assembly.topology(vk::PrimitiveTopology::LINE_STRIP);
    state.raster.p_next = (&raw mut how).cast();
    for (factor, pattern) in [(1, 0xaaaa), (3, 0x0f35)] {
        picture(gpu, report, &format!("stipple {factor} {pattern:x}"), &state, |cb| {
            stipple(cb, factor, pattern);
        });
    }
    if found.extended_dynamic_state3_line_rasterization_mode != 0
        && found.extended_dynamic_state3_line_stipple_enable != 0
    {
        state.dynamic.extend([Dynamic::LINE_RASTERIZATION_MODE_EXT, Dynamic::LINE_STIPPLE_ENABLE_EXT]);
        for stippled in [false, true] {
            picture(gpu, report, &format!("stippled {stippled}"), &state, |cb| {
                stipple(cb, 2, 0x3333);
                more.cmd_set_line_rasterization_mode(cb, vk::LineRasterizationModeEXT::BRESENHAM);
                more.cmd_set_line_stipple_enable(cb, stippled);
            });
        }
    }
}

pub(super) unsafe fn blending(gpu: &Gpu, report: &Report) {
    let found = &gpu.more.dynamic_state3;
    let more = ext::extended_dynamic_state3::Device::new(&gpu.instance, &gpu.device);
    let second = ext::extended_dynamic_state2::Device::new(&gpu.instance, &gpu.device);
    if gpu.features.logic_op != 0 {
        if gpu.more.dynamic_state2.extended_dynamic_state2_logic_op != 0 {
            let mut state = with(Dynamic::LOGIC_OP_EXT);
            state.blend = state.blend.logic_op_enable(true);
            for op in [vk::LogicOp::XOR, vk::LogicOp::OR_INVERTED] {
                picture(gpu, report, &format!("{op:?}"), &state, |cb| second.cmd_set_logic_op(cb, op));
            }
        }
        if found.extended_dynamic_state3_logic_op_enable != 0 {
            let mut state = with(Dynamic::LOGIC_OP_ENABLE_EXT);
            state.blend = state.blend.logic_op(vk::LogicOp::INVERT);
            for on in [false, true] {
                picture(gpu, report, &format!("logic {on}"), &state, |cb| {
                    more.cmd_set_logic_op_enable(cb, on);
                });
            }
        }
    }
    if found.extended_dynamic_state3_alpha_to_coverage_enable != 0
        && found.extended_dynamic_state3_rasterization_samples != 0
        && found.extended_dynamic_state3_sample_mask != 0
    {
        samples(gpu, report, &more);
    }
}

/// Four samples, resolved: their number, mask and what alpha does to them are set while recording.
unsafe fn samples(gpu: &Gpu, report: &Report, more: &ext::extended_dynamic_state3::Device) {
    let four = vk::SampleCountFlags::TYPE_4;
    let mut state = State::mesh();
    // Ignored; older validation layers read it.
    state.multisample = state.multisample.rasterization_samples(four);
    state.dynamic = vec![
        Dynamic::RASTERIZATION_SAMPLES_EXT,
        Dynamic::SAMPLE_MASK_EXT,
        Dynamic::ALPHA_TO_COVERAGE_ENABLE_EXT,
    ];
    let to_one =
        gpu.more.dynamic_state3.extended_dynamic_state3_alpha_to_one_enable & gpu.features.alpha_to_one;
    let to_one = to_one != 0;
    if to_one {
        state.dynamic.push(Dynamic::ALPHA_TO_ONE_ENABLE_EXT);
    }
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    for (mask, covers) in [(0xf, false), (0b0110, false), (0xf, true)] {
        let multi = gpu.image(&plain(COLOUR, SIDE, vk::ImageUsageFlags::COLOR_ATTACHMENT).samples(four));
        let target = gpu.target();
        gpu.run(|cb| {
            gpu.to_general(cb, &multi);
            gpu.to_general(cb, &target);
            let attachment = [cleared(&multi, crate::graphics::BACKGROUND)
                .resolve_mode(vk::ResolveModeFlags::AVERAGE)
                .resolve_image_view(target.view)
                .resolve_image_layout(vk::ImageLayout::GENERAL)];
            let info = vk::RenderingInfo::default()
                .render_area(crate::graphics::area(SIDE))
                .layer_count(1)
                .color_attachments(&attachment);
            gpu.device.cmd_begin_rendering(cb, &info);
            gpu.bind_graphics(cb, pipeline);
            mesh.bind(gpu, cb);
            more.cmd_set_rasterization_samples(cb, four);
            more.cmd_set_sample_mask(cb, four, &[mask]);
            more.cmd_set_alpha_to_coverage_enable(cb, covers);
            if to_one {
                more.cmd_set_alpha_to_one_enable(cb, true);
            }
            gpu.device.cmd_draw(cb, 9, 1, 0, 0);
            gpu.device.cmd_end_rendering(cb);
        });
        gpu.show(report, &format!("mask {mask:x} coverage {covers}"), &target);
    }
}

pub(super) unsafe fn tessellation(gpu: &Gpu, report: &Report) {
    if gpu.features.tessellation_shader == 0
        || gpu.more.dynamic_state2.extended_dynamic_state2_patch_control_points == 0
    {
        report.line("control points", "not offered");
        return;
    }
    let second = ext::extended_dynamic_state2::Device::new(&gpu.instance, &gpu.device);
    let more = ext::extended_dynamic_state3::Device::new(&gpu.instance, &gpu.device);
    let origin = gpu.more.dynamic_state3.extended_dynamic_state3_tessellation_domain_origin != 0;
    let mut state = with(Dynamic::PATCH_CONTROL_POINTS_EXT);
    state.assembly = state.assembly.topology(vk::PrimitiveTopology::PATCH_LIST);
    state.stages.push((vk::ShaderStageFlags::TESSELLATION_CONTROL, shaders::PATCH_CONTROL));
    state.stages.push((vk::ShaderStageFlags::TESSELLATION_EVALUATION, shaders::PATCH_EVALUATION));
    if origin {
        state.dynamic.push(Dynamic::TESSELLATION_DOMAIN_ORIGIN_EXT);
    }
    for from in [vk::TessellationDomainOrigin::UPPER_LEFT, vk::TessellationDomainOrigin::LOWER_LEFT] {
        picture(gpu, report, &format!("{from:?}"), &state, |cb| {
            second.cmd_set_patch_control_points(cb, 3);
            if origin {
                more.cmd_set_tessellation_domain_origin(cb, from);
            }
        });
    }
}

/// The depths between which a sample of the depth target must lie.
pub(super) unsafe fn depth_bounds(gpu: &Gpu, report: &Report) {
    if gpu.features.depth_bounds == 0 {
        report.line("depth bounds", "not offered");
        return;
    }
    let usage = vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT;
    let depth: Image = gpu.image(&plain(vk::Format::D32_SFLOAT, SIDE, usage));
    let half = vk::ClearValue { depth_stencil: vk::ClearDepthStencilValue { depth: 0.5, stencil: 0 } };
    let mut state = State::mesh().with_depth(vk::Format::D32_SFLOAT, vk::CompareOp::ALWAYS);
    state.depth = state.depth.depth_write_enable(false).depth_bounds_test_enable(true);
    state.dynamic = vec![Dynamic::DEPTH_BOUNDS];
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    for (least, most) in [(0.0, 0.4), (0.25, 0.75)] {
        let target = gpu.target();
        gpu.render(&target, Some((&depth, half)), |cb| {
            gpu.bind_graphics(cb, pipeline);
            mesh.bind(gpu, cb);
            gpu.device.cmd_set_depth_bounds(cb, least, most);
            gpu.device.cmd_draw(cb, 9, 1, 0, 0);
        });
        gpu.show(report, &format!("{least} to {most}"), &target);
    }
}

/// Bounds that the test does not use, and a feedback loop that no shader makes use of.
pub(super) unsafe fn unused(gpu: &Gpu, report: &Report) {
    let state = with(Dynamic::DEPTH_BOUNDS);
    picture(gpu, report, "unused bounds", &state, |cb| gpu.device.cmd_set_depth_bounds(cb, 0.25, 0.75));
    if gpu.more.feedback_state.attachment_feedback_loop_dynamic_state != 0 {
        let loops = ext::attachment_feedback_loop_dynamic_state::Device::new(&gpu.instance, &gpu.device);
        let state = with(Dynamic::ATTACHMENT_FEEDBACK_LOOP_ENABLE_EXT);
        picture(gpu, report, "feedback loop", &state, |cb| {
            (loops.fp().cmd_set_attachment_feedback_loop_enable_ext)(cb, vk::ImageAspectFlags::empty());
        });
    }
}
