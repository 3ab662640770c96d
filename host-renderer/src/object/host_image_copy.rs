//! Copies by the host's processor: the texels stand in the window, where the guest put them or takes them from.
//!
//! The driver is given addresses in the window and believes what it is told, so that everything it is told about sizes
//! is checked here against what the image was created with.

use ash::vk;
use vw_wire_protocol::codec::Request;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::texels::{Image, Region};

use crate::session::Session;
use crate::session::end::{End, violation};

/// Index of the info among the arguments of all these commands.
const INFO: usize = 1;

// One function serves both directions: their structures differ by a `const`.
const _: () = assert!(
    size_of::<vk::MemoryToImageCopyEXT<'_>>() == size_of::<vk::ImageToMemoryCopyEXT<'_>>()
        && size_of::<vk::CopyMemoryToImageInfoEXT<'_>>() == size_of::<vk::CopyImageToMemoryInfoEXT<'_>>()
);

impl Session {
    /// Puts the addresses of the texels in the places of their offsets, in a request of `vkCopyMemoryToImage` or
    /// `vkCopyImageToMemory`. Returns where the texels are in the window: offsets and lengths.
    ///
    /// # Errors
    /// A violation when a region is not in its image or its texels are not in the window.
    pub(crate) fn place_texels(&self, device: u16, request: &Request<'_>) -> Result<Vec<(u64, u64)>, End> {
        // SAFETY: the policy requires the structure, which was decoded by its table.
        let info = unsafe { &*(request.args[INFO] as *const vk::CopyMemoryToImageInfoEXT<'_>) };
        let image = self.copied().next().ok_or_else(|| violation("a copy without an image"))?;
        let (base, window) = self.region.window();
        let mut places = Vec::new();
        for i in 0..count(info.region_count, info.p_regions) {
            // SAFETY: as above, with as many regions as the count says; nothing else refers to them.
            let copy = unsafe { &mut *info.p_regions.add(i).cast_mut() };
            let region = region(&copy.image_subresource, copy.image_offset, copy.image_extent);
            let rows = image.rows(&region).filter(|_| {
                // The guest packs closely.
                copy.memory_row_length == 0 && copy.memory_image_height == 0
            });
            let bytes = match rows {
                Some(rows) if info.flags.contains(vk::HostImageCopyFlagsEXT::MEMCPY) => self
                    .opaque_size(device, info.dst_image, &copy.image_subresource)?
                    .checked_mul(rows.layers.into()),
                Some(rows) => rows.bytes(),
                None => return Err(outside(&region, &image)),
            };
            let offset = copy.p_host_pointer.addr() as u64;
            let end = bytes.and_then(|bytes| bytes.checked_add(offset)).filter(|end| *end <= window as u64);
            let Some(end) = end else {
                return Err(violation(format!(
                    "{bytes:?} bytes of texels at {offset:#x} of a window of {window} bytes"
                )));
            };
            places.push((offset, end - offset));
            // SAFETY: the offset was checked to lie in the window.
            copy.p_host_pointer = unsafe { base.as_ptr().add(offset as usize) }.cast_const().cast();
        }
        Ok(places)
    }

    /// Checks the regions of `vkCopyImageToImage`.
    ///
    /// # Errors
    /// A violation when a region is not in its images.
    pub(crate) fn check_image_copy(&self, request: &Request<'_>) -> Result<(), End> {
        // SAFETY: the policy requires the structure, which was decoded by its table.
        let info = unsafe { &*(request.args[INFO] as *const vk::CopyImageToImageInfoEXT<'_>) };
        let images: Vec<Image> = self.copied().collect();
        let [source, destination] = images[..] else { return Err(violation("a copy without images")) };
        for i in 0..count(info.region_count, info.p_regions) {
            // SAFETY: as above, with as many regions as the count says.
            let copy = unsafe { &*info.p_regions.add(i) };
            let ends = [
                (source, region(&copy.src_subresource, copy.src_offset, copy.extent)),
                (destination, region(&copy.dst_subresource, copy.dst_offset, copy.extent)),
            ];
            for (image, region) in ends {
                // Several aspects may be copied at once here.
                let mut aspects = (0..u32::BITS).map(|bit| region.aspect & 1 << bit).filter(|bit| *bit != 0);
                if region.aspect == 0
                    || !aspects.all(|aspect| image.rows(&Region { aspect, ..region }).is_some())
                {
                    return Err(outside(&region, &image));
                }
            }
        }
        Ok(())
    }

    /// The images that the last record names, in order.
    fn copied(&self) -> impl Iterator<Item = Image> + '_ {
        self.touched_images().map(|(_, made)| made.shape)
    }

    /// Bytes of a subresource as the driver keeps it (`VkSubresourceHostMemcpySize`).
    fn opaque_size(
        &self,
        device: u16,
        image: vk::Image,
        subresource: &vk::ImageSubresourceLayers,
    ) -> Result<u64, End> {
        let question = vk::ImageSubresource2KHR::default().image_subresource(vk::ImageSubresource {
            aspect_mask: subresource.aspect_mask,
            mip_level: subresource.mip_level,
            array_layer: subresource.base_array_layer,
        });
        let mut size = vk::SubresourceHostMemcpySizeEXT::default();
        let mut layout = vk::SubresourceLayout2KHR::default().push_next(&mut size);
        let device = self.device(device)?;
        let args = [
            vk::Handle::as_raw(device.shared.device.handle()),
            vk::Handle::as_raw(image),
            &raw const question as u64,
            &raw mut layout as u64,
        ];
        // SAFETY: a live image of this device and valid structures; the subresource was checked to be in it.
        unsafe { self.call_args(&device.procs, &commands::VK_GET_IMAGE_SUBRESOURCE_LAYOUT_2, &args)? };
        Ok(size.size)
    }
}

/// Number of elements of an array that may be null.
fn count<T>(n: u32, array: *const T) -> usize {
    if array.is_null() { 0 } else { n as usize }
}

fn region(subresource: &vk::ImageSubresourceLayers, offset: vk::Offset3D, extent: vk::Extent3D) -> Region {
    Region {
        aspect: subresource.aspect_mask.as_raw(),
        mip_level: subresource.mip_level,
        base_array_layer: subresource.base_array_layer,
        layer_count: subresource.layer_count,
        offset: [offset.x, offset.y, offset.z],
        extent: [extent.width, extent.height, extent.depth],
    }
}

fn outside(region: &Region, image: &Image) -> End {
    violation(format!("{region:?} of {image:?}"))
}
