//! What the generated entry points do: carry a command by its table.
//!
//! Nothing here unwinds into the application: panics, which would be mistakes of this crate, end the session.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ash::vk;
use vw_wire_protocol::codec::{Writer, asks_for_results, created_one_by_one, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::MAX_RECORD;
use vw_wire_protocol::schema::{Class, Command, Count, Dir, Op, Pointer, Ret};

use crate::alloc::HostAllocator;
use crate::command_buffer::CommandBuffer;
use crate::device;
use crate::dispatch;
use crate::failure::Failure;
use crate::log;
use crate::session::Session;
use crate::straight;

/// Runs an entry point's body; a panic gives up the session of `object` and `otherwise` is returned.
///
/// # Safety
/// `object` must be null or a live dispatchable handle.
pub(crate) unsafe fn guard<R>(object: *const c_void, otherwise: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // SAFETY: the caller's promise.
        if let Some(session) = unsafe { dispatch::session(object) } {
            session.give_up(&"the driver failed; this is a bug in vw");
        }
        otherwise
    })
}

/// What the application is told about a command that did not get through: an error that the specification lists
/// for it, if there is one.
pub(crate) fn refusal(cmd: &Command, failure: Failure) -> vk::Result {
    match failure {
        Failure::Lost => vk::Result::from_raw(cmd.lost),
        Failure::TooLarge => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
    }
}

/// Appends a `vkCmd*` to the command buffer's stream.
///
/// # Safety
/// `object` must be a live command buffer that no other thread uses, `args` valid arguments of `cmd`.
pub(crate) unsafe fn record(object: *mut c_void, cmd: &Command, args: &[u64]) {
    log::command(cmd.name);
    // SAFETY: the caller's promise; command buffers are made by `command_buffer.rs`.
    unsafe {
        guard(object, (), || {
            if let Some(buffer) = object.cast::<CommandBuffer>().as_mut() {
                buffer.record(cmd, args);
            }
        });
    }
}

/// Sends a command that is not answered, unless results are asked for inside of its inputs.
///
/// # Safety
/// `object` must be a live dispatchable handle, `args` valid arguments of `cmd`.
pub(crate) unsafe fn send(object: *mut c_void, cmd: &Command, args: &[u64]) -> i32 {
    log::command(cmd.name);
    let lost = cmd.lost;
    // SAFETY: the caller's promise.
    unsafe {
        guard(object, lost, || {
            let Some(session) = dispatch::session(object) else { return lost };
            if releases(cmd) {
                session.settle();
            }
            let result = if let Some(sent) = straight::send(session, cmd, args) {
                sent.map(|()| 0)
            } else if asks_for_results(cmd, args) {
                session.call_command(cmd, args).map(|ret| ret as i32)
            } else {
                session.send(cmd.opcode, &|w| encode_request(cmd, args, w)).map(|_| 0)
            };
            result.unwrap_or_else(|failure| refusal(cmd, failure).as_raw())
        })
    }
}

/// Whether submissions that the host has already may go on after the command, and read what the program wrote before.
fn releases(cmd: &Command) -> bool {
    [commands::VK_SET_EVENT.opcode, commands::VK_SIGNAL_SEMAPHORE.opcode].contains(&cmd.opcode)
}

/// Calls a command: its results are written through `args`, its return value is returned, widened as
/// [`Ret`] says.
///
/// # Safety
/// `object` must be a live dispatchable handle, `args` valid arguments of `cmd`.
pub(crate) unsafe fn call(object: *mut c_void, cmd: &Command, args: &[u64]) -> u64 {
    log::command(cmd.name);
    // SAFETY: the caller's promise.
    unsafe { guard(object, no_answer(cmd, Failure::Lost), || answer(object, cmd, args)) }
}

unsafe fn answer(object: *mut c_void, cmd: &Command, args: &[u64]) -> u64 {
    // SAFETY: the promise of `call`'s caller.
    unsafe {
        let Some(session) = dispatch::session(object) else { return no_answer(cmd, Failure::Lost) };
        let result = if cmd.memo {
            request_bytes(cmd, args, Vec::new()).and_then(|key| session.call_once(cmd, args, key))
        } else {
            session.call_command(cmd, args)
        };
        result.unwrap_or_else(|failure| no_answer(cmd, failure))
    }
}

fn no_answer(cmd: &Command, failure: Failure) -> u64 {
    match cmd.ret {
        Ret::Result => i64::from(refusal(cmd, failure).as_raw()) as u64,
        Ret::Void | Ret::Value => 0,
    }
}

/// Appends the opcode and the request of a command to `key`: what determines its answer.
///
/// # Safety
/// `args` must be valid arguments of `cmd`.
pub(crate) unsafe fn request_bytes(
    cmd: &Command,
    args: &[u64],
    mut key: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    key.extend_from_slice(&cmd.opcode.to_le_bytes());
    let mut writer = Writer::growing(&mut key, MAX_RECORD);
    // SAFETY: the caller's promise.
    unsafe { encode_request(cmd, args, &mut writer) };
    writer.finish().map_err(|_| Failure::TooLarge)?;
    Ok(key)
}

/// Creates objects: gives them ids, and carries the command.
///
/// # Safety
/// `device` must be a live device, `args` valid arguments of `cmd`, whose new handles are of the
/// non-dispatchable type `ty`, and `callbacks` the `VkAllocationCallbacks` among them.
pub(crate) unsafe fn create(
    device: *mut c_void,
    cmd: &Command,
    args: &[u64],
    ty: HandleType,
    callbacks: *const c_void,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        guard(device, cmd.lost, || {
            let Some(session) = dispatch::session(device) else { return cmd.lost };
            let allocator = device::allocator(device, callbacks);
            try_create(session, cmd, args, ty, &allocator, cmd.class == Class::Call).as_raw()
        })
    }
}

