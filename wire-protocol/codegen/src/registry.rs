//! vk.xml as plain data: only what the generator needs, nothing resolved yet.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use roxmltree::{Document, Node};

/// The registry's contents for `api="vulkan"`.
#[derive(Debug, Default)]
pub struct Registry {
    /// `VK_HEADER_VERSION`.
    pub version: u32,
    /// Types by name, in registry order in `type_order`.
    pub types: HashMap<String, TypeDecl>,
    /// Names of all types in registry order.
    pub type_order: Vec<String>,
    /// Type aliases: alias -> target.
    pub type_aliases: BTreeMap<String, String>,
    /// Commands in registry order.
    pub commands: Vec<CommandDecl>,
    /// Command aliases: alias -> target.
    pub command_aliases: BTreeMap<String, String>,
    /// Values of all enumerants and API constants.
    pub values: HashMap<String, i64>,
    /// Core versions, oldest first.
    pub features: Vec<Feature>,
    /// Extensions supported for Vulkan, in registry order.
    pub extensions: Vec<ExtensionDecl>,
    /// Formats by name.
    pub formats: HashMap<String, FormatDecl>,
}

/// A format.
#[derive(Debug)]
pub struct FormatDecl {
    /// Bytes of one texel block.
    pub block_size: u32,
    /// Width and height of a texel block in texels.
    pub block_extent: [u32; 2],
    /// Names and sizes in bits of its components; compressed ones have no size.
    pub components: Vec<(String, Option<u32>)>,
    /// Planes of a multi-planar format.
    pub planes: Vec<PlaneDecl>,
}

/// A plane of a multi-planar format.
#[derive(Debug)]
pub struct PlaneDecl {
    /// What the image's width and height are divided by.
    pub divisors: [u32; 2],
    /// Name of the format that a texel of the plane has.
    pub compatible: String,
}

/// What a type is.
#[derive(Debug)]
pub enum TypeDecl {
    /// Scalar of so many bytes.
    Scalar(u32),
    /// Handle; true when dispatchable. The second is its `VkObjectType` name.
    Handle(bool, String),
    /// Structure or union.
    Record(Record),
    /// Function pointer, platform type, anything that cannot travel.
    Opaque,
}

/// Structure or union.
#[derive(Debug)]
pub struct Record {
    /// C name.
    pub name: String,
    /// A union rather than a structure.
    pub union: bool,
    /// Only ever returned by the implementation.
    pub returned_only: bool,
    /// Structures whose chain it may stand in.
    pub extends: Vec<String>,
    /// Members in order.
    pub members: Vec<Decl>,
}

/// A member or parameter.
#[derive(Debug, Clone)]
pub struct Decl {
    /// C name.
    pub name: String,
    /// Base type name.
    pub ty: String,
    /// Levels of indirection.
    pub pointers: u8,
    /// The innermost pointee is const.
    pub is_const: bool,
    /// Array dimensions multiplied, `None` for no array.
    pub array: Option<u32>,
    /// Bit-field width.
    pub bits: Option<u32>,
    /// `len` (or `altlen` where that is a formula), split at commas.
    pub len: Vec<String>,
    /// Member that holds the distance between elements.
    pub stride: Option<String>,
    /// `sType` name from `values`.
    pub s_type: Option<String>,
    /// Member that selects an arm of this union.
    pub selector: Option<String>,
    /// Selector values of this arm.
    pub selection: Vec<String>,
}

/// A command.
#[derive(Debug)]
pub struct CommandDecl {
    /// C name.
    pub name: String,
    /// Return type.
    pub ret: String,
    /// Parameters in order.
    pub params: Vec<Decl>,
    /// Names of the errors that it may return.
    pub errors: Vec<String>,
}

/// A core version.
#[derive(Debug)]
pub struct Feature {
    /// Minor version of 1.x.
    pub minor: u32,
    /// What it requires.
    pub requires: Vec<Require>,
}

/// An extension.
#[derive(Debug)]
pub struct ExtensionDecl {
    /// Name.
    pub name: String,
    /// Instance extension.
    pub instance: bool,
    /// Platform, empty for none.
    pub platform: String,
    /// Revision.
    pub spec_version: u32,
    /// Core minor version that it was promoted to.
    pub promoted_minor: Option<u32>,
    /// What it requires.
    pub requires: Vec<Require>,
}

/// A `<require>` block.
#[derive(Debug, Default)]
pub struct Require {
    /// Expression over versions and extensions (`+` and, `,` or), empty for always.
    pub depends: String,
    /// Types.
    pub types: Vec<String>,
    /// Commands.
    pub commands: Vec<String>,
}

