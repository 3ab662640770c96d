//! `VkDevice`.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use ash::vk;
use vw_wire_protocol::codec::{Writer, decode_reply, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::op;

use crate::alloc::HostAllocator;
use crate::dispatch::Head;
use crate::failure::Failure;
use crate::forward;
use crate::log;
use crate::memory_report::Reports;
use crate::physical_device::{PhysicalDevice, is_guest_extension};
use crate::proc::{self, Enabled};
use crate::queue::{self, Queue, QueueAddress};
use crate::session::Session;
use crate::wsi::Swapchain;

/// What a `VkDevice` points to.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Device {
    head: Head,
    enabled: Enabled,
    allocator: HostAllocator,
    /// All queues that the program asked for. Handles point to them, so that they must stay in place.
    queues: Box<[Queue]>,
    /// Whom to tell of device memory.
    reports: Reports,
}

impl Device {
    /// A device without queues, for tests of what is below it.
    #[cfg(test)]
    pub(crate) fn without_queues(session: &Arc<Session>) -> Self {
        Self {
            head: Head::new(1, Arc::clone(session)),
            enabled: Enabled::default(),
            allocator: HostAllocator::default(),
            queues: Box::default(),
            reports: Reports::default(),
        }
    }

    fn queue(&self, address: QueueAddress) -> *mut Queue {
        let found = self.queues.iter().find(|queue| queue.address == address);
        found.map_or(std::ptr::null_mut(), |queue| std::ptr::from_ref(queue).cast_mut())
    }

    /// Frees the ids and slots. The device object itself is the caller's.
    fn release_ids(&self, session: &Session) {
        release_queues(session, &self.queues);
        session.free_id(HandleType::Device, self.head.id());
    }
}

/// The queues of a device.
///
/// # Safety
/// `device` must be null or a live device, which outlives the use.
pub(crate) unsafe fn queues<'a>(device: *mut c_void) -> &'a [Queue] {
    // SAFETY: the caller's promise; devices are made by this module.
    unsafe { device.cast::<Device>().as_ref() }.map_or(&[], |device| &device.queues)
}

/// Whom a device tells of its memory; none if nobody listens.
///
/// # Safety
/// `device` must be null or a live device, which outlives the use.
pub(crate) unsafe fn reports<'a>(device: *mut c_void) -> Option<&'a Reports> {
    // SAFETY: the caller's promise; devices are made by this module.
    let reports = unsafe { &device.cast::<Device>().as_ref()?.reports };
    (!reports.is_empty()).then_some(reports)
}

/// The allocator of an object that is created with `callbacks`: the device's where there are none.
///
/// # Safety
/// `device` must be null or a live device, `callbacks` null or valid as long as the object lives.
pub(crate) unsafe fn allocator(device: *mut c_void, callbacks: *const c_void) -> HostAllocator {
    // SAFETY: the caller's promise; devices are made by this module.
    unsafe {
        let parent = device.cast::<Device>().as_ref().map(|device| device.allocator).unwrap_or_default();
        HostAllocator::new(callbacks.cast()).or(parent)
    }
}

/// `vkCreateDevice`
pub(crate) unsafe extern "system" fn vkCreateDevice(
    physical_device: *mut PhysicalDevice,
    info: *const vk::DeviceCreateInfo<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    device: *mut *mut Device,
) -> i32 {
    let failed = vk::Result::ERROR_INITIALIZATION_FAILED;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(physical_device.cast(), failed, || {
            let Some(physical) = physical_device.as_ref() else { return failed };
            match create(physical, &*info, HostAllocator::new(callbacks).or(physical.allocator), device) {
                Ok(result) | Err(result) => result,
            }
        })
    }
    .as_raw()
}

