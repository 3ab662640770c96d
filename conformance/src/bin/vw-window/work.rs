//! What is done to the window.

use std::path::Path;
use std::time::{Duration, Instant};

use ash::vk;

use crate::Kind;
use crate::gpu::{Gpu, PATIENCE, Picture};
use crate::window::{self, Window};

/// Size of the window at first.
const SIZE: vk::Extent2D = vk::Extent2D { width: 173, height: 121 };

/// A window and a device that presents to it.
pub(crate) struct Stage {
    gpu: Gpu,
    window: Box<dyn Window>,
    surface: vk::SurfaceKHR,
}

/// A swapchain and what its frames need.
struct Chain {
    handle: vk::SwapchainKHR,
    images: Vec<vk::Image>,
    extent: vk::Extent2D,
    picture: Picture,
    cb: vk::CommandBuffer,
    acquired: vk::Semaphore,
    drawn: vk::Semaphore,
    relayed: vk::Semaphore,
    fence: vk::Fence,
}

unsafe fn open_window(gpu: &Gpu, kind: Kind) -> (Box<dyn Window>, vk::SurfaceKHR) {
    let window = window::open(kind, SIZE.width as u16, SIZE.height as u16);
    let surface = window.surface(&gpu.entry, &gpu.instance, gpu.physical);
    assert!(gpu.surfaces.get_physical_device_surface_support(gpu.physical, 0, surface).unwrap());
    (window, surface)
}

impl Stage {
    pub(crate) unsafe fn open(kind: Kind) -> Self {
        let gpu = Gpu::open(kind);
        let (window, surface) = open_window(&gpu, kind);
        Self { gpu, window, surface }
    }

    /// Closes the window, to which there is no swapchain any more, and opens another.
    unsafe fn reopen(&mut self, kind: Kind) {
        self.gpu.surfaces.destroy_surface(self.surface, None);
        self.window.destroy();
        (self.window, self.surface) = open_window(&self.gpu, kind);
    }

    pub(crate) unsafe fn close(self) {
        self.gpu.surfaces.destroy_surface(self.surface, None);
        self.gpu.close();
    }

    unsafe fn capabilities(&self) -> Result<vk::SurfaceCapabilitiesKHR, vk::Result> {
        self.gpu.surfaces.get_physical_device_surface_capabilities(self.gpu.physical, self.surface)
    }

    /// The present modes of the surface.
    unsafe fn modes(&self) -> Vec<vk::PresentModeKHR> {
        let gpu = &self.gpu;
        gpu.surfaces.get_physical_device_surface_present_modes(gpu.physical, self.surface).unwrap()
    }

    /// The mode that waits least for the server.
    unsafe fn unpaced(&self) -> vk::PresentModeKHR {
        let wanted = [vk::PresentModeKHR::IMMEDIATE, vk::PresentModeKHR::MAILBOX];
        let modes = self.modes();
        wanted.into_iter().find(|mode| modes.contains(mode)).unwrap_or(vk::PresentModeKHR::FIFO)
    }

    unsafe fn chain(&self, mode: vk::PresentModeKHR, old: vk::SwapchainKHR) -> Result<Chain, vk::Result> {
        let gpu = &self.gpu;
        let found = self.capabilities()?;
        let undefined = found.current_extent.width == u32::MAX;
        let extent = if undefined { self.window.size() } else { found.current_extent };
        let alpha = [vk::CompositeAlphaFlagsKHR::OPAQUE, vk::CompositeAlphaFlagsKHR::INHERIT];
        let alpha = alpha.into_iter().find(|alpha| found.supported_composite_alpha.contains(*alpha)).unwrap();
        let info = vk::SwapchainCreateInfoKHR::default()
            .surface(self.surface)
            .min_image_count(found.min_image_count)
            .image_format(vk::Format::B8G8R8A8_UNORM)
            .image_color_space(vk::ColorSpaceKHR::SRGB_NONLINEAR)
            .image_extent(extent)
            .image_array_layers(1)
            .image_usage(vk::ImageUsageFlags::TRANSFER_DST)
            .pre_transform(vk::SurfaceTransformFlagsKHR::IDENTITY)
            .composite_alpha(alpha)
            .present_mode(mode)
            .clipped(true)
            .old_swapchain(old);
        let handle = gpu.chains.create_swapchain(&info, None)?;
        let semaphore = || gpu.device.create_semaphore(&vk::SemaphoreCreateInfo::default(), None).unwrap();
        let fence = vk::FenceCreateInfo::default().flags(vk::FenceCreateFlags::SIGNALED);
        Ok(Chain {
            handle,
            images: gpu.chains.get_swapchain_images(handle)?,
            extent,
            picture: gpu.picture(extent.width * extent.height),
            cb: gpu.command_buffer(),
            acquired: semaphore(),
            drawn: semaphore(),
            relayed: semaphore(),
            fence: gpu.device.create_fence(&fence, None).unwrap(),
        })
    }

