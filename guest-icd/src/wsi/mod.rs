//! Presentation: surfaces, swapchains and frames. All of it is the guest's; the host sees images, copies and submissions.
//!
//! The image of a swapchain is an ordinary image of the host's. `vkQueuePresentKHR` submits one copy of it to pages that the
//! guest sees (`images`), a thread of the swapchain waits until that is finished and has the window system show these very
//! pages (`pacer`, over a `screen`).

mod headless;
mod images;
mod owed;
mod pacer;
mod present;
mod screen;
mod submissions;
mod surface;
mod swapchain;
mod wayland;
mod window;
mod x11;

pub(crate) use images::aliased;
pub(crate) use owed::Owed;
pub(crate) use present::{vkQueuePresentKHR, vkWaitForPresentKHR};
pub(crate) use submissions::{Lists, Submissions};
pub(crate) use surface::{
    vkDestroySurfaceKHR, vkGetDeviceGroupPresentCapabilitiesKHR, vkGetDeviceGroupSurfacePresentModesKHR,
    vkGetPhysicalDevicePresentRectanglesKHR, vkGetPhysicalDeviceSurfaceCapabilities2KHR,
    vkGetPhysicalDeviceSurfaceCapabilitiesKHR, vkGetPhysicalDeviceSurfaceFormats2KHR,
    vkGetPhysicalDeviceSurfaceFormatsKHR, vkGetPhysicalDeviceSurfacePresentModesKHR,
    vkGetPhysicalDeviceSurfaceSupportKHR,
};
pub(crate) use swapchain::{
    Swapchain, bound, vkAcquireNextImage2KHR, vkAcquireNextImageKHR, vkCreateSwapchainKHR,
    vkDestroySwapchainKHR, vkGetSwapchainImagesKHR, vkReleaseSwapchainImagesEXT,
};
pub(crate) use wayland::{vkCreateWaylandSurfaceKHR, vkGetPhysicalDeviceWaylandPresentationSupportKHR};
pub(crate) use window::vkCreateHeadlessSurfaceEXT;
pub(crate) use x11::{
    vkCreateXcbSurfaceKHR, vkCreateXlibSurfaceKHR, vkGetPhysicalDeviceXcbPresentationSupportKHR,
    vkGetPhysicalDeviceXlibPresentationSupportKHR,
};
