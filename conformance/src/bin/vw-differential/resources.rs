//! Buffers and images with memory, destroyed with the case.

use ash::vk;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;

/// A buffer in host-visible memory, mapped for as long as it lives.
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    pub(crate) handle: vk::Buffer,
    pub(crate) size: u64,
    mapped: *mut u8,
}

impl Buffer {
    /// All bytes, as the host sees them now.
    pub(crate) unsafe fn read(&self) -> Vec<u8> {
        std::slice::from_raw_parts(self.mapped, self.size as usize).to_vec()
    }

    /// The first words.
    pub(crate) unsafe fn words(&self, count: usize) -> Vec<u32> {
        bytemuck::pod_collect_to_vec(&self.read()[..count * 4])
    }

    /// Writes through the mapping.
    pub(crate) unsafe fn write<T: bytemuck::NoUninit>(&self, offset: usize, data: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        assert!(offset + bytes.len() <= self.size as usize);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.mapped.add(offset), bytes.len());
    }

    pub(crate) fn whole(&self) -> vk::DescriptorBufferInfo {
        vk::DescriptorBufferInfo { buffer: self.handle, offset: 0, range: vk::WHOLE_SIZE }
    }
}

/// Every usage that needs no feature.
pub(crate) const ANY_USE: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(0x1ff);

impl Gpu {
    /// A buffer of zeros.
    pub(crate) unsafe fn buffer(&self, size: u64, usage: vk::BufferUsageFlags) -> Buffer {
        let info = vk::BufferCreateInfo::default().size(size).usage(usage);
        let handle = self.device.create_buffer(&info, None).expect("a buffer");
        let needs = self.device.get_buffer_memory_requirements(handle);
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let mut flags = vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let mut info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(self.memory_type(needs.memory_type_bits, wanted));
        if usage.contains(vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS) {
            info = info.push_next(&mut flags);
        }
        let memory = self.device.allocate_memory(&info, None).expect("memory for a buffer");
        self.device.bind_buffer_memory(handle, memory, 0).expect("bound memory");
        let mapped = self
            .device
            .map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty())
            .expect("a mapping");
        std::ptr::write_bytes(mapped.cast::<u8>(), 0, size as usize);
        self.later(move |device| {
            device.destroy_buffer(handle, None);
            device.free_memory(memory, None);
        });
        Buffer { handle, size, mapped: mapped.cast() }
    }

    /// A buffer with contents, for any use.
    pub(crate) unsafe fn buffer_of<T: bytemuck::NoUninit>(&self, data: &[T]) -> Buffer {
        let buffer = self.buffer(size_of_val(data) as u64, ANY_USE);
        buffer.write(0, data);
        buffer
    }
}

/// An image with memory and a view of all of it.
#[derive(Clone, Copy)]
pub(crate) struct Image {
    pub(crate) handle: vk::Image,
    pub(crate) view: vk::ImageView,
    pub(crate) format: vk::Format,
    pub(crate) extent: vk::Extent3D,
    pub(crate) levels: u32,
    pub(crate) layers: u32,
    pub(crate) aspect: vk::ImageAspectFlags,
}

/// The size that most render targets have, in pixels.
pub(crate) const SIDE: u32 = 64;

/// What most images are: of two dimensions, one level, one layer, optimal tiling.
pub(crate) fn plain(
    format: vk::Format,
    side: u32,
    usage: vk::ImageUsageFlags,
) -> vk::ImageCreateInfo<'static> {
    vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(format)
        .extent(vk::Extent3D { width: side, height: side, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(vk::ImageTiling::OPTIMAL)
        .usage(usage)
}

/// Rendered to and copied from and to.
pub(crate) const TARGET: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::COLOR_ATTACHMENT.as_raw()
        | vk::ImageUsageFlags::TRANSFER_SRC.as_raw()
        | vk::ImageUsageFlags::TRANSFER_DST.as_raw(),
);

