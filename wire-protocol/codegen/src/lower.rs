//! Members and parameters -> steps of the codec.

use anyhow::{Context, Result, bail};

use crate::model::{Model, Placed};
use crate::overlay::Member;
use crate::registry::{CommandDecl, Decl, Record, TypeDecl};

/// One step; mirrors `schema::Op`.
#[derive(Debug, Clone)]
pub enum Step {
    /// Plain bytes.
    Bytes { off: u32, len: u32 },
    /// Scalar that sizes an array.
    Len { off: u32, size: u32 },
    /// Handle by value.
    Handle { off: u32, ty: String, lenient: bool },
    /// Structures by value.
    Inline { off: u32, count: u32, desc: String },
    /// Pointer.
    Pointer { off: u32, elem: Elem, count: String, dir: &'static str, rule: String },
    /// Union by selector.
    Select { selector: u32, arms: Vec<(Vec<i64>, Vec<Step>)> },
}

/// Element behind a pointer; mirrors `schema::Elem`.
#[derive(Debug, Clone)]
pub enum Elem {
    /// Plain data.
    Bytes { size: u32, align: u32 },
    /// Plain data at a distance that the member at `stride` holds.
    Strided { size: u32, align: u32, stride: u32 },
    /// Handles.
    Handle { ty: String, lenient: bool },
    /// Structures.
    Struct(String),
    /// Array of strings.
    Strings,
    /// Array of pointers.
    Pointers { elem: Box<Elem>, inner: String },
}

/// `VkBuffer` -> `Buffer`.
pub fn handle_name(ty: &str) -> String {
    ty.strip_prefix("Vk").unwrap_or(ty).to_owned()
}

/// Members of the structure or slots of the command that counts may refer to.
struct Scope<'a> {
    owner: &'a str,
    fields: Vec<Placed<'a>>,
    params: bool,
}

impl Scope<'_> {
    fn field(&self, name: &str) -> Result<&Placed<'_>> {
        self.fields
            .iter()
            .find(|p| p.decl.name == name)
            .with_context(|| format!("{}: no member {name}", self.owner))
    }
}

/// Steps of a structure, plain data first.
///
/// # Errors
/// A member that cannot travel and that the overlay does not explain.
pub fn lower_struct(model: &Model, name: &str) -> Result<Vec<Step>> {
    let record = model.record(name).with_context(|| format!("{name} is not a structure"))?;
    let scope = Scope { owner: name, fields: model.place(record)?, params: false };
    let mut steps = Vec::new();
    for placed in &scope.fields {
        let m = placed.decl;
        if m.s_type.is_some() || (m.name == "pNext" && has_s_type(record)) || model.dropped(name, m) {
            continue;
        }
        steps.extend(lower_field(model, &scope, placed).with_context(|| format!("{name}.{}", m.name))?);
    }
    Ok(arrange(steps))
}

/// Steps of a command's parameters in 8-byte slots.
///
/// # Errors
/// As [`lower_struct`].
pub fn lower_command(model: &Model, c: &CommandDecl) -> Result<Vec<Step>> {
    let mut fields = Vec::new();
    for (i, p) in c.params.iter().enumerate() {
        let by_pointer = p.pointers > 0 || p.array.is_some();
        let mut layout = crate::model::Layout { size: 8, align: 8 };
        if !by_pointer {
            layout = model.layout(&p.ty).with_context(|| format!("{}.{}", c.name, p.name))?;
        }
        fields.push(Placed { decl: p, off: 8 * i as u32, layout });
    }
    let scope = Scope { owner: &c.name, fields, params: true };
    let mut steps = Vec::new();
    for placed in &scope.fields {
        if model.dropped(&c.name, placed.decl) {
            continue;
        }
        steps.extend(
            lower_field(model, &scope, placed).with_context(|| format!("{}.{}", c.name, placed.decl.name))?,
        );
    }
    Ok(arrange(steps))
}

/// True when the structure starts with `sType`.
pub fn has_s_type(r: &Record) -> bool {
    r.members.first().is_some_and(|m| m.s_type.is_some())
}

/// Plain data first, neighbouring bytes joined, then selects and pointers.
fn arrange(steps: Vec<Step>) -> Vec<Step> {
    let (late, early): (Vec<_>, Vec<_>) =
        steps.into_iter().partition(|s| matches!(s, Step::Pointer { .. } | Step::Select { .. }));
    let mut out: Vec<Step> = Vec::new();
    for s in early {
        if let (Some(Step::Bytes { off, len }), Step::Bytes { off: next, len: more }) = (out.last_mut(), &s)
            && *off + *len == *next
        {
            *len += more;
            continue;
        }
        out.push(s);
    }
    out.extend(late);
    out
}

