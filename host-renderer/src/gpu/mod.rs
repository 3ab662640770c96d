//! The host's Vulkan: one instance, one physical device, what it can do for guests.

pub mod driver_memory;
pub mod facts;
pub mod formats;
pub mod import;
pub mod mask;
pub mod offer;
pub mod procs;
pub mod select;
pub mod sparse;
mod trial;
pub mod udmabuf;

use std::ffi::CStr;
use std::sync::OnceLock;

use ash::vk;
use vw_wire_protocol::generated::extensions::REGISTRY_VERSION;
use vw_wire_protocol::schema::Support;

use self::facts::Survey;
use self::offer::Offer;
use self::procs::Procs;
use self::select::Candidate;
use crate::null;

/// Highest core version that the tables describe.
pub const REGISTRY_API_VERSION: u32 = vk::make_api_version(0, 1, 4, REGISTRY_VERSION);

/// Why there is no device to serve guests with. The text goes to the log and to the guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// `libvulkan.so.1` cannot be used.
    #[error("the host has no usable Vulkan loader: {0}")]
    NoLoader(String),
    /// A Vulkan command failed.
    #[error("{command} on the host: {result}")]
    Failed {
        /// The command.
        command: &'static str,
        /// What it returned.
        result: vk::Result,
    },
    /// No device fits.
    #[error("{0}")]
    NoDevice(String),
}

/// For `map_err` after a Vulkan command.
pub fn failed(command: &'static str) -> impl FnOnce(vk::Result) -> GpuError {
    move |result| GpuError::Failed { command, result }
}

/// The host's instance and the physical device that the session's guest gets.
pub struct Gpu {
    /// Keeps the Vulkan loader open.
    entry: ash::Entry,
    /// The instance.
    pub instance: ash::Instance,
    /// The physical device.
    pub physical: vk::PhysicalDevice,
    /// What the device offers to guests, and what vw needs for itself.
    pub offer: Offer,
    /// `deviceName` of the driver.
    pub name: String,
    /// `deviceType`.
    pub device_type: vk::PhysicalDeviceType,
    /// The null executor stands in for a driver.
    pub null: bool,
    survey: OnceLock<Survey>,
    procs: OnceLock<Procs>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("name", &self.name).field("null", &self.null).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens the host's Vulkan and chooses a physical device.
    ///
    /// `device` is the operator's choice, see [`select`]; `program` the guest's program, by which drivers choose
    /// workarounds.
    ///
    /// # Errors
    /// [`GpuError`] says what the host lacks.
    pub fn open(null: bool, device: Option<&str>, program: &str) -> Result<Self, GpuError> {
        let entry = if null { null::entry() } else { load()? };
        // SAFETY: a global command of a loaded Vulkan.
        let version = unsafe { entry.try_enumerate_instance_version() }
            .map_err(failed("vkEnumerateInstanceVersion"))?
            .unwrap_or(vk::API_VERSION_1_0);
        if version < vk::API_VERSION_1_1 {
            return Err(GpuError::NoLoader("it implements Vulkan 1.0 only; 1.1 is needed".to_owned()));
        }
        let (instance, enabled) = create_instance(&entry, program)?;
        // From here on an error leaks the instance, and the session process with it ends.
        // SAFETY: the instance is live.
        let devices =
            unsafe { instance.enumerate_physical_devices() }.map_err(failed("vkEnumeratePhysicalDevices"))?;
        let candidates: Vec<Candidate> = devices.iter().map(|&device| candidate(&instance, device)).collect();
        let chosen = select::choose(&candidates, device).map_err(GpuError::NoDevice)?;
        let physical = devices[chosen];
        let extensions = device_extensions(&instance, physical)?;
        let api_version = candidates[chosen].api_version.min(REGISTRY_API_VERSION);
        let offer = Offer::new(api_version, extensions, enabled);
        let Candidate { name, device_type, .. } = candidates[chosen].clone();
        Ok(Self {
            entry,
            instance,
            physical,
            offer,
            name,
            device_type,
            null,
            survey: OnceLock::new(),
            procs: OnceLock::new(),
        })
    }

