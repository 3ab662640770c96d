//! The driver without a host: an instance, no devices, and nothing that fails.
#![allow(non_snake_case, clippy::unwrap_used, reason = "tests")]

use std::ffi::{CStr, c_void};

use ash::vk;
use vulkan_vw::{
    vk_icdGetInstanceProcAddr, vk_icdGetPhysicalDeviceProcAddr, vk_icdNegotiateLoaderICDInterfaceVersion,
};

/// A command as the loader gets it.
fn command<F: Copy>(instance: vk::Instance, name: &CStr) -> Option<F> {
    assert_eq!(size_of::<F>(), size_of::<usize>());
    let instance = vk::Handle::as_raw(instance) as *mut c_void;
    // SAFETY: a live or null instance and a string; `F` is the command's signature, as large as any pointer.
    unsafe { vk_icdGetInstanceProcAddr(instance, name.as_ptr()).map(|f| std::mem::transmute_copy(&f)) }
}

#[test]
fn interface_version_when_negotiated_is_the_lower_of_both() {
    for (loader, agreed) in [(3, 3), (5, 5), (7, 7), (99, 7)] {
        let mut version = loader;
        // SAFETY: a valid pointer.
        assert_eq!(unsafe { vk_icdNegotiateLoaderICDInterfaceVersion(&raw mut version) }, 0);
        assert_eq!(version, agreed);
    }
}

#[test]
fn instance_when_no_host_is_there_has_no_devices() {
    // SAFETY: no other test of this program reads the environment.
    unsafe { std::env::set_var("VW_HOST", "unix:/nonexistent/vw.sock") };
    let none = vk::Instance::null();
    let create: vk::PFN_vkCreateInstance = command(none, c"vkCreateInstance").unwrap();
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
    let info = vk::InstanceCreateInfo::default().application_info(&application);
    let mut instance = none;
    // SAFETY: valid arguments; every command is looked up by its name.
    unsafe {
        assert_eq!(create(&raw const info, std::ptr::null(), &raw mut instance), vk::Result::SUCCESS);
        let handle = vk::Handle::as_raw(instance) as *const usize;
        assert_eq!(*handle, 0x01CD_C0DE, "the loader's magic");

        let enumerate: vk::PFN_vkEnumeratePhysicalDevices =
            command(instance, c"vkEnumeratePhysicalDevices").unwrap();
        let groups: vk::PFN_vkEnumeratePhysicalDeviceGroups =
            command(instance, c"vkEnumeratePhysicalDeviceGroups").unwrap();
        let mut count = 7;
        assert_eq!(enumerate(instance, &raw mut count, std::ptr::null_mut()), vk::Result::SUCCESS);
        assert_eq!(count, 0);
        count = 7;
        assert_eq!(groups(instance, &raw mut count, std::ptr::null_mut()), vk::Result::SUCCESS);
        assert_eq!(count, 0);

        assert!(command::<usize>(instance, c"vkGetPhysicalDeviceFeatures2").is_some());
        assert!(command::<usize>(instance, c"vkGetPhysicalDeviceToolProperties").is_none(), "not in 1.1");
        assert!(command::<usize>(instance, c"vkGetPhysicalDeviceFeatures2KHR").is_none(), "not enabled");
        assert!(command::<usize>(none, c"vkGetPhysicalDeviceFeatures2").is_none(), "needs an instance");
        let raw = vk::Handle::as_raw(instance) as *mut c_void;
        assert!(vk_icdGetPhysicalDeviceProcAddr(raw, c"vkCreateDevice".as_ptr()).is_some());
        assert!(vk_icdGetPhysicalDeviceProcAddr(raw, c"vkQueueSubmit".as_ptr()).is_none());

        let destroy: vk::PFN_vkDestroyInstance = command(instance, c"vkDestroyInstance").unwrap();
        destroy(instance, std::ptr::null());
    }
}

#[test]
fn instance_when_an_extension_is_unknown_is_refused() {
    let create: vk::PFN_vkCreateInstance = command(vk::Instance::null(), c"vkCreateInstance").unwrap();
    let names = [c"VK_KHR_no_such_thing".as_ptr()];
    let info = vk::InstanceCreateInfo::default().enabled_extension_names(&names);
    let mut instance = vk::Instance::null();
    // SAFETY: valid arguments.
    let result = unsafe { create(&raw const info, std::ptr::null(), &raw mut instance) };
    assert_eq!(result, vk::Result::ERROR_EXTENSION_NOT_PRESENT);
}

#[test]
fn instance_extensions_when_listed_are_those_that_can_be_enabled() {
    let list: vk::PFN_vkEnumerateInstanceExtensionProperties =
        command(vk::Instance::null(), c"vkEnumerateInstanceExtensionProperties").unwrap();
    let mut count = 0;
    // SAFETY: valid arguments.
    unsafe {
        assert_eq!(list(std::ptr::null(), &raw mut count, std::ptr::null_mut()), vk::Result::SUCCESS);
        let mut properties = vec![vk::ExtensionProperties::default(); count as usize];
        assert_eq!(list(std::ptr::null(), &raw mut count, properties.as_mut_ptr()), vk::Result::SUCCESS);
        let names: Vec<_> =
            properties.iter().map(|p| p.extension_name_as_c_str().unwrap().to_owned()).collect();
        assert!(names.iter().any(|n| n.as_c_str() == c"VK_KHR_get_physical_device_properties2"), "{names:?}");
        let pointers: Vec<_> = names.iter().map(|n| n.as_ptr()).collect();
        let create: vk::PFN_vkCreateInstance = command(vk::Instance::null(), c"vkCreateInstance").unwrap();
        let info = vk::InstanceCreateInfo::default().enabled_extension_names(&pointers);
        let mut instance = vk::Instance::null();
        assert_eq!(create(&raw const info, std::ptr::null(), &raw mut instance), vk::Result::SUCCESS);
        assert!(command::<usize>(instance, c"vkGetPhysicalDeviceFeatures2KHR").is_some());
        let destroy: vk::PFN_vkDestroyInstance = command(instance, c"vkDestroyInstance").unwrap();
        destroy(instance, std::ptr::null());
    }
}
