//! Straight-line recording of commands that have nothing but scalars, handles, flat arrays and structures without a chain:
//! the bytes that the tables would write, without walking them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use heck::AsSnakeCase;

use super::{raw, static_name};
use crate::class::class;
use crate::lower::{Elem, Step, has_s_type, lower_command, lower_struct};
use crate::model::Model;
use crate::registry::CommandDecl;

/// Statements that record `c` and return; none when some parameter needs the tables.
///
/// # Errors
/// What the registry does not say.
pub fn body(structures: &mut Structures<'_>, c: &CommandDecl, steps: &[Step]) -> Result<Option<String>> {
    let param = |off: u32| c.params.get(off as usize / 8).map(|p| raw(&p.name)).context("no such parameter");
    let (mut lengths, mut conditions, mut puts) = (String::new(), Vec::new(), String::new());
    let mut size = String::new();
    // What has the same size in every record, the command buffer's id first.
    let mut fixed = 8;
    for step in steps {
        match step {
            Step::Handle { off: 0, .. } => {}
            // The program's is a pointer, the id is behind it.
            Step::Handle { ty, .. } if ty == "CommandBuffer" => return Ok(None),
            Step::Handle { off, .. } => {
                fixed += 8;
                let _ = writeln!(puts, "to.put({});", param(*off)?);
            }
            // Neighbours may have been joined: they fill their slots.
            Step::Bytes { off, len } => {
                fixed += len;
                for slot in (*off..off + len).step_by(8) {
                    let _ = writeln!(puts, "to.put({});", param(slot)?);
                }
            }
            Step::Pointer { off, rule, .. } if rule == "Rule::Always" => {
                let name = param(*off)?;
                let count = |off: u32, _: &str| Ok(format!("{} as usize", param(off)?));
                if of_command_buffers(step) || structures.needs_parts(step)? {
                    return Ok(None);
                }
                let Some(array) = structures.array(step, &name, &count)? else { return Ok(None) };
                let length = format!("{}_length", AsSnakeCase(&name));
                // The byte that says whether there is an array.
                fixed += 1;
                if array.plain {
                    let _ = writeln!(lengths, "let {length} = {};", array.length);
                } else {
                    conditions.push(format!("let Some({length}) = {}", array.length));
                }
                let _ = write!(size, ".saturating_add({length})");
                let _ = writeln!(puts, "{};", array.put.replace("LENGTH", &length));
            }
            _ => return Ok(None),
        }
    }
    let suffix = if size.is_empty() { "" } else { "usize" };
    let begin =
        format!("straight::begin({}, opcodes::{}, {fixed}{suffix}{size})", param(0)?, static_name(&c.name));
    Ok(Some(if puts.is_empty() {
        format!("if {begin}.is_some() {{\nreturn;\n}}\n")
    } else {
        conditions.push(format!("let Some(mut to) = {begin}"));
        format!("{lengths}if {} {{\n{puts}return;\n}}\n", conditions.join("\n&& "))
    }))
}

/// The one structure that may stand in the chain of another where that is written straight: what most of today's programs put
/// there.
const LINKS: [(&str, &str); 1] = [("VkGraphicsPipelineCreateInfo", "VkPipelineRenderingCreateInfo")];

/// Functions that measure and write a structure each.
pub struct Structures<'m> {
    model: &'m Model<'m>,
    /// None for those that need the tables.
    by_name: BTreeMap<String, Option<String>>,
}

/// Expressions for what a pointer points to.
struct Array {
    /// Plain data or handles.
    plain: bool,
    /// Its bytes; of structures as an option, none when the tables are needed.
    length: String,
    /// Writes it; `LENGTH` stands for the number of bytes.
    put: String,
}

impl<'m> Structures<'m> {
    /// None yet.
    pub fn new(model: &'m Model<'m>) -> Self {
        Self { model, by_name: BTreeMap::new() }
    }

    /// A function that knows those of `vkCreateX(device, info, allocator, x)`, `vkX(object, info)` and
    /// `vkCreateXPipelines(device, cache, count, infos, allocator, pipelines)`.
    ///
    /// # Errors
    /// What the registry does not say.
    pub fn infos(&mut self) -> Result<String> {
        let mut arms = String::new();
        for c in self.model.wire_commands() {
            let steps = lower_command(self.model, c)?;
            let Some(info) = info_of(c, &steps) else { continue };
            if class(self.model, c, &steps) == "Send" && self.has(info)? && !self.is_part(info)? {
                let _ = writeln!(
                    arms,
                    "opcodes::{} => ({}, {}),",
                    static_name(&c.name),
                    length_name(info),
                    put_name(info)
                );
            }
        }
        Ok(format!(
            "/// What measures and writes the structure of the command with this opcode, `vkCreateX(device, info, allocator, x)`,\n\
             /// `vkX(object, info)` or `vkCreateXPipelines(device, cache, count, infos, allocator, pipelines)`; none when it needs the\n\
             /// tables.\n\
             pub(crate) fn info(opcode: u16) -> Option<(Measure, Put)> {{\nSome(match opcode {{\n{arms}_ => return None,\n}})\n}}\n\n"
        ))
    }

