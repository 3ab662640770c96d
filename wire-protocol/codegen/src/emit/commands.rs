//! Tables of commands, a file per object family, and one invoker per C signature.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::{Files, banner, ops, providers, static_name, uses};
use crate::class::{class, family};
use crate::lower::lower_command;
use crate::model::Model;
use crate::registry::{CommandDecl, TypeDecl};

const DIR: &str = "wire-protocol/src/generated/commands";

/// Commands that travel. Opcodes are positions in [`Model::wire_commands`], from 1.
///
/// # Errors
/// Parameters that the overlay must explain, all of them in one message.
pub fn emit(model: &Model) -> Result<Files> {
    let mut families: BTreeMap<&str, String> = BTreeMap::new();
    let mut signatures = BTreeSet::new();
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for c in model.wire_commands() {
        let steps = match lower_command(model, c) {
            Ok(steps) => steps,
            Err(e) => {
                problems.push(format!("{e:#}"));
                continue;
            }
        };
        let signature = signature(model, c);
        signatures.insert(signature.clone());
        let ret = match c.ret.as_str() {
            "void" => "Void",
            "VkResult" => "Result",
            _ => "Value",
        };
        let text = families.entry(family(&c.name)).or_default();
        let _ = writeln!(
            text,
            "/// `{0}`\npub static {1}: Command = Command {{ name: \"{0}\", aliases: &{8:?}, opcode: opcodes::{1}, params: {2}, param_count: {3}, ret: Ret::{ret}, lost: {7}, class: Class::{4}, memo: {5}, provided_by: {6}, invoke: invoke::{signature} }};\n",
            c.name,
            static_name(&c.name),
            ops(&steps, "structs::"),
            c.params.len(),
            class(model, c, &steps),
            model.overlay.commands.memo.contains(&c.name),
            providers(&model.providers_of_command(&c.name)),
            lost(model, c),
            model.aliases_of(&c.name),
        );
        all.push(static_name(&c.name));
    }
    if !problems.is_empty() {
        bail!("{} parameters cannot travel:\n{}", problems.len(), problems.join("\n"));
    }
    let mut files = Files::new();
    let mut root = banner("Commands, by object family.");
    for f in families.keys() {
        let _ = writeln!(root, "mod {f};");
    }
    root.push_str("pub(crate) mod invoke;\npub mod opcodes;\n\nuse crate::schema::Command;\n\n");
    for f in families.keys() {
        let _ = writeln!(root, "pub use {f}::*;");
    }
    let _ = writeln!(
        root,
        "\n/// Every command; the one with opcode *n* is at index *n* - 1.\npub static ALL: [&Command; {}] = [",
        all.len()
    );
    for n in &all {
        let _ = writeln!(root, "    &{n},");
    }
    root.push_str("];\n\n/// The command with this opcode.\npub fn by_opcode(opcode: u16) -> Option<&'static Command> {\n    ALL.get(usize::from(opcode).checked_sub(1)?).copied()\n}\n");
    files.insert(format!("{DIR}/mod.rs"), root);
    let mut opcodes = banner("Numbers of the commands on the wire.") + "#![allow(missing_docs)]\n\n";
    for (opcode, n) in (1..).zip(&all) {
        let _ = writeln!(opcodes, "pub const {n}: u16 = {opcode};");
    }
    files.insert(format!("{DIR}/opcodes.rs"), opcodes);
    for (f, text) in families {
        let mut head = banner(&format!("Commands of the family `{f}`."));
        head.push_str("use super::{invoke, opcodes};\n");
        if text.contains("structs::") {
            head.push_str("use crate::generated::structs;\n");
        }
        files.insert(format!("{DIR}/{f}.rs"), format!("{head}{}\n{text}", uses(&text)));
    }
    files.insert(format!("{DIR}/invoke.rs"), invokers(&signatures));
    Ok(files)
}

/// What to return when the host is lost.
fn lost(model: &Model, c: &CommandDecl) -> i64 {
    let above_device =
        matches!(c.params.first().map(|p| p.ty.as_str()), Some("VkInstance" | "VkPhysicalDevice"));
    let listed = |error: &str| c.errors.iter().any(|e| e == error);
    let error = if c.errors.is_empty() {
        return 0;
    } else if !above_device || listed("VK_ERROR_DEVICE_LOST") {
        "VK_ERROR_DEVICE_LOST"
    } else if listed("VK_ERROR_INITIALIZATION_FAILED") {
        "VK_ERROR_INITIALIZATION_FAILED"
    } else {
        "VK_ERROR_OUT_OF_HOST_MEMORY"
    };
    model.reg.values.get(error).copied().unwrap_or(0)
}

/// One letter for the return type, then one per parameter: Q 64-bit integer or pointer, W 32-bit, F float.
pub(super) fn signature(model: &Model, c: &CommandDecl) -> String {
    let mut s = String::from(match c.ret.as_str() {
        "void" => "v",
        "VkResult" => "r",
        other => match model.layout(other) {
            Ok(l) if l.size == 4 => "w",
            _ => "q",
        },
    });
    s.push('_');
    for p in &c.params {
        s.push(match (&p.ty[..], p.pointers > 0 || p.array.is_some()) {
            (_, true) => 'q',
            ("float", _) => 'f',
            _ => match model.decl(&p.ty) {
                Ok(TypeDecl::Scalar(4)) => 'w',
                _ => 'q',
            },
        });
    }
    s
}

fn invokers(signatures: &BTreeSet<String>) -> String {
    let mut t = banner(
        "One invoker per C signature: the return type's letter, then the parameters' (q 64 bits or pointer, w 32 bits, f float, v void, r VkResult).",
    );
    t.push_str("#![allow(missing_docs)]\n\nuse core::mem::transmute;\n\n/// A function pointer of unknown signature.\npub(crate) type Pointer = unsafe extern \"system\" fn();\n\n");
    for s in signatures {
        let (ret, params) = s.split_at(2);
        let rust = |c: char| match c {
            'w' => "u32",
            'f' => "f32",
            _ => "u64",
        };
        let types: Vec<_> = params.chars().map(rust).collect();
        let args: Vec<_> = params
            .chars()
            .enumerate()
            .map(|(i, c)| match c {
                'w' => format!("a[{i}] as u32"),
                'f' => format!("f32::from_bits(a[{i}] as u32)"),
                _ => format!("a[{i}]"),
            })
            .collect();
        let (arrow, call) = match &ret[..1] {
            "v" => ("", "f({}); 0"),
            "r" => (" -> i32", "i64::from(f({})) as u64"),
            "w" => (" -> u32", "u64::from(f({}))"),
            _ => (" -> u64", "f({})"),
        };
        let call = call.replace("{}", &args.join(", "));
        let body = call.strip_suffix("; 0").map_or_else(
            || format!("    // SAFETY: the caller's contract.\n    unsafe {{ {call} }}\n"),
            |c| {
                format!("    // SAFETY: the caller's contract.\n    unsafe {{\n        {c};\n    }}\n    0\n")
            },
        );
        let _ = writeln!(
            t,
            "/// # Safety\n/// See [`crate::schema::Invoke`].\n#[inline]\npub(crate) unsafe fn {s}(f: Pointer, a: &[u64]) -> u64 {{\n    // SAFETY: the caller vouches for the signature.\n    let f = unsafe {{ transmute::<Pointer, unsafe extern \"system\" fn({}){arrow}>(f) }};\n{body}}}\n",
            types.join(", "),
        );
    }
    t
}
