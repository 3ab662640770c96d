//! Structures of `VK_EXT_device_generated_commands`, which is newer than `ash`.

use std::ffi::c_void;
use std::ptr;

use ash::vk;
use vk::{Bool32, DeviceAddress, PipelineLayout, ShaderStageFlags, StructureType};

const fn structure(offset: i32) -> StructureType {
    StructureType::from_raw(1_000_572_000 + offset)
}

pub(crate) const REQUIREMENTS_INFO: StructureType = structure(2);
pub(crate) const INFO: StructureType = structure(4);
pub(crate) const LAYOUT_INFO: StructureType = structure(6);
/// `VK_INDIRECT_COMMANDS_LAYOUT_USAGE_EXPLICIT_PREPROCESS_BIT_EXT`
pub(crate) const EXPLICIT_PREPROCESS: u32 = 1;
/// `VK_BUFFER_USAGE_2_PREPROCESS_BUFFER_BIT_EXT`
pub(crate) const PREPROCESS_BUFFER: u64 = 1 << 31;
/// `VK_PIPELINE_CREATE_2_INDIRECT_BINDABLE_BIT_EXT`
pub(crate) const INDIRECT_BINDABLE: u64 = 1 << 38;

/// `VkPhysicalDeviceDeviceGeneratedCommandsFeaturesEXT`
#[repr(C)]
pub(crate) struct Features {
    s_type: StructureType,
    p_next: *mut c_void,
    pub(crate) device_generated_commands: Bool32,
    dynamic_generated_pipeline_layout: Bool32,
}

impl Default for Features {
    fn default() -> Self {
        let p_next = ptr::null_mut();
        Self {
            s_type: structure(0),
            p_next,
            device_generated_commands: 0,
            dynamic_generated_pipeline_layout: 0,
        }
    }
}

// SAFETY: the structure begins with type and chain, and extends the features says the registry.
unsafe impl vk::ExtendsPhysicalDeviceFeatures2 for Features {}

/// `VkPhysicalDeviceDeviceGeneratedCommandsPropertiesEXT`
#[repr(C)]
pub(crate) struct Properties {
    s_type: StructureType,
    p_next: *mut c_void,
    pub(crate) facts: Facts,
}

/// What [`Properties`] says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    max_pipelines: u32,
    max_shader_objects: u32,
    max_sequences: u32,
    max_tokens: u32,
    max_token_offset: u32,
    max_stride: u32,
    input_modes: u32,
    stages: ShaderStageFlags,
    pub(crate) pipeline_binding: ShaderStageFlags,
    shader_binding: ShaderStageFlags,
    transform_feedback: Bool32,
    draw_counts: Bool32,
}

impl Default for Properties {
    fn default() -> Self {
        Self { s_type: structure(1), p_next: ptr::null_mut(), facts: Facts::default() }
    }
}

// SAFETY: as for the features.
unsafe impl vk::ExtendsPhysicalDeviceProperties2 for Properties {}

/// `VkIndirectCommandsVertexBufferTokenEXT`
#[repr(C)]
pub(crate) struct VertexToken {
    pub(crate) binding: u32,
}

/// `VkIndirectCommandsExecutionSetTokenEXT`
#[repr(C)]
pub(crate) struct SetToken {
    /// 0 for pipelines.
    pub(crate) kind: u32,
    pub(crate) shader_stages: ShaderStageFlags,
}

/// `VkIndirectCommandsLayoutTokenEXT`; `data` points to what the type asks for.
#[repr(C)]
pub(crate) struct Token {
    s_type: StructureType,
    p_next: *const c_void,
    kind: u32,
    data: *const c_void,
    offset: u32,
}

impl Token {
    fn new<T>(kind: u32, data: *const T, offset: u32) -> Self {
        Self { s_type: structure(7), p_next: ptr::null(), kind, data: data.cast(), offset }
    }

    pub(crate) fn execution_set(data: &SetToken, offset: u32) -> Self {
        Self::new(0, data, offset)
    }

    pub(crate) fn push(range: &vk::PushConstantRange, offset: u32) -> Self {
        Self::new(1, range, offset)
    }

    pub(crate) fn vertex_buffer(data: &VertexToken, offset: u32) -> Self {
        Self::new(4, data, offset)
    }

    pub(crate) fn draw(offset: u32) -> Self {
        Self::new::<()>(6, ptr::null(), offset)
    }

