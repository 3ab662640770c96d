//! The vocabulary of the generated tables: how each Vulkan structure and command is laid out in memory and
//! which steps carry it over the wire.
//!
//! A structure is a list of [`Op`]s over raw memory. The same list serves both directions and all modes of the
//! codec, so that encoder and decoder cannot disagree. Offsets are those of the LP64 C ABI.
//!
//! A command's parameters are treated as a structure whose members are 8-byte slots: parameter *i* lives at
//! offset `8 * i`, a scalar in the slot's low bytes (little endian), a pointer or handle in the whole slot.

use crate::generated::handles::HandleType;
use crate::rules::{Hook, Rule};

/// One Vulkan structure (or union treated as one).
#[derive(Debug)]
pub struct Struct {
    /// C name, `VkBufferCreateInfo`.
    pub name: &'static str,
    /// `sizeof`, in bytes.
    pub size: u32,
    /// `alignof`, in bytes.
    pub align: u32,
    /// Value of `sType` for structures that have one; `pNext` is then at offset 8.
    pub s_type: Option<i32>,
    /// Steps in wire order: plain data first, then everything behind a pointer, so that counts are known
    /// when a pointer is met.
    pub ops: &'static [Op],
    /// Structures that may stand in this one's `pNext` chain, sorted by `sType`.
    pub extended_by: &'static [&'static Struct],
    /// Least number of bytes that one element takes on the wire in [`full`](crate::codec) mode.
    pub min_wire: u32,
    /// It, or what it leads to, has pointers through which the call returns something: where such a structure is an
    /// input, and one of these pointers is not null, the command has to be waited for.
    pub results: bool,
    /// What the encoder notes on entering this structure (state that rules of inner pointers need).
    pub hook: Hook,
    /// What brings the structure; any one suffices.
    pub provided_by: &'static [Provider],
}

/// A core version or an extension that provides something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Core version in `VK_MAKE_API_VERSION` encoding (patch 0).
    Core(u32),
    /// Extension name, `VK_KHR_swapchain`.
    Extension(&'static str),
}

/// One step of a structure.
#[derive(Debug)]
pub enum Op {
    /// `len` bytes of plain data at `off`: no padding, pointer or handle among them.
    Bytes {
        /// Offset in the structure.
        off: u16,
        /// Length in bytes.
        len: u16,
    },
    /// A scalar of `size` bytes (1, 2, 4 or 8) that sizes an array: also sent where only capacities are.
    Len {
        /// Offset in the structure.
        off: u16,
        /// Size in bytes.
        size: u8,
    },
    /// One handle by value.
    Handle {
        /// Offset in the structure.
        off: u16,
        /// Type of the handle.
        ty: HandleType,
        /// The specification lets the application leave it as garbage in some states: an id that names no
        /// live object is taken as `VK_NULL_HANDLE` instead of a violation. A dispatchable handle that is not lenient must
        /// not be null either.
        lenient: bool,
    },
    /// `count` consecutive structures by value at `off`.
    Inline {
        /// Offset of the first.
        off: u16,
        /// Number of elements.
        count: u16,
        /// The structure.
        desc: &'static Struct,
    },
    /// A pointer.
    Pointer(Pointer),
    /// A union with a selector: the first arm that lists the selector's value is carried; none carries nothing.
    Select {
        /// Offset of the 4-byte selector, which is sent by an earlier op.
        selector: u16,
        /// The arms; offsets in them are relative to the structure that contains the union.
        arms: &'static [Arm],
    },
}

/// One arm of [`Op::Select`].
#[derive(Debug)]
pub struct Arm {
    /// Values of the selector that choose this arm.
    pub values: &'static [i32],
    /// Steps of this arm.
    pub ops: &'static [Op],
}

/// A pointer member or parameter.
#[derive(Debug)]
pub struct Pointer {
    /// Offset of the pointer in the structure.
    pub off: u16,
    /// What it points to.
    pub elem: Elem,
    /// How many.
    pub count: Count,
    /// Which way the pointee travels. In a structure that itself travels as a result, `In` means "with it"; in one that
    /// is an input, `Out` and `InOut` are results of the command.
    pub dir: Dir,
    /// When it may be read at all; where the rule says no, null is sent.
    pub rule: Rule,
}

