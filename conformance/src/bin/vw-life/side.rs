//! What one of two processes has that share semaphores, fences and memory, and the pipes between them.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use ash::{khr, vk};

use crate::gpu::{Gpu, Outcome, PATIENCE, check, text};
use crate::sharing::ROUNDS;

type SemaphoreTypes = vk::ExternalSemaphoreHandleTypeFlags;
type FenceTypes = vk::ExternalFenceHandleTypeFlags;

/// One of the two processes.
pub(crate) struct Side {
    pub(crate) gpu: Gpu,
    pub(crate) semaphores: khr::external_semaphore_fd::Device,
    pub(crate) fences: khr::external_fence_fd::Device,
    memories: khr::external_memory_fd::Device,
    pool: vk::CommandPool,
}

impl Side {
    pub(crate) unsafe fn open() -> Result<Self, String> {
        let entry = ash::Entry::load().map_err(|error| error.to_string())?;
        let names =
            [khr::external_semaphore_fd::NAME, khr::external_fence_fd::NAME, khr::external_memory_fd::NAME];
        let gpu = Gpu::open_with(entry, &[], &names, None)?;
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
        let pool = gpu.device.create_command_pool(&info, None).map_err(text("vkCreateCommandPool"))?;
        Ok(Self {
            semaphores: khr::external_semaphore_fd::Device::new(&gpu.instance, &gpu.device),
            fences: khr::external_fence_fd::Device::new(&gpu.instance, &gpu.device),
            memories: khr::external_memory_fd::Device::new(&gpu.instance, &gpu.device),
            gpu,
            pool,
        })
    }

    /// A semaphore, a timeline semaphore where there is a value, to be exported or not.
    pub(crate) unsafe fn semaphore(&self, value: Option<u64>, export: bool) -> Result<vk::Semaphore, String> {
        let mut types = vk::ExportSemaphoreCreateInfo::default().handle_types(SemaphoreTypes::OPAQUE_FD);
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(value.unwrap_or(0));
        let mut info = vk::SemaphoreCreateInfo::default();
        if value.is_some() {
            info = info.push_next(&mut kind);
        }
        if export {
            info = info.push_next(&mut types);
        }
        self.gpu.device.create_semaphore(&info, None).map_err(text("vkCreateSemaphore"))
    }

    pub(crate) unsafe fn export(&self, semaphore: vk::Semaphore) -> Result<OwnedFd, String> {
        let info =
            vk::SemaphoreGetFdInfoKHR::default().semaphore(semaphore).handle_type(SemaphoreTypes::OPAQUE_FD);
        let fd = self.semaphores.get_semaphore_fd(&info).map_err(text("vkGetSemaphoreFdKHR"))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }

    pub(crate) unsafe fn import(&self, semaphore: vk::Semaphore, fd: OwnedFd, temporary: bool) -> Outcome {
        let fd = fd.into_raw_fd();
        let flags = vk::SemaphoreImportFlags::TEMPORARY;
        let info = vk::ImportSemaphoreFdInfoKHR::default()
            .semaphore(semaphore)
            .flags(if temporary { flags } else { vk::SemaphoreImportFlags::empty() })
            .handle_type(SemaphoreTypes::OPAQUE_FD)
            .fd(fd);
        self.semaphores.import_semaphore_fd(&info).map_err(text("vkImportSemaphoreFdKHR"))?;
        check(!is_open(fd), || "the driver did not take the descriptor over".into())
    }

    /// A semaphore of the other side.
    pub(crate) unsafe fn imported(&self, value: Option<u64>, fd: OwnedFd) -> Result<vk::Semaphore, String> {
        let semaphore = self.semaphore(value, false)?;
        self.import(semaphore, fd, false)?;
        Ok(semaphore)
    }

