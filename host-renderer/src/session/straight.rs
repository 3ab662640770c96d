//! What is executed without the tables: commands of command buffers, creations and destructions.

use vw_wire_protocol::codec::{Arena, HandleError, failed};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::generated::straight::{creation, take};
use vw_wire_protocol::schema::{Command, Op};
use vw_wire_protocol::straight::{Creation, Host, Pfn, Take, Target};

use super::Session;
use super::end::{End, violation};
use super::policy::{Kind, Policies};
use super::resolve::Seen;
use super::tables::Tables;
use crate::gpu::procs::{Entry, Procs};

/// What takes a command's records, and the driver's function for it.
type Taker = (Take<Tables>, Pfn);

/// A command of a device that is executed without the tables.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// `vkCreateX(device, info, allocator, x)`; the kind is plain, [`Kind::Buffer`] or [`Kind::Image`].
    Create(Creation<Tables>, Kind),
    /// `vkDestroyX(device, x, allocator)`.
    Destroy(HandleType),
}

/// A call, its command, and the driver's function for it.
type Caller = (Call, &'static Command, Pfn);

/// What is executed without the tables, by opcode.
#[derive(Debug)]
pub struct Straight {
    takers: Box<[Option<Taker>]>,
    calls: Box<[Option<Caller>]>,
}

impl Straight {
    /// For a device with these commands.
    pub fn new(procs: &Procs, policies: &Policies) -> Self {
        let by_opcode =
            commands::ALL.iter().map(|command| match (policies.of(command).kind, procs.get(command)) {
                (Kind::Plain, Entry::Native(pfn)) => Some((take::<Tables>(command.opcode)?, pfn)),
                _ => None,
            });
        let calls = commands::ALL.iter().map(|command| {
            let Entry::Native(pfn) = procs.get(command) else { return None };
            Some((call(command, policies.of(command).kind)?, *command, pfn))
        });
        // There is no opcode 0.
        Self {
            takers: std::iter::once(None).chain(by_opcode).collect(),
            calls: std::iter::once(None).chain(calls).collect(),
        }
    }

    /// No command.
    pub fn none() -> Self {
        Self { takers: Box::default(), calls: Box::default() }
    }

    /// What takes the records with this opcode; none: the tables.
    #[inline(always)]
    pub fn get(&self, opcode: u16) -> Option<Taker> {
        self.takers.get(usize::from(opcode)).copied().flatten()
    }
}

fn call(command: &Command, kind: Kind) -> Option<Call> {
    match (kind, command.params) {
        (Kind::Plain | Kind::Buffer | Kind::Image, _) => {
            Some(Call::Create(creation::<Tables>(command.opcode)?, kind))
        }
        (
            Kind::Destroy(ty),
            [Op::Handle { off: 0, ty: HandleType::Device, .. }, Op::Handle { off: 8, ty: same, .. }],
        ) if ty == *same && command.param_count == 3 => Some(Call::Destroy(ty)),
        _ => None,
    }
}

impl Session {
    /// Executes a record that is not answered, if it has no need of the tables; false: it was not executed.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    ///
    /// # Safety
    /// `length` bytes at `payload`, a multiple of 8, are readable during the call; the guest may change them.
    pub(super) unsafe fn call_straight(
        &mut self,
        arena: &Arena,
        opcode: u16,
        payload: *const u8,
        length: usize,
    ) -> Result<bool, End> {
        // What comes in parts may be anywhere.
        if length < 2 * size_of::<u64>() || !payload.cast::<u64>().is_aligned() {
            return Ok(false);
        }
        // SAFETY: two words are there, aligned.
        let word = |i: usize| u64::from_le(unsafe { payload.cast::<u64>().add(i).read_volatile() });
        let id = word(0);
        let Some(device) = self.tables.object(HandleType::Device, id).filter(|device| !device.poisoned)
        else {
            return Ok(false);
        };
        let (number, raw) = (device.device, device.raw);
        let Some(Some(device)) = self.devices.get_mut(usize::from(number).wrapping_sub(1)) else {
            return Ok(false);
        };
        let Some((call, command, pfn)) = device.straight.calls.get(usize::from(opcode)).copied().flatten()
        else {
            return Ok(false);
        };
        match call {
            Call::Create(creation, kind) => {
                let mut target = Target::new(&self.tables, number, (id, raw), &mut self.scratch);
                // SAFETY: the caller's promise.
                let taken = unsafe { target.creation(creation, payload, length) };
                let Some((info, new)) =
                    taken.filter(|(_, new)| self.tables.reserve(creation.ty, *new).is_ok())
                else {
                    return Ok(false);
                };
                // SAFETY: the structure was read by its command.
                let declared = unsafe {
                    match kind {
                        Kind::Buffer => device.buffers.declare(&self.gpu, arena, info.cast()),
                        Kind::Image => device.images.declare(&self.gpu, arena, info.cast()),
                        _ => Ok(()),
                    }
                };
                declared.map_err(violation)?;
                let mut created = 0u64;
                let args = [raw, info as u64, 0, (&raw mut created) as u64];
                // SAFETY: the pointer was looked up by the command's name, the info read by its table.
                let ret = unsafe { (command.invoke)(pfn, &args) };
                let seen = Seen { device: number, device_id: id, ..Seen::default() };
                self.note_loss(command, ret, seen);
                let created = if failed(command, ret) { 0 } else { created };
                self.settle_one(command, ret, creation.ty, (new, created), seen, false);
                // SAFETY: as above.
                unsafe {
                    match kind {
                        Kind::Buffer => self.remember_buffer(new, info.cast()),
                        Kind::Image if created != 0 => self.remember_image(new, &*info.cast()),
                        _ => {}
                    }
                }
            }
            Call::Destroy(ty) => {
                let object = word(1);
                let Ok(handle) = self.tables.handle(number, ty, object) else { return Ok(false) };
                if length != 2 * size_of::<u64>() || self.compiling.is_used(ty, object) {
                    return Ok(false);
                }
                self.leaving(ty, object);
                // SAFETY: as above; both objects are live.
                unsafe { (command.invoke)(pfn, &[raw, handle, 0]) };
                self.tables.remove(ty, object);
                self.forgotten(ty, object);
            }
        }
        Ok(true)
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
            // Whatever is being created the tables wait for.
            None if self.is_reserved(ty, id) => Err(HandleError::Poisoned),
            None => Err(HandleError::Unknown),
        }
    }
}
