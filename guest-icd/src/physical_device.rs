//! `VkPhysicalDevice`: answered from the facts that the host sends at connect.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use ash::vk;
use vw_wire_protocol::facts::Facts;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::extensions::EXTENSIONS;
use vw_wire_protocol::schema::{Extension, Support};

use crate::alloc::HostAllocator;
use crate::chain;
use crate::dispatch::{Head, SOLE_ID};
use crate::enumerate;
use crate::forward;
use crate::proc::{self, Enabled};
use crate::session::Session;

/// What the host has said about its device.
pub(crate) struct DeviceFacts {
    /// Everything.
    pub(crate) facts: Facts,
    /// The memory types and heaps among it.
    pub(crate) memory: vk::PhysicalDeviceMemoryProperties,
    /// Whether descriptors pass to the host.
    descriptors: bool,
    aliases: bool,
    /// Whether the host's device has timeline semaphores, without an extension.
    timelines: bool,
}

/// The host's driver has to know the layout of images that are presented.
const SWAPCHAIN: &str = "VK_KHR_swapchain";

/// Extensions of the guest's own that need swapchains.
const OVER_SWAPCHAINS: [&str; 5] = [
    "VK_EXT_swapchain_maintenance1",
    "VK_KHR_incremental_present",
    "VK_KHR_present_id",
    "VK_KHR_present_wait",
    "VK_KHR_swapchain_mutable_format",
];

impl DeviceFacts {
    /// Over the host's answer.
    /// `aliases`: pages of the window can be mapped a second time.
    pub(crate) fn new(mut facts: Facts, descriptors: bool, aliases: bool) -> Self {
        if !aliases {
            // It replaces the program's pages by pages of the window.
            facts.extensions.retain(|extension| extension.name != "VK_EXT_external_memory_host");
        }
        let mut memory = vk::PhysicalDeviceMemoryProperties2::default();
        // SAFETY: a structure of the type that the chain's root is, with an empty chain.
        unsafe { facts.memory.fill((&raw mut memory).cast()) };
        let mut timelines = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
        let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut timelines);
        // SAFETY: as above, with a chain of one.
        unsafe { facts.features.fill((&raw mut features).cast()) };
        let timelines = timelines.timeline_semaphore != 0 && facts.api_version >= vk::API_VERSION_1_2;
        Self { facts, memory: memory.memory_properties, descriptors, aliases, timelines }
    }

    /// Whether the device has `vkMapMemory2`.
    fn maps_by_structure(&self) -> bool {
        self.facts.api_version >= vk::make_api_version(0, 1, 4, 0)
            || self.facts.has_extension("VK_KHR_map_memory2")
    }

    /// Fills in the features of extensions that the guest implements itself.
    ///
    /// # Safety
    /// The chain must be valid and writable.
    unsafe fn fill_features(&self, chain: *const c_void) {
        // SAFETY: the caller's promise.
        unsafe {
            type Placed = vk::PhysicalDeviceMapMemoryPlacedFeaturesEXT<'static>;
            if let Some(placed) = chain::find::<Placed>(chain).as_mut() {
                let offered = self.offers("VK_EXT_map_memory_placed").into();
                placed.memory_map_placed = offered;
                placed.memory_map_range_placed = offered;
                placed.memory_unmap_reserve = offered;
            }
            type Report = vk::PhysicalDeviceDeviceMemoryReportFeaturesEXT<'static>;
            if let Some(report) = chain::find::<Report>(chain).as_mut() {
                report.device_memory_report = vk::TRUE;
            }
            let swapchains = self.offers(SWAPCHAIN).into();
            type Maintenance = vk::PhysicalDeviceSwapchainMaintenance1FeaturesEXT<'static>;
            if let Some(maintenance) = chain::find::<Maintenance>(chain).as_mut() {
                maintenance.swapchain_maintenance1 = swapchains;
            }
            if let Some(id) = chain::find::<vk::PhysicalDevicePresentIdFeaturesKHR<'_>>(chain).as_mut() {
                id.present_id = swapchains;
            }
            if let Some(wait) = chain::find::<vk::PhysicalDevicePresentWaitFeaturesKHR<'_>>(chain).as_mut() {
                wait.present_wait = swapchains;
            }
        }
    }

    /// Whether a device extension can be enabled.
    pub(crate) fn offers(&self, name: &str) -> bool {
        self.facts.has_extension(name) || is_guest_extension(name) && self.can_have(name)
    }

    /// Whether there is what the guest needs for an extension of its own.
    fn can_have(&self, name: &str) -> bool {
        match name {
            "VK_EXT_map_memory_placed" => self.aliases && self.maps_by_structure(),
            "VK_KHR_external_memory_fd" => self.descriptors,
            "VK_KHR_external_semaphore_fd" => {
                self.shares_sync() && self.facts.has_extension("VK_KHR_external_semaphore")
            }
            "VK_KHR_external_fence_fd" => {
                self.shares_sync() && self.facts.has_extension("VK_KHR_external_fence")
            }
            name if OVER_SWAPCHAINS.contains(&name) => self.facts.has_extension(SWAPCHAIN),
            _ => true,
        }
    }

    /// Whether semaphores and fences can be shared with other processes: queues of the host wait by timeline semaphores.
    pub(crate) fn shares_sync(&self) -> bool {
        self.descriptors && self.timelines
    }
}

