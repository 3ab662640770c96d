//! Accesses outside of what is bound, and to what is not there: allowed, harmless, and the same everywhere on one driver.

use ash::vk;
use vk::DescriptorType as Type;

use crate::gpu::Gpu;
use crate::graphics::{Mesh, State};
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer, Image, plain};
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
    // Sizes that are less than the buffers': the last three vertices are outside.
    let target = gpu.target();
    gpu.render(&target, None, |cb| {
        gpu.bind_graphics(cb, pipeline);
        let buffers = [mesh.vertices.handle, mesh.offsets.handle];
        gpu.device.cmd_bind_vertex_buffers2(cb, 0, &buffers, &[0, 0], Some(&[6 * 28, 8]), None);
        gpu.device.cmd_draw(cb, 9, 2, 0, 0);
    });
    gpu.show(report, "sized", &target);
    report.debug("device", gpu.device.device_wait_idle());
}

const TYPES: [Type; 7] = [
    Type::COMBINED_IMAGE_SAMPLER,
    Type::STORAGE_IMAGE,
    Type::UNIFORM_TEXEL_BUFFER,
    Type::STORAGE_TEXEL_BUFFER,
    Type::UNIFORM_BUFFER,
    Type::STORAGE_BUFFER,
    Type::STORAGE_BUFFER,
];

/// A resource of each type, 16 texels or 64 bytes long.
struct Resources {
    images: [Image; 2],
    texels: [vk::BufferView; 2],
    buffers: [Buffer; 4],
    sampler: vk::Sampler,
    result: Buffer,
}

impl Resources {
    unsafe fn new(gpu: &Gpu) -> Self {
        let buffers = [1u32, 2, 3, 4].map(|seed| gpu.buffer_of(&[seed * 0x0101_0101; 16]));
        let texels = [buffers[0], buffers[1]].map(|buffer| {
            let info = vk::BufferViewCreateInfo::default()
                .buffer(buffer.handle)
                .format(vk::Format::R8G8B8A8_UNORM)
                .range(64);
            let view = gpu.device.create_buffer_view(&info, None).unwrap();
            gpu.later(move |device| device.destroy_buffer_view(view, None));
            view
        });
        let sampler = gpu.device.create_sampler(&vk::SamplerCreateInfo::default(), None).unwrap();
        gpu.later(move |device| device.destroy_sampler(sampler, None));
        let images = [gpu.patterned(16, 5), gpu.patterned(16, 6)];
        Self { images, texels, buffers, sampler, result: gpu.buffer(128, ANY_USE) }
    }

    /// A set of all; those of the types in `missing` are null.
    unsafe fn set(&self, gpu: &Gpu, missing: &[Type]) -> (vk::DescriptorSetLayout, vk::DescriptorSet) {
        let layout = gpu.set_layout(&TYPES);
        let set = gpu.set(layout, &TYPES[..6]);
        let there = |kind: Type| !missing.contains(&kind);
        for ((binding, image), kind) in (0..).zip(&self.images).zip(&TYPES[..2]) {
            let view = if there(*kind) { image.view } else { vk::ImageView::null() };
            gpu.write_image(set, binding, *kind, view, self.sampler);
        }
        for ((binding, view), kind) in (2..).zip(self.texels).zip(&TYPES[2..4]) {
            let views = [if there(*kind) { view } else { vk::BufferView::null() }];
            let write = vk::WriteDescriptorSet::default()
                .dst_set(set)
                .dst_binding(binding)
                .descriptor_type(*kind)
                .texel_buffer_view(&views);
            gpu.device.update_descriptor_sets(&[write], &[]);
        }
        for ((binding, buffer), kind) in (4..).zip(&self.buffers[2..]).zip(&TYPES[4..6]) {
            let nothing = vk::DescriptorBufferInfo { range: vk::WHOLE_SIZE, ..Default::default() };
            gpu.write_buffer(set, binding, *kind, if there(*kind) { buffer.whole() } else { nothing });
        }
        gpu.write_buffer(set, 6, Type::STORAGE_BUFFER, self.result.whole());
        (layout, set)
    }

    /// What a shader finds at an index.
    unsafe fn look(
        &self,
        gpu: &Gpu,
        report: &Report,
        label: &str,
        set: (vk::DescriptorSetLayout, vk::DescriptorSet),
        at: i32,
    ) {
        self.result.write(0, &[0xeeu8; 128]);
        gpu.dispatch(shaders::OUTSIDE, &[set], bytemuck::cast_slice(&[at]), [1, 1, 1]);
        let names = [
            "sampled",
            "stored",
            "texels",
            "stored texels",
            "uniforms",
            "sizes of buffers",
            "sizes of images",
        ];
        for (name, words) in names.into_iter().zip(self.result.words(28).chunks(4)) {
            report.words(&format!("{label}, {name}"), words);
        }
    }

