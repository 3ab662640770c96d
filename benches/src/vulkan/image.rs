//! Images to draw into.

use ash::vk;

use super::Vulkan;

/// What is drawn into, and its size.
pub(crate) struct Image {
    pub(crate) image: vk::Image,
    pub(crate) view: vk::ImageView,
    pub(crate) extent: vk::Extent2D,
}

/// Format of every image here.
pub(crate) const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;

/// The whole of a colour image.
pub(crate) const WHOLE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 1,
    base_array_layer: 0,
    layer_count: 1,
};

/// What an image of this size to draw into and to copy from is made from.
pub(crate) fn info(extent: vk::Extent2D) -> vk::ImageCreateInfo<'static> {
    vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(FORMAT)
        .extent(extent.into())
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC)
}

/// What a view of the whole image is made from.
pub(crate) fn view_info(image: vk::Image) -> vk::ImageViewCreateInfo<'static> {
    let info = vk::ImageViewCreateInfo::default().image(image).view_type(vk::ImageViewType::TYPE_2D);
    info.format(FORMAT).subresource_range(WHOLE)
}

/// A barrier that changes nothing but the layout, and orders all before it with all after it.
pub(crate) fn barrier(
    image: vk::Image,
    from: vk::ImageLayout,
    to: vk::ImageLayout,
) -> vk::ImageMemoryBarrier<'static> {
    vk::ImageMemoryBarrier::default()
        .image(image)
        .old_layout(from)
        .new_layout(to)
        .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
        .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)
        .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
        .subresource_range(WHOLE)
}

impl Vulkan {
    /// An image with memory of its own, in the layout `GENERAL`.
    pub(crate) fn image(&self, width: u32, height: u32) -> Image {
        let extent = vk::Extent2D { width, height };
        // SAFETY: Vulkan calls, see the module above.
        let image = unsafe {
            let image = self.device.create_image(&info(extent), None).expect("an image");
            let needs = self.device.get_image_memory_requirements(image);
            let allocation = vk::MemoryAllocateInfo::default()
                .allocation_size(needs.size)
                .memory_type_index(needs.memory_type_bits.trailing_zeros());
            let memory = self.device.allocate_memory(&allocation, None).expect("memory");
            self.device.bind_image_memory(image, memory, 0).expect("bound memory");
            let view = self.device.create_image_view(&view_info(image), None).expect("a view");
            Image { image, view, extent }
        };
        let to_general = barrier(image.image, vk::ImageLayout::UNDEFINED, vk::ImageLayout::GENERAL);
        self.record(self.command_buffer, |device| self.barrier(device, self.command_buffer, &to_general));
        self.run(self.command_buffer);
        image
    }

    /// Records a barrier between everything and everything.
    pub(crate) fn barrier(
        &self,
        device: &ash::Device,
        buffer: vk::CommandBuffer,
        barrier: &vk::ImageMemoryBarrier<'_>,
    ) {
        let all = vk::PipelineStageFlags::ALL_COMMANDS;
        let none = vk::DependencyFlags::empty();
        // SAFETY: a Vulkan call, see the module above.
        unsafe {
            device.cmd_pipeline_barrier(buffer, all, all, none, &[], &[], std::slice::from_ref(barrier));
        }
    }

    /// Records the beginning of rendering into an image in the layout `GENERAL`, which is cleared.
    pub(crate) fn begin_rendering(&self, buffer: vk::CommandBuffer, image: &Image) {
        let attachments = [vk::RenderingAttachmentInfo::default()
            .image_view(image.view)
            .image_layout(vk::ImageLayout::GENERAL)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)];
        let area = vk::Rect2D { offset: vk::Offset2D::default(), extent: image.extent };
        let info =
            vk::RenderingInfo::default().render_area(area).layer_count(1).color_attachments(&attachments);
        // SAFETY: a Vulkan call, see the module above.
        unsafe { self.device.cmd_begin_rendering(buffer, &info) };
        self.set_viewport(buffer, image.extent);
    }

    /// Records viewport and scissor.
    pub(crate) fn set_viewport(&self, buffer: vk::CommandBuffer, extent: vk::Extent2D) {
        let viewport = vk::Viewport {
            width: extent.width as f32,
            height: extent.height as f32,
            max_depth: 1.0,
            ..Default::default()
        };
        let scissor = vk::Rect2D { offset: vk::Offset2D::default(), extent };
        // SAFETY: Vulkan calls, see the module above.
        unsafe {
            self.device.cmd_set_viewport(buffer, 0, &[viewport]);
            self.device.cmd_set_scissor(buffer, 0, &[scissor]);
        }
    }
}