/// The aspects of a format's images.
pub(crate) fn aspect_of(format: vk::Format) -> vk::ImageAspectFlags {
    use vk::{Format as F, ImageAspectFlags as Aspect};
    match format {
        F::D16_UNORM | F::D32_SFLOAT | F::X8_D24_UNORM_PACK32 => Aspect::DEPTH,
        F::S8_UINT => Aspect::STENCIL,
        F::D24_UNORM_S8_UINT | F::D32_SFLOAT_S8_UINT | F::D16_UNORM_S8_UINT => {
            Aspect::DEPTH | Aspect::STENCIL
        }
        _ => Aspect::COLOR,
    }
}

impl Gpu {
    /// An image, with the view that fits its kind.
    pub(crate) unsafe fn image(&self, info: &vk::ImageCreateInfo<'_>) -> Image {
        let kind = match (info.image_type, info.array_layers) {
            (vk::ImageType::TYPE_1D, 1) => vk::ImageViewType::TYPE_1D,
            (vk::ImageType::TYPE_1D, _) => vk::ImageViewType::TYPE_1D_ARRAY,
            (vk::ImageType::TYPE_3D, _) => vk::ImageViewType::TYPE_3D,
            (_, 1) => vk::ImageViewType::TYPE_2D,
            (_, 6) if info.flags.contains(vk::ImageCreateFlags::CUBE_COMPATIBLE) => vk::ImageViewType::CUBE,
            _ => vk::ImageViewType::TYPE_2D_ARRAY,
        };
        let handle = self.device.create_image(info, None).expect("an image");
        let needs = self.device.get_image_memory_requirements(handle);
        let allocate = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(self.memory_type(needs.memory_type_bits, vk::MemoryPropertyFlags::empty()));
        let memory = self.device.allocate_memory(&allocate, None).expect("memory for an image");
        self.device.bind_image_memory(handle, memory, 0).expect("bound memory");
        self.later(move |device| {
            device.destroy_image(handle, None);
            device.free_memory(memory, None);
        });
        let viewable = vk::ImageUsageFlags::SAMPLED
            | vk::ImageUsageFlags::STORAGE
            | vk::ImageUsageFlags::COLOR_ATTACHMENT
            | vk::ImageUsageFlags::DEPTH_STENCIL_ATTACHMENT
            | vk::ImageUsageFlags::INPUT_ATTACHMENT;
        let mut image = Image {
            handle,
            view: vk::ImageView::null(),
            format: info.format,
            extent: info.extent,
            levels: info.mip_levels,
            layers: info.array_layers,
            aspect: aspect_of(info.format),
        };
        if info.usage.intersects(viewable) {
            image.view = self.view(&image, kind, image.all());
        }
        image
    }

    /// Another view of an image.
    pub(crate) unsafe fn view(
        &self,
        image: &Image,
        kind: vk::ImageViewType,
        range: vk::ImageSubresourceRange,
    ) -> vk::ImageView {
        let info = vk::ImageViewCreateInfo::default()
            .image(image.handle)
            .view_type(kind)
            .format(image.format)
            .subresource_range(range);
        let view = self.device.create_image_view(&info, None).expect("an image view");
        self.later(move |device| device.destroy_image_view(view, None));
        view
    }

    /// The texels of one level and layer, of `texel` bytes each, copied by the device. The image is in the layout
    /// [`vk::ImageLayout::GENERAL`], before and after.
    pub(crate) unsafe fn read_image(&self, image: &Image, texel: u64, level: u32, layer: u32) -> Vec<u8> {
        self.read_aspect(image, image.aspect, texel, level, layer)
    }

