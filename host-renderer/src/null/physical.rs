//! The null instance and physical device.

use std::ffi::c_char;

use ash::vk::{self, Handle};
use vw_wire_protocol::generated::extensions::EXTENSIONS;
use vw_wire_protocol::generated::structs;
use vw_wire_protocol::schema::{Op, Struct, Support};

use super::{Table, commands, fresh};
use crate::gpu::REGISTRY_API_VERSION;

pub(super) static COMMANDS: Table = commands! {
    c"vkEnumerateInstanceVersion": vk::PFN_vkEnumerateInstanceVersion = enumerate_instance_version;
    c"vkEnumerateInstanceExtensionProperties": vk::PFN_vkEnumerateInstanceExtensionProperties =
        enumerate_instance_extension_properties;
    c"vkCreateInstance": vk::PFN_vkCreateInstance = create_instance;
    c"vkDestroyInstance": vk::PFN_vkDestroyInstance = destroy_instance;
    c"vkEnumeratePhysicalDevices": vk::PFN_vkEnumeratePhysicalDevices = enumerate_physical_devices;
    c"vkEnumerateDeviceExtensionProperties": vk::PFN_vkEnumerateDeviceExtensionProperties =
        enumerate_device_extension_properties;
    c"vkGetPhysicalDeviceProperties": vk::PFN_vkGetPhysicalDeviceProperties = properties;
    c"vkGetPhysicalDeviceProperties2": vk::PFN_vkGetPhysicalDeviceProperties2 = properties2;
    c"vkGetPhysicalDeviceFeatures": vk::PFN_vkGetPhysicalDeviceFeatures = features;
    c"vkGetPhysicalDeviceFeatures2": vk::PFN_vkGetPhysicalDeviceFeatures2 = features2;
    c"vkGetPhysicalDeviceMemoryProperties": vk::PFN_vkGetPhysicalDeviceMemoryProperties = memory;
    c"vkGetPhysicalDeviceMemoryProperties2": vk::PFN_vkGetPhysicalDeviceMemoryProperties2 = memory2;
    c"vkGetPhysicalDeviceQueueFamilyProperties": vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties = families;
    c"vkGetPhysicalDeviceQueueFamilyProperties2": vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties2 = families2;
    c"vkGetPhysicalDeviceFormatProperties2": vk::PFN_vkGetPhysicalDeviceFormatProperties2 = format2;
    c"vkGetPhysicalDeviceImageFormatProperties": vk::PFN_vkGetPhysicalDeviceImageFormatProperties = image_format;
    c"vkGetPhysicalDeviceImageFormatProperties2": vk::PFN_vkGetPhysicalDeviceImageFormatProperties2 = image_format2;
    c"vkGetPhysicalDeviceExternalBufferProperties": vk::PFN_vkGetPhysicalDeviceExternalBufferProperties =
        external_buffer;
};

/// Size of each heap in bytes.
const HEAP: u64 = 1 << 30;

/// Size of a page that can be imported, in bytes.
const IMPORT_ALIGNMENT: u64 = 4096;

unsafe extern "system" fn enumerate_instance_version(version: *mut u32) -> vk::Result {
    // SAFETY: the caller gives a place for the version.
    unsafe { version.write(REGISTRY_API_VERSION) };
    vk::Result::SUCCESS
}

/// The two-call convention: the number of elements, or as many as fit.
///
/// # Safety
/// `count` must be valid, `out` null or with room for as many elements as it says.
unsafe fn enumerate<T: Clone>(all: &[T], count: *mut u32, out: *mut T) -> vk::Result {
    // SAFETY: the caller's promise.
    unsafe {
        if out.is_null() {
            count.write(all.len() as u32);
            return vk::Result::SUCCESS;
        }
        let fit = all.len().min(count.read() as usize);
        for (i, element) in all.iter().take(fit).enumerate() {
            out.add(i).write(element.clone());
        }
        count.write(fit as u32);
        if fit < all.len() { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }
    }
}

unsafe extern "system" fn enumerate_instance_extension_properties(
    _: *const c_char,
    count: *mut u32,
    out: *mut vk::ExtensionProperties,
) -> vk::Result {
    // SAFETY: the caller follows the two-call convention.
    unsafe { enumerate(&[], count, out) }
}

