//! Images: made so that imported pages may be bound to them.

use std::collections::HashMap;

use ash::vk;
use vw_wire_protocol::codec::{Arena, DecodeError};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::texels;

use super::external::find;
use crate::gpu::Gpu;
use crate::gpu::import::Import;
use crate::session::Session;

/// What an image was created with.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    /// Its format and size.
    pub shape: texels::Image,
    /// Its flags.
    pub flags: vk::ImageCreateFlags,
}

/// Flags of images that are never bound to imported pages.
const EXCLUDED: vk::ImageCreateFlags = vk::ImageCreateFlags::from_raw(
    vk::ImageCreateFlags::SPARSE_BINDING.as_raw()
        | vk::ImageCreateFlags::SPARSE_RESIDENCY.as_raw()
        | vk::ImageCreateFlags::SPARSE_ALIASED.as_raw()
        | vk::ImageCreateFlags::PROTECTED.as_raw(),
);

/// What an image's support for imported pages depends on: format, type, tiling, usage, flags.
type Key = (i32, i32, i32, u32, u32);

/// Which images are declared to take imported pages.
#[derive(Debug)]
pub struct ExternalImages {
    /// As what pages are imported; nothing where they are not.
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    /// All memory types are imported pages, so optimal images are bound to them too. Elsewhere they are bound to
    /// the device's own memory, and the declaration could cost them their compression.
    optimal: bool,
    supported: HashMap<Key, bool>,
    /// The answer to the last question: most images are like the one before.
    last: Option<(Key, bool)>,
}

impl ExternalImages {
    /// The rule for a device with this memory.
    pub fn new(gpu: &Gpu, import: &Import) -> Self {
        let count = gpu.memory_properties().memory_type_count;
        let optimal = (0..count).all(|index| import.serves(index));
        Self { handle_type: import.rung.handle_type(), optimal, supported: HashMap::new(), last: None }
    }

    /// Declares that the image of `info` may be bound to imported pages, if the device supports that for it.
    ///
    /// # Errors
    /// When the arena is full.
    ///
    /// # Safety
    /// `info` must be null or point to a decoded structure in `arena`.
    pub unsafe fn declare(
        &mut self,
        gpu: &Gpu,
        arena: &Arena,
        info: *mut vk::ImageCreateInfo<'_>,
    ) -> Result<(), DecodeError> {
        if info.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let image = unsafe { &mut *info };
        let handle_type = self.handle_type;
        // SAFETY: as above.
        let given = unsafe { find::<vk::ExternalMemoryImageCreateInfo<'_>>(image.p_next) };
        let wanted = given.as_ref().is_some_and(|given| !given.handle_types.is_empty());
        let tiling = image.tiling == vk::ImageTiling::LINEAR
            || self.optimal && image.tiling == vk::ImageTiling::OPTIMAL;
        // A preinitialised image may not be declared so (VUID-VkImageCreateInfo-pNext-01443). Bound to imported pages it
        // is formally wrong (VUID-vkBindImageMemory-memory-02729), which no known driver minds.
        let useful = tiling && image.initial_layout == vk::ImageLayout::UNDEFINED;
        let key = (
            image.format.as_raw(),
            image.image_type.as_raw(),
            image.tiling.as_raw(),
            image.usage.as_raw(),
            image.flags.as_raw(),
        );
        let declare = (wanted || useful)
            && !image.flags.intersects(EXCLUDED)
            && match self.last {
                Some((last, supported)) if last == key => supported,
                _ => {
                    let supported = self.supported.entry(key);
                    let supported = *supported.or_insert_with(|| importable(gpu, handle_type, image));
                    self.last = Some((key, supported));
                    supported
                }
            };
        if let Some(given) = given {
            // Whatever handle the guest has for them, to the driver they are imported pages.
            given.handle_types =
                if declare { handle_type } else { vk::ExternalMemoryHandleTypeFlags::empty() };
        } else if declare {
            let external = arena.alloc(size_of::<vk::ExternalMemoryImageCreateInfo<'_>>())?.cast();
            let mut declared = vk::ExternalMemoryImageCreateInfo::default().handle_types(handle_type);
            declared.p_next = image.p_next;
            // SAFETY: the block has the structure's size and the arena's alignment.
            unsafe { external.write(declared) };
            image.p_next = external.as_ptr().cast_const().cast();
        }
        Ok(())
    }
}

impl Session {
    /// Remembers what an image was created with.
    pub(crate) fn remember_image(&mut self, id: u64, info: &vk::ImageCreateInfo<'_>) {
        let shape = texels::Image {
            format: info.format.as_raw(),
            extent: [info.extent.width, info.extent.height, info.extent.depth],
            mip_levels: info.mip_levels,
            array_layers: info.array_layers,
        };
        self.images.insert(id, Made { shape, flags: info.flags });
    }

    /// The images that the last record names, in order, by the driver's handle.
    pub(crate) fn touched_images(&self) -> impl Iterator<Item = (u64, &Made)> {
        let ty = HandleType::Image;
        self.touched
            .iter()
            .filter(move |(touched, _)| *touched == ty)
            .filter_map(move |(_, id)| Some((self.tables.object(ty, *id)?.raw, self.images.get(id)?)))
    }
}

fn importable(
    gpu: &Gpu,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    image: &vk::ImageCreateInfo<'_>,
) -> bool {
    if handle_type.is_empty() {
        return false;
    }
    let mut external = vk::PhysicalDeviceExternalImageFormatInfo::default().handle_type(handle_type);
    let info = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(image.format)
        .ty(image.image_type)
        .tiling(image.tiling)
        .usage(image.usage)
        .flags(image.flags)
        .push_next(&mut external);
    let mut memory = vk::ExternalImageFormatProperties::default();
    let mut properties = vk::ImageFormatProperties2::default().push_next(&mut memory);
    // SAFETY: the instance and its physical device are live and of version 1.1.
    let result = unsafe {
        gpu.instance.get_physical_device_image_format_properties2(gpu.physical, &info, &mut properties)
    };
    let limits = properties.image_format_properties;
    let fits = limits.max_extent.width >= image.extent.width
        && limits.max_extent.height >= image.extent.height
        && limits.max_extent.depth >= image.extent.depth
        && limits.max_mip_levels >= image.mip_levels
        && limits.max_array_layers >= image.array_layers
        && limits.sample_counts.contains(image.samples);
    let features = memory.external_memory_properties.external_memory_features;
    result.is_ok() && fits && features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
}