/// Element type behind a pointer.
#[derive(Debug)]
pub enum Elem {
    /// Plain data without padding.
    Bytes {
        /// Size of one element in bytes.
        size: u32,
        /// Alignment in bytes.
        align: u32,
    },
    /// Plain data that stand further apart in the application's memory than they are long. They are carried
    /// close together, and the decoder sets the distance to `size`: what the sender says about it is not used.
    Strided {
        /// Size of one element in bytes.
        size: u32,
        /// Alignment in bytes.
        align: u32,
        /// Offset of the `u32` in the outer structure that holds the distance in bytes; sent by an earlier op.
        stride: u16,
    },
    /// Handles (8 bytes each).
    Handle {
        /// Type of each handle.
        ty: HandleType,
        /// See [`Op::Handle`].
        lenient: bool,
    },
    /// Structures.
    Struct(&'static Struct),
    /// Null-terminated strings: the pointer is an array of `char *`.
    Strings,
    /// Pointers to single or several elements: an array of pointers.
    Pointers {
        /// Element behind each inner pointer.
        elem: &'static Elem,
        /// Number of elements behind the inner pointer number `i`.
        count: Inner,
    },
}

/// Number of elements behind each pointer of an array of pointers.
#[derive(Debug, Clone, Copy)]
pub enum Inner {
    /// Exactly one.
    One,
    /// For the array's element *i*: the `u32` at `field` of element *i* of the structure array at `array`
    /// (offset of that pointer in the outer structure; `stride` is its element size).
    OfElement {
        /// Offset of the pointer to the structure array in the outer structure.
        array: u16,
        /// Size of one element of that array.
        stride: u16,
        /// Offset of the `u32` count in an element.
        field: u16,
    },
}

/// Number of elements behind a pointer, in terms of the structure that holds the pointer.
#[derive(Debug, Clone, Copy)]
pub enum Count {
    /// Exactly one.
    One,
    /// Constant.
    Const(u32),
    /// Value of a member.
    Field {
        /// Offset.
        off: u16,
        /// Size in bytes: 1, 2, 4 or 8.
        size: u8,
    },
    /// Value of a member divided by a constant, rounded down (`codeSize / 4`).
    Div {
        /// Offset.
        off: u16,
        /// Size in bytes.
        size: u8,
        /// Divisor.
        by: u32,
    },
    /// Value of a member divided by a constant, rounded up (`(rasterizationSamples + 31) / 32`).
    CeilDiv {
        /// Offset.
        off: u16,
        /// Size in bytes.
        size: u8,
        /// Divisor.
        by: u32,
    },
    /// The member is a pointer to the count (`uint32_t *pPropertyCount`, `size_t *pDataSize`): 0 when null.
    Deref {
        /// Offset of the pointer.
        off: u16,
        /// Size of the count in bytes: 4 or 8.
        size: u8,
    },
    /// The member is a pointer to a structure that holds the `u32` count (`pAllocateInfo->descriptorSetCount`).
    Path {
        /// Offset of the pointer.
        off: u16,
        /// Offset of the count behind it.
        field: u16,
    },
    /// A parameter of the command is a pointer to a structure that holds the count
    /// (`pFaultCounts->addressInfoCount`): 0 outside of a command, and when null.
    Param {
        /// Offset of the parameter's slot.
        slot: u16,
        /// Offset of the count behind it.
        field: u16,
        /// Size of the count in bytes: 4 or 8.
        size: u8,
    },
    /// Up to and including a terminating zero byte.
    Terminated,
}

/// Direction of a pointee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dir {
    /// Guest to host.
    In,
    /// Host to guest; the request carries capacities and the `sType`s of its chain only.
    Out,
    /// Both ways in full.
    InOut,
    /// Handles that the call creates: the guest has already stored its ids there and the request carries them;
    /// the reply tells which were created.
    New,
}

