//! Calls whose ignored pointers are garbage, through the real tables: the encoder must not follow them, and the
//! host must see null.
#![cfg(not(miri))]

mod common;

use std::ptr::{from_ref, with_exposed_provenance, without_provenance};

use ash::vk::{self, Handle};
use common::host::Objects;
use common::written;
use vw_wire_protocol::codec::{
    Arena, Mode, NoHandles, Reader, decode_request, decode_struct, encode_request, encode_struct,
};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::generated::{commands, structs};
use vw_wire_protocol::rules::{Hook, Rule};
use vw_wire_protocol::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

/// A pointer that faults when it is followed.
fn garbage<T>() -> *const T {
    without_provenance(0xdead_beef)
}

fn slot<T: ?Sized>(t: &T) -> u64 {
    from_ref(t).cast::<u8>().expose_provenance() as u64
}

/// Sends the call `vkX(device, ...)` and lets `look` see what argument `i` points to on the host.
fn send<T>(cmd: &'static Command, rest: &[u64], i: usize, look: impl FnOnce(&T)) {
    let mut objects = Objects::default();
    let mut args = vec![objects.handle(HandleType::Device, 1)];
    args.extend(rest);
    let arena = Arena::default();
    // SAFETY: the tests pass arguments with which the command may be called.
    unsafe {
        let bytes = written(|w| encode_request(cmd, &args, w));
        let req = decode_request(cmd, &mut Reader::new(&bytes), &arena, &mut objects).expect("whole");
        look(&*with_exposed_provenance::<T>(req.args[i] as usize));
    }
}

#[test]
fn buffer_and_image_when_exclusive_send_no_queue_families() {
    let id = 3u64;
    let mut info = vk::BufferCreateInfo { queue_family_index_count: 1000, ..Default::default() };
    info.p_queue_family_indices = garbage();
    let rest = [slot(&info), 0, slot(&id)];
    send(&commands::VK_CREATE_BUFFER, &rest, 1, |b: &vk::BufferCreateInfo<'_>| {
        assert!(b.p_queue_family_indices.is_null());
    });
    let mut info = vk::ImageCreateInfo { queue_family_index_count: 1000, ..Default::default() };
    info.p_queue_family_indices = garbage();
    let rest = [slot(&info), 0, slot(&id)];
    send(&commands::VK_CREATE_IMAGE, &rest, 1, |i: &vk::ImageCreateInfo<'_>| {
        assert!(i.p_queue_family_indices.is_null());
    });
}

#[test]
fn framebuffer_when_imageless_sends_no_attachments() {
    let id = 3u64;
    let mut info = vk::FramebufferCreateInfo { attachment_count: 7, ..Default::default() };
    info.flags = vk::FramebufferCreateFlags::IMAGELESS;
    info.p_attachments = garbage();
    let rest = [slot(&info), 0, slot(&id)];
    send(&commands::VK_CREATE_FRAMEBUFFER, &rest, 1, |f: &vk::FramebufferCreateInfo<'_>| {
        assert!(f.p_attachments.is_null() && f.attachment_count == 7);
    });
}

#[test]
fn write_when_of_one_type_sends_only_that_array() {
    let buffer = vk::DescriptorBufferInfo { buffer: vk::Buffer::from_raw(5), offset: 1, range: 2 };
    let image = vk::DescriptorImageInfo { image_view: vk::ImageView::from_raw(6), ..Default::default() };
    let garbage_write = || {
        let mut w = vk::WriteDescriptorSet { descriptor_count: 1, ..Default::default() };
        w.p_image_info = garbage();
        w.p_buffer_info = garbage();
        w.p_texel_buffer_view = garbage();
        w
    };
    let mut writes = [garbage_write(), garbage_write(), garbage_write()];
    writes[0].descriptor_type = vk::DescriptorType::STORAGE_BUFFER;
    writes[0].p_buffer_info = &raw const buffer;
    writes[1].descriptor_type = vk::DescriptorType::SAMPLED_IMAGE;
    writes[1].p_image_info = &raw const image;
    writes[2].descriptor_type = vk::DescriptorType::ACCELERATION_STRUCTURE_KHR;
    let rest = [3, slot(&writes), 0, 0];
    send(&commands::VK_UPDATE_DESCRIPTOR_SETS, &rest, 2, |w: &[vk::WriteDescriptorSet<'_>; 3]| {
        let sent = w.map(|w| {
            [w.p_image_info.is_null(), w.p_buffer_info.is_null(), w.p_texel_buffer_view.is_null()].map(|n| !n)
        });
        assert_eq!(sent, [[false, true, false], [true, false, false], [false; 3]]);
    });
}

#[test]
fn set_layout_when_the_type_has_no_sampler_sends_none() {
    let id = 3u64;
    let mut binding = vk::DescriptorSetLayoutBinding { descriptor_count: 9, ..Default::default() };
    binding.descriptor_type = vk::DescriptorType::UNIFORM_BUFFER;
    binding.p_immutable_samplers = garbage();
    let bindings = [binding];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    let rest = [slot(&info), 0, slot(&id)];
    let cmd = &commands::VK_CREATE_DESCRIPTOR_SET_LAYOUT;
    send(cmd, &rest, 1, |i: &vk::DescriptorSetLayoutCreateInfo<'_>| {
        // SAFETY: one binding was sent.
        assert!(unsafe { (*i.p_bindings).p_immutable_samplers }.is_null());
    });
}

