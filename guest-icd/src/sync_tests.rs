//! Fences, timeline semaphores, idle waits and the ring, against a host that the tests play.

use std::ffi::c_void;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ash::vk;
use ash::vk::Handle as _;
use vw_transport::{Connection, Consumer, Limits};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{FLAG_LAST, FLAG_WATCH, Header, op};

use crate::alloc::HostAllocator;
use crate::completion::Awaited as _;
use crate::device::Device;
use crate::dispatch::Head;
use crate::fence::{Fence, vkCreateFence, vkDestroyFence, vkGetFenceStatus, vkResetFences, vkWaitForFences};
use crate::queue::{Queue, QueueAddress, vkQueueSubmit, vkQueueSubmit2, vkQueueWaitIdle};
use crate::semaphore::{Semaphore, vkGetSemaphoreCounterValue, vkSignalSemaphore, vkWaitSemaphores};
use crate::session::Session;

const SUCCESS: i32 = vk::Result::SUCCESS.as_raw();
const TIMEOUT: i32 = vk::Result::TIMEOUT.as_raw();
const NOT_READY: i32 = vk::Result::NOT_READY.as_raw();
const LOST: i32 = vk::Result::ERROR_DEVICE_LOST.as_raw();
const FOREVER: u64 = u64::MAX;
const MS: u64 = 1_000_000;

/// A guest's session, a device on it, and the host's end.
struct World {
    session: Arc<Session>,
    device: Box<Device>,
    host: Connection,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            ring_size: 64 << 10,
            reply_size: 4096,
            arena_size: 128 << 10,
            window_size: 1 << 20,
            page_size: 4096,
        };
        let (guest, host) = vw_transport::in_process::pair(&limits).unwrap();
        let session = Arc::new(Session::new(guest, Arc::default()));
        let device = Box::new(Device::without_queues(&session));
        Self { session, device, host }
    }

    fn device(&self) -> *mut c_void {
        std::ptr::from_ref(&*self.device).cast_mut().cast()
    }

    fn queue(&self) -> Queue {
        let slot = self.session.allocate_slot().unwrap();
        let id = self.session.allocate_id(HandleType::Queue, HostAllocator::default()).unwrap();
        Queue::new(
            Head::new(id, Arc::clone(&self.session)),
            slot,
            QueueAddress { family: 0, index: 0, flags: 0 },
        )
    }

    fn fence(&self, signaled: bool) -> u64 {
        let flags = if signaled { vk::FenceCreateFlags::SIGNALED } else { vk::FenceCreateFlags::empty() };
        let info = vk::FenceCreateInfo::default().flags(flags);
        let mut fence = 0;
        // SAFETY: valid arguments.
        let result =
            unsafe { vkCreateFence(self.device(), &raw const info, std::ptr::null(), &raw mut fence) };
        assert_eq!(result, SUCCESS);
        fence
    }

    fn timeline(&self, value: u64) -> u64 {
        let id = self.session.allocate_id(HandleType::Semaphore, HostAllocator::default()).unwrap();
        self.session.objects.semaphores.insert(id, Arc::new(Semaphore::timeline(value)));
        id
    }

    fn status(&self, fence: u64) -> i32 {
        // SAFETY: valid arguments.
        unsafe { vkGetFenceStatus(self.device(), fence) }
    }

    fn wait(&self, fences: &[u64], all: bool, timeout: u64) -> i32 {
        // SAFETY: valid arguments.
        unsafe { vkWaitForFences(self.device(), fences.len() as u32, fences.as_ptr(), all.into(), timeout) }
    }

    fn value(&self, semaphore: u64) -> u64 {
        let mut value = 0;
        // SAFETY: valid arguments.
        assert_eq!(unsafe { vkGetSemaphoreCounterValue(self.device(), semaphore, &raw mut value) }, SUCCESS);
        value
    }

    fn wait_semaphores(&self, waits: &[(u64, u64)], any: bool, timeout: u64) -> i32 {
        let semaphores: Vec<_> = waits.iter().map(|(s, _)| vk::Semaphore::from_raw(*s)).collect();
        let values: Vec<_> = waits.iter().map(|(_, v)| *v).collect();
        let flags = if any { vk::SemaphoreWaitFlags::ANY } else { vk::SemaphoreWaitFlags::empty() };
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values).flags(flags);
        // SAFETY: valid arguments.
        unsafe { vkWaitSemaphores(self.device(), &raw const info, timeout) }
    }

    fn complete(&self, queue: &Queue, seq: u64) {
        self.host.region.control().complete(queue.slot().into(), seq);
    }

    /// Opcodes of the records published so far.
    fn received(&self, consumer: &mut Consumer) -> Vec<u16> {
        self.headers(consumer).iter().map(|header| header.opcode).collect()
    }

    /// Headers of the records published so far.
    fn headers(&self, consumer: &mut Consumer) -> Vec<Header> {
        let mut headers = Vec::new();
        while let Some(record) = consumer.next().unwrap() {
            headers.push(Header::from_word(record.word));
            consumer.release();
        }
        headers
    }
}