/// Whether the guest implements the device extension, so that the host need not know of it.
pub(crate) fn is_guest_extension(name: &str) -> bool {
    proc::extension(name).is_some_and(is_the_guests)
}

fn is_the_guests(extension: &Extension) -> bool {
    !extension.instance && matches!(extension.support, Support::Guest)
}

/// What a `VkPhysicalDevice` points to.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct PhysicalDevice {
    head: Head,
    /// What is enabled in the instance.
    pub(crate) enabled: Enabled,
    /// The instance's, for devices that are created without callbacks.
    pub(crate) allocator: HostAllocator,
}

impl PhysicalDevice {
    /// The device of a session whose facts are known.
    pub(crate) fn new(session: Arc<Session>, enabled: Enabled, allocator: HostAllocator) -> Self {
        Self { head: Head::new(SOLE_ID, session), enabled, allocator }
    }

    /// The session.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.head.session()
    }
}

/// The session and the facts behind a handle.
///
/// # Safety
/// `device` must be null or a live physical device.
unsafe fn known<'a>(device: *mut PhysicalDevice) -> Option<(&'a Session, &'a DeviceFacts)> {
    // SAFETY: the caller's promise.
    let session = unsafe { device.as_ref() }?.session()?;
    Some((session, session.facts()?))
}

/// `vkGetPhysicalDeviceProperties`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceProperties(
    device: *mut PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties,
) {
    let mut all = vk::PhysicalDeviceProperties2::default();
    // SAFETY: the application's valid usage of this command.
    unsafe {
        vkGetPhysicalDeviceProperties2(device, &raw mut all);
        properties.write(all.properties);
    }
}

/// `vkGetPhysicalDeviceProperties2`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceProperties2(
    device: *mut PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some((session, known)) = known(device) {
            known.facts.properties.fill(properties.cast());
            type Placed = vk::PhysicalDeviceMapMemoryPlacedPropertiesEXT<'static>;
            if let Some(placed) = chain::find::<Placed>((*properties).p_next).as_mut() {
                placed.min_placed_memory_map_alignment = session.region().layout().page_size() as u64;
            }
        }
    }
}

/// `vkGetPhysicalDeviceFeatures`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceFeatures(
    device: *mut PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures,
) {
    let mut all = vk::PhysicalDeviceFeatures2::default();
    // SAFETY: the application's valid usage of this command.
    unsafe {
        vkGetPhysicalDeviceFeatures2(device, &raw mut all);
        features.write(all.features);
    }
}

/// `vkGetPhysicalDeviceFeatures2`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceFeatures2(
    device: *mut PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures2<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some((_, known)) = known(device) {
            known.facts.features.fill(features.cast());
            known.fill_features((*features).p_next);
        }
    }
}

/// `vkGetPhysicalDeviceMemoryProperties`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceMemoryProperties(
    device: *mut PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe { properties.write(known(device).map(|(_, known)| known.memory).unwrap_or_default()) };
}

