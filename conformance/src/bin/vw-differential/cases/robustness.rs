//! Accesses outside of what is bound: allowed, harmless, and the same everywhere on one driver.

use crate::gpu::Gpu;
use crate::graphics::{Mesh, State};
use crate::report::Report;
use crate::resources::ANY_USE;
use crate::shaders;

pub(super) unsafe fn outside_of_buffers(gpu: &Gpu, report: &Report) {
    let (data, result) = (gpu.buffer(64, ANY_USE), gpu.buffer(64, ANY_USE));
    data.write(0, &[17u32; 16]);
    let set = gpu.storage_set(&[data, result]);
    for beyond in [16u32, 1000, 0x0fff_ffff] {
        gpu.dispatch(shaders::ROBUST, &[set], bytemuck::cast_slice(&[beyond]), [1, 1, 1]);
        report.words(&format!("{beyond:x}"), &result.words(2));
    }
    report.bytes("the buffer is as it was", &data.read());
}

pub(super) unsafe fn outside_of_vertices(gpu: &Gpu, report: &Report) {
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        mesh.bind(gpu, cb);
        gpu.device.cmd_draw(cb, 9, 1, 0, 0);
        // The vertex buffer holds nine.
        gpu.device.cmd_draw(cb, 300, 1, 9, 0);
    });
    gpu.show(report, "drawn", &target);
    report.debug("device", gpu.device.device_wait_idle());
}
