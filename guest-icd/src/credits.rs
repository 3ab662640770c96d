//! Credit for memory: what the host has granted is allocated without waiting for its answer.
//!
//! `VK_ERROR_OUT_OF_DEVICE_MEMORY` comes from `vkAllocateMemory` all the same: what is not granted is called for.

use ash::vk;
use vw_wire_protocol::record::ALLOCATIONS;

use crate::chain;
use crate::session::Session;

/// Whether the answer to an allocation can be nothing but that there is memory, or none.
///
/// # Safety
/// `info` must be valid for `vkAllocateMemory`.
pub(crate) unsafe fn is_plain(info: &vk::MemoryAllocateInfo<'_>) -> bool {
    use vk::StructureType as Type;
    // SAFETY: the caller's promise: a chain, of structures that say what they are.
    unsafe {
        chain::links(info.p_next).all(|link| match (*link).s_type {
            Type::MEMORY_DEDICATED_ALLOCATE_INFO | Type::MEMORY_PRIORITY_ALLOCATE_INFO_EXT => true,
            Type::MEMORY_ALLOCATE_FLAGS_INFO => {
                let flags = (*link.cast::<vk::MemoryAllocateFlagsInfo<'_>>()).flags;
                vk::MemoryAllocateFlags::DEVICE_ADDRESS.contains(flags)
            }
            _ => false,
        })
    }
}

impl Session {
    /// Takes an allocation of `bytes` bytes of a heap from what the host has granted; false if that does not cover it.
    pub(crate) fn take_credit(&self, heap: usize, bytes: u64) -> bool {
        let (Some(heap), Some(allocations)) = (
            self.control().credit(heap).filter(|_| heap < ALLOCATIONS && self.perf.credits),
            self.control().credit(ALLOCATIONS),
        ) else {
            return false;
        };
        if !allocations.take(1) {
            return false;
        }
        let taken = heap.take(bytes);
        if !taken {
            allocations.add(1);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocation_when_it_asks_for_what_an_answer_is_about_is_not_plain() {
        // SAFETY: valid structures.
        let plain = |info: &vk::MemoryAllocateInfo<'_>| unsafe { is_plain(info) };
        let info = vk::MemoryAllocateInfo::default();
        assert!(plain(&info));
        let mut dedicated = vk::MemoryDedicatedAllocateInfo::default();
        let mut priority = vk::MemoryPriorityAllocateInfoEXT::default();
        let mut address =
            vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        assert!(
            plain(&info.push_next(&mut dedicated).push_next(&mut priority).push_next(&mut address)),
            "structures that the driver only reads"
        );
        let mut masked = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_MASK);
        let mut export = vk::ExportMemoryAllocateInfo::default();
        let mut pointer = vk::ImportMemoryHostPointerInfoEXT::default();
        let mut address = vk::MemoryOpaqueCaptureAddressAllocateInfo::default();
        assert!(!plain(&info.push_next(&mut masked)));
        assert!(!plain(&info.push_next(&mut export)));
        assert!(!plain(&info.push_next(&mut pointer)));
        assert!(!plain(&info.push_next(&mut address)));
    }
}