/// As [`create`]; `waits`: until the host has answered, whatever the command's class. It is waited for also where results
/// are asked for inside of the inputs.
///
/// # Safety
/// As [`create`].
pub(crate) unsafe fn try_create(
    session: &Session,
    cmd: &Command,
    args: &[u64],
    ty: HandleType,
    allocator: &HostAllocator,
    waits: bool,
) -> vk::Result {
    if !waits
        && !allocator.is_given()
        // SAFETY: the caller's promise.
        && let Some(result) = unsafe { straight::create(session, cmd, args, ty) }
    {
        return result;
    }
    let Some(new) = new_handles(cmd, args) else { return vk::Result::ERROR_OUT_OF_HOST_MEMORY };
    if new.count == 0 || new.first.is_null() {
        return vk::Result::SUCCESS;
    }
    // SAFETY: the caller's promise.
    unsafe { create_in(session, cmd, args, ty, &new, allocator, waits || asks_for_results(cmd, args)) }
}

/// As [`try_create`], with the place of the new handles.
///
/// # Safety
/// As [`create`]; `new` is where the command's new handles go.
pub(crate) unsafe fn create_in(
    session: &Session,
    cmd: &Command,
    args: &[u64],
    ty: HandleType,
    new: &NewHandles,
    allocator: &HostAllocator,
    waits: bool,
) -> vk::Result {
    let mut ids = Vec::with_capacity(new.count);
    while ids.len() < new.count
        && let Some(id) = session.allocate_id(ty, *allocator)
    {
        ids.push(id);
    }
    new.store(&ids);
    let mut answered = false;
    let sent = if ids.len() < new.count {
        Ok(vk::Result::ERROR_OUT_OF_HOST_MEMORY)
    } else {
        // SAFETY: the caller's promise.
        unsafe {
            if waits {
                let ret = session.call_command(cmd, args);
                answered = ret.is_ok();
                ret.map(|ret| vk::Result::from_raw(ret as i32))
            } else {
                let sent = session.send(cmd.opcode, &|w| encode_request(cmd, args, w));
                if is_urgent(ty) {
                    session.flush();
                }
                sent.map(|_| vk::Result::SUCCESS)
            }
        }
    };
    let result = sent.unwrap_or_else(|failure| refusal(cmd, failure));
    // Of several objects some may be there, which an answer says.
    let some = answered && new.count > 1 && created_one_by_one(ty);
    if result.as_raw() < 0 && !some {
        new.store(&[]);
    }
    for (i, id) in ids.into_iter().enumerate() {
        if new.load(i) != id {
            session.free_id(ty, id);
        }
    }
    result
}

/// The host is to begin with objects of this type at once: it compiles them while the program goes on.
pub(crate) fn is_urgent(ty: HandleType) -> bool {
    ty == HandleType::Pipeline
}

/// Where a command's new handles go.
pub(crate) struct NewHandles {
    pub(crate) first: *mut u64,
    pub(crate) count: usize,
}

/// Raw accesses: the codec reads and writes the same memory by the pointer among the arguments.
impl NewHandles {
    /// Stores null instead of one of them.
    pub(crate) fn clear(&self, i: usize) {
        // SAFETY: as for `load`.
        unsafe { self.first.add(i).write(0) };
    }

    /// Stores `ids`, and null behind them.
    fn store(&self, ids: &[u64]) {
        for i in 0..self.count {
            // SAFETY: the application made room for `count` handles.
            unsafe { self.first.add(i).write(ids.get(i).copied().unwrap_or(0)) };
        }
    }

    pub(crate) fn load(&self, i: usize) -> u64 {
        // SAFETY: callers stay below `count`, which the application made room for.
        unsafe { self.first.add(i).read() }
    }
}

fn new_handles(cmd: &Command, args: &[u64]) -> Option<NewHandles> {
    let slot = |off: u16| args.get(usize::from(off) / 8).copied();
    let pointer: &Pointer = cmd.params.iter().find_map(|op| match op {
        Op::Pointer(p) if p.dir == Dir::New => Some(p),
        _ => None,
    })?;
    let count = match pointer.count {
        Count::One => 1,
        Count::Const(n) => n as usize,
        Count::Field { off, size } => {
            let value = slot(off)?;
            (if size == 8 { value } else { value & 0xFFFF_FFFF }) as usize
        }
        Count::Path { off, field } => {
            let holder = slot(off)? as *const u8;
            if holder.is_null() {
                return None;
            }
            // SAFETY: the argument is the structure that the table says holds the `u32` count.
            unsafe { holder.add(usize::from(field)).cast::<u32>().read() as usize }
        }
        _ => return None,
    };
    Some(NewHandles { first: slot(pointer.off)? as *mut u64, count })
}

/// Destroys an object and takes its id back. A null id is nothing to destroy.
///
/// # Safety
/// `object` must be a live dispatchable handle, `args` valid arguments of `cmd`, and `id` the object among them.
pub(crate) unsafe fn destroy(object: *mut c_void, cmd: &Command, args: &[u64], id: u64, ty: HandleType) {
    if id == 0 {
        return;
    }
    log::command(cmd.name);
    // SAFETY: the caller's promise.
    unsafe {
        guard(object, (), || {
            if let Some(session) = dispatch::session(object)
                && !straight::destroy(session, object, cmd, (ty, id))
            {
                // Where there is no host any more, the object's memory is still the application's.
                let _ = session.send(cmd.opcode, &|w| encode_request(cmd, args, w));
                session.free_id(ty, id);
            }
        });
    }
}
