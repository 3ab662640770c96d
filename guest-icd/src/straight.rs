//! Recording without the tables: the generated entry points of the simplest `vkCmd*` write their records themselves.
//! Creations and destructions of objects go the same way, into the ring, and so do submissions (`submission.rs`).
//!
//! Only where no structure has a chain and there is room in the command buffer's chunk; otherwise they go the common way, by `forward::record`.

use std::ffi::{CStr, c_void};
use std::ptr::null;

use ash::vk;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{ALIGNMENT, HEADER_SIZE, Header};
use vw_wire_protocol::schema::{Command, Op};

use crate::command_buffer::CommandBuffer;
use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::generated::entry::structures;
use crate::session::Session;

/// Bytes of an array's elements; a null one has none.
#[inline(always)]
pub(crate) fn length(array: *const c_void, count: usize, element: usize) -> usize {
    if array.is_null() { 0 } else { count.saturating_mul(element) }
}

/// Where structures with an `sType` have their `pNext`.
const P_NEXT: usize = 8;

/// Ends a chain on the wire.
const NO_CHAIN: u32 = u32::MAX;

/// Writes a structure; none when it needs the tables, or there is no room.
///
/// # Safety
/// The pointer leads to such a structure.
pub(crate) type Put = unsafe fn(&mut Straight, *const u8) -> Option<()>;

/// Creates an object by `vkCreateX(device, info, allocator, x)`, or some by `vkCreateXPipelines(device, cache, count, infos,
/// allocator, pipelines)`, not waited for, without callbacks of the application's. None when it has to go the common way: nothing
/// has happened then.
///
/// # Safety
/// As [`forward::try_create`].
pub(crate) unsafe fn create(
    session: &Session,
    cmd: &Command,
    args: &[u64],
    ty: HandleType,
) -> Option<vk::Result> {
    let (size, put) = structures::info(cmd.opcode).filter(|_| session.perf.straight)?;
    let (device, cache, infos, count, objects) = match *args {
        [device, info, _, object] => (device, None, info, 1, object),
        [device, cache, count, infos, _, objects] => (device, Some(cache), infos, count as u32, objects),
        _ => return None,
    };
    let (infos, objects) = (infos as *const c_void, objects as *mut u64);
    if infos.is_null() || objects.is_null() || count == 0 {
        return None;
    }
    let count = count as usize;
    // SAFETY: valid arguments of the command: a device, its create-infos, and room for as many handles. An id, a cache and a
    // number always have room.
    let put_all = |to: &mut Straight| unsafe {
        to.put(dispatch::id(device as *const c_void));
        if let Some(cache) = cache {
            to.put(cache);
            to.put(count as u32);
        }
        to.structures(infos, count, size, |to, info| put(to, info))
    };
    // SAFETY: as above.
    match unsafe { session.send_new(ty, cmd.opcode, (objects, count), put_all) } {
        Ok(sent) => sent.then_some(vk::Result::SUCCESS),
        Err(failure) => {
            // SAFETY: as above.
            (0..count).for_each(|i| unsafe { objects.add(i).write(0) });
            Some(forward::refusal(cmd, failure))
        }
    }
}

/// Sends `vkX(object, info)`, which is not answered. None when it has to go the common way: nothing has happened then.
///
/// # Safety
/// As [`forward::send`].
pub(crate) unsafe fn send(session: &Session, cmd: &Command, args: &[u64]) -> Option<Result<(), Failure>> {
    let &[object, info] = args else { return None };
    let (_, put) = structures::info(cmd.opcode).filter(|_| session.perf.straight)?;
    let info = info as *const c_void;
    if info.is_null() {
        return None;
    }
    let sent = session.with_sender(|sender| {
        let mut to = sender.begin()?;
        // SAFETY: valid arguments of the command: an object and its structure. There is room for an id.
        let whole = unsafe {
            to.put(dispatch::id(object as *const c_void));
            to.structure(info, |to, info| put(to, info))
        };
        Ok(whole.map(|()| sender.end(to, cmd.opcode, 0)))
    });
    sent.transpose()
}

/// Sends a command whose parameters are two objects, the second not dispatchable: nearly all that destroy. The second's id,
/// of type `ty`, is given back. False when it has to go the common way: nothing has happened then.
///
/// # Safety
/// As [`forward::destroy`].
pub(crate) unsafe fn destroy(
    session: &Session,
    object: *const c_void,
    cmd: &Command,
    (ty, id): (HandleType, u64),
) -> bool {
    let pair = matches!(cmd.params, [Op::Handle { off: 0, .. }, Op::Handle { off: 8, ty, .. }] if !ty.dispatchable());
    if !pair || !session.perf.straight {
        return false;
    }
    // SAFETY: a live dispatchable object.
    session.send_last(cmd.opcode, unsafe { dispatch::id(object) }, (ty, id));
    true
}

