//! A guest as a user makes one: the package installed in it, its devices opened by the package's rules, its memory made by
//! `vwctl vm`.

use std::path::PathBuf;
use std::process::Command;

use crate::renderer::Renderer;
use crate::vm::image::Image;
use crate::vm::job::Step;
use crate::vm::machine::{Attachment, Kernel, LIMIT, Machine};
use crate::{Error, Result, child, products};

/// The port at which the renderer listens for machines.
pub const PORT: u32 = 5000;

/// What a guest's kernel loads for the devices that vw uses.
const MODULES: &[&str] =
    &["virtio_pci", "vmw_vsock_virtio_transport", "virtio_pmem", "nd_pmem", "dax_pmem", "device_dax"];

/// A guest with the package, udev and the Vulkan loader.
///
/// # Errors
/// As [`products::installed`] and [`products::package`] where set-up could not unpack or build what is needed.
pub fn image(kernel: Kernel) -> Result<Image> {
    let package = products::package("vw-guest")?;
    let modules = kernel.modules()?;
    let mut image = Image::new()?;
    // Said before the package's own, as an administrator would.
    image.text("etc/vw/guest.toml", &format!("host = \"vsock:2:{PORT}\"\n"));
    image.package(&package)?;
    image.modules(&modules, MODULES)?;
    image.udev()?;
    image.library("libvulkan.so.1")?;
    Ok(image)
}

/// Has the package's rules applied to the devices, as at every start of a system: the first steps of a job.
pub fn devices() -> [Step; 3] {
    [
        Step::new("udevd", &["/usr/lib/systemd/systemd-udevd", "--daemon"]).as_root(),
        Step::new("trigger", &["udevadm", "trigger", "--action=add"]).as_root(),
        Step::new("settle", &["udevadm", "settle", "--timeout=30"]).as_root(),
    ]
}

/// The machine that a renderer of [`Renderer::start_for_machines`] listens for under this name, with its memory attached, if any.
///
/// # Errors
/// When set-up has not unpacked what it needs, or `vwctl` cannot make the memory.
pub fn machine(
    renderer: &Renderer,
    name: &str,
    cid: u32,
    kernel: Kernel,
    how: Option<Attachment>,
) -> Result<Machine> {
    let machine = Machine::new(kernel)?.vsock(&renderer.folder().join(format!("{name}.vsock")), cid);
    match how {
        None => Ok(machine),
        Some(attachment) => {
            let (file, size) = memory(renderer, name)?;
            Ok(machine.region(attachment, &file, size))
        }
    }
}

/// What `vwctl vm` says of a machine: where its memory is and how large, after the renderer has made it.
fn memory(renderer: &Renderer, name: &str) -> Result<(PathBuf, u64)> {
    let mut command = Command::new(products::control()?);
    command.arg("--socket").arg(format!("unix:{}", renderer.socket().display()));
    command.args(["vm", name, "--size", "512 MiB", "--port", &PORT.to_string()]);
    let output = child::run(&mut command, LIMIT)?;
    let value = |key: &str| output.stdout.split(key).nth(1)?.split([',', '\n']).next();
    let said = value("mem-path=").zip(value("size=").and_then(|size| size.parse().ok()));
    let (path, size) = said.ok_or_else(|| Error::Renderer {
        what: format!("gave a machine no memory: {}{}", output.stdout, output.stderr),
        log: renderer.log(),
    })?;
    Ok((path.into(), size))
}
