//! Chains of result structures, kept as plain memory images.

use super::{FactsError, In, Out, known};
use crate::schema::{Count, Elem, Op, Pointer, Struct};

/// Offset of `pNext` in every structure that has an `sType`.
const P_NEXT: usize = 8;

/// Links that are walked in an application's or a driver's chain before it is taken for a cycle.
const MAX_LINKS: usize = 512;

/// Most elements of an array inside a structure of facts.
const MAX_ARRAY: u32 = 1 << 16;

/// A result structure and everything that stands in its `pNext` chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The root first.
    bodies: Vec<Body>,
}

impl Chain {
    /// A chain of `root` alone, all zero.
    pub fn new(root: &'static Struct) -> Self {
        Self { bodies: vec![Body::new(root)] }
    }

    /// Copies the structure at `mem` and those in its chain that the tables know below `root`; others, and
    /// repeats, are passed over.
    ///
    /// # Safety
    /// `mem` must point to a valid structure of type `root` whose chain is valid, and every array pointer in
    /// them must be null or have as many elements as its count says.
    pub unsafe fn capture(root: &'static Struct, mem: *const u8) -> Self {
        let mut chain = Self { bodies: Vec::new() };
        let mut link = mem;
        for _ in 0..MAX_LINKS {
            if link.is_null() {
                break;
            }
            // SAFETY: every link of a valid chain begins with an `sType`.
            let s_type = unsafe { link.cast::<i32>().read_unaligned() };
            let desc = if link == mem { Some(root) } else { known(root, s_type) };
            if let Some(desc) = desc
                && chain.body(s_type).is_none()
            {
                // SAFETY: `desc` describes the structure with this `sType`; the caller vouches for its contents.
                chain.bodies.push(unsafe { Body::capture(desc, link) });
            }
            // SAFETY: as above, `pNext` follows at offset 8.
            link = unsafe { link.add(P_NEXT).cast::<*const u8>().read_unaligned() };
        }
        chain
    }

    /// The root.
    pub fn root(&self) -> &Body {
        &self.bodies[0]
    }

    /// The root, to be patched.
    pub fn root_mut(&mut self) -> &mut Body {
        &mut self.bodies[0]
    }

    /// All structures, the root first.
    pub fn bodies(&self) -> &[Body] {
        &self.bodies
    }

    /// The structure with this `sType`.
    pub fn body(&self, s_type: i32) -> Option<&Body> {
        self.bodies.iter().find(|body| body.desc.s_type == Some(s_type))
    }

    /// The structure with this `sType`, to be patched.
    pub fn body_mut(&mut self, s_type: i32) -> Option<&mut Body> {
        self.bodies.iter_mut().find(|body| body.desc.s_type == Some(s_type))
    }

    /// Removes the structure with this `sType` (never the root).
    pub fn remove(&mut self, s_type: i32) {
        let root = self.root().desc.s_type;
        self.bodies.retain(|body| body.desc.s_type == root || body.desc.s_type != Some(s_type));
    }

    /// Fills the structure at `mem`, which is of the root's type, and every structure of its chain that these
    /// facts know. Others are left as they are. Arrays follow the two-call convention: with a null pointer
    /// the count is written, otherwise as many elements as fit and their number.
    ///
    /// # Safety
    /// `mem` must point to a writable structure of the root's type with a valid, writable chain; array pointers
    /// in them must be null or have room for as many elements as their count says.
    pub unsafe fn fill(&self, mem: *mut u8) {
        let mut link = mem;
        for _ in 0..MAX_LINKS {
            if link.is_null() {
                break;
            }
            // SAFETY: every link of a valid chain begins with an `sType`.
            let s_type = unsafe { link.cast::<i32>().read_unaligned() };
            let body = if link == mem { self.bodies.first() } else { self.body(s_type) };
            if let Some(body) = body {
                // SAFETY: the `sType` says that this is a structure of the body's type.
                unsafe { body.fill(link) };
            }
            // SAFETY: as above, `pNext` follows at offset 8.
            link = unsafe { link.add(P_NEXT).cast::<*mut u8>().read_unaligned() };
        }
    }

    pub(super) fn encode(&self, out: &mut Out) {
        out.u32(self.bodies.len() as u32);
        for body in &self.bodies {
            body.encode(out);
        }
    }

    pub(super) fn decode(root: &'static Struct, input: &mut In<'_>) -> Result<Self, FactsError> {
        let mut chain = Self { bodies: Vec::new() };
        let count = input.u32()?;
        if count == 0 || count as usize > MAX_LINKS {
            return Err(FactsError::TooLong { count });
        }
        for i in 0..count {
            let s_type = input.u32()? as i32;
            let unexpected = FactsError::UnexpectedStruct { s_type, root: root.name };
            let desc = known(root, s_type).ok_or_else(|| unexpected.clone())?;
            if (i == 0) != std::ptr::eq(desc, root) || chain.body(s_type).is_some() {
                return Err(unexpected);
            }
            chain.bodies.push(Body::decode(desc, input)?);
        }
        Ok(chain)
    }
}

