//! Which commands a guest may send, and which of them need more than a call.

use std::mem::size_of;

use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::{Class, Command, Count, Op};

/// What the host does with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Decode, call, answer.
    Plain,
    /// As plain; the object of this type that it names is gone afterwards.
    Destroy(HandleType),
    /// `vkFreeCommandBuffers`, `vkFreeDescriptorSets`: all objects of this type that it names are gone, and they
    /// have to be of the pool that it names.
    FreeChildren(HandleType),
    /// `vkDestroyDevice`.
    DestroyDevice,
    /// `vkDestroyCommandPool`, `vkDestroyDescriptorPool`: what was allocated from the pool goes with it.
    DestroyPool(HandleType),
    /// `vkResetDescriptorPool`: its sets are freed.
    ResetDescriptorPool,
    /// `vkResetCommandPool`: its command buffers are no longer recorded.
    ResetCommandPool,
    /// `vkCreateBuffer`, `vkGetDeviceBufferMemoryRequirements`.
    Buffer,
    /// `vkCreateImage`, `vkGetDeviceImageMemoryRequirements` and the sparse one.
    Image,
    /// `vkCreate*Pipelines*`: compiled while the session goes on.
    Pipelines,
    /// `vkCreatePipelineCache`.
    PipelineCache,
    /// `vkGetPipelineCacheData` and its like: what is being compiled with the objects that it names comes first.
    PipelineUse,
    /// `vkBindBufferMemory`, `vkBindImageMemory` and their second versions.
    Bind,
    /// `vkQueueSubmit`, `vkQueueSubmit2`, `vkQueueBindSparse`.
    Submit,
    /// `vkBeginCommandBuffer`.
    Begin,
    /// `vkEndCommandBuffer`.
    End,
    /// `vkResetCommandBuffer`.
    ResetCommandBuffer,
    /// `vkCmdExecuteCommands`: in streams; runs other command buffers.
    Execute,
    /// `vkCopyMemoryToImage`, `vkCopyImageToMemory`: the texels are in the window.
    HostCopy,
    /// `vkConvertCooperativeVectorMatrixNV`: the matrices are in the window.
    ConvertMatrix,
    /// `vkCopyImageToImage`.
    HostImageCopy,
    /// `vk*DebugUtilsLabelEXT`: for tools; a driver that does not have it misses nothing.
    Label,
    /// Never taken from a guest, with the reason.
    Refused(&'static str),
}

impl Kind {
    /// Whether the host's processor may write memory that the guest sees while such a command runs.
    pub fn changes_memory(self) -> bool {
        matches!(self, Self::HostCopy | Self::HostImageCopy)
    }
}

/// Commands with a reason of their own not to be taken as they are.
const REFUSED: &[(&str, &str)] = &[
    ("vkCreateDevice", "devices are created with a record of vw's own"),
    ("vkAllocateMemory", "memory is allocated with a record of vw's own"),
];

/// A command's kind and what else is asked about it each time.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// What the host does with it.
    pub kind: Kind,
    /// Its first parameter is the physical device.
    pub physical: bool,
    /// Slots (bits) of pointers that no driver expects to be null.
    pub required: u32,
}

/// Pointers to one element that may be null.
const OPTIONAL: &[(&str, usize)] = &[
    ("vkGetPipelineKeyKHR", 1),
    ("vkCmdDrawMultiIndexedEXT", 6),
    ("vkGetDeviceFaultInfoEXT", 2),
    ("vkCmdSetDepthClampRangeEXT", 2),
];

/// The policy of each command, by opcode.
#[derive(Debug)]
pub struct Policies(Box<[Policy]>);

impl Policies {
    /// Makes the table.
    pub fn new() -> Self {
        let refused = Policy { kind: Kind::Refused("no such command"), physical: false, required: 0 };
        let mut table = vec![refused; commands::ALL.len() + 1].into_boxed_slice();
        for command in commands::ALL {
            if let Some(slot) = table.get_mut(usize::from(command.opcode)) {
                *slot = policy(command);
            }
        }
        Self(table)
    }

    /// The policy of a command of the tables.
    #[inline]
    pub fn of(&self, command: &Command) -> Policy {
        self.0[usize::from(command.opcode)]
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self::new()
    }
}

fn policy(command: &Command) -> Policy {
    let first = command.params.iter().find_map(|op| match op {
        Op::Handle { off: 0, ty, .. } => Some(*ty),
        _ => None,
    });
    let physical = first == Some(HandleType::PhysicalDevice);
    Policy { kind: kind(command, first), physical, required: required(command) }
}

fn required(command: &Command) -> u32 {
    let slots = command.params.iter().filter_map(|op| match op {
        Op::Pointer(pointer) if matches!(pointer.count, Count::One) => {
            Some(usize::from(pointer.off) / size_of::<u64>())
        }
        _ => None,
    });
    let required = slots.filter(|slot| !OPTIONAL.contains(&(command.name, *slot)));
    required.fold(0, |bits, slot| bits | 1 << slot)
}

/// Type of the last object that a command names by itself, its first excluded.
fn last_handle(command: &Command) -> Option<HandleType> {
    command.params.iter().rev().find_map(|op| match op {
        Op::Handle { off, ty, .. } if *off > 0 => Some(*ty),
        _ => None,
    })
}

