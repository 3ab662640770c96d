//! Every rule against structures whose ignored pointers are garbage.

use std::mem::offset_of;
use std::ptr::{from_ref, null, without_provenance};

use ash::vk;

use super::*;

/// A pointer that faults when it is followed.
fn garbage<T>() -> *const T {
    without_provenance(0xdead_beef)
}

fn allows<T>(rule: Rule, ctx: Ctx, s: &T) -> bool {
    // SAFETY: `s` has the members that the test's rule names.
    unsafe { rule.allows(&ctx, from_ref(s).cast()) }
}

fn enter(info: &vk::GraphicsPipelineCreateInfo<'_>) -> Ctx {
    // SAFETY: the tests' structures are valid where the specification asks for it.
    unsafe { Hook::GraphicsPipeline.enter(Ctx::default(), from_ref(info).cast()) }
}

/// The states among `ALL` that are there.
fn states(ctx: Ctx) -> Vec<Part> {
    const ALL: [Part; 8] = [
        Part::VertexInput,
        Part::InputAssembly,
        Part::Tessellation,
        Part::Viewport,
        Part::Rasterization,
        Part::Multisample,
        Part::DepthStencil,
        Part::ColorBlend,
    ];
    ALL.into_iter().filter(|p| ctx.has(*p)).collect()
}

fn stages(flags: &[vk::ShaderStageFlags]) -> Vec<vk::PipelineShaderStageCreateInfo<'static>> {
    flags.iter().map(|f| vk::PipelineShaderStageCreateInfo::default().stage(*f)).collect()
}

const VERTEX_FRAGMENT: &[vk::ShaderStageFlags] =
    &[vk::ShaderStageFlags::VERTEX, vk::ShaderStageFlags::FRAGMENT];

/// A pipeline with a render pass and garbage for every state.
fn all_garbage<'a>(
    stages: &'a [vk::PipelineShaderStageCreateInfo<'a>],
) -> vk::GraphicsPipelineCreateInfo<'a> {
    let mut info =
        vk::GraphicsPipelineCreateInfo::default().stages(stages).render_pass(ash::vk::Handle::from_raw(7));
    info.p_vertex_input_state = garbage();
    info.p_input_assembly_state = garbage();
    info.p_tessellation_state = garbage();
    info.p_viewport_state = garbage();
    info.p_rasterization_state = garbage();
    info.p_multisample_state = garbage();
    info.p_depth_stencil_state = garbage();
    info.p_color_blend_state = garbage();
    info
}

#[test]
fn queue_families_when_exclusive_are_not_read() {
    let rule = Rule::FieldEquals { off: offset_of!(vk::BufferCreateInfo, sharing_mode) as u16, value: 1 };
    let mut info = vk::BufferCreateInfo { queue_family_index_count: 9, ..Default::default() };
    info.p_queue_family_indices = garbage();
    assert!(!allows(rule, Ctx::default(), &info));
    info.sharing_mode = vk::SharingMode::CONCURRENT;
    assert!(allows(rule, Ctx::default(), &info));
}

#[test]
fn attachments_when_the_framebuffer_is_imageless_are_not_read() {
    let rule = Rule::FlagClear { off: offset_of!(vk::FramebufferCreateInfo, flags) as u16, mask: 1 };
    let mut info = vk::FramebufferCreateInfo { attachment_count: 3, ..Default::default() };
    info.p_attachments = garbage();
    assert!(allows(rule, Ctx::default(), &info));
    info.flags = vk::FramebufferCreateFlags::IMAGELESS;
    assert!(!allows(rule, Ctx::default(), &info));
}

#[test]
fn immutable_samplers_when_the_type_has_no_sampler_are_not_read() {
    let off = offset_of!(vk::DescriptorSetLayoutBinding, descriptor_type) as u16;
    let rule = Rule::FieldIn { off, values: &[0, 1] };
    let mut binding = vk::DescriptorSetLayoutBinding { descriptor_count: 4, ..Default::default() };
    binding.p_immutable_samplers = garbage();
    for (ty, read) in [
        (vk::DescriptorType::SAMPLER, true),
        (vk::DescriptorType::COMBINED_IMAGE_SAMPLER, true),
        (vk::DescriptorType::STORAGE_BUFFER, false),
        (vk::DescriptorType::MUTABLE_EXT, false),
    ] {
        binding.descriptor_type = ty;
        assert_eq!(allows(rule, Ctx::default(), &binding), read, "{}", ty.as_raw());
    }
}

