//! Which Vulkan driver a program gets, and nothing else: no other driver, no implicit layer.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result, doing, products};

/// Environment variable of the harness: `VW_MEMORY` of every program that runs through vw, so that any suite can be run in
/// another mode.
pub const MEMORY: &str = "VW_TEST_MEMORY";

/// Whether the whole run is in a mode without pages in common ([`MEMORY`]).
pub fn in_stream() -> bool {
    std::env::var_os(MEMORY).is_some_and(|memory| memory.to_string_lossy().starts_with("stream"))
}

/// The environment that makes the Vulkan loader offer one driver alone.
#[derive(Debug, Clone)]
pub struct Driver {
    /// Short name for messages.
    pub name: String,
    /// Path of the manifest; of several, with colons between them.
    manifest: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

impl Driver {
    /// The distribution's lavapipe.
    ///
    /// # Errors
    /// [`Error::NotAvailable`] when it is not installed.
    pub fn lavapipe() -> Result<Self> {
        for folder in ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"] {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            let manifests = entries.filter_map(|entry| Some(entry.ok()?.path()));
            let lavapipe = |path: &PathBuf| {
                path.file_name().is_some_and(|name| {
                    let name = name.to_string_lossy();
                    name.starts_with("lvp_icd") && name.ends_with(".json")
                })
            };
            if let Some(manifest) = manifests.filter(lavapipe).min() {
                return Ok(Self { name: "lavapipe".into(), manifest, variables: Vec::new() });
            }
        }
        Err(Error::NotAvailable {
            what: "lavapipe".into(),
            remedy: "install the package mesa-vulkan-drivers (`cargo xtask setup`)",
        })
    }

    /// The newer lavapipe (Vulkan 1.4) that set-up unpacks under `target/`.
    ///
    /// # Errors
    /// [`Error::NotAvailable`] where set-up did not or could not unpack it.
    pub fn newer_lavapipe() -> Result<Self> {
        let folder = products::setup_folder().join("mesa");
        let manifest = folder.join("lvp_icd.json");
        if !manifest.is_file() {
            return Err(Error::NotAvailable {
                what: "Mesa 25 from Debian's backports".into(),
                remedy: "`cargo xtask setup` unpacks it on Debian 12",
            });
        }
        let libraries = folder.join("root/usr/lib").join(triplet());
        Ok(Self {
            name: "lavapipe of Mesa 25".into(),
            manifest,
            variables: vec![("LD_LIBRARY_PATH", libraries.into())],
        })
    }

    /// The driver of a manifest.
    pub fn manifest(name: &str, manifest: PathBuf) -> Self {
        Self { name: name.into(), manifest, variables: Vec::new() }
    }

    /// vw's driver, talking to the renderer on `socket`. The manifest is written to `folder`.
    ///
    /// # Errors
    /// When the driver is not built or the manifest cannot be written.
    pub fn vw(socket: &Path, folder: &Path) -> Result<Self> {
        Self::vw_library(&products::guest_driver()?, socket, folder)
    }

    /// The same with the driver's library elsewhere.
    ///
    /// # Errors
    /// When the manifest cannot be written.
    pub fn vw_library(library: &Path, socket: &Path, folder: &Path) -> Result<Self> {
        let manifest = folder.join("vw_icd.json");
        let text = serde_json::json!({
            "file_format_version": "1.0.1",
            "ICD": { "library_path": library, "api_version": "1.4.309" }
        });
        fs::write(&manifest, text.to_string()).map_err(doing(format!("writing {}", manifest.display())))?;
        let mut host = OsString::from("unix:");
        host.push(socket);
        let mut variables = vec![("VW_HOST", host)];
        variables.extend(std::env::var_os(MEMORY).map(|memory| ("VW_MEMORY", memory)));
        Ok(Self { name: "vw".into(), manifest, variables })
    }

    /// The same driver, which notes in `folder` what is called (see [`coverage`](crate::coverage)). It must be a single
    /// one. The manifest is written to `folder`'s parent.
    ///
    /// # Errors
    /// When the counting driver is not built, or a manifest cannot be read or written.
    pub fn counted(&self, folder: &Path) -> Result<Self> {
        let about = |path: &Path| format!("the manifest {}", path.display());
        let text = fs::read_to_string(&self.manifest).map_err(doing(about(&self.manifest)))?;
        let mut text: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| doing(about(&self.manifest))(error.into()))?;
        let library = text["ICD"]["library_path"].as_str().unwrap_or_default().to_owned();
        text["ICD"]["library_path"] = products::counting_driver()?.to_string_lossy().into();
        let manifest = folder.with_extension("json");
        fs::write(&manifest, text.to_string()).map_err(doing(about(&manifest)))?;
        let counted = Self { manifest, ..self.clone() };
        Ok(counted.with("VW_COUNTED_DRIVER", library).with("VW_COUNTS", folder))
    }

    /// Both drivers at once.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut manifest = self.manifest.clone().into_os_string();
        manifest.push(":");
        manifest.push(&other.manifest);
        let variables = self.variables.iter().chain(&other.variables).cloned().collect();
        Self { name: format!("{} and {}", self.name, other.name), manifest: manifest.into(), variables }
    }

    /// The same driver where the memory that it shares with its host is a device, as in a virtual machine; `device` stands for it.
    #[must_use]
    pub fn attached(self, device: &Path) -> Self {
        self.with("VW_MEMORY", "attached").with("VW_REGION", device)
    }

    /// The same driver with one more environment variable.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.retain(|(present, _)| *present != name);
        self.variables.push((name, value.into()));
        self
    }

    /// A command that runs `program` on this driver.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        self.apply(&mut command);
        command
    }

    /// Makes a command run on this driver.
    pub fn apply(&self, command: &mut Command) {
        for name in [
            "VW_HOST",
            "VW_MEMORY",
            "VW_REGION",
            "VK_INSTANCE_LAYERS",
            "VK_ADD_DRIVER_FILES",
            "LD_LIBRARY_PATH",
        ] {
            command.env_remove(name);
        }
        command.env("VK_DRIVER_FILES", &self.manifest).env("VK_ICD_FILENAMES", &self.manifest);
        command.env("VK_LOADER_LAYERS_DISABLE", "~implicit~").env("NODEVICE_SELECT", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }
}

/// Debian's name of this machine's kind, as its library folders are called.
pub(crate) fn triplet() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}
