//! `VK_EXT_device_generated_commands`: sequences of draws and dispatches that a buffer describes.

use std::ffi::{CStr, c_void};
use std::mem::transmute_copy;
use std::ptr;

use ash::vk;

use crate::commands::barrier_all;
use crate::generated_types::{self as types, Token};
use crate::gpu::Gpu;
use crate::graphics::{Mesh, State, cover};
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer};
use crate::shaders;

/// What the layout of a sequence is about.
const GRAPHICS: vk::ShaderStageFlags = vk::ShaderStageFlags::from_raw(
    vk::ShaderStageFlags::VERTEX.as_raw() | vk::ShaderStageFlags::FRAGMENT.as_raw(),
);
const COMPUTE: vk::ShaderStageFlags = vk::ShaderStageFlags::COMPUTE;

/// The extension's commands.
struct Generated<'a> {
    gpu: &'a Gpu,
    create_layout: types::Create<types::LayoutInfo>,
    destroy_layout: types::Destroy,
    create_set: types::Create<types::SetInfo>,
    destroy_set: types::Destroy,
    update_set: types::UpdateSet,
    requirements: types::Requirements,
    preprocess: types::Preprocess,
    execute: types::Execute,
}

/// A command of the device as the function that it is.
unsafe fn command<T: Copy>(gpu: &Gpu, name: &CStr) -> T {
    const { assert!(size_of::<T>() == size_of::<vk::PFN_vkVoidFunction>()) };
    let found = (gpu.instance.fp_v1_0().get_device_proc_addr)(gpu.device.handle(), name.as_ptr());
    transmute_copy(&found.expect("a command of the extension"))
}

impl<'a> Generated<'a> {
    unsafe fn new(gpu: &'a Gpu, report: &Report) -> Option<Self> {
        if gpu.more.generated.device_generated_commands == 0 || gpu.more.maintenance5.maintenance5 == 0 {
            report.line("generated commands", "not offered");
            return None;
        }
        Some(Self {
            gpu,
            create_layout: command(gpu, c"vkCreateIndirectCommandsLayoutEXT"),
            destroy_layout: command(gpu, c"vkDestroyIndirectCommandsLayoutEXT"),
            create_set: command(gpu, c"vkCreateIndirectExecutionSetEXT"),
            destroy_set: command(gpu, c"vkDestroyIndirectExecutionSetEXT"),
            update_set: command(gpu, c"vkUpdateIndirectExecutionSetPipelineEXT"),
            requirements: command(gpu, c"vkGetGeneratedCommandsMemoryRequirementsEXT"),
            preprocess: command(gpu, c"vkCmdPreprocessGeneratedCommandsEXT"),
            execute: command(gpu, c"vkCmdExecuteGeneratedCommandsEXT"),
        })
    }

    /// A layout of sequences, each `stride` bytes long.
    unsafe fn layout(
        &self,
        stages: vk::ShaderStageFlags,
        stride: u32,
        pipeline_layout: vk::PipelineLayout,
        tokens: &[Token],
        explicit: bool,
    ) -> u64 {
        let info = types::LayoutInfo {
            s_type: types::LAYOUT_INFO,
            p_next: ptr::null(),
            flags: if explicit { types::EXPLICIT_PREPROCESS } else { 0 },
            shader_stages: stages,
            indirect_stride: stride,
            pipeline_layout,
            token_count: tokens.len() as u32,
            p_tokens: tokens.as_ptr(),
        };
        let mut layout = 0;
        let device = self.gpu.device.handle();
        let code = (self.create_layout)(device, &info, ptr::null(), &mut layout);
        assert_eq!(code, vk::Result::SUCCESS, "a layout of generated commands");
        let destroy = self.destroy_layout;
        self.gpu.later(move |device| destroy(device.handle(), layout, ptr::null()));
        layout
    }

    unsafe fn address(&self, buffer: &Buffer) -> vk::DeviceAddress {
        let info = vk::BufferDeviceAddressInfo::default().buffer(buffer.handle);
        self.gpu.device.get_buffer_device_address(&info)
    }

