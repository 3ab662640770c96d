//! Arbitrary structures and arguments, as an application might hold them.

use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

use super::Rng;
use super::host::Objects;
use super::mem::{Pool, ROOT, count, elem_size, get, inner, put, put_ptr};

/// Deepest nesting that is built; below the codec's limit.
const DEPTH: u32 = 7;

pub struct Builder<'p> {
    pub pool: &'p mut Pool,
    pub objects: &'p mut Objects,
    pub rng: Rng,
    depth: u32,
    /// Blocks that may still be made, so that nothing grows out of hand.
    budget: u32,
}

/// Offset and size of a member that sizes something behind another pointer.
type Sizer = (u16, u8);

/// A member that sizes something: what it may be set to.
struct Size {
    off: u16,
    size: u8,
    scale: u32,
}

impl<'p> Builder<'p> {
    pub fn new(pool: &'p mut Pool, objects: &'p mut Objects, seed: u64) -> Self {
        Self { pool, objects, rng: Rng(seed), depth: 0, budget: 2000 }
    }

    /// Arguments of a command, one slot each.
    pub fn args(&mut self, cmd: &Command) -> Vec<u64> {
        let mut args = vec![0u64; cmd.param_count.into()];
        ROOT.set(args.as_ptr().cast());
        // SAFETY: there is a slot for each parameter.
        unsafe { self.fill(cmd.params, args.as_mut_ptr().cast(), &[]) };
        args
    }

    /// One structure with its chain.
    pub fn structure(&mut self, desc: &'static Struct) -> *mut u8 {
        let mem = self.pool.alloc(desc.size as usize);
        ROOT.set(std::ptr::null());
        // SAFETY: the block has the structure's size.
        unsafe { self.fill_struct(desc, mem, &[]) };
        mem
    }

    unsafe fn fill_struct(&mut self, desc: &'static Struct, base: *mut u8, sizes: &[Sizer]) {
        self.depth += 1;
        // SAFETY: as the caller's.
        unsafe {
            if let Some(s_type) = desc.s_type {
                put(base, 0, 4, s_type as u32 as u64);
                self.chain(desc, base);
            }
            self.fill(desc.ops, base, sizes);
        }
        self.depth -= 1;
    }

    /// Known links in any order, at times with strangers and repetitions among them.
    unsafe fn chain(&mut self, desc: &'static Struct, base: *mut u8) {
        if desc.extended_by.is_empty() || self.depth > DEPTH || self.rng.one_in(2) {
            return;
        }
        let mut last = base;
        for _ in 0..=self.rng.below(4) {
            let link = if self.rng.one_in(8) {
                let p = self.pool.alloc(32);
                // SAFETY: a structure type that does not exist, with an empty chain.
                unsafe { put(p, 0, 4, 0x7FFF_0000 + self.rng.below(9)) };
                p
            } else {
                let i = self.rng.below(desc.extended_by.len() as u64) as usize;
                let link = desc.extended_by[i];
                let p = self.pool.alloc(link.size as usize);
                self.depth += 1;
                // SAFETY: the block has the link's size.
                unsafe {
                    put(p, 0, 4, link.s_type.expect("a link has one") as u32 as u64);
                    self.fill(link.ops, p, &[]);
                }
                self.depth -= 1;
                p
            };
            // SAFETY: both have a chain.
            unsafe { put_ptr(last, 8, link) };
            last = link;
        }
    }

    /// `more` are further members that size something elsewhere.
    unsafe fn fill(&mut self, ops: &'static [Op], base: *mut u8, more: &[Sizer]) {
        // SAFETY: the tables describe the structure.
        unsafe {
            self.values(ops, base);
            let mut sizes: Vec<Size> =
                more.iter().map(|(off, size)| Size { off: *off, size: *size, scale: 1 }).collect();
            self.sizes(ops, &mut sizes);
            for s in &sizes {
                // Several arrays may share a size.
                let n = self.rng.below(4) * u64::from(s.scale) + self.rng.below(s.scale.into());
                put(base, s.off.into(), s.size, n);
            }
            self.behind(ops, base, ops);
        }
    }

