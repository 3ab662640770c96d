//! Fixed-function state, static and dynamic.

use ash::{ext, vk};
use vk::DynamicState as Dynamic;

use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State, Target, area, cover, opaque, viewport};
use crate::report::Report;
use crate::resources::{Image, SIDE, TARGET, plain};
use crate::shaders;

/// Draws nine vertices of the mesh with and without a depth target.
unsafe fn picture(
    gpu: &Gpu,
    state: &State,
    depth: Option<(&Image, vk::ClearValue)>,
    set: impl FnOnce(vk::CommandBuffer),
) -> Image {
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, depth, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        set(cb);
        gpu.device.cmd_draw(cb, 9, 2, 0, 0);
    });
    target
}

/// What became dynamic with Vulkan 1.0 and 1.3.
pub(super) unsafe fn dynamic(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let depth =
        gpu.image(&plain(vk::Format::D32_SFLOAT, SIDE, vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT));
    let far = vk::ClearValue { depth_stencil: vk::ClearDepthStencilValue { depth: 1.0, stencil: 0 } };
    let mut state = State::mesh().with_depth(vk::Format::D32_SFLOAT, vk::CompareOp::NEVER);
    state.viewports.clear();
    state.scissors.clear();
    state.dynamic = vec![
        Dynamic::VIEWPORT_WITH_COUNT,
        Dynamic::SCISSOR_WITH_COUNT,
        Dynamic::LINE_WIDTH,
        Dynamic::DEPTH_BIAS,
        Dynamic::BLEND_CONSTANTS,
        Dynamic::STENCIL_COMPARE_MASK,
        Dynamic::STENCIL_WRITE_MASK,
        Dynamic::STENCIL_REFERENCE,
        Dynamic::CULL_MODE,
        Dynamic::FRONT_FACE,
        Dynamic::PRIMITIVE_TOPOLOGY,
        Dynamic::VERTEX_INPUT_BINDING_STRIDE,
        Dynamic::DEPTH_TEST_ENABLE,
        Dynamic::DEPTH_WRITE_ENABLE,
        Dynamic::DEPTH_COMPARE_OP,
        Dynamic::DEPTH_BOUNDS_TEST_ENABLE,
        Dynamic::STENCIL_TEST_ENABLE,
        Dynamic::STENCIL_OP,
        Dynamic::RASTERIZER_DISCARD_ENABLE,
        Dynamic::DEPTH_BIAS_ENABLE,
        Dynamic::PRIMITIVE_RESTART_ENABLE,
    ];
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let faces = vk::StencilFaceFlags::FRONT_AND_BACK;
    for variant in 0..6u32 {
        let target = gpu.target();
        gpu.render(&target, Some((&depth, far)), |cb| {
            gpu.bind_graphics(cb, pipeline);
            let place = vk::Viewport { x: variant as f32 * 2.0, ..viewport(SIDE) };
            device.cmd_set_viewport_with_count(cb, &[place]);
            device.cmd_set_scissor_with_count(cb, &[area(SIDE - variant * 4)]);
            device.cmd_set_line_width(cb, 1.0);
            device.cmd_set_depth_bias_enable(cb, variant & 1 != 0);
            device.cmd_set_depth_bias(cb, 4.0, 0.0, 1.0);
            device.cmd_set_blend_constants(cb, &[0.1, 0.2, 0.3, 0.4]);
            device.cmd_set_stencil_test_enable(cb, false);
            device.cmd_set_stencil_compare_mask(cb, faces, 0xff);
            device.cmd_set_stencil_write_mask(cb, faces, 0xff);
            device.cmd_set_stencil_reference(cb, faces, 1);
            let keep = vk::StencilOp::KEEP;
            device.cmd_set_stencil_op(cb, faces, keep, keep, keep, vk::CompareOp::ALWAYS);
            let cull = [vk::CullModeFlags::NONE, vk::CullModeFlags::BACK, vk::CullModeFlags::FRONT];
            device.cmd_set_cull_mode(cb, cull[variant as usize % 3]);
            device.cmd_set_front_face(cb, vk::FrontFace::CLOCKWISE);
            device.cmd_set_primitive_topology(
                cb,
                if variant < 4 {
                    vk::PrimitiveTopology::TRIANGLE_LIST
                } else {
                    vk::PrimitiveTopology::TRIANGLE_STRIP
                },
            );
            device.cmd_set_depth_test_enable(cb, true);
            device.cmd_set_depth_write_enable(cb, true);
            let compare = [vk::CompareOp::LESS, vk::CompareOp::GREATER, vk::CompareOp::LESS_OR_EQUAL];
            device.cmd_set_depth_compare_op(cb, compare[variant as usize % 3]);
            device.cmd_set_depth_bounds_test_enable(cb, false);
            device.cmd_set_rasterizer_discard_enable(cb, variant == 5);
            device.cmd_set_primitive_restart_enable(cb, false);
            let buffers = [mesh.vertices.handle, mesh.offsets.handle];
            let sizes = [mesh.vertices.size, mesh.offsets.size];
            device.cmd_bind_vertex_buffers2(cb, 0, &buffers, &[0, 0], Some(&sizes), Some(&[28, 8]));
            device.cmd_draw(cb, 9, 2, 0, 0);
        });
        gpu.show(report, &format!("variant {variant}"), &target);
    }
}