fn lower_field(model: &Model, scope: &Scope, placed: &Placed) -> Result<Vec<Step>> {
    let m = placed.decl;
    let exception = model.overlay.member(scope.owner, &m.name).cloned().unwrap_or_default();
    if exception.plain {
        return Ok(vec![Step::Bytes { off: placed.off, len: placed.layout.size }]);
    }
    if m.pointers > 0 || (scope.params && m.array.is_some()) {
        return Ok(vec![lower_pointer(model, scope, placed, &exception)?]);
    }
    let off = placed.off;
    let count = m.array.unwrap_or(1);
    match model.decl(&m.ty)? {
        TypeDecl::Scalar(size) => {
            if count == 1
                && !scope.params
                && model.returned.contains(scope.owner)
                && sizes_an_array(scope, &m.name)
            {
                return Ok(vec![Step::Len { off, size: *size }]);
            }
            Ok(vec![Step::Bytes { off, len: placed.layout.size }])
        }
        TypeDecl::Handle(..) => Ok((0..count)
            .map(|i| Step::Handle {
                off: off + 8 * i,
                ty: handle_name(model.resolve(&m.ty)),
                lenient: exception.lenient,
            })
            .collect()),
        TypeDecl::Record(_) if model.is_plain(&m.ty) => {
            Ok(vec![Step::Bytes { off, len: placed.layout.size }])
        }
        TypeDecl::Record(r) if r.union => lower_union(model, scope, placed, r),
        TypeDecl::Record(_) => Ok(vec![Step::Inline { off, count, desc: model.resolve(&m.ty).to_owned() }]),
        TypeDecl::Opaque => bail!("type {} cannot travel; say in the overlay what to do", m.ty),
    }
}

fn sizes_an_array(scope: &Scope, name: &str) -> bool {
    scope
        .fields
        .iter()
        .any(|p| p.decl.len.first().is_some_and(|l| l == name || l.starts_with(&format!("{name} "))))
}

fn lower_union(model: &Model, scope: &Scope, placed: &Placed, union: &Record) -> Result<Vec<Step>> {
    let selector = placed.decl.selector.as_deref().context("union with pointers but without a selector")?;
    let selector = scope.field(selector)?.off;
    let inner = Scope { owner: &union.name, fields: model.place(union)?, params: false };
    let mut arms = Vec::new();
    for arm in &inner.fields {
        let values = arm
            .decl
            .selection
            .iter()
            .map(|s| model.reg.values.get(s).copied().with_context(|| format!("no value {s}")))
            .collect::<Result<Vec<_>>>()?;
        if values.is_empty() {
            bail!("{}.{}: arm without a selection", union.name, arm.decl.name);
        }
        let moved = Placed { decl: arm.decl, off: placed.off + arm.off, layout: arm.layout };
        arms.push((values, lower_field(model, &inner, &moved)?));
    }
    Ok(vec![Step::Select { selector, arms }])
}

fn lower_pointer(model: &Model, scope: &Scope, placed: &Placed, exception: &Member) -> Result<Step> {
    let m = placed.decl;
    let mut lens = m.len.clone();
    if let Some(l) = &exception.len {
        lens = l.split(',').map(str::to_owned).collect();
    }
    let count = match (m.array, m.pointers) {
        (Some(n), 0) => format!("Count::Const({n})"),
        _ => count(model, scope, lens.first().map(String::as_str))?,
    };
    let depth = if m.array.is_some() { m.pointers + 1 } else { m.pointers };
    let elem = match depth {
        1 => match (element(model, model.type_of(scope.owner, m), !lens.is_empty(), exception)?, &m.stride) {
            (Elem::Bytes { size, align }, Some(stride)) => {
                Elem::Strided { size, align, stride: scope.field(stride)?.off }
            }
            (_, Some(_)) => bail!("a stride of something that is no plain data"),
            (elem, None) => elem,
        },
        2 if m.ty == "char" => Elem::Strings,
        2 => Elem::Pointers {
            elem: Box::new(element(model, &m.ty, false, exception)?),
            inner: inner_count(model, scope, lens.get(1).map(String::as_str))?,
        },
        n => bail!("{n} levels of indirection"),
    };
    let dir = match &exception.dir {
        Some(d) => leak_dir(d)?,
        None => direction(model, scope, m, &elem)?,
    };
    let rule = match &exception.rule {
        Some(r) => rule_text(scope, r)?,
        None => "Rule::Always".to_owned(),
    };
    Ok(Step::Pointer { off: placed.off, elem, count, dir, rule })
}

fn leak_dir(name: &str) -> Result<&'static str> {
    Ok(match name {
        "In" => "In",
        "Out" => "Out",
        "InOut" => "InOut",
        "New" => "New",
        _ => bail!("no direction {name}"),
    })
}

fn direction(model: &Model, scope: &Scope, m: &Decl, elem: &Elem) -> Result<&'static str> {
    if !scope.params {
        if !m.is_const && !model.returned.contains(scope.owner) && !matches!(elem, Elem::Strings) {
            bail!("a result inside an input structure; say so in the overlay");
        }
        return Ok("In");
    }
    if m.is_const {
        return Ok("In");
    }
    let creates = ["vkCreate", "vkAllocate"].iter().any(|p| scope.owner.starts_with(p));
    if matches!(elem, Elem::Handle { .. }) {
        if !creates {
            bail!("handles as a result of a command that does not create");
        }
        return Ok("New");
    }
    let is_count = scope.fields.iter().any(|p| p.decl.len.first() == Some(&m.name));
    Ok(if is_count { "InOut" } else { "Out" })
}

