//! Shaders without pipelines: every state is set while recording.

use ash::{ext, vk};

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::{Mesh, area, viewport};
use crate::report::Report;
use crate::resources::{ANY_USE, SIDE};
use crate::shaders;

/// A shader object, destroyed with the case.
unsafe fn shader(
    gpu: &Gpu,
    functions: &ext::shader_object::Device,
    info: &vk::ShaderCreateInfoEXT<'_>,
) -> vk::ShaderEXT {
    let shader = functions.create_shaders(std::slice::from_ref(info), None).expect("a shader object")[0];
    let functions = functions.clone();
    gpu.later(move |_| functions.destroy_shader(shader, None));
    shader
}

unsafe fn functions(gpu: &Gpu, report: &Report) -> Option<ext::shader_object::Device> {
    if gpu.more.shader_object.shader_object == 0 {
        report.line("shader objects", "not offered");
        return None;
    }
    Some(ext::shader_object::Device::new(&gpu.instance, &gpu.device))
}

fn info<'a>(
    stage: vk::ShaderStageFlags,
    next: vk::ShaderStageFlags,
    code: &'a [u8],
) -> vk::ShaderCreateInfoEXT<'a> {
    vk::ShaderCreateInfoEXT::default()
        .stage(stage)
        .next_stage(next)
        .code_type(vk::ShaderCodeTypeEXT::SPIRV)
        .code(code)
        .name(c"main")
}

/// All state that a draw with a vertex and a fragment shader needs.
unsafe fn set_everything(gpu: &Gpu, functions: &ext::shader_object::Device, cb: vk::CommandBuffer) {
    let device = &gpu.device;
    device.cmd_set_viewport_with_count(cb, &[viewport(SIDE)]);
    device.cmd_set_scissor_with_count(cb, &[area(SIDE)]);
    device.cmd_set_rasterizer_discard_enable(cb, false);
    device.cmd_set_primitive_topology(cb, vk::PrimitiveTopology::TRIANGLE_LIST);
    device.cmd_set_primitive_restart_enable(cb, false);
    device.cmd_set_cull_mode(cb, vk::CullModeFlags::NONE);
    device.cmd_set_front_face(cb, vk::FrontFace::CLOCKWISE);
    device.cmd_set_line_width(cb, 1.0);
    device.cmd_set_depth_bias_enable(cb, false);
    device.cmd_set_depth_test_enable(cb, false);
    device.cmd_set_depth_write_enable(cb, false);
    device.cmd_set_depth_compare_op(cb, vk::CompareOp::ALWAYS);
    device.cmd_set_depth_bounds_test_enable(cb, false);
    device.cmd_set_stencil_test_enable(cb, false);
    functions.cmd_set_polygon_mode(cb, vk::PolygonMode::FILL);
    functions.cmd_set_rasterization_samples(cb, vk::SampleCountFlags::TYPE_1);
    functions.cmd_set_sample_mask(cb, vk::SampleCountFlags::TYPE_1, &[1]);
    functions.cmd_set_alpha_to_coverage_enable(cb, false);
    functions.cmd_set_alpha_to_one_enable(cb, false);
    functions.cmd_set_depth_clamp_enable(cb, false);
    functions.cmd_set_logic_op_enable(cb, false);
    functions.cmd_set_color_blend_enable(cb, 0, &[1]);
    let equation = vk::ColorBlendEquationEXT::default()
        .src_color_blend_factor(vk::BlendFactor::SRC_ALPHA)
        .dst_color_blend_factor(vk::BlendFactor::ONE_MINUS_SRC_ALPHA)
        .src_alpha_blend_factor(vk::BlendFactor::ONE);
    functions.cmd_set_color_blend_equation(cb, 0, &[equation]);
    functions.cmd_set_color_write_mask(cb, 0, &[vk::ColorComponentFlags::RGBA]);
    if gpu.has(ext::color_write_enable::NAME) {
        let functions = ext::color_write_enable::Device::new(&gpu.instance, device);
        (functions.fp().cmd_set_color_write_enable_ext)(cb, 1, &vk::TRUE);
    }
    functions.cmd_set_line_rasterization_mode(cb, vk::LineRasterizationModeEXT::DEFAULT);
    functions.cmd_set_line_stipple_enable(cb, false);
    functions.cmd_set_provoking_vertex_mode(cb, vk::ProvokingVertexModeEXT::FIRST_VERTEX);
    functions.cmd_set_depth_clip_enable(cb, true);
    if gpu.has(ext::depth_clip_control::NAME) {
        functions.cmd_set_depth_clip_negative_one_to_one(cb, false);
    }
    if gpu.more.feedback_state.attachment_feedback_loop_dynamic_state != 0 {
        let loops = ext::attachment_feedback_loop_dynamic_state::Device::new(&gpu.instance, device);
        (loops.fp().cmd_set_attachment_feedback_loop_enable_ext)(cb, vk::ImageAspectFlags::empty());
    }
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
    functions.cmd_set_vertex_input(cb, &bindings, &attributes);
}

