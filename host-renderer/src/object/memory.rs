//! Device memory: pages of the shared window where the guest is to see it.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use vw_transport::SharedFile;
use vw_wire_protocol::codec::{Arena, Reader, Request, encode_reply};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{FLAG_REPLY, IN_FILE, NO_FILE, NO_OFFSET, PROGRAM};
use vw_wire_protocol::schema::Command;

use crate::gpu::import::{HANDLE_TYPE, Rung};
use crate::session::end::{End, violation};
use crate::session::resolve::Seen;
use crate::session::{Decoded, Session};

/// Index of `pAllocateInfo` among the arguments of `vkAllocateMemory`.
const ALLOCATE_INFO: usize = 1;

/// The allocations of a session.
#[derive(Debug, Default)]
pub struct Memories {
    by_id: HashMap<u64, Allocation>,
    /// Bytes that the driver keeps where the guest maps them.
    drivers: u64,
    /// Ranges of the window in use: start to end.
    ranges: BTreeMap<u64, u64>,
}

/// One allocation.
#[derive(Debug)]
pub struct Allocation {
    /// Size in bytes.
    pub bytes: u64,
    /// Index of its memory type.
    pub ty: u32,
    /// Where it is.
    pub pages: Pages,
    /// Where the driver has mapped it, if the host copies to and from there.
    mapped: Option<Mapped>,
}

/// An address of the driver's.
#[derive(Debug, Clone, Copy)]
struct Mapped(NonNull<u8>);

// SAFETY: only an address.
unsafe impl Send for Mapped {}

/// What can be bound to an allocation.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Bytes that the driver has.
    pub bytes: u64,
    /// Index of its memory type.
    pub ty: u32,
    /// Where it is in the window, if it is there.
    pub window: Option<u64>,
}

impl Allocation {
    fn span(&self) -> Span {
        let window = match self.pages {
            Pages::Window(offset, _) | Pages::Copied(offset, _) => Some(offset),
            Pages::Hidden | Pages::File(..) | Pages::Driver(_) => None,
        };
        let bytes = match self.pages {
            Pages::Hidden | Pages::Copied(..) => self.bytes,
            Pages::Window(_, length) | Pages::File(_, length) | Pages::Driver(length) => length,
        };
        Span { bytes, ty: self.ty, window }
    }
}

/// Where the pages of an allocation are.
#[derive(Debug)]
pub enum Pages {
    /// Where the guest does not see them.
    Hidden,
    /// Offset and length in the window, whose pages the driver has.
    Window(u64, u64),
    /// Offset and length in the window; the driver has memory of its own beside it.
    Copied(u64, u64),
    /// A file that the guest has sent, and how much of it from its start.
    File(Arc<SharedFile>, u64),
    /// As many bytes in a file of the driver's, which the guest maps.
    Driver(u64),
}

/// What is behind the answer to an allocation: the number of a file, the offset in it, and whether its descriptor comes
/// along.
type Behind = (u64, u64, bool);

impl Memories {
    /// Whether nothing of the window from `offset` on for `length` bytes is in use.
    fn is_free(&self, offset: u64, length: u64) -> bool {
        let before = self.ranges.range(..offset + length).next_back();
        before.is_none_or(|(_, end)| *end <= offset)
    }

    /// Bytes of each heap that are allocated; `heap` says which one a memory type is of.
    pub(super) fn used(&self, heap: impl Fn(u32) -> usize) -> [u64; vk::MAX_MEMORY_HEAPS] {
        let mut used = [0; vk::MAX_MEMORY_HEAPS];
        for allocation in self.by_id.values() {
            used[heap(allocation.ty)] += allocation.bytes;
        }
        used
    }

    fn add(&mut self, id: u64, allocation: Allocation) {
        match allocation.pages {
            Pages::Window(offset, length) | Pages::Copied(offset, length) => {
                self.ranges.insert(offset, offset + length);
            }
            Pages::Driver(length) => self.drivers += length,
            Pages::Hidden | Pages::File(..) => {}
        }
        self.by_id.insert(id, allocation);
    }

