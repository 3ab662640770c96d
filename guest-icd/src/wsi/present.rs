//! `vkQueuePresentKHR`: one submission that copies the images to their pages; their swapchains' threads do the rest.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;

use ash::vk;
use ash::vk::Handle as _;

use crate::chain;
use crate::completion::Point;
use crate::dispatch;
use crate::forward;
use crate::queue::{self, Queue};
use crate::sender::Sender;
use crate::session::Session;

use super::images::Announcement;
use super::owed::Signalled;
use super::pacer::Job;
use super::submissions::{is_plain, make_good};
use super::swapchain::Swapchain;

/// `vkQueuePresentKHR`
pub(crate) unsafe extern "system" fn vkQueuePresentKHR(
    queue: *mut Queue,
    info: *const vk::PresentInfoKHR<'_>,
) -> i32 {
    // SAFETY: the application's valid usage of this command.
    unsafe { queue::with_queue(queue, |queue, session| present(queue, session, &*info)) }
}

/// What `VkPresentInfoKHR` and its chain say of one swapchain.
struct Part {
    swapchain: Arc<Swapchain>,
    image: u32,
    present_id: u64,
    mode: vk::PresentModeKHR,
    damage: Vec<vk::Rect2D>,
    fence: u64,
}

impl Part {
    /// # Safety
    /// `info` must be valid, `i` below its number of swapchains.
    unsafe fn of(session: &Session, info: &vk::PresentInfoKHR<'_>, i: usize) -> Option<Self> {
        // SAFETY: the caller's promise: the arrays have an element for each swapchain, or are null where they may be.
        unsafe {
            let swapchain = session.objects.swapchains.get((*info.p_swapchains.add(i)).as_raw())?;
            let ids = chain::find::<vk::PresentIdKHR<'_>>(info.p_next).as_ref();
            let ids = ids.filter(|ids| !ids.p_present_ids.is_null());
            let modes = chain::find::<vk::SwapchainPresentModeInfoEXT<'_>>(info.p_next).as_ref();
            let fences = chain::find::<vk::SwapchainPresentFenceInfoEXT<'_>>(info.p_next).as_ref();
            let regions = chain::find::<vk::PresentRegionsKHR<'_>>(info.p_next).as_ref();
            let regions = regions.filter(|regions| !regions.p_regions.is_null());
            Some(Self {
                image: *info.p_image_indices.add(i),
                present_id: ids.map_or(0, |ids| *ids.p_present_ids.add(i)),
                mode: modes.map_or(swapchain.mode, |modes| *modes.p_present_modes.add(i)),
                damage: regions.map(|regions| damage(&*regions.p_regions.add(i))).unwrap_or_default(),
                fence: fences.map_or(0, |fences| (*fences.p_fences.add(i)).as_raw()),
                swapchain,
            })
        }
    }

    /// Whether the frame replaces the one before, seen or not.
    fn replaces(&self) -> bool {
        self.present_id == 0 && self.fence == 0 && self.swapchain.pacer.replaces(self.mode)
    }
}

/// The rectangles of a region; none stands for everything.
///
/// # Safety
/// The region must be valid.
unsafe fn damage(region: &vk::PresentRegionKHR<'_>) -> Vec<vk::Rect2D> {
    if region.p_rectangles.is_null() {
        return Vec::new();
    }
    let rectangles = 0..region.rectangle_count as usize;
    let rectangle = |i| {
        // SAFETY: the caller's promise.
        let layer = unsafe { &*region.p_rectangles.add(i) };
        vk::Rect2D { offset: layer.offset, extent: layer.extent }
    };
    rectangles.map(rectangle).collect()
}

/// When what is presented is drawn.
struct Ready {
    /// Semaphores that the host has to wait for.
    waits: Vec<vk::Semaphore>,
    /// What has to be finished on the same queue, and is submitted already.
    drawn: Option<Point>,
}

impl Ready {
    /// # Safety
    /// `info` must be valid.
    unsafe fn of(queue: &Queue, session: &Session, info: &vk::PresentInfoKHR<'_>) -> Self {
        let mut ready = Self { waits: Vec::new(), drawn: None };
        let owed = &session.objects.owed;
        for i in 0..info.wait_semaphore_count as usize {
            // SAFETY: the caller's promise.
            let semaphore = unsafe { *info.p_wait_semaphores.add(i) };
            match owed.take(semaphore.as_raw()) {
                Some(Signalled::Now) => {}
                Some(Signalled::At(signaller, point)) if signaller == std::ptr::from_ref(queue) as usize => {
                    ready.drawn = Some(ready.drawn.filter(|drawn| drawn.seq > point.seq).unwrap_or(point));
                }
                Some(Signalled::At(signaller, _)) => {
                    // SAFETY: queues live as long as their device, whose semaphore this is.
                    unsafe { make_good(session, signaller, semaphore) };
                    ready.waits.push(semaphore);
                }
                None => {
                    if session.perf.elide && is_plain(session, semaphore) {
                        owed.present(semaphore.as_raw());
                    }
                    ready.waits.push(semaphore);
                }
            }
        }
        ready
    }
}

/// The copy of an image to its pages.
pub(super) struct PageCopy {
    /// The queue that it is for, as an address.
    queue: usize,
    buffer: vk::CommandBuffer,
    announcement: Announcement,
}

