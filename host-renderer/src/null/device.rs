//! The null device: objects with sizes, submissions that are complete when they are made.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ash::vk::{self, Handle};

use super::{Table, commands, fresh};

pub(super) static COMMANDS: Table = commands! {
    c"vkCreateDevice": vk::PFN_vkCreateDevice = create_device;
    c"vkDestroyDevice": vk::PFN_vkDestroyDevice = destroy_device;
    c"vkDeviceWaitIdle": vk::PFN_vkDeviceWaitIdle = device_wait_idle;
    c"vkGetDeviceQueue": vk::PFN_vkGetDeviceQueue = get_device_queue;
    c"vkGetDeviceQueue2": vk::PFN_vkGetDeviceQueue2 = get_device_queue2;
    c"vkQueueSubmit": vk::PFN_vkQueueSubmit = queue_submit;
    c"vkCreateFence": vk::PFN_vkCreateFence = create_fence;
    c"vkDestroyFence": vk::PFN_vkDestroyFence = destroy_fence;
    c"vkWaitForFences": vk::PFN_vkWaitForFences = wait_for_fences;
    c"vkGetFenceStatus": vk::PFN_vkGetFenceStatus = get_fence_status;
    c"vkResetFences": vk::PFN_vkResetFences = reset_fences;
    c"vkCreateSemaphore": vk::PFN_vkCreateSemaphore = create_semaphore;
    c"vkDestroySemaphore": vk::PFN_vkDestroySemaphore = destroy_semaphore;
    c"vkSignalSemaphore": vk::PFN_vkSignalSemaphore = signal_semaphore;
    c"vkAllocateMemory": vk::PFN_vkAllocateMemory = allocate_memory;
    c"vkFreeMemory": vk::PFN_vkFreeMemory = free_memory;
    c"vkGetMemoryHostPointerPropertiesEXT": vk::PFN_vkGetMemoryHostPointerPropertiesEXT = host_pointer_properties;
    c"vkCreateBuffer": vk::PFN_vkCreateBuffer = create_buffer;
    c"vkDestroyBuffer": vk::PFN_vkDestroyBuffer = destroy_buffer;
    c"vkGetBufferMemoryRequirements": vk::PFN_vkGetBufferMemoryRequirements = buffer_requirements;
    c"vkGetBufferMemoryRequirements2": vk::PFN_vkGetBufferMemoryRequirements2 = buffer_requirements2;
    c"vkGetDeviceBufferMemoryRequirements": vk::PFN_vkGetDeviceBufferMemoryRequirements =
        device_buffer_requirements;
    c"vkCreateImage": vk::PFN_vkCreateImage = create_image;
    c"vkDestroyImage": vk::PFN_vkDestroyImage = destroy_image;
    c"vkGetImageMemoryRequirements": vk::PFN_vkGetImageMemoryRequirements = image_requirements;
    c"vkGetImageMemoryRequirements2": vk::PFN_vkGetImageMemoryRequirements2 = image_requirements2;
    c"vkGetDeviceImageMemoryRequirements": vk::PFN_vkGetDeviceImageMemoryRequirements = device_image_requirements;
    c"vkGetDescriptorSetLayoutSupport": vk::PFN_vkGetDescriptorSetLayoutSupport = layout_support;
};

/// Alignment of buffers and images in bytes.
const ALIGNMENT: u64 = 256;

/// Bytes that a texel takes at most.
const TEXEL: u64 = 16;

/// Sizes of live buffers and images in bytes, by handle.
fn sizes() -> MutexGuard<'static, HashMap<u64, u64>> {
    static SIZES: LazyLock<Mutex<HashMap<u64, u64>>> = LazyLock::new(Mutex::default);
    SIZES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn requirements(size: u64) -> vk::MemoryRequirements {
    let size = size.max(1).checked_next_multiple_of(ALIGNMENT).unwrap_or(!(ALIGNMENT - 1));
    vk::MemoryRequirements { size, alignment: ALIGNMENT, memory_type_bits: 0b11 }
}

