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

use crate::alloc::HostAllocator;
use crate::command_buffer::CommandBuffer;
use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::generated::entry::structures;
use crate::session::Session;

/// Bytes of the elements of an array; a null one has none.
#[inline(always)]
pub(crate) fn length(array: *const c_void, count: usize, element: usize) -> usize {
    if array.is_null() { 0 } else { count.saturating_mul(element) }
}

/// Bytes of a string, its length before it; a null one has none.
///
/// # Safety
/// `string` is null or a string.
#[inline(always)]
pub(crate) unsafe fn string_length(string: *const c_void) -> usize {
    if string.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    size_of::<u64>() + unsafe { CStr::from_ptr(string.cast()) }.count_bytes() + 1
}

/// Bytes of the one link that the chain of a structure may have: of this type, and `length` bytes long with the end of its
/// chain. None when the structure needs the tables.
///
/// # Safety
/// `at` is a structure with a chain.
#[inline(always)]
pub(crate) unsafe fn link_length(
    at: *const u8,
    s_type: i32,
    length: impl Fn(*const u8) -> Option<usize>,
) -> Option<usize> {
    // SAFETY: the caller's promise: a link begins with its type.
    unsafe {
        let link = load::<*const u8>(at, P_NEXT);
        if link.is_null() {
            return Some(0);
        }
        if load::<i32>(link, 0) == s_type { length(link) } else { None }
    }
}

/// Where structures with an `sType` have their `pNext`.
const P_NEXT: usize = 8;

/// Ends a chain on the wire; here it is the whole of it, but for the link that [`link_length`] allows.
pub(crate) const NO_CHAIN: u32 = u32::MAX;

/// Bytes that structures of `size` bytes in memory take, as `length` says of each; a null array has none. None when
/// one of them needs the tables.
///
/// # Safety
/// `array` is null or has `count` such structures.
#[inline(always)]
pub(crate) unsafe fn lengths(
    array: *const c_void,
    count: usize,
    size: usize,
    length: impl Fn(*const u8) -> Option<usize>,
) -> Option<usize> {
    let mut sum = 0usize;
    if !array.is_null() {
        for i in 0..count {
            // SAFETY: the caller's promise.
            sum = sum.saturating_add(length(unsafe { array.cast::<u8>().add(i * size) })?);
        }
    }
    Some(sum)
}

/// Bytes that a structure takes; none when it needs the tables.
///
/// # Safety
/// The pointer leads to such a structure.
pub(crate) type Measure = unsafe fn(*const u8) -> Option<usize>;

/// Writes a structure that was measured.
///
/// # Safety
/// As [`Measure`]; there is room for it.
pub(crate) type Put = unsafe fn(&mut Straight, *const u8);

/// Largest record that is written straight into the ring.
pub(crate) const MOST: usize = 4 << 10;

/// Creates an object by `vkCreateX(device, info, allocator, x)` or `vkCreateXPipelines(device, cache, 1, info, allocator, x)`,
/// not waited for. None when it has to go the common way: nothing has happened then.
///
/// # Safety
/// As [`forward::try_create`].
pub(crate) unsafe fn create(
    session: &Session,
    cmd: &Command,
    args: &[u64],
    ty: HandleType,
    allocator: HostAllocator,
) -> Option<vk::Result> {
    let (measure, put) = structures::info(cmd.opcode).filter(|_| session.perf.straight)?;
    let (device, cache, info, object) = match *args {
        [device, info, _, object] => (device, None, info, object),
        [device, cache, count, info, _, object] if count as u32 == 1 => (device, Some(cache), info, object),
        _ => return None,
    };
    let (info, object) = (info as *const u8, object as *mut u64);
    if info.is_null() || object.is_null() {
        return None;
    }
    // SAFETY: valid arguments of the command: a device, its create-info, and room for a handle.
    unsafe {
        // Both presence bytes and both ids; the cache, and how many pipelines there are.
        let fixed = if cache.is_some() { 30 } else { 18 };
        let payload = measure(info)?.checked_add(fixed).filter(|payload| *payload <= MOST)?;
        let sent = session.send_new(ty, allocator, (cmd.opcode, payload), |to, id| {
            to.put(dispatch::id(device as *const c_void));
            if let Some(cache) = cache {
                to.put(cache);
                to.put(1u32);
            }
            to.put(1u8);
            put(to, info);
            to.put(1u8);
            to.put(id);
        });
        let (id, result) = match sent {
            Ok(Some(id)) => (id, vk::Result::SUCCESS),
            Ok(None) => (0, vk::Result::ERROR_OUT_OF_HOST_MEMORY),
            Err(failure) => (0, forward::refusal(cmd, failure)),
        };
        object.write(id);
        Some(result)
    }
}

/// Sends `vkX(object, info)`, which is not answered. None when it has to go the common way: nothing has happened then.
///
/// # Safety
/// As [`forward::send`].
pub(crate) unsafe fn send(session: &Session, cmd: &Command, args: &[u64]) -> Option<Result<(), Failure>> {
    let &[object, info] = args else { return None };
    let (measure, put) = structures::info(cmd.opcode).filter(|_| session.perf.straight)?;
    let info = info as *const u8;
    if info.is_null() {
        return None;
    }
    // SAFETY: valid arguments of the command: an object and its structure.
    unsafe {
        // The presence byte and the id.
        let payload = measure(info)?.checked_add(9).filter(|payload| *payload <= MOST)?;
        Some(session.send_straight(cmd.opcode, payload, |to| {
            to.put(dispatch::id(object as *const c_void));
            to.put(1u8);
            put(to, info);
        }))
    }
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
    session.send_last((ty, id), (cmd.opcode, 16), |to| unsafe {
        to.put(dispatch::id(object));
        to.put(id);
    });
    true
}

