//! Where a host is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Address of a host, as guests write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `unix:PATH`: a unix stream socket, on the guest's own kernel.
    Unix(PathBuf),
    /// `vsock:CID:PORT`: from inside of a virtual machine; the machine that it runs on has the CID 2.
    Vsock {
        /// Context identifier of the machine.
        cid: u32,
        /// Port.
        port: u32,
    },
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not an address; write unix:/path/to/socket, or in a virtual machine vsock:2:PORT (2 is the host)"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let vsock = |rest: &str| {
            let (cid, port) = rest.split_once(':')?;
            Some(Self::Vsock { cid: cid.parse().ok()?, port: port.parse().ok()? })
        };
        let address = match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Some(Self::Unix(path.into())),
            Some(("vsock", rest)) => vsock(rest),
            _ => None,
        };
        address.ok_or_else(|| AddressError(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn address_when_read_and_written_is_the_same() {
        for text in ["unix:/tmp/a:b", "vsock:2:5001"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn address_when_unknown_says_what_to_write() {
        for bad in [
            "",
            "unix:",
            "/tmp/vw.sock",
            "tcp:1.2.3.4:5",
            "vsock:2",
            "vsock:2:x",
            "vsock:-1:5",
            "vsock:2:4294967296",
        ] {
            let error = bad.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("unix:/path") && error.contains("vsock:2:PORT"), "{bad}: {error}");
        }
    }
}
