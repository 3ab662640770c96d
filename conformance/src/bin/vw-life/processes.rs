//! Processes that fork, unload the driver, close its descriptors or just end.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ash::vk;
use vw_conformance::procfs;

use crate::gpu::{Gpu, Outcome, check, text};

/// What a forked child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Child {
    /// Ends at once.
    Exit,
    /// Ends as `main` does, exit handlers included.
    Return,
    /// Becomes another program.
    Exec,
    /// Destroys what it has inherited.
    Destroy,
    /// Opens and uses an instance of its own.
    Own,
}

/// Runs `child` in a fork and returns its process id.
unsafe fn in_child(child: impl FnOnce() -> i32) -> Result<libc::pid_t, String> {
    match libc::fork() {
        -1 => Err("fork failed".into()),
        0 => libc::_exit(child()),
        pid => Ok(pid),
    }
}

/// Waits for a child that should end well.
unsafe fn join(pid: libc::pid_t) -> Outcome {
    let mut status = 0;
    check(libc::waitpid(pid, &raw mut status, 0) == pid, || "waitpid failed".into())?;
    check(status == 0, || format!("the child ended with status {status:#x}"))
}

/// Uses a device of its own, as a child.
unsafe fn own() -> i32 {
    let used = Gpu::open().and_then(|gpu| {
        gpu.work(0x0C0F_FEE0).map_err(text("the child's work"))?;
        gpu.close(None);
        Ok(())
    });
    match used {
        Ok(()) => 0,
        Err(text) => {
            println!("child: {text}");
            1
        }
    }
}

pub(crate) unsafe fn fork(child: Child) -> Outcome {
    let gpu = Gpu::open()?;
    gpu.work(1).map_err(text("before the fork"))?;
    // Something of the parent's that a child could spoil.
    let info = vk::MemoryAllocateInfo::default().allocation_size(4096).memory_type_index(gpu.memory_type);
    let memory = gpu.device.allocate_memory(&info, None).map_err(text("vkAllocateMemory"))?;
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = gpu.device.create_command_pool(&info, None).map_err(text("vkCreateCommandPool"))?;
    for value in 2..5 {
        let pid = in_child(|| match child {
            Child::Exit => 0,
            Child::Return => libc::exit(0),
            Child::Exec => {
                let error = Command::new("/bin/true").exec();
                println!("child: {error}");
                1
            }
            Child::Destroy => {
                gpu.device.destroy_command_pool(pool, None);
                gpu.device.free_memory(memory, None);
                gpu.device.destroy_device(None);
                gpu.instance.destroy_instance(None);
                0
            }
            Child::Own => own(),
        })?;
        gpu.work(value).map_err(text("while the child runs"))?;
        join(pid)?;
        gpu.work(value + 100).map_err(text("after the child's end"))?;
    }
    gpu.device.destroy_command_pool(pool, None);
    gpu.device.free_memory(memory, None);
    gpu.close(None);
    Ok(())
}

pub(crate) unsafe fn fork_first() -> Outcome {
    let pid = in_child(|| own())?;
    check(own() == 0, || "the parent's work failed".into())?;
    join(pid)
}

pub(crate) unsafe fn leave_child() -> Outcome {
    let gpu = Gpu::open()?;
    gpu.work(1).map_err(text("the work"))?;
    let pid = in_child(|| {
        // Until the one who waits closes the other end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        0
    })?;
    println!("child: {pid}");
    // As a program that crashes: nothing is destroyed.
    libc::_exit(0)
}

/// Mappings, descriptors and threads of this process.
fn footprint() -> Result<(usize, usize, usize), String> {
    let maps = fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    let threads = fs::read_dir("/proc/self/task").map_err(|error| error.to_string())?.count();
    Ok((maps.lines().count(), procfs::descriptors(std::process::id()), threads))
}

