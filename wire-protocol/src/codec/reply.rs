//! Host: results to bytes.

use super::chain::{END, Links};
use super::count::{choose, count_of, varies};
use super::decode::CAPACITY_HEADER;
use super::mem::load_ptr;
use super::request::{NewList, Request};
use super::writer::Writer;
use super::{MAX_DEPTH, failed};
use crate::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

/// Encodes the reply of `cmd`: the return value, and the results that the call has left in the request's memory.
///
/// Errors are latched in the writer.
///
/// # Safety
/// `cmd` is of the generated tables, `req` was decoded for it with an arena that has not been reset, and the
/// command was called with its slots (or nothing was).
pub unsafe fn encode_reply(cmd: &Command, req: &Request<'_>, ret: u64, w: &mut Writer<'_>) {
    w.put_u64(ret);
    let root: *const u8 = req.args.as_ptr().cast();
    let mut e = OutEncoder { w, root, new: req.new, created: 0, depth: 0, decoded: true };
    if inputs_with_results(cmd).next().is_some() {
        // What was not called has no results, whatever it returned.
        e.w.put_u8(req.poisoned.is_none().into());
        for p in inputs_with_results(cmd).filter(|_| req.poisoned.is_none()) {
            // SAFETY: the slots are those of `cmd`, and point into the arena.
            unsafe { e.input(p, root) };
        }
    }
    for pass in [true, false] {
        for p in returned(cmd, ret).filter(|p| sized_by_result(p) == pass) {
            if pass && failed(cmd, ret) {
                // There was no room for it.
                e.w.put_u8(0);
                continue;
            }
            // SAFETY: as above.
            unsafe { e.pointer(p, root) };
        }
    }
}

/// Encodes what a structure holds after a call, with its chain, for a structure of the same shape elsewhere.
///
/// # Safety
/// `desc` is of the generated tables and describes what lies at `mem`; counts are those of the arrays.
pub unsafe fn encode_struct_out(desc: &'static Struct, mem: *const u8, w: &mut Writer<'_>) {
    // SAFETY: the caller vouches for the structure.
    unsafe { OutEncoder::alone(w).structure(desc, mem) }
}

/// As [`encode_struct_out`], without the chain.
///
/// # Safety
/// As [`encode_struct_out`].
pub unsafe fn encode_body_out(desc: &'static Struct, mem: *const u8, w: &mut Writer<'_>) {
    // SAFETY: the caller vouches for the structure.
    unsafe { OutEncoder::alone(w).body(desc.ops, mem) }
}

/// The pointer parameters that a reply with this return value carries, in the order of the parameters.
pub(super) fn returned(cmd: &Command, ret: u64) -> impl Iterator<Item = &'static Pointer> {
    let all = returns(cmd, ret);
    cmd.params.iter().filter_map(move |op| match op {
        Op::Pointer(p) if p.dir != Dir::In && (all || created_one_by_one(p)) => Some(p),
        _ => None,
    })
}

/// Whether these are objects of which a command that fails may have created some, and says which.
fn created_one_by_one(p: &Pointer) -> bool {
    matches!(p.elem, Elem::Handle { ty, .. } if super::created_one_by_one(ty))
        && p.dir == Dir::New
        && !matches!(p.count, Count::One)
}

/// The pointer parameters that are inputs with results somewhere in them.
pub(super) fn inputs_with_results(cmd: &Command) -> impl Iterator<Item = &'static Pointer> {
    cmd.params.iter().filter_map(|op| match op {
        Op::Pointer(p @ Pointer { elem: Elem::Struct(desc), dir: Dir::In, .. }) if desc.results => Some(p),
        _ => None,
    })
}

/// Whether a parameter is an array whose count is itself a result, or a structure with such arrays: these come first,
/// so that the guest still has the capacity when it takes the elements.
pub(super) fn sized_by_result(p: &Pointer) -> bool {
    let of_param = |op: &Op| matches!(op, Op::Pointer(Pointer { count: Count::Param { .. }, .. }));
    matches!(p.count, Count::Deref { .. })
        || matches!(&p.elem, Elem::Struct(desc) if desc.ops.iter().any(of_param))
}

/// Whether all results follow the return value: of a command that has not failed, and of one that says how much room it
/// would have needed.
fn returns(cmd: &Command, ret: u64) -> bool {
    /// `VK_ERROR_NOT_ENOUGH_SPACE_KHR`
    const NOT_ENOUGH_SPACE: i32 = -1_000_483_000;
    !failed(cmd, ret) || ret as i32 == NOT_ENOUGH_SPACE
}

struct OutEncoder<'w, 'a, 'm> {
    w: &'w mut Writer<'a>,
    /// The command's slots, if it is one.
    root: *const u8,
    /// Handles that the command creates, by pointer, and how many of these pointers were met.
    new: NewList<'m>,
    created: usize,
    depth: u8,
    /// The memory was made by the decoder: arrays that a reply carries stand behind their capacity.
    decoded: bool,
}

