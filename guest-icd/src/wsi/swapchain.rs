//! `VkSwapchainKHR`

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::generated::handles::HandleType;

use crate::chain;
use crate::device;
use crate::dispatch;
use crate::enumerate;
use crate::forward;
use crate::session::Session;

use super::images::Images;
use super::owed::Signalled;
use super::pacer::Pacer;
use super::window::Surface;

/// A swapchain.
pub(crate) struct Swapchain {
    pub(super) images: Images,
    pub(super) pacer: Arc<Pacer>,
    /// Number of its surface.
    pub(super) surface: u64,
    /// When frames are to be seen that do not say it themselves.
    pub(super) mode: vk::PresentModeKHR,
    /// Handle of the device, as an address.
    pub(super) device: usize,
}

impl Swapchain {
    /// Memory of an image and its offset there.
    pub(crate) fn memory(&self, image: u32) -> Option<(u64, u64)> {
        self.images.memory(image)
    }

    /// Ends the swapchains of a device that a program leaves behind. Their images go with the device.
    pub(crate) fn abandon(session: &Session, device: usize) {
        for (id, swapchain) in session.objects.swapchains.remove_all(|swapchain| swapchain.device == device) {
            swapchain.pacer.close();
            session.free_id(HandleType::SwapchainKHR, id);
        }
    }
}

/// `vkCreateSwapchainKHR`
pub(crate) unsafe extern "system" fn vkCreateSwapchainKHR(
    device: *mut c_void,
    info: *const vk::SwapchainCreateInfoKHR<'_>,
    callbacks: *const c_void,
    swapchain: *mut u64,
) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            swapchain.write(0);
            // Also where this one cannot be made.
            if let Some(old) = session.objects.swapchains.get((*info).old_swapchain.as_raw()) {
                old.pacer.retire();
            }
            let made = match create(session, device, &*info) {
                Ok(made) => made,
                Err(result) => return result,
            };
            let allocator = device::allocator(device, callbacks);
            let Some(id) = session.allocate_id(HandleType::SwapchainKHR, allocator) else {
                made.pacer.close();
                made.images.destroy(device);
                return vk::Result::ERROR_OUT_OF_HOST_MEMORY;
            };
            session.objects.swapchains.insert(id, Arc::new(made));
            swapchain.write(id);
            vk::Result::SUCCESS
        })
    }
    .as_raw()
}

/// As `vkCreateSwapchainKHR`.
unsafe fn create(
    session: &Arc<Session>,
    device: *mut c_void,
    info: &vk::SwapchainCreateInfoKHR<'_>,
) -> Result<Swapchain, vk::Result> {
    let mut images = Images::default();
    // SAFETY: the caller's promise; what was made of the images is destroyed where anything fails.
    unsafe {
        let surface = Surface::of(info.surface).ok_or(vk::Result::ERROR_SURFACE_LOST_KHR)?;
        let pacer = images.make(session, device, info).and_then(|shown| {
            let screen = surface.window.open(shown, info.composite_alpha)?;
            Pacer::start(session, screen, info.min_image_count)
        });
        match pacer {
            Ok(pacer) => Ok(Swapchain {
                images,
                pacer,
                surface: surface.number,
                mode: info.present_mode,
                device: device as usize,
            }),
            Err(result) => {
                images.destroy(device);
                Err(result)
            }
        }
    }
}

/// `vkDestroySwapchainKHR`
pub(crate) unsafe extern "system" fn vkDestroySwapchainKHR(
    device: *mut c_void,
    swapchain: u64,
    _: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, (), || {
            if let Some(session) = dispatch::session(device)
                && let Some(state) = session.objects.swapchains.remove(swapchain)
            {
                state.pacer.close();
                // Of the last frames; a host that is gone need not know.
                let _ = state.pacer.tell_shown(session);
                state.images.destroy(device);
                session.free_id(HandleType::SwapchainKHR, swapchain);
            }
        });
    }
}

/// `vkGetSwapchainImagesKHR`
pub(crate) unsafe extern "system" fn vkGetSwapchainImagesKHR(
    device: *mut c_void,
    swapchain: u64,
    count: *mut u32,
    images: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command: room for `count` handles, or null.
    unsafe {
        match dispatch::session(device).and_then(|session| session.objects.swapchains.get(swapchain)) {
            Some(swapchain) => enumerate::copy(swapchain.images.handles(), count, images),
            None => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
        }
    }
    .as_raw()
}

/// `vkAcquireNextImageKHR`
pub(crate) unsafe extern "system" fn vkAcquireNextImageKHR(
    device: *mut c_void,
    swapchain: u64,
    timeout: u64,
    semaphore: u64,
    fence: u64,
    image: *mut u32,
) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            let Some(swapchain) = session.objects.swapchains.get(swapchain) else { return lost };
            if session.lost_now() {
                return lost;
            }
            match swapchain.pacer.acquire(timeout) {
                Ok((index, result)) => {
                    image.write(index);
                    if semaphore != 0 {
                        // What other processes wait for is no debt of this one's submissions.
                        match session.objects.semaphores.get(semaphore).and_then(|s| s.payloads.current()) {
                            Some(shared) => shared.payload.set(),
                            None => session.objects.owed.signal(semaphore, Signalled::Now),
                        }
                    }
                    if let Some(fence) = session.objects.fences.get(fence) {
                        fence.signal();
                        session.wake_waiters();
                    }
                    result
                }
                Err(result) => result,
            }
        })
    }
    .as_raw()
}

/// `vkAcquireNextImage2KHR`
pub(crate) unsafe extern "system" fn vkAcquireNextImage2KHR(
    device: *mut c_void,
    info: *const vk::AcquireNextImageInfoKHR<'_>,
    image: *mut u32,
) -> i32 {
    // SAFETY: the application's valid usage of this command. (The device mask has the one device.)
    unsafe {
        let info = &*info;
        let (semaphore, fence) = (info.semaphore.as_raw(), info.fence.as_raw());
        vkAcquireNextImageKHR(device, info.swapchain.as_raw(), info.timeout, semaphore, fence, image)
    }
}

/// `vkReleaseSwapchainImagesEXT`
pub(crate) unsafe extern "system" fn vkReleaseSwapchainImagesEXT(
    device: *mut c_void,
    info: *const vk::ReleaseSwapchainImagesInfoEXT<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command: as many images as the info says.
    unsafe {
        let info = &*info;
        let session = dispatch::session(device);
        if let Some(swapchain) =
            session.and_then(|session| session.objects.swapchains.get(info.swapchain.as_raw()))
        {
            for i in 0..info.image_index_count as usize {
                swapchain.pacer.release(*info.p_image_indices.add(i));
            }
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// The place in memory of the image that a binding names by its swapchain.
///
/// # Safety
/// `info` must be valid.
pub(crate) unsafe fn bound(session: &Session, info: &vk::BindImageMemoryInfo<'_>) -> Option<(u64, u64)> {
    // SAFETY: the caller's promise.
    let swapchain = unsafe { chain::find::<vk::BindImageMemorySwapchainInfoKHR<'_>>(info.p_next).as_ref() }?;
    session.objects.swapchains.get(swapchain.swapchain.as_raw())?.memory(swapchain.image_index)
}
