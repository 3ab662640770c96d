//! Guest: bytes to results in the application's memory.

use super::MAX_DEPTH;
use super::chain::{END, Links};
use super::count::{choose, count_of, varies};
use super::error::DecodeError;
use super::mem::{load_ptr, store_u64};
use super::reader::Reader;
use super::reply::{inputs_with_results, returned, sized_by_result};
use crate::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

/// Decodes the reply of `cmd`, writes the results through the pointers among `args`, and returns what the command
/// returned. Handles that were not created become `VK_NULL_HANDLE` in the application's array.
///
/// # Errors
/// The reply is not one to this request. Results that came before the fault have been written; nothing is
/// written where the application made no room.
///
/// # Safety
/// `cmd` is of the generated tables; `args` are the arguments that the request was encoded from, and their
/// pointees still valid and unchanged.
pub unsafe fn decode_reply(cmd: &Command, args: &[u64], r: &mut Reader<'_>) -> Result<u64, DecodeError> {
    debug_assert_eq!(args.len(), usize::from(cmd.param_count));
    let ret = r.take_u64()?;
    let root: *const u8 = args.as_ptr().cast();
    let mut d = OutDecoder { r, root, depth: 0 };
    if inputs_with_results(cmd).next().is_some() && d.r.take_presence()? {
        for p in inputs_with_results(cmd) {
            // SAFETY: the caller vouches for the arguments.
            unsafe { d.input(p, root)? };
        }
    }
    for pass in [true, false] {
        for p in returned(cmd, ret).filter(|p| sized_by_result(p) == pass) {
            // SAFETY: as above.
            unsafe { d.pointer(p, root)? };
        }
    }
    Ok(ret)
}

/// Decodes what [`encode_struct_out`](super::encode_struct_out) encoded into a structure of the same shape.
///
/// # Errors
/// The bytes are not those of such a structure.
///
/// # Safety
/// `desc` is of the generated tables; `mem` is such a structure, valid with all that it points to.
pub unsafe fn decode_struct_out(
    desc: &'static Struct,
    mem: *mut u8,
    r: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    // SAFETY: the caller vouches for the structure.
    unsafe { OutDecoder { r, root: std::ptr::null(), depth: 0 }.structure(desc, mem) }
}

/// Decodes what [`encode_body_out`](super::encode_body_out) encoded.
///
/// # Errors
/// As [`decode_struct_out`].
///
/// # Safety
/// As [`decode_struct_out`].
pub unsafe fn decode_body_out(
    desc: &'static Struct,
    mem: *mut u8,
    r: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    // SAFETY: the caller vouches for the structure.
    unsafe { OutDecoder { r, root: std::ptr::null(), depth: 0 }.body(desc.ops, mem) }
}

struct OutDecoder<'d, 'r> {
    r: &'d mut Reader<'r>,
    /// The command's slots, if it is one.
    root: *const u8,
    depth: u8,
}

/// All methods rely on `base` being a structure of the application's that the ops describe.
impl OutDecoder<'_, '_> {
    /// The results in what an input points to.
    unsafe fn input(&mut self, p: &'static Pointer, base: *const u8) -> Result<(), DecodeError> {
        let Elem::Struct(desc) = &p.elem else { return Err(DecodeError::Mismatch) };
        if !self.r.take_presence()? {
            return Ok(());
        }
        // SAFETY: the pointer lies in the structure and is null or points to as many structures as the count says.
        unsafe {
            let ptr = load_ptr(base, p.off.into());
            if ptr.is_null() {
                return Err(DecodeError::Mismatch);
            }
            self.inputs(desc, count_of(p.count, base, self.root) as usize, ptr)
        }
    }

