//! Many threads, each with objects of its own that it makes, uses, checks and destroys in every round.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ash::vk;

use crate::device::{Gpu, WORDS};

/// How long a wait may last, in nanoseconds.
const PATIENCE: u64 = 20_000_000_000;

/// What goes wrong in a thread.
enum Failure {
    Vulkan(vk::Result),
    Content { thread: u32, round: u64, index: usize, expected: u32, found: u32 },
}

impl From<vk::Result> for Failure {
    fn from(code: vk::Result) -> Self {
        Self::Vulkan(code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vulkan(code) => write!(f, "{code:?}"),
            Self::Content { thread, round, index, expected, found } => {
                write!(f, "thread {thread}, round {round}, word {index}: {found:x} instead of {expected:x}")
            }
        }
    }
}

/// Works for `seconds`; prints the rounds and the resident memory of every second.
pub(crate) fn run(gpu: &Gpu, threads: u32, seconds: u64) -> Result<(), String> {
    let rounds = AtomicU64::new(0);
    let until = Instant::now() + Duration::from_secs(seconds);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let rounds = &rounds;
                // SAFETY: valid usage; each thread uses objects of its own, and the queue under its lock.
                scope.spawn(move || unsafe { one_thread(gpu, number, until, rounds) })
            })
            .collect();
        for second in 1..=seconds {
            thread::sleep(Duration::from_secs(1));
            let done = rounds.load(Ordering::Relaxed);
            println!("second {second}: {done} rounds, {} KiB", resident_kib());
            if workers.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        for worker in workers {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return Err(failure.to_string()),
                Err(_) => return Err("a thread panicked".into()),
            }
        }
        println!("rounds: {}", rounds.load(Ordering::Relaxed));
        Ok(())
    })
}

unsafe fn one_thread(gpu: &Gpu, number: u32, until: Instant, rounds: &AtomicU64) -> Result<(), Failure> {
    let device = &gpu.device;
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = device.create_command_pool(&info, None)?;
    let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::STORAGE_BUFFER, descriptor_count: 1 }];
    let info = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
    let descriptors = device.create_descriptor_pool(&info, None)?;
    let fence = device.create_fence(&vk::FenceCreateInfo::default(), None)?;
    for round in 0.. {
        if Instant::now() >= until {
            break;
        }
        one_round(gpu, number, round, pool, descriptors, fence)?;
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    device.destroy_fence(fence, None);
    device.destroy_descriptor_pool(descriptors, None);
    device.destroy_command_pool(pool, None);
    Ok(())
}

unsafe fn one_round(
    gpu: &Gpu,
    number: u32,
    round: u64,
    pool: vk::CommandPool,
    descriptors: vk::DescriptorPool,
    fence: vk::Fence,
) -> Result<(), Failure> {
    let device = &gpu.device;
    let size = u64::from(WORDS) * 4;
    let info = vk::BufferCreateInfo::default().size(size).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    let buffer = device.create_buffer(&info, None)?;
    let needs = device.get_buffer_memory_requirements(buffer);
    let info =
        vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(gpu.memory_type);
    let memory = device.allocate_memory(&info, None)?;
    device.bind_buffer_memory(buffer, memory, 0)?;
    let mapped = device.map_memory(memory, 0, size, vk::MemoryMapFlags::empty())?.cast::<u32>();
    device.reset_descriptor_pool(descriptors, vk::DescriptorPoolResetFlags::empty())?;
    let layouts = [gpu.set_layout];
    let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(descriptors).set_layouts(&layouts);
    let set = device.allocate_descriptor_sets(&info)?[0];
    let whole = [vk::DescriptorBufferInfo { buffer, offset: 0, range: vk::WHOLE_SIZE }];
    let write = vk::WriteDescriptorSet::default()
        .dst_set(set)
        .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
        .buffer_info(&whole);
    device.update_descriptor_sets(&[write], &[]);

    device.reset_command_pool(pool, vk::CommandPoolResetFlags::empty())?;
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let buffers = device.allocate_command_buffers(&info)?;
    let cb = buffers[0];
    device.begin_command_buffer(cb, &vk::CommandBufferBeginInfo::default())?;
    device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::COMPUTE, gpu.pipeline);
    device.cmd_bind_descriptor_sets(cb, vk::PipelineBindPoint::COMPUTE, gpu.layout, 0, &[set], &[]);
    let (value, step) = (number * 1_000_000 + round as u32, number + 1);
    let push = [value, step, WORDS];
    device.cmd_push_constants(cb, gpu.layout, vk::ShaderStageFlags::COMPUTE, 0, bytemuck::cast_slice(&push));
    device.cmd_dispatch(cb, WORDS / 64, 1, 1);
    device.end_command_buffer(cb)?;
    let submit = vk::SubmitInfo::default().command_buffers(&buffers);
    {
        let queue = gpu.queue.lock().expect("no thread panicked");
        device.queue_submit(*queue, &[submit], fence)?;
    }
    device.wait_for_fences(&[fence], true, PATIENCE)?;
    device.reset_fences(&[fence])?;
    for index in 0..WORDS as usize {
        let (expected, found) = (value.wrapping_add(index as u32 * step), mapped.add(index).read());
        if expected != found {
            return Err(Failure::Content { thread: number, round, index, expected, found });
        }
    }
    device.free_command_buffers(pool, &buffers);
    device.destroy_buffer(buffer, None);
    device.free_memory(memory, None);
    Ok(())
}