#[test]
fn fixed_rates_when_not_explicit_are_not_read() {
    let off = offset_of!(vk::ImageCompressionControlEXT, flags) as u16;
    let rule = Rule::FlagSet { off, mask: vk::ImageCompressionFlagsEXT::FIXED_RATE_EXPLICIT.as_raw() };
    let mut info = vk::ImageCompressionControlEXT {
        p_fixed_rate_flags: garbage::<vk::ImageCompressionFixedRateFlagsEXT>().cast_mut(),
        ..Default::default()
    };
    assert!(!allows(rule, Ctx::default(), &info));
    info.flags = vk::ImageCompressionFlagsEXT::FIXED_RATE_EXPLICIT;
    assert!(allows(rule, Ctx::default(), &info));
}

#[test]
fn write_when_of_one_type_reads_only_that_array() {
    let off = offset_of!(vk::WriteDescriptorSet, descriptor_type) as u16;
    let rules = [
        Rule::DescriptorIsImage { off },
        Rule::DescriptorIsBuffer { off },
        Rule::DescriptorIsTexelBuffer { off },
    ];
    let mut write = vk::WriteDescriptorSet { descriptor_count: 2, ..Default::default() };
    write.p_image_info = garbage();
    write.p_buffer_info = garbage();
    write.p_texel_buffer_view = garbage();
    for (ty, read) in [
        (vk::DescriptorType::STORAGE_IMAGE, [true, false, false]),
        (vk::DescriptorType::STORAGE_BUFFER_DYNAMIC, [false, true, false]),
        (vk::DescriptorType::STORAGE_TEXEL_BUFFER, [false, false, true]),
        (vk::DescriptorType::INLINE_UNIFORM_BLOCK, [false, false, false]),
    ] {
        write.descriptor_type = ty;
        assert_eq!(rules.map(|r| allows(r, Ctx::default(), &write)), read, "{}", ty.as_raw());
    }
}

#[test]
fn pipeline_when_rasterization_is_discarded_lacks_what_follows_it() {
    let stages = stages(&[vk::ShaderStageFlags::VERTEX]);
    let raster = vk::PipelineRasterizationStateCreateInfo::default().rasterizer_discard_enable(true);
    let info = all_garbage(&stages).rasterization_state(&raster);
    let there = [Part::VertexInput, Part::InputAssembly, Part::Rasterization];
    assert_eq!(states(enter(&info)), there);

    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let info = all_garbage(&stages).rasterization_state(&raster);
    let all_but_tessellation = [
        Part::VertexInput,
        Part::InputAssembly,
        Part::Viewport,
        Part::Rasterization,
        Part::Multisample,
        Part::DepthStencil,
        Part::ColorBlend,
    ];
    assert_eq!(states(enter(&info)), all_but_tessellation);

    // Where discarding is dynamic, the static value says nothing and need not even be there.
    let dynamic = [vk::DynamicState::RASTERIZER_DISCARD_ENABLE];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&dynamic);
    assert_eq!(states(enter(&all_garbage(&stages).dynamic_state(&dynamic))), all_but_tessellation);
}

#[test]
fn pipeline_when_it_has_mesh_or_tessellation_shaders_reads_their_states() {
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let s = stages(&[vk::ShaderStageFlags::TASK_EXT, vk::ShaderStageFlags::MESH_EXT]);
    let ctx = enter(&all_garbage(&s).rasterization_state(&raster));
    assert!(!ctx.has(Part::VertexInput) && !ctx.has(Part::InputAssembly) && !ctx.has(Part::Tessellation));

    let s = stages(&[
        vk::ShaderStageFlags::VERTEX,
        vk::ShaderStageFlags::TESSELLATION_CONTROL,
        vk::ShaderStageFlags::TESSELLATION_EVALUATION,
    ]);
    let ctx = enter(&all_garbage(&s).rasterization_state(&raster));
    assert!(ctx.has(Part::VertexInput) && ctx.has(Part::Tessellation));
}

