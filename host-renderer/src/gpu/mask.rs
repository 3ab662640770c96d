//! Features that drivers may offer and vw cannot forward.

use std::mem::offset_of;

use ash::vk;
use vw_wire_protocol::facts::Chain;

/// One feature that guests are told the device does not have.
#[derive(Clone, Copy)]
pub struct Masked {
    /// Structure that holds it.
    pub s_type: vk::StructureType,
    /// Offset of the `VkBool32` in the structure, in bytes.
    pub offset: usize,
    /// C name of the feature.
    pub name: &'static str,
    /// Why it cannot be forwarded.
    pub reason: &'static str,
}

macro_rules! masked {
    ($($ty:ident($s_type:ident).$field:ident = $name:literal: $reason:literal;)*) => {
        &[$(Masked {
            s_type: vk::StructureType::$s_type,
            offset: offset_of!(vk::$ty<'static>, $field),
            name: $name,
            reason: $reason,
        },)*]
    };
}

/// All of them.
pub static MASKED: &[Masked] = masked! {
    PhysicalDeviceAccelerationStructureFeaturesKHR(PHYSICAL_DEVICE_ACCELERATION_STRUCTURE_FEATURES_KHR)
        .acceleration_structure_host_commands = "accelerationStructureHostCommands":
        "reads and writes the program's own memory, whose extent the call does not say";
    PhysicalDeviceAccelerationStructureFeaturesKHR(PHYSICAL_DEVICE_ACCELERATION_STRUCTURE_FEATURES_KHR)
        .acceleration_structure_capture_replay = "accelerationStructureCaptureReplay":
        "addresses of one session mean nothing in another";
    PhysicalDeviceOpacityMicromapFeaturesEXT(PHYSICAL_DEVICE_OPACITY_MICROMAP_FEATURES_EXT)
        .micromap_host_commands = "micromapHostCommands":
        "reads and writes the program's own memory, whose extent the call does not say";
    PhysicalDeviceOpacityMicromapFeaturesEXT(PHYSICAL_DEVICE_OPACITY_MICROMAP_FEATURES_EXT)
        .micromap_capture_replay = "micromapCaptureReplay":
        "addresses of one session mean nothing in another";
    PhysicalDeviceRayTracingPipelineFeaturesKHR(PHYSICAL_DEVICE_RAY_TRACING_PIPELINE_FEATURES_KHR)
        .ray_tracing_pipeline_shader_group_handle_capture_replay = "rayTracingPipelineShaderGroupHandleCaptureReplay":
        "handles of one session mean nothing in another";
    PhysicalDeviceRayTracingPipelineFeaturesKHR(PHYSICAL_DEVICE_RAY_TRACING_PIPELINE_FEATURES_KHR)
        .ray_tracing_pipeline_shader_group_handle_capture_replay_mixed =
        "rayTracingPipelineShaderGroupHandleCaptureReplayMixed":
        "handles of one session mean nothing in another";
    PhysicalDeviceDescriptorBufferFeaturesEXT(PHYSICAL_DEVICE_DESCRIPTOR_BUFFER_FEATURES_EXT)
        .descriptor_buffer_capture_replay = "descriptorBufferCaptureReplay":
        "descriptors of one session mean nothing in another";
    PhysicalDeviceProtectedMemoryFeatures(PHYSICAL_DEVICE_PROTECTED_MEMORY_FEATURES)
        .protected_memory = "protectedMemory":
        "protected content does not pass through shared memory";
};

/// `VkPhysicalDeviceVulkan1xFeatures` repeat some of them.
static REPEATED: &[Masked] = masked! {
    PhysicalDeviceVulkan11Features(PHYSICAL_DEVICE_VULKAN_1_1_FEATURES)
        .protected_memory = "protectedMemory":
        "protected content does not pass through shared memory";
};

/// Every masked feature, with its repetitions.
pub fn all() -> impl Iterator<Item = &'static Masked> {
    MASKED.iter().chain(REPEATED)
}

/// Forces all masked features of a `VkPhysicalDeviceFeatures2` chain to false.
pub fn apply(features: &mut Chain) {
    for masked in all() {
        let body = features.body_mut(masked.s_type.as_raw());
        if let Some(flag) = body.and_then(|body| body.bytes_mut().get_mut(masked.offset..masked.offset + 4)) {
            flag.fill(0);
        }
    }
}

/// The first masked feature that a `pNext` chain of feature structures enables.
///
/// # Safety
/// `chain` must be null or a valid chain.
pub unsafe fn enabled(chain: *const u8) -> Option<&'static Masked> {
    let mut link = chain.cast::<vk::BaseInStructure<'_>>();
    while !link.is_null() {
        // SAFETY: every link of a valid chain begins with `sType` and `pNext`.
        let base = unsafe { *link };
        for masked in all().filter(|masked| masked.s_type == base.s_type) {
            // SAFETY: the `sType` says that the structure has a `VkBool32` at this offset.
            if unsafe { link.byte_add(masked.offset).cast::<u32>().read_unaligned() } != 0 {
                return Some(masked);
            }
        }
        link = base.p_next;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use vw_wire_protocol::generated::structs;

    use super::*;

    #[test]
    fn apply_when_features_are_set_clears_the_masked_ones_alone() {
        let mut rt = vk::PhysicalDeviceRayTracingPipelineFeaturesKHR {
            ray_tracing_pipeline: 1,
            ray_tracing_pipeline_shader_group_handle_capture_replay: 1,
            ..Default::default()
        };
        let root = vk::PhysicalDeviceFeatures2::default().push_next(&mut rt);
        // SAFETY: a valid chain.
        let mut chain =
            unsafe { Chain::capture(&structs::VK_PHYSICAL_DEVICE_FEATURES_2, ptr::from_ref(&root).cast()) };
        apply(&mut chain);
        let mut out = vk::PhysicalDeviceRayTracingPipelineFeaturesKHR::default();
        let mut root = vk::PhysicalDeviceFeatures2::default().push_next(&mut out);
        // SAFETY: a valid chain of writable structures.
        unsafe { chain.fill(ptr::from_mut(&mut root).cast()) };
        assert_eq!(out.ray_tracing_pipeline, 1);
        assert_eq!(out.ray_tracing_pipeline_shader_group_handle_capture_replay, 0);
    }

    #[test]
    fn enabled_when_a_masked_feature_is_asked_for_finds_it() {
        let find = |micromap_host_commands| {
            let mut micromap =
                vk::PhysicalDeviceOpacityMicromapFeaturesEXT { micromap_host_commands, ..Default::default() };
            let one = vk::PhysicalDeviceVulkan11Features {
                multiview: 1,
                p_next: ptr::from_mut(&mut micromap).cast(),
                ..Default::default()
            };
            // SAFETY: a valid chain.
            unsafe { enabled(ptr::from_ref(&one).cast()) }.map(|masked| masked.name)
        };
        assert_eq!(find(0), None);
        assert_eq!(find(1), Some("micromapHostCommands"));
    }

    #[test]
    fn offsets_when_compared_with_the_tables_lie_in_their_structures() {
        for masked in all() {
            let desc = structs::ALL.iter().find(|s| s.s_type == Some(masked.s_type.as_raw()));
            if let Some(desc) = desc {
                assert!(masked.offset >= 16 && masked.offset + 4 <= desc.size as usize, "{}", masked.name);
            }
        }
    }
}
