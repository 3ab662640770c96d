//! The checked intermediate form: which types and commands are covered, who provides them, and their C layout.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, bail};

use crate::overlay::Overlay;
use crate::registry::{CommandDecl, Decl, Record, Registry, Require, TypeDecl};

/// What provides a type or command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// Core 1.x.
    Core(u32),
    /// Extension by name.
    Extension(String),
}

/// The registry seen through the overlay.
pub struct Model<'a> {
    /// The registry.
    pub reg: &'a Registry,
    /// The overlay.
    pub overlay: &'a Overlay,
    /// Providers by type name (aliases resolved).
    pub type_providers: HashMap<String, Vec<Provider>>,
    /// Providers by command name, aliases kept apart.
    pub command_providers: HashMap<String, Vec<Provider>>,
    /// Covered structures, sorted by name.
    pub structs: BTreeSet<String>,
    /// Structure -> structures that may extend it, covered ones only.
    pub extended_by: BTreeMap<String, Vec<String>>,
    /// Structures that are filled by the host.
    pub returned: BTreeSet<String>,
    layouts: HashMap<String, Layout>,
}

/// Size and alignment in bytes under the LP64 C ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// `sizeof`.
    pub size: u32,
    /// `alignof`.
    pub align: u32,
}

/// A member with its place.
pub struct Placed<'a> {
    /// The declaration.
    pub decl: &'a Decl,
    /// Offset in bytes.
    pub off: u32,
    /// Its layout, array dimensions included.
    pub layout: Layout,
}

const POINTER: Layout = Layout { size: 8, align: 8 };

impl<'a> Model<'a> {
    /// Resolves the registry.
    ///
    /// # Errors
    /// A name in the registry or overlay that names nothing.
    pub fn new(reg: &'a Registry, overlay: &'a Overlay) -> Result<Self> {
        let mut model = Model {
            reg,
            overlay,
            type_providers: HashMap::new(),
            command_providers: HashMap::new(),
            structs: BTreeSet::new(),
            extended_by: BTreeMap::new(),
            returned: BTreeSet::new(),
            layouts: HashMap::new(),
        };
        model.collect_providers();
        model.check_overlay()?;
        model.collect_structs()?;
        model.collect_returned();
        Ok(model)
    }

    /// The type that a name stands for.
    pub fn resolve<'s>(&'s self, name: &'s str) -> &'s str {
        let mut name = name;
        while let Some(target) = self.reg.type_aliases.get(name) {
            name = target;
        }
        name
    }