/// What the third extension of dynamic state adds, where offered.
pub(super) unsafe fn more_dynamic(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::extended_dynamic_state3::NAME) {
        report.line("more dynamic state", "not offered");
        return;
    }
    let mut found = vk::PhysicalDeviceExtendedDynamicState3FeaturesEXT::default();
    let mut ask = vk::PhysicalDeviceFeatures2::default().push_next(&mut found);
    gpu.instance.get_physical_device_features2(gpu.physical, &mut ask);
    let more = ext::extended_dynamic_state3::Device::new(&gpu.instance, &gpu.device);
    let mut state = State::mesh();
    let blending = found.extended_dynamic_state3_color_blend_enable
        & found.extended_dynamic_state3_color_blend_equation
        & found.extended_dynamic_state3_color_write_mask
        != 0;
    if blending {
        let states = [
            Dynamic::COLOR_BLEND_ENABLE_EXT,
            Dynamic::COLOR_BLEND_EQUATION_EXT,
            Dynamic::COLOR_WRITE_MASK_EXT,
        ];
        state.dynamic.extend(states);
    }
    if found.extended_dynamic_state3_polygon_mode != 0 {
        state.dynamic.push(Dynamic::POLYGON_MODE_EXT);
    }
    report.line("states", state.dynamic.len());
    let equation = vk::ColorBlendEquationEXT::default()
        .src_color_blend_factor(vk::BlendFactor::SRC_ALPHA)
        .dst_color_blend_factor(vk::BlendFactor::ONE_MINUS_SRC_ALPHA)
        .src_alpha_blend_factor(vk::BlendFactor::ONE);
    for polygon in [vk::PolygonMode::FILL, vk::PolygonMode::LINE] {
        let target = picture(gpu, &state, None, |cb| {
            if blending {
                more.cmd_set_color_blend_enable(cb, 0, &[1]);
                more.cmd_set_color_blend_equation(cb, 0, &[equation]);
                let mask =
                    vk::ColorComponentFlags::R | vk::ColorComponentFlags::G | vk::ColorComponentFlags::A;
                more.cmd_set_color_write_mask(cb, 0, &[mask]);
            }
            if found.extended_dynamic_state3_polygon_mode != 0 {
                more.cmd_set_polygon_mode(cb, polygon);
            }
        });
        gpu.show(report, &format!("{polygon:?}"), &target);
    }
}

