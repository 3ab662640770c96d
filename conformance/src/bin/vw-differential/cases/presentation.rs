//! Swapchains of a headless surface: everything about presentation but the window.

use std::collections::BTreeSet;
use std::ffi::CStr;

use ash::{ext, khr, vk};

use crate::commands::PATIENCE;
use crate::extensions::offered;
use crate::gpu::Gpu;
use crate::report::Report;

/// Device extensions beside `VK_KHR_swapchain`, each used where it is offered.
const OPTIONAL: [&CStr; 5] = [
    ext::swapchain_maintenance1::NAME,
    khr::incremental_present::NAME,
    khr::present_id::NAME,
    khr::present_wait::NAME,
    khr::swapchain_mutable_format::NAME,
];

/// Instance extensions of surfaces.
const SURFACES: [&CStr; 5] = [
    khr::surface::NAME,
    ext::headless_surface::NAME,
    khr::get_surface_capabilities2::NAME,
    ext::surface_maintenance1::NAME,
    c"VK_KHR_surface_protected_capabilities",
];

const EXTENT: vk::Extent2D = vk::Extent2D { width: 61, height: 47 };

const FORMAT: vk::Format = vk::Format::B8G8R8A8_UNORM;

const NO_FENCE: vk::Fence = vk::Fence::null();

/// An instance with surfaces and a device with swapchains.
struct Stage {
    instance: ash::Instance,
    physical: vk::PhysicalDevice,
    has: BTreeSet<&'static CStr>,
    surfaces: khr::surface::Instance,
    headless: ext::headless_surface::Instance,
    device: ash::Device,
    queue: vk::Queue,
    swapchains: khr::swapchain::Device,
    pool: vk::CommandPool,
}

