//! Inline uniform blocks: descriptors that are the data itself.

use ash::vk;
use vk::DescriptorType as Type;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer};
use crate::shaders;

/// The size of a block in bytes.
const SIZE: u32 = 32;

/// Sets of a block and the buffer that a shader copies it to.
struct Blocks {
    layout: vk::DescriptorSetLayout,
    sets: Vec<vk::DescriptorSet>,
    results: Vec<Buffer>,
}

impl Blocks {
    unsafe fn new(gpu: &Gpu, count: u32, update_after_bind: bool) -> Self {
        let kinds = [(Type::INLINE_UNIFORM_BLOCK, SIZE), (Type::STORAGE_BUFFER, 1)];
        let bindings: Vec<_> = (0..)
            .zip(kinds)
            .map(|(binding, (kind, count))| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(kind)
                    .descriptor_count(count)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let mut info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        let flags = [vk::DescriptorBindingFlags::UPDATE_AFTER_BIND, vk::DescriptorBindingFlags::empty()];
        let mut flags = vk::DescriptorSetLayoutBindingFlagsCreateInfo::default().binding_flags(&flags);
        let mut pool_flags = vk::DescriptorPoolCreateFlags::empty();
        if update_after_bind {
            info =
                info.flags(vk::DescriptorSetLayoutCreateFlags::UPDATE_AFTER_BIND_POOL).push_next(&mut flags);
            pool_flags = vk::DescriptorPoolCreateFlags::UPDATE_AFTER_BIND;
        }
        let layout = gpu.set_layout_of(&info);
        let sizes = kinds.map(|(ty, each)| vk::DescriptorPoolSize { ty, descriptor_count: each * count });
        let mut inline = vk::DescriptorPoolInlineUniformBlockCreateInfo::default()
            .max_inline_uniform_block_bindings(count);
        let info = vk::DescriptorPoolCreateInfo::default()
            .flags(pool_flags)
            .max_sets(count)
            .pool_sizes(&sizes)
            .push_next(&mut inline);
        let pool = gpu.device.create_descriptor_pool(&info, None).unwrap();
        gpu.later(move |device| device.destroy_descriptor_pool(pool, None));
        let layouts = vec![layout; count as usize];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
        let sets = gpu.device.allocate_descriptor_sets(&info).unwrap();
        let results: Vec<_> = sets.iter().map(|_| gpu.buffer(SIZE.into(), ANY_USE)).collect();
        for (set, result) in sets.iter().zip(&results) {
            gpu.write_buffer(*set, 1, Type::STORAGE_BUFFER, result.whole());
        }
        Self { layout, sets, results }
    }

    /// Writes a part of a block.
    unsafe fn write(&self, gpu: &Gpu, set: usize, offset: u32, data: &[u8]) {
        let mut block = vk::WriteDescriptorSetInlineUniformBlock::default().data(data);
        let mut write = vk::WriteDescriptorSet::default()
            .dst_set(self.sets[set])
            .dst_array_element(offset)
            .descriptor_type(Type::INLINE_UNIFORM_BLOCK)
            .push_next(&mut block);
        write.descriptor_count = data.len() as u32;
        gpu.device.update_descriptor_sets(&[write], &[]);
    }

    /// What a shader sees.
    unsafe fn show(&self, gpu: &Gpu, report: &Report, label: &str, set: usize) {
        gpu.dispatch(shaders::INLINE_BLOCK, &[(self.layout, self.sets[set])], &[], [1, 1, 1]);
        report.words(label, &self.results[set].words(8));
    }
}

fn bytes(from: u8) -> Vec<u8> {
    (from..).take(SIZE as usize).collect()
}

/// The whole at once, then parts.
pub(super) unsafe fn written(gpu: &Gpu, report: &Report) {
    let blocks = Blocks::new(gpu, 1, false);
    blocks.write(gpu, 0, 0, &bytes(1));
    blocks.show(gpu, report, "whole", 0);
    blocks.write(gpu, 0, 8, &[0xaa; 4]);
    blocks.write(gpu, 0, 20, &[0xbb; 12]);
    blocks.show(gpu, report, "parts", 0);
    // By a template, from a structure that begins elsewhere.
    let entries = [vk::DescriptorUpdateTemplateEntry {
        dst_array_element: 4,
        descriptor_count: 24,
        descriptor_type: Type::INLINE_UNIFORM_BLOCK,
        offset: 16,
        ..Default::default()
    }];
    let info = vk::DescriptorUpdateTemplateCreateInfo::default()
        .descriptor_update_entries(&entries)
        .template_type(vk::DescriptorUpdateTemplateType::DESCRIPTOR_SET)
        .descriptor_set_layout(blocks.layout);
    let template = gpu.device.create_descriptor_update_template(&info, None).unwrap();
    let source: Vec<u8> = (100..140).collect();
    gpu.device.update_descriptor_set_with_template(blocks.sets[0], template, source.as_ptr().cast());
    gpu.device.destroy_descriptor_update_template(template, None);
    blocks.show(gpu, report, "by a template", 0);
}

/// From set to set, with parts that begin at different offsets.
pub(super) unsafe fn copied(gpu: &Gpu, report: &Report) {
    let blocks = Blocks::new(gpu, 2, false);
    blocks.write(gpu, 0, 0, &bytes(1));
    blocks.write(gpu, 1, 0, &bytes(101));
    let copy = |from: u32, to: u32, count: u32| {
        vk::CopyDescriptorSet::default()
            .src_set(blocks.sets[0])
            .src_array_element(from)
            .dst_set(blocks.sets[1])
            .dst_array_element(to)
            .descriptor_count(count)
    };
    gpu.device.update_descriptor_sets(&[], &[copy(4, 16, 8), copy(28, 0, 4)]);
    blocks.show(gpu, report, "parts", 1);
    gpu.device.update_descriptor_sets(&[], &[copy(0, 0, SIZE)]);
    blocks.show(gpu, report, "whole", 1);
}

/// Written after the set was bound by what is submitted then, and between two submissions of it.
pub(super) unsafe fn update_after_bind(gpu: &Gpu, report: &Report) {
    if gpu.more.v13.descriptor_binding_inline_uniform_block_update_after_bind == 0 {
        report.line("update after bind", "not offered");
        return;
    }
    let blocks = Blocks::new(gpu, 1, true);
    blocks.write(gpu, 0, 0, &bytes(1));
    let (pipeline, layout) = gpu.compute(shaders::INLINE_BLOCK, &[blocks.layout]);
    let cb = gpu.record(vk::CommandBufferUsageFlags::empty(), |cb| {
        gpu.bind_compute(cb, pipeline, layout, &blocks.sets, &[]);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    blocks.write(gpu, 0, 4, &[0xcc; 8]);
    gpu.submit_and_wait(cb);
    report.words("after binding", &blocks.results[0].words(8));
    blocks.write(gpu, 0, 16, &[0xdd; 4]);
    gpu.submit_and_wait(cb);
    report.words("between submissions", &blocks.results[0].words(8));
}
