//! How sessions end.

use std::process::ExitCode;

/// Why a session ended. The process's exit code tells the broker the kind, the log has the details.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The guest closed its connection or is gone.
    #[error("the guest disconnected")]
    Disconnected,
    /// The daemon is shutting down.
    #[error("the daemon is shutting down")]
    Stopped,
    /// No session was made.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The guest was told why it gets no session.
    #[error("refused: {0}")]
    Refused(String),
    /// The guest broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(String),
    /// Something that must not happen in the session process.
    #[error("internal error: {0}")]
    Internal(String),
}

impl End {
    /// Exit code of the session process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Disconnected => 0,
            Self::Stopped => 10,
            Self::Handshake(_) => 11,
            Self::Refused(_) => 12,
            Self::Violation(_) => 13,
            Self::Internal(_) => 14,
        }
    }

    /// What an exit code of a session process means; `None` for one that it does not choose.
    pub fn kind(code: i32) -> Option<&'static str> {
        Some(match code {
            0 => "guest disconnected",
            10 => "stopped with the daemon",
            11 => "handshake failed",
            12 => "refused",
            13 => "protocol violation",
            14 => "internal error",
            _ => return None,
        })
    }
}

impl From<&End> for ExitCode {
    fn from(end: &End) -> Self {
        Self::from(end.exit_code())
    }
}

/// A violation of the protocol, from what describes it.
#[expect(clippy::needless_pass_by_value, reason = "called with errors by `map_err`")]
pub fn violation(what: impl ToString) -> End {
    End::Violation(what.to_string())
}