fn kind(command: &Command, first: Option<HandleType>) -> Kind {
    if command.class == Class::Local {
        return Kind::Refused("the guest answers it alone");
    }
    if let Some((_, reason)) = REFUSED.iter().find(|(name, _)| *name == command.name) {
        return Kind::Refused(reason);
    }
    match first {
        None => return Kind::Refused("it has no object"),
        Some(HandleType::Instance) => return Kind::Refused("the instance is the host's own"),
        Some(_) => {}
    }
    match command.name {
        "vkDestroyDevice" => Kind::DestroyDevice,
        "vkDestroyCommandPool" => Kind::DestroyPool(HandleType::CommandPool),
        "vkDestroyDescriptorPool" => Kind::DestroyPool(HandleType::DescriptorPool),
        "vkFreeCommandBuffers" => Kind::FreeChildren(HandleType::CommandBuffer),
        "vkFreeDescriptorSets" => Kind::FreeChildren(HandleType::DescriptorSet),
        "vkResetDescriptorPool" => Kind::ResetDescriptorPool,
        "vkResetCommandPool" => Kind::ResetCommandPool,
        "vkCreateBuffer" | "vkGetDeviceBufferMemoryRequirements" => Kind::Buffer,
        "vkCreateImage"
        | "vkGetDeviceImageMemoryRequirements"
        | "vkGetDeviceImageSparseMemoryRequirements" => Kind::Image,
        "vkBindBufferMemory" | "vkBindBufferMemory2" | "vkBindImageMemory" | "vkBindImageMemory2" => {
            Kind::Bind
        }
        "vkCopyMemoryToImage" | "vkCopyImageToMemory" => Kind::HostCopy,
        "vkConvertCooperativeVectorMatrixNV" => Kind::ConvertMatrix,
        "vkCopyImageToImage" => Kind::HostImageCopy,
        "vkCreateGraphicsPipelines"
        | "vkCreateComputePipelines"
        | "vkCreateRayTracingPipelinesKHR"
        | "vkCreateRayTracingPipelinesNV" => Kind::Pipelines,
        "vkCreatePipelineCache" => Kind::PipelineCache,
        "vkGetPipelineCacheData" | "vkMergePipelineCaches" | "vkReleaseCapturedPipelineDataKHR" => {
            Kind::PipelineUse
        }
        "vkQueueSubmit" | "vkQueueSubmit2" | "vkQueueBindSparse" => Kind::Submit,
        "vkBeginCommandBuffer" => Kind::Begin,
        "vkEndCommandBuffer" => Kind::End,
        "vkResetCommandBuffer" => Kind::ResetCommandBuffer,
        "vkCmdExecuteCommands" => Kind::Execute,
        name if name.ends_with("DebugUtilsLabelEXT") => Kind::Label,
        name if name.starts_with("vkDestroy") || name.starts_with("vkFree") => {
            last_handle(command).map_or(Kind::Refused("it is not known what it destroys"), Kind::Destroy)
        }
        _ => Kind::Plain,
    }
}

/// The command that destroys objects of a type: `vkDestroyX(device, x, allocator)`. Objects of types without one
/// go with their parent.
pub fn destroyer(ty: HandleType) -> Option<&'static Command> {
    commands::ALL.iter().copied().find(|command| {
        let mut handles = command.params.iter().filter_map(|op| match op {
            Op::Handle { off, ty, .. } => Some((*off, *ty)),
            _ => None,
        });
        (command.name.starts_with("vkDestroy") || command.name == "vkFreeMemory")
            && handles.next() == Some((0, HandleType::Device))
            && handles.next() == Some((8, ty))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_when_a_command_is_the_guests_own_refuses_it() {
        let policies = Policies::new();
        for name in ["vkCreateInstance", "vkCreateDevice", "vkMapMemory", "vkCreateFence", "vkAllocateMemory"]
        {
            if let Some(command) = commands::ALL.iter().find(|command| command.name == name) {
                assert!(matches!(policies.of(command).kind, Kind::Refused(_)), "{name}");
            }
        }
        assert_eq!(policies.of(&commands::VK_CREATE_BUFFER).kind, Kind::Buffer);
        assert_eq!(policies.of(&commands::VK_DESTROY_BUFFER).kind, Kind::Destroy(HandleType::Buffer));
        assert_eq!(policies.of(&commands::VK_FREE_MEMORY).kind, Kind::Destroy(HandleType::DeviceMemory));
        assert_eq!(policies.of(&commands::VK_CREATE_BUFFER).required, 0b1010);
        assert_eq!(policies.of(&commands::VK_CMD_DRAW).kind, Kind::Plain);
        assert!(policies.of(&commands::VK_GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES_2).physical);
    }

    #[test]
    fn kind_when_a_command_destroys_is_of_the_type_in_its_name() {
        for command in commands::ALL.iter().filter(|command| command.name.starts_with("vkDestroy")) {
            match kind(command, Some(HandleType::Device)) {
                Kind::Destroy(ty) | Kind::DestroyPool(ty) => {
                    assert_eq!(command.name.replace("Destroy", ""), ty.name().replacen("Vk", "vk", 1));
                }
                Kind::DestroyDevice | Kind::Refused(_) => {}
                other => panic!("{}: {other:?}", command.name),
            }
        }
    }

    #[test]
    fn destroyer_when_asked_for_types_finds_their_commands() {
        for (ty, name) in [
            (HandleType::Buffer, "vkDestroyBuffer"),
            (HandleType::DeviceMemory, "vkFreeMemory"),
            (HandleType::CommandPool, "vkDestroyCommandPool"),
            (HandleType::ImageView, "vkDestroyImageView"),
        ] {
            assert_eq!(destroyer(ty).map(|command| command.name), Some(name));
        }
        assert!(destroyer(HandleType::DescriptorSet).is_none());
        assert!(destroyer(HandleType::Queue).is_none());
    }
}
