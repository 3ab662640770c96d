//! `vw-run PROGRAM ...`: the program, with vw as its Vulkan and with zink, Mesa's OpenGL on Vulkan, as its OpenGL.
//!
//! The driver is the one that is installed beside this program, which asks it for its device first: a program is not started
//! when there is none.

use std::env;
use std::ffi::{CStr, OsString, c_char, c_void};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::ptr::{null, null_mut};

use ash::vk;
use vulkan_vw::vk_icdGetInstanceProcAddr;

const USAGE: &str = "usage: vw-run [--host unix:/path/to/socket] PROGRAM [ARGUMENT ...]

Runs a program with vw as its only Vulkan driver, and with zink on it as its OpenGL.
The host is the one of --host, of VW_HOST, or of /etc/vw/guest.toml.";

/// What the driver's library is called.
const DRIVER: &str = "libvulkan_vw.so";

/// Where it is, as seen from the folder of this program.
const PLACES: &[&str] = &["", "../lib/vw", "../lib", "../lib64", concat!("../lib/", env!("VW_TRIPLET"))];

/// The version that the manifest names: the highest that the driver speaks.
const API_VERSION: &str = "1.4.309";

/// The host's device.
struct Device {
    name: String,
    is_cpu: bool,
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    let mut host = None;
    while let Some(option) = arguments.next_if(|argument| argument.as_encoded_bytes().starts_with(b"-")) {
        match (option.to_str(), arguments.peek()) {
            (Some("--"), _) => break,
            (Some("--help" | "-h"), _) => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            (Some("--host"), Some(_)) => host = arguments.next(),
            _ => return fail(&format!("there is no option {}\n{USAGE}", option.display()), 2),
        }
    }
    let Some(program) = arguments.next() else { return fail(USAGE, 2) };
    let manifest = match manifest() {
        Ok(manifest) => manifest,
        Err(error) => return fail(&error, 1),
    };
    // SAFETY: no other thread runs yet.
    let device = unsafe { device(host.as_ref()) };
    let Some(device) = device else { return fail("the host offers no Vulkan device", 1) };
    let mut command = Command::new(&program);
    command.args(arguments).envs(settings(&manifest, &device));
    if let Some(host) = host {
        command.env("VW_HOST", host);
    }
    eprintln!(
        "vw-run: {} has {} as its Vulkan, and zink on it as its OpenGL",
        program.display(),
        device.name
    );
    let error = command.exec();
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    fail(&format!("{} cannot be started: {error}", program.display()), code)
}

fn fail(why: &str, code: u8) -> ExitCode {
    eprintln!("vw-run: {why}");
    ExitCode::from(code)
}

/// The variables that make vw a program's driver.
fn settings(manifest: &Path, device: &Device) -> Vec<(&'static str, OsString)> {
    let mut settings: Vec<(&str, OsString)> = vec![
        // Its name now, and the one before version 1.3.207 of the loader.
        ("VK_DRIVER_FILES", manifest.into()),
        ("VK_ICD_FILENAMES", manifest.into()),
        ("MESA_LOADER_DRIVER_OVERRIDE", "zink".into()),
        // X servers without DRI3 are as good: frames are shown by the Vulkan driver.
        ("LIBGL_KOPPER_DRI2", "1".into()),
        ("__GLX_VENDOR_LIBRARY_NAME", "mesa".into()),
    ];
    if device.is_cpu {
        // Without it zink takes no such device, and with it no other.
        settings.push(("LIBGL_ALWAYS_SOFTWARE", "1".into()));
    }
    settings
}

