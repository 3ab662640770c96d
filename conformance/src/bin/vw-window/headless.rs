//! A window that there is not.

use ash::{ext, vk};

use crate::window::Window;

pub(crate) struct HeadlessWindow {
    size: vk::Extent2D,
}

impl HeadlessWindow {
    pub(crate) fn open(width: u16, height: u16) -> Self {
        Self { size: vk::Extent2D { width: width.into(), height: height.into() } }
    }
}

impl Window for HeadlessWindow {
    unsafe fn surface(
        &self,
        entry: &ash::Entry,
        instance: &ash::Instance,
        _: vk::PhysicalDevice,
    ) -> vk::SurfaceKHR {
        let functions = ext::headless_surface::Instance::new(entry, instance);
        functions.create_headless_surface(&vk::HeadlessSurfaceCreateInfoEXT::default(), None).unwrap()
    }

    fn size(&self) -> vk::Extent2D {
        self.size
    }

    fn resize(&mut self, width: u32, height: u32) {
        self.size = vk::Extent2D { width, height };
    }

    fn hide(&self) {
        // Nobody sees it anyway.
    }

    fn show(&self) {
        // Nobody will.
    }

    fn destroy(&self) {
        unreachable!("it cannot be destroyed");
    }

    fn shows(&mut self, _: vk::Extent2D, _: &[u8]) -> bool {
        unreachable!("it shows nothing");
    }
}
