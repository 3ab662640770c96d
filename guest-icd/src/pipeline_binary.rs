//! `VkPipelineBinaryKHR`: new handles stand inside of a structure.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::device;
use crate::dispatch;
use crate::forward::{self, NewHandles};

/// `VkPipelineBinaryHandlesInfoKHR`
#[repr(C)]
pub(crate) struct PipelineBinaryHandlesInfo {
    s_type: vk::StructureType,
    p_next: *const c_void,
    pipeline_binary_count: u32,
    p_pipeline_binaries: *mut u64,
}

/// `vkCreatePipelineBinariesKHR`: without a place for the handles it is asked how many there would be.
pub(crate) unsafe extern "system" fn vkCreatePipelineBinariesKHR(
    device: *mut c_void,
    info: *const c_void,
    callbacks: *const c_void,
    binaries: *mut PipelineBinaryHandlesInfo,
) -> i32 {
    let cmd = &commands::VK_CREATE_PIPELINE_BINARIES_KHR;
    let args = [device as u64, info as u64, callbacks as u64, binaries as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let first = (*binaries).p_pipeline_binaries;
        if first.is_null() {
            return forward::call(device, cmd, &args) as i32;
        }
        forward::guard(device, cmd.lost, || {
            let Some(session) = dispatch::session(device) else { return cmd.lost };
            let new = NewHandles { first, count: (*binaries).pipeline_binary_count as usize };
            let (ty, allocator) = (HandleType::PipelineBinaryKHR, device::allocator(device, callbacks));
            forward::create_in(session, cmd, &args, ty, &new, &allocator, true).as_raw()
        })
    }
}
