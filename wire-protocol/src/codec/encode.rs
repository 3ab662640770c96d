//! Guest to host: commands and structures to bytes.

use super::chain::{END, Links};
use super::count::{choose, count_of, inner_count};
use super::mem::{load_ptr, load_u32, string_length};
use super::writer::Writer;
use super::{MAX_DEPTH, Mode};
use crate::generated::handles::HandleType;
use crate::rules::{Ctx, Hook, Rule};
use crate::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

/// Offset of the id in what a dispatchable handle of the guest points to.
pub const DISPATCHABLE_ID: usize = 8;

/// Encodes the request of `cmd` with the arguments `args`, one slot each.
///
/// Errors are latched in the writer.
///
/// # Safety
/// `cmd` is of the generated tables; `args` has a slot for each parameter, and they are arguments with which the
/// command may be called: what the specification says is read, is readable. Non-dispatchable handles are ids;
/// dispatchable ones are null or point to objects with their id at [`DISPATCHABLE_ID`]. [`Dir::New`] arrays
/// hold the new handles already.
pub unsafe fn encode_request(cmd: &Command, args: &[u64], w: &mut Writer<'_>) {
    debug_assert_eq!(args.len(), usize::from(cmd.param_count));
    // SAFETY: the caller vouches for the arguments, which form a structure of slots.
    unsafe { Encoder::new(w, args.as_ptr().cast()).full_ops(cmd.params, args.as_ptr().cast()) }
}

/// Encodes one structure with its chain and all that it points to.
///
/// # Safety
/// `desc` is of the generated tables and describes what lies at `mem`; see [`encode_request`].
pub unsafe fn encode_struct(desc: &'static Struct, mem: *const u8, mode: Mode, w: &mut Writer<'_>) {
    let mut e = Encoder::new(w, std::ptr::null());
    // SAFETY: the caller vouches for the structure.
    unsafe {
        match mode {
            Mode::Full => e.full_struct(desc, mem),
            Mode::Shape => e.shape_struct(desc, mem),
        }
    }
}

struct Encoder<'w, 'a> {
    w: &'w mut Writer<'a>,
    /// The command's slots, if it is one.
    root: *const u8,
    ctx: Ctx,
    depth: u8,
}

/// All methods rely on what [`encode_request`] asks of its caller: `base` is a structure that the ops describe,
/// and `ptr` points to `n` elements that may be read.
impl<'w, 'a> Encoder<'w, 'a> {
    fn new(w: &'w mut Writer<'a>, root: *const u8) -> Self {
        Self { w, root, ctx: Ctx::default(), depth: 0 }
    }

    // Everything, the values included.

    unsafe fn full_struct(&mut self, desc: &'static Struct, base: *const u8) {
        if !self.enter() {
            return;
        }
        let outer = self.ctx;
        // SAFETY: `base` is a `desc`; a structure with an `sType` has a chain.
        unsafe {
            if desc.hook != Hook::None {
                self.ctx = desc.hook.enter(outer, base);
            }
            if desc.s_type.is_some() {
                if !load_ptr(base, super::chain::P_NEXT).is_null() {
                    for (link, mem) in Links::new(desc, base) {
                        self.put_link(link);
                        // What follows in the chain extends this link.
                        if link.hook != Hook::None {
                            self.ctx = link.hook.enter(self.ctx, mem);
                        }
                        self.full_ops(link.ops, mem);
                    }
                }
                self.w.put_u32(END);
            }
            self.full_ops(desc.ops, base);
        }
        self.ctx = outer;
        self.depth -= 1;
    }