    /// A function that knows those of submissions, `vkX(queue, count, infos, fence)`.
    ///
    /// # Errors
    /// What the registry does not say.
    pub fn submissions(&mut self) -> Result<String> {
        let mut arms = String::new();
        for (c, info) in submissions(self.model)? {
            if self.has(&info)? {
                let _ = writeln!(
                    arms,
                    "opcodes::{} => ({}, {}, {}),",
                    static_name(&c.name),
                    self.model.layout(&info)?.size,
                    length_name(&info),
                    put_name(&info)
                );
            }
        }
        Ok(format!(
            "/// Size of each structure of the submission with this opcode, `vkX(queue, count, infos, fence)`, and what measures and\n\
             /// writes it; none for other commands.\n\
             #[inline(always)]\npub(crate) fn submission(opcode: u16) -> Option<(usize, Measure, Put)> {{\nSome(match opcode {{\n{arms}_ => return None,\n}})\n}}\n\n"
        ))
    }

    /// The functions that `entries` use, and those that these use.
    pub fn text(mut self, entries: &str) -> String {
        let mut text = String::new();
        loop {
            let used = |name: &str| {
                let put = put_name(name);
                entries.contains(&put) || text.contains(&format!("{put}(to,"))
            };
            let Some(name) = self.by_name.keys().find(|name| used(name)).cloned() else { return text };
            text.extend(self.by_name.remove(&name).flatten());
        }
    }

    /// What stands behind the pointer `name`; `count` makes an expression of the number at an offset.
    fn array(
        &mut self,
        step: &Step,
        name: &str,
        count: &dyn Fn(u32, &str) -> Result<String>,
    ) -> Result<Option<Array>> {
        let Step::Pointer { elem, count: number, dir: "In", .. } = step else { return Ok(None) };
        if number == "Count::Terminated" {
            return Ok(Some(Array {
                plain: true,
                length: format!("straight::string_length({name})"),
                put: format!("to.string({name}, LENGTH)"),
            }));
        }
        let n = match count_field(number) {
            Some((off, size)) => count(off, size)?,
            None if number == "Count::One" => "1".to_owned(),
            None if number.starts_with("Count::CeilDiv") => match ceil_div(number) {
                Some((off, size, by)) => format!("({}).div_ceil({by})", count(off, size)?),
                None => return Ok(None),
            },
            None => match number.strip_prefix("Count::Const(").and_then(|n| n.strip_suffix(')')) {
                Some(n) => n.to_owned(),
                None => return Ok(None),
            },
        };
        let size = match elem {
            Elem::Bytes { size, .. } => *size,
            Elem::Handle { .. } => 8,
            Elem::Struct(desc) => {
                if !self.has(desc)? {
                    return Ok(None);
                }
                let size = self.model.layout(desc)?.size;
                let at = if self.is_part(desc)? { "at, parts" } else { "at" };
                return Ok(Some(Array {
                    plain: false,
                    length: format!(
                        "straight::lengths({name}, {n}, {size}, |at| {}({at}))",
                        length_name(desc)
                    ),
                    put: format!("to.structures({name}, {n}, {size}, |to, at| {}(to, {at}))", put_name(desc)),
                }));
            }
            _ => return Ok(None),
        };
        let put = if of_command_buffers(step) { "to.objects" } else { "to.array" };
        Ok(Some(Array {
            plain: true,
            length: format!("straight::length({name}, {n}, {size})"),
            put: format!("{put}({name}, LENGTH)"),
        }))
    }

    /// Whether there are functions for the structure.
    fn has(&mut self, name: &str) -> Result<bool> {
        if !self.by_name.contains_key(name) {
            // One that leads to itself needs the tables.
            self.by_name.insert(name.to_owned(), None);
            let text = self.functions(name)?;
            self.by_name.insert(name.to_owned(), text);
        }
        Ok(self.by_name[name].is_some())
    }

    /// Whether it depends on the rest of a pipeline what is read of the structure.
    fn is_part(&self, name: &str) -> Result<bool> {
        let depends =
            |step: &Step| matches!(step, Step::Pointer { rule, .. } if rule.starts_with("Rule::Pipeline"));
        let whole = self.model.overlay.hooks.contains_key(name);
        Ok(!whole && lower_struct(self.model, name)?.iter().any(depends))
    }

