//! Decoding without the tables: a command buffer's commonest records, read and called in one go, creations, and submissions.
//!
//! For `vkCmd*` whose parameters are scalars, handles, flat arrays and structures without a chain the generator writes
//! out the few loads that the tables lead to ([`generated::straight`](crate::generated::straight)). Such a function takes
//! a record only when nothing about it is unusual: a chain, an id that does not resolve, a length that does not fit, and
//! it takes nothing, has no effect, and the tables decode the same bytes anew. So there is one place that says what is
//! wrong with a record.
//!
//! What [`codec`](crate::codec) promises holds here too: nothing outside of the record is read, each byte of it at most
//! once, and what the driver is given is memory of the host's own.

use std::ptr::null_mut;

pub(crate) use crate::codec::END;
use crate::codec::HandleError;
use crate::generated::handles::HandleType;

/// Any Vulkan command of the driver.
pub type Pfn = unsafe extern "system" fn();

/// Takes a record: decodes it and calls the driver. `None`: it was not taken.
///
/// # Safety
/// `pfn` is the driver's function for the command that this was made for; the record may be read.
pub type Take<H> = unsafe fn(&mut Target<'_, H>, Record, Pfn) -> Option<()>;

/// Reads a structure into zeroed memory. `None`: it needs the tables.
///
/// # Safety
/// The record may be read; there is room for the structure.
pub(crate) type ReadInfo<H> = unsafe fn(&mut Target<'_, H>, &mut Record, *mut u8) -> Option<()>;

/// A command `vkCreateX(device, info, allocator, x)`.
#[derive(Debug)]
pub struct Creation<H> {
    /// Type of what it creates.
    pub ty: HandleType,
    /// Size of its info in bytes, and what reads it.
    pub(crate) size: usize,
    pub(crate) read: ReadInfo<H>,
}

impl<H> Clone for Creation<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Creation<H> {}

/// A command `vkX(queue, count, infos, fence)`.
#[derive(Debug)]
pub struct Submission<H> {
    /// Size of each info in bytes, and what reads it.
    pub(crate) size: usize,
    pub(crate) read: ReadInfo<H>,
}

impl<H> Clone for Submission<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Submission<H> {}

/// Who knows the host's handles and calls the driver.
pub trait Host {
    /// The host's handle for `id`, which is not 0, among the objects of a device.
    ///
    /// # Errors
    /// When there is none.
    fn handle(&self, device: u16, ty: HandleType, id: u64) -> Result<u64, HandleError>;

    /// Calls the driver: `invoke` calls `pfn` with the slots `args`.
    ///
    /// # Safety
    /// As [`Invoke`](crate::schema::Invoke).
    #[inline(always)]
    unsafe fn call(&self, invoke: impl Fn(Pfn, &[u64]) -> u64, pfn: Pfn, args: &[u64]) {
        invoke(pfn, args);
    }
}

/// Memory for the arrays and structures of one record at a time.
#[derive(Debug)]
pub struct Scratch(Box<[u128]>);

impl Scratch {
    /// Bytes of it: records that need more are left to the tables.
    pub const SIZE: usize = 64 << 10;
}

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![0; Self::SIZE / size_of::<u128>()].into_boxed_slice())
    }
}

/// Where the records of one command buffer go, or those of a device.
#[derive(Debug)]
pub struct Target<'a, H> {
    host: &'a H,
    /// The device that all objects have to belong to.
    device: u16,
    /// Id and host's handle of the command buffer, of the queue, or of the device.
    object: (u64, u64),
    scratch: *mut u8,
    used: usize,
    space: std::marker::PhantomData<&'a mut Scratch>,
}

impl<'a, H: Host> Target<'a, H> {
    /// The command buffer or queue with this id and this handle, of this device, or the device itself.
    pub fn new(host: &'a H, device: u16, object: (u64, u64), scratch: &'a mut Scratch) -> Self {
        let scratch = scratch.0.as_mut_ptr().cast();
        Self { host, device, object, scratch, used: 0, space: std::marker::PhantomData }
    }

    /// Takes the record whose payload is `length` bytes at `start`.
    ///
    /// # Safety
    /// As [`Take`]; `length`, a multiple of 8, bytes at `start`, aligned to 8, are readable. Another process may change them.
    #[inline(always)]
    pub unsafe fn take(&mut self, take: Take<H>, pfn: Pfn, start: *const u8, length: usize) -> Option<()> {
        self.used = 0;
        // SAFETY: the caller's promise.
        unsafe { take(self, Record { at: start, end: start.add(length) }, pfn) }
    }

