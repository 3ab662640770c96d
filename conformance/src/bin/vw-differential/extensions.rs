//! Which device extensions and features the cases use: each where it is offered.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};

use ash::{ext, khr, vk};

use crate::generated_types;

const GENERATED_COMMANDS: &CStr = c"VK_EXT_device_generated_commands";

/// Extensions enabled where offered. All others are exercised by the case that enables whatever there is.
const WANTED: &[&CStr] = &[
    ext::attachment_feedback_loop_dynamic_state::NAME,
    ext::attachment_feedback_loop_layout::NAME,
    ext::calibrated_timestamps::NAME,
    ext::color_write_enable::NAME,
    ext::conditional_rendering::NAME,
    ext::custom_border_color::NAME,
    ext::depth_clip_control::NAME,
    ext::depth_clip_enable::NAME,
    ext::descriptor_buffer::NAME,
    ext::extended_dynamic_state2::NAME,
    ext::extended_dynamic_state3::NAME,
    GENERATED_COMMANDS,
    ext::external_memory_host::NAME,
    ext::graphics_pipeline_library::NAME,
    ext::host_image_copy::NAME,
    ext::index_type_uint8::NAME,
    ext::line_rasterization::NAME,
    ext::memory_priority::NAME,
    ext::mesh_shader::NAME,
    ext::multi_draw::NAME,
    ext::mutable_descriptor_type::NAME,
    ext::pageable_device_local_memory::NAME,
    ext::primitive_topology_list_restart::NAME,
    ext::primitives_generated_query::NAME,
    ext::provoking_vertex::NAME,
    ext::robustness2::NAME,
    ext::shader_object::NAME,
    ext::transform_feedback::NAME,
    ext::vertex_attribute_divisor::NAME,
    ext::vertex_input_dynamic_state::NAME,
    khr::external_memory_fd::NAME,
    khr::acceleration_structure::NAME,
    khr::deferred_host_operations::NAME,
    khr::dynamic_rendering_local_read::NAME,
    khr::line_rasterization::NAME,
    khr::maintenance5::NAME,
    khr::maintenance6::NAME,
    khr::map_memory2::NAME,
    khr::pipeline_library::NAME,
    khr::push_descriptor::NAME,
    khr::ray_query::NAME,
    khr::ray_tracing_maintenance1::NAME,
    khr::ray_tracing_pipeline::NAME,
];

/// The extensions of a device.
pub(crate) unsafe fn offered(instance: &ash::Instance, physical: vk::PhysicalDevice) -> BTreeSet<CString> {
    let extensions =
        instance.enumerate_device_extension_properties(physical).expect("the device's extensions");
    extensions.iter().map(|extension| extension.extension_name_as_c_str().unwrap().to_owned()).collect()
}

/// Those of [`WANTED`] that are offered.
pub(crate) fn choose(offered: &BTreeSet<CString>) -> BTreeSet<CString> {
    WANTED.iter().filter(|name| offered.contains(**name)).map(|name| (*name).to_owned()).collect()
}

/// Extensions that a program without a window cannot enable, or that exclude others.
pub(crate) fn is_exceptional(name: &CStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    ["swapchain", "present", "display", "surface", "shared_presentable"]
        .iter()
        .any(|part| name.contains(part))
        || name == "VK_EXT_buffer_device_address"
}

macro_rules! features {
    ($($field:ident: $type:ident if $name:expr;)*) => {
        /// The feature structures of the core versions and of [`WANTED`].
        #[derive(Default)]
        pub(crate) struct Features {
            pub(crate) v11: vk::PhysicalDeviceVulkan11Features<'static>,
            pub(crate) v12: vk::PhysicalDeviceVulkan12Features<'static>,
            pub(crate) v13: vk::PhysicalDeviceVulkan13Features<'static>,
            pub(crate) generated: generated_types::Features,
            $(pub(crate) $field: vk::$type<'static>,)*
        }

        impl Features {
            /// Chains all structures whose extension is enabled, behind the features of Vulkan 1.0.
            pub(crate) fn chain<'a>(&'a mut self, enabled: &BTreeSet<CString>) -> vk::PhysicalDeviceFeatures2<'a> {
                let mut first = vk::PhysicalDeviceFeatures2::default()
                    .push_next(&mut self.v11)
                    .push_next(&mut self.v12)
                    .push_next(&mut self.v13);
                if enabled.contains(GENERATED_COMMANDS) {
                    first = first.push_next(&mut self.generated);
                }
                $(if enabled.contains($name) {
                    first = first.push_next(&mut self.$field);
                })*
                first
            }
        }
    };
}

