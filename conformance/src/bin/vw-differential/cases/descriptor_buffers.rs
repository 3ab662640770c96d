//! Descriptors in the program's own buffers, and descriptors that change their type.

use ash::{ext, khr, vk};
use vk::DescriptorType as Type;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer, pattern};
use crate::shaders;

const FLAG: vk::DescriptorSetLayoutCreateFlags = vk::DescriptorSetLayoutCreateFlags::DESCRIPTOR_BUFFER_EXT;

struct Descriptors<'a> {
    gpu: &'a Gpu,
    functions: ext::descriptor_buffer::Device,
    properties: vk::PhysicalDeviceDescriptorBufferPropertiesEXT<'static>,
}

impl<'a> Descriptors<'a> {
    unsafe fn new(gpu: &'a Gpu, report: &Report) -> Option<Self> {
        if gpu.more.descriptor_buffer.descriptor_buffer == 0 {
            report.line("descriptor buffers", "not offered");
            return None;
        }
        let mut properties = vk::PhysicalDeviceDescriptorBufferPropertiesEXT::default();
        let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut properties);
        gpu.instance.get_physical_device_properties2(gpu.physical, &mut all);
        let functions = ext::descriptor_buffer::Device::new(&gpu.instance, &gpu.device);
        Some(Self { gpu, functions, properties })
    }

    unsafe fn layout(
        &self,
        bindings: &[vk::DescriptorSetLayoutBinding<'_>],
        more: vk::DescriptorSetLayoutCreateFlags,
    ) -> vk::DescriptorSetLayout {
        self.gpu.set_layout_of(
            &vk::DescriptorSetLayoutCreateInfo::default().flags(FLAG | more).bindings(bindings),
        )
    }

    unsafe fn address(&self, buffer: &Buffer) -> vk::DeviceAddress {
        let info = vk::BufferDeviceAddressInfo::default().buffer(buffer.handle);
        self.gpu.device.get_buffer_device_address(&info)
    }

    /// Puts a descriptor of a storage buffer at an offset of a buffer.
    unsafe fn put(&self, place: &Buffer, offset: u64, buffer: &Buffer) {
        let info = vk::DescriptorAddressInfoEXT::default().address(self.address(buffer)).range(buffer.size);
        let get = vk::DescriptorGetInfoEXT::default()
            .ty(Type::STORAGE_BUFFER)
            .data(vk::DescriptorDataEXT { p_storage_buffer: &info });
        let size = if self.gpu.features.robust_buffer_access != 0 {
            self.properties.robust_storage_buffer_descriptor_size
        } else {
            self.properties.storage_buffer_descriptor_size
        };
        let mut bytes = vec![0; size];
        self.functions.get_descriptor(&get, &mut bytes);
        place.write(offset as usize, &bytes);
    }

    unsafe fn pipeline(
        &self,
        code: &[u8],
        layouts: &[vk::DescriptorSetLayout],
    ) -> (vk::Pipeline, vk::PipelineLayout) {
        let layout = self.gpu.pipeline_layout(layouts);
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(shaders::module(self.gpu, code))
            .name(c"main");
        let info = vk::ComputePipelineCreateInfo::default()
            .flags(vk::PipelineCreateFlags::DESCRIPTOR_BUFFER_EXT)
            .layout(layout)
            .stage(stage);
        (self.gpu.compute_of(&info, vk::PipelineCache::null()), layout)
    }
}

fn binding(binding: u32, ty: Type) -> vk::DescriptorSetLayoutBinding<'static> {
    vk::DescriptorSetLayoutBinding::default()
        .binding(binding)
        .descriptor_type(ty)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
}

fn usage() -> vk::BufferUsageFlags {
    ANY_USE
        | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
        | vk::BufferUsageFlags::RESOURCE_DESCRIPTOR_BUFFER_EXT
        | vk::BufferUsageFlags::SAMPLER_DESCRIPTOR_BUFFER_EXT
}

