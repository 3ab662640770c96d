//! Enumerations by the two-call convention.

use ash::vk;

/// Copies what fits of `list` to an array of `*count` elements and writes how many; with a null array, writes
/// how many there are. `VK_INCOMPLETE` when not all fit.
///
/// # Safety
/// `count` must be valid; `array` must be null or have room for `*count` elements.
pub(crate) unsafe fn copy<T: Copy>(list: &[T], count: *mut u32, array: *mut T) -> vk::Result {
    // SAFETY: the caller's promise.
    unsafe {
        if array.is_null() {
            count.write(list.len() as u32);
            return vk::Result::SUCCESS;
        }
        let room = (*count as usize).min(list.len());
        array.copy_from_nonoverlapping(list.as_ptr(), room);
        count.write(room as u32);
        if room < list.len() { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }
    }
}

/// The description of an extension.
pub(crate) fn extension(name: &str, spec_version: u32) -> vk::ExtensionProperties {
    let mut properties = vk::ExtensionProperties { spec_version, ..Default::default() };
    // One byte stays for the terminator.
    let room = properties.extension_name.len() - 1;
    for (to, from) in properties.extension_name.iter_mut().zip(name.bytes().take(room)) {
        *to = from as std::ffi::c_char;
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumeration_when_room_is_short_is_incomplete() {
        let list = [1u32, 2, 3];
        let (mut count, mut array) = (0, [0u32; 4]);
        // SAFETY: as much room as the count says.
        unsafe {
            assert_eq!(copy(&list, &raw mut count, std::ptr::null_mut()), vk::Result::SUCCESS);
            assert_eq!(count, 3);
            count = 2;
            assert_eq!(copy(&list, &raw mut count, array.as_mut_ptr()), vk::Result::INCOMPLETE);
            assert_eq!((count, array), (2, [1, 2, 0, 0]));
            count = 4;
            assert_eq!(copy(&list, &raw mut count, array.as_mut_ptr()), vk::Result::SUCCESS);
            assert_eq!((count, array), (3, [1, 2, 3, 0]));
        }
    }

    #[test]
    fn extension_name_is_terminated() {
        let e = extension("VK_KHR_maintenance1", 2);
        assert_eq!(e.extension_name_as_c_str(), Ok(c"VK_KHR_maintenance1"));
        assert_eq!(e.spec_version, 2);
    }
}
