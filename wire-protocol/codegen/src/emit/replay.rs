//! Straight-line decoding of `vkCmd*`: the loads that the tables lead to, and the call. See `wire-protocol/src/straight.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use heck::AsSnakeCase;

use super::commands::signature;
use super::straight::{LINKS, count_field, of_command_buffers, s_type, submissions};
use super::{Files, banner, static_name};
use crate::class::class;
use crate::lower::{Elem, Step, has_s_type, lower_command, lower_struct};
use crate::model::Model;
use crate::registry::CommandDecl;

/// Functions that take records, one for each command that is simple enough.
///
/// # Errors
/// What the registry does not say.
pub fn emit(model: &Model) -> Result<Files> {
    let mut readers = Readers { model, by_name: BTreeMap::new() };
    let (mut arms, mut takes) = (String::new(), String::new());
    for c in model.wire_commands() {
        let steps = lower_command(model, c)?;
        if class(model, c, &steps) != "Record" || c.ret != "void" {
            continue;
        }
        if let Some(text) = take(&mut readers, c, &steps)? {
            let _ = writeln!(arms, "opcodes::{} => {}::<H>,", static_name(&c.name), AsSnakeCase(&c.name));
            takes.push_str(&text);
        }
    }
    let mut text = banner("Functions that take the records of a command buffer without the tables.");
    text.push_str(
        "#![allow(clippy::missing_safety_doc)]\n\n\
         use crate::generated::commands::{invoke, opcodes};\n\
         use crate::generated::handles::HandleType;\n\
         use crate::straight::{\n    Creation, END, Host, Pfn, ReadInfo, Record, Submission, Take, Target, count, optional,\n};\n\n",
    );
    let creations = creations(&mut readers)?;
    let _ = write!(
        text,
        "/// What reads the create-info of the command with this opcode, `vkCreateX(device, info, allocator, x)`, if it has no need of the\n\
         /// tables.\n\
         pub fn creation<H: Host>(opcode: u16) -> Option<Creation<H>> {{\nlet (ty, size, read): (_, _, ReadInfo<H>) = match opcode {{\n{creations}_ => return None,\n}};\nSome(Creation {{ ty, size, read }})\n}}\n\n"
    );
    let mut submitted = String::new();
    for (c, info) in submissions(model)? {
        if readers.reads(&info)? {
            let size = model.layout(&info)?.size;
            let _ = writeln!(
                submitted,
                "opcodes::{} => ({size}, {}::<H>),",
                static_name(&c.name),
                reader_name(&info)
            );
        }
    }
    let _ = write!(
        text,
        "/// What reads each structure of the submission with this opcode, `vkX(queue, count, infos, fence)`; none for other commands.\n\
         pub fn submission<H: Host>(opcode: u16) -> Option<Submission<H>> {{\nlet (size, read): (_, ReadInfo<H>) = match opcode {{\n{submitted}_ => return None,\n}};\nSome(Submission {{ size, read }})\n}}\n\n"
    );
    let _ = write!(
        text,
        "/// The function for the command with this opcode, if it has one.\npub fn take<H: Host>(opcode: u16) -> Option<Take<H>> {{\nSome(match opcode {{\n{arms}_ => return None,\n}})\n}}\n\n{takes}"
    );
    // Some readers were made for commands that need the tables after all.
    loop {
        let called = |name: &str| {
            let name = reader_name(name);
            text.contains(&format!("{name}(to, from,")) || text.contains(&format!("{name}::<H>"))
        };
        let Some(name) = readers.by_name.keys().find(|name| called(name)).cloned() else { break };
        text.extend(readers.by_name.remove(&name).flatten());
    }
    Ok(Files::from([("wire-protocol/src/generated/straight.rs".to_owned(), text)]))
}

/// The arms for commands that create an object.
fn creations(readers: &mut Readers<'_>) -> Result<String> {
    let mut arms = String::new();
    for c in readers.model.wire_commands() {
        let steps = lower_command(readers.model, c)?;
        let [
            Step::Handle { off: 0, ty: parent, .. },
            Step::Pointer { off: 8, elem: Elem::Struct(info), count: one, dir: "In", .. },
            Step::Pointer { off: 24, elem: Elem::Handle { ty, .. }, count: single, dir: "New", .. },
        ] = steps.as_slice()
        else {
            continue;
        };
        let plain = [one, single].iter().all(|count| *count == "Count::One");
        if parent == "Device" && plain && readers.reads(info)? {
            let size = readers.model.layout(info)?.size;
            let _ = writeln!(
                arms,
                "opcodes::{} => (HandleType::{ty}, {size}, {}::<H>),",
                static_name(&c.name),
                reader_name(info)
            );
        }
    }
    Ok(arms)
}

