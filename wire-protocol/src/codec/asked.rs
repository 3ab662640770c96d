//! Guest: whether inputs ask for results.

use super::chain::Links;
use super::count::count_of;
use super::mem::load_ptr;
use super::reply::inputs_with_results;
use crate::schema::{Command, Dir, Elem, Op, Pointer, Struct};

/// Whether the inputs of a command have places for results in them (creation feedback, say), so that it has to be
/// waited for.
///
/// # Safety
/// As [`encode_request`](super::encode_request).
pub unsafe fn asks_for_results(cmd: &Command, args: &[u64]) -> bool {
    let root: *const u8 = args.as_ptr().cast();
    // SAFETY: the caller vouches for the arguments.
    inputs_with_results(cmd).any(|p| unsafe { behind(p, root, root) })
}

unsafe fn behind(p: &Pointer, base: *const u8, root: *const u8) -> bool {
    let Elem::Struct(desc) = &p.elem else { return false };
    // SAFETY: the pointer lies in the structure, is null or points to as many structures as the count says.
    unsafe {
        let ptr = load_ptr(base, p.off.into()).cast_const();
        let n = if ptr.is_null() { 0 } else { count_of(p.count, base, root) as usize };
        (0..n).any(|i| structure(desc, ptr.add(i * desc.size as usize), root))
    }
}

unsafe fn structure(desc: &'static Struct, base: *const u8, root: *const u8) -> bool {
    // SAFETY: `base` is a `desc`; a structure with an `sType` has a chain.
    unsafe {
        let in_chain = desc.s_type.is_some()
            && Links::new(desc, base).any(|(link, mem)| link.results && ops(link.ops, mem, root));
        in_chain || ops(desc.ops, base, root)
    }
}

unsafe fn ops(ops: &'static [Op], base: *const u8, root: *const u8) -> bool {
    ops.iter().any(|op| {
        // SAFETY: the offsets of the table lie in the structure.
        unsafe {
            match op {
                Op::Pointer(p) if p.dir != Dir::In => !load_ptr(base, p.off.into()).is_null(),
                Op::Pointer(p @ Pointer { elem: Elem::Struct(desc), .. }) if desc.results => {
                    behind(p, base, root)
                }
                Op::Inline { off, count, desc } if desc.results => (0..usize::from(*count))
                    .any(|i| structure(desc, base.add(usize::from(*off) + i * desc.size as usize), root)),
                _ => false,
            }
        }
    })
}
