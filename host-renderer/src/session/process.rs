//! The process that serves one guest: started by the broker with a socket that the guest's connection will come by as its
//! standard input, and a pipe to the broker as its standard output. It gets the host's device ready before it waits.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::Session;
use super::end::{End, violation};
use super::greet::{Greeted, Ready, greet};
use super::stats::Stats;
use super::status::{Reporter, Status};
use super::warden::Warden;
use crate::broker::handoff::{Parcel, receive};
use crate::config::Config;
use crate::frames::watch;

/// Above this size an allocation gets its own mapping, and the heap keeps up to this much: lavapipe allocates and frees
/// its frame data all the time, and with glibc's defaults faults every page of it in again.
const MALLOC_KEEP: libc::c_int = 512 << 20;

/// Heap whose pages are there before the guest is: less than what lavapipe takes for its first device.
const HEAP_READY: usize = 32 << 20;

/// As much as is brought in at a time, in a fraction of a millisecond, which a guest may have to wait.
const HEAP_STEP: usize = 1 << 20;

/// Waits for a guest and serves it; returns when its session has ended, or the broker wants no session any more.
///
/// `broker` is the process that started this one; `tried` what an earlier one reported as [`Status::Tried`].
pub fn run(config: &Config, broker: u32, tried: Option<&str>) -> ExitCode {
    let end = match prepare(broker) {
        Ok((handoff, reporter)) => {
            let start = Instant::now();
            let ready = guarded(|| Ready::new(config, tried)).unwrap_or_else(|end| Err(end.to_string()));
            tracing::debug!(took = format_args!("{:?}", start.elapsed()), "ready for a guest");
            if let Ok(ready) = &ready {
                reporter.send(&Status::Tried(ready.tried()));
                if ready.is_software() {
                    prepare_heap(handoff.as_fd());
                }
            }
            let (number, guest) = match receive(handoff.as_fd()) {
                Ok(Some(Parcel { words: [number, ..], fd: Some(guest) })) => (number, guest),
                Ok(None) => return ExitCode::SUCCESS,
                Ok(Some(_)) => return ExitCode::from(&End::Internal(String::new())),
                Err(error) => {
                    tracing::error!("no guest from the broker: {error}");
                    return ExitCode::from(&End::Internal(String::new()));
                }
            };
            let _span = tracing::info_span!("session", number).entered();
            let reporter = Arc::new(reporter);
            let end = guarded(|| serve(config, ready, guest, handoff, &reporter)).unwrap_or_else(|end| end);
            reporter.send(&Status::End(end.to_string()));
            log_end(&end);
            end
        }
        Err(reason) => {
            let end = End::Internal(reason);
            log_end(&end);
            end
        }
    };
    ExitCode::from(&end)
}

fn log_end(end: &End) {
    match end {
        End::Disconnected | End::Stopped => tracing::info!("session over: {end}"),
        _ => tracing::warn!("session over: {end}"),
    }
}

/// A panic, which would be a mistake in vw, becomes an end with its text.
fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        End::Internal(format!("panic: {}", text.unwrap_or("without a text")))
    })
}

/// Makes the process ready for a driver, and takes the descriptors that it was started with.
fn prepare(broker: u32) -> Result<(OwnedFd, Reporter), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot be tied to the broker: {error}"))?;
    // The broker may have ended before that.
    if rustix::process::getppid().map(Pid::as_raw_pid).is_none_or(|parent| parent.cast_unsigned() != broker) {
        return Err("the broker is gone".to_owned());
    }
    let failed = |error: std::io::Error| format!("standard descriptors: {error}");
    let handoff = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let pipe = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    // A driver or layer that prints must not reach the guest or the broker's pipe.
    let null = File::options().read(true).open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| failed(error.into()))?;
    rustix::stdio::dup2_stdout(std::io::stderr()).map_err(|error| failed(error.into()))?;
    prepare_libc();
    Ok((handoff, Reporter::new(Some(File::from(pipe)))))
}

/// Prepares the C library of this process for drivers, before there are other threads.
pub fn prepare_libc() {
    // SAFETY: plain settings of the allocator, made before there are other threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MALLOC_KEEP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MALLOC_KEEP);
    }
    // lavapipe's compiler looks `exp2f` and others up in the process: without libm in the global scope it calls
    // address 0.
    // SAFETY: libm's initialisers may run at any time; it stays open.
    let libm = unsafe { libc::dlopen(c"libm.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if libm.is_null() {
        tracing::debug!("no libm.so.6 to load");
    }
}