    /// What the driver says about the device for good; it is asked once.
    pub fn survey(&self) -> &Survey {
        self.survey.get_or_init(|| Survey::new(self))
    }

    /// The commands of the physical device that guests may call.
    pub fn procs(&self) -> &Procs {
        self.procs.get_or_init(|| Procs::of_physical_device(self))
    }

    /// Guests are not to have the device extension `name`.
    pub fn withdraw(&mut self, name: &CStr) {
        self.offer.withdraw(name);
        (self.survey, self.procs) = (OnceLock::new(), OnceLock::new());
    }

    /// The `vkGetInstanceProcAddr` of this Vulkan.
    pub fn get_instance_proc(&self, name: &CStr) -> vk::PFN_vkVoidFunction {
        // SAFETY: the instance is live and the name a C string.
        unsafe { self.entry.get_instance_proc_addr(self.instance.handle(), name.as_ptr()) }
    }

    /// Device and driver in a word without spaces: another driver, or another version of it, has another one.
    pub fn identity(&self) -> String {
        // SAFETY: the instance and its physical device are live.
        let properties = unsafe { self.instance.get_physical_device_properties(self.physical) };
        let uuid = u128::from_be_bytes(properties.pipeline_cache_uuid);
        let (vendor, device) = (properties.vendor_id, properties.device_id);
        format!("{vendor:x}-{device:x}-{:x}-{:x}-{uuid:x}", properties.api_version, properties.driver_version)
    }

    /// The physical device's memory types and heaps, as the driver reports them.
    pub fn memory_properties(&self) -> vk::PhysicalDeviceMemoryProperties {
        // SAFETY: the instance and its physical device are live.
        unsafe { self.instance.get_physical_device_memory_properties(self.physical) }
    }

    /// How many allocations the driver promises to hold at a time, and of how many bytes each may be.
    pub fn allocation_limits(&self) -> (u32, u64) {
        let mut sizes = vk::PhysicalDeviceMaintenance3Properties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut sizes);
        // SAFETY: the instance and its physical device are live, which implements 1.1.
        unsafe { self.instance.get_physical_device_properties2(self.physical, &mut properties) };
        (properties.properties.limits.max_memory_allocation_count, sizes.max_memory_allocation_size)
    }

    /// Bytes that this process can still have of each heap, as the driver estimates now; none where it does not.
    pub fn memory_budget(&self) -> Option<[u64; vk::MAX_MEMORY_HEAPS]> {
        if !self.offer.host_has("VK_EXT_memory_budget") {
            return None;
        }
        let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
        let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
        // SAFETY: the instance and its physical device are live, which has the extension.
        unsafe { self.instance.get_physical_device_memory_properties2(self.physical, &mut properties) };
        Some(std::array::from_fn(|heap| budget.heap_budget[heap].saturating_sub(budget.heap_usage[heap])))
    }

    /// Whether the device has timeline semaphores, without an extension.
    pub fn has_timeline_semaphores(&self) -> bool {
        if self.offer.api_version < vk::API_VERSION_1_2 {
            return false;
        }
        let mut timelines = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
        let mut features = vk::PhysicalDeviceFeatures2::default().push_next(&mut timelines);
        // SAFETY: the instance and its physical device are live, which implements 1.2.
        unsafe { self.instance.get_physical_device_features2(self.physical, &mut features) };
        timelines.timeline_semaphore != 0
    }

    /// Sum of the sizes of all heaps with a host-visible type, in bytes: the largest window that makes sense.
    pub fn host_visible_bytes(&self) -> u64 {
        let memory = self.memory_properties();
        let visible = |heap: usize| {
            let flags = |t: &vk::MemoryType| t.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE);
            memory.memory_types_as_slice().iter().any(|t| t.heap_index as usize == heap && flags(t))
        };
        let heaps = memory.memory_heaps_as_slice().iter().enumerate();
        heaps.filter(|(i, _)| visible(*i)).fold(0, |sum, (_, heap)| sum.saturating_add(heap.size))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: whoever holds objects of the instance holds this, and has destroyed them first.
        unsafe { self.instance.destroy_instance(None) };
    }
}