pub(super) unsafe fn vertex_input(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::vertex_input_dynamic_state::NAME) {
        report.line("dynamic vertex input", "not offered");
        return;
    }
    let functions = ext::vertex_input_dynamic_state::Device::new(&gpu.instance, &gpu.device);
    let mut state = State::mesh();
    state.bindings.clear();
    state.attributes.clear();
    state.dynamic = vec![Dynamic::VERTEX_INPUT_EXT];
    let bindings = Mesh::bindings().map(|binding| {
        vk::VertexInputBindingDescription2EXT::default()
            .binding(binding.binding)
            .stride(binding.stride)
            .input_rate(binding.input_rate)
            .divisor(1)
    });
    let attributes = Mesh::attributes().map(|attribute| {
        vk::VertexInputAttributeDescription2EXT::default()
            .location(attribute.location)
            .binding(attribute.binding)
            .format(attribute.format)
            .offset(attribute.offset)
    });
    let target = picture(gpu, &state, None, |cb| functions.cmd_set_vertex_input(cb, &bindings, &attributes));
    gpu.show(report, "set while recording", &target);
}

pub(super) unsafe fn blending(gpu: &Gpu, report: &Report) {
    use vk::{BlendFactor as Factor, BlendOp as Op};
    let factors = [
        (Factor::SRC_ALPHA, Factor::ONE_MINUS_SRC_ALPHA),
        (Factor::ONE, Factor::ONE),
        (Factor::DST_COLOR, Factor::ZERO),
        (Factor::CONSTANT_COLOR, Factor::ONE_MINUS_CONSTANT_ALPHA),
        (Factor::SRC_ALPHA_SATURATE, Factor::ONE_MINUS_DST_COLOR),
    ];
    for (source, target) in factors {
        for op in [Op::ADD, Op::SUBTRACT, Op::REVERSE_SUBTRACT, Op::MIN, Op::MAX] {
            let mut state = State::mesh();
            state.attachments = vec![
                opaque()
                    .blend_enable(true)
                    .src_color_blend_factor(source)
                    .dst_color_blend_factor(target)
                    .color_blend_op(op)
                    .src_alpha_blend_factor(Factor::ONE)
                    .dst_alpha_blend_factor(Factor::ONE_MINUS_SRC_ALPHA)
                    .alpha_blend_op(op),
            ];
            state.blend = state.blend.blend_constants([0.25, 0.5, 0.75, 0.5]);
            let image = picture(gpu, &state, None, |_| ());
            gpu.show(report, &format!("{source:?} {target:?} {op:?}"), &image);
        }
    }
}

pub(super) unsafe fn depth(gpu: &Gpu, report: &Report) {
    let usage = vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC;
    for format in [vk::Format::D16_UNORM, vk::Format::D32_SFLOAT] {
        for raw in 0..8 {
            let compare = vk::CompareOp::from_raw(raw);
            let depth = gpu.image(&plain(format, SIDE, usage));
            let start =
                vk::ClearValue { depth_stencil: vk::ClearDepthStencilValue { depth: 0.5, stencil: 0 } };
            let mut state = State::mesh().with_depth(format, compare);
            state.raster = state.raster.depth_bias_enable(raw & 1 != 0).depth_bias_constant_factor(2.0);
            let image = picture(gpu, &state, Some((&depth, start)), |_| ());
            gpu.show(report, &format!("{format:?} {compare:?}"), &image);
            let texel = if format == vk::Format::D16_UNORM { 2 } else { 4 };
            report.bytes("depths", &gpu.read_image(&depth, texel, 0, 0));
        }
    }
}

