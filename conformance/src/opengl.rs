//! OpenGL on Vulkan: Mesa's zink as the only OpenGL driver of a program.

use crate::driver::{self, Driver};
use crate::{Result, products};

/// Which Mesa a program gets its OpenGL from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mesa {
    /// The distribution's.
    System,
    /// The one that set-up unpacks.
    Newer,
}

/// The Vulkan driver with zink above it, which draws to pictures without a window system, and to X by copying: with
/// nothing of Vulkan's own window systems.
///
/// # Errors
/// When that Mesa is not installed.
pub fn zink(driver: Driver, mesa: Mesa) -> Result<Driver> {
    let driver = driver
        .with("GALLIUM_DRIVER", "zink")
        .with("LIBGL_KOPPER_DISABLE", "1")
        .with("EGL_PLATFORM", "surfaceless");
    above(driver, mesa)
}

/// The Vulkan driver with zink above it, which presents by the driver's surfaces.
///
/// # Errors
/// As [`zink`].
pub fn zink_in_windows(driver: Driver, mesa: Mesa) -> Result<Driver> {
    above(driver.with("MESA_LOADER_DRIVER_OVERRIDE", "zink"), mesa)
}

fn above(driver: Driver, mesa: Mesa) -> Result<Driver> {
    products::installed("opengl")?;
    let driver = driver
        // Without it zink takes no device that is a CPU.
        .with("LIBGL_ALWAYS_SOFTWARE", "1")
        .with("MESA_SHADER_CACHE_DISABLE", "true");
    if mesa == Mesa::System {
        return Ok(driver);
    }
    products::installed("mesa")?;
    let root = products::setup_folder().join("mesa/root/usr");
    let libraries = root.join("lib").join(driver::triplet());
    Ok(driver
        .with("LIBGL_DRIVERS_PATH", libraries.join("dri"))
        .with("LD_LIBRARY_PATH", libraries)
        .with("__EGL_VENDOR_LIBRARY_FILENAMES", root.join("share/glvnd/egl_vendor.d/50_mesa.json")))
}