    /// What the stores of the shader left.
    unsafe fn left(&self, gpu: &Gpu, report: &Report) {
        for (i, buffer) in self.buffers.iter().enumerate() {
            report.bytes(&format!("buffer {i} at the end"), &buffer.read());
        }
        for (i, image) in self.images.iter().enumerate() {
            gpu.show(report, &format!("image {i} at the end"), image);
        }
    }
}

unsafe fn offered(gpu: &Gpu, report: &Report) -> bool {
    let features = &gpu.more.robustness2;
    let offered = features.null_descriptor != 0
        && features.robust_buffer_access2 != 0
        && features.robust_image_access2 != 0;
    if !offered {
        report.line("robustness2", "not offered");
    }
    offered
}

/// Indices within and without, before the beginning too, of every type of descriptor.
pub(super) unsafe fn outside_of_descriptors(gpu: &Gpu, report: &Report) {
    if !offered(gpu, report) {
        return;
    }
    let resources = Resources::new(gpu);
    let set = resources.set(gpu, &[]);
    for at in [2, 15, 16, 100, 0x00ff_ffff, i32::MAX, -1, i32::MIN] {
        resources.look(gpu, report, &format!("at {at}"), set, at);
    }
    resources.left(gpu, report);
}

/// Nothing at all behind a descriptor, one type after the other, then all.
pub(super) unsafe fn null_descriptors(gpu: &Gpu, report: &Report) {
    if !offered(gpu, report) {
        return;
    }
    let resources = Resources::new(gpu);
    for kind in &TYPES[..5] {
        let set = resources.set(gpu, &[*kind]);
        resources.look(gpu, report, &format!("no {kind:?}"), set, 1);
    }
    let set = resources.set(gpu, &TYPES);
    for at in [0, 1, 16, -1] {
        resources.look(gpu, report, &format!("nothing, at {at}"), set, at);
    }
    resources.left(gpu, report);
}

/// Null among the vertex buffers.
pub(super) unsafe fn null_vertices(gpu: &Gpu, report: &Report) {
    if !offered(gpu, report) {
        return;
    }
    let pipeline = State::mesh().build(gpu, gpu.pipeline_layout(&[]));
    let mesh = Mesh::triangles(gpu);
    for (label, buffers) in [
        ("no offsets", [mesh.vertices.handle, vk::Buffer::null()]),
        ("no vertices", [vk::Buffer::null(), mesh.offsets.handle]),
        ("nothing", [vk::Buffer::null(); 2]),
    ] {
        for sized in [false, true] {
            let target = gpu.target();
            gpu.render(&target, None, |cb| {
                gpu.bind_graphics(cb, pipeline);
                if sized {
                    let sizes =
                        buffers.map(|buffer| if buffer == vk::Buffer::null() { vk::WHOLE_SIZE } else { 32 });
                    gpu.device.cmd_bind_vertex_buffers2(cb, 0, &buffers, &[0, 0], Some(&sizes), None);
                } else {
                    gpu.device.cmd_bind_vertex_buffers(cb, 0, &buffers, &[0, 0]);
                }
                gpu.device.cmd_draw(cb, 9, 2, 0, 0);
            });
            gpu.show(report, &format!("{label}, sized {sized}"), &target);
        }
    }
}

/// A descriptor of a part of a buffer ends where the part does; what is behind it is not touched.
pub(super) unsafe fn parts_of_buffers(gpu: &Gpu, report: &Report) {
    if !offered(gpu, report) {
        return;
    }
    let (whole, result) = (gpu.buffer(1024, ANY_USE), gpu.buffer(64, ANY_USE));
    whole.write(0, &[9u32; 256]);
    let (layout, set) = gpu.storage_set(&[whole, result]);
    let part = vk::DescriptorBufferInfo { buffer: whole.handle, offset: 256, range: 64 };
    gpu.write_buffer(set, 0, Type::STORAGE_BUFFER, part);
    for beyond in [15u32, 16, 64, 0x3fff_ffff, !0] {
        gpu.dispatch(shaders::ROBUST, &[(layout, set)], bytemuck::cast_slice(&[beyond]), [1, 1, 1]);
        report.words(&format!("{beyond:x}"), &result.words(2));
    }
    report.bytes("the buffer", &whole.read());
}

/// Images of one texel, whose every neighbour is outside.
pub(super) unsafe fn smallest_images(gpu: &Gpu, report: &Report) {
    if !offered(gpu, report) {
        return;
    }
    let mut resources = Resources::new(gpu);
    let usage = vk::ImageUsageFlags::SAMPLED
        | vk::ImageUsageFlags::STORAGE
        | vk::ImageUsageFlags::TRANSFER_SRC
        | vk::ImageUsageFlags::TRANSFER_DST;
    for image in &mut resources.images {
        *image = gpu.image(&plain(vk::Format::R8G8B8A8_UNORM, 1, usage));
        gpu.fill_image(image, &gpu.buffer_of(&[0xdead_beefu32]));
    }
    let set = resources.set(gpu, &[]);
    for at in [0, 1, 7] {
        resources.look(gpu, report, &format!("at {at}"), set, at);
    }
    resources.left(gpu, report);
}
