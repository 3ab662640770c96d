//! Which parts of a graphics pipeline's state its creation reads.
//!
//! After "Graphics Pipeline" of the specification: the state is divided into subsets (vertex input,
//! pre-rasterization shaders, fragment shader, fragment output); a pipeline or library specifies some of them,
//! static rasterizer discard drops the last two, and dynamic state drops single values.

use crate::codec::mem::{load_i32, load_ptr, load_u32};

/// A part of the state behind a pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// `pVertexInputState`: "ignored if the pipeline includes a mesh shader stage", and with
    /// `VK_DYNAMIC_STATE_VERTEX_INPUT_EXT` (VUID-VkGraphicsPipelineCreateInfo-pStages-02097). Vertex input subset.
    VertexInput,
    /// `pInputAssemblyState`: "ignored if the pipeline includes a mesh shader stage"
    /// (VUID-VkGraphicsPipelineCreateInfo-dynamicPrimitiveTopologyUnrestricted-09031). Vertex input subset.
    InputAssembly,
    /// `pTessellationState`: valid if there is a tessellation shader
    /// (VUID-VkGraphicsPipelineCreateInfo-pStages-09022). Pre-rasterization subset.
    Tessellation,
    /// `pViewportState`: valid unless rasterization is statically discarded
    /// (VUID-VkGraphicsPipelineCreateInfo-rasterizerDiscardEnable-09024). Pre-rasterization subset.
    Viewport,
    /// `pRasterizationState` (VUID-VkGraphicsPipelineCreateInfo-pRasterizationState-06601). Pre-rasterization subset.
    Rasterization,
    /// `pMultisampleState`: valid unless rasterization is statically discarded. Both fragment subsets
    /// (VUID-VkGraphicsPipelineCreateInfo-pMultisampleState-09026, -renderpass-06631), and libraries with the
    /// pre-rasterization subset (-pRasterizationState-09039).
    Multisample,
    /// `pDepthStencilState`: valid unless rasterization is statically discarded or there is no depth/stencil
    /// attachment (VUID-VkGraphicsPipelineCreateInfo-renderPass-09028, -09033). Fragment shader subset. The
    /// attachments are known for dynamic rendering alone; with a render pass it is taken that there is one.
    DepthStencil,
    /// `pColorBlendState`: valid unless rasterization is statically discarded or there is no color attachment
    /// (VUID-VkGraphicsPipelineCreateInfo-renderPass-09030, -09037). Fragment output subset. The attachments
    /// are known for dynamic rendering alone, as above.
    ColorBlend,
    /// `VkPipelineViewportStateCreateInfo::pViewports`: ignored with `VK_DYNAMIC_STATE_VIEWPORT` or
    /// `VK_DYNAMIC_STATE_VIEWPORT_WITH_COUNT` (VUID-VkGraphicsPipelineCreateInfo-pDynamicStates-04130).
    Viewports,
    /// `VkPipelineViewportStateCreateInfo::pScissors`: ignored with `VK_DYNAMIC_STATE_SCISSOR` or
    /// `VK_DYNAMIC_STATE_SCISSOR_WITH_COUNT` (VUID-VkGraphicsPipelineCreateInfo-pDynamicStates-04131).
    Scissors,
    /// `VkPipelineMultisampleStateCreateInfo::pSampleMask`: ignored with `VK_DYNAMIC_STATE_SAMPLE_MASK_EXT`.
    SampleMask,
    /// `VkPipelineColorBlendStateCreateInfo::pAttachments`: ignored when all that it holds is dynamic
    /// (VUID-VkPipelineColorBlendStateCreateInfo-pAttachments-07353).
    ColorBlendAttachments,
    /// `VkPipelineRenderingCreateInfo::pColorAttachmentFormats`, `VkAttachmentSampleCountInfoAMD`: "If a graphics
    /// pipeline is created with a valid `VkRenderPass`, parameters of this structure are ignored". Fragment output
    /// subset: "formats are ignored" without (VUID-VkGraphicsPipelineCreateInfo-renderPass-06579, -06580).
    RenderingFormats,
    /// What belongs to the fragment output subset alone, `VkRenderingAttachmentLocationInfo`.
    FragmentOutput,
    /// `VkPipelineDiscardRectangleStateCreateInfoEXT::pDiscardRectangles`: ignored with
    /// `VK_DYNAMIC_STATE_DISCARD_RECTANGLE_EXT` (VUID-VkGraphicsPipelineCreateInfo-pDynamicStates-04058).
    DiscardRectangles,
    /// `VkPipelineViewportWScalingStateCreateInfoNV::pViewportWScalings`: ignored with
    /// `VK_DYNAMIC_STATE_VIEWPORT_W_SCALING_NV` (VUID-VkGraphicsPipelineCreateInfo-pDynamicStates-01715).
    ViewportWScalings,
    /// `VkPipelineViewportWScalingStateCreateInfoNV::viewportWScalingEnable` counts: absent with
    /// `VK_DYNAMIC_STATE_VIEWPORT_W_SCALING_ENABLE_NV`.
    StaticViewportWScalingEnable,
    /// `VkPipelineViewportExclusiveScissorStateCreateInfoNV::pExclusiveScissors`: ignored with
    /// `VK_DYNAMIC_STATE_EXCLUSIVE_SCISSOR_NV` (VUID-VkGraphicsPipelineCreateInfo-pDynamicStates-04056).
    ExclusiveScissors,
    /// `VkPipelineViewportShadingRateImageStateCreateInfoNV::pShadingRatePalettes`: ignored with
    /// `VK_DYNAMIC_STATE_VIEWPORT_SHADING_RATE_PALETTE_NV` (VUID-VkGraphicsPipelineCreateInfo-pDynamicStates-04057).
    ShadingRatePalettes,
    /// `VkPipelineCoverageModulationStateCreateInfoNV::pCoverageModulationTable`: ignored with
    /// `VK_DYNAMIC_STATE_COVERAGE_MODULATION_TABLE_NV`.
    CoverageModulationTable,
    /// `VkPipelineCoverageModulationStateCreateInfoNV::coverageModulationTableEnable` counts: absent with
    /// `VK_DYNAMIC_STATE_COVERAGE_MODULATION_TABLE_ENABLE_NV`.
    StaticCoverageModulationEnable,
}

