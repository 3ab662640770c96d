//! `vwctl cdi`: how a container reaches the renderer, for runtimes that read the Container Device Interface.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

/// What containers are given.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Only the socket: the container's image has the driver
    #[arg(long)]
    no_driver: bool,
    /// Where this machine has the driver (the package vw-guest)
    #[arg(long, value_name = "FILE", default_value = "/usr/lib/vw/libvulkan_vw.so")]
    driver: PathBuf,
    /// Where this machine has the driver's manifest
    #[arg(long, value_name = "FILE", default_value = "/usr/share/vulkan/icd.d/vw_icd.json")]
    manifest: PathBuf,
}

/// Where a container finds the socket: the driver looks there by itself.
const SOCKET: &str = "/run/vw/vw.sock";
/// Where it finds the driver, which the manifest names.
const DRIVER: &str = "/usr/lib/vw/libvulkan_vw.so";
const MANIFEST: &str = "/usr/share/vulkan/icd.d/vw_icd.json";

/// Prints the specification; the exit code says whether there is one.
pub(crate) fn run(options: &Options, socket: &Path) -> ExitCode {
    match options.specification(socket) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("vwctl: {why}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// The specification, in JSON, of the device `vw/gpu=all`.
    ///
    /// # Errors
    /// When this machine lacks the driver that containers are to be given.
    fn specification(&self, socket: &Path) -> Result<String, String> {
        let mount = |from: &Path, to: &str, options: &[&str]| json!({ "hostPath": from, "containerPath": to, "options": options });
        // The socket itself and not its folder, in which the one for `vwctl` is too.
        let mut mounts = vec![mount(socket, SOCKET, &["bind", "nosuid", "nodev"])];
        if !self.no_driver {
            for (file, to) in [(&self.driver, DRIVER), (&self.manifest, MANIFEST)] {
                if !file.is_file() {
                    return Err(format!(
                        "{} is not there: install the package vw-guest, say --driver and --manifest, or --no-driver where images have it",
                        file.display()
                    ));
                }
                mounts.push(mount(file, to, &["bind", "ro", "nosuid", "nodev"]));
            }
        }
        let edits = json!({ "env": [format!("VW_HOST=unix:{SOCKET}")], "mounts": mounts });
        let text: Value = json!({
            "cdiVersion": "0.5.0",
            "kind": "vw/gpu",
            "devices": [{ "name": "all", "containerEdits": edits }]
        });
        Ok(format!("{text:#}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specification_when_made_mounts_the_socket_and_the_driver() {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let options = Options { no_driver: false, driver: here.clone(), manifest: here.clone() };
        let text = options.specification(Path::new("/srv/vw.sock")).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let edits = &value["devices"][0]["containerEdits"];
        assert_eq!(value["kind"], "vw/gpu");
        assert_eq!(edits["env"][0], "VW_HOST=unix:/run/vw/vw.sock");
        assert_eq!(edits["mounts"][0]["hostPath"], "/srv/vw.sock");
        assert_eq!(edits["mounts"][1]["hostPath"], here.to_string_lossy().as_ref());
        let absent = Options { driver: "/nonexistent".into(), ..options.clone() };
        assert!(absent.specification(Path::new("/x")).is_err_and(|why| why.contains("vw-guest")));
        let bare = Options { no_driver: true, ..absent };
        assert!(bare.specification(Path::new("/x")).is_ok_and(|text| !text.contains("libvulkan_vw")));
    }
}
