//! Function pointers by opcode.

use std::ffi::{CStr, CString};

use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::{Class, Command, Op};

use super::Gpu;

/// Any Vulkan command.
pub type Pfn = unsafe extern "system" fn();

/// The commands that a guest may call on one dispatchable level, by opcode.
#[derive(Debug, Clone)]
pub struct Procs {
    by_opcode: Box<[Entry]>,
}

/// What stands behind an opcode.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    /// Not allowed here, or the driver does not have it.
    Absent,
    /// A command of the driver.
    Native(Pfn),
    /// The null executor's answer.
    Null,
}

impl Procs {
    /// Looks up every command that `allowed` lets through. With `null`, those that the lookup does not have are
    /// answered by the null executor.
    pub fn load(
        allowed: impl Fn(&Command) -> bool,
        lookup: impl Fn(&CStr) -> Option<Pfn>,
        null: bool,
    ) -> Self {
        let mut by_opcode = vec![Entry::Absent; commands::ALL.len() + 1].into_boxed_slice();
        for command in commands::ALL.iter().filter(|command| allowed(command)) {
            let entry = match find(command, &lookup) {
                Some(pfn) => Entry::Native(pfn),
                None if null => Entry::Null,
                None => Entry::Absent,
            };
            if let Some(slot) = by_opcode.get_mut(usize::from(command.opcode)) {
                *slot = entry;
            }
        }
        Self { by_opcode }
    }

    /// The commands of a physical device.
    pub fn of_physical_device(gpu: &Gpu) -> Self {
        let allowed =
            |command: &Command| is_physical_command(command) && gpu.offer.provides(command.provided_by);
        Self::load(allowed, |name| gpu.get_instance_proc(name), gpu.null)
    }

    /// What stands behind `command`.
    #[inline]
    pub fn get(&self, command: &Command) -> Entry {
        self.by_opcode.get(usize::from(command.opcode)).copied().unwrap_or(Entry::Absent)
    }
}

fn is_physical_command(command: &Command) -> bool {
    let first = command
        .params
        .iter()
        .any(|op| matches!(op, Op::Handle { off: 0, ty: HandleType::PhysicalDevice, .. }));
    first && command.class != Class::Local
}

/// The command under its own name, or under that of an extension that it was promoted from: a driver of an older core
/// version has only that one.
fn find(command: &Command, lookup: &impl Fn(&CStr) -> Option<Pfn>) -> Option<Pfn> {
    let names = std::iter::once(&command.name).chain(command.aliases);
    names.copied().find_map(|name| lookup(&CString::new(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_when_only_the_extension_name_is_known_finds_it() {
        unsafe extern "system" fn some() {}
        let lookup = |name: &CStr| (name == c"vkCmdBeginRenderingKHR").then_some(some as Pfn);
        let procs = Procs::load(|_| true, lookup, false);
        assert!(matches!(procs.get(&commands::VK_CMD_BEGIN_RENDERING), Entry::Native(_)));
        assert!(matches!(procs.get(&commands::VK_CMD_END_RENDERING), Entry::Absent));
        let procs = Procs::load(|command| command.name != "vkCmdEndRendering", lookup, true);
        assert!(matches!(procs.get(&commands::VK_CMD_END_RENDERING), Entry::Absent));
        assert!(matches!(procs.get(&commands::VK_CMD_DRAW), Entry::Null));
    }
}
