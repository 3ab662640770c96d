//! Which entry points a program gets to see: `vkGetInstanceProcAddr` and `vkGetDeviceProcAddr`.
//!
//! A name is answered only where something that is enabled provides it (specification, "Command Function
//! Pointers"). The table itself is generated: [`crate::generated::procs`].

use std::ffi::CStr;

use ash::vk;
use vw_wire_protocol::generated::extensions::EXTENSIONS;
use vw_wire_protocol::generated::names::NAMES;
use vw_wire_protocol::schema::{Extension, Name, Provider, Support};

use crate::generated::procs::PROCS;

/// An entry point without its signature.
pub(crate) type Function = unsafe extern "system" fn();

/// What a name that a program may ask for stands for.
#[derive(Debug)]
pub(crate) struct Proc {
    /// The entry point.
    pub(crate) ptr: Function,
    /// What the command is dispatched on.
    pub(crate) level: Level,
}

/// What a command is dispatched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Nothing: callable without an instance.
    Global,
    /// `VkInstance`.
    Instance,
    /// `VkPhysicalDevice`.
    PhysicalDevice,
    /// `VkDevice` or a child of it.
    Device,
}

/// A set of extensions that vw knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExtensionSet {
    /// One bit for each element of [`EXTENSIONS`].
    bits: Vec<u64>,
}

impl ExtensionSet {
    /// Adds an extension by name; false, and nothing added, when vw does not know it.
    pub(crate) fn insert(&mut self, name: &str) -> bool {
        let Some(index) = position(name) else { return false };
        if self.bits.is_empty() {
            self.bits.resize(EXTENSIONS.len().div_ceil(64), 0);
        }
        self.bits[index / 64] |= 1 << (index % 64);
        true
    }

    /// Whether the set has the extension.
    pub(crate) fn contains(&self, name: &str) -> bool {
        position(name).is_some_and(|i| self.bits.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1))
    }
}

fn position(name: &str) -> Option<usize> {
    EXTENSIONS.binary_search_by(|e| e.name.cmp(name)).ok()
}

/// The table's entry for an extension.
pub(crate) fn extension(name: &str) -> Option<&'static Extension> {
    position(name).map(|i| &EXTENSIONS[i])
}

/// The instance extensions that the driver implements, sorted by name.
pub(crate) fn instance_extensions() -> impl Iterator<Item = &'static Extension> {
    EXTENSIONS.iter().filter(|e| e.instance && !matches!(e.support, Support::NotOffered(_)))
}

/// Whether vw can offer the device extension at all; the host's driver decides whether it does.
fn may_be_offered(name: &str) -> bool {
    extension(name).is_some_and(|e| !e.instance && !matches!(e.support, Support::NotOffered(_)))
}

/// Stands for the commands that need a feature which vw hides: their extension brings their names, and no valid program
/// calls them. What they are given is left alone, so that one function of no parameters serves all C signatures.
pub(crate) extern "system" fn refuse() -> i32 {
    vk::Result::ERROR_FEATURE_NOT_PRESENT.as_raw()
}

/// What is enabled, as far as entry points care.
#[derive(Debug, Clone, Default)]
pub(crate) struct Enabled {
    /// Core version, `VK_MAKE_API_VERSION` encoding; the patch number does not matter.
    pub(crate) version: u32,
    /// Instance extensions.
    pub(crate) instance: ExtensionSet,
    /// Device extensions; empty in an instance.
    pub(crate) device: ExtensionSet,
}

impl Enabled {
    fn core(&self, version: u32) -> bool {
        version <= self.version | 0xFFF
    }
}

/// `vkGetInstanceProcAddr` without an instance: the commands that need none.
pub(crate) fn global(name: &CStr) -> Option<Function> {
    let (name, found) = find(name)?;
    (found.level == Level::Global || name.name == "vkGetInstanceProcAddr").then_some(found.ptr)
}

/// `vkGetInstanceProcAddr` with an instance. Device-level commands are answered whenever a device could have them;
/// the program is told to ask the device before using one.
pub(crate) fn of_instance(enabled: &Enabled, name: &CStr) -> Option<Function> {
    let (name, found) = find(name)?;
    visible_in_instance(enabled, name, found.level).then_some(found.ptr)
}

/// `vk_icdGetPhysicalDeviceProcAddr`: as [`of_instance`], for commands dispatched on a physical device only.
pub(crate) fn of_physical_device(enabled: &Enabled, name: &CStr) -> Option<Function> {
    let (name, found) = find(name)?;
    (found.level == Level::PhysicalDevice && visible_in_instance(enabled, name, found.level))
        .then_some(found.ptr)
}

