//! Sparse resources, where the driver cannot bind imported memory to them.
//!
//! lavapipe maps the pages of a sparse resource by the descriptor of their memory, and imported memory has none: what is
//! bound cannot be touched. There, sparse resources are not offered.

use ash::vk;
use vw_wire_protocol::facts::Chain;

use super::Gpu;

/// Whether sparse resources are not offered on this device.
pub fn is_hidden(gpu: &Gpu) -> bool {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    // SAFETY: a valid chain; a device that does not know the second structure leaves it alone.
    unsafe { gpu.instance.get_physical_device_properties2(gpu.physical, &mut properties) };
    driver.driver_id == vk::DriverId::MESA_LLVMPIPE
}

/// The features that have to do with sparse resources.
fn features(all: &mut vk::PhysicalDeviceFeatures) -> [&mut vk::Bool32; 9] {
    [
        &mut all.sparse_binding,
        &mut all.sparse_residency_buffer,
        &mut all.sparse_residency_image2_d,
        &mut all.sparse_residency_image3_d,
        &mut all.sparse_residency2_samples,
        &mut all.sparse_residency4_samples,
        &mut all.sparse_residency8_samples,
        &mut all.sparse_residency16_samples,
        &mut all.sparse_residency_aliased,
    ]
}

/// Takes sparse resources out of what the device offers.
pub fn hide(properties: &mut Chain, features: &mut Chain, queue_families: &mut [Chain]) {
    // SAFETY: the roots of these chains are these structures.
    unsafe {
        let root = properties.root_mut().get_mut::<vk::PhysicalDeviceProperties2<'_>>();
        root.properties.limits.sparse_address_space_size = 0;
        root.properties.sparse_properties = vk::PhysicalDeviceSparseProperties::default();
        let root = features.root_mut().get_mut::<vk::PhysicalDeviceFeatures2<'_>>();
        for feature in self::features(&mut root.features) {
            *feature = vk::FALSE;
        }
        for family in queue_families {
            let root = family.root_mut().get_mut::<vk::QueueFamilyProperties2<'_>>();
            root.queue_family_properties.queue_flags &= !vk::QueueFlags::SPARSE_BINDING;
        }
    }
}

/// Whether a device is asked for with sparse resources.
///
/// # Safety
/// `info` must be valid, with its chain.
pub unsafe fn is_enabled(info: &vk::DeviceCreateInfo<'_>) -> bool {
    // SAFETY: the caller's promise.
    let mut enabled = unsafe { info.p_enabled_features.as_ref() }.copied();
    let mut link = info.p_next.cast::<vk::BaseInStructure<'_>>();
    // SAFETY: every link of a valid chain begins with `sType` and `pNext`, and is of the type that it names.
    while let Some(base) = unsafe { link.as_ref() } {
        if base.s_type == vk::StructureType::PHYSICAL_DEVICE_FEATURES_2 {
            // SAFETY: as above.
            enabled = Some(unsafe { (*link.cast::<vk::PhysicalDeviceFeatures2<'_>>()).features });
        }
        link = base.p_next;
    }
    enabled.is_some_and(|mut all| features(&mut all).iter().any(|feature| **feature != vk::FALSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_when_enabled_either_way_is_seen() {
        let on = vk::PhysicalDeviceFeatures { sparse_residency_aliased: 1, ..Default::default() };
        let off = vk::PhysicalDeviceFeatures { multi_viewport: 1, ..Default::default() };
        let mut chained = vk::PhysicalDeviceFeatures2::default().features(on);
        // SAFETY: valid structures.
        unsafe {
            assert!(is_enabled(&vk::DeviceCreateInfo::default().enabled_features(&on)));
            assert!(!is_enabled(&vk::DeviceCreateInfo::default().enabled_features(&off)));
            assert!(is_enabled(&vk::DeviceCreateInfo::default().push_next(&mut chained)));
            assert!(!is_enabled(&vk::DeviceCreateInfo::default()));
        }
    }
}
