//! What the operator chooses: a TOML file, overridden by the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use vw_transport::attached::FIRST_SLICE;
use vw_transport::layout::DEVICE_GRANULE;

use crate::gpu::import::Choice;

/// Where the socket is when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/vw/vw.sock";

/// Everything that the broker and its session processes need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where guests connect: an address, or a list of them.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<Listen>,
    /// Which physical device guests get; the best one when absent.
    pub device: Option<String>,
    /// Decode and validate only; no GPU is touched and none is needed.
    pub null: bool,
    /// How host-visible memory of guests becomes the device's.
    pub import: Choice,
    /// What is logged: a level or a filter (`info`, `vw_host_renderer=debug`).
    pub log: String,
    /// Most sessions at a time; further guests are refused with the reason.
    pub max_sessions: usize,
    /// Session processes that have the host's device ready and wait for a guest.
    pub warm: usize,
    /// What each session may use.
    pub limits: Limits,
    /// Memory that virtual machines have as a device; `vwctl` makes more.
    pub region: Vec<RegionConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Listen::Unix(PathBuf::from(DEFAULT_SOCKET))],
            device: None,
            null: false,
            import: Choice::Auto,
            log: "info".to_owned(),
            max_sessions: 64,
            warm: 1,
            limits: Limits::default(),
            region: Vec::new(),
        }
    }
}

/// Limits of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Host-visible memory in bytes; the size of the device's host-visible heaps when absent.
    pub window: Option<Size>,
    /// Command ring in bytes, a power of two.
    pub ring: Size,
    /// Reply area in bytes.
    pub reply: Size,
    /// Command arena in bytes.
    pub arena: Size,
    /// Decoded form of one record in bytes.
    pub record: Size,
    /// Guests get `robustBufferAccess`, whether they ask for it or not.
    pub robust_buffer_access: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: None,
            ring: Size(4 << 20),
            reply: Size(1 << 20),
            arena: Size(64 << 20),
            record: Size(256 << 20),
            robust_buffer_access: true,
        }
    }
}

/// Memory that a virtual machine has as a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Its name: up to 64 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Bytes: a multiple of 2 MiB.
    pub size: Size,
    /// The one guest that may use it: `vsock:CID`, or `unix:PATH` of the socket that it comes by. Without, any guest may, one
    /// at a time.
    pub guest: Option<String>,
}

impl RegionConfig {
    /// Whether it can be.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { name, size, guest } = self;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(format!("`{name}` is no name of a region; write letters, digits, `.`, `_` and `-`"));
        }
        if size.0 <= FIRST_SLICE || !size.0.is_multiple_of(DEVICE_GRANULE) {
            return Err(format!(
                "region {name} has {} bytes; it has to be a multiple of 2 MiB, and more than {FIRST_SLICE}",
                size.0
            ));
        }
        match guest.as_deref().map(|guest| guest.split_once(':')) {
            None | Some(Some(("unix", _))) => Ok(()),
            Some(Some(("vsock", cid))) if cid.parse::<u32>().is_ok() => Ok(()),
            _ => Err(format!("region {name}: a guest is vsock:CID or unix:PATH")),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a configuration.
    #[error("{origin} is not a configuration: {source}")]
    Parse {
        /// Where the text came from.
        origin: String,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// A value cannot be used.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read, has unknown keys, or values that cannot be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads TOML text that came from `origin`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text)
            .map_err(|source| ConfigError::Parse { origin: origin.to_owned(), source: Box::new(source) })?;
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML, which [`parse`](Self::parse) reads: how the broker hands it to a session process.
    ///
    /// # Errors
    /// Never for a configuration that was read.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Value(error.to_string()))
    }

    /// The socket beside which the control socket is: the first unix socket that guests connect to.
    pub fn main_socket(&self) -> &Path {
        let paths = self.listen.iter().filter_map(|listen| match listen {
            Listen::Unix(path) => Some(path.as_path()),
            Listen::Vsock(_) => None,
        });
        paths.into_iter().next().unwrap_or(Path::new(DEFAULT_SOCKET))
    }

    fn check(&self) -> Result<(), ConfigError> {
        let ring = self.limits.ring.0;
        if !ring.is_power_of_two() || !(64 << 10..=1 << 30).contains(&ring) {
            return Err(ConfigError::Value(format!(
                "limits.ring is {ring} bytes; it has to be a power of two from 64 KiB to 1 GiB"
            )));
        }
        if self.listen.is_empty() {
            return Err(ConfigError::Value("listen is empty: no guest could connect".to_owned()));
        }
        self.region.iter().try_for_each(RegionConfig::check).map_err(ConfigError::Value)?;
        if self.max_sessions == 0 {
            return Err(ConfigError::Value("max_sessions is 0: no guest could connect".to_owned()));
        }
        Ok(())
    }
}

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// `unix:PATH`: for guests on this kernel, and for virtual machines whose monitor or device server turns their vsock into
    /// unix sockets (`<path>_<port>`).
    Unix(PathBuf),
    /// `vsock:PORT`: for virtual machines, by the kernel's vhost-vsock.
    Vsock(u32),
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Listen>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(Listen),
        Many(Vec<Listen>),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::One(listen) => vec![listen],
        Written::Many(list) => list,
    })
}

