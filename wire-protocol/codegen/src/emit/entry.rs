//! The guest's entry points and its table of names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};

use super::straight::Structures;
use super::{Files, banner, providers, raw, static_name, straight};
use crate::class::{class, created, family};
use crate::lower::{handle_name, lower_command};
use crate::model::{Model, Provider};
use crate::registry::{CommandDecl, Decl, TypeDecl};

const DIR: &str = "guest-icd/src/generated";

/// Entry points of all commands that are not hand-written, and the table of all names.
///
/// # Errors
/// A command whose shape no stub fits.
pub fn emit(model: &Model) -> Result<Files> {
    let mut families: BTreeMap<&str, String> = BTreeMap::new();
    let mut structures = Structures::new(model);
    let hand = &model.overlay.commands.hand;
    for c in model.wire_commands().filter(|c| !hand.contains(&c.name)) {
        let text = families.entry(family(&c.name)).or_default();
        text.push_str(&stub(&mut structures, model, c)?);
    }
    let mut files = Files::new();
    let infos = structures.infos()? + &structures.submissions()?;
    let entries: String = families.values().map(String::as_str).chain([infos.as_str()]).collect();
    files.insert(
        format!("{DIR}/entry/structures.rs"),
        banner("Structures that are written without the tables.")
            + "use core::ffi::c_void;\n\nuse vw_wire_protocol::generated::commands::opcodes;\nuse vw_wire_protocol::rules::{Ctx, Hook, Part};\n\nuse crate::straight::{self, Put, Straight};\n\n"
            + &infos
            + &structures.text(&entries),
    );
    let mut root = banner("Entry points that need no hand-written code, by object family.");
    for f in families.keys() {
        let _ = writeln!(root, "pub(crate) mod {f};");
    }
    root.push_str("pub(crate) mod structures;\n");
    files.insert(format!("{DIR}/entry/mod.rs"), root);
    files.insert(
        format!("{DIR}/mod.rs"),
        banner("Generated parts of the guest driver.") + "pub(crate) mod entry;\npub(crate) mod procs;\n",
    );
    for (f, text) in families {
        let mut head = banner(&format!("Entry points of the family `{f}`."));
        head.push_str(
            "#![allow(non_snake_case, clippy::too_many_arguments, clippy::missing_safety_doc)]\n\n",
        );
        if text.contains("c_void") {
            head.push_str("use core::ffi::c_void;\n\n");
        }
        head.push_str(if text.contains("opcodes::") {
            "use vw_wire_protocol::generated::commands::{self, opcodes};\n"
        } else {
            "use vw_wire_protocol::generated::commands;\n"
        });
        if text.contains("HandleType::") {
            head.push_str("use vw_wire_protocol::generated::handles::HandleType;\n");
        }
        head.push_str("\nuse crate::forward;\n");
        if text.contains("straight::") {
            let names = if text.contains("Straight|") { "::{self, Straight}" } else { "" };
            let _ = writeln!(head, "use crate::straight{names};");
        }
        if text.contains("to.structure") {
            head.push_str("use super::structures::*;\n");
        }
        head.push('\n');
        files.insert(format!("{DIR}/entry/{f}.rs"), head + &text);
    }
    files.extend(procs(model)?);
    Ok(files)
}

fn rust_type(model: &Model, p: &Decl) -> Result<(&'static str, bool)> {
    if p.pointers > 0 || p.array.is_some() {
        return Ok((if p.is_const { "*const c_void" } else { "*mut c_void" }, true));
    }
    Ok(match (p.ty.as_str(), model.decl(&p.ty)?) {
        ("float", _) => ("f32", false),
        (_, TypeDecl::Handle(true, _)) => ("*mut c_void", true),
        (_, TypeDecl::Handle(false, _)) => ("u64", false),
        ("int32_t" | "int", _) => ("i32", false),
        (_, TypeDecl::Scalar(2)) => ("u16", false),
        (_, TypeDecl::Scalar(4)) => ("u32", false),
        (_, TypeDecl::Scalar(8)) => ("u64", false),
        _ => bail!("parameter {} of type {}", p.name, p.ty),
    })
}

