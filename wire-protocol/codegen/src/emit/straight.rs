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
    let count = |off: u32, _: &str| Ok(format!("{} as usize", param(off)?));
    let mut puts = Puts::default();
    // Of flat arrays the lengths are known before: then room is asked for once. The command buffer's id is first.
    let (mut flat, mut lengths, mut size, mut fixed) = (String::new(), String::new(), String::new(), 8);
    let mut measured = true;
    for step in steps {
        match step {
            Step::Handle { off: 0, .. } => {}
            // The program's is a pointer, the id is behind it.
            Step::Handle { ty, .. } if ty == "CommandBuffer" => return Ok(None),
            // Neighbours may have been joined: they fill their slots.
            Step::Handle { off, .. } | Step::Bytes { off, .. } => {
                let len = if let Step::Bytes { len, .. } = step { *len } else { 8 };
                fixed += len;
                puts.fixed(len, "");
                for slot in (*off..off + len).step_by(8) {
                    let put = format!("to.put({});", param(slot)?);
                    puts.fixed(0, &put);
                    let _ = writeln!(flat, "{put}");
                }
            }
            Step::Pointer { off, elem, count: number, rule, .. } if rule == "Rule::Always" => {
                let name = param(*off)?;
                if of_command_buffers(step) || structures.needs_parts(step)? {
                    return Ok(None);
                }
                let Some(put) = structures.array(step, &name, &count)? else { return Ok(None) };
                puts.other(&format!("{put}?;"));
                fixed += 1;
                match (elements(number, &count)?, elem) {
                    (Some(n), Elem::Bytes { .. } | Elem::Handle { .. }) => {
                        let each = if let Elem::Bytes { size, .. } = elem { *size } else { 8 };
                        let length = format!("{}_length", AsSnakeCase(&name));
                        let _ = writeln!(lengths, "let {length} = straight::length({name}, {n}, {each});");
                        let _ = write!(size, ".saturating_add({length})");
                        let _ = writeln!(flat, "to.flat({name}, {length});");
                    }
                    _ => measured = false,
                }
            }
            _ => return Ok(None),
        }
    }
    let (object, opcode) = (param(0)?, static_name(&c.name));
    if measured {
        let suffix = if size.is_empty() { "" } else { "usize" };
        let begin = format!("straight::begin({object}, opcodes::{opcode}, {fixed}{suffix}{size})");
        return Ok(Some(if flat.is_empty() {
            format!("if {begin}.is_some() {{\nreturn;\n}}\n")
        } else {
            format!("{lengths}if let Some(mut to) = {begin} {{\n{flat}return;\n}}\n")
        }));
    }
    let puts = puts.finish();
    Ok(Some(format!(
        "let put = |to: &mut Straight| {{\n{puts}Some(())\n}};\n\
         if straight::record({object}, opcodes::{opcode}, put).is_some() {{\nreturn;\n}}\n",
    )))
}

/// An expression for the number of an array's elements; none where the tables are needed.
fn elements(number: &str, count: &dyn Fn(u32, &str) -> Result<String>) -> Result<Option<String>> {
    Ok(match count_field(number) {
        Some((off, size)) => Some(count(off, size)?),
        None if number == "Count::One" => Some("1".to_owned()),
        None if number.starts_with("Count::CeilDiv") => match ceil_div(number) {
            Some((off, size, by)) => Some(format!("({}).div_ceil({by})", count(off, size)?)),
            None => None,
        },
        None => number.strip_prefix("Count::Const(").and_then(|n| n.strip_suffix(')')).map(str::to_owned),
    })
}

/// The one structure that may stand in the chain of another where that is written straight: what most of today's programs put
/// there.
pub const LINKS: [(&str, &str); 2] = [
    ("VkGraphicsPipelineCreateInfo", "VkPipelineRenderingCreateInfo"),
    ("VkSubmitInfo", "VkTimelineSemaphoreSubmitInfo"),
];

/// Statements that write a record, or a part of one: room is asked for once for what follows each other and always has the
/// same size.
#[derive(Default)]
struct Puts {
    text: String,
    /// What follows, and its bytes.
    run: String,
    bytes: u32,
}

impl Puts {
    /// Adds what writes `bytes` bytes whatever the program says.
    fn fixed(&mut self, bytes: u32, put: &str) {
        self.bytes += bytes;
        if !put.is_empty() {
            let _ = writeln!(self.run, "{put}");
        }
    }

    /// Adds what asks for room itself.
    fn other(&mut self, put: &str) {
        self.end_run();
        let _ = writeln!(self.text, "{put}");
    }

    fn end_run(&mut self) {
        if self.bytes > 0 {
            let _ = writeln!(self.text, "to.need({})?;", self.bytes);
        }
        self.text.push_str(&std::mem::take(&mut self.run));
        self.bytes = 0;
    }

    fn finish(mut self) -> String {
        self.end_run();
        self.text
    }
}