impl Stage {
    unsafe fn open(gpu: &Gpu) -> Option<Self> {
        let available = gpu.entry.enumerate_instance_extension_properties(None).unwrap();
        let known = |name: &CStr| available.iter().any(|e| e.extension_name_as_c_str() == Ok(name));
        if !known(khr::surface::NAME) || !known(ext::headless_surface::NAME) {
            return None;
        }
        let mut has: BTreeSet<&CStr> = SURFACES.into_iter().filter(|name| known(name)).collect();
        let names: Vec<_> = has.iter().map(|name| name.as_ptr()).collect();
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info =
            vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(&names);
        let instance = gpu.entry.create_instance(&info, None).unwrap();
        let physical = instance.enumerate_physical_devices().unwrap()[0];
        let offered = offered(&instance, physical);
        has.extend(OPTIONAL.into_iter().filter(|name| offered.contains(*name)));
        let mut names: Vec<_> =
            OPTIONAL.iter().filter(|name| offered.contains(**name)).map(|name| name.as_ptr()).collect();
        names.push(khr::swapchain::NAME.as_ptr());
        let mut maintenance = vk::PhysicalDeviceSwapchainMaintenance1FeaturesEXT::default();
        let mut id = vk::PhysicalDevicePresentIdFeaturesKHR::default();
        let mut wait = vk::PhysicalDevicePresentWaitFeaturesKHR::default();
        let mut synchronization = vk::PhysicalDeviceSynchronization2Features::default();
        let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut synchronization);
        if has.contains(ext::swapchain_maintenance1::NAME) {
            features = features.push_next(&mut maintenance);
        }
        if has.contains(khr::present_id::NAME) {
            features = features.push_next(&mut id);
        }
        if has.contains(khr::present_wait::NAME) {
            features = features.push_next(&mut wait);
        }
        instance.get_physical_device_features2(physical, &mut features);
        let queues =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(gpu.family).queue_priorities(&[1.0])];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut features);
        let device = instance.create_device(physical, &info, None).unwrap();
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
        Some(Self {
            surfaces: khr::surface::Instance::new(&gpu.entry, &instance),
            headless: ext::headless_surface::Instance::new(&gpu.entry, &instance),
            swapchains: khr::swapchain::Device::new(&instance, &device),
            queue: device.get_device_queue(gpu.family, 0),
            pool: device.create_command_pool(&info, None).unwrap(),
            instance,
            physical,
            has,
            device,
        })
    }

    unsafe fn surface(&self) -> vk::SurfaceKHR {
        self.headless.create_headless_surface(&vk::HeadlessSurfaceCreateInfoEXT::default(), None).unwrap()
    }

    /// A swapchain of at least three images.
    unsafe fn swapchain(
        &self,
        surface: vk::SurfaceKHR,
        mode: vk::PresentModeKHR,
        change: impl FnOnce(&mut vk::SwapchainCreateInfoKHR<'_>),
    ) -> vk::SwapchainKHR {
        let needs = self.surfaces.get_physical_device_surface_capabilities(self.physical, surface).unwrap();
        let mut info = vk::SwapchainCreateInfoKHR::default()
            .surface(surface)
            .min_image_count(needs.min_image_count.max(3))
            .image_format(FORMAT)
            .image_color_space(vk::ColorSpaceKHR::SRGB_NONLINEAR)
            .image_extent(EXTENT)
            .image_array_layers(1)
            .image_usage(vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_DST)
            .pre_transform(vk::SurfaceTransformFlagsKHR::IDENTITY)
            .composite_alpha(vk::CompositeAlphaFlagsKHR::OPAQUE)
            .present_mode(mode)
            .clipped(true);
        change(&mut info);
        self.swapchains.create_swapchain(&info, None).unwrap()
    }

    unsafe fn semaphore(&self) -> vk::Semaphore {
        self.device.create_semaphore(&vk::SemaphoreCreateInfo::default(), None).unwrap()
    }

    /// Clears an image, from any layout to that of images which are presented.
    unsafe fn clear(&self, image: vk::Image, colour: [f32; 4]) -> vk::CommandBuffer {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        let cb = self.device.allocate_command_buffers(&info).unwrap()[0];
        let range = vk::ImageSubresourceRange::default()
            .aspect_mask(vk::ImageAspectFlags::COLOR)
            .level_count(1)
            .layer_count(1);
        let to_layout = |old, new| {
            vk::ImageMemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .dst_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .old_layout(old)
                .new_layout(new)
                .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .image(image)
                .subresource_range(range)
        };
        let (writable, shown) = (vk::ImageLayout::TRANSFER_DST_OPTIMAL, vk::ImageLayout::PRESENT_SRC_KHR);
        let transfer = vk::PipelineStageFlags::TRANSFER;
        let none = vk::DependencyFlags::empty();
        self.device.begin_command_buffer(cb, &vk::CommandBufferBeginInfo::default()).unwrap();
        let barrier = to_layout(vk::ImageLayout::UNDEFINED, writable);
        self.device.cmd_pipeline_barrier(cb, transfer, transfer, none, &[], &[], &[barrier]);
        let colour = vk::ClearColorValue { float32: colour };
        self.device.cmd_clear_color_image(cb, image, writable, &colour, &[range]);
        let barrier = to_layout(writable, shown);
        self.device.cmd_pipeline_barrier(cb, transfer, transfer, none, &[], &[], &[barrier]);
        self.device.end_command_buffer(cb).unwrap();
        cb
    }

    unsafe fn close(self) {
        self.device.device_wait_idle().unwrap();
        self.device.destroy_command_pool(self.pool, None);
        self.device.destroy_device(None);
        self.instance.destroy_instance(None);
    }
}

/// Opens the stage, or says that there is none.
unsafe fn open(gpu: &Gpu, report: &Report) -> Option<Stage> {
    let stage = Stage::open(gpu);
    if stage.is_none() {
        report.line("headless surfaces", "not offered");
    }
    stage
}

