//! Formats: how large a block of texels is, by aspect.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

use super::{Files, banner};
use crate::model::Model;
use crate::registry::FormatDecl;

/// Bits of `VkImageAspectFlagBits`.
const COLOR: u32 = 1;
const DEPTH: u32 = 2;
const STENCIL: u32 = 4;
const PLANE_0: u32 = 0x10;

/// Every format of the registry.
///
/// # Errors
/// A format without a value, or a plane that is like no format.
pub fn emit(model: &Model) -> Result<Files> {
    let mut all: Vec<(i64, &str, &FormatDecl)> = Vec::new();
    for (name, format) in &model.reg.formats {
        let value = model.reg.values.get(name).with_context(|| format!("no value {name}"))?;
        all.push((*value, name, format));
    }
    all.sort_unstable_by_key(|(value, ..)| *value);
    let mut t = banner("Formats: their blocks of texels.");
    t.push_str("use crate::schema::{Aspect, Format};\n\n");
    let _ =
        writeln!(t, "/// Every format, sorted by value.\npub static FORMATS: [Format; {}] = [", all.len());
    for (value, name, format) in all {
        let _ = write!(t, "    // `{name}`\n    Format {{ value: {value}, aspects: &[");
        for (bit, block_size, block_extent, divisors) in aspects(model, name, format)? {
            let _ = write!(
                t,
                "Aspect {{ bit: {bit:#x}, block_size: {block_size}, block_extent: {block_extent:?}, divisors: {divisors:?} }},"
            );
        }
        t.push_str("] },\n");
    }
    t.push_str("];\n");
    Ok(Files::from([("wire-protocol/src/generated/formats.rs".to_owned(), t)]))
}

type AspectRow = (u32, u32, [u32; 2], [u32; 2]);

/// Depth and stencil are copied apart: depth of 16 bits in two bytes, wider in four
/// (the specification's "Buffer and image addressing").
fn aspects(model: &Model, name: &str, format: &FormatDecl) -> Result<Vec<AspectRow>> {
    let single = [1, 1];
    let mut out = Vec::new();
    for (component, bits) in &format.components {
        match (component.as_str(), bits) {
            ("D", Some(16)) => out.push((DEPTH, 2, single, single)),
            ("D", Some(24 | 32)) => out.push((DEPTH, 4, single, single)),
            ("S", Some(8)) => out.push((STENCIL, 1, single, single)),
            ("D" | "S", bits) => bail!("{name}: {component} of {bits:?} bits"),
            _ => {}
        }
    }
    for (i, plane) in format.planes.iter().enumerate() {
        let like = model.reg.formats.get(&plane.compatible);
        let like = like.with_context(|| format!("{name}: no format {}", plane.compatible))?;
        out.push((PLANE_0 << i, like.block_size, like.block_extent, plane.divisors));
    }
    if out.is_empty() {
        out.push((COLOR, format.block_size, format.block_extent, single));
    }
    Ok(out)
}
