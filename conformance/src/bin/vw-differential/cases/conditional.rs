//! `VK_EXT_conditional_rendering`: what a word in a buffer decides, and what it does not.

use ash::{ext, vk};
use vk::ConditionalRenderingFlagsEXT as Flags;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::graphics::{COLOUR, Mesh, State, area};
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer, SIDE};
use crate::shaders;

/// The extension's functions, and a buffer with a condition that is false, one that is true, and one whose high half alone is not zero.
struct Conditions {
    functions: ext::conditional_rendering::Device,
    words: Buffer,
}

/// Offset of the condition, whether it is inverted.
const ALL: [(u64, Flags); 5] = [
    (0, Flags::empty()),
    (4, Flags::empty()),
    (8, Flags::empty()),
    (0, Flags::INVERTED),
    (4, Flags::INVERTED),
];

impl Conditions {
    unsafe fn new(gpu: &Gpu, report: &Report) -> Option<Self> {
        if gpu.more.conditional.conditional_rendering == 0 {
            report.line("conditional rendering", "not offered");
            return None;
        }
        let functions = ext::conditional_rendering::Device::new(&gpu.instance, &gpu.device);
        let words = gpu.buffer(64, ANY_USE | vk::BufferUsageFlags::CONDITIONAL_RENDERING_EXT);
        words.write(0, &[0u32, 1, 0x8000_0000]);
        Some(Self { functions, words })
    }

    unsafe fn begin(&self, cb: vk::CommandBuffer, (offset, flags): (u64, Flags)) {
        let begin = vk::ConditionalRenderingBeginInfoEXT::default()
            .buffer(self.words.handle)
            .offset(offset)
            .flags(flags);
        (self.functions.fp().cmd_begin_conditional_rendering_ext)(cb, &begin);
    }

    unsafe fn end(&self, cb: vk::CommandBuffer) {
        (self.functions.fp().cmd_end_conditional_rendering_ext)(cb);
    }
}

/// Draws of every kind, some before and some after the condition's reach.
pub(super) unsafe fn draws(gpu: &Gpu, report: &Report) {
    let Some(conditions) = Conditions::new(gpu, report) else { return };
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let indices = gpu.buffer_of(&[0u32, 1, 2]);
    let indirect = gpu.buffer_of(&[[3u32, 1, 3, 1]]);
    for condition in ALL {
        let target = gpu.target();
        gpu.render(&target, None, |cb| {
            gpu.bind_graphics(cb, pipeline);
            conditions.begin(cb, condition);
            // State is set in any case.
            mesh.bind(gpu, cb);
            gpu.device.cmd_bind_index_buffer(cb, indices.handle, 0, vk::IndexType::UINT32);
            gpu.device.cmd_draw(cb, 3, 1, 6, 0);
            gpu.device.cmd_draw_indexed(cb, 3, 1, 0, 0, 2);
            gpu.device.cmd_draw_indirect(cb, indirect.handle, 0, 1, 16);
            conditions.end(cb);
            gpu.device.cmd_draw(cb, 3, 1, 0, 3);
        });
        gpu.show(report, &format!("{condition:?}"), &target);
    }
}

