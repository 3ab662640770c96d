//! `VkInstance`: a local object. The host hears of it at once, and is waited for when physical devices are first asked for.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ash::vk;
use vw_transport::handshake::feature;
use vw_transport::{Begun, Hello, Versions};
use vw_wire_protocol::codec::{DecodeError, Reader};
use vw_wire_protocol::facts::Facts;
use vw_wire_protocol::generated::extensions::{REGISTRY_VERSION, TABLE_HASH};
use vw_wire_protocol::record::op;
use vw_wire_protocol::schema::Extension;

use crate::alloc::HostAllocator;
use crate::config;
use crate::debug_utils::{Messengers, Severity};
use crate::dispatch::Head;
use crate::enumerate;
use crate::log;
use crate::physical_device::{DeviceFacts, PhysicalDevice};
use crate::proc::{self, Enabled};
use crate::session::{Session, lock};

/// Highest version that the driver can speak; devices may have a lower one.
const INSTANCE_VERSION: u32 = vk::make_api_version(0, 1, 4, REGISTRY_VERSION);

/// What a `VkInstance` points to.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Instance {
    head: Head,
    enabled: Enabled,
    allocator: HostAllocator,
    messengers: Arc<Messengers>,
    /// The connection to the host, as far as it was made with the instance.
    begun: Mutex<Option<Begun>>,
    /// The host's device, once it was asked for; none where no host can be reached.
    device: OnceLock<Option<Box<PhysicalDevice>>>,
}

impl Instance {
    /// What decides which entry points the program sees.
    pub(crate) fn enabled(&self) -> &Enabled {
        &self.enabled
    }

    /// Where the instance's host memory comes from.
    pub(crate) fn allocator(&self) -> HostAllocator {
        self.allocator
    }

    /// Who hears of what happens below the instance.
    pub(crate) fn messengers(&self) -> &Messengers {
        &self.messengers
    }

    /// The physical device, if a host offers one. Connects the first time.
    fn device(&self) -> Option<&PhysicalDevice> {
        let device = self.device.get_or_init(|| match connect(lock(&self.begun).take(), &self.messengers) {
            Ok(session) => Some(Box::new(PhysicalDevice::new(session, self.enabled.clone(), self.allocator))),
            Err(reason) => {
                let text = format!("no Vulkan device is offered: {reason}");
                self.messengers.say(Severity::ERROR, c"vw-no-device", &text);
                static SAID: AtomicBool = AtomicBool::new(false);
                if !SAID.swap(true, Ordering::Relaxed) {
                    log::notice(format_args!("{text}"));
                }
                None
            }
        });
        device.as_deref()
    }
}

/// Lets the host know that a program has come. What goes wrong here goes wrong again, and is said, when the host is needed.
fn begin() -> Option<Begun> {
    config::dial().ok()?.begin(&hello()).ok()?
}

/// Connects to the host, where that was not `begun`, and asks it about its device.
fn connect(begun: Option<Begun>, messengers: &Arc<Messengers>) -> Result<Arc<Session>, String> {
    let dial = config::dial()?;
    let host = &dial.host;
    let connection =
        begun.map_or_else(|| dial.connect(&hello()), Begun::finish).map_err(|e| e.to_string())?;
    log::info!("connected to {host}: {}", connection.welcome.host);
    let session = Arc::new(Session::new(connection, Arc::clone(messengers)));
    let bytes = session.call(op::FACTS, &|_| {}, |r: &mut Reader<'_>| {
        let mut bytes = vec![0; r.left()];
        r.take_bytes(&mut bytes)?;
        Ok::<_, DecodeError>(bytes)
    });
    let bytes = bytes.map_err(|_| {
        format!("{host} ended the session before it had described its device; its log says why")
    })?;
    let facts = Facts::decode(&bytes).map_err(|e| format!("{host}: {e}"))?;
    session.set_facts(DeviceFacts::new(facts, session.descriptors, session.region().can_alias()));
    Ok(session)
}

/// What this driver says first.
pub(crate) fn hello() -> Hello {
    let mut hello = Hello::new(Versions::new(REGISTRY_VERSION, TABLE_HASH), program_name());
    hello.features = feature::DESCRIPTORS | feature::COPIED;
    hello
}