pub(super) unsafe fn stencil(gpu: &Gpu, report: &Report) {
    let formats = [vk::Format::D32_SFLOAT_S8_UINT, vk::Format::D24_UNORM_S8_UINT, vk::Format::S8_UINT];
    let attachment = vk::FormatFeatureFlags::DEPTH_STENCIL_ATTACHMENT;
    let offered = formats.into_iter().find(|format| {
        let found = gpu.instance.get_physical_device_format_properties(gpu.physical, *format);
        found.optimal_tiling_features.contains(attachment)
    });
    let Some(format) = offered else { return report.line("stencil", "not offered") };
    let usage = vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC;
    for raw in 0..8 {
        let op = vk::StencilOp::from_raw(raw);
        let image = gpu.image(&plain(format, SIDE, usage));
        let start =
            vk::ClearValue { depth_stencil: vk::ClearDepthStencilValue { depth: 0.6, stencil: 0x0f } };
        let depth_format = if format == vk::Format::S8_UINT { vk::Format::UNDEFINED } else { format };
        let mut state = State::mesh();
        state.target = Target::Formats(vec![COLOUR], depth_format, format);
        let face = vk::StencilOpState {
            fail_op: vk::StencilOp::ZERO,
            pass_op: op,
            depth_fail_op: vk::StencilOp::INVERT,
            compare_op: vk::CompareOp::LESS_OR_EQUAL,
            compare_mask: 0x3f,
            write_mask: 0xff,
            reference: 5,
        };
        state.depth = state
            .depth
            .depth_test_enable(depth_format != vk::Format::UNDEFINED)
            .depth_compare_op(vk::CompareOp::LESS)
            .stencil_test_enable(true)
            .front(face)
            .back(face);
        let picture = picture(gpu, &state, Some((&image, start)), |_| ());
        gpu.show(report, &format!("{op:?}"), &picture);
        report.bytes("stencils", &gpu.read_aspect(&image, vk::ImageAspectFlags::STENCIL, 1, 0, 0));
    }
}

/// Several samples, resolved.
pub(super) unsafe fn samples(gpu: &Gpu, report: &Report) {
    let four = vk::SampleCountFlags::TYPE_4;
    for variant in 0..4 {
        let multi = gpu.image(&plain(COLOUR, SIDE, vk::ImageUsageFlags::COLOR_ATTACHMENT).samples(four));
        let target = gpu.target();
        let per_sample = variant == 1 && gpu.features.sample_rate_shading != 0;
        let mut state = if per_sample { State::new(shaders::COVER, shaders::SAMPLES) } else { State::mesh() };
        let mask = [0b0101];
        state.multisample =
            state.multisample.rasterization_samples(four).alpha_to_coverage_enable(variant == 2);
        if variant == 3 {
            // Lives as long as the state, to the end of this function.
            state.multisample.p_sample_mask = mask.as_ptr();
        }
        let layout = gpu.pipeline_layout(&[]);
        let pipeline = state.build(gpu, layout);
        let mesh = Mesh::triangles(gpu);
        gpu.run(|cb| {
            gpu.to_general(cb, &multi);
            gpu.to_general(cb, &target);
            let attachment = [crate::graphics::cleared(&multi, crate::graphics::BACKGROUND)
                .store_op(vk::AttachmentStoreOp::DONT_CARE)
                .resolve_mode(vk::ResolveModeFlags::AVERAGE)
                .resolve_image_view(target.view)
                .resolve_image_layout(vk::ImageLayout::GENERAL)];
            let info = vk::RenderingInfo::default()
                .render_area(area(SIDE))
                .layer_count(1)
                .color_attachments(&attachment);
            gpu.device.cmd_begin_rendering(cb, &info);
            gpu.bind_graphics(cb, pipeline);
            mesh.bind(gpu, cb);
            gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &cover([1.0; 4], 0.0));
            gpu.device.cmd_draw(cb, 9, 1, 0, 0);
            gpu.device.cmd_end_rendering(cb);
        });
        gpu.show(report, &format!("variant {variant}"), &target);
    }
}

pub(super) unsafe fn logic_and_masks(gpu: &Gpu, report: &Report) {
    for mask in [vk::ColorComponentFlags::R, vk::ColorComponentFlags::G | vk::ColorComponentFlags::A] {
        let mut state = State::mesh();
        state.attachments = vec![vk::PipelineColorBlendAttachmentState::default().color_write_mask(mask)];
        let image = picture(gpu, &state, None, |_| ());
        gpu.show(report, &format!("{mask:?}"), &image);
    }
    if gpu.features.logic_op != 0 {
        for op in [vk::LogicOp::XOR, vk::LogicOp::AND_INVERTED, vk::LogicOp::SET, vk::LogicOp::NAND] {
            let mut state = State::mesh();
            state.blend = state.blend.logic_op_enable(true).logic_op(op);
            let image = picture(gpu, &state, None, |_| ());
            gpu.show(report, &format!("{op:?}"), &image);
        }
    }
    if gpu.has(ext::color_write_enable::NAME) {
        let functions = ext::color_write_enable::Device::new(&gpu.instance, &gpu.device);
        let mut state = State::mesh();
        state.dynamic = vec![Dynamic::COLOR_WRITE_ENABLE_EXT];
        for enabled in [false, true] {
            let image = picture(gpu, &state, None, |cb| {
                (functions.fp().cmd_set_color_write_enable_ext)(cb, 1, &u32::from(enabled));
            });
            gpu.show(report, &format!("written {enabled}"), &image);
        }
    }
}

