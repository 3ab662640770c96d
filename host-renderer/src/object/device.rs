//! Devices: created with what vw needs, destroyed with everything that belongs to them.

use std::ffi::{CStr, c_char};
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use vw_transport::control::QUEUE_SLOTS;
use vw_wire_protocol::codec::{Arena, Reader};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::{Class, Command, Op, Support};

use super::buffer::ExternalBuffers;
use super::debug_utils;
use super::external::find;
use super::image::ExternalImages;
use super::queue::{Queue, Shared};
use crate::gpu::procs::Procs;
use crate::gpu::sparse::Sparse;
use crate::gpu::{mask, offer, sparse};
use crate::session::end::{End, violation};
use crate::session::policy::destroyer;
use crate::session::straight::Straight;
use crate::session::tables::Object;
use crate::session::{Decoded, Session};

/// Index of `pCreateInfo` among the arguments of `vkCreateDevice`.
const CREATE_INFO: usize = 1;

/// A device of the guest.
#[derive(Debug)]
pub struct Device {
    /// The guest's id.
    pub id: u64,
    /// What its queues share.
    pub shared: Arc<Shared>,
    /// Its commands.
    pub procs: Procs,
    /// Those of command buffers that are taken without the tables.
    pub straight: Straight,
    /// Names and tags of objects, where the host has them.
    pub debug_utils: Option<debug_utils::Functions>,
    /// The queues that the guest asked for.
    pub queues: Vec<Queue>,
    /// Which buffers are declared to take imported pages.
    pub buffers: ExternalBuffers,
    /// Which images are.
    pub images: ExternalImages,
    /// Memory that the guest sees is the driver's own, for sparse resources.
    pub driver_memory: bool,
}

/// A queue as the record `CREATE_DEVICE` names it.
#[derive(Debug, Clone, Copy)]
struct WantedQueue {
    family: u32,
    index: u32,
    flags: u32,
    slot: u32,
    id: u64,
}

impl Device {
    /// The queue with the guest's id.
    pub fn queue_mut(&mut self, id: u64) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.id == id)
    }
}

