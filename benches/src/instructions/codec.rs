//! The hottest commands, each encoded and decoded by the tables, and decoded without them, a number of times.

use std::hint::black_box;
use std::ptr::from_ref;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::{
    Arena, DISPATCHABLE_ID, HandleError, Reader, Resolve, Writer, decode_request, encode_request,
};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::generated::straight;
use vw_wire_protocol::record::ALIGNMENT;
use vw_wire_protocol::straight::{Host as Calls, Pfn, Scratch, Target};

use super::TIMES;

/// Makes a module for each command, with functions of its own to encode and to decode it: callgrind counts by
/// function.
macro_rules! commands {
    ($($name:ident = $table:ident,)*) => {
        /// Names of the commands, in order.
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[allow(non_snake_case)] // Vulkan's name.
            mod $name {
                use super::*;

                /// # Safety
                /// The arguments are of this command.
                #[inline(never)]
                pub(super) unsafe fn encode(args: &[u64], space: &mut [u8]) -> usize {
                    let mut writer = Writer::new(space);
                    // SAFETY: the caller's promise.
                    unsafe { encode_request(&commands::$table, args, &mut writer) };
                    writer.finish().expect("space enough")
                }

                #[inline(never)]
                pub(super) fn decode(bytes: &[u8], arena: &Arena, host: &mut Host) -> u64 {
                    let (table, mut reader) = (&commands::$table, Reader::new(bytes));
                    // SAFETY: the command is of the tables.
                    let request = unsafe { decode_request(table, &mut reader, arena, host) };
                    request.expect("encoded by ourselves").args[0]
                }

                /// Nothing is done where the command needs the tables.
                #[inline(never)]
                pub(super) fn straight(bytes: &[u8], scratch: &mut Scratch) {
                    let id = u64::from_le_bytes(*bytes.first_chunk().expect("an id"));
                    let mut target = Target::new(&Host, 1, (id, 1), scratch);
                    let (start, length, opcode) = (bytes.as_ptr(), bytes.len(), commands::$table.opcode);
                    if let Some(take) = straight::take::<Host>(opcode) {
                        // SAFETY: the host calls nothing; the bytes are a payload.
                        let taken = unsafe { target.take(take, nothing, start, length) };
                        taken.expect("encoded by ourselves");
                    } else if let Some(submission) = straight::submission::<Host>(opcode) {
                        // SAFETY: the bytes are a payload.
                        let infos = unsafe { target.submission(submission, start, length) };
                        black_box(infos.expect("encoded by ourselves"));
                    }
                }

                /// Does all.
                ///
                /// # Safety
                /// As `encode`.
                pub(super) unsafe fn repeat(args: &[u64]) {
                    let (mut space, mut arena, mut host) = (vec![0; 4096], Arena::default(), Host);
                    let mut scratch = Scratch::default();
                    for _ in 0..TIMES {
                        // SAFETY: the caller's promise.
                        let length = unsafe { encode(black_box(args), &mut space) };
                        black_box(decode(black_box(&space[..length]), &arena, &mut host));
                        arena.reset();
                        space[length..].fill(0);
                        let padded = length.next_multiple_of(ALIGNMENT);
                        straight(black_box(&space[..padded]), &mut scratch);
                    }
                }
            }
        )*
    };
}