    unsafe fn drop_chain(&self, chain: &Chain) {
        let device = &self.gpu.device;
        device.device_wait_idle().unwrap();
        self.gpu.chains.destroy_swapchain(chain.handle, None);
        self.gpu.destroy_picture(&chain.picture);
        device.free_command_buffers(self.gpu.pool, &[chain.cb]);
        for semaphore in [chain.acquired, chain.drawn, chain.relayed] {
            device.destroy_semaphore(semaphore, None);
        }
        device.destroy_fence(chain.fence, None);
    }

    /// A frame; true if the swapchain no longer fits. Also what was drawn.
    unsafe fn frame(&self, chain: &Chain, number: u32) -> Result<(bool, Vec<u8>), vk::Result> {
        let Gpu { device, chains, queue, .. } = &self.gpu;
        device.wait_for_fences(&[chain.fence], true, PATIENCE)?;
        let none = vk::Fence::null();
        let (index, poor) = chains.acquire_next_image(chain.handle, PATIENCE, chain.acquired, none)?;
        let drawn = chain.picture.draw(chain.extent, number);
        self.gpu.record(chain.cb, &chain.picture, chain.images[index as usize], chain.extent);
        device.reset_fences(&[chain.fence])?;
        let (acquired, drawn_at, relayed) = ([chain.acquired], [chain.drawn], [chain.relayed]);
        let (buffers, stages) = ([chain.cb], [vk::PipelineStageFlags::TRANSFER]);
        let submit = vk::SubmitInfo::default()
            .wait_semaphores(&acquired)
            .wait_dst_stage_mask(&stages)
            .command_buffers(&buffers)
            .signal_semaphores(&drawn_at);
        // Now and then it is not the presentation that waits for the drawing.
        let relays = number % 4 == 1;
        let relay = vk::SubmitInfo::default()
            .wait_semaphores(&drawn_at)
            .wait_dst_stage_mask(&stages)
            .signal_semaphores(&relayed);
        if relays {
            device.queue_submit(*queue, &[submit], none)?;
            device.queue_submit(*queue, &[relay], chain.fence)?;
        } else {
            device.queue_submit(*queue, &[submit], chain.fence)?;
        }
        let (handles, indices) = ([chain.handle], [index]);
        let info = vk::PresentInfoKHR::default()
            .wait_semaphores(if relays { &relayed } else { &drawn_at })
            .swapchains(&handles)
            .image_indices(&indices);
        let poor_too = chains.queue_present(*queue, &info)?;
        Ok((poor || poor_too, drawn))
    }