/// As `vkCreateDevice`.
unsafe fn create(
    physical: &PhysicalDevice,
    info: &vk::DeviceCreateInfo<'_>,
    allocator: HostAllocator,
    out: *mut *mut Device,
) -> Result<vk::Result, vk::Result> {
    let session = physical.session().ok_or(vk::Result::ERROR_INITIALIZATION_FAILED)?;
    let known = session.facts().ok_or(vk::Result::ERROR_INITIALIZATION_FAILED)?;
    let mut enabled = physical.enabled.clone();
    enabled.version = enabled.version.min(known.facts.api_version);
    let mut names: Vec<*const c_char> = Vec::new();
    for i in 0..info.enabled_extension_count as usize {
        // SAFETY: the application's valid usage: as many strings as the info says.
        let (pointer, name) = unsafe {
            let pointer = *info.pp_enabled_extension_names.add(i);
            (pointer, CStr::from_ptr(pointer).to_string_lossy())
        };
        if !known.offers(&name) || !enabled.device.insert(&name) {
            session.complain(c"vw-not-offered", &format!("vkCreateDevice: {name} is not offered"));
            return Err(vk::Result::ERROR_EXTENSION_NOT_PRESENT);
        }
        if !is_guest_extension(&name) {
            names.push(pointer);
        }
    }
    // SAFETY: the application's valid usage: as many queue infos as the info says.
    let queues = unsafe { make_queues(session, info)? };
    let Some(id) = session.allocate_id(HandleType::Device, HostAllocator::default()) else {
        release_queues(session, &queues);
        return Err(vk::Result::ERROR_OUT_OF_HOST_MEMORY);
    };
    // SAFETY: the application's valid usage.
    let reports = unsafe { Reports::of(info.p_next) };
    let object = Device { head: Head::new(id, Arc::clone(session)), enabled, allocator, queues, reports };
    let placed = allocator.place(object, vk::SystemAllocationScope::DEVICE).map_err(|object| {
        object.release_ids(session);
        vk::Result::ERROR_OUT_OF_HOST_MEMORY
    })?;
    let mut sent = *info;
    sent.enabled_extension_count = names.len() as u32;
    sent.pp_enabled_extension_names = names.as_ptr();
    // SAFETY: `placed` is the object made above; `sent` is the application's info with fewer names.
    unsafe {
        out.write(placed.as_ptr());
        let result = send_creation(session, physical, &sent, placed, out).unwrap_or_else(Failure::result);
        if result.as_raw() < 0 || (*out).is_null() {
            out.write(std::ptr::null_mut());
            placed.as_ref().release_ids(session);
            allocator.remove(placed);
            let result = if result.as_raw() < 0 { result } else { vk::Result::ERROR_INITIALIZATION_FAILED };
            return Err(result);
        }
        log::info!("device {id:#x} with {} queues", placed.as_ref().queues.len());
        Ok(result)
    }
}

/// Sends the queues and the request, and waits for the host's word.
///
/// # Safety
/// `info` must be valid, `out` hold the handle of `device`.
unsafe fn send_creation(
    session: &Session,
    physical: &PhysicalDevice,
    info: &vk::DeviceCreateInfo<'_>,
    device: NonNull<Device>,
    out: *mut *mut Device,
) -> Result<vk::Result, Failure> {
    let cmd = &commands::VK_CREATE_DEVICE;
    let args = [std::ptr::from_ref(physical) as u64, std::ptr::from_ref(info) as u64, 0, out as u64];
    let payload = |w: &mut Writer<'_>| {
        // SAFETY: the device is live, and only read here.
        let queues = unsafe { &device.as_ref().queues };
        w.put_u32(queues.len() as u32);
        for queue in queues {
            w.put_u32(queue.address.family);
            w.put_u32(queue.address.index);
            w.put_u32(queue.address.flags);
            w.put_u32(queue.slot().into());
            w.put_u64(queue.id());
        }
        // SAFETY: the caller's promise.
        unsafe { encode_request(cmd, &args, w) };
    };
    // SAFETY: the caller's promise.
    let ret = session.call(op::CREATE_DEVICE, &payload, |r| unsafe { decode_reply(cmd, &args, r) })?;
    Ok(vk::Result::from_raw(ret as i32))
}

