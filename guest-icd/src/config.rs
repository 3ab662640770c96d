//! Where the host is: `VW_HOST`, else `/etc/vw/guest.toml`, else the default socket.

use std::fmt;
use std::path::{Path, PathBuf};

/// The system-wide configuration file.
const FILE: &str = "/etc/vw/guest.toml";

/// The address used when nothing names another.
const DEFAULT: &str = "unix:/run/vw/vw.sock";

/// Address of a `vw-renderer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A unix stream socket.
    Unix(PathBuf),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(serde::Deserialize)]
struct GuestToml {
    host: Option<String>,
}

/// The host's address, or why there is none.
pub(crate) fn host() -> Result<Host, String> {
    if let Some(value) = std::env::var_os("VW_HOST").filter(|v| !v.is_empty()) {
        let value = value.into_string().map_err(|v| format!("VW_HOST is not UTF-8: {}", v.display()))?;
        return parse(&value).map_err(|e| format!("VW_HOST: {e}"));
    }
    match std::fs::read_to_string(FILE) {
        Ok(text) => from_toml(&text, Path::new(FILE)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => parse(DEFAULT),
        Err(e) => Err(format!("{FILE}: {e}")),
    }
}

fn from_toml(text: &str, file: &Path) -> Result<Host, String> {
    let parsed: GuestToml =
        toml::from_str(text).map_err(|e| format!("{}: {}", file.display(), e.message()))?;
    parse(parsed.host.as_deref().unwrap_or(DEFAULT)).map_err(|e| format!("{}: {e}", file.display()))
}

fn parse(value: &str) -> Result<Host, String> {
    match value.split_once(':') {
        Some(("unix", path)) if !path.is_empty() => Ok(Host::Unix(PathBuf::from(path))),
        _ => Err(format!("\"{value}\" is not an address; write unix:/path/to/socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_when_unix_is_parsed() {
        assert_eq!(parse("unix:/tmp/vw.sock"), Ok(Host::Unix("/tmp/vw.sock".into())));
    }

    #[test]
    fn address_when_unknown_says_what_to_write() {
        for bad in ["", "unix:", "/tmp/vw.sock", "tcp:1.2.3.4:5"] {
            assert!(parse(bad).is_err_and(|e| e.contains("unix:/path")), "{bad}");
        }
    }

    #[test]
    fn file_when_it_names_no_host_means_the_default() {
        let file = Path::new("guest.toml");
        assert_eq!(from_toml("", file).map(|h| h.to_string()), Ok(DEFAULT.to_owned()));
        assert_eq!(from_toml("host = \"unix:/x\"", file), Ok(Host::Unix("/x".into())));
        assert!(from_toml("host = 3", file).is_err_and(|e| e.starts_with("guest.toml")));
    }
}