commands! {
    vkCmdDraw = VK_CMD_DRAW,
    vkCmdDrawIndexed = VK_CMD_DRAW_INDEXED,
    vkCmdDispatch = VK_CMD_DISPATCH,
    vkCmdBindPipeline = VK_CMD_BIND_PIPELINE,
    vkCmdBindVertexBuffers = VK_CMD_BIND_VERTEX_BUFFERS,
    vkCmdBindIndexBuffer = VK_CMD_BIND_INDEX_BUFFER,
    vkCmdBindDescriptorSets = VK_CMD_BIND_DESCRIPTOR_SETS,
    vkCmdPushConstants = VK_CMD_PUSH_CONSTANTS,
    vkCmdSetViewport = VK_CMD_SET_VIEWPORT,
    vkCmdSetScissor = VK_CMD_SET_SCISSOR,
    vkCmdPipelineBarrier = VK_CMD_PIPELINE_BARRIER,
    vkCmdPipelineBarrier2 = VK_CMD_PIPELINE_BARRIER_2,
    vkCmdBeginRendering = VK_CMD_BEGIN_RENDERING,
    vkCmdEndRendering = VK_CMD_END_RENDERING,
    vkCmdCopyBuffer = VK_CMD_COPY_BUFFER,
    vkCmdCopyBufferToImage = VK_CMD_COPY_BUFFER_TO_IMAGE,
    vkUpdateDescriptorSets = VK_UPDATE_DESCRIPTOR_SETS,
    vkQueueSubmit = VK_QUEUE_SUBMIT,
    vkCreateBuffer = VK_CREATE_BUFFER,
    vkCreateImageView = VK_CREATE_IMAGE_VIEW,
}

/// A host whose handles are the guest's.
struct Host;

impl Resolve for Host {
    #[inline]
    fn resolve(&mut self, _: HandleType, id: u64) -> Result<u64, HandleError> {
        Ok(id)
    }
}

impl Calls for Host {
    #[inline]
    fn handle(&self, _: u16, _: HandleType, id: u64) -> Result<u64, HandleError> {
        Ok(id)
    }

    unsafe fn call(&self, _: impl Fn(Pfn, &[u64]) -> u64, _: Pfn, args: &[u64]) {
        black_box(args);
    }
}

unsafe extern "system" fn nothing() {}

/// What a dispatchable handle points to.
#[repr(C, align(8))]
struct Object([u8; 32]);

impl Object {
    fn new(id: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[DISPATCHABLE_ID..DISPATCHABLE_ID + 8].copy_from_slice(&id.to_ne_bytes());
        Self(bytes)
    }
}

/// A pointer as an argument.
fn slot<T: ?Sized>(t: &T) -> u64 {
    from_ref(t).cast::<()>().expose_provenance() as u64
}

/// Encodes and decodes each command [`TIMES`] times.
pub(crate) fn run() {
    let (cb, device, queue) = (Object::new(9), Object::new(1), Object::new(2));
    draws(slot(&cb));
    bindings(slot(&cb));
    barriers(slot(&cb));
    rendering(slot(&cb));
    copies(slot(&cb));
    updates(slot(&device));
    submission(slot(&queue), slot(&cb));
    creation(slot(&device));
}

fn draws(cb: u64) {
    // SAFETY: arguments of these commands.
    unsafe {
        vkCmdDraw::repeat(&[cb, 3, 1, 0, 0]);
        vkCmdDrawIndexed::repeat(&[cb, 36, 1, 0, 0, 0]);
        vkCmdDispatch::repeat(&[cb, 8, 8, 1]);
        vkCmdBindPipeline::repeat(&[cb, 0, 8]);
    }
}

fn bindings(cb: u64) {
    let (buffers, offsets) = ([0x21u64, 0x22], [0u64, 1024]);
    let (sets, dynamic) = ([0x31u64], [64u32]);
    let data = [1u8; 16];
    let viewport = vk::Viewport { width: 640.0, height: 480.0, max_depth: 1.0, ..Default::default() };
    let scissor = vk::Rect2D { extent: vk::Extent2D { width: 640, height: 480 }, ..Default::default() };
    // SAFETY: arguments of these commands.
    unsafe {
        vkCmdBindVertexBuffers::repeat(&[cb, 0, 2, slot(&buffers), slot(&offsets)]);
        vkCmdBindIndexBuffer::repeat(&[cb, 0x21, 0, 1]);
        vkCmdBindDescriptorSets::repeat(&[cb, 0, 6, 0, 1, slot(&sets), 1, slot(&dynamic)]);
        vkCmdPushConstants::repeat(&[cb, 6, 1, 0, data.len() as u64, slot(&data)]);
        vkCmdSetViewport::repeat(&[cb, 0, 1, slot(&viewport)]);
        vkCmdSetScissor::repeat(&[cb, 0, 1, slot(&scissor)]);
    }
}