/// `pointer`, null where it may not be followed.
#[inline(always)]
pub(crate) fn only(pointer: *const c_void, may: bool) -> *const c_void {
    if may { pointer } else { null() }
}

/// A member of a structure.
///
/// # Safety
/// There is one of this type at `off`.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(at: *const u8, off: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { at.add(off).cast::<T>().read_unaligned() }
}

/// Appends a record to a command buffer's stream: the command buffer's id, and what `put` puts. None when it has to go the
/// common way: nothing has happened then.
///
/// # Safety
/// `object` must be null or a live command buffer that no other thread uses.
#[inline(always)]
pub(crate) unsafe fn record(
    object: *mut c_void,
    opcode: u16,
    put: impl FnOnce(&mut Straight) -> Option<()>,
) -> Option<()> {
    // SAFETY: the caller's promise; command buffers are made by `command_buffer.rs`.
    let buffer = unsafe { object.cast::<CommandBuffer>().as_mut()? };
    let (start, room) = buffer.stream().straight()?;
    // SAFETY: the room is this record's; an id always fits.
    unsafe {
        let mut to = Straight::new(start, room)?;
        to.put(buffer.id());
        put(&mut to)?;
        buffer.stream().advance(to.end(opcode, 0));
    }
    Some(())
}

/// Begins a record in a command buffer's stream with `payload` bytes behind its header: the command buffer's id, which is
/// written here, and what the caller puts. None when it has to go the common way.
///
/// # Safety
/// As [`record`]; the caller puts exactly the rest of the payload, before anything else happens to the command buffer.
#[inline(always)]
pub(crate) unsafe fn begin(object: *mut c_void, opcode: u16, payload: usize) -> Option<Straight> {
    // SAFETY: the caller's promise; command buffers are made by `command_buffer.rs`.
    let buffer = unsafe { object.cast::<CommandBuffer>().as_mut()? };
    let length = payload.checked_add(HEADER_SIZE + ALIGNMENT - 1)? & !(ALIGNMENT - 1);
    let (start, room) = buffer.stream().straight()?;
    if length > room {
        return None;
    }
    buffer.stream().advance(length);
    let header = Header { opcode, flags: 0, length: length as u32 };
    // SAFETY: `length` bytes at `start` are this record's; an id always fits.
    unsafe {
        start.add(length - ALIGNMENT).cast::<u64>().write(0);
        start.cast::<u64>().write(header.to_word().to_le());
        let mut to = Straight { start, at: start.add(HEADER_SIZE), end: start.add(length) };
        to.put(buffer.id());
        Some(to)
    }
}

/// A record that is being written, in room that may be too small for it: it counts only when it has [ended](Self::end).
///
/// `put`, `copy` and `object` write what there is room for by [`need`](Self::need); everything else asks itself.
pub(crate) struct Straight {
    /// Where the record begins, and where it goes on.
    start: *mut u8,
    at: *mut u8,
    /// Where the payload must end: there is room for its padding behind.
    end: *mut u8,
}

impl Straight {
    /// A record in the `room` bytes at `start`, which is aligned to 8. None where there is no room even for an id.
    ///
    /// # Safety
    /// The bytes are this record's.
    #[inline(always)]
    pub(crate) unsafe fn new(start: *mut u8, room: usize) -> Option<Self> {
        let end = room.checked_sub(ALIGNMENT).filter(|end| *end >= HEADER_SIZE + size_of::<u64>())?;
        // SAFETY: within the room.
        unsafe { Some(Self { start, at: start.add(HEADER_SIZE), end: start.add(end) }) }
    }

    /// Writes the header and the padding. Returns the record's length, a multiple of 8.
    #[inline(always)]
    pub(crate) unsafe fn end(self, opcode: u16, flags: u16) -> usize {
        let length = (self.at.addr() - self.start.addr()).next_multiple_of(ALIGNMENT);
        let header = Header { opcode, flags, length: length as u32 };
        // SAFETY: there is room for a word behind the payload, and for the header before it.
        unsafe {
            self.at.cast::<u64>().write_unaligned(0);
            self.start.cast::<u64>().write(header.to_word().to_le());
        }
        length
    }

    /// That there is room for so many bytes.
    #[inline(always)]
    pub(crate) fn need(&self, length: usize) -> Option<()> {
        (length <= self.end.addr() - self.at.addr()).then_some(())
    }

    /// As [`need`](Self::need), and for the byte that says whether there is anything.
    #[inline(always)]
    fn need_behind_presence(&self, length: usize) -> Option<()> {
        (length < self.end.addr() - self.at.addr()).then_some(())
    }

    /// A scalar or a handle. (Little endian, as the wire is: vw is for such processors alone.)
    #[inline(always)]
    pub(crate) unsafe fn put<T: Copy>(&mut self, value: T) {
        const { assert!(cfg!(target_endian = "little")) };
        // SAFETY: there is room.
        unsafe {
            self.at.cast::<T>().write_unaligned(value);
            self.at = self.at.add(size_of::<T>());
        }
    }

