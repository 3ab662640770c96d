//! Buffers: made so that imported pages may be bound to them.

use std::collections::HashMap;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::{Arena, DecodeError};
use vw_wire_protocol::generated::handles::HandleType;

use super::external::find;
use crate::gpu::Gpu;
use crate::session::Session;

/// Flags of buffers that are never bound to imported pages.
const SPARSE: vk::BufferCreateFlags = vk::BufferCreateFlags::from_raw(
    vk::BufferCreateFlags::SPARSE_BINDING.as_raw()
        | vk::BufferCreateFlags::SPARSE_RESIDENCY.as_raw()
        | vk::BufferCreateFlags::SPARSE_ALIASED.as_raw(),
);

/// What devices only read. An address of a buffer may be written to, whatever else it is for.
const READ: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
    vk::BufferUsageFlags::TRANSFER_SRC.as_raw()
        | vk::BufferUsageFlags::UNIFORM_TEXEL_BUFFER.as_raw()
        | vk::BufferUsageFlags::UNIFORM_BUFFER.as_raw()
        | vk::BufferUsageFlags::INDEX_BUFFER.as_raw()
        | vk::BufferUsageFlags::VERTEX_BUFFER.as_raw()
        | vk::BufferUsageFlags::INDIRECT_BUFFER.as_raw()
        | vk::BufferUsageFlags::CONDITIONAL_RENDERING_EXT.as_raw()
        | vk::BufferUsageFlags::SHADER_BINDING_TABLE_KHR.as_raw()
        | vk::BufferUsageFlags::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR.as_raw()
        | vk::BufferUsageFlags::SAMPLER_DESCRIPTOR_BUFFER_EXT.as_raw()
        | vk::BufferUsageFlags::RESOURCE_DESCRIPTOR_BUFFER_EXT.as_raw(),
);

/// Whether no use of a buffer writes it.
///
/// # Safety
/// `info` must be null or point to a decoded structure.
unsafe fn is_for_reading(info: *const vk::BufferCreateInfo<'_>) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        let Some(info) = info.as_ref() else { return false };
        let newer = find::<vk::BufferUsageFlags2CreateInfoKHR<'_>>(info.p_next).is_some();
        !newer && READ.contains(info.usage)
    }
}

impl Session {
    /// Remembers a new buffer where it matters whether the device can write it.
    ///
    /// # Safety
    /// `info` must be null or point to the decoded structure that the buffer was created with.
    pub(crate) unsafe fn remember_buffer(&mut self, id: u64, info: *const vk::BufferCreateInfo<'_>) {
        // SAFETY: the caller's promise.
        if self.window.is_apart() && unsafe { is_for_reading(info) } {
            self.read_only.insert(id);
        }
    }

    /// Whether the device cannot write a buffer that the last record names.
    pub(crate) fn only_reads(&self, buffer: vk::Buffer) -> bool {
        let mut named = self.touched.iter().filter(|(ty, _)| *ty == HandleType::Buffer);
        named.any(|(ty, id)| {
            self.read_only.contains(id)
                && self.tables.object(*ty, *id).is_some_and(|object| object.raw == buffer.as_raw())
        })
    }
}

/// Which buffers are declared to take imported pages.
#[derive(Debug)]
pub struct ExternalBuffers {
    /// As what pages are imported; nothing where they are not.
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    /// Declaring it costs nothing on this device.
    free: bool,
    /// Whether the device supports it, by (flags, usage).
    supported: HashMap<(u32, u32), bool>,
}

impl ExternalBuffers {
    /// Finds out what declaring costs: a device that then offers fewer memory types for buffers (as some do, leaving
    /// only system memory) is not told, because the declaration is a formality that no known driver enforces.
    pub fn probe(device: &ash::Device, handle_type: vk::ExternalMemoryHandleTypeFlags) -> Self {
        let usage = vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST
            | vk::BufferUsageFlags::UNIFORM_BUFFER
            | vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::INDEX_BUFFER
            | vk::BufferUsageFlags::VERTEX_BUFFER
            | vk::BufferUsageFlags::INDIRECT_BUFFER;
        let requirements = |declared: bool| {
            let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(handle_type);
            let mut info = vk::BufferCreateInfo::default().size(65536).usage(usage);
            if declared {
                info = info.push_next(&mut external);
            }
            // SAFETY: a valid structure for a live device; the buffer is used nowhere else.
            unsafe {
                let buffer = device.create_buffer(&info, None).ok()?;
                let requirements = device.get_buffer_memory_requirements(buffer);
                device.destroy_buffer(buffer, None);
                Some((requirements.size, requirements.alignment, requirements.memory_type_bits))
            }
        };
        let plain = requirements(false);
        let free = !handle_type.is_empty() && plain.is_some() && plain == requirements(true);
        Self { handle_type, free, supported: HashMap::new() }
    }

    /// Declares that the buffer of `info` may be bound to imported pages, if the device supports that for it.
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
        info: *mut vk::BufferCreateInfo<'_>,
    ) -> Result<(), DecodeError> {
        // SAFETY: the caller's promise.
        let Some(buffer) = (unsafe { info.as_mut() }) else { return Ok(()) };
        let (flags, usage, handle_type) = (buffer.flags, buffer.usage, self.handle_type);
        // SAFETY: as above.
        let given = unsafe { find::<vk::ExternalMemoryBufferCreateInfo<'_>>(buffer.p_next) };
        // What the program declares is declared whatever it costs.
        let wanted = self.free || given.as_ref().is_some_and(|given| !given.handle_types.is_empty());
        let excluded = flags.intersects(SPARSE) || flags.contains(vk::BufferCreateFlags::PROTECTED);
        let declare = wanted
            && !excluded
            && !usage.is_empty()
            && *self
                .supported
                .entry((flags.as_raw(), usage.as_raw()))
                .or_insert_with(|| importable(gpu, handle_type, flags, usage));
        if let Some(given) = given {
            // Whatever handle the guest has for them, to the driver they are imported pages.
            given.handle_types =
                if declare { handle_type } else { vk::ExternalMemoryHandleTypeFlags::empty() };
        } else if declare {
            let external = arena.alloc(size_of::<vk::ExternalMemoryBufferCreateInfo<'_>>())?.cast();
            // SAFETY: the block has the structure's size and the arena's alignment.
            unsafe {
                let mut declared = vk::ExternalMemoryBufferCreateInfo::default().handle_types(handle_type);
                declared.p_next = buffer.p_next;
                external.write(declared);
                buffer.p_next = external.as_ptr().cast_const().cast();
            }
        }
        Ok(())
    }
}

fn importable(
    gpu: &Gpu,
    handle_type: vk::ExternalMemoryHandleTypeFlags,
    flags: vk::BufferCreateFlags,
    usage: vk::BufferUsageFlags,
) -> bool {
    if handle_type.is_empty() {
        return false;
    }
    let info =
        vk::PhysicalDeviceExternalBufferInfo::default().flags(flags).usage(usage).handle_type(handle_type);
    let mut properties = vk::ExternalBufferProperties::default();
    // SAFETY: the instance and its physical device are live and of version 1.1.
    unsafe {
        gpu.instance.get_physical_device_external_buffer_properties(gpu.physical, &info, &mut properties);
    };
    let features = properties.external_memory_properties.external_memory_features;
    features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
}