fn submit(queue: &Queue, infos: &[vk::SubmitInfo<'_>], fence: u64) -> i32 {
    let queue = std::ptr::from_ref(queue).cast_mut();
    // SAFETY: valid arguments.
    unsafe { vkQueueSubmit(queue, infos.len() as u32, infos.as_ptr(), fence) }
}

#[test]
fn fence_when_created_signaled_is_and_when_reset_is_not() {
    let w = World::new();
    let fence = w.fence(true);
    assert_eq!(w.status(fence), SUCCESS);
    assert_eq!(w.wait(&[fence], true, 0), SUCCESS);
    // SAFETY: valid arguments.
    unsafe { assert_eq!(vkResetFences(w.device(), 1, &raw const fence), SUCCESS) };
    assert_eq!(w.status(fence), NOT_READY);
    assert_eq!(w.wait(&[fence], true, 0), TIMEOUT);
    // SAFETY: valid arguments.
    unsafe { vkDestroyFence(w.device(), fence, std::ptr::null()) };
    assert!(w.session.objects.fences.get(fence).is_none());
}

#[test]
fn fence_when_its_submission_is_finished_is_signaled() {
    let (w, info) = (World::new(), [vk::SubmitInfo::default()]);
    let (queue, first, second) = (w.queue(), w.fence(false), w.fence(false));
    assert_eq!(submit(&queue, &info, first), SUCCESS);
    assert_eq!(submit(&queue, &info, second), SUCCESS);
    assert_eq!((w.status(first), w.status(second)), (NOT_READY, NOT_READY));
    w.complete(&queue, 1);
    assert_eq!((w.status(first), w.status(second)), (SUCCESS, NOT_READY));
    assert_eq!(w.wait(&[first, second], false, FOREVER), SUCCESS);
    assert_eq!(w.wait(&[first, second], true, MS), TIMEOUT);
    w.complete(&queue, 2);
    assert_eq!(w.wait(&[first, second], true, FOREVER), SUCCESS);
}

#[test]
fn fence_alone_when_submitted_waits_for_what_is_ahead_and_sends_nothing() {
    let w = World::new();
    let (queue, idle, busy) = (w.queue(), w.fence(false), w.fence(false));
    let mut consumer = Consumer::new(Arc::clone(&w.host.region));
    assert_eq!(submit(&queue, &[], idle), SUCCESS);
    assert_eq!(w.status(idle), SUCCESS);
    let ahead = w.fence(false);
    assert_eq!(submit(&queue, &[vk::SubmitInfo::default()], ahead), SUCCESS);
    assert_eq!(submit(&queue, &[], busy), SUCCESS);
    assert_eq!(w.status(busy), NOT_READY);
    w.complete(&queue, 1);
    assert_eq!(w.status(busy), SUCCESS);
    assert_eq!(w.received(&mut consumer), [commands::VK_QUEUE_SUBMIT.opcode]);
}

#[test]
fn wait_when_another_thread_makes_progress_ends() {
    let w = World::new();
    let (queue, fence) = (w.queue(), w.fence(false));
    assert_eq!(submit(&queue, &[vk::SubmitInfo::default()], fence), SUCCESS);
    let region = Arc::clone(&w.host.region);
    let slot = queue.slot();
    let host = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        region.control().complete(slot.into(), 1);
    });
    assert_eq!(w.wait(&[fence], true, FOREVER), SUCCESS);
    let pointer = std::ptr::from_ref(&queue).cast_mut();
    // SAFETY: a live queue.
    assert_eq!(unsafe { vkQueueWaitIdle(pointer) }, SUCCESS);
    host.join().unwrap();
}