/// The function of a command; none when it needs the tables.
fn take(readers: &mut Readers<'_>, c: &CommandDecl, steps: &[Step]) -> Result<Option<String>> {
    let signature = signature(readers.model, c);
    let letters: Vec<char> = signature.chars().skip(2).collect();
    let (mut early, mut late) = (String::new(), String::new());
    let mut fixed = 0;
    for step in steps {
        match step {
            Step::Handle { off: 0, ty, .. } if ty == "CommandBuffer" => {
                fixed += 8;
                early.push_str("let p0 = to.object(from.get())?;\n");
            }
            Step::Handle { ty, .. } if ty == "CommandBuffer" => return Ok(None),
            Step::Handle { off, ty, lenient } => {
                fixed += 8;
                let slot = off / 8;
                let _ = writeln!(early, "let p{slot} = {};", handle(ty, *lenient));
            }
            Step::Bytes { off, len } => {
                let letters = &letters[*off as usize / 8..(off + len).div_ceil(8) as usize];
                for (i, letter) in letters.iter().enumerate() {
                    let slot = *off as usize / 8 + i;
                    // Neighbours that were joined fill their slots, but for the last.
                    match (letter, (len - 8 * i as u32).min(8)) {
                        ('w' | 'f', 4) => {
                            let _ = writeln!(early, "let p{slot} = u64::from(from.get::<u32>());");
                        }
                        ('q', 8) => {
                            let _ = writeln!(early, "let p{slot} = from.get::<u64>();");
                        }
                        _ => return Ok(None),
                    }
                }
                fixed += len;
            }
            // Whether these may run is asked elsewhere.
            Step::Pointer { .. } if of_command_buffers(step) => return Ok(None),
            Step::Pointer { off, .. } => {
                let count = |off: u32, _: &str| format!("p{}", off / 8);
                let Some(read) = readers.pointer(step, "&mut from", &count)? else { return Ok(None) };
                let _ = writeln!(late, "let p{} = {read} as u64;", off / 8);
            }
            _ => return Ok(None),
        }
    }
    let args: Vec<_> = (0..c.params.len())
        .map(|i| {
            let given = early.contains(&format!("let p{i} =")) || late.contains(&format!("let p{i} ="));
            if given { format!("p{i}") } else { "0".to_owned() }
        })
        .collect();
    Ok(Some(format!(
        "/// `{}`\nunsafe fn {}<H: Host>(to: &mut Target<'_, H>, mut from: Record, pfn: Pfn) -> Option<()> {{\n\
         // SAFETY: what is read was asked for before; the pointer is of this command, the arguments follow its table.\n\
         unsafe {{\nfrom.need({fixed})?;\n{early}{late}from.finish()?;\n\
         to.call(|f, a| invoke::{signature}(f, a), pfn, &[{}]);\n}}\nSome(())\n}}\n\n",
        c.name,
        AsSnakeCase(&c.name),
        args.join(", "),
    )))
}

fn handle(ty: &str, lenient: bool) -> String {
    let kind = if lenient { "lenient" } else { "handle" };
    format!("to.{kind}(HandleType::{ty}, from.get())?")
}

/// Functions that read a structure each.
struct Readers<'m> {
    model: &'m Model<'m>,
    /// None for those that need the tables.
    by_name: BTreeMap<String, Option<String>>,
}