impl Part {
    /// The part as a set.
    #[inline]
    pub(super) const fn bit(self) -> u32 {
        1 << self as u8
    }
}

// Offsets in the structures that are looked at; the tests compare them with ash.

const P_NEXT: usize = 8;

/// `VkGraphicsPipelineCreateInfo`.
mod info {
    pub(super) const FLAGS: usize = 16;
    pub(super) const STAGE_COUNT: usize = 20;
    pub(super) const STAGES: usize = 24;
    pub(super) const RASTERIZATION: usize = 64;
    pub(super) const DYNAMIC: usize = 96;
    pub(super) const RENDER_PASS: usize = 112;
}

/// `VkGraphicsShaderGroupCreateInfoNV`.
mod group {
    pub(super) const STAGE_COUNT: usize = 16;
    pub(super) const STAGES: usize = 24;
}

/// `VkPipelineShaderStageCreateInfo`.
mod stage {
    pub(super) const SIZE: usize = 48;
    pub(super) const STAGE: usize = 20;
}

/// `VkPipelineRenderingCreateInfo`.
mod rendering {
    pub(super) const COLOR_COUNT: usize = 20;
    pub(super) const COLOR_FORMATS: usize = 24;
    pub(super) const DEPTH_FORMAT: usize = 32;
    pub(super) const STENCIL_FORMAT: usize = 36;
}

/// `VkPipelineRasterizationStateCreateInfo::rasterizerDiscardEnable`.
const RASTERIZER_DISCARD: usize = 24;
/// `VkPipelineDynamicStateCreateInfo::dynamicStateCount`.
const DYNAMIC_COUNT: usize = 20;
/// `VkPipelineDynamicStateCreateInfo::pDynamicStates`.
const DYNAMIC_STATES: usize = 24;
/// First member after the chain, in the links looked at.
const FIRST_MEMBER: usize = 16;