impl FromStr for Listen {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong =
            || ConfigError::Value(format!("cannot listen at `{text}`; known are unix:PATH and vsock:PORT"));
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            Some(("vsock", port)) => port.parse().map(Self::Vsock).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Vsock(port) => write!(f, "vsock:{port}"),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

/// A number of bytes: an integer, or text with a unit (`"512 MiB"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "SizeText", into = "u64")]
pub struct Size(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Bytes(u64),
    Text(String),
}

impl TryFrom<SizeText> for Size {
    type Error = ConfigError;

    fn try_from(text: SizeText) -> Result<Self, ConfigError> {
        match text {
            SizeText::Bytes(bytes) => Ok(Self(bytes)),
            SizeText::Text(text) => text.parse(),
        }
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl FromStr for Size {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Value(format!("`{text}` is not a size; write bytes or KiB, MiB, GiB"));
        let digits =
            text.trim_start().find(|c: char| !c.is_ascii_digit()).map(|at| text.trim_start().split_at(at));
        let (number, unit) = digits.unwrap_or((text.trim(), ""));
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let shift = match unit.trim() {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn config_when_written_and_read_is_the_same() {
        let config = Config {
            device: Some("llvmpipe".to_owned()),
            import: Choice::HostPointer,
            limits: Limits { window: Some(Size(2 << 30)), ..Limits::default() },
            region: vec![RegionConfig {
                name: "vm-1".to_owned(),
                size: Size(1 << 30),
                guest: Some("vsock:4".to_owned()),
            }],
            ..Config::default()
        };
        assert_eq!(Config::parse(&config.to_toml().unwrap(), "test").unwrap(), config);
        assert_eq!(Config::parse("", "test").unwrap(), Config::default());
    }

    #[test]
    fn config_when_partly_given_keeps_defaults() {
        let text = "listen = \"unix:/tmp/a:b\"\n[limits]\nwindow = \"512 MiB\"\nring = 65536\n";
        let config = Config::parse(text, "test").unwrap();
        assert_eq!(config.listen, [Listen::Unix("/tmp/a:b".into())]);
        assert_eq!(config.limits.window, Some(Size(512 << 20)));
        assert_eq!(config.limits.ring, Size(65536));
        assert_eq!(config.max_sessions, 64);
    }

    #[test]
    fn config_when_wrong_is_refused_with_the_reason() {
        for (text, needle) in [
            ("colour = 1", "colour"),
            ("listen = []", "listen is empty"),
            ("import = \"hope\"", "host-pointer"),
            ("[[region]]\nname = \"a\"\nsize = \"3 MiB\"", "2 MiB"),
            ("[[region]]\nname = \"a b\"\nsize = \"1 GiB\"", "no name"),
            ("[[region]]\nname = \"a\"\nsize = \"1 GiB\"\nguest = \"me\"", "vsock:CID"),
            ("max_sessions = 0", "max_sessions"),
            ("[limits]\nring = 100000", "power of two"),
            ("[limits]\nwindow = \"3 parsecs\"", "parsecs"),
            ("[limits]\nwindow = \"99999999999 GiB\"", "not a size"),
        ] {
            let error = Config::parse(text, "test").unwrap_err().to_string();
            assert!(error.contains(needle), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_when_several_are_all_listened_at() {
        let text = "listen = [\"vsock:5001\", \"unix:/tmp/vm_5001\"]";
        let config = Config::parse(text, "test").unwrap();
        assert_eq!(config.listen, [Listen::Vsock(5001), Listen::Unix("/tmp/vm_5001".into())]);
        assert_eq!(config.main_socket(), Path::new("/tmp/vm_5001"));
        assert_eq!(Config::parse(&config.to_toml().unwrap(), "test").unwrap(), config);
        for wrong in ["tcp:1", "vsock:", "vsock:x", "unix:"] {
            assert!(wrong.parse::<Listen>().unwrap_err().to_string().contains("unix:PATH"), "{wrong}");
        }
        let vsock_alone = Config { listen: vec![Listen::Vsock(1)], ..Config::default() };
        assert_eq!(vsock_alone.main_socket(), Path::new(DEFAULT_SOCKET));
    }

    #[test]
    fn size_when_given_with_units_is_bytes() {
        assert_eq!("7".parse::<Size>().unwrap(), Size(7));
        assert_eq!("7 B".parse::<Size>().unwrap(), Size(7));
        assert_eq!(" 2GiB".parse::<Size>().unwrap(), Size(2 << 30));
        assert!("GiB".parse::<Size>().is_err());
    }
}
