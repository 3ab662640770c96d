//! Fences, events, semaphores of both kinds, submissions.

use std::thread;
use std::time::{Duration, Instant};

use ash::vk;

use crate::commands::{PATIENCE, barrier_all};
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer};

unsafe fn fence(gpu: &Gpu, signalled: bool) -> vk::Fence {
    let flags = if signalled { vk::FenceCreateFlags::SIGNALED } else { vk::FenceCreateFlags::empty() };
    let fence = gpu.device.create_fence(&vk::FenceCreateInfo::default().flags(flags), None).unwrap();
    gpu.later(move |device| device.destroy_fence(fence, None));
    fence
}

unsafe fn binary(gpu: &Gpu) -> vk::Semaphore {
    let semaphore = gpu.device.create_semaphore(&vk::SemaphoreCreateInfo::default(), None).unwrap();
    gpu.later(move |device| device.destroy_semaphore(semaphore, None));
    semaphore
}

unsafe fn timeline_from(gpu: &Gpu, value: u64) -> vk::Semaphore {
    let mut kind = vk::SemaphoreTypeCreateInfo::default()
        .semaphore_type(vk::SemaphoreType::TIMELINE)
        .initial_value(value);
    let semaphore =
        gpu.device.create_semaphore(&vk::SemaphoreCreateInfo::default().push_next(&mut kind), None).unwrap();
    gpu.later(move |device| device.destroy_semaphore(semaphore, None));
    semaphore
}

/// A command buffer that fills a buffer.
unsafe fn filling(gpu: &Gpu, buffer: Buffer, value: u32) -> vk::CommandBuffer {
    gpu.record(vk::CommandBufferUsageFlags::SIMULTANEOUS_USE, |cb| {
        barrier_all(&gpu.device, cb);
        gpu.device.cmd_fill_buffer(cb, buffer.handle, 0, vk::WHOLE_SIZE, value);
        barrier_all(&gpu.device, cb);
    })
}

pub(super) unsafe fn fences(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let (set, unset, other) = (fence(gpu, true), fence(gpu, false), fence(gpu, false));
    report.debug("signalled from the start", device.get_fence_status(set));
    report.debug("unsignalled", device.get_fence_status(unset));
    report.debug("wait for all, no time", device.wait_for_fences(&[set, unset], true, 0));
    report.debug("wait for any, no time", device.wait_for_fences(&[unset, set], false, 0));
    let started = Instant::now();
    report.debug("wait for 20 ms", device.wait_for_fences(&[unset], true, 20_000_000));
    report.line("waited", started.elapsed() >= Duration::from_millis(20));
    report.debug("reset", device.reset_fences(&[set]));
    report.debug("after the reset", device.get_fence_status(set));
    let buffer = gpu.buffer(4096, ANY_USE);
    let buffers = [filling(gpu, buffer, 3)];
    let submit = vk::SubmitInfo::default().command_buffers(&buffers);
    device.queue_submit(gpu.queue, &[submit], unset).unwrap();
    // A fence alone is signalled after all before it.
    device.queue_submit(gpu.queue, &[], other).unwrap();
    report.debug("wait for both", device.wait_for_fences(&[unset, other], true, PATIENCE));
    report.debug("status", device.get_fence_status(other));
    report.words("filled", &buffer.words(2));
    for _ in 0..100 {
        device.reset_fences(&[unset]).unwrap();
        device.queue_submit(gpu.queue, &[submit], unset).unwrap();
        device.wait_for_fences(&[unset], true, u64::MAX).unwrap();
    }
    report.debug("after a hundred", device.get_fence_status(unset));
}

