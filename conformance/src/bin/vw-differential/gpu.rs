//! The instance and the device that the cases share.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::sync::Mutex;

use ash::vk;

use crate::extensions::{self, Features};

/// Undoes one thing that a case made.
type Undo = Box<dyn FnOnce(&ash::Device)>;

/// A device with every feature that it offers, and one queue.
pub(crate) struct Gpu {
    /// Keeps the loader's library.
    pub(crate) entry: ash::Entry,
    pub(crate) instance: ash::Instance,
    pub(crate) physical: vk::PhysicalDevice,
    pub(crate) device: ash::Device,
    pub(crate) queue: vk::Queue,
    /// Held while the queue is used: cases with threads share it.
    pub(crate) queue_lock: Mutex<()>,
    pub(crate) family: u32,
    pub(crate) properties: vk::PhysicalDeviceProperties,
    pub(crate) memory: vk::PhysicalDeviceMemoryProperties,
    /// Enabled device extensions.
    pub(crate) enabled: BTreeSet<CString>,
    pub(crate) features: vk::PhysicalDeviceFeatures,
    /// Those of the newer versions and of extensions, each enabled where offered.
    pub(crate) more: Box<Features>,
    /// Those of Vulkan 1.2 that some cases need.
    pub(crate) indexing: Indexing,
    undo: RefCell<Vec<Undo>>,
}

/// Features of Vulkan 1.2 that not every device offers.
pub(crate) struct Indexing {
    /// Arrays of storage buffers of unknown length, in part unbound, written after they are bound.
    pub(crate) update_after_bind: bool,
    /// Their length is chosen when the set is allocated.
    pub(crate) variable_count: bool,
    /// The number of indirect draws comes out of a buffer.
    pub(crate) draw_count: bool,
}

/// An instance of Vulkan 1.3.
pub(crate) fn create_instance(entry: &ash::Entry) -> ash::Instance {
    let application =
        vk::ApplicationInfo::default().application_name(c"vw-differential").api_version(vk::API_VERSION_1_3);
    let info = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: the structures live through the call.
    unsafe { entry.create_instance(&info, None) }.expect("an instance")
}

impl Gpu {
    /// Opens the first device.
    pub(crate) fn open() -> Self {
        // SAFETY: the system's Vulkan loader; its initialisers are those of any program that uses it.
        let entry = unsafe { ash::Entry::load() }.expect("the Vulkan loader");
        let instance = create_instance(&entry);
        // SAFETY: valid usage throughout: the handles are new and live, the structures live through the calls.
        unsafe {
            let devices = instance.enumerate_physical_devices().expect("physical devices");
            let physical = *devices.first().expect("a Vulkan device");
            let families = instance.get_physical_device_queue_family_properties(physical);
            let all = vk::QueueFlags::GRAPHICS | vk::QueueFlags::COMPUTE;
            let family = families.iter().position(|family| family.queue_flags.contains(all));
            let family = family.expect("a queue for graphics and compute") as u32;

            let enabled = extensions::choose(&extensions::offered(&instance, physical));
            let mut features = Box::<Features>::default();
            let mut chain = features.chain(&enabled);
            instance.get_physical_device_features2(physical, &mut chain);
            let core = chain.features;
            let names: Vec<_> = enabled.iter().map(|name| name.as_ptr()).collect();
            let queues =
                [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&names)
                .push_next(&mut chain);
            let device = instance.create_device(physical, &info, None).expect("a device with all features");
            let indexing = Indexing {
                update_after_bind: features.v12.descriptor_binding_storage_buffer_update_after_bind != 0
                    && features.v12.descriptor_binding_partially_bound != 0
                    && features.v12.runtime_descriptor_array != 0
                    && features.v12.shader_storage_buffer_array_non_uniform_indexing != 0,
                variable_count: features.v12.descriptor_binding_variable_descriptor_count != 0,
                draw_count: features.v12.draw_indirect_count != 0,
            };
            let queue = device.get_device_queue(family, 0);
            Self {
                properties: instance.get_physical_device_properties(physical),
                memory: instance.get_physical_device_memory_properties(physical),
                features: core,
                more: features,
                indexing,
                undo: RefCell::default(),
                queue_lock: Mutex::new(()),
                entry,
                instance,
                physical,
                device,
                queue,
                family,
                enabled,
            }
        }
    }

    /// Whether a device extension is enabled.
    pub(crate) fn has(&self, extension: &CStr) -> bool {
        self.enabled.contains(extension)
    }

    /// Undoes something at the end of the case, in reverse order.
    pub(crate) fn later(&self, undo: impl FnOnce(&ash::Device) + 'static) {
        self.undo.borrow_mut().push(Box::new(undo));
    }

    /// Destroys what the case made.
    pub(crate) fn clean_up(&self) {
        // SAFETY: no other thread uses the device between cases.
        unsafe { self.device.device_wait_idle() }.expect("an idle device");
        let undo = std::mem::take(&mut *self.undo.borrow_mut());
        undo.into_iter().rev().for_each(|undo| undo(&self.device));
    }

    /// Leaves everything as it is: after a failed case nothing can be said about what may be destroyed.
    pub(crate) fn abandon(self) {
        let gpu = Box::new(self);
        Box::leak(gpu);
    }

    /// A memory type of these that has the properties.
    pub(crate) fn memory_type(&self, allowed: u32, wanted: vk::MemoryPropertyFlags) -> u32 {
        let types = self.memory.memory_types_as_slice();
        (0..types.len() as u32)
            .find(|i| allowed & 1 << i != 0 && types[*i as usize].property_flags.contains(wanted))
            .expect("a memory type")
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // After a failed case nothing can be said about what may be destroyed, see [`Gpu::abandon`].
        if std::thread::panicking() {
            return;
        }
        self.clean_up();
        // SAFETY: everything made from them is destroyed.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}