    pub(crate) fn dispatch(offset: u32) -> Self {
        Self::new::<()>(9, ptr::null(), offset)
    }
}

/// `VkIndirectCommandsLayoutCreateInfoEXT`
#[repr(C)]
pub(crate) struct LayoutInfo {
    pub(crate) s_type: StructureType,
    pub(crate) p_next: *const c_void,
    pub(crate) flags: u32,
    pub(crate) shader_stages: ShaderStageFlags,
    pub(crate) indirect_stride: u32,
    pub(crate) pipeline_layout: PipelineLayout,
    pub(crate) token_count: u32,
    pub(crate) p_tokens: *const Token,
}

/// `VkGeneratedCommandsPipelineInfoEXT`
#[repr(C)]
pub(crate) struct PipelineInfo {
    s_type: StructureType,
    p_next: *mut c_void,
    pub(crate) pipeline: vk::Pipeline,
}

impl PipelineInfo {
    pub(crate) fn new(pipeline: vk::Pipeline) -> Self {
        Self { s_type: structure(13), p_next: ptr::null_mut(), pipeline }
    }
}

/// `VkGeneratedCommandsMemoryRequirementsInfoEXT`
#[repr(C)]
pub(crate) struct RequirementsInfo {
    pub(crate) s_type: StructureType,
    pub(crate) p_next: *const c_void,
    pub(crate) set: u64,
    pub(crate) layout: u64,
    pub(crate) max_sequence_count: u32,
    pub(crate) max_draw_count: u32,
}

/// `VkGeneratedCommandsInfoEXT`
#[repr(C)]
pub(crate) struct Info {
    pub(crate) s_type: StructureType,
    pub(crate) p_next: *const c_void,
    pub(crate) shader_stages: ShaderStageFlags,
    pub(crate) set: u64,
    pub(crate) layout: u64,
    pub(crate) indirect_address: DeviceAddress,
    pub(crate) indirect_size: u64,
    pub(crate) preprocess_address: DeviceAddress,
    pub(crate) preprocess_size: u64,
    pub(crate) max_sequence_count: u32,
    pub(crate) sequence_count_address: DeviceAddress,
    pub(crate) max_draw_count: u32,
}

/// `VkIndirectExecutionSetPipelineInfoEXT`
#[repr(C)]
pub(crate) struct SetPipelines {
    s_type: StructureType,
    p_next: *const c_void,
    initial: vk::Pipeline,
    count: u32,
}

impl SetPipelines {
    pub(crate) fn new(initial: vk::Pipeline, count: u32) -> Self {
        Self { s_type: structure(10), p_next: ptr::null(), initial, count }
    }
}

/// `VkIndirectExecutionSetCreateInfoEXT`
#[repr(C)]
pub(crate) struct SetInfo {
    s_type: StructureType,
    p_next: *const c_void,
    kind: u32,
    info: *const c_void,
}

impl SetInfo {
    pub(crate) fn pipelines(info: &SetPipelines) -> Self {
        Self { s_type: structure(3), p_next: ptr::null(), kind: 0, info: ptr::from_ref(info).cast() }
    }
}

/// `VkWriteIndirectExecutionSetPipelineEXT`
#[repr(C)]
pub(crate) struct SetWrite {
    s_type: StructureType,
    p_next: *const c_void,
    index: u32,
    pipeline: vk::Pipeline,
}

impl SetWrite {
    pub(crate) fn new(index: u32, pipeline: vk::Pipeline) -> Self {
        Self { s_type: structure(8), p_next: ptr::null(), index, pipeline }
    }
}

pub(crate) type Create<T> =
    unsafe extern "system" fn(vk::Device, *const T, *const c_void, *mut u64) -> vk::Result;
pub(crate) type Destroy = unsafe extern "system" fn(vk::Device, u64, *const c_void);
pub(crate) type UpdateSet = unsafe extern "system" fn(vk::Device, u64, u32, *const SetWrite);
pub(crate) type Requirements =
    unsafe extern "system" fn(vk::Device, *const RequirementsInfo, *mut vk::MemoryRequirements2<'_>);
pub(crate) type Preprocess = unsafe extern "system" fn(vk::CommandBuffer, *const Info, vk::CommandBuffer);
pub(crate) type Execute = unsafe extern "system" fn(vk::CommandBuffer, Bool32, *const Info);