/// Two sets in one buffer, chosen by offset, in both versions of the command.
pub(super) unsafe fn offsets(gpu: &Gpu, report: &Report) {
    let Some(descriptors) = Descriptors::new(gpu, report) else { return };
    let functions = &descriptors.functions;
    let layout = descriptors.layout(&[binding(0, Type::STORAGE_BUFFER)], Default::default());
    let size = functions.get_descriptor_set_layout_size(layout);
    let at = functions.get_descriptor_set_layout_binding_offset(layout, 0);
    report.line("size and offset", format!("{size} {at}"));
    let align = descriptors.properties.descriptor_buffer_offset_alignment.max(1);
    let stride = size.next_multiple_of(align);
    let place = gpu.buffer(stride * 2, usage());
    let targets = [gpu.buffer(256, usage()), gpu.buffer(256, usage())];
    for (i, target) in (0..).zip(&targets) {
        descriptors.put(&place, i * stride + at, target);
    }
    let (pipeline, pipeline_layout) = descriptors.pipeline(shaders::FILL, &[layout]);
    let second = gpu.more.maintenance6.maintenance6 != 0;
    let sixth = khr::maintenance6::Device::new(&gpu.instance, &gpu.device);
    gpu.run(|cb| {
        let point = vk::PipelineBindPoint::COMPUTE;
        gpu.bind_compute(cb, pipeline, pipeline_layout, &[], bytemuck::cast_slice(&[5u32, 7, 64]));
        let info =
            vk::DescriptorBufferBindingInfoEXT::default().address(descriptors.address(&place)).usage(usage());
        functions.cmd_bind_descriptor_buffers(cb, &[info]);
        functions.cmd_set_descriptor_buffer_offsets(cb, point, pipeline_layout, 0, &[0], &[0]);
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        if second {
            let (indices, offsets) = ([0], [stride]);
            let mut info = vk::SetDescriptorBufferOffsetsInfoEXT::default()
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
                .layout(pipeline_layout)
                .buffer_indices(&indices)
                .offsets(&offsets);
            info.set_count = 1;
            (sixth.fp().cmd_set_descriptor_buffer_offsets2_ext)(cb, &info);
        } else {
            functions.cmd_set_descriptor_buffer_offsets(cb, point, pipeline_layout, 0, &[0], &[stride]);
        }
        gpu.device.cmd_dispatch(cb, 1, 1, 1);
        barrier_all(&gpu.device, cb);
    });
    for target in targets {
        report.bytes("filled", &target.read());
    }
}

/// A set of samplers that are part of their layout, beside a descriptor buffer. The shader does not sample: lavapipe
/// 25.0 crashes when one does.
pub(super) unsafe fn embedded_samplers(gpu: &Gpu, report: &Report) {
    let Some(descriptors) = Descriptors::new(gpu, report) else { return };
    let sampler = gpu.device.create_sampler(&vk::SamplerCreateInfo::default(), None).unwrap();
    gpu.later(move |device| device.destroy_sampler(sampler, None));
    let samplers = [sampler];
    let immutable = [binding(0, Type::SAMPLER).immutable_samplers(&samplers)];
    let embedded = vk::DescriptorSetLayoutCreateFlags::EMBEDDED_IMMUTABLE_SAMPLERS_EXT;
    let sampler_layout = descriptors.layout(&immutable, embedded);
    let layout = descriptors.layout(&[binding(0, Type::STORAGE_BUFFER)], Default::default());
    let functions = &descriptors.functions;
    let place = gpu.buffer(functions.get_descriptor_set_layout_size(layout).max(16), usage());
    let result = gpu.buffer(256, usage());
    descriptors.put(&place, functions.get_descriptor_set_layout_binding_offset(layout, 0), &result);
    let (pipeline, pipeline_layout) = descriptors.pipeline(shaders::FILL, &[layout, sampler_layout]);
    let second = gpu.more.maintenance6.maintenance6 != 0;
    let sixth = khr::maintenance6::Device::new(&gpu.instance, &gpu.device);
    for round in 0..=u32::from(second) {
        gpu.run(|cb| {
            let point = vk::PipelineBindPoint::COMPUTE;
            gpu.bind_compute(cb, pipeline, pipeline_layout, &[], bytemuck::cast_slice(&[round, 9, 64]));
            let info = vk::DescriptorBufferBindingInfoEXT::default()
                .address(descriptors.address(&place))
                .usage(usage());
            functions.cmd_bind_descriptor_buffers(cb, &[info]);
            functions.cmd_set_descriptor_buffer_offsets(cb, point, pipeline_layout, 0, &[0], &[0]);
            if round == 0 {
                let bind = functions.fp().cmd_bind_descriptor_buffer_embedded_samplers_ext;
                bind(cb, point, pipeline_layout, 1);
            } else {
                let info = vk::BindDescriptorBufferEmbeddedSamplersInfoEXT::default()
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
                    .layout(pipeline_layout)
                    .set(1);
                (sixth.fp().cmd_bind_descriptor_buffer_embedded_samplers2_ext)(cb, &info);
            }
            gpu.device.cmd_dispatch(cb, 1, 1, 1);
            barrier_all(&gpu.device, cb);
        });
        report.bytes(&format!("filled {round}"), &result.read());
    }
}

