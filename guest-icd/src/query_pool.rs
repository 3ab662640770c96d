//! `VkQueryPool`: results.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::generated::commands;

use crate::completion::Waited;
use crate::device;
use crate::dispatch;
use crate::forward;
use crate::queue;

/// `vkGetQueryPoolResults`. The host never waits: it would answer nothing else meanwhile. The guest asks again when
/// a submission has finished; what is submitted so far is watched for that.
pub(crate) unsafe extern "system" fn vkGetQueryPoolResults(
    device: *mut c_void,
    pool: u64,
    first: u32,
    count: u32,
    size: usize,
    data: *mut c_void,
    stride: u64,
    flags: u32,
) -> i32 {
    let mut asked = vk::QueryResultFlags::from_raw(flags);
    let wait = asked.contains(vk::QueryResultFlags::WAIT);
    if wait {
        // Waiting for final results excludes partial ones, which would count as an answer.
        asked &= !(vk::QueryResultFlags::WAIT | vk::QueryResultFlags::PARTIAL);
    }
    let args = [
        device as u64,
        pool,
        u64::from(first),
        u64::from(count),
        size as u64,
        data as u64,
        stride,
        u64::from(asked.as_raw()),
    ];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        loop {
            let seen = session.progress();
            let result = forward::call(device, &commands::VK_GET_QUERY_POOL_RESULTS, &args) as i32;
            if !wait || result != vk::Result::NOT_READY.as_raw() {
                return result;
            }
            let watched = queue::watch_all(session, device::queues(device));
            if watched.is_err() || session.wait_for_progress(seen) != Waited::Ready {
                return vk::Result::ERROR_DEVICE_LOST.as_raw();
            }
        }
    }
}
