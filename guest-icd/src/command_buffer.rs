//! `VkCommandBuffer`: recording.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use ash::vk;
use vw_wire_protocol::codec::encode_request;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::Command;

use crate::alloc::HostAllocator;
use crate::command_pool::CommandPool;
use crate::dispatch::{self, Head};
use crate::failure::Failure;
use crate::forward;
use crate::session::Session;
use crate::stream::Stream;

/// What a `VkCommandBuffer` points to. One thread at a time uses it, as the specification demands.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct CommandBuffer {
    head: Head,
    pool: Arc<CommandPool>,
    primary: bool,
    stream: Stream,
    /// Ticket of the recording that is going on.
    recording: Option<u64>,
    /// The recording has ended and was held back. Others may have handed it over since.
    held: bool,
}

impl CommandBuffer {
    /// Appends a command.
    ///
    /// # Safety
    /// `args` must be valid arguments of `cmd`.
    pub(crate) unsafe fn record(&mut self, cmd: &Command, args: &[u64]) {
        let Some(session) = self.head.session() else { return };
        if self.stream.needs_space()
            && let Some(space) = self.pool.take_spare()
        {
            self.stream.set_space(space);
        }
        // SAFETY: the caller's promise.
        unsafe { self.stream.append(session, self.head.id(), cmd, args) };
    }

    /// Where records are written to.
    #[inline(always)]
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Id on the wire.
    #[inline(always)]
    pub(crate) fn id(&self) -> u64 {
        self.head.id()
    }

    /// Hands over what is recorded so far.
    fn hand_over(&mut self) {
        let (Some(session), id) = (self.head.session(), self.head.id()) else { return };
        // This fails only when the session is lost, and then the end of the recording fails, too.
        let _ = session.with_sender(|sender| self.stream.hand_over(session, sender, id));
    }

    /// Drops what was recorded, as far as it is not needed any more.
    pub(crate) fn reset(&mut self) {
        let Some(session) = self.head.session() else { return };
        let abandoned = self.stream.reset(session);
        if abandoned != 0 {
            session.abandon(self.head.id(), abandoned);
        }
        if std::mem::take(&mut self.held) {
            session.drop_held(self.head.id());
        }
        self.give_space_back();
        self.recording_over();
    }

    fn recording_over(&mut self) {
        if let Some(ticket) = self.recording.take()
            && let Some(session) = self.head.session()
        {
            session.recording_over(ticket);
        }
    }

    fn give_space_back(&mut self) {
        if let Some(space) = self.stream.take_space()
            && let Some(session) = self.head.session()
        {
            self.pool.keep_or_release(session, space);
        }
    }

    /// Ends the recording.
    fn end(&mut self) -> Result<(), Failure> {
        let (session, id) = (self.head.session().ok_or(Failure::Lost)?, self.head.id());
        let ended = session.end_recording(&mut self.stream, id, &mut self.recording);
        self.held = ended == Ok(true);
        self.give_space_back();
        self.recording_over();
        ended.map(|_| ())
    }
}

/// Frees a command buffer's object and id. The host frees its part by the command that the caller sends.
///
/// # Safety
/// `buffer` must be a live command buffer of `pool` and not be used again.
pub(crate) unsafe fn remove(session: &Session, pool: &CommandPool, mut buffer: NonNull<CommandBuffer>) {
    if !pool.forget(buffer) {
        return;
    }
    // SAFETY: the caller's promise; it was placed by the pool's allocator in `vkAllocateCommandBuffers`.
    unsafe {
        buffer.as_mut().reset();
        let id = buffer.as_ref().head.id();
        pool.allocator.remove(buffer);
        session.free_id(HandleType::CommandBuffer, id);
    }
}

/// `vkAllocateCommandBuffers`
pub(crate) unsafe extern "system" fn vkAllocateCommandBuffers(
    device: *mut c_void,
    info: *const vk::CommandBufferAllocateInfo<'_>,
    buffers: *mut *mut CommandBuffer,
) -> i32 {
    let cmd = &commands::VK_ALLOCATE_COMMAND_BUFFERS;
    let lost = vk::Result::from_raw(cmd.lost);
    let args = [device as u64, info as u64, buffers as u64];
    // SAFETY: the application's valid usage of this command: room for as many handles as the info says.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            let count = (*info).command_buffer_count as usize;
            let pool = session.objects.command_pools.get(ash::vk::Handle::as_raw((*info).command_pool));
            let Some(pool) = pool else { return vk::Result::ERROR_OUT_OF_HOST_MEMORY };
            let primary = (*info).level == vk::CommandBufferLevel::PRIMARY;
            buffers.write_bytes(0, count);
            let mut result = Ok(());
            for i in 0..count {
                match place(session, &pool, primary) {
                    Some(buffer) => buffers.add(i).write(buffer.as_ptr()),
                    None => result = Err(vk::Result::ERROR_OUT_OF_HOST_MEMORY),
                }
            }
            let result = result.and_then(|()| {
                let sent = session.send(cmd.opcode, &|w| encode_request(cmd, &args, w));
                sent.map_err(|failure| forward::refusal(cmd, failure))
            });
            let Err(error) = result else { return vk::Result::SUCCESS };
            for i in 0..count {
                if let Some(buffer) = NonNull::new(buffers.add(i).replace(std::ptr::null_mut())) {
                    remove(session, &pool, buffer);
                }
            }
            error
        })
    }
    .as_raw()
}

