//! Gathers everything about the physical device that the guest answers alone.

use std::collections::BTreeMap;

use ash::vk;
use vw_wire_protocol::facts::{Chain, ExtensionFact, Facts, FormatFact};
use vw_wire_protocol::generated::structs;
use vw_wire_protocol::schema::{Count, Elem, Op, Struct};

use super::import::Import;
use super::sparse::{self, Sparse};
use super::{Gpu, formats, mask};

/// Offset of `pNext`.
const P_NEXT: usize = 8;

/// Most elements that are fetched of an array inside a structure.
const MAX_ARRAY: u32 = 4096;

/// What the driver says about the device and will not change, of all that is offered.
#[derive(Debug)]
pub struct Survey {
    properties: Chain,
    features: Chain,
    queue_families: Vec<Chain>,
    formats: Vec<FormatFact>,
}

impl Survey {
    /// Asks the driver for everything.
    pub fn new(gpu: &Gpu) -> Self {
        let properties = query(gpu, &structs::VK_PHYSICAL_DEVICE_PROPERTIES_2, |mem| {
            // SAFETY: `mem` is a chain of structures that the device knows, headed by this one.
            unsafe { gpu.instance.get_physical_device_properties2(gpu.physical, &mut *mem.cast()) };
        });
        let features = query(gpu, &structs::VK_PHYSICAL_DEVICE_FEATURES_2, |mem| {
            // SAFETY: as above.
            unsafe { gpu.instance.get_physical_device_features2(gpu.physical, &mut *mem.cast()) };
        });
        Self { properties, features, queue_families: queue_families(gpu), formats: format_facts(gpu) }
    }
}

/// What the driver says, with what guests are to see differently.
///
/// `window` is the size of the session's memory window in bytes.
pub fn gather(gpu: &Gpu, import: &Import, window: u64) -> Facts {
    let offer = &gpu.offer;
    let Survey { properties, features, queue_families, formats } = gpu.survey();
    let (mut properties, mut features) = (properties.clone(), features.clone());
    let mut queue_families = queue_families.clone();
    // How much of it is free is another matter each time.
    let mut memory = query(gpu, &structs::VK_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, |mem| {
        // SAFETY: `mem` is a chain of structures that the device knows, headed by this one.
        unsafe { gpu.instance.get_physical_device_memory_properties2(gpu.physical, &mut *mem.cast()) };
    });
    if import.sparse == Sparse::Hidden {
        sparse::hide(&mut properties, &mut features, &mut queue_families);
    }
    patch_properties(&mut properties, gpu, import);
    mask::apply(&mut features);
    patch_memory(&mut memory, import, window);
    Facts {
        api_version: offer.api_version,
        extensions: offer
            .extensions()
            .map(|(name, spec_version)| ExtensionFact { name: name.to_owned(), spec_version })
            .collect(),
        properties,
        features,
        memory,
        queue_families,
        formats: formats.clone(),
    }
}

/// Room for a structure and every one that may extend it and that the device knows.
struct Room {
    blocks: Vec<(&'static Struct, Box<[u64]>)>,
    /// What array pointers in the blocks point to.
    arrays: Vec<Box<[u64]>>,
}

impl Room {
    fn new(gpu: &Gpu, root: &'static Struct) -> Self {
        let extensions = root.extended_by.iter().copied().filter(|desc| gpu.offer.provides(desc.provided_by));
        let blocks = std::iter::once(root).chain(extensions).map(|desc| (desc, zeroed(desc.size))).collect();
        let mut room = Self { blocks, arrays: Vec::new() };
        let mut next: *mut u8 = std::ptr::null_mut();
        for (desc, block) in room.blocks.iter_mut().rev() {
            let mem = block.as_mut_ptr().cast::<u8>();
            // SAFETY: structures of chains have `sType` at offset 0 and `pNext` at offset 8.
            unsafe {
                mem.cast::<i32>().write(desc.s_type.unwrap_or(0));
                mem.add(P_NEXT).cast::<*mut u8>().write(next);
            }
            next = mem;
        }
        room
    }

    fn root(&mut self) -> *mut u8 {
        self.blocks.first_mut().map_or(std::ptr::null_mut(), |(_, block)| block.as_mut_ptr().cast())
    }

