//! Whether, and for which memory types, the driver takes pages of the shared region as device memory.
//!
//! What drivers advertise is not what they do, so it is tried, on a region like the session's, before a guest is let in.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use ash::{ext, vk};

use super::Gpu;
use super::sparse::Sparse;

/// Device extension by which pages are imported.
pub const EXTENSION: &CStr = c"VK_EXT_external_memory_host";

/// The handle type of imported pages.
pub const HANDLE_TYPE: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// Pattern that the GPU writes in the trial.
const PATTERN: u32 = 0x7677_1234;

/// How long the trial waits for the GPU, in nanoseconds.
const TRIAL_TIMEOUT: u64 = 5_000_000_000;

/// Which memory types can be imported pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Import {
    /// Alignment that addresses and sizes need, in bytes.
    pub alignment: u64,
    /// How sparse resources get their memory.
    pub sparse: Sparse,
    /// Bit *i*: memory type *i* is host-visible, coherent, and can be imported.
    types: u32,
}

impl Import {
    /// Import of exactly these memory types.
    pub fn of_types(types: u32, alignment: u64) -> Self {
        Self { alignment, sparse: Sparse::Imported, types }
    }

    /// As text, for a process that has the same device.
    pub fn to_text(self) -> String {
        format!("{} {} {}", self.alignment, self.sparse as u32, self.types)
    }

    /// Reads [`Import::to_text`]; none if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let alignment: u64 = words.next()?.parse().ok()?;
        let sparse = match words.next()? {
            "0" => Sparse::Imported,
            "1" => Sparse::Driver,
            "2" => Sparse::Hidden,
            _ => return None,
        };
        let types = words.next()?.parse().ok()?;
        (alignment.is_power_of_two() && words.next().is_none()).then_some(Self { alignment, sparse, types })
    }

    /// Whether memory of type `index` is imported from the window.
    pub fn serves(&self, index: u32) -> bool {
        index < 32 && self.types & 1 << index != 0
    }
}

/// Alignment in bytes that the driver asks of imported pages.
///
/// # Errors
/// When the driver cannot import host memory at all; the text says so.
pub fn alignment(gpu: &Gpu) -> Result<u64, String> {
    if !gpu.offer.host_has("VK_EXT_external_memory_host") {
        return Err(format!(
            "the driver of {} lacks VK_EXT_external_memory_host, so it cannot use shared pages as device memory",
            gpu.name
        ));
    }
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
    // SAFETY: the instance and its physical device are live and have the extension.
    unsafe { gpu.instance.get_physical_device_properties2(gpu.physical, &mut properties) };
    let alignment = host.min_imported_host_pointer_alignment;
    if alignment.is_power_of_two() {
        Ok(alignment)
    } else {
        Err(format!("{} asks for imported memory aligned to {alignment} bytes", gpu.name))
    }
}

/// Tries to import the first pages of the window as each host-visible type, and lets the GPU write to them.
///
/// # Errors
/// When no type can be imported, a text with the reason of each.
pub fn probe(gpu: &Gpu, window: (NonNull<u8>, usize), alignment: u64) -> Result<Import, String> {
    let length = alignment.max(4096);
    if (window.1 as u64) < length {
        return Err(format!(
            "the memory window of {} bytes is smaller than one import ({length} bytes)",
            window.1
        ));
    }
    let trial = Trial::new(gpu)?;
    let memory = gpu.memory_properties();
    let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let mut types = 0;
    let mut reasons = Vec::new();
    for (index, ty) in memory.memory_types_as_slice().iter().enumerate() {
        if !ty.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE) {
            continue;
        }
        let result = if ty.property_flags.contains(wanted) {
            trial.import(window.0, length, index as u32)
        } else {
            Err("is not coherent".to_owned())
        };
        match result {
            Ok(()) => types |= 1 << index,
            Err(reason) => reasons.push(format!("memory type {index} {reason}")),
        }
    }
    if types == 0 {
        return Err(format!("{} cannot import the shared region: {}", gpu.name, reasons.join("; ")));
    }
    for reason in &reasons {
        tracing::info!("{reason}; guests do not see it as host-visible");
    }
    Ok(Import { alignment, sparse: Sparse::probe(gpu), types })
}

/// A queue family that can do something.
///
/// # Errors
/// When there is none.
pub fn family(gpu: &Gpu) -> Result<u32, String> {
    // SAFETY: the instance and its physical device are live.
    let families = unsafe { gpu.instance.get_physical_device_queue_family_properties(gpu.physical) };
    let useful = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER;
    let family = families.iter().position(|f| f.queue_flags.intersects(useful));
    Ok(family.ok_or("the device has no queue")? as u32)
}

/// A device of its own for the trial.
struct Trial<'a> {
    gpu: &'a Gpu,
    device: ash::Device,
    host: ext::external_memory_host::Device,
    family: u32,
}