    /// The allocation with this id.
    pub fn get(&self, id: u64) -> Option<&Allocation> {
        self.by_id.get(&id)
    }

    /// Forgets an allocation.
    pub fn remove(&mut self, id: u64) -> Option<Allocation> {
        let allocation = self.by_id.remove(&id)?;
        match allocation.pages {
            Pages::Window(offset, _) | Pages::Copied(offset, _) => {
                self.ranges.remove(&offset);
            }
            Pages::Driver(length) => self.drivers -= length,
            Pages::Hidden | Pages::File(..) => {}
        }
        Some(allocation)
    }
}

impl Session {
    /// The live memory that the last record names, by the driver's handle.
    pub(crate) fn touched_memory(&self) -> impl Iterator<Item = (u64, Span)> + '_ {
        let ty = HandleType::DeviceMemory;
        self.touched.iter().filter(move |(touched, _)| *touched == ty).filter_map(move |(_, id)| {
            Some((self.tables.object(ty, *id)?.raw, self.memories.by_id.get(id)?.span()))
        })
    }

    /// The record `RENAME_MEMORY`: the old id, then the new one.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn rename_memory(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let (old, new) = (reader.take_u64().map_err(violation)?, reader.take_u64().map_err(violation)?);
        reader.finish().map_err(violation)?;
        let ty = HandleType::DeviceMemory;
        let Some(object) = self.tables.remove(ty, old) else {
            return Err(violation(format!("memory {old:#x} cannot be renamed: there is none")));
        };
        self.tables
            .reserve(ty, new)
            .map_err(|error| violation(format!("memory {old:#x} cannot be renamed to {new:#x}: {error}")))?;
        self.tables.commit(ty, new, object);
        self.frames.forget(old);
        if let Some(allocation) = self.memories.by_id.remove(&old) {
            self.memories.by_id.insert(new, allocation);
        }
        Ok(())
    }

    /// The record `SHOW_MEMORY`: `u64` id. `flags` are the record's.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn show_memory(&mut self, flags: u16, mut reader: Reader<'_>) -> Result<(), End> {
        let id = reader.take_u64().map_err(violation)?;
        reader.finish().map_err(violation)?;
        let shown = match self.memories.get(id).map(|allocation| (&allocation.pages, allocation.bytes)) {
            // No device will ever write there.
            None if self.tables.is_poisoned(HandleType::DeviceMemory, id) => Ok(()),
            None => return Err(violation(format!("memory {id:#x} cannot be shown: there is none"))),
            // SAFETY: an allocation's range of the window.
            Some((Pages::Window(offset, length), _)) => unsafe { self.window.show(*offset, *length, None) },
            Some((&Pages::Copied(offset, _), bytes)) => {
                match self.map_memory(id)? {
                    // SAFETY: as above; the driver's memory is mapped until it is freed, before which it is forgotten.
                    Some(Mapped(device)) => unsafe { self.window.show(offset, bytes, Some(device)) },
                    None => Err(ErrorKind::OutOfMemory.into()),
                }
            }
            Some((Pages::Hidden | Pages::File(..) | Pages::Driver(_), _)) => Ok(()),
        };
        let result = match shown {
            Ok(()) => vk::Result::SUCCESS,
            Err(error) => {
                tracing::warn!("memory cannot be kept alike for the program: {error}");
                vk::Result::ERROR_OUT_OF_HOST_MEMORY
            }
        };
        if flags & FLAG_REPLY != 0 {
            return self.replies.post(|writer| writer.put_u32(result.as_raw().cast_unsigned()));
        }
        // Nobody would hear of it, and the program go on with pages that nobody keeps.
        if result == vk::Result::SUCCESS { Ok(()) } else { Err(End::Internal(format!("memory: {result}"))) }
    }

    /// Where the driver maps memory of its own that has this id; none where it does not.
    fn map_memory(&mut self, id: u64) -> Result<Option<Mapped>, End> {
        if let Some(mapped) = self.memories.get(id).and_then(|allocation| allocation.mapped) {
            return Ok(Some(mapped));
        }
        let object = self.tables.object(HandleType::DeviceMemory, id).filter(|object| !object.poisoned);
        let object =
            object.ok_or_else(|| violation(format!("memory {id:#x} cannot be mapped: there is none")))?;
        let device = &self.device(object.device)?.shared.device;
        let memory = vk::DeviceMemory::from_raw(object.raw);
        // SAFETY: live memory of this device, host-visible; nobody else maps it, and it is not mapped yet.
        let place = unsafe { device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) };
        let mapped = place.ok().and_then(|place| NonNull::new(place.cast())).map(Mapped);
        if let Some(allocation) = self.memories.by_id.get_mut(&id) {
            allocation.mapped = mapped;
        }
        Ok(mapped)
    }

    /// The record `ALLOCATE_MEMORY`: `u64` offset in the window, then a `vkAllocateMemory` request. `flags` are the record's.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn allocate_memory(
        &mut self,
        arena: &Arena,
        flags: u16,
        mut reader: Reader<'_>,
    ) -> Result<(), End> {
        let waits = flags & FLAG_REPLY != 0;
        let command = &commands::VK_ALLOCATE_MEMORY;
        let offset = reader.take_u64().map_err(violation)?;
        let Decoded { request, seen } = self.decode(arena, command, reader)?;
        let info = request.args[ALLOCATE_INFO] as *mut vk::MemoryAllocateInfo<'_>;
        if info.is_null() || seen.device == 0 {
            return Err(violation("vkAllocateMemory without its structure or device"));
        }
        // SAFETY: not null, so it is the structure that the tables say, decoded into the arena.
        let info = unsafe { &mut *info };
        if !waits {
            let ty = self.check_type(info)?;
            self.spend_credit(offset, (info.allocation_size, ty), seen.device)?;
        }
        let pages = match offset {
            IN_FILE => self.take_file(info)?,
            offset => Some(self.choose_pages(offset, info, seen.device)?),
        };
        let (result, behind) = match &pages {
            Some(pages) if request.poisoned.is_none() => {
                self.allocate_pages(command, &request, info, seen, pages)?
            }
            _ => (vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, None),
        };
        let (bytes, ty) = (info.allocation_size, info.memory_type_index);
        let ids: Vec<u64> = request.new.iter().flat_map(|new| new.ids.iter().copied()).collect();
        self.settle(command, &request, result.as_raw() as i64 as u64, seen, waits);
        let made = ids.first().filter(|id| self.tables.live(HandleType::DeviceMemory, **id).is_ok());
        if let (vk::Result::SUCCESS, Some(id), Some(pages)) = (result, made, pages) {
            self.memories.add(*id, Allocation { bytes, ty, pages, mapped: None });
            self.stats.add_memory(bytes);
        }
        if !waits {
            if result != vk::Result::SUCCESS && request.poisoned.is_none() {
                tracing::error!(bytes, ty, "memory that was granted to the guest could not be had: {result}");
            }
            self.renew_credits(None);
            return Ok(());
        }
        let (file, offset, new) = behind.unwrap_or((NO_FILE, 0, false));
        if let Some(fd) = self.files.fd(file as usize).filter(|_| new)
            && self.peer.send_descriptor(fd).is_err()
        {
            return Err(End::Disconnected);
        }
        self.replies.post(|writer| {
            // SAFETY: the request was decoded for this command into an arena that has not been reset.
            unsafe { encode_reply(command, &request, result.as_raw() as i64 as u64, writer) };
            writer.put_u64(file);
            writer.put_u64(offset);
            writer.put_u32(new.into());
        })?;
        // The guest goes on meanwhile.
        self.renew_credits(None);
        Ok(())
    }

    /// Calls the driver for an allocation with these pages.
    fn allocate_pages(
        &mut self,
        command: &'static Command,
        request: &Request<'_>,
        info: &mut vk::MemoryAllocateInfo<'_>,
        seen: Seen,
        pages: &Pages,
    ) -> Result<(vk::Result, Option<Behind>), End> {
        let mut pointer = vk::ImportMemoryHostPointerInfoEXT::default().handle_type(HANDLE_TYPE);
        let mut descriptor =
            vk::ImportMemoryFdInfoKHR::default().handle_type(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
        // The dma-buf, which is the driver's once it is imported.
        let mut buffer = None;
        let import: Option<*mut vk::BaseOutStructure<'_>> = match pages {
            Pages::Hidden | Pages::Copied(..) | Pages::Driver(_) => None,
            Pages::Window(offset, length) if self.import.rung == Rung::Udmabuf => {
                let Some(made) = self.make_buffer(*offset, *length) else {
                    return Ok((vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, None));
                };
                descriptor.fd = buffer.insert(made).as_raw_fd();
                Some((&raw mut descriptor).cast())
            }
            Pages::Window(offset, _) => {
                // SAFETY: the range was checked to lie in the window.
                let address = unsafe { self.region.window().0.add(*offset as usize) };
                pointer.p_host_pointer = address.as_ptr().cast();
                Some((&raw mut pointer).cast())
            }
            Pages::File(file, _) => {
                pointer.p_host_pointer = file.base().as_ptr().cast();
                Some((&raw mut pointer).cast())
            }
        };
        match pages {
            Pages::Hidden => {}
            Pages::Copied(..) => info.allocation_size = info.allocation_size.max(1),
            Pages::Window(_, length) | Pages::File(_, length) | Pages::Driver(length) => {
                info.allocation_size = *length;
            }
        }
        if import.is_some() {
            // SAFETY: the chain was decoded into the arena.
            unsafe { unlink(info, vk::StructureType::MEMORY_DEDICATED_ALLOCATE_INFO) };
        }
        let rest = info.p_next;
        if let Some(import) = import {
            // SAFETY: one of the two structures above, which live until this returns.
            unsafe { (*import).p_next = rest.cast_mut().cast() };
            info.p_next = import.cast_const().cast();
        }
        let device = self.device(seen.device)?;
        // SAFETY: the request was decoded for this command; what was put into its chain lives until it returns.
        let result = vk::Result::from_raw(unsafe { self.call(&device.procs, command, request)? } as i32);
        // What was put there does not outlive this function, the arena may.
        info.p_next = rest;
        if let Some(buffer) = buffer.filter(|_| result == vk::Result::SUCCESS) {
            let _ = buffer.into_raw_fd();
        }
        match (result, pages) {
            // How it is done is not the guest's business; that there is no memory is.
            (vk::Result::ERROR_INVALID_EXTERNAL_HANDLE, _) => {
                tracing::warn!(bytes = info.allocation_size, "the driver refused to import shared pages");
                Ok((vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, None))
            }
            (vk::Result::SUCCESS, Pages::Driver(length)) => {
                // SAFETY: the driver has written the one handle that the decoder made room for.
                let memory = unsafe { request.new.iter().next().map(|new| new.raw.read()) };
                Ok(self.locate_memory(
                    seen,
                    vk::DeviceMemory::from_raw(memory.unwrap_or_default()),
                    *length,
                )?)
            }
            (result, _) => Ok((result, None)),
        }
    }

    /// A dma-buf of pages of the window.
    fn make_buffer(&self, offset: u64, length: u64) -> Option<OwnedFd> {
        let (file, window) = self.region.window_in_file()?;
        let made = self.udmabuf.as_ref()?.make(file, window + offset, length);
        made.inspect_err(|error| tracing::warn!(bytes = length, "no dma-buf of shared pages: {error}")).ok()
    }

    /// Finds out where the driver's memory can be mapped; it is freed if that cannot be.
    fn locate_memory(
        &mut self,
        seen: Seen,
        memory: vk::DeviceMemory,
        length: u64,
    ) -> Result<(vk::Result, Option<Behind>), End> {
        let shared = Arc::clone(&self.device(seen.device)?.shared);
        // SAFETY: new memory of this device, which nobody uses; it stays mapped as long as it lives.
        let place =
            unsafe { shared.device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) };
        let page = self.region.layout().page_size() as u64;
        let found = place.ok().and_then(|place| self.files.locate(place.cast(), length as usize));
        if let Some(found) = found.filter(|found| found.offset.is_multiple_of(page)) {
            return Ok((vk::Result::SUCCESS, Some((found.file as u64, found.offset, found.new))));
        }
        tracing::warn!(bytes = length, "the driver's memory is in no file");
        // SAFETY: as above.
        unsafe { shared.device.free_memory(memory, None) };
        Ok((vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, None))
    }

    /// Where an allocation goes for which the guest offers a range of the window.
    fn choose_pages(
        &self,
        offset: u64,
        info: &vk::MemoryAllocateInfo<'_>,
        device: u16,
    ) -> Result<Pages, End> {
        let program = offset != NO_OFFSET && offset & PROGRAM != 0;
        let pages = self.check_range(if program { offset & !PROGRAM } else { offset }, info)?;
        match pages {
            // The guest's window bounds what a session may have, whoever keeps it.
            Pages::Window(_, length)
                if !program
                    && self.device(device)?.driver_memory
                    && self.memories.drivers + length <= self.region.window().1 as u64 =>
            {
                Ok(Pages::Driver(length))
            }
            Pages::Window(offset, length) if !self.is_importable(length) => {
                tracing::debug!(bytes = length, import = self.import.rung.name(), "memory is copied");
                Ok(Pages::Copied(offset, length))
            }
            pages => Ok(pages),
        }
    }

    /// Whether so many bytes of the window are imported.
    fn is_importable(&self, length: u64) -> bool {
        match self.import.rung {
            Rung::HostPointer => true,
            Rung::Udmabuf => self.udmabuf.as_ref().is_some_and(|udmabuf| length <= udmabuf.limit()),
            Rung::Copy => false,
        }
    }

    /// The memory type of an allocation.
    fn check_type(&self, info: &vk::MemoryAllocateInfo<'_>) -> Result<u32, End> {
        let index = info.memory_type_index;
        if index < self.memory_types {
            Ok(index)
        } else {
            Err(violation(format!("memory type {index} of {}", self.memory_types)))
        }
    }

    /// The pages in the file that the guest has sent; none if there is no room to map them.
    fn take_file(&self, info: &vk::MemoryAllocateInfo<'_>) -> Result<Option<Pages>, End> {
        let index = self.check_type(info)?;
        if !self.handles.descriptors || !self.import.serves(index) {
            return Err(violation(format!("memory of type {index} is not in files")));
        }
        let Some(fd) = self.peer.receive_descriptor() else {
            return Err(violation("memory in a file without its descriptor"));
        };
        let file = match SharedFile::attach(fd) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::InvalidData => return Err(violation(error)),
            Err(error) => {
                tracing::warn!("a file of shared pages cannot be mapped: {error}");
                return Ok(None);
            }
        };
        let page = self.region.layout().page_size() as u64;
        let length = info.allocation_size.max(1).checked_next_multiple_of(page);
        match length {
            Some(length) if length <= file.len() as u64 => Ok(Some(Pages::File(Arc::new(file), length))),
            _ => Err(violation(format!("{} bytes in a file of {}", info.allocation_size, file.len()))),
        }
    }

    /// The range of the window that an allocation takes.
    fn check_range(&self, offset: u64, info: &vk::MemoryAllocateInfo<'_>) -> Result<Pages, End> {
        let index = self.check_type(info)?;
        if !self.import.serves(index) {
            return if offset == NO_OFFSET {
                Ok(Pages::Hidden)
            } else {
                Err(violation(format!(
                    "memory of type {index} at offset {offset:#x}: the guest does not see this type"
                )))
            };
        }
        let page = self.region.layout().page_size() as u64;
        let window = self.region.window().1 as u64;
        let length = info.allocation_size.max(1).checked_next_multiple_of(page);
        let end = length.and_then(|length| offset.checked_add(length));
        match (length, end) {
            (Some(length), Some(end)) if end <= window && offset.is_multiple_of(page) => {
                if self.memories.is_free(offset, length) {
                    Ok(Pages::Window(offset, length))
                } else {
                    Err(violation(format!(
                        "{length} bytes at {offset:#x} of the window overlap a live allocation"
                    )))
                }
            }
            _ => Err(violation(format!(
                "{} bytes at {offset:#x} are not whole pages ({page}) of the window ({window} bytes)",
                info.allocation_size
            ))),
        }
    }

    /// Before an allocation is freed: nobody looks at it any more.
    pub(crate) fn memory_leaves(&self, id: u64) {
        if let Some(Pages::Window(offset, length) | Pages::Copied(offset, length)) =
            self.memories.get(id).map(|allocation| &allocation.pages)
        {
            self.window.forget(*offset, *length);
        }
    }

    /// What follows a freed allocation: its pages go back to the system.
    pub(crate) fn memory_freed(&mut self, id: u64) {
        let Some(allocation) = self.memories.remove(id) else { return };
        self.frames.forget(id);
        self.stats.remove_memory(allocation.bytes);
        if let Pages::Window(offset, length) | Pages::Copied(offset, length) = allocation.pages
            && let Err(error) = self.region.punch(offset as usize, length as usize)
        {
            tracing::warn!("pages of freed memory stay: {error}");
        }
        self.renew_credits(Some((allocation.bytes, allocation.ty)));
    }
}

