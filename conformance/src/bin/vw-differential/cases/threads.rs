//! Many threads on one device.

use std::sync::Mutex;
use std::thread;

use ash::vk;

use crate::commands::{PATIENCE, barrier_all};
use crate::gpu::Gpu;
use crate::report::{Report, hash};
use crate::resources::{ANY_USE, Buffer};
use crate::shaders;

const THREADS: u32 = 8;

/// What a thread needs of the device; everything in it may be used from any thread.
struct Shared<'a> {
    device: &'a ash::Device,
    queue: vk::Queue,
    queue_lock: &'a Mutex<()>,
    family: u32,
}

impl<'a> Shared<'a> {
    fn of(gpu: &'a Gpu) -> Self {
        Self { device: &gpu.device, queue: gpu.queue, queue_lock: &gpu.queue_lock, family: gpu.family }
    }

    /// A pool and a fence, which belong to one thread.
    unsafe fn own(&self) -> (vk::CommandPool, vk::Fence) {
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(self.family);
        let pool = self.device.create_command_pool(&info, None).unwrap();
        (pool, self.device.create_fence(&vk::FenceCreateInfo::default(), None).unwrap())
    }

    unsafe fn submit(&self, cb: vk::CommandBuffer, fence: vk::Fence) {
        let buffers = [cb];
        let submit = vk::SubmitInfo::default().command_buffers(&buffers);
        {
            let _queue = self.queue_lock.lock().unwrap();
            self.device.queue_submit(self.queue, &[submit], fence).unwrap();
        }
        self.device.wait_for_fences(&[fence], true, PATIENCE).unwrap();
        self.device.reset_fences(&[fence]).unwrap();
    }
}

/// A buffer whose mapping another thread may read.
struct Owned(Buffer);

// SAFETY: the mapping is plain memory; each buffer is used by one thread at a time.
unsafe impl Send for Owned {}