/// Reads the registry.
///
/// # Errors
/// The text is not XML, or not a Vulkan registry of the known shape.
pub fn parse(text: &str) -> Result<Registry> {
    let doc = Document::parse_with_options(
        text,
        roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
    )?;
    let root = doc.root_element();
    let mut reg = Registry::default();
    for section in elements(root) {
        match section.tag_name().name() {
            "types" => parse_types(&mut reg, section)?,
            "enums" => parse_enums(&mut reg, section),
            "commands" => parse_commands(&mut reg, section)?,
            "feature" if is_vulkan(section, "api") => parse_feature(&mut reg, section)?,
            "formats" => {
                for node in elements(section) {
                    reg.formats.insert(attr(node, "name"), parse_format(node)?);
                }
            }
            "extensions" => {
                for e in elements(section).filter(|e| is_vulkan(*e, "supported")) {
                    parse_extension(&mut reg, e)?;
                }
            }
            _ => {}
        }
    }
    if reg.version == 0 {
        bail!("no VK_HEADER_VERSION: not a Vulkan registry");
    }
    Ok(reg)
}

fn elements<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    elements(node).find(|n| n.has_tag_name(name))
}

fn attr(node: Node, name: &str) -> String {
    node.attribute(name).unwrap_or_default().to_owned()
}

/// True when the attribute lists `vulkan`, or is absent.
fn is_vulkan(node: Node, attribute: &str) -> bool {
    node.attribute(attribute).is_none_or(|v| v.split(',').any(|a| a == "vulkan"))
}

fn list(node: Node, attribute: &str) -> Vec<String> {
    node.attribute(attribute).map(|v| v.split(',').map(|s| s.trim().to_owned()).collect()).unwrap_or_default()
}

fn full_text(node: Node) -> String {
    node.descendants().filter(Node::is_text).filter_map(|n| n.text()).collect()
}

fn parse_format(node: Node) -> Result<FormatDecl> {
    let name = attr(node, "name");
    let number = |node: Node, attribute: &str| {
        attr(node, attribute).parse().with_context(|| format!("{name} without {attribute}"))
    };
    let mut block_extent = [1, 1];
    for (to, from) in block_extent.iter_mut().zip(list(node, "blockExtent")) {
        *to = from.parse().with_context(|| format!("{name}: blockExtent"))?;
    }
    let named = |kind| elements(node).filter(move |n| n.has_tag_name(kind));
    Ok(FormatDecl {
        block_size: number(node, "blockSize")?,
        block_extent,
        components: named("component").map(|c| (attr(c, "name"), attr(c, "bits").parse().ok())).collect(),
        planes: named("plane")
            .map(|plane| {
                Ok(PlaneDecl {
                    divisors: [number(plane, "widthDivisor")?, number(plane, "heightDivisor")?],
                    compatible: attr(plane, "compatible"),
                })
            })
            .collect::<Result<_>>()?,
    })
}

fn parse_types(reg: &mut Registry, section: Node) -> Result<()> {
    for node in elements(section).filter(|n| n.has_tag_name("type") && is_vulkan(*n, "api")) {
        let name = node
            .attribute("name")
            .map(str::to_owned)
            .or_else(|| child(node, "name").and_then(|n| n.text()).map(str::to_owned))
            .unwrap_or_default();
        let category = node.attribute("category").unwrap_or_default();
        if name == "VK_HEADER_VERSION" {
            let text = full_text(node);
            let number = text.split_whitespace().last().context("VK_HEADER_VERSION without a value")?;
            reg.version = number.parse().context("VK_HEADER_VERSION is not a number")?;
        }
        if let Some(target) = node.attribute("alias") {
            reg.type_aliases.insert(name, target.to_owned());
            continue;
        }
        let decl = match category {
            "basetype" => match name.as_str() {
                "VkDeviceSize" | "VkDeviceAddress" | "VkFlags64" => TypeDecl::Scalar(8),
                "VkBool32" | "VkFlags" | "VkSampleMask" => TypeDecl::Scalar(4),
                _ => TypeDecl::Opaque,
            },
            "bitmask" => TypeDecl::Scalar(if full_text(node).contains("VkFlags64") { 8 } else { 4 }),
            "enum" => TypeDecl::Scalar(4),
            "handle" => {
                let macro_name = child(node, "type").and_then(|n| n.text()).unwrap_or_default();
                TypeDecl::Handle(macro_name == "VK_DEFINE_HANDLE", attr(node, "objtypeenum"))
            }
            "struct" | "union" => TypeDecl::Record(parse_record(node, &name, category == "union")?),
            "" | "funcpointer" => match name.as_str() {
                "char" | "int8_t" | "uint8_t" => TypeDecl::Scalar(1),
                "int16_t" | "uint16_t" => TypeDecl::Scalar(2),
                "int" | "float" | "int32_t" | "uint32_t" => TypeDecl::Scalar(4),
                "double" | "int64_t" | "uint64_t" | "size_t" => TypeDecl::Scalar(8),
                _ => TypeDecl::Opaque,
            },
            _ => continue,
        };
        reg.type_order.push(name.clone());
        reg.types.insert(name, decl);
    }
    Ok(())
}

