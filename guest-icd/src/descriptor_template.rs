//! `VkDescriptorUpdateTemplate`: lives in the guest; an update with it becomes plain writes.

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::descriptor_update::Header;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::descriptor_update::{self, Source};
use crate::device;
use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::sender::Sender;
use crate::session::Session;

/// Guest-side state of a template.
pub(crate) struct Template {
    entries: Vec<Entry>,
    /// Whether all entries are of types whose updates gather.
    gathers: bool,
    /// For push descriptors.
    bind_point: vk::PipelineBindPoint,
}

#[derive(Clone, Copy)]
struct Entry {
    binding: u32,
    element: u32,
    /// Number of descriptors; of bytes in an inline uniform block.
    count: u32,
    ty: vk::DescriptorType,
    offset: usize,
    stride: usize,
}

/// Where the descriptors of a type are in a `VkWriteDescriptorSet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Buffer,
    Texel,
    Inline,
    Acceleration,
    AccelerationNv,
    Unknown,
}

impl Kind {
    fn of(ty: vk::DescriptorType) -> Self {
        use vk::DescriptorType as T;
        match ty {
            T::SAMPLER
            | T::COMBINED_IMAGE_SAMPLER
            | T::SAMPLED_IMAGE
            | T::STORAGE_IMAGE
            | T::INPUT_ATTACHMENT
            | T::SAMPLE_WEIGHT_IMAGE_QCOM
            | T::BLOCK_MATCH_IMAGE_QCOM => Self::Image,
            T::UNIFORM_TEXEL_BUFFER | T::STORAGE_TEXEL_BUFFER => Self::Texel,
            T::UNIFORM_BUFFER | T::STORAGE_BUFFER | T::UNIFORM_BUFFER_DYNAMIC | T::STORAGE_BUFFER_DYNAMIC => {
                Self::Buffer
            }
            T::INLINE_UNIFORM_BLOCK => Self::Inline,
            T::ACCELERATION_STRUCTURE_KHR => Self::Acceleration,
            T::ACCELERATION_STRUCTURE_NV => Self::AccelerationNv,
            _ => Self::Unknown,
        }
    }
}