// `sType`s of the links looked at.
const GRAPHICS_PIPELINE_LIBRARY_CREATE_INFO: i32 = 1_000_320_002;
const PIPELINE_LIBRARY_CREATE_INFO: i32 = 1_000_290_000;
const PIPELINE_CREATE_FLAGS_2_CREATE_INFO: i32 = 1_000_470_005;
const PIPELINE_RENDERING_CREATE_INFO: i32 = 1_000_044_002;

/// `VK_PIPELINE_CREATE_LIBRARY_BIT_KHR`, the same in both generations of the flags.
const CREATE_LIBRARY: u32 = 0x800;

// `VkGraphicsPipelineLibraryFlagBitsEXT`: the subsets of the state.
const VERTEX_INPUT_INTERFACE: u32 = 1;
const PRE_RASTERIZATION_SHADERS: u32 = 2;
const FRAGMENT_SHADER: u32 = 4;
const FRAGMENT_OUTPUT_INTERFACE: u32 = 8;
const ALL_SUBSETS: u32 = 15;

// `VkShaderStageFlagBits`.
const TESSELLATION_STAGES: u32 = 0x2 | 0x4;
const MESH_STAGE: u32 = 0x80;

/// Dynamic states that matter here, as a set: as far as a part is absent because of one, that is its bit.
mod dynamic {
    use super::Part;

    pub(super) const RASTERIZER_DISCARD: u32 = 1 << 27;
    pub(super) const COLOR_BLEND_ENABLE: u32 = 1 << 28;
    pub(super) const COLOR_BLEND_EQUATION: u32 = 1 << 29;
    pub(super) const COLOR_WRITE_MASK: u32 = 1 << 30;
    pub(super) const COLOR_BLEND_ADVANCED: u32 = 1 << 31;
    /// All that `VkPipelineColorBlendAttachmentState` holds.
    pub(super) const COLOR_BLEND_ATTACHMENTS: u32 =
        COLOR_BLEND_ENABLE | COLOR_BLEND_EQUATION | COLOR_WRITE_MASK | COLOR_BLEND_ADVANCED;
    /// What is no part.
    pub(super) const OTHERS: u32 = RASTERIZER_DISCARD | COLOR_BLEND_ATTACHMENTS;

    /// The set with one `VkDynamicState`, or nothing.
    pub(super) const fn bit(state: i32) -> u32 {
        match state {
            0 | 1_000_267_003 => Part::Viewports.bit(),
            1 | 1_000_267_004 => Part::Scissors.bit(),
            1_000_377_001 => RASTERIZER_DISCARD,
            1_000_352_000 => Part::VertexInput.bit(),
            1_000_455_006 => Part::SampleMask.bit(),
            1_000_099_000 => Part::DiscardRectangles.bit(),
            1_000_087_000 => Part::ViewportWScalings.bit(),
            1_000_205_001 => Part::ExclusiveScissors.bit(),
            1_000_164_004 => Part::ShadingRatePalettes.bit(),
            1_000_455_029 => Part::CoverageModulationTable.bit(),
            1_000_455_028 => Part::StaticCoverageModulationEnable.bit(),
            1_000_455_010 => COLOR_BLEND_ENABLE,
            1_000_455_011 => COLOR_BLEND_EQUATION,
            1_000_455_012 => COLOR_WRITE_MASK,
            1_000_455_018 => COLOR_BLEND_ADVANCED,
            1_000_455_024 => Part::StaticViewportWScalingEnable.bit(),
            _ => 0,
        }
    }
}