unsafe extern "system" fn create_instance(
    _: *const vk::InstanceCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    // SAFETY: the caller gives a place for the handle.
    unsafe { instance.write(vk::Instance::from_raw(fresh())) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_instance(_: vk::Instance, _: *const vk::AllocationCallbacks<'_>) {}

unsafe extern "system" fn enumerate_physical_devices(
    _: vk::Instance,
    count: *mut u32,
    out: *mut vk::PhysicalDevice,
) -> vk::Result {
    // SAFETY: the caller follows the two-call convention.
    unsafe { enumerate(&[vk::PhysicalDevice::from_raw(0x10)], count, out) }
}

unsafe extern "system" fn enumerate_device_extension_properties(
    _: vk::PhysicalDevice,
    _: *const c_char,
    count: *mut u32,
    out: *mut vk::ExtensionProperties,
) -> vk::Result {
    let own = |name: &str| name == "VK_EXT_external_memory_host";
    let offered =
        EXTENSIONS.iter().filter(|e| !e.instance && (e.support == Support::Forwarded || own(e.name)));
    let all: Vec<_> = offered
        .map(|extension| {
            let mut properties =
                vk::ExtensionProperties { spec_version: extension.spec_version, ..Default::default() };
            set(&mut properties.extension_name, extension.name);
            properties
        })
        .collect();
    // SAFETY: the caller follows the two-call convention.
    unsafe { enumerate(&all, count, out) }
}

fn set(array: &mut [c_char], text: &str) {
    for (slot, byte) in array.iter_mut().zip(text.bytes()) {
        *slot = byte as c_char;
    }
}

/// What the specification requires of every device, and what makes sizes plausible.
fn limits() -> vk::PhysicalDeviceLimits {
    vk::PhysicalDeviceLimits {
        max_image_dimension1_d: 16384,
        max_image_dimension2_d: 16384,
        max_image_dimension3_d: 2048,
        max_image_dimension_cube: 16384,
        max_image_array_layers: 2048,
        max_texel_buffer_elements: 1 << 27,
        max_uniform_buffer_range: 65536,
        max_storage_buffer_range: 1 << 30,
        max_push_constants_size: 256,
        max_memory_allocation_count: 4096,
        max_sampler_allocation_count: 4096,
        buffer_image_granularity: 1,
        max_bound_descriptor_sets: 8,
        max_per_stage_resources: 1 << 20,
        max_descriptor_set_samplers: 1 << 20,
        max_descriptor_set_uniform_buffers: 1 << 20,
        max_descriptor_set_storage_buffers: 1 << 20,
        max_descriptor_set_sampled_images: 1 << 20,
        max_descriptor_set_storage_images: 1 << 20,
        max_vertex_input_attributes: 32,
        max_vertex_input_bindings: 32,
        max_vertex_input_binding_stride: 2048,
        max_compute_shared_memory_size: 32768,
        max_compute_work_group_count: [65535; 3],
        max_compute_work_group_invocations: 1024,
        max_compute_work_group_size: [1024, 1024, 64],
        max_draw_indexed_index_value: u32::MAX,
        max_draw_indirect_count: u32::MAX,
        max_sampler_anisotropy: 16.0,
        max_viewports: 16,
        max_viewport_dimensions: [16384; 2],
        viewport_bounds_range: [-32768.0, 32767.0],
        min_memory_map_alignment: 4096,
        min_texel_buffer_offset_alignment: 16,
        min_uniform_buffer_offset_alignment: 16,
        min_storage_buffer_offset_alignment: 16,
        max_framebuffer_width: 16384,
        max_framebuffer_height: 16384,
        max_framebuffer_layers: 2048,
        framebuffer_color_sample_counts: vk::SampleCountFlags::TYPE_1 | vk::SampleCountFlags::TYPE_4,
        framebuffer_depth_sample_counts: vk::SampleCountFlags::TYPE_1 | vk::SampleCountFlags::TYPE_4,
        max_color_attachments: 8,
        timestamp_compute_and_graphics: vk::TRUE,
        timestamp_period: 1.0,
        optimal_buffer_copy_offset_alignment: 1,
        optimal_buffer_copy_row_pitch_alignment: 1,
        non_coherent_atom_size: 64,
        ..Default::default()
    }
}

fn basic() -> vk::PhysicalDeviceProperties {
    let mut properties = vk::PhysicalDeviceProperties {
        api_version: REGISTRY_API_VERSION,
        driver_version: 1,
        device_type: vk::PhysicalDeviceType::OTHER,
        limits: limits(),
        ..Default::default()
    };
    set(&mut properties.device_name, "vw null device");
    properties
}

unsafe extern "system" fn properties(_: vk::PhysicalDevice, out: *mut vk::PhysicalDeviceProperties) {
    // SAFETY: the caller gives a place for the structure.
    unsafe { out.write(basic()) };
}

/// Calls `f` for each structure of a chain, the first excluded.
///
/// # Safety
/// `first` must head a valid, writable chain.
unsafe fn each(first: *mut vk::BaseOutStructure<'_>, mut f: impl FnMut(*mut vk::BaseOutStructure<'_>)) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut link = (*first).p_next;
        while !link.is_null() {
            f(link);
            link = (*link).p_next;
        }
    }
}

