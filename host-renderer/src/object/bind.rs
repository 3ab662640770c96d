//! Binding memory: what a guest binds lies in its memory.
//!
//! A driver that runs on the processor believes what it is told here, and would read and write outside of the memory for
//! ever after. The sizes are asked of the driver when something is bound, not when it is created.

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::Request;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Command;
use vw_wire_protocol::texels::Region;

use super::external::find;
use super::image::Made;
use super::memory::Span;
use crate::gpu::procs::Procs;
use crate::session::Session;
use crate::session::end::{End, violation};
use crate::session::resolve::Seen;

/// Flags of images whose planes are bound one by one.
const DISJOINT: vk::ImageCreateFlags = vk::ImageCreateFlags::DISJOINT;

/// What one command binds, and what its objects are.
struct Binding<'a> {
    session: &'a Session,
    command: &'static str,
    procs: &'a Procs,
    device: u64,
    /// The memory that the record names, by the driver's handle, sorted.
    memory: Vec<(u64, Span)>,
}

impl Session {
    /// Checks that what `vkBindBufferMemory`, `vkBindImageMemory`, their second versions or `vkQueueBindSparse` bind lies in the
    /// memory.
    ///
    /// # Errors
    /// A violation when it does not.
    ///
    /// # Safety
    /// The request must have been decoded for `command`, listing what it names, and none of that be poisoned.
    pub(crate) unsafe fn check_binding(
        &self,
        command: &Command,
        request: &Request<'_>,
        seen: Seen,
    ) -> Result<(), End> {
        let device = self.device(seen.device)?;
        let mut memory: Vec<_> = self.touched_memory().collect();
        memory.sort_unstable_by_key(|(raw, _)| *raw);
        let binding = Binding {
            session: self,
            command: command.name,
            procs: &device.procs,
            device: device.shared.device.handle().as_raw(),
            memory,
        };
        let args = &request.args;
        let count = args.get(1).copied().unwrap_or_default() as u32;
        // SAFETY: the caller's promise: arguments as the command's table says.
        unsafe {
            if command.opcode == commands::VK_BIND_BUFFER_MEMORY.opcode {
                let info = vk::BindBufferMemoryInfo::default()
                    .buffer(vk::Buffer::from_raw(args[1]))
                    .memory(vk::DeviceMemory::from_raw(args[2]))
                    .memory_offset(args[3]);
                return binding.buffer(&info);
            }
            if command.opcode == commands::VK_BIND_IMAGE_MEMORY.opcode {
                let info = vk::BindImageMemoryInfo::default()
                    .image(vk::Image::from_raw(args[1]))
                    .memory(vk::DeviceMemory::from_raw(args[2]))
                    .memory_offset(args[3]);
                return binding.image(&info);
            }
            if command.opcode == commands::VK_BIND_BUFFER_MEMORY_2.opcode {
                return list(count, args[2] as *const _).iter().try_for_each(|info| binding.buffer(info));
            }
            if command.opcode == commands::VK_BIND_IMAGE_MEMORY_2.opcode {
                return list(count, args[2] as *const _).iter().try_for_each(|info| binding.image(info));
            }
            list(count, args[2] as *const _).iter().try_for_each(|info| binding.sparse(info))
        }
    }
}

/// As many elements as there are, none behind a null pointer.
///
/// # Safety
/// The pointer is null or leads to `count` elements, which outlive the slice.
unsafe fn list<'a, T>(count: u32, first: *const T) -> &'a [T] {
    if first.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count as usize) }
}

/// A refusal of the part of an object at `place` for `bytes` bytes.
fn outside(command: &str, what: &str, place: u64, bytes: u64, memory: Span) -> End {
    violation(format!("{command}: {bytes} bytes of {what} at {place:#x} of {} bytes of memory", memory.bytes))
}

