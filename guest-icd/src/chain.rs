//! Walking `pNext` chains of structures that belong to the application.

use std::ffi::c_void;

use ash::vk;

/// Longest chain that is followed; a longer one is a cycle.
const MAX_LINKS: usize = 512;

/// The links of a chain, first to last.
///
/// # Safety
/// `first` must be null or a valid chain that outlives the iterator.
pub(crate) unsafe fn links(first: *const c_void) -> impl Iterator<Item = *mut vk::BaseOutStructure<'static>> {
    let mut next = first.cast_mut().cast::<vk::BaseOutStructure<'static>>();
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        let here = next;
        // SAFETY: the caller passed a valid chain, and `here` is a non-null link of it.
        next = unsafe { (*here).p_next };
        Some(here)
    })
    .take(MAX_LINKS)
}

/// The first structure of type `T` in a chain, or null.
///
/// # Safety
/// As [`links`].
pub(crate) unsafe fn find<T: vk::TaggedStructure>(first: *const c_void) -> *mut T {
    // SAFETY: passed on to the caller; every link starts with sType.
    unsafe { links(first).find(|&link| (*link).s_type == T::STRUCTURE_TYPE) }
        .map_or(std::ptr::null_mut(), <*mut _>::cast)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_when_in_the_chain_is_found() {
        let mut flags = vk::MemoryAllocateFlagsInfo::default();
        let dedicated =
            vk::MemoryDedicatedAllocateInfo { p_next: (&raw const flags).cast(), ..Default::default() };
        let first = std::ptr::from_ref(&dedicated).cast::<c_void>();
        // SAFETY: the chain consists of the two locals above.
        unsafe {
            assert_eq!(find::<vk::MemoryAllocateFlagsInfo<'_>>(first), &raw mut flags);
            assert!(find::<vk::ExportMemoryAllocateInfo<'_>>(first).is_null());
            assert!(find::<vk::ExportMemoryAllocateInfo<'_>>(std::ptr::null()).is_null());
        }
    }

    #[test]
    fn chain_when_cyclic_ends() {
        let mut a = vk::MemoryAllocateFlagsInfo::default();
        a.p_next = std::ptr::from_ref(&a).cast();
        // SAFETY: a valid, if endless, chain.
        assert_eq!(unsafe { links(a.p_next) }.count(), MAX_LINKS);
    }
}