    /// Whether there is an array, and its `count` elements of `size` bytes.
    #[inline(always)]
    pub(crate) unsafe fn array(&mut self, array: *const c_void, count: usize, size: usize) -> Option<()> {
        let length = length(array, count, size);
        self.need_behind_presence(length)?;
        // SAFETY: there is room; the application's array is that long.
        unsafe { self.flat(array, length) };
        Some(())
    }

    /// As [`array`](Self::array), of [`length`] bytes that there is room for.
    #[inline(always)]
    pub(crate) unsafe fn flat(&mut self, array: *const c_void, length: usize) {
        // SAFETY: the caller's promise; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                self.at.copy_from_nonoverlapping(array.cast(), length);
                self.at = self.at.add(length);
            }
        }
    }

    /// Whether there is an array, and the ids of its command buffers.
    #[inline(always)]
    pub(crate) unsafe fn objects(&mut self, array: *const c_void, count: usize) -> Option<()> {
        self.need_behind_presence(length(array, count, size_of::<u64>()))?;
        // SAFETY: there is room; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                (0..count).for_each(|i| self.object(array.cast::<u8>().add(i * size_of::<u64>())));
            }
        }
        Some(())
    }

    /// Whether there is a string, its length and its bytes.
    #[inline(always)]
    pub(crate) unsafe fn string(&mut self, string: *const c_void) -> Option<()> {
        // SAFETY: there is room; the application's string ends with a zero.
        unsafe {
            let length = if string.is_null() { 0 } else { CStr::from_ptr(string.cast()).count_bytes() + 1 };
            self.need_behind_presence(length.saturating_add(size_of::<u64>()))?;
            self.put(u8::from(!string.is_null()));
            if !string.is_null() {
                self.put(length as u64);
                self.at.copy_from_nonoverlapping(string.cast(), length);
                self.at = self.at.add(length);
            }
        }
        Some(())
    }

    /// The id of a command buffer in a structure.
    #[inline(always)]
    pub(crate) unsafe fn object(&mut self, at: *const u8) {
        // SAFETY: there is room; the application's command buffer is live, or null.
        unsafe { self.put(dispatch::id(load::<*const c_void>(at, 0))) };
    }

    /// The chain of the structure at `at`, if it has none; there must be room for its end.
    #[inline(always)]
    pub(crate) unsafe fn no_chain(&mut self, at: *const u8) -> Option<()> {
        // SAFETY: the caller's promise: a structure with a chain.
        unsafe {
            self.put(NO_CHAIN);
            load::<*const c_void>(at, P_NEXT).is_null().then_some(())
        }
    }

    /// The chain of the structure at `at`, if nothing but one link of this type is in it, which `put` writes.
    #[inline(always)]
    pub(crate) unsafe fn chain(
        &mut self,
        at: *const u8,
        s_type: i32,
        put: impl Fn(&mut Self, *const u8) -> Option<()>,
    ) -> Option<()> {
        // SAFETY: a link begins with its type, which goes to where the link's own chain would end.
        unsafe {
            let (link, start) = (load::<*const u8>(at, P_NEXT), self.at);
            if !link.is_null() {
                (load::<i32>(link, 0) == s_type).then(|| put(self, link))??;
                start.cast::<i32>().write_unaligned(s_type);
            }
            self.need(size_of_val(&NO_CHAIN))?;
            self.put(NO_CHAIN);
        }
        Some(())
    }

    /// `N` bytes of a structure.
    #[inline(always)]
    pub(crate) unsafe fn copy<const N: usize>(&mut self, from: *const u8) {
        // SAFETY: there is room; the application's structure has them.
        unsafe {
            self.at.copy_from_nonoverlapping(from, N);
            self.at = self.at.add(N);
        }
    }

    /// Whether there is a structure, and that, as `put` writes it.
    #[inline(always)]
    pub(crate) unsafe fn structure(
        &mut self,
        at: *const c_void,
        put: impl FnOnce(&mut Self, *const u8) -> Option<()>,
    ) -> Option<()> {
        self.need(1)?;
        // SAFETY: there is room.
        unsafe { self.put(u8::from(!at.is_null())) };
        if at.is_null() { Some(()) } else { put(self, at.cast()) }
    }

    /// Whether there is an array, and its structures of `size` bytes in memory, as `put` writes each.
    #[inline(always)]
    pub(crate) unsafe fn structures(
        &mut self,
        array: *const c_void,
        count: usize,
        size: usize,
        put: impl Fn(&mut Self, *const u8) -> Option<()>,
    ) -> Option<()> {
        self.need(1)?;
        // SAFETY: there is room; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                for i in 0..count {
                    put(self, array.cast::<u8>().add(i * size))?;
                }
            }
        }
        Some(())
    }
}
