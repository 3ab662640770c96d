//! Copies between the program's memory and images, by the host's processor.
//!
//! The texels travel through the window: the guest packs their rows closely there, or takes them from there. What is
//! larger than the staging memory goes in several calls.

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Command;
use vw_wire_protocol::texels::{self, Rows};

use crate::chain;
use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::session::Session;
use crate::staging::Staging;

/// Most staging memory of one call in bytes, unless a copy cannot be divided.
const STAGING: u64 = 4 << 20;

/// Copies start in the staging memory at multiples of this.
const ALIGNMENT: u64 = 64;

/// The copies to and from memory are alike but for a `const`.
type Copy<'a> = vk::MemoryToImageCopyEXT<'a>;
type CopyInfo<'a> = vk::CopyMemoryToImageInfoEXT<'a>;
const _: () = assert!(size_of::<Copy<'_>>() == size_of::<vk::ImageToMemoryCopyEXT<'_>>());
const _: () = assert!(size_of::<CopyInfo<'_>>() == size_of::<vk::CopyImageToMemoryInfoEXT<'_>>());

/// An image that may be copied so.
#[derive(Debug)]
pub(crate) struct HostImage {
    shape: texels::Image,
    /// Its texels can be seen in mapped memory.
    linear: bool,
}

/// Remembers an image that was created for such copies.
///
/// # Safety
/// `info` must be valid.
pub(crate) unsafe fn remember(session: &Session, id: u64, info: &vk::ImageCreateInfo<'_>) {
    let usage = vk::ImageUsageFlags::HOST_TRANSFER_EXT;
    // SAFETY: the caller's promise.
    let stencil = unsafe { chain::find::<vk::ImageStencilUsageCreateInfo<'_>>(info.p_next).as_ref() };
    if !info.usage.contains(usage) && stencil.is_none_or(|stencil| !stencil.stencil_usage.contains(usage)) {
        return;
    }
    let shape = texels::Image {
        format: info.format.as_raw(),
        extent: [info.extent.width, info.extent.height, info.extent.depth],
        mip_levels: info.mip_levels,
        array_layers: info.array_layers,
    };
    let linear = info.tiling == vk::ImageTiling::LINEAR;
    session.objects.host_images.insert(id, Arc::new(HostImage { shape, linear }));
}

/// A part of a copy: what the host is told, and where the texels are in the program's memory.
struct Part {
    copy: Copy<'static>,
    memory: *mut u8,
    /// Bytes of a row.
    row: usize,
    rows: usize,
    slices: usize,
    /// Bytes from row to row in the program's memory.
    row_pitch: usize,
    /// Bytes from slice to slice in the program's memory.
    slice_pitch: usize,
    /// Offset in the staging memory.
    at: u64,
}

impl Part {
    fn bytes(&self) -> u64 {
        (self.row * self.rows * self.slices) as u64
    }

    /// Calls `f` with each row in the program's memory and in the staging memory.
    ///
    /// # Safety
    /// Both must be as large as the part says.
    unsafe fn each_row(&self, staging: *mut u8, f: impl Fn(*mut u8, *mut u8, usize)) {
        // SAFETY: the caller's promise.
        let mut packed = unsafe { staging.add(self.at as usize) };
        for slice in 0..self.slices {
            for row in 0..self.rows {
                // SAFETY: as above.
                unsafe {
                    f(self.memory.add(slice * self.slice_pitch + row * self.row_pitch), packed, self.row);
                    packed = packed.add(self.row);
                }
            }
        }
    }
}

/// Divides a copy so that no part takes more than `most` bytes, unless one row does.
fn divide(copy: &Copy<'_>, rows: &Rows, most: u64, parts: &mut Vec<Part>) {
    let (row_pitch, slice_pitch) = rows.pitches(copy.memory_row_length, copy.memory_image_height);
    let rows_at_once = (most / rows.row_bytes.max(1)).clamp(1, rows.rows.into()) as u32;
    let slices_at_once = (most / rows.slice_bytes().max(1)).clamp(1, rows.slices.into()) as u32;
    for slice in (0..rows.slices).step_by(slices_at_once as usize) {
        let slices = slices_at_once.min(rows.slices - slice);
        for row in (0..rows.rows).step_by(rows_at_once as usize) {
            let count = rows_at_once.min(rows.rows - row);
            let first = row * rows.block_extent[1];
            let mut part = vk::MemoryToImageCopyEXT::default()
                .image_subresource(copy.image_subresource)
                .image_offset(copy.image_offset)
                .image_extent(copy.image_extent);
            part.image_offset.y += first as i32;
            part.image_extent.height = (count * rows.block_extent[1]).min(copy.image_extent.height - first);
            if rows.layers > 1 {
                part.image_subresource.base_array_layer += slice;
                part.image_subresource.layer_count = slices;
            } else {
                part.image_subresource.layer_count = 1;
                part.image_offset.z += slice as i32;
                part.image_extent.depth = slices;
            }
            let start = u64::from(slice) * slice_pitch + u64::from(row) * row_pitch;
            parts.push(Part {
                copy: part,
                memory: copy.p_host_pointer.cast::<u8>().cast_mut().wrapping_add(start as usize),
                row: rows.row_bytes as usize,
                rows: count as usize,
                slices: slices as usize,
                row_pitch: row_pitch as usize,
                slice_pitch: slice_pitch as usize,
                at: 0,
            });
        }
    }
}

/// One of the two commands that copy between memory and an image.
struct Transfer<'a> {
    session: &'a Session,
    device: *mut c_void,
    cmd: &'static Command,
    info: &'a CopyInfo<'a>,
    upload: bool,
}