fn load() -> Result<ash::Entry, GpuError> {
    // SAFETY: libvulkan.so.1 is the Vulkan loader; its initialisers may run in this process.
    unsafe { ash::Entry::load_from("libvulkan.so.1") }.map_err(|error| GpuError::NoLoader(error.to_string()))
}

/// Instance extensions that the host uses where it finds them, though the guest implements its own part.
const USED: &[&str] = &["VK_EXT_debug_utils", "VK_KHR_surface"];

/// The instance, and the names of the extensions that are enabled in it.
fn create_instance(
    entry: &ash::Entry,
    program: &str,
) -> Result<(ash::Instance, Vec<&'static str>), GpuError> {
    // SAFETY: a global command of a loaded Vulkan.
    let available = unsafe { entry.enumerate_instance_extension_properties(None) }
        .map_err(failed("vkEnumerateInstanceExtensionProperties"))?;
    let wanted = |name: &CStr| {
        let known = offer::extension(name.to_str().ok()?)?;
        let wanted = known.instance && (known.support == Support::Forwarded || USED.contains(&known.name));
        wanted.then_some(known.name)
    };
    let names = available.iter().filter_map(|e| e.extension_name_as_c_str().ok());
    let names: Vec<_> = names.filter_map(|name| Some((name.as_ptr(), wanted(name)?))).collect();
    let (names, enabled): (Vec<_>, Vec<_>) = names.into_iter().unzip();
    let mut name: Vec<u8> = program.bytes().filter(|byte| *byte != 0).take(255).collect();
    name.push(0);
    let application = vk::ApplicationInfo::default()
        .application_name(CStr::from_bytes_with_nul(&name).unwrap_or(c"vw guest"))
        .engine_name(c"vw")
        // A loader of 1.1 or later passes newer devices through, whatever its own version.
        .api_version(REGISTRY_API_VERSION);
    let info =
        vk::InstanceCreateInfo::default().application_info(&application).enabled_extension_names(&names);
    // SAFETY: the structures are valid for the call.
    let instance = unsafe { entry.create_instance(&info, None) }.map_err(failed("vkCreateInstance"))?;
    Ok((instance, enabled))
}

fn device_extensions(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
) -> Result<Vec<(String, u32)>, GpuError> {
    // SAFETY: the instance and its physical device are live.
    let properties = unsafe { instance.enumerate_device_extension_properties(device) }
        .map_err(failed("vkEnumerateDeviceExtensionProperties"))?;
    let name =
        |e: &vk::ExtensionProperties| e.extension_name_as_c_str().ok()?.to_str().ok().map(str::to_owned);
    Ok(properties.iter().filter_map(|e| Some((name(e)?, e.spec_version))).collect())
}

fn candidate(instance: &ash::Instance, device: vk::PhysicalDevice) -> Candidate {
    // SAFETY: the instance and its physical device are live.
    let basic = unsafe { instance.get_physical_device_properties(device) };
    let mut candidate = Candidate {
        name: basic.device_name_as_c_str().unwrap_or_default().to_string_lossy().into_owned(),
        device_type: basic.device_type,
        api_version: basic.api_version,
        uuid: [0; 16],
        pci: None,
    };
    if basic.api_version < vk::API_VERSION_1_1 {
        return candidate;
    }
    let has_pci = device_extensions(instance, device)
        .is_ok_and(|extensions| extensions.iter().any(|(name, _)| name == "VK_EXT_pci_bus_info"));
    let mut id = vk::PhysicalDeviceIDProperties::default();
    let mut pci = vk::PhysicalDevicePCIBusInfoPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut id);
    if has_pci {
        properties = properties.push_next(&mut pci);
    }
    // SAFETY: the device implements 1.1 and, where chained, the extension.
    unsafe { instance.get_physical_device_properties2(device, &mut properties) };
    candidate.uuid = id.device_uuid;
    if has_pci {
        candidate.pci = Some([pci.pci_domain, pci.pci_bus, pci.pci_device, pci.pci_function]);
    }
    candidate
}
