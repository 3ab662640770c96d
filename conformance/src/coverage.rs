//! Which commands a program called, and which it could have called.
//!
//! The driver is wrapped by `libvw_counting.so` (`conformance/counting`), which leaves a file of notes for each process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use vw_wire_protocol::generated::names::NAMES;
use vw_wire_protocol::schema::Provider;

use crate::{Result, doing};

/// Bytes of a note: whether the command was called, then its name and zeros.
const NOTE: usize = 128;

/// The commands that were called by any process that left its notes in `folder`, under their main names.
///
/// # Errors
/// When the notes cannot be read.
pub fn called(folder: &Path) -> Result<BTreeSet<&'static str>> {
    let mut called = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(doing(format!("listing {}", folder.display())))? {
        let path = entry.map_err(doing("listing notes"))?.path();
        let notes = fs::read(&path).map_err(doing(format!("reading {}", path.display())))?;
        for note in notes.chunks_exact(NOTE).filter(|note| note[0] == 1) {
            let name = note[1..].split(|byte| *byte == 0).next().unwrap_or_default();
            called.extend(
                NAMES.iter().filter(|known| known.name.as_bytes() == name).map(|known| known.command),
            );
        }
    }
    Ok(called)
}

/// The commands of the versions up to `minor` of Vulkan 1 and of those extensions that `offered` accepts, under their
/// main names, by what brings them: a command is listed with each of its providers. Without those that only refuse.
pub fn offered(minor: u32, offered: impl Fn(&str) -> bool) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut result = BTreeMap::<_, BTreeSet<_>>::new();
    for name in NAMES.iter().filter(|name| !name.refused) {
        for provider in name.provided_by {
            let provider = match provider {
                Provider::Core(version) if version >> 12 & 0x3FF <= minor => {
                    format!("Vulkan 1.{}", version >> 12 & 0x3FF)
                }
                Provider::Extension(extension) if offered(extension) => (*extension).to_owned(),
                _ => continue,
            };
            result.entry(provider).or_default().insert(name.command);
        }
    }
    result
}
