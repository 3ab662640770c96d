//! Mesh and task shaders.

use ash::{ext, vk};

use crate::gpu::Gpu;
use crate::graphics::State;
use crate::report::Report;
use crate::resources::Buffer;
use crate::shaders;

pub(super) unsafe fn draws(gpu: &Gpu, report: &Report) {
    let found = &gpu.more.mesh_shader;
    if found.mesh_shader == 0 || found.task_shader == 0 {
        report.line("mesh shaders", "not offered");
        return;
    }
    let functions = ext::mesh_shader::Device::new(&gpu.instance, &gpu.device);
    let mut state = State::new(shaders::COVER, shaders::PASS_COLOUR);
    state.stages[0] = (vk::ShaderStageFlags::MESH_EXT, shaders::MESHLET);
    state.stages.push((vk::ShaderStageFlags::TASK_EXT, shaders::MESHLET_TASK));
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let groups = gpu.buffer_of(&[[0u32, 0, 0, 0], [2, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]);
    let count = gpu.buffer_of(&[1u32]);
    let draw = |label: &str, record: &dyn Fn(vk::CommandBuffer, &Buffer)| {
        let target = gpu.target();
        gpu.render(&target, None, |cb| {
            gpu.bind_graphics(cb, pipeline);
            record(cb, &groups);
        });
        gpu.show(report, label, &target);
    };
    draw("direct", &|cb, _| functions.cmd_draw_mesh_tasks(cb, 2, 1, 1));
    draw("indirect", &|cb, groups| {
        functions.cmd_draw_mesh_tasks_indirect(cb, groups.handle, 16, 2, 16);
    });
    if gpu.indexing.draw_count {
        draw("counted", &|cb, groups| {
            functions.cmd_draw_mesh_tasks_indirect_count(cb, groups.handle, 16, count.handle, 0, 3, 16);
        });
    }
}

/// How many mesh shader invocations and primitives a draw made.
pub(super) unsafe fn queries(gpu: &Gpu, report: &Report) {
    if gpu.more.mesh_shader.mesh_shader_queries == 0 || gpu.features.pipeline_statistics_query == 0 {
        report.line("mesh shader queries", "not offered");
        return;
    }
    let functions = ext::mesh_shader::Device::new(&gpu.instance, &gpu.device);
    let mut state = State::new(shaders::COVER, shaders::PASS_COLOUR);
    state.stages[0] = (vk::ShaderStageFlags::MESH_EXT, shaders::MESHLET);
    state.stages.push((vk::ShaderStageFlags::TASK_EXT, shaders::MESHLET_TASK));
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let statistics = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::PIPELINE_STATISTICS)
        .query_count(1)
        .pipeline_statistics(
            vk::QueryPipelineStatisticFlags::TASK_SHADER_INVOCATIONS_EXT
                | vk::QueryPipelineStatisticFlags::MESH_SHADER_INVOCATIONS_EXT,
        );
    let primitives = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::MESH_PRIMITIVES_GENERATED_EXT)
        .query_count(1);
    let pools = [statistics, primitives].map(|info| {
        let pool = gpu.device.create_query_pool(&info, None).unwrap();
        gpu.later(move |device| device.destroy_query_pool(pool, None));
        pool
    });
    gpu.run(|cb| pools.iter().for_each(|pool| gpu.device.cmd_reset_query_pool(cb, *pool, 0, 1)));
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        for pool in pools {
            gpu.device.cmd_begin_query(cb, pool, 0, vk::QueryControlFlags::empty());
            functions.cmd_draw_mesh_tasks(cb, 2, 1, 1);
            gpu.device.cmd_end_query(cb, pool, 0);
        }
    });
    let wait = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
    let (mut invocations, mut made) = ([[0u64; 2]], [0u64]);
    report.debug("results", gpu.device.get_query_pool_results(pools[0], 0, &mut invocations, wait));
    report.debug("invocations", invocations);
    report.debug("results", gpu.device.get_query_pool_results(pools[1], 0, &mut made, wait));
    report.debug("primitives", made);
}
