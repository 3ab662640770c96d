//! Whether the other side still exists.

use std::time::Duration;

use crate::wait::LIVENESS_PERIOD;

/// Asked by waits, at the start and then again and again, so that nobody waits for the dead.
pub trait Liveness: Send + Sync {
    /// False once the other side is gone; stays false from then on. Must be cheap: it may cost a system call, but
    /// must not block.
    fn alive(&self) -> bool;

    /// How long a sleeper sleeps at most before it asks. None: somebody else wakes it when the other side is gone, and
    /// what it waits for holds then.
    fn ask_every(&self) -> Option<Duration> {
        Some(LIVENESS_PERIOD)
    }
}

/// The other side ended or closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the other side of the connection is gone: its process ended or it closed the socket; its log says why"
)]
pub struct PeerGone;

/// A peer that cannot go away: for waits inside one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysAlive;

impl Liveness for AlwaysAlive {
    fn alive(&self) -> bool {
        true
    }
}
