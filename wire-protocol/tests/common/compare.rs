//! Whether decoded memory says what the original said: a walk by the tables, written apart from the codec.

use vw_wire_protocol::codec::DISPATCHABLE_ID;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::rules::{Ctx, Hook};
use vw_wire_protocol::schema::{Command, Count, Dir, Elem, Op, Pointer, Struct};

use super::mem::{ROOT, bytes, count, elem_size, get, get_ptr, inner, text};

/// The known links of a chain, each type once, in order.
pub unsafe fn links(desc: &'static Struct, base: *const u8) -> Vec<(&'static Struct, *mut u8)> {
    let mut found: Vec<(&'static Struct, *mut u8)> = Vec::new();
    // SAFETY: the caller's chain is valid.
    unsafe {
        let mut at = get_ptr(base, 8);
        while !at.is_null() {
            let s_type = get(at, 0, 4) as i32;
            if let Some(link) = desc.extended_by.iter().find(|l| l.s_type == Some(s_type))
                && found.iter().all(|(l, _)| l.s_type != link.s_type)
            {
                found.push((link, at));
            }
            at = get_ptr(at, 8);
        }
    }
    found
}

/// Arguments against decoded arguments.
pub unsafe fn request(cmd: &Command, a: &[u64], b: &[u64]) {
    ROOT.set(a.as_ptr().cast());
    // SAFETY: both are slots of the command.
    unsafe { full(cmd.params, a.as_ptr().cast(), b.as_ptr().cast(), Ctx::default(), cmd.name) }
}

pub unsafe fn structure(desc: &'static Struct, a: *const u8, b: *const u8, ctx: Ctx) {
    // SAFETY: both are such structures.
    unsafe {
        let mut ctx = if desc.hook == Hook::None { ctx } else { desc.hook.enter(ctx, a) };
        if let Some(s_type) = desc.s_type {
            assert_eq!(get(b, 0, 4) as i32, s_type, "{}", desc.name);
            let (la, lb) = (links(desc, a), links(desc, b));
            assert_eq!(la.len(), lb.len(), "chain of {}", desc.name);
            for ((da, ma), (db, mb)) in la.into_iter().zip(lb) {
                assert_eq!(da.s_type, db.s_type, "chain of {}", desc.name);
                if da.hook != Hook::None {
                    ctx = da.hook.enter(ctx, ma);
                }
                full(da.ops, ma, mb, ctx, da.name);
            }
        }
        full(desc.ops, a, b, ctx, desc.name);
    }
}

unsafe fn full(ops: &'static [Op], a: *const u8, b: *const u8, ctx: Ctx, name: &str) {
    for op in ops {
        // SAFETY: the tables describe both.
        unsafe {
            match op {
                Op::Bytes { off, len } => {
                    let (off, len) = (usize::from(*off), usize::from(*len));
                    if !is_stride(ops, off) {
                        assert_eq!(bytes(a, off, len), bytes(b, off, len), "{name} at {off}");
                    }
                }
                Op::Len { off, size } => {
                    assert_eq!(get(a, (*off).into(), *size), get(b, (*off).into(), *size), "{name}");
                }
                Op::Handle { off, ty, .. } => {
                    let off = usize::from(*off);
                    assert_eq!(id(*ty, a.add(off)), id(*ty, b.add(off)), "{name} at {off}");
                }
                Op::Inline { off, count, desc } => {
                    for i in 0..usize::from(*count) {
                        let at = usize::from(*off) + i * desc.size as usize;
                        structure(desc, a.add(at), b.add(at), ctx);
                    }
                }
                Op::Select { selector, arms } => {
                    let value = get(a, (*selector).into(), 4) as i32;
                    if let Some(arm) = arms.iter().find(|arm| arm.values.contains(&value)) {
                        full(arm.ops, a, b, ctx, name);
                    }
                }
                Op::Pointer(p) => pointer(p, a, b, ctx, name),
            }
        }
    }
}

/// Distances between elements are the decoder's own.
fn is_stride(ops: &[Op], at: usize) -> bool {
    ops.iter().any(|op| match op {
        Op::Pointer(Pointer { elem: Elem::Strided { stride, .. }, .. }) => usize::from(*stride) == at,
        _ => false,
    })
}

unsafe fn pointer(p: &'static Pointer, a: *const u8, b: *const u8, ctx: Ctx, name: &str) {
    // SAFETY: the tables describe both.
    unsafe {
        let (pa, pb) = (get_ptr(a, p.off.into()), get_ptr(b, p.off.into()));
        let sent = !pa.is_null() && p.rule.allows(&ctx, a);
        assert_eq!(sent, !pb.is_null(), "{name}: pointer at {}", p.off);
        if !sent {
            return;
        }
        if matches!(p.count, Count::Terminated) {
            assert_eq!(text(pa), text(pb), "{name}");
            return;
        }
        assert_eq!(pb.addr() % 16, 0, "{name}: alignment");
        let n = count(p.count, a);
        assert_eq!(n, count(p.count, b), "{name}: count of the pointer at {}", p.off);
        match p.dir {
            Dir::New => {}
            Dir::Out => shape_elems(&p.elem, n, pa, pb, name),
            Dir::In | Dir::InOut => elems(&p.elem, n, pa, pb, (a, b), ctx, name),
        }
    }
}

unsafe fn elems(
    elem: &'static Elem,
    n: usize,
    a: *const u8,
    b: *const u8,
    outer: (*const u8, *const u8),
    ctx: Ctx,
    name: &str,
) {
    for i in 0..n {
        let at = i * elem_size(elem);
        // SAFETY: both arrays have `n` elements.
        unsafe {
            match elem {
                Elem::Bytes { size, .. } => {
                    assert_eq!(bytes(a, at, *size as usize), bytes(b, at, *size as usize), "{name}");
                }
                Elem::Strided { size, stride, .. } => {
                    let apart = get(outer.0, (*stride).into(), 4) as usize;
                    assert_eq!(get(outer.1, (*stride).into(), 4), u64::from(*size), "{name}: distance");
                    assert_eq!(bytes(a, i * apart, *size as usize), bytes(b, at, *size as usize), "{name}");
                }
                Elem::Handle { ty, .. } => assert_eq!(id(*ty, a.add(at)), id(*ty, b.add(at)), "{name}"),
                Elem::Struct(desc) => structure(desc, a.add(at), b.add(at), ctx),
                Elem::Strings => assert_eq!(text(get_ptr(a, at)), text(get_ptr(b, at)), "{name}"),
                Elem::Pointers { elem, count } => {
                    let (pa, pb) = (get_ptr(a, at), get_ptr(b, at));
                    assert_eq!(pa.is_null(), pb.is_null(), "{name}");
                    if !pa.is_null() {
                        let m = inner(*count, outer.0, i).expect("a pointer has a count");
                        elems(elem, m, pa, pb, outer, ctx, name);
                    }
                }
            }
        }
    }
}

// Room for results.

pub unsafe fn shape(desc: &'static Struct, a: *const u8, b: *const u8) {
    // SAFETY: both are such structures.
    unsafe {
        if let Some(s_type) = desc.s_type {
            assert_eq!(get(b, 0, 4) as i32, s_type, "{}", desc.name);
            let (la, lb) = (links(desc, a), links(desc, b));
            assert_eq!(la.len(), lb.len(), "chain of {}", desc.name);
            for ((da, ma), (db, mb)) in la.into_iter().zip(lb) {
                assert_eq!(da.s_type, db.s_type, "chain of {}", desc.name);
                shape_ops(da.ops, ma, mb, da.name);
            }
        }
        shape_ops(desc.ops, a, b, desc.name);
    }
}

unsafe fn shape_ops(ops: &'static [Op], a: *const u8, b: *const u8, name: &str) {
    for op in ops {
        // SAFETY: the tables describe both.
        unsafe {
            match op {
                Op::Bytes { off, len } => {
                    let zero = bytes(b, (*off).into(), (*len).into()).iter().all(|b| *b == 0);
                    assert!(zero, "{name}: a result is not zero before the call");
                }
                Op::Len { off, size } => {
                    assert_eq!(get(a, (*off).into(), *size), get(b, (*off).into(), *size), "{name}");
                }
                Op::Inline { off, count, desc } => {
                    for i in 0..usize::from(*count) {
                        let at = usize::from(*off) + i * desc.size as usize;
                        shape(desc, a.add(at), b.add(at));
                    }
                }
                Op::Pointer(p) => {
                    let (pa, pb) = (get_ptr(a, p.off.into()), get_ptr(b, p.off.into()));
                    assert_eq!(pa.is_null(), pb.is_null(), "{name}");
                    if !pa.is_null() {
                        let n = count(p.count, a);
                        assert_eq!(n, count(p.count, b), "{name}: capacity");
                        shape_elems(&p.elem, n, pa, pb, name);
                    }
                }
                Op::Handle { .. } | Op::Select { .. } => {}
            }
        }
    }
}

unsafe fn shape_elems(elem: &'static Elem, n: usize, a: *const u8, b: *const u8, name: &str) {
    // SAFETY: both arrays have `n` elements.
    unsafe {
        match elem {
            Elem::Struct(desc) => {
                for i in 0..n {
                    let at = i * desc.size as usize;
                    shape(desc, a.add(at), b.add(at));
                }
            }
            Elem::Bytes { size, .. } => {
                let zero = bytes(b, 0, n * *size as usize).iter().all(|b| *b == 0);
                assert!(zero, "{name}: a result is not zero before the call");
            }
            _ => {}
        }
    }
}

/// The id of the handle at `at`.
unsafe fn id(ty: HandleType, at: *const u8) -> u64 {
    // SAFETY: dispatchable handles are null or point to objects.
    unsafe {
        if !ty.dispatchable() {
            return get(at, 0, 8);
        }
        match get_ptr(at, 0) {
            p if p.is_null() => 0,
            p => get(p, DISPATCHABLE_ID, 8),
        }
    }
}
