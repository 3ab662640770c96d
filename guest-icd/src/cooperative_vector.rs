//! Matrices of cooperative vectors, converted by the host's processor.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::cooperative_vector::ConvertInfo;
use vw_wire_protocol::generated::commands;

use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::session::Session;

/// What the matrices are aligned to in the window; they start behind that many bytes, so that no offset is 0.
const ALIGNMENT: u64 = 64;

/// `vkConvertCooperativeVectorMatrixNV`: both matrices travel through the window.
pub(crate) unsafe extern "system" fn vkConvertCooperativeVectorMatrixNV(
    device: *mut c_void,
    info: *const ConvertInfo,
) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            convert(session, device, &*info).unwrap_or_else(Failure::result)
        })
    }
    .as_raw()
}

/// # Safety
/// As the command.
unsafe fn convert(session: &Session, device: *mut c_void, info: &ConvertInfo) -> Result<vk::Result, Failure> {
    // SAFETY: the caller's promise: sources and destinations as large as the info says.
    unsafe {
        let call = |info: &ConvertInfo| {
            let cmd = &commands::VK_CONVERT_COOPERATIVE_VECTOR_MATRIX_NV;
            let ret = session.call_command(cmd, &[device as u64, std::ptr::from_ref(info) as u64])?;
            Ok(vk::Result::from_raw(ret as i32))
        };
        if info.dst_data == 0 {
            return call(&ConvertInfo { src_data: 0, ..*info });
        }
        let room = *info.p_dst_size;
        let target = (ALIGNMENT + info.src_size as u64).next_multiple_of(ALIGNMENT);
        let Some(staging) = session.stage(target + room as u64) else { return Err(Failure::TooLarge) };
        let (offset, base) = (staging.offset(), staging.base().as_ptr());
        let source = std::ptr::with_exposed_provenance::<u8>(info.src_data as usize);
        base.add(ALIGNMENT as usize).copy_from_nonoverlapping(source, info.src_size);
        staging.settle();
        let sent = ConvertInfo { src_data: offset + ALIGNMENT, dst_data: offset + target, ..*info };
        let result = call(&sent);
        if result == Ok(vk::Result::SUCCESS) {
            let destination = std::ptr::with_exposed_provenance_mut::<u8>(info.dst_data as usize);
            let written = room.min(*info.p_dst_size);
            destination.copy_from_nonoverlapping(base.add(target as usize), written);
        }
        result
    }
}
