//! Every command that is written by hand, for the generated table of names.

pub(crate) use crate::buffer::{
    vkBindBufferMemory2, vkCreateBuffer, vkDestroyBuffer, vkGetBufferMemoryRequirements,
    vkGetBufferMemoryRequirements2,
};
pub(crate) use crate::command_buffer::{
    vkAllocateCommandBuffers, vkBeginCommandBuffer, vkCmdExecuteCommands,
    vkCmdPreprocessGeneratedCommandsEXT, vkEndCommandBuffer, vkFreeCommandBuffers, vkResetCommandBuffer,
};
pub(crate) use crate::command_pool::{
    vkCreateCommandPool, vkDestroyCommandPool, vkResetCommandPool, vkTrimCommandPool,
};
pub(crate) use crate::cooperative_vector::vkConvertCooperativeVectorMatrixNV;
pub(crate) use crate::debug_utils::{
    vkCreateDebugUtilsMessengerEXT, vkDestroyDebugUtilsMessengerEXT, vkSetDebugUtilsObjectNameEXT,
    vkSetDebugUtilsObjectTagEXT, vkSubmitDebugUtilsMessageEXT,
};
pub(crate) use crate::deferred_operation::{
    vkCreateDeferredOperationKHR, vkDeferredOperationJoinKHR, vkDestroyDeferredOperationKHR,
    vkGetDeferredOperationMaxConcurrencyKHR, vkGetDeferredOperationResultKHR,
};
pub(crate) use crate::descriptor_buffer::vkGetDescriptorEXT;
pub(crate) use crate::descriptor_pool::{
    vkCreateDescriptorPool, vkDestroyDescriptorPool, vkResetDescriptorPool,
};
pub(crate) use crate::descriptor_set::{vkAllocateDescriptorSets, vkFreeDescriptorSets};
pub(crate) use crate::descriptor_set_layout::{vkCreateDescriptorSetLayout, vkDestroyDescriptorSetLayout};
pub(crate) use crate::descriptor_template::{
    vkCmdPushDescriptorSetWithTemplate, vkCmdPushDescriptorSetWithTemplate2,
    vkCreateDescriptorUpdateTemplate, vkDestroyDescriptorUpdateTemplate, vkUpdateDescriptorSetWithTemplate,
};
pub(crate) use crate::descriptor_update::vkUpdateDescriptorSets;
pub(crate) use crate::device::{
    vkCreateDevice, vkDestroyDevice, vkDeviceWaitIdle, vkGetDeviceProcAddr, vkGetDeviceQueue,
    vkGetDeviceQueue2,
};
pub(crate) use crate::external_memory::{
    vkGetMemoryFdKHR, vkGetMemoryFdPropertiesKHR, vkGetMemoryHostPointerPropertiesEXT,
};
pub(crate) use crate::fence::{
    vkCreateFence, vkDestroyFence, vkGetFenceFdKHR, vkGetFenceStatus, vkImportFenceFdKHR, vkResetFences,
    vkWaitForFences,
};
pub(crate) use crate::host_image_copy::{vkCopyImageToImage, vkCopyImageToMemory, vkCopyMemoryToImage};
pub(crate) use crate::image::{
    vkBindImageMemory2, vkCreateImage, vkDestroyImage, vkGetImageMemoryRequirements,
    vkGetImageMemoryRequirements2,
};
pub(crate) use crate::instance::{
    vkCreateInstance, vkDestroyInstance, vkEnumerateInstanceExtensionProperties,
    vkEnumerateInstanceLayerProperties, vkEnumerateInstanceVersion, vkEnumeratePhysicalDeviceGroups,
    vkEnumeratePhysicalDevices, vkGetInstanceProcAddr,
};
pub(crate) use crate::map::{
    vkFlushMappedMemoryRanges, vkInvalidateMappedMemoryRanges, vkMapMemory, vkMapMemory2, vkUnmapMemory,
    vkUnmapMemory2,
};
pub(crate) use crate::memory::{vkAllocateMemory, vkFreeMemory};
pub(crate) use crate::physical_device::{
    vkEnumerateDeviceExtensionProperties, vkEnumerateDeviceLayerProperties,
    vkGetPhysicalDeviceExternalFenceProperties, vkGetPhysicalDeviceExternalSemaphoreProperties,
    vkGetPhysicalDeviceFeatures, vkGetPhysicalDeviceFeatures2, vkGetPhysicalDeviceFormatProperties,
    vkGetPhysicalDeviceFormatProperties2, vkGetPhysicalDeviceImageFormatProperties,
    vkGetPhysicalDeviceImageFormatProperties2, vkGetPhysicalDeviceMemoryProperties,
    vkGetPhysicalDeviceMemoryProperties2, vkGetPhysicalDeviceProperties, vkGetPhysicalDeviceProperties2,
    vkGetPhysicalDeviceQueueFamilyProperties, vkGetPhysicalDeviceQueueFamilyProperties2,
    vkGetPhysicalDeviceToolProperties,
};
pub(crate) use crate::pipeline::{
    vkCreateComputePipelines, vkCreateGraphicsPipelines, vkCreateRayTracingPipelinesKHR,
    vkCreateRayTracingPipelinesNV,
};
pub(crate) use crate::pipeline_binary::vkCreatePipelineBinariesKHR;
pub(crate) use crate::pipeline_layout::vkDestroyPipelineLayout;
pub(crate) use crate::private_data::{
    vkCreatePrivateDataSlot, vkDestroyPrivateDataSlot, vkGetPrivateData, vkSetPrivateData,
};
pub(crate) use crate::query_pool::vkGetQueryPoolResults;
pub(crate) use crate::queue::{vkQueueBindSparse, vkQueueSubmit, vkQueueSubmit2, vkQueueWaitIdle};
pub(crate) use crate::semaphore::{
    vkCreateSemaphore, vkDestroySemaphore, vkGetSemaphoreCounterValue, vkGetSemaphoreFdKHR,
    vkImportSemaphoreFdKHR, vkSignalSemaphore, vkWaitSemaphores,
};
pub(crate) use crate::shader::vkCreateShadersEXT;
pub(crate) use crate::wsi::{
    vkAcquireNextImage2KHR, vkAcquireNextImageKHR, vkCreateHeadlessSurfaceEXT, vkCreateSwapchainKHR,
    vkCreateWaylandSurfaceKHR, vkCreateXcbSurfaceKHR, vkCreateXlibSurfaceKHR, vkDestroySurfaceKHR,
    vkDestroySwapchainKHR, vkGetDeviceGroupPresentCapabilitiesKHR, vkGetDeviceGroupSurfacePresentModesKHR,
    vkGetPhysicalDevicePresentRectanglesKHR, vkGetPhysicalDeviceSurfaceCapabilities2KHR,
    vkGetPhysicalDeviceSurfaceCapabilitiesKHR, vkGetPhysicalDeviceSurfaceFormats2KHR,
    vkGetPhysicalDeviceSurfaceFormatsKHR, vkGetPhysicalDeviceSurfacePresentModesKHR,
    vkGetPhysicalDeviceSurfaceSupportKHR, vkGetPhysicalDeviceWaylandPresentationSupportKHR,
    vkGetPhysicalDeviceXcbPresentationSupportKHR, vkGetPhysicalDeviceXlibPresentationSupportKHR,
    vkGetSwapchainImagesKHR, vkQueuePresentKHR, vkReleaseSwapchainImagesEXT, vkWaitForPresentKHR,
};