    /// What stands in the structure itself.
    unsafe fn values(&mut self, ops: &'static [Op], base: *mut u8) {
        for op in ops {
            // SAFETY: the tables describe the structure.
            unsafe {
                match op {
                    Op::Bytes { off, len } => self.noise(base.add((*off).into()), (*len).into()),
                    Op::Len { off, size } => put(base, (*off).into(), *size, self.rng.below(4)),
                    Op::Handle { off, ty, lenient } => self.handle(base.add((*off).into()), *ty, *lenient),
                    Op::Select { selector, arms } => {
                        let values: Vec<i32> = arms.iter().flat_map(|a| a.values.iter().copied()).collect();
                        if !self.rng.one_in(10) {
                            let value = values[self.rng.below(values.len() as u64) as usize];
                            put(base, (*selector).into(), 4, value as u32 as u64);
                        }
                        let value = get(base, (*selector).into(), 4) as i32;
                        if let Some(arm) = arms.iter().find(|a| a.values.contains(&value)) {
                            self.values(arm.ops, base);
                        }
                    }
                    Op::Inline { .. } | Op::Pointer(_) => {}
                }
            }
        }
    }

    /// The members that size something behind the pointers.
    fn sizes(&mut self, ops: &'static [Op], out: &mut Vec<Size>) {
        for op in ops {
            match op {
                Op::Pointer(p) => {
                    let (off, size, scale) = match p.count {
                        Count::Field { off, size } => (off, size, 1),
                        Count::Div { off, size, by } | Count::CeilDiv { off, size, by } => (off, size, by),
                        _ => continue,
                    };
                    out.push(Size { off, size, scale });
                }
                Op::Select { arms, .. } => arms.iter().for_each(|a| self.sizes(a.ops, out)),
                _ => {}
            }
        }
    }

