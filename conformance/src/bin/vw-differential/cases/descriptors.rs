//! Descriptor sets: every type, and every way to fill them.

use std::mem::size_of;

use ash::{khr, vk};
use vk::DescriptorType as Type;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer, Image, pattern};
use crate::shaders;

const EVERY: [Type; 10] = [
    Type::UNIFORM_BUFFER,
    Type::STORAGE_BUFFER,
    Type::UNIFORM_BUFFER_DYNAMIC,
    Type::STORAGE_BUFFER_DYNAMIC,
    Type::UNIFORM_TEXEL_BUFFER,
    Type::STORAGE_TEXEL_BUFFER,
    Type::SAMPLED_IMAGE,
    Type::SAMPLER,
    Type::COMBINED_IMAGE_SAMPLER,
    Type::STORAGE_IMAGE,
];

/// One resource for each type.
struct Resources {
    buffers: [Buffer; 4],
    texels: Buffer,
    views: [vk::BufferView; 2],
    images: [Image; 4],
    sampler: vk::Sampler,
}

impl Resources {
    unsafe fn new(gpu: &Gpu) -> Self {
        let words = |seed| (0..256).map(|i| pattern(i, seed)).collect::<Vec<u32>>();
        let texels = gpu.buffer_of(&words(50));
        let views = [0; 2].map(|_| {
            let info = vk::BufferViewCreateInfo::default()
                .buffer(texels.handle)
                .format(vk::Format::R32_UINT)
                .range(vk::WHOLE_SIZE);
            let view = gpu.device.create_buffer_view(&info, None).unwrap();
            gpu.later(move |device| device.destroy_buffer_view(view, None));
            view
        });
        Self {
            buffers: [1, 2, 3, 4].map(|seed| gpu.buffer_of(&words(seed))),
            texels,
            views,
            images: [31, 32, 33, 34].map(|seed| gpu.patterned(8, seed)),
            sampler: sampler(gpu),
        }
    }

    unsafe fn show(&self, gpu: &Gpu, report: &Report, result: &Buffer) {
        report.words("read", &result.words(36));
        report.words("storage buffer after", &self.buffers[1].words(4));
        report.words("dynamic storage buffer after", &self.buffers[3].words(68)[60..]);
        report.words("texel buffer after", &self.texels.words(8));
        report.bytes("stored image", &gpu.read_image(&self.images[3], 4, 0, 0));
    }
}

unsafe fn sampler(gpu: &Gpu) -> vk::Sampler {
    let sampler = gpu.device.create_sampler(&vk::SamplerCreateInfo::default(), None).unwrap();
    gpu.later(move |device| device.destroy_sampler(sampler, None));
    sampler
}

/// The layout of [`EVERY`] type; the combined image sampler is an array of two.
unsafe fn layout_of_every(gpu: &Gpu) -> vk::DescriptorSetLayout {
    let bindings: Vec<_> = (0..)
        .zip(EVERY)
        .map(|(binding, kind)| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(binding)
                .descriptor_type(kind)
                .descriptor_count(if kind == Type::COMBINED_IMAGE_SAMPLER { 2 } else { 1 })
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        })
        .collect();
    gpu.set_layout_of(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings))
}

