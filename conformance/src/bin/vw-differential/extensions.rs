//! Which device extensions and features the cases use: each where it is offered.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};

use ash::{ext, khr, vk};

/// Extensions enabled where offered. All others are exercised by the case that enables whatever there is.
const WANTED: &[&CStr] = &[
    ext::color_write_enable::NAME,
    ext::conditional_rendering::NAME,
    ext::custom_border_color::NAME,
    ext::depth_clip_enable::NAME,
    ext::extended_dynamic_state3::NAME,
    ext::external_memory_host::NAME,
    ext::graphics_pipeline_library::NAME,
    ext::host_image_copy::NAME,
    ext::index_type_uint8::NAME,
    ext::line_rasterization::NAME,
    ext::multi_draw::NAME,
    ext::primitive_topology_list_restart::NAME,
    ext::provoking_vertex::NAME,
    ext::robustness2::NAME,
    ext::transform_feedback::NAME,
    ext::vertex_attribute_divisor::NAME,
    ext::vertex_input_dynamic_state::NAME,
    khr::external_memory_fd::NAME,
    khr::pipeline_library::NAME,
    khr::push_descriptor::NAME,
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
            $(pub(crate) $field: vk::$type<'static>,)*
        }

        impl Features {
            /// Chains all structures whose extension is enabled, behind the features of Vulkan 1.0.
            pub(crate) fn chain<'a>(&'a mut self, enabled: &BTreeSet<CString>) -> vk::PhysicalDeviceFeatures2<'a> {
                let mut first = vk::PhysicalDeviceFeatures2::default()
                    .push_next(&mut self.v11)
                    .push_next(&mut self.v12)
                    .push_next(&mut self.v13);
                $(if enabled.contains($name) {
                    first = first.push_next(&mut self.$field);
                })*
                first
            }
        }
    };
}

features! {
    color_write: PhysicalDeviceColorWriteEnableFeaturesEXT if ext::color_write_enable::NAME;
    conditional: PhysicalDeviceConditionalRenderingFeaturesEXT if ext::conditional_rendering::NAME;
    border_color: PhysicalDeviceCustomBorderColorFeaturesEXT if ext::custom_border_color::NAME;
    depth_clip: PhysicalDeviceDepthClipEnableFeaturesEXT if ext::depth_clip_enable::NAME;
    dynamic_state3: PhysicalDeviceExtendedDynamicState3FeaturesEXT if ext::extended_dynamic_state3::NAME;
    pipeline_library: PhysicalDeviceGraphicsPipelineLibraryFeaturesEXT if ext::graphics_pipeline_library::NAME;
    host_copy: PhysicalDeviceHostImageCopyFeaturesEXT if ext::host_image_copy::NAME;
    index_uint8: PhysicalDeviceIndexTypeUint8FeaturesEXT if ext::index_type_uint8::NAME;
    lines: PhysicalDeviceLineRasterizationFeaturesEXT if ext::line_rasterization::NAME;
    multi_draw: PhysicalDeviceMultiDrawFeaturesEXT if ext::multi_draw::NAME;
    list_restart: PhysicalDevicePrimitiveTopologyListRestartFeaturesEXT if ext::primitive_topology_list_restart::NAME;
    provoking: PhysicalDeviceProvokingVertexFeaturesEXT if ext::provoking_vertex::NAME;
    robustness2: PhysicalDeviceRobustness2FeaturesEXT if ext::robustness2::NAME;
    transform_feedback: PhysicalDeviceTransformFeedbackFeaturesEXT if ext::transform_feedback::NAME;
    divisor: PhysicalDeviceVertexAttributeDivisorFeaturesEXT if ext::vertex_attribute_divisor::NAME;
    vertex_input: PhysicalDeviceVertexInputDynamicStateFeaturesEXT if ext::vertex_input_dynamic_state::NAME;
}
