//! Guest-side state of all non-dispatchable objects that have any.

use std::sync::Arc;

use crate::command_pool::CommandPool;
use crate::descriptor_buffer::Descriptors;
use crate::descriptor_pool::DescriptorPool;
use crate::descriptor_set_layout::SetLayout;
use crate::descriptor_template::Template;
use crate::fence::Fence;
use crate::host_image_copy::HostImage;
use crate::private_data::PrivateDataSlot;
use crate::requirements::Resources;
use crate::semaphore::Semaphore;
use crate::table::Table;
use crate::wsi::{Owed, Swapchain};

/// The tables, one for each type of object.
#[derive(Default)]
pub(crate) struct Objects {
    /// Fences; the host knows no more of them than payloads.
    pub(crate) fences: Table<Arc<Fence>>,
    /// Timeline semaphores, and those with payloads; others have no state here.
    pub(crate) semaphores: Table<Arc<Semaphore>>,
    /// Command pools.
    pub(crate) command_pools: Table<Arc<CommandPool>>,
    /// Descriptor pools.
    pub(crate) descriptor_pools: Table<Arc<DescriptorPool>>,
    /// Descriptor-set layouts.
    pub(crate) set_layouts: Table<Arc<SetLayout>>,
    /// Descriptor update templates; they exist in the guest only.
    pub(crate) templates: Table<Arc<Template>>,
    /// Private data slots; they exist in the guest only.
    pub(crate) private_data_slots: Table<Arc<PrivateDataSlot>>,
    /// Images that the host's processor may copy.
    pub(crate) host_images: Table<Arc<HostImage>>,
    /// Swapchains; they exist in the guest only.
    pub(crate) swapchains: Table<Arc<Swapchain>>,
    /// Binary semaphores that are signalled in the guest.
    pub(crate) owed: Owed,
    /// Buffers and images, as far as their memory requirements are known.
    pub(crate) resources: Resources,
    /// Descriptors for buffers of them.
    pub(crate) descriptors: Descriptors,
}
