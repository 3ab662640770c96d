//! What a capture of gfxreconstruct (`.gfxr`) says about memory.
//!
//! With `GFXRECON_MEMORY_TRACKING_MODE=unassisted` the capture layer writes down all mapped memory at each submission
//! and when it is unmapped: what the device wrote there as well. A replay that is itself captured so shows its results.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::{Error, Result, doing};

/// Mapped memory at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Fill {
    /// The capture's number of the `VkDeviceMemory`.
    pub memory: u64,
    /// Bytes from the beginning of the mapping.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// A hash of the bytes as they are in the file, compressed there.
    pub hash: u64,
}

/// Bytes before the first option: four letters, the version in two numbers, the number of options.
const FILE_HEADER: usize = 16;
const OPTION: usize = 8;
/// A block's size, without these twelve bytes, and its type.
const BLOCK_HEADER: usize = 12;
const COMPRESSED: u32 = 0x8000_0000;
const META_DATA: u32 = 3;
/// Of the meta data's kind, whose upper half is the API.
const FILL_MEMORY: u32 = 2;
/// Kind, thread, memory, offset, size.
const FILL_HEADER: usize = 4 + 4 * 8;

/// The contents of mapped memory that a capture holds, in the order of the file.
///
/// # Errors
/// When the file cannot be read or is not such a capture.
pub fn fills(path: &Path) -> Result<Vec<Fill>> {
    let bytes = fs::read(path).map_err(doing(format!("reading {}", path.display())))?;
    parse(&bytes).ok_or_else(|| Error::System {
        what: format!("reading {}", path.display()),
        source: std::io::Error::other("not a whole capture of gfxreconstruct"),
    })
}

fn parse(bytes: &[u8]) -> Option<Vec<Fill>> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    bytes.starts_with(b"GFXR").then_some(())?;
    let mut at = FILE_HEADER + OPTION * usize::try_from(u32_at(FILE_HEADER - 4)?).ok()?;
    let mut fills = Vec::new();
    while at < bytes.len() {
        let kind = u32_at(at + 8)? & !COMPRESSED;
        let body = at + BLOCK_HEADER;
        let end = body.checked_add(usize::try_from(u64_at(at)?).ok()?)?;
        if kind == META_DATA && u32_at(body)? & 0xffff == FILL_MEMORY {
            let mut hasher = DefaultHasher::new();
            bytes.get(body + FILL_HEADER..end)?.hash(&mut hasher);
            fills.push(Fill {
                memory: u64_at(body + 12)?,
                offset: u64_at(body + 20)?,
                size: u64_at(body + 28)?,
                hash: hasher.finish(),
            });
        }
        at = end;
    }
    (at == bytes.len()).then_some(fills)
}
