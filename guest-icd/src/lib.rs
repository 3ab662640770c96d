//! `libvulkan_vw.so`: a Vulkan driver without a GPU. Calls are encoded into a ring that a host executes.
//!
//! | layer | modules |
//! |---|---|
//! | loader interface, names | `icd`, `proc`, `generated::procs`, `hand` |
//! | one file for each Vulkan object | `instance`, `physical_device`, `device`, `queue`, `memory`, ... |
//! | all other entry points | `generated::entry`, which call `forward` |
//! | carrying commands | `forward`, `call`, `stream`, `sender` |
//! | the connection and what belongs to it | `session`, `completion`, `chunks`, `window`, `ids`, `table` |
//!
//! Nothing here aborts or unwinds into the program: when the host is gone, commands return
//! `VK_ERROR_DEVICE_LOST`. The library installs no signal handlers and has no thread-local state with destructors,
//! so that a program may unload it.

// Entry points are named and shaped as the specification has it.
#![allow(non_snake_case)]

mod alloc;
mod bind;
mod buffer;
mod call;
mod chain;
mod chunks;
mod command_buffer;
mod command_pool;
mod completion;
mod config;
mod cooperative_vector;
mod credits;
mod debug_utils;
mod deferred_operation;
mod descriptor_buffer;
mod descriptor_pool;
mod descriptor_set;
mod descriptor_set_layout;
mod descriptor_template;
mod descriptor_update;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod descriptor_update_tests;
mod device;
mod dispatch;
pub mod doctor;
mod enumerate;
mod external_memory;
mod failure;
mod fence;
mod forward;
mod frame;
#[allow(clippy::semicolon_if_nothing_returned, reason = "generated calls are formatted, not written")]
mod generated;
mod hand;
mod held;
mod host_image_copy;
mod icd;
mod ids;
mod image;
mod instance;
mod lifeline;
mod log;
mod map;
mod memories;
mod memory;
mod memory_report;
mod objects;
mod payload;
mod perf;
mod physical_device;
mod pipeline;
mod pipeline_binary;
mod pipeline_layout;
mod private_data;
mod proc;
mod query_pool;
mod queue;
mod recordings;
mod recycled;
mod requirements;
mod semaphore;
mod sender;
mod session;
mod shader;
mod staging;
mod straight;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod straight_tests;
mod stream;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod stream_tests;
mod submission;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod sync_tests;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod test_host;
mod window;
mod wsi;

pub use icd::{
    vk_icdGetInstanceProcAddr, vk_icdGetPhysicalDeviceProcAddr, vk_icdNegotiateLoaderICDInterfaceVersion,
};