/// Dispatches depend on the condition, copies and fills do not; the condition is written by the device just before.
pub(super) unsafe fn dispatches(gpu: &Gpu, report: &Report) {
    let Some(conditions) = Conditions::new(gpu, report) else { return };
    let words = gpu.buffer(256 * 4, ANY_USE);
    let (layout, set) = gpu.storage_set(&[words]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::FILL, &[layout]);
    let groups = gpu.buffer_of(&[1u32, 1, 1]);
    for condition in ALL {
        for written in [0u32, 7] {
            gpu.run(|cb| {
                gpu.device.cmd_fill_buffer(cb, words.handle, 0, vk::WHOLE_SIZE, 0);
                gpu.device.cmd_update_buffer(cb, conditions.words.handle, 4, &written.to_le_bytes());
                barrier_all(&gpu.device, cb);
                let push = [100u32, 3, 64];
                gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], bytemuck::cast_slice(&push));
                conditions.begin(cb, condition);
                gpu.device.cmd_dispatch(cb, 1, 1, 1);
                gpu.device.cmd_fill_buffer(cb, words.handle, 512, 256, 0x0101_0101);
                barrier_all(&gpu.device, cb);
                let push = [7u32, 1, 32];
                gpu.bind_compute(cb, pipeline, pipeline_layout, &[], bytemuck::cast_slice(&push));
                gpu.device.cmd_dispatch_indirect(cb, groups.handle, 0);
                conditions.end(cb);
                barrier_all(&gpu.device, cb);
            });
            report.bytes(&format!("{condition:?} {written}"), &words.read());
        }
    }
}

/// Attachments are cleared if the condition holds, by the pass itself in any case.
pub(super) unsafe fn clears(gpu: &Gpu, report: &Report) {
    let Some(conditions) = Conditions::new(gpu, report) else { return };
    for condition in ALL {
        let target = gpu.target();
        gpu.render(&target, None, |cb| {
            conditions.begin(cb, condition);
            let clear = vk::ClearAttachment {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                color_attachment: 0,
                clear_value: vk::ClearValue { color: vk::ClearColorValue { float32: [1.0, 0.5, 0.0, 1.0] } },
            };
            let part = vk::ClearRect { rect: area(SIDE / 2), base_array_layer: 0, layer_count: 1 };
            gpu.device.cmd_clear_attachments(cb, &[clear], &[part]);
            conditions.end(cb);
        });
        gpu.show(report, &format!("{condition:?}"), &target);
    }
}

/// Conditions that begin and end in a secondary command buffer, and, where that is offered, one that is inherited.
pub(super) unsafe fn secondary(gpu: &Gpu, report: &Report) {
    let Some(conditions) = Conditions::new(gpu, report) else { return };
    let inherits = gpu.more.conditional.inherited_conditional_rendering != 0;
    report.line("inherited", inherits);
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    let formats = [COLOUR];
    for condition in ALL {
        for inherited in [false, true] {
            if inherited && !inherits {
                continue;
            }
            let cb = gpu.command_buffers(vk::CommandBufferLevel::SECONDARY, 1)[0];
            let mut rendering = vk::CommandBufferInheritanceRenderingInfo::default()
                .color_attachment_formats(&formats)
                .rasterization_samples(vk::SampleCountFlags::TYPE_1);
            let mut conditional = vk::CommandBufferInheritanceConditionalRenderingInfoEXT::default()
                .conditional_rendering_enable(inherited);
            let inheritance = vk::CommandBufferInheritanceInfo::default()
                .push_next(&mut rendering)
                .push_next(&mut conditional);
            let begin = vk::CommandBufferBeginInfo::default()
                .flags(vk::CommandBufferUsageFlags::RENDER_PASS_CONTINUE)
                .inheritance_info(&inheritance);
            gpu.device.begin_command_buffer(cb, &begin).unwrap();
            gpu.bind_graphics(cb, pipeline);
            mesh.bind(gpu, cb);
            if !inherited {
                conditions.begin(cb, condition);
            }
            gpu.device.cmd_draw(cb, 6, 1, 0, 0);
            if !inherited {
                conditions.end(cb);
            }
            gpu.device.cmd_draw(cb, 3, 1, 6, 1);
            gpu.device.end_command_buffer(cb).unwrap();

            let target = gpu.target();
            gpu.run(|primary| {
                gpu.to_general(primary, &target);
                if inherited {
                    conditions.begin(primary, condition);
                }
                gpu.execute(primary, &target, &[&[cb]]);
                if inherited {
                    conditions.end(primary);
                }
            });
            gpu.show(report, &format!("{condition:?} {inherited}"), &target);
        }
    }
}
