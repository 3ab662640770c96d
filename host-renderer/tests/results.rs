//! Results in unusual places: inside of inputs, sized by another parameter, new handles inside of structures. No GPU.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use ash::vk;
use common::{Guest, Renderer, dispatchable, request};
use vw_wire_protocol::codec::{Reader, asks_for_results, decode_reply};
use vw_wire_protocol::cooperative_vector::ConvertInfo;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Command;

/// Calls a command and writes its results through the arguments.
fn call(guest: &mut Guest, cmd: &Command, args: &[u64]) -> Result<u64, String> {
    let reply = guest.call(cmd.opcode, &request(cmd, args))?;
    // SAFETY: the tests give valid arguments.
    unsafe { decode_reply(cmd, args, &mut Reader::new(&reply)) }.map_err(|error| error.to_string())
}

fn asks(cmd: &Command, args: &[u64]) -> bool {
    // SAFETY: the tests give valid arguments.
    unsafe { asks_for_results(cmd, args) }
}

fn guest(renderer: &Renderer) -> Guest {
    let mut guest = renderer.connect();
    assert_eq!(guest.create_device(), Ok(0));
    guest
}

/// `VkBindMemoryStatus`
#[repr(C)]
struct BindMemoryStatus {
    s_type: vk::StructureType,
    p_next: *const u8,
    p_result: *mut vk::Result,
}

#[test]
fn binding_when_its_status_is_asked_for_is_answered_with_it() {
    let renderer = Renderer::start(&[]);
    let mut guest = guest(&renderer);
    guest.create_buffer(1).unwrap();
    assert_eq!(guest.allocate(1, 0), Ok(0));
    let mut result = vk::Result::ERROR_UNKNOWN;
    let status = BindMemoryStatus {
        s_type: vk::StructureType::from_raw(1_000_545_002),
        p_next: std::ptr::null(),
        p_result: &raw mut result,
    };
    let plain =
        vk::BindBufferMemoryInfo::default().buffer(vk::Handle::from_raw(1)).memory(vk::Handle::from_raw(1));
    let info = vk::BindBufferMemoryInfo { p_next: (&raw const status).cast(), ..plain };
    let cmd = &commands::VK_BIND_BUFFER_MEMORY_2;
    assert!(!asks(cmd, &[dispatchable(1), 1, &raw const plain as u64]));
    let args = [dispatchable(1), 1, &raw const info as u64];
    assert!(asks(cmd, &args));
    assert_eq!(call(&mut guest, cmd, &args), Ok(0));
    assert_eq!(result, vk::Result::SUCCESS);
}

/// What was not called leaves the places for results as they are.
#[test]
fn binding_when_its_buffer_could_not_be_created_has_no_status() {
    let renderer = Renderer::start(&[]);
    let mut guest = guest(&renderer);
    let info = vk::BufferCreateInfo::default().size(0);
    let id = 1_u64;
    let args = [dispatchable(1), &raw const info as u64, 0, &raw const id as u64];
    guest.command(&commands::VK_CREATE_BUFFER, &args).unwrap();
    assert_eq!(guest.allocate(1, 0), Ok(0));
    let mut result = vk::Result::ERROR_UNKNOWN;
    let status = BindMemoryStatus {
        s_type: vk::StructureType::from_raw(1_000_545_002),
        p_next: std::ptr::null(),
        p_result: &raw mut result,
    };
    let mut info =
        vk::BindBufferMemoryInfo::default().buffer(vk::Handle::from_raw(1)).memory(vk::Handle::from_raw(1));
    info.p_next = (&raw const status).cast();
    let args = [dispatchable(1), 1, &raw const info as u64];
    let ret = call(&mut guest, &commands::VK_BIND_BUFFER_MEMORY_2, &args).unwrap();
    let expected = if ret == 0 { vk::Result::SUCCESS } else { vk::Result::ERROR_UNKNOWN };
    assert_eq!(result, expected);
}