/// One binding that is a storage buffer first and a uniform buffer then.
pub(super) unsafe fn mutable(gpu: &Gpu, report: &Report) {
    if gpu.more.mutable_descriptors.mutable_descriptor_type == 0 {
        report.line("mutable descriptors", "not offered");
        return;
    }
    let either = [Type::STORAGE_BUFFER, Type::UNIFORM_BUFFER];
    let lists = [
        vk::MutableDescriptorTypeListEXT::default().descriptor_types(&either),
        vk::MutableDescriptorTypeListEXT::default(),
    ];
    let mut types = vk::MutableDescriptorTypeCreateInfoEXT::default().mutable_descriptor_type_lists(&lists);
    let bindings = [binding(0, Type::MUTABLE_EXT), binding(1, Type::STORAGE_BUFFER)];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings).push_next(&mut types);
    let mut found = vk::DescriptorSetLayoutSupport::default();
    gpu.device.get_descriptor_set_layout_support(&info, &mut found);
    report.line("supported", found.supported);
    let layout = gpu.set_layout_of(&info);
    let mut types =
        vk::MutableDescriptorTypeCreateInfoEXT::default().mutable_descriptor_type_lists(&lists[..1]);
    let size = |ty| vk::DescriptorPoolSize { ty, descriptor_count: 4 };
    let sizes = [size(Type::MUTABLE_EXT), size(Type::STORAGE_BUFFER)];
    let info = vk::DescriptorPoolCreateInfo::default().max_sets(2).pool_sizes(&sizes).push_next(&mut types);
    let pool = gpu.device.create_descriptor_pool(&info, None).unwrap();
    gpu.later(move |device| device.destroy_descriptor_pool(pool, None));
    let layouts = [layout, layout];
    let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    let sets = gpu.device.allocate_descriptor_sets(&info).unwrap();
    let source = gpu.buffer_of(&(0..64).map(|i| pattern(i, 8)).collect::<Vec<u32>>());
    let result = gpu.buffer(256, ANY_USE);
    for (i, kind) in either.into_iter().enumerate() {
        gpu.write_buffer(sets[0], 0, kind, source.whole());
        gpu.write_buffer(sets[0], 1, Type::STORAGE_BUFFER, result.whole());
        // Copies carry the type along.
        let copy = |binding| {
            let copy = vk::CopyDescriptorSet::default().src_set(sets[0]).dst_set(sets[1]);
            copy.src_binding(binding).dst_binding(binding).descriptor_count(1)
        };
        gpu.device.update_descriptor_sets(&[], &[copy(0), copy(1)]);
        let code = [shaders::ROBUST, shaders::UNIFORM][i];
        gpu.dispatch(code, &[(layout, sets[1])], bytemuck::cast_slice(&[3u32]), [1, 1, 1]);
        report.words(&format!("{kind:?}"), &result.words(4));
    }
}