/// One structure: its C image with `pNext` and all pointers null, and the arrays that were behind them.
#[derive(Debug, Clone)]
pub struct Body {
    desc: &'static Struct,
    /// Of `u64`, so that the image is aligned for every Vulkan structure.
    image: Box<[u64]>,
    arrays: Vec<Array>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Array {
    /// Offset of the pointer in the structure.
    pointer: u16,
    count: u32,
    /// Elements with padding, `sType` of structures set, their `pNext` null.
    elements: Vec<u8>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.desc, other.desc) && self.image == other.image && self.arrays == other.arrays
    }
}

impl Eq for Body {}

impl Body {
    fn new(desc: &'static Struct) -> Self {
        let mut body =
            Self { desc, image: vec![0; (desc.size as usize).div_ceil(8)].into(), arrays: Vec::new() };
        if let Some(s_type) = desc.s_type {
            body.bytes_mut()[..4].copy_from_slice(&s_type.to_le_bytes());
        }
        body
    }

    /// What structure this is.
    pub fn desc(&self) -> &'static Struct {
        self.desc
    }

    /// The image as bytes (`sizeof` the structure, rounded up to 8).
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: any `u64` is 8 valid bytes; the slice covers the same memory.
        unsafe { std::slice::from_raw_parts(self.image.as_ptr().cast(), self.image.len() * 8) }
    }

    /// The image as bytes, to be patched.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: any `u64` is 8 valid bytes and any bytes are one; the slice covers the same memory, borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.image.as_mut_ptr().cast(), self.image.len() * 8) }
    }

    /// The image as the C structure `T`.
    ///
    /// # Safety
    /// `T` must be the C layout of this body's structure, and valid for any bytes that a driver writes there.
    ///
    /// # Panics
    /// When `T` has another size or a larger alignment than the tables say.
    pub unsafe fn get<T>(&self) -> &T {
        assert!(
            size_of::<T>() == self.desc.size as usize && align_of::<T>() <= 8,
            "layout of {}",
            self.desc.name
        );
        // SAFETY: size and alignment were checked, the caller vouches for the layout.
        unsafe { &*self.image.as_ptr().cast::<T>() }
    }

    /// The image as the C structure `T`, to be patched.
    ///
    /// # Safety
    /// As for [`get`](Self::get).
    ///
    /// # Panics
    /// As for [`get`](Self::get).
    pub unsafe fn get_mut<T>(&mut self) -> &mut T {
        assert!(
            size_of::<T>() == self.desc.size as usize && align_of::<T>() <= 8,
            "layout of {}",
            self.desc.name
        );
        // SAFETY: size and alignment were checked, the caller vouches for the layout.
        unsafe { &mut *self.image.as_mut_ptr().cast::<T>() }
    }

    /// # Safety
    /// As for [`Chain::capture`], for one structure.
    unsafe fn capture(desc: &'static Struct, mem: *const u8) -> Self {
        let mut body = Self::new(desc);
        let image = body.image.as_mut_ptr().cast::<u8>();
        plain_ranges(desc, 0, &mut |off, len| {
            // SAFETY: the range lies in a structure of type `desc`, of which both are images.
            unsafe { mem.add(off).copy_to_nonoverlapping(image.add(off), len) };
        });
        for array in arrays(desc) {
            // SAFETY: pointer and count lie in the structure; the caller vouches for the pointee.
            unsafe {
                let data = mem.add(array.pointer).cast::<*const u8>().read_unaligned();
                let count = if data.is_null() { 0 } else { read_count(mem, &array) };
                let mut elements = vec![0_u8; count as usize * array.stride];
                for i in 0..count as usize {
                    copy_element(
                        &array,
                        data.add(i * array.stride),
                        elements.as_mut_ptr().add(i * array.stride),
                    );
                }
                write_count(image, &array, count);
                body.arrays.push(Array { pointer: array.pointer as u16, count, elements });
            }
        }
        body
    }

    /// # Safety
    /// As for [`Chain::fill`], for one structure.
    unsafe fn fill(&self, mem: *mut u8) {
        let counts: Vec<ArrayOp> = arrays(self.desc);
        let image = self.image.as_ptr().cast::<u8>();
        plain_ranges(self.desc, 0, &mut |off, len| {
            if !counts.iter().any(|array| array.count == off) {
                // SAFETY: the range lies in a structure of type `desc`, of which both are images.
                unsafe { image.add(off).copy_to_nonoverlapping(mem.add(off), len) };
            }
        });
        for op in counts {
            let Some(array) = self.arrays.iter().find(|array| usize::from(array.pointer) == op.pointer)
            else {
                continue;
            };
            // SAFETY: pointer and count lie in the structure; the caller vouches for the room behind the pointer.
            unsafe {
                let data = mem.add(op.pointer).cast::<*mut u8>().read_unaligned();
                let count = if data.is_null() { array.count } else { array.count.min(read_count(mem, &op)) };
                if !data.is_null() {
                    for i in 0..count as usize {
                        copy_element(
                            &op,
                            array.elements.as_ptr().add(i * op.stride),
                            data.add(i * op.stride),
                        );
                    }
                }
                write_count(mem, &op, count);
            }
        }
    }

    fn encode(&self, out: &mut Out) {
        let bytes = self.bytes();
        out.u32(self.desc.s_type.unwrap_or(0) as u32);
        plain_ranges(self.desc, 0, &mut |off, len| out.bytes(&bytes[off..off + len]));
        for op in arrays(self.desc) {
            let array = self.arrays.iter().find(|array| usize::from(array.pointer) == op.pointer);
            out.u32(array.map_or(0, |array| array.count));
            if let Some(array) = array {
                out.bytes(&array.elements);
            }
        }
    }

    fn decode(desc: &'static Struct, input: &mut In<'_>) -> Result<Self, FactsError> {
        let mut body = Self::new(desc);
        let mut result = Ok(());
        plain_ranges(desc, 0, &mut |off, len| {
            if result.is_ok() {
                result =
                    input.bytes(len).map(|bytes| body.bytes_mut()[off..off + len].copy_from_slice(bytes));
            }
        });
        result?;
        for op in arrays(desc) {
            let count = input.u32()?;
            if count > MAX_ARRAY {
                return Err(FactsError::BadBody { name: desc.name });
            }
            let elements = input.bytes(count as usize * op.stride)?.to_vec();
            body.arrays.push(Array { pointer: op.pointer as u16, count, elements });
        }
        Ok(body)
    }
}