    pub(crate) unsafe fn fence(&self, signaled: bool, export: bool) -> Result<vk::Fence, String> {
        let mut types = vk::ExportFenceCreateInfo::default().handle_types(FenceTypes::OPAQUE_FD);
        let flags = if signaled { vk::FenceCreateFlags::SIGNALED } else { vk::FenceCreateFlags::empty() };
        let mut info = vk::FenceCreateInfo::default().flags(flags);
        if export {
            info = info.push_next(&mut types);
        }
        self.gpu.device.create_fence(&info, None).map_err(text("vkCreateFence"))
    }

    pub(crate) unsafe fn export_fence(&self, fence: vk::Fence) -> Result<OwnedFd, String> {
        let info = vk::FenceGetFdInfoKHR::default().fence(fence).handle_type(FenceTypes::OPAQUE_FD);
        let fd = self.fences.get_fence_fd(&info).map_err(text("vkGetFenceFdKHR"))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }

    pub(crate) unsafe fn import_fence(&self, fence: vk::Fence, fd: OwnedFd, temporary: bool) -> Outcome {
        let flags = vk::FenceImportFlags::TEMPORARY;
        let info = vk::ImportFenceFdInfoKHR::default()
            .fence(fence)
            .flags(if temporary { flags } else { vk::FenceImportFlags::empty() })
            .handle_type(FenceTypes::OPAQUE_FD)
            .fd(fd.into_raw_fd());
        self.fences.import_fence_fd(&info).map_err(text("vkImportFenceFdKHR"))
    }

