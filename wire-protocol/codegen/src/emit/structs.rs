//! Tables of structures, a file per object family.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

use super::{Files, banner, ops, providers, static_name, uses};
use crate::class::family;
use crate::lower::{Elem, Step, has_s_type, lower_struct};
use crate::model::Model;
use crate::registry::TypeDecl;

const DIR: &str = "wire-protocol/src/generated/structs";

/// All structures that travel by more than a plain copy, and all that stand in chains.
///
/// # Errors
/// Members that the overlay must explain, all of them in one message.
pub fn emit(model: &Model) -> Result<Files> {
    let mut families: BTreeMap<&str, String> = BTreeMap::new();
    let mut all = Vec::new();
    let mut problems = Vec::new();
    let lowered = lower_all(model, &mut problems);
    if !problems.is_empty() {
        bail!("{} members cannot travel:\n{}", problems.len(), problems.join("\n"));
    }
    let with_results = with_results(model, &lowered);
    for (name, steps) in &lowered {
        let record = model.record(name).context("not a structure")?;
        let layout = model.layout(name)?;
        let s_type = match record.members.first().and_then(|m| m.s_type.as_ref()) {
            Some(s) => format!("Some({})", model.reg.values.get(s).with_context(|| format!("no value {s}"))?),
            None => "None".to_owned(),
        };
        let mut ext: Vec<(i64, &String)> = Vec::new();
        for e in model.extended_by.get(name).into_iter().flatten() {
            let r = model.record(e).context("not a structure")?;
            let s = r
                .members
                .first()
                .and_then(|m| m.s_type.as_ref())
                .with_context(|| format!("{e} has no sType"))?;
            ext.push((*model.reg.values.get(s).with_context(|| format!("no value {s}"))?, e));
        }
        ext.sort_unstable();
        ext.dedup();
        let ext: Vec<_> = ext.iter().map(|(_, e)| format!("&super::{}", static_name(e))).collect();
        let hook = model.overlay.hooks.get(name).map_or("Hook::None".to_owned(), |h| format!("Hook::{h}"));
        let provided = model.type_providers.get(name).map_or(&[][..], Vec::as_slice);
        let text = families.entry(family(name)).or_default();
        let _ = writeln!(
            text,
            "/// `{name}`\npub static {}: Struct = Struct {{ name: \"{name}\", size: {}, align: {}, s_type: {s_type}, ops: {}, extended_by: &[{}], min_wire: {}, results: {}, hook: {hook}, provided_by: {} }};\n",
            static_name(name),
            layout.size,
            layout.align,
            ops(steps, "super::"),
            ext.join(", "),
            min_wire(&lowered, name, steps, has_s_type(record)),
            with_results.contains(name.as_str()),
            providers(provided),
        );
        all.push(static_name(name));
    }
    let mut files = Files::new();
    let mut root = banner("Structures, by object family.");
    for f in families.keys() {
        let _ = writeln!(root, "mod {f};");
    }
    root.push_str("\nuse crate::schema::Struct;\n\n");
    for f in families.keys() {
        let _ = writeln!(root, "pub use {f}::*;");
    }
    let _ = writeln!(
        root,
        "\n/// Every structure, sorted by name.\npub static ALL: [&Struct; {}] = [",
        all.len()
    );
    for n in &all {
        let _ = writeln!(root, "    &{n},");
    }
    root.push_str("];\n");
    files.insert(format!("{DIR}/mod.rs"), root);
    for (f, text) in families {
        let head = banner(&format!("Structures of the family `{f}`."));
        files.insert(format!("{DIR}/{f}.rs"), format!("{head}{}\n{text}", uses(&text)));
    }
    Ok(files)
}

fn lower_all(model: &Model, problems: &mut Vec<String>) -> BTreeMap<String, Vec<Step>> {
    let mut out = BTreeMap::new();
    for name in &model.structs {
        if matches!(model.decl(name), Ok(TypeDecl::Record(r)) if r.union) {
            continue;
        }
        // Plain structures are bytes wherever they stand, unless they are at the head of a call.
        match lower_struct(model, name) {
            Ok(steps) => {
                out.insert(name.clone(), steps);
            }
            Err(e) => problems.push(format!("{e:#}")),
        }
    }
    out
}

/// Structures that are, or lead to, inputs with results in them.
fn with_results<'a>(model: &Model, all: &'a BTreeMap<String, Vec<Step>>) -> BTreeSet<&'a str> {
    fn leads(steps: &[Step], found: &BTreeSet<&str>) -> bool {
        steps.iter().any(|step| match step {
            Step::Pointer { dir: "Out" | "InOut", .. } => true,
            Step::Pointer { elem: Elem::Struct(desc), .. } | Step::Inline { desc, .. } => {
                found.contains(desc.as_str())
            }
            Step::Select { arms, .. } => arms.iter().any(|(_, steps)| leads(steps, found)),
            _ => false,
        })
    }
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for (name, steps) in all {
            let mut links = model.extended_by.get(name).into_iter().flatten();
            if leads(steps, &found) || links.any(|link| found.contains(link.as_str())) {
                found.insert(name.as_str());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn min_wire(all: &BTreeMap<String, Vec<Step>>, _name: &str, steps: &[Step], chain: bool) -> u32 {
    let own: u32 = steps
        .iter()
        .map(|s| match s {
            Step::Bytes { len, .. } => *len,
            Step::Len { size, .. } => *size,
            Step::Handle { .. } => 8,
            Step::Inline { count, desc, .. } => {
                let inner = all.get(desc).map_or(0, |steps| min_wire(all, desc, steps, false));
                count * inner
            }
            Step::Pointer { .. } => 1,
            Step::Select { .. } => 0,
        })
        .sum();
    own + if chain { 4 } else { 0 }
}