/// `vkGetPhysicalDeviceMemoryProperties2`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceMemoryProperties2(
    device: *mut PhysicalDevice,
    properties: *mut vk::PhysicalDeviceMemoryProperties2<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some((session, known)) = known(device) else { return };
        known.facts.memory.fill(properties.cast());
        let budget = chain::find::<vk::PhysicalDeviceMemoryBudgetPropertiesEXT<'_>>((*properties).p_next);
        if let Some(budget) = budget.as_mut() {
            // The host said what can be had; what this program has taken, the guest counts.
            session.memories.usage(&mut budget.heap_usage);
        }
    }
}

/// `vkGetPhysicalDeviceQueueFamilyProperties`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceQueueFamilyProperties(
    device: *mut PhysicalDevice,
    count: *mut u32,
    properties: *mut vk::QueueFamilyProperties,
) {
    // SAFETY: the application's valid usage of this command: room for `count` structures, or null.
    unsafe {
        let families = known(device).map_or(&[][..], |(_, known)| &known.facts.queue_families);
        let list: Vec<vk::QueueFamilyProperties> = families
            .iter()
            .map(|family| {
                let mut all = vk::QueueFamilyProperties2::default();
                family.fill((&raw mut all).cast());
                all.queue_family_properties
            })
            .collect();
        let _ = enumerate::copy(&list, count, properties);
    }
}

/// `vkGetPhysicalDeviceQueueFamilyProperties2`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceQueueFamilyProperties2(
    device: *mut PhysicalDevice,
    count: *mut u32,
    properties: *mut vk::QueueFamilyProperties2<'_>,
) {
    // SAFETY: the application's valid usage of this command: room for `count` structures, or null.
    unsafe {
        let families = known(device).map_or(&[][..], |(_, known)| &known.facts.queue_families);
        if properties.is_null() {
            count.write(families.len() as u32);
            return;
        }
        let room = (*count as usize).min(families.len());
        for (i, family) in families.iter().take(room).enumerate() {
            family.fill(properties.add(i).cast());
        }
        count.write(room as u32);
    }
}

/// `vkGetPhysicalDeviceFormatProperties`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceFormatProperties(
    device: *mut PhysicalDevice,
    format: i32,
    properties: *mut vk::FormatProperties,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let fact = known(device).and_then(|(_, known)| known.facts.format(format));
        // What the host does not list has no features.
        let [linear, optimal, buffer] =
            fact.map_or([0; 3], |f| f.features).map(vk::FormatFeatureFlags::from_raw);
        properties.write(vk::FormatProperties {
            linear_tiling_features: linear,
            optimal_tiling_features: optimal,
            buffer_features: buffer,
        });
    }
}

/// `vkGetPhysicalDeviceFormatProperties2`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceFormatProperties2(
    device: *mut PhysicalDevice,
    format: i32,
    properties: *mut vk::FormatProperties2<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        vkGetPhysicalDeviceFormatProperties(device, format, &raw mut (*properties).format_properties);
        if let Some(wide) = chain::find::<vk::FormatProperties3<'_>>((*properties).p_next).as_mut() {
            let fact = known(device).and_then(|(_, known)| known.facts.format(format));
            let [linear, optimal, buffer] =
                fact.map_or([0; 3], |f| f.features2).map(vk::FormatFeatureFlags2::from_raw);
            wide.linear_tiling_features = linear;
            wide.optimal_tiling_features = optimal;
            wide.buffer_features = buffer;
        }
    }
}

/// `vkGetPhysicalDeviceImageFormatProperties`: asked of the host, once for each question.
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceImageFormatProperties(
    device: *mut PhysicalDevice,
    format: i32,
    ty: i32,
    tiling: i32,
    usage: u32,
    flags: u32,
    properties: *mut vk::ImageFormatProperties,
) -> i32 {
    let args = [
        device as u64,
        u64::from(format as u32),
        u64::from(ty as u32),
        u64::from(tiling as u32),
        u64::from(usage),
        u64::from(flags),
        properties as u64,
    ];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let cmd = &commands::VK_GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES;
        let result = forward::call(device.cast(), cmd, &args) as i32;
        if result < 0 {
            // "If the combination of parameters [...] is not supported, [they] are filled with zeros"; a failed
            // command's results do not travel.
            properties.write(vk::ImageFormatProperties::default());
        }
        result
    }
}

