//! The guest's end of a region: the device.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags};

use super::{FIRST_SLICE, HEADERS, Header, MAGIC, Place, RegionId, VERSION};
use crate::layout::{DEVICE_GRANULE, Layout};
use crate::region::{Region, RegionError, SEALS};

/// PCI vendor and device of QEMU's `ivshmem`.
const IVSHMEM: [&str; 2] = ["0x1af4", "0x1110"];

/// The BAR that is its memory, by preference: written in bursts, or word by word.
const BARS: [&str; 2] = ["resource2_wc", "resource2"];

/// A device that is a region.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    file: File,
    header: Header,
}

/// A device that cannot be used, or not like this.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is nothing that might be one.
    #[error(
        "this machine has no device that could be the shared memory (/dev/dax*, or an ivshmem PCI device): attach one, or use VW_MEMORY=auto"
    )]
    None,
    /// It may not be opened.
    #[error("no permission to use {path}: this user needs to read and write it (group render)", path = .0.display())]
    PermissionDenied(PathBuf),
    /// It starts with something else. It was not written to.
    #[error(
        "{path} carries no header of vw (it starts with {found:02x?}): another program's memory, or a PCI device that is not enabled; left alone",
        path = path.display()
    )]
    Foreign {
        /// The device.
        path: PathBuf,
        /// Its first bytes.
        found: [u8; 8],
    },
    /// It was made by another version of vw.
    #[error(
        "{path} was made by another version of vw (its header is of version {found}, this side knows {VERSION}): install the same version on both sides",
        path = path.display()
    )]
    Version {
        /// The device.
        path: PathBuf,
        /// Version of its header.
        found: u32,
    },
    /// Its header states a size that no region has, or to be somewhere else in it.
    #[error("{path} is damaged: its header says that the region has {size} bytes and starts at {at}", path = path.display())]
    Size {
        /// The device.
        path: PathBuf,
        /// Size by the header.
        size: u64,
        /// Where the header says that it is.
        at: u64,
    },
    /// It is smaller than its header says.
    #[error(
        "{path} has {found} bytes where its header says {expected}: the virtual machine was given a part of the region only",
        path = path.display()
    )]
    Truncated {
        /// The device.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// Its size by the header.
        expected: u64,
    },
    /// It is a file that could shrink and crash this process.
    #[error("{path} is a file that is not sealed: not mapped", path = .0.display())]
    NotSealed(PathBuf),
    /// What the host hands out is not inside of it.
    #[error(
        "the host hands out {length} bytes at {offset} of {path}, which has {size}: not used",
        path = path.display()
    )]
    Outside {
        /// The device.
        path: PathBuf,
        /// Start of the slice.
        offset: u64,
        /// Length of the slice.
        length: u64,
        /// Size of the region.
        size: u64,
    },
    /// The host sees other pages there.
    #[error(
        "{path} says that it is region {id}, and shows other pages than the host has there: it was swapped with another guest's; not used",
        path = path.display()
    )]
    Swapped {
        /// The device.
        path: PathBuf,
        /// Name of the region.
        id: RegionId,
    },
    /// The host speaks of a region that this machine has not.
    #[error("the host hands out a part of region {0}, which this machine has not")]
    Unknown(RegionId),
    /// It cannot be mapped.
    #[error("{path}: {source}", path = path.display())]
    Region {
        /// The device.
        path: PathBuf,
        /// Why.
        source: RegionError,
    },
    /// The operating system refused a step.
    #[error("could not {step} {path}: {source}", path = path.display())]
    Os {
        /// The device.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl Device {
    /// All regions that this machine has, and what is wrong with the rest of what might be one; write-back cached ones first.
    /// `only`: nothing but this one is looked at.
    pub fn find(only: Option<&Path>) -> (Vec<Self>, Vec<DeviceError>) {
        let (mut devices, mut errors) = (Vec::new(), Vec::new());
        let candidates = only.map_or_else(candidates, |only| vec![only.to_owned()]);
        for path in &candidates {
            match Self::open(path) {
                Ok(device) => devices.push(device),
                Err(error) => errors.push(error),
            }
        }
        if candidates.is_empty() {
            errors.push(DeviceError::None);
        }
        (devices, errors)
    }

    /// The device at `path`. Nothing is written to it.
    ///
    /// # Errors
    /// [`DeviceError`] says why it is no region.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let os = |step| move |source: io::Error| DeviceError::Os { path: path.to_owned(), step, source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                DeviceError::PermissionDenied(path.to_owned())
            } else {
                os("open")(error)
            }
        })?;
        let size = size(path, &file).map_err(os("learn the size of"))?;
        if file.metadata().map_err(os("look at"))?.is_file() && !is_on_bus(path) {
            let seals = rustix::fs::fcntl_get_seals(&file).unwrap_or(rustix::fs::SealFlags::empty());
            if !seals.contains(SEALS) {
                return Err(DeviceError::NotSealed(path.to_owned()));
            }
        }
        if size < DEVICE_GRANULE {
            return Err(DeviceError::Truncated { path: path.to_owned(), found: size, expected: FIRST_SLICE });
        }
        let header = read_header(&file).map_err(os("read the header of"))?;
        check(path, &header, size)?;
        Ok(Self { path: path.to_owned(), file, header })
    }

    /// The region's name.
    pub fn id(&self) -> RegionId {
        self.header.id
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The session's region in it, once it is proven that the host sees the same pages.
    ///
    /// # Errors
    /// [`DeviceError::Outside`], [`DeviceError::Swapped`], or what keeps it from being mapped. Nothing was written then.
    pub(crate) fn region(&self, place: &Place, layout: &Layout) -> Result<Region, DeviceError> {
        let (offset, length) = (place.offset, layout.total_size() as u64);
        let end = offset.checked_add(length).filter(|end| *end <= self.header.size);
        if end.is_none() || offset < FIRST_SLICE || !offset.is_multiple_of(DEVICE_GRANULE) {
            let size = self.header.size;
            return Err(DeviceError::Outside { path: self.path.clone(), offset, length, size });
        }
        let at = offset - self.header.at;
        let region = Region::in_device(self.file.as_fd(), at, layout, is_on_bus(&self.path))
            .map_err(|source| DeviceError::Region { path: self.path.clone(), source })?;
        if region.proof().0 == place.proof {
            Ok(region)
        } else {
            Err(DeviceError::Swapped { path: self.path.clone(), id: self.header.id })
        }
    }
}