/// What is said about a headless surface, as far as every driver must say the same.
pub(super) unsafe fn surface(gpu: &Gpu, report: &Report) {
    let Some(stage) = open(gpu, report) else { return };
    let surface = stage.surface();
    let (physical, surfaces) = (stage.physical, &stage.surfaces);
    report.debug("support", surfaces.get_physical_device_surface_support(physical, gpu.family, surface));
    let found = surfaces.get_physical_device_surface_capabilities(physical, surface).unwrap();
    report.debug("extent", (found.current_extent.width, found.current_extent.height));
    report.line("layers", found.max_image_array_layers);
    report.line("opaque", found.supported_composite_alpha.contains(vk::CompositeAlphaFlagsKHR::OPAQUE));
    report.line(
        "usage",
        format!("{:x}", (found.supported_usage_flags & vk::ImageUsageFlags::from_raw(0x9f)).as_raw()),
    );
    let formats = surfaces.get_physical_device_surface_formats(physical, surface).unwrap();
    report.line("format", formats.iter().any(|f| f.format == FORMAT));
    let modes = surfaces.get_physical_device_surface_present_modes(physical, surface).unwrap();
    report.line("fifo", modes.contains(&vk::PresentModeKHR::FIFO));
    if stage.has.contains(khr::get_surface_capabilities2::NAME) {
        let second = khr::get_surface_capabilities2::Instance::new(&gpu.entry, &stage.instance);
        let info = vk::PhysicalDeviceSurfaceInfo2KHR::default().surface(surface);
        let mut protected = vk::SurfaceProtectedCapabilitiesKHR::default();
        let mut all = vk::SurfaceCapabilities2KHR::default();
        if stage.has.contains(c"VK_KHR_surface_protected_capabilities") {
            all = all.push_next(&mut protected);
        }
        second.get_physical_device_surface_capabilities2(physical, &info, &mut all).unwrap();
        let same = all.surface_capabilities.min_image_count == found.min_image_count;
        report.line("second version is the same", same);
        report.debug("protected", protected.supports_protected);
        let count = second.get_physical_device_surface_formats2_len(physical, &info).unwrap();
        let mut list = vec![vk::SurfaceFormat2KHR::default(); count];
        second.get_physical_device_surface_formats2(physical, &info, &mut list).unwrap();
        let same = list.iter().zip(&formats).all(|(a, b)| a.surface_format.format == b.format);
        report.line("formats are the same", same && list.len() == formats.len());
    }
    if stage.has.contains(ext::surface_maintenance1::NAME) {
        let second = khr::get_surface_capabilities2::Instance::new(&gpu.entry, &stage.instance);
        let mut mode = vk::SurfacePresentModeEXT::default().present_mode(vk::PresentModeKHR::FIFO);
        let info = vk::PhysicalDeviceSurfaceInfo2KHR::default().surface(surface).push_next(&mut mode);
        let mut modes = [vk::PresentModeKHR::default(); 8];
        let mut compatible = vk::SurfacePresentModeCompatibilityEXT::default().present_modes(&mut modes);
        let mut scaling = vk::SurfacePresentScalingCapabilitiesEXT::default();
        let mut all =
            vk::SurfaceCapabilities2KHR::default().push_next(&mut compatible).push_next(&mut scaling);
        second.get_physical_device_surface_capabilities2(physical, &info, &mut all).unwrap();
        report.line("scaling", format!("{:x}", scaling.supported_present_scaling.as_raw()));
    }
    let group = khr::device_group::Instance::new(&gpu.entry, &stage.instance);
    let rectangles = group.get_physical_device_present_rectangles(physical, surface).unwrap();
    report.line("rectangles", rectangles.len());
    let group = khr::device_group::Device::new(&stage.instance, &stage.device);
    let mut capabilities = vk::DeviceGroupPresentCapabilitiesKHR::default();
    group.get_device_group_present_capabilities(&mut capabilities).unwrap();
    report.words("masks", &capabilities.present_mask[..2]);
    let modes = group.get_device_group_surface_present_modes(surface).unwrap();
    report.line("modes of the group", format!("{:x}", modes.as_raw()));
    surfaces.destroy_surface(surface, None);
    stage.close();
}