impl Session {
    /// The record `CREATE_DEVICE`: the queues that the guest numbers, then a `vkCreateDevice` request.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn create_device(&mut self, arena: &Arena, mut reader: Reader<'_>) -> Result<(), End> {
        let command = &commands::VK_CREATE_DEVICE;
        let wanted = self.wanted_queues(&mut reader)?;
        let Decoded { request, seen } = self.decode(arena, command, reader)?;
        let info = request.args[CREATE_INFO] as *mut vk::DeviceCreateInfo<'_>;
        let id = request.new.iter().next().and_then(|new| new.ids.first().copied());
        let (Some(id), false) = (id, info.is_null()) else {
            return Err(violation("vkCreateDevice without its structure or handle"));
        };
        // SAFETY: not null, so it is the structure that the tables say, decoded into the arena.
        let info = unsafe { &mut *info };
        for queue in &wanted {
            check_queue(info, queue)?;
            self.tables
                .reserve(HandleType::Queue, queue.id)
                .map_err(|error| violation(format!("Queue {:#x}: {error}", queue.id)))?;
        }
        // SAFETY: the structure was decoded with its chain.
        let sparse = unsafe { sparse::is_enabled(info) };
        let created = self.open_device(info);
        let result = match &created {
            Ok(_) => vk::Result::SUCCESS,
            Err(result) => *result,
        };
        match created {
            Ok(device) => {
                let raw = device.handle().as_raw();
                for new in request.new.iter() {
                    // SAFETY: the decoder made room for one handle.
                    unsafe { new.raw.write(raw) };
                }
                let driver_memory = sparse && self.import.sparse == Sparse::Driver;
                self.add_device(id, device, &wanted, driver_memory)?;
                if driver_memory {
                    // What the guest allocates on this device it has to hear the place of.
                    self.withdraw_credits();
                }
            }
            Err(result) => {
                tracing::warn!("vkCreateDevice: {result}");
                for queue in &wanted {
                    self.tables.cancel(HandleType::Queue, queue.id);
                }
                self.settle(command, &request, result.as_raw() as i64 as u64, seen, true);
            }
        }
        self.answer(command, &request, result.as_raw() as i64 as u64)
    }

    fn wanted_queues(&self, reader: &mut Reader<'_>) -> Result<Vec<WantedQueue>, End> {
        let count = reader.take_u32().map_err(violation)?;
        if count as usize > QUEUE_SLOTS {
            return Err(violation(format!("{count} queues; at most {QUEUE_SLOTS} can be numbered")));
        }
        let mut wanted: Vec<WantedQueue> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let mut word = || reader.take_u32().map_err(violation);
            let (family, index, flags, slot) = (word()?, word()?, word()?, word()?);
            let id = reader.take_u64().map_err(violation)?;
            let used = self.devices.iter().flatten().flat_map(|device| &device.queues);
            let taken = used.map(|queue| queue.slot).chain(wanted.iter().map(|queue| queue.slot as usize));
            if slot as usize >= QUEUE_SLOTS || taken.into_iter().any(|taken| taken == slot as usize) {
                return Err(violation(format!("queue slot {slot} is taken or does not exist")));
            }
            wanted.push(WantedQueue { family, index, flags, slot, id });
        }
        Ok(wanted)
    }

    /// Creates the host's device.
    fn open_device(&self, info: &mut vk::DeviceCreateInfo<'_>) -> Result<ash::Device, vk::Result> {
        // SAFETY: the structures were decoded into the arena, arrays have as many elements as their counts say.
        let mut names = unsafe { self.extensions(info)? };
        for needed in self.import.rung.extensions() {
            // SAFETY: the names are C strings, of the tables or decoded.
            if !names.iter().any(|name| unsafe { CStr::from_ptr(*name) } == *needed) {
                names.push(needed.as_ptr());
            }
        }
        info.enabled_extension_count = names.len() as u32;
        info.pp_enabled_extension_names = names.as_ptr();
        // SAFETY: as above.
        unsafe {
            if let Some(masked) = mask::enabled(info.p_next.cast()) {
                tracing::warn!("the guest enables {}, which is not offered: {}", masked.name, masked.reason);
                return Err(vk::Result::ERROR_FEATURE_NOT_PRESENT);
            }
            if self.import.sparse == Sparse::Hidden && sparse::is_enabled(info) {
                tracing::warn!("the guest enables sparse resources, which are not offered on this driver");
                return Err(vk::Result::ERROR_FEATURE_NOT_PRESENT);
            }
            self.check_families(info)?;
        }
        let mut timelines = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
        if self.shares_sync {
            // SAFETY: as above.
            unsafe { force_timelines(info, &mut timelines) };
        }
        let mut robust = vk::PhysicalDeviceFeatures::default();
        if self.robust_buffer_access {
            // SAFETY: as above.
            unsafe { force_robust_access(info, &mut robust) };
        }
        // SAFETY: the structure is valid for the call, the instance and its physical device are live.
        unsafe { self.gpu.instance.create_device(self.gpu.physical, info, None) }
    }

    /// The extensions to enable on the host.
    ///
    /// # Safety
    /// `info` must be valid.
    unsafe fn extensions(&self, info: &vk::DeviceCreateInfo<'_>) -> Result<Vec<*const c_char>, vk::Result> {
        let mut names = Vec::new();
        for i in 0..info.enabled_extension_count as usize {
            if info.pp_enabled_extension_names.is_null() {
                break;
            }
            // SAFETY: the caller's promise: an array of terminated strings.
            let name = unsafe { *info.pp_enabled_extension_names.add(i) };
            if name.is_null() {
                return Err(vk::Result::ERROR_EXTENSION_NOT_PRESENT);
            }
            // SAFETY: as above.
            let text = unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default();
            if self.gpu.offer.has(text) {
                names.push(name);
            } else if offer::extension(text).is_none_or(|extension| extension.support != Support::Guest) {
                tracing::warn!("the guest enables {text}, which is not offered");
                return Err(vk::Result::ERROR_EXTENSION_NOT_PRESENT);
            }
        }
        Ok(names)
    }

    /// # Safety
    /// `info` must be valid.
    unsafe fn check_families(&self, info: &vk::DeviceCreateInfo<'_>) -> Result<(), vk::Result> {
        // SAFETY: the instance and its physical device are live.
        let families =
            unsafe { self.gpu.instance.get_physical_device_queue_family_properties(self.gpu.physical) };
        // SAFETY: the caller's promise.
        let sound = unsafe { queue_infos(info) }.iter().all(|queues| {
            let family = families.get(queues.queue_family_index as usize);
            family.is_some_and(|family| (1..=family.queue_count).contains(&queues.queue_count))
                && !queues.p_queue_priorities.is_null()
        });
        if sound { Ok(()) } else { Err(vk::Result::ERROR_INITIALIZATION_FAILED) }
    }

    fn add_device(
        &mut self,
        id: u64,
        device: ash::Device,
        wanted: &[WantedQueue],
        driver_memory: bool,
    ) -> Result<(), End> {
        let number = self.free_device_number()?;
        let lookup = |name: &CStr| {
            // SAFETY: the device is live and the name a C string.
            unsafe { self.gpu.instance.get_device_proc_addr(device.handle(), name.as_ptr()) }
        };
        let procs = Procs::load(
            |command| is_device_command(command) && self.provides(command),
            lookup,
            self.gpu.null,
        );
        let straight =
            if self.perf.straight { Straight::new(&procs, &self.policies) } else { Straight::none() };
        let mut queues = Vec::with_capacity(wanted.len());
        for queue in wanted {
            let info = vk::DeviceQueueInfo2::default()
                .flags(vk::DeviceQueueCreateFlags::from_raw(queue.flags))
                .queue_family_index(queue.family)
                .queue_index(queue.index);
            // SAFETY: the queue was created with the device, which was checked.
            let raw = unsafe {
                if queue.flags == 0 {
                    device.get_device_queue(queue.family, queue.index)
                } else {
                    device.get_device_queue2(&info)
                }
            };
            let object = Object { raw: raw.as_raw(), device: number, ..Object::default() };
            self.tables.commit(HandleType::Queue, queue.id, object);
            self.region.control().assign(queue.slot as usize);
            queues.push(Queue::new(queue.id, queue.slot as usize));
        }
        let object = Object { raw: device.handle().as_raw(), device: number, ..Object::default() };
        self.tables.commit(HandleType::Device, id, object);
        // SAFETY: the device is live.
        let debug_utils = unsafe { debug_utils::load(&self.gpu, &device) };
        let buffers = ExternalBuffers::probe(&device, self.import.rung.handle_type());
        let images = ExternalImages::new(&self.gpu, &self.import);
        let shared = Shared::new(device, Arc::clone(&self.region), Arc::clone(&self.window));
        let index = usize::from(number) - 1;
        if self.devices.len() <= index {
            self.devices.resize_with(index + 1, || None);
        }
        self.devices[index] =
            Some(Device { id, shared, procs, straight, debug_utils, queues, buffers, images, driver_memory });
        Ok(())
    }

    fn free_device_number(&self) -> Result<u16, End> {
        let index = self.devices.iter().position(Option::is_none).unwrap_or(self.devices.len());
        u16::try_from(index + 1).map_err(|_| violation("more devices than can be numbered"))
    }

    /// Destroys a device and everything that belongs to it, after its queues are idle.
    pub(crate) fn destroy_device(&mut self, number: u16) {
        self.hand_over();
        let Some(mut device) = self.devices.get_mut(usize::from(number) - 1).and_then(Option::take) else {
            return;
        };
        self.compiling.drop_device(&mut self.tables, number);
        let shared = Arc::clone(&device.shared);
        shared.open_gates();
        // SAFETY: the device is live; this thread is the only one that submits.
        if let Err(result) = unsafe { shared.device.device_wait_idle() } {
            tracing::warn!("a device did not become idle: {result}");
            shared.quit();
        }
        for queue in &mut device.queues {
            queue.finish(&shared);
        }
        let raw = shared.device.handle().as_raw();
        for ty in destruction_order() {
            let Some(command) = destroyer(ty) else { continue };
            for id in self.tables.ids(ty, |object| object.device == number) {
                self.leaving(ty, id);
                if let Some(object) = self.tables.remove(ty, id)
                    && object.raw != 0
                {
                    // SAFETY: a live object of this device, which nothing uses any more; no allocator.
                    let called = unsafe { self.call_args(&device.procs, command, &[raw, object.raw, 0]) };
                    if called.is_err() {
                        tracing::error!("the driver has no {}", command.name);
                    }
                }
                self.forgotten(ty, id);
            }
        }
        for ty in
            [HandleType::CommandBuffer, HandleType::DescriptorSet, HandleType::Queue, HandleType::Device]
        {
            for id in self.tables.ids(ty, |object| object.device == number) {
                self.tables.remove(ty, id);
            }
        }
        shared.destroy_fences();
        // SAFETY: all children are destroyed, the queues' threads have ended.
        unsafe { shared.device.destroy_device(None) };
    }

    /// The session's devices, destroyed; the guest has no more use for them.
    pub(crate) fn destroy_devices(&mut self) {
        self.devices.iter().flatten().for_each(|device| device.shared.leave());
        for number in 1..=self.devices.len() {
            self.destroy_device(number as u16);
        }
    }
}

