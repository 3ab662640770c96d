//! Descriptor sets: the record that updates many.

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::{HandleError, Reader};
use vw_wire_protocol::descriptor_update::{COPY, Copy, Descriptors, Header};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::MAX_UPDATES;
use vw_wire_protocol::straight::Host as _;

use crate::session::Session;
use crate::session::end::{End, violation};
use crate::session::tables::Tables;

/// Memory for one record of updates.
#[derive(Default)]
pub struct Updates {
    /// The record; ids become handles in place.
    words: Vec<u64>,
    /// Words of the record.
    length: usize,
    /// What the driver is given; its pointers lead into the words.
    writes: Vec<vk::WriteDescriptorSet<'static>>,
    /// As the writes; the driver makes them after these.
    copies: Vec<vk::CopyDescriptorSet<'static>>,
}

// SAFETY: the pointers are followed only while the record is executed, and lead into memory of the same owner.
unsafe impl Send for Updates {}

impl Session {
    /// The record `UPDATE_DESCRIPTOR_SETS`: a device's id, then writes and copies.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn update_descriptor_sets(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let command = &commands::VK_UPDATE_DESCRIPTOR_SETS;
        let id = reader.take_u64().map_err(violation)?;
        let device = self
            .tables
            .live(HandleType::Device, id)
            .copied()
            .map_err(|error| violation(format!("updates of Device {id:#x}: {error}")))?;
        let mut updates = std::mem::take(&mut self.updates);
        let read = updates.read(reader).and_then(|()| {
            updates.decode(&self.tables, device.device, |writes, copies| {
                let args = [
                    device.raw,
                    writes.len() as u64,
                    writes.as_ptr() as u64,
                    copies.len() as u64,
                    copies.as_ptr() as u64,
                ];
                // SAFETY: so many of each, whose sets and descriptors were looked up in the device's tables.
                unsafe { self.call_args(&self.device(device.device)?.procs, command, &args) }.map(|_| ())
            })
        });
        self.updates = updates;
        read
    }
}

impl Updates {
    /// Copies the record out of shared memory.
    fn read(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let length = reader.left();
        if length > MAX_UPDATES || !length.is_multiple_of(8) {
            return Err(violation(format!(
                "{length} bytes of descriptor updates, of at most {MAX_UPDATES}, in words of 8"
            )));
        }
        // What is left of a longer record is not cleared.
        self.length = length / 8;
        if self.words.len() < self.length {
            self.words.resize(self.length, 0);
        }
        // SAFETY: there are as many words, and any bytes are words.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast::<u8>(), length) };
        reader.take_bytes(bytes).map_err(violation)
    }

    /// Makes writes and copies of the words, and gives them to `call` in their order: writes, and copies after them, as often
    /// as they alternate. One that names an object whose creation failed is left out.
    fn decode(
        &mut self,
        tables: &Tables,
        device: u16,
        call: impl Fn(Writes<'_>, Copies<'_>) -> Result<(), End>,
    ) -> Result<(), End> {
        self.writes.clear();
        self.copies.clear();
        let mut rest = self.words.get_mut(..self.length).unwrap_or_default();
        while !rest.is_empty() {
            let Some((header, behind)) = rest.split_first_chunk_mut::<{ Header::WORDS }>() else {
                return Err(violation("an update that is shorter than its header"));
            };
            let header = Header::from_words(*header);
            if header.ty == COPY {
                let Some((target, behind)) = behind.split_first_chunk_mut::<{ Copy::TARGET_WORDS }>() else {
                    return Err(violation("a copy of descriptors that is cut off"));
                };
                rest = behind;
                self.copies.extend(copy(tables, device, Copy::from_words(header, *target))?);
                continue;
            }
            if !self.copies.is_empty() {
                call(&self.writes, &self.copies)?;
                self.writes.clear();
                self.copies.clear();
            }
            let of = Descriptors::of(header.ty)
                .ok_or_else(|| violation(format!("updates with descriptors of type {}", header.ty)))?;
            let length = header.count as usize * of.words();
            let Some((descriptors, behind)) = behind.split_at_mut_checked(length) else {
                return Err(violation(format!(
                    "a write of {} descriptors where fewer are left",
                    header.count
                )));
            };
            rest = behind;
            let mut write = vk::WriteDescriptorSet {
                dst_binding: header.binding,
                dst_array_element: header.element,
                descriptor_count: header.count,
                descriptor_type: vk::DescriptorType::from_raw(header.ty as i32),
                ..Default::default()
            };
            match of {
                Descriptors::Images => write.p_image_info = descriptors.as_ptr().cast(),
                Descriptors::Buffers => write.p_buffer_info = descriptors.as_ptr().cast(),
                Descriptors::BufferViews => write.p_texel_buffer_view = descriptors.as_ptr().cast(),
            }
            match resolve(tables, device, header.set, of, descriptors)? {
                Some(set) => {
                    write.dst_set = set;
                    self.writes.push(write);
                }
                None => tracing::warn!("an update of DescriptorSet {:#x} dropped", header.set),
            }
        }
        if self.writes.is_empty() && self.copies.is_empty() {
            return Ok(());
        }
        call(&self.writes, &self.copies)
    }
}