unsafe extern "system" fn properties2(_: vk::PhysicalDevice, out: *mut vk::PhysicalDeviceProperties2<'_>) {
    use vk::StructureType as Type;
    // SAFETY: the caller gives a valid chain; each structure is told by its type.
    unsafe {
        (*out).properties = basic();
        each(out.cast(), |link| match (*link).s_type {
            Type::PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT => {
                let host = link.cast::<vk::PhysicalDeviceExternalMemoryHostPropertiesEXT<'_>>();
                (*host).min_imported_host_pointer_alignment = IMPORT_ALIGNMENT;
            }
            Type::PHYSICAL_DEVICE_DRIVER_PROPERTIES => {
                let driver = &mut *link.cast::<vk::PhysicalDeviceDriverProperties<'_>>();
                set(&mut driver.driver_name, "null");
            }
            Type::PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES => {
                let driver = &mut *link.cast::<vk::PhysicalDeviceVulkan12Properties<'_>>();
                set(&mut driver.driver_name, "null");
            }
            Type::PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES => {
                let limits = &mut *link.cast::<vk::PhysicalDeviceMaintenance3Properties<'_>>();
                limits.max_memory_allocation_size = HEAP;
                limits.max_per_set_descriptors = 1 << 20;
            }
            _ => {}
        });
    }
}

/// Sets every `VkBool32` of a structure of features.
///
/// # Safety
/// `mem` must be a writable structure of type `desc`.
unsafe fn set_all(desc: &'static Struct, mem: *mut u8) {
    for op in desc.ops {
        // SAFETY: the offsets of the table lie in the structure, which consists of `VkBool32`s.
        unsafe {
            match op {
                Op::Bytes { off, len } => {
                    for at in (usize::from(*off)..usize::from(*off) + usize::from(*len)).step_by(4) {
                        mem.add(at).cast::<u32>().write_unaligned(vk::TRUE);
                    }
                }
                Op::Inline { off, count, desc } => {
                    for i in 0..usize::from(*count) {
                        set_all(desc, mem.add(usize::from(*off) + i * desc.size as usize));
                    }
                }
                _ => {}
            }
        }
    }
}

unsafe extern "system" fn features(_: vk::PhysicalDevice, out: *mut vk::PhysicalDeviceFeatures) {
    let count = size_of::<vk::PhysicalDeviceFeatures>() / size_of::<u32>();
    for i in 0..count {
        // SAFETY: the structure consists of `VkBool32`s.
        unsafe { out.cast::<u32>().add(i).write(vk::TRUE) };
    }
}

unsafe extern "system" fn features2(device: vk::PhysicalDevice, out: *mut vk::PhysicalDeviceFeatures2<'_>) {
    let known = structs::VK_PHYSICAL_DEVICE_FEATURES_2.extended_by;
    // SAFETY: the caller gives a valid chain; each structure is told by its type.
    unsafe {
        features(device, &raw mut (*out).features);
        each(out.cast(), |link| {
            if let Some(desc) = known.iter().find(|desc| desc.s_type == Some((*link).s_type.as_raw())) {
                set_all(desc, link.cast());
            }
        });
    }
}

unsafe extern "system" fn memory(_: vk::PhysicalDevice, out: *mut vk::PhysicalDeviceMemoryProperties) {
    use vk::MemoryPropertyFlags as Flags;
    let mut memory = vk::PhysicalDeviceMemoryProperties {
        memory_type_count: 2,
        memory_heap_count: 2,
        ..Default::default()
    };
    memory.memory_types[0].property_flags = Flags::DEVICE_LOCAL;
    memory.memory_types[1].property_flags = Flags::HOST_VISIBLE | Flags::HOST_COHERENT | Flags::HOST_CACHED;
    memory.memory_types[1].heap_index = 1;
    memory.memory_heaps[0] = vk::MemoryHeap { size: HEAP, flags: vk::MemoryHeapFlags::DEVICE_LOCAL };
    memory.memory_heaps[1] = vk::MemoryHeap { size: HEAP, flags: vk::MemoryHeapFlags::empty() };
    // SAFETY: the caller gives a place for the structure.
    unsafe { out.write(memory) };
}