/// Types with a destroying command, users before what they use.
fn destruction_order() -> Vec<HandleType> {
    let rank = |ty: HandleType| match ty {
        HandleType::CommandPool | HandleType::DescriptorPool => 0,
        HandleType::Framebuffer | HandleType::Pipeline | HandleType::ShaderEXT => 1,
        HandleType::Sampler | HandleType::ImageView | HandleType::BufferView => 3,
        HandleType::Buffer | HandleType::Image | HandleType::SamplerYcbcrConversion => 4,
        HandleType::DeviceMemory => 5,
        _ => 2,
    };
    let mut types: Vec<_> = (0..HandleType::COUNT).filter_map(|i| HandleType::from_u8(i as u8)).collect();
    types.sort_by_key(|ty| rank(*ty));
    types
}

fn is_device_command(command: &Command) -> bool {
    let own = |ty| matches!(ty, HandleType::Device | HandleType::Queue | HandleType::CommandBuffer);
    let first = command.params.iter().any(|op| matches!(op, Op::Handle { off: 0, ty, .. } if own(*ty)));
    first && command.class != Class::Local
}

/// # Safety
/// `info` must be valid.
unsafe fn queue_infos<'a>(info: &vk::DeviceCreateInfo<'a>) -> &'a [vk::DeviceQueueCreateInfo<'a>] {
    if info.p_queue_create_infos.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(info.p_queue_create_infos, info.queue_create_info_count as usize) }
}