unsafe fn run_every(gpu: &Gpu, layout: vk::DescriptorSetLayout, set: vk::DescriptorSet) -> Buffer {
    let result = gpu.buffer(36 * 4, ANY_USE);
    let (result_layout, result_set) = gpu.storage_set(&[result]);
    let (pipeline, pipeline_layout) = gpu.compute(shaders::ALL_TYPES, &[layout, result_layout]);
    gpu.run(|cb| {
        let point = vk::PipelineBindPoint::COMPUTE;
        gpu.device.cmd_bind_pipeline(cb, point, pipeline);
        gpu.device.cmd_bind_descriptor_sets(cb, point, pipeline_layout, 0, &[set, result_set], &[256, 256]);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    result
}

unsafe fn fill_every(gpu: &Gpu, set: vk::DescriptorSet, resources: &Resources) {
    let buffers = resources
        .buffers
        .map(|buffer| [vk::DescriptorBufferInfo { buffer: buffer.handle, offset: 0, range: 16 }]);
    let image = |i: usize| vk::DescriptorImageInfo {
        sampler: resources.sampler,
        image_view: resources.images[i].view,
        image_layout: vk::ImageLayout::GENERAL,
    };
    let (sampled, combined, stored) = ([image(0)], [image(1), image(2)], [image(3)]);
    // What a sampler's write does not use may be anything.
    let only_sampler = [vk::DescriptorImageInfo { sampler: resources.sampler, ..Default::default() }];
    let write = |binding: usize| {
        vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(binding as u32)
            .descriptor_type(EVERY[binding])
    };
    gpu.device.update_descriptor_sets(
        &[
            write(0).buffer_info(&buffers[0]),
            write(1).buffer_info(&buffers[1]),
            write(2).buffer_info(&buffers[2]),
            write(3).buffer_info(&buffers[3]),
            write(4).texel_buffer_view(&resources.views[..1]),
            write(5).texel_buffer_view(&resources.views[1..]),
            write(6).image_info(&sampled),
            write(7).image_info(&only_sampler),
            write(8).image_info(&combined),
            write(9).image_info(&stored),
        ],
        &[],
    );
}

pub(super) unsafe fn every_type(gpu: &Gpu, report: &Report) {
    let resources = Resources::new(gpu);
    let layout = layout_of_every(gpu);
    let set = gpu.set(layout, &EVERY);
    fill_every(gpu, set, &resources);
    let result = run_every(gpu, layout, set);
    resources.show(gpu, report, &result);
}

/// The same set filled by an update template from one block of memory.
pub(super) unsafe fn templates(gpu: &Gpu, report: &Report) {
    #[repr(C)]
    struct Data {
        buffers: [vk::DescriptorBufferInfo; 4],
        views: [vk::BufferView; 2],
        images: [vk::DescriptorImageInfo; 5],
    }
    let resources = Resources::new(gpu);
    let layout = layout_of_every(gpu);
    let set = gpu.set(layout, &EVERY);
    let image = |i: usize| vk::DescriptorImageInfo {
        sampler: resources.sampler,
        image_view: resources.images[i].view,
        image_layout: vk::ImageLayout::GENERAL,
    };
    let data = Data {
        buffers: resources.buffers.map(|b| vk::DescriptorBufferInfo {
            buffer: b.handle,
            offset: 0,
            range: 16,
        }),
        views: resources.views,
        images: [image(0), image(0), image(1), image(2), image(3)],
    };
    let entry = |binding: u32, count: u32, offset: usize, stride: usize| vk::DescriptorUpdateTemplateEntry {
        dst_binding: binding,
        dst_array_element: 0,
        descriptor_count: count,
        descriptor_type: EVERY[binding as usize],
        offset,
        stride,
    };
    let (buffer, view, picture) = (
        size_of::<vk::DescriptorBufferInfo>(),
        size_of::<vk::BufferView>(),
        size_of::<vk::DescriptorImageInfo>(),
    );
    let (views, images) = (std::mem::offset_of!(Data, views), std::mem::offset_of!(Data, images));
    let entries = [
        entry(0, 1, 0, buffer),
        entry(1, 1, buffer, buffer),
        entry(2, 1, 2 * buffer, buffer),
        entry(3, 1, 3 * buffer, buffer),
        entry(4, 1, views, view),
        entry(5, 1, views + view, view),
        entry(6, 1, images, picture),
        entry(7, 1, images + picture, picture),
        entry(8, 2, images + 2 * picture, picture),
        entry(9, 1, images + 4 * picture, picture),
    ];
    let info = vk::DescriptorUpdateTemplateCreateInfo::default()
        .descriptor_update_entries(&entries)
        .template_type(vk::DescriptorUpdateTemplateType::DESCRIPTOR_SET)
        .descriptor_set_layout(layout);
    let template = gpu.device.create_descriptor_update_template(&info, None).unwrap();
    gpu.device.update_descriptor_set_with_template(set, template, (&raw const data).cast());
    let result = run_every(gpu, layout, set);
    resources.show(gpu, report, &result);
    gpu.device.destroy_descriptor_update_template(template, None);
}

pub(super) unsafe fn copies(gpu: &Gpu, report: &Report) {
    let resources = Resources::new(gpu);
    let layout = layout_of_every(gpu);
    let (first, second) = (gpu.set(layout, &EVERY), gpu.set(layout, &EVERY));
    fill_every(gpu, first, &resources);
    let copies: Vec<_> = (0..EVERY.len() as u32)
        .map(|binding| {
            vk::CopyDescriptorSet::default()
                .src_set(first)
                .src_binding(binding)
                .dst_set(second)
                .dst_binding(binding)
                .descriptor_count(if binding == 8 { 2 } else { 1 })
        })
        .collect();
    gpu.device.update_descriptor_sets(&[], &copies);
    let result = run_every(gpu, layout, second);
    resources.show(gpu, report, &result);
}

/// Sets taken, given back and taken again; more than the pool holds is refused.
pub(super) unsafe fn pools(gpu: &Gpu, report: &Report) {
    let layout = gpu.set_layout(&[Type::STORAGE_BUFFER]);
    let free = vk::DescriptorPoolCreateFlags::FREE_DESCRIPTOR_SET;
    let pool = gpu.descriptor_pool(&[Type::STORAGE_BUFFER], 8, 8, free);
    let allocate = |count: usize| {
        let layouts = vec![layout; count];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
        gpu.device.allocate_descriptor_sets(&info)
    };
    let sets = allocate(8).unwrap();
    report.debug("freed", gpu.device.free_descriptor_sets(pool, &sets[2..5]));
    report.debug("again", allocate(3).map(|sets| sets.len()));
    report.debug("reset", gpu.device.reset_descriptor_pool(pool, vk::DescriptorPoolResetFlags::empty()));
    for round in 0..20 {
        let sets = allocate(8).map(|sets| sets.len());
        if sets != Ok(8) {
            report.debug(&format!("round {round}"), sets);
        }
        gpu.device.reset_descriptor_pool(pool, vk::DescriptorPoolResetFlags::empty()).unwrap();
    }
    let sets = allocate(8).unwrap();
    let buffers: Vec<_> = (0..8).map(|_| gpu.buffer(256, ANY_USE)).collect();
    for (set, buffer) in sets.iter().zip(&buffers) {
        gpu.write_buffer(*set, 0, Type::STORAGE_BUFFER, buffer.whole());
    }
    for (i, (set, buffer)) in (0u32..).zip(sets.iter().zip(&buffers)) {
        gpu.dispatch(shaders::FILL, &[(layout, *set)], bytemuck::cast_slice(&[i * 100, i, 64]), [1, 1, 1]);
        report.bytes(&format!("set {i}"), &buffer.read());
    }
    report.debug("ninth", allocate(1).map(|sets| sets.len()));
}

pub(super) unsafe fn push_descriptors(gpu: &Gpu, report: &Report) {
    if !gpu.has(khr::push_descriptor::NAME) {
        report.line("push descriptors", "not offered");
        return;
    }
    let functions = khr::push_descriptor::Device::new(&gpu.instance, &gpu.device);
    let bindings = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(Type::STORAGE_BUFFER)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)];
    let info = vk::DescriptorSetLayoutCreateInfo::default()
        .flags(vk::DescriptorSetLayoutCreateFlags::PUSH_DESCRIPTOR_KHR)
        .bindings(&bindings);
    let set_layout = gpu.set_layout_of(&info);
    let (pipeline, layout) = gpu.compute(shaders::FILL, &[set_layout]);
    let buffers = [gpu.buffer(256, ANY_USE), gpu.buffer(256, ANY_USE)];
    let entries = [vk::DescriptorUpdateTemplateEntry {
        descriptor_count: 1,
        descriptor_type: Type::STORAGE_BUFFER,
        stride: size_of::<vk::DescriptorBufferInfo>(),
        ..Default::default()
    }];
    let info = vk::DescriptorUpdateTemplateCreateInfo::default()
        .descriptor_update_entries(&entries)
        .template_type(vk::DescriptorUpdateTemplateType::PUSH_DESCRIPTORS_KHR)
        .pipeline_bind_point(vk::PipelineBindPoint::COMPUTE)
        .pipeline_layout(layout);
    let template = gpu.device.create_descriptor_update_template(&info, None).unwrap();
    gpu.run(|cb| {
        let point = vk::PipelineBindPoint::COMPUTE;
        gpu.bind_compute(cb, pipeline, layout, &[], bytemuck::cast_slice(&[7u32, 3, 64]));
        let infos = [buffers[0].whole()];
        let write =
            vk::WriteDescriptorSet::default().descriptor_type(Type::STORAGE_BUFFER).buffer_info(&infos);
        functions.cmd_push_descriptor_set(cb, point, layout, 0, &[write]);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        let info = buffers[1].whole();
        functions.cmd_push_descriptor_set_with_template(cb, template, layout, 0, (&raw const info).cast());
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    report.bytes("pushed", &buffers[0].read());
    report.bytes("pushed by template", &buffers[1].read());
    gpu.device.destroy_descriptor_update_template(template, None);
}

/// An array of buffers, part of it bound, changed after the set was bound; its length is chosen at allocation.
unsafe fn indexed(gpu: &Gpu, report: &Report, variable: bool) {
    if !gpu.indexing.update_after_bind || variable && !gpu.indexing.variable_count {
        report.line("descriptor indexing", "not offered");
        return;
    }
    let flag = vk::DescriptorBindingFlags::UPDATE_AFTER_BIND | vk::DescriptorBindingFlags::PARTIALLY_BOUND;
    let last = if variable { flag | vk::DescriptorBindingFlags::VARIABLE_DESCRIPTOR_COUNT } else { flag };
    let flags = [flag, last];
    let binding = |binding, count| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(binding)
            .descriptor_type(Type::STORAGE_BUFFER)
            .descriptor_count(count)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let bindings = [binding(0, 1), binding(1, 16)];
    let mut info = vk::DescriptorSetLayoutBindingFlagsCreateInfo::default().binding_flags(&flags);
    let info = vk::DescriptorSetLayoutCreateInfo::default()
        .bindings(&bindings)
        .flags(vk::DescriptorSetLayoutCreateFlags::UPDATE_AFTER_BIND_POOL)
        .push_next(&mut info);
    let layout = gpu.set_layout_of(&info);
    let pool =
        gpu.descriptor_pool(&[Type::STORAGE_BUFFER], 20, 1, vk::DescriptorPoolCreateFlags::UPDATE_AFTER_BIND);
    let (layouts, counts) = ([layout], [5]);
    let mut count =
        vk::DescriptorSetVariableDescriptorCountAllocateInfo::default().descriptor_counts(&counts);
    let mut info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    if variable {
        info = info.push_next(&mut count);
    }
    let set = gpu.device.allocate_descriptor_sets(&info).unwrap()[0];
    let result = gpu.buffer(32, ANY_USE);
    let sources =
        [10, 20, 30].map(|seed| gpu.buffer_of(&(0..8).map(|i| pattern(i, seed)).collect::<Vec<_>>()));
    let (pipeline, pipeline_layout) = gpu.compute(shaders::INDEXED, &[layout]);
    let cb = gpu.record(vk::CommandBufferUsageFlags::empty(), |cb| {
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[set], &[]);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    // After binding, in two steps.
    gpu.write_buffer(set, 0, Type::STORAGE_BUFFER, result.whole());
    let infos = sources.map(|source| source.whole());
    let write = vk::WriteDescriptorSet::default()
        .dst_set(set)
        .dst_binding(1)
        .descriptor_type(Type::STORAGE_BUFFER)
        .buffer_info(&infos);
    gpu.device.update_descriptor_sets(&[write], &[]);
    gpu.submit_and_wait(cb);
    report.words("picked", &result.words(8));
}

pub(super) unsafe fn update_after_bind(gpu: &Gpu, report: &Report) {
    indexed(gpu, report, false);
}

pub(super) unsafe fn variable_count(gpu: &Gpu, report: &Report) {
    indexed(gpu, report, true);
}

pub(super) unsafe fn immutable_samplers(gpu: &Gpu, report: &Report) {
    let image = gpu.patterned(16, 61);
    let samplers = [sampler(gpu)];
    let binding = vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(Type::COMBINED_IMAGE_SAMPLER)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .immutable_samplers(&samplers);
    let result_binding = vk::DescriptorSetLayoutBinding::default()
        .binding(1)
        .descriptor_type(Type::STORAGE_BUFFER)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE);
    let bindings = [binding, result_binding];
    let layout = gpu.set_layout_of(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings));
    let set = gpu.set(layout, &[Type::COMBINED_IMAGE_SAMPLER, Type::STORAGE_BUFFER]);
    let result = gpu.buffer(16 * 16 * 16, ANY_USE);
    // The sampler of the write is ignored.
    gpu.write_image(set, 0, Type::COMBINED_IMAGE_SAMPLER, image.view, vk::Sampler::null());
    gpu.write_buffer(set, 1, Type::STORAGE_BUFFER, result.whole());
    gpu.dispatch(shaders::SAMPLE, &[(layout, set)], bytemuck::cast_slice(&[1.0f32, 0.0]), [2, 2, 1]);
    report.bytes("sampled", &result.read());
}

pub(super) unsafe fn support(gpu: &Gpu, report: &Report) {
    for count in [1, 100, 1_000_000] {
        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(Type::STORAGE_BUFFER)
            .descriptor_count(count)
            .stage_flags(vk::ShaderStageFlags::ALL)];
        let mut found = vk::DescriptorSetLayoutSupport::default();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        gpu.device.get_descriptor_set_layout_support(&info, &mut found);
        report.line(&format!("{count}"), found.supported);
    }
}
