//! Draw commands whose arrays have a stride that the program chooses: the elements are sent side by side.

use std::borrow::Cow;
use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::generated::commands;

use crate::forward;

/// `count` elements that stand `stride` bytes apart, side by side. Not copied if they already are.
///
/// # Safety
/// The elements must be readable and aligned.
unsafe fn gather<'a, T: Copy>(first: *const T, count: u32, stride: u32) -> Cow<'a, [T]> {
    let (count, stride) = (count as usize, stride as usize);
    if count == 0 || first.is_null() {
        return Cow::Borrowed(&[]);
    }
    // SAFETY: the caller's promise.
    unsafe {
        if stride == size_of::<T>() || count == 1 {
            return Cow::Borrowed(std::slice::from_raw_parts(first, count));
        }
        let at = |i| first.cast::<u8>().add(i * stride).cast::<T>().read_unaligned();
        Cow::Owned((0..count).map(at).collect())
    }
}

/// `vkCmdDrawMultiEXT`
pub(crate) unsafe extern "system" fn vkCmdDrawMultiEXT(
    buffer: *mut c_void,
    count: u32,
    draws: *const vk::MultiDrawInfoEXT,
    instances: u32,
    first_instance: u32,
    stride: u32,
) {
    // SAFETY: the application's valid usage of this command: `count` elements with the stride.
    unsafe {
        let draws = gather(draws, count, stride);
        let args = [
            buffer as u64,
            draws.len() as u64,
            draws.as_ptr() as u64,
            instances.into(),
            first_instance.into(),
            size_of::<vk::MultiDrawInfoEXT>() as u64,
        ];
        forward::record(buffer, &commands::VK_CMD_DRAW_MULTI_EXT, &args);
    }
}

/// `vkCmdDrawMultiIndexedEXT`
pub(crate) unsafe extern "system" fn vkCmdDrawMultiIndexedEXT(
    buffer: *mut c_void,
    count: u32,
    draws: *const vk::MultiDrawIndexedInfoEXT,
    instances: u32,
    first_instance: u32,
    stride: u32,
    vertex_offset: *const i32,
) {
    // SAFETY: the application's valid usage of this command: `count` elements with the stride.
    unsafe {
        let draws = gather(draws, count, stride);
        let args = [
            buffer as u64,
            draws.len() as u64,
            draws.as_ptr() as u64,
            instances.into(),
            first_instance.into(),
            size_of::<vk::MultiDrawIndexedInfoEXT>() as u64,
            vertex_offset as u64,
        ];
        forward::record(buffer, &commands::VK_CMD_DRAW_MULTI_INDEXED_EXT, &args);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_when_strewn_are_gathered_and_otherwise_borrowed() {
        let words = [1u32, 2, 9, 3, 4, 9];
        let first = words.as_ptr().cast::<[u32; 2]>();
        // SAFETY: two elements 12 bytes apart; two elements 8 bytes apart.
        unsafe {
            assert_eq!(*gather(first, 2, 12), [[1, 2], [3, 4]]);
            assert!(matches!(gather(first, 2, 8), Cow::Borrowed([[1, 2], [9, 3]])));
            assert!(gather(first, 0, 12).is_empty());
        }
    }
}