    /// Declaration of a type, aliases resolved.
    ///
    /// # Errors
    /// No such type.
    pub fn decl(&self, name: &str) -> Result<&'a TypeDecl> {
        self.reg.types.get(self.resolve(name)).with_context(|| format!("type {name} is not in the registry"))
    }

    /// The structure of that name.
    pub fn record(&self, name: &str) -> Option<&'a Record> {
        match self.decl(name) {
            Ok(TypeDecl::Record(r)) => Some(r),
            _ => None,
        }
    }

    /// Commands that are covered, in registry order.
    pub fn commands(&self) -> impl Iterator<Item = &'a CommandDecl> + '_ {
        self.reg.commands.iter().filter(|c| {
            !self.overlay.commands.absent.contains_key(&c.name)
                && !self.providers_of_command(&c.name).is_empty()
        })
    }

    /// Providers of a command or of any of its aliases.
    pub fn providers_of_command(&self, name: &str) -> Vec<Provider> {
        let mut out: BTreeSet<_> = self.command_providers.get(name).into_iter().flatten().cloned().collect();
        for (alias, _) in self.reg.command_aliases.iter().filter(|(_, t)| *t == name) {
            out.extend(self.command_providers.get(alias).into_iter().flatten().cloned());
        }
        out.into_iter().collect()
    }

    /// Other names of a command that something provides.
    pub fn aliases_of(&self, name: &str) -> Vec<&str> {
        let all = self.reg.command_aliases.iter().filter(|(_, target)| *target == name);
        all.map(|(alias, _)| alias.as_str())
            .filter(|alias| self.command_providers.contains_key(*alias))
            .collect()
    }

    fn collect_providers(&mut self) {
        let mut types: Vec<(String, Provider)> = Vec::new();
        let mut commands: Vec<(String, Provider)> = Vec::new();
        let mut sources: Vec<(Provider, &[Require])> = Vec::new();
        for f in &self.reg.features {
            sources.push((Provider::Core(f.minor), &f.requires));
        }
        for e in &self.reg.extensions {
            if self.overlay.refusal(&e.name, &e.platform, e.instance).is_none() {
                sources.push((Provider::Extension(e.name.clone()), &e.requires));
            }
        }
        for (provider, requires) in sources {
            for r in requires.iter().filter(|r| self.satisfied(&r.depends)) {
                types.extend(r.types.iter().map(|t| (t.clone(), provider.clone())));
                commands.extend(r.commands.iter().map(|c| (c.clone(), provider.clone())));
            }
        }
        for (t, p) in types {
            let list = self.type_providers.entry(self.resolve(&t).to_owned()).or_default();
            if !list.contains(&p) {
                list.push(p);
            }
        }
        for (c, p) in commands {
            let list = self.command_providers.entry(c).or_default();
            if !list.contains(&p) {
                list.push(p);
            }
        }
    }

    /// Whether a `depends` expression can hold: `+` binds as tightly as `,`, evaluation is left to right, and
    /// every core version can be there.
    fn satisfied(&self, depends: &str) -> bool {
        let mut value = true;
        let mut and = true;
        let mut rest = depends;
        while !rest.is_empty() {
            let (term, after);
            if let Some(inner) = rest.strip_prefix('(') {
                let close = closing(inner);
                term = self.satisfied(&inner[..close]);
                after = &inner[(close + 1).min(inner.len())..];
            } else {
                let end = rest.find(['+', ',']).unwrap_or(rest.len());
                term = self.available(&rest[..end]);
                after = &rest[end..];
            }
            value = if and { value && term } else { value || term };
            and = after.starts_with('+');
            rest = after.get(1..).unwrap_or_default();
        }
        value
    }

    fn available(&self, name: &str) -> bool {
        name.starts_with("VK_VERSION_")
            || self
                .reg
                .extensions
                .iter()
                .any(|e| e.name == name && self.overlay.refusal(&e.name, &e.platform, e.instance).is_none())
    }

    /// Every name in the overlay must name something: a line that does nothing is an error.
    fn check_overlay(&self) -> Result<()> {
        let o = self.overlay;
        for name in o.not_offered.keys().chain(o.guest.keys()) {
            if !self.reg.extensions.iter().any(|e| e.name == *name) {
                bail!("overlay: no extension {name} in the registry");
            }
        }
        let structs = o.skip.keys().chain(o.plain_unions.keys()).chain(o.hooks.keys());
        for name in structs.chain(o.nested_chains.iter().flat_map(|(name, inner)| inner.iter().chain([name])))
        {
            if self.record(name).is_none() {
                bail!("overlay: no structure {name} in the registry");
            }
        }
        for path in o.members.keys() {
            let (owner, member) = path.split_once('.').with_context(|| format!("overlay: {path}"))?;
            if self.overlay.members[path].why.is_empty() {
                bail!("overlay: {path} has no reason");
            }
            let found = match self.record(owner) {
                Some(r) => r.members.iter().any(|m| m.name == member),
                None => self
                    .reg
                    .commands
                    .iter()
                    .any(|c| c.name == owner && c.params.iter().any(|p| p.name == member)),
            };
            if !found {
                bail!("overlay: nothing is called {path}");
            }
        }
        let c = &o.commands;
        for name in
            c.local.iter().chain(c.absent.keys()).chain(&c.hand).chain(&c.send).chain(&c.call).chain(&c.memo)
        {
            if !self.reg.commands.iter().any(|d| d.name == *name) {
                bail!("overlay: no command {name} in the registry");
            }
        }
        Ok(())
    }

    /// Structures reachable from covered commands, and those that extend them.
    fn collect_structs(&mut self) -> Result<()> {
        let mut todo: Vec<String> = Vec::new();
        for c in self.wire_commands() {
            let travelling = c.params.iter().filter(|p| !self.dropped(&c.name, p));
            todo.extend(travelling.map(|p| self.type_of(&c.name, p).to_owned()));
        }
        // Answered from the bulk facts, which are made of these.
        for root in crate::FACT_ROOTS {
            todo.push((*root).to_owned());
        }
        let extending: Vec<(&str, &Record)> = self
            .reg
            .type_order
            .iter()
            .filter(|n| self.type_providers.contains_key(*n) && !self.overlay.skip.contains_key(*n))
            .filter_map(|n| self.record(n).map(|r| (n.as_str(), r)))
            .filter(|(_, r)| !r.extends.is_empty())
            .collect();
        while let Some(name) = todo.pop() {
            let name = self.resolve(&name).to_owned();
            let Some(record) = self.record(&name) else { continue };
            if self.overlay.skip.contains_key(&name) || !self.structs.insert(name.clone()) {
                continue;
            }
            for m in record.members.iter().filter(|m| !self.dropped(&name, m)) {
                todo.push(m.ty.clone());
            }
            for (ext, r) in &extending {
                if r.extends.iter().any(|e| self.resolve(e) == name) {
                    self.extended_by.entry(name.clone()).or_default().push((*ext).to_owned());
                    todo.push((*ext).to_owned());
                }
            }
        }
        for (name, inner) in &self.overlay.nested_chains {
            let mut all = inner.clone();
            all.extend(inner.iter().flat_map(|i| self.extended_by.get(i)).flatten().cloned());
            self.extended_by.entry(name.clone()).or_default().extend(all);
        }
        for name in self.structs.clone() {
            self.layout_of(&name)?;
        }
        Ok(())
    }

    /// Everything that can be reached from an output parameter.
    fn collect_returned(&mut self) {
        let mut todo: Vec<String> = crate::FACT_ROOTS.iter().map(|r| (*r).to_owned()).collect();
        for c in self.commands() {
            let results = c.params.iter().filter(|p| p.pointers == 1 && !p.is_const);
            todo.extend(results.map(|p| self.type_of(&c.name, p).to_owned()));
        }
        todo.extend(self.structs.iter().filter(|s| self.record(s).is_some_and(|r| r.returned_only)).cloned());
        while let Some(name) = todo.pop() {
            let name = self.resolve(&name).to_owned();
            if !self.structs.contains(&name) || !self.returned.insert(name.clone()) {
                continue;
            }
            todo.extend(self.extended_by.get(&name).into_iter().flatten().cloned());
            if let Some(r) = self.record(&name) {
                todo.extend(r.members.iter().map(|m| m.ty.clone()));
            }
        }
    }

    /// Commands that travel, in the registry's order.
    pub fn wire_commands(&self) -> impl Iterator<Item = &CommandDecl> {
        self.commands().filter(|c| !self.is_local(&c.name))
    }

    /// The type of a member or parameter, or of what it points to.
    pub fn type_of<'s>(&'s self, owner: &str, m: &'s Decl) -> &'s str {
        self.overlay.member(owner, &m.name).and_then(|o| o.ty.as_deref()).unwrap_or(&m.ty)
    }

    /// The guest answers it alone.
    pub fn is_local(&self, command: &str) -> bool {
        self.overlay.commands.local.iter().any(|c| c == command)
    }

    /// The member never travels.
    pub fn dropped(&self, owner: &str, m: &Decl) -> bool {
        m.ty == "VkAllocationCallbacks" || self.overlay.member(owner, &m.name).is_some_and(|o| o.drop)
    }

    /// Layout of a type by name.
    ///
    /// # Errors
    /// The type has no known layout.
    pub fn layout_of(&mut self, name: &str) -> Result<Layout> {
        let name = self.resolve(name).to_owned();
        if let Some(l) = self.layouts.get(&name) {
            return Ok(*l);
        }
        let layout = match self.decl(&name)? {
            TypeDecl::Scalar(n) => Layout { size: *n, align: *n },
            TypeDecl::Handle(..) => POINTER,
            TypeDecl::Opaque => match name.as_str() {
                n if n.starts_with("PFN_") => POINTER,
                "VkRemoteAddressNV" => POINTER,
                _ => bail!("type {name} has no known layout"),
            },
            TypeDecl::Record(r) => {
                for m in r.members.iter().filter(|m| m.pointers == 0) {
                    self.layout_of(&m.ty).with_context(|| format!("{name}.{}", m.name))?;
                }
                let placed = self.place(r)?;
                let align = placed.iter().map(|p| p.layout.align).max().unwrap_or(1);
                let end = placed.iter().map(|p| p.off + p.layout.size).max().unwrap_or(0);
                Layout { size: end.next_multiple_of(align), align }
            }
        };
        self.layouts.insert(name, layout);
        Ok(layout)
    }

    /// Layout of a type that has been laid out before.
    ///
    /// # Errors
    /// It has not.
    pub fn layout(&self, name: &str) -> Result<Layout> {
        let name = self.resolve(name);
        if let Some(l) = self.layouts.get(name) {
            return Ok(*l);
        }
        match self.decl(name)? {
            TypeDecl::Scalar(n) => Ok(Layout { size: *n, align: *n }),
            TypeDecl::Handle(..) => Ok(POINTER),
            _ => bail!("type {name} has no known layout"),
        }
    }

    /// The members of a structure with their offsets. Bit-fields share their storage unit: its first member
    /// stands for all of it.
    ///
    /// # Errors
    /// A member's type has no known layout.
    pub fn place(&self, r: &'a Record) -> Result<Vec<Placed<'a>>> {
        let mut out = Vec::new();
        let (mut off, mut bits_left) = (0u32, 0u32);
        for m in &r.members {
            let mut layout = if m.pointers > 0 {
                POINTER
            } else {
                self.layout(&m.ty).with_context(|| format!("{}.{}", r.name, m.name))?
            };
            if let Some(width) = m.bits {
                if width <= bits_left {
                    bits_left -= width;
                    continue;
                }
                bits_left = layout.size * 8 - width;
            } else {
                bits_left = 0;
            }
            layout.size *= m.array.unwrap_or(1);
            let at = if r.union { 0 } else { off.next_multiple_of(layout.align) };
            off = at + layout.size;
            out.push(Placed { decl: m, off: at, layout });
        }
        Ok(out)
    }

    /// Plain data throughout: no padding, pointer, handle or `sType`.
    pub fn is_plain(&self, name: &str) -> bool {
        let name = self.resolve(name);
        match self.decl(name) {
            Ok(TypeDecl::Scalar(_)) => true,
            Ok(TypeDecl::Record(_)) if self.overlay.plain_unions.contains_key(name) => true,
            Ok(TypeDecl::Record(r)) => {
                let simple = r.members.iter().all(|m| {
                    let plain_by_overlay = self.overlay.member(name, &m.name).is_some_and(|o| o.plain);
                    plain_by_overlay
                        || m.pointers == 0
                            && m.s_type.is_none()
                            && self.is_plain(&m.ty)
                            && !self.dropped(name, m)
                });
                let Ok(placed) = self.place(r) else { return false };
                let (Ok(layout), sum) =
                    (self.layout(name), placed.iter().map(|p| p.layout.size).sum::<u32>())
                else {
                    return false;
                };
                simple && (r.union || sum == layout.size)
            }
            _ => false,
        }
    }
}

/// Index of the parenthesis that closes one opened just before `text`.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return i,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}