    unsafe fn addressed<T: bytemuck::NoUninit>(&self, data: &[T]) -> (Buffer, vk::DeviceAddress) {
        let usage = ANY_USE | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
        let buffer = self.gpu.buffer(size_of_val(data) as u64, usage);
        buffer.write(0, data);
        (buffer, self.address(&buffer))
    }

    /// Sequences ready to be executed, with memory to prepare them in. `count` is how many of those in the buffer there are
    /// to be.
    unsafe fn sequences<T: bytemuck::NoUninit>(
        &self,
        stages: vk::ShaderStageFlags,
        layout: u64,
        set: u64,
        pipeline: &types::PipelineInfo,
        data: &[T],
        count: u32,
    ) -> types::Info {
        let gpu = self.gpu;
        let next: *const c_void = if set == 0 { ptr::from_ref(pipeline).cast() } else { ptr::null() };
        let ask = types::RequirementsInfo {
            s_type: types::REQUIREMENTS_INFO,
            p_next: next,
            set,
            layout,
            max_sequence_count: data.len() as u32,
            max_draw_count: 1,
        };
        let mut needs = vk::MemoryRequirements2::default();
        (self.requirements)(gpu.device.handle(), &ask, &mut needs);
        let size = needs.memory_requirements.size;
        let preprocess = if size == 0 { 0 } else { self.scratch(&needs.memory_requirements) };
        let (_, indirect) = self.addressed(data);
        let (_, counts) = self.addressed(&[count]);
        types::Info {
            s_type: types::INFO,
            p_next: next,
            shader_stages: stages,
            set,
            layout,
            indirect_address: indirect,
            indirect_size: size_of_val(data) as u64,
            preprocess_address: preprocess,
            preprocess_size: size,
            max_sequence_count: data.len() as u32,
            sequence_count_address: counts,
            max_draw_count: 1,
        }
    }

    /// Address of memory to prepare commands in.
    unsafe fn scratch(&self, needs: &vk::MemoryRequirements) -> vk::DeviceAddress {
        let gpu = self.gpu;
        let usage = vk::BufferUsageFlags2KHR::SHADER_DEVICE_ADDRESS
            | vk::BufferUsageFlags2KHR::from_raw(types::PREPROCESS_BUFFER);
        let mut usage = vk::BufferUsageFlags2CreateInfoKHR::default().usage(usage);
        let info = vk::BufferCreateInfo::default().size(needs.size).push_next(&mut usage);
        let buffer = gpu.device.create_buffer(&info, None).unwrap();
        let own = gpu.device.get_buffer_memory_requirements(buffer);
        let kind =
            gpu.memory_type(needs.memory_type_bits & own.memory_type_bits, vk::MemoryPropertyFlags::empty());
        let mut flags = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(own.size.max(needs.size))
            .memory_type_index(kind)
            .push_next(&mut flags);
        let memory = gpu.device.allocate_memory(&info, None).unwrap();
        gpu.device.bind_buffer_memory(buffer, memory, 0).unwrap();
        gpu.later(move |device| {
            device.destroy_buffer(buffer, None);
            device.free_memory(memory, None);
        });
        gpu.device.get_buffer_device_address(&vk::BufferDeviceAddressInfo::default().buffer(buffer))
    }
}

/// A compute pipeline of the shader that adds, which does so a number of times; it may be part of a set.
unsafe fn adding(gpu: &Gpu, layout: vk::PipelineLayout, times: u32) -> vk::Pipeline {
    let entry = [vk::SpecializationMapEntry { constant_id: 0, offset: 0, size: 4 }];
    let data = times.to_le_bytes();
    let constants = vk::SpecializationInfo::default().map_entries(&entry).data(&data);
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(COMPUTE)
        .module(shaders::module(gpu, shaders::SCATTER))
        .name(c"main")
        .specialization_info(&constants);
    let flags = vk::PipelineCreateFlags2KHR::from_raw(types::INDIRECT_BINDABLE);
    let mut flags = vk::PipelineCreateFlags2CreateInfoKHR::default().flags(flags);
    let info = vk::ComputePipelineCreateInfo::default().layout(layout).stage(stage).push_next(&mut flags);
    gpu.compute_of(&info, vk::PipelineCache::null())
}

