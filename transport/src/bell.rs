//! How a side is woken that has another kernel, and so cannot sleep on the same futex.

use std::fmt::Debug;

/// A wait word of the control page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Word {
    /// The host sleeps: nothing is in the ring.
    Command,
    /// The guest sleeps: the ring is full.
    Space,
    /// The guest sleeps: no reply has come.
    Reply,
    /// The guest sleeps: what it waits for is not complete.
    Completion,
}

impl Word {
    /// All of them, by their numbers.
    pub const ALL: [Self; 4] = [Self::Command, Self::Space, Self::Reply, Self::Completion];

    /// The word's bit in a set of words.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Tells the other side to wake its threads. Rung only when one of them has said that it sleeps.
pub trait Bell: Send + Sync + Debug {
    /// Threads of the other side may sleep on this word. What is wrong is not for the caller to know: who waits for a side
    /// that is gone notices that by itself.
    fn ring(&self, word: Word);
}