/// The parts that the `VkGraphicsPipelineCreateInfo` at `base` does not have.
///
/// # Safety
/// `base` is one that the application may pass to `vkCreateGraphicsPipelines`.
pub(super) unsafe fn absent_parts(base: *const u8) -> u32 {
    // SAFETY: the caller vouches for the structure. Everything is read only where the specification makes it
    // valid: the chain and the dynamic state always, stages and states in the subsets they belong to.
    unsafe {
        let chain = Chain::of(base);
        let dynamic = dynamic_states(load_ptr(base, info::DYNAMIC));
        let mut subsets = chain.subsets(load_u32(base, info::FLAGS));
        let shaders = subsets & (PRE_RASTERIZATION_SHADERS | FRAGMENT_SHADER) != 0;
        let stages = if shaders { stages(base, info::STAGE_COUNT, info::STAGES) } else { 0 };
        let discard = subsets & PRE_RASTERIZATION_SHADERS != 0
            && dynamic & dynamic::RASTERIZER_DISCARD == 0
            && match load_ptr(base, info::RASTERIZATION) {
                p if p.is_null() => false,
                p => load_u32(p, RASTERIZER_DISCARD) != 0,
            };
        if discard {
            subsets &= !(FRAGMENT_SHADER | FRAGMENT_OUTPUT_INTERFACE);
        }
        let output = subsets & FRAGMENT_OUTPUT_INTERFACE != 0;
        let dynamic_rendering = base.add(info::RENDER_PASS).cast::<u64>().read_unaligned() == 0;
        // Attachments are known where the formats count; elsewhere it is taken that there are some.
        let known = output && dynamic_rendering;
        let depth_or_stencil = !known || chain.has_depth_or_stencil();
        let color = !known || chain.has_color();

        let vertex_shading = subsets & VERTEX_INPUT_INTERFACE != 0 && stages & MESH_STAGE == 0;
        let before_raster = subsets & PRE_RASTERIZATION_SHADERS != 0;
        let mut absent = dynamic & !dynamic::OTHERS;
        let mut without = |parts: &[Part], there: bool| {
            absent |= if there { 0 } else { parts.iter().fold(0, |set, part| set | part.bit()) };
        };
        without(&[Part::VertexInput, Part::InputAssembly], vertex_shading);
        without(&[Part::Tessellation], before_raster && stages & TESSELLATION_STAGES != 0);
        without(&[Part::Viewport], before_raster && !discard);
        without(&[Part::Rasterization, Part::DiscardRectangles], before_raster);
        without(&[Part::Multisample], subsets & !VERTEX_INPUT_INTERFACE != 0 && !discard);
        without(&[Part::DepthStencil], subsets & FRAGMENT_SHADER != 0 && depth_or_stencil);
        without(&[Part::ColorBlend], output && color);
        without(
            &[Part::ColorBlendAttachments],
            dynamic & dynamic::COLOR_BLEND_ATTACHMENTS != dynamic::COLOR_BLEND_ATTACHMENTS,
        );
        without(&[Part::RenderingFormats], known);
        without(&[Part::FragmentOutput], output);
        absent
    }
}

/// As [`absent_parts`] for a `VkGraphicsShaderGroupCreateInfoNV`, which has stages, vertex input and tessellation
/// of its own: "`pVertexInputState` [...] is ignored" with a mesh shader, "`pTessellationState` [...] if the shader
/// group does not include both tessellation stages".
///
/// # Safety
/// `base` is one that the application may pass in the pipeline's chain.
pub(super) unsafe fn absent_in_group(outer: u32, base: *const u8) -> u32 {
    // SAFETY: the caller vouches for the structure.
    let stages = unsafe { stages(base, group::STAGE_COUNT, group::STAGES) };
    let own = Part::VertexInput.bit() | Part::Tessellation.bit();
    let input = if stages & MESH_STAGE == 0 { 0 } else { Part::VertexInput.bit() };
    let tessellation = if stages & TESSELLATION_STAGES == 0 { Part::Tessellation.bit() } else { 0 };
    outer & !own | input | tessellation
}

/// What the chain says; a null pointer where the link is missing.
struct Chain {
    library: *const u8,
    linked: *const u8,
    flags2: *const u8,
    rendering: *const u8,
}

impl Chain {
    unsafe fn of(base: *const u8) -> Self {
        let none = std::ptr::null();
        let mut chain = Chain { library: none, linked: none, flags2: none, rendering: none };
        // SAFETY: the caller vouches for the chain.
        unsafe {
            let mut link: *const u8 = load_ptr(base, P_NEXT);
            while !link.is_null() {
                match load_i32(link, 0) {
                    GRAPHICS_PIPELINE_LIBRARY_CREATE_INFO => chain.library = link,
                    PIPELINE_LIBRARY_CREATE_INFO => chain.linked = link,
                    PIPELINE_CREATE_FLAGS_2_CREATE_INFO => chain.flags2 = link,
                    PIPELINE_RENDERING_CREATE_INFO => chain.rendering = link,
                    _ => {}
                }
                link = load_ptr(link, P_NEXT);
            }
        }
        chain
    }