#[test]
fn render_pass_when_feedback_is_asked_for_is_answered_with_it() {
    let renderer = Renderer::start(&[]);
    let mut guest = guest(&renderer);
    let filled = vk::RenderPassSubpassFeedbackInfoEXT {
        subpass_merge_status: vk::SubpassMergeStatusEXT::DISALLOWED,
        description: [7; 256],
        post_merge_index: 9,
    };
    let (mut first, mut second) = (filled, filled);
    let mut whole = vk::RenderPassCreationFeedbackInfoEXT { post_merge_subpass_count: 5 };
    let mut of_first = vk::RenderPassSubpassFeedbackCreateInfoEXT::default().subpass_feedback(&mut first);
    let mut of_second = vk::RenderPassSubpassFeedbackCreateInfoEXT::default().subpass_feedback(&mut second);
    let subpasses = [
        vk::SubpassDescription2::default().push_next(&mut of_first),
        vk::SubpassDescription2::default(),
        vk::SubpassDescription2::default().push_next(&mut of_second),
    ];
    let mut feedback =
        vk::RenderPassCreationFeedbackCreateInfoEXT::default().render_pass_feedback(&mut whole);
    let info = vk::RenderPassCreateInfo2::default().subpasses(&subpasses).push_next(&mut feedback);
    let cmd = &commands::VK_CREATE_RENDER_PASS_2;
    let mut id = 1_u64;
    let args = [dispatchable(1), &raw const info as u64, 0, &raw mut id as u64];
    assert!(asks(cmd, &args));
    assert_eq!(call(&mut guest, cmd, &args), Ok(0));
    assert_eq!((whole.post_merge_subpass_count, first.post_merge_index, second.post_merge_index), (0, 0, 0));
    assert!(first.description == [0; 256] && id == 1);
}

#[test]
fn fault_when_asked_for_fills_arrays_of_the_counts() {
    let renderer = Renderer::start(&[]);
    let mut guest = guest(&renderer);
    let cmd = &commands::VK_GET_DEVICE_FAULT_INFO_EXT;
    let mut counts = vk::DeviceFaultCountsEXT::default();
    let args = [dispatchable(1), &raw mut counts as u64, 0];
    assert_eq!(call(&mut guest, cmd, &args), Ok(0));
    counts.address_info_count = 2;
    counts.vendor_binary_size = 5;
    let mut addresses = [vk::DeviceFaultAddressInfoEXT { reported_address: 3, ..Default::default() }; 3];
    let mut binary = [7_u8; 8];
    let mut info = vk::DeviceFaultInfoEXT {
        p_address_infos: addresses.as_mut_ptr(),
        p_vendor_binary_data: binary.as_mut_ptr().cast(),
        ..Default::default()
    };
    let args = [dispatchable(1), &raw mut counts as u64, &raw mut info as u64];
    assert_eq!(call(&mut guest, cmd, &args), Ok(0));
    assert_eq!((counts.address_info_count, counts.vendor_info_count, counts.vendor_binary_size), (2, 0, 5));
    assert_eq!(addresses.map(|address| address.reported_address), [0, 0, 3]);
    assert_eq!(binary, [0, 0, 0, 0, 0, 7, 7, 7]);
}

/// `VkPipelineBinaryHandlesInfoKHR`
#[repr(C)]
struct Handles {
    s_type: i32,
    p_next: *const u8,
    count: u32,
    binaries: *mut u64,
}

/// `VkPipelineBinaryCreateInfoKHR`
#[repr(C)]
struct BinaryInfo {
    s_type: i32,
    p_next: *const u8,
    keys_and_data: *const KeysAndData,
    pipeline: u64,
    create_info: *const PipelineInfo,
}

/// `VkPipelineCreateInfoKHR`
#[repr(C)]
struct PipelineInfo {
    s_type: i32,
    p_next: *const u8,
}

/// `VkPipelineBinaryKeysAndDataKHR`
#[repr(C)]
struct KeysAndData {
    count: u32,
    keys: *const Key,
    data: *const (usize, *const u8),
}

/// `VkPipelineBinaryKeyKHR`
#[repr(C)]
struct Key {
    s_type: i32,
    p_next: *const u8,
    size: u32,
    key: [u8; 32],
}

fn key() -> Key {
    Key { s_type: 1_000_483_003, p_next: std::ptr::null(), size: 4, key: [1; 32] }
}