    /// Waits until the window shows the picture.
    fn expect(&mut self, what: &str, extent: vk::Extent2D, drawn: &[u8]) {
        let started = Instant::now();
        while !self.window.shows(extent, drawn) {
            assert!(started.elapsed() < Duration::from_secs(60), "{what}: not what was drawn");
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("{what}: shown as drawn");
    }
}

pub(crate) unsafe fn pictures(stage: &mut Stage) {
    let found = stage.capabilities().unwrap();
    println!("extent: {:x} {:x}", found.current_extent.width, found.current_extent.height);
    let mut modes = stage.modes();
    modes.sort();
    for mode in modes {
        let chain = stage.chain(mode, vk::SwapchainKHR::null()).unwrap();
        for number in 0..12 {
            let (poor, drawn) = stage.frame(&chain, number).unwrap();
            assert!(!poor);
            // Now and then, so that frames also follow each other closely.
            if number % 4 == 3 {
                stage.expect(&format!("{mode:?} {number}"), chain.extent, &drawn);
            }
        }
        stage.drop_chain(&chain);
    }
}

pub(crate) unsafe fn resizes(stage: &mut Stage, rounds: u32) {
    let mode = stage.unpaced();
    let mut chain = stage.chain(mode, vk::SwapchainKHR::null()).unwrap();
    for round in 0..rounds {
        let (width, height) = (1 + round * 7 % 301, 1 + round * 13 % 211);
        stage.window.resize(width, height);
        let mut last = None;
        // The frame on its way may be of the old size yet.
        for number in 0..50 {
            match stage.frame(&chain, number) {
                Ok((false, drawn)) if (chain.extent.width, chain.extent.height) == (width, height) => {
                    last = Some(drawn);
                    break;
                }
                Ok(_) | Err(vk::Result::ERROR_OUT_OF_DATE_KHR) => {
                    let next = stage.chain(mode, chain.handle).unwrap();
                    stage.drop_chain(&std::mem::replace(&mut chain, next));
                }
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        let drawn = last.unwrap_or_else(|| panic!("round {round}: the swapchain never fits"));
        if round % 100 == 0 {
            stage.expect(&format!("{width}x{height}"), chain.extent, &drawn);
        }
    }
    stage.drop_chain(&chain);
}

pub(crate) unsafe fn swapchains(stage: &mut Stage, count: u32) {
    for number in 0..count {
        let chain = stage.chain(vk::PresentModeKHR::MAILBOX, vk::SwapchainKHR::null()).unwrap();
        let (_, drawn) = stage.frame(&chain, number).unwrap();
        if number % 20 == 0 {
            stage.expect(&format!("swapchain {number}"), chain.extent, &drawn);
        }
        stage.drop_chain(&chain);
    }
    let mut chains: Vec<Chain> = Vec::new();
    for number in 0..count {
        let old = chains.last().map_or(vk::SwapchainKHR::null(), |chain| chain.handle);
        let chain = stage.chain(vk::PresentModeKHR::FIFO, old).unwrap();
        stage.frame(&chain, number).unwrap();
        if let Some(retired) = chains.last() {
            let none = vk::Fence::null();
            let got = stage.gpu.chains.acquire_next_image(retired.handle, 0, retired.acquired, none);
            assert_eq!(got, Err(vk::Result::ERROR_OUT_OF_DATE_KHR));
        }
        chains.push(chain);
    }
    println!("{} at a time", chains.len());
    chains.iter().for_each(|chain| stage.drop_chain(chain));
}

pub(crate) unsafe fn leaks(stage: &mut Stage, resources: impl Fn() -> u32) {
    for _ in 0..5 {
        resizes(stage, 250);
        swapchains(stage, 25);
        // The host has heard of everything before it.
        let Gpu { device, queue, .. } = &stage.gpu;
        let fence = device.create_fence(&vk::FenceCreateInfo::default(), None).unwrap();
        device.queue_submit(*queue, &[], fence).unwrap();
        device.wait_for_fences(&[fence], true, PATIENCE).unwrap();
        device.destroy_fence(fence, None);
        println!("resources: {}", resources());
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
}

pub(crate) unsafe fn hidden(stage: &mut Stage) {
    let chain = stage.chain(vk::PresentModeKHR::FIFO, vk::SwapchainKHR::null()).unwrap();
    for number in 0..10 {
        stage.frame(&chain, number).unwrap();
    }
    stage.window.hide();
    for number in 0..10 {
        stage.frame(&chain, number).unwrap();
    }
    stage.window.show();
    let (_, drawn) = stage.frame(&chain, 77).unwrap();
    stage.expect("after it was hidden", chain.extent, &drawn);
    stage.drop_chain(&chain);
}

/// Presents until that fails.
unsafe fn until_lost(stage: &Stage, chain: &Chain) -> vk::Result {
    let started = Instant::now();
    for number in 0.. {
        match stage.frame(chain, number) {
            Ok(_) => assert!(started.elapsed() < Duration::from_secs(20), "still presenting"),
            Err(error) => return error,
        }
    }
    unreachable!("the loop has no end")
}

/// Whether these are errors of windows that are gone.
fn is_loss(error: vk::Result) -> bool {
    matches!(error, vk::Result::ERROR_SURFACE_LOST_KHR | vk::Result::ERROR_OUT_OF_DATE_KHR)
}

pub(crate) unsafe fn destroyed(stage: &mut Stage) {
    for mode in [stage.unpaced(), vk::PresentModeKHR::FIFO] {
        let mut chain = stage.chain(mode, vk::SwapchainKHR::null());
        if let Ok(chain) = &chain {
            for number in 0..5 {
                stage.frame(chain, number).unwrap();
            }
            stage.window.destroy();
            let error = until_lost(stage, chain);
            assert!(is_loss(error), "{error:?}");
            println!("destroyed: the surface is lost");
            stage.drop_chain(chain);
        } else {
            let error = chain.as_mut().err().copied();
            assert!(error.is_some_and(is_loss), "{error:?}");
            println!("after that: no swapchain");
        }
    }
    assert!(stage.capabilities().is_err_and(is_loss));
}

pub(crate) unsafe fn closed(stage: &mut Stage, kind: Kind, windows: u32) {
    let modes = [vk::PresentModeKHR::FIFO, vk::PresentModeKHR::MAILBOX];
    for number in 0..windows {
        let chain = stage.chain(modes[number as usize % modes.len()], vk::SwapchainKHR::null()).unwrap();
        // The last of them has not been shown when the window goes.
        for frame in 0..=number % 5 {
            stage.frame(&chain, frame).unwrap();
        }
        stage.drop_chain(&chain);
        stage.reopen(kind);
    }
    println!("{windows} closed");
    // The last one is as good as the first.
    let chain = stage.chain(vk::PresentModeKHR::FIFO, vk::SwapchainKHR::null()).unwrap();
    let (_, drawn) = stage.frame(&chain, 1).unwrap();
    stage.expect("after them", chain.extent, &drawn);
    stage.drop_chain(&chain);
}

pub(crate) unsafe fn orphaned(stage: &mut Stage) {
    let chain = stage.chain(vk::PresentModeKHR::FIFO, vk::SwapchainKHR::null()).unwrap();
    for number in 0..5 {
        stage.frame(&chain, number).unwrap();
    }
    println!("presenting");
    let error = until_lost(stage, &chain);
    assert!(is_loss(error), "{error:?}");
    println!("orphaned: the surface is lost");
    stage.drop_chain(&chain);
}

pub(crate) unsafe fn still(stage: &mut Stage, output: &Path, frames: u32, mailbox: bool) {
    let mode = if mailbox { vk::PresentModeKHR::MAILBOX } else { vk::PresentModeKHR::FIFO };
    let chain = stage.chain(mode, vk::SwapchainKHR::null()).unwrap();
    let mut drawn = Vec::new();
    for number in 0..frames {
        drawn = stage.frame(&chain, number).unwrap().1;
    }
    std::fs::write(output, drawn).unwrap();
    println!("still");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    stage.drop_chain(&chain);
}

pub(crate) unsafe fn rate(stage: &mut Stage, seconds: u64) {
    for mode in stage.modes() {
        let chain = stage.chain(mode, vk::SwapchainKHR::null()).unwrap();
        let (started, mut frames) = (Instant::now(), 0);
        while started.elapsed() < Duration::from_secs(seconds) {
            stage.frame(&chain, frames).unwrap();
            frames += 1;
        }
        println!("{mode:?}: {:.1} frames/s", f64::from(frames) / started.elapsed().as_secs_f64());
        stage.drop_chain(&chain);
    }
}
