//! Raw memory of an "application": blocks that stay where they are and notice writes behind their end.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;

use vw_wire_protocol::schema::{Count, Elem, Inner};

const CANARY: [u8; 16] = [0xCD; 16];

/// Owns blocks of memory; they are freed together.
#[derive(Default)]
pub struct Pool {
    blocks: Vec<(*mut u8, usize)>,
}

impl Pool {
    /// `size` zero bytes, aligned to 16, with a canary behind them.
    pub fn alloc(&mut self, size: usize) -> *mut u8 {
        let layout = Self::layout(size);
        // SAFETY: the layout is not empty, and the canary is within it.
        let p = unsafe {
            let p = alloc_zeroed(layout);
            assert!(!p.is_null());
            p.add(size).cast::<[u8; 16]>().write_unaligned(CANARY);
            p
        };
        self.blocks.push((p, size));
        p
    }

    /// Fails if something was written behind a block's end.
    pub fn check(&self) {
        for (p, size) in &self.blocks {
            // SAFETY: the canary stands behind the block.
            let canary = unsafe { p.add(*size).cast::<[u8; 16]>().read_unaligned() };
            assert_eq!(canary, CANARY, "written behind a block of {size} bytes");
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size + CANARY.len(), 16).expect("small")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (p, size) in self.blocks.drain(..) {
            // SAFETY: allocated above with the same layout.
            unsafe { dealloc(p, Self::layout(size)) };
        }
    }
}

// The functions below rely on their caller for the memory that they read: `base` is a structure of the tables.

pub unsafe fn bytes<'a>(base: *const u8, off: usize, len: usize) -> &'a [u8] {
    // SAFETY: the caller vouches for the memory.
    unsafe { std::slice::from_raw_parts(base.add(off), len) }
}

pub unsafe fn get(base: *const u8, off: usize, size: u8) -> u64 {
    let mut v = [0; 8];
    // SAFETY: the caller vouches for the memory.
    v[..size.into()].copy_from_slice(unsafe { bytes(base, off, size.into()) });
    u64::from_le_bytes(v)
}

pub unsafe fn put(base: *mut u8, off: usize, size: u8, v: u64) {
    // SAFETY: the caller vouches for the memory.
    unsafe { std::ptr::copy_nonoverlapping(v.to_le_bytes().as_ptr(), base.add(off), size.into()) }
}

pub unsafe fn get_ptr(base: *const u8, off: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the memory.
    let p = unsafe { base.add(off).cast::<*mut u8>().read_unaligned() };
    std::ptr::with_exposed_provenance_mut(p.expose_provenance())
}

pub unsafe fn put_ptr(base: *mut u8, off: usize, p: *const u8) {
    let _ = p.expose_provenance();
    // SAFETY: the caller vouches for the memory.
    unsafe { base.add(off).cast::<*const u8>().write_unaligned(p) }
}

thread_local! {
    /// The slots of the command at hand, for counts that go through a parameter.
    pub static ROOT: Cell<*const u8> = const { Cell::new(std::ptr::null()) };
}

/// The number of elements that the schema's text gives, without the codec's help.
pub unsafe fn count(count: Count, base: *const u8) -> usize {
    // SAFETY: the caller vouches for the memory.
    let n = unsafe {
        match count {
            Count::One => 1,
            Count::Const(n) => n.into(),
            Count::Field { off, size } => get(base, off.into(), size),
            Count::Div { off, size, by } => get(base, off.into(), size) / u64::from(by),
            Count::CeilDiv { off, size, by } => {
                let v = get(base, off.into(), size);
                v.div_ceil(by.into())
            }
            Count::Deref { off, size } => match get_ptr(base, off.into()) {
                p if p.is_null() => 0,
                p => get(p, 0, size),
            },
            Count::Path { off, field } => match get_ptr(base, off.into()) {
                p if p.is_null() => 0,
                p => get(p, field.into(), 4),
            },
            Count::Param { slot, field, size } => match ROOT.get() {
                root if root.is_null() => 0,
                root => match get_ptr(root, slot.into()) {
                    p if p.is_null() => 0,
                    p => get(p, field.into(), size),
                },
            },
            Count::Terminated => panic!("strings have no count"),
        }
    };
    n as usize
}

/// Elements behind inner pointer `i`.
pub unsafe fn inner(count: Inner, base: *const u8, i: usize) -> Option<usize> {
    match count {
        Inner::One => Some(1),
        // SAFETY: the caller vouches for the memory.
        Inner::OfElement { array, stride, field } => unsafe {
            let p = get_ptr(base, array.into());
            (!p.is_null()).then(|| get(p, i * usize::from(stride) + usize::from(field), 4) as usize)
        },
    }
}

pub fn elem_size(elem: &Elem) -> usize {
    match elem {
        Elem::Bytes { size, .. } | Elem::Strided { size, .. } => *size as usize,
        Elem::Struct(desc) => desc.size as usize,
        Elem::Handle { .. } | Elem::Strings | Elem::Pointers { .. } => 8,
    }
}

/// Length of a string without its terminator.
pub unsafe fn text<'a>(s: *const u8) -> &'a [u8] {
    // SAFETY: the caller vouches for the memory.
    unsafe { std::ffi::CStr::from_ptr(s.cast()) }.to_bytes()
}