fn barriers(cb: u64) {
    let image = vk::Image::from_raw(7);
    let (from, to) = (vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL, vk::ImageLayout::SHADER_READ_ONLY_OPTIMAL);
    let one = [vk::ImageMemoryBarrier::default().image(image).old_layout(from).new_layout(to)];
    let two = [vk::ImageMemoryBarrier2::default().image(image).old_layout(from).new_layout(to)];
    let info = vk::DependencyInfo::default().image_memory_barriers(&two);
    // SAFETY: arguments of these commands.
    unsafe {
        vkCmdPipelineBarrier::repeat(&[cb, 0x400, 0x80, 0, 0, 0, 0, 0, 1, slot(&one)]);
        vkCmdPipelineBarrier2::repeat(&[cb, slot(&info)]);
    }
}

fn rendering(cb: u64) {
    let attachments = [vk::RenderingAttachmentInfo::default()
        .image_view(vk::ImageView::from_raw(5))
        .image_layout(vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL)
        .load_op(vk::AttachmentLoadOp::CLEAR)];
    let info = vk::RenderingInfo::default().layer_count(1).color_attachments(&attachments);
    // SAFETY: arguments of these commands.
    unsafe {
        vkCmdBeginRendering::repeat(&[cb, slot(&info)]);
        vkCmdEndRendering::repeat(&[cb]);
    }
}

fn copies(cb: u64) {
    let copy = vk::BufferCopy { src_offset: 0, dst_offset: 256, size: 4096 };
    let region = vk::BufferImageCopy::default()
        .image_extent(vk::Extent3D { width: 64, height: 64, depth: 1 })
        .image_subresource(
            vk::ImageSubresourceLayers::default().aspect_mask(vk::ImageAspectFlags::COLOR).layer_count(1),
        );
    // SAFETY: arguments of these commands.
    unsafe {
        vkCmdCopyBuffer::repeat(&[cb, 0x21, 0x22, 1, slot(&copy)]);
        vkCmdCopyBufferToImage::repeat(&[cb, 0x21, 7, 7, 1, slot(&region)]);
    }
}

fn updates(device: u64) {
    let buffers =
        [vk::DescriptorBufferInfo { buffer: vk::Buffer::from_raw(3), offset: 256, range: vk::WHOLE_SIZE }];
    let writes = [vk::WriteDescriptorSet::default()
        .dst_set(vk::DescriptorSet::from_raw(2))
        .descriptor_type(vk::DescriptorType::UNIFORM_BUFFER)
        .buffer_info(&buffers)];
    // SAFETY: arguments of this command.
    unsafe { vkUpdateDescriptorSets::repeat(&[device, 1, slot(&writes), 0, 0]) };
}

fn submission(queue: u64, cb: u64) {
    let buffers = [vk::CommandBuffer::from_raw(cb)];
    let (waits, stages) = ([vk::Semaphore::from_raw(3)], [vk::PipelineStageFlags::ALL_COMMANDS]);
    let submits = [vk::SubmitInfo::default()
        .command_buffers(&buffers)
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&stages)];
    // SAFETY: arguments of this command.
    unsafe { vkQueueSubmit::repeat(&[queue, 1, slot(&submits), 0]) };
}

fn creation(device: u64) {
    let info = vk::BufferCreateInfo::default().size(4096).usage(vk::BufferUsageFlags::VERTEX_BUFFER);
    let buffer = 0x2_0000_0003u64;
    let view_info = vk::ImageViewCreateInfo::default()
        .image(vk::Image::from_raw(7))
        .view_type(vk::ImageViewType::TYPE_2D)
        .format(vk::Format::R8G8B8A8_UNORM);
    // SAFETY: arguments of these commands; the new handle is read, never written, by the encoder.
    unsafe {
        vkCreateBuffer::repeat(&[device, slot(&info), 0, slot(&buffer)]);
        vkCreateImageView::repeat(&[device, slot(&view_info), 0, slot(&buffer)]);
    }
}