#[test]
fn pipeline_binaries_when_created_inside_of_a_structure_can_be_used() {
    let renderer = Renderer::start(&[]);
    let mut guest = guest(&renderer);
    let keys = [key(), key()];
    let bytes = [5_u8; 100];
    let data = [(bytes.len(), bytes.as_ptr()), (3, bytes.as_ptr())];
    let both = KeysAndData { count: 2, keys: keys.as_ptr(), data: data.as_ptr().cast() };
    let info = BinaryInfo {
        s_type: 1_000_483_001,
        p_next: std::ptr::null(),
        keys_and_data: &raw const both,
        pipeline: 0,
        create_info: std::ptr::null(),
    };
    let mut ids = [1_u64, 2];
    let mut handles =
        Handles { s_type: 1_000_483_009, p_next: std::ptr::null(), count: 2, binaries: ids.as_mut_ptr() };
    let args = [dispatchable(1), &raw const info as u64, 0, &raw mut handles as u64];
    assert_eq!(call(&mut guest, &commands::VK_CREATE_PIPELINE_BINARIES_KHR, &args), Ok(0));
    assert_eq!((handles.count, ids), (2, [1, 2]));
    // The ids name objects: they can be destroyed, once.
    let destroy = &commands::VK_DESTROY_PIPELINE_BINARY_KHR;
    for id in ids {
        guest.command(destroy, &[dispatchable(1), id, 0]).unwrap();
    }
    guest.command(destroy, &[dispatchable(1), 2, 0]).unwrap();
    assert!(guest.is_ended());
    assert!(guest.connection.peer.last_words().unwrap().contains("PipelineBinaryKHR"));
}

/// The chain of a key's create info is that of the pipeline's.
#[test]
fn pipeline_key_when_asked_for_takes_a_create_info_with_its_own_chain() {
    let renderer = Renderer::start(&[]);
    let mut guest = guest(&renderer);
    let formats = [vk::Format::R8G8B8A8_UNORM];
    let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
    let pipeline = vk::GraphicsPipelineCreateInfo::default().push_next(&mut rendering);
    let info = PipelineInfo { s_type: 1_000_483_007, p_next: (&raw const pipeline).cast() };
    let cmd = &commands::VK_GET_PIPELINE_KEY_KHR;
    let with_chain = {
        let mut out = key();
        let args = [dispatchable(1), &raw const info as u64, &raw mut out as u64];
        assert_eq!(call(&mut guest, cmd, &args), Ok(0));
        assert_eq!((out.size, out.key), (0, [0; 32]));
        request(cmd, &args).len()
    };
    let bare = vk::GraphicsPipelineCreateInfo::default();
    let info = PipelineInfo { s_type: 1_000_483_007, p_next: (&raw const bare).cast() };
    let mut out = key();
    let args = [dispatchable(1), &raw const info as u64, &raw mut out as u64];
    assert!(request(cmd, &args).len() < with_chain);
}

#[test]
fn pipeline_properties_when_asked_for_are_the_identifier() {
    let renderer = Renderer::start(&[]);
    let mut guest = guest(&renderer);
    let info = vk::PipelineInfoKHR::default();
    let mut out = vk::PipelinePropertiesIdentifierEXT { pipeline_identifier: [9; 16], ..Default::default() };
    let args = [dispatchable(1), &raw const info as u64, &raw mut out as u64];
    assert_eq!(call(&mut guest, &commands::VK_GET_PIPELINE_PROPERTIES_EXT, &args), Ok(0));
    assert_eq!(out.pipeline_identifier, [0; 16]);
}

#[test]
fn matrix_when_not_in_the_window_or_too_short_ends_the_session() {
    let renderer = Renderer::start(&[]);
    let convert = |change: &dyn Fn(&mut ConvertInfo)| {
        let mut guest = guest(&renderer);
        let mut room = 100;
        let mut info = ConvertInfo {
            s_type: 1_000_491_004,
            p_next: std::ptr::null(),
            src_size: 4 * 8 * 4,
            src_data: 64,
            p_dst_size: &raw mut room,
            dst_data: 256,
            src_component_type: 1,
            dst_component_type: 0,
            num_rows: 4,
            num_columns: 8,
            src_layout: 0,
            src_stride: 32,
            dst_layout: 2,
            dst_stride: 0,
        };
        change(&mut info);
        let cmd = &commands::VK_CONVERT_COOPERATIVE_VECTOR_MATRIX_NV;
        call(&mut guest, cmd, &[dispatchable(1), &raw const info as u64])
    };
    assert_eq!(convert(&|_| {}), Ok(0));
    assert_eq!(convert(&|info| (info.src_data, info.dst_data) = (0, 0)), Ok(0));
    let wrong: [&dyn Fn(&mut ConvertInfo); 7] = [
        &|info| info.src_data = u64::MAX - 4,
        &|info| info.dst_data = 1 << 60,
        &|info| info.src_data = 0,
        &|info| info.src_size -= 1,
        &|info| info.src_stride = usize::MAX,
        &|info| info.src_component_type = 99,
        &|info| info.p_dst_size = std::ptr::null_mut(),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        assert!(convert(change).is_err(), "{number}");
    }
}
