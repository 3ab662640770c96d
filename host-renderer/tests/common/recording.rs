//! A guest that records commands.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::op;

use super::{Guest, dispatchable, record, request};

/// A guest with device 1, queue 1, command pool 1 and command buffer 1, which is being recorded.
pub(crate) fn record_commands(guest: &mut Guest) {
    assert_eq!(guest.create_device(), Ok(0));
    let info = vk::CommandPoolCreateInfo::default();
    let id = 1_u64;
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
    guest.command(&commands::VK_CREATE_COMMAND_POOL, &args).unwrap();
    let info = vk::CommandBufferAllocateInfo::default()
        .command_pool(vk::Handle::from_raw(1))
        .command_buffer_count(1);
    let buffer = dispatchable(1);
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, std::ptr::from_ref(&buffer) as u64];
    guest.command(&commands::VK_ALLOCATE_COMMAND_BUFFERS, &args).unwrap();
    begin(guest);
}

pub(crate) fn begin(guest: &mut Guest) {
    let info = vk::CommandBufferBeginInfo::default();
    guest
        .command(&commands::VK_BEGIN_COMMAND_BUFFER, &[dispatchable(1), std::ptr::from_ref(&info) as u64])
        .unwrap();
}

/// A stream for command buffer `id` with these records.
pub(crate) fn stream(id: u64, records: &[Vec<u8>]) -> Vec<u8> {
    [id.to_le_bytes().to_vec(), records.concat()].concat()
}

/// A record of `vkCmdFillBuffer` of `buffer` into command buffer 1.
pub(crate) fn fill(buffer: u64) -> Vec<u8> {
    let command = &commands::VK_CMD_FILL_BUFFER;
    record(command.opcode, &request(command, &[dispatchable(1), buffer, 0, 16, 0]))
}

pub(crate) fn submit(guest: &mut Guest) {
    let buffers: [vk::CommandBuffer; 1] = [vk::Handle::from_raw(dispatchable(1))];
    let info = vk::SubmitInfo::default().command_buffers(&buffers);
    let args = [dispatchable(1), 1, std::ptr::from_ref(&info) as u64, 0];
    guest.submit(&args).unwrap();
}

/// Waits until the host has taken everything, and returns whether the device is lost.
pub(crate) fn is_lost(guest: &mut Guest) -> bool {
    guest.call(op::FACTS, &[]).expect("the session goes on");
    guest.connection.region.control().device_lost().is_some()
}

/// Ends the recording of command buffer 1.
pub(crate) fn end(guest: &mut Guest) {
    guest.command(&commands::VK_END_COMMAND_BUFFER, &[dispatchable(1)]).unwrap();
}