/// The arrays that the writes of one update point to. The boxed slices stay where they are when the owner moves.
#[derive(Default)]
struct Arrays {
    images: Vec<Box<[vk::DescriptorImageInfo]>>,
    buffers: Vec<Box<[vk::DescriptorBufferInfo]>>,
    handles: Vec<Box<[u64]>>,
    inline: Vec<Box<[vk::WriteDescriptorSetInlineUniformBlock<'static>]>>,
    acceleration: Vec<Box<[vk::WriteDescriptorSetAccelerationStructureKHR<'static>]>>,
    acceleration_nv: Vec<Box<[vk::WriteDescriptorSetAccelerationStructureNV<'static>]>>,
}

fn keep<T>(list: &mut Vec<Box<[T]>>, items: Box<[T]>) -> *const T {
    let pointer = items.as_ptr();
    list.push(items);
    pointer
}

impl Template {
    /// From what the program said.
    ///
    /// # Safety
    /// `info` must be valid.
    unsafe fn new(info: &vk::DescriptorUpdateTemplateCreateInfo<'_>) -> Self {
        let entries = (0..info.descriptor_update_entry_count as usize).map(|i| {
            // SAFETY: the caller's promise.
            let entry = unsafe { &*info.p_descriptor_update_entries.add(i) };
            Entry {
                binding: entry.dst_binding,
                element: entry.dst_array_element,
                count: entry.descriptor_count,
                ty: entry.descriptor_type,
                offset: entry.offset,
                stride: entry.stride,
            }
        });
        let entries: Vec<_> = entries.collect();
        let gathers = entries.iter().all(|entry| descriptor_update::gathers(entry.ty, entry.count).is_some());
        Self { entries, gathers, bind_point: info.pipeline_bind_point }
    }

    /// Appends the writes that an update of `set` with `data` means; for templates that gather.
    ///
    /// # Safety
    /// `data` must be laid out as the template says.
    unsafe fn put(&self, sender: &mut Sender, device: u64, set: u64, data: *const u8) -> Result<(), Failure> {
        for entry in self.entries.iter().filter(|entry| entry.count > 0) {
            let Some(of) = descriptor_update::gathers(entry.ty, entry.count) else { continue };
            let header = Header {
                set,
                binding: entry.binding,
                element: entry.element,
                count: entry.count,
                ty: entry.ty.as_raw() as u32,
            };
            // SAFETY: the caller's promise.
            unsafe {
                let from = Source { start: data.add(entry.offset), stride: entry.stride };
                descriptor_update::put(sender, device, header, of, from)?;
            }
        }
        Ok(())
    }

    /// The writes that an update of `set` with `data` means. They point into `arrays` and `data`.
    ///
    /// # Safety
    /// `data` must be laid out as the template says.
    unsafe fn writes(
        &self,
        set: u64,
        data: *const u8,
        arrays: &mut Arrays,
    ) -> Vec<vk::WriteDescriptorSet<'static>> {
        let write = |entry: &Entry| {
            let mut write = vk::WriteDescriptorSet {
                dst_set: vk::DescriptorSet::from_raw(set),
                dst_binding: entry.binding,
                dst_array_element: entry.element,
                descriptor_count: entry.count,
                descriptor_type: entry.ty,
                ..Default::default()
            };
            // SAFETY: the caller's promise.
            unsafe {
                let start = data.add(entry.offset);
                match Kind::of(entry.ty) {
                    Kind::Image => write.p_image_info = keep(&mut arrays.images, gather(start, entry)).cast(),
                    Kind::Buffer => {
                        write.p_buffer_info = keep(&mut arrays.buffers, gather(start, entry)).cast();
                    }
                    Kind::Texel => {
                        write.p_texel_buffer_view = keep(&mut arrays.handles, gather(start, entry)).cast();
                    }
                    Kind::Inline => {
                        let block = vk::WriteDescriptorSetInlineUniformBlock {
                            data_size: entry.count,
                            p_data: start.cast(),
                            ..Default::default()
                        };
                        write.p_next = keep(&mut arrays.inline, Box::new([block])).cast();
                    }
                    Kind::Acceleration => {
                        let chained = vk::WriteDescriptorSetAccelerationStructureKHR {
                            acceleration_structure_count: entry.count,
                            p_acceleration_structures: keep(&mut arrays.handles, gather(start, entry)).cast(),
                            ..Default::default()
                        };
                        write.p_next = keep(&mut arrays.acceleration, Box::new([chained])).cast();
                    }
                    Kind::AccelerationNv => {
                        let chained = vk::WriteDescriptorSetAccelerationStructureNV {
                            acceleration_structure_count: entry.count,
                            p_acceleration_structures: keep(&mut arrays.handles, gather(start, entry)).cast(),
                            ..Default::default()
                        };
                        write.p_next = keep(&mut arrays.acceleration_nv, Box::new([chained])).cast();
                    }
                    Kind::Unknown => {}
                }
            }
            write
        };
        self.entries.iter().filter(|e| e.count > 0 && Kind::of(e.ty) != Kind::Unknown).map(write).collect()
    }

    /// The stages that the bind point stands for.
    fn stages(&self) -> vk::ShaderStageFlags {
        match self.bind_point {
            vk::PipelineBindPoint::GRAPHICS => vk::ShaderStageFlags::ALL_GRAPHICS,
            vk::PipelineBindPoint::COMPUTE => vk::ShaderStageFlags::COMPUTE,
            _ => {
                vk::ShaderStageFlags::RAYGEN_KHR
                    | vk::ShaderStageFlags::ANY_HIT_KHR
                    | vk::ShaderStageFlags::CLOSEST_HIT_KHR
                    | vk::ShaderStageFlags::MISS_KHR
                    | vk::ShaderStageFlags::INTERSECTION_KHR
                    | vk::ShaderStageFlags::CALLABLE_KHR
            }
        }
    }
}

/// The entry's elements, side by side.
///
/// # Safety
/// `start` must be readable as the entry says, with elements of type `T` (of any alignment).
unsafe fn gather<T: Copy>(start: *const u8, entry: &Entry) -> Box<[T]> {
    // SAFETY: the caller's promise.
    (0..entry.count as usize)
        .map(|i| unsafe { start.add(i * entry.stride).cast::<T>().read_unaligned() })
        .collect()
}

fn template(session: &Session, id: u64) -> Option<Arc<Template>> {
    session.objects.templates.get(id)
}

/// `vkCreateDescriptorUpdateTemplate`
pub(crate) unsafe extern "system" fn vkCreateDescriptorUpdateTemplate(
    device: *mut c_void,
    info: *const vk::DescriptorUpdateTemplateCreateInfo<'_>,
    callbacks: *const c_void,
    template: *mut u64,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(session) = dispatch::session(device) else { return vk::Result::ERROR_DEVICE_LOST.as_raw() };
        let allocator = device::allocator(device, callbacks);
        let Some(id) = session.allocate_id(HandleType::DescriptorUpdateTemplate, allocator) else {
            template.write(0);
            return vk::Result::ERROR_OUT_OF_HOST_MEMORY.as_raw();
        };
        session.objects.templates.insert(id, Arc::new(Template::new(&*info)));
        template.write(id);
    }
    vk::Result::SUCCESS.as_raw()
}

/// `vkDestroyDescriptorUpdateTemplate`
pub(crate) unsafe extern "system" fn vkDestroyDescriptorUpdateTemplate(
    device: *mut c_void,
    template: u64,
    _: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    if let Some(session) = unsafe { dispatch::session(device) }
        && session.objects.templates.remove(template).is_some()
    {
        session.free_id(HandleType::DescriptorUpdateTemplate, template);
    }
}

/// `vkUpdateDescriptorSetWithTemplate`: `vkUpdateDescriptorSets` on the wire.
pub(crate) unsafe extern "system" fn vkUpdateDescriptorSetWithTemplate(
    device: *mut c_void,
    set: u64,
    id: u64,
    data: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(template) = dispatch::session(device).and_then(|session| template(session, id)) else {
            return;
        };
        if template.gathers && descriptor_update::is_on(device) {
            descriptor_update::update(device, |sender, device| {
                template.put(sender, device, set, data.cast())
            });
            return;
        }
        let mut arrays = Arrays::default();
        let writes = template.writes(set, data.cast(), &mut arrays);
        let args = [device as u64, writes.len() as u64, writes.as_ptr() as u64, 0, 0];
        forward::send(device, &commands::VK_UPDATE_DESCRIPTOR_SETS, &args);
    }
}

