//! Recording far ahead of whoever executes it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ash::vk;

use crate::gpu::{Gpu, Outcome, PATIENCE, check, text};

/// Bytes that one command writes.
const PART: u64 = 1024;
/// Commands of a command buffer.
const PARTS: u64 = 1600;
/// Command buffers; the last two are secondary. With what is reset again they take 110 MiB.
const BUFFERS: u64 = 64;
const SECONDARY: u64 = 2;

/// What a command buffer writes: a word for each part of it.
fn word(buffer: u64, part: u64) -> u32 {
    (buffer * PARTS + part) as u32 ^ 0x5a5a_0000
}

/// Records 110 MiB of commands, some of them twice, when `go` is there, says so by making `recorded`, and submits them when
/// `go` is gone again.
pub(crate) unsafe fn run(ready: &Path, go: &Path, recorded: &Path) -> Outcome {
    let gpu = Gpu::open()?;
    let device = &gpu.device;
    let size = BUFFERS * PARTS * PART;
    let usage = vk::BufferUsageFlags::TRANSFER_DST;
    let info = vk::BufferCreateInfo::default().size(size).usage(usage);
    let target = device.create_buffer(&info, None).map_err(text("vkCreateBuffer"))?;
    let size = device.get_buffer_memory_requirements(target).size;
    let info = vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(gpu.memory_type);
    let memory = device.allocate_memory(&info, None).map_err(text("vkAllocateMemory"))?;
    device.bind_buffer_memory(target, memory, 0).map_err(text("vkBindBufferMemory"))?;
    let flags = vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER;
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family).flags(flags);
    let pool = device.create_command_pool(&info, None).map_err(text("vkCreateCommandPool"))?;
    let allocate = |level, count| {
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .level(level)
            .command_buffer_count(count);
        device.allocate_command_buffers(&info).map_err(text("vkAllocateCommandBuffers"))
    };
    let secondaries = allocate(vk::CommandBufferLevel::SECONDARY, SECONDARY as u32)?;
    let primaries = allocate(vk::CommandBufferLevel::PRIMARY, (BUFFERS - SECONDARY) as u32)?;
    let executing = allocate(vk::CommandBufferLevel::PRIMARY, 1)?;

    let inheritance = vk::CommandBufferInheritanceInfo::default();
    let begin = vk::CommandBufferBeginInfo::default().inheritance_info(&inheritance);
    let record = |commands: vk::CommandBuffer, buffer: u64, spoil: u32| -> Outcome {
        device.begin_command_buffer(commands, &begin).map_err(text("vkBeginCommandBuffer"))?;
        // Programs do away with layouts as soon as a recording has ended.
        let range = [vk::PushConstantRange::default().size(4).stage_flags(vk::ShaderStageFlags::COMPUTE)];
        let info = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&range);
        let layout = device.create_pipeline_layout(&info, None).map_err(text("vkCreatePipelineLayout"))?;
        for part in 0..PARTS {
            let data = [word(buffer, part) ^ spoil; PART as usize / 4];
            let at = (buffer * PARTS + part) * PART;
            device.cmd_update_buffer(commands, target, at, bytemuck::cast_slice(&data));
        }
        device.cmd_push_constants(commands, layout, vk::ShaderStageFlags::COMPUTE, 0, &[0; 4]);
        let ended = device.end_command_buffer(commands).map_err(text("vkEndCommandBuffer"));
        device.destroy_pipeline_layout(layout, None);
        ended
    };

    write(ready)?;
    wait_until(go, true)?;
    for (buffer, commands) in (0..).zip(&primaries) {
        if buffer == 20 {
            for (buffer, commands) in (BUFFERS - SECONDARY..).zip(&secondaries) {
                record(*commands, buffer, 0)?;
            }
            device.begin_command_buffer(executing[0], &begin).map_err(text("vkBeginCommandBuffer"))?;
            device.cmd_execute_commands(executing[0], &secondaries);
            device.end_command_buffer(executing[0]).map_err(text("vkEndCommandBuffer"))?;
        }
        if buffer % 8 == 3 {
            record(*commands, buffer, u32::MAX)?;
        }
        record(*commands, buffer, 0)?;
    }
    write(recorded)?;
    wait_until(go, false)?;

    let fence = device.create_fence(&vk::FenceCreateInfo::default(), None).map_err(text("vkCreateFence"))?;
    let backwards: Vec<_> = primaries.iter().rev().copied().collect();
    let halves = backwards.split_at(backwards.len() / 2);
    let infos = [halves.0, halves.1, &executing].map(|list| vk::SubmitInfo::default().command_buffers(list));
    device.queue_submit(gpu.queue, &infos, fence).map_err(text("vkQueueSubmit"))?;
    device.wait_for_fences(&[fence], true, PATIENCE).map_err(text("vkWaitForFences"))?;
    let data = device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
    let data = data.map_err(text("vkMapMemory"))?.cast::<u32>();
    let words = std::slice::from_raw_parts(data, (BUFFERS * PARTS * PART / 4) as usize);
    for (i, part) in (0..).zip(words.chunks((PART / 4) as usize)) {
        let right = word(i / PARTS, i % PARTS);
        check(part.iter().all(|word| *word == right), || {
            format!("part {} of command buffer {} is {:#x}, not {right:#x}", i % PARTS, i / PARTS, part[0])
        })?;
    }
    device.destroy_fence(fence, None);
    device.destroy_command_pool(pool, None);
    device.destroy_buffer(target, None);
    device.free_memory(memory, None);
    gpu.close(None);
    Ok(())
}

fn write(path: &Path) -> Outcome {
    std::fs::write(path, "").map_err(|error| format!("{}: {error}", path.display()))
}

fn wait_until(path: &Path, there: bool) -> Outcome {
    let asked = Instant::now();
    while path.exists() != there {
        check(asked.elapsed() < Duration::from_nanos(PATIENCE * 4), || {
            format!("{} stays as it is", path.display())
        })?;
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