pub(super) unsafe fn events(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let event = device.create_event(&vk::EventCreateInfo::default(), None).unwrap();
    gpu.later(move |device| device.destroy_event(event, None));
    report.debug("new", device.get_event_status(event));
    device.set_event(event).unwrap();
    report.debug("set by the host", device.get_event_status(event));
    device.reset_event(event).unwrap();
    report.debug("reset by the host", device.get_event_status(event));
    let buffer = gpu.buffer(256, ANY_USE);
    let stages = vk::PipelineStageFlags::ALL_COMMANDS;
    gpu.run(|cb| {
        device.cmd_fill_buffer(cb, buffer.handle, 0, 256, 5);
        device.cmd_set_event(cb, event, stages);
        device.cmd_wait_events(cb, &[event], stages, stages, &[], &[], &[]);
        device.cmd_fill_buffer(cb, buffer.handle, 0, 128, 6);
        barrier_all(device, cb);
    });
    report.debug("set by the device", device.get_event_status(event));
    gpu.run(|cb| device.cmd_reset_event(cb, event, stages));
    report.debug("reset by the device", device.get_event_status(event));
    gpu.run(|cb| {
        let barriers = [vk::MemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
            .src_access_mask(vk::AccessFlags2::MEMORY_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
            .dst_access_mask(vk::AccessFlags2::MEMORY_READ)];
        let dependency = vk::DependencyInfo::default().memory_barriers(&barriers);
        device.cmd_set_event2(cb, event, &dependency);
        device.cmd_wait_events2(cb, &[event], &[dependency]);
        device.cmd_reset_event2(cb, event, vk::PipelineStageFlags2::ALL_COMMANDS);
    });
    report.debug("after the second version", device.get_event_status(event));
    // A command buffer that waits for the host; the host's signal comes before the submission.
    device.set_event(event).unwrap();
    gpu.run(|cb| {
        device.cmd_wait_events(cb, &[event], vk::PipelineStageFlags::HOST, stages, &[], &[], &[]);
        device.cmd_fill_buffer(cb, buffer.handle, 64, 64, 7);
        barrier_all(device, cb);
    });
    report.bytes("filled", &buffer.read());
}

/// Several events with a dependency each, set and waited for in different submissions and command buffers.
pub(super) unsafe fn many_events(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let event = |flags| {
        let event = device.create_event(&vk::EventCreateInfo::default().flags(flags), None).unwrap();
        gpu.later(move |device| device.destroy_event(event, None));
        event
    };
    let events = [(); 3].map(|()| event(vk::EventCreateFlags::empty()));
    let of_device = event(vk::EventCreateFlags::DEVICE_ONLY);
    let buffers = [gpu.buffer(256, ANY_USE), gpu.buffer(256, ANY_USE), gpu.buffer(256, ANY_USE)];
    let barriers = buffers.map(|buffer| {
        [vk::BufferMemoryBarrier2::default()
            .src_stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)
            .src_access_mask(vk::AccessFlags2::TRANSFER_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags2::COPY)
            .dst_access_mask(vk::AccessFlags2::TRANSFER_READ)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .buffer(buffer.handle)
            .size(vk::WHOLE_SIZE)]
    });
    let [first, second, third] = &barriers;
    let dependencies =
        [first, second, third].map(|of_one| vk::DependencyInfo::default().buffer_memory_barriers(of_one));
    let states = |label: &str| {
        report.debug(label, events.map(|event| device.get_event_status(event)));
    };
    states("new");
    for (i, buffer) in (0u32..).zip(&buffers) {
        gpu.run(|cb| {
            device.cmd_fill_buffer(cb, buffer.handle, 0, 256, 11 * (i + 1));
            device.cmd_set_event2(cb, events[i as usize], &dependencies[i as usize]);
        });
        states(&format!("{i} set"));
    }
    let result = gpu.buffer(768, ANY_USE);
    let secondary = gpu.command_buffers(vk::CommandBufferLevel::SECONDARY, 1)[0];
    let inheritance = vk::CommandBufferInheritanceInfo::default();
    let begin = vk::CommandBufferBeginInfo::default().inheritance_info(&inheritance);
    device.begin_command_buffer(secondary, &begin).unwrap();
    device.cmd_wait_events2(secondary, &events, &dependencies);
    for (i, buffer) in (0u64..).zip(&buffers) {
        let region = [vk::BufferCopy { src_offset: 0, dst_offset: i * 256, size: 256 }];
        device.cmd_copy_buffer(secondary, buffer.handle, result.handle, &region);
    }
    device.end_command_buffer(secondary).unwrap();
    gpu.run(|cb| {
        device.cmd_execute_commands(cb, &[secondary]);
        barrier_all(device, cb);
        device.cmd_reset_event2(cb, events[1], vk::PipelineStageFlags2::ALL_COMMANDS);
    });
    report.bytes("copied", &result.read());
    states("one reset by the device");
    // The host's resets and sets go before and after those of the device.
    device.reset_event(events[0]).unwrap();
    device.set_event(events[1]).unwrap();
    states("by the host");
    gpu.run(|cb| {
        let stages = vk::PipelineStageFlags::ALL_COMMANDS;
        let barrier = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
            .dst_access_mask(vk::AccessFlags::TRANSFER_WRITE)];
        device.cmd_fill_buffer(cb, result.handle, 0, 128, 3);
        device.cmd_set_event(cb, of_device, stages);
        device.cmd_wait_events(cb, &[of_device], stages, stages, &barrier, &[], &[]);
        device.cmd_reset_event(cb, of_device, stages);
        device.cmd_fill_buffer(cb, result.handle, 64, 128, 4);
        barrier_all(device, cb);
        device.cmd_set_event(cb, events[0], stages);
        device.cmd_reset_event(cb, events[2], stages);
    });
    states("at the end");
    report.bytes("filled", &result.read());
}