impl Transfer<'_> {
    /// Does all of it.
    ///
    /// # Safety
    /// The info must be valid for the command.
    unsafe fn run(&self) -> Result<(), vk::Result> {
        // What is not valid usage is refused with an error that the command has.
        let wrong = vk::Result::ERROR_INITIALIZATION_FAILED;
        let image = self.session.objects.host_images.get(self.info.dst_image.as_raw()).ok_or(wrong)?;
        let mut parts = Vec::new();
        for i in 0..self.info.region_count as usize {
            // SAFETY: the caller's promise: as many regions as the info says.
            let copy = unsafe { &*self.info.p_regions.add(i) };
            let rows = image.shape.rows(&region(copy)).ok_or(wrong)?;
            if self.info.flags.contains(vk::HostImageCopyFlagsEXT::MEMCPY) {
                parts.push(self.opaque(copy, rows.layers));
            } else {
                divide(copy, &rows, STAGING, &mut parts);
            }
        }
        // SAFETY: the caller's promise: the program's memory is as large as its regions.
        unsafe { self.transfer(&mut parts) }
    }

    /// A part with bytes of unknown meaning, whose number for one layer the host's driver knows: `VkSubresourceHostMemcpySize`
    /// is about an image subresource, which is a level of a layer.
    fn opaque(&self, copy: &Copy<'_>, layers: u32) -> Part {
        let subresource = &copy.image_subresource;
        let question = vk::ImageSubresource2KHR::default().image_subresource(vk::ImageSubresource {
            aspect_mask: subresource.aspect_mask,
            mip_level: subresource.mip_level,
            array_layer: subresource.base_array_layer,
        });
        let mut size = vk::SubresourceHostMemcpySizeEXT::default();
        let mut layout = vk::SubresourceLayout2KHR::default().push_next(&mut size);
        let args = [
            self.device as u64,
            self.info.dst_image.as_raw(),
            &raw const question as u64,
            &raw mut layout as u64,
        ];
        // SAFETY: valid arguments; the image is the program's.
        unsafe { forward::call(self.device, &commands::VK_GET_IMAGE_SUBRESOURCE_LAYOUT_2, &args) };
        let bytes = size.size as usize;
        let mut part = vk::MemoryToImageCopyEXT::default()
            .image_subresource(*subresource)
            .image_offset(copy.image_offset)
            .image_extent(copy.image_extent);
        part.image_subresource.layer_count = layers;
        Part {
            copy: part,
            memory: copy.p_host_pointer.cast::<u8>().cast_mut(),
            row: bytes,
            rows: 1,
            slices: layers as usize,
            row_pitch: bytes,
            slice_pitch: bytes,
            at: 0,
        }
    }

    /// As many parts at a time as the staging memory takes.
    ///
    /// # Safety
    /// The parts must be of the program's memory.
    unsafe fn transfer(&self, parts: &mut [Part]) -> Result<(), vk::Result> {
        let mut rest = parts;
        while !rest.is_empty() {
            let mut used = 0_u64;
            let mut taken = 0;
            for part in rest.iter_mut() {
                let end = used + part.bytes();
                if taken > 0 && end > STAGING {
                    break;
                }
                part.at = used;
                used = end.next_multiple_of(ALIGNMENT);
                taken += 1;
            }
            let (now, later) = rest.split_at_mut(taken);
            let staging = self.session.stage(used).ok_or(vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
            // SAFETY: the caller's promise; the staging memory has `used` bytes.
            unsafe { self.exchange(now, &staging)? };
            rest = later;
        }
        Ok(())
    }

    /// Copies the parts by way of the staging memory.
    ///
    /// # Safety
    /// The parts must be of the program's memory, and fit into the staging memory.
    unsafe fn exchange(&self, parts: &[Part], staging: &Staging<'_>) -> Result<(), vk::Result> {
        let base = staging.base().as_ptr();
        let mut copies = Vec::with_capacity(parts.len());
        for part in parts {
            let mut copy = part.copy;
            copy.memory_row_length = 0;
            copy.memory_image_height = 0;
            copy.p_host_pointer = std::ptr::without_provenance((staging.offset() + part.at) as usize);
            copies.push(copy);
            // Opaque bytes that the driver does not write, because it needs fewer than it says, stay as they are.
            if self.upload || self.info.flags.contains(vk::HostImageCopyFlagsEXT::MEMCPY) {
                // SAFETY: the caller's promise. The host reads the staging memory after the call is in the ring.
                unsafe {
                    part.each_row(base, |memory, packed, n| packed.copy_from_nonoverlapping(memory, n));
                };
            }
        }
        staging.settle();
        let sent = CopyInfo {
            region_count: copies.len() as u32,
            p_regions: copies.as_ptr(),
            p_next: std::ptr::null(),
            ..*self.info
        };
        // SAFETY: the program's info with other regions, in whose pointers the host expects offsets.
        let called =
            unsafe { self.session.call_command(self.cmd, &[self.device as u64, &raw const sent as u64]) };
        let result = called.map_or_else(Failure::result, |ret| vk::Result::from_raw(ret as i32));
        result.result()?;
        if !self.upload {
            for part in parts {
                // SAFETY: the caller's promise. The host wrote the staging memory before it replied.
                unsafe {
                    part.each_row(base, |memory, packed, n| memory.copy_from_nonoverlapping(packed, n));
                };
            }
        }
        Ok(())
    }
}

