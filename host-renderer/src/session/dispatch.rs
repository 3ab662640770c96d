//! From a command's record to the driver's function and back.

use vw_wire_protocol::codec::{Arena, NewHandles, Reader, Request, decode_request, encode_reply, failed};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{FLAG_REPLY, FLAG_WATCH, lost};
use vw_wire_protocol::schema::{Class, Command, Op, Ret};

use ash::vk;

use super::end::{End, violation};
use super::policy::Kind;
use super::resolve::{Resolver, Seen};
use super::tables::Object;
use super::{Decoded, Session};
use crate::gpu::procs::{Entry, Procs};
use crate::null;
use crate::object::command_buffer::State;
use crate::object::pipeline::{drop_ignored_attachments, synchronise};
use crate::object::pool::child_type;
use crate::object::semaphore::Shares;

/// Index of `pInfo` or `pCreateInfo` among the arguments of commands that create or ask about one object.
const INFO: usize = 1;

impl Session {
    /// A record of one Vulkan command, with its header's flags.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(super) fn command(
        &mut self,
        arena: &mut Arena,
        opcode: u16,
        flags: u16,
        reader: Reader<'_>,
    ) -> Result<(), End> {
        let waits = flags & FLAG_REPLY != 0;
        let command =
            commands::by_opcode(opcode).ok_or_else(|| violation(format!("unknown opcode {opcode:#x}")))?;
        let policy = self.policies.of(command);
        if let Kind::Refused(reason) = policy.kind {
            return Err(violation(format!("{} is not taken from guests: {reason}", command.name)));
        }
        if command.class == Class::Record {
            return Err(violation(format!("{} outside of a command buffer's stream", command.name)));
        }
        let kind = policy.kind;
        let Decoded { request, seen } = match kind {
            Kind::Plain | Kind::Buffer | Kind::Image => self.decode(arena, command, reader)?,
            _ => self.decode_listing(arena, command, reader)?,
        };
        let missing =
            (0..request.args.len()).find(|slot| policy.required & 1 << slot != 0 && request.args[*slot] == 0);
        if let Some(slot) = missing {
            return Err(violation(format!("{}: parameter {slot} is null", command.name)));
        }
        if policy.physical {
            // SAFETY: the request was decoded for this command, and no required pointer is null.
            let ret = unsafe { self.ask_physical(command, &request)? };
            return self.conclude(command, &request, ret, seen, waits);
        }
        let mut call = request.poisoned.is_none();
        // Ranges of the window that the command may write, though no memory of the guest's is there.
        let mut written = Vec::new();
        match kind {
            Kind::Submit => {
                return self.submit(command, &request, seen, flags & FLAG_WATCH != 0, Shares::default());
            }
            Kind::DestroyDevice => {
                self.destroy_device(seen.device);
                return Ok(());
            }
            Kind::Buffer | Kind::Image => self.declare_external(arena, command, kind, &request, seen)?,
            Kind::Pipelines => {
                if command.opcode == commands::VK_CREATE_GRAPHICS_PIPELINES.opcode {
                    // SAFETY: decoded by their table: as many structures as the count says.
                    unsafe { drop_ignored_attachments(request.args[3] as *mut _, request.args[2] as u32) };
                }
                if call && !waits && self.perf.pipeline_pool {
                    // SAFETY: what it borrows of the arena goes with it, before the arena is used again; it was decoded
                    // for this command.
                    unsafe {
                        let request = std::mem::transmute::<Request<'_>, Request<'static>>(request);
                        return self.compile(arena, command, request, seen);
                    }
                }
            }
            // SAFETY: a required pointer, so it is the structure that the table says.
            Kind::PipelineCache => unsafe { synchronise(request.args[INFO] as *mut _) },
            Kind::PipelineUse => self.compiling.settle_users(&mut self.tables, &self.touched),
            Kind::Destroy(ty) if call && self.named(ty).is_some_and(|id| self.compiling.is_used(ty, id)) => {
                return self.destroy_later(command, &request, ty, seen);
            }
            Kind::FreeChildren(ty) => {
                self.forget_children(ty, seen)?;
                call |= spare_poisoned(command, &request);
            }
            // SAFETY: decoded by its table, listing.
            Kind::Bind if call => unsafe { self.check_binding(command, &request, seen)? },
            Kind::Bind => self.leave_unbound(command.name, seen)?,
            Kind::HostCopy if call => written = self.place_texels(seen.device, &request)?,
            Kind::ConvertMatrix if call => written.extend(self.place_matrices(seen.device, &request)?),
            Kind::HostImageCopy if call => self.check_image_copy(&request)?,
            Kind::Begin if call => self.reset_unfinished(&request, seen)?,
            // What was never begun, or not replayed whole, cannot be ended.
            Kind::End => {
                call &= self.named(HandleType::CommandBuffer).is_some_and(|id| self.buffers.can_end(id));
            }
            _ => {}
        }
        if kind == Kind::Label {
            call &= !matches!(self.device(seen.device)?.procs.get(command), Entry::Absent);
        }
        if kind.changes_memory() || releases(command) {
            self.window.take();
        }
        if let Kind::Destroy(ty) = kind
            && let Some(id) = self.named(ty)
        {
            self.leaving(ty, id);
        }
        let ret = if call {
            let device = self.device(seen.device)?;
            // SAFETY: the request was decoded for this command.
            unsafe { self.call(&device.procs, command, &request)? }
        } else {
            self.dropped(command, &request)
        };
        if command.opcode == commands::VK_CREATE_IMAGE.opcode && call {
            for (id, _) in request.new.iter().flat_map(NewHandles::created).filter(|(_, raw)| *raw != 0) {
                // SAFETY: the policy requires the structure, which was decoded by its table.
                self.remember_image(id, unsafe { &*(request.args[INFO] as *const _) });
            }
        }
        if command.opcode == commands::VK_CREATE_BUFFER.opcode
            && let Some(id) = request.new.iter().next().and_then(|new| new.ids.first())
        {
            // SAFETY: decoded by the command's table.
            unsafe { self.remember_buffer(*id, request.args[INFO] as *const _) };
        }
        self.after(kind, command, call, ret, seen);
        if kind.changes_memory() || is_set(command, ret) || !written.is_empty() {
            self.window.settle(&written);
        }
        self.conclude(command, &request, ret, seen, waits)
    }

    /// Decodes a request and reserves the ids that it creates.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn decode<'m>(
        &mut self,
        arena: &'m Arena,
        command: &'static Command,
        reader: Reader<'_>,
    ) -> Result<Decoded<'m>, End> {
        let resolver = Resolver::new(&mut self.tables, &mut self.compiling);
        let decoded = decode(arena, command, reader, resolver)?;
        self.reserve(command, &decoded.request)?;
        Ok(decoded)
    }

    /// As [`decode`](Self::decode), and lists the objects met in `self.touched`.
    pub(crate) fn decode_listing<'m>(
        &mut self,
        arena: &'m Arena,
        command: &'static Command,
        reader: Reader<'_>,
    ) -> Result<Decoded<'m>, End> {
        let resolver = Resolver::listing(&mut self.tables, &mut self.compiling, &mut self.touched);
        let decoded = decode(arena, command, reader, resolver)?;
        self.reserve(command, &decoded.request)?;
        Ok(decoded)
    }

    fn reserve(&mut self, command: &Command, request: &Request<'_>) -> Result<(), End> {
        for new in request.new.iter() {
            for id in new.ids {
                self.tables.reserve(new.ty, *id).map_err(|error| {
                    violation(format!("{}: new {} {id:#x}: {error}", command.name, new.ty.name()))
                })?;
            }
        }
        Ok(())
    }

    /// Calls the driver.
    ///
    /// # Errors
    /// A violation when this device does not have the command.
    ///
    /// # Safety
    /// The request must have been decoded for `command`.
    pub(crate) unsafe fn call(
        &self,
        procs: &Procs,
        command: &Command,
        request: &Request<'_>,
    ) -> Result<u64, End> {
        match procs.get(command) {
            // SAFETY: the pointer was looked up by the command's name, the arguments decoded by its table.
            Entry::Native(pfn) => Ok(unsafe { (command.invoke)(pfn, &request.args) }),
            // SAFETY: as above.
            Entry::Null => Ok(unsafe { null::answer(command, request) }),
            Entry::Absent => Err(violation(format!("{} is not available on this device", command.name))),
        }
    }

    /// Calls a command that creates nothing, with arguments of the host's own.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    ///
    /// # Safety
    /// The arguments must be valid for `command`.
    pub(crate) unsafe fn call_args(
        &self,
        procs: &Procs,
        command: &Command,
        args: &[u64],
    ) -> Result<u64, End> {
        match procs.get(command) {
            // SAFETY: the pointer was looked up by the command's name; the arguments are the caller's promise.
            Entry::Native(pfn) => Ok(unsafe { (command.invoke)(pfn, args) }),
            Entry::Null => Ok(null::succeed(command)),
            Entry::Absent => Err(violation(format!("{} is not available on this device", command.name))),
        }
    }

    /// What a command returns that is not executed, because something it names could not be created.
    fn dropped(&self, command: &Command, request: &Request<'_>) -> u64 {
        if let Some(bad) = request.poisoned
            && !command.name.starts_with("vkDestroy")
        {
            tracing::warn!("{} dropped: {} {:#x} could not be created", command.name, bad.ty.name(), bad.id);
        }
        match command.ret {
            Ret::Result => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY.as_raw() as i64 as u64,
            Ret::Void | Ret::Value => 0,
        }
    }

    fn declare_external(
        &mut self,
        arena: &Arena,
        command: &Command,
        kind: Kind,
        request: &Request<'_>,
        seen: Seen,
    ) -> Result<(), End> {
        let mut info = request.args[INFO] as *mut u8;
        if !command.name.starts_with("vkCreate") && !info.is_null() {
            // SAFETY: `VkDevice*MemoryRequirements` have `pCreateInfo` behind `sType` and `pNext`.
            info = unsafe { info.add(16).cast::<*mut u8>().read() };
        }
        let index = usize::from(seen.device).wrapping_sub(1);
        let Some(Some(device)) = self.devices.get_mut(index) else {
            return Err(violation("a command without a device"));
        };
        // SAFETY: the structures were decoded into this arena by their tables.
        let declared = unsafe {
            match kind {
                Kind::Buffer => device.buffers.declare(&self.gpu, arena, info.cast()),
                _ => device.images.declare(&self.gpu, arena, info.cast()),
            }
        };
        declared.map_err(violation)
    }

    /// What else follows from a command, after it was called or dropped.
    fn after(&mut self, kind: Kind, command: &Command, called: bool, ret: u64, seen: Seen) {
        let good = called && !failed(command, ret);
        match kind {
            Kind::Destroy(ty) => self.forget(ty),
            Kind::DestroyPool(ty) => {
                self.free_children(ty, seen);
                self.forget(ty);
            }
            Kind::ResetDescriptorPool => self.free_children(HandleType::DescriptorPool, seen),
            Kind::ResetCommandPool => {
                for id in self.pools.children(&self.tables, HandleType::CommandBuffer, seen.pool) {
                    self.buffers.set(id, State::Initial);
                }
            }
            Kind::Begin | Kind::End | Kind::ResetCommandBuffer => {
                let Some(id) = self.named(HandleType::CommandBuffer) else { return };
                match kind {
                    Kind::Begin if good => self.buffers.set(id, State::Recording),
                    Kind::End if good => self.buffers.set(id, State::Executable),
                    // Then it is known why.
                    Kind::End if self.buffers.is_begun(id) && !self.buffers.can_end(id) => {}
                    Kind::ResetCommandBuffer if good => self.buffers.set(id, State::Initial),
                    _ => self.buffers.poison(id, format!("{} failed", command.name)),
                }
            }
            _ => {}
        }
    }

    /// A command buffer whose last recording was not ended is reset before `vkBeginCommandBuffer`, which would not do it.
    fn reset_unfinished(&self, begin: &Request<'_>, seen: Seen) -> Result<(), End> {
        if self.named(HandleType::CommandBuffer).is_none_or(|id| !self.buffers.is_begun(id)) {
            return Ok(());
        }
        let procs = &self.device(seen.device)?.procs;
        // SAFETY: the command buffer that is to be begun, and no flags.
        unsafe { self.call_args(procs, &commands::VK_RESET_COMMAND_BUFFER, &[begin.args[0], 0]) }.map(|_| ())
    }

    /// The object of this type that the last record names, the last of several.
    fn named(&self, ty: HandleType) -> Option<u64> {
        self.touched.iter().rev().find(|(touched, _)| *touched == ty).map(|(_, id)| *id)
    }

    /// Forgets the object of this type that the last record destroyed; a null one destroys nothing.
    pub(crate) fn forget(&mut self, ty: HandleType) {
        if let Some(id) = self.named(ty) {
            self.tables.remove(ty, id);
            self.forgotten(ty, id);
        }
    }

    /// An object is about to be destroyed.
    pub(crate) fn leaving(&self, ty: HandleType, id: u64) {
        if ty == HandleType::DeviceMemory {
            self.memory_leaves(id);
        }
    }

    /// What else goes with an object.
    pub(crate) fn forgotten(&mut self, ty: HandleType, id: u64) {
        match ty {
            HandleType::DeviceMemory => self.memory_freed(id),
            HandleType::Image => {
                self.images.remove(&id);
            }
            HandleType::Buffer => {
                self.read_only.remove(&id);
            }
            _ => {}
        }
    }

    /// Forgets the objects that the last record frees, each once and all of the pool that it names: anything else would
    /// be the driver's undefined behaviour.
    fn forget_children(&mut self, ty: HandleType, seen: Seen) -> Result<(), End> {
        let mut touched = std::mem::take(&mut self.touched);
        for (_, id) in touched.iter().filter(|(touched, _)| *touched == ty) {
            match self.tables.remove(ty, *id) {
                Some(object) if object.pool == seen.pool => {}
                Some(_) => return Err(violation(format!("{} {id:#x} is of another pool", ty.name()))),
                None => return Err(violation(format!("{} {id:#x} is freed twice", ty.name()))),
            }
        }
        touched.clear();
        self.touched = touched;
        Ok(())
    }

    /// Forgets what was allocated from the pool of type `ty` that the last record names.
    fn free_children(&mut self, ty: HandleType, seen: Seen) {
        if let Some(child) = child_type(ty) {
            for id in self.pools.take(&self.tables, child, seen.pool) {
                self.tables.remove(child, id);
            }
        }
    }

    fn conclude(
        &mut self,
        command: &'static Command,
        request: &Request<'_>,
        ret: u64,
        seen: Seen,
        waits: bool,
    ) -> Result<(), End> {
        self.settle(command, request, ret, seen, waits);
        if waits { self.answer(command, request, ret) } else { Ok(()) }
    }

    /// Gives new ids their objects, or what there is instead of them, and notices a lost device.
    pub(crate) fn settle(
        &mut self,
        command: &Command,
        request: &Request<'_>,
        ret: u64,
        seen: Seen,
        waits: bool,
    ) {
        self.note_loss(command, ret, seen);
        for new in request.new.iter() {
            let none = request.poisoned.is_some() || failed(command, ret) && new.ids.len() == 1;
            for (id, raw) in new.created() {
                let raw = if none { 0 } else { raw };
                self.settle_one(command, ret, new.ty, (id, raw), seen, waits);
            }
        }
    }

    /// Notices a lost device.
    pub(super) fn note_loss(&self, command: &Command, ret: u64, seen: Seen) {
        if failed(command, ret)
            && ret as i32 == vk::Result::ERROR_DEVICE_LOST.as_raw()
            && let Ok(device) = self.device(seen.device)
        {
            device.shared.lose(lost::DRIVER, &format!("{} returned VK_ERROR_DEVICE_LOST", command.name));
        }
    }

    /// Gives a new id its object, whose handle is 0 where it was not created.
    pub(super) fn settle_one(
        &mut self,
        command: &Command,
        ret: u64,
        ty: HandleType,
        (id, raw): (u64, u64),
        seen: Seen,
        waits: bool,
    ) {
        if raw != 0 {
            self.created(ty, id, raw, seen);
        } else if !waits {
            tracing::warn!("{} failed ({}): {} {id:#x} is poisoned", command.name, ret as i32, ty.name());
            let pool = if child_of_pool(ty) { seen.pool } else { 0 };
            self.tables.commit(ty, id, Object { raw: 0, pool, device: seen.device, poisoned: true });
            self.adopt(ty, id, pool);
        } else {
            self.tables.cancel(ty, id);
        }
    }

    fn created(&mut self, ty: HandleType, id: u64, raw: u64, seen: Seen) {
        let pool = if child_of_pool(ty) { seen.pool } else { 0 };
        self.tables.commit(ty, id, Object { raw, pool, device: seen.device, poisoned: false });
        self.adopt(ty, id, pool);
    }

    fn adopt(&mut self, ty: HandleType, id: u64, pool: u64) {
        if ty == HandleType::CommandBuffer {
            self.buffers.set(id, State::Initial);
        }
        if pool != 0 {
            self.pools.add(&self.tables, ty, pool, id);
        }
    }

    /// Answers a call.
    ///
    /// # Errors
    /// When the answer is larger than any may be.
    pub(crate) fn answer(&mut self, command: &Command, request: &Request<'_>, ret: u64) -> Result<(), End> {
        // SAFETY: the request was decoded for this command into an arena that has not been reset.
        self.replies.post(|writer| unsafe { encode_reply(command, request, ret, writer) })
    }
}