#[test]
fn library_when_it_has_some_subsets_reads_only_their_states() {
    use vk::GraphicsPipelineLibraryFlagsEXT as L;
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let s = stages(VERTEX_FRAGMENT);
    let cases: [(L, &[Part]); 4] = [
        (L::VERTEX_INPUT_INTERFACE, &[Part::VertexInput, Part::InputAssembly]),
        (L::PRE_RASTERIZATION_SHADERS, &[Part::Viewport, Part::Rasterization, Part::Multisample]),
        (L::FRAGMENT_SHADER, &[Part::Multisample, Part::DepthStencil]),
        (L::FRAGMENT_OUTPUT_INTERFACE, &[Part::Multisample, Part::ColorBlend]),
    ];
    for (flags, there) in cases {
        let mut library = vk::GraphicsPipelineLibraryCreateInfoEXT::default().flags(flags);
        let mut info = all_garbage(&s);
        if flags == L::PRE_RASTERIZATION_SHADERS {
            info = info.rasterization_state(&raster);
        }
        if flags == L::VERTEX_INPUT_INTERFACE || flags == L::FRAGMENT_OUTPUT_INTERFACE {
            info.p_stages = garbage();
        }
        let ctx = enter(&info.flags(vk::PipelineCreateFlags::LIBRARY_KHR).push_next(&mut library));
        assert_eq!(states(ctx), there, "{}", flags.as_raw());
        assert_eq!(ctx.has(Part::FragmentOutput), flags == L::FRAGMENT_OUTPUT_INTERFACE);
    }
}

#[test]
fn pipeline_when_it_only_links_or_makes_a_library_reads_no_state() {
    let libraries = [vk::Pipeline::null()];
    let mut linked = vk::PipelineLibraryCreateInfoKHR::default().libraries(&libraries);
    let mut info = all_garbage(&[]).push_next(&mut linked);
    info.p_stages = garbage();
    info.stage_count = 2;
    assert_eq!(states(enter(&info)), []);

    let mut info = all_garbage(&[]).flags(vk::PipelineCreateFlags::LIBRARY_KHR);
    info.p_stages = garbage();
    info.stage_count = 2;
    assert_eq!(states(enter(&info)), []);
}

#[test]
fn flags_when_in_the_chain_replace_those_of_the_pipeline() {
    /// `VkPipelineCreateFlags2CreateInfo`, which is newer than ash.
    #[repr(C)]
    struct Flags2 {
        s_type: i32,
        next: *const u8,
        flags: u64,
    }
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let s = stages(VERTEX_FRAGMENT);
    let mut flags2 = Flags2 { s_type: 1_000_470_005, next: null(), flags: 0 };
    let mut info = all_garbage(&s).rasterization_state(&raster).flags(vk::PipelineCreateFlags::LIBRARY_KHR);
    info.p_next = from_ref(&flags2).cast();
    assert_eq!(states(enter(&info)).len(), 7);
    flags2.flags = 0x800;
    info.p_next = from_ref(&flags2).cast();
    info.p_rasterization_state = garbage();
    assert_eq!(states(enter(&info)), []);
}