unsafe fn pushes(
    gpu: &Gpu,
    sets: &[vk::DescriptorSetLayout],
    range: vk::PushConstantRange,
) -> vk::PipelineLayout {
    let ranges = [range];
    let info = vk::PipelineLayoutCreateInfo::default().set_layouts(sets).push_constant_ranges(&ranges);
    let layout = gpu.device.create_pipeline_layout(&info, None).unwrap();
    gpu.later(move |device| device.destroy_pipeline_layout(layout, None));
    layout
}

/// Draws with push constants of their own, and draws with vertex buffers of their own.
pub(super) unsafe fn draws(gpu: &Gpu, report: &Report) {
    let Some(generated) = Generated::new(gpu, report) else { return };
    let range = vk::PushConstantRange { stage_flags: GRAPHICS, offset: 0, size: 20 };
    let layout = pushes(gpu, &[], range);
    let mut state = State::new(shaders::COVER, shaders::PUSH_COLOUR);
    state.attachments = vec![
        state.attachments[0]
            .blend_enable(true)
            .src_color_blend_factor(vk::BlendFactor::ONE)
            .dst_color_blend_factor(vk::BlendFactor::ONE),
    ];
    let pipeline = types::PipelineInfo::new(state.build(gpu, layout));
    let tokens = [Token::push(&range, 0), Token::draw(20)];
    let commands = generated.layout(GRAPHICS, 36, layout, &tokens, false);
    let one = |colour: [f32; 4], vertices: u32| -> [u32; 9] {
        let mut words = [0; 9];
        words[..5].copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, u32>(&cover(colour, 0.0)));
        words[5..].copy_from_slice(&[vertices, 1, 0, 0]);
        words
    };
    let data = [
        one([0.1, 0.0, 0.2, 0.0], 3),
        one([0.3, 0.1, 0.0, 0.0], 0),
        one([0.0, 0.3, 0.1, 0.0], 3),
        one([0.2, 0.2, 0.2, 0.0], 3),
    ];
    for count in [0, 1, 3, 4, 100] {
        let info = generated.sequences(GRAPHICS, commands, 0, &pipeline, &data, count);
        let target = gpu.target();
        gpu.render(&target, None, |cb| {
            gpu.bind_graphics(cb, pipeline.pipeline);
            (generated.execute)(cb, vk::FALSE, &info);
        });
        gpu.show(report, &format!("pushed, {count}"), &target);
    }

    let layout = gpu.pipeline_layout(&[]);
    let mut state = State::mesh();
    state.dynamic = vec![vk::DynamicState::VERTEX_INPUT_BINDING_STRIDE];
    let pipeline = types::PipelineInfo::new(state.build(gpu, layout));
    let mesh = Mesh::triangles(gpu);
    let (_, vertices) = generated.addressed(&mesh.vertices.words(63));
    let binding = types::VertexToken { binding: 0 };
    let tokens = [Token::vertex_buffer(&binding, 0), Token::draw(16)];
    let commands = generated.layout(GRAPHICS, 32, layout, &tokens, false);
    // Address, size, stride; vertices, instances, first vertex, first instance.
    let one = |skipped: u32, count: u32, instance: u32| -> [u32; 8] {
        let place = vertices + u64::from(skipped) * 28;
        let size = (9 - skipped) * 28;
        [place as u32, (place >> 32) as u32, size, 28, count, 1, 0, instance]
    };
    let data = [one(0, 3, 0), one(3, 3, 1), one(6, 3, 3)];
    for count in [2, 3] {
        let info = generated.sequences(GRAPHICS, commands, 0, &pipeline, &data, count);
        let target = gpu.target();
        gpu.render(&target, None, |cb| {
            gpu.bind_graphics(cb, pipeline.pipeline);
            mesh.bind(gpu, cb);
            (generated.execute)(cb, vk::FALSE, &info);
        });
        gpu.show(report, &format!("vertex buffers, {count}"), &target);
    }
}

/// What adds goes to `at`, `groups` times eight words.
fn addition(at: u32, value: u32, groups: u32) -> [u32; 5] {
    [at, value, groups, 1, 1]
}

