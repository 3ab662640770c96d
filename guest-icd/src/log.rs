//! The driver's log: lines on standard error, chosen by `VW_LOG` (`error|warn|info|debug|trace`).
//!
//! Silent by default, but for [`notice`]: a program must be able to learn why no device is offered. Written with
//! a plain `write`, not through the standard library's stream: nothing thread-local stays behind when the
//! program unloads the driver.

use std::fmt::Arguments;
use std::sync::OnceLock;

/// How much a line matters; higher values are more verbose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The session or an object is lost.
    Error = 1,
    /// Something is missing or done the slow way.
    Warn,
    /// Once per instance or device.
    Info,
    /// Once per object.
    Debug,
    /// Once per command.
    Trace,
}

/// The level that `VW_LOG` chose; `None` is silence.
fn chosen() -> Option<Level> {
    static CHOSEN: OnceLock<Option<Level>> = OnceLock::new();
    *CHOSEN.get_or_init(|| parse(&std::env::var("VW_LOG").unwrap_or_default()))
}

fn parse(value: &str) -> Option<Level> {
    match value.to_ascii_lowercase().as_str() {
        "error" => Some(Level::Error),
        "warn" => Some(Level::Warn),
        "info" => Some(Level::Info),
        "debug" => Some(Level::Debug),
        "trace" => Some(Level::Trace),
        _ => None,
    }
}

/// Whether lines of this level are written.
pub(crate) fn enabled(level: Level) -> bool {
    chosen().is_some_and(|chosen| level <= chosen)
}

/// Writes a line if its level is enabled.
pub(crate) fn line(level: Level, text: Arguments<'_>) {
    if enabled(level) {
        let name = match level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        write(&format!("vw: {name}: {text}\n"));
    }
}

/// Writes a command's name, at [`Level::Trace`].
#[inline]
pub(crate) fn command(name: &str) {
    if enabled(Level::Trace) {
        line(Level::Trace, format_args!("{name}"));
    }
}

/// Writes a line whatever `VW_LOG` says.
pub(crate) fn notice(text: Arguments<'_>) {
    write(&format!("vw: {text}\n"));
}

fn write(text: &str) {
    // A closed or full standard error is not the program's problem.
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

macro_rules! error {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Error, format_args!($($arg)*)) };
}
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Info, format_args!($($arg)*)) };
}
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Warn, format_args!($($arg)*)) };
}
pub(crate) use {error, info, warning};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_when_named_is_parsed_and_otherwise_silent() {
        assert_eq!(parse("warn"), Some(Level::Warn));
        assert_eq!(parse("TRACE"), Some(Level::Trace));
        assert_eq!(parse(""), None);
        assert_eq!(parse("off"), None);
        assert!(Level::Error < Level::Trace);
    }
}
