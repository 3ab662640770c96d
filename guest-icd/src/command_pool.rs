//! `VkCommandPool`.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::alloc::HostAllocator;
use crate::command_buffer::{self, CommandBuffer};
use crate::device;
use crate::dispatch;
use crate::forward;
use crate::session::{Session, lock};
use crate::stream::Space;

/// Guest-side state of a command pool.
#[derive(Debug, Default)]
pub(crate) struct CommandPool {
    state: Mutex<State>,
    /// For the pool's command buffers.
    pub(crate) allocator: HostAllocator,
}

#[derive(Debug, Default)]
struct State {
    /// Addresses of the pool's command buffers.
    buffers: BTreeSet<usize>,
    /// The rest of the chunk that the last recording ended in.
    spare: Option<Space>,
}

impl CommandPool {
    /// Takes note of a new command buffer.
    pub(crate) fn add(&self, buffer: NonNull<CommandBuffer>) {
        lock(&self.state).buffers.insert(buffer.as_ptr() as usize);
    }

    /// Forgets a command buffer; false when it is not of this pool.
    pub(crate) fn forget(&self, buffer: NonNull<CommandBuffer>) -> bool {
        lock(&self.state).buffers.remove(&(buffer.as_ptr() as usize))
    }

    /// Room for a recording that begins.
    pub(crate) fn take_spare(&self) -> Option<Space> {
        lock(&self.state).spare.take()
    }

    /// Takes over the room that a recording has left.
    pub(crate) fn keep_or_release(&self, session: &Session, space: Space) {
        let old =
            if space.worth_keeping(session) { lock(&self.state).spare.replace(space) } else { Some(space) };
        if let Some(old) = old {
            old.release(session);
        }
    }

    fn release_spare(&self, session: &Session) {
        if let Some(space) = self.take_spare() {
            space.release(session);
        }
    }

    /// The pool's command buffers.
    fn buffers(&self) -> Vec<NonNull<CommandBuffer>> {
        lock(&self.state).buffers.iter().filter_map(|&b| NonNull::new(b as *mut CommandBuffer)).collect()
    }
}

/// `vkCreateCommandPool`
pub(crate) unsafe extern "system" fn vkCreateCommandPool(
    device: *mut c_void,
    info: *const c_void,
    callbacks: *const c_void,
    pool: *mut u64,
) -> i32 {
    let args = [device as u64, info as u64, callbacks as u64, pool as u64];
    // SAFETY: the application's valid usage of this command; devices are made by `device.rs`.
    unsafe {
        let cmd = &commands::VK_CREATE_COMMAND_POOL;
        let result = forward::create(device, cmd, &args, HandleType::CommandPool, callbacks);
        if result == 0
            && let Some(session) = dispatch::session(device)
        {
            let allocator = device::allocator(device, callbacks);
            session
                .objects
                .command_pools
                .insert(*pool, Arc::new(CommandPool { allocator, ..Default::default() }));
        }
        result
    }
}

/// `vkDestroyCommandPool`
pub(crate) unsafe extern "system" fn vkDestroyCommandPool(
    device: *mut c_void,
    pool: u64,
    callbacks: *const c_void,
) {
    let args = [device as u64, pool, callbacks as u64];
    // SAFETY: the application's valid usage of this command: neither the pool nor its buffers are in use.
    unsafe {
        let Some(session) = dispatch::session(device) else { return };
        let state = session.objects.command_pools.remove(pool);
        forward::destroy(device, &commands::VK_DESTROY_COMMAND_POOL, &args, pool, HandleType::CommandPool);
        if let Some(state) = state {
            for buffer in state.buffers() {
                command_buffer::remove(session, &state, buffer);
            }
            state.release_spare(session);
            session.trim_arena();
        }
    }
}

/// `vkResetCommandPool`
pub(crate) unsafe extern "system" fn vkResetCommandPool(device: *mut c_void, pool: u64, flags: u32) -> i32 {
    let args = [device as u64, pool, u64::from(flags)];
    // SAFETY: the application's valid usage of this command: neither the pool nor its buffers are in use.
    unsafe {
        if let Some(session) = dispatch::session(device)
            && let Some(state) = session.objects.command_pools.get(pool)
        {
            for mut buffer in state.buffers() {
                buffer.as_mut().reset();
            }
            if vk::CommandPoolResetFlags::from_raw(flags)
                .contains(vk::CommandPoolResetFlags::RELEASE_RESOURCES)
            {
                state.release_spare(session);
                session.trim_arena();
            }
        }
        forward::send(device, &commands::VK_RESET_COMMAND_POOL, &args)
    }
}

/// `vkTrimCommandPool`
pub(crate) unsafe extern "system" fn vkTrimCommandPool(device: *mut c_void, pool: u64, flags: u32) {
    let args = [device as u64, pool, u64::from(flags)];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(session) = dispatch::session(device)
            && let Some(state) = session.objects.command_pools.get(pool)
        {
            state.release_spare(session);
            session.trim_arena();
        }
        forward::send(device, &commands::VK_TRIM_COMMAND_POOL, &args);
    }
}