/// The program's name, for the host's log and policy.
fn program_name() -> String {
    let exe = std::env::current_exe().ok();
    let name =
        exe.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// `vkCreateInstance`
pub(crate) unsafe extern "system" fn vkCreateInstance(
    info: *const vk::InstanceCreateInfo<'_>,
    callbacks: *const vk::AllocationCallbacks<'_>,
    instance: *mut *mut Instance,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let mut enabled = Enabled { version: vk::API_VERSION_1_0, ..Enabled::default() };
        if let Some(application) = (*info).p_application_info.as_ref()
            && application.api_version != 0
        {
            enabled.version = application.api_version;
        }
        for i in 0..(*info).enabled_extension_count as usize {
            let name = CStr::from_ptr(*(*info).pp_enabled_extension_names.add(i)).to_string_lossy();
            if !proc::instance_extensions().any(|e| e.name == name) || !enabled.instance.insert(&name) {
                let text = format!("vkCreateInstance: vw has no instance extension {name}");
                Messengers::chained((*info).p_next).say(Severity::ERROR, c"vw-not-offered", &text);
                return vk::Result::ERROR_EXTENSION_NOT_PRESENT.as_raw();
            }
        }
        let allocator = HostAllocator::new(callbacks);
        let object = Instance {
            head: Head::of_instance(),
            enabled,
            allocator,
            messengers: Arc::default(),
            begun: Mutex::new(std::panic::catch_unwind(begin).ok().flatten()),
            device: OnceLock::new(),
        };
        match allocator.place(object, vk::SystemAllocationScope::INSTANCE) {
            Ok(placed) => instance.write(placed.as_ptr()),
            Err(_) => return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw(),
        }
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkDestroyInstance`
pub(crate) unsafe extern "system" fn vkDestroyInstance(instance: *mut Instance, _: *const c_void) {
    if let Some(instance) = NonNull::new(instance) {
        // SAFETY: the application's valid usage of this command: all children are destroyed, no other thread uses it.
        // It was placed by its allocator in `vkCreateInstance`.
        unsafe {
            let allocator = instance.as_ref().allocator;
            allocator.remove(instance);
        }
    }
}

/// `vkEnumerateInstanceVersion`
pub(crate) unsafe extern "system" fn vkEnumerateInstanceVersion(version: *mut u32) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { version.write(INSTANCE_VERSION) };
    vk::Result::SUCCESS.as_raw()
}

/// `vkEnumerateInstanceExtensionProperties`
pub(crate) unsafe extern "system" fn vkEnumerateInstanceExtensionProperties(
    layer: *const c_char,
    count: *mut u32,
    properties: *mut vk::ExtensionProperties,
) -> i32 {
    if !layer.is_null() {
        // A driver has no layers.
        return vk::Result::ERROR_LAYER_NOT_PRESENT.as_raw();
    }
    let list: Vec<_> = proc::instance_extensions()
        .map(|e: &Extension| enumerate::extension(e.name, e.spec_version))
        .collect();
    // SAFETY: the application's valid usage of this command: room for `count` elements, or null.
    unsafe { enumerate::copy(&list, count, properties) }.as_raw()
}

/// `vkEnumerateInstanceLayerProperties`: a driver has none.
pub(crate) unsafe extern "system" fn vkEnumerateInstanceLayerProperties(
    count: *mut u32,
    _: *mut c_void,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { count.write(0) };
    vk::Result::SUCCESS.as_raw()
}

/// `vkGetInstanceProcAddr`
pub(crate) unsafe extern "system" fn vkGetInstanceProcAddr(
    instance: *mut Instance,
    name: *const c_char,
) -> Option<proc::Function> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the application's valid usage of this command: a string, and null or a live instance.
    unsafe {
        let name = CStr::from_ptr(name);
        match instance.as_ref() {
            Some(instance) => proc::of_instance(instance.enabled(), name),
            None => proc::global(name),
        }
    }
}

/// `vkEnumeratePhysicalDevices`
pub(crate) unsafe extern "system" fn vkEnumeratePhysicalDevices(
    instance: *mut Instance,
    count: *mut u32,
    devices: *mut *mut c_void,
) -> i32 {
    // SAFETY: the application's valid usage of this command: room for `count` handles, or null.
    unsafe { enumerate::copy(&handles(instance), count, devices) }.as_raw()
}

/// `vkEnumeratePhysicalDeviceGroups`: each device is a group of its own.
pub(crate) unsafe extern "system" fn vkEnumeratePhysicalDeviceGroups(
    instance: *mut Instance,
    count: *mut u32,
    groups: *mut vk::PhysicalDeviceGroupProperties<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command: room for `count` structures, or null.
    unsafe {
        let handles = handles(instance);
        if groups.is_null() {
            count.write(handles.len() as u32);
            return vk::Result::SUCCESS.as_raw();
        }
        let room = (*count as usize).min(handles.len());
        for (i, &handle) in handles.iter().take(room).enumerate() {
            let group = &mut *groups.add(i);
            group.physical_device_count = 1;
            group.physical_devices = [vk::PhysicalDevice::null(); vk::MAX_DEVICE_GROUP_SIZE];
            group.physical_devices[0] = vk::Handle::from_raw(handle as u64);
            group.subset_allocation = vk::FALSE;
        }
        count.write(room as u32);
        if room < handles.len() { vk::Result::INCOMPLETE } else { vk::Result::SUCCESS }.as_raw()
    }
}

/// The instance's physical devices: one or none.
///
/// # Safety
/// `instance` must be null or a live instance.
unsafe fn handles(instance: *mut Instance) -> Vec<*mut c_void> {
    // SAFETY: the caller's promise.
    let device = unsafe { instance.as_ref() }.and_then(|instance| {
        let connect = std::panic::AssertUnwindSafe(|| instance.device());
        std::panic::catch_unwind(connect).ok().flatten()
    });
    device.map(|device| std::ptr::from_ref(device).cast_mut().cast()).into_iter().collect()
}