/// A freeing command that names objects whose creation failed, null in its array now, is called all the same, for
/// the others; not when the pool itself is such an object.
fn spare_poisoned(command: &Command, request: &Request<'_>) -> bool {
    let pool = command.params.iter().find_map(|op| match op {
        Op::Handle { off, .. } if *off > 0 => request.args.get(usize::from(*off) / size_of::<u64>()),
        _ => None,
    });
    pool.is_some_and(|raw| *raw != 0)
}

/// Whether submissions that were made already may go on after the command, and read what the program wrote before.
fn releases(command: &Command) -> bool {
    [commands::VK_SET_EVENT.opcode, commands::VK_SIGNAL_SEMAPHORE.opcode].contains(&command.opcode)
}

/// Whether the device tells the guest by an event that it has written something.
fn is_set(command: &Command, ret: u64) -> bool {
    command.opcode == commands::VK_GET_EVENT_STATUS.opcode && ret as i32 == vk::Result::EVENT_SET.as_raw()
}

fn child_of_pool(ty: HandleType) -> bool {
    matches!(ty, HandleType::CommandBuffer | HandleType::DescriptorSet)
}

/// Decodes a request to its end.
fn decode<'m>(
    arena: &'m Arena,
    command: &'static Command,
    mut reader: Reader<'_>,
    mut resolver: Resolver<'_>,
) -> Result<Decoded<'m>, End> {
    // SAFETY: the command is of the tables.
    let request = unsafe { decode_request(command, &mut reader, arena, &mut resolver) }
        .map_err(|error| violation(format!("{}: {error}", command.name)))?;
    reader.finish().map_err(|error| violation(format!("{}: {error}", command.name)))?;
    let seen = resolver.seen();
    // The object that the driver dispatches on; a poisoned one is not dispatched on.
    if request.args[0] == 0 && request.poisoned.is_none() {
        return Err(violation(format!("{} without an object", command.name)));
    }
    Ok(Decoded { request, seen })
}