/// Allocates until there is no more, twice; every piece is written and read.
pub(crate) fn fill_memory(gpu: &Gpu) -> Result<(), String> {
    const PIECE: u64 = 1 << 20;
    println!("heap: {}", gpu.heap);
    for round in ["first", "second"] {
        let mut pieces = Vec::new();
        let info =
            vk::MemoryAllocateInfo::default().allocation_size(PIECE).memory_type_index(gpu.memory_type);
        // SAFETY: valid usage; each mapping is used while its memory lives.
        let refused = unsafe {
            loop {
                match gpu.device.allocate_memory(&info, None) {
                    Ok(memory) => {
                        let flags = vk::MemoryMapFlags::empty();
                        let mapped = gpu.device.map_memory(memory, 0, PIECE, flags);
                        let place = mapped.map_err(|code| format!("mapping: {code:?}"))?.cast::<u64>();
                        place.add(PIECE as usize / 8 - 1).write(pieces.len() as u64);
                        pieces.push((memory, place));
                    }
                    Err(code) => break code,
                }
            }
        };
        println!("{round}: {}", pieces.len() as u64 * PIECE);
        if refused != vk::Result::ERROR_OUT_OF_DEVICE_MEMORY {
            return Err(format!("refused with {refused:?}"));
        }
        for (number, (memory, place)) in (0u64..).zip(pieces) {
            // SAFETY: as above; nothing uses the memory any more.
            let found = unsafe {
                let found = place.add(PIECE as usize / 8 - 1).read();
                gpu.device.free_memory(memory, None);
                found
            };
            if found != number {
                return Err(format!("piece {number} holds {found}"));
            }
        }
    }
    Ok(())
}

/// Something for a validation layer to complain about.
pub(crate) fn misuse(gpu: &Gpu) -> Result<(), String> {
    let info = vk::BufferCreateInfo::default().size(64);
    // SAFETY: drivers do not look at what a buffer is for before it is used, and this one is not.
    unsafe {
        let buffer = gpu.device.create_buffer(&info, None).map_err(|code| format!("{code:?}"))?;
        gpu.device.destroy_buffer(buffer, None);
        // A call with an answer: all before it has been looked at by then.
        let info = vk::MemoryAllocateInfo::default().allocation_size(4096).memory_type_index(gpu.memory_type);
        let memory = gpu.device.allocate_memory(&info, None).map_err(|code| format!("{code:?}"))?;
        gpu.device.free_memory(memory, None);
        Ok(())
    }
}

/// Resident memory of this process in KiB.
fn resident_kib() -> u64 {
    vw_conformance::procfs::resident_kib(std::process::id())
}