#[test]
fn dynamic_rendering_when_it_has_no_attachments_reads_no_state_of_theirs() {
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let s = stages(VERTEX_FRAGMENT);
    let base = || all_garbage(&s).rasterization_state(&raster).render_pass(vk::RenderPass::null());
    let ctx = enter(&base());
    assert!(!ctx.has(Part::DepthStencil) && !ctx.has(Part::ColorBlend) && ctx.has(Part::RenderingFormats));

    let none = [vk::Format::UNDEFINED; 2];
    let mut rendering = vk::PipelineRenderingCreateInfo::default()
        .color_attachment_formats(&none)
        .depth_attachment_format(vk::Format::D32_SFLOAT);
    let ctx = enter(&base().push_next(&mut rendering));
    assert!(ctx.has(Part::DepthStencil) && !ctx.has(Part::ColorBlend));

    let some = [vk::Format::UNDEFINED, vk::Format::R8G8B8A8_UNORM];
    let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&some);
    let ctx = enter(&base().push_next(&mut rendering));
    assert!(!ctx.has(Part::DepthStencil) && ctx.has(Part::ColorBlend));

    // With a render pass the formats are ignored, and may be garbage.
    let mut rendering = vk::PipelineRenderingCreateInfo { color_attachment_count: 2, ..Default::default() };
    rendering.p_color_attachment_formats = garbage();
    let info = all_garbage(&s).rasterization_state(&raster);
    let ctx = enter(&info.push_next(&mut rendering));
    assert!(!ctx.has(Part::RenderingFormats) && ctx.has(Part::DepthStencil) && ctx.has(Part::ColorBlend));
    assert!(!allows(Rule::PipelineRenderingFormats, ctx, &rendering));

    // A library without the output subset does not say its formats: depth/stencil state must be there.
    let mut rendering = vk::PipelineRenderingCreateInfo { color_attachment_count: 2, ..Default::default() };
    rendering.p_color_attachment_formats = garbage();
    let mut library = vk::GraphicsPipelineLibraryCreateInfoEXT::default()
        .flags(vk::GraphicsPipelineLibraryFlagsEXT::FRAGMENT_SHADER);
    let ctx = enter(&base().push_next(&mut rendering).push_next(&mut library));
    assert!(ctx.has(Part::DepthStencil) && !ctx.has(Part::RenderingFormats));
}

#[test]
fn state_when_dynamic_is_not_read() {
    use vk::DynamicState as D;
    let cases: [(&[D], Rule); 15] = [
        (&[D::VERTEX_INPUT_EXT], Rule::PipelineVertexInput),
        (&[D::VIEWPORT], Rule::PipelineViewports),
        (&[D::VIEWPORT_WITH_COUNT], Rule::PipelineViewports),
        (&[D::SCISSOR], Rule::PipelineScissors),
        (&[D::SCISSOR_WITH_COUNT], Rule::PipelineScissors),
        (&[D::SAMPLE_MASK_EXT], Rule::PipelineSampleMask),
        (&[D::DISCARD_RECTANGLE_EXT], Rule::PipelineDiscardRectangles),
        (&[D::EXCLUSIVE_SCISSOR_NV], Rule::PipelineExclusiveScissors),
        (&[D::VIEWPORT_SHADING_RATE_PALETTE_NV], Rule::PipelineShadingRatePalettes),
        (&[D::VIEWPORT_W_SCALING_NV], Rule::PipelineViewportWScalings { enable: 16 }),
        (
            &[D::VIEWPORT_W_SCALING_NV, D::VIEWPORT_W_SCALING_ENABLE_NV],
            Rule::PipelineViewportWScalings { enable: 16 },
        ),
        (&[D::COVERAGE_MODULATION_TABLE_NV], Rule::PipelineCoverageModulationTable { enable: 24 }),
        (
            &[D::COVERAGE_MODULATION_TABLE_NV, D::COVERAGE_MODULATION_TABLE_ENABLE_NV],
            Rule::PipelineCoverageModulationTable { enable: 24 },
        ),
        (
            &[
                D::COLOR_BLEND_ENABLE_EXT,
                D::COLOR_BLEND_EQUATION_EXT,
                D::COLOR_WRITE_MASK_EXT,
                D::COLOR_BLEND_ADVANCED_EXT,
            ],
            Rule::PipelineColorBlendAttachments,
        ),
        (&[D::RASTERIZER_DISCARD_ENABLE, D::VERTEX_INPUT_EXT], Rule::PipelineVertexInput),
    ];
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let s = stages(VERTEX_FRAGMENT);
    // A structure in which every member is VK_TRUE.
    let holder = [1u32; 16];
    for (states, rule) in cases {
        let info = all_garbage(&s).rasterization_state(&raster);
        assert!(allows(rule, enter(&info), &holder), "{rule:?} with nothing dynamic");
        let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(states);
        assert!(!allows(rule, enter(&info.dynamic_state(&dynamic)), &holder), "{rule:?}");
    }
    // Some of the states that make up an attachment are not all of them.
    let some = [D::COLOR_BLEND_ENABLE_EXT, D::COLOR_BLEND_EQUATION_EXT, D::COLOR_WRITE_MASK_EXT];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&some);
    let info = all_garbage(&s).rasterization_state(&raster).dynamic_state(&dynamic);
    assert!(allows(Rule::PipelineColorBlendAttachments, enter(&info), &holder));
}