#[test]
fn wait_when_time_is_up_takes_about_that_long() {
    let w = World::new();
    let fence = w.fence(false);
    let start = Instant::now();
    assert_eq!(w.wait(&[fence], true, 30 * MS), TIMEOUT);
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn timeline_when_submissions_finish_has_their_values() {
    let w = World::new();
    let (queue, semaphore) = (w.queue(), w.timeline(5));
    let handles = [vk::Semaphore::from_raw(semaphore)];
    let mut consumer = Consumer::new(Arc::clone(&w.host.region));
    let (ten, eleven) = ([10], [11]);
    let mut first = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&ten);
    let mut second = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&eleven);
    let infos = [
        vk::SubmitInfo::default().signal_semaphores(&handles).push_next(&mut first),
        vk::SubmitInfo::default().signal_semaphores(&handles).push_next(&mut second),
    ];
    assert_eq!(submit(&queue, &infos, 0), SUCCESS);
    let opcode = commands::VK_QUEUE_SUBMIT.opcode;
    assert_eq!(w.received(&mut consumer), [opcode, opcode], "each has its number");
    assert_eq!(w.value(semaphore), 5);
    w.complete(&queue, 1);
    assert_eq!(w.value(semaphore), 10);
    assert_eq!(w.wait_semaphores(&[(semaphore, 11)], false, 0), TIMEOUT);
    w.complete(&queue, 2);
    assert_eq!(w.wait_semaphores(&[(semaphore, 11)], false, FOREVER), SUCCESS);
    assert_eq!(w.value(semaphore), 11);
}

#[test]
fn timeline_when_signalled_by_the_second_command_has_its_values() {
    let w = World::new();
    let (queue, semaphore) = (w.queue(), w.timeline(5));
    let mut consumer = Consumer::new(Arc::clone(&w.host.region));
    let value = |value| {
        [vk::SemaphoreSubmitInfo::default().semaphore(vk::Semaphore::from_raw(semaphore)).value(value)]
    };
    let (ten, eleven, twelve) = (value(10), value(11), value(12));
    let submit = |infos: &[vk::SubmitInfo2<'_>]| {
        let queue = std::ptr::from_ref(&queue).cast_mut();
        // SAFETY: valid arguments.
        assert_eq!(unsafe { vkQueueSubmit2(queue, infos.len() as u32, infos.as_ptr(), 0) }, SUCCESS);
    };
    let last = [vk::SubmitInfo2::default(), vk::SubmitInfo2::default().signal_semaphore_infos(&ten)];
    submit(&last);
    let watched = |headers: Vec<Header>| -> Vec<bool> {
        headers.iter().map(|header| header.flags & FLAG_WATCH != 0).collect()
    };
    assert_eq!(
        watched(w.headers(&mut consumer)),
        [true],
        "what the last one signals the record's end signals"
    );
    assert_eq!(w.value(semaphore), 5);
    w.complete(&queue, 1);
    assert_eq!(w.value(semaphore), 10);
    submit(&[
        vk::SubmitInfo2::default().signal_semaphore_infos(&eleven).wait_semaphore_infos(&ten),
        vk::SubmitInfo2::default().signal_semaphore_infos(&twelve),
    ]);
    assert_eq!(watched(w.headers(&mut consumer)), [true, true], "each has its number");
    w.complete(&queue, 2);
    assert_eq!(w.value(semaphore), 11);
    w.complete(&queue, 3);
    assert_eq!(w.value(semaphore), 12);
}

