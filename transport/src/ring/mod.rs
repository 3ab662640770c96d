//! The command ring: one producer (guest), one consumer (host).
//!
//! Positions count bytes from the start of the session and never wrap (2^64 bytes take longer than anybody waits);
//! the place in memory is the position modulo the ring's size. Since the ring is mapped twice back to back, a record
//! that crosses the end is contiguous in memory. A record starts with a word whose upper 32 bits are its whole length in
//! bytes, a multiple of [`ALIGNMENT`].

mod consumer;
mod producer;

pub use consumer::{Consumer, RawRecord, RingError};
pub use producer::{Producer, ReserveError, Space};

/// Records are aligned to, and as long as a multiple of, this many bytes.
pub const ALIGNMENT: usize = 8;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
