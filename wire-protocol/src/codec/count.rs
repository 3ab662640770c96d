//! How many elements stand behind a pointer.

use super::mem::{load_ptr, load_u32, load_uint};
use crate::schema::{Arm, Count, Inner};

/// The number of elements that `count` gives for a pointer in the structure at `base`, which belongs to the command
/// with its slots at `root`; 0 for [`Count::Terminated`], which only the data themselves can tell.
///
/// # Safety
/// `base` is a structure that the table describes; a pointer that the count goes through is null or valid. `root` is
/// null or has the slots of the command that the table is for.
#[inline(always)]
pub(crate) unsafe fn count_of(count: Count, base: *const u8, root: *const u8) -> u64 {
    // SAFETY: offsets in tables lie in their structure; the caller vouches for the pointers.
    unsafe {
        match count {
            Count::One => 1,
            Count::Const(n) => n.into(),
            Count::Field { off, size } => load_uint(base, off, size),
            Count::Div { off, size, by } => load_uint(base, off, size) / u64::from(by),
            Count::CeilDiv { off, size, by } => load_uint(base, off, size).div_ceil(by.into()),
            Count::Deref { off, size } => match load_ptr(base, off.into()) {
                p if p.is_null() => 0,
                p => load_uint(p, 0, size),
            },
            Count::Path { off, field } => match load_ptr(base, off.into()) {
                p if p.is_null() => 0,
                p => load_u32(p, field.into()).into(),
            },
            Count::Param { .. } if root.is_null() => 0,
            Count::Param { slot, field, size } => match load_ptr(root, slot.into()) {
                p if p.is_null() => 0,
                p => load_uint(p, field, size),
            },
            Count::Terminated => 0,
        }
    }
}

/// Whether the number can differ between request and reply, or between structures of one type: a reply then
/// says it.
#[inline(always)]
pub(crate) fn varies(count: Count) -> bool {
    !matches!(count, Count::One | Count::Const(_) | Count::Terminated)
}

/// The number of elements behind inner pointer `i` of an array of pointers in the structure at `base`;
/// `None` when the array that tells is null.
///
/// # Safety
/// As [`count_of`]; the array that tells has more than `i` elements.
#[inline(always)]
pub(crate) unsafe fn inner_count(count: Inner, base: *const u8, i: usize) -> Option<u64> {
    match count {
        Inner::One => Some(1),
        Inner::OfElement { array, stride, field } => {
            // SAFETY: the caller vouches for the structure and for element `i` of the array.
            unsafe {
                let p = load_ptr(base, array.into());
                (!p.is_null()).then(|| load_u32(p, i * usize::from(stride) + usize::from(field)).into())
            }
        }
    }
}

/// The arm that the selector chooses.
///
/// # Safety
/// `base` is a structure that the table describes.
#[inline]
pub(crate) unsafe fn choose(selector: u16, arms: &'static [Arm], base: *const u8) -> Option<&'static Arm> {
    // SAFETY: the selector lies in the structure.
    let value = unsafe { super::mem::load_i32(base, selector.into()) };
    arms.iter().find(|arm| arm.values.contains(&value))
}