impl<'a> Trial<'a> {
    fn new(gpu: &'a Gpu) -> Result<Self, String> {
        let family = family(gpu)?;
        let queue =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let names = [EXTENSION.as_ptr()];
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queue).enabled_extension_names(&names);
        // SAFETY: the structures are valid for the call, the device has the extension.
        let device = unsafe { gpu.instance.create_device(gpu.physical, &info, None) }
            .map_err(|result| format!("vkCreateDevice on the host: {result}"))?;
        let host = ext::external_memory_host::Device::new(&gpu.instance, &device);
        Ok(Self { gpu, device, host, family })
    }

    /// Imports `length` bytes at `address` as type `index` and has them written.
    fn import(&self, address: NonNull<u8>, length: u64, index: u32) -> Result<(), String> {
        let address = address.as_ptr().cast::<c_void>();
        let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
        // SAFETY: the range lies in the window, which is mapped as long as the region lives.
        let result = unsafe {
            (self.host.fp().get_memory_host_pointer_properties_ext)(
                self.device.handle(),
                HANDLE_TYPE,
                address,
                &mut properties,
            )
        };
        result.result().map_err(|result| format!("refuses the pages: {result}"))?;
        if properties.memory_type_bits & 1 << index == 0 {
            return Err("is not among those that the driver imports".to_owned());
        }
        let mut import =
            vk::ImportMemoryHostPointerInfoEXT::default().handle_type(HANDLE_TYPE).host_pointer(address);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(length)
            .memory_type_index(index)
            .push_next(&mut import);
        // SAFETY: as above; address and length are aligned as the driver asks.
        let memory = unsafe { self.device.allocate_memory(&info, None) }
            .map_err(|result| format!("cannot be imported: {result}"))?;
        // Nothing writes for the null executor.
        let result = if self.gpu.null { Ok(()) } else { self.write(memory, address.cast(), length, index) };
        // SAFETY: nothing uses the memory any more.
        unsafe { self.device.free_memory(memory, None) };
        result
    }

    fn write(
        &self,
        memory: vk::DeviceMemory,
        address: *mut u32,
        length: u64,
        index: u32,
    ) -> Result<(), String> {
        let device = &self.device;
        let failed =
            |command: &'static str| move |result: vk::Result| format!("fails at {command}: {result}");
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HANDLE_TYPE);
        let info = vk::BufferCreateInfo::default()
            .size(length)
            .usage(vk::BufferUsageFlags::TRANSFER_DST)
            .push_next(&mut external);
        // SAFETY: valid structures; every object is destroyed below, after the queue was waited for.
        unsafe {
            let buffer = device.create_buffer(&info, None).map_err(failed("vkCreateBuffer"))?;
            let pool_info = vk::CommandPoolCreateInfo::default().queue_family_index(self.family);
            let pool = device.create_command_pool(&pool_info, None);
            let fence = device.create_fence(&vk::FenceCreateInfo::default(), None);
            let result = match (pool, fence) {
                (Ok(pool), Ok(fence)) => {
                    let requirements = device.get_buffer_memory_requirements(buffer);
                    if requirements.memory_type_bits & 1 << index == 0 || requirements.size > length {
                        Err("does not take buffers".to_owned())
                    } else {
                        self.fill(buffer, memory, pool, fence).map_err(failed("the GPU's trial write"))
                    }
                }
                _ => Err("fails at its trial write: out of memory".to_owned()),
            };
            if let Ok(fence) = fence {
                device.destroy_fence(fence, None);
            }
            if let Ok(pool) = pool {
                device.destroy_command_pool(pool, None);
            }
            device.destroy_buffer(buffer, None);
            result?;
            if address.read_volatile() == PATTERN {
                Ok(())
            } else {
                Err("is imported, but what the GPU writes does not show in the shared pages".to_owned())
            }
        }
    }

    /// # Safety
    /// The objects are live and unused.
    unsafe fn fill(
        &self,
        buffer: vk::Buffer,
        memory: vk::DeviceMemory,
        pool: vk::CommandPool,
        fence: vk::Fence,
    ) -> Result<(), vk::Result> {
        let device = &self.device;
        let barrier = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ);
        // SAFETY: as the caller's; the submission is waited for.
        unsafe {
            device.bind_buffer_memory(buffer, memory, 0)?;
            let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
            let commands = device.allocate_command_buffers(&info)?;
            device.begin_command_buffer(commands[0], &vk::CommandBufferBeginInfo::default())?;
            device.cmd_fill_buffer(commands[0], buffer, 0, vk::WHOLE_SIZE, PATTERN);
            device.cmd_pipeline_barrier(
                commands[0],
                vk::PipelineStageFlags::TRANSFER,
                vk::PipelineStageFlags::HOST,
                vk::DependencyFlags::empty(),
                std::slice::from_ref(&barrier),
                &[],
                &[],
            );
            device.end_command_buffer(commands[0])?;
            let submit = [vk::SubmitInfo::default().command_buffers(&commands)];
            device.queue_submit(device.get_device_queue(self.family, 0), &submit, fence)?;
            device.wait_for_fences(&[fence], true, TRIAL_TIMEOUT)
        }
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // SAFETY: all children were destroyed; a submission that did not end in time is waited for here.
        unsafe {
            let _ = self.device.device_wait_idle();
            self.device.destroy_device(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_when_handed_on_as_text_is_the_same() {
        for sparse in [Sparse::Imported, Sparse::Driver, Sparse::Hidden] {
            let import = Import { alignment: 4096, sparse, types: 0x8000_0001 };
            assert_eq!(Import::parse(&import.to_text()), Some(import));
        }
        for text in ["", "4096 0", "4096 3 1", "0 0 1", "4095 0 1", "4096 0 1 1", "4096 0 -1"] {
            assert_eq!(Import::parse(text), None, "{text}");
        }
    }
}