    /// As [`is_part`](Self::is_part), of what a pointer points to.
    fn needs_parts(&self, step: &Step) -> Result<bool> {
        match step {
            Step::Pointer { elem: Elem::Struct(desc), .. } => self.is_part(desc),
            _ => Ok(false),
        }
    }

    /// What tells whether a structure has a chain that needs the tables, what the rest of its chain takes, and what writes it.
    fn chain(&mut self, name: &str) -> Result<(String, String, String)> {
        let link = LINKS.iter().find(|(owner, _)| *owner == name).map(|(_, link)| *link);
        let Some(link) = link.filter(|link| self.model.record(link).is_some()) else {
            let check = "if straight::has_chain(at) {\nreturn None;\n}\n".to_owned();
            return Ok((check, String::new(), "to.put(NO_CHAIN);\n".to_owned()));
        };
        anyhow::ensure!(self.has(link)?, "{link} cannot be written straight");
        let s_type = s_type(self.model, link)?;
        let at = if self.is_part(link)? { "at, parts" } else { "at" };
        let (length, put) = (length_name(link), put_name(link));
        Ok((
            format!("let link = straight::link_length(at, {s_type}, |at| {length}({at}))?;\n"),
            ".saturating_add(link)".to_owned(),
            format!("to.chain(at, |to, at| {put}(to, {at}));\n"),
        ))
    }

    fn functions(&mut self, name: &str) -> Result<Option<String>> {
        let record = self.model.record(name).context("not a structure")?;
        let (mut checks, mut size, mut puts) = (String::new(), String::new(), String::new());
        let part = self.is_part(name)?;
        let whole = match self.model.overlay.hooks.get(name).map(String::as_str) {
            None => false,
            Some("GraphicsPipeline") => true,
            Some(_) => return Ok(None),
        };
        if whole {
            let parts = "let parts = Hook::GraphicsPipeline.enter(Ctx::default(), at);\n";
            checks.push_str(parts);
            puts.push_str(parts);
        }
        let mut fixed = 0;
        if has_s_type(record) {
            fixed += 4;
            let (check, length, put) = self.chain(name)?;
            checks.push_str(&check);
            size.push_str(&length);
            puts.push_str(&put);
        }
        for step in lower_struct(self.model, name)? {
            if !part && !whole && self.needs_parts(&step)? {
                return Ok(None);
            }
            match &step {
                Step::Bytes { off, len } => {
                    fixed += len;
                    let _ = writeln!(puts, "to.copy::<{len}>(at.add({off}));");
                }
                Step::Handle { off, ty, .. } => {
                    fixed += 8;
                    let put = if ty == "CommandBuffer" { "object" } else { "copy::<8>" };
                    let _ = writeln!(puts, "to.{put}(at.add({off}));");
                }
                Step::Inline { off, count: 1, desc } => {
                    if !self.has(desc)? || self.is_part(desc)? {
                        return Ok(None);
                    }
                    let _ = write!(size, ".saturating_add({}(at.add({off}))?)", length_name(desc));
                    let _ = writeln!(puts, "{}(to, at.add({off}));", put_name(desc));
                }
                Step::Pointer { off, rule, .. } => {
                    fixed += 1;
                    let load = format!("straight::load::<*const c_void>(at, {off})");
                    let Some(pointer) = allowed(rule, &load) else { return Ok(None) };
                    let count = |off: u32, size: &str| {
                        let bits = 8 * size.parse::<u32>()?;
                        Ok(format!("straight::load::<u{bits}>(at, {off}) as usize"))
                    };
                    let Some(array) = self.array(&step, &pointer, &count)? else { return Ok(None) };
                    let length = if array.plain { array.length } else { format!("{}?", array.length) };
                    let _ = write!(size, ".saturating_add({length})");
                    let _ = writeln!(puts, "{};", array.put.replace("LENGTH", &length));
                }
                _ => return Ok(None),
            }
        }
        let (length, put) = (length_name(name), put_name(name));
        let at = |text: &str| if text.contains("at") { "at" } else { "_" };
        let measured = format!("{checks}Some({fixed}usize{size})");
        let (measures, puts_from) = (at(&measured), at(&puts));
        let parts = if part { ", parts: Ctx" } else { "" };
        let measured = if measures == "at" {
            format!("// SAFETY: `at` is such a structure of the application's.\nunsafe {{\n{measured}\n}}")
        } else {
            measured
        };
        Ok(Some(format!(
            "/// Bytes that a `{name}` takes; none when it needs the tables.\n#[inline(always)]\npub(super) unsafe fn {length}({measures}: *const u8{parts}) -> Option<usize> {{\n{measured}\n}}\n\n\
             /// Writes it.\n#[inline(always)]\npub(super) unsafe fn {put}(to: &mut Straight, {puts_from}: *const u8{parts}) {{\n\
             // SAFETY: `at` is such a structure of the application's; there is room for it.\nunsafe {{\n{puts}}}\n}}\n\n"
        )))
    }
}