    /// The words that both sides share; `fd` is the other side's.
    pub(crate) unsafe fn words(&self, fd: Option<OwnedFd>) -> Result<Words, String> {
        let (device, size) = (&self.gpu.device, u64::from(ROUNDS + 1) * 4);
        let types = vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD;
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(types);
        let usage = vk::BufferUsageFlags::TRANSFER_SRC | vk::BufferUsageFlags::TRANSFER_DST;
        let info = vk::BufferCreateInfo::default().size(size).usage(usage).push_next(&mut external);
        let buffer = device.create_buffer(&info, None).map_err(text("vkCreateBuffer"))?;
        let size = device.get_buffer_memory_requirements(buffer).size;
        let mut export = vk::ExportMemoryAllocateInfo::default().handle_types(types);
        let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(types);
        let info =
            vk::MemoryAllocateInfo::default().allocation_size(size).memory_type_index(self.gpu.memory_type);
        let info = match fd {
            Some(fd) => {
                import.fd = fd.into_raw_fd();
                info.push_next(&mut import)
            }
            None => info.push_next(&mut export),
        };
        let memory = device.allocate_memory(&info, None).map_err(text("vkAllocateMemory"))?;
        device.bind_buffer_memory(buffer, memory, 0).map_err(text("vkBindBufferMemory"))?;
        let place = device.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty());
        Ok(Words { buffer, memory, place: place.map_err(text("vkMapMemory"))?.cast() })
    }

    pub(crate) unsafe fn export_words(&self, words: &Words) -> Result<OwnedFd, String> {
        let info = vk::MemoryGetFdInfoKHR::default()
            .memory(words.memory)
            .handle_type(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
        Ok(OwnedFd::from_raw_fd(self.memories.get_memory_fd(&info).map_err(text("vkGetMemoryFdKHR"))?))
    }

    pub(crate) unsafe fn commands(
        &self,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> Result<vk::CommandBuffer, String> {
        let device = &self.gpu.device;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(self.pool).command_buffer_count(1);
        let buffer = device.allocate_command_buffers(&info).map_err(text("vkAllocateCommandBuffers"))?[0];
        let begin = vk::CommandBufferBeginInfo::default();
        device.begin_command_buffer(buffer, &begin).map_err(text("vkBeginCommandBuffer"))?;
        record(buffer);
        device.end_command_buffer(buffer).map_err(text("vkEndCommandBuffer"))?;
        Ok(buffer)
    }

    /// Writes a value into the first word.
    pub(crate) unsafe fn say(&self, words: &Words, value: u32) -> Result<vk::CommandBuffer, String> {
        self.commands(|cb| self.gpu.device.cmd_fill_buffer(cb, words.buffer, 0, 4, value))
    }

    /// Copies the first word to another.
    pub(crate) unsafe fn note(&self, words: &Words, at: u32) -> Result<vk::CommandBuffer, String> {
        let region = vk::BufferCopy { src_offset: 0, dst_offset: u64::from(at) * 4, size: 4 };
        self.commands(|cb| self.gpu.device.cmd_copy_buffer(cb, words.buffer, words.buffer, &[region]))
    }

    /// Submits with `vkQueueSubmit`, or with `vkQueueSubmit2`; the values are of timeline semaphores.
    pub(crate) unsafe fn submit(
        &self,
        second: bool,
        wait: Option<(vk::Semaphore, u64)>,
        commands: Option<vk::CommandBuffer>,
        signal: Option<(vk::Semaphore, u64)>,
        fence: vk::Fence,
    ) -> Outcome {
        let device = &self.gpu.device;
        if second {
            let info = |(semaphore, value)| {
                vk::SemaphoreSubmitInfo::default()
                    .semaphore(semaphore)
                    .value(value)
                    .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)
            };
            let (waits, signals) = (Vec::from_iter(wait.map(info)), Vec::from_iter(signal.map(info)));
            let commands = commands.map(|cb| vk::CommandBufferSubmitInfo::default().command_buffer(cb));
            let commands = Vec::from_iter(commands);
            let info = vk::SubmitInfo2::default()
                .wait_semaphore_infos(&waits)
                .command_buffer_infos(&commands)
                .signal_semaphore_infos(&signals);
            return device.queue_submit2(self.gpu.queue, &[info], fence).map_err(text("vkQueueSubmit2"));
        }
        let (waits, wait_values): (Vec<_>, Vec<_>) = wait.into_iter().unzip();
        let (signals, signal_values): (Vec<_>, Vec<_>) = signal.into_iter().unzip();
        let stages = vec![vk::PipelineStageFlags::ALL_COMMANDS; waits.len()];
        let commands = Vec::from_iter(commands);
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&wait_values)
            .signal_semaphore_values(&signal_values);
        let mut info = vk::SubmitInfo::default()
            .wait_semaphores(&waits)
            .wait_dst_stage_mask(&stages)
            .command_buffers(&commands)
            .signal_semaphores(&signals);
        if wait_values.iter().chain(&signal_values).any(|value| *value != 0) {
            info = info.push_next(&mut values);
        }
        device.queue_submit(self.gpu.queue, &[info], fence).map_err(text("vkQueueSubmit"))
    }

    /// A batch that binds nothing, by `vkQueueBindSparse`.
    pub(crate) unsafe fn bind_nothing(
        &self,
        wait: Option<(vk::Semaphore, u64)>,
        signal: Option<(vk::Semaphore, u64)>,
        fence: vk::Fence,
    ) -> Outcome {
        let (waits, wait_values): (Vec<_>, Vec<_>) = wait.into_iter().unzip();
        let (signals, signal_values): (Vec<_>, Vec<_>) = signal.into_iter().unzip();
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&wait_values)
            .signal_semaphore_values(&signal_values);
        let info = vk::BindSparseInfo::default()
            .wait_semaphores(&waits)
            .signal_semaphores(&signals)
            .push_next(&mut values);
        let device = &self.gpu.device;
        device.queue_bind_sparse(self.gpu.queue, &[info], fence).map_err(text("vkQueueBindSparse"))
    }

    /// Waits for a semaphore by a submission of its own.
    pub(crate) unsafe fn pass(&self, semaphore: vk::Semaphore, second: bool) -> Outcome {
        let fence = self.fence(false, false)?;
        self.submit(second, Some((semaphore, 0)), None, None, fence)?;
        self.gpu.device.wait_for_fences(&[fence], true, PATIENCE).map_err(text("the wait"))?;
        self.gpu.device.destroy_fence(fence, None);
        Ok(())
    }

    pub(crate) unsafe fn raise(&self, semaphore: vk::Semaphore, second: bool) -> Outcome {
        self.submit(second, None, None, Some((semaphore, 0)), vk::Fence::null())
    }

    /// Waits on the host for values of timeline semaphores.
    pub(crate) unsafe fn reach(
        &self,
        semaphores: &[vk::Semaphore],
        values: &[u64],
        any: bool,
        timeout: u64,
    ) -> vk::Result {
        let flags = if any { vk::SemaphoreWaitFlags::ANY } else { vk::SemaphoreWaitFlags::empty() };
        let info = vk::SemaphoreWaitInfo::default().semaphores(semaphores).values(values).flags(flags);
        self.gpu.device.wait_semaphores(&info, timeout).err().unwrap_or(vk::Result::SUCCESS)
    }

    pub(crate) unsafe fn await_fence(&self, fence: vk::Fence, timeout: u64) -> vk::Result {
        self.gpu.device.wait_for_fences(&[fence], true, timeout).err().unwrap_or(vk::Result::SUCCESS)
    }
}

