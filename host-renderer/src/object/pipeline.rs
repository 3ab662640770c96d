//! Pipelines: compiled while the session goes on, and what the guest left out because the specification ignores it.

use std::sync::Arc;

use ash::vk;
use vw_wire_protocol::codec::{Arena, Request};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::Command;

use super::compiling::Creation;
use crate::gpu::procs::Entry;
use crate::session::Session;
use crate::session::end::{End, violation};
use crate::session::resolve::Seen;

impl Session {
    /// Has pipelines compiled while the session goes on. What they are made of was listed in `self.touched`.
    ///
    /// # Errors
    /// A violation when this device does not have the command.
    ///
    /// # Safety
    /// The request must have been decoded for `command` into `arena`.
    pub(crate) unsafe fn compile(
        &mut self,
        arena: &mut Arena,
        command: &'static Command,
        request: Request<'static>,
        seen: Seen,
    ) -> Result<(), End> {
        let device = self.device(seen.device)?;
        let (entry, shared) = (device.procs.get(command), Arc::clone(&device.shared));
        if matches!(entry, Entry::Absent) {
            return Err(violation(format!("{} is not available on this device", command.name)));
        }
        let arena = (arena, self.record_limit);
        // SAFETY: the caller's promise; the entry was looked up by the command.
        let creation = unsafe { Creation::new(command, entry, request, arena, (seen.device, shared)) };
        self.compiling.begin(&mut self.tables, creation, &self.touched);
        Ok(())
    }

    /// Destroys the object of this type that the last record names when nothing is compiled with it any more.
    ///
    /// # Errors
    /// A violation when this device does not have the command.
    pub(crate) fn destroy_later(
        &mut self,
        command: &'static Command,
        request: &Request<'_>,
        ty: HandleType,
        seen: Seen,
    ) -> Result<(), End> {
        match self.device(seen.device)?.procs.get(command) {
            Entry::Native(destroy) => {
                let device = (seen.device, request.args[0]);
                self.compiling.destroy_after(command, destroy, device, request.args[1]);
            }
            // Nothing of the host's.
            Entry::Null => {}
            Entry::Absent => {
                return Err(violation(format!("{} is not available on this device", command.name)));
            }
        }
        self.forget(ty);
        Ok(())
    }
}

/// A cache that the program synchronises itself is used by several threads here: the driver is to do it.
///
/// # Safety
/// `info` must point to a valid, writable structure.
pub unsafe fn synchronise(info: *mut vk::PipelineCacheCreateInfo<'_>) {
    // SAFETY: the caller's promise.
    unsafe { (*info).flags &= !vk::PipelineCacheCreateFlags::EXTERNALLY_SYNCHRONIZED };
}

/// `VkPipelineRenderingCreateInfo` and its like: a count of attachments and an array of that many.
///
/// Where a pipeline has no fragment output state, its formats are ignored, and may be garbage in the program: the guest
/// sends null for the array. Layers and drivers that look at the count alone would follow it, so it becomes 0.
///
/// # Safety
/// `infos` must be null or point to `count` valid, writable structures.
pub unsafe fn drop_ignored_attachments(infos: *mut vk::GraphicsPipelineCreateInfo<'_>, count: u32) {
    if infos.is_null() {
        return;
    }
    for i in 0..count as usize {
        // SAFETY: the caller's promise; each link is told by its type.
        unsafe {
            let mut link = (*infos.add(i)).p_next.cast_mut().cast::<vk::BaseOutStructure<'_>>();
            while !link.is_null() {
                match (*link).s_type {
                    vk::StructureType::PIPELINE_RENDERING_CREATE_INFO => {
                        let rendering = &mut *link.cast::<vk::PipelineRenderingCreateInfo<'_>>();
                        if rendering.p_color_attachment_formats.is_null() {
                            rendering.color_attachment_count = 0;
                        }
                    }
                    vk::StructureType::ATTACHMENT_SAMPLE_COUNT_INFO_AMD => {
                        let samples = &mut *link.cast::<vk::AttachmentSampleCountInfoAMD<'_>>();
                        if samples.p_color_attachment_samples.is_null() {
                            samples.color_attachment_count = 0;
                        }
                    }
                    _ => {}
                }
                link = (*link).p_next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_when_their_formats_are_left_out_are_none() {
        let formats = [vk::Format::R8G8B8A8_UNORM];
        let mut with = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
        let mut without = vk::PipelineRenderingCreateInfo { color_attachment_count: 3, ..Default::default() };
        let mut infos = [
            vk::GraphicsPipelineCreateInfo::default().push_next(&mut with),
            vk::GraphicsPipelineCreateInfo::default().push_next(&mut without),
        ];
        // SAFETY: two valid structures.
        unsafe { drop_ignored_attachments(infos.as_mut_ptr(), 2) };
        assert_eq!((with.color_attachment_count, without.color_attachment_count), (1, 0));
    }
}