    /// The subsets of the state that the structure itself specifies: those of the library structure; without it
    /// none where libraries are made or linked, else all.
    unsafe fn subsets(&self, flags: u32) -> u32 {
        // SAFETY: the links are valid structures of their types.
        unsafe {
            if !self.library.is_null() {
                return load_u32(self.library, FIRST_MEMBER) & ALL_SUBSETS;
            }
            // The 64-bit flags replace the others; the bit is in their low half.
            let flags = if self.flags2.is_null() { flags } else { load_u32(self.flags2, FIRST_MEMBER) };
            let links = !self.linked.is_null() && load_u32(self.linked, FIRST_MEMBER) > 0;
            if flags & CREATE_LIBRARY != 0 || links { 0 } else { ALL_SUBSETS }
        }
    }

    /// Whether dynamic rendering with this pipeline has a depth or stencil attachment.
    unsafe fn has_depth_or_stencil(&self) -> bool {
        // SAFETY: the link is a valid structure of its type.
        !self.rendering.is_null()
            && unsafe {
                load_u32(self.rendering, rendering::DEPTH_FORMAT) != 0
                    || load_u32(self.rendering, rendering::STENCIL_FORMAT) != 0
            }
    }

    /// Whether dynamic rendering with this pipeline has a color attachment.
    unsafe fn has_color(&self) -> bool {
        if self.rendering.is_null() {
            return false;
        }
        // SAFETY: the link is a valid structure of its type, and the formats are valid with it where the
        // fragment output subset is specified without a render pass, which the caller has checked.
        unsafe {
            let formats = load_ptr(self.rendering, rendering::COLOR_FORMATS);
            let count = load_u32(self.rendering, rendering::COLOR_COUNT) as usize;
            !formats.is_null() && (0..count).any(|i| load_u32(formats, 4 * i) != 0)
        }
    }
}

/// The dynamic states of a `VkPipelineDynamicStateCreateInfo`, which may be null.
unsafe fn dynamic_states(info: *const u8) -> u32 {
    if info.is_null() {
        return 0;
    }
    // SAFETY: the caller vouches for the structure and its array.
    unsafe {
        let states = load_ptr(info, DYNAMIC_STATES);
        let count = if states.is_null() { 0 } else { load_u32(info, DYNAMIC_COUNT) as usize };
        (0..count).fold(0, |set, i| set | dynamic::bit(load_i32(states, 4 * i)))
    }
}