/// Memory that both sides see.
pub(crate) struct Words {
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    place: *mut u32,
}

impl Words {
    /// Whether each note is of the word that was said in its round.
    pub(crate) unsafe fn check(&self) -> Outcome {
        let wrong = (1..=ROUNDS).find(|i| self.place.add(*i as usize).read_volatile() != *i);
        check(wrong.is_none(), || format!("the note of round {wrong:?} is of another round"))
    }
}

pub(crate) fn expect(what: &str, found: vk::Result, expected: vk::Result) -> Outcome {
    check(found == expected, || format!("{what}: {found:?}, not {expected:?}"))
}

pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: asks about a number.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// The other process, which is told to go on, and tells the same, by single bytes.
pub(crate) struct Partner {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Partner {
    pub(crate) fn start(scene: &str, descriptors: &[OwnedFd]) -> Result<Self, String> {
        let words = |error: std::io::Error| format!("the partner: {error}");
        let program = std::env::current_exe().map_err(words)?;
        let mut command = Command::new(program);
        command.args(["partner", scene]).stdin(Stdio::piped()).stdout(Stdio::piped());
        for fd in descriptors {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).map_err(|error| words(error.into()))?;
            command.arg(fd.as_raw_fd().to_string());
        }
        let mut child = command.spawn().map_err(words)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self { child, to, from }),
            _ => Err("the partner has no pipes".into()),
        }
    }

    pub(crate) fn tell(&mut self) -> Outcome {
        self.to
            .write_all(b".")
            .and_then(|()| self.to.flush())
            .map_err(|error| format!("to the partner: {error}"))
    }

    pub(crate) fn hear(&mut self) -> Outcome {
        let mut byte = [0];
        self.from.read_exact(&mut byte).map_err(|error| format!("from the partner: {error}"))?;
        if byte != *b"." {
            let mut rest = String::new();
            let _ = self.from.read_to_string(&mut rest);
            return Err(format!("the partner: {}{rest}", char::from(byte[0])));
        }
        Ok(())
    }

    pub(crate) fn kill(mut self) -> Outcome {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(|_| ()).map_err(|error| format!("the partner: {error}"))
    }

    pub(crate) fn finish(mut self) -> Outcome {
        drop(self.to);
        let mut rest = String::new();
        let _ = self.from.read_to_string(&mut rest);
        let status = self.child.wait().map_err(|error| format!("the partner: {error}"))?;
        check(status.success(), || format!("the partner ended with {status}: {rest}"))
    }
}

/// The partner's ends of the pipes.
pub(crate) fn tell() -> Outcome {
    let mut out = std::io::stdout();
    out.write_all(b".").and_then(|()| out.flush()).map_err(|error| error.to_string())
}

pub(crate) fn hear() -> Outcome {
    std::io::stdin().read_exact(&mut [0]).map_err(|error| error.to_string())
}