    /// The same for one aspect of an image that has two.
    pub(crate) unsafe fn read_aspect(
        &self,
        image: &Image,
        aspect: vk::ImageAspectFlags,
        texel: u64,
        level: u32,
        layer: u32,
    ) -> Vec<u8> {
        let extent = image.extent_of(level);
        let size = texel * u64::from(extent.width) * u64::from(extent.height) * u64::from(extent.depth);
        let buffer = self.buffer(size, vk::BufferUsageFlags::TRANSFER_DST);
        self.run(|cb| {
            barrier_all(&self.device, cb);
            let region = vk::BufferImageCopy::default().image_extent(extent).image_subresource(
                vk::ImageSubresourceLayers {
                    aspect_mask: aspect,
                    mip_level: level,
                    base_array_layer: layer,
                    layer_count: 1,
                },
            );
            self.device.cmd_copy_image_to_buffer(
                cb,
                image.handle,
                vk::ImageLayout::GENERAL,
                buffer.handle,
                &[region],
            );
            barrier_all(&self.device, cb);
        });
        buffer.read()
    }

    /// Prints the hash of an image of RGBA with 8 bits, first level and layer.
    pub(crate) unsafe fn show(&self, report: &Report, label: &str, image: &Image) {
        let pixels = self.read_image(image, 4, 0, 0);
        report.pixels(label, image.extent.width, image.extent.height, &pixels);
    }

    /// An image of RGBA with 8 bits and a pattern, in the layout GENERAL, to sample, store and copy.
    pub(crate) unsafe fn patterned(&self, side: u32, seed: u32) -> Image {
        let usage = vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::STORAGE | TARGET;
        let image = self.image(&plain(vk::Format::R8G8B8A8_UNORM, side, usage));
        let texels: Vec<u32> = (0..side * side).map(|i| pattern(i, seed)).collect();
        self.fill_image(&image, &self.buffer_of(&texels));
        image
    }

    /// Copies a buffer to the first level of an image, all layers, and leaves it in the layout GENERAL.
    pub(crate) unsafe fn fill_image(&self, image: &Image, source: &Buffer) {
        self.run(|cb| {
            self.to_general(cb, image);
            let region = vk::BufferImageCopy::default()
                .image_extent(image.extent)
                .image_subresource(image.layers_of(0));
            self.device.cmd_copy_buffer_to_image(
                cb,
                source.handle,
                image.handle,
                vk::ImageLayout::GENERAL,
                &[region],
            );
            barrier_all(&self.device, cb);
        });
    }

    /// Brings a new image to the layout GENERAL.
    pub(crate) unsafe fn to_general(&self, cb: vk::CommandBuffer, image: &Image) {
        let barrier = vk::ImageMemoryBarrier::default()
            .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE)
            .old_layout(vk::ImageLayout::UNDEFINED)
            .new_layout(vk::ImageLayout::GENERAL)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image.handle)
            .subresource_range(image.all());
        let stages = vk::PipelineStageFlags::ALL_COMMANDS;
        self.device.cmd_pipeline_barrier(
            cb,
            stages,
            stages,
            vk::DependencyFlags::empty(),
            &[],
            &[],
            &[barrier],
        );
    }
}

impl Image {
    /// All levels, layers and aspects.
    pub(crate) fn all(&self) -> vk::ImageSubresourceRange {
        vk::ImageSubresourceRange {
            aspect_mask: self.aspect,
            base_mip_level: 0,
            level_count: self.levels,
            base_array_layer: 0,
            layer_count: self.layers,
        }
    }

    /// All layers of a level.
    pub(crate) fn layers_of(&self, level: u32) -> vk::ImageSubresourceLayers {
        vk::ImageSubresourceLayers {
            aspect_mask: self.aspect,
            mip_level: level,
            base_array_layer: 0,
            layer_count: self.layers,
        }
    }

    /// The size of a level.
    pub(crate) fn extent_of(&self, level: u32) -> vk::Extent3D {
        let shrink = |size: u32| (size >> level).max(1);
        vk::Extent3D {
            width: shrink(self.extent.width),
            height: shrink(self.extent.height),
            depth: shrink(self.extent.depth),
        }
    }
}

/// A word that differs from its neighbours.
pub(crate) fn pattern(index: u32, seed: u32) -> u32 {
    (index.wrapping_add(seed)).wrapping_mul(0x9e37_79b9) ^ (index << 7) | 0xff00_0000
}
