//! Sparse resources, and the memory that is bound to them.
//!
//! lavapipe maps the pages of a sparse resource by the descriptor of their memory, and imported memory has none: what is
//! bound cannot be touched. A device with sparse resources gets memory of the driver's own there, which the guest maps
//! from the file that the driver keeps it in. Where that cannot be, sparse resources are not offered.

use ash::vk;
use vw_transport::pages::Mapping;
use vw_wire_protocol::facts::Chain;

use super::Gpu;
use super::driver_memory::Files;
use super::trial::family;

/// How sparse resources get their memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Sparse {
    /// As all resources: the driver binds imported pages.
    Imported = 0,
    /// From the driver, on devices with sparse resources enabled; the guest maps the driver's file.
    Driver = 1,
    /// They are not offered.
    Hidden = 2,
}

impl Sparse {
    /// Finds out; what the driver says about its memory is tried.
    pub fn probe(gpu: &Gpu) -> Self {
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: a valid chain; a device that does not know the second structure leaves it alone.
        unsafe { gpu.instance.get_physical_device_properties2(gpu.physical, &mut properties) };
        if driver.driver_id != vk::DriverId::MESA_LLVMPIPE {
            return Self::Imported;
        }
        // SAFETY: the instance and its physical device are live.
        let features = unsafe { gpu.instance.get_physical_device_features(gpu.physical) };
        if features.sparse_binding != 0 && is_in_a_file(gpu) { Self::Driver } else { Self::Hidden }
    }

    /// What is left of it for a guest; `descriptors`: whether they pass to it.
    pub fn offered(self, descriptors: bool) -> Self {
        if self == Self::Driver && !descriptors { Self::Hidden } else { self }
    }
}

/// Bytes of the trial's memory.
const TRIAL: u64 = 1 << 16;

/// Whether what the driver maps of its memory is pages of a file that can be mapped again.
fn is_in_a_file(gpu: &Gpu) -> bool {
    let visible = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let memory = gpu.memory_properties();
    let types = memory.memory_types_as_slice();
    let index = types.iter().position(|ty| ty.property_flags.contains(visible));
    let (Some(index), Ok(family)) = (index, family(gpu)) else { return false };
    let queue = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default().queue_create_infos(&queue);
    // SAFETY: valid structures; everything made here is destroyed here, and no work is submitted.
    unsafe {
        let Ok(device) = gpu.instance.create_device(gpu.physical, &info, None) else { return false };
        let info = vk::MemoryAllocateInfo::default().allocation_size(TRIAL).memory_type_index(index as u32);
        let memory = device.allocate_memory(&info, None);
        let shared = memory.and_then(|memory| {
            let place = device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
            let shared = place.map(|place| shows_in_its_file(place.cast()));
            device.free_memory(memory, None);
            shared
        });
        device.destroy_device(None);
        shared.unwrap_or(false)
    }
}

/// # Safety
/// `place` must be the driver's mapping of [`TRIAL`] bytes that nobody uses.
unsafe fn shows_in_its_file(place: *mut u32) -> bool {
    let mut files = Files::default();
    let found = files.locate(place.cast(), TRIAL as usize);
    let mapped =
        found.and_then(|found| Mapping::new(files.fd(found.file)?, found.offset, TRIAL as usize).ok());
    let Some(mapped) = mapped else { return false };
    // SAFETY: both are at least a word, and nobody else's.
    unsafe {
        place.write_volatile(0x7677_1235);
        mapped.base().cast::<u32>().read_volatile() == 0x7677_1235
    }
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
