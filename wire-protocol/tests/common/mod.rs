//! What the table-driven tests and the fuzz targets share: arbitrary structures and commands built from the
//! tables, and an independent reading of what must come out of the codec.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod build;
pub mod compare;
pub mod guard;
pub mod host;
pub mod mem;
pub mod result;

use vw_wire_protocol::codec::Writer;
use vw_wire_protocol::record::MAX_RECORD;
use vw_wire_protocol::schema::{Count, Elem, Op, Pointer, Struct};

/// SplitMix64: tests are reproducible from their seed.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The bytes that `f` writes.
pub fn written(f: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut w = Writer::growing(&mut bytes, MAX_RECORD);
    f(&mut w);
    w.finish().expect("arbitrary values stay small");
    bytes
}

/// Whether a structure can come back as a result: its counts are sent with its shape, and what it points to can
/// come back as well.
pub fn can_be_result(desc: &'static Struct) -> bool {
    fn all(desc: &'static Struct, seen: &mut Vec<&'static str>) -> bool {
        if seen.contains(&desc.name) {
            return true;
        }
        seen.push(desc.name);
        desc.extended_by.iter().all(|link| all(link, seen))
            && desc.ops.iter().all(|op| match op {
                Op::Bytes { .. } | Op::Len { .. } | Op::Handle { .. } => true,
                Op::Inline { desc, .. } => all(desc, seen),
                Op::Select { .. } => false,
                Op::Pointer(Pointer { elem, count, .. }) => {
                    let counted = match count {
                        Count::One | Count::Const(_) => true,
                        Count::Field { off, .. } => is_len(desc, *off),
                        _ => false,
                    };
                    counted
                        && match elem {
                            Elem::Bytes { .. } => true,
                            Elem::Struct(desc) => all(desc, seen),
                            _ => false,
                        }
                }
            })
    }
    all(desc, &mut Vec::new())
}

/// Whether the member at `off` is sent where only capacities are.
pub fn is_len(desc: &Struct, off: u16) -> bool {
    desc.ops.iter().any(|op| matches!(op, Op::Len { off: o, .. } if *o == off))
}
