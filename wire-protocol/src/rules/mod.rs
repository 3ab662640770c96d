//! When an application's pointers may be read.
//!
//! In many structures the specification says that a pointer is ignored in some state: applications leave it
//! uninitialised then, and the encoder must not follow it. A [`Rule`] in the tables says for such a pointer when
//! it may be read. It says no only where the specification allows garbage and drivers do not look; null is sent
//! instead. A null pointer is never followed, and an array of no elements never read, with no rule needed.
//!
//! Most rules look at a member of the structure that holds the pointer. Those of graphics pipelines depend on
//! other structures: a [`Hook`] computes them once, on entering the pipeline's structure, into the [`Ctx`].

pub(crate) mod descriptor;
mod pipeline;

use crate::codec::mem::load_u32;

pub use pipeline::Part;

/// When a pointer may be read; offsets are in the structure that holds the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Whenever it is not null.
    Always,
    /// The `u32` at `off` has this value.
    ///
    /// * `VkBufferCreateInfo`, `VkImageCreateInfo`, `VkSwapchainCreateInfoKHR`,
    ///   `VkPhysicalDeviceImageDrmFormatModifierInfoEXT`: "`pQueueFamilyIndices` [...] is ignored if `sharingMode`
    ///   is not `VK_SHARING_MODE_CONCURRENT`" (VUID-VkBufferCreateInfo-sharingMode-00913,
    ///   VUID-VkImageCreateInfo-sharingMode-00941).
    /// * `VkCommandBufferInheritanceViewportScissorInfoNV`: `pViewportDepths` is valid "if `viewportScissor2D` is
    ///   `VK_TRUE`" (VUID-VkCommandBufferInheritanceViewportScissorInfoNV-viewportScissor2D-04785).
    FieldEquals {
        /// Offset.
        off: u16,
        /// Value.
        value: u32,
    },
    /// The `u32` at `off` has one of these values.
    ///
    /// * `VkDescriptorSetLayoutBinding`: for types other than `SAMPLER` and `COMBINED_IMAGE_SAMPLER`
    ///   "`pImmutableSamplers` is ignored" (VUID-VkDescriptorSetLayoutBinding-descriptorType-00282).
    FieldIn {
        /// Offset.
        off: u16,
        /// Values.
        values: &'static [u32],
    },
    /// None of the bits of `mask` is set in the `u32` at `off`.
    ///
    /// * `VkFramebufferCreateInfo`: "If `flags` includes `VK_FRAMEBUFFER_CREATE_IMAGELESS_BIT`, [`pAttachments`] is
    ///   ignored" (VUID-VkFramebufferCreateInfo-flags-02778).
    FlagClear {
        /// Offset.
        off: u16,
        /// Bits.
        mask: u32,
    },
    /// Some bit of `mask` is set in the `u32` at `off`.
    ///
    /// * `VkImageCompressionControlEXT`: `pFixedRateFlags` "is ignored if `flags` does not include
    ///   `VK_IMAGE_COMPRESSION_FIXED_RATE_EXPLICIT_EXT`".
    FlagSet {
        /// Offset.
        off: u16,
        /// Bits.
        mask: u32,
    },
    /// The `VkDescriptorType` at `off` is written through `pImageInfo`
    /// (VUID-VkWriteDescriptorSet-descriptorType-00325, -02996, -07683).
    DescriptorIsImage {
        /// Offset.
        off: u16,
    },
    /// The `VkDescriptorType` at `off` is written through `pBufferInfo`
    /// (VUID-VkWriteDescriptorSet-descriptorType-00324).
    DescriptorIsBuffer {
        /// Offset.
        off: u16,
    },
    /// The `VkDescriptorType` at `off` is written through `pTexelBufferView`
    /// (VUID-VkWriteDescriptorSet-descriptorType-02994, -02995).
    DescriptorIsTexelBuffer {
        /// Offset.
        off: u16,
    },
    /// [`Part::VertexInput`] is there.
    PipelineVertexInput,
    /// [`Part::InputAssembly`] is there.
    PipelineInputAssembly,
    /// [`Part::Tessellation`] is there.
    PipelineTessellation,
    /// [`Part::Viewport`] is there.
    PipelineViewport,
    /// [`Part::Rasterization`] is there.
    PipelineRasterization,
    /// [`Part::Multisample`] is there.
    PipelineMultisample,
    /// [`Part::DepthStencil`] is there.
    PipelineDepthStencil,
    /// [`Part::ColorBlend`] is there.
    PipelineColorBlend,
    /// [`Part::Viewports`] is there.
    PipelineViewports,
    /// [`Part::Scissors`] is there.
    PipelineScissors,
    /// [`Part::SampleMask`] is there.
    PipelineSampleMask,
    /// [`Part::ColorBlendAttachments`] is there.
    PipelineColorBlendAttachments,
    /// [`Part::RenderingFormats`] is there.
    PipelineRenderingFormats,
    /// [`Part::FragmentOutput`] is there.
    PipelineFragmentOutput,
    /// [`Part::DiscardRectangles`] is there.
    PipelineDiscardRectangles,
    /// [`Part::ViewportWScalings`] is there, and they are in use: the `VkBool32` at `enable` is set or
    /// [dynamic](Part::StaticViewportWScalingEnable).
    PipelineViewportWScalings {
        /// Offset of `viewportWScalingEnable`.
        enable: u16,
    },
    /// [`Part::ExclusiveScissors`] is there.
    PipelineExclusiveScissors,
    /// [`Part::ShadingRatePalettes`] is there.
    PipelineShadingRatePalettes,
    /// [`Part::CoverageModulationTable`] is there, and the table is in use: the `VkBool32` at `enable` is set or
    /// [dynamic](Part::StaticCoverageModulationEnable).
    PipelineCoverageModulationTable {
        /// Offset of `coverageModulationTableEnable`.
        enable: u16,
    },
}

