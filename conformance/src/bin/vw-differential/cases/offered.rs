//! Extensions that not every device offers.

use ash::{ext, vk};

use crate::gpu::Gpu;
use crate::graphics::{Mesh, State};
use crate::report::Report;
use crate::resources::ANY_USE;
use crate::shaders;

pub(super) unsafe fn transform_feedback(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::transform_feedback::NAME) {
        report.line("transform feedback", "not offered");
        return;
    }
    let functions = ext::transform_feedback::Device::new(&gpu.instance, &gpu.device);
    let usage = ANY_USE
        | vk::BufferUsageFlags::TRANSFORM_FEEDBACK_BUFFER_EXT
        | vk::BufferUsageFlags::TRANSFORM_FEEDBACK_COUNTER_BUFFER_EXT;
    let (captured, counter) = (gpu.buffer(4096, usage), gpu.buffer(16, usage));
    let mut state = State::new(shaders::CAPTURE, shaders::PASS_COLOUR);
    state.stages.truncate(1);
    state.raster = state.raster.rasterizer_discard_enable(true);
    state.assembly = state.assembly.topology(vk::PrimitiveTopology::POINT_LIST);
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        let bind = functions.fp().cmd_bind_transform_feedback_buffers_ext;
        bind(cb, 0, 1, &captured.handle, &0, &4096);
        (functions.fp().cmd_begin_transform_feedback_ext)(cb, 0, 0, std::ptr::null(), std::ptr::null());
        gpu.device.cmd_draw(cb, 10, 2, 5, 1);
        (functions.fp().cmd_end_transform_feedback_ext)(cb, 0, 1, &counter.handle, &4);
    });
    report.bytes("captured", &captured.read());
    report.words("counter", &counter.words(4));
}

pub(super) unsafe fn multi_draw(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::multi_draw::NAME) {
        report.line("multi draw", "not offered");
        return;
    }
    let functions = ext::multi_draw::Device::new(&gpu.instance, &gpu.device);
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        let draws = [
            vk::MultiDrawInfoEXT { first_vertex: 0, vertex_count: 3 },
            vk::MultiDrawInfoEXT { first_vertex: 6, vertex_count: 3 },
        ];
        let stride = size_of::<vk::MultiDrawInfoEXT>() as u32;
        (functions.fp().cmd_draw_multi_ext)(cb, 2, draws.as_ptr(), 1, 0, stride);
    });
    gpu.show(report, "two of three", &target);
    // The program's own structure is larger than Vulkan's.
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        let draws = [[0u32, 3, 77, 77], [3, 3, 77, 77]];
        (functions.fp().cmd_draw_multi_ext)(cb, 2, draws.as_ptr().cast(), 1, 0, 16);
    });
    gpu.show(report, "with a stride", &target);
    let indices = gpu.buffer_of(&[0u16, 1, 2, 3, 4, 5]);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        gpu.device.cmd_bind_index_buffer(cb, indices.handle, 0, vk::IndexType::UINT16);
        let draws = [
            vk::MultiDrawIndexedInfoEXT { first_index: 0, index_count: 3, vertex_offset: 0 },
            vk::MultiDrawIndexedInfoEXT { first_index: 3, index_count: 3, vertex_offset: 3 },
        ];
        let stride = size_of::<vk::MultiDrawIndexedInfoEXT>() as u32;
        (functions.fp().cmd_draw_multi_indexed_ext)(cb, 2, draws.as_ptr(), 2, 1, stride, std::ptr::null());
    });
    gpu.show(report, "indexed", &target);
    // One vertex offset for all draws instead of their own, several instances, and no draw at all.
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        gpu.device.cmd_bind_index_buffer(cb, indices.handle, 0, vk::IndexType::UINT16);
        let draws = [[0u32, 3, 1000, 77], [1, 3, 2000, 77], [3, 3, 3000, 77]];
        let draw = functions.fp().cmd_draw_multi_indexed_ext;
        draw(cb, 3, draws.as_ptr().cast(), 3, 1, 16, &3);
        draw(cb, 0, std::ptr::null(), 1, 0, 16, std::ptr::null());
        (functions.fp().cmd_draw_multi_ext)(cb, 0, std::ptr::null(), 1, 0, 8);
    });
    gpu.show(report, "one offset for all", &target);
    let mut properties = vk::PhysicalDeviceMultiDrawPropertiesEXT::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut properties);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut all);
    let many = properties.max_multi_draw_count.min(5000);
    report.line("most", properties.max_multi_draw_count);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        let draws: Vec<_> =
            (0..many).map(|i| vk::MultiDrawInfoEXT { first_vertex: i % 7, vertex_count: i % 4 }).collect();
        let stride = size_of::<vk::MultiDrawInfoEXT>() as u32;
        (functions.fp().cmd_draw_multi_ext)(cb, many, draws.as_ptr(), 1, 2, stride);
    });
    gpu.show(report, "many", &target);
}

pub(super) unsafe fn divisors(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::vertex_attribute_divisor::NAME) {
        report.line("divisors", "not offered");
        return;
    }
    let divisors = [vk::VertexInputBindingDivisorDescriptionEXT { binding: 1, divisor: 2 }];
    let mut info =
        vk::PipelineVertexInputDivisorStateCreateInfoEXT::default().vertex_binding_divisors(&divisors);
    let mut state = State::mesh();
    // Lives as long as the state, to the end of this function.
    state.vertex_input.p_next = (&raw mut info).cast();
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        gpu.device.cmd_draw(cb, 3, 6, 0, 0);
    });
    gpu.show(report, "every second instance", &target);
}

pub(super) unsafe fn provoking(gpu: &Gpu, report: &Report) {
    if !gpu.has(ext::provoking_vertex::NAME) {
        report.line("provoking vertex", "not offered");
        return;
    }
    let mut info = vk::PipelineRasterizationProvokingVertexStateCreateInfoEXT::default()
        .provoking_vertex_mode(vk::ProvokingVertexModeEXT::LAST_VERTEX);
    let mut state = State::mesh();
    // Lives as long as the state, to the end of this function.
    state.raster.p_next = (&raw mut info).cast();
    let pipeline = state.build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        gpu.device.cmd_draw(cb, 9, 1, 0, 0);
    });
    gpu.show(report, "last", &target);
}
