//! Whether the other side still exists.

/// Asked by waits, at the start and then every [`crate::wait::LIVENESS_PERIOD`], so that nobody waits for the dead.
pub trait Liveness: Send + Sync {
    /// False once the other side is gone; stays false from then on. Must be cheap: it may cost a system call, but
    /// must not block.
    fn alive(&self) -> bool;
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
