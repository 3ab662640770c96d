//! Instructions that the hottest commands take, counted by valgrind's callgrind: the same program gives the same number,
//! on a busy machine too, so that commits can be compared.
//!
//! Counted are the guest driver's entry points, in a program that records, and the tables' encoder and decoder alone.

mod codec;
mod commands;
mod profile;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::results::Instructions;
use profile::Calls;

pub(crate) use codec::run as run_codec;
pub(crate) use commands::run as run_commands;

/// How often each call is made.
const TIMES: u32 = 100;

/// Counts with `program`, which is this one; `on_vw` makes a program run on vw. `None` where valgrind is not installed.
/// What of the driver could not be counted is missing, and a note says why.
///
/// # Errors
/// When valgrind fails on the tables, or its output cannot be read.
pub(crate) fn count(
    program: &Path,
    on_vw: impl Fn(&mut Command),
    notes: &mut Vec<String>,
) -> io::Result<Option<Vec<Instructions>>> {
    let Some(codec) = profile(program, "codec", |_| ())? else { return Ok(None) };
    let driver = profile(program, "commands", on_vw).unwrap_or_else(|error| {
        notes.push(format!("no instructions of the driver's entry points: {error}"));
        None
    });
    let lines = codec::NAMES.iter().map(|name| {
        let entry = driver.as_ref().map(|driver| find(driver, &format!("::{name}"))).transpose()?;
        Ok(Instructions {
            command: (*name).to_owned(),
            entry,
            encode: find(&codec, &format!("::{name}::encode"))?,
            decode: find(&codec, &format!("::{name}::decode"))?,
            // Where there is no such function, nothing but asking for it is counted.
            straight: (name.starts_with("vkCmd") || *name == "vkQueueSubmit")
                .then(|| find(&codec, &format!("::{name}::straight")))
                .transpose()?,
        })
    });
    lines.collect::<io::Result<Vec<_>>>().map(Some)
}

/// Runs one mode of the program under callgrind.
fn profile(
    program: &Path,
    mode: &str,
    prepare: impl Fn(&mut Command),
) -> io::Result<Option<BTreeMap<String, Calls>>> {
    let file = std::env::temp_dir().join(format!("vw-callgrind-{}", std::process::id()));
    let mut option = std::ffi::OsString::from("--callgrind-out-file=");
    option.push(&file);
    let mut command = Command::new("valgrind");
    prepare(&mut command);
    command.args(["--tool=callgrind", "--quiet"]).arg(option).arg(program).arg(mode);
    let status = match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !status.success() {
        return Err(io::Error::other(format!("valgrind failed ({status})")));
    }
    let text = std::fs::read_to_string(&file);
    std::fs::remove_file(&file)?;
    Ok(Some(profile::inclusive(&text?)))
}

/// Instructions of one call of the function whose path ends so.
fn find(costs: &BTreeMap<String, Calls>, ending: &str) -> io::Result<u64> {
    let found = costs.iter().find(|(function, _)| function.ends_with(ending));
    let missing = || io::Error::other(format!("callgrind has not seen a function ...{ending}"));
    found.map(|(_, calls)| calls.each()).ok_or_else(missing)
}
