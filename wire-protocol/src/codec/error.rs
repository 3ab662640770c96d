//! What can be wrong with bytes that come in, and with space that bytes go to.

use crate::generated::handles::HandleType;

/// Why bytes were refused. Every one is a violation by the peer: a correct peer never causes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before what it announces.
    #[error("{needed} bytes are announced where {left} are left")]
    Truncated {
        /// Bytes that the next step takes at least.
        needed: u64,
        /// Bytes left in the record.
        left: u64,
    },
    /// Something other than padding follows the last field.
    #[error("{0} bytes follow the last field")]
    Trailing(u64),
    /// A presence byte is neither 0 nor 1.
    #[error("presence byte is {0}")]
    Presence(u8),
    /// A chain holds a structure that does not belong there.
    #[error("structure type {s_type} may not extend {parent}")]
    NotInChain {
        /// Structure whose chain it is.
        parent: &'static str,
        /// The `sType` met.
        s_type: i32,
    },
    /// A chain holds a structure type twice.
    #[error("structure type {s_type} extends {parent} twice")]
    Repeated {
        /// Structure whose chain it is.
        parent: &'static str,
        /// The `sType` met.
        s_type: i32,
    },
    /// Structures nest deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("structures nest deeper than {0}")]
    TooDeep(u8),
    /// The decoded form takes more memory than the arena allows.
    #[error("{requested} more bytes of decoded data exceed the limit of {limit}")]
    TooLarge {
        /// Bytes that the next block takes.
        requested: u64,
        /// The arena's limit in bytes.
        limit: u64,
    },
    /// A string that is not terminated at its end, or terminated before.
    #[error("a string of {0} bytes is not terminated exactly at its end")]
    BadString(u64),
    /// A pointer that another one's count depends on is null.
    #[error("an array's size depends on a pointer that is null")]
    MissingCount,
    /// An id that names no live object.
    #[error("{} {id:#x}: {reason}", ty.name())]
    Handle {
        /// Type that the field has.
        ty: HandleType,
        /// The id met.
        id: u64,
        /// What is wrong with it.
        reason: HandleError,
    },
    /// A reply holds more elements than there is room for.
    #[error("reply of {count} elements where there is room for {capacity}")]
    TooMany {
        /// Elements announced.
        count: u64,
        /// Room that the caller made.
        capacity: u64,
    },
    /// A reply does not have the shape of its request.
    #[error("the reply does not fit the request")]
    Mismatch,
}

/// Why an id cannot be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Never made, already freed, or of another type.
    #[error("names no live object")]
    Unknown,
    /// Its asynchronous creation failed: commands that use it are dropped, which is no violation.
    #[error("its creation failed")]
    Poisoned,
}

/// The writer's space did not suffice, or what was to be encoded nests too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More space is needed.
    #[error("{needed} bytes of space are needed")]
    Overflow {
        /// Bytes that the same calls would have written in all, from the writer's start.
        needed: usize,
    },
    /// Structures nest deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("structures nest deeper than {0}")]
    TooDeep(u8),
}
