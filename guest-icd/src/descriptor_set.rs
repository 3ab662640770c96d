//! `VkDescriptorSet`.

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::chain;
use crate::descriptor_pool::Taken;
use crate::descriptor_set_layout::SetLayout;
use crate::dispatch;
use crate::forward;
use crate::session::Session;

/// `vkAllocateDescriptorSets`
pub(crate) unsafe extern "system" fn vkAllocateDescriptorSets(
    device: *mut c_void,
    info: *const vk::DescriptorSetAllocateInfo<'_>,
    sets: *mut u64,
) -> i32 {
    let cmd = &commands::VK_ALLOCATE_DESCRIPTOR_SETS;
    let lost = vk::Result::from_raw(cmd.lost);
    let args = [device as u64, info as u64, sets as u64];
    // SAFETY: the application's valid usage of this command: room for as many sets as the info says.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            let count = (*info).descriptor_set_count as usize;
            let refuse = |result| {
                sets.write_bytes(0, count);
                result
            };
            let taken = taken(session, &*info);
            let Some(pool) = session.objects.descriptor_pools.get((*info).descriptor_pool.as_raw()) else {
                return refuse(vk::Result::ERROR_OUT_OF_HOST_MEMORY);
            };
            // What certainly fits is not waited for; otherwise the host's driver says.
            let waits = !pool.take(&taken) || !session.perf.async_sets;
            let ty = HandleType::DescriptorSet;
            let result = forward::try_create(session, cmd, &args, ty, &pool.allocator, waits);
            if result.as_raw() < 0 {
                pool.untake(&taken);
                return refuse(result);
            }
            pool.name(taken.into_iter().enumerate().map(|(i, taken)| (*sets.add(i), taken)));
            result
        })
    }
    .as_raw()
}

/// What the new sets take from their pool.
///
/// # Safety
/// `info` must be valid.
unsafe fn taken(session: &Session, info: &vk::DescriptorSetAllocateInfo<'_>) -> Vec<Taken> {
    // SAFETY: the caller's promise.
    unsafe {
        let variable =
            chain::find::<vk::DescriptorSetVariableDescriptorCountAllocateInfo<'_>>(info.p_next).as_ref();
        (0..info.descriptor_set_count as usize)
            .map(|i| {
                let layout = session.objects.set_layouts.get((*info.p_set_layouts.add(i)).as_raw());
                let variable = variable
                    .filter(|v| i < v.descriptor_set_count as usize)
                    .map_or(0, |v| *v.p_descriptor_counts.add(i));
                Taken { layout: layout.unwrap_or_else(|| Arc::new(SetLayout::default())), variable }
            })
            .collect()
    }
}

/// `vkFreeDescriptorSets`
pub(crate) unsafe extern "system" fn vkFreeDescriptorSets(
    device: *mut c_void,
    pool: u64,
    count: u32,
    sets: *const u64,
) -> i32 {
    let args = [device as u64, pool, u64::from(count), sets as u64];
    // SAFETY: the application's valid usage of this command: `count` sets, some of them null.
    unsafe {
        let result = forward::send(device, &commands::VK_FREE_DESCRIPTOR_SETS, &args);
        let Some(session) = dispatch::session(device) else { return result };
        if let Some(pool) = session.objects.descriptor_pools.get(pool) {
            for i in 0..count as usize {
                let set = *sets.add(i);
                if pool.free(set) {
                    session.free_id(HandleType::DescriptorSet, set);
                }
            }
        }
        result
    }
}
