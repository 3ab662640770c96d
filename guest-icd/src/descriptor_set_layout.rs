//! `VkDescriptorSetLayout`: how much a set of it takes from its pool.

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;

use crate::chain;
use crate::dispatch;
use crate::forward;

/// Guest-side state of a layout.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SetLayout {
    /// Descriptors of each type (`VkDescriptorType`, bytes for inline uniform blocks), the variable binding left out.
    pub(crate) counts: Vec<(i32, u32)>,
    /// Type of the binding whose size is chosen at allocation.
    pub(crate) variable: Option<i32>,
}

impl SetLayout {
    /// From what the program said.
    ///
    /// # Safety
    /// `info` must be valid.
    unsafe fn new(info: &vk::DescriptorSetLayoutCreateInfo<'_>) -> Self {
        let mut layout = Self::default();
        // SAFETY: the caller's promise.
        unsafe {
            let flags =
                chain::find::<vk::DescriptorSetLayoutBindingFlagsCreateInfo<'_>>(info.p_next).as_ref();
            for i in 0..info.binding_count as usize {
                let binding = &*info.p_bindings.add(i);
                let kind = binding.descriptor_type.as_raw();
                let variable = flags.is_some_and(|flags| {
                    i < flags.binding_count as usize
                        && (*flags.p_binding_flags.add(i))
                            .contains(vk::DescriptorBindingFlags::VARIABLE_DESCRIPTOR_COUNT)
                });
                if variable {
                    layout.variable = Some(kind);
                } else {
                    layout.add(kind, binding.descriptor_count);
                }
            }
        }
        layout
    }

    fn add(&mut self, kind: i32, count: u32) {
        match self.counts.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.counts.push((kind, count)),
        }
    }
}

/// `vkCreateDescriptorSetLayout`
pub(crate) unsafe extern "system" fn vkCreateDescriptorSetLayout(
    device: *mut c_void,
    info: *const vk::DescriptorSetLayoutCreateInfo<'_>,
    callbacks: *const c_void,
    layout: *mut u64,
) -> i32 {
    let args = [device as u64, info as u64, callbacks as u64, layout as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        let cmd = &commands::VK_CREATE_DESCRIPTOR_SET_LAYOUT;
        let result = forward::create(device, cmd, &args, HandleType::DescriptorSetLayout, callbacks);
        if result == 0
            && let Some(session) = dispatch::session(device)
        {
            session.objects.set_layouts.insert(*layout, Arc::new(SetLayout::new(&*info)));
        }
        result
    }
}

/// `vkDestroyDescriptorSetLayout`
pub(crate) unsafe extern "system" fn vkDestroyDescriptorSetLayout(
    device: *mut c_void,
    layout: u64,
    callbacks: *const c_void,
) {
    let args = [device as u64, layout, callbacks as u64];
    // SAFETY: the application's valid usage of this command.
    unsafe {
        if let Some(session) = dispatch::session(device) {
            session.objects.set_layouts.remove(layout);
        }
        let cmd = &commands::VK_DESTROY_DESCRIPTOR_SET_LAYOUT;
        forward::destroy(device, cmd, &args, layout, HandleType::DescriptorSetLayout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_when_a_binding_is_variable_leaves_it_to_the_allocation() {
        let binding = |n, kind, count| {
            vk::DescriptorSetLayoutBinding::default().binding(n).descriptor_type(kind).descriptor_count(count)
        };
        let (buffer, image) = (vk::DescriptorType::UNIFORM_BUFFER, vk::DescriptorType::SAMPLED_IMAGE);
        let bindings = [binding(0, buffer, 2), binding(1, buffer, 3), binding(2, image, 1000)];
        let flags = [
            vk::DescriptorBindingFlags::empty(),
            vk::DescriptorBindingFlags::empty(),
            vk::DescriptorBindingFlags::VARIABLE_DESCRIPTOR_COUNT,
        ];
        let mut chained = vk::DescriptorSetLayoutBindingFlagsCreateInfo::default().binding_flags(&flags);
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings).push_next(&mut chained);
        // SAFETY: a valid structure.
        let layout = unsafe { SetLayout::new(&info) };
        assert_eq!(layout, SetLayout { counts: vec![(buffer.as_raw(), 5)], variable: Some(image.as_raw()) });
    }
}