/// Frames, with everything that a program may hang on them.
pub(super) unsafe fn frames(gpu: &Gpu, report: &Report) {
    let Some(stage) = open(gpu, report) else { return };
    let (device, swapchains) = (&stage.device, &stage.swapchains);
    let surface = stage.surface();
    let swapchain = stage.swapchain(surface, vk::PresentModeKHR::FIFO, |_| {});
    let images = swapchains.get_swapchain_images(swapchain).unwrap();
    report.line("at least three images", images.len() >= 3);
    let fence = device.create_fence(&vk::FenceCreateInfo::default(), None).unwrap();
    let (ready, done) = (stage.semaphore(), stage.semaphore());
    let wait = khr::present_wait::Device::new(&stage.instance, device);
    for frame in 0..8u32 {
        // Both commands, and all that can be signalled.
        let signalled = if frame % 3 == 2 { vk::Semaphore::null() } else { ready };
        let got = if frame % 2 == 0 {
            swapchains.acquire_next_image(swapchain, PATIENCE, signalled, fence)
        } else {
            let info = vk::AcquireNextImageInfoKHR::default()
                .swapchain(swapchain)
                .timeout(PATIENCE)
                .semaphore(signalled)
                .fence(fence)
                .device_mask(1);
            swapchains.acquire_next_image2(&info)
        };
        let (index, suboptimal) = got.unwrap();
        report.debug(&format!("frame {frame} is suboptimal"), suboptimal);
        report.debug("acquired", device.wait_for_fences(&[fence], true, PATIENCE));
        device.reset_fences(&[fence]).unwrap();
        let cb = stage.clear(images[index as usize], [frame as f32 / 8.0, 0.25, 0.5, 1.0]);
        let (buffers, signals, stages) = ([cb], [done], [vk::PipelineStageFlags::TRANSFER]);
        let waits = [signalled];
        let waits = if signalled == ready { &waits[..] } else { &[] };
        // In a device group waits have a companion in the chain.
        let (indices, masks) = ([0], [1]);
        let mut group = vk::DeviceGroupSubmitInfo::default()
            .wait_semaphore_device_indices(&indices[..waits.len()])
            .command_buffer_device_masks(&masks)
            .signal_semaphore_device_indices(&indices);
        let mut submit = vk::SubmitInfo::default()
            .wait_semaphores(waits)
            .wait_dst_stage_mask(&stages[..waits.len()])
            .command_buffers(&buffers)
            .signal_semaphores(&signals);
        if frame % 4 == 1 {
            submit = submit.push_next(&mut group);
        }
        if frame % 4 == 3 {
            let all = vk::PipelineStageFlags2::ALL_COMMANDS;
            let waits: Vec<_> = waits
                .iter()
                .map(|wait| vk::SemaphoreSubmitInfo::default().semaphore(*wait).stage_mask(all))
                .collect();
            let signals = [vk::SemaphoreSubmitInfo::default().semaphore(done).stage_mask(all)];
            let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(cb)];
            let submit = vk::SubmitInfo2::default()
                .wait_semaphore_infos(&waits)
                .command_buffer_infos(&buffers)
                .signal_semaphore_infos(&signals);
            device.queue_submit2(stage.queue, &[submit], NO_FENCE).unwrap();
        } else {
            device.queue_submit(stage.queue, &[submit], NO_FENCE).unwrap();
        }
        let (chains, indices, ids) = ([swapchain], [index], [u64::from(frame) + 1]);
        let rectangles = [vk::RectLayerKHR {
            offset: vk::Offset2D { x: 3, y: 4 },
            extent: vk::Extent2D { width: 5, height: 6 },
            layer: 0,
        }];
        let regions = [vk::PresentRegionKHR::default().rectangles(&rectangles)];
        let mut regions = vk::PresentRegionsKHR::default().regions(&regions);
        let mut id = vk::PresentIdKHR::default().present_ids(&ids);
        let presented = [fence];
        let mut fences = vk::SwapchainPresentFenceInfoEXT::default().fences(&presented);
        let mut results = [vk::Result::ERROR_UNKNOWN];
        let mut info = vk::PresentInfoKHR::default()
            .wait_semaphores(&signals)
            .swapchains(&chains)
            .image_indices(&indices)
            .results(&mut results);
        if stage.has.contains(khr::incremental_present::NAME) {
            info = info.push_next(&mut regions);
        }
        if stage.has.contains(khr::present_id::NAME) {
            info = info.push_next(&mut id);
        }
        if stage.has.contains(ext::swapchain_maintenance1::NAME) {
            info = info.push_next(&mut fences);
        }
        report.debug("presented", swapchains.queue_present(stage.queue, &info));
        report.debug("result", results);
        if stage.has.contains(ext::swapchain_maintenance1::NAME) {
            device.wait_for_fences(&[fence], true, PATIENCE).unwrap();
            device.reset_fences(&[fence]).unwrap();
        }
        if stage.has.contains(khr::present_wait::NAME) && stage.has.contains(khr::present_id::NAME) {
            wait.wait_for_present(swapchain, ids[0], PATIENCE).unwrap();
        }
        device.queue_wait_idle(stage.queue).unwrap();
    }
    device.device_wait_idle().unwrap();
    swapchains.destroy_swapchain(swapchain, None);
    stage.surfaces.destroy_surface(surface, None);
    device.destroy_fence(fence, None);
    [ready, done].iter().for_each(|semaphore| device.destroy_semaphore(*semaphore, None));
    stage.close();
}

