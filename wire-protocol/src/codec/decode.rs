//! Host: bytes to commands and structures in memory.

use std::ptr::NonNull;

use super::arena::Arena;
use super::chain::{END, P_NEXT, Seen, find};
use super::count::{choose, count_of, inner_count, varies};
use super::error::{DecodeError, HandleError};
use super::mem::{store_ptr, store_u32, store_u64};
use super::reader::Reader;
use super::request::{BadHandle, NewHandles, NewList, Request, Resolve};
use super::{MAX_DEPTH, MAX_PARAMS, Mode, elem_size, has_shape};
use crate::generated::handles::HandleType;
use crate::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

/// Decodes the request of `cmd` from bytes that need not be trusted.
///
/// The record may hold more than the request; [`Reader::finish`] checks its end.
///
/// # Errors
/// Any [`DecodeError`] means that the peer violated the protocol. An id whose creation had failed is no error:
/// see [`Request::poisoned`].
///
/// # Safety
/// `cmd` is of the generated tables.
pub unsafe fn decode_request<'m, R: Resolve + ?Sized>(
    cmd: &Command,
    r: &mut Reader<'_>,
    arena: &'m Arena,
    res: &mut R,
) -> Result<Request<'m>, DecodeError> {
    let mut args = [0u64; MAX_PARAMS];
    let root: *mut u8 = args.as_mut_ptr().cast();
    let mut d = Decoder::new(r, arena, res, root);
    // SAFETY: no command of the tables has more parameters than there are slots.
    unsafe { d.full_ops(cmd.params, root)? };
    let (new, poisoned) = (d.new, d.poisoned);
    Ok(Request { args, new, poisoned })
}

/// Decodes one structure with its chain and all that it points to, into the arena.
///
/// # Errors
/// As [`decode_request`]; an id whose creation had failed is an error here.
///
/// # Safety
/// `desc` is of the generated tables.
pub unsafe fn decode_struct<R: Resolve + ?Sized>(
    desc: &'static Struct,
    mode: Mode,
    r: &mut Reader<'_>,
    arena: &Arena,
    res: &mut R,
) -> Result<NonNull<u8>, DecodeError> {
    let mem = arena.alloc_zeroed(desc.size as usize)?;
    let mut d = Decoder::new(r, arena, res, std::ptr::null());
    // SAFETY: the block has the structure's size.
    unsafe {
        match mode {
            Mode::Full => d.full_struct(desc, mem.as_ptr())?,
            Mode::Shape => d.shape_struct(desc, mem.as_ptr())?,
        }
    }
    match d.poisoned {
        Some(BadHandle { ty, id }) => Err(DecodeError::Handle { ty, id, reason: HandleError::Poisoned }),
        None => Ok(mem),
    }
}

/// Bytes before an array whose capacity the reply needs: the capacity as `u64`.
pub(crate) const CAPACITY_HEADER: usize = Arena::ALIGN;

struct Decoder<'d, 'r, 'm, R: ?Sized> {
    r: &'d mut Reader<'r>,
    arena: &'m Arena,
    res: &'d mut R,
    /// The command's slots, if it is one.
    root: *const u8,
    depth: u8,
    /// Inside a parameter that the reply carries.
    returning: bool,
    new: NewList<'m>,
    poisoned: Option<BadHandle>,
}

/// In all methods `base` is zeroed memory of the size that the ops describe, in the arena or in the slots.
impl<'d, 'r, 'm, R: Resolve + ?Sized> Decoder<'d, 'r, 'm, R> {
    fn new(r: &'d mut Reader<'r>, arena: &'m Arena, res: &'d mut R, root: *const u8) -> Self {
        Self { r, arena, res, root, depth: 0, returning: false, new: NewList::default(), poisoned: None }
    }

    // Everything, the values included.

    unsafe fn full_struct(&mut self, desc: &'static Struct, base: *mut u8) -> Result<(), DecodeError> {
        self.enter()?;
        // SAFETY: `base` has the size of `desc`.
        unsafe {
            if let Some(s_type) = desc.s_type {
                base.cast::<i32>().write_unaligned(s_type);
                self.chain(desc, base, Mode::Full)?;
            }
            self.full_ops(desc.ops, base)?;
        }
        self.depth -= 1;
        Ok(())
    }