impl Readers<'_> {
    /// An expression for what a pointer points to. `from` is the record, `count` makes an expression of the number
    /// at an offset.
    fn pointer(
        &mut self,
        step: &Step,
        from: &str,
        count: &dyn Fn(u32, &str) -> String,
    ) -> Result<Option<String>> {
        let Step::Pointer { elem, count: number, dir: "In", .. } = step else { return Ok(None) };
        let n = match count_field(number) {
            Some((off, size)) => count(off, size),
            None if number == "Count::One" => "1".to_owned(),
            None => match number.strip_prefix("Count::Const(").and_then(|n| n.strip_suffix(')')) {
                Some(n) => n.to_owned(),
                None => return Ok(None),
            },
        };
        let read = match elem {
            Elem::Bytes { size, .. } => format!("to.bytes({from}, {n}, {size})"),
            Elem::Handle { ty, lenient: false } => format!("to.handles({from}, {n}, HandleType::{ty})"),
            Elem::Struct(name) => {
                if !self.reads(name)? {
                    return Ok(None);
                }
                let size = self.model.layout(name)?.size;
                format!(
                    "to.structs({from}, {n}, {size}, |to, from, at| read_{}(to, from, at))",
                    AsSnakeCase(name)
                )
            }
            _ => return Ok(None),
        };
        Ok(Some(format!("optional(from.present()?, || {read})?")))
    }

    /// Whether there is a function that reads the structure.
    fn reads(&mut self, name: &str) -> Result<bool> {
        if !self.by_name.contains_key(name) {
            // One that leads to itself needs the tables.
            self.by_name.insert(name.to_owned(), None);
            let text = self.reader(name)?;
            self.by_name.insert(name.to_owned(), text);
        }
        Ok(self.by_name[name].is_some())
    }

    fn reader(&mut self, name: &str) -> Result<Option<String>> {
        let record = self.model.record(name).context("not a structure")?;
        let (mut first, mut early, mut late) = (String::new(), String::new(), String::new());
        let mut fixed = 0;
        if has_s_type(record) {
            let value = s_type(self.model, name)?;
            let _ = writeln!(first, "at.cast::<i32>().write({value});");
            let link = LINKS.iter().find(|(owner, _)| *owner == name).map(|(_, link)| *link);
            if let Some(link) = link.filter(|link| self.model.record(link).is_some()) {
                if !self.reads(link)? {
                    return Ok(None);
                }
                let (value, size) = (s_type(self.model, link)?, self.model.layout(link)?.size);
                let _ = writeln!(
                    first,
                    "let link = to.chain(from, {value}, {size}, |to, from, at| {}(to, from, at))?;\n\
                     at.add(8).cast::<*mut u8>().write(link);",
                    reader_name(link)
                );
            } else if !LINKS.iter().any(|(_, link)| *link == name) {
                // What a link begins with has led here.
                fixed += 4;
                early.push_str("if from.get::<u32>() != END {\nreturn None;\n}\n");
            }
        }
        for step in lower_struct(self.model, name)? {
            match &step {
                Step::Bytes { off, len } => {
                    fixed += len;
                    let _ = writeln!(early, "from.copy::<{len}>(at.add({off}));");
                }
                Step::Handle { off, ty, lenient } => {
                    fixed += 8;
                    let _ = writeln!(early, "at.add({off}).cast::<u64>().write({});", handle(ty, *lenient));
                }
                Step::Inline { off, count, desc } if late.is_empty() => {
                    if !self.reads(desc)? {
                        return Ok(None);
                    }
                    let size = self.model.layout(desc)?.size;
                    for i in 0..*count {
                        let _ =
                            writeln!(late, "{}(to, from, at.add({}))?;", reader_name(desc), off + i * size);
                    }
                }
                Step::Pointer { off, .. } => {
                    let count = |off: u32, size: &str| {
                        format!("count::<u{}>(at, {off})", 8 * size.parse::<u32>().unwrap_or(4))
                    };
                    let Some(read) = self.pointer(&step, "from", &count)? else { return Ok(None) };
                    let _ =
                        writeln!(late, "let array = {read};\nat.add({off}).cast::<*mut u8>().write(array);");
                }
                _ => return Ok(None),
            }
        }
        let used =
            ["to.", "(to,"].iter().any(|part| [&first, &early, &late].iter().any(|text| text.contains(part)));
        let to = if used { "to" } else { "_" };
        Ok(Some(format!(
            "/// `{name}`, into zeroed memory.\nunsafe fn {}<H: Host>({to}: &mut Target<'_, H>, from: &mut Record, at: *mut u8) -> Option<()> {{\n\
             // SAFETY: what is read was asked for before; `at` has room for the structure.\n\
             unsafe {{\n{first}from.need({fixed})?;\n{early}{late}}}\nSome(())\n}}\n\n",
            reader_name(name),
        )))
    }
}

fn reader_name(name: &str) -> String {
    format!("read_{}", AsSnakeCase(name))
}