#[test]
fn submission_without_timelines_is_one_record() {
    let w = World::new();
    let queue = w.queue();
    let mut consumer = Consumer::new(Arc::clone(&w.host.region));
    assert_eq!(submit(&queue, &[vk::SubmitInfo::default(), vk::SubmitInfo::default()], 0), SUCCESS);
    assert_eq!(w.received(&mut consumer).len(), 1);
}

#[test]
fn submission_when_nobody_can_wait_for_it_is_watched_by_a_later_one() {
    let w = World::new();
    let (queue, fence) = (w.queue(), w.fence(false));
    let mut consumer = Consumer::new(Arc::clone(&w.host.region));
    let mut watched = || -> Vec<bool> {
        w.headers(&mut consumer).iter().map(|header| header.flags & FLAG_WATCH != 0).collect()
    };
    let batch = [vk::SubmitInfo::default()];
    assert_eq!(submit(&queue, &batch, 0), SUCCESS);
    assert_eq!(submit(&queue, &batch, fence), SUCCESS);
    assert_eq!(watched(), [false, true]);
    let seq = |session: &Session| queue.watch(session).expect("the host is there").seq;
    assert_eq!((seq(&w.session), watched().len()), (2, 0));
    assert_eq!(submit(&queue, &batch, 0), SUCCESS);
    assert_eq!((seq(&w.session), seq(&w.session)), (4, 4));
    assert_eq!(watched(), [false, true]);
    assert_eq!(submit(&queue, &batch, 0), SUCCESS);
    let second = w.fence(false);
    assert_eq!(submit(&queue, &[], second), SUCCESS);
    assert_eq!(watched(), [false, true]);
    w.complete(&queue, 6);
    assert_eq!((w.status(fence), w.status(second)), (SUCCESS, SUCCESS));
}

#[test]
fn timeline_when_signaled_by_another_thread_ends_the_wait() {
    let w = World::new();
    let (a, b) = (w.timeline(0), w.timeline(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            let info = vk::SemaphoreSignalInfo::default().semaphore(vk::Semaphore::from_raw(b)).value(3);
            let device = std::ptr::from_ref(&*w.device).cast_mut().cast();
            // SAFETY: valid arguments.
            assert_eq!(unsafe { vkSignalSemaphore(device, &raw const info) }, SUCCESS);
        });
        assert_eq!(w.wait_semaphores(&[(a, 1), (b, 3)], true, FOREVER), SUCCESS);
    });
    assert_eq!(w.wait_semaphores(&[(a, 1), (b, 3)], false, MS), TIMEOUT);
    assert_eq!((w.value(a), w.value(b)), (0, 3));
}

#[test]
fn wait_when_the_host_goes_away_is_lost() {
    let w = World::new();
    let (queue, fence) = (w.queue(), w.fence(false));
    assert_eq!(submit(&queue, &[vk::SubmitInfo::default()], fence), SUCCESS);
    let World { session, device: of, host } = w;
    let host = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        drop(host);
    });
    let device = std::ptr::from_ref(&*of).cast_mut().cast();
    // SAFETY: valid arguments.
    unsafe {
        assert_eq!(vkWaitForFences(device, 1, &raw const fence, 1, FOREVER), LOST);
        assert!(session.broken());
        assert_eq!(vkGetFenceStatus(device, fence), LOST);
        assert_eq!(submit(&queue, &[vk::SubmitInfo::default()], 0), LOST);
    }
    host.join().unwrap();
}