/// Functions that write a structure each.
pub struct Structures<'m> {
    model: &'m Model<'m>,
    /// None for those that need the tables.
    by_name: BTreeMap<String, Option<String>>,
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
                let size = self.model.layout(info)?.size;
                let _ = writeln!(arms, "opcodes::{} => ({size}, {}),", static_name(&c.name), put_name(info));
            }
        }
        Ok(format!(
            "/// Size of the structure of the command with this opcode, `vkCreateX(device, info, allocator, x)`, `vkX(object, info)` or\n\
             /// `vkCreateXPipelines(device, cache, count, infos, allocator, pipelines)`, and what writes it; none when it needs the tables.\n\
             pub(crate) fn info(opcode: u16) -> Option<(usize, Put)> {{\nSome(match opcode {{\n{arms}_ => return None,\n}})\n}}\n\n"
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
                let size = self.model.layout(&info)?.size;
                let _ = writeln!(arms, "opcodes::{} => ({size}, {}),", static_name(&c.name), put_name(&info));
            }
        }
        Ok(format!(
            "/// Size of each structure of the submission with this opcode, `vkX(queue, count, infos, fence)`, and what writes it; none\n\
             /// for other commands.\n\
             #[inline(always)]\npub(crate) fn submission(opcode: u16) -> Option<(usize, Put)> {{\nSome(match opcode {{\n{arms}_ => return None,\n}})\n}}\n\n"
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

    /// Writes what stands behind the pointer `name`; `count` makes an expression of the number at an offset.
    fn array(
        &mut self,
        step: &Step,
        name: &str,
        count: &dyn Fn(u32, &str) -> Result<String>,
    ) -> Result<Option<String>> {
        let Step::Pointer { elem, count: number, dir: "In", .. } = step else { return Ok(None) };
        if number == "Count::Terminated" {
            return Ok(Some(format!("to.string({name})")));
        }
        let Some(n) = elements(number, count)? else { return Ok(None) };
        Ok(Some(match elem {
            Elem::Bytes { size, .. } => format!("to.array({name}, {n}, {size})"),
            Elem::Handle { .. } if of_command_buffers(step) => format!("to.objects({name}, {n})"),
            Elem::Handle { .. } => format!("to.array({name}, {n}, 8)"),
            Elem::Struct(desc) if self.has(desc)? => {
                let size = self.model.layout(desc)?.size;
                let at = if self.is_part(desc)? { "at, parts" } else { "at" };
                let put = format!("|to, at| {}(to, {at})", put_name(desc));
                if n == "1" {
                    format!("to.structure({name}, {put})")
                } else {
                    format!("to.structures({name}, {n}, {size}, {put})")
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Whether there is a function for the structure.
    fn has(&mut self, name: &str) -> Result<bool> {
        if !self.by_name.contains_key(name) {
            // One that leads to itself needs the tables.
            self.by_name.insert(name.to_owned(), None);
            let text = self.function(name)?;
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

    /// Writes the one link that a structure may have in its chain, and the chain's end; none when it may have none.
    fn chain(&mut self, name: &str) -> Result<Option<String>> {
        let link = LINKS.iter().find(|(owner, _)| *owner == name).map(|(_, link)| *link);
        let Some(link) = link.filter(|link| self.model.record(link).is_some()) else { return Ok(None) };
        anyhow::ensure!(self.has(link)?, "{link} cannot be written straight");
        let s_type = s_type(self.model, link)?;
        let at = if self.is_part(link)? { "at, parts" } else { "at" };
        Ok(Some(format!("to.chain(at, {s_type}, |to, at| {}(to, {at}))?;", put_name(link))))
    }

    fn function(&mut self, name: &str) -> Result<Option<String>> {
        let record = self.model.record(name).context("not a structure")?;
        let mut puts = Puts::default();
        let part = self.is_part(name)?;
        let whole = match self.model.overlay.hooks.get(name).map(String::as_str) {
            None => false,
            Some("GraphicsPipeline") => true,
            Some(_) => return Ok(None),
        };
        if whole {
            puts.other("let parts = Hook::GraphicsPipeline.enter(Ctx::default(), at);");
        }
        if has_s_type(record) {
            match self.chain(name)? {
                Some(chain) => puts.other(&chain),
                None => puts.fixed(4, "to.no_chain(at)?;"),
            }
        }
        for step in lower_struct(self.model, name)? {
            if !part && !whole && self.needs_parts(&step)? {
                return Ok(None);
            }
            match &step {
                Step::Bytes { off, len } => puts.fixed(*len, &format!("to.copy::<{len}>(at.add({off}));")),
                Step::Handle { off, ty, .. } => {
                    let put = if ty == "CommandBuffer" { "object" } else { "copy::<8>" };
                    puts.fixed(8, &format!("to.{put}(at.add({off}));"));
                }
                Step::Inline { off, count: 1, desc } => {
                    if !self.has(desc)? || self.is_part(desc)? {
                        return Ok(None);
                    }
                    puts.other(&format!("{}(to, at.add({off}))?;", put_name(desc)));
                }
                Step::Pointer { off, rule, .. } => {
                    let load = format!("straight::load::<*const c_void>(at, {off})");
                    let Some(pointer) = allowed(rule, &load) else { return Ok(None) };
                    let count = |off: u32, size: &str| {
                        let bits = 8 * size.parse::<u32>()?;
                        Ok(format!("straight::load::<u{bits}>(at, {off}) as usize"))
                    };
                    let Some(put) = self.array(&step, &pointer, &count)? else { return Ok(None) };
                    puts.other(&format!("{put}?;"));
                }
                _ => return Ok(None),
            }
        }
        let parts = if part { ", parts: Ctx" } else { "" };
        Ok(Some(format!(
            "/// Writes a `{name}`; none when it needs the tables.\n#[inline(always)]\n\
             pub(super) unsafe fn {}(to: &mut Straight, at: *const u8{parts}) -> Option<()> {{\n\
             // SAFETY: `at` is such a structure of the application's; there is room for what is put.\n\
             unsafe {{\n{}}}\nSome(())\n}}\n\n",
            put_name(name),
            puts.finish()
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

fn put_name(name: &str) -> String {
    format!("put_{}", AsSnakeCase(name))
}

/// Offset and size of the member or parameter that a count is.
pub fn count_field(count: &str) -> Option<(u32, &str)> {
    let (off, size) = count.strip_prefix("Count::Field { off: ")?.split_once(", size: ")?;
    Some((off.parse().ok()?, size.strip_suffix(" }")?))
}
