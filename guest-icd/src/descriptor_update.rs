//! `vkUpdateDescriptorSets`: updates gather in a record of their own, which is closed when another record follows.

use std::ffi::c_void;

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::descriptor_update::{Copy, Descriptors, Header};
use vw_wire_protocol::generated::commands;

use crate::dispatch;
use crate::failure::Failure;
use crate::forward;
use crate::log;
use crate::sender::Sender;
use crate::session::Session;

/// Most bytes of a write's descriptors that gather; larger ones go by themselves.
const MOST: usize = 4 << 10;

/// Descriptors of one write in the application's memory, `count` of them `stride` bytes apart.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) start: *const u8,
    pub(crate) stride: usize,
}

/// Whether the descriptors of such a write gather.
#[inline(always)]
pub(crate) fn gathers(ty: vk::DescriptorType, count: u32) -> Option<Descriptors> {
    Descriptors::of(ty.as_raw() as u32).filter(|of| count as usize * of.words() * 8 <= MOST)
}

/// Updates sets of `device` by what `put` appends, if it may.
///
/// # Safety
/// `device` must be null or a live device.
pub(crate) unsafe fn update(device: *mut c_void, put: impl FnOnce(&mut Sender, u64) -> Result<(), Failure>) {
    log::command(commands::VK_UPDATE_DESCRIPTOR_SETS.name);
    // SAFETY: the caller's promise.
    unsafe {
        forward::guard(device, (), || {
            if let Some(session) = dispatch::session(device) {
                let id = dispatch::id(device);
                // A lost device is noticed by what follows.
                let _ = session.with_sender(|sender| put(sender, id));
            }
        });
    }
}

/// Appends a write.
///
/// # Safety
/// There are as many descriptors of this kind as the header says, of any alignment.
#[inline(always)]
pub(crate) unsafe fn put(
    sender: &mut Sender,
    device: u64,
    header: Header,
    of: Descriptors,
    from: Source,
) -> Result<(), Failure> {
    let count = header.count as usize;
    let mut to = sender.gather(device, header.to_words(), count * of.words())?;
    // SAFETY: there is room for all of them, aligned; the descriptors are the caller's promise.
    unsafe {
        for i in 0..count {
            let at = from.start.add(i * from.stride);
            match of {
                Descriptors::Buffers => to.cast::<[u64; 3]>().write(at.cast::<[u64; 3]>().read_unaligned()),
                Descriptors::Images => {
                    let info = at.cast::<vk::DescriptorImageInfo>().read_unaligned();
                    let layout = u64::from(info.image_layout.as_raw() as u32);
                    to.cast::<[u64; 3]>().write([info.sampler.as_raw(), info.image_view.as_raw(), layout]);
                }
                Descriptors::BufferViews => to.write(at.cast::<u64>().read_unaligned()),
            }
            to = to.add(of.words());
        }
    }
    Ok(())
}

/// What a write is in the record; none when it has to go by itself.
#[inline(always)]
fn plain(write: &vk::WriteDescriptorSet<'_>) -> Option<(Header, Descriptors, Source)> {
    let of = gathers(write.descriptor_type, write.descriptor_count)?;
    let start: *const u8 = match of {
        Descriptors::Buffers => write.p_buffer_info.cast(),
        Descriptors::Images => write.p_image_info.cast(),
        Descriptors::BufferViews => write.p_texel_buffer_view.cast(),
    };
    let header = Header {
        set: write.dst_set.as_raw(),
        binding: write.dst_binding,
        element: write.dst_array_element,
        count: write.descriptor_count,
        ty: write.descriptor_type.as_raw() as u32,
    };
    let plain = write.p_next.is_null() && !start.is_null();
    plain.then_some((header, of, Source { start, stride: of.words() * 8 }))
}

/// What a copy is in the record.
#[inline(always)]
fn copied(copy: &vk::CopyDescriptorSet<'_>) -> Copy {
    Copy {
        source: copy.src_set.as_raw(),
        source_binding: copy.src_binding,
        source_element: copy.src_array_element,
        count: copy.descriptor_count,
        set: copy.dst_set.as_raw(),
        binding: copy.dst_binding,
        element: copy.dst_array_element,
    }
}

/// Whether updates of this device's sets gather.
///
/// # Safety
/// `device` must be null or a live device.
pub(crate) unsafe fn is_on(device: *mut c_void) -> bool {
    // SAFETY: the caller's promise.
    unsafe { dispatch::session(device) }.is_some_and(|session: &std::sync::Arc<Session>| session.perf.gather)
}

/// `vkUpdateDescriptorSets`
pub(crate) unsafe extern "system" fn vkUpdateDescriptorSets(
    device: *mut c_void,
    write_count: u32,
    writes: *const vk::WriteDescriptorSet<'_>,
    copy_count: u32,
    copies: *const vk::CopyDescriptorSet<'_>,
) {
    // SAFETY: the application's valid usage of this command: `write_count` writes and `copy_count` copies.
    unsafe {
        if write_count == 0 && copy_count == 0 {
            return;
        }
        let writes_of = || (0..write_count as usize).map(|i| &*writes.add(i));
        let copies_of = || (0..copy_count as usize).map(|i| &*copies.add(i));
        let gathers = is_on(device)
            && writes_of().all(|write| plain(write).is_some())
            && copies_of().all(|copy| copy.p_next.is_null());
        if gathers {
            update(device, |sender, device| {
                writes_of()
                    .filter_map(plain)
                    .try_for_each(|(header, of, from)| put(sender, device, header, of, from))?;
                copies_of().try_for_each(|copy| sender.gather(device, copied(copy).to_words(), 0).map(|_| ()))
            });
            return;
        }
        let args = [device as u64, write_count.into(), writes as u64, copy_count.into(), copies as u64];
        forward::send(device, &commands::VK_UPDATE_DESCRIPTOR_SETS, &args);
    }
}
