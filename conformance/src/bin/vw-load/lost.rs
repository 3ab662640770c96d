//! Calls that are under way when the device is lost.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ash::vk;

use crate::device::{Gpu, create_pipeline};

/// Which call. The first ones block until the device is lost, the others are made over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Call {
    /// `vkWaitForFences` for work that waits for a semaphore nobody signals.
    WaitForFences,
    /// `vkWaitSemaphores` for a value nobody signals.
    WaitSemaphores,
    /// `vkQueueWaitIdle` while work waits for a semaphore nobody signals.
    QueueWaitIdle,
    /// `vkDeviceWaitIdle`, the same.
    DeviceWaitIdle,
    /// `vkGetQueryPoolResults` with the wait flag, for a query in work that waits.
    GetQueryPoolResults,
    /// `vkAllocateMemory` and `vkFreeMemory`.
    AllocateMemory,
    /// `vkCreateComputePipelines`.
    CreatePipelines,
    /// `vkQueueSubmit` of nothing.
    QueueSubmit,
    /// `vkGetFenceStatus`.
    GetFenceStatus,
    /// `vkBeginCommandBuffer`, much recording, `vkEndCommandBuffer`, `vkQueueSubmit`.
    Record,
}

/// How long the call may go on; longer means that the loss is not seen.
const LIMIT: Duration = Duration::from_secs(30);

/// Makes the call until it answers that the device is lost.
pub(crate) fn run(gpu: &Gpu, call: Call, ready: &Path) -> Result<(), String> {
    // SAFETY: valid usage; one thread.
    let code = unsafe { until_error(gpu, call, ready) }?;
    println!("lost: {code:?}");
    if code == vk::Result::ERROR_DEVICE_LOST {
        Ok(())
    } else {
        Err(format!("{code:?} instead of a lost device"))
    }
}

unsafe fn until_error(gpu: &Gpu, call: Call, ready: &Path) -> Result<vk::Result, String> {
    let device = &gpu.device;
    let queue = *gpu.queue.lock().map_err(|error| error.to_string())?;
    let fence = device.create_fence(&vk::FenceCreateInfo::default(), None).map_err(text)?;
    let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
    let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
    let semaphores = [device.create_semaphore(&info, None).map_err(text)?];
    let info = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(1);
    let queries = device.create_query_pool(&info, None).map_err(text)?;
    let pool = device
        .create_command_pool(&vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family), None)
        .map_err(text)?;
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let buffers = device.allocate_command_buffers(&info).map_err(text)?;
    let never = [1];
    if matches!(
        call,
        Call::WaitForFences | Call::QueueWaitIdle | Call::DeviceWaitIdle | Call::GetQueryPoolResults
    ) {
        device.begin_command_buffer(buffers[0], &vk::CommandBufferBeginInfo::default()).map_err(text)?;
        device.cmd_reset_query_pool(buffers[0], queries, 0, 1);
        device.cmd_write_timestamp(buffers[0], vk::PipelineStageFlags::ALL_COMMANDS, queries, 0);
        device.end_command_buffer(buffers[0]).map_err(text)?;
        let mut values = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&never);
        let submit = vk::SubmitInfo::default()
            .command_buffers(&buffers)
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
            .push_next(&mut values);
        device.queue_submit(queue, &[submit], fence).map_err(text)?;
    }
    fs::write(ready, "").map_err(|error| error.to_string())?;
    let started = Instant::now();
    loop {
        let made = match call {
            Call::WaitForFences => device.wait_for_fences(&[fence], true, u64::MAX),
            Call::WaitSemaphores => {
                let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&never);
                device.wait_semaphores(&info, u64::MAX)
            }
            Call::QueueWaitIdle => device.queue_wait_idle(queue),
            Call::DeviceWaitIdle => device.device_wait_idle(),
            Call::GetQueryPoolResults => {
                let flags = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
                device.get_query_pool_results(queries, 0, &mut [0u64], flags)
            }
            Call::AllocateMemory => allocate(gpu),
            Call::CreatePipelines => create_pipeline(device, gpu.layout, gpu.module)
                .map(|pipeline| device.destroy_pipeline(pipeline, None)),
            Call::QueueSubmit => device.queue_submit(queue, &[], vk::Fence::null()),
            Call::GetFenceStatus => device.get_fence_status(fence).map(|_| ()),
            Call::Record => record(gpu, queue, pool, &buffers),
        };
        match made {
            Ok(()) if started.elapsed() > LIMIT => return Err("the device is not lost".into()),
            Ok(()) => {}
            Err(code) => return Ok(code),
        }
    }
}

fn text(code: vk::Result) -> String {
    format!("{code:?} before the device was lost")
}

unsafe fn allocate(gpu: &Gpu) -> Result<(), vk::Result> {
    let info = vk::MemoryAllocateInfo::default().allocation_size(1 << 20).memory_type_index(gpu.memory_type);
    let memory = gpu.device.allocate_memory(&info, None)?;
    gpu.device.free_memory(memory, None);
    Ok(())
}

unsafe fn record(
    gpu: &Gpu,
    queue: vk::Queue,
    pool: vk::CommandPool,
    buffers: &[vk::CommandBuffer],
) -> Result<(), vk::Result> {
    let device = &gpu.device;
    device.reset_command_pool(pool, vk::CommandPoolResetFlags::empty())?;
    device.begin_command_buffer(buffers[0], &vk::CommandBufferBeginInfo::default())?;
    device.cmd_bind_pipeline(buffers[0], vk::PipelineBindPoint::COMPUTE, gpu.pipeline);
    for value in 0..50_000u32 {
        let push = value.to_ne_bytes();
        device.cmd_push_constants(buffers[0], gpu.layout, vk::ShaderStageFlags::COMPUTE, 0, &push);
    }
    device.end_command_buffer(buffers[0])?;
    device.queue_submit(queue, &[vk::SubmitInfo::default().command_buffers(buffers)], vk::Fence::null())?;
    device.queue_wait_idle(queue)
}
