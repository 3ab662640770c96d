//! The chain from a program to the host's GPU, link by link.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vulkan_vw::doctor::{Link, reach};

use crate::triangle::Loader;

/// The driver's library.
const DRIVER: &str = "libvulkan_vw.so";

/// Folders of manifests, in which the loader looks.
const MANIFESTS: &[&str] = &[
    "/etc/vulkan/icd.d",
    "/usr/local/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/usr/share/vulkan/icd.d",
];

/// A link that broke: its name, why, and what to do unless that is said with the reason.
struct Broken {
    link: &'static str,
    why: String,
    remedy: Option<&'static str>,
}

/// Walks the chain and says how it went; the exit code is 0 if it holds.
pub(crate) fn run() -> ExitCode {
    match walk() {
        Ok(()) => {
            println!("everything works");
            ExitCode::SUCCESS
        }
        Err(Broken { link, why, remedy }) => {
            println!("{link:<14} BROKEN: {why}");
            if let Some(remedy) = remedy {
                println!("{:<14} {remedy}", "what to do");
            }
            ExitCode::FAILURE
        }
    }
}

fn holds(link: &str, what: &str) {
    println!("{link:<14} {what}");
}

fn walk() -> Result<(), Broken> {
    let broken = |link, remedy| move |why: String| Broken { link, why, remedy: Some(remedy) };
    let loader =
        Loader::open().map_err(broken("loader", "install the Vulkan loader (Debian: libvulkan1)"))?;
    holds("loader", "libvulkan.so.1");
    let manifest = manifest().map_err(broken(
        "driver",
        "install the package vw-guest again, or have VK_DRIVER_FILES name its vw_icd.json",
    ))?;
    holds("driver", &manifest.display().to_string());
    // Its reasons say what to do.
    let reached = reach().map_err(|(link, why)| {
        let link = match link {
            Link::Configuration => "configuration",
            Link::Host => "host",
            Link::Versions => "versions",
            Link::Memory => "memory",
        };
        Broken { link, why, remedy: None }
    })?;
    holds("host", &format!("{}: {}", reached.address, reached.host));
    holds("versions", &reached.versions);
    holds("memory", &reached.memory);
    let remedy = "the host's log says why; `vwctl doctor` there says whether it has a GPU";
    let device = loader.device(&manifest).map_err(broken("device", remedy))?;
    holds("device", &device.name);
    let remedy = "the host's log says why; run a program with VW_LOG=info";
    device.draw().map_err(broken("triangle", remedy))?;
    holds("triangle", "drawn");
    Ok(())
}

/// The manifest that names the driver, whose library is there and can be opened.
fn manifest() -> Result<PathBuf, String> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let chosen = variable("VK_DRIVER_FILES").or_else(|| variable("VK_ICD_FILENAMES"));
    let files: Vec<PathBuf> = match &chosen {
        Some(files) => env::split_paths(files).collect(),
        None => MANIFESTS.iter().flat_map(|folder| listed(Path::new(folder))).collect(),
    };
    let named = files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        Some((file, library(file, &text)?))
    });
    let Some((file, library)) = named else {
        let places =
            chosen.map_or_else(|| MANIFESTS.join(", "), |files| files.to_string_lossy().into_owned());
        return Err(format!("no driver manifest names {DRIVER} (looked at {places})"));
    };
    // SAFETY: the driver's initialisers do nothing.
    let opened = unsafe { libloading::Library::new(&library) };
    opened.map_err(|error| format!("{} names a driver that cannot be opened: {error}", file.display()))?;
    Ok(file.clone())
}

/// The manifests in a folder.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files
}

/// The library that a manifest names, if it is this driver's: as the loader has it, a path is seen from the manifest.
fn library(manifest: &Path, text: &str) -> Option<PathBuf> {
    let content: serde_json::Value = serde_json::from_str(text).ok()?;
    let value = content.get("ICD")?.get("library_path")?.as_str()?;
    let path = Path::new(value);
    if path.file_name().is_none_or(|name| name != DRIVER) {
        return None;
    }
    if value.contains('/') { Some(manifest.parent()?.join(path)) } else { Some(path.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_when_it_names_the_driver_has_its_library() {
        let at = Path::new("/etc/vulkan/icd.d/vw.json");
        let text =
            |library| format!(r#"{{ "ICD": {{ "library_path" : "{library}", "api_version": "1.4" }} }}"#);
        assert_eq!(
            library(at, &text("/usr/lib/vw/libvulkan_vw.so")),
            Some("/usr/lib/vw/libvulkan_vw.so".into())
        );
        assert_eq!(
            library(at, &text("../libvulkan_vw.so")),
            Some("/etc/vulkan/icd.d/../libvulkan_vw.so".into())
        );
        assert_eq!(library(at, &text("libvulkan_vw.so")), Some("libvulkan_vw.so".into()));
        assert_eq!(library(at, &text("/usr/lib/libvulkan_lvp.so")), None);
        assert_eq!(library(at, "{}"), None);
    }
}
