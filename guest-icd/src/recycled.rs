//! Freed memory that is kept for the next allocation alike: importing pages, faulting them in and punching them out costs
//! more than most programs do with a small allocation.
//!
//! The host's object stays, and gets a new id when it is handed out again. What was written in it is still there, as with any
//! driver that does not clear memory; it was this program's own.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::op;

use crate::alloc::HostAllocator;
use crate::forward;
use crate::memories::Memory;
use crate::session::{Session, lock};

/// Largest allocation that is kept, in bytes: with larger ones a program does more than the allocation costs.
const MAX_SIZE: u64 = 1 << 20;

/// Most bytes that are kept in all.
const MAX_TOTAL: u64 = 16 << 20;

/// Most allocations that are kept.
const MAX_COUNT: usize = 64;

/// What allocations must have in common, besides device and size, to stand for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    memory_type: u32,
    /// Whether buffers in it have device addresses.
    addresses: bool,
}

impl Kind {
    /// The kind of an allocation; none if it asks for anything that makes it a matter of its own.
    ///
    /// # Safety
    /// `info` must be valid for `vkAllocateMemory`.
    pub(crate) unsafe fn of(info: &vk::MemoryAllocateInfo<'_>) -> Option<Self> {
        let memory_type = info.memory_type_index;
        let none = vk::MemoryAllocateFlags::empty();
        // SAFETY: the caller's promise: a chain, of structures that say what they are.
        let flags = match unsafe { info.p_next.cast::<vk::BaseInStructure<'_>>().as_ref() } {
            None => none,
            Some(next)
                if next.s_type == vk::StructureType::MEMORY_ALLOCATE_FLAGS_INFO && next.p_next.is_null() =>
            {
                // SAFETY: as above.
                unsafe { (*info.p_next.cast::<vk::MemoryAllocateFlagsInfo<'_>>()).flags }
            }
            Some(_) => return None,
        };
        let addresses = flags == vk::MemoryAllocateFlags::DEVICE_ADDRESS;
        let plain = flags == none || addresses;
        (plain && info.allocation_size <= MAX_SIZE).then_some(Self { memory_type, addresses })
    }
}

/// What is kept, by the ids that the host knows; what was freed last stands last.
#[derive(Debug, Default)]
pub(crate) struct Recycled(Mutex<VecDeque<(u64, Arc<Memory>)>>);

impl Recycled {
    /// Takes out what was freed last of this kind.
    fn take(&self, device: usize, size: u64, kind: Kind) -> Option<(u64, Arc<Memory>)> {
        let mut kept = lock(&self.0);
        let alike = |memory: &Memory| {
            (memory.device(), memory.size(), memory.recyclable()) == (device, size, Some(kind))
        };
        let found = kept.iter().rposition(|(_, memory)| alike(memory))?;
        kept.remove(found)
    }

    /// Keeps freed memory; returns what is too much now.
    fn keep(&self, id: u64, memory: Arc<Memory>) -> Vec<(u64, Arc<Memory>)> {
        let mut kept = lock(&self.0);
        kept.push_back((id, memory));
        let mut total: u64 = kept.iter().map(|(_, memory)| memory.size()).sum();
        let mut over = Vec::new();
        while (total > MAX_TOTAL || kept.len() > MAX_COUNT)
            && let Some(oldest) = kept.pop_front()
        {
            total -= oldest.1.size();
            over.push(oldest);
        }
        over
    }

    /// Takes out everything, or everything of one device.
    fn clear(&self, device: Option<usize>) -> Vec<(u64, Arc<Memory>)> {
        let mut kept = lock(&self.0);
        let (out, stay) =
            kept.drain(..).partition(|(_, memory)| device.is_none_or(|device| memory.device() == device));
        *kept = stay;
        out.into()
    }
}

impl Session {
    /// Kept memory of this kind under a new id; none if there is none.
    ///
    /// # Errors
    /// `VK_ERROR_OUT_OF_HOST_MEMORY` where the program's allocator refuses.
    pub(crate) fn reuse_memory(
        &self,
        device: usize,
        size: u64,
        kind: Kind,
        allocator: HostAllocator,
    ) -> Result<Option<(u64, Arc<Memory>)>, vk::Result> {
        let recycled = &self.memories.recycled;
        let Some((old, memory)) = recycled.take(device, size, kind) else { return Ok(None) };
        let new = self.allocate_id(HandleType::DeviceMemory, allocator);
        let renamed = new.filter(|new| {
            self.send(op::RENAME_MEMORY, &|w| {
                w.put_u64(old);
                w.put_u64(*new);
            })
            .is_ok()
        });
        let Some(new) = renamed else {
            if let Some(new) = new {
                self.free_id(HandleType::DeviceMemory, new);
            }
            self.keep_memory(old, memory);
            return Err(vk::Result::ERROR_OUT_OF_HOST_MEMORY);
        };
        self.free_id(HandleType::DeviceMemory, old);
        Ok(Some((new, memory)))
    }

    /// Keeps memory that the program has freed.
    pub(crate) fn keep_memory(&self, id: u64, memory: Arc<Memory>) {
        for (id, memory) in self.memories.recycled.keep(id, memory) {
            self.release_memory(id, &memory);
        }
    }

    /// Frees what is kept, or what is kept of one device; returns whether there was any.
    pub(crate) fn trim_memory(&self, device: Option<usize>) -> bool {
        let kept = self.memories.recycled.clear(device);
        for (id, memory) in &kept {
            self.release_memory(*id, memory);
        }
        !kept.is_empty()
    }

    fn release_memory(&self, id: u64, memory: &Memory) {
        let device = std::ptr::with_exposed_provenance_mut::<c_void>(memory.device());
        let cmd = &commands::VK_FREE_MEMORY;
        // SAFETY: the device is live: what is kept of it goes before it does.
        unsafe { forward::destroy(device, cmd, &[device as u64, id, 0], id, HandleType::DeviceMemory) };
        self.note_release();
        self.memories.free_pages(memory);
        self.flush();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::external_memory::Wish;
    use crate::memories::Memories;
    use std::ptr::NonNull;

    fn kind(info: &vk::MemoryAllocateInfo<'_>) -> Option<Kind> {
        // SAFETY: a valid structure.
        unsafe { Kind::of(info) }
    }

    #[test]
    fn kind_when_the_allocation_is_large_or_asks_for_more_is_none() {
        let plain = vk::MemoryAllocateInfo::default().allocation_size(4096).memory_type_index(1);
        let mut flags = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let mut masked = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_MASK);
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default();
        let addressed = kind(&plain.push_next(&mut flags));
        assert!(kind(&plain).is_some() && addressed.is_some() && kind(&plain) != addressed);
        assert!(kind(&plain.memory_type_index(0)) != kind(&plain));
        assert_eq!(kind(&plain.allocation_size(MAX_SIZE + 1)), None);
        assert_eq!(kind(&plain.push_next(&mut masked)), None);
        assert_eq!(kind(&plain.push_next(&mut dedicated)), None);
    }

    #[test]
    fn memory_when_kept_is_found_by_its_likes_alone_and_the_oldest_goes_first() {
        let memories = Memories::new(NonNull::dangling(), 1 << 30, 4096);
        let of = kind(&vk::MemoryAllocateInfo::default().allocation_size(4096));
        let memory = |size, device| {
            Arc::new(memories.take(size, (0, 1 << 30), true, Wish::Pages, of, device).unwrap())
        };
        let recycled = Recycled::default();
        assert!(recycled.keep(1, memory(4096, 7)).is_empty());
        assert!(recycled.keep(2, memory(4096, 7)).is_empty());
        assert!(recycled.take(7, 8192, of.unwrap()).is_none());
        assert!(recycled.take(8, 4096, of.unwrap()).is_none());
        assert_eq!(recycled.take(7, 4096, of.unwrap()).unwrap().0, 2, "the last one is still warm");
        for id in 3..3 + MAX_TOTAL / MAX_SIZE {
            let over = recycled.keep(id, memory(MAX_SIZE, 8));
            let expected: &[u64] = if id == 2 + MAX_TOTAL / MAX_SIZE { &[1] } else { &[] };
            assert_eq!(over.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
        }
        assert!(recycled.clear(Some(7)).is_empty());
        assert_eq!(recycled.clear(None).len() as u64, MAX_TOTAL / MAX_SIZE);
        for id in 0..MAX_COUNT as u64 {
            assert!(recycled.keep(id, memory(1, 7)).is_empty());
        }
        assert_eq!(recycled.keep(99, memory(1, 7))[0].0, 0);
    }
}