/// A manifest of the driver that is installed with this program, in the user's cache.
fn manifest() -> Result<PathBuf, String> {
    let own =
        env::current_exe().map_err(|error| format!("where vw-run is installed is not known: {error}"))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let driver = PLACES.iter().find_map(|place| folder.join(place).join(DRIVER).canonicalize().ok());
    let driver = driver.ok_or_else(|| format!("no {DRIVER} in {} or ../lib", folder.display()))?;
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let cache =
        cache.ok_or("neither XDG_CACHE_HOME nor HOME says where the driver's manifest may be")?.join("vw");
    let path =
        cache.join(format!("{}.json", driver.to_string_lossy().trim_start_matches('/').replace('/', "-")));
    let text = format!(
        "{{ \"file_format_version\": \"1.0.1\", \"ICD\": {{ \"library_path\": \"{}\", \"api_version\": \"{API_VERSION}\" }} }}\n",
        quoted(&driver)
    );
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(path);
    }
    // In one step: others may be reading it.
    let new = cache.join(format!("{}.new", std::process::id()));
    let write = || {
        fs::create_dir_all(&cache)?;
        fs::write(&new, &text)?;
        fs::rename(&new, &path)
    };
    write().map_err(|error| format!("the driver's manifest {}: {error}", path.display()))?;
    Ok(path)
}

/// A path as a string of JSON holds it.
fn quoted(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"")
}

/// The host's device; where there is none the driver says why.
///
/// # Safety
/// No other thread may run.
unsafe fn device(host: Option<&OsString>) -> Option<Device> {
    let silent = env::var_os("VW_LOG").is_none();
    // SAFETY: the caller's promise; the driver's functions are called as the specification has it.
    unsafe {
        if let Some(host) = host {
            env::set_var("VW_HOST", host);
        }
        if silent {
            env::set_var("VW_LOG", "error");
        }
        let found = ask();
        if silent {
            env::remove_var("VW_LOG");
        }
        found
    }
}

/// A function of the driver.
///
/// # Safety
/// `F` must be the function's type, `instance` null or live.
unsafe fn function<F: Copy>(instance: vk::Instance, name: &CStr) -> Option<F> {
    let instance = vk::Handle::as_raw(instance) as *mut c_void;
    // SAFETY: the caller's promise: both are pointers to functions.
    unsafe {
        let found = vk_icdGetInstanceProcAddr(instance, name.as_ptr().cast::<c_char>())?;
        Some(std::mem::transmute_copy(&found))
    }
}

/// # Safety
/// As for the driver's functions.
unsafe fn ask() -> Option<Device> {
    // SAFETY: the types are those of the functions; the instance lives until it is destroyed.
    unsafe {
        let create: vk::PFN_vkCreateInstance = function(vk::Instance::null(), c"vkCreateInstance")?;
        let info = vk::InstanceCreateInfo::default();
        let mut instance = vk::Instance::null();
        if create(&raw const info, null(), &raw mut instance) != vk::Result::SUCCESS {
            return None;
        }
        let enumerate: vk::PFN_vkEnumeratePhysicalDevices =
            function(instance, c"vkEnumeratePhysicalDevices")?;
        let about: vk::PFN_vkGetPhysicalDeviceProperties =
            function(instance, c"vkGetPhysicalDeviceProperties")?;
        let destroy: vk::PFN_vkDestroyInstance = function(instance, c"vkDestroyInstance")?;
        let (mut count, mut device) = (1, vk::PhysicalDevice::null());
        let listed = enumerate(instance, &raw mut count, &raw mut device);
        let found = (listed.as_raw() >= 0 && count == 1).then(|| {
            let mut properties = vk::PhysicalDeviceProperties::default();
            about(device, &raw mut properties);
            let name = properties.device_name_as_c_str().unwrap_or_default().to_string_lossy().into_owned();
            Device { name, is_cpu: properties.device_type == vk::PhysicalDeviceType::CPU }
        });
        destroy(instance, null_mut());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_when_the_device_is_a_cpu_have_zink_take_it() {
        let named = |is_cpu| {
            let device = Device { name: String::new(), is_cpu };
            settings(Path::new("/m.json"), &device).iter().any(|(name, _)| *name == "LIBGL_ALWAYS_SOFTWARE")
        };
        assert!(named(true) && !named(false));
    }

    #[test]
    fn path_when_quoted_is_a_string_of_json() {
        assert_eq!(quoted(Path::new(r#"/a "b"\c"#)), r#"/a \"b\"\\c"#);
    }
}