    /// What stands in nested structures and behind pointers. `all` are the ops of the whole structure.
    unsafe fn behind(&mut self, ops: &'static [Op], base: *mut u8, all: &'static [Op]) {
        for op in ops {
            // SAFETY: the tables describe the structure.
            unsafe {
                match op {
                    Op::Inline { off, count, desc } => {
                        for i in 0..usize::from(*count) {
                            let at = usize::from(*off) + i * desc.size as usize;
                            self.fill_struct(desc, base.add(at), &[]);
                        }
                    }
                    Op::Pointer(p) => self.pointer(p, base, all),
                    Op::Select { selector, arms } => {
                        let value = get(base, (*selector).into(), 4) as i32;
                        if let Some(arm) = arms.iter().find(|a| a.values.contains(&value)) {
                            self.behind(arm.ops, base, all);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    unsafe fn pointer(&mut self, p: &'static Pointer, base: *mut u8, all: &'static [Op]) {
        // A null string is no string; what creates handles is always told where to.
        let needed = matches!(p.count, Count::Terminated) || p.dir == Dir::New;
        if !needed && (self.rng.one_in(5) || self.depth > DEPTH || self.budget == 0) {
            return;
        }
        self.budget = self.budget.saturating_sub(1);
        // SAFETY: the tables describe the structure.
        unsafe {
            if matches!(p.count, Count::Terminated) {
                let s = self.string();
                put_ptr(base, p.off.into(), s);
                return;
            }
            let n = count(p.count, base);
            if n == 0 && self.rng.one_in(2) {
                // Nobody looks at an array of nothing.
                put_ptr(base, p.off.into(), std::ptr::without_provenance(0xdead_beef));
                return;
            }
            // Members of the pointee that size something in this structure.
            let mut sizes: Vec<Sizer> = pointers(all)
                .filter_map(|q| match q.count {
                    Count::Path { off, field } if off == p.off => Some((field, 4)),
                    _ => None,
                })
                .collect();
            if ROOT.get() == base.cast_const() {
                let nested = pointers(all).filter_map(|q| match q.elem {
                    Elem::Struct(desc) => Some(pointers(desc.ops)),
                    _ => None,
                });
                sizes.extend(nested.flatten().filter_map(|q| match q.count {
                    Count::Param { slot, field, size } if slot == p.off => Some((field, size)),
                    _ => None,
                }));
            }
            let is_count = pointers(all).find_map(|q| match q.count {
                Count::Deref { off, size } if off == p.off => Some(size),
                _ => None,
            });
            let array = self.elems(&p.elem, n, base, &sizes, p.dir == Dir::New);
            if let Some(size) = is_count {
                put(array, 0, size, self.rng.below(4));
            }
            put_ptr(base, p.off.into(), array);
        }
    }

    unsafe fn elems(
        &mut self,
        elem: &'static Elem,
        n: usize,
        outer: *mut u8,
        sizes: &[Sizer],
        new: bool,
    ) -> *mut u8 {
        // SAFETY: the array has room for the elements; `outer` is the structure that points to it.
        unsafe {
            let stride = match elem {
                Elem::Strided { stride, size, .. } => {
                    let apart = *size as usize + 4 * self.rng.below(4) as usize;
                    put(outer, (*stride).into(), 4, apart as u64);
                    apart
                }
                other => elem_size(other),
            };
            let array = self.pool.alloc(n * stride);
            match elem {
                Elem::Bytes { .. } | Elem::Strided { .. } => self.noise(array, n * stride),
                Elem::Struct(desc) => {
                    (0..n).for_each(|i| self.fill_struct(desc, array.add(i * stride), sizes));
                }
                Elem::Handle { ty, lenient } => {
                    for i in 0..n {
                        self.handle(array.add(8 * i), *ty, *lenient);
                        if new && get(array, 8 * i, 8) == 0 {
                            let id = self.objects.handle(*ty, 1 + i as u64);
                            put(array, 8 * i, 8, id);
                        }
                    }
                }
                Elem::Strings => {
                    for i in 0..n {
                        let s = self.string();
                        put_ptr(array, 8 * i, s);
                    }
                }
                Elem::Pointers { elem, count } => {
                    for i in 0..n {
                        if let Some(m) = inner(*count, outer, i)
                            && !self.rng.one_in(6)
                        {
                            let p = self.elems(elem, m, outer, &[], false);
                            put_ptr(array, 8 * i, p);
                        }
                    }
                }
            }
            array
        }
    }

    unsafe fn handle(&mut self, at: *mut u8, ty: HandleType, lenient: bool) {
        let id = match self.rng.below(6) {
            0 if lenient || !ty.dispatchable() => 0,
            _ => (self.rng.next() << 12) | (1 + self.rng.below(0xBAC)),
        };
        let handle = self.objects.handle(ty, id);
        // SAFETY: the caller has room for a handle.
        unsafe { put(at, 0, 8, handle) };
    }

    unsafe fn noise(&mut self, at: *mut u8, len: usize) {
        for i in 0..len {
            // Zeros, ones and anything.
            let b = match self.rng.below(4) {
                0 => 0,
                1 => 1,
                _ => self.rng.next() as u8,
            };
            // SAFETY: the caller has room for the bytes.
            unsafe { at.add(i).write(b) };
        }
    }

    fn string(&mut self) -> *mut u8 {
        let n = self.rng.below(20) as usize;
        let s = self.pool.alloc(n + 1);
        for i in 0..n {
            // SAFETY: the terminator behind them is already there.
            unsafe { s.add(i).write(b'a' + self.rng.below(26) as u8) };
        }
        s
    }
}

fn pointers(ops: &'static [Op]) -> impl Iterator<Item = &'static Pointer> {
    ops.iter().filter_map(|op| match op {
        Op::Pointer(p) => Some(p),
        _ => None,
    })
}