pub(super) unsafe fn graphics(gpu: &Gpu, report: &Report) {
    use vk::ShaderStageFlags as Stage;
    let Some(functions) = functions(gpu, report) else { return };
    let none = Stage::empty();
    let vertex = info(Stage::VERTEX, Stage::FRAGMENT, shaders::MESH);
    let fragment = info(Stage::FRAGMENT, none, shaders::PASS_COLOUR);
    let apart = [shader(gpu, &functions, &vertex), shader(gpu, &functions, &fragment)];
    let linked = vk::ShaderCreateFlagsEXT::LINK_STAGE;
    let both = functions.create_shaders(&[vertex.flags(linked), fragment.flags(linked)], None).unwrap();
    let destroyer = functions.clone();
    let linked = [both[0], both[1]];
    gpu.later(move |_| linked.into_iter().for_each(|shader| destroyer.destroy_shader(shader, None)));
    let mesh = Mesh::triangles(gpu);
    for (label, objects) in [("apart", apart), ("linked", linked)] {
        let target = gpu.target();
        gpu.render(&target, None, |cb| {
            let stages = [Stage::VERTEX, Stage::FRAGMENT];
            functions.cmd_bind_shaders(cb, &stages, &objects);
            // What is not bound is unbound: stages that the device has and this draw does not use.
            let mut others = vec![];
            if gpu.features.tessellation_shader != 0 {
                others.extend([Stage::TESSELLATION_CONTROL, Stage::TESSELLATION_EVALUATION]);
            }
            if gpu.features.geometry_shader != 0 {
                others.push(Stage::GEOMETRY);
            }
            if gpu.more.mesh_shader.mesh_shader != 0 {
                others.extend([Stage::TASK_EXT, Stage::MESH_EXT]);
            }
            let count = others.len() as u32;
            (functions.fp().cmd_bind_shaders_ext)(cb, count, others.as_ptr(), std::ptr::null());
            set_everything(gpu, &functions, cb);
            mesh.bind(gpu, cb);
            gpu.device.cmd_draw(cb, 9, 2, 0, 0);
        });
        gpu.show(report, label, &target);
    }
}

/// A compute shader, and the same again from its binary.
pub(super) unsafe fn compute(gpu: &Gpu, report: &Report) {
    let Some(functions) = functions(gpu, report) else { return };
    let buffers = [gpu.buffer(256, ANY_USE), gpu.buffer(256, ANY_USE)];
    let (set_layout, _) = gpu.storage_set(&[buffers[0]]);
    let layouts = [set_layout];
    let layout = gpu.pipeline_layout(&layouts);
    let push = [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::ALL, offset: 0, size: 128 }];
    let stage = vk::ShaderStageFlags::COMPUTE;
    let source = info(stage, vk::ShaderStageFlags::empty(), shaders::FILL)
        .set_layouts(&layouts)
        .push_constant_ranges(&push);
    let first = shader(gpu, &functions, &source);
    let binary = functions.get_shader_binary_data(first).expect("a shader's binary");
    report.line("there is a binary", !binary.is_empty());
    // Where a driver does not take its own binary, it says so.
    let again = source.code_type(vk::ShaderCodeTypeEXT::BINARY).code(&binary);
    let second = functions.create_shaders(&[again], None);
    report.debug("from the binary", second.as_ref().map(Vec::len).map_err(|(_, code)| *code));
    let rubbish = source.code_type(vk::ShaderCodeTypeEXT::BINARY).code(&[1; 64]);
    match functions.create_shaders(&[rubbish], None) {
        Ok(made) => made.into_iter().for_each(|shader| functions.destroy_shader(shader, None)),
        Err((_, code)) => report.debug("from rubbish", code),
    }
    let second = second.map_or(first, |made| made[0]);
    for (i, (object, buffer)) in [first, second].into_iter().zip(buffers).enumerate() {
        let (_, set) = gpu.storage_set(&[buffer]);
        gpu.run(|cb| {
            functions.cmd_bind_shaders(cb, &[stage], &[object]);
            let point = vk::PipelineBindPoint::COMPUTE;
            gpu.device.cmd_bind_descriptor_sets(cb, point, layout, 0, &[set], &[]);
            let push = [i as u32 + 3, 5, 64];
            let bytes = bytemuck::cast_slice(&push);
            gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, bytes);
            gpu.device.cmd_dispatch(cb, 1, 1, 1);
            barrier_all(&gpu.device, cb);
        });
        report.bytes(&format!("ran {i}"), &buffer.read());
    }
    if second != first {
        functions.destroy_shader(second, None);
    }
}