/// `pointer`, null where it may not be followed.
#[inline(always)]
pub(crate) fn only(pointer: *const c_void, may: bool) -> *const c_void {
    if may { pointer } else { null() }
}

/// Whether something follows in the chain of a structure.
///
/// # Safety
/// `at` is a structure with a chain.
#[inline(always)]
pub(crate) unsafe fn has_chain(at: *const u8) -> bool {
    // SAFETY: `pNext` stands behind `sType`, aligned to 8.
    !unsafe { load::<*const c_void>(at, P_NEXT) }.is_null()
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

/// Begins a record with `payload` bytes behind its header: the command buffer's id, which is written here, and what the
/// caller puts. None when the record must go the common way.
///
/// # Safety
/// `object` must be null or a live command buffer that no other thread uses. The caller puts exactly the rest of the
/// payload, before anything else happens to the command buffer.
#[inline(always)]
pub(crate) unsafe fn begin(object: *mut c_void, opcode: u16, payload: usize) -> Option<Straight> {
    // SAFETY: the caller's promise; command buffers are made by `command_buffer.rs`.
    let buffer = unsafe { object.cast::<CommandBuffer>().as_mut()? };
    let length = payload.checked_add(HEADER_SIZE + ALIGNMENT - 1)? & !(ALIGNMENT - 1);
    let (start, id) = buffer.straight(length)?;
    // SAFETY: `length` bytes at `start` are this record's; an id always fits.
    unsafe {
        let mut to = Straight::new(start, opcode, 0, length);
        to.put(id);
        Some(to)
    }
}

/// A record that is being written.
pub(crate) struct Straight {
    at: *mut u8,
}

/// The methods rely on what [`begin`] asks of its caller: there is room for all that is put.
impl Straight {
    /// A record of `length` bytes at `start`, both multiples of 8: its header and its padding. What is put is written
    /// behind the one and over the other.
    ///
    /// # Safety
    /// The bytes are this record's.
    #[inline(always)]
    pub(crate) unsafe fn new(start: *mut u8, opcode: u16, flags: u16, length: usize) -> Self {
        let header = Header { opcode, flags, length: length as u32 };
        // SAFETY: the caller's promise; a header always fits.
        unsafe {
            start.add(length - ALIGNMENT).cast::<u64>().write(0);
            start.cast::<u64>().write(header.to_word().to_le());
            Self { at: start.add(HEADER_SIZE) }
        }
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

    /// Whether there is an array, and its `length` bytes.
    #[inline(always)]
    pub(crate) unsafe fn array(&mut self, array: *const c_void, length: usize) {
        // SAFETY: there is room; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                self.at.copy_from_nonoverlapping(array.cast(), length);
                self.at = self.at.add(length);
            }
        }
    }

    /// Whether there is an array, and the ids of its command buffers; `length` bytes in memory and here.
    #[inline(always)]
    pub(crate) unsafe fn objects(&mut self, array: *const c_void, length: usize) {
        // SAFETY: there is room; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                for i in 0..length / size_of::<u64>() {
                    self.object(array.cast::<u8>().add(i * size_of::<u64>()));
                }
            }
        }
    }

    /// Whether there is a string, and the `length` bytes that [`string_length`] says.
    #[inline(always)]
    pub(crate) unsafe fn string(&mut self, string: *const c_void, length: usize) {
        // SAFETY: there is room; the application's string is that long.
        unsafe {
            self.put(u8::from(!string.is_null()));
            if !string.is_null() {
                let bytes = length - size_of::<u64>();
                self.put(bytes as u64);
                self.at.copy_from_nonoverlapping(string.cast(), bytes);
                self.at = self.at.add(bytes);
            }
        }
    }

    /// The id of a command buffer in a structure.
    #[inline(always)]
    pub(crate) unsafe fn object(&mut self, at: *const u8) {
        // SAFETY: there is room; the application's command buffer is live, or null.
        unsafe { self.put(dispatch::id(load::<*const c_void>(at, 0))) };
    }

    /// The chain of the structure at `at`: the link that [`link_length`] allows, as `put` writes it, if there is one.
    #[inline(always)]
    pub(crate) unsafe fn chain(&mut self, at: *const u8, put: impl Fn(&mut Self, *const u8)) {
        // SAFETY: there is room; a link begins with its type, which goes to where the link's own chain would end.
        unsafe {
            let (link, start) = (load::<*const u8>(at, P_NEXT), self.at);
            if !link.is_null() {
                put(self, link);
                start.cast::<i32>().write_unaligned(load(link, 0));
            }
            self.put(NO_CHAIN);
        }
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

    /// Whether there is an array, and its structures of `size` bytes in memory, as `put` writes each.
    #[inline(always)]
    pub(crate) unsafe fn structures(
        &mut self,
        array: *const c_void,
        count: usize,
        size: usize,
        put: impl Fn(&mut Self, *const u8),
    ) {
        // SAFETY: there is room; the application's array is that long.
        unsafe {
            self.put(u8::from(!array.is_null()));
            if !array.is_null() {
                (0..count).for_each(|i| put(self, array.cast::<u8>().add(i * size)));
            }
        }
    }
}
