//! `VkCommandBuffer`: recording.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ash::vk;
use vw_wire_protocol::codec::encode_request;
use vw_wire_protocol::generated::commands::{self, opcodes};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::Command;

use crate::alloc::HostAllocator;
use crate::command_pool::CommandPool;
use crate::dispatch::{self, Head};
use crate::failure::Failure;
use crate::forward;
use crate::sender::Sender;
use crate::session::Session;
use crate::stream::Stream;

/// The host begins with a stream of this many bytes at its end, not only at the submission.
const WORTH_A_WAKE: usize = 4 << 10;

/// What a `VkCommandBuffer` points to. One thread at a time uses it, as the specification demands.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct CommandBuffer {
    head: Head,
    pool: Arc<CommandPool>,
    primary: bool,
    stream: Stream,
    /// Ticket of the recording that is going on or held back.
    recording: Option<u64>,
    /// The recording has ended and is held back, wholly or in part. Changes under the sender's lock.
    held: AtomicBool,
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

    /// Room for a record of `length` bytes that the caller writes at once, and this command buffer's id; see
    /// [`Stream::straight`].
    #[inline(always)]
    pub(crate) fn straight(&mut self, length: usize) -> Option<(*mut u8, u64)> {
        Some((self.stream.straight(length)?, self.head.id()))
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
        if std::mem::take(self.held.get_mut()) {
            session.held.fetch_sub(1, Ordering::Relaxed);
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

    /// Ends the recording: what is left of the stream, then the command. Or all of this is held back.
    fn end(&mut self) -> Result<(), Failure> {
        let (session, id) = (self.head.session().ok_or(Failure::Lost)?, self.head.id());
        let stream = &mut self.stream;
        let held = session.with_sender(|sender| {
            if stream.is_held(session, sender, id)? {
                return Ok(true);
            }
            end_recording(session, sender, stream, id).map(|()| false)
        });
        if let Ok(true) = held {
            session.held.fetch_add(1, Ordering::Relaxed);
            *self.held.get_mut() = true;
            return Ok(());
        }
        self.give_space_back();
        self.recording_over();
        held.map(|_| ())
    }
}

/// Sends what is left of a recording, and its end.
fn end_recording(
    session: &Session,
    sender: &mut Sender,
    stream: &mut Stream,
    id: u64,
) -> Result<(), Failure> {
    let recorded = stream.finish(session, sender, id);
    // Its one argument is the command buffer.
    // SAFETY: there is room for an id.
    sender.push_straight(opcodes::VK_END_COMMAND_BUFFER, size_of_val(&id), |to| unsafe {
        to.put(id);
    })?;
    if recorded? >= WORTH_A_WAKE {
        sender.publish();
    }
    Ok(())
}

/// Hands over those of `buffers` whose recordings are held back: they are needed.
///
/// # Safety
/// Null, or live command buffers that no thread records or resets. Other threads may do the same with them.
pub(crate) unsafe fn hand_over_held(
    session: &Session,
    buffers: impl Iterator<Item = *mut CommandBuffer>,
) -> Result<(), Failure> {
    for buffer in buffers.filter(|buffer| !buffer.is_null()) {
        // SAFETY: the caller's promise. Only this member is looked at without the lock, and nothing but what is behind a
        // flag that was set is changed, by who takes the flag down.
        let (held, id) = unsafe { (&(*buffer).held, (*buffer).head.id()) };
        if !held.load(Ordering::Acquire) {
            continue;
        }
        let mut over = None;
        session.with_sender(|sender| {
            if held.load(Ordering::Relaxed) {
                // SAFETY: as above.
                let (stream, recording) = unsafe { (&mut (*buffer).stream, &mut (*buffer).recording) };
                end_recording(session, sender, stream, id)?;
                if let Some(space) = stream.take_space() {
                    space.release(session);
                }
                over = recording.take();
                session.held.fetch_sub(1, Ordering::Relaxed);
                held.store(false, Ordering::Release);
            }
            Ok(())
        })?;
        if let Some(ticket) = over {
            session.recording_over(ticket);
        }
    }
    Ok(())
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
        held: AtomicBool::new(false),
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
                let _ = hand_over_held(session, (0..count as usize).map(|i| *buffers.add(i)));
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