fn parse_record(node: Node, name: &str, union: bool) -> Result<Record> {
    let members = elements(node)
        .filter(|n| n.has_tag_name("member") && is_vulkan(*n, "api"))
        .map(parse_decl)
        .collect::<Result<Vec<_>>>()
        .with_context(|| format!("in {name}"))?;
    Ok(Record {
        name: name.to_owned(),
        union,
        returned_only: node.attribute("returnedonly") == Some("true"),
        extends: list(node, "structextends"),
        members,
    })
}

/// A C declaration: text and `<type>`, `<name>`, `<enum>` elements.
fn parse_decl(node: Node) -> Result<Decl> {
    let name = child(node, "name").and_then(|n| n.text()).context("declaration without a name")?.to_owned();
    let ty = child(node, "type").and_then(|n| n.text()).context("declaration without a type")?.to_owned();
    let (mut before, mut after, mut seen_name, mut seen_type) = (String::new(), String::new(), false, false);
    let mut prefix = String::new();
    for n in node.children() {
        match n.tag_name().name() {
            "type" => seen_type = true,
            "name" => seen_name = true,
            "comment" => {}
            "enum" => after.push_str(n.text().unwrap_or_default()),
            _ if seen_name => after.push_str(n.text().unwrap_or_default()),
            _ if seen_type => before.push_str(n.text().unwrap_or_default()),
            _ => prefix.push_str(n.text().unwrap_or_default()),
        }
    }
    let mut array = None;
    for part in after.split('[').skip(1) {
        let dim = part.split(']').next().unwrap_or_default().trim();
        let n = dim.parse().unwrap_or_else(|_| constant(dim));
        if n == 0 {
            bail!("{name}: array dimension `{dim}` is not known");
        }
        array = Some(array.unwrap_or(1) * n);
    }
    let bits = after.trim().strip_prefix(':').and_then(|b| b.trim().parse().ok());
    let len = match node.attribute("altlen") {
        Some(alt) => vec![alt.to_owned()],
        None => list(node, "len"),
    };
    Ok(Decl {
        name,
        ty,
        pointers: before.matches('*').count() as u8,
        is_const: prefix.contains("const"),
        array,
        bits,
        len,
        stride: node.attribute("stride").map(str::to_owned),
        s_type: node.attribute("values").map(str::to_owned),
        selector: node.attribute("selector").map(str::to_owned),
        selection: list(node, "selection"),
    })
}

/// API constants that size arrays; their section comes after the types.
fn constant(name: &str) -> u32 {
    match name {
        "VK_UUID_SIZE" | "VK_MAX_GLOBAL_PRIORITY_SIZE" => 16,
        "VK_LUID_SIZE" => 8,
        "VK_MAX_EXTENSION_NAME_SIZE"
        | "VK_MAX_DESCRIPTION_SIZE"
        | "VK_MAX_PHYSICAL_DEVICE_NAME_SIZE"
        | "VK_MAX_DRIVER_NAME_SIZE"
        | "VK_MAX_DRIVER_INFO_SIZE" => 256,
        "VK_MAX_MEMORY_TYPES"
        | "VK_MAX_DEVICE_GROUP_SIZE"
        | "VK_MAX_PIPELINE_BINARY_KEY_SIZE_KHR"
        | "VK_MAX_SHADER_MODULE_IDENTIFIER_SIZE_EXT" => 32,
        "VK_MAX_MEMORY_HEAPS" => 16,
        "VK_MAX_VIDEO_AV1_REFERENCES_PER_FRAME_KHR" => 7,
        _ => 0,
    }
}