/// Takes a structure out of a chain.
///
/// # Safety
/// The chain must be valid and writable.
unsafe fn unlink(info: &mut vk::MemoryAllocateInfo<'_>, s_type: vk::StructureType) {
    let mut link: *mut vk::BaseOutStructure<'_> = std::ptr::from_mut(info).cast();
    // SAFETY: every link of a valid chain begins with `sType` and `pNext`.
    unsafe {
        while !(*link).p_next.is_null() {
            let next = (*link).p_next;
            if (*next).s_type == s_type {
                (*link).p_next = (*next).p_next;
            } else {
                link = next;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn range_when_it_touches_a_live_one_is_free_and_when_it_overlaps_is_not() {
        let mut memories = Memories::default();
        let pages = Pages::Window(0x2000, 0x2000);
        memories.add(1, Allocation { bytes: 100, ty: 0, pages, mapped: None });
        for (offset, length, free) in [
            (0, 0x2000, true),
            (0, 0x3000, false),
            (0x1000, 0x4000, false),
            (0x3000, 0x1000, false),
            (0x4000, 0x1000, true),
        ] {
            assert_eq!(memories.is_free(offset, length), free, "{offset:#x}");
        }
        assert_eq!(memories.remove(1).map(|a| a.bytes), Some(100));
        assert!(memories.is_free(0x3000, 0x1000));
        assert!(memories.remove(1).is_none());
    }

    #[test]
    fn unlink_when_the_structure_stands_in_the_middle_joins_its_neighbours() {
        let mut flags = vk::MemoryAllocateFlagsInfo::default();
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default();
        let mut info = vk::MemoryAllocateInfo::default().push_next(&mut flags).push_next(&mut dedicated);
        // SAFETY: a valid chain.
        unsafe { unlink(&mut info, vk::StructureType::MEMORY_DEDICATED_ALLOCATE_INFO) };
        // SAFETY: as above.
        let next = unsafe { info.p_next.cast::<vk::BaseInStructure<'_>>().as_ref() }.unwrap();
        assert!(next.s_type == vk::StructureType::MEMORY_ALLOCATE_FLAGS_INFO);
        assert!(next.p_next.is_null());
    }
}
