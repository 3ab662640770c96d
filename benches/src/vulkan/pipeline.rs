//! Pipelines, of the conformance suite's shaders.

use ash::vk;

use super::Vulkan;
use super::image::FORMAT;

/// A shader of the conformance suite.
macro_rules! shader {
    ($name:literal) => {
        include_bytes!(concat!("../../../conformance/shaders/", $name, ".spv")).as_slice()
    };
}
pub(crate) use shader;

/// A specialisation constant that no shader has: it makes each pipeline another without changing what it does.
pub(crate) struct Constant(pub(crate) u32);

const UNUSED: [vk::SpecializationMapEntry; 1] =
    [vk::SpecializationMapEntry { constant_id: 1000, offset: 0, size: 4 }];

/// What a graphics pipeline is made of.
pub(crate) struct GraphicsPipeline {
    pub(crate) vertex: vk::ShaderModule,
    /// Without one nothing is rasterised.
    pub(crate) fragment: Option<vk::ShaderModule>,
    pub(crate) layout: vk::PipelineLayout,
    /// Positions, colours and offsets from vertex buffers, as `mesh.vert` takes them.
    pub(crate) mesh: bool,
    pub(crate) blend: bool,
    pub(crate) constant: Constant,
}

impl Vulkan {
    /// A shader module of SPIR-V.
    pub(crate) fn module(&self, code: &[u8]) -> vk::ShaderModule {
        let words: Vec<u32> =
            code.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        // SAFETY: a Vulkan call, see the module above.
        unsafe { self.device.create_shader_module(&info, None) }.expect("a shader module")
    }

    /// A pipeline layout with 32 bytes of push constants for all stages, and set layouts.
    pub(crate) fn layout(&self, sets: &[vk::DescriptorSetLayout]) -> vk::PipelineLayout {
        let push = [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::ALL, offset: 0, size: 32 }];
        let info = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&push).set_layouts(sets);
        // SAFETY: a Vulkan call, see the module above.
        unsafe { self.device.create_pipeline_layout(&info, None) }.expect("a pipeline layout")
    }

    /// A layout of a set with one descriptor of a kind, for all stages.
    pub(crate) fn set_layout(&self, kind: vk::DescriptorType) -> vk::DescriptorSetLayout {
        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(kind)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::ALL)];
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: a Vulkan call, see the module above.
        unsafe { self.device.create_descriptor_set_layout(&info, None) }.expect("a set layout")
    }

    /// Descriptor sets of one layout, each with a buffer in its only binding.
    pub(crate) fn sets(
        &self,
        kind: vk::DescriptorType,
        layout: vk::DescriptorSetLayout,
        count: u32,
        buffer: vk::Buffer,
    ) -> Vec<vk::DescriptorSet> {
        let sizes = [vk::DescriptorPoolSize { ty: kind, descriptor_count: count }];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(count).pool_sizes(&sizes);
        // SAFETY: Vulkan calls, see the module above.
        unsafe {
            let pool = self.device.create_descriptor_pool(&info, None).expect("a descriptor pool");
            let layouts = vec![layout; count as usize];
            let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
            let sets = self.device.allocate_descriptor_sets(&info).expect("descriptor sets");
            let buffers = [vk::DescriptorBufferInfo { buffer, offset: 0, range: vk::WHOLE_SIZE }];
            for set in &sets {
                let write = vk::WriteDescriptorSet::default().dst_set(*set).descriptor_type(kind);
                self.device.update_descriptor_sets(&[write.buffer_info(&buffers)], &[]);
            }
            sets
        }
    }

    /// A graphics pipeline for images of [`FORMAT`], viewport and scissor dynamic.
    pub(crate) fn graphics_pipeline(&self, from: &GraphicsPipeline) -> vk::Pipeline {
        let data = from.constant.0.to_ne_bytes();
        let special = vk::SpecializationInfo::default().map_entries(&UNUSED).data(&data);
        let stage = |flag, module| {
            vk::PipelineShaderStageCreateInfo::default()
                .stage(flag)
                .module(module)
                .name(c"main")
                .specialization_info(&special)
        };
        let mut stages = vec![stage(vk::ShaderStageFlags::VERTEX, from.vertex)];
        stages.extend(from.fragment.map(|module| stage(vk::ShaderStageFlags::FRAGMENT, module)));
        let (bindings, attributes) = mesh_input();
        let mut input = vk::PipelineVertexInputStateCreateInfo::default();
        if from.mesh {
            input = input.vertex_binding_descriptions(&bindings).vertex_attribute_descriptions(&attributes);
        }
        let assembly = vk::PipelineInputAssemblyStateCreateInfo::default()
            .topology(vk::PrimitiveTopology::TRIANGLE_LIST);
        let raster = vk::PipelineRasterizationStateCreateInfo::default()
            .rasterizer_discard_enable(from.fragment.is_none())
            .line_width(1.0);
        let viewport = vk::PipelineViewportStateCreateInfo::default().viewport_count(1).scissor_count(1);
        let samples = vk::PipelineMultisampleStateCreateInfo::default()
            .rasterization_samples(vk::SampleCountFlags::TYPE_1);
        let attachments = [vk::PipelineColorBlendAttachmentState {
            blend_enable: from.blend.into(),
            src_color_blend_factor: vk::BlendFactor::ONE,
            dst_color_blend_factor: vk::BlendFactor::ONE,
            src_alpha_blend_factor: vk::BlendFactor::ONE,
            dst_alpha_blend_factor: vk::BlendFactor::ONE,
            color_write_mask: vk::ColorComponentFlags::RGBA,
            ..Default::default()
        }];
        let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&attachments);
        let dynamic = [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR];
        let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&dynamic);
        let formats = [FORMAT];
        let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
        let info = vk::GraphicsPipelineCreateInfo::default()
            .stages(&stages)
            .vertex_input_state(&input)
            .input_assembly_state(&assembly)
            .rasterization_state(&raster)
            .viewport_state(&viewport)
            .multisample_state(&samples)
            .color_blend_state(&blend)
            .dynamic_state(&dynamic)
            .layout(from.layout)
            .push_next(&mut rendering);
        let none = vk::PipelineCache::null();
        // SAFETY: a Vulkan call, see the module above.
        unsafe { self.device.create_graphics_pipelines(none, &[info], None) }.expect("a pipeline")[0]
    }
}