    unsafe fn full_ops(&mut self, ops: &'static [Op], base: *const u8) {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure.
            unsafe {
                match op {
                    Op::Bytes { off, len } => self.w.put_raw(base.add((*off).into()), (*len).into()),
                    Op::Len { off, size } => self.w.put_raw(base.add((*off).into()), (*size).into()),
                    Op::Handle { off, ty, .. } => self.handle(*ty, base.add((*off).into())),
                    Op::Pointer(p) => self.full_pointer(p, base),
                    Op::Inline { off, count, desc } => {
                        self.full_array(desc, (*count).into(), base.add((*off).into()));
                    }
                    Op::Select { selector, arms } => {
                        if let Some(arm) = choose(*selector, arms, base) {
                            self.full_ops(arm.ops, base);
                        }
                    }
                }
            }
        }
    }

    #[inline]
    unsafe fn full_pointer(&mut self, p: &'static Pointer, base: *const u8) {
        // SAFETY: the pointer lies in the structure, and the rule says whether it may be followed.
        unsafe {
            let ptr = load_ptr(base, p.off.into());
            if ptr.is_null() || (!matches!(p.rule, Rule::Always) && !p.rule.allows(&self.ctx, base)) {
                self.w.put_u8(0);
                return;
            }
            self.w.put_u8(1);
            match (p.count, p.dir) {
                (Count::Terminated, _) => self.string(ptr),
                (count, Dir::Out) => self.shape_elems(&p.elem, count_of(count, base, self.root), ptr, base),
                (count, _) => self.full_elems(&p.elem, count_of(count, base, self.root), ptr, base),
            }
        }
    }

    /// `outer` is the structure that the pointer stands in.
    unsafe fn full_elems(&mut self, elem: &'static Elem, n: u64, ptr: *const u8, outer: *const u8) {
        let n = n as usize;
        // SAFETY: `n` elements may be read.
        unsafe {
            match elem {
                Elem::Bytes { size, .. } => self.w.put_raw(ptr, n.saturating_mul(*size as usize)),
                Elem::Struct(desc) => self.full_array(desc, n, ptr),
                Elem::Strided { size, stride, .. } => {
                    let stride = load_u32(outer, (*stride).into()) as usize;
                    for i in 0..n {
                        self.w.put_raw(ptr.add(i * stride), *size as usize);
                    }
                }
                Elem::Handle { ty, .. } => {
                    if ty.dispatchable() {
                        (0..n).for_each(|i| self.handle(*ty, ptr.add(8 * i)));
                    } else {
                        self.w.put_raw(ptr, n.saturating_mul(8));
                    }
                }
                Elem::Strings => {
                    for i in 0..n {
                        self.string(load_ptr(ptr, 8 * i));
                    }
                }
                Elem::Pointers { elem, count } => {
                    for i in 0..n {
                        let inner = load_ptr(ptr, 8 * i);
                        match inner_count(*count, outer, i) {
                            Some(m) if !inner.is_null() => {
                                self.w.put_u8(1);
                                self.full_elems(elem, m, inner, outer);
                            }
                            _ => self.w.put_u8(0),
                        }
                    }
                }
            }
        }
    }

    unsafe fn full_array(&mut self, desc: &'static Struct, n: usize, ptr: *const u8) {
        for i in 0..n {
            // SAFETY: `n` structures may be read.
            unsafe { self.full_struct(desc, ptr.add(i * desc.size as usize)) };
        }
    }

    #[inline(always)]
    unsafe fn handle(&mut self, ty: HandleType, at: *const u8) {
        // SAFETY: 8 bytes at `at` are a handle; a dispatchable one points to an object of the guest's.
        let id = unsafe {
            if ty.dispatchable() {
                match load_ptr(at, 0) {
                    p if p.is_null() => 0,
                    p => p.add(DISPATCHABLE_ID).cast::<u64>().read_unaligned(),
                }
            } else {
                at.cast::<u64>().read_unaligned()
            }
        };
        self.w.put_u64(id);
    }

    /// Null, which only an array of strings can hold here and should not, becomes the empty string.
    unsafe fn string(&mut self, s: *const u8) {
        if s.is_null() {
            self.w.put_u64(1);
            self.w.put_u8(0);
            return;
        }
        // SAFETY: a string is readable up to its end.
        unsafe {
            let n = string_length(s);
            self.w.put_u64(n as u64);
            self.w.put_raw(s, n);
        }
    }

    // The shape alone: what a result will have room for.

    unsafe fn shape_struct(&mut self, desc: &'static Struct, base: *const u8) {
        if !self.enter() {
            return;
        }
        // SAFETY: `base` is a `desc`; a structure with an `sType` has a chain.
        unsafe {
            if desc.s_type.is_some() {
                for (link, mem) in Links::new(desc, base) {
                    self.put_link(link);
                    self.shape_ops(link.ops, mem);
                }
                self.w.put_u32(END);
            }
            self.shape_ops(desc.ops, base);
        }
        self.depth -= 1;
    }

    unsafe fn shape_ops(&mut self, ops: &'static [Op], base: *const u8) {
        for op in ops {
            // SAFETY: the offsets of the table lie in the structure.
            unsafe {
                match op {
                    Op::Len { off, size } => self.w.put_raw(base.add((*off).into()), (*size).into()),
                    Op::Inline { off, count, desc } => {
                        self.shape_array(desc, (*count).into(), base.add((*off).into()));
                    }
                    Op::Pointer(p) => {
                        let ptr = load_ptr(base, p.off.into());
                        if ptr.is_null() || matches!(p.count, Count::Terminated) {
                            self.w.put_u8(0);
                        } else {
                            self.w.put_u8(1);
                            self.shape_elems(&p.elem, count_of(p.count, base, self.root), ptr, base);
                        }
                    }
                    Op::Bytes { .. } | Op::Handle { .. } | Op::Select { .. } => {}
                }
            }
        }
    }

    unsafe fn shape_elems(&mut self, elem: &'static Elem, n: u64, ptr: *const u8, outer: *const u8) {
        let n = n as usize;
        // SAFETY: `n` elements stand behind the pointer, and their chains and counts may be read.
        unsafe {
            match elem {
                Elem::Bytes { .. } | Elem::Strided { .. } | Elem::Handle { .. } | Elem::Strings => {}
                Elem::Struct(desc) => self.shape_array(desc, n, ptr),
                Elem::Pointers { elem, count } => {
                    for i in 0..n {
                        let inner = load_ptr(ptr, 8 * i);
                        match inner_count(*count, outer, i) {
                            Some(m) if !inner.is_null() => {
                                self.w.put_u8(1);
                                self.shape_elems(elem, m, inner, outer);
                            }
                            _ => self.w.put_u8(0),
                        }
                    }
                }
            }
        }
    }

    unsafe fn shape_array(&mut self, desc: &'static Struct, n: usize, ptr: *const u8) {
        if !super::has_shape(desc) {
            return;
        }
        for i in 0..n {
            // SAFETY: `n` structures stand there.
            unsafe { self.shape_struct(desc, ptr.add(i * desc.size as usize)) };
        }
    }

    #[inline(always)]
    fn put_link(&mut self, link: &Struct) {
        self.w.put_u32(link.s_type.unwrap_or_default() as u32);
    }

    #[inline(always)]
    fn enter(&mut self) -> bool {
        if self.depth == MAX_DEPTH {
            self.w.note_too_deep(MAX_DEPTH);
            return false;
        }
        self.depth += 1;
        true
    }
}
