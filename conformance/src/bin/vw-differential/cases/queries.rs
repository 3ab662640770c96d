//! Query pools.

use ash::{ext, vk};

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State};
use crate::report::Report;
use crate::resources::ANY_USE;
use crate::shaders;

unsafe fn pool(gpu: &Gpu, info: &vk::QueryPoolCreateInfo<'_>) -> vk::QueryPool {
    let pool = gpu.device.create_query_pool(info, None).unwrap();
    gpu.later(move |device| device.destroy_query_pool(pool, None));
    pool
}

/// Draws 0, 3 and 9 vertices, each in a query of its own.
unsafe fn draw_in_queries(gpu: &Gpu, pool: vk::QueryPool, flags: vk::QueryControlFlags) {
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.run(|cb| gpu.device.cmd_reset_query_pool(cb, pool, 0, 3));
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        for (query, vertices) in [0, 3, 9].into_iter().enumerate() {
            gpu.device.cmd_begin_query(cb, pool, query as u32, flags);
            gpu.device.cmd_draw(cb, vertices, 1, 0, 0);
            gpu.device.cmd_end_query(cb, pool, query as u32);
        }
    });
}

pub(super) unsafe fn occlusion(gpu: &Gpu, report: &Report) {
    let pool =
        pool(gpu, &vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::OCCLUSION).query_count(4));
    let precise = gpu.features.occlusion_query_precise != 0;
    let flags = if precise { vk::QueryControlFlags::PRECISE } else { vk::QueryControlFlags::empty() };
    draw_in_queries(gpu, pool, flags);
    let mut samples = [0u64; 3];
    let wait = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
    report.debug("results", gpu.device.get_query_pool_results(pool, 0, &mut samples, wait));
    report.debug("samples", if precise { samples } else { samples.map(|count| u64::from(count > 0)) });
}

/// That there are timestamps and that they grow; their values nobody can compare.
pub(super) unsafe fn timestamps(gpu: &Gpu, report: &Report) {
    let families = gpu.instance.get_physical_device_queue_family_properties(gpu.physical);
    let bits = families[gpu.family as usize].timestamp_valid_bits;
    report.line("bits", bits);
    if bits == 0 {
        return;
    }
    let pool =
        pool(gpu, &vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(4));
    let buffer = gpu.buffer(1 << 20, ANY_USE);
    gpu.run(|cb| {
        gpu.device.cmd_reset_query_pool(cb, pool, 0, 4);
        gpu.device.cmd_write_timestamp(cb, vk::PipelineStageFlags::TOP_OF_PIPE, pool, 0);
        gpu.device.cmd_fill_buffer(cb, buffer.handle, 0, vk::WHOLE_SIZE, 1);
        barrier_all(&gpu.device, cb);
        gpu.device.cmd_write_timestamp(cb, vk::PipelineStageFlags::BOTTOM_OF_PIPE, pool, 1);
        gpu.device.cmd_write_timestamp2(cb, vk::PipelineStageFlags2::ALL_COMMANDS, pool, 2);
    });
    let mut times = [0u64; 3];
    let wait = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
    report.debug("results", gpu.device.get_query_pool_results(pool, 0, &mut times, wait));
    report.line("set and in order", times[0] > 0 && times[0] <= times[1] && times[1] <= times[2]);
}

pub(super) unsafe fn statistics(gpu: &Gpu, report: &Report) {
    if gpu.features.pipeline_statistics_query == 0 {
        report.line("statistics", "not offered");
        return;
    }
    let wanted = vk::QueryPipelineStatisticFlags::INPUT_ASSEMBLY_VERTICES
        | vk::QueryPipelineStatisticFlags::INPUT_ASSEMBLY_PRIMITIVES
        | vk::QueryPipelineStatisticFlags::VERTEX_SHADER_INVOCATIONS
        | vk::QueryPipelineStatisticFlags::CLIPPING_PRIMITIVES;
    let info = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::PIPELINE_STATISTICS)
        .query_count(3)
        .pipeline_statistics(wanted);
    let pool = pool(gpu, &info);
    draw_in_queries(gpu, pool, vk::QueryControlFlags::empty());
    let mut values = [[0u64; 4]; 3];
    let wait = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
    report.debug("results", gpu.device.get_query_pool_results(pool, 0, &mut values, wait));
    report.debug("values", values);
}

