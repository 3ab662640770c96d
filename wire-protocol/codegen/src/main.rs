//! `vw-codegen --registry vk.xml [--check]`: writes the generated files of the workspace, or compares them.

mod class;
mod emit;
mod lower;
mod model;
mod overlay;
mod registry;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;

use emit::Files;
use model::Model;

/// Structures that the bulk reply of physical-device facts is made of.
pub const FACT_ROOTS: &[&str] = &[
    "VkPhysicalDeviceProperties2",
    "VkPhysicalDeviceFeatures2",
    "VkPhysicalDeviceMemoryProperties2",
    "VkQueueFamilyProperties2",
    "VkFormatProperties2",
    "VkExtensionProperties",
];

/// Vulkan registry + overlay -> the tables and entry points of vw.
#[derive(Parser)]
struct Args {
    /// The registry, `vk.xml`.
    #[arg(long)]
    registry: PathBuf,
    /// Compare with what is checked in instead of writing; exit status 1 when they differ.
    #[arg(long)]
    check: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    let text = std::fs::read_to_string(&args.registry)
        .with_context(|| format!("cannot read the registry {}", args.registry.display()))?;
    let reg = registry::parse(&text)?;
    let overlay = overlay::parse(&std::fs::read_to_string(here.join("overlay.toml"))?)?;
    let model = Model::new(&reg, &overlay)?;

    let mut tables = emit::handles::emit(&model)?;
    tables.extend(emit::formats::emit(&model)?);
    let mut problems = Vec::new();
    for part in [emit::structs::emit(&model), emit::commands::emit(&model)] {
        match part {
            Ok(files) => tables.extend(files),
            Err(e) => problems.push(format!("{e:#}")),
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    let hash = fnv(&tables);
    let mut files = tables;
    files.extend(emit::extensions::emit(&model, hash)?);
    files.insert(
        "wire-protocol/src/generated/mod.rs".to_owned(),
        emit::banner("Tables made from the registry.")
            + "pub mod commands;\npub mod extensions;\npub mod formats;\npub mod handles;\npub mod names;\npub mod straight;\npub mod structs;\n",
    );
    files.extend(emit::entry::emit(&model)?);
    files.extend(emit::replay::emit(&model)?);
    files.extend(emit::layout_test::emit(&model)?);

    let mut different = Vec::new();
    for (path, text) in &files {
        let text = rustfmt(text, &root)?;
        let full = root.join(path);
        if std::fs::read_to_string(&full).is_ok_and(|old| old == text) {
            continue;
        }
        different.push(path.as_str());
        if !args.check {
            std::fs::create_dir_all(full.parent().context("no parent folder")?)?;
            std::fs::write(&full, text)?;
        }
    }
    let readme = root.join("README.md");
    let old = std::fs::read_to_string(&readme).context("README.md")?;
    let new = emit::readme::fill(&model, &old)?;
    if new != old {
        different.push("README.md");
        if !args.check {
            std::fs::write(&readme, new)?;
        }
    }
    let stale = stale_files(&root, &files)?;
    for path in &stale {
        different.push(path.as_str());
        if !args.check {
            std::fs::remove_file(root.join(path))?;
        }
    }
    if args.check && !different.is_empty() {
        bail!(
            "generated files differ from the registry; run `cargo xtask codegen`:\n  {}",
            different.join("\n  ")
        );
    }
    let structs =
        files.get("wire-protocol/src/generated/structs/mod.rs").map_or(0, |t| t.matches("    &VK_").count());
    let commands =
        files.get("wire-protocol/src/generated/commands/mod.rs").map_or(0, |t| t.matches("    &VK_").count());
    println!(
        "{} files, {structs} structures, {commands} commands on the wire, {} changed",
        files.len(),
        different.len()
    );
    Ok(())
}

/// Files in the generated folders that nothing writes any more.
fn stale_files(root: &Path, files: &Files) -> Result<Vec<String>> {
    let folders: BTreeSet<&str> = files
        .keys()
        .filter(|k| k.contains("/generated/"))
        .filter_map(|k| k.rsplit_once('/'))
        .map(|(d, _)| d)
        .collect();
    let mut stale = Vec::new();
    for folder in folders {
        for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            if path.ends_with(".rs") && !files.contains_key(&path) {
                stale.push(path);
            }
        }
    }
    Ok(stale)
}

/// FNV-1a over all tables, in order.
fn fnv(files: &Files) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for byte in files.values().flat_map(|t| t.bytes()) {
        h = (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    h
}

fn rustfmt(text: &str, root: &Path) -> Result<String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("rustfmt is needed: `rustup component add rustfmt`")?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let text = text.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let out = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("writer"))??;
    if !out.status.success() {
        bail!("rustfmt failed on a generated file");
    }
    Ok(String::from_utf8(out.stdout)?)
}