type Writes<'a> = &'a [vk::WriteDescriptorSet<'static>];
type Copies<'a> = &'a [vk::CopyDescriptorSet<'static>];

/// A copy as the driver wants it. `None`: the creation of one of the sets had failed.
fn copy(tables: &Tables, device: u16, copy: Copy) -> Result<Option<vk::CopyDescriptorSet<'static>>, End> {
    let set = |id: u64| match tables.handle(device, HandleType::DescriptorSet, id) {
        Ok(raw) => Ok(Some(vk::DescriptorSet::from_raw(raw))),
        Err(HandleError::Poisoned) => {
            tracing::warn!("a copy with DescriptorSet {id:#x} dropped");
            Ok(None)
        }
        Err(error) => Err(violation(format!("a copy with DescriptorSet {id:#x}: {error}"))),
    };
    let (from, to) = (set(copy.source)?, set(copy.set)?);
    Ok(from.zip(to).map(|(from, to)| vk::CopyDescriptorSet {
        src_set: from,
        src_binding: copy.source_binding,
        src_array_element: copy.source_element,
        dst_set: to,
        dst_binding: copy.binding,
        dst_array_element: copy.element,
        descriptor_count: copy.count,
        ..Default::default()
    }))
}

/// Puts handles in the place of ids, and returns the set. `None`: the creation of something had failed.
#[inline(always)]
fn resolve(
    tables: &Tables,
    device: u16,
    set: u64,
    of: Descriptors,
    descriptors: &mut [u64],
) -> Result<Option<vk::DescriptorSet>, End> {
    let mut failed = false;
    let mut handle = |ty: HandleType, id: u64, lenient: bool| {
        if id == 0 {
            return Ok(0);
        }
        match tables.handle(device, ty, id) {
            Ok(raw) => Ok(raw),
            Err(HandleError::Unknown) if lenient => Ok(0),
            Err(HandleError::Unknown) => {
                Err(violation(format!("an update with {} {id:#x}: {}", ty.name(), HandleError::Unknown)))
            }
            Err(HandleError::Poisoned) => {
                failed = true;
                Ok(0)
            }
        }
    };
    let set = handle(HandleType::DescriptorSet, set, false)?;
    match of {
        Descriptors::Images => {
            // Either may be garbage where the type has no use for it.
            for [sampler, view, _] in descriptors.as_chunks_mut::<3>().0 {
                *sampler = handle(HandleType::Sampler, *sampler, true)?;
                *view = handle(HandleType::ImageView, *view, true)?;
            }
        }
        Descriptors::Buffers => {
            for [buffer, ..] in descriptors.as_chunks_mut::<3>().0 {
                *buffer = handle(HandleType::Buffer, *buffer, false)?;
            }
        }
        Descriptors::BufferViews => {
            for view in descriptors {
                *view = handle(HandleType::BufferView, *view, false)?;
            }
        }
    }
    if set == 0 && !failed {
        return Err(violation("an update of no descriptor set"));
    }
    Ok((!failed).then(|| vk::DescriptorSet::from_raw(set)))
}
