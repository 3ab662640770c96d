//! Straight-line recording of commands that have nothing but scalars, handles and flat arrays: the bytes that the
//! tables would write, without walking them.

use std::fmt::Write as _;

use heck::AsSnakeCase;

use super::{raw, static_name};
use crate::lower::{Elem, Step};
use crate::registry::CommandDecl;

/// Statements that record `c` and return; none when some parameter needs the tables.
pub fn body(c: &CommandDecl, steps: &[Step]) -> Option<String> {
    let param = |off: u32| c.params.get(off as usize / 8).map(|p| raw(&p.name));
    let (mut lengths, mut puts) = (String::new(), String::new());
    let mut size = String::new();
    // What has the same size in every record, the command buffer's id first.
    let mut fixed = 8;
    for step in steps {
        match step {
            Step::Handle { off: 0, .. } => {}
            // The program's is a pointer, the id is behind it.
            Step::Handle { ty, .. } if ty == "CommandBuffer" => return None,
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
            Step::Pointer { off, elem, count, dir: "In", rule } if rule == "Rule::Always" => {
                let element = match elem {
                    Elem::Bytes { size, .. } => *size,
                    Elem::Handle { ty, .. } if ty == "CommandBuffer" => return None,
                    Elem::Handle { .. } => 8,
                    _ => return None,
                };
                let count = match count_field(count) {
                    Some(off) => format!("{} as usize", param(off)?),
                    None if count == "Count::One" => "1".to_owned(),
                    None => count.strip_prefix("Count::Const(")?.strip_suffix(')')?.to_owned(),
                };
                let name = param(*off)?;
                let length = format!("{}_length", AsSnakeCase(&name));
                // The byte that says whether there is an array.
                fixed += 1;
                let _ = writeln!(lengths, "let {length} = straight::length({name}, {count}, {element});");
                let _ = write!(size, ".saturating_add({length})");
                let _ = writeln!(puts, "to.array({name}, {length});");
            }
            _ => return None,
        }
    }
    let suffix = if size.is_empty() { "" } else { "usize" };
    let begin =
        format!("straight::begin({}, opcodes::{}, {fixed}{suffix}{size})", param(0)?, static_name(&c.name));
    Some(if puts.is_empty() {
        format!("if {begin}.is_some() {{\nreturn;\n}}\n")
    } else {
        format!("{lengths}if let Some(mut to) = {begin} {{\n{puts}return;\n}}\n")
    })
}

/// Offset of the parameter that a count is.
fn count_field(count: &str) -> Option<u32> {
    count.strip_prefix("Count::Field { off: ")?.split(',').next()?.parse().ok()
}
