//! Where the host is and how memory is had in common with it: the environment, else `/etc/vw/guest.toml`, else what is
//! usual.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use vw_transport::{Address, Dial};

/// The system-wide configuration file.
const FILE: &str = "/etc/vw/guest.toml";

/// The address used when nothing names another.
const DEFAULT: &str = "unix:/run/vw/vw.sock";

#[derive(Default, serde::Deserialize)]
struct GuestToml {
    host: Option<String>,
    memory: Option<String>,
    region: Option<PathBuf>,
}

/// How to reach the host, or why it is not known: `VW_HOST`, `VW_MEMORY` and `VW_REGION`, each of which goes before what the
/// file says.
pub(crate) fn dial() -> Result<Dial, String> {
    let file = match std::fs::read_to_string(FILE) {
        Ok(text) => from_toml(&text, Path::new(FILE)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(GuestToml::default()),
        Err(e) => Err(format!("{FILE}: {e}")),
    };
    let said = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let (host, memory, region) = (said("VW_HOST"), said("VW_MEMORY"), said("VW_REGION"));
    // A file that is wrong does not matter to who says everything that counts.
    let file = if host.is_some() { file.unwrap_or_default() } else { file? };
    let text = |name: &str, value: std::ffi::OsString| {
        value.into_string().map_err(|v| format!("{name} is not UTF-8: {}", v.display()))
    };
    let host = host.map(|host| text("VW_HOST", host)).transpose()?;
    let memory = memory.map(|memory| text("VW_MEMORY", memory)).transpose()?;
    let device = region.map(PathBuf::from).or(file.region);
    Ok(Dial {
        memory: parse("VW_MEMORY", memory, file.memory, "auto")?,
        device,
        ..Dial::new(parse::<Address>("VW_HOST", host, file.host, DEFAULT)?)
    })
}

/// What the environment says, else the file, else `default`.
fn parse<T: FromStr<Err: std::fmt::Display>>(
    name: &str,
    said: Option<String>,
    written: Option<String>,
    default: &str,
) -> Result<T, String> {
    let (from, text) = match (said, written) {
        (Some(text), _) => (name, text),
        (None, Some(text)) => (FILE, text),
        (None, None) => (name, default.to_owned()),
    };
    text.parse().map_err(|error| format!("{from}: {error}"))
}

fn from_toml(text: &str, file: &Path) -> Result<GuestToml, String> {
    toml::from_str(text).map_err(|e| format!("{}: {}", file.display(), e.message()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use vw_transport::Choice;

    use super::*;

    #[test]
    fn settings_when_said_in_several_places_are_taken_from_the_nearest() {
        let file = || Some("unix:/file".to_owned());
        let host = |said: Option<&str>, written| {
            parse::<Address>("VW_HOST", said.map(ToOwned::to_owned), written, DEFAULT).map(|a| a.to_string())
        };
        assert_eq!(host(Some("vsock:2:9"), file()), Ok("vsock:2:9".to_owned()));
        assert_eq!(host(None, file()), Ok("unix:/file".to_owned()));
        assert_eq!(host(None, None), Ok(DEFAULT.to_owned()));
        assert!(
            host(Some("tcp:1"), file())
                .is_err_and(|e| e.starts_with("VW_HOST: ") && e.contains("unix:/path"))
        );
        assert!(host(None, Some("x".to_owned())).is_err_and(|e| e.starts_with(FILE)));
    }

    #[test]
    fn file_when_it_names_no_host_leaves_it_open() {
        let file = Path::new("guest.toml");
        let parsed = from_toml("", file).unwrap();
        assert!(parsed.host.is_none() && parsed.memory.is_none() && parsed.region.is_none());
        let parsed =
            from_toml("host = \"vsock:2:7\"\nmemory = \"attached\"\nregion = \"/dev/dax0.0\"", file).unwrap();
        assert_eq!(parsed.host.as_deref(), Some("vsock:2:7"));
        assert_eq!(parsed.memory.unwrap().parse(), Ok(Choice::Attached));
        assert_eq!(parsed.region, Some("/dev/dax0.0".into()));
        assert!(from_toml("host = 3", file).is_err_and(|e| e.starts_with("guest.toml")));
    }
}