/// `@name` in a rule stands for the offset of that member.
fn rule_text(scope: &Scope, rule: &str) -> Result<String> {
    let mut out = String::from("Rule::");
    let mut rest = rule;
    while let Some(at) = rest.find('@') {
        let end = rest[at + 1..].find(|c: char| !c.is_alphanumeric()).map_or(rest.len(), |e| at + 1 + e);
        out.push_str(&rest[..at]);
        out.push_str(&scope.field(&rest[at + 1..end])?.off.to_string());
        rest = &rest[end..];
    }
    out.push_str(rest);
    Ok(out)
}

fn element(model: &Model, ty: &str, sized: bool, exception: &Member) -> Result<Elem> {
    if ty == "void" {
        if !sized {
            bail!("a void pointer without a length");
        }
        return Ok(Elem::Bytes { size: 1, align: 1 });
    }
    Ok(match model.decl(ty)? {
        TypeDecl::Handle(..) => {
            Elem::Handle { ty: handle_name(model.resolve(ty)), lenient: exception.lenient }
        }
        _ if model.is_plain(ty) => {
            let l = model.layout(ty)?;
            Elem::Bytes { size: l.size, align: l.align }
        }
        TypeDecl::Record(r) if !r.union => {
            let name = model.resolve(ty);
            if model.overlay.skip.contains_key(name) {
                bail!("points to {name}, which the overlay skips");
            }
            Elem::Struct(name.to_owned())
        }
        _ => bail!("type {ty} cannot travel; say in the overlay what to do"),
    })
}

fn count(model: &Model, scope: &Scope, len: Option<&str>) -> Result<String> {
    let Some(len) = len else { return Ok("Count::One".to_owned()) };
    if len == "null-terminated" {
        return Ok("Count::Terminated".to_owned());
    }
    if let Ok(n) = len.parse::<u32>() {
        return Ok(if n == 1 { "Count::One".to_owned() } else { format!("Count::Const({n})") });
    }
    if len == "2*VK_UUID_SIZE" {
        return Ok("Count::Const(32)".to_owned());
    }
    if let Some((owner, path)) = len.split_once('.') {
        return count_of_param(model, owner, path);
    }
    if let Some((pointer, field)) = len.split_once("->") {
        let p = scope.field(pointer)?;
        let r = model.record(&p.decl.ty).context("path through something that is no structure")?;
        let placed = model.place(r)?;
        let f = placed.iter().find(|f| f.decl.name == field).with_context(|| format!("no member {field}"))?;
        return Ok(format!("Count::Path {{ off: {}, field: {} }}", p.off, f.off));
    }
    if let Some(name) = len.strip_suffix(" / 4") {
        let f = scope.field(name)?;
        return Ok(format!("Count::Div {{ off: {}, size: {}, by: 4 }}", f.off, f.layout.size));
    }
    if let Some(name) = len.strip_prefix('(').and_then(|l| l.strip_suffix(" + 31) / 32")) {
        let f = scope.field(name)?;
        return Ok(format!("Count::CeilDiv {{ off: {}, size: {}, by: 32 }}", f.off, f.layout.size));
    }
    let f = scope.field(len)?;
    if f.decl.pointers > 0 {
        let size = model.layout(&f.decl.ty)?.size;
        return Ok(format!("Count::Deref {{ off: {}, size: {size} }}", f.off));
    }
    Ok(format!("Count::Field {{ off: {}, size: {} }}", f.off, f.layout.size))
}

/// `param->member` of a command, in a structure that only this command has.
fn count_of_param(model: &Model, command: &str, path: &str) -> Result<String> {
    let command = model.reg.commands.iter().find(|c| c.name == command).context("no such command")?;
    let (param, field) = path.split_once("->").context("no path through a parameter")?;
    let at = command.params.iter().position(|p| p.name == param).context("no such parameter")?;
    let r = model.record(&command.params[at].ty).context("path through something that is no structure")?;
    let placed = model.place(r)?;
    let f = placed.iter().find(|f| f.decl.name == field).with_context(|| format!("no member {field}"))?;
    Ok(format!("Count::Param {{ slot: {}, field: {}, size: {} }}", 8 * at, f.off, f.layout.size))
}

fn inner_count(model: &Model, scope: &Scope, len: Option<&str>) -> Result<String> {
    let Some(len) = len else { bail!("array of pointers without an inner length; name it in the overlay") };
    if len == "1" {
        return Ok("Inner::One".to_owned());
    }
    let (array, field) = len.split_once("[].").with_context(|| format!("inner length {len}"))?;
    let a = scope.field(array)?;
    let r = model.record(&a.decl.ty).context("inner length through something that is no structure")?;
    let placed = model.place(r)?;
    let f = placed.iter().find(|f| f.decl.name == field).with_context(|| format!("no member {field}"))?;
    let stride = model.layout(&a.decl.ty)?.size;
    Ok(format!("Inner::OfElement {{ array: {}, stride: {stride}, field: {} }}", a.off, f.off))
}
