//! Drawing: primitives, vertices, indices, instances, shader stages.

use ash::vk;

use crate::gpu::Gpu;
use crate::graphics::{Mesh, State, cover};
use crate::report::Report;
use crate::resources::SIDE;
use crate::shaders;

/// Draws with the vertices of a mesh and shows the picture.
unsafe fn shown(
    gpu: &Gpu,
    report: &Report,
    label: &str,
    state: &State,
    draw: impl FnOnce(vk::CommandBuffer),
) {
    let layout = gpu.pipeline_layout(&[]);
    let pipeline = state.build(gpu, layout);
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        draw(cb);
    });
    gpu.show(report, label, &target);
}

pub(super) unsafe fn triangles(gpu: &Gpu, report: &Report) {
    let mut state = State::mesh();
    shown(gpu, report, "all", &state, |cb| gpu.device.cmd_draw(cb, 9, 1, 0, 0));
    shown(gpu, report, "the second", &state, |cb| gpu.device.cmd_draw(cb, 3, 1, 3, 0));
    for cull in [vk::CullModeFlags::FRONT, vk::CullModeFlags::BACK] {
        for face in [vk::FrontFace::CLOCKWISE, vk::FrontFace::COUNTER_CLOCKWISE] {
            state.raster = state.raster.cull_mode(cull).front_face(face);
            let label = format!("{cull:?} {face:?}");
            shown(gpu, report, &label, &state, |cb| gpu.device.cmd_draw(cb, 9, 1, 0, 0));
        }
    }
}

pub(super) unsafe fn indices(gpu: &Gpu, report: &Report) {
    let state = State::mesh();
    let words = gpu.buffer_of(&[0u32, 1, 2, 6, 7, 8, 3, 4, 5]);
    let halves = gpu.buffer_of(&[0u16, 0, 1, 2, 6, 7, 8, 0]);
    shown(gpu, report, "words", &state, |cb| {
        gpu.device.cmd_bind_index_buffer(cb, words.handle, 0, vk::IndexType::UINT32);
        gpu.device.cmd_draw_indexed(cb, 9, 1, 0, 0, 0);
    });
    shown(gpu, report, "halves with an offset", &state, |cb| {
        gpu.device.cmd_bind_index_buffer(cb, halves.handle, 2, vk::IndexType::UINT16);
        gpu.device.cmd_draw_indexed(cb, 3, 1, 3, 0, 0);
        gpu.device.cmd_draw_indexed(cb, 3, 1, 0, 3, 0);
    });
    if gpu.has(ash::ext::index_type_uint8::NAME) {
        let bytes = gpu.buffer_of(&[8u8, 7, 6, 0]);
        shown(gpu, report, "bytes", &state, |cb| {
            gpu.device.cmd_bind_index_buffer(cb, bytes.handle, 0, vk::IndexType::UINT8_EXT);
            gpu.device.cmd_draw_indexed(cb, 3, 1, 0, 0, 0);
        });
    }
}

/// Strips and fans that begin anew at the greatest index of each type, lists too where that is offered.
pub(super) unsafe fn restart(gpu: &Gpu, report: &Report) {
    use vk::{IndexType, PrimitiveTopology as Topology};
    let bytes = gpu.buffer_of(&[0u8, 1, 2, 3, 0xff, 4, 5, 6, 0xff, 7, 8, 2]);
    let halves = gpu.buffer_of(&[0u16, 1, 2, 3, 0xffff, 4, 5, 6, 0xffff, 7, 8, 2]);
    let words = gpu.buffer_of(&[0u32, 1, 2, 3, !0, 4, 5, 6, !0, 7, 8, 2]);
    // What restarts with narrower indices is an index like any other with wider ones: outside of the vertices.
    let mixed = gpu.buffer_of(&[0u32, 1, 2, 3, 0xffff, 4, 5, 6, 0xff, 7, 8, 2]);
    let mut kinds = vec![
        (IndexType::UINT16, halves, "halves"),
        (IndexType::UINT32, words, "words"),
        (IndexType::UINT32, mixed, "wide"),
    ];
    if gpu.has(ash::ext::index_type_uint8::NAME) {
        kinds.push((IndexType::UINT8_EXT, bytes, "bytes"));
    }
    let mut topologies = vec![Topology::LINE_STRIP, Topology::TRIANGLE_STRIP, Topology::TRIANGLE_FAN];
    if gpu.more.list_restart.primitive_topology_list_restart != 0 {
        topologies.extend([Topology::POINT_LIST, Topology::LINE_LIST, Topology::TRIANGLE_LIST]);
    } else {
        report.line("restart of lists", "not offered");
    }
    for topology in topologies {
        for (kind, indices, label) in &kinds {
            let mut state = State::mesh();
            state.assembly = state.assembly.topology(topology);
            state.dynamic = vec![vk::DynamicState::PRIMITIVE_RESTART_ENABLE];
            for enabled in [true, false] {
                // Without restart the greatest index would name a vertex that is not there.
                let count = if enabled { 12 } else { 4 };
                shown(gpu, report, &format!("{topology:?} {label} {enabled}"), &state, |cb| {
                    gpu.device.cmd_set_primitive_restart_enable(cb, enabled);
                    gpu.device.cmd_bind_index_buffer(cb, indices.handle, 0, *kind);
                    gpu.device.cmd_draw_indexed(cb, count, 1, 0, 0, 0);
                });
            }
        }
    }
}

pub(super) unsafe fn instances(gpu: &Gpu, report: &Report) {
    let state = State::mesh();
    shown(gpu, report, "four", &state, |cb| gpu.device.cmd_draw(cb, 3, 4, 0, 0));
    shown(gpu, report, "the last two", &state, |cb| gpu.device.cmd_draw(cb, 9, 2, 0, 2));
}