unsafe extern "system" fn memory2(
    device: vk::PhysicalDevice,
    out: *mut vk::PhysicalDeviceMemoryProperties2<'_>,
) {
    // SAFETY: the caller gives a valid chain; each structure is told by its type.
    unsafe {
        memory(device, &raw mut (*out).memory_properties);
        each(out.cast(), |link| {
            if (*link).s_type == vk::StructureType::PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT {
                let budget = &mut *link.cast::<vk::PhysicalDeviceMemoryBudgetPropertiesEXT<'_>>();
                budget.heap_budget[..2].fill(HEAP);
            }
        });
    }
}

fn family() -> vk::QueueFamilyProperties {
    vk::QueueFamilyProperties {
        queue_flags: vk::QueueFlags::GRAPHICS
            | vk::QueueFlags::COMPUTE
            | vk::QueueFlags::TRANSFER
            | vk::QueueFlags::SPARSE_BINDING,
        queue_count: 4,
        timestamp_valid_bits: 64,
        min_image_transfer_granularity: vk::Extent3D { width: 1, height: 1, depth: 1 },
    }
}

unsafe extern "system" fn families(
    _: vk::PhysicalDevice,
    count: *mut u32,
    out: *mut vk::QueueFamilyProperties,
) {
    // SAFETY: the caller follows the two-call convention.
    let _ = unsafe { enumerate(&[family()], count, out) };
}

unsafe extern "system" fn families2(
    _: vk::PhysicalDevice,
    count: *mut u32,
    out: *mut vk::QueueFamilyProperties2<'_>,
) {
    // SAFETY: the caller follows the two-call convention; the elements head chains.
    unsafe {
        if !out.is_null() && count.read() > 0 {
            (*out).queue_family_properties = family();
        }
        count.write(1);
    }
}

unsafe extern "system" fn format2(_: vk::PhysicalDevice, _: vk::Format, out: *mut vk::FormatProperties2<'_>) {
    // The bits that core 1.0 defines and those of 1.1's transfers and Y'CbCr.
    let all = 0x00FF_FFFF;
    // SAFETY: the caller gives a valid chain; each structure is told by its type.
    unsafe {
        let flags = vk::FormatFeatureFlags::from_raw(all);
        (*out).format_properties = vk::FormatProperties {
            linear_tiling_features: flags,
            optimal_tiling_features: flags,
            buffer_features: flags,
        };
        each(out.cast(), |link| {
            if (*link).s_type == vk::StructureType::FORMAT_PROPERTIES_3 {
                let three = &mut *link.cast::<vk::FormatProperties3<'_>>();
                let flags = vk::FormatFeatureFlags2::from_raw(all.into());
                three.linear_tiling_features = flags;
                three.optimal_tiling_features = flags;
                three.buffer_features = flags;
            }
        });
    }
}

fn image_limits() -> vk::ImageFormatProperties {
    vk::ImageFormatProperties {
        max_extent: vk::Extent3D { width: 16384, height: 16384, depth: 2048 },
        max_mip_levels: 15,
        max_array_layers: 2048,
        sample_counts: vk::SampleCountFlags::TYPE_1 | vk::SampleCountFlags::TYPE_4,
        max_resource_size: HEAP,
    }
}

unsafe extern "system" fn image_format(
    _: vk::PhysicalDevice,
    _: vk::Format,
    _: vk::ImageType,
    _: vk::ImageTiling,
    _: vk::ImageUsageFlags,
    _: vk::ImageCreateFlags,
    out: *mut vk::ImageFormatProperties,
) -> vk::Result {
    // SAFETY: the caller gives a place for the structure.
    unsafe { out.write(image_limits()) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn image_format2(
    _: vk::PhysicalDevice,
    _: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    out: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    // SAFETY: the caller gives a valid structure.
    unsafe { (*out).image_format_properties = image_limits() };
    vk::Result::SUCCESS
}

unsafe extern "system" fn external_buffer(
    _: vk::PhysicalDevice,
    _: *const vk::PhysicalDeviceExternalBufferInfo<'_>,
    out: *mut vk::ExternalBufferProperties<'_>,
) {
    // SAFETY: the caller gives a valid structure.
    unsafe {
        (*out).external_memory_properties.external_memory_features =
            vk::ExternalMemoryFeatureFlags::IMPORTABLE;
    };
}