/// `vkGetDeviceProcAddr`.
pub(crate) fn of_device(enabled: &Enabled, name: &CStr) -> Option<Function> {
    let (name, found) = find(name)?;
    let visible = found.level == Level::Device
        && name.provided_by.iter().any(|by| match by {
            Provider::Core(version) => enabled.core(*version),
            Provider::Extension(name) => enabled.device.contains(name) || enabled.instance.contains(name),
        });
    visible.then_some(found.ptr)
}

fn visible_in_instance(enabled: &Enabled, name: &Name, level: Level) -> bool {
    name.provided_by.iter().any(|by| match (level, by) {
        (Level::Global, _) => true,
        // The device may have a higher version than the instance asked for only if the program asked for it.
        (_, Provider::Core(version)) => enabled.core(*version),
        (Level::Instance, Provider::Extension(name)) => enabled.instance.contains(name),
        (_, Provider::Extension(name)) => enabled.instance.contains(name) || may_be_offered(name),
    })
}

fn find(name: &CStr) -> Option<(&'static Name, &'static Proc)> {
    let name = name.to_str().ok()?;
    NAMES.binary_search_by(|n| n.name.cmp(name)).ok().map(|i| (&NAMES[i], &PROCS[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_0: u32 = 1 << 22;
    const V1_3: u32 = 1 << 22 | 3 << 12;

    fn enabled(version: u32, instance: &[&str], device: &[&str]) -> Enabled {
        let mut result = Enabled { version, ..Enabled::default() };
        assert!(instance.iter().all(|e| result.instance.insert(e)));
        assert!(device.iter().all(|e| result.device.insert(e)));
        result
    }

    #[test]
    fn procs_are_sorted_for_the_search() {
        assert!(NAMES.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(NAMES.len(), PROCS.len());
        assert!(EXTENSIONS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn without_an_instance_only_global_commands_are_found() {
        assert!(global(c"vkCreateInstance").is_some());
        assert!(global(c"vkEnumerateInstanceVersion").is_some());
        assert!(global(c"vkGetInstanceProcAddr").is_some());
        assert!(global(c"vkCreateDevice").is_none());
        assert!(global(c"vkCmdDraw").is_none());
        assert!(global(c"vkNoSuchThing").is_none());
    }

    #[test]
    fn instance_command_when_its_extension_is_off_is_null() {
        let name = c"vkGetPhysicalDeviceFeatures2KHR";
        assert!(
            of_instance(&enabled(V1_0, &["VK_KHR_get_physical_device_properties2"], &[]), name).is_some()
        );
        assert!(of_instance(&enabled(V1_0, &[], &[]), c"vkGetPhysicalDeviceFeatures2").is_none());
        assert!(of_instance(&enabled(V1_3, &[], &[]), c"vkGetPhysicalDeviceFeatures2").is_some());
        assert!(of_instance(&enabled(V1_0, &[], &[]), name).is_none());
    }

    #[test]
    fn physical_device_lookup_knows_no_other_level() {
        let all = enabled(V1_3, &[], &[]);
        assert!(of_physical_device(&all, c"vkGetPhysicalDeviceFeatures").is_some());
        assert!(of_physical_device(&all, c"vkDestroyInstance").is_none());
        assert!(of_physical_device(&all, c"vkCmdDraw").is_none());
    }

    #[test]
    fn device_command_follows_version_and_extensions() {
        let old = enabled(V1_0, &[], &[]);
        assert!(of_device(&old, c"vkCmdDraw").is_some());
        assert!(of_device(&old, c"vkCmdBeginRendering").is_none());
        assert!(of_device(&old, c"vkCmdBeginRenderingKHR").is_none());
        let with = enabled(V1_0, &[], &["VK_KHR_dynamic_rendering"]);
        assert!(of_device(&with, c"vkCmdBeginRenderingKHR").is_some());
        assert!(of_device(&enabled(V1_3 | 7, &[], &[]), c"vkCmdBeginRendering").is_some());
        assert!(of_device(&old, c"vkEnumeratePhysicalDevices").is_none());
        assert!(of_device(&old, c"vkCreateInstance").is_none());
    }

    #[test]
    fn command_when_it_needs_a_hidden_feature_is_there_with_its_extension() {
        let with = enabled(V1_3, &[], &["VK_KHR_acceleration_structure"]);
        assert!(of_device(&with, c"vkBuildAccelerationStructuresKHR").is_some());
        assert!(of_device(&enabled(V1_3, &[], &[]), c"vkBuildAccelerationStructuresKHR").is_none());
    }

    #[test]
    fn extension_that_vw_does_not_know_is_not_inserted() {
        let mut set = ExtensionSet::default();
        assert!(!set.insert("VK_XYZ_nothing"));
        assert!(!set.contains("VK_XYZ_nothing"));
        assert!(!set.contains("VK_KHR_maintenance1"));
    }
}