features! {
    acceleration: PhysicalDeviceAccelerationStructureFeaturesKHR if khr::acceleration_structure::NAME;
    border_color: PhysicalDeviceCustomBorderColorFeaturesEXT if ext::custom_border_color::NAME;
    color_write: PhysicalDeviceColorWriteEnableFeaturesEXT if ext::color_write_enable::NAME;
    conditional: PhysicalDeviceConditionalRenderingFeaturesEXT if ext::conditional_rendering::NAME;
    depth_clip: PhysicalDeviceDepthClipEnableFeaturesEXT if ext::depth_clip_enable::NAME;
    depth_clip_control: PhysicalDeviceDepthClipControlFeaturesEXT if ext::depth_clip_control::NAME;
    descriptor_buffer: PhysicalDeviceDescriptorBufferFeaturesEXT if ext::descriptor_buffer::NAME;
    divisor: PhysicalDeviceVertexAttributeDivisorFeaturesEXT if ext::vertex_attribute_divisor::NAME;
    dynamic_state2: PhysicalDeviceExtendedDynamicState2FeaturesEXT if ext::extended_dynamic_state2::NAME;
    dynamic_state3: PhysicalDeviceExtendedDynamicState3FeaturesEXT if ext::extended_dynamic_state3::NAME;
    host_copy: PhysicalDeviceHostImageCopyFeaturesEXT if ext::host_image_copy::NAME;
    feedback_loop: PhysicalDeviceAttachmentFeedbackLoopLayoutFeaturesEXT if ext::attachment_feedback_loop_layout::NAME;
    feedback_state: PhysicalDeviceAttachmentFeedbackLoopDynamicStateFeaturesEXT
        if ext::attachment_feedback_loop_dynamic_state::NAME;
    index_uint8: PhysicalDeviceIndexTypeUint8FeaturesEXT if ext::index_type_uint8::NAME;
    lines: PhysicalDeviceLineRasterizationFeaturesEXT if ext::line_rasterization::NAME;
    list_restart: PhysicalDevicePrimitiveTopologyListRestartFeaturesEXT if ext::primitive_topology_list_restart::NAME;
    local_read: PhysicalDeviceDynamicRenderingLocalReadFeaturesKHR if khr::dynamic_rendering_local_read::NAME;
    maintenance5: PhysicalDeviceMaintenance5FeaturesKHR if khr::maintenance5::NAME;
    maintenance6: PhysicalDeviceMaintenance6FeaturesKHR if khr::maintenance6::NAME;
    memory_priority: PhysicalDeviceMemoryPriorityFeaturesEXT if ext::memory_priority::NAME;
    mesh_shader: PhysicalDeviceMeshShaderFeaturesEXT if ext::mesh_shader::NAME;
    multi_draw: PhysicalDeviceMultiDrawFeaturesEXT if ext::multi_draw::NAME;
    mutable_descriptors: PhysicalDeviceMutableDescriptorTypeFeaturesEXT if ext::mutable_descriptor_type::NAME;
    pageable: PhysicalDevicePageableDeviceLocalMemoryFeaturesEXT if ext::pageable_device_local_memory::NAME;
    pipeline_library: PhysicalDeviceGraphicsPipelineLibraryFeaturesEXT if ext::graphics_pipeline_library::NAME;
    primitives_generated: PhysicalDevicePrimitivesGeneratedQueryFeaturesEXT if ext::primitives_generated_query::NAME;
    provoking: PhysicalDeviceProvokingVertexFeaturesEXT if ext::provoking_vertex::NAME;
    ray_query: PhysicalDeviceRayQueryFeaturesKHR if khr::ray_query::NAME;
    ray_tracing: PhysicalDeviceRayTracingPipelineFeaturesKHR if khr::ray_tracing_pipeline::NAME;
    ray_tracing1: PhysicalDeviceRayTracingMaintenance1FeaturesKHR if khr::ray_tracing_maintenance1::NAME;
    robustness2: PhysicalDeviceRobustness2FeaturesEXT if ext::robustness2::NAME;
    shader_object: PhysicalDeviceShaderObjectFeaturesEXT if ext::shader_object::NAME;
    transform_feedback: PhysicalDeviceTransformFeedbackFeaturesEXT if ext::transform_feedback::NAME;
    vertex_input: PhysicalDeviceVertexInputDynamicStateFeaturesEXT if ext::vertex_input_dynamic_state::NAME;
}
