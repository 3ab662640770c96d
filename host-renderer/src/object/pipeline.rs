//! Graphics pipelines: what the guest left out because the specification ignores it.

use ash::vk;

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
