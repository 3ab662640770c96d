//! The README's table of extensions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::model::Model;
use crate::registry::ExtensionDecl;

/// What the table stands between.
const BEGIN: &str = "<!-- extensions: written by `cargo xtask codegen` -->\n";
const END: &str = "<!-- end of extensions -->\n";

/// How the reasons begin that name one of many platforms, and what stands for them all.
const OTHER_PLATFORM: &str = "needs the platform";
const FOREIGN: &str = "another operating system's or window system's";

/// `readme` with the table of this model in its place.
///
/// # Errors
/// A text without the two markers.
pub fn fill(model: &Model, readme: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("README.md has no place for the extensions")?;
    let (_, after) = rest.split_once(END).context("README.md: the extensions' place does not end")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", table(model)))
}

fn table(model: &Model) -> String {
    let mut forwarded: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut guest: Vec<(&str, &str)> = Vec::new();
    let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut all: Vec<&ExtensionDecl> = model.reg.extensions.iter().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    for e in &all {
        let name = e.name.as_str();
        if let Some(how) = model.overlay.guest.get(name) {
            guest.push((name, how));
        } else if let Some(reason) = model.overlay.refusal(name, &e.platform, e.instance) {
            let reason = if reason.starts_with(OTHER_PLATFORM) { FOREIGN.to_owned() } else { reason };
            refused.entry(reason).or_default().push(name);
        } else {
            let (vendor, short) = name.trim_start_matches("VK_").split_once('_').unwrap_or(("", name));
            forwarded.entry(vendor).or_default().push(short);
        }
    }
    let count: usize = forwarded.values().map(Vec::len).sum();
    let mut t =
        format!("\n**Forwarded**, {count}: offered where the host's driver has them.\n\n| | |\n|---|---|\n");
    for (vendor, names) in &forwarded {
        let _ = writeln!(t, "| `VK_{vendor}_` | {} |", names.join(", "));
    }
    let _ = write!(
        t,
        "\n**Implemented in the guest**, {}: offered whatever the host's driver has.\n\n| | |\n|---|---|\n",
        guest.len()
    );
    for (name, how) in guest {
        let _ = writeln!(t, "| `{name}` | {how} |");
    }
    let count: usize = refused.values().map(Vec::len).sum();
    let _ = write!(t, "\n**Not offered**, {count}.\n\n| why | extensions |\n|---|---|\n");
    // The larger groups say most.
    let mut refused: Vec<_> = refused.into_iter().collect();
    refused.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    for (reason, names) in refused {
        let _ = writeln!(t, "| {reason} | {} |", names.join(", "));
    }
    t.push('\n');
    t
}
