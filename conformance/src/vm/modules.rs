//! Which of a kernel's modules a guest loads, in an order in which each finds what it needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Result, doing};

/// The modules of an unpacked kernel package.
#[derive(Debug)]
pub struct Modules {
    /// Files by the module's name.
    files: BTreeMap<String, PathBuf>,
    /// What the kernel has without a module: one line for each.
    builtin: String,
}

/// A module's name as the kernel says it: files may have `-` where it has `_`.
fn name(file: &str) -> Option<String> {
    let stem = file.split_once(".ko").filter(|(_, rest)| rest.is_empty() || rest.starts_with('.'))?.0;
    Some(stem.replace('-', "_"))
}

impl Modules {
    /// Those below `root`, the folder that a kernel's package was unpacked into.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(root: &Path) -> Result<Self> {
        let modules = root.join("lib/modules");
        let reading = || doing(format!("listing the kernel's modules in {}", modules.display()));
        let version = fs::read_dir(&modules)
            .map_err(reading())?
            .find_map(|entry| Some(entry.ok()?.path()))
            .ok_or_else(|| reading()(std::io::ErrorKind::NotFound.into()))?;
        let mut found = Self {
            files: BTreeMap::new(),
            builtin: fs::read_to_string(version.join("modules.builtin")).unwrap_or_default(),
        };
        found.collect(&version.join("kernel")).map_err(reading())?;
        Ok(found)
    }

    fn collect(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.collect(&entry.path())?;
            } else if let Some(name) = name(&entry.file_name().to_string_lossy()) {
                self.files.insert(name, entry.path());
            }
        }
        Ok(())
    }

    /// The modules with these names and what they need, each after what it needs, as name and contents. What the kernel has
    /// built in is left out.
    ///
    /// # Errors
    /// When the kernel has one neither as a module nor built in.
    pub fn closure(&self, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut ordered = Vec::new();
        for module in wanted {
            self.add(module, &mut ordered)?;
        }
        Ok(ordered)
    }

    fn add(&self, module: &str, ordered: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
        if ordered.iter().any(|(name, _)| name == module) {
            return Ok(());
        }
        let Some(file) = self.files.get(module) else {
            let builtin =
                |line: &str| line.rsplit('/').next().and_then(name).is_some_and(|builtin| builtin == module);
            return if self.builtin.lines().any(builtin) {
                Ok(())
            } else {
                Err(Error::NotAvailable {
                    what: format!("the kernel's module {module}"),
                    remedy: "another kernel has it",
                })
            };
        };
        let contents = plain(file)?;
        for needed in depends(&contents) {
            self.add(&needed, ordered)?;
        }
        ordered.push((module.to_owned(), contents));
        Ok(())
    }
}

/// A module's bytes, unpacked.
fn plain(file: &Path) -> Result<Vec<u8>> {
    let what = || doing(format!("reading {}", file.display()));
    if file.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(file).map_err(what());
    }
    let output = Command::new("xz")
        .args(["-dc", "--"])
        .arg(file)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(what())?;
    if output.status.success() { Ok(output.stdout) } else { Err(what()(std::io::Error::other("xz failed"))) }
}

/// The modules that a module says it needs.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else { return Vec::new() };
    let value = &module[at + KEY.len()..];
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    let text = String::from_utf8_lossy(&value[..end]);
    text.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_when_it_says_what_it_needs_is_understood() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=vsock,virtio-ring\0name=x\0"),
            ["vsock", "virtio_ring"]
        );
        assert!(depends(b"\0depends=\0").is_empty() && depends(b"nothing").is_empty());
    }

    #[test]
    fn file_when_it_is_a_module_has_its_name() {
        assert_eq!(name("nd-pmem.ko.xz").as_deref(), Some("nd_pmem"));
        assert_eq!(name("vsock.ko").as_deref(), Some("vsock"));
        assert_eq!(name("modules.dep"), None);
    }
}
