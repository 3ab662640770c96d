//! Pipelines that are compiled beside: whatever names one, whatever is destroyed meanwhile. No GPU: `--null`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use ash::vk::{self, Handle};
use common::{Guest, dispatchable, in_process, record, request, violates, wait_for};
use vw_host_renderer::session::end::End;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::op;
use vw_wire_protocol::schema::Command;

/// Sends `vkCreateX(device, info, allocator, x)` for object `id`.
fn create<T>(guest: &mut Guest, command: &Command, info: &T, id: u64) -> Result<(), String> {
    let args = [dispatchable(1), std::ptr::from_ref(info) as u64, 0, std::ptr::from_ref(&id) as u64];
    guest.command(command, &args)
}

/// A guest with device 1, cache 1, shader module 1 and pipeline layout 1.
fn begin(guest: &mut Guest) {
    assert_eq!(guest.create_device(), Ok(0));
    let flags = vk::PipelineCacheCreateFlags::EXTERNALLY_SYNCHRONIZED;
    let cache = vk::PipelineCacheCreateInfo::default().flags(flags);
    create(guest, &commands::VK_CREATE_PIPELINE_CACHE, &cache, 1).unwrap();
    let code = [0x0723_0203; 8];
    let module = vk::ShaderModuleCreateInfo::default().code(&code);
    create(guest, &commands::VK_CREATE_SHADER_MODULE, &module, 1).unwrap();
    let layout = vk::PipelineLayoutCreateInfo::default();
    create(guest, &commands::VK_CREATE_PIPELINE_LAYOUT, &layout, 1).unwrap();
}

/// Compute pipelines with these ids, with `base` as what they are derived from.
fn compile(guest: &mut Guest, ids: &[u64], base: u64) -> Result<(), String> {
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(vk::ShaderModule::from_raw(1))
        .name(c"main");
    let flags =
        if base == 0 { vk::PipelineCreateFlags::empty() } else { vk::PipelineCreateFlags::DERIVATIVE };
    let info = vk::ComputePipelineCreateInfo::default()
        .flags(flags)
        .stage(stage)
        .layout(vk::PipelineLayout::from_raw(1))
        .base_pipeline_handle(vk::Pipeline::from_raw(base))
        .base_pipeline_index(-1);
    let infos = vec![info; ids.len()];
    let count = ids.len() as u64;
    let args = [dispatchable(1), 1, count, infos.as_ptr() as u64, 0, ids.as_ptr() as u64];
    guest.command(&commands::VK_CREATE_COMPUTE_PIPELINES, &args)
}

fn destroy(guest: &mut Guest, command: &Command, id: u64) -> Result<(), String> {
    guest.command(command, &[dispatchable(1), id, 0])
}

/// Everything was taken, and the session goes on.
fn settled(guest: &mut Guest) {
    guest.call(op::FACTS, &[]).unwrap();
    assert_eq!(guest.connection.region.control().device_lost(), None);
}

