//! `VkDeviceMemory` whose pages others see too: the program's own (`VK_EXT_external_memory_host`), and files that pass
//! between processes (`VK_KHR_external_memory_fd`).
//!
//! The host imports pages that it shares with the guest. Pages of the program become such by being replaced in place with
//! pages of the window; what is exported is a sealed memfd of its own, whose descriptor is the handle.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::ptr::NonNull;

use ash::vk;
use ash::vk::Handle as _;
use vw_transport::SharedFile;
use vw_transport::pages::{self, Mapping};

use crate::chain;
use crate::dispatch;
use crate::session::{Session, lock};

/// What an allocation asks for.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Pages of the window, or none that the guest sees.
    Pages,
    /// The program's own pages from this address on.
    Pointer(NonNull<u8>),
    /// A file of pages, and the program's descriptor of it, which is taken over if the allocation succeeds.
    File(SharedFile, Option<RawFd>),
}

impl Wish {
    /// What `info` asks for; files are made or opened for it.
    ///
    /// # Safety
    /// `info` must be valid for `vkAllocateMemory`.
    pub(crate) unsafe fn of(info: &vk::MemoryAllocateInfo<'_>, page: usize) -> Result<Self, vk::Result> {
        let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
        // SAFETY: the caller's promise.
        let (pointer, import, export) = unsafe {
            (
                chain::find::<vk::ImportMemoryHostPointerInfoEXT<'_>>(info.p_next).as_ref(),
                chain::find::<vk::ImportMemoryFdInfoKHR<'_>>(info.p_next).as_ref(),
                chain::find::<vk::ExportMemoryAllocateInfo<'_>>(info.p_next).as_ref(),
            )
        };
        if let Some(pointer) = pointer.filter(|pointer| !pointer.handle_type.is_empty()) {
            let address = NonNull::new(pointer.p_host_pointer.cast()).ok_or(invalid)?;
            return if pointer.handle_type == vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT {
                Ok(Self::Pointer(address))
            } else {
                Err(invalid)
            };
        }
        if let Some(import) = import.filter(|import| !import.handle_type.is_empty()) {
            let file = open(import.handle_type, import.fd).ok_or(invalid)?;
            return if (file.len() as u64) < info.allocation_size {
                Err(invalid)
            } else {
                Ok(Self::File(file, Some(import.fd)))
            };
        }
        if export.is_some_and(|export| export.handle_types.contains(FILE)) {
            let size = usize::try_from(info.allocation_size).ok();
            let size = size.and_then(|size| size.max(1).checked_next_multiple_of(page));
            let file = size.and_then(|size| SharedFile::create(size).ok());
            return Ok(Self::File(file.ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?, None));
        }
        Ok(Self::Pages)
    }
}

/// The handle type that is a file of pages.
const FILE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;

/// The file behind a descriptor that the program keeps.
fn open(handle_type: vk::ExternalMemoryHandleTypeFlags, fd: RawFd) -> Option<SharedFile> {
    if handle_type != FILE || fd < 0 {
        return None;
    }
    // SAFETY: the application's valid usage: an open descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    SharedFile::attach(fd.try_clone_to_owned().ok()?).ok()
}

/// Takes over a descriptor that the program has given away.
///
/// # Safety
/// `fd` must be the program's to give, and used by nobody else any more.
pub(crate) unsafe fn take_over(fd: RawFd) {
    // SAFETY: the caller's promise.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

impl Session {
    /// Maps pages of a file that the host's driver keeps memory in. `new`: its descriptor is on the socket.
    pub(crate) fn map_file(&self, file: u64, offset: u64, size: u64, new: bool) -> io::Result<Mapping> {
        let mut files = lock(&self.files);
        if new {
            let fd = self.peer.receive_descriptor().ok_or(io::ErrorKind::NotFound)?;
            files.insert(file, fd);
        }
        let fd = files.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        Mapping::new(fd.as_fd(), offset, size.max(1))
    }
}

/// The memory types of which imported pages can be: those that the guest sees.
fn visible_types(session: &Session) -> u32 {
    let Some(known) = session.facts() else { return 0 };
    let types = &known.memory.memory_types[..known.memory.memory_type_count as usize];
    let visible = |ty: &vk::MemoryType| ty.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE);
    types.iter().enumerate().filter(|(_, ty)| visible(ty)).fold(0, |bits, (i, _)| bits | 1 << i)
}

/// `vkGetMemoryHostPointerPropertiesEXT`
pub(crate) unsafe extern "system" fn vkGetMemoryHostPointerPropertiesEXT(
    device: *mut c_void,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    pointer: *const c_void,
    properties: *mut vk::MemoryHostPointerPropertiesEXT<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    let Some(session) = (unsafe { dispatch::session(device) }) else {
        return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
    };
    let own = NonNull::new(pointer.cast_mut().cast())
        .is_some_and(|address| pages::are_private(address, 1).unwrap_or(false));
    if handle_type != vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT || !own {
        return vk::Result::ERROR_INVALID_EXTERNAL_HANDLE.as_raw();
    }
    // SAFETY: the application's valid usage of this command.
    unsafe { (*properties).memory_type_bits = visible_types(session) };
    vk::Result::SUCCESS.as_raw()
}

/// `vkGetMemoryFdKHR`
pub(crate) unsafe extern "system" fn vkGetMemoryFdKHR(
    device: *mut c_void,
    info: *const vk::MemoryGetFdInfoKHR<'_>,
    fd: *mut RawFd,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else {
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        let memory = session.memories.get((*info).memory.as_raw());
        let file = memory.as_ref().and_then(|memory| memory.file()).filter(|_| (*info).handle_type == FILE);
        // The only reason that the specification names; also for memory that was not to be exported.
        match file.and_then(|file| file.as_fd().try_clone_to_owned().ok()) {
            Some(own) => fd.write(own.into_raw_fd()),
            None => return vk::Result::ERROR_TOO_MANY_OBJECTS.as_raw(),
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkGetMemoryFdPropertiesKHR`: opaque descriptors are not asked about (VUID-vkGetMemoryFdPropertiesKHR-handleType-00674),
/// and there are no others.
pub(crate) unsafe extern "system" fn vkGetMemoryFdPropertiesKHR(
    _: *mut c_void,
    _: vk::ExternalMemoryHandleTypeFlags,
    _: RawFd,
    _: *mut vk::MemoryFdPropertiesKHR<'_>,
) -> i32 {
    vk::Result::ERROR_INVALID_EXTERNAL_HANDLE.as_raw()
}