/// `vkGetPhysicalDeviceImageFormatProperties2`: asked of the host, once for each question.
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceImageFormatProperties2(
    device: *mut PhysicalDevice,
    info: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    properties: *mut vk::ImageFormatProperties2<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let args = [device as u64, info as u64, properties as u64];
        let cmd = &commands::VK_GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES_2;
        let result = forward::call(device.cast(), cmd, &args) as i32;
        if result < 0 {
            (*properties).image_format_properties = vk::ImageFormatProperties::default();
        }
        result
    }
}

/// `vkGetPhysicalDeviceExternalFenceProperties`
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceExternalFenceProperties(
    device: *mut PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalFenceInfo<'_>,
    properties: *mut vk::ExternalFenceProperties<'_>,
) {
    type Types = vk::ExternalFenceHandleTypeFlags;
    type Features = vk::ExternalFenceFeatureFlags;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let offered = known(device).is_some_and(|(_, known)| known.offers("VK_KHR_external_fence_fd"));
        let (types, features) = match (*info).handle_type {
            Types::OPAQUE_FD if offered => (Types::OPAQUE_FD, Features::EXPORTABLE | Features::IMPORTABLE),
            _ => (Types::empty(), Features::empty()),
        };
        (*properties).export_from_imported_handle_types = types;
        (*properties).compatible_handle_types = types;
        (*properties).external_fence_features = features;
    }
}

/// `vkGetPhysicalDeviceExternalSemaphoreProperties`: the same of binary and timeline semaphores.
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceExternalSemaphoreProperties(
    device: *mut PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalSemaphoreInfo<'_>,
    properties: *mut vk::ExternalSemaphoreProperties<'_>,
) {
    type Types = vk::ExternalSemaphoreHandleTypeFlags;
    type Features = vk::ExternalSemaphoreFeatureFlags;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let offered = known(device).is_some_and(|(_, known)| known.offers("VK_KHR_external_semaphore_fd"));
        let (types, features) = match (*info).handle_type {
            Types::OPAQUE_FD if offered => (Types::OPAQUE_FD, Features::EXPORTABLE | Features::IMPORTABLE),
            _ => (Types::empty(), Features::empty()),
        };
        (*properties).export_from_imported_handle_types = types;
        (*properties).compatible_handle_types = types;
        (*properties).external_semaphore_features = features;
    }
}

/// `vkGetPhysicalDeviceToolProperties`: a driver is no tool.
pub(crate) unsafe extern "system" fn vkGetPhysicalDeviceToolProperties(
    _: *mut PhysicalDevice,
    count: *mut u32,
    _: *mut c_void,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { count.write(0) };
    vk::Result::SUCCESS.as_raw()
}

/// `vkEnumerateDeviceExtensionProperties`
pub(crate) unsafe extern "system" fn vkEnumerateDeviceExtensionProperties(
    device: *mut PhysicalDevice,
    layer: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> i32 {
    if !layer.is_null() {
        // A driver has no layers.
        return vk::Result::ERROR_LAYER_NOT_PRESENT.as_raw();
    }
    // SAFETY: the application's valid usage of this command: room for `count` elements, or null.
    unsafe {
        let Some((_, known)) = known(device) else { return vk::Result::ERROR_INITIALIZATION_FAILED.as_raw() };
        let host = known.facts.extensions.iter().map(|e| enumerate::extension(&e.name, e.spec_version));
        let own =
            |e: &&Extension| is_the_guests(e) && known.can_have(e.name) && !known.facts.has_extension(e.name);
        let guest = EXTENSIONS.iter().filter(own);
        let list: Vec<_> = host.chain(guest.map(|e| enumerate::extension(e.name, e.spec_version))).collect();
        enumerate::copy(&list, count, properties).as_raw()
    }
}

/// `vkEnumerateDeviceLayerProperties`: a driver has none.
pub(crate) unsafe extern "system" fn vkEnumerateDeviceLayerProperties(
    _: *mut PhysicalDevice,
    count: *mut u32,
    _: *mut c_void,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { count.write(0) };
    vk::Result::SUCCESS.as_raw()
}