    /// Makes room for the arrays whose counts the first call returned. False when there are none.
    fn add_arrays(&mut self) -> bool {
        for (desc, block) in &mut self.blocks {
            let mem = block.as_mut_ptr().cast::<u8>();
            for op in desc.ops {
                let Op::Pointer(pointer) = op else { continue };
                let Count::Field { off, size: 4 } = pointer.count else { continue };
                let (stride, s_type) = match pointer.elem {
                    Elem::Bytes { size, .. } => (size, None),
                    Elem::Struct(elem) => (elem.size, elem.s_type),
                    _ => continue,
                };
                // SAFETY: count and pointer lie in the structure, which the block holds.
                unsafe {
                    let count = mem.add(off.into()).cast::<u32>();
                    count.write_unaligned(count.read_unaligned().min(MAX_ARRAY));
                    let count = count.read_unaligned();
                    if count == 0 {
                        continue;
                    }
                    let mut array = zeroed(count * stride);
                    let data = array.as_mut_ptr().cast::<u8>();
                    if let Some(s_type) = s_type {
                        for i in 0..count as usize {
                            data.add(i * stride as usize).cast::<i32>().write_unaligned(s_type);
                        }
                    }
                    mem.add(pointer.off.into()).cast::<*mut u8>().write_unaligned(data);
                    self.arrays.push(array);
                }
            }
        }
        !self.arrays.is_empty()
    }
}

fn zeroed(bytes: u32) -> Box<[u64]> {
    vec![0; bytes.div_ceil(8) as usize].into()
}

fn query(gpu: &Gpu, root: &'static Struct, ask: impl Fn(*mut u8)) -> Chain {
    let mut room = Room::new(gpu, root);
    ask(room.root());
    if room.add_arrays() {
        ask(room.root());
    }
    // SAFETY: the chain was made here and filled by the driver; arrays have as many elements as their counts say.
    unsafe { Chain::capture(root, room.root()) }
}

fn queue_families(gpu: &Gpu) -> Vec<Chain> {
    let root = &structs::VK_QUEUE_FAMILY_PROPERTIES_2;
    // SAFETY: the instance and its physical device are live.
    let count = unsafe { gpu.instance.get_physical_device_queue_family_properties2_len(gpu.physical) };
    let mut rooms: Vec<Room> = (0..count).map(|_| Room::new(gpu, root)).collect();
    // The elements of the array that the driver fills are copies of the chains' heads; the links are shared.
    let mut heads: Vec<vk::QueueFamilyProperties2<'_>> = rooms
        .iter_mut()
        // SAFETY: the room's root is a structure of this type.
        .map(|room| unsafe { room.root().cast::<vk::QueueFamilyProperties2<'_>>().read() })
        .collect();
    // SAFETY: as above; the array has the length that the driver gave, each element a valid chain.
    unsafe { gpu.instance.get_physical_device_queue_family_properties2(gpu.physical, &mut heads) };
    let capture = |head: &vk::QueueFamilyProperties2<'_>| {
        // SAFETY: a valid chain, filled by the driver.
        unsafe { Chain::capture(root, std::ptr::from_ref(head).cast()) }
    };
    heads.iter().map(capture).collect()
}

fn format_facts(gpu: &Gpu) -> Vec<FormatFact> {
    let wide =
        gpu.offer.api_version >= vk::API_VERSION_1_3 || gpu.offer.host_has("VK_KHR_format_feature_flags2");
    let fact = |format: i32| {
        let mut three = vk::FormatProperties3::default();
        let mut properties = vk::FormatProperties2::default();
        if wide {
            properties = properties.push_next(&mut three);
        }
        // SAFETY: the instance and its physical device are live, the format is known to the device.
        unsafe {
            gpu.instance.get_physical_device_format_properties2(
                gpu.physical,
                vk::Format::from_raw(format),
                &mut properties,
            );
        };
        let narrow = properties.format_properties;
        let features =
            [narrow.linear_tiling_features, narrow.optimal_tiling_features, narrow.buffer_features];
        let features = features.map(vk::FormatFeatureFlags::as_raw);
        let features2 = if wide {
            [three.linear_tiling_features, three.optimal_tiling_features, three.buffer_features]
                .map(vk::FormatFeatureFlags2::as_raw)
        } else {
            features.map(u64::from)
        };
        FormatFact { format, features, features2 }
    };
    let facts = formats::known(|provided_by| gpu.offer.provides(provided_by)).map(fact);
    facts.filter(|fact| fact.features != [0; 3] || fact.features2 != [0; 3]).collect()
}

fn patch_properties(properties: &mut Chain, gpu: &Gpu, import: &Import) {
    // SAFETY: the root of this chain is this structure.
    let root = unsafe { properties.root_mut().get_mut::<vk::PhysicalDeviceProperties2<'_>>() };
    set_text(&mut root.properties.device_name, &format!("vw ({})", gpu.name));
    root.properties.api_version = gpu.offer.api_version;
    let host = vk::StructureType::PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT;
    if let Some(body) = properties.body_mut(host.as_raw()) {
        // SAFETY: the body is of this structure type.
        let host = unsafe { body.get_mut::<vk::PhysicalDeviceExternalMemoryHostPropertiesEXT<'_>>() };
        host.min_imported_host_pointer_alignment = import.alignment;
    }
    let info = |name: &[std::ffi::c_char], info: &[std::ffi::c_char]| {
        let (name, info) = (text(name), text(info));
        format!("vw {} over {name} {info}", env!("CARGO_PKG_VERSION")).trim_end().to_owned()
    };
    // The same two fields stand in two structures; which of them a program reads must not matter.
    if let Some(body) = properties.body_mut(vk::StructureType::PHYSICAL_DEVICE_DRIVER_PROPERTIES.as_raw()) {
        // SAFETY: the body is of this structure type.
        let driver = unsafe { body.get_mut::<vk::PhysicalDeviceDriverProperties<'_>>() };
        let info = info(&driver.driver_name, &driver.driver_info);
        set_text(&mut driver.driver_name, "vw");
        set_text(&mut driver.driver_info, &info);
    }
    if let Some(body) = properties.body_mut(vk::StructureType::PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES.as_raw())
    {
        // SAFETY: the body is of this structure type.
        let driver = unsafe { body.get_mut::<vk::PhysicalDeviceVulkan12Properties<'_>>() };
        let info = info(&driver.driver_name, &driver.driver_info);
        set_text(&mut driver.driver_name, "vw");
        set_text(&mut driver.driver_info, &info);
    }
}

/// Host-visible types that the window cannot serve lose what makes them host-visible, and heaps of those that it
/// does serve are not larger than the window.
fn patch_memory(memory: &mut Chain, import: &Import, window: u64) {
    use vk::MemoryPropertyFlags as Flags;
    // SAFETY: the root of this chain is this structure.
    let root = unsafe { memory.root_mut().get_mut::<vk::PhysicalDeviceMemoryProperties2<'_>>() };
    let properties = &mut root.memory_properties;
    let mut served: BTreeMap<usize, u64> = BTreeMap::new();
    for (index, ty) in
        properties.memory_types.iter_mut().enumerate().take(properties.memory_type_count as usize)
    {
        if import.serves(index as u32) {
            served.insert(ty.heap_index as usize, 0);
        } else {
            ty.property_flags &= !(Flags::HOST_VISIBLE | Flags::HOST_COHERENT | Flags::HOST_CACHED);
        }
    }
    for (heap, size) in &mut served {
        if let Some(heap) = properties.memory_heaps.get_mut(*heap) {
            heap.size = heap.size.min(window);
            *size = heap.size;
        }
    }
    let budget = memory.body_mut(vk::StructureType::PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT.as_raw());
    if let Some(body) = budget {
        // SAFETY: the body is of this structure type.
        let budget = unsafe { body.get_mut::<vk::PhysicalDeviceMemoryBudgetPropertiesEXT<'_>>() };
        for (heap, size) in served {
            if let Some(bytes) = budget.heap_budget.get_mut(heap) {
                *bytes = (*bytes).min(size);
            }
        }
    }
}

/// The text in a C array, without what follows the first zero.
fn text(array: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = array.iter().map(|c| *c as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes text into a C array: cut at a character's end to fit, zeros after it.
fn set_text(array: &mut [std::ffi::c_char], text: &str) {
    let mut end = text.len().min(array.len().saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    array.fill(0);
    for (slot, byte) in array.iter_mut().zip(text[..end].bytes()) {
        *slot = byte as std::ffi::c_char;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_text_when_too_long_cuts_at_a_character_and_terminates() {
        let mut array = [1 as std::ffi::c_char; 8];
        set_text(&mut array, "abcdef\u{e9}x");
        assert_eq!(text(&array), "abcdef");
        assert_eq!(array[6..], [0, 0]);
        set_text(&mut array, "ab");
        assert_eq!(text(&array), "ab");
    }
}