pub(super) unsafe fn topologies(gpu: &Gpu, report: &Report) {
    use vk::PrimitiveTopology as Topology;
    for topology in [
        Topology::POINT_LIST,
        Topology::LINE_LIST,
        Topology::LINE_STRIP,
        Topology::TRIANGLE_LIST,
        Topology::TRIANGLE_STRIP,
        Topology::TRIANGLE_FAN,
        Topology::LINE_LIST_WITH_ADJACENCY,
        Topology::TRIANGLE_LIST_WITH_ADJACENCY,
    ] {
        let mut state = State::mesh();
        state.assembly = state.assembly.topology(topology);
        shown(gpu, report, &format!("{topology:?}"), &state, |cb| gpu.device.cmd_draw(cb, 9, 1, 0, 0));
    }
    if gpu.features.fill_mode_non_solid != 0 {
        for mode in [vk::PolygonMode::LINE, vk::PolygonMode::POINT] {
            let mut state = State::mesh();
            state.raster = state.raster.polygon_mode(mode);
            shown(gpu, report, &format!("{mode:?}"), &state, |cb| gpu.device.cmd_draw(cb, 9, 1, 0, 0));
        }
    }
}

pub(super) unsafe fn tessellation(gpu: &Gpu, report: &Report) {
    if gpu.features.tessellation_shader == 0 {
        report.line("tessellation", "not offered");
        return;
    }
    let mut state = State::mesh();
    state.assembly = state.assembly.topology(vk::PrimitiveTopology::PATCH_LIST);
    state.stages.push((vk::ShaderStageFlags::TESSELLATION_CONTROL, shaders::PATCH_CONTROL));
    state.stages.push((vk::ShaderStageFlags::TESSELLATION_EVALUATION, shaders::PATCH_EVALUATION));
    shown(gpu, report, "patches", &state, |cb| gpu.device.cmd_draw(cb, 9, 1, 0, 0));
}

pub(super) unsafe fn geometry(gpu: &Gpu, report: &Report) {
    if gpu.features.geometry_shader == 0 {
        report.line("geometry", "not offered");
        return;
    }
    let mut state = State::mesh();
    state.stages.push((vk::ShaderStageFlags::GEOMETRY, shaders::SPLIT));
    shown(gpu, report, "split", &state, |cb| gpu.device.cmd_draw(cb, 9, 1, 0, 0));
}

pub(super) unsafe fn textures(gpu: &Gpu, report: &Report) {
    let image = gpu.patterned(16, 71);
    let repeat = vk::SamplerAddressMode::REPEAT;
    let info = vk::SamplerCreateInfo::default()
        .mag_filter(vk::Filter::LINEAR)
        .address_mode_u(repeat)
        .address_mode_v(repeat);
    let sampler = gpu.device.create_sampler(&info, None).unwrap();
    gpu.later(move |device| device.destroy_sampler(sampler, None));
    let types = [vk::DescriptorType::COMBINED_IMAGE_SAMPLER];
    let set_layout = gpu.set_layout(&types);
    let set = gpu.set(set_layout, &types);
    gpu.write_image(set, 0, types[0], image.view, sampler);
    let layout = gpu.pipeline_layout(&[set_layout]);
    let pipeline = State::new(shaders::COVER, shaders::TEXTURED).build(gpu, layout);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        gpu.device.cmd_bind_descriptor_sets(cb, vk::PipelineBindPoint::GRAPHICS, layout, 0, &[set], &[]);
        gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, &cover([0.0; 4], 0.0));
        gpu.device.cmd_draw(cb, 3, 1, 0, 0);
    });
    gpu.show(report, "textured", &target);
}

/// Push constants changed in parts between draws.
pub(super) unsafe fn push_constants(gpu: &Gpu, report: &Report) {
    let layout = gpu.pipeline_layout(&[]);
    let mut state = State::new(shaders::COVER, shaders::PUSH_COLOUR);
    state.dynamic = vec![vk::DynamicState::SCISSOR];
    let pipeline = state.build(gpu, layout);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        gpu.device.cmd_push_constants(
            cb,
            layout,
            vk::ShaderStageFlags::ALL,
            0,
            &cover([1.0, 0.0, 0.0, 1.0], 0.5),
        );
        for i in 0..8u32 {
            let part = vk::Rect2D {
                offset: vk::Offset2D { x: i as i32 * 8, y: i as i32 * 4 },
                extent: vk::Extent2D { width: 8, height: SIDE / 2 },
            };
            gpu.device.cmd_set_scissor(cb, 0, &[part]);
            let green = (i as f32 / 8.0).to_ne_bytes();
            gpu.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 4, &green);
            gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        }
    });
    gpu.show(report, "parts", &target);
}

/// Geometry beyond the near and far planes, clipped or clamped.
pub(super) unsafe fn clip(gpu: &Gpu, report: &Report) {
    let layout = gpu.pipeline_layout(&[]);
    for clamp in [false, true] {
        if clamp && gpu.features.depth_clamp == 0 {
            continue;
        }
        let mut state = State::new(shaders::COVER, shaders::PUSH_COLOUR);
        state.raster = state.raster.depth_clamp_enable(clamp);
        let pipeline = state.build(gpu, layout);
        let target = gpu.target();
        gpu.render(&target, None, |cb| {
            gpu.bind_graphics(cb, pipeline);
            gpu.device.cmd_push_constants(
                cb,
                layout,
                vk::ShaderStageFlags::ALL,
                0,
                &cover([0.3, 0.6, 0.9, 1.0], 1.5),
            );
            gpu.device.cmd_draw(cb, 3, 1, 0, 0);
        });
        gpu.show(report, if clamp { "clamped" } else { "clipped" }, &target);
    }
}
