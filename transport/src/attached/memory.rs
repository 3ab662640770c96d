//! The host's end of a region: the file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, pwrite};

use super::{FIRST_SLICE, HEADERS, Header, MAGIC, RegionId, Slice, VERSION, random};
use crate::layout::DEVICE_GRANULE;
use crate::region::{SEALS, memfd};

/// A file of pages that is given to a virtual machine as a device.
#[derive(Debug)]
pub struct Memory {
    file: OwnedFd,
    id: RegionId,
    size: u64,
}

impl Memory {
    /// Makes one of `size` bytes: whole [`DEVICE_GRANULE`]s, more than [`FIRST_SLICE`]. All is 0 but the headers.
    ///
    /// # Errors
    /// `InvalidInput` for another size, or what the system says.
    pub fn create(size: u64) -> io::Result<Self> {
        if size <= FIRST_SLICE || !size.is_multiple_of(DEVICE_GRANULE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a region has whole {DEVICE_GRANULE} bytes and more than {FIRST_SLICE}, not {size}"),
            ));
        }
        let file = memfd("vw-device")?;
        rustix::fs::ftruncate(&file, size)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        let id = RegionId(random()?);
        for at in HEADERS {
            let header = Header { magic: MAGIC, version: VERSION, reserved: 0, id, size, at };
            let bytes = bytemuck::bytes_of(&header);
            if pwrite(&file, bytes, at)? != bytes.len() {
                return Err(Errno::NOSPC.into());
            }
        }
        Ok(Self { file, id, size })
    }

    /// Its name.
    pub fn id(&self) -> RegionId {
        self.id
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A part of it, as zeros: whole [`DEVICE_GRANULE`]s from [`FIRST_SLICE`] on.
    ///
    /// # Errors
    /// `InvalidInput` for any other part, or what the system says.
    pub fn slice(&self, offset: u64, length: u64) -> io::Result<Slice> {
        self.punch(offset, length)?;
        Ok(Slice { file: self.file.try_clone()?, id: self.id, offset, length })
    }

    /// Gives the pages of a part back to the system; they read as 0 afterwards.
    ///
    /// # Errors
    /// As [`slice`](Self::slice).
    pub fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let whole = offset.is_multiple_of(DEVICE_GRANULE) && length.is_multiple_of(DEVICE_GRANULE);
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size);
        if !whole || !inside || offset < FIRST_SLICE || length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{length} bytes at {offset} are no slice of a region of {} bytes", self.size),
            ));
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, offset, length)?)
    }

    /// Bytes that have pages now.
    ///
    /// # Errors
    /// What the system says.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        Ok(u64::try_from(rustix::fs::fstat(&self.file)?.st_blocks).unwrap_or(0) * 512)
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