unsafe extern "system" fn create_device(
    _: vk::PhysicalDevice,
    _: *const vk::DeviceCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Device,
) -> vk::Result {
    // SAFETY: the caller gives a place for the handle.
    unsafe { out.write(vk::Device::from_raw(fresh())) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_device(_: vk::Device, _: *const vk::AllocationCallbacks<'_>) {}

unsafe extern "system" fn device_wait_idle(_: vk::Device) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn get_device_queue(_: vk::Device, _: u32, _: u32, out: *mut vk::Queue) {
    // SAFETY: the caller gives a place for the handle.
    unsafe { out.write(vk::Queue::from_raw(fresh())) };
}

unsafe extern "system" fn get_device_queue2(
    _: vk::Device,
    _: *const vk::DeviceQueueInfo2<'_>,
    out: *mut vk::Queue,
) {
    // SAFETY: the caller gives a place for the handle.
    unsafe { out.write(vk::Queue::from_raw(fresh())) };
}

unsafe extern "system" fn queue_submit(
    _: vk::Queue,
    _: u32,
    _: *const vk::SubmitInfo<'_>,
    _: vk::Fence,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn create_fence(
    _: vk::Device,
    _: *const vk::FenceCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Fence,
) -> vk::Result {
    // SAFETY: the caller gives a place for the handle.
    unsafe { out.write(vk::Fence::from_raw(fresh())) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_fence(_: vk::Device, _: vk::Fence, _: *const vk::AllocationCallbacks<'_>) {}

unsafe extern "system" fn wait_for_fences(
    _: vk::Device,
    _: u32,
    _: *const vk::Fence,
    _: vk::Bool32,
    _: u64,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn get_fence_status(_: vk::Device, _: vk::Fence) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn reset_fences(_: vk::Device, _: u32, _: *const vk::Fence) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn create_semaphore(
    _: vk::Device,
    _: *const vk::SemaphoreCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Semaphore,
) -> vk::Result {
    // SAFETY: the caller gives a place for the handle.
    unsafe { out.write(vk::Semaphore::from_raw(fresh())) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_semaphore(
    _: vk::Device,
    _: vk::Semaphore,
    _: *const vk::AllocationCallbacks<'_>,
) {
}

unsafe extern "system" fn signal_semaphore(
    _: vk::Device,
    _: *const vk::SemaphoreSignalInfo<'_>,
) -> vk::Result {
    vk::Result::SUCCESS
}

unsafe extern "system" fn allocate_memory(
    _: vk::Device,
    _: *const vk::MemoryAllocateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: the caller gives a place for the handle.
    unsafe { out.write(vk::DeviceMemory::from_raw(fresh())) };
    vk::Result::SUCCESS
}

unsafe extern "system" fn free_memory(
    _: vk::Device,
    _: vk::DeviceMemory,
    _: *const vk::AllocationCallbacks<'_>,
) {
}

unsafe extern "system" fn host_pointer_properties(
    _: vk::Device,
    _: vk::ExternalMemoryHandleTypeFlags,
    _: *const c_void,
    out: *mut vk::MemoryHostPointerPropertiesEXT<'_>,
) -> vk::Result {
    // SAFETY: the caller gives a valid structure.
    unsafe { (*out).memory_type_bits = 0b10 };
    vk::Result::SUCCESS
}

unsafe extern "system" fn create_buffer(
    _: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Buffer,
) -> vk::Result {
    let handle = fresh();
    // SAFETY: the caller gives a valid structure and a place for the handle.
    unsafe {
        sizes().insert(handle, (*info).size);
        out.write(vk::Buffer::from_raw(handle));
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_buffer(
    _: vk::Device,
    buffer: vk::Buffer,
    _: *const vk::AllocationCallbacks<'_>,
) {
    sizes().remove(&buffer.as_raw());
}

fn requirements_of(handle: u64) -> vk::MemoryRequirements {
    requirements(sizes().get(&handle).copied().unwrap_or(0))
}

unsafe extern "system" fn buffer_requirements(
    _: vk::Device,
    buffer: vk::Buffer,
    out: *mut vk::MemoryRequirements,
) {
    // SAFETY: the caller gives a place for the structure.
    unsafe { out.write(requirements_of(buffer.as_raw())) };
}

unsafe extern "system" fn buffer_requirements2(
    _: vk::Device,
    info: *const vk::BufferMemoryRequirementsInfo2<'_>,
    out: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the caller gives valid structures.
    unsafe { (*out).memory_requirements = requirements_of((*info).buffer.as_raw()) };
}

unsafe extern "system" fn device_buffer_requirements(
    _: vk::Device,
    info: *const vk::DeviceBufferMemoryRequirements<'_>,
    out: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the caller gives valid structures; the inner one may be null in a hostile request.
    unsafe {
        (*out).memory_requirements = requirements((*info).p_create_info.as_ref().map_or(0, |info| info.size));
    };
}

fn image_size(info: Option<&vk::ImageCreateInfo<'_>>) -> u64 {
    let Some(info) = info else { return 0 };
    let extent = info.extent;
    let factors =
        [extent.width, extent.height, extent.depth, info.array_layers, info.samples.as_raw().max(1)];
    let texels = factors.into_iter().fold(TEXEL, |product, factor| product.saturating_mul(factor.into()));
    // A chain of mipmaps adds a third.
    texels.saturating_add(texels / 3)
}

unsafe extern "system" fn create_image(
    _: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Image,
) -> vk::Result {
    let handle = fresh();
    // SAFETY: the caller gives a valid structure and a place for the handle.
    unsafe {
        sizes().insert(handle, image_size(info.as_ref()));
        out.write(vk::Image::from_raw(handle));
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_image(
    _: vk::Device,
    image: vk::Image,
    _: *const vk::AllocationCallbacks<'_>,
) {
    sizes().remove(&image.as_raw());
}

unsafe extern "system" fn image_requirements(
    _: vk::Device,
    image: vk::Image,
    out: *mut vk::MemoryRequirements,
) {
    // SAFETY: the caller gives a place for the structure.
    unsafe { out.write(requirements_of(image.as_raw())) };
}

unsafe extern "system" fn image_requirements2(
    _: vk::Device,
    info: *const vk::ImageMemoryRequirementsInfo2<'_>,
    out: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the caller gives valid structures.
    unsafe { (*out).memory_requirements = requirements_of((*info).image.as_raw()) };
}

unsafe extern "system" fn device_image_requirements(
    _: vk::Device,
    info: *const vk::DeviceImageMemoryRequirements<'_>,
    out: *mut vk::MemoryRequirements2<'_>,
) {
    // SAFETY: the caller gives valid structures; the inner one may be null in a hostile request.
    unsafe { (*out).memory_requirements = requirements(image_size((*info).p_create_info.as_ref())) };
}

unsafe extern "system" fn layout_support(
    _: vk::Device,
    _: *const vk::DescriptorSetLayoutCreateInfo<'_>,
    out: *mut vk::DescriptorSetLayoutSupport<'_>,
) {
    // SAFETY: the caller gives a valid structure.
    unsafe { (*out).supported = vk::TRUE };
}