/// Dispatches with push constants of their own, prepared on the way or before.
pub(super) unsafe fn dispatches(gpu: &Gpu, report: &Report) {
    let Some(generated) = Generated::new(gpu, report) else { return };
    let words = gpu.buffer(512, ANY_USE);
    let (set_layout, set) = gpu.storage_set(&[words]);
    let range = vk::PushConstantRange { stage_flags: COMPUTE, offset: 0, size: 8 };
    let layout = pushes(gpu, &[set_layout], range);
    let pipeline = types::PipelineInfo::new(adding(gpu, layout, 3));
    let tokens = [Token::push(&range, 0), Token::dispatch(8)];
    let data = [addition(0, 100, 2), addition(16, 2000, 1), addition(40, 7, 3), addition(24, 9, 0)];
    for explicit in [false, true] {
        let commands = generated.layout(COMPUTE, 20, layout, &tokens, explicit);
        let info = generated.sequences(COMPUTE, commands, 0, &pipeline, &data, 3);
        gpu.run(|cb| {
            gpu.device.cmd_fill_buffer(cb, words.handle, 0, vk::WHOLE_SIZE, 0);
            barrier_all(&gpu.device, cb);
            gpu.bind_compute(cb, pipeline.pipeline, layout, &[set], &[]);
            if explicit {
                (generated.preprocess)(cb, &info, cb);
                barrier_all(&gpu.device, cb);
            }
            (generated.execute)(cb, u32::from(explicit), &info);
            barrier_all(&gpu.device, cb);
        });
        report.bytes(&format!("explicit {explicit}"), &words.read());
        report.words("first", &words.words(24));
    }
}

/// Each sequence chooses its pipeline out of a set, of which one is replaced in between.
pub(super) unsafe fn pipelines(gpu: &Gpu, report: &Report) {
    let Some(generated) = Generated::new(gpu, report) else { return };
    let mut properties = types::Properties::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut properties);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut all);
    report.fields("properties", properties.facts);
    if !properties.facts.pipeline_binding.contains(COMPUTE) {
        report.line("pipelines of their own", "not offered");
        return;
    }
    let words = gpu.buffer(512, ANY_USE);
    let (set_layout, set) = gpu.storage_set(&[words]);
    let range = vk::PushConstantRange { stage_flags: COMPUTE, offset: 0, size: 8 };
    let layout = pushes(gpu, &[set_layout], range);
    let choices = [1, 10, 1000].map(|times| adding(gpu, layout, times));
    let device = gpu.device.handle();
    let of_pipelines = types::SetPipelines::new(choices[0], 2);
    let info = types::SetInfo::pipelines(&of_pipelines);
    let mut chosen = 0;
    let code = (generated.create_set)(device, &info, ptr::null(), &mut chosen);
    report.debug("set", code);
    let destroy = generated.destroy_set;
    gpu.later(move |device| destroy(device.handle(), chosen, ptr::null()));
    let choice = types::SetToken { kind: 0, shader_stages: COMPUTE };
    let tokens = [Token::execution_set(&choice, 0), Token::push(&range, 4), Token::dispatch(12)];
    let commands = generated.layout(COMPUTE, 24, layout, &tokens, false);
    let one = |pipeline: u32, at, value| -> [u32; 6] {
        let [at, value, x, y, z] = addition(at, value, 1);
        [pipeline, at, value, x, y, z]
    };
    let data = [one(1, 0, 5), one(0, 8, 6), one(1, 16, 7)];
    for second in &choices[1..] {
        let write = types::SetWrite::new(1, *second);
        (generated.update_set)(device, chosen, 1, &write);
        let none = types::PipelineInfo::new(vk::Pipeline::null());
        let info = generated.sequences(COMPUTE, commands, chosen, &none, &data, 3);
        gpu.run(|cb| {
            gpu.device.cmd_fill_buffer(cb, words.handle, 0, vk::WHOLE_SIZE, 0);
            barrier_all(&gpu.device, cb);
            gpu.bind_compute(cb, choices[0], layout, &[set], &[]);
            (generated.execute)(cb, vk::FALSE, &info);
            barrier_all(&gpu.device, cb);
        });
        report.words("added", &words.words(24));
    }
}