fn check_queue(info: &vk::DeviceCreateInfo<'_>, wanted: &WantedQueue) -> Result<(), End> {
    // SAFETY: the structure was decoded into the arena, arrays have as many elements as their counts say.
    let created = unsafe { queue_infos(info) }.iter().any(|queues| {
        queues.queue_family_index == wanted.family
            && queues.flags.as_raw() == wanted.flags
            && wanted.index < queues.queue_count
    });
    if created {
        Ok(())
    } else {
        Err(violation(format!(
            "queue {} of family {} (flags {:#x}) is not among those created with the device",
            wanted.index, wanted.family, wanted.flags
        )))
    }
}

/// Sets `timelineSemaphore`, for the [gates](super::payload::Gate) of queues.
///
/// # Safety
/// `info` must be valid and its structures writable; `own` lives until it was used.
unsafe fn force_timelines(
    info: &mut vk::DeviceCreateInfo<'_>,
    own: &mut vk::PhysicalDeviceTimelineSemaphoreFeatures<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(features) = find::<vk::PhysicalDeviceVulkan12Features<'_>>(info.p_next) {
            features.timeline_semaphore = vk::TRUE;
        } else if let Some(features) = find::<vk::PhysicalDeviceTimelineSemaphoreFeatures<'_>>(info.p_next) {
            features.timeline_semaphore = vk::TRUE;
        } else {
            own.timeline_semaphore = vk::TRUE;
            own.p_next = info.p_next.cast_mut();
            info.p_next = std::ptr::from_mut(own).cast();
        }
    }
}