/// An array that a structure points to, with its count in a `u32` of the same structure.
struct ArrayOp {
    pointer: usize,
    count: usize,
    stride: usize,
    /// Structures rather than plain values.
    elem: Option<&'static Struct>,
}

fn arrays(desc: &'static Struct) -> Vec<ArrayOp> {
    let array = |pointer: &Pointer| {
        let Count::Field { off, size: 4 } = pointer.count else { return None };
        let (stride, elem) = match pointer.elem {
            Elem::Bytes { size, .. } => (size, None),
            Elem::Struct(elem) => (elem.size, Some(elem)),
            _ => return None,
        };
        Some(ArrayOp { pointer: pointer.off.into(), count: off.into(), stride: stride as usize, elem })
    };
    let ops = desc.ops.iter();
    ops.filter_map(|op| if let Op::Pointer(pointer) = op { array(pointer) } else { None }).collect()
}

/// Calls `f(offset, length)` for every range of plain data in the structure: no padding, pointers or handles.
fn plain_ranges(desc: &'static Struct, base: usize, f: &mut impl FnMut(usize, usize)) {
    for op in desc.ops {
        match op {
            Op::Bytes { off, len } => f(base + usize::from(*off), usize::from(*len)),
            Op::Len { off, size } => f(base + usize::from(*off), usize::from(*size)),
            Op::Inline { off, count, desc } => {
                for i in 0..usize::from(*count) {
                    plain_ranges(desc, base + usize::from(*off) + i * desc.size as usize, f);
                }
            }
            // No structure of facts has handles or unions; pointers are `arrays`.
            Op::Handle { .. } | Op::Pointer(_) | Op::Select { .. } => {}
        }
    }
}

/// # Safety
/// Both must point to one element of the array, the target writable.
unsafe fn copy_element(op: &ArrayOp, from: *const u8, to: *mut u8) {
    let Some(elem) = op.elem else {
        // SAFETY: a plain element is `stride` bytes.
        return unsafe { from.copy_to_nonoverlapping(to, op.stride) };
    };
    plain_ranges(elem, 0, &mut |off, len| {
        // SAFETY: the range lies in a structure of type `elem`, which both are.
        unsafe { from.add(off).copy_to_nonoverlapping(to.add(off), len) };
    });
}

/// # Safety
/// `mem` must be a structure that has this array.
unsafe fn read_count(mem: *const u8, op: &ArrayOp) -> u32 {
    // SAFETY: the count is a `u32` at this offset.
    unsafe { mem.add(op.count).cast::<u32>().read_unaligned() }
}

/// # Safety
/// `mem` must be a writable structure that has this array.
unsafe fn write_count(mem: *mut u8, op: &ArrayOp, count: u32) {
    // SAFETY: the count is a `u32` at this offset.
    unsafe { mem.add(op.count).cast::<u32>().write_unaligned(count) }
}