fn parse_enums(reg: &mut Registry, section: Node) {
    let wide = section.attribute("bitwidth") == Some("64");
    if wide && let Some(name) = section.attribute("name") {
        reg.types.insert(name.to_owned(), TypeDecl::Scalar(8));
    }
    for e in elements(section).filter(|n| n.has_tag_name("enum")) {
        let name = attr(e, "name");
        if let Some(v) = e.attribute("value").and_then(parse_number) {
            reg.values.insert(name, v);
        } else if let Some(bit) = e.attribute("bitpos").and_then(|b| b.parse::<u32>().ok()) {
            reg.values.insert(name, 1i64 << bit);
        } else if let Some(v) = e.attribute("alias").and_then(|a| reg.values.get(a).copied()) {
            reg.values.insert(name, v);
        }
    }
}

fn parse_number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn parse_commands(reg: &mut Registry, section: Node) -> Result<()> {
    for node in elements(section).filter(|n| n.has_tag_name("command") && is_vulkan(*n, "api")) {
        if let Some(target) = node.attribute("alias") {
            reg.command_aliases.insert(attr(node, "name"), target.to_owned());
            continue;
        }
        let proto = child(node, "proto").context("command without a prototype")?;
        let name = child(proto, "name").and_then(|n| n.text()).context("command without a name")?.to_owned();
        let ret = child(proto, "type").and_then(|n| n.text()).context("command without a type")?.to_owned();
        let params = elements(node)
            .filter(|n| n.has_tag_name("param") && is_vulkan(*n, "api"))
            .map(parse_decl)
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("in {name}"))?;
        reg.commands.push(CommandDecl { name, ret, params, errors: list(node, "errorcodes") });
    }
    Ok(())
}

fn parse_requires(reg: &mut Registry, node: Node, number: i64) -> Vec<Require> {
    let mut out = Vec::new();
    for require in elements(node).filter(|n| n.has_tag_name("require") && is_vulkan(*n, "api")) {
        let mut block = Require { depends: attr(require, "depends"), ..Require::default() };
        for item in elements(require) {
            match item.tag_name().name() {
                "type" => block.types.push(attr(item, "name")),
                "command" => block.commands.push(attr(item, "name")),
                "enum" => parse_extending_enum(reg, item, number),
                _ => {}
            }
        }
        out.push(block);
    }
    out
}

fn parse_extending_enum(reg: &mut Registry, item: Node, number: i64) {
    let name = attr(item, "name");
    let value = if let Some(offset) = item.attribute("offset").and_then(|o| o.parse::<i64>().ok()) {
        let number = item.attribute("extnumber").and_then(|n| n.parse().ok()).unwrap_or(number);
        let value = 1_000_000_000 + (number - 1) * 1000 + offset;
        Some(if item.attribute("dir") == Some("-") { -value } else { value })
    } else if let Some(bit) = item.attribute("bitpos").and_then(|b| b.parse::<u32>().ok()) {
        Some(1i64 << bit)
    } else if let Some(alias) = item.attribute("alias") {
        reg.values.get(alias).copied()
    } else {
        item.attribute("value").and_then(parse_number)
    };
    if let Some(v) = value {
        reg.values.insert(name, v);
    }
}

fn parse_feature(reg: &mut Registry, node: Node) -> Result<()> {
    let number = attr(node, "number");
    let minor = number.strip_prefix("1.").and_then(|m| m.parse().ok()).context("feature number")?;
    let requires = parse_requires(reg, node, 0);
    reg.features.push(Feature { minor, requires });
    Ok(())
}

fn parse_extension(reg: &mut Registry, node: Node) -> Result<()> {
    let name = attr(node, "name");
    let number = attr(node, "number").parse().with_context(|| format!("{name} has no number"))?;
    let requires = parse_requires(reg, node, number);
    let spec_name = format!("{}_SPEC_VERSION", &name.to_ascii_uppercase());
    let spec_version = node
        .descendants()
        .filter(|n| n.has_tag_name("enum"))
        .find(|n| n.attribute("name").is_some_and(|a| a == spec_name || a.ends_with("_SPEC_VERSION")))
        .and_then(|n| n.attribute("value"))
        .and_then(|v| v.parse().ok())
        .unwrap_or(1);
    reg.extensions.push(ExtensionDecl {
        instance: node.attribute("type") == Some("instance"),
        platform: attr(node, "platform"),
        promoted_minor: node
            .attribute("promotedto")
            .and_then(|p| p.strip_prefix("VK_VERSION_1_"))
            .and_then(|m| m.parse().ok()),
        name,
        spec_version,
        requires,
    });
    Ok(())
}