/// All methods rely on `base` being a structure that the ops describe, with valid or null pointers.
impl<'w, 'a> OutEncoder<'w, 'a, '_> {
    /// For what belongs to no command.
    fn alone(w: &'w mut Writer<'a>) -> Self {
        Self { w, root: std::ptr::null(), new: NewList::default(), created: 0, depth: 0, decoded: false }
    }

    /// The results in what an input points to.
    unsafe fn input(&mut self, p: &'static Pointer, base: *const u8) {
        let Elem::Struct(desc) = &p.elem else { return };
        // SAFETY: the pointer lies in the structure, and points to as many structures as the count says.
        unsafe {
            let ptr = load_ptr(base, p.off.into()).cast_const();
            self.w.put_u8((!ptr.is_null()).into());
            if !ptr.is_null() {
                let n = count_of(p.count, base, self.root);
                self.inputs(desc, n as usize, ptr);
            }
        }
    }

    unsafe fn inputs(&mut self, desc: &'static Struct, n: usize, ptr: *const u8) {
        if self.depth == MAX_DEPTH {
            self.w.note_too_deep(MAX_DEPTH);
            return;
        }
        self.depth += 1;
        for i in 0..n {
            // SAFETY: there are `n` structures; one with an `sType` has a chain.
            unsafe {
                let base = ptr.add(i * desc.size as usize);
                if desc.s_type.is_some() {
                    for (link, mem) in Links::new(desc, base).filter(|(link, _)| link.results) {
                        self.w.put_u32(link.s_type.unwrap_or_default() as u32);
                        self.input_ops(link.ops, mem);
                    }
                    self.w.put_u32(END);
                }
                self.input_ops(desc.ops, base);
            }
        }
        self.depth -= 1;
    }

    unsafe fn input_ops(&mut self, ops: &'static [Op], base: *const u8) {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure.
            unsafe {
                match op {
                    Op::Pointer(p) if p.dir != Dir::In => self.pointer(p, base),
                    Op::Pointer(p @ Pointer { elem: Elem::Struct(desc), .. }) if desc.results => {
                        self.input(p, base);
                    }
                    Op::Inline { off, count, desc } if desc.results => {
                        self.inputs(desc, (*count).into(), base.add((*off).into()));
                    }
                    _ => {}
                }
            }
        }
    }

    unsafe fn structure(&mut self, desc: &'static Struct, base: *const u8) {
        if self.depth == MAX_DEPTH {
            self.w.note_too_deep(MAX_DEPTH);
            return;
        }
        self.depth += 1;
        // SAFETY: `base` is a `desc`; a structure with an `sType` has a chain.
        unsafe {
            if desc.s_type.is_some() {
                for (link, mem) in Links::new(desc, base) {
                    self.w.put_u32(link.s_type.unwrap_or_default() as u32);
                    self.body(link.ops, mem);
                }
                self.w.put_u32(END);
            }
            self.body(desc.ops, base);
        }
        self.depth -= 1;
    }

    unsafe fn body(&mut self, ops: &'static [Op], base: *const u8) {
        for op in ops {
            if let Op::Pointer(p) = op {
                // SAFETY: the pointer lies in the structure.
                unsafe { self.pointer(p, base) };
            }
        }
        // SAFETY: as above.
        unsafe { self.values(ops, base) };
    }

    unsafe fn values(&mut self, ops: &'static [Op], base: *const u8) {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure.
            unsafe {
                match op {
                    Op::Bytes { off, len } => self.w.put_raw(base.add((*off).into()), (*len).into()),
                    Op::Len { off, size } => self.w.put_raw(base.add((*off).into()), (*size).into()),
                    Op::Inline { off, count, desc } => {
                        self.array(desc, (*count).into(), base.add((*off).into()));
                    }
                    Op::Select { selector, arms } => {
                        if let Some(arm) = choose(*selector, arms, base) {
                            self.values(arm.ops, base);
                        }
                    }
                    Op::Handle { .. } | Op::Pointer(_) => {}
                }
            }
        }
    }

    unsafe fn pointer(&mut self, p: &'static Pointer, base: *const u8) {
        // SAFETY: the pointer lies in the structure and is null or points to as many elements as the count says;
        // where the count may have been changed by the call, the header has the number that there is room for.
        unsafe {
            let ptr = load_ptr(base, p.off.into()).cast_const();
            if ptr.is_null() || matches!(p.count, Count::Terminated) {
                self.w.put_u8(0);
                return;
            }
            self.w.put_u8(1);
            if p.dir == Dir::New {
                for (_, raw) in self.new.get(self.created).iter().flat_map(|new| new.created()) {
                    self.w.put_u8((raw != 0).into());
                }
                self.created += 1;
                return;
            }
            let mut n = count_of(p.count, base, self.root);
            if varies(p.count) {
                if self.decoded {
                    n = n.min(ptr.sub(CAPACITY_HEADER).cast::<u64>().read());
                }
                self.w.put_u64(n);
            }
            match &p.elem {
                Elem::Bytes { size, .. } => self.w.put_raw(ptr, n as usize * *size as usize),
                Elem::Struct(desc) => self.array(desc, n as usize, ptr),
                Elem::Strided { .. } | Elem::Handle { .. } | Elem::Strings | Elem::Pointers { .. } => {}
            }
        }
    }

    unsafe fn array(&mut self, desc: &'static Struct, n: usize, ptr: *const u8) {
        for i in 0..n {
            // SAFETY: there are `n` structures.
            unsafe { self.structure(desc, ptr.add(i * desc.size as usize)) };
        }
    }
}
