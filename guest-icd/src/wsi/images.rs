//! The images of a swapchain, and the pages that they are shown from.
//!
//! This is a program of the driver: it uses the entry points like any other.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::os::fd::{AsFd as _, OwnedFd};
use std::ptr::{NonNull, null};
use std::sync::Mutex;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::record::op;

use crate::buffer;
use crate::command_buffer::{self, CommandBuffer};
use crate::command_pool;
use crate::failure::Failure;
use crate::generated::entry;
use crate::image;
use crate::memory;
use crate::sender::Sender;
use crate::session::{Session, lock};

/// Bytes of a texel: all formats that are offered have as many.
const TEXEL: u64 = 4;

/// Handles of files of pages.
const FILE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;

/// Images, pages, and the commands that copy from one to the other.
#[derive(Default)]
pub(crate) struct Images {
    images: Vec<u64>,
    memory: u64,
    /// Where each image is in the memory.
    offsets: Vec<u64>,
    extent: vk::Extent2D,
    format: vk::Format,
    buffers: Vec<u64>,
    buffer_memory: u64,
    /// Bytes from the pages of one image to those of the next.
    stride: u64,
    /// By queue family.
    copies: Mutex<BTreeMap<u32, Copies>>,
}

/// The pages of all images of a swapchain.
pub(crate) struct Shown {
    /// Size of an image in texels; rows follow each other closely, with four bytes a texel.
    pub(crate) extent: vk::Extent2D,
    /// Bytes from the pages of one image to those of the next.
    pub(crate) stride: u64,
    /// How many images there are.
    pub(crate) count: u32,
    /// The file that the pages are in, where they are in one of their own.
    pub(crate) file: Option<OwnedFd>,
    base: NonNull<u8>,
}

// SAFETY: only an address of memory that is shared between processes anyway.
unsafe impl Send for Shown {}
// SAFETY: as above.
unsafe impl Sync for Shown {}

impl Shown {
    /// Bytes of a row.
    pub(crate) fn row(&self) -> usize {
        self.extent.width as usize * TEXEL as usize
    }

    /// The pages of an image.
    pub(crate) fn pages(&self, image: u32) -> NonNull<u8> {
        // SAFETY: callers name one of the `count` images, whose pages follow each other.
        unsafe { self.base.add((self.stride * u64::from(image.min(self.count - 1))) as usize) }
    }
}

/// A copy of an image to its pages, as the host is told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announcement {
    /// Queue, surface, memory, and where the pages begin there.
    place: [u64; 4],
    /// Width, height, bytes of a row, format.
    texels: [u32; 4],
}

impl Announcement {
    /// Has the host know, for those who look at frames there, that the next submission to the queue is this copy.
    ///
    /// # Errors
    /// The host is gone.
    pub(crate) fn push(&self, sender: &mut Sender) -> Result<(), Failure> {
        let sent = sender.push(op::FRAME, &|w| {
            self.place.iter().for_each(|number| w.put_u64(*number));
            self.texels.iter().for_each(|number| w.put_u32(*number));
        });
        sent.map(|_| ())
    }
}

/// The commands of one queue family.
struct Copies {
    pool: u64,
    /// For each image.
    buffers: Vec<*mut CommandBuffer>,
}

// SAFETY: command buffers are used under the lock that holds this, and only submitted once they are recorded.
unsafe impl Send for Copies {}

fn check(result: i32) -> Result<(), vk::Result> {
    if result < 0 { Err(vk::Result::from_raw(result)) } else { Ok(()) }
}

/// The creation of a swapchain's image.
///
/// # Safety
/// `info` must be valid; the result refers to what it refers to.
unsafe fn image_info<'a>(info: &vk::SwapchainCreateInfoKHR<'a>) -> vk::ImageCreateInfo<'a> {
    let mut image = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(info.image_format)
        .extent(info.image_extent.into())
        .mip_levels(1)
        .array_layers(info.image_array_layers)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(vk::ImageTiling::OPTIMAL)
        .sharing_mode(info.image_sharing_mode);
    image.usage = info.image_usage | vk::ImageUsageFlags::TRANSFER_SRC;
    // Others may be bound to the same memory by `VkBindImageMemorySwapchainInfoKHR`.
    image.flags = vk::ImageCreateFlags::ALIAS;
    image.queue_family_index_count = info.queue_family_index_count;
    image.p_queue_family_indices = info.p_queue_family_indices;
    image.initial_layout = vk::ImageLayout::UNDEFINED;
    if info.flags.contains(vk::SwapchainCreateFlagsKHR::MUTABLE_FORMAT) {
        image.flags |= vk::ImageCreateFlags::MUTABLE_FORMAT | vk::ImageCreateFlags::EXTENDED_USAGE;
    }
    image
}