/// All images at once, timeouts, images that are given back, a swapchain that takes another's place.
pub(super) unsafe fn images(gpu: &Gpu, report: &Report) {
    let Some(stage) = open(gpu, report) else { return };
    let (device, swapchains) = (&stage.device, &stage.swapchains);
    let surface = stage.surface();
    let first = stage.swapchain(surface, vk::PresentModeKHR::MAILBOX, |_| {});
    let fence = device.create_fence(&vk::FenceCreateInfo::default(), None).unwrap();
    let count = swapchains.get_swapchain_images(first).unwrap().len();
    let mut acquired = BTreeSet::new();
    for _ in 0..count {
        let (index, _) =
            swapchains.acquire_next_image(first, PATIENCE, vk::Semaphore::null(), fence).unwrap();
        device.wait_for_fences(&[fence], true, PATIENCE).unwrap();
        device.reset_fences(&[fence]).unwrap();
        acquired.insert(index);
    }
    report.line("all are different", acquired.len() == count);
    let none = swapchains.acquire_next_image(first, 0, vk::Semaphore::null(), fence);
    report.debug("none left", none.err());
    // Mesa up to 25 crashes here, and has no waits for what is presented on such surfaces.
    if stage.has.contains(ext::swapchain_maintenance1::NAME) && stage.has.contains(khr::present_wait::NAME) {
        let maintenance = ext::swapchain_maintenance1::Device::new(&stage.instance, device);
        let back = [1];
        let info = vk::ReleaseSwapchainImagesInfoEXT::default().swapchain(first).image_indices(&back);
        maintenance.release_swapchain_images(&info).unwrap();
        let again = swapchains.acquire_next_image(first, PATIENCE, vk::Semaphore::null(), fence);
        assert_eq!(again, Ok((1, false)));
        device.wait_for_fences(&[fence], true, PATIENCE).unwrap();
    }
    let second = stage.swapchain(surface, vk::PresentModeKHR::FIFO, |info| info.old_swapchain = first);
    report.line("another", second != first);
    // An image of the program's in the memory of one of the new one's, which is known by then.
    assert!(swapchains.get_swapchain_images(second).is_ok_and(|images| !images.is_empty()));
    let mut chain = vk::ImageSwapchainCreateInfoKHR::default().swapchain(second);
    let info = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(FORMAT)
        .extent(EXTENT.into())
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(vk::ImageTiling::OPTIMAL)
        .usage(vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_DST)
        .push_next(&mut chain);
    let image = device.create_image(&info, None).unwrap();
    let mut place = vk::BindImageMemorySwapchainInfoKHR::default().swapchain(second).image_index(0);
    let bind = vk::BindImageMemoryInfo::default().image(image).push_next(&mut place);
    report.debug("bound", device.bind_image_memory2(&[bind]));
    device.destroy_image(image, None);
    device.destroy_fence(fence, None);
    swapchains.destroy_swapchain(first, None);
    swapchains.destroy_swapchain(second, None);
    stage.surfaces.destroy_surface(surface, None);
    stage.close();
}
