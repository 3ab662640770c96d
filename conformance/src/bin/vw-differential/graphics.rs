//! Graphics pipelines and rendering: defaults that most cases share, every part open to change.

use ash::vk;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::resources::{Buffer, Image, SIDE, TARGET, plain};
use crate::shaders;

/// Colour format of most targets.
pub(crate) const COLOUR: vk::Format = vk::Format::R8G8B8A8_UNORM;

/// What a pipeline renders to.
#[derive(Clone)]
pub(crate) enum Target {
    /// A subpass of a render pass.
    Pass(vk::RenderPass, u32),
    /// Attachments of dynamic rendering: colours, depth, stencil.
    Formats(Vec<vk::Format>, vk::Format, vk::Format),
}

/// A graphics pipeline's state. Begins as: triangle list, no culling, no depth, one colour attachment without
/// blending, viewport and scissor of [`SIDE`] pixels.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) stages: Vec<(vk::ShaderStageFlags, &'static [u8])>,
    pub(crate) bindings: Vec<vk::VertexInputBindingDescription>,
    pub(crate) attributes: Vec<vk::VertexInputAttributeDescription>,
    pub(crate) vertex_input: vk::PipelineVertexInputStateCreateInfo<'static>,
    pub(crate) assembly: vk::PipelineInputAssemblyStateCreateInfo<'static>,
    pub(crate) tessellation: vk::PipelineTessellationStateCreateInfo<'static>,
    pub(crate) viewports: Vec<vk::Viewport>,
    pub(crate) scissors: Vec<vk::Rect2D>,
    pub(crate) raster: vk::PipelineRasterizationStateCreateInfo<'static>,
    pub(crate) multisample: vk::PipelineMultisampleStateCreateInfo<'static>,
    pub(crate) depth: vk::PipelineDepthStencilStateCreateInfo<'static>,
    pub(crate) blend: vk::PipelineColorBlendStateCreateInfo<'static>,
    pub(crate) attachments: Vec<vk::PipelineColorBlendAttachmentState>,
    pub(crate) dynamic: Vec<vk::DynamicState>,
    pub(crate) target: Target,
    pub(crate) flags: vk::PipelineCreateFlags,
    pub(crate) view_mask: u32,
    /// Locations of the colour attachments of dynamic rendering and their input attachment indices, where they are not
    /// the attachments' own.
    pub(crate) locations: Option<(Vec<u32>, Vec<u32>)>,
}

/// The viewport of a square target.
pub(crate) fn viewport(side: u32) -> vk::Viewport {
    vk::Viewport { x: 0.0, y: 0.0, width: side as f32, height: side as f32, min_depth: 0.0, max_depth: 1.0 }
}

/// The area of a square target.
pub(crate) fn area(side: u32) -> vk::Rect2D {
    vk::Rect2D { offset: vk::Offset2D::default(), extent: vk::Extent2D { width: side, height: side } }
}

/// Colour written as it is.
pub(crate) fn opaque() -> vk::PipelineColorBlendAttachmentState {
    vk::PipelineColorBlendAttachmentState::default().color_write_mask(vk::ColorComponentFlags::RGBA)
}

impl State {
    pub(crate) fn new(vertex: &'static [u8], fragment: &'static [u8]) -> Self {
        Self {
            stages: vec![(vk::ShaderStageFlags::VERTEX, vertex), (vk::ShaderStageFlags::FRAGMENT, fragment)],
            bindings: Vec::new(),
            attributes: Vec::new(),
            vertex_input: vk::PipelineVertexInputStateCreateInfo::default(),
            assembly: vk::PipelineInputAssemblyStateCreateInfo::default()
                .topology(vk::PrimitiveTopology::TRIANGLE_LIST),
            tessellation: vk::PipelineTessellationStateCreateInfo::default().patch_control_points(3),
            viewports: vec![viewport(SIDE)],
            scissors: vec![area(SIDE)],
            raster: vk::PipelineRasterizationStateCreateInfo::default()
                .polygon_mode(vk::PolygonMode::FILL)
                .line_width(1.0),
            multisample: vk::PipelineMultisampleStateCreateInfo::default()
                .rasterization_samples(vk::SampleCountFlags::TYPE_1),
            depth: vk::PipelineDepthStencilStateCreateInfo::default().max_depth_bounds(1.0),
            blend: vk::PipelineColorBlendStateCreateInfo::default(),
            attachments: vec![opaque()],
            dynamic: Vec::new(),
            target: Target::Formats(vec![COLOUR], vk::Format::UNDEFINED, vk::Format::UNDEFINED),
            flags: vk::PipelineCreateFlags::empty(),
            view_mask: 0,
            locations: None,
        }
    }

    /// With the vertices of [`Mesh`] as input.
    pub(crate) fn mesh() -> Self {
        let mut state = Self::new(shaders::MESH, shaders::PASS_COLOUR);
        state.bindings = Mesh::bindings().to_vec();
        state.attributes = Mesh::attributes().to_vec();
        state
    }