fn region(copy: &Copy<'_>) -> texels::Region {
    let (subresource, offset, extent) = (&copy.image_subresource, copy.image_offset, copy.image_extent);
    texels::Region {
        aspect: subresource.aspect_mask.as_raw(),
        mip_level: subresource.mip_level,
        base_array_layer: subresource.base_array_layer,
        layer_count: subresource.layer_count,
        offset: [offset.x, offset.y, offset.z],
        extent: [extent.width, extent.height, extent.depth],
    }
}

unsafe fn transfer(device: *mut c_void, cmd: &'static Command, info: &CopyInfo<'_>, upload: bool) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of the command.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            match (Transfer { session, device, cmd, info, upload }).run() {
                Ok(()) => vk::Result::SUCCESS,
                Err(result) => result,
            }
        })
    }
    .as_raw()
}

/// `vkCopyMemoryToImage`
pub(crate) unsafe extern "system" fn vkCopyMemoryToImage(
    device: *mut c_void,
    info: *const CopyInfo<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { transfer(device, &commands::VK_COPY_MEMORY_TO_IMAGE, &*info, true) }
}

/// `vkCopyImageToMemory`
pub(crate) unsafe extern "system" fn vkCopyImageToMemory(
    device: *mut c_void,
    info: *const vk::CopyImageToMemoryInfoEXT<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command; the structures have one layout.
    unsafe { transfer(device, &commands::VK_COPY_IMAGE_TO_MEMORY, &*info.cast(), false) }
}