pub(super) unsafe fn viewports(gpu: &Gpu, report: &Report) {
    let half = SIDE as f32 / 2.0;
    let places = [
        vk::Viewport { x: 0.0, y: 0.0, width: half, height: half, min_depth: 0.0, max_depth: 1.0 },
        // Upside down, and with depth reversed.
        vk::Viewport { x: half, y: SIDE as f32, width: half, height: -half, min_depth: 1.0, max_depth: 0.0 },
        vk::Viewport { x: -20.0, y: 10.5, width: 100.0, height: 30.25, min_depth: 0.25, max_depth: 0.5 },
    ];
    for (i, place) in places.into_iter().enumerate() {
        let mut state = State::mesh();
        state.dynamic = vec![Dynamic::VIEWPORT];
        let image = picture(gpu, &state, None, |cb| gpu.device.cmd_set_viewport(cb, 0, &[place]));
        gpu.show(report, &format!("viewport {i}"), &image);
    }
    let target = gpu.image(&plain(COLOUR, SIDE, TARGET));
    let layout = gpu.pipeline_layout(&[]);
    let pipeline = State::new(shaders::COVER, shaders::PUSH_COLOUR).build(gpu, layout);
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        gpu.device.cmd_push_constants(
            cb,
            layout,
            vk::ShaderStageFlags::ALL,
            0,
            &cover([0.2, 0.9, 0.4, 1.0], 0.0),
        );
        gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        let clear = vk::ClearAttachment {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            color_attachment: 0,
            clear_value: vk::ClearValue { color: vk::ClearColorValue { float32: [1.0, 0.0, 1.0, 1.0] } },
        };
        let part = |x, y| vk::ClearRect {
            rect: vk::Rect2D {
                offset: vk::Offset2D { x, y },
                extent: vk::Extent2D { width: 10, height: 20 },
            },
            base_array_layer: 0,
            layer_count: 1,
        };
        gpu.device.cmd_clear_attachments(cb, &[clear], &[part(3, 4), part(40, 30)]);
    });
    gpu.show(report, "parts cleared", &target);
}

pub(super) unsafe fn lines(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::line_rasterization::NAME) {
        report.line("lines", "not offered");
        return;
    }
    let mut found = vk::PhysicalDeviceLineRasterizationFeaturesEXT::default();
    let mut ask = vk::PhysicalDeviceFeatures2::default().push_next(&mut found);
    gpu.instance.get_physical_device_features2(gpu.physical, &mut ask);
    let modes = [
        (vk::LineRasterizationModeEXT::BRESENHAM, found.bresenham_lines, found.stippled_bresenham_lines),
        (
            vk::LineRasterizationModeEXT::RECTANGULAR,
            found.rectangular_lines,
            found.stippled_rectangular_lines,
        ),
    ];
    for (mode, offered, stippled) in modes {
        if offered == 0 {
            continue;
        }
        let mut how = vk::PipelineRasterizationLineStateCreateInfoEXT::default()
            .line_rasterization_mode(mode)
            .stippled_line_enable(stippled != 0)
            .line_stipple_factor(2)
            .line_stipple_pattern(0b1010_1100_0011_0101);
        let mut state = State::mesh();
        state.assembly = state.assembly.topology(vk::PrimitiveTopology::LINE_STRIP);
        // Lives as long as the state, to the end of this block.
        state.raster.p_next = (&raw mut how).cast();
        let image = picture(gpu, &state, None, |_| ());
        gpu.show(report, &format!("{mode:?}"), &image);
    }
}