    /// With a depth attachment that is tested and written.
    pub(crate) fn with_depth(mut self, format: vk::Format, compare: vk::CompareOp) -> Self {
        if let Target::Formats(_, depth, _) = &mut self.target {
            *depth = format;
        }
        self.depth = self.depth.depth_test_enable(true).depth_write_enable(true).depth_compare_op(compare);
        self
    }

    /// Creates the pipeline; `next` is chained behind the rendering formats.
    pub(crate) unsafe fn build(&self, gpu: &Gpu, layout: vk::PipelineLayout) -> vk::Pipeline {
        self.try_build(gpu, layout, vk::PipelineCache::null()).expect("a graphics pipeline")
    }

    /// Creates the pipeline with a cache, or says why not.
    pub(crate) unsafe fn try_build(
        &self,
        gpu: &Gpu,
        layout: vk::PipelineLayout,
        cache: vk::PipelineCache,
    ) -> Result<vk::Pipeline, vk::Result> {
        let stages: Vec<_> = self
            .stages
            .iter()
            .map(|(stage, code)| {
                let module = shaders::module(gpu, code);
                vk::PipelineShaderStageCreateInfo::default().stage(*stage).module(module).name(c"main")
            })
            .collect();
        let vertex_input = self
            .vertex_input
            .vertex_binding_descriptions(&self.bindings)
            .vertex_attribute_descriptions(&self.attributes);
        let viewport = vk::PipelineViewportStateCreateInfo::default()
            .viewports(&self.viewports)
            .scissors(&self.scissors);
        let blend = self.blend.attachments(&self.attachments);
        let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&self.dynamic);
        let mut info = vk::GraphicsPipelineCreateInfo::default()
            .flags(self.flags)
            .stages(&stages)
            .vertex_input_state(&vertex_input)
            .input_assembly_state(&self.assembly)
            .viewport_state(&viewport)
            .rasterization_state(&self.raster)
            .multisample_state(&self.multisample)
            .depth_stencil_state(&self.depth)
            .color_blend_state(&blend)
            .dynamic_state(&dynamic)
            .layout(layout);
        if stages.iter().any(|stage| stage.stage == vk::ShaderStageFlags::TESSELLATION_CONTROL) {
            info = info.tessellation_state(&self.tessellation);
        }
        let mut rendering = vk::PipelineRenderingCreateInfo::default().view_mask(self.view_mask);
        match &self.target {
            Target::Pass(pass, subpass) => info = info.render_pass(*pass).subpass(*subpass),
            Target::Formats(colours, depth, stencil) => {
                rendering = rendering.color_attachment_formats(colours);
                rendering = rendering.depth_attachment_format(*depth).stencil_attachment_format(*stencil);
                info = info.push_next(&mut rendering);
            }
        }
        let (locations, inputs) = self.locations.as_ref().map_or((&[][..], &[][..]), |(l, i)| (l, i));
        let mut locations =
            vk::RenderingAttachmentLocationInfoKHR::default().color_attachment_locations(locations);
        let mut inputs =
            vk::RenderingInputAttachmentIndexInfoKHR::default().color_attachment_input_indices(inputs);
        if self.locations.is_some() {
            info = info.push_next(&mut locations).push_next(&mut inputs);
        }
        let pipeline =
            gpu.device.create_graphics_pipelines(cache, &[info], None).map_err(|(_, code)| code)?[0];
        gpu.later(move |device| device.destroy_pipeline(pipeline, None));
        Ok(pipeline)
    }
}

/// Vertices of position and colour, and an offset for each instance.
#[derive(Clone, Copy)]
pub(crate) struct Mesh {
    pub(crate) vertices: Buffer,
    pub(crate) offsets: Buffer,
}

impl Mesh {
    /// Three overlapping triangles at depths 0.2, 0.5 and 0.8, and offsets for four instances.
    pub(crate) unsafe fn triangles(gpu: &Gpu) -> Self {
        let triangle = |x: f32, y: f32, z: f32, colour: [f32; 4]| {
            let corner = |dx: f32, dy: f32, shade: f32| {
                [x + dx, y + dy, z, colour[0] * shade, colour[1] * shade, colour[2], colour[3]]
            };
            [corner(-0.4, -0.4, 1.0), corner(0.5, -0.3, 0.7), corner(0.0, 0.55, 0.4)]
        };
        let vertices: Vec<[f32; 7]> = [
            triangle(-0.3, -0.2, 0.2, [1.0, 0.2, 0.1, 0.5]),
            triangle(0.0, 0.1, 0.5, [0.2, 1.0, 0.3, 0.75]),
            triangle(0.3, -0.1, 0.8, [0.3, 0.4, 1.0, 0.25]),
        ]
        .concat();
        let offsets = [[0.0f32, 0.0], [0.35, 0.35], [-0.4, 0.3], [0.2, -0.45]];
        Self { vertices: gpu.buffer_of(&vertices), offsets: gpu.buffer_of(&offsets) }
    }

