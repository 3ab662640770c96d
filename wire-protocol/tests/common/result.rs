//! What a driver leaves behind, and whether the application sees it.

use std::collections::HashMap;

use vw_wire_protocol::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

use super::Rng;
use super::compare::links;
use super::mem::{ROOT, bytes, count, get, get_ptr, put};

/// Plays the driver: writes arbitrary results, within the capacities that it was given.
pub struct Driver {
    pub rng: Rng,
    /// Counts in structures never exceed the capacity.
    modest: bool,
    /// Elements that each array has room for, by address.
    capacity: HashMap<usize, usize>,
}

impl Driver {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng(seed), modest: false, capacity: HashMap::new() }
    }

    /// Results of a command, in the decoded arguments.
    pub unsafe fn call(&mut self, cmd: &Command, args: &mut [u64]) {
        let base: *mut u8 = args.as_mut_ptr().cast();
        ROOT.set(base);
        // SAFETY: the arguments were decoded for the command.
        unsafe {
            for op in cmd.params {
                if let Op::Pointer(p) = op
                    && p.dir == Dir::In
                {
                    self.inputs(p, base);
                }
            }
            // Capacities are noted before the counts are overwritten.
            for p in returned(cmd) {
                self.note(p, base);
            }
            // What another parameter sizes comes before that is overwritten.
            let (sized, others): (Vec<_>, Vec<_>) = returned(cmd).partition(|p| sized_by_param(p));
            for p in sized.into_iter().chain(others) {
                let ptr = get_ptr(base, p.off.into());
                if ptr.is_null() {
                    continue;
                }
                if p.dir == Dir::New {
                    self.create(p, base, ptr);
                } else if is_count(cmd, p) {
                    // Now and then the driver has more than there is room for.
                    let Elem::Bytes { size, .. } = p.elem else { unreachable!() };
                    put(ptr, 0, size as u8, self.rng.below(6));
                } else {
                    let n = self.capacity[&ptr.addr()];
                    self.elems(&p.elem, n, ptr);
                }
            }
        }
    }

    /// New handles, some of which are not created.
    unsafe fn create(&mut self, p: &'static Pointer, base: *const u8, ptr: *mut u8) {
        // SAFETY: the tables describe the structure.
        unsafe {
            for i in 0..count(p.count, base) {
                put(ptr, 8 * i, 8, self.rng.below(3) * 77);
            }
        }
    }

    /// Results somewhere in what an input points to.
    unsafe fn inputs(&mut self, p: &'static Pointer, base: *mut u8) {
        let Elem::Struct(desc) = &p.elem else { return };
        // SAFETY: the tables describe the structure.
        unsafe {
            let ptr = get_ptr(base, p.off.into());
            for i in 0..if ptr.is_null() { 0 } else { count(p.count, base) } {
                self.input(desc, ptr.add(i * desc.size as usize));
            }
        }
    }

    unsafe fn input(&mut self, desc: &'static Struct, base: *mut u8) {
        // SAFETY: as the caller's.
        unsafe {
            let mut parts = vec![(desc.ops, base)];
            if desc.s_type.is_some() {
                parts.extend(links(desc, base).into_iter().map(|(link, mem)| (link.ops, mem)));
            }
            for (ops, base) in parts {
                for op in ops {
                    match op {
                        Op::Pointer(p) if p.dir == Dir::In => self.inputs(p, base),
                        Op::Pointer(p) => {
                            self.note(p, base);
                            let ptr = get_ptr(base, p.off.into());
                            if !ptr.is_null() {
                                self.elems(&p.elem, count(p.count, base), ptr);
                            }
                        }
                        Op::Inline { off, count, desc } => {
                            for i in 0..usize::from(*count) {
                                self.input(desc, base.add(usize::from(*off) + i * desc.size as usize));
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    unsafe fn note(&mut self, p: &'static Pointer, base: *const u8) {
        // SAFETY: the tables describe the structure.
        unsafe {
            let ptr = get_ptr(base, p.off.into());
            if !ptr.is_null() && !matches!(p.count, Count::Terminated) {
                self.capacity.insert(ptr.addr(), count(p.count, base));
            }
        }
    }

    /// Results in one structure, whose counts are then true.
    pub unsafe fn result(&mut self, desc: &'static Struct, base: *mut u8) {
        self.modest = true;
        // SAFETY: as the caller's.
        unsafe { self.structure(desc, base) };
    }

    unsafe fn structure(&mut self, desc: &'static Struct, base: *mut u8) {
        // SAFETY: as the caller's.
        unsafe {
            if desc.s_type.is_some() {
                for (link, mem) in links(desc, base) {
                    self.body(link.ops, mem);
                }
            }
            self.body(desc.ops, base);
        }
    }

    unsafe fn body(&mut self, ops: &'static [Op], base: *mut u8) {
        // SAFETY: the tables describe the structure.
        unsafe {
            for op in ops {
                if let Op::Pointer(p) = op {
                    self.note(p, base);
                    let ptr = get_ptr(base, p.off.into());
                    if p.dir == Dir::New && !ptr.is_null() {
                        self.create(p, base, ptr);
                    } else if !ptr.is_null() && !matches!(p.count, Count::Terminated) {
                        let n = self.capacity[&ptr.addr()];
                        self.elems(&p.elem, n, ptr);
                    }
                }
            }
            for op in ops {
                match op {
                    Op::Bytes { off, len } => {
                        for i in 0..usize::from(*len) {
                            put(base, usize::from(*off) + i, 1, self.rng.next() & 0xFF);
                        }
                    }
                    Op::Len { off, size } => {
                        let most = if self.modest { get(base, (*off).into(), *size) } else { 4 };
                        put(base, (*off).into(), *size, self.rng.below(most + 1));
                    }
                    Op::Inline { off, count, desc } => {
                        for i in 0..usize::from(*count) {
                            self.structure(desc, base.add(usize::from(*off) + i * desc.size as usize));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    unsafe fn elems(&mut self, elem: &'static Elem, n: usize, ptr: *mut u8) {
        // SAFETY: there is room for `n` elements.
        unsafe {
            match elem {
                Elem::Bytes { size, .. } => {
                    (0..n * *size as usize).for_each(|i| put(ptr, i, 1, self.rng.next() & 0xFF));
                }
                Elem::Struct(desc) => {
                    (0..n).for_each(|i| self.structure(desc, ptr.add(i * desc.size as usize)));
                }
                _ => {}
            }
        }
    }

    // The guest's side: `a` is the application's memory after the reply, `b` the host's.

    pub unsafe fn check(&self, cmd: &Command, a: &[u64], b: &[u64]) {
        let (a, b): (*const u8, *const u8) = (a.as_ptr().cast(), b.as_ptr().cast());
        ROOT.set(b);
        // SAFETY: both are arguments of the command.
        unsafe {
            for op in cmd.params {
                if let Op::Pointer(p) = op
                    && p.dir == Dir::In
                {
                    self.check_inputs(p, a, b, cmd.name);
                }
            }
            for p in returned(cmd) {
                let (pa, pb) = (get_ptr(a, p.off.into()), get_ptr(b, p.off.into()));
                assert_eq!(pa.is_null(), pb.is_null(), "{}", cmd.name);
                if pa.is_null() {
                    continue;
                }
                if p.dir == Dir::New {
                    for i in 0..count(p.count, b) {
                        assert_eq!(get(pa, 8 * i, 8) == 0, get(pb, 8 * i, 8) == 0, "{}", cmd.name);
                    }
                } else {
                    self.check_elems(p, pa, pb, b, cmd.name);
                }
            }
        }
    }

    unsafe fn check_inputs(&self, p: &'static Pointer, a: *const u8, b: *const u8, name: &str) {
        let Elem::Struct(desc) = &p.elem else { return };
        // SAFETY: the tables describe both.
        unsafe {
            let (pa, pb) = (get_ptr(a, p.off.into()), get_ptr(b, p.off.into()));
            // A null pointer may be one that a rule forbids to follow.
            for i in 0..if pb.is_null() { 0 } else { count(p.count, b) } {
                let at = i * desc.size as usize;
                self.check_input(desc, pa.add(at), pb.add(at), name);
            }
        }
    }

    unsafe fn check_input(&self, desc: &'static Struct, a: *const u8, b: *const u8, name: &str) {
        // SAFETY: as the caller's.
        unsafe {
            let mut parts = vec![(desc.ops, a, b)];
            if desc.s_type.is_some() {
                let both = links(desc, a).into_iter().zip(links(desc, b));
                parts.extend(both.map(|((link, a), (_, b))| (link.ops, a.cast_const(), b.cast_const())));
            }
            for (ops, a, b) in parts {
                for op in ops {
                    match op {
                        Op::Pointer(p) if p.dir == Dir::In => self.check_inputs(p, a, b, name),
                        Op::Pointer(p) => {
                            let (pa, pb) = (get_ptr(a, p.off.into()), get_ptr(b, p.off.into()));
                            if !pb.is_null() {
                                self.check_elems(p, pa, pb, b, name);
                            }
                        }
                        Op::Inline { off, count, desc } => {
                            for i in 0..usize::from(*count) {
                                let at = usize::from(*off) + i * desc.size as usize;
                                self.check_input(desc, a.add(at), b.add(at), name);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    pub unsafe fn check_struct(&self, desc: &'static Struct, a: *const u8, b: *const u8) {
        // SAFETY: both are such structures, of the same shape.
        unsafe {
            if desc.s_type.is_some() {
                for ((link, ma), (_, mb)) in links(desc, a).into_iter().zip(links(desc, b)) {
                    self.check_body(link.ops, ma, mb, link.name);
                }
            }
            self.check_body(desc.ops, a, b, desc.name);
        }
    }

    unsafe fn check_body(&self, ops: &'static [Op], a: *const u8, b: *const u8, name: &str) {
        for op in ops {
            // SAFETY: the tables describe both.
            unsafe {
                match op {
                    Op::Bytes { off, len } => {
                        let (off, len) = (usize::from(*off), usize::from(*len));
                        assert_eq!(bytes(a, off, len), bytes(b, off, len), "{name} at {off}");
                    }
                    Op::Len { off, size } => {
                        assert_eq!(get(a, (*off).into(), *size), get(b, (*off).into(), *size), "{name}");
                    }
                    Op::Inline { off, count, desc } => {
                        for i in 0..usize::from(*count) {
                            let at = usize::from(*off) + i * desc.size as usize;
                            self.check_struct(desc, a.add(at), b.add(at));
                        }
                    }
                    Op::Pointer(p) => {
                        let (pa, pb) = (get_ptr(a, p.off.into()), get_ptr(b, p.off.into()));
                        if p.dir == Dir::New {
                            for i in 0..if pb.is_null() { 0 } else { self.capacity[&pb.addr()] } {
                                assert_eq!(get(pa, 8 * i, 8) == 0, get(pb, 8 * i, 8) == 0, "{name}");
                            }
                        } else if !pb.is_null() && !matches!(p.count, Count::Terminated) {
                            self.check_elems(p, pa, pb, b, name);
                        }
                    }
                    Op::Handle { .. } | Op::Select { .. } => {}
                }
            }
        }
    }

    unsafe fn check_elems(
        &self,
        p: &'static Pointer,
        a: *const u8,
        b: *const u8,
        outer: *const u8,
        name: &str,
    ) {
        // SAFETY: both arrays have as many elements as the host counted within the capacity.
        unsafe {
            let n = count(p.count, outer).min(self.capacity[&b.addr()]);
            match &p.elem {
                Elem::Bytes { size, .. } => {
                    let len = n * *size as usize;
                    assert_eq!(bytes(a, 0, len), bytes(b, 0, len), "{name}");
                }
                Elem::Struct(desc) => {
                    for i in 0..n {
                        let at = i * desc.size as usize;
                        self.check_struct(desc, a.add(at), b.add(at));
                    }
                }
                _ => {}
            }
        }
    }
}

fn returned(cmd: &Command) -> impl Iterator<Item = &'static Pointer> {
    cmd.params.iter().filter_map(|op| match op {
        Op::Pointer(p) if p.dir != Dir::In => Some(p),
        _ => None,
    })
}

/// Whether the parameter points to arrays that another one sizes.
fn sized_by_param(p: &Pointer) -> bool {
    let Elem::Struct(desc) = &p.elem else { return false };
    desc.ops.iter().any(|op| matches!(op, Op::Pointer(Pointer { count: Count::Param { .. }, .. })))
}

/// Whether another parameter takes its count from behind this pointer.
fn is_count(cmd: &Command, p: &Pointer) -> bool {
    cmd.params.iter().any(|op| match op {
        Op::Pointer(q) => matches!(q.count, Count::Deref { off, .. } if off == p.off),
        _ => false,
    })
}
