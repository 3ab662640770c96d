//! `VK_EXT_device_memory_report`: the program is told of all device memory that it takes and gives back.

use std::ffi::c_void;

use ash::vk;

use crate::chain;

/// A device's callbacks.
#[derive(Debug, Default)]
pub(crate) struct Reports(Vec<Callback>);

#[derive(Debug)]
struct Callback {
    function: unsafe extern "system" fn(*const vk::DeviceMemoryReportCallbackDataEXT<'_>, *mut c_void),
    user_data: *mut c_void,
}

// SAFETY: the specification lets callbacks run in any thread that calls the device; the user data is only passed back.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

/// What happens to memory.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) kind: vk::DeviceMemoryReportEventTypeEXT,
    /// The same for all `VkDeviceMemory` with the same pages; never used for others.
    pub(crate) object: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// `VkDeviceMemory`; null where there is none.
    pub(crate) memory: u64,
    pub(crate) heap: u32,
}

impl Reports {
    /// The callbacks in the chain of a device's creation.
    ///
    /// # Safety
    /// The chain must be valid.
    pub(crate) unsafe fn of(chain: *const c_void) -> Self {
        let wanted = vk::StructureType::DEVICE_DEVICE_MEMORY_REPORT_CREATE_INFO_EXT;
        // SAFETY: the caller's promise; every link is of the type that it names.
        let callbacks = unsafe { chain::links(chain) }.filter_map(|link| unsafe {
            if (*link).s_type != wanted {
                return None;
            }
            let info = &*link.cast::<vk::DeviceDeviceMemoryReportCreateInfoEXT<'_>>();
            Some(Callback { function: info.pfn_user_callback?, user_data: info.p_user_data })
        });
        Self(callbacks.collect())
    }

    /// Tells the program.
    pub(crate) fn send(&self, event: Event) {
        let data = vk::DeviceMemoryReportCallbackDataEXT {
            ty: event.kind,
            memory_object_id: event.object,
            size: event.size,
            object_type: vk::ObjectType::DEVICE_MEMORY,
            object_handle: event.memory,
            heap_index: event.heap,
            ..Default::default()
        };
        for Callback { function, user_data } in &self.0 {
            // SAFETY: by valid usage of `vkCreateDevice` the function may be called as long as the device lives.
            unsafe { function(&raw const data, *user_data) };
        }
    }

    /// Whether nobody listens.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "system" fn count(
        data: *const vk::DeviceMemoryReportCallbackDataEXT<'_>,
        sum: *mut c_void,
    ) {
        // SAFETY: the test's callback data and sum.
        unsafe { *sum.cast::<u64>() += (*data).size };
    }

    #[test]
    fn reports_when_two_are_asked_for_both_hear() {
        let mut sums = [0u64; 2];
        let [first, second] = sums.each_mut().map(|sum| vk::DeviceDeviceMemoryReportCreateInfoEXT {
            pfn_user_callback: Some(count),
            p_user_data: std::ptr::from_mut(sum).cast(),
            ..Default::default()
        });
        let second =
            vk::DeviceDeviceMemoryReportCreateInfoEXT { p_next: (&raw const first).cast(), ..second };
        // SAFETY: a chain of two structures.
        let reports = unsafe { Reports::of((&raw const second).cast()) };
        let kind = vk::DeviceMemoryReportEventTypeEXT::ALLOCATE;
        reports.send(Event { kind, object: 1, size: 5, memory: 1, heap: 0 });
        assert_eq!(sums, [5, 5]);
        // SAFETY: an empty chain.
        assert!(unsafe { Reports::of(std::ptr::null()) }.is_empty());
    }
}