/// What `vkCreateImage` is to make for a program that binds the image to a swapchain's memory.
pub(crate) fn aliased(info: &vk::ImageCreateInfo<'_>) -> bool {
    // SAFETY: the application's valid usage: a valid chain.
    let swapchain =
        unsafe { crate::chain::find::<vk::ImageSwapchainCreateInfoKHR<'_>>(info.p_next).as_ref() };
    swapchain.is_some_and(|info| !info.swapchain.is_null())
}

impl Images {
    /// Makes them; what was made is [destroyed](Self::destroy) by the caller also where that fails.
    ///
    /// # Safety
    /// `device` must be a live device of the session, `info` valid.
    pub(crate) unsafe fn make(
        &mut self,
        session: &Session,
        device: *mut c_void,
        info: &vk::SwapchainCreateInfoKHR<'_>,
    ) -> Result<Shown, vk::Result> {
        self.extent = info.image_extent;
        self.format = info.image_format;
        // SAFETY: the caller's promise; each object is used after it was made.
        unsafe {
            self.make_images(session, device, info)?;
            self.make_pages(session, device, info.min_image_count)
        }
    }

    unsafe fn make_images(
        &mut self,
        session: &Session,
        device: *mut c_void,
        info: &vk::SwapchainCreateInfoKHR<'_>,
    ) -> Result<(), vk::Result> {
        // SAFETY: the caller's promise; the list of formats lives as long as the structure.
        unsafe {
            let mut image = image_info(info);
            let mut formats = vk::ImageFormatListCreateInfo::default();
            if let Some(list) = crate::chain::find::<vk::ImageFormatListCreateInfo<'_>>(info.p_next).as_ref()
            {
                formats.view_format_count = list.view_format_count;
                formats.p_view_formats = list.p_view_formats;
                image.p_next = (&raw const formats).cast();
            }
            let (mut size, mut allowed) = (0, u32::MAX);
            for _ in 0..info.min_image_count {
                let mut made = 0;
                check(image::vkCreateImage(device, &raw const image, null(), &raw mut made))?;
                self.images.push(made);
                let mut needs = vk::MemoryRequirements::default();
                image::vkGetImageMemoryRequirements(device, made, (&raw mut needs).cast());
                let offset = u64::next_multiple_of(size, needs.alignment.max(1));
                self.offsets.push(offset);
                size = offset + needs.size;
                allowed &= needs.memory_type_bits;
            }
            let wanted = vk::MemoryPropertyFlags::DEVICE_LOCAL;
            let memory = vk::MemoryAllocateInfo::default().allocation_size(size);
            self.memory = allocate(session, device, memory, allowed, wanted)?;
            for (image, offset) in self.images.iter().zip(&self.offsets) {
                check(entry::image::vkBindImageMemory(device, *image, self.memory, *offset))?;
            }
        }
        Ok(())
    }

    unsafe fn make_pages(
        &mut self,
        session: &Session,
        device: *mut c_void,
        count: u32,
    ) -> Result<Shown, vk::Result> {
        let none = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        let page = session.region().layout().page_size() as u64;
        let bytes = u64::from(self.extent.width) * u64::from(self.extent.height) * TEXEL;
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(FILE);
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(FILE);
        let mut info = vk::BufferCreateInfo::default().size(bytes).usage(vk::BufferUsageFlags::TRANSFER_DST);
        let mut memory = vk::MemoryAllocateInfo::default();
        if session.descriptors {
            info = info.push_next(&mut external);
            memory = memory.push_next(&mut export);
        }
        // SAFETY: the caller's promise.
        unsafe {
            let (mut stride, mut allowed) = (0, u32::MAX);
            for _ in 0..count {
                let mut made = 0;
                check(buffer::vkCreateBuffer(device, (&raw const info).cast(), null(), &raw mut made))?;
                self.buffers.push(made);
                let mut needs = vk::MemoryRequirements::default();
                buffer::vkGetBufferMemoryRequirements(device, made, (&raw mut needs).cast());
                // Pages, so that each image's can be mapped for themselves.
                stride = needs.size.next_multiple_of(needs.alignment.max(page)).max(stride);
                allowed &= needs.memory_type_bits;
            }
            self.stride = stride;
            let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
            let cached = wanted | vk::MemoryPropertyFlags::HOST_CACHED;
            let memory = memory.allocation_size(stride * u64::from(count));
            self.buffer_memory = match allocate(session, device, memory, allowed, cached) {
                Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED) => {
                    allocate(session, device, memory, allowed, wanted)?
                }
                result => result?,
            };
            for (i, buffer) in self.buffers.iter().enumerate() {
                let offset = stride * i as u64;
                check(entry::buffer::vkBindBufferMemory(device, *buffer, self.buffer_memory, offset))?;
            }
            let memory = session.memories.get(self.buffer_memory).ok_or(none)?;
            session.show(self.buffer_memory, &memory)?;
            let base = session.memories.address(&memory, 0).ok_or(none)?;
            let file = memory.file().and_then(|file| file.as_fd().try_clone_to_owned().ok());
            Ok(Shown { extent: self.extent, stride, count, file, base })
        }
    }

    /// The images' handles.
    pub(crate) fn handles(&self) -> &[u64] {
        &self.images
    }

    /// Memory of an image and its offset there.
    pub(crate) fn memory(&self, image: u32) -> Option<(u64, u64)> {
        Some((self.memory, *self.offsets.get(image as usize)?))
    }

    /// What the host is told of a copy of an image to its pages.
    pub(crate) fn announcement(&self, queue: u64, surface: u64, image: u32) -> Announcement {
        let vk::Extent2D { width, height } = self.extent;
        Announcement {
            place: [queue, surface, self.buffer_memory, self.stride * u64::from(image)],
            texels: [width, height, width * TEXEL as u32, self.format.as_raw().cast_unsigned()],
        }
    }

    /// The command buffer that copies an image to its pages, on queues of a family.
    ///
    /// # Safety
    /// `device` must be the device that the images are of.
    pub(crate) unsafe fn copy(
        &self,
        device: *mut c_void,
        family: u32,
        image: u32,
    ) -> Result<*mut CommandBuffer, vk::Result> {
        let mut copies = lock(&self.copies);
        if let Some(copies) = copies.get(&family) {
            return copies.buffers.get(image as usize).copied().ok_or(vk::Result::ERROR_UNKNOWN);
        }
        // SAFETY: the caller's promise.
        let made = unsafe { self.record(device, family)? };
        let buffer = made.buffers.get(image as usize).copied();
        copies.insert(family, made);
        buffer.ok_or(vk::Result::ERROR_UNKNOWN)
    }

    /// Records the copies of all images.
    unsafe fn record(&self, device: *mut c_void, family: u32) -> Result<Copies, vk::Result> {
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(family);
        let mut copies = Copies { pool: 0, buffers: vec![std::ptr::null_mut(); self.images.len()] };
        // SAFETY: the caller's promise.
        unsafe {
            let pool = &raw mut copies.pool;
            check(command_pool::vkCreateCommandPool(device, (&raw const info).cast(), null(), pool))?;
            let info = vk::CommandBufferAllocateInfo::default()
                .command_pool(vk::CommandPool::from_raw(copies.pool))
                .level(vk::CommandBufferLevel::PRIMARY)
                .command_buffer_count(self.images.len() as u32);
            let buffers = copies.buffers.as_mut_ptr();
            let mut result =
                check(command_buffer::vkAllocateCommandBuffers(device, &raw const info, buffers));
            for (i, buffer) in copies.buffers.iter().enumerate() {
                result = result.and_then(|()| self.record_one(*buffer, self.images[i], self.buffers[i]));
            }
            if let Err(error) = result {
                command_pool::vkDestroyCommandPool(device, copies.pool, null());
                return Err(error);
            }
        }
        Ok(copies)
    }

    unsafe fn record_one(&self, to: *mut CommandBuffer, image: u64, buffer: u64) -> Result<(), vk::Result> {
        use vk::{AccessFlags as Access, ImageLayout as Layout, PipelineStageFlags as Stage};
        let range = vk::ImageSubresourceRange {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            level_count: 1,
            layer_count: 1,
            ..Default::default()
        };
        let step = |from, to, old, new| {
            vk::ImageMemoryBarrier::default()
                .src_access_mask(from)
                .dst_access_mask(to)
                .old_layout(old)
                .new_layout(new)
                .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
                .image(vk::Image::from_raw(image))
                .subresource_range(range)
        };
        let take = step(
            Access::MEMORY_WRITE,
            Access::TRANSFER_READ,
            Layout::PRESENT_SRC_KHR,
            Layout::TRANSFER_SRC_OPTIMAL,
        );
        let give =
            step(Access::empty(), Access::empty(), Layout::TRANSFER_SRC_OPTIMAL, Layout::PRESENT_SRC_KHR);
        let written = vk::MemoryBarrier::default()
            .src_access_mask(Access::TRANSFER_WRITE)
            .dst_access_mask(Access::HOST_READ);
        let region = vk::BufferImageCopy::default()
            .image_subresource(vk::ImageSubresourceLayers {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                layer_count: 1,
                ..Default::default()
            })
            .image_extent(self.extent.into());
        let begin = vk::CommandBufferBeginInfo::default();
        let [all, transfer] = [Stage::ALL_COMMANDS, Stage::TRANSFER].map(Stage::as_raw);
        let commands = to.cast::<c_void>();
        // SAFETY: a new command buffer of this thread; the structures are valid for the calls. Waits of the submission
        // are at the stage of transfers, which `take` comes after.
        unsafe {
            check(command_buffer::vkBeginCommandBuffer(to, &raw const begin))?;
            let barrier =
                |from, to, written: &[vk::MemoryBarrier<'_>], image: &vk::ImageMemoryBarrier<'_>| {
                    let (count, written) = (written.len() as u32, written.as_ptr().cast());
                    let image = std::ptr::from_ref(image).cast();
                    entry::pipeline::vkCmdPipelineBarrier(
                        commands,
                        from,
                        to,
                        0,
                        count,
                        written,
                        0,
                        null(),
                        1,
                        image,
                    );
                };
            barrier(all, transfer, &[], &take);
            entry::transfer::vkCmdCopyImageToBuffer(
                commands,
                image,
                Layout::TRANSFER_SRC_OPTIMAL.as_raw() as u32,
                buffer,
                1,
                (&raw const region).cast(),
            );
            barrier(transfer, all | Stage::HOST.as_raw(), &[written], &give);
            check(command_buffer::vkEndCommandBuffer(to))
        }
    }

    /// Destroys everything. No copy may be going on.
    ///
    /// # Safety
    /// `device` must be the device that the images are of; nothing of them is used again.
    pub(crate) unsafe fn destroy(&self, device: *mut c_void) {
        // SAFETY: the caller's promise; null is nothing to destroy.
        unsafe {
            for copies in std::mem::take(&mut *lock(&self.copies)).into_values() {
                command_pool::vkDestroyCommandPool(device, copies.pool, null());
            }
            self.buffers.iter().for_each(|buffer| buffer::vkDestroyBuffer(device, *buffer, null()));
            self.images.iter().for_each(|image| image::vkDestroyImage(device, *image, null()));
            for memory in [self.memory, self.buffer_memory] {
                if memory != 0 {
                    memory::vkFreeMemory(device, memory, null());
                }
            }
        }
    }
}

/// Allocates memory of a type that is allowed and has these properties, or of any that is allowed if only being the
/// device's own is wanted. `VK_ERROR_FORMAT_NOT_SUPPORTED` where no type will do.
///
/// # Safety
/// `device` must be a live device of the session, the chain of `info` valid.
unsafe fn allocate(
    session: &Session,
    device: *mut c_void,
    mut info: vk::MemoryAllocateInfo<'_>,
    allowed: u32,
    wanted: vk::MemoryPropertyFlags,
) -> Result<u64, vk::Result> {
    let known = session.facts().ok_or(vk::Result::ERROR_DEVICE_LOST)?;
    let types = &known.memory.memory_types[..known.memory.memory_type_count as usize];
    let find = |wanted| {
        let fits =
            |(i, ty): &(usize, &vk::MemoryType)| allowed >> i & 1 == 1 && ty.property_flags.contains(wanted);
        types.iter().enumerate().find(fits).map(|(i, _)| i as u32)
    };
    let any =
        (wanted == vk::MemoryPropertyFlags::DEVICE_LOCAL).then(|| find(vk::MemoryPropertyFlags::empty()));
    info.memory_type_index = find(wanted).or(any.flatten()).ok_or(vk::Result::ERROR_FORMAT_NOT_SUPPORTED)?;
    let mut memory = 0;
    // SAFETY: the caller's promise.
    check(unsafe { memory::vkAllocateMemory(device, &raw const info, null(), &raw mut memory) })?;
    Ok(memory)
}
