//! The library comes and goes as loaders make it: nothing of it stays behind in a thread that used it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::{c_char, c_void};
use std::path::PathBuf;

use ash::vk;
use libloading::Library;

type GetProcAddr = unsafe extern "system" fn(vk::Instance, *const c_char) -> *const c_void;

/// `libvulkan_vw.so`, which cargo builds beside the tests.
fn library() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().map(|folder| folder.join("libvulkan_vw.so")).find(|path| path.exists()).unwrap()
}

fn is_mapped() -> bool {
    std::fs::read_to_string("/proc/self/maps").unwrap().contains("libvulkan_vw.so")
}

#[test]
fn library_when_closed_is_unmapped_while_the_thread_that_used_it_lives() {
    let user = std::thread::spawn(|| {
        // SAFETY: the only test of this program; commands are looked up by their names.
        unsafe {
            std::env::set_var("VW_HOST", "unix:/nonexistent/vw.sock");
            let library = Library::new(library()).unwrap();
            let lookup = library.get::<GetProcAddr>(b"vk_icdGetInstanceProcAddr\0").unwrap();
            let create: vk::PFN_vkCreateInstance =
                std::mem::transmute(lookup(vk::Instance::null(), c"vkCreateInstance".as_ptr()));
            let info = vk::InstanceCreateInfo::default();
            let mut instance = vk::Instance::null();
            assert_eq!(create(&raw const info, std::ptr::null(), &raw mut instance), vk::Result::SUCCESS);
            let enumerate: vk::PFN_vkEnumeratePhysicalDevices =
                std::mem::transmute(lookup(instance, c"vkEnumeratePhysicalDevices".as_ptr()));
            let mut count = 1;
            assert_eq!(enumerate(instance, &raw mut count, std::ptr::null_mut()), vk::Result::SUCCESS);
            assert_eq!(count, 0);
            let destroy: vk::PFN_vkDestroyInstance =
                std::mem::transmute(lookup(instance, c"vkDestroyInstance".as_ptr()));
            destroy(instance, std::ptr::null());
            assert!(is_mapped());
            library.close().unwrap();
        }
        // Thread-local state with a destructor would have kept it.
        assert!(!is_mapped());
    });
    user.join().unwrap();
}