impl Vulkan {
    /// A compute pipeline, with specialisation constants in the order of their numbers: those of `specialised.comp`.
    pub(crate) fn compute_pipeline(
        &self,
        module: vk::ShaderModule,
        layout: vk::PipelineLayout,
        constants: &[(u32, u32)],
    ) -> vk::Pipeline {
        let entry = |(place, (constant_id, _)): (usize, &(u32, u32))| {
            let offset = (place * size_of::<u32>()) as u32;
            vk::SpecializationMapEntry { constant_id: *constant_id, offset, size: size_of::<u32>() }
        };
        let entries: Vec<_> = constants.iter().enumerate().map(entry).collect();
        let data: Vec<u8> = constants.iter().flat_map(|(_, value)| value.to_ne_bytes()).collect();
        let special = vk::SpecializationInfo::default().map_entries(&entries).data(&data);
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main")
            .specialization_info(&special);
        let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout);
        let none = vk::PipelineCache::null();
        // SAFETY: a Vulkan call, see the module above.
        unsafe { self.device.create_compute_pipelines(none, &[info], None) }.expect("a pipeline")[0]
    }
}

/// What `mesh.vert` reads: position and colour per vertex, an offset per instance.
fn mesh_input() -> ([vk::VertexInputBindingDescription; 2], [vk::VertexInputAttributeDescription; 3]) {
    let binding =
        |binding, stride, input_rate| vk::VertexInputBindingDescription { binding, stride, input_rate };
    let attribute = |location, binding, format, offset| vk::VertexInputAttributeDescription {
        location,
        binding,
        format,
        offset,
    };
    (
        [binding(0, 28, vk::VertexInputRate::VERTEX), binding(1, 8, vk::VertexInputRate::INSTANCE)],
        [
            attribute(0, 0, vk::Format::R32G32B32_SFLOAT, 0),
            attribute(1, 0, vk::Format::R32G32B32A32_SFLOAT, 12),
            attribute(2, 1, vk::Format::R32G32_SFLOAT, 0),
        ],
    )
}