/// The stages of the array of `VkPipelineShaderStageCreateInfo` that the structure at `base` points to.
unsafe fn stages(base: *const u8, count: usize, array: usize) -> u32 {
    // SAFETY: the caller vouches for the structure and its array.
    unsafe {
        let array = load_ptr(base, array);
        let count = if array.is_null() { 0 } else { load_u32(base, count) as usize };
        (0..count).fold(0, |set, i| set | load_u32(array, i * stage::SIZE + stage::STAGE))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use ash::vk;

    use super::*;

    #[test]
    fn offsets_when_compared_with_ash_are_equal() {
        type Info = vk::GraphicsPipelineCreateInfo<'static>;
        assert_eq!(offset_of!(Info, p_next), P_NEXT);
        assert_eq!(offset_of!(Info, flags), info::FLAGS);
        assert_eq!(offset_of!(Info, stage_count), info::STAGE_COUNT);
        assert_eq!(offset_of!(Info, p_stages), info::STAGES);
        assert_eq!(offset_of!(Info, p_rasterization_state), info::RASTERIZATION);
        assert_eq!(offset_of!(Info, p_dynamic_state), info::DYNAMIC);
        assert_eq!(offset_of!(Info, render_pass), info::RENDER_PASS);
        type Group = vk::GraphicsShaderGroupCreateInfoNV<'static>;
        assert_eq!(offset_of!(Group, stage_count), group::STAGE_COUNT);
        assert_eq!(offset_of!(Group, p_stages), group::STAGES);
        type Stage = vk::PipelineShaderStageCreateInfo<'static>;
        assert_eq!((size_of::<Stage>(), offset_of!(Stage, stage)), (stage::SIZE, stage::STAGE));
        type Rendering = vk::PipelineRenderingCreateInfo<'static>;
        assert_eq!(offset_of!(Rendering, color_attachment_count), rendering::COLOR_COUNT);
        assert_eq!(offset_of!(Rendering, p_color_attachment_formats), rendering::COLOR_FORMATS);
        assert_eq!(offset_of!(Rendering, depth_attachment_format), rendering::DEPTH_FORMAT);
        assert_eq!(offset_of!(Rendering, stencil_attachment_format), rendering::STENCIL_FORMAT);
        type Raster = vk::PipelineRasterizationStateCreateInfo<'static>;
        assert_eq!(offset_of!(Raster, rasterizer_discard_enable), RASTERIZER_DISCARD);
        type Dynamic = vk::PipelineDynamicStateCreateInfo<'static>;
        assert_eq!(offset_of!(Dynamic, dynamic_state_count), DYNAMIC_COUNT);
        assert_eq!(offset_of!(Dynamic, p_dynamic_states), DYNAMIC_STATES);
        assert_eq!(offset_of!(vk::GraphicsPipelineLibraryCreateInfoEXT, flags), FIRST_MEMBER);
        assert_eq!(offset_of!(vk::PipelineLibraryCreateInfoKHR, library_count), FIRST_MEMBER);
    }

    #[test]
    fn values_when_compared_with_ash_are_equal() {
        use vk::DynamicState as D;
        use vk::GraphicsPipelineLibraryFlagsEXT as L;
        use vk::StructureType as S;
        assert_eq!(
            S::GRAPHICS_PIPELINE_LIBRARY_CREATE_INFO_EXT.as_raw(),
            GRAPHICS_PIPELINE_LIBRARY_CREATE_INFO
        );
        assert_eq!(S::PIPELINE_LIBRARY_CREATE_INFO_KHR.as_raw(), PIPELINE_LIBRARY_CREATE_INFO);
        assert_eq!(S::PIPELINE_RENDERING_CREATE_INFO.as_raw(), PIPELINE_RENDERING_CREATE_INFO);
        assert_eq!(vk::PipelineCreateFlags::LIBRARY_KHR.as_raw(), CREATE_LIBRARY);
        assert_eq!(L::VERTEX_INPUT_INTERFACE.as_raw(), VERTEX_INPUT_INTERFACE);
        assert_eq!(L::PRE_RASTERIZATION_SHADERS.as_raw(), PRE_RASTERIZATION_SHADERS);
        assert_eq!(L::FRAGMENT_SHADER.as_raw(), FRAGMENT_SHADER);
        assert_eq!(L::FRAGMENT_OUTPUT_INTERFACE.as_raw(), FRAGMENT_OUTPUT_INTERFACE);
        assert_eq!(vk::ShaderStageFlags::MESH_EXT.as_raw(), MESH_STAGE);
        let tessellation =
            vk::ShaderStageFlags::TESSELLATION_CONTROL | vk::ShaderStageFlags::TESSELLATION_EVALUATION;
        assert_eq!(tessellation.as_raw(), TESSELLATION_STAGES);
        for (state, bit) in [
            (D::VIEWPORT, Part::Viewports.bit()),
            (D::VIEWPORT_WITH_COUNT, Part::Viewports.bit()),
            (D::SCISSOR, Part::Scissors.bit()),
            (D::SCISSOR_WITH_COUNT, Part::Scissors.bit()),
            (D::RASTERIZER_DISCARD_ENABLE, dynamic::RASTERIZER_DISCARD),
            (D::LINE_WIDTH, 0),
            (D::PRIMITIVE_TOPOLOGY, 0),
        ] {
            assert_eq!(dynamic::bit(state.as_raw()), bit, "{}", state.as_raw());
        }
    }
}