/// A chain of submissions, each waiting for the one before.
pub(super) unsafe fn semaphores(gpu: &Gpu, report: &Report) {
    let semaphores: Vec<_> = (0..8).map(|_| binary(gpu)).collect();
    let buffer = gpu.buffer(1024, ANY_USE);
    let done = fence(gpu, false);
    for i in 0..9usize {
        let buffers = [filling(gpu, buffer, i as u32 + 40)];
        let wait: &[_] = if i > 0 { &semaphores[i - 1..i] } else { &[] };
        let signal: &[_] = if i < 8 { &semaphores[i..=i] } else { &[] };
        let stages = [vk::PipelineStageFlags::ALL_COMMANDS];
        let submit = vk::SubmitInfo::default()
            .command_buffers(&buffers)
            .wait_semaphores(wait)
            .wait_dst_stage_mask(&stages[..wait.len()])
            .signal_semaphores(signal);
        let last = if i == 8 { done } else { vk::Fence::null() };
        gpu.device.queue_submit(gpu.queue, &[submit], last).unwrap();
    }
    report.debug("wait", gpu.device.wait_for_fences(&[done], true, PATIENCE));
    report.words("last", &buffer.words(1));
}

pub(super) unsafe fn timeline(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let semaphore = timeline_from(gpu, 7);
    report.debug("at first", device.get_semaphore_counter_value(semaphore));
    device.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(9)).unwrap();
    report.debug("signalled by the host", device.get_semaphore_counter_value(semaphore));
    let semaphores = [semaphore];
    let waiting = |value: u64, timeout: u64| {
        let values = [value];
        device.wait_semaphores(
            &vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values),
            timeout,
        )
    };
    report.debug("wait for the past", waiting(8, 0));
    report.debug("wait for the future, no time", waiting(10, 0));
    report.debug("wait for the future, 20 ms", waiting(10, 20_000_000));
    let buffer = gpu.buffer(1024, ANY_USE);
    for (from, to) in [(9u64, 10u64), (10, 15), (15, 16)] {
        let buffers = [filling(gpu, buffer, to as u32)];
        let (waits, signals) = ([from], [to]);
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&waits)
            .signal_semaphore_values(&signals);
        let submit = vk::SubmitInfo::default()
            .command_buffers(&buffers)
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
            .signal_semaphores(&semaphores)
            .push_next(&mut values);
        device.queue_submit(gpu.queue, &[submit], vk::Fence::null()).unwrap();
    }
    report.debug("wait for the last", waiting(16, PATIENCE));
    report.debug("value", device.get_semaphore_counter_value(semaphore));
    report.words("filled", &buffer.words(1));
    let both = [semaphore, timeline_from(gpu, 0)];
    let values = [16, 1];
    let any =
        vk::SemaphoreWaitInfo::default().flags(vk::SemaphoreWaitFlags::ANY).semaphores(&both).values(&values);
    report.debug("wait for any", device.wait_semaphores(&any, 0));
    let all = vk::SemaphoreWaitInfo::default().semaphores(&both).values(&values);
    report.debug("wait for all", device.wait_semaphores(&all, 0));
}

