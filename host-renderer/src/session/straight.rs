//! Which commands of command buffers are taken without the tables, and what they find the host's handles with.

use vw_wire_protocol::codec::HandleError;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::generated::straight::take;
use vw_wire_protocol::straight::{Host, Pfn, Take};

use super::policy::{Kind, Policies};
use super::tables::Tables;
use crate::gpu::procs::{Entry, Procs};

/// What takes a command's records, and the driver's function for it.
type Taker = (Take<Tables>, Pfn);

/// The takers by opcode.
#[derive(Debug)]
pub struct Straight(Box<[Option<Taker>]>);

impl Straight {
    /// For a device with these commands.
    pub fn new(procs: &Procs, policies: &Policies) -> Self {
        let by_opcode =
            commands::ALL.iter().map(|command| match (policies.of(command).kind, procs.get(command)) {
                (Kind::Plain, Entry::Native(pfn)) => Some((take::<Tables>(command.opcode)?, pfn)),
                _ => None,
            });
        // There is no opcode 0.
        Self(std::iter::once(None).chain(by_opcode).collect())
    }

    /// No command.
    pub fn none() -> Self {
        Self(Box::default())
    }

    /// What takes the records with this opcode; none: the tables.
    #[inline(always)]
    pub fn get(&self, opcode: u16) -> Option<Taker> {
        self.0.get(usize::from(opcode)).copied().flatten()
    }
}

impl Host for Tables {
    #[inline(always)]
    fn handle(&self, device: u16, ty: HandleType, id: u64) -> Result<u64, HandleError> {
        match self.object(ty, id) {
            // An object of one device in a command of another would be the driver's undefined behaviour.
            Some(object) if object.device != device && object.device != 0 => Err(HandleError::Unknown),
            Some(object) if object.poisoned => Err(HandleError::Poisoned),
            Some(object) => Ok(object.raw),
            None => Err(HandleError::Unknown),
        }
    }
}