    /// Takes the request of a creation: where the info is now, and the id of the new object. `None`: it was not taken.
    ///
    /// # Safety
    /// As [`take`](Self::take).
    pub unsafe fn creation(
        &mut self,
        creation: Creation<H>,
        start: *const u8,
        length: usize,
    ) -> Option<(*mut u8, u64)> {
        self.used = 0;
        // SAFETY: the caller's promise; what is read was asked for before.
        unsafe {
            let mut from = Record { at: start, end: start.add(length) };
            from.need(size_of::<u64>())?;
            self.object(from.get())?;
            from.present()?.then_some(())?;
            let read = |to: &mut Self, from: &mut Record, at| (creation.read)(to, from, at);
            let info = self.structs(&mut from, 1, creation.size, read)?;
            from.present()?.then_some(())?;
            from.need(size_of::<u64>())?;
            let id = from.get();
            from.finish()?;
            Some((info, id))
        }
    }

    /// Takes the request of a submission without a fence: where the infos are now, and their number. `None`: it was not taken.
    ///
    /// # Safety
    /// As [`take`](Self::take).
    #[inline(always)]
    pub unsafe fn submission(
        &mut self,
        submission: Submission<H>,
        start: *const u8,
        length: usize,
    ) -> Option<(*const u8, u32)> {
        self.used = 0;
        // SAFETY: the caller's promise; what is read was asked for before.
        unsafe {
            let mut from = Record { at: start, end: start.add(length) };
            from.need(2 * size_of::<u64>() + size_of::<u32>())?;
            self.object(from.get())?;
            let count: u32 = from.get();
            (from.get::<u64>() == 0).then_some(())?;
            let read = |to: &mut Self, from: &mut Record, at| (submission.read)(to, from, at);
            let present = from.present()?;
            (present || count == 0).then_some(())?;
            let infos = optional(present, || self.structs(&mut from, count.into(), submission.size, read))?;
            from.finish()?;
            Some((infos, count))
        }
    }

    /// The handle of the command buffer, or whatever else it is, if this is its id.
    #[inline(always)]
    pub(crate) fn object(&self, id: u64) -> Option<u64> {
        (id == self.object.0).then_some(self.object.1)
    }

    #[inline(always)]
    pub(crate) fn handle(&self, ty: HandleType, id: u64) -> Option<u64> {
        if id == 0 {
            return (!ty.dispatchable()).then_some(0);
        }
        self.host.handle(self.device, ty, id).ok()
    }

    /// As [`handle`](Self::handle), of a field that may be garbage.
    #[inline(always)]
    pub(crate) fn lenient(&self, ty: HandleType, id: u64) -> Option<u64> {
        if id == 0 {
            return Some(0);
        }
        match self.host.handle(self.device, ty, id) {
            Ok(raw) => Some(raw),
            Err(HandleError::Unknown) => Some(0),
            Err(HandleError::Poisoned) => None,
        }
    }

    /// `n` elements of plain data.
    #[inline(always)]
    pub(crate) unsafe fn bytes(&mut self, from: &mut Record, n: u64, size: usize) -> Option<*mut u8> {
        let length = usize::try_from(n).ok()?.checked_mul(size)?;
        from.need(length)?;
        let array = self.room(length)?;
        // SAFETY: both are that long; the scratch memory is the host's own.
        unsafe { copy(from.at, array, length) };
        from.at = from.at.wrapping_add(length);
        Some(array)
    }

    /// `n` handles.
    #[inline(always)]
    pub(crate) unsafe fn handles(&mut self, from: &mut Record, n: u64, ty: HandleType) -> Option<*mut u8> {
        let n = usize::try_from(n).ok()?;
        let length = n.checked_mul(size_of::<u64>())?;
        from.need(length)?;
        let array = self.room(length)?;
        for i in 0..n {
            // SAFETY: the ids are there, and there is room for their handles, aligned.
            unsafe { array.cast::<u64>().add(i).write(self.handle(ty, from.get())?) };
        }
        Some(array)
    }

    /// `n` structures of `size` bytes, each read by `read`, which is given zeroed memory.
    #[inline(always)]
    pub(crate) unsafe fn structs(
        &mut self,
        from: &mut Record,
        n: u64,
        size: usize,
        read: impl Fn(&mut Self, &mut Record, *mut u8) -> Option<()>,
    ) -> Option<*mut u8> {
        let n = usize::try_from(n).ok()?;
        let array = self.room(n.checked_mul(size)?)?;
        for i in 0..n {
            // SAFETY: there is room for `n` structures.
            unsafe {
                let at = array.add(i * size);
                at.write_bytes(0, size);
                read(self, from, at)?;
            }
        }
        Some(array)
    }

    /// The chain of a structure: the one link, of this type and `size` bytes, that `read` reads, or null.
    #[inline(always)]
    pub(crate) unsafe fn chain(
        &mut self,
        from: &mut Record,
        s_type: u32,
        size: usize,
        read: impl Fn(&mut Self, &mut Record, *mut u8) -> Option<()>,
    ) -> Option<*mut u8> {
        // SAFETY: what is read was asked for before.
        unsafe {
            from.need(size_of::<u32>())?;
            let first: u32 = from.get();
            if first == END {
                return Some(null_mut());
            }
            let link = (first == s_type).then(|| self.structs(from, 1, size, read))??;
            from.need(size_of::<u32>())?;
            (from.get::<u32>() == END).then_some(link)
        }
    }