/// One Vulkan command.
#[derive(Debug)]
pub struct Command {
    /// C name, `vkCreateBuffer`.
    pub name: &'static str,
    /// Other names of the same command: those of extensions that it was promoted from.
    pub aliases: &'static [&'static str],
    /// Number on the wire.
    pub opcode: u16,
    /// Parameters as a structure of 8-byte slots.
    pub params: &'static [Op],
    /// Number of parameters.
    pub param_count: u8,
    /// Return type.
    pub ret: Ret,
    /// What it returns when there is no host any more: `VK_ERROR_DEVICE_LOST`; above a device, where the specification
    /// does not list that, `VK_ERROR_INITIALIZATION_FAILED` or `VK_ERROR_OUT_OF_HOST_MEMORY`; `VK_SUCCESS` for commands
    /// that list no error at all, which programs do not expect to fail.
    pub lost: i32,
    /// How the guest sends it.
    pub class: Class,
    /// Answers depend on the request's bytes alone, so that the guest may keep them.
    pub memo: bool,
    /// What brings the command; any one suffices.
    pub provided_by: &'static [Provider],
    /// Calls the function pointer with the slots as arguments; shared by all commands of the same C signature.
    pub invoke: Invoke,
}

/// Calls a Vulkan function pointer with arguments taken from 8-byte slots; the return value is widened to 64 bits
/// (a `VkResult` by sign extension), 0 for `void`.
///
/// # Safety
/// The pointer must have the C signature that this invoker was made for; the slots must hold valid arguments.
pub type Invoke = unsafe fn(unsafe extern "system" fn(), &[u64]) -> u64;

/// Return type of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// `void`.
    Void,
    /// `VkResult`.
    Result,
    /// Any other value of up to 64 bits (`VkDeviceAddress`, `uint32_t`, ...).
    Value,
}

/// How the guest sends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `vkCmd*`: appended to the command buffer's stream.
    Record,
    /// Sent without waiting; `VK_SUCCESS` is returned at once.
    Send,
    /// Sent, and the reply waited for.
    Call,
    /// Never on the wire: the guest answers it alone.
    Local,
}

/// A name that a program may ask for: of a command or an alias of one.
#[derive(Debug)]
pub struct Name {
    /// C name, `vkCmdDrawIndirectCountKHR`.
    pub name: &'static str,
    /// The command that it names, `vkCmdDrawIndirectCount`.
    pub command: &'static str,
    /// It needs a feature that vw hides: it is there because its extension is, and refuses.
    pub refused: bool,
    /// What makes the name visible; any one suffices.
    pub provided_by: &'static [Provider],
}

/// What vw does with an extension of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Offered where the host's driver offers it.
    Forwarded,
    /// Implemented in the guest, whatever the host's driver offers.
    Guest,
    /// Not offered, with the reason.
    NotOffered(&'static str),
}

/// One extension of the registry.
#[derive(Debug)]
pub struct Extension {
    /// Name, `VK_KHR_swapchain`.
    pub name: &'static str,
    /// Revision that the registry describes.
    pub spec_version: u32,
    /// An instance extension rather than a device extension.
    pub instance: bool,
    /// What vw does with it.
    pub support: Support,
    /// Core version that it was promoted to (`VK_MAKE_API_VERSION`), 0 for none.
    pub promoted_to: u32,
}

/// One `VkFormat`.
#[derive(Debug)]
pub struct Format {
    /// Its value.
    pub value: i32,
    /// What can be copied of it, each apart.
    pub aspects: &'static [Aspect],
}

/// What is copied of a format at a time: colour, depth, stencil or a plane.
#[derive(Debug)]
pub struct Aspect {
    /// Its `VkImageAspectFlagBits`.
    pub bit: u32,
    /// Bytes of a block of texels in memory.
    pub block_size: u32,
    /// Width and height of a block in texels.
    pub block_extent: [u32; 2],
    /// What the image's width and height are divided by.
    pub divisors: [u32; 2],
}