/// Statistics of dispatches and of what a secondary command buffer draws, some of them at once.
pub(super) unsafe fn more_statistics(gpu: &Gpu, report: &Report) {
    if gpu.features.pipeline_statistics_query == 0 {
        report.line("statistics", "not offered");
        return;
    }
    let wanted = vk::QueryPipelineStatisticFlags::INPUT_ASSEMBLY_VERTICES
        | vk::QueryPipelineStatisticFlags::VERTEX_SHADER_INVOCATIONS
        | vk::QueryPipelineStatisticFlags::CLIPPING_INVOCATIONS;
    let of_compute = vk::QueryPipelineStatisticFlags::COMPUTE_SHADER_INVOCATIONS;
    let [pool, computed] = [wanted, of_compute].map(|statistics| {
        let info = vk::QueryPoolCreateInfo::default()
            .query_type(vk::QueryType::PIPELINE_STATISTICS)
            .query_count(2)
            .pipeline_statistics(statistics);
        pool(gpu, &info)
    });
    let none = vk::QueryControlFlags::empty();
    gpu.run(|cb| {
        gpu.device.cmd_reset_query_pool(cb, pool, 0, 2);
        gpu.device.cmd_reset_query_pool(cb, computed, 0, 2);
    });
    let words = gpu.buffer(64 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[words]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::FILL, &[layout]);
    let graphics = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let (mesh, target) = (Mesh::triangles(gpu), gpu.target());
    let inherits = gpu.features.inherited_queries != 0;
    let secondary = gpu.command_buffers(vk::CommandBufferLevel::SECONDARY, 1)[0];
    let formats = [COLOUR];
    let mut rendering = vk::CommandBufferInheritanceRenderingInfo::default()
        .color_attachment_formats(&formats)
        .rasterization_samples(vk::SampleCountFlags::TYPE_1);
    let statistics = if inherits { wanted } else { vk::QueryPipelineStatisticFlags::empty() };
    let inheritance =
        vk::CommandBufferInheritanceInfo::default().pipeline_statistics(statistics).push_next(&mut rendering);
    let begin = vk::CommandBufferBeginInfo::default()
        .flags(vk::CommandBufferUsageFlags::RENDER_PASS_CONTINUE)
        .inheritance_info(&inheritance);
    gpu.device.begin_command_buffer(secondary, &begin).unwrap();
    gpu.bind_graphics(secondary, graphics);
    mesh.bind(gpu, secondary);
    if !inherits {
        gpu.device.cmd_begin_query(secondary, pool, 0, none);
    }
    gpu.device.cmd_draw(secondary, 6, 2, 0, 0);
    if !inherits {
        gpu.device.cmd_end_query(secondary, pool, 0);
    }
    gpu.device.end_command_buffer(secondary).unwrap();
    gpu.run(|cb| {
        gpu.to_general(cb, &target);
        if inherits {
            gpu.device.cmd_begin_query(cb, pool, 0, none);
        }
        gpu.execute(cb, &target, &[&[secondary]]);
        if inherits {
            gpu.device.cmd_end_query(cb, pool, 0);
        }
        // Behind the drawing: without one in the command buffer lavapipe of Mesa 22 crashes natively.
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], bytemuck::cast_slice(&[1u32, 1, 64]));
        for (query, [x, y]) in [[3, 2], [0, 1]].into_iter().enumerate() {
            gpu.device.cmd_begin_query(cb, computed, query as u32, none);
            gpu.device.cmd_dispatch(cb, x, y, 1);
            gpu.device.cmd_end_query(cb, computed, query as u32);
        }
    });
    let flags =
        vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT | vk::QueryResultFlags::WITH_AVAILABILITY;
    let mut values = [[0u64; 4]];
    report.debug("results", gpu.device.get_query_pool_results(pool, 0, &mut values, flags));
    report.debug("drawn", values);
    let mut values = [[0u64; 2]; 2];
    report.debug("results", gpu.device.get_query_pool_results(computed, 0, &mut values, flags));
    report.debug("computed", values);
    let copied = gpu.buffer(64, ANY_USE);
    gpu.run(|cb| {
        gpu.device.cmd_copy_query_pool_results(cb, computed, 0, 2, copied.handle, 16, 16, flags);
        barrier_all(&gpu.device, cb);
    });
    report.words("copied", &copied.words(16));
}

/// Results in each form, to the host and to a buffer, available and not.
pub(super) unsafe fn results(gpu: &Gpu, report: &Report) {
    use vk::QueryResultFlags as Flags;
    let pool =
        pool(gpu, &vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::OCCLUSION).query_count(4));
    gpu.run(|cb| gpu.device.cmd_reset_query_pool(cb, pool, 0, 4));
    let mut pairs = [[7u32; 2]; 4];
    let none = gpu.device.get_query_pool_results(pool, 0, &mut pairs, Flags::WITH_AVAILABILITY);
    report.line("before", format!("{none:?} {:?}", pairs.map(|pair| pair[1])));
    let mut plain = [0u32; 4];
    report.debug("not ready", gpu.device.get_query_pool_results(pool, 0, &mut plain, Flags::empty()));
    draw_in_queries(gpu, pool, vk::QueryControlFlags::empty());
    let some = gpu.device.get_query_pool_results(pool, 0, &mut pairs, Flags::WITH_AVAILABILITY);
    report.line("three of four", format!("{some:?} {:?}", pairs.map(|pair| pair[1])));
    report.debug("samples seen", pairs[..3].iter().map(|pair| pair[0] > 0).collect::<Vec<_>>());
    let buffer = gpu.buffer(64, ANY_USE);
    gpu.run(|cb| {
        let flags = Flags::TYPE_64 | Flags::WAIT | Flags::WITH_AVAILABILITY;
        gpu.device.cmd_copy_query_pool_results(cb, pool, 0, 3, buffer.handle, 0, 16, flags);
        barrier_all(&gpu.device, cb);
    });
    let copied: Vec<u64> = bytemuck::pod_collect_to_vec(&buffer.read());
    report.debug("copied", copied.chunks(2).take(3).map(|pair| (pair[0] > 0, pair[1])).collect::<Vec<_>>());
}