impl Rule {
    /// Whether the pointer may be read in the structure at `base`.
    ///
    /// # Safety
    /// `base` is a readable structure with the members that the rule names.
    pub unsafe fn allows(self, ctx: &Ctx, base: *const u8) -> bool {
        // SAFETY: the caller vouches for the member.
        let field = |off: u16| unsafe { load_u32(base, off.into()) };
        match self {
            Rule::Always => true,
            Rule::FieldEquals { off, value } => field(off) == value,
            Rule::FieldIn { off, values } => values.contains(&field(off)),
            Rule::FlagClear { off, mask } => field(off) & mask == 0,
            Rule::FlagSet { off, mask } => field(off) & mask != 0,
            Rule::DescriptorIsImage { off } => descriptor::is_image(field(off)),
            Rule::DescriptorIsBuffer { off } => descriptor::is_buffer(field(off)),
            Rule::DescriptorIsTexelBuffer { off } => descriptor::is_texel_buffer(field(off)),
            Rule::PipelineVertexInput => ctx.has(Part::VertexInput),
            Rule::PipelineInputAssembly => ctx.has(Part::InputAssembly),
            Rule::PipelineTessellation => ctx.has(Part::Tessellation),
            Rule::PipelineViewport => ctx.has(Part::Viewport),
            Rule::PipelineRasterization => ctx.has(Part::Rasterization),
            Rule::PipelineMultisample => ctx.has(Part::Multisample),
            Rule::PipelineDepthStencil => ctx.has(Part::DepthStencil),
            Rule::PipelineColorBlend => ctx.has(Part::ColorBlend),
            Rule::PipelineViewports => ctx.has(Part::Viewports),
            Rule::PipelineScissors => ctx.has(Part::Scissors),
            Rule::PipelineSampleMask => ctx.has(Part::SampleMask),
            Rule::PipelineColorBlendAttachments => ctx.has(Part::ColorBlendAttachments),
            Rule::PipelineRenderingFormats => ctx.has(Part::RenderingFormats),
            Rule::PipelineFragmentOutput => ctx.has(Part::FragmentOutput),
            Rule::PipelineDiscardRectangles => ctx.has(Part::DiscardRectangles),
            Rule::PipelineViewportWScalings { enable } => {
                ctx.has(Part::ViewportWScalings)
                    && (field(enable) != 0 || !ctx.has(Part::StaticViewportWScalingEnable))
            }
            Rule::PipelineExclusiveScissors => ctx.has(Part::ExclusiveScissors),
            Rule::PipelineShadingRatePalettes => ctx.has(Part::ShadingRatePalettes),
            Rule::PipelineCoverageModulationTable { enable } => {
                ctx.has(Part::CoverageModulationTable)
                    && (field(enable) != 0 || !ctx.has(Part::StaticCoverageModulationEnable))
            }
        }
    }
}

/// What the encoder does on entering a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Nothing.
    None,
    /// `VkGraphicsPipelineCreateInfo`: notes which parts of the pipeline's state are there.
    GraphicsPipeline,
    /// `VkGraphicsShaderGroupCreateInfoNV`: notes which of its two states are there.
    ShaderGroup,
}

impl Hook {
    /// The state in which the members of the structure at `base`, and its chain, are encoded.
    ///
    /// # Safety
    /// `base` is a readable structure of the hook's type, valid as the specification asks.
    pub unsafe fn enter(self, outer: Ctx, base: *const u8) -> Ctx {
        // SAFETY: as the caller's.
        unsafe {
            match self {
                Hook::None => outer,
                Hook::GraphicsPipeline => Ctx { absent: pipeline::absent_parts(base) },
                Hook::ShaderGroup => Ctx { absent: pipeline::absent_in_group(outer.absent, base) },
            }
        }
    }
}

/// What rules know beyond the structure at hand. Outside of a pipeline every part is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ctx {
    /// Set of [`Part`]s.
    absent: u32,
}

impl Ctx {
    /// Whether this part of the pipeline's state is there.
    #[inline]
    pub fn has(&self, part: Part) -> bool {
        self.absent & part.bit() == 0
    }
}

// The structures are built with ash, whose builders do not follow Miri's aliasing model.
#[cfg(all(test, not(miri)))]
mod tests;