/// Waits, of the device and of threads, that begin before anybody signals.
pub(super) unsafe fn wait_before_signal(gpu: &Gpu, report: &Report) {
    let device = gpu.device.clone();
    let semaphore = timeline_from(gpu, 0);
    let buffer = gpu.buffer(1024, ANY_USE);
    let (buffers, semaphores) = ([filling(gpu, buffer, 77)], [semaphore]);
    let (waits, signals) = ([1], [2]);
    let mut values = vk::TimelineSemaphoreSubmitInfo::default()
        .wait_semaphore_values(&waits)
        .signal_semaphore_values(&signals);
    let submit = vk::SubmitInfo::default()
        .command_buffers(&buffers)
        .wait_semaphores(&semaphores)
        .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
        .signal_semaphores(&semaphores)
        .push_next(&mut values);
    let done = fence(gpu, false);
    device.queue_submit(gpu.queue, &[submit], done).unwrap();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let device = device.clone();
            thread::spawn(move || {
                let (semaphores, values) = ([semaphore], [2]);
                let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
                device.wait_semaphores(&info, PATIENCE)
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(30));
    report.debug("not yet", device.get_fence_status(done));
    report.debug("value", device.get_semaphore_counter_value(semaphore));
    device.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(1)).unwrap();
    for waiter in waiters {
        report.debug("waited", waiter.join().unwrap());
    }
    report.debug("fence", device.wait_for_fences(&[done], true, PATIENCE));
    report.words("filled", &buffer.words(1));
    // A thread waits for what another thread signals, with no device between.
    let waiter = {
        let device = device.clone();
        thread::spawn(move || {
            let (semaphores, values) = ([semaphore], [5]);
            device.wait_semaphores(
                &vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values),
                PATIENCE,
            )
        })
    };
    thread::sleep(Duration::from_millis(10));
    device.signal_semaphore(&vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(5)).unwrap();
    report.debug("host to host", waiter.join().unwrap());
}

/// `vkQueueSubmit2` with both kinds of semaphores.
pub(super) unsafe fn second_version(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let (plain, line) = (binary(gpu), timeline_from(gpu, 0));
    let buffer = gpu.buffer(1024, ANY_USE);
    let info = |value| [vk::CommandBufferSubmitInfo::default().command_buffer(filling(gpu, buffer, value))];
    let (first, second) = (info(1), info(2));
    let all = vk::PipelineStageFlags2::ALL_COMMANDS;
    let at = |semaphore, value| {
        vk::SemaphoreSubmitInfo::default().semaphore(semaphore).value(value).stage_mask(all)
    };
    let (signals, waits, last) = ([at(plain, 0), at(line, 3)], [at(plain, 0), at(line, 3)], [at(line, 4)]);
    let submits = [
        vk::SubmitInfo2::default().command_buffer_infos(&first).signal_semaphore_infos(&signals),
        vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&second)
            .signal_semaphore_infos(&last),
    ];
    let done = fence(gpu, false);
    report.debug("submitted", device.queue_submit2(gpu.queue, &submits, done));
    report.debug("wait", device.wait_for_fences(&[done], true, PATIENCE));
    // Lavapipe signals the fence a moment before the semaphore.
    let (lines, values) = ([line], [4]);
    let last = vk::SemaphoreWaitInfo::default().semaphores(&lines).values(&values);
    report.debug("wait for the value", device.wait_semaphores(&last, PATIENCE));
    report.debug("value", device.get_semaphore_counter_value(line));
    report.words("filled", &buffer.words(1));
}