#[test]
fn pipeline_when_named_at_once_is_there_in_every_kind_of_place() {
    let end = in_process(|guest| {
        begin(guest);
        compile(guest, &[1, 2, 3], 0).unwrap();
        // As what others are derived from.
        compile(guest, &[4], 3).unwrap();
        compile(guest, &[5], 4).unwrap();
        // In a command buffer.
        let pool = vk::CommandPoolCreateInfo::default();
        create(guest, &commands::VK_CREATE_COMMAND_POOL, &pool, 1).unwrap();
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(Handle::from_raw(1))
            .command_buffer_count(1);
        let buffer = dispatchable(1);
        let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, std::ptr::from_ref(&buffer) as u64];
        guest.command(&commands::VK_ALLOCATE_COMMAND_BUFFERS, &args).unwrap();
        let info = vk::CommandBufferBeginInfo::default();
        let args = [dispatchable(1), std::ptr::from_ref(&info) as u64];
        guest.command(&commands::VK_BEGIN_COMMAND_BUFFER, &args).unwrap();
        let mut stream = 1_u64.to_le_bytes().to_vec();
        for pipeline in [1, 5] {
            let bind = &commands::VK_CMD_BIND_PIPELINE;
            stream.extend(record(bind.opcode, &request(bind, &[dispatchable(1), 1, pipeline])));
        }
        guest.send(op::STREAM, &stream).unwrap();
        guest.command(&commands::VK_END_COMMAND_BUFFER, &[dispatchable(1)]).unwrap();
        let buffers: [vk::CommandBuffer; 1] = [vk::Handle::from_raw(dispatchable(1))];
        let info = vk::SubmitInfo::default().command_buffers(&buffers);
        guest.submit(&[dispatchable(1), 1, std::ptr::from_ref(&info) as u64, 0]).unwrap();
        // Named by tools, and destroyed.
        compile(guest, &[6], 0).unwrap();
        let mut name = [1_u64.to_le_bytes(), 6_u64.to_le_bytes()].concat();
        name.extend(vk::ObjectType::PIPELINE.as_raw().to_le_bytes());
        name.extend(4_u32.to_le_bytes());
        name.extend(*b"name");
        guest.send(op::NAME_OBJECT, &name).unwrap();
        compile(guest, &[7], 0).unwrap();
        for id in 1..=7 {
            destroy(guest, &commands::VK_DESTROY_PIPELINE, id).unwrap();
        }
        settled(guest);
    });
    assert_eq!(end, End::Disconnected);
}

#[test]
fn objects_when_destroyed_while_pipelines_are_compiled_are_gone_for_the_guest() {
    let end = in_process(|guest| {
        begin(guest);
        for id in 1..=100 {
            compile(guest, &[id], 0).unwrap();
        }
        destroy(guest, &commands::VK_DESTROY_SHADER_MODULE, 1).unwrap();
        destroy(guest, &commands::VK_DESTROY_PIPELINE_LAYOUT, 1).unwrap();
        destroy(guest, &commands::VK_DESTROY_PIPELINE_CACHE, 1).unwrap();
        settled(guest);
        guest.command(&commands::VK_DESTROY_DEVICE, &[dispatchable(1), 0]).unwrap();
        assert!(wait_for(|| guest.producer.consumed() == guest.producer.position()));
    });
    assert_eq!(end, End::Disconnected);
    let text = violates(|guest| {
        begin(guest);
        compile(guest, &[1], 0).unwrap();
        destroy(guest, &commands::VK_DESTROY_SHADER_MODULE, 1).unwrap();
        let _ = destroy(guest, &commands::VK_DESTROY_SHADER_MODULE, 1);
        guest.is_ended();
    });
    assert!(text.contains("ShaderModule 0x1"), "{text}");
}

#[test]
fn ids_when_of_pipelines_that_are_being_compiled_are_in_use() {
    let text = violates(|guest| {
        begin(guest);
        compile(guest, &[1, 2], 0).unwrap();
        let _ = compile(guest, &[2 | 1 << 32], 0);
        guest.is_ended();
    });
    assert!(text.contains("in use"), "{text}");
    let text = violates(|guest| {
        begin(guest);
        compile(guest, &[1], 0).unwrap();
        let _ = destroy(guest, &commands::VK_DESTROY_PIPELINE, 1 | 1 << 32);
        guest.is_ended();
    });
    assert!(text.contains("Pipeline 0x100000001"), "{text}");
}

#[test]
fn pipelines_when_thousands_come_at_once_are_all_there() {
    let end = in_process(|guest| {
        begin(guest);
        for first in (1..8_000).step_by(4) {
            compile(guest, &[first, first + 1, first + 2, first + 3], 0).unwrap();
        }
        for id in 1..=8_000 {
            destroy(guest, &commands::VK_DESTROY_PIPELINE, id).unwrap();
        }
        settled(guest);
    });
    assert_eq!(end, End::Disconnected);
}
