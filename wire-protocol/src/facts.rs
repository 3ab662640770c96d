//! Everything about the physical device that a guest answers alone: gathered once by the host, carried by one
//! [`FACTS`](crate::record::op::FACTS) reply.
//!
//! The host builds [`Facts`] (capturing the driver's own chains), [`encode`](Facts::encode)s them, and the guest
//! [`decode`](Facts::decode)s them and [`fill`](Chain::fill)s the application's chains from them.

mod chain;

pub use chain::{Body, Chain};

use crate::generated::structs;
use crate::schema::Struct;

/// Most elements that any list in a reply may have; far above what any driver reports.
const MAX_LIST: u32 = 1 << 16;

/// Why a reply is not a set of facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The bytes end before the value at this offset does.
    #[error("facts end at byte {at}, inside a value")]
    Truncated {
        /// Offset of the value.
        at: usize,
    },
    /// A list is longer than any device's could be.
    #[error("a list of {count} elements in the facts (at most {MAX_LIST})")]
    TooLong {
        /// Announced number of elements.
        count: u32,
    },
    /// A structure that may not stand in this chain, or stands there twice.
    #[error("structure type {s_type} does not belong where the facts have it, below {root}")]
    UnexpectedStruct {
        /// Its `sType`.
        s_type: i32,
        /// Root of the chain.
        root: &'static str,
    },
    /// The bytes of one structure do not have the length that the tables give it.
    #[error("{name} has a body of another length than the tables say")]
    BadBody {
        /// C name of the structure.
        name: &'static str,
    },
    /// An extension name is not UTF-8.
    #[error("an extension name in the facts is not UTF-8")]
    BadName,
    /// Bytes are left after the last value.
    #[error("{bytes} bytes follow the facts")]
    Trailing {
        /// Number of bytes left.
        bytes: usize,
    },
}

/// One device extension that the host's driver offers and vw forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionFact {
    /// Name, `VK_KHR_maintenance4`.
    pub name: String,
    /// Revision that the host's driver implements.
    pub spec_version: u32,
}

/// Features of one format; formats that the facts do not list have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatFact {
    /// `VkFormat`.
    pub format: i32,
    /// `linearTilingFeatures`, `optimalTilingFeatures`, `bufferFeatures` of `VkFormatProperties`.
    pub features: [u32; 3],
    /// The same of `VkFormatProperties3`; the 32-bit ones widened where the host does not have that structure.
    pub features2: [u64; 3],
}

/// Everything about the physical device that a guest answers alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Highest core version that the device offers through vw (`VK_MAKE_API_VERSION`).
    pub api_version: u32,
    /// Device extensions, sorted by name; those that the guest implements alone are not among them.
    pub extensions: Vec<ExtensionFact>,
    /// `VkPhysicalDeviceProperties2` and its chain.
    pub properties: Chain,
    /// `VkPhysicalDeviceFeatures2` and its chain.
    pub features: Chain,
    /// `VkPhysicalDeviceMemoryProperties2` and its chain.
    pub memory: Chain,
    /// `VkQueueFamilyProperties2` and its chain, for each family.
    pub queue_families: Vec<Chain>,
    /// Formats with any feature, sorted by format.
    pub formats: Vec<FormatFact>,
}

impl Facts {
    /// Features of `format`; `None` for one that the device does not know.
    pub fn format(&self, format: i32) -> Option<&FormatFact> {
        let at = self.formats.binary_search_by_key(&format, |f| f.format).ok()?;
        self.formats.get(at)
    }

    /// Whether the host offers the device extension `name`.
    pub fn has_extension(&self, name: &str) -> bool {
        self.extensions.binary_search_by(|e| e.name.as_str().cmp(name)).is_ok()
    }

    /// The payload of a reply.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Out(Vec::with_capacity(64 << 10));
        out.u32(self.api_version);
        out.u32(self.extensions.len() as u32);
        for extension in &self.extensions {
            out.u32(extension.spec_version);
            out.u32(extension.name.len() as u32);
            out.bytes(extension.name.as_bytes());
        }
        self.properties.encode(&mut out);
        self.features.encode(&mut out);
        self.memory.encode(&mut out);
        out.u32(self.queue_families.len() as u32);
        for family in &self.queue_families {
            family.encode(&mut out);
        }
        out.u32(self.formats.len() as u32);
        for fact in &self.formats {
            out.u32(fact.format as u32);
            for features in fact.features {
                out.u32(features);
            }
            for features in fact.features2 {
                out.bytes(&features.to_le_bytes());
            }
        }
        out.0
    }

    /// Reads the payload of a reply.
    ///
    /// # Errors
    /// [`FactsError`] when the bytes are not what [`encode`](Self::encode) writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FactsError> {
        let mut input = In { bytes, at: 0 };
        let api_version = input.u32()?;
        let extensions = input.list(|input| {
            let spec_version = input.u32()?;
            let length = input.u32()? as usize;
            let name = std::str::from_utf8(input.bytes(length)?).map_err(|_| FactsError::BadName)?;
            Ok(ExtensionFact { name: name.to_owned(), spec_version })
        })?;
        let properties = Chain::decode(&structs::VK_PHYSICAL_DEVICE_PROPERTIES_2, &mut input)?;
        let features = Chain::decode(&structs::VK_PHYSICAL_DEVICE_FEATURES_2, &mut input)?;
        let memory = Chain::decode(&structs::VK_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, &mut input)?;
        let queue_families =
            input.list(|input| Chain::decode(&structs::VK_QUEUE_FAMILY_PROPERTIES_2, input))?;
        let formats = input.list(|input| {
            let format = input.u32()? as i32;
            let features = [input.u32()?, input.u32()?, input.u32()?];
            let features2 = [input.u64()?, input.u64()?, input.u64()?];
            Ok(FormatFact { format, features, features2 })
        })?;
        let left = bytes.len() - input.at;
        if left > 7 {
            // Up to 7 bytes are a record's padding.
            return Err(FactsError::Trailing { bytes: left });
        }
        Ok(Self { api_version, extensions, properties, features, memory, queue_families, formats })
    }
}

/// Output of the encoder.
pub(crate) struct Out(Vec<u8>);

impl Out {
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Input of the decoder.
pub(crate) struct In<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> In<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], FactsError> {
        let at = self.at;
        let end = at.checked_add(length).ok_or(FactsError::Truncated { at })?;
        let bytes = self.bytes.get(at..end).ok_or(FactsError::Truncated { at })?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FactsError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, FactsError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, FactsError> {
        self.array().map(u64::from_le_bytes)
    }

    fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, FactsError>,
    ) -> Result<Vec<T>, FactsError> {
        let count = self.u32()?;
        if count > MAX_LIST {
            return Err(FactsError::TooLong { count });
        }
        (0..count).map(|_| element(self)).collect()
    }
}

/// The structure of type `s_type` among those that may stand in `root`'s chain (or `root` itself).
fn known(root: &'static Struct, s_type: i32) -> Option<&'static Struct> {
    if root.s_type == Some(s_type) {
        return Some(root);
    }
    root.extended_by.iter().find(|s| s.s_type == Some(s_type)).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