    unsafe fn full_ops(&mut self, ops: &'static [Op], base: *mut u8) -> Result<(), DecodeError> {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure; counts have been checked where they are used.
            unsafe {
                match op {
                    Op::Bytes { off, len } => self.r.take_raw(base.add((*off).into()), (*len).into())?,
                    Op::Len { off, size } => self.r.take_raw(base.add((*off).into()), (*size).into())?,
                    Op::Handle { off, ty, lenient } => {
                        let raw = self.handle(*ty, *lenient)?;
                        store_u64(base, (*off).into(), raw);
                    }
                    Op::Pointer(p) => self.full_pointer(p, base)?,
                    Op::Inline { off, count, desc } => {
                        self.full_array(desc, (*count).into(), base.add((*off).into()))?;
                    }
                    Op::Select { selector, arms } => {
                        if let Some(arm) = choose(*selector, arms, base) {
                            self.full_ops(arm.ops, base)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[inline]
    unsafe fn full_pointer(&mut self, p: &'static Pointer, base: *mut u8) -> Result<(), DecodeError> {
        if !self.r.take_presence()? {
            return Ok(());
        }
        // SAFETY: the pointer lies in the structure; what a count goes through was decoded before and is null or
        // points into the arena.
        unsafe {
            let ptr = match (p.count, p.dir) {
                (Count::Terminated, _) => self.string()?,
                (count, Dir::In) => {
                    self.full_elems(&p.elem, count_of(count, base, self.root), base, varies(count))?
                }
                (count, Dir::New) => self.new_handles(&p.elem, count_of(count, base, self.root))?,
                (count, dir) => {
                    let outer = std::mem::replace(&mut self.returning, true);
                    let n = count_of(count, base, self.root);
                    let ptr = match dir {
                        Dir::Out => self.shape_elems(&p.elem, n, base, varies(count))?,
                        _ => self.full_elems(&p.elem, n, base, varies(count))?,
                    };
                    self.returning = outer;
                    ptr
                }
            };
            store_ptr(base, p.off.into(), ptr);
        }
        Ok(())
    }

    /// `outer` is the structure that the pointer stands in.
    unsafe fn full_elems(
        &mut self,
        elem: &'static Elem,
        n: u64,
        outer: *mut u8,
        varies: bool,
    ) -> Result<*mut u8, DecodeError> {
        let least = match elem {
            Elem::Bytes { size, .. } | Elem::Strided { size, .. } => (*size).into(),
            Elem::Struct(desc) => desc.min_wire.into(),
            Elem::Handle { .. } => 8,
            Elem::Strings => 9,
            Elem::Pointers { .. } => 1,
        };
        self.r.require(n.saturating_mul(least))?;
        // Plain data and handles are overwritten whole.
        let zeroed = !matches!(elem, Elem::Bytes { .. } | Elem::Strided { .. } | Elem::Handle { .. });
        let ptr = self.array(elem, n, varies, zeroed)?;
        // The array exists: the number is within what the process can address.
        let n = n as usize;
        // SAFETY: the array has room for `n` elements.
        unsafe {
            match elem {
                Elem::Bytes { size, .. } => self.r.take_raw(ptr, n * *size as usize)?,
                Elem::Struct(desc) => self.full_array(desc, n, ptr)?,
                Elem::Strided { size, stride, .. } => {
                    self.r.take_raw(ptr, n * *size as usize)?;
                    store_u32(outer, (*stride).into(), *size);
                }
                Elem::Handle { ty, lenient } => {
                    for i in 0..n {
                        let raw = self.handle(*ty, *lenient)?;
                        store_u64(ptr, 8 * i, raw);
                    }
                }
                Elem::Strings => {
                    for i in 0..n {
                        let s = self.string()?;
                        store_ptr(ptr, 8 * i, s);
                    }
                }
                Elem::Pointers { elem, count } => {
                    for i in 0..n {
                        if self.r.take_presence()? {
                            let m = inner_count(*count, outer, i).ok_or(DecodeError::MissingCount)?;
                            let inner = self.full_elems(elem, m, outer, false)?;
                            store_ptr(ptr, 8 * i, inner);
                        }
                    }
                }
            }
        }
        Ok(ptr)
    }

    unsafe fn full_array(
        &mut self,
        desc: &'static Struct,
        n: usize,
        ptr: *mut u8,
    ) -> Result<(), DecodeError> {
        for i in 0..n {
            // SAFETY: there is room for `n` structures.
            unsafe { self.full_struct(desc, ptr.add(i * desc.size as usize))? };
        }
        Ok(())
    }

    #[inline(always)]
    fn handle(&mut self, ty: HandleType, lenient: bool) -> Result<u64, DecodeError> {
        let id = self.r.take_u64()?;
        if id == 0 {
            // Drivers follow dispatchable handles without a look.
            let reason = HandleError::Unknown;
            return if ty.dispatchable() && !lenient {
                Err(DecodeError::Handle { ty, id, reason })
            } else {
                Ok(0)
            };
        }
        match self.res.resolve(ty, id) {
            Ok(raw) => Ok(raw),
            Err(HandleError::Unknown) if lenient => Ok(0),
            Err(HandleError::Poisoned) => {
                self.poisoned.get_or_insert(BadHandle { ty, id });
                Ok(0)
            }
            Err(reason) => Err(DecodeError::Handle { ty, id, reason }),
        }
    }

    fn string(&mut self) -> Result<*mut u8, DecodeError> {
        let n = self.r.take_u64()?;
        self.r.require(n)?;
        let len = n as usize;
        let s = self.arena.alloc(len)?.as_ptr();
        // SAFETY: the block is `len` bytes long, and all of them are written before they are read.
        let bytes = unsafe {
            self.r.take_raw(s, len)?;
            std::slice::from_raw_parts(s, len)
        };
        match bytes.split_last() {
            Some((0, text)) if !text.contains(&0) => Ok(s),
            _ => Err(DecodeError::BadString(n)),
        }
    }

    fn new_handles(&mut self, elem: &'static Elem, n: u64) -> Result<*mut u8, DecodeError> {
        let Elem::Handle { ty, .. } = elem else { return Err(DecodeError::Mismatch) };
        self.r.require(n.saturating_mul(8))?;
        let len = n as usize;
        let ids = self.arena.alloc(len * 8)?.cast::<u64>();
        let raw = self.arena.alloc_zeroed(len * 8)?.cast::<u64>().as_ptr();
        // SAFETY: the block has room for `len` ids, is aligned, is filled before it is read and is not written
        // afterwards; it lives as long as the borrow of the arena.
        let ids = unsafe {
            self.r.take_raw(ids.cast().as_ptr(), len * 8)?;
            std::slice::from_raw_parts(ids.as_ptr(), len)
        };
        if !self.new.push(NewHandles { ty: *ty, ids, raw }) {
            return Err(DecodeError::Mismatch);
        }
        Ok(raw.cast())
    }

    // The shape alone: room for results.

    unsafe fn shape_struct(&mut self, desc: &'static Struct, base: *mut u8) -> Result<(), DecodeError> {
        self.enter()?;
        // SAFETY: `base` has the size of `desc`.
        unsafe {
            if let Some(s_type) = desc.s_type {
                base.cast::<i32>().write_unaligned(s_type);
                self.chain(desc, base, Mode::Shape)?;
            }
            self.shape_ops(desc.ops, base)?;
        }
        self.depth -= 1;
        Ok(())
    }

    unsafe fn shape_ops(&mut self, ops: &'static [Op], base: *mut u8) -> Result<(), DecodeError> {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure.
            unsafe {
                match op {
                    Op::Len { off, size } => self.r.take_raw(base.add((*off).into()), (*size).into())?,
                    Op::Inline { off, count, desc } => {
                        self.shape_array(desc, (*count).into(), base.add((*off).into()))?;
                    }
                    Op::Pointer(p) => {
                        if self.r.take_presence()? {
                            if matches!(p.count, Count::Terminated) {
                                return Err(DecodeError::Mismatch);
                            }
                            let ptr = self.shape_elems(
                                &p.elem,
                                count_of(p.count, base, self.root),
                                base,
                                varies(p.count),
                            )?;
                            store_ptr(base, p.off.into(), ptr);
                        }
                    }
                    Op::Bytes { .. } | Op::Handle { .. } | Op::Select { .. } => {}
                }
            }
        }
        Ok(())
    }

    unsafe fn shape_elems(
        &mut self,
        elem: &'static Elem,
        n: u64,
        outer: *mut u8,
        varies: bool,
    ) -> Result<*mut u8, DecodeError> {
        let ptr = self.array(elem, n, varies, true)?;
        let n = n as usize;
        // SAFETY: the array has room for `n` elements.
        unsafe {
            match elem {
                Elem::Bytes { .. } | Elem::Strided { .. } | Elem::Handle { .. } | Elem::Strings => {}
                Elem::Struct(desc) => self.shape_array(desc, n, ptr)?,
                Elem::Pointers { elem, count } => {
                    for i in 0..n {
                        if self.r.take_presence()? {
                            let m = inner_count(*count, outer, i).ok_or(DecodeError::MissingCount)?;
                            let inner = self.shape_elems(elem, m, outer, false)?;
                            store_ptr(ptr, 8 * i, inner);
                        }
                    }
                }
            }
        }
        Ok(ptr)
    }

    unsafe fn shape_array(
        &mut self,
        desc: &'static Struct,
        n: usize,
        ptr: *mut u8,
    ) -> Result<(), DecodeError> {
        if !has_shape(desc) {
            return Ok(());
        }
        for i in 0..n {
            // SAFETY: there is room for `n` structures.
            unsafe { self.shape_struct(desc, ptr.add(i * desc.size as usize))? };
        }
        Ok(())
    }

    // Both.

    /// Decodes the chain of `parent` and links it behind `base`.
    #[inline]
    unsafe fn chain(
        &mut self,
        parent: &'static Struct,
        base: *mut u8,
        mode: Mode,
    ) -> Result<(), DecodeError> {
        let first = self.r.take_u32()?;
        if first == END {
            return Ok(());
        }
        // SAFETY: as the caller's.
        unsafe { self.links(parent, base, mode, first) }
    }

    unsafe fn links(
        &mut self,
        parent: &'static Struct,
        base: *mut u8,
        mode: Mode,
        first: u32,
    ) -> Result<(), DecodeError> {
        let mut seen = Seen::default();
        let mut last = base;
        let mut next = first;
        while next != END {
            let s_type = next as i32;
            let i = find(parent, s_type).ok_or(DecodeError::NotInChain { parent: parent.name, s_type })?;
            if !seen.insert(i) {
                return Err(DecodeError::Repeated { parent: parent.name, s_type });
            }
            let desc = parent.extended_by[i];
            let link = self.arena.alloc_zeroed(desc.size as usize)?.as_ptr();
            // SAFETY: the block has the link's size; `last` is a structure with a chain.
            unsafe {
                link.cast::<i32>().write_unaligned(s_type);
                store_ptr(last, P_NEXT, link);
                match mode {
                    Mode::Full => self.full_ops(desc.ops, link)?,
                    Mode::Shape => self.shape_ops(desc.ops, link)?,
                }
            }
            last = link;
            next = self.r.take_u32()?;
        }
        Ok(())
    }

    /// Room for `n` elements, with the number in front where a reply will want to know it.
    #[inline]
    fn array(
        &mut self,
        elem: &'static Elem,
        n: u64,
        varies: bool,
        zeroed: bool,
    ) -> Result<*mut u8, DecodeError> {
        let header = if varies && self.returning { CAPACITY_HEADER } else { 0 };
        // A size that does not fit is refused by the arena as one that is too large.
        let size = usize::try_from(n)
            .ok()
            .and_then(|n| n.checked_mul(elem_size(elem)))
            .and_then(|size| size.checked_add(header))
            .unwrap_or(usize::MAX);
        let block = if zeroed { self.arena.alloc_zeroed(size)? } else { self.arena.alloc(size)? }.as_ptr();
        if header == 0 {
            return Ok(block);
        }
        // SAFETY: the block starts with the header.
        unsafe {
            store_u64(block, 0, n);
            Ok(block.add(header))
        }
    }

    #[inline(always)]
    fn enter(&mut self) -> Result<(), DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::TooDeep(MAX_DEPTH));
        }
        self.depth += 1;
        Ok(())
    }
}
