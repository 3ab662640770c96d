//! A second, newer Mesa beside the system's, unpacked and never installed: lavapipe with Vulkan 1.4, and zink.

use std::fs;
use std::path::Path;

use crate::apt::{self, Apt};
use crate::process::{Error, Result, file_error};
use crate::python;
use crate::workspace::Workspace;

/// Debian's suite that has it for Debian 12.
const SUITE: &str = "bookworm-backports";
/// Packages unpacked: the Vulkan driver, the OpenGL drivers, and the libraries that they need newer than the system's.
const PACKAGES: &[&str] = &[
    "mesa-vulkan-drivers",
    "libgl1-mesa-dri",
    "mesa-libgallium",
    "libegl-mesa0",
    "libglx-mesa0",
    "libgbm1",
    "libdrm2",
    "libdrm-amdgpu1",
    "libdrm-intel1",
];
/// Downloads and unpacks the packages into `target/setup/mesa` and writes a driver manifest, unless done already.
pub(crate) fn unpack(workspace: &Workspace) -> Result<()> {
    let folder = workspace.setup().join("mesa");
    let name = folder.join("installed");
    python::stamped(&name, &PACKAGES.join("\n"), || unpack_into(&folder))
}

fn unpack_into(folder: &Path) -> Result<()> {
    let apt = Apt::new(folder, &[SUITE, "bookworm"])?;
    let mut wanted: Vec<String> = PACKAGES.iter().map(|package| format!("{package}/{SUITE}")).collect();
    // The LLVM library that the driver depends on: the system may lack it, and does where no other Mesa is installed.
    wanted.extend(apt.depends(&wanted[0])?.into_iter().filter(|name| name.starts_with("libllvm")));
    let root = folder.join("root");
    apt.unpack(&wanted, &root)?;
    let library = apt::find(&root, &|name| name == "libvulkan_lvp.so")
        .ok_or_else(|| Error::Message("the driver's package holds no libvulkan_lvp.so".into()))?;
    let text = format!(
        "{{\n  \"file_format_version\": \"1.0.0\",\n  \"ICD\": {{ \"library_path\": \"{}\", \"api_version\": \"1.4.0\" }}\n}}\n",
        library.display()
    );
    fs::write(folder.join("lvp_icd.json"), text).map_err(file_error("writing the manifest"))
}
