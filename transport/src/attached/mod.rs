//! Regions that are part of a device: memory that a virtual machine was given when it was started.
//!
//! The daemon owns a file of pages that can neither shrink nor grow ([`Memory`]). A virtual machine monitor maps it and shows
//! it to its guest as a device; the guest finds that by its [`Header`] ([`Device`]), and each session gets a [`Slice`] of it.
//! All processes of a guest that may open the device see all of it, as they see each other's other shared memory; what
//! keeps guests apart is that each has a file of its own.
//!
//! That both sides see the same pages is proven before anything is written: the host puts 32 random bytes into the slice,
//! and sends the first half over the stream, by which the guest knows; the guest answers with the second half, by which the host
//! knows.

mod device;
mod memory;
pub(crate) mod pump;

use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

pub use device::{Device, DeviceError};
pub use memory::Memory;

use crate::layout::DEVICE_GRANULE;

/// First bytes of a device that is a region.
pub const MAGIC: [u8; 8] = *b"vwdevice";

/// Version of the header and of where slices may be.
pub const VERSION: u32 = 1;

/// Where the headers are in the file: a device may begin with the file's first byte, or, where the guest's kernel keeps notes of
/// its own in front, a large page later.
pub const HEADERS: [u64; 2] = [0, DEVICE_GRANULE];

/// Where the first slice may be.
pub const FIRST_SLICE: u64 = 2 * DEVICE_GRANULE;

/// Names a region: 16 random bytes, not all 0.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct RegionId([u8; 16]);

/// Half of a proof that both sides see the same pages.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Half([u8; 16]);

/// Where a session's region is.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Place {
    /// The device.
    pub region: RegionId,
    /// Offset in its file, in bytes: whole [`DEVICE_GRANULE`]s.
    pub offset: u64,
    /// What stands there, if it is what both sides see.
    pub proof: Half,
}

/// What a device that is a region starts with.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// 0.
    pub reserved: u32,
    /// Which region it is.
    pub id: RegionId,
    /// Size of the file in bytes: whole [`DEVICE_GRANULE`]s.
    pub size: u64,
    /// Where in the file this header is: one of [`HEADERS`].
    pub at: u64,
}

/// A part of a region, for one session.
#[derive(Debug)]
pub struct Slice {
    /// The region's file.
    pub file: OwnedFd,
    /// The region.
    pub id: RegionId,
    /// Where the slice starts in the file, in bytes: whole [`DEVICE_GRANULE`]s, and zeros from there on.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no [`RegionId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a region is 32 hexadecimal digits")]
pub struct RegionIdError;

impl FromStr for RegionId {
    type Err = RegionIdError;

    fn from_str(text: &str) -> Result<Self, RegionIdError> {
        if text.len() != 32 {
            return Err(RegionIdError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| RegionIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> rustix::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

impl From<[u64; 2]> for Half {
    fn from(words: [u64; 2]) -> Self {
        bytemuck::cast(words)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