    unsafe fn inputs(&mut self, desc: &'static Struct, n: usize, ptr: *mut u8) -> Result<(), DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::TooDeep(MAX_DEPTH));
        }
        self.depth += 1;
        for i in 0..n {
            // SAFETY: there are `n` structures; one with an `sType` has a chain.
            unsafe {
                let base = ptr.add(i * desc.size as usize);
                if desc.s_type.is_some() {
                    for (link, mem) in Links::new(desc, base).filter(|(link, _)| link.results) {
                        self.expect_link(link.s_type)?;
                        self.input_ops(link.ops, mem)?;
                    }
                    self.expect_link(Some(END as i32))?;
                }
                self.input_ops(desc.ops, base)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    unsafe fn input_ops(&mut self, ops: &'static [Op], base: *mut u8) -> Result<(), DecodeError> {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure.
            unsafe {
                match op {
                    Op::Pointer(p) if p.dir != Dir::In => self.pointer(p, base)?,
                    Op::Pointer(p @ Pointer { elem: Elem::Struct(desc), .. }) if desc.results => {
                        self.input(p, base)?;
                    }
                    Op::Inline { off, count, desc } if desc.results => {
                        self.inputs(desc, (*count).into(), base.add((*off).into()))?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn expect_link(&mut self, s_type: Option<i32>) -> Result<(), DecodeError> {
        if s_type == Some(self.r.take_u32()? as i32) { Ok(()) } else { Err(DecodeError::Mismatch) }
    }

    unsafe fn structure(&mut self, desc: &'static Struct, base: *mut u8) -> Result<(), DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::TooDeep(MAX_DEPTH));
        }
        self.depth += 1;
        // SAFETY: `base` is a `desc`; a structure with an `sType` has a chain.
        unsafe {
            if desc.s_type.is_some() {
                for (link, mem) in Links::new(desc, base) {
                    self.expect_link(link.s_type)?;
                    self.body(link.ops, mem)?;
                }
                self.expect_link(Some(END as i32))?;
            }
            self.body(desc.ops, base)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Arrays first: their counts are then still the capacities.
    unsafe fn body(&mut self, ops: &'static [Op], base: *mut u8) -> Result<(), DecodeError> {
        for op in ops {
            if let Op::Pointer(p) = op {
                // SAFETY: the pointer lies in the structure.
                unsafe { self.pointer(p, base)? };
            }
        }
        // SAFETY: as above.
        unsafe { self.values(ops, base) }
    }

    unsafe fn values(&mut self, ops: &'static [Op], base: *mut u8) -> Result<(), DecodeError> {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure.
            unsafe {
                match op {
                    Op::Bytes { off, len } => self.r.take_raw(base.add((*off).into()), (*len).into())?,
                    Op::Len { off, size } => self.r.take_raw(base.add((*off).into()), (*size).into())?,
                    Op::Inline { off, count, desc } => {
                        self.array(desc, (*count).into(), base.add((*off).into()))?;
                    }
                    Op::Select { selector, arms } => {
                        if let Some(arm) = choose(*selector, arms, base) {
                            self.values(arm.ops, base)?;
                        }
                    }
                    Op::Handle { .. } | Op::Pointer(_) => {}
                }
            }
        }
        Ok(())
    }

    unsafe fn pointer(&mut self, p: &'static Pointer, base: *const u8) -> Result<(), DecodeError> {
        if !self.r.take_presence()? {
            return Ok(());
        }
        // SAFETY: the pointer lies in the structure and is null or points to as many elements as the count says.
        unsafe {
            let ptr = load_ptr(base, p.off.into());
            if ptr.is_null() || matches!(p.count, Count::Terminated) {
                return Err(DecodeError::Mismatch);
            }
            let capacity = count_of(p.count, base, self.root);
            if p.dir == Dir::New {
                return self.new_handles(ptr, capacity as usize);
            }
            let n = if varies(p.count) { self.r.take_u64()? } else { capacity };
            if n > capacity {
                return Err(DecodeError::TooMany { count: n, capacity });
            }
            match &p.elem {
                Elem::Bytes { size, .. } => self.r.take_raw(ptr, n as usize * *size as usize),
                Elem::Struct(desc) => self.array(desc, n as usize, ptr),
                Elem::Strided { .. } | Elem::Handle { .. } | Elem::Strings | Elem::Pointers { .. } => Ok(()),
            }
        }
    }

    unsafe fn array(&mut self, desc: &'static Struct, n: usize, ptr: *mut u8) -> Result<(), DecodeError> {
        for i in 0..n {
            // SAFETY: there are `n` structures.
            unsafe { self.structure(desc, ptr.add(i * desc.size as usize))? };
        }
        Ok(())
    }

    /// `n` handles at `ptr`: those that were not created become null.
    unsafe fn new_handles(&mut self, ptr: *mut u8, n: usize) -> Result<(), DecodeError> {
        for i in 0..n {
            if !self.r.take_presence()? {
                // SAFETY: the application's array has `n` handles.
                unsafe { store_u64(ptr, 8 * i, 0) };
            }
        }
        Ok(())
    }
}
