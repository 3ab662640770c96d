//! The host's side of each kind of object, where it needs more than a call. Files mirror the guest's.

pub mod bind;
pub mod buffer;
pub mod command_buffer;
pub mod compiling;
pub mod cooperative_vector;
pub mod credits;
pub mod debug_utils;
pub mod descriptor_set;
pub mod device;
pub mod external;
pub mod frame;
pub mod host_image_copy;
pub mod image;
pub mod joined;
pub mod memory;
pub mod payload;
pub mod physical_device;
pub mod pipeline;
pub mod pool;
pub mod queue;
pub mod requirements;
pub mod semaphore;
pub(crate) mod submission;