/// Many batches in one call, some of them empty.
pub(super) unsafe fn batches(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(64, ANY_USE);
    let commands: Vec<_> =
        (0..16).map(|i| [filling(gpu, buffer, i), filling(gpu, buffer, i + 100)]).collect();
    let empty = vk::SubmitInfo::default();
    let submits: Vec<_> =
        commands.iter().flat_map(|pair| [vk::SubmitInfo::default().command_buffers(pair), empty]).collect();
    let done = fence(gpu, false);
    report.debug("submitted", gpu.device.queue_submit(gpu.queue, &submits, done));
    report.debug("wait", gpu.device.wait_for_fences(&[done], true, PATIENCE));
    report.words("last", &buffer.words(1));
}

/// Hundreds of submissions on their way at once, their fences looked at in another order.
pub(super) unsafe fn many_submissions(gpu: &Gpu, report: &Report) {
    let buffer = gpu.buffer(64, ANY_USE);
    let commands = [filling(gpu, buffer, 12)];
    let submit = vk::SubmitInfo::default().command_buffers(&commands);
    let fences: Vec<_> = (0..300).map(|_| fence(gpu, false)).collect();
    for fence in &fences {
        gpu.device.queue_submit(gpu.queue, &[submit], *fence).unwrap();
    }
    report.debug("last", gpu.device.wait_for_fences(&fences[299..], true, PATIENCE));
    let all = fences.iter().rev().all(|fence| gpu.device.get_fence_status(*fence) == Ok(true));
    report.line("all", all);
    report.debug("reset", gpu.device.reset_fences(&fences));
    report.debug("queue idle", gpu.device.queue_wait_idle(gpu.queue));
    report.debug("device idle", gpu.device.device_wait_idle());
}

/// Submissions of command buffers alone, most without a fence, between others: each keeps what the one before it has left.
pub(super) unsafe fn in_order(gpu: &Gpu, report: &Report) {
    const COUNT: u32 = 200;
    let device = &gpu.device;
    let (value, history) = (gpu.buffer(16, ANY_USE), gpu.buffer(u64::from(COUNT) * 4, ANY_USE));
    let fills: Vec<_> = (0..16).map(|i| filling(gpu, value, 1000 + i)).collect();
    let semaphore = binary(gpu);
    let done = fence(gpu, false);
    for number in 0..COUNT {
        let keep = gpu.record(vk::CommandBufferUsageFlags::empty(), |cb| {
            barrier_all(device, cb);
            let region = vk::BufferCopy { src_offset: 0, dst_offset: u64::from(number) * 4, size: 4 };
            device.cmd_copy_buffer(cb, value.handle, history.handle, &[region]);
            barrier_all(device, cb);
        });
        let fill = fills[(number * 7 % 16) as usize];
        let (semaphores, stages) = ([semaphore], [vk::PipelineStageFlags::ALL_COMMANDS]);
        let infos = [fill, keep].map(|cb| vk::CommandBufferSubmitInfo::default().command_buffer(cb));
        let (fill, keep, none) = ([fill], [keep], vk::Fence::null());
        let (first, second) = (
            vk::SubmitInfo::default().command_buffers(&fill),
            vk::SubmitInfo::default().command_buffers(&keep),
        );
        match number % 5 {
            0 => {
                let all = vk::SubmitInfo2::default().command_buffer_infos(&infos);
                device.queue_submit2(gpu.queue, &[all], none).unwrap();
            }
            1 => {
                device.queue_submit(gpu.queue, &[first.signal_semaphores(&semaphores)], none).unwrap();
                let second = second.wait_semaphores(&semaphores).wait_dst_stage_mask(&stages);
                device.queue_submit(gpu.queue, &[second], none).unwrap();
            }
            2 => device.queue_submit(gpu.queue, &[first, second], none).unwrap(),
            _ => {
                device.queue_submit(gpu.queue, &[first], none).unwrap();
                device.queue_submit(gpu.queue, &[], none).unwrap();
                device.queue_submit(gpu.queue, &[second], none).unwrap();
            }
        }
        if number == COUNT / 2 {
            device.queue_submit(gpu.queue, &[], done).unwrap();
            report.debug("wait in between", device.wait_for_fences(&[done], true, PATIENCE));
            report.words("half", &history.words(number as usize + 1));
        }
    }
    report.debug("wait", device.queue_wait_idle(gpu.queue));
    report.words("history", &history.words(COUNT as usize));
}