impl PageCopy {
    /// Submits it, from the thread of its swapchain; what is finished when it is.
    pub(super) fn submit(&self, session: &Session) -> Result<Point, vk::Result> {
        let buffers = [self.buffer];
        let info = vk::SubmitInfo::default().command_buffers(&buffers);
        // SAFETY: a queue lives as long as its device, which ends the threads of its swapchains first; the command buffer
        // is the swapchain's, and not in use: its image is submitted by one who has it.
        unsafe {
            (*(self.queue as *const Queue))
                .submit_own(session, &info, |sender| self.announcement.push(sender))
        }
    }
}

/// As `vkQueuePresentKHR`.
unsafe fn present(queue: &Queue, session: &Session, info: &vk::PresentInfoKHR<'_>) -> vk::Result {
    let presented = Instant::now();
    // SAFETY: the caller's promise.
    unsafe {
        let Ready { waits, drawn } = Ready::of(queue, session, info);
        let stages = vec![vk::PipelineStageFlags::TRANSFER; waits.len()];
        let waiting = vk::SubmitInfo::default().wait_semaphores(&waits).wait_dst_stage_mask(&stages);
        let parts: Vec<Part> =
            (0..info.swapchain_count as usize).filter_map(|i| Part::of(session, info, i)).collect();
        let mut buffers = Vec::with_capacity(parts.len());
        for Part { swapchain, image, .. } in &parts {
            let device = swapchain.device as *mut c_void;
            match swapchain.images.copy(device, queue.address.family, *image) {
                Ok(buffer) => buffers.push(vk::CommandBuffer::from_raw(buffer as u64)),
                Err(result) => return result,
            }
        }
        for Part { swapchain, .. } in &parts {
            if let Err(failure) = swapchain.pacer.tell_shown(session) {
                return failure.result();
            }
        }
        let mut copies = parts.iter().zip(&buffers).map(|(part, buffer)| PageCopy {
            queue: std::ptr::from_ref(queue) as usize,
            buffer: *buffer,
            announcement: part.swapchain.images.announcement(queue.id(), part.swapchain.surface, part.image),
        });
        if parts.iter().all(Part::replaces) {
            let drawn = match drawn.filter(|_| waits.is_empty()) {
                Some(drawn) => Ok(drawn),
                None => queue.submit_own(session, &waiting, |_| Ok(())),
            };
            let drawn = match drawn {
                Ok(drawn) => drawn,
                Err(result) => return result,
            };
            let results = parts
                .iter()
                .zip(copies)
                .map(|(part, copy)| part.swapchain.pacer.replace(part.image, drawn, copy, presented));
            return tell(info, results);
        }
        let announce = |sender: &mut Sender| copies.try_for_each(|copy| copy.announcement.push(sender));
        let point = match queue.submit_own(session, &waiting.command_buffers(&buffers), announce) {
            Ok(point) => point,
            Err(result) => return result,
        };
        let results = parts.into_iter().map(|part| {
            if let Some(fence) = session.objects.fences.get(part.fence) {
                queue.signal_fence(session, &fence, point);
            }
            let Part { image, present_id, mode, damage, .. } = part;
            part.swapchain.pacer.present(Job { image, point, id: present_id, mode, damage, presented })
        });
        tell(info, results)
    }
}

/// Tells the result of each swapchain; returns the worst.
///
/// # Safety
/// `info` must be valid, with as many swapchains as there are results.
unsafe fn tell(info: &vk::PresentInfoKHR<'_>, results: impl Iterator<Item = vk::Result>) -> vk::Result {
    let mut worst = vk::Result::SUCCESS;
    for (i, result) in results.enumerate() {
        if !info.p_results.is_null() {
            // SAFETY: the caller's promise.
            unsafe { info.p_results.add(i).write(result) };
        }
        worst = worse(worst, result);
    }
    worst
}

/// Which of two results is told where there is room for one: an error rather than `VK_SUBOPTIMAL_KHR`, and of errors the
/// one that is worse to recover from.
fn worse(a: vk::Result, b: vk::Result) -> vk::Result {
    let rank = |result| match result {
        vk::Result::SUCCESS => 0,
        vk::Result::SUBOPTIMAL_KHR => 1,
        vk::Result::ERROR_OUT_OF_DATE_KHR => 2,
        vk::Result::ERROR_SURFACE_LOST_KHR => 3,
        _ => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// `vkWaitForPresentKHR`
pub(crate) unsafe extern "system" fn vkWaitForPresentKHR(
    device: *mut c_void,
    swapchain: u64,
    id: u64,
    timeout: u64,
) -> i32 {
    let lost = vk::Result::ERROR_DEVICE_LOST;
    // SAFETY: the application's valid usage of this command.
    unsafe {
        forward::guard(device, lost, || {
            let Some(session) = dispatch::session(device) else { return lost };
            match session.objects.swapchains.get(swapchain) {
                Some(swapchain) => swapchain.pacer.wait_for(id, timeout),
                None => lost,
            }
        })
    }
    .as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_when_there_are_several_is_the_worst() {
        let (fine, poor) = (vk::Result::SUCCESS, vk::Result::SUBOPTIMAL_KHR);
        let (old, gone) = (vk::Result::ERROR_OUT_OF_DATE_KHR, vk::Result::ERROR_SURFACE_LOST_KHR);
        assert_eq!(worse(fine, poor), poor);
        assert_eq!(worse(old, poor), old);
        assert_eq!(worse(old, gone), gone);
        assert_eq!(worse(vk::Result::ERROR_DEVICE_LOST, gone), vk::Result::ERROR_DEVICE_LOST);
    }
}
