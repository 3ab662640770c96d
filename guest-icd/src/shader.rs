//! `VkShaderEXT`: creation from source is not waited for.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::device;
use crate::dispatch;
use crate::forward;

/// `vkCreateShadersEXT`. Whether a binary fits only the host knows: these are waited for.
pub(crate) unsafe extern "system" fn vkCreateShadersEXT(
    device: *mut c_void,
    count: u32,
    infos: *const vk::ShaderCreateInfoEXT<'_>,
    callbacks: *const c_void,
    shaders: *mut u64,
) -> i32 {
    let args = [device as u64, count.into(), infos as u64, callbacks as u64, shaders as u64];
    let cmd = &commands::VK_CREATE_SHADERS_EXT;
    // SAFETY: the application's valid usage of this command: `count` infos and handles.
    unsafe {
        forward::guard(device, cmd.lost, || {
            let Some(session) = dispatch::session(device) else { return cmd.lost };
            let waits =
                (0..count as usize).any(|i| (*infos.add(i)).code_type == vk::ShaderCodeTypeEXT::BINARY);
            let allocator = device::allocator(device, callbacks);
            let result = forward::try_create(session, cmd, &args, HandleType::ShaderEXT, &allocator, waits);
            // The host compiles while the program goes on.
            session.flush();
            result.as_raw()
        })
    }
}