pub(super) unsafe fn reset(gpu: &Gpu, report: &Report) {
    let pool =
        pool(gpu, &vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::OCCLUSION).query_count(3));
    for _ in 0..3 {
        draw_in_queries(gpu, pool, vk::QueryControlFlags::empty());
        gpu.device.reset_query_pool(pool, 0, 3);
        let mut values = [0u32; 3];
        let after = gpu.device.get_query_pool_results(pool, 0, &mut values, vk::QueryResultFlags::empty());
        report.debug("after a reset by the host", after);
    }
}

/// What transform feedback wrote and what was generated, asked per stream; a draw of as many vertices as were written.
pub(super) unsafe fn streams(gpu: &Gpu, report: &Report) {
    if gpu.more.transform_feedback.transform_feedback == 0 {
        report.line("streams", "not offered");
        return;
    }
    let mut properties = vk::PhysicalDeviceTransformFeedbackPropertiesEXT::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut properties);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut all);
    let functions = ext::transform_feedback::Device::new(&gpu.instance, &gpu.device);
    let usage = ANY_USE
        | vk::BufferUsageFlags::TRANSFORM_FEEDBACK_BUFFER_EXT
        | vk::BufferUsageFlags::TRANSFORM_FEEDBACK_COUNTER_BUFFER_EXT;
    // Room for five vertices of ten.
    let (captured, again, counter) = (gpu.buffer(160, usage), gpu.buffer(320, usage), gpu.buffer(16, usage));
    let mut state = State::new(shaders::CAPTURE, shaders::PASS_COLOUR);
    state.stages.truncate(1);
    state.raster = state.raster.rasterizer_discard_enable(true);
    state.assembly = state.assembly.topology(vk::PrimitiveTopology::POINT_LIST);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mut kinds = vec![];
    if properties.transform_feedback_queries != 0 {
        kinds.push(vk::QueryType::TRANSFORM_FEEDBACK_STREAM_EXT);
    }
    let found = &gpu.more.primitives_generated;
    if found.primitives_generated_query_with_rasterizer_discard != 0 {
        kinds.push(vk::QueryType::PRIMITIVES_GENERATED_EXT);
    }
    let pools: Vec<_> = kinds
        .iter()
        .map(|kind| pool(gpu, &vk::QueryPoolCreateInfo::default().query_type(*kind).query_count(1)))
        .collect();
    gpu.run(|cb| pools.iter().for_each(|pool| gpu.device.cmd_reset_query_pool(cb, *pool, 0, 1)));
    let target = gpu.target();
    let fp = functions.fp();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        (fp.cmd_bind_transform_feedback_buffers_ext)(cb, 0, 1, &captured.handle, &0, &160);
        for pool in &pools {
            (fp.cmd_begin_query_indexed_ext)(cb, *pool, 0, vk::QueryControlFlags::empty(), 0);
        }
        (fp.cmd_begin_transform_feedback_ext)(cb, 0, 0, std::ptr::null(), std::ptr::null());
        gpu.device.cmd_draw(cb, 10, 1, 0, 0);
        (fp.cmd_end_transform_feedback_ext)(cb, 0, 1, &counter.handle, &4);
        for pool in pools.iter().rev() {
            (fp.cmd_end_query_indexed_ext)(cb, *pool, 0, 0);
        }
    });
    let wait = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
    for (kind, pool) in kinds.iter().zip(&pools) {
        if *kind == vk::QueryType::TRANSFORM_FEEDBACK_STREAM_EXT {
            let mut values = [[0u64; 2]];
            report.debug("written", gpu.device.get_query_pool_results(*pool, 0, &mut values, wait));
            report.debug("written and needed", values);
        } else {
            let mut values = [0u64];
            report.debug("generated", gpu.device.get_query_pool_results(*pool, 0, &mut values, wait));
            report.debug("generated", values);
        }
    }
    report.words("counter", &counter.words(4));
    if properties.transform_feedback_draw != 0 {
        gpu.render(&target, None, |cb| {
            gpu.bind_graphics(cb, pipeline);
            (fp.cmd_bind_transform_feedback_buffers_ext)(cb, 0, 1, &again.handle, &0, &320);
            (fp.cmd_begin_transform_feedback_ext)(cb, 0, 0, std::ptr::null(), std::ptr::null());
            (fp.cmd_draw_indirect_byte_count_ext)(cb, 1, 2, counter.handle, 4, 0, 32);
            (fp.cmd_end_transform_feedback_ext)(cb, 0, 0, std::ptr::null(), std::ptr::null());
        });
        report.bytes("as many again", &again.read());
    }
    report.bytes("captured", &captured.read());
}