    pub(crate) fn bindings() -> [vk::VertexInputBindingDescription; 2] {
        let binding =
            |binding, stride, input_rate| vk::VertexInputBindingDescription { binding, stride, input_rate };
        [binding(0, 28, vk::VertexInputRate::VERTEX), binding(1, 8, vk::VertexInputRate::INSTANCE)]
    }

    pub(crate) fn attributes() -> [vk::VertexInputAttributeDescription; 3] {
        let attribute = |location, binding, format, offset| vk::VertexInputAttributeDescription {
            location,
            binding,
            format,
            offset,
        };
        [
            attribute(0, 0, vk::Format::R32G32B32_SFLOAT, 0),
            attribute(1, 0, vk::Format::R32G32B32A32_SFLOAT, 12),
            attribute(2, 1, vk::Format::R32G32_SFLOAT, 0),
        ]
    }

    pub(crate) unsafe fn bind(&self, gpu: &Gpu, cb: vk::CommandBuffer) {
        gpu.device.cmd_bind_vertex_buffers(cb, 0, &[self.vertices.handle, self.offsets.handle], &[0, 0]);
    }
}

/// The colour that targets are cleared to.
pub(crate) const BACKGROUND: vk::ClearValue =
    vk::ClearValue { color: vk::ClearColorValue { float32: [0.1, 0.2, 0.3, 1.0] } };

/// An attachment in the layout GENERAL that is cleared first.
pub(crate) fn cleared(image: &Image, value: vk::ClearValue) -> vk::RenderingAttachmentInfo<'static> {
    vk::RenderingAttachmentInfo::default()
        .image_view(image.view)
        .image_layout(vk::ImageLayout::GENERAL)
        .load_op(vk::AttachmentLoadOp::CLEAR)
        .store_op(vk::AttachmentStoreOp::STORE)
        .clear_value(value)
}

impl Gpu {
    /// A colour target of [`SIDE`] pixels.
    pub(crate) unsafe fn target(&self) -> Image {
        self.image(&plain(COLOUR, SIDE, TARGET))
    }

    /// Renders to a colour target and perhaps a depth target, cleared first, and waits.
    pub(crate) unsafe fn render(
        &self,
        colour: &Image,
        depth: Option<(&Image, vk::ClearValue)>,
        draw: impl FnOnce(vk::CommandBuffer),
    ) {
        self.run(|cb| {
            self.to_general(cb, colour);
            if let Some((depth, _)) = depth {
                self.to_general(cb, depth);
            }
            let colours = [cleared(colour, BACKGROUND)];
            let depth_attachment = depth.map(|(image, value)| cleared(image, value));
            let mut info = vk::RenderingInfo::default()
                .render_area(vk::Rect2D {
                    offset: vk::Offset2D::default(),
                    extent: vk::Extent2D { width: colour.extent.width, height: colour.extent.height },
                })
                .layer_count(1)
                .color_attachments(&colours);
            if let (Some(attachment), Some((image, _))) = (&depth_attachment, depth) {
                if image.aspect.contains(vk::ImageAspectFlags::DEPTH) {
                    info = info.depth_attachment(attachment);
                }
                if image.aspect.contains(vk::ImageAspectFlags::STENCIL) {
                    info = info.stencil_attachment(attachment);
                }
            }
            self.device.cmd_begin_rendering(cb, &info);
            draw(cb);
            self.device.cmd_end_rendering(cb);
            barrier_all(&self.device, cb);
        });
    }

    /// Draws what secondary command buffers have recorded to a colour target, cleared first.
    pub(crate) unsafe fn execute(
        &self,
        cb: vk::CommandBuffer,
        target: &Image,
        lists: &[&[vk::CommandBuffer]],
    ) {
        let colours = [cleared(target, BACKGROUND)];
        let info = vk::RenderingInfo::default()
            .flags(vk::RenderingFlags::CONTENTS_SECONDARY_COMMAND_BUFFERS)
            .render_area(area(SIDE))
            .layer_count(1)
            .color_attachments(&colours);
        self.device.cmd_begin_rendering(cb, &info);
        lists.iter().for_each(|list| self.device.cmd_execute_commands(cb, list));
        self.device.cmd_end_rendering(cb);
    }

    /// Binds a graphics pipeline.
    pub(crate) unsafe fn bind_graphics(&self, cb: vk::CommandBuffer, pipeline: vk::Pipeline) {
        self.device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::GRAPHICS, pipeline);
    }
}

/// Push constants of the covering triangle: colour and depth.
pub(crate) fn cover(colour: [f32; 4], depth: f32) -> Vec<u8> {
    bytemuck::cast_slice(&[colour[0], colour[1], colour[2], colour[3], depth]).to_vec()
}
