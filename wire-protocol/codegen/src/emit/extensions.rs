//! The table of extensions.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Files, banner};
use crate::model::Model;

/// Every extension of the registry, sorted by name, and what vw does with it.
///
/// # Errors
/// None at present.
pub fn emit(model: &Model, table_hash: u64) -> Result<Files> {
    let mut t = banner("Extensions of the registry and what vw does with them.");
    t.push_str("use crate::schema::{Extension, Support};\n\n");
    let _ = writeln!(
        t,
        "/// `VK_HEADER_VERSION` of the registry.\npub const REGISTRY_VERSION: u32 = {};\n",
        model.reg.version
    );
    let _ = writeln!(
        t,
        "/// Hash of all tables: two builds with the same value understand each other's records.\npub const TABLE_HASH: u64 = {table_hash:#018x};\n"
    );
    let mut all: Vec<_> = model.reg.extensions.iter().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let _ = writeln!(
        t,
        "/// Every extension, sorted by name.\npub static EXTENSIONS: [Extension; {}] = [",
        all.len()
    );
    for e in all {
        let support = if model.overlay.guest.contains_key(&e.name) {
            "Support::Guest".to_owned()
        } else if let Some(reason) = model.overlay.refusal(&e.name, &e.platform, e.instance) {
            format!("Support::NotOffered({reason:?})")
        } else {
            "Support::Forwarded".to_owned()
        };
        let promoted = e.promoted_minor.map_or(0, |m| (1u32 << 22) | (m << 12));
        let _ = writeln!(
            t,
            "    Extension {{ name: \"{}\", spec_version: {}, instance: {}, support: {support}, promoted_to: {promoted:#x} }},",
            e.name, e.spec_version, e.instance
        );
    }
    t.push_str("];\n");
    Ok(Files::from([("wire-protocol/src/generated/extensions.rs".to_owned(), t)]))
}