#[test]
fn table_when_its_use_is_off_or_dynamic_is_read_accordingly() {
    let off = offset_of!(vk::PipelineCoverageModulationStateCreateInfoNV, coverage_modulation_table_enable);
    let rule = Rule::PipelineCoverageModulationTable { enable: off as u16 };
    let mut state = vk::PipelineCoverageModulationStateCreateInfoNV {
        coverage_modulation_table_count: 5,
        ..Default::default()
    };
    state.p_coverage_modulation_table = garbage();
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let s = stages(VERTEX_FRAGMENT);
    let info = all_garbage(&s).rasterization_state(&raster);
    assert!(!allows(rule, enter(&info), &state));
    let enable = [vk::DynamicState::COVERAGE_MODULATION_TABLE_ENABLE_NV];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&enable);
    assert!(allows(rule, enter(&info.dynamic_state(&dynamic)), &state));
    state.coverage_modulation_table_enable = vk::TRUE;
    assert!(allows(rule, enter(&info), &state));

    let off = offset_of!(vk::PipelineViewportWScalingStateCreateInfoNV, viewport_w_scaling_enable) as u16;
    let rule = Rule::PipelineViewportWScalings { enable: off };
    let mut state = vk::PipelineViewportWScalingStateCreateInfoNV { viewport_count: 5, ..Default::default() };
    state.p_viewport_w_scalings = garbage();
    assert!(!allows(rule, enter(&info), &state));
    state.viewport_w_scaling_enable = vk::TRUE;
    assert!(allows(rule, enter(&info), &state));
}

#[test]
fn group_when_it_has_its_own_stages_reads_their_states() {
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let s = stages(VERTEX_FRAGMENT);
    let outer = enter(&all_garbage(&s).rasterization_state(&raster));
    let enter_group = |group: &vk::GraphicsShaderGroupCreateInfoNV<'_>| {
        // SAFETY: the group is valid but for the pointers that are ignored.
        unsafe { Hook::ShaderGroup.enter(outer, from_ref(group).cast()) }
    };
    let mesh = stages(&[vk::ShaderStageFlags::MESH_EXT]);
    let mut group = vk::GraphicsShaderGroupCreateInfoNV::default().stages(&mesh);
    group.p_vertex_input_state = garbage();
    group.p_tessellation_state = garbage();
    let ctx = enter_group(&group);
    assert!(!ctx.has(Part::VertexInput) && !ctx.has(Part::Tessellation) && ctx.has(Part::Viewport));
    let ctx = enter_group(&group.stages(&s));
    assert!(ctx.has(Part::VertexInput) && !ctx.has(Part::Tessellation));
}

#[test]
fn part_when_outside_of_a_pipeline_is_there() {
    let holder = [0u32; 8];
    for rule in [
        Rule::Always,
        Rule::PipelineVertexInput,
        Rule::PipelineInputAssembly,
        Rule::PipelineTessellation,
        Rule::PipelineViewport,
        Rule::PipelineRasterization,
        Rule::PipelineMultisample,
        Rule::PipelineDepthStencil,
        Rule::PipelineColorBlend,
        Rule::PipelineRenderingFormats,
        Rule::PipelineFragmentOutput,
    ] {
        assert!(allows(rule, Ctx::default(), &holder));
    }
}
