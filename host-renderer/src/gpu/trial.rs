//! One import, tried: what drivers advertise is not what they do.

use std::ffi::c_void;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};

use ash::{ext, khr, vk};
use vw_transport::Region;

use super::Gpu;
use super::import::{HANDLE_TYPE, Rung};
use super::udmabuf::Udmabuf;

/// Pattern that the GPU writes in the trial.
const PATTERN: u32 = 0x7677_1234;

/// How long the trial waits for the GPU, in nanoseconds.
const TRIAL_TIMEOUT: u64 = 5_000_000_000;

/// A queue family that can do something.
///
/// # Errors
/// When there is none.
pub(super) fn family(gpu: &Gpu) -> Result<u32, String> {
    // SAFETY: the instance and its physical device are live.
    let families = unsafe { gpu.instance.get_physical_device_queue_family_properties(gpu.physical) };
    let useful = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE | vk::QueueFlags::TRANSFER;
    let family = families.iter().position(|f| f.queue_flags.intersects(useful));
    Ok(family.ok_or("the device has no queue")? as u32)
}

/// A device of its own for the trial of a rung, with memory of `length` bytes: the first ones of the region's window, where that is
/// what the rung is about.
pub(super) struct Trial<'a> {
    gpu: &'a Gpu,
    rung: Rung,
    region: &'a Region,
    udmabuf: Option<&'a Udmabuf>,
    length: u64,
    device: ash::Device,
    family: u32,
}

fn failed(command: &'static str) -> impl Fn(vk::Result) -> String {
    move |result| format!("fails at {command}: {result}")
}

fn not_imported(result: vk::Result) -> String {
    format!("cannot be imported: {result}")
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        gpu: &'a Gpu,
        rung: Rung,
        udmabuf: Option<&'a Udmabuf>,
        region: &'a Region,
        length: u64,
    ) -> Result<Self, String> {
        let family = family(gpu)?;
        let queue =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let names: Vec<_> = rung.extensions().iter().map(|name| name.as_ptr()).collect();
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queue).enabled_extension_names(&names);
        // SAFETY: the structures are valid for the call, the device has the extensions.
        let device = unsafe { gpu.instance.create_device(gpu.physical, &info, None) }
            .map_err(|result| format!("vkCreateDevice on the host: {result}"))?;
        Ok(Self { gpu, rung, region, udmabuf, length, device, family })
    }

    /// Whether memory of type `index` can be had by this rung, and what the GPU writes to it is seen.
    pub(super) fn try_type(&self, index: u32) -> Result<(), String> {
        let (memory, address) = match self.rung {
            Rung::HostPointer => self.import_pointer(index)?,
            Rung::Udmabuf => self.import_descriptor(index)?,
            Rung::Copy => self.allocate(index)?,
        };
        // Nothing writes for the null executor.
        let result = if self.gpu.null { Ok(()) } else { self.write(memory, address, self.length, index) };
        // SAFETY: nothing uses the memory any more.
        unsafe { self.device.free_memory(memory, None) };
        result
    }

    fn info(&self, index: u32) -> vk::MemoryAllocateInfo<'static> {
        vk::MemoryAllocateInfo::default().allocation_size(self.length).memory_type_index(index)
    }

    fn import_pointer(&self, index: u32) -> Result<(vk::DeviceMemory, *mut u32), String> {
        let host = ext::external_memory_host::Device::new(&self.gpu.instance, &self.device);
        let address = self.region.window().0.as_ptr().cast::<c_void>();
        let mut properties = vk::MemoryHostPointerPropertiesEXT::default();
        // SAFETY: the range lies in the window, which is mapped as long as the region lives.
        let result = unsafe {
            (host.fp().get_memory_host_pointer_properties_ext)(
                self.device.handle(),
                HANDLE_TYPE,
                address,
                &mut properties,
            )
        };
        result.result().map_err(|result| format!("refuses the pages: {result}"))?;
        fits(properties.memory_type_bits, index)?;
        let mut import =
            vk::ImportMemoryHostPointerInfoEXT::default().handle_type(HANDLE_TYPE).host_pointer(address);
        let info = self.info(index).push_next(&mut import);
        // SAFETY: as above; address and length are aligned as the driver asks.
        let memory = unsafe { self.device.allocate_memory(&info, None) }.map_err(not_imported)?;
        Ok((memory, address.cast()))
    }

    fn import_descriptor(&self, index: u32) -> Result<(vk::DeviceMemory, *mut u32), String> {
        let (Some(udmabuf), Some((file, offset))) = (self.udmabuf, self.region.window_in_file()) else {
            return Err("has no file".to_owned());
        };
        let handle_type = self.rung.handle_type();
        let buffer = udmabuf
            .make(file, offset, self.length)
            .map_err(|error| format!("cannot be made a dma-buf of: {error}"))?;
        let extension = khr::external_memory_fd::Device::new(&self.gpu.instance, &self.device);
        let mut properties = vk::MemoryFdPropertiesKHR::default();
        // SAFETY: an open descriptor of that type.
        unsafe { extension.get_memory_fd_properties(handle_type, buffer.as_raw_fd(), &mut properties) }
            .map_err(|result| format!("refuses the dma-buf: {result}"))?;
        fits(properties.memory_type_bits, index)?;
        // The driver's if it is imported.
        let descriptor = buffer.into_raw_fd();
        let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(handle_type).fd(descriptor);
        let info = self.info(index).push_next(&mut import);
        // SAFETY: as above.
        let memory = unsafe { self.device.allocate_memory(&info, None) }.map_err(|result| {
            // SAFETY: it was not imported, so it is still this function's.
            unsafe { libc::close(descriptor) };
            not_imported(result)
        })?;
        Ok((memory, self.region.window().0.as_ptr().cast()))
    }

    fn allocate(&self, index: u32) -> Result<(vk::DeviceMemory, *mut u32), String> {
        // SAFETY: a valid structure; the memory is not used elsewhere.
        unsafe {
            let memory =
                self.device.allocate_memory(&self.info(index), None).map_err(failed("vkAllocateMemory"))?;
            match self.device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty()) {
                Ok(address) => Ok((memory, address.cast())),
                Err(result) => {
                    self.device.free_memory(memory, None);
                    Err(failed("vkMapMemory")(result))
                }
            }
        }
    }

    fn write(
        &self,
        memory: vk::DeviceMemory,
        address: *mut u32,
        length: u64,
        index: u32,
    ) -> Result<(), String> {
        let device = &self.device;
        let mut external =
            vk::ExternalMemoryBufferCreateInfo::default().handle_types(self.rung.handle_type());
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
                Err("is there, but what the GPU writes does not show in it".to_owned())
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

fn fits(bits: u32, index: u32) -> Result<(), String> {
    let fits = bits & 1 << index != 0;
    fits.then_some(()).ok_or_else(|| "is not among those that the driver imports".to_owned())
}