pub(crate) fn place(
    session: &Arc<Session>,
    pool: &Arc<CommandPool>,
    primary: bool,
) -> Option<NonNull<CommandBuffer>> {
    let id = session.allocate_id(HandleType::CommandBuffer, HostAllocator::default())?;
    let buffer = CommandBuffer {
        head: Head::new(id, Arc::clone(session)),
        pool: Arc::clone(pool),
        primary,
        stream: Stream::default(),
        recording: None,
        held: false,
    };
    match pool.allocator.place(buffer, vk::SystemAllocationScope::OBJECT) {
        Ok(placed) => {
            pool.add(placed);
            Some(placed)
        }
        Err(_) => {
            session.free_id(HandleType::CommandBuffer, id);
            None
        }
    }
}

/// `vkFreeCommandBuffers`
pub(crate) unsafe extern "system" fn vkFreeCommandBuffers(
    device: *mut c_void,
    pool: u64,
    count: u32,
    buffers: *const *mut CommandBuffer,
) {
    let args = [device as u64, pool, u64::from(count), buffers as u64];
    // SAFETY: the application's valid usage of this command: none of the buffers is in use.
    unsafe {
        let Some(session) = dispatch::session(device) else { return };
        forward::send(device, &commands::VK_FREE_COMMAND_BUFFERS, &args);
        let Some(pool) = session.objects.command_pools.get(pool) else { return };
        for i in 0..count as usize {
            if let Some(buffer) = NonNull::new(*buffers.add(i)) {
                remove(session, &pool, buffer);
            }
        }
    }
}

/// `vkBeginCommandBuffer`
pub(crate) unsafe extern "system" fn vkBeginCommandBuffer(
    buffer: *mut CommandBuffer,
    info: *const vk::CommandBufferBeginInfo<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(this) = buffer.as_mut() else { return commands::VK_BEGIN_COMMAND_BUFFER.lost };
        this.reset();
        this.recording = this.head.session().map(|session| session.recordings.begin());
        this.stream.begin(this.recording.unwrap_or(0));
        let mut info = *info;
        if this.primary {
            // Ignored for primary command buffers, and may be garbage.
            info.p_inheritance_info = std::ptr::null();
        }
        let args = [buffer as u64, &raw const info as u64];
        forward::send(buffer.cast(), &commands::VK_BEGIN_COMMAND_BUFFER, &args)
    }
}

/// `vkEndCommandBuffer`
pub(crate) unsafe extern "system" fn vkEndCommandBuffer(buffer: *mut CommandBuffer) -> i32 {
    let cmd = &commands::VK_END_COMMAND_BUFFER;
    let lost = vk::Result::from_raw(cmd.lost);
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(buffer.cast(), lost, || {
            let Some(this) = buffer.as_mut() else { return lost };
            let ended = this.end();
            ended.map_or_else(|failure| forward::refusal(cmd, failure), |()| vk::Result::SUCCESS)
        })
    }
    .as_raw()
}

/// `vkCmdExecuteCommands`: the host must have the secondary command buffers first.
pub(crate) unsafe extern "system" fn vkCmdExecuteCommands(
    buffer: *mut CommandBuffer,
    count: u32,
    buffers: *const *mut CommandBuffer,
) {
    let args = [buffer as u64, u64::from(count), buffers as u64];
    // SAFETY: the application's valid usage of this command: `count` command buffers that nobody records.
    unsafe {
        forward::guard(buffer.cast(), (), || {
            if let Some(session) = dispatch::session(buffer.cast())
                && session.holds_recordings()
            {
                // This fails only when the session is lost, and then the end of the recording fails, too.
                let ids = (0..count as usize).map(|i| dispatch::id((*buffers.add(i)).cast()));
                let _ = session.hand_over_held(ids);
            }
            forward::record(buffer.cast(), &commands::VK_CMD_EXECUTE_COMMANDS, &args);
        });
    }
}

/// `vkCmdPreprocessGeneratedCommandsEXT`: looks at the state of another command buffer that is being recorded, which may be
/// gone before this recording ends. So both are handed over, in this order.
pub(crate) unsafe extern "system" fn vkCmdPreprocessGeneratedCommandsEXT(
    buffer: *mut CommandBuffer,
    info: *const c_void,
    state: *mut CommandBuffer,
) {
    let args = [buffer as u64, info as u64, state as u64];
    // SAFETY: the application's valid usage of this command: no other thread uses either command buffer.
    unsafe {
        forward::guard(buffer.cast(), (), || {
            if let Some(state) = state.as_mut() {
                state.hand_over();
            }
            forward::record(buffer.cast(), &commands::VK_CMD_PREPROCESS_GENERATED_COMMANDS_EXT, &args);
            if let Some(this) = buffer.as_mut() {
                this.hand_over();
                if let Some(session) = this.head.session() {
                    session.keep_recordings();
                }
            }
        });
    }
}

/// `vkResetCommandBuffer`
pub(crate) unsafe extern "system" fn vkResetCommandBuffer(buffer: *mut CommandBuffer, flags: u32) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(this) = buffer.as_mut() {
            this.reset();
        }
        let args = [buffer as u64, u64::from(flags)];
        forward::send(buffer.cast(), &commands::VK_RESET_COMMAND_BUFFER, &args)
    }
}
