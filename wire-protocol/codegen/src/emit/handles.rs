//! `HandleType`.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::{Files, banner};
use crate::lower::handle_name;
use crate::model::Model;
use crate::registry::TypeDecl;

/// The enumeration of all handle types.
///
/// # Errors
/// A handle type without an object type.
pub fn emit(model: &Model) -> Result<Files> {
    let mut all = Vec::new();
    for name in &model.reg.type_order {
        if let Some(TypeDecl::Handle(dispatchable, object)) = model.reg.types.get(name)
            && model.type_providers.contains_key(name)
        {
            let value = model.reg.values.get(object).with_context(|| format!("{name}: no {object}"))?;
            all.push((name, handle_name(name), *dispatchable, *value));
        }
    }
    let mut t = banner("Types of Vulkan handles.");
    t.push_str("/// Type of a Vulkan handle.\n#[repr(u8)]\n#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub enum HandleType {\n");
    for (c, n, ..) in &all {
        let _ = writeln!(t, "    /// `{c}`\n    {n},");
    }
    t.push_str("}\n\n");
    let _ = writeln!(t, "const ALL: [HandleType; {}] = [", all.len());
    for (_, n, ..) in &all {
        let _ = writeln!(t, "    HandleType::{n},");
    }
    t.push_str("];\n\nimpl HandleType {\n");
    let _ = writeln!(t, "    /// Number of handle types.\n    pub const COUNT: usize = {};\n", all.len());
    t.push_str("    /// The type with this number.\n    pub fn from_u8(n: u8) -> Option<Self> {\n        ALL.get(usize::from(n)).copied()\n    }\n\n");
    t.push_str("    /// Dispatchable: a pointer to an object that starts with the loader's word.\n    pub const fn dispatchable(self) -> bool {\n        matches!(self, ");
    let d: Vec<_> = all.iter().filter(|a| a.2).map(|a| format!("Self::{}", a.1)).collect();
    let _ = writeln!(t, "{})\n    }}\n", d.join(" | "));
    t.push_str(
        "    /// C name, `VkBuffer`.\n    pub const fn name(self) -> &'static str {\n        match self {\n",
    );
    for (c, n, ..) in &all {
        let _ = writeln!(t, "            Self::{n} => \"{c}\",");
    }
    t.push_str("        }\n    }\n\n    /// Its `VkObjectType`.\n    pub const fn object_type(self) -> i32 {\n        match self {\n");
    for (_, n, _, v) in &all {
        let _ = writeln!(t, "            Self::{n} => {v},");
    }
    t.push_str("        }\n    }\n}\n");
    Ok(Files::from([("wire-protocol/src/generated/handles.rs".to_owned(), t)]))
}
