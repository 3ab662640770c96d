//! Why a command could not be carried, and what the application is told.

use ash::vk;

/// Why a command did not reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// It is larger or nests deeper than the wire format allows.
    TooLarge,
    /// The connection is broken, or the host broke the protocol.
    Lost,
}

impl Failure {
    /// The result for a command below a device.
    pub(crate) fn result(self) -> vk::Result {
        match self {
            Self::TooLarge => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
            Self::Lost => vk::Result::ERROR_DEVICE_LOST,
        }
    }
}
