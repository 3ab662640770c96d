//! The engine that follows the tables: commands and structures to bytes and back.
//!
//! | | guest | host |
//! |---|---|---|
//! | request | [`encode_request`] | [`decode_request`] |
//! | reply | [`decode_reply`] | [`encode_reply`] |
//!
//! # On the wire
//!
//! Fields follow each other in the order of the table's ops, little endian, in their natural size and without
//! padding. In **full** form everything is carried; of results only the **shape** is in the request (chains,
//! capacities, which pointers there are), so that the host can make room; the reply carries them in **out** form.
//!
//! * A structure with an `sType` starts with its chain: `sType` and body of each link, then `u32::MAX`. Its own
//!   `sType` is known from the table.
//! * A pointer is a presence byte, then the elements. Their number is known from what precedes, but for
//!   null-terminated strings (`u64` length with the terminator first) and in out form (`u64` number first
//!   wherever it is not fixed by the table).
//! * A handle is its 64-bit id. Handles do not travel from host to guest: the guest has named them before.
//! * A reply starts with the return value as `u64`. If inputs of the command have places for results in them, a byte
//!   says whether it was called, and these results follow, in the order of the table; chains consist of the links that
//!   lead to results. Unless the return value is a negative `VkResult`, each parameter that returns something follows,
//!   arrays before the counts that size them. For new handles there is one byte each, 1 where it was created.
//!
//! # What decoding promises
//!
//! Whatever the bytes: nothing outside of the record is read, each byte of it at most once; memory is bounded by
//! the arena's limit and allocated only for elements that the record has bytes for; structures nest at most
//! [`MAX_DEPTH`] deep; the result is memory that the table describes, aligned, with strings terminated, chains
//! of known and distinct structures, and handles that the resolver vouched for. The values themselves (enums,
//! sizes, offsets) are not judged here.

mod arena;
mod asked;
mod chain;
mod count;
mod decode;
mod encode;
mod error;
pub(crate) mod mem;
mod reader;
mod reply;
mod reply_decode;
mod request;
mod writer;

pub use arena::Arena;
pub use asked::asks_for_results;
pub(crate) use chain::END;
pub use decode::{decode_request, decode_struct};
pub use encode::{DISPATCHABLE_ID, encode_request, encode_struct};
pub use error::{DecodeError, EncodeError, HandleError};
pub use reader::Reader;
pub use reply::{encode_body_out, encode_reply, encode_struct_out};
pub use reply_decode::{decode_body_out, decode_reply, decode_struct_out};
pub use request::{BadHandle, NewHandles, NewList, NoHandles, Request, Resolve};
pub use writer::Writer;

use crate::generated::handles::HandleType;
use crate::schema::{Command, Elem, Op, Ret, Struct};

/// Most parameters that a command has.
pub const MAX_PARAMS: usize = 16;

/// Deepest nesting of structures; a chain's links count as their parent.
pub const MAX_DEPTH: u8 = 16;

/// Which form a single structure is coded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With all values.
    Full,
    /// Chain, capacities and presence of pointers only.
    Shape,
}

/// Whether a command that returned `ret` has failed, so that no results follow.
pub fn failed(cmd: &Command, ret: u64) -> bool {
    cmd.ret == Ret::Result && (ret as i32) < 0
}

/// Whether a command that creates several objects of this type and fails has created some of them all the same: chapter
/// "Multiple Pipeline Creation", and `vkCreateShadersEXT`. The others are null.
pub fn created_one_by_one(ty: HandleType) -> bool {
    matches!(ty, HandleType::Pipeline | HandleType::ShaderEXT)
}

/// Whether the shape of a structure takes any bytes.
fn has_shape(desc: &Struct) -> bool {
    desc.s_type.is_some()
        || desc.ops.iter().any(|op| match op {
            Op::Len { .. } | Op::Pointer(_) => true,
            Op::Inline { desc, .. } => has_shape(desc),
            Op::Bytes { .. } | Op::Handle { .. } | Op::Select { .. } => false,
        })
}

/// Size of one element in memory in bytes.
fn elem_size(elem: &Elem) -> usize {
    match elem {
        Elem::Bytes { size, .. } | Elem::Strided { size, .. } => *size as usize,
        Elem::Struct(desc) => desc.size as usize,
        Elem::Handle { .. } | Elem::Strings | Elem::Pointers { .. } => 8,
    }
}