pub(crate) unsafe fn reload(rounds: u32) -> Outcome {
    let mut first = None;
    for round in 0..rounds {
        let gpu = Gpu::open()?;
        gpu.work(round).map_err(text("the work"))?;
        gpu.close(None);
        let maps = fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
        for library in ["libvulkan.so", "libvulkan_vw.so"] {
            check(!maps.contains(library), || format!("{library} is still mapped after round {round}"))?;
        }
        let now = footprint()?;
        check(now.2 == 1, || format!("{} threads after round {round}", now.2))?;
        // The first rounds bring what stays for good reasons: the allocator's arenas.
        if round == 3 {
            first = Some(now);
        }
        if let Some(first) = first {
            check(now.0 <= first.0 + 4 && now.1 == first.1, || {
                format!(
                    "mappings, descriptors, threads: {first:?} after round 3, {now:?} after round {round}"
                )
            })?;
        }
    }
    Ok(())
}

pub(crate) unsafe fn just_exit() -> Outcome {
    for _ in 0..3 {
        let gpu = Gpu::open()?;
        gpu.work(1).map_err(text("the work"))?;
        // Waits for an event that nobody sets: never finished.
        let event =
            gpu.device.create_event(&vk::EventCreateInfo::default(), None).map_err(text("an event"))?;
        let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
        let pool = gpu.device.create_command_pool(&info, None).map_err(text("a pool"))?;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        let commands = gpu.device.allocate_command_buffers(&info).map_err(text("a command buffer"))?;
        let begin = vk::CommandBufferBeginInfo::default();
        gpu.device.begin_command_buffer(commands[0], &begin).map_err(text("beginning"))?;
        let (host, all) = (vk::PipelineStageFlags::HOST, vk::PipelineStageFlags::ALL_COMMANDS);
        gpu.device.cmd_wait_events(commands[0], &[event], host, all, &[], &[], &[]);
        gpu.device.end_command_buffer(commands[0]).map_err(text("ending"))?;
        let submit = [vk::SubmitInfo::default().command_buffers(&commands)];
        gpu.device.queue_submit(gpu.queue, &submit, vk::Fence::null()).map_err(text("submitting"))?;
    }
    Ok(())
}

pub(crate) unsafe fn close_descriptors() -> Outcome {
    let gpu = Gpu::open()?;
    gpu.work(1).map_err(text("before"))?;
    check(libc::close_range(3, libc::c_uint::MAX, 0) == 0, || "close_range failed".into())?;
    // The numbers are somebody else's now, a pipe's that is about to be hung up among them.
    let mut own = Vec::new();
    for _ in 0..32 {
        own.push(File::open("/dev/null").map_err(|error| error.to_string())?);
    }
    let (closed, mut open) = std::io::pipe().map_err(|error| error.to_string())?;
    drop(closed);
    // A driver whose socket is gone may take a moment to see it.
    let started = Instant::now();
    let code = loop {
        match gpu.work(2) {
            // Once the device is lost, what was written is undefined, also if a fence has told of it before.
            Ok(()) | Err(vk::Result::ERROR_UNKNOWN) if started.elapsed() < Duration::from_secs(20) => {}
            ended => break ended.err(),
        }
    };
    println!("after: {code:?}");
    check(matches!(code, None | Some(vk::Result::ERROR_DEVICE_LOST)), || format!("{code:?}"))?;
    gpu.close(None);
    // What is the program's own is still open.
    for file in &mut own {
        check(file.read(&mut [0; 1]).is_ok(), || "a descriptor of the program was closed".into())?;
    }
    let broken = std::io::Write::write(&mut open, b"x").map_err(|error| error.kind());
    check(broken == Err(std::io::ErrorKind::BrokenPipe), || format!("the pipe: {broken:?}"))
}

pub(crate) unsafe fn work(seconds: u64, ready: &Path) -> Outcome {
    let gpu = Gpu::open()?;
    gpu.work(1).map_err(text("the first work"))?;
    fs::write(ready, "").map_err(|error| error.to_string())?;
    let started = Instant::now();
    let (mut value, mut longest) = (2, Duration::ZERO);
    while started.elapsed() < Duration::from_secs(seconds) {
        let begun = Instant::now();
        gpu.work(value).map_err(text("the work"))?;
        longest = longest.max(begun.elapsed());
        value += 1;
    }
    println!("longest: {} ms", longest.as_millis());
    gpu.close(None);
    Ok(())
}
