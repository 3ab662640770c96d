//! A test that compares the computed layouts with those of `ash`, an independent source.

use std::fmt::Write as _;

use anyhow::Result;
use heck::ToSnakeCase;

use super::{Files, banner, static_name};
use crate::model::Model;

/// `wire-protocol/tests/layout.rs`.
///
/// # Errors
/// A structure whose layout is unknown.
pub fn emit(model: &Model) -> Result<Files> {
    let mut t = banner(
        "Sizes and offsets in the tables against those of `ash`, which were made by another generator.",
    );
    t.push_str("#![allow(deprecated)]\n\nuse core::mem::{align_of, offset_of, size_of};\n\nuse ash::vk;\nuse vw_wire_protocol::generated::structs;\n\n");
    t.push_str("macro_rules! check {\n    ($table:ident, $ash:ident, $($field:ident @ $off:literal),* $(,)?) => {\n        assert_eq!(structs::$table.size as usize, size_of::<vk::$ash>(), stringify!($ash));\n        assert_eq!(structs::$table.align as usize, align_of::<vk::$ash>(), stringify!($ash));\n        $(assert_eq!($off, offset_of!(vk::$ash, $field), concat!(stringify!($ash), \".\", stringify!($field)));)*\n    };\n}\n\n");
    let mut rows = Vec::new();
    for name in &model.structs {
        let Some(r) = model.record(name) else { continue };
        // A promoted structure may be known to `ash` under its extension's name.
        let newer = model.overlay.newer_than_ash.contains(name);
        let alias = model.reg.type_aliases.iter().find(|(_, target)| *target == name).map(|(alias, _)| alias);
        let Some(ash_name) = (if newer { alias } else { Some(name) }) else { continue };
        if r.union || r.members.iter().any(|m| m.bits.is_some()) {
            continue;
        }
        let mut row = format!("    check!({}, {}, ", static_name(name), ash_name.trim_start_matches("Vk"));
        for p in model.place(r)? {
            let _ = write!(row, "{} @ {}, ", field(&p.decl.name), p.off);
        }
        row.push_str(");\n");
        rows.push(row);
    }
    for (i, chunk) in rows.chunks(100).enumerate() {
        let _ = writeln!(
            t,
            "#[test]\nfn layout_when_compared_with_ash_is_equal_{i}() {{\n{}}}\n",
            chunk.concat()
        );
    }
    Ok(Files::from([("wire-protocol/tests/layout.rs".to_owned(), t)]))
}

/// The member's name as `ash` spells it.
fn field(c: &str) -> String {
    match c {
        "type" => "ty".to_owned(),
        _ => c.to_snake_case(),
    }
}