#[test]
fn wait_when_the_device_is_lost_ends_but_what_was_finished_counts() {
    let w = World::new();
    let (queue, first, second) = (w.queue(), w.fence(false), w.fence(false));
    assert_eq!(submit(&queue, &[vk::SubmitInfo::default()], first), SUCCESS);
    assert_eq!(submit(&queue, &[vk::SubmitInfo::default()], second), SUCCESS);
    w.complete(&queue, 1);
    w.host.region.control().lose_device(1);
    assert_eq!(w.wait(&[first], true, FOREVER), SUCCESS);
    assert_eq!(w.wait(&[second], true, FOREVER), LOST);
}

#[test]
fn fence_when_it_names_the_last_slot_is_found() {
    let w = World::new();
    let fence = Arc::new(Fence::new(false, None));
    let point = crate::completion::Point { slot: 63, seq: 1 << 40 };
    assert!(fence.submit(point).is_none());
    assert!(!fence.ready(&w.session));
    w.host.region.control().complete(63, 1 << 40);
    assert!(fence.ready(&w.session));
}

#[test]
fn slots_when_all_are_in_use_are_refused() {
    let w = World::new();
    let slots: Vec<_> = (0..64).map(|_| w.session.allocate_slot()).collect();
    assert_eq!(slots, (0..64).map(Some).collect::<Vec<_>>());
    assert_eq!(w.session.allocate_slot(), None);
    w.session.free_slot(17);
    assert_eq!(w.session.allocate_slot(), Some(17));
}

#[test]
fn record_when_larger_than_the_ring_takes_travels_in_parts() {
    let w = World::new();
    let payload: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
    let region = Arc::clone(&w.host.region);
    let host = thread::spawn(move || {
        let mut consumer = Consumer::new(region);
        let mut whole = Vec::new();
        loop {
            let Some(record) = consumer.next().unwrap() else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            let header = Header::from_word(record.word);
            assert_eq!(header.opcode, op::FRAGMENT);
            // SAFETY: the record's payload, which the guest leaves alone until it is released.
            whole.extend_from_slice(unsafe {
                std::slice::from_raw_parts(record.payload.as_ptr(), record.len)
            });
            consumer.release();
            if header.flags & FLAG_LAST != 0 {
                return whole;
            }
        }
    });
    w.session.send_now(0x1234, &|writer| writer.put_bytes(&payload)).unwrap();
    let whole = host.join().unwrap();
    let header = Header::from_word(u64::from_le_bytes(whole[..8].try_into().unwrap()));
    assert_eq!((header.opcode, header.length as usize), (0x1234, whole.len()));
    assert_eq!(whole[8..8 + payload.len()], payload);
}

#[test]
fn call_when_the_reply_is_larger_than_its_area_is_fetched_in_parts() {
    let w = World::new();
    let answer: Vec<u8> = (0..10_000u32).map(|i| (i * 7) as u8).collect();
    let (region, expected) = (Arc::clone(&w.host.region), answer.clone());
    let host = thread::spawn(move || {
        let mut consumer = Consumer::new(Arc::clone(&region));
        let (area, size) = region.reply();
        let mut at = 0;
        while at < answer.len() {
            let Some(record) = consumer.next().unwrap() else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            let fetching = Header::from_word(record.word).opcode == op::FETCH_REPLY;
            assert_eq!(fetching, at > 0);
            consumer.release();
            let part = size.min(answer.len() - at);
            // SAFETY: the part fits the area; the guest reads it after the reply was posted.
            unsafe { area.as_ptr().copy_from_nonoverlapping(answer[at..].as_ptr(), part) };
            region.control().post_reply((answer.len() - at) as u32);
            at += part;
        }
    });
    let got = w.session.call(0x1234, &|_| {}, |r| {
        let mut bytes = vec![0; r.left()];
        r.take_bytes(&mut bytes).map(|()| bytes)
    });
    assert_eq!(got, Ok(expected));
    host.join().unwrap();
}
