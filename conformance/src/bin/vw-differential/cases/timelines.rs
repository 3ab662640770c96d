//! Timeline semaphores that are waited for before anybody signals, by queues and threads at once.

use std::sync::Mutex;
use std::thread;

use ash::vk;

use crate::commands::PATIENCE;
use crate::gpu::Gpu;
use crate::report::Report;

/// Links of the chain.
const LINKS: usize = 24;

/// A device of its own with up to four queues.
struct Queues {
    device: ash::Device,
    queues: Vec<(vk::Queue, Mutex<()>)>,
}

impl Queues {
    unsafe fn new(gpu: &Gpu) -> Self {
        let families = gpu.instance.get_physical_device_queue_family_properties(gpu.physical);
        let count = families[gpu.family as usize].queue_count.min(4);
        let priorities = vec![1.0; count as usize];
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(gpu.family)
            .queue_priorities(&priorities)];
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true);
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).push_next(&mut v12);
        let device = gpu.instance.create_device(gpu.physical, &info, None).unwrap();
        let queues = (0..count).map(|i| (device.get_device_queue(gpu.family, i), Mutex::new(()))).collect();
        Self { device, queues }
    }

    unsafe fn timeline(&self) -> vk::Semaphore {
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        self.device.create_semaphore(&info, None).unwrap()
    }

    /// An empty batch that waits for a value and signals another one.
    unsafe fn submit(&self, queue: usize, wait: (vk::Semaphore, u64), signal: (vk::Semaphore, u64)) {
        let (waits, signals) = ([wait.0], [signal.0]);
        let (wait_values, signal_values) = ([wait.1], [signal.1]);
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&wait_values)
            .signal_semaphore_values(&signal_values);
        let submit = vk::SubmitInfo::default()
            .wait_semaphores(&waits)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
            .signal_semaphores(&signals)
            .push_next(&mut values);
        let (queue, lock) = &self.queues[queue % self.queues.len()];
        let _queue = lock.lock().unwrap();
        self.device.queue_submit(*queue, &[submit], vk::Fence::null()).unwrap();
    }

    unsafe fn wait(&self, semaphore: vk::Semaphore, value: u64) -> Result<(), vk::Result> {
        let (semaphores, values) = ([semaphore], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        self.device.wait_semaphores(&info, PATIENCE)
    }

    unsafe fn signal(&self, semaphore: vk::Semaphore, value: u64) {
        let info = vk::SemaphoreSignalInfo::default().semaphore(semaphore).value(value);
        self.device.signal_semaphore(&info).unwrap();
    }

    unsafe fn close(self, semaphores: &[vk::Semaphore]) {
        self.device.device_wait_idle().unwrap();
        semaphores.iter().for_each(|semaphore| self.device.destroy_semaphore(*semaphore, None));
        self.device.destroy_device(None);
    }
}

/// Every submission waits for a thread, which waits for the submission before; all are there before the first goes on.
pub(super) unsafe fn chain(gpu: &Gpu, report: &Report) {
    let queues = Queues::new(gpu);
    report.line("queues", queues.queues.len());
    let semaphores: Vec<_> = (0..2 * LINKS).map(|_| queues.timeline()).collect();
    let (before, after) = semaphores.split_at(LINKS);
    thread::scope(|scope| {
        let shared = &queues;
        let threads: Vec<_> = (1..LINKS)
            .map(|i| {
                scope.spawn(move || {
                    let waited = shared.wait(after[i - 1], 1);
                    shared.signal(before[i], 1);
                    waited
                })
            })
            .collect();
        for i in 0..LINKS {
            queues.submit(i, (before[i], 1), (after[i], 1));
        }
        report.debug("nothing yet", queues.device.get_semaphore_counter_value(after[0]));
        queues.signal(before[0], 1);
        report.debug("the last", queues.wait(after[LINKS - 1], 1));
        let waited: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        report.line("all threads", waited.iter().all(Result::is_ok));
    });
    queues.close(&semaphores);
}

/// Threads that submit waits for one another's values to whatever queues there are; a queue is given a wait only when
/// nothing behind it is needed for it.
pub(super) unsafe fn crossed(gpu: &Gpu, report: &Report) {
    let queues = Queues::new(gpu);
    let many = queues.queues.len();
    let lines: Vec<_> = (0..many).map(|_| queues.timeline()).collect();
    let start = queues.timeline();
    thread::scope(|scope| {
        let (shared, lines) = (&queues, &lines);
        let threads: Vec<_> = (0..many)
            .map(|mine| {
                scope.spawn(move || {
                    // Round by round each queue waits for its neighbour, the first for the round before.
                    for round in 1..=20u64 {
                        let wait = match (mine, round) {
                            (0, 1) => (start, 1),
                            (0, _) => (lines[many - 1], round - 1),
                            _ => (lines[mine - 1], round),
                        };
                        shared.submit(mine, wait, (lines[mine], round));
                    }
                    shared.wait(lines[mine], 20)
                })
            })
            .collect();
        queues.signal(start, 1);
        let waited: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        report.debug("waited", waited);
    });
    for line in &lines {
        report.debug("value", queues.device.get_semaphore_counter_value(*line));
    }
    let all: Vec<_> = lines.iter().copied().chain([start]).collect();
    queues.close(&all);
}

/// Many values of one semaphore, each waited for by a thread of its own and signalled in between by host and device.
pub(super) unsafe fn one_for_all(gpu: &Gpu, report: &Report) {
    let queues = Queues::new(gpu);
    let (line, gate) = (queues.timeline(), queues.timeline());
    thread::scope(|scope| {
        let shared = &queues;
        let threads: Vec<_> =
            (1..=16u64).map(|value| scope.spawn(move || shared.wait(line, value))).collect();
        // The device raises odd values, each when the host has raised the one before.
        for value in (1..=16u64).step_by(2) {
            queues.submit(0, (gate, value), (line, value));
        }
        for value in (1..=16u64).step_by(2) {
            queues.signal(gate, value);
            queues.wait(line, value).unwrap();
            queues.signal(line, value + 1);
        }
        let waited: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        report.debug("waited", waited);
    });
    report.debug("value", queues.device.get_semaphore_counter_value(line));
    queues.close(&[line, gate]);
}

/// Host and device raise one semaphore in turn, as soon as they have seen what the other one did.
pub(super) unsafe fn in_turn(gpu: &Gpu, report: &Report) {
    const ROUNDS: u64 = 200;
    let queues = Queues::new(gpu);
    let line = queues.timeline();
    for round in 0..ROUNDS {
        queues.submit(0, (line, 2 * round + 1), (line, 2 * round + 2));
    }
    for round in 0..ROUNDS {
        queues.signal(line, 2 * round + 1);
        queues.wait(line, 2 * round + 2).unwrap();
    }
    report.debug("value", queues.device.get_semaphore_counter_value(line));
    queues.close(&[line]);
}
