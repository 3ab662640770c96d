//! Binding memory with a result for each object: binding is waited for where these are asked for.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::schema::Command;

use crate::chain;
use crate::forward;

/// Sends a binding. Where the host does not answer, the results that are asked for are errors.
///
/// # Safety
/// `infos` must be `count` valid structures, as `cmd` takes them.
pub(crate) unsafe fn bind<T>(device: *mut c_void, cmd: &Command, count: u32, infos: *const T) -> i32 {
    let args = [device as u64, count.into(), infos as u64];
    // SAFETY: the caller's promise; every structure with a chain begins with its type and the chain.
    unsafe {
        for i in 0..count as usize {
            let info = infos.add(i).cast::<vk::BaseInStructure<'_>>();
            let status = chain::find::<vk::BindMemoryStatusKHR<'_>>((*info).p_next.cast()).as_ref();
            if let Some(out) = status.and_then(|status| status.p_result.as_mut()) {
                *out = vk::Result::ERROR_UNKNOWN;
            }
        }
        forward::send(device, cmd, &args)
    }
}