/// `vkCmdPushDescriptorSetWithTemplate`: `vkCmdPushDescriptorSet` on the wire.
pub(crate) unsafe extern "system" fn vkCmdPushDescriptorSetWithTemplate(
    buffer: *mut c_void,
    id: u64,
    layout: u64,
    set: u32,
    data: *const c_void,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let Some(template) = dispatch::session(buffer).and_then(|session| template(session, id)) else {
            return;
        };
        let mut arrays = Arrays::default();
        let writes = template.writes(0, data.cast(), &mut arrays);
        let bind_point = template.bind_point.as_raw() as u32;
        let args = [
            buffer as u64,
            bind_point.into(),
            layout,
            set.into(),
            writes.len() as u64,
            writes.as_ptr() as u64,
        ];
        forward::record(buffer, &commands::VK_CMD_PUSH_DESCRIPTOR_SET, &args);
    }
}

/// `vkCmdPushDescriptorSetWithTemplate2`: `vkCmdPushDescriptorSet2` on the wire.
pub(crate) unsafe extern "system" fn vkCmdPushDescriptorSetWithTemplate2(
    buffer: *mut c_void,
    info: *const vk::PushDescriptorSetWithTemplateInfoKHR<'_>,
) {
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let info = &*info;
        let id = info.descriptor_update_template.as_raw();
        let Some(template) = dispatch::session(buffer).and_then(|session| template(session, id)) else {
            return;
        };
        let mut arrays = Arrays::default();
        let writes = template.writes(0, info.p_data.cast(), &mut arrays);
        let pushed = vk::PushDescriptorSetInfoKHR {
            // The chain may hold the layout itself.
            p_next: info.p_next,
            stage_flags: template.stages(),
            layout: info.layout,
            set: info.set,
            descriptor_write_count: writes.len() as u32,
            p_descriptor_writes: writes.as_ptr(),
            ..Default::default()
        };
        let args = [buffer as u64, &raw const pushed as u64];
        forward::record(buffer, &commands::VK_CMD_PUSH_DESCRIPTOR_SET_2, &args);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(binding: u32, count: u32, ty: vk::DescriptorType, offset: usize, stride: usize) -> Entry {
        Entry { binding, element: 1, count, ty, offset, stride }
    }

    #[test]
    fn update_when_data_are_strewn_becomes_plain_writes() {
        let image =
            |n| vk::DescriptorImageInfo { image_view: vk::ImageView::from_raw(n), ..Default::default() };
        #[repr(C)]
        struct Data {
            views: [(vk::DescriptorImageInfo, u64); 2],
            block: [u8; 8],
            structure: u64,
        }
        let data =
            Data { views: [(image(5), 0), (image(6), 0)], block: [1, 2, 3, 4, 5, 6, 7, 8], structure: 9 };
        let template = Template {
            gathers: false,
            entries: vec![
                entry(0, 2, vk::DescriptorType::SAMPLED_IMAGE, 0, 32),
                entry(1, 8, vk::DescriptorType::INLINE_UNIFORM_BLOCK, std::mem::offset_of!(Data, block), 0),
                entry(
                    2,
                    1,
                    vk::DescriptorType::ACCELERATION_STRUCTURE_KHR,
                    std::mem::offset_of!(Data, structure),
                    8,
                ),
                entry(3, 0, vk::DescriptorType::UNIFORM_BUFFER, 0, 0),
            ],
            bind_point: vk::PipelineBindPoint::COMPUTE,
        };
        let mut arrays = Arrays::default();
        // SAFETY: the data are as the entries say, and outlive the writes.
        unsafe {
            let writes = template.writes(77, (&raw const data).cast(), &mut arrays);
            assert_eq!(writes.len(), 3);
            assert!(writes.iter().all(|w| w.dst_set.as_raw() == 77 && w.dst_array_element == 1));
            assert_eq!((*writes[0].p_image_info.add(1)).image_view.as_raw(), 6);
            let block = &*writes[1].p_next.cast::<vk::WriteDescriptorSetInlineUniformBlock<'_>>();
            assert_eq!((block.data_size, *block.p_data.cast::<u8>().add(7)), (8, 8));
            let chained = &*writes[2].p_next.cast::<vk::WriteDescriptorSetAccelerationStructureKHR<'_>>();
            assert_eq!((*chained.p_acceleration_structures).as_raw(), 9);
        }
    }
}