/// Sets `robustBufferAccess`, which every device has.
///
/// # Safety
/// `info` must be valid and its structures writable; `own` lives until it was used.
unsafe fn force_robust_access(info: &mut vk::DeviceCreateInfo<'_>, own: &mut vk::PhysicalDeviceFeatures) {
    let mut link = info.p_next.cast_mut().cast::<vk::BaseOutStructure<'_>>();
    // SAFETY: the caller's promise.
    unsafe {
        while !link.is_null() {
            if (*link).s_type == vk::StructureType::PHYSICAL_DEVICE_FEATURES_2 {
                (*link.cast::<vk::PhysicalDeviceFeatures2<'_>>()).features.robust_buffer_access = vk::TRUE;
                return;
            }
            link = (*link).p_next;
        }
        if let Some(features) = info.p_enabled_features.as_ref() {
            *own = *features;
        }
    }
    own.robust_buffer_access = vk::TRUE;
    info.p_enabled_features = own;
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn order_when_listed_has_users_before_what_they_use() {
        let order = destruction_order();
        let at = |ty| order.iter().position(|other| *other == ty).unwrap();
        assert!(at(HandleType::ImageView) < at(HandleType::Image));
        assert!(at(HandleType::Framebuffer) < at(HandleType::ImageView));
        assert!(at(HandleType::Pipeline) < at(HandleType::PipelineLayout));
        assert!(at(HandleType::Image) < at(HandleType::DeviceMemory));
        assert_eq!(order.len(), HandleType::COUNT);
    }

    #[test]
    fn timelines_when_forced_are_set_where_the_guest_speaks_of_them_or_added() {
        let mut own = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
        let mut twelve = vk::PhysicalDeviceVulkan12Features::default();
        let mut info = vk::DeviceCreateInfo::default().push_next(&mut twelve);
        // SAFETY: valid structures.
        unsafe { force_timelines(&mut info, &mut own) };
        assert_eq!((twelve.timeline_semaphore, own.timeline_semaphore), (1, 0));
        let mut sixteen = vk::PhysicalDevice16BitStorageFeatures::default();
        let mut info = vk::DeviceCreateInfo::default().push_next(&mut sixteen);
        let next = info.p_next;
        // SAFETY: valid structures.
        unsafe { force_timelines(&mut info, &mut own) };
        assert_eq!((info.p_next, own.p_next.cast_const()), ((&raw const own).cast(), next));
        assert_eq!(own.timeline_semaphore, 1);
    }

    #[test]
    fn robust_access_when_features_are_given_keeps_them() {
        let features = vk::PhysicalDeviceFeatures { sampler_anisotropy: 1, ..Default::default() };
        let mut info = vk::DeviceCreateInfo::default().enabled_features(&features);
        let mut own = vk::PhysicalDeviceFeatures::default();
        // SAFETY: valid structures.
        unsafe { force_robust_access(&mut info, &mut own) };
        assert_eq!((own.sampler_anisotropy, own.robust_buffer_access), (1, 1));
        let mut two = vk::PhysicalDeviceFeatures2::default();
        let mut info = vk::DeviceCreateInfo::default().push_next(&mut two);
        // SAFETY: valid structures.
        unsafe { force_robust_access(&mut info, &mut own) };
        assert!(info.p_enabled_features.is_null());
        assert_eq!(two.features.robust_buffer_access, 1);
    }
}
