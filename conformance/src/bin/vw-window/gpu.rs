//! A device that presents, and what a frame needs.

use ash::{khr, vk};

use crate::Kind;
use crate::window;

/// How long anything may take, in nanoseconds.
pub(crate) const PATIENCE: u64 = 10_000_000_000;

pub(crate) struct Gpu {
    pub(crate) entry: ash::Entry,
    pub(crate) instance: ash::Instance,
    pub(crate) physical: vk::PhysicalDevice,
    pub(crate) device: ash::Device,
    pub(crate) queue: vk::Queue,
    pub(crate) surfaces: khr::surface::Instance,
    pub(crate) chains: khr::swapchain::Device,
    pub(crate) pool: vk::CommandPool,
    memory_types: vk::PhysicalDeviceMemoryProperties,
}

/// A picture in mapped memory.
pub(crate) struct Picture {
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    mapped: *mut u8,
}

impl Gpu {
    pub(crate) unsafe fn open(kind: Kind) -> Self {
        let entry = ash::Entry::load().expect("the Vulkan loader");
        let names = [khr::surface::NAME.as_ptr(), window::extension(kind)];
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let info =
            vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(&names);
        let instance = entry.create_instance(&info, None).expect("an instance with surfaces");
        let physical = instance.enumerate_physical_devices().unwrap()[0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let names = [khr::swapchain::NAME.as_ptr()];
        let info =
            vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
        let device = instance.create_device(physical, &info, None).expect("a device with swapchains");
        let info =
            vk::CommandPoolCreateInfo::default().flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        Self {
            queue: device.get_device_queue(0, 0),
            surfaces: khr::surface::Instance::new(&entry, &instance),
            chains: khr::swapchain::Device::new(&instance, &device),
            pool: device.create_command_pool(&info, None).unwrap(),
            memory_types: instance.get_physical_device_memory_properties(physical),
            entry,
            instance,
            physical,
            device,
        }
    }

    pub(crate) unsafe fn close(&self) {
        self.device.destroy_command_pool(self.pool, None);
        self.device.destroy_device(None);
        self.instance.destroy_instance(None);
    }

    /// Room for a picture of so many pixels.
    pub(crate) unsafe fn picture(&self, pixels: u32) -> Picture {
        let info = vk::BufferCreateInfo::default()
            .size(u64::from(pixels) * 4)
            .usage(vk::BufferUsageFlags::TRANSFER_SRC);
        let buffer = self.device.create_buffer(&info, None).unwrap();
        let needs = self.device.get_buffer_memory_requirements(buffer);
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let types = self.memory_types.memory_types_as_slice();
        let fits =
            |i: &usize| needs.memory_type_bits >> i & 1 == 1 && types[*i].property_flags.contains(wanted);
        let index = (0..types.len()).find(fits).unwrap() as u32;
        let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
        let memory = self.device.allocate_memory(&info, None).unwrap();
        self.device.bind_buffer_memory(buffer, memory, 0).unwrap();
        let mapped = self.device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()).unwrap();
        Picture { buffer, memory, mapped: mapped.cast() }
    }

    pub(crate) unsafe fn destroy_picture(&self, picture: &Picture) {
        self.device.destroy_buffer(picture.buffer, None);
        self.device.free_memory(picture.memory, None);
    }

    pub(crate) unsafe fn command_buffer(&self) -> vk::CommandBuffer {
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        self.device.allocate_command_buffers(&info).unwrap()[0]
    }

    /// Records the copy of a picture to an image that is presented then.
    pub(crate) unsafe fn record(
        &self,
        cb: vk::CommandBuffer,
        picture: &Picture,
        image: vk::Image,
        extent: vk::Extent2D,
    ) {
        let aspect = vk::ImageAspectFlags::COLOR;
        let range = vk::ImageSubresourceRange::default().aspect_mask(aspect).level_count(1).layer_count(1);
        let step = |old, new, access| {
            vk::ImageMemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .dst_access_mask(access)
                .old_layout(old)
                .new_layout(new)
                .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .image(image)
                .subresource_range(range)
        };
        let (writable, shown) = (vk::ImageLayout::TRANSFER_DST_OPTIMAL, vk::ImageLayout::PRESENT_SRC_KHR);
        let first = step(vk::ImageLayout::UNDEFINED, writable, vk::AccessFlags::TRANSFER_WRITE);
        let second = step(writable, shown, vk::AccessFlags::empty());
        let transfer = vk::PipelineStageFlags::TRANSFER;
        let none = vk::DependencyFlags::empty();
        let layers = vk::ImageSubresourceLayers::default().aspect_mask(aspect).layer_count(1);
        let region = vk::BufferImageCopy::default().image_subresource(layers).image_extent(extent.into());
        let device = &self.device;
        device.begin_command_buffer(cb, &vk::CommandBufferBeginInfo::default()).unwrap();
        device.cmd_pipeline_barrier(cb, transfer, transfer, none, &[], &[], &[first]);
        device.cmd_copy_buffer_to_image(cb, picture.buffer, image, writable, &[region]);
        let end = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
        device.cmd_pipeline_barrier(cb, transfer, end, none, &[], &[], &[second]);
        device.end_command_buffer(cb).unwrap();
    }
}

impl Picture {
    /// Draws: something that differs from pixel to pixel and from frame to frame. Returns it.
    pub(crate) unsafe fn draw(&self, extent: vk::Extent2D, frame: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((extent.width * extent.height * 4) as usize);
        for y in 0..extent.height {
            for x in 0..extent.width {
                bytes.extend([x.wrapping_mul(3) as u8, (y * 5 + frame * 16) as u8, (x ^ y) as u8, 255]);
            }
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.mapped, bytes.len());
        bytes
    }
}