impl Binding<'_> {
    fn memory(&self, memory: vk::DeviceMemory) -> Result<Span, End> {
        let found = self.memory.binary_search_by_key(&memory.as_raw(), |(raw, _)| *raw);
        let found = found.ok().and_then(|at| self.memory.get(at));
        found.map(|(_, span)| *span).ok_or_else(|| violation(format!("{} without memory", self.command)))
    }

    /// That an object with these requirements fits.
    fn whole(
        &self,
        what: &str,
        needs: &vk::MemoryRequirements,
        memory: vk::DeviceMemory,
        offset: u64,
    ) -> Result<(), End> {
        let memory = self.memory(memory)?;
        if offset.checked_add(needs.size).is_none_or(|end| end > memory.bytes) {
            return Err(outside(self.command, what, offset, needs.size, memory));
        }
        if !offset.is_multiple_of(needs.alignment.max(1)) || needs.memory_type_bits & 1 << memory.ty == 0 {
            return Err(violation(format!(
                "{}: {what} at {offset:#x} of memory of type {}: its alignment is {:#x}, its types {:#x}",
                self.command, memory.ty, needs.alignment, needs.memory_type_bits
            )));
        }
        Ok(())
    }

    /// # Safety
    /// A decoded structure with a live buffer.
    unsafe fn buffer(&self, info: &vk::BindBufferMemoryInfo<'_>) -> Result<(), End> {
        // SAFETY: the caller's promise.
        let needs = unsafe { self.buffer_needs(info.buffer)? };
        self.whole("a buffer", &needs, info.memory, info.memory_offset)?;
        if !self.session.only_reads(info.buffer) {
            self.may_change(self.memory(info.memory)?, info.memory_offset, needs.size);
        }
        Ok(())
    }

    /// # Safety
    /// A live buffer.
    unsafe fn buffer_needs(&self, buffer: vk::Buffer) -> Result<vk::MemoryRequirements, End> {
        let ask = vk::BufferMemoryRequirementsInfo2::default().buffer(buffer);
        let command = &commands::VK_GET_BUFFER_MEMORY_REQUIREMENTS_2;
        // SAFETY: the caller's promise.
        unsafe { self.ask(command, (&raw const ask).cast()) }
    }

    /// # Safety
    /// A command that asks about the memory of the object in `info`, its structure.
    unsafe fn ask(&self, command: &Command, info: *const u8) -> Result<vk::MemoryRequirements, End> {
        let mut needs = vk::MemoryRequirements2::default();
        let args = [self.device, info as u64, &raw mut needs as u64];
        // SAFETY: the caller's promise, and a structure for the answer.
        unsafe { self.session.call_args(self.procs, command, &args)? };
        Ok(needs.memory_requirements)
    }

    /// # Safety
    /// A decoded structure with a live image.
    unsafe fn image(&self, info: &vk::BindImageMemoryInfo<'_>) -> Result<(), End> {
        // SAFETY: the chain was decoded by its table.
        let plane = unsafe { find::<vk::BindImagePlaneMemoryInfo<'_>>(info.p_next) };
        let plane = plane.map(|plane| plane.plane_aspect);
        let made = self.made(info.image)?;
        // What the driver is asked of an image's plane has to be about a plane that is bound by itself.
        let fits = match plane {
            Some(aspect) => made.flags.contains(DISJOINT) && made.shape.has(aspect.as_raw()),
            None => !made.flags.contains(DISJOINT),
        };
        if !fits {
            return Err(violation(format!(
                "{}: plane {plane:?} of an image with flags {:?}",
                self.command, made.flags
            )));
        }
        // SAFETY: a live image with such planes.
        let needs = unsafe { self.image_needs(info.image, plane)? };
        self.whole("an image", &needs, info.memory, info.memory_offset)?;
        self.may_change(self.memory(info.memory)?, info.memory_offset, needs.size);
        Ok(())
    }

    /// The device may write what is bound there.
    fn may_change(&self, memory: Span, offset: u64, size: u64) {
        if let Some(window) = memory.window {
            self.session.window.may_change(window + offset, size);
        }
    }

    /// # Safety
    /// A live image, with this plane.
    unsafe fn image_needs(
        &self,
        image: vk::Image,
        plane: Option<vk::ImageAspectFlags>,
    ) -> Result<vk::MemoryRequirements, End> {
        let mut of_plane =
            vk::ImagePlaneMemoryRequirementsInfo::default().plane_aspect(plane.unwrap_or_default());
        let mut ask = vk::ImageMemoryRequirementsInfo2::default().image(image);
        if plane.is_some() {
            ask = ask.push_next(&mut of_plane);
        }
        // SAFETY: the caller's promise.
        unsafe { self.ask(&commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS_2, (&raw const ask).cast()) }
    }

    /// What an image was created with.
    fn made(&self, image: vk::Image) -> Result<&Made, End> {
        let made = self.session.touched_images().find(|(raw, _)| *raw == image.as_raw());
        made.map(|(_, made)| made).ok_or_else(|| violation(format!("{} without an image", self.command)))
    }

    /// # Safety
    /// A decoded structure with live objects.
    unsafe fn sparse(&self, info: &vk::BindSparseInfo<'_>) -> Result<(), End> {
        // SAFETY: the caller's promise: as many elements as the counts say.
        unsafe {
            for buffer in list(info.buffer_bind_count, info.p_buffer_binds) {
                let size = self.buffer_needs(buffer.buffer)?.size;
                self.ranges(list(buffer.bind_count, buffer.p_binds), &[(0, size)])?;
            }
            for image in list(info.image_opaque_bind_count, info.p_image_opaque_binds) {
                let made = self.sparse_image(image.image)?;
                let mut parts = vec![(0, self.image_needs(image.image, None)?.size)];
                // A mip tail need not lie among the rest.
                parts.extend(self.sparse_needs(image.image)?.iter().map(|kind| {
                    let others = u64::from(made.shape.array_layers.saturating_sub(1));
                    let stride = kind.image_mip_tail_stride.saturating_mul(others);
                    (kind.image_mip_tail_offset, kind.image_mip_tail_size.saturating_add(stride))
                }));
                self.ranges(list(image.bind_count, image.p_binds), &parts)?;
            }
            for image in list(info.image_bind_count, info.p_image_binds) {
                self.blocks(image)?;
            }
        }
        Ok(())
    }

    /// That ranges lie in one of the parts of their object, of which there are offset and length, and in their memory.
    fn ranges(&self, binds: &[vk::SparseMemoryBind], parts: &[(u64, u64)]) -> Result<(), End> {
        for bind in binds {
            let end = bind.resource_offset.checked_add(bind.size);
            let within = |(start, length): &(u64, u64)| {
                bind.resource_offset >= *start && end.is_some_and(|end| end - start <= *length)
            };
            if !parts.iter().any(within) {
                return Err(violation(format!(
                    "{}: {} bytes at {:#x} of an object with {parts:x?}",
                    self.command, bind.size, bind.resource_offset
                )));
            }
            if bind.memory != vk::DeviceMemory::null() {
                let memory = self.memory(bind.memory)?;
                if bind.memory_offset.checked_add(bind.size).is_none_or(|end| end > memory.bytes) {
                    return Err(outside(
                        self.command,
                        "a sparse object",
                        bind.memory_offset,
                        bind.size,
                        memory,
                    ));
                }
                self.may_change(memory, bind.memory_offset, bind.size);
            }
        }
        Ok(())
    }

    /// That blocks of an image lie in it and in their memory.
    ///
    /// # Safety
    /// A decoded structure with a live image.
    unsafe fn blocks(&self, info: &vk::SparseImageMemoryBindInfo<'_>) -> Result<(), End> {
        let made = self.sparse_image(info.image)?;
        // SAFETY: a live image; what is found is the driver's.
        let (needs, kinds) = unsafe { (self.image_needs(info.image, None)?, self.sparse_needs(info.image)?) };
        // SAFETY: the caller's promise: as many elements as the count says.
        for bind in unsafe { list(info.bind_count, info.p_binds) } {
            let region = Region {
                aspect: bind.subresource.aspect_mask.as_raw(),
                mip_level: bind.subresource.mip_level,
                base_array_layer: bind.subresource.array_layer,
                layer_count: 1,
                offset: [bind.offset.x, bind.offset.y, bind.offset.z],
                extent: [bind.extent.width, bind.extent.height, bind.extent.depth],
            };
            let kind = kinds.iter().map(|kind| kind.format_properties);
            let kind = kind.into_iter().find(|kind| kind.aspect_mask.contains(bind.subresource.aspect_mask));
            let (Some(_), Some(kind)) = (made.shape.rows(&region), kind) else {
                return Err(violation(format!("{}: {region:?} is not in {:?}", self.command, made.shape)));
            };
            let granularity = kind.image_granularity;
            let counts = [
                bind.extent.width.div_ceil(granularity.width.max(1)),
                bind.extent.height.div_ceil(granularity.height.max(1)),
                bind.extent.depth.div_ceil(granularity.depth.max(1)),
            ];
            let bytes = counts
                .iter()
                .try_fold(needs.alignment, |bytes, count| bytes.checked_mul((*count).into()))
                .unwrap_or(u64::MAX);
            if bind.memory != vk::DeviceMemory::null() {
                let memory = self.memory(bind.memory)?;
                if bind.memory_offset.checked_add(bytes).is_none_or(|end| end > memory.bytes) {
                    return Err(outside(self.command, "blocks", bind.memory_offset, bytes, memory));
                }
                self.may_change(memory, bind.memory_offset, bytes);
            }
        }
        Ok(())
    }

    /// What an image was created with that may be bound in parts.
    fn sparse_image(&self, image: vk::Image) -> Result<&Made, End> {
        let made = self.made(image)?;
        if made.flags.contains(vk::ImageCreateFlags::SPARSE_BINDING) && !made.flags.contains(DISJOINT) {
            return Ok(made);
        }
        Err(violation(format!("{}: parts of an image with flags {:?}", self.command, made.flags)))
    }

    /// What a sparse image needs, by aspect.
    ///
    /// # Safety
    /// A live image.
    unsafe fn sparse_needs(&self, image: vk::Image) -> Result<Vec<vk::SparseImageMemoryRequirements>, End> {
        let command = &commands::VK_GET_IMAGE_SPARSE_MEMORY_REQUIREMENTS_2;
        let ask = vk::ImageSparseMemoryRequirementsInfo2::default().image(image);
        // No image has more aspects.
        let mut found = [vk::SparseImageMemoryRequirements2::default(); 8];
        let mut count = found.len() as u32;
        let args = [self.device, &raw const ask as u64, &raw mut count as u64, found.as_mut_ptr() as u64];
        // SAFETY: the caller's promise; there is room for as many as the count says.
        unsafe { self.session.call_args(self.procs, command, &args)? };
        let found = found.iter().take(count as usize);
        Ok(found.map(|found| found.memory_requirements).collect())
    }
}
