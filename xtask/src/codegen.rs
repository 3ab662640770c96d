//! `cargo xtask codegen [--check]`.

use std::path::PathBuf;

use crate::process::{self, Error, Result};
use crate::workspace::Workspace;

/// Names the registry where it is not found by itself.
const VARIABLE: &str = "VULKAN_REGISTRY";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Change nothing; fail if the checked-in sources are not what the generator writes.
    #[arg(long)]
    check: bool,
    /// The registry's vk.xml.
    #[arg(long)]
    registry: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Some(registry) = find_registry(workspace, options) else {
        let hint = format!("no vk.xml: pass --registry or set {VARIABLE} (Debian: package libvulkan-dev)");
        if options.check {
            eprintln!("xtask: generated sources NOT checked: {hint}");
            return Ok(());
        }
        return Err(Error::Message(hint));
    };
    let mut command = workspace.cargo();
    command
        .args(["run", "--release", "--quiet", "--package", "vw-codegen", "--", "--registry"])
        .arg(registry);
    if options.check {
        command.arg("--check");
    }
    process::run(&mut command)
}

fn find_registry(workspace: &Workspace, options: &Options) -> Option<PathBuf> {
    // Only a registry of the version that the sources were made from can be compared with; the one that a
    // distribution installs is another, and is used only where it is named.
    let beside = workspace.root.join("../shared/registry/vk.xml");
    options
        .registry
        .clone()
        .or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from))
        .or_else(|| beside.is_file().then_some(beside))
}