#[test]
fn pipelines_when_created_together_are_judged_one_by_one() {
    let ids = [3u64, 4];
    let stages = [vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::VERTEX)
        .module(vk::ShaderModule::from_raw(9))
        .name(c"main")];
    let vertex_input = vk::PipelineVertexInputStateCreateInfo {
        p_vertex_attribute_descriptions: without_provenance(usize::MAX),
        ..Default::default()
    };
    let assembly = vk::PipelineInputAssemblyStateCreateInfo::default();
    let discard = vk::PipelineRasterizationStateCreateInfo::default().rasterizer_discard_enable(true);
    let mut without = vk::GraphicsPipelineCreateInfo::default()
        .stages(&stages)
        .vertex_input_state(&vertex_input)
        .input_assembly_state(&assembly)
        .rasterization_state(&discard);
    without.p_tessellation_state = garbage();
    without.p_viewport_state = garbage();
    without.p_multisample_state = garbage();
    without.p_depth_stencil_state = garbage();
    without.p_color_blend_state = garbage();

    // The second rasterizes, with dynamic viewports.
    let dynamic = [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR_WITH_COUNT];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&dynamic);
    let mut viewport = vk::PipelineViewportStateCreateInfo { viewport_count: 4, ..Default::default() };
    viewport.scissor_count = 1 << 30;
    viewport.p_viewports = garbage();
    viewport.p_scissors = garbage();
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let multisample = vk::PipelineMultisampleStateCreateInfo::default();
    let with = vk::GraphicsPipelineCreateInfo::default()
        .stages(&stages)
        .vertex_input_state(&vertex_input)
        .input_assembly_state(&assembly)
        .viewport_state(&viewport)
        .rasterization_state(&raster)
        .multisample_state(&multisample)
        .dynamic_state(&dynamic)
        .render_pass(vk::RenderPass::from_raw(8));

    let infos = [without, with];
    let rest = [0, 2, slot(&infos), 0, slot(&ids)];
    let cmd = &commands::VK_CREATE_GRAPHICS_PIPELINES;
    send(cmd, &rest, 3, |infos: &[vk::GraphicsPipelineCreateInfo<'_>; 2]| {
        let [without, with] = infos;
        assert!(without.p_viewport_state.is_null() && without.p_tessellation_state.is_null());
        assert!(without.p_multisample_state.is_null() && without.p_depth_stencil_state.is_null());
        assert!(without.p_color_blend_state.is_null() && !without.p_rasterization_state.is_null());
        assert!(!with.p_viewport_state.is_null() && !with.p_multisample_state.is_null());
        // SAFETY: the state was sent.
        let viewport = unsafe { &*with.p_viewport_state };
        assert!(viewport.p_viewports.is_null() && viewport.p_scissors.is_null());
        assert_eq!(viewport.viewport_count, 4);
    });
}

/// A pipeline, then a viewport state that belongs to none.
static PIPELINE_AND_VIEWPORT: Struct = Struct {
    name: "PipelineAndViewport",
    size: 16,
    align: 8,
    s_type: None,
    ops: &[
        to(0, &structs::VK_GRAPHICS_PIPELINE_CREATE_INFO),
        to(8, &structs::VK_PIPELINE_VIEWPORT_STATE_CREATE_INFO),
    ],
    extended_by: &[],
    min_wire: 2,
    results: false,
    hook: Hook::None,
    provided_by: &[],
};

const fn to(off: u16, desc: &'static Struct) -> Op {
    Op::Pointer(Pointer {
        off,
        elem: Elem::Struct(desc),
        count: Count::One,
        dir: Dir::In,
        rule: Rule::Always,
    })
}

#[test]
fn state_of_a_pipeline_when_left_no_longer_counts() {
    let dynamic = [vk::DynamicState::VIEWPORT];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&dynamic);
    let pipeline = vk::GraphicsPipelineCreateInfo::default().dynamic_state(&dynamic);
    let viewports = [vk::Viewport::default()];
    let viewport = vk::PipelineViewportStateCreateInfo::default().viewports(&viewports);
    let both = [slot(&pipeline), slot(&viewport)];
    let arena = Arena::default();
    // SAFETY: both pointers are to such structures.
    unsafe {
        let bytes = written(|w| encode_struct(&PIPELINE_AND_VIEWPORT, both.as_ptr().cast(), Mode::Full, w));
        let mut r = Reader::new(&bytes);
        let back = decode_struct(&PIPELINE_AND_VIEWPORT, Mode::Full, &mut r, &arena, &mut NoHandles);
        let [_, viewport] = back.expect("whole").cast::<[usize; 2]>().read();
        let viewport = with_exposed_provenance::<vk::PipelineViewportStateCreateInfo<'_>>(viewport);
        assert!(!(*viewport).p_viewports.is_null());
    }
}