fn check(path: &Path, header: &Header, size: u64) -> Result<(), DeviceError> {
    let path = || path.to_owned();
    let Header { magic, version, size: expected, at, .. } = *header;
    if magic != MAGIC {
        return Err(DeviceError::Foreign { path: path(), found: magic });
    }
    if version != VERSION {
        return Err(DeviceError::Version { path: path(), found: version });
    }
    if expected <= FIRST_SLICE || !expected.is_multiple_of(DEVICE_GRANULE) || !HEADERS.contains(&at) {
        return Err(DeviceError::Size { path: path(), size: expected, at });
    }
    if size < expected - at {
        return Err(DeviceError::Truncated { path: path(), found: size, expected: expected - at });
    }
    Ok(())
}

/// What stands at the start of a device; mapped, because devices cannot be read, and to be read only.
fn read_header(file: &File) -> io::Result<Header> {
    let length = DEVICE_GRANULE as usize;
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing; it is as long as the device is at least,
    // so that the header can be read, and unmapped here.
    unsafe {
        let base =
            rustix::mm::mmap(ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, file.as_fd(), 0)?;
        // Word by word: memory of a device. Nobody relies on a word that another process changes meanwhile.
        let words: [u64; size_of::<Header>() / 8] =
            std::array::from_fn(|i| base.cast::<u64>().add(i).read_volatile());
        rustix::mm::munmap(base, length)?;
        Ok(bytemuck::cast(words))
    }
}

/// Whether it is memory of a device on the PCI bus, whose writes other processors may see in another order.
fn is_on_bus(path: &Path) -> bool {
    path.starts_with("/sys")
}

/// Size of a device or file in bytes.
fn size(path: &Path, file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if !metadata.file_type().is_char_device() {
        return Ok(metadata.len());
    }
    let device = metadata.rdev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = std::fs::read_to_string(format!("/sys/dev/char/{major}:{minor}/size"))?;
    text.trim().parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} has the size `{}`", path.display(), text.trim()),
        )
    })
}

/// What might be a region.
fn candidates() -> Vec<PathBuf> {
    let list = |folder: &str| {
        let mut paths: Vec<_> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found: Vec<_> = list("/dev").into_iter().filter(|path| name(path).starts_with("dax")).collect();
    for device in list("/sys/bus/pci/devices") {
        let reads = |file: &str| std::fs::read_to_string(device.join(file)).unwrap_or_default();
        if [reads("vendor").trim(), reads("device").trim()] == IVSHMEM {
            found.extend(BARS.iter().map(|bar| device.join(bar)).find(|path| path.exists()));
        }
    }
    found
}