/// Brings pages of the heap into memory that the guest would otherwise wait for one by one, until it comes by `handoff`. The
/// allocator keeps them: see [`MALLOC_KEEP`].
fn prepare_heap(handoff: BorrowedFd<'_>) {
    let page = rustix::param::page_size();
    let has_come = || {
        let mut fds = [PollFd::from_borrowed_fd(handoff, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    };
    // SAFETY: the block is this function's until it is freed. Nothing is read or written, and the whole pages inside of it
    // stay what they are; where the kernel cannot do it, nothing is lost.
    unsafe {
        let block = libc::malloc(HEAP_READY);
        if block.is_null() {
            return;
        }
        let start = block.byte_add(block.align_offset(page));
        for step in 0..HEAP_READY / HEAP_STEP - 1 {
            if has_come() {
                break;
            }
            libc::madvise(start.byte_add(step * HEAP_STEP), HEAP_STEP, libc::MADV_POPULATE_WRITE);
        }
        libc::free(block);
    }
}

fn serve(
    config: &Config,
    ready: Result<Ready, String>,
    socket: OwnedFd,
    broker: OwnedFd,
    reporter: &Arc<Reporter>,
) -> End {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            return End::Internal(format!("no handler for signal {signal}: {error}"));
        }
    }
    let watched = match socket.try_clone() {
        Ok(socket) => socket,
        Err(error) => return End::Internal(format!("the guest's socket: {error}")),
    };
    let greeted = greet(socket, config, ready, broker.as_fd(), |hello| {
        tracing::info!(program = hello.program, guest_pid = hello.pid, "guest connected");
        reporter.send(&Status::Guest { pid: hello.pid, program: hello.program.clone() });
    });
    let Greeted { connection, gpu, import, udmabuf } = match greeted {
        Ok(greeted) => greeted,
        Err(end) => return end,
    };
    let stats = Arc::new(Stats::default());
    let region = Arc::clone(&connection.region);
    let warden = match Warden::start(
        watched,
        Arc::clone(&region),
        Arc::clone(&stop),
        Arc::clone(&stats),
        Arc::clone(reporter),
    ) {
        Ok(warden) => warden,
        Err(error) => return End::Internal(format!("the guest cannot be watched: {error}")),
    };
    let session = Session::new(&connection, gpu, (import, udmabuf), &config.limits, Arc::clone(&stats));
    if let Err(error) = watch::start(broker, Arc::clone(&session.frames)) {
        tracing::warn!("nobody can look at this session's frames: {error}");
    }
    let mut session = ManuallyDrop::new(session);
    let mut end =
        guarded(|| session.serve(&connection, &stop, Some(warden.pulse()))).unwrap_or_else(|end| end);
    if end == End::Stopped && warden.guest_is_gone() {
        end = End::Disconnected;
    }
    if !matches!(end, End::Disconnected) {
        connection.peer.close(&end.to_string());
    }
    if let Some(fault) = connection.peer.link().and_then(|link| link.fault()) {
        end = violation(fault);
    }
    if let Some(mirror) = region.mirror() {
        let (to, from) = mirror.volume();
        tracing::info!(
            frames_presented = session.frames.statistics().frames,
            bytes_to_guest = to.bytes,
            bytes_from_guest = from.bytes,
            packets_to_guest = to.frames,
            packets_from_guest = from.frames,
            "what went over the stream"
        );
    }
    let held = stats.held();
    let wakes = region.control().wakes();
    let start = Instant::now();
    // After a panic the tables may be half-way through a change: the process's end frees everything.
    if !matches!(end, End::Internal(_)) {
        session.destroy_devices();
        drop(ManuallyDrop::into_inner(session));
    } else {
        // No thread may be in the driver when the process unloads it.
        session.compiling.stop();
    }
    tracing::info!(
        objects = held.objects_text(),
        memory_bytes = held.memory,
        records = held.records,
        calls = region.control().reply_seq(),
        doorbells = wakes.doorbells,
        completion_wakes = wakes.completions,
        took = format_args!("{:?}", start.elapsed()),
        "everything of the guest is freed"
    );
    warden.finish();
    end
}