/// The queues that the program asks for.
///
/// # Safety
/// The queue infos must be valid.
unsafe fn make_queues(
    session: &Arc<Session>,
    info: &vk::DeviceCreateInfo<'_>,
) -> Result<Box<[Queue]>, vk::Result> {
    let mut queues = Vec::new();
    for i in 0..info.queue_create_info_count as usize {
        // SAFETY: the caller's promise.
        let wanted = unsafe { &*info.p_queue_create_infos.add(i) };
        for index in 0..wanted.queue_count {
            let slot = session.allocate_slot();
            let id = session.allocate_id(HandleType::Queue, HostAllocator::default());
            let (Some(slot), Some(id)) = (slot, id) else {
                session.complain(
                    c"vw-too-many-queues",
                    "vkCreateDevice: the queues of a session are at most 64",
                );
                if let Some(slot) = slot {
                    session.free_slot(slot);
                }
                release_queues(session, &queues);
                return Err(vk::Result::ERROR_TOO_MANY_OBJECTS);
            };
            let address =
                QueueAddress { family: wanted.queue_family_index, index, flags: wanted.flags.as_raw() };
            queues.push(Queue::new(Head::new(id, Arc::clone(session)), slot, address));
        }
    }
    Ok(queues.into())
}

fn release_queues(session: &Session, queues: &[Queue]) {
    for queue in queues {
        session.free_slot(queue.slot());
        session.free_id(HandleType::Queue, queue.id());
    }
}

/// `vkDestroyDevice`
pub(crate) unsafe extern "system" fn vkDestroyDevice(device: *mut Device, _: *const c_void) {
    let Some(object) = NonNull::new(device) else { return };
    // SAFETY: the application's valid usage of this command: all children are destroyed, nothing runs. The object was
    // placed by its allocator in `vkCreateDevice`.
    unsafe {
        let session = object.as_ref().head.session();
        if let Some(session) = session {
            Swapchain::abandon(session, device as usize);
            session.trim_memory(Some(device as usize));
        }
        let orphans = session.map(|session| session.memories.orphans(device as usize)).unwrap_or_default();
        forward::send(device.cast(), &commands::VK_DESTROY_DEVICE, &[device as u64, 0]);
        if let Some(session) = session {
            session.note_release();
            session.flush();
            session.memories.forget(&orphans);
            for (id, _) in orphans {
                session.free_id(HandleType::DeviceMemory, id);
            }
            object.as_ref().release_ids(session);
        }
        let allocator = object.as_ref().allocator;
        allocator.remove(object);
    }
}

/// `vkGetDeviceProcAddr`
pub(crate) unsafe extern "system" fn vkGetDeviceProcAddr(
    device: *mut Device,
    name: *const c_char,
) -> Option<proc::Function> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the application's valid usage of this command: a live device and a string.
    unsafe { proc::of_device(&device.as_ref()?.enabled, CStr::from_ptr(name)) }
}

/// `vkGetDeviceQueue`
pub(crate) unsafe extern "system" fn vkGetDeviceQueue(
    device: *mut Device,
    family: u32,
    index: u32,
    queue: *mut *mut Queue,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(device) = device.as_ref() {
            queue.write(device.queue(QueueAddress { family, index, flags: 0 }));
        }
    }
}

/// `vkGetDeviceQueue2`
pub(crate) unsafe extern "system" fn vkGetDeviceQueue2(
    device: *mut Device,
    info: *const vk::DeviceQueueInfo2<'_>,
    queue: *mut *mut Queue,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let (info, device) = (&*info, device.as_ref());
        let address = QueueAddress {
            family: info.queue_family_index,
            index: info.queue_index,
            flags: info.flags.as_raw(),
        };
        queue.write(device.map_or(std::ptr::null_mut(), |device| device.queue(address)));
    }
}

/// `vkDeviceWaitIdle`
pub(crate) unsafe extern "system" fn vkDeviceWaitIdle(device: *mut Device) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device.cast(), lost, || {
            let Some(device) = device.as_ref() else { return lost };
            let Some(session) = device.head.session() else { return lost };
            queue::wait_idle(session, &device.queues).map_or_else(Failure::result, |()| vk::Result::SUCCESS)
        })
    }
    .as_raw()
}