/// Each thread records, submits and waits, with a pool of its own and the queue shared.
pub(super) unsafe fn recording_and_submitting(gpu: &Gpu, report: &Report) {
    let work: Vec<_> = (0..THREADS)
        .map(|i| {
            let buffer = gpu.buffer(256 * 4, ANY_USE);
            let (layout, set) = gpu.storage_set(&[buffer]);
            let (pipeline, pipeline_layout) = gpu.compute(shaders::FILL, &[layout]);
            (i, Owned(buffer), set, pipeline, pipeline_layout)
        })
        .collect();
    let shared = Shared::of(gpu);
    let hashes: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = work
            .into_iter()
            .map(|(i, buffer, set, pipeline, layout)| {
                let shared = &shared;
                scope.spawn(move || {
                    let buffer = buffer;
                    one_thread(shared, i, &buffer.0, set, pipeline, layout)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (i, hash) in hashes.iter().enumerate() {
        report.line(&format!("thread {i}"), format!("{hash:016x}"));
    }
}

unsafe fn one_thread(
    shared: &Shared<'_>,
    number: u32,
    buffer: &Buffer,
    set: vk::DescriptorSet,
    pipeline: vk::Pipeline,
    layout: vk::PipelineLayout,
) -> u64 {
    let device = shared.device;
    let (pool, fence) = shared.own();
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let cb = device.allocate_command_buffers(&info).unwrap()[0];
    let mut all = 0u64;
    for round in 0..40u32 {
        device.reset_command_pool(pool, vk::CommandPoolResetFlags::empty()).unwrap();
        device.begin_command_buffer(cb, &vk::CommandBufferBeginInfo::default()).unwrap();
        device.cmd_bind_pipeline(cb, vk::PipelineBindPoint::COMPUTE, pipeline);
        device.cmd_bind_descriptor_sets(cb, vk::PipelineBindPoint::COMPUTE, layout, 0, &[set], &[]);
        for step in 0..10u32 {
            let push = [number * 1000 + round, step + number, 256];
            device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, bytemuck::cast_slice(&push));
            device.cmd_dispatch(cb, 4, 1, 1);
            barrier_all(device, cb);
        }
        device.end_command_buffer(cb).unwrap();
        shared.submit(cb, fence);
        all = all.rotate_left(7) ^ hash(&buffer.read());
    }
    device.destroy_fence(fence, None);
    device.destroy_command_pool(pool, None);
    all
}

/// Each thread compiles pipelines with one cache for all, destroys what they were made of and those that nobody needs at
/// once, and uses the others.
pub(super) unsafe fn compiling(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let cache = device.create_pipeline_cache(&vk::PipelineCacheCreateInfo::default(), None).unwrap();
    let work: Vec<_> = (0..THREADS)
        .map(|i| {
            let buffer = gpu.buffer(256 * 4, ANY_USE);
            let (layout, set) = gpu.storage_set(&[buffer]);
            (i, Owned(buffer), set, gpu.pipeline_layout(&[layout]))
        })
        .collect();
    let shared = Shared::of(gpu);
    let hashes: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = work
            .into_iter()
            .map(|(number, buffer, set, layout)| {
                let shared = &shared;
                scope.spawn(move || {
                    let buffer = buffer;
                    let mut all = 0u64;
                    for round in 0..3 {
                        let unique = number * 100 + round * 4;
                        let pipelines = compile(device, cache, layout, [unique, unique + 1]);
                        let unused = compile(device, cache, layout, [unique + 2, unique + 3]);
                        unused.iter().for_each(|pipeline| device.destroy_pipeline(*pipeline, None));
                        let used = one_thread(shared, number, &buffer.0, set, pipelines[1], layout);
                        all = all.rotate_left(9) ^ used;
                        pipelines.iter().for_each(|pipeline| device.destroy_pipeline(*pipeline, None));
                    }
                    all
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    device.destroy_pipeline_cache(cache, None);
    for (i, hash) in hashes.iter().enumerate() {
        report.line(&format!("thread {i}"), format!("{hash:016x}"));
    }
}

/// Two pipelines alike, each with a number of its own in a constant that the shader does not have.
unsafe fn compile(
    device: &ash::Device,
    cache: vk::PipelineCache,
    layout: vk::PipelineLayout,
    numbers: [u32; 2],
) -> Vec<vk::Pipeline> {
    let words = shaders::words(shaders::FILL);
    let module =
        device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None).unwrap();
    let entries = [vk::SpecializationMapEntry { constant_id: 1000, offset: 0, size: 4 }];
    let data = numbers.map(u32::to_ne_bytes);
    let special =
        data.each_ref().map(|data| vk::SpecializationInfo::default().map_entries(&entries).data(data));
    let infos = special.each_ref().map(|special| {
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main")
            .specialization_info(special);
        vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)
    });
    let pipelines = device.create_compute_pipelines(cache, &infos, None).unwrap();
    device.destroy_shader_module(module, None);
    pipelines
}

/// Each thread makes and destroys objects of every simple kind.
pub(super) unsafe fn creating(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let kind = gpu.memory_type(!0, vk::MemoryPropertyFlags::HOST_VISIBLE);
    let made: u32 = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || {
                    let mut made = 0;
                    for round in 0..100u64 {
                        let size = 4096 + u64::from(number) * 256 + round * 16;
                        let info = vk::BufferCreateInfo::default().size(size).usage(ANY_USE);
                        let buffer = device.create_buffer(&info, None).unwrap();
                        let needs = device.get_buffer_memory_requirements(buffer);
                        let info = vk::MemoryAllocateInfo::default()
                            .allocation_size(needs.size)
                            .memory_type_index(kind);
                        let memory = device.allocate_memory(&info, None).unwrap();
                        device.bind_buffer_memory(buffer, memory, 0).unwrap();
                        let place = device.map_memory(memory, 0, size, vk::MemoryMapFlags::empty()).unwrap();
                        place.cast::<u64>().write(round);
                        let sampler = device.create_sampler(&vk::SamplerCreateInfo::default(), None).unwrap();
                        let event = device.create_event(&vk::EventCreateInfo::default(), None).unwrap();
                        made += u32::from(place.cast::<u64>().read() == round);
                        device.destroy_event(event, None);
                        device.destroy_sampler(sampler, None);
                        device.destroy_buffer(buffer, None);
                        device.free_memory(memory, None);
                    }
                    made
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    report.line("made", made);
}

/// Many threads wait for one submission, and for one another's timeline semaphores.
pub(super) unsafe fn waiting(gpu: &Gpu, report: &Report) {
    let device = &gpu.device;
    let semaphores: Vec<_> = (0..THREADS)
        .map(|_| {
            let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
            let semaphore = device
                .create_semaphore(&vk::SemaphoreCreateInfo::default().push_next(&mut kind), None)
                .unwrap();
            gpu.later(move |device| device.destroy_semaphore(semaphore, None));
            semaphore
        })
        .collect();
    // A ring: each thread waits for its neighbour's value and then raises its own.
    let rounds = 50u64;
    let finished: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as usize)
            .map(|number| {
                let semaphores = &semaphores;
                scope.spawn(move || {
                    let before = [semaphores[(number + semaphores.len() - 1) % semaphores.len()]];
                    let mine = semaphores[number];
                    for round in 1..=rounds {
                        let values = [if number == 0 { round - 1 } else { round }];
                        let wait = vk::SemaphoreWaitInfo::default().semaphores(&before).values(&values);
                        device.wait_semaphores(&wait, PATIENCE).unwrap();
                        let signal = vk::SemaphoreSignalInfo::default().semaphore(mine).value(round);
                        device.signal_semaphore(&signal).unwrap();
                    }
                    device.get_semaphore_counter_value(mine).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    report.line("values", finished);
}