/// `vkCopyImageToImage`: waited for where the program can look at the texels by itself.
pub(crate) unsafe extern "system" fn vkCopyImageToImage(
    device: *mut c_void,
    info: *const vk::CopyImageToImageInfoEXT<'_>,
) -> i32 {
    let cmd = &commands::VK_COPY_IMAGE_TO_IMAGE;
    let args = [device as u64, info as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let seen = dispatch::session(device).is_none_or(|session| {
            let images = [(*info).src_image, (*info).dst_image];
            let mut known = images.map(|image| session.objects.host_images.get(image.as_raw())).into_iter();
            known.any(|image| image.is_none_or(|image| image.linear))
        });
        if let Some(session) = dispatch::session(device).filter(|_| seen) {
            session.settle();
        }
        if seen { forward::call(device, cmd, &args) as i32 } else { forward::send(device, cmd, &args) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: texels::Image =
        texels::Image { format: 37, extent: [8, 9, 1], mip_levels: 1, array_layers: 5 };

    fn parts(copy: &Copy<'_>, image: &texels::Image, most: u64) -> Vec<Part> {
        let mut parts = Vec::new();
        if let Some(rows) = image.rows(&region(copy)) {
            divide(copy, &rows, most, &mut parts);
        }
        parts
    }

    fn whole(layers: u32) -> Copy<'static> {
        vk::MemoryToImageCopyEXT::default()
            .image_subresource(
                vk::ImageSubresourceLayers::default()
                    .aspect_mask(vk::ImageAspectFlags::COLOR)
                    .layer_count(layers),
            )
            .image_extent(vk::Extent3D { width: 8, height: 9, depth: 1 })
    }

    #[test]
    fn copy_when_larger_than_the_staging_memory_is_divided_by_layers_then_rows() {
        let by_layers = parts(&whole(5), &IMAGE, 600);
        let layers: Vec<_> = by_layers
            .iter()
            .map(|p| (p.copy.image_subresource.base_array_layer, p.copy.image_subresource.layer_count))
            .collect();
        assert_eq!(layers, [(0, 2), (2, 2), (4, 1)]);
        let by_rows = parts(&whole(2), &IMAGE, 130);
        let rows: Vec<_> = by_rows
            .iter()
            .map(|p| (p.copy.image_subresource.base_array_layer, p.copy.image_offset.y, p.rows))
            .collect();
        assert_eq!(rows, [(0, 0, 4), (0, 4, 4), (0, 8, 1), (1, 0, 4), (1, 4, 4), (1, 8, 1)]);
        assert!(by_rows.iter().all(|p| p.bytes() <= 130));
    }

    #[test]
    fn copy_when_divided_touches_each_texel_once_and_no_gap() {
        for (row_length, image_height, most) in [(0, 0, 1), (11, 0, 100), (8, 12, 700), (13, 10, 1 << 20)] {
            let mut texels = vec![0_u8; 13 * 4 * 12 * 5];
            let mut copy = whole(5).memory_row_length(row_length).memory_image_height(image_height);
            copy.p_host_pointer = texels.as_mut_ptr().cast_const().cast();
            let mut staging = vec![0_u8; 13 * 4 * 12 * 5];
            for part in parts(&copy, &IMAGE, most) {
                // SAFETY: both are as large as any part.
                unsafe {
                    part.each_row(staging.as_mut_ptr(), |memory, _, n| {
                        std::slice::from_raw_parts_mut(memory, n).iter_mut().for_each(|byte| *byte += 1);
                    });
                }
            }
            let (length, height) = (row_length.max(8) as usize, image_height.max(9) as usize);
            for (i, touched) in texels.iter().enumerate() {
                let (x, y, layer) = (i / 4 % length, i / 4 / length % height, i / 4 / length / height);
                assert_eq!(*touched, u8::from(x < 8 && y < 9 && layer < 5), "{x} {y} {layer}");
            }
        }
    }

    #[test]
    fn copy_when_deep_is_divided_by_depth() {
        let image = texels::Image { extent: [8, 9, 4], array_layers: 1, ..IMAGE };
        let mut copy = whole(1);
        copy.image_extent.depth = 3;
        copy.image_offset.z = 1;
        let depths: Vec<_> = parts(&copy, &image, 600)
            .iter()
            .map(|p| (p.copy.image_offset.z, p.copy.image_extent.depth))
            .collect();
        assert_eq!(depths, [(1, 2), (3, 1)]);
    }
}