fn stub(structures: &mut Structures<'_>, model: &Model, c: &CommandDecl) -> Result<String> {
    let steps = lower_command(model, c)?;
    let class = class(model, c, &steps);
    let (mut params, mut slots) = (Vec::new(), Vec::new());
    for p in &c.params {
        let (ty, pointer) = rust_type(model, p).with_context(|| c.name.clone())?;
        params.push(format!("{}: {ty}", raw(&p.name)));
        slots.push(match ty {
            "f32" => format!("u64::from({}.to_bits())", raw(&p.name)),
            "i32" => format!("u64::from({} as u32)", raw(&p.name)),
            "u16" | "u32" => format!("u64::from({})", raw(&p.name)),
            _ if pointer => format!("{} as u64", raw(&p.name)),
            _ => raw(&p.name),
        });
    }
    let first = raw(&c.params.first().with_context(|| format!("{}: no parameters", c.name))?.name);
    let table = format!("&commands::{}", static_name(&c.name));
    let call = if let Some(ty) = created(&steps) {
        format!("forward::create({first}, {table}, &args, HandleType::{ty}, pAllocator)")
    } else if c.name.starts_with("vkDestroy") {
        let target = c.params.get(1).context("nothing to destroy")?;
        format!(
            "forward::destroy({first}, {table}, &args, {}, HandleType::{})",
            raw(&target.name),
            handle_name(model.resolve(&target.ty))
        )
    } else {
        let verb = match class {
            "Record" => "record",
            "Send" => "send",
            _ => "call",
        };
        format!("forward::{verb}({first}, {table}, &args)")
    };
    let created = created(&steps).is_some();
    let (arrow, tail) = match (c.ret.as_str(), class) {
        ("void", _) => ("", "unsafe { CALL };"),
        ("VkResult", _) if created => (" -> i32", "unsafe { CALL }"),
        ("VkResult", "Call") => (" -> i32", "unsafe { CALL as i32 }"),
        ("VkResult", _) => (" -> i32", "unsafe { CALL }"),
        (other, "Call") => match model.layout(other)?.size {
            4 => (" -> u32", "unsafe { CALL as u32 }"),
            _ => (" -> u64", "unsafe { CALL }"),
        },
        (other, class) => bail!("{}: class {class} cannot return {other}", c.name),
    };
    if class == "Record"
        && let Some(straight) = straight::body(structures, c, &steps)?
    {
        return Ok(format!(
            "pub(crate) unsafe extern \"system\" fn {}({}) {{\n    // SAFETY: the application's valid usage of this command.\n    unsafe {{\n{straight}forward::record({first}, {table}, &[{}]);\n    }}\n}}\n\n",
            c.name,
            params.join(", "),
            slots.join(", "),
        ));
    }
    Ok(format!(
        "pub(crate) unsafe extern \"system\" fn {}({}){arrow} {{\n    let args = [{}];\n    // SAFETY: the application's valid usage of this command.\n    {}\n}}\n\n",
        c.name,
        params.join(", "),
        slots.join(", "),
        tail.replace("CALL", &call),
    ))
}

/// Names in the wire protocol, for everybody; entry points in the guest, in the same order.
fn procs(model: &Model) -> Result<Files> {
    let o = &model.overlay.commands;
    let mut rows: BTreeMap<&str, (String, String)> = BTreeMap::new();
    // Commands that need a hidden feature are there by name, as the extension demands, and refuse.
    let absent = model.reg.commands.iter().filter(|c| o.absent.contains_key(&c.name));
    for c in model.commands().chain(absent) {
        let by_hand = model.is_local(&c.name) || o.hand.contains(&c.name);
        let path = if o.absent.contains_key(&c.name) {
            if c.ret != "VkResult" {
                bail!("{}: a command that cannot refuse must not be absent", c.name);
            }
            "crate::proc::refuse".to_owned()
        } else if by_hand {
            format!("crate::hand::{}", c.name)
        } else {
            format!("entry::{}::{}", family(&c.name), c.name)
        };
        let level = match c.params.first().map(|p| p.ty.as_str()) {
            _ if matches!(c.name.as_str(), "vkCreateInstance" | "vkGetInstanceProcAddr")
                || c.name.starts_with("vkEnumerateInstance") =>
            {
                "Global"
            }
            Some("VkInstance") => "Instance",
            Some("VkPhysicalDevice") => "PhysicalDevice",
            _ => "Device",
        };
        let aliases = model.reg.command_aliases.iter().filter(|(_, t)| **t == c.name).map(|(a, _)| a);
        for name in std::iter::once(&c.name).chain(aliases) {
            let list: &[Provider] = model.command_providers.get(name).map_or(&[], Vec::as_slice);
            if list.is_empty() {
                continue;
            }
            rows.insert(
                name,
                (
                    format!("    Proc {{ ptr: pointer!({path}), level: Level::{level} }},\n"),
                    format!(
                        "    Name {{ name: \"{name}\", command: \"{}\", refused: {}, provided_by: {} }},\n",
                        c.name,
                        o.absent.contains_key(&c.name),
                        providers(list)
                    ),
                ),
            );
        }
    }
    let mut procs = banner("Entry points of all commands that the driver has.");
    procs.push_str("use super::entry;\nuse crate::proc::{Level, Proc};\n\n");
    procs.push_str("/// An entry point as a pointer of no particular signature.\nmacro_rules! pointer {\n    ($f:path) => {\n        // SAFETY: only the address is kept; callers cast it back to the command's own signature.\n        unsafe { core::mem::transmute::<*const (), unsafe extern \"system\" fn()>($f as *const ()) }\n    };\n}\n\n");
    let _ = writeln!(
        procs,
        "/// In the order of the names in `vw_wire_protocol::generated::names`.\npub(crate) static PROCS: [Proc; {}] = [",
        rows.len()
    );
    let mut names = banner("Names of all commands that the driver has, with what makes each visible.");
    names.push_str("use crate::schema::{Name, Provider};\n\n");
    let _ = writeln!(names, "/// Sorted by name.\npub static NAMES: [Name; {}] = [", rows.len());
    for (proc, name) in rows.values() {
        procs.push_str(proc);
        names.push_str(name);
    }
    procs.push_str("];\n");
    names.push_str("];\n");
    Ok(Files::from([
        (format!("{DIR}/procs.rs"), procs),
        ("wire-protocol/src/generated/names.rs".to_owned(), names),
    ]))
}