    #[inline(always)]
    pub(crate) unsafe fn call(&self, invoke: impl Fn(Pfn, &[u64]) -> u64, pfn: Pfn, args: &[u64]) {
        // SAFETY: the caller's promise.
        unsafe { self.host.call(invoke, pfn, args) };
    }

    /// Scratch memory, aligned to 16 bytes, with any contents.
    #[inline(always)]
    fn room(&mut self, length: usize) -> Option<*mut u8> {
        if length > Scratch::SIZE - self.used {
            return None;
        }
        // SAFETY: within the scratch memory.
        let room = unsafe { self.scratch.add(self.used) };
        // The size is a multiple of the alignment, so that this does not pass it.
        self.used = (self.used + length).next_multiple_of(align_of::<u128>());
        Some(room)
    }
}

/// The part of a record's payload that was not read yet.
#[derive(Debug)]
pub struct Record {
    at: *const u8,
    end: *const u8,
}

/// A scalar at any address; the volatile load of it is a single unaligned one.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Unaligned<T: Copy>(T);

impl Record {
    /// That this many bytes are left.
    #[inline(always)]
    pub(crate) fn need(&self, length: usize) -> Option<()> {
        (length <= self.end.addr() - self.at.addr()).then_some(())
    }

    /// The next scalar, which must be there.
    #[inline(always)]
    pub(crate) unsafe fn get<T: Copy>(&mut self) -> T {
        const { assert!(cfg!(target_endian = "little")) };
        // SAFETY: the caller has asked for it by `need`; the wrapper has no alignment, and `T` is an integer.
        unsafe {
            let value = self.at.cast::<Unaligned<T>>().read_volatile().0;
            self.at = self.at.add(size_of::<T>());
            value
        }
    }

    /// The next `N` bytes, which must be there, to `to`.
    #[inline(always)]
    pub(crate) unsafe fn copy<const N: usize>(&mut self, to: *mut u8) {
        // SAFETY: the caller has asked for them by `need`, and has room for them.
        unsafe {
            to.copy_from_nonoverlapping(self.at, N);
            self.at = self.at.add(N);
        }
    }

    /// Whether there is something behind a pointer.
    #[inline(always)]
    pub(crate) fn present(&mut self) -> Option<bool> {
        self.need(1)?;
        // SAFETY: it is there.
        match unsafe { self.get::<u8>() } {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// That nothing but padding is left.
    #[inline(always)]
    pub(crate) fn finish(self) -> Option<()> {
        let left = self.end.addr() - self.at.addr();
        if left == 0 {
            return Some(());
        }
        // A payload is a multiple of 8 bytes, and begins with an id: its last word is there.
        // SAFETY: see above.
        let last = unsafe { self.end.sub(8).cast::<u64>().read_volatile() };
        (left < 8 && last >> (64 - 8 * left) == 0).then_some(())
    }
}

/// A number that sizes an array, in a structure that was read: whatever is read of it later is the same.
///
/// # Safety
/// The bytes are readable.
#[inline(always)]
pub(crate) unsafe fn count<T: Copy + Into<u64>>(at: *const u8, off: usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { at.add(off).cast::<Unaligned<T>>().read_volatile() }.0.into()
}

/// What `read` makes of an array or a structure, null where there is none.
#[inline(always)]
pub(crate) fn optional(present: bool, read: impl FnOnce() -> Option<*mut u8>) -> Option<*mut u8> {
    if present { read() } else { Some(null_mut()) }
}

/// Copies what is mostly short.
///
/// # Safety
/// `length` bytes are readable and writable, and do not overlap.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: pairs of words that overlap cover the length exactly.
    unsafe {
        match length {
            0 => {}
            4 => to.cast::<[u8; 4]>().write(from.cast::<[u8; 4]>().read()),
            8..=16 => {
                let (head, tail) =
                    (from.cast::<[u8; 8]>().read(), from.add(length - 8).cast::<[u8; 8]>().read());
                to.cast::<[u8; 8]>().write(head);
                to.add(length - 8).cast::<[u8; 8]>().write(tail);
            }
            17..=32 => {
                let (head, tail) =
                    (from.cast::<[u8; 16]>().read(), from.add(length - 16).cast::<[u8; 16]>().read());
                to.cast::<[u8; 16]>().write(head);
                to.add(length - 16).cast::<[u8; 16]>().write(tail);
            }
            _ => to.copy_from_nonoverlapping(from, length),
        }
    }
}