/// The pointer that `load` loads, null where it may not be followed; none for rules that need the tables.
fn allowed(rule: &str, load: &str) -> Option<String> {
    if rule == "Rule::Always" {
        return Some(load.to_owned());
    }
    if let Some(part) = rule.strip_prefix("Rule::Pipeline").filter(|part| !part.contains(' ')) {
        return Some(format!("straight::only({load}, parts.has(Part::{part}))"));
    }
    let equals = rule.strip_prefix("Rule::FieldEquals { off: ")?.strip_suffix(" }")?;
    let (off, value) = equals.split_once(", value: ")?;
    Some(format!("straight::only({load}, straight::load::<u32>(at, {off}) == {value})"))
}

/// Whether the program's are pointers, behind which the ids are.
pub fn of_command_buffers(step: &Step) -> bool {
    matches!(step, Step::Pointer { elem: Elem::Handle { ty, .. }, .. } if ty == "CommandBuffer")
}

/// The commands that submit command buffers, and their structures: `vkX(queue, count, infos, fence)`.
///
/// # Errors
/// What the registry does not say.
pub fn submissions<'m>(model: &'m Model<'m>) -> Result<Vec<(&'m CommandDecl, String)>> {
    let mut found = Vec::new();
    for c in model.wire_commands() {
        let steps = lower_command(model, c)?;
        if let [
            Step::Handle { off: 0, ty: queue, .. },
            Step::Bytes { off: 8, len: 4 },
            Step::Handle { off: 24, ty: fence, .. },
            Step::Pointer { off: 16, elem: Elem::Struct(info), count, dir: "In", rule },
        ] = steps.as_slice()
            && (queue.as_str(), fence.as_str(), rule.as_str()) == ("Queue", "Fence", "Rule::Always")
            && count_field(count) == Some((8, "4"))
            && c.name.starts_with("vkQueueSubmit")
        {
            found.push((c, info.clone()));
        }
    }
    Ok(found)
}

/// The structure that `c` is given, if it is one of [`Structures::infos`].
fn info_of<'s>(c: &CommandDecl, steps: &'s [Step]) -> Option<&'s str> {
    let one = |count: &str| count == "Count::One";
    match steps {
        [
            Step::Handle { off: 0, .. },
            Step::Pointer { off: 8, elem: Elem::Struct(info), count, dir: "In", rule },
            created @ ..,
        ] => {
            let created = match created {
                [] => c.params.len() == 2,
                [Step::Pointer { off: 24, elem: Elem::Handle { .. }, count, dir: "New", .. }] => one(count),
                _ => false,
            };
            (one(count) && rule == "Rule::Always" && created).then_some(info)
        }
        [
            Step::Handle { off: 0, .. },
            Step::Handle { off: 8, .. },
            Step::Bytes { off: 16, len: 4 },
            Step::Pointer { off: 24, elem: Elem::Struct(info), dir: "In", .. },
            Step::Pointer { off: 40, elem: Elem::Handle { .. }, dir: "New", .. },
        ] => Some(info),
        _ => None,
    }
}

/// The value of a structure's `sType`.
///
/// # Errors
/// What the registry does not say.
pub fn s_type(model: &Model, name: &str) -> Result<i64> {
    let record = model.record(name).context("not a structure")?;
    let s_type = record.members.first().and_then(|m| m.s_type.as_ref()).context("no sType")?;
    model.reg.values.get(s_type).copied().with_context(|| format!("no value {s_type}"))
}

/// Offset, size and divisor of a number that is rounded up.
fn ceil_div(count: &str) -> Option<(u32, &str, u32)> {
    let (off, rest) = count.strip_prefix("Count::CeilDiv { off: ")?.split_once(", size: ")?;
    let (size, by) = rest.strip_suffix(" }")?.split_once(", by: ")?;
    Some((off.parse().ok()?, size, by.parse().ok()?))
}

fn length_name(name: &str) -> String {
    format!("length_{}", AsSnakeCase(name))
}

fn put_name(name: &str) -> String {
    format!("put_{}", AsSnakeCase(name))
}

/// Offset and size of the member or parameter that a count is.
pub fn count_field(count: &str) -> Option<(u32, &str)> {
    let (off, size) = count.strip_prefix("Count::Field { off: ")?.split_once(", size: ")?;
    Some((off.parse().ok()?, size.strip_suffix(" }")?))
}
