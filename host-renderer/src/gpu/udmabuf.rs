//! Pages of a sealed file as a dma-buf, by the kernel's `udmabuf` (linux/udmabuf.h): for drivers that import these and no host
//! pointers to files.

use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};

/// The kernel's device.
const DEVICE: &str = "/dev/udmabuf";

/// Where the kernel says how many MiB a dma-buf may have.
const LIMIT: &str = "/sys/module/udmabuf/parameters/size_limit_mb";

/// The kernel's own limit where it does not say, in MiB.
const USUAL_LIMIT: u64 = 64;

/// `UDMABUF_FLAGS_CLOEXEC`.
const CLOEXEC: u32 = 1;

/// `struct udmabuf_create`.
#[repr(C)]
struct Create {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

const UDMABUF_CREATE: Opcode = opcode::write::<Create>(b'u', 0x42);

/// The call, which returns a descriptor.
struct Made<'a>(&'a mut Create);

// SAFETY: the opcode, and the structure that goes with it; the result is a new descriptor.
unsafe impl Ioctl for Made<'_> {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        UDMABUF_CREATE
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<OwnedFd> {
        if output < 0 {
            return Err(Errno::BADF);
        }
        // SAFETY: the call succeeded, so it is a descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}

/// The kernel's device, open.
#[derive(Debug)]
pub struct Udmabuf {
    device: File,
    /// Most bytes of one dma-buf.
    limit: u64,
}

impl Udmabuf {
    /// Opens it.
    ///
    /// # Errors
    /// Why it cannot be opened, in words.
    pub fn open() -> Result<Self, String> {
        let device = File::options()
            .read(true)
            .write(true)
            .open(DEVICE)
            .map_err(|error| format!("{DEVICE} cannot be opened: {error}"))?;
        let limit = fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
        Ok(Self { device, limit: limit.unwrap_or(USUAL_LIMIT) << 20 })
    }

    /// Most bytes of one dma-buf.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// `size` bytes of `file` from `offset` on, both multiples of a page. The file's pages are made, and stay in memory as long
    /// as the dma-buf lives.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(&self, file: BorrowedFd<'_>, offset: u64, size: u64) -> rustix::io::Result<OwnedFd> {
        let mut create = Create { memfd: file.as_raw_fd().cast_unsigned(), flags: CLOEXEC, offset, size };
        // SAFETY: the structure is the call's, and the descriptor in it open.
        unsafe { ioctl(&self.device, Made(&mut create)) }
    }
}
