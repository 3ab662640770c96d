//! Watches the guest's connection while the session thread may be inside the driver.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_domain, socket_peercred};
use rustix::process::{PidfdFlags, pidfd_open};
use signal_hook::consts::{SIGINT, SIGTERM};
use vw_transport::{Liveness, Region};

use super::end::End;
use super::stats::{Held, Stats};
use super::status::{Reporter, Status};

/// How long a session may take to free everything after its guest is gone. The process ends then at the latest, which
/// frees it as well.
const GRACE: Duration = Duration::from_millis(800);

/// How often the broker is told what the session holds, while that changes.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The thread that watches. It ends with the session.
#[derive(Debug)]
pub struct Warden {
    done: Sender<()>,
    gone: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    thread: JoinHandle<()>,
}

/// What the session's thread has of the warden, which it can leave asleep while nothing happens.
#[derive(Debug)]
pub struct Pulse {
    /// The warden looks at what the session holds only when it is told to.
    quiet: AtomicBool,
    wake: UnixStream,
}

impl Pulse {
    /// The session's thread has done something.
    pub fn beat(&self) {
        // Either the warden, which looks once more after it has become quiet, sees what was done, or this sees that it is.
        fence(Ordering::SeqCst);
        if self.quiet.load(Ordering::Relaxed) {
            self.quiet.store(false, Ordering::Relaxed);
            self.stir();
        }
    }

    fn stir(&self) {
        // A full socket wakes as well.
        let _ = (&self.wake).write(&[0]);
    }
}

/// The warden wakes the session's thread when the guest is gone.
impl Liveness for Pulse {
    fn alive(&self) -> bool {
        true
    }

    fn ask_every(&self) -> Option<Duration> {
        None
    }
}

impl Warden {
    /// Watches `socket`. When the guest is gone, `stop` is set, so that nothing that it left in the ring keeps the
    /// session; a signal by which the daemon ends it sets it elsewhere. Then the session thread is woken, and if [`Warden::finish`] does
    /// not follow in time, the process ends. Meanwhile `reporter` is told what the session holds.
    ///
    /// # Errors
    /// When the thread cannot be started, or signals cannot be heard.
    pub fn start(
        socket: OwnedFd,
        region: Arc<Region>,
        stop: Arc<AtomicBool>,
        stats: Arc<Stats>,
        reporter: Arc<Reporter>,
    ) -> io::Result<Self> {
        let (done, finished) = channel();
        let gone = Arc::new(AtomicBool::new(false));
        let seen_gone = Arc::clone(&gone);
        let (wake, mut woken) = UnixStream::pair()?;
        for end in [&wake, &woken] {
            end.set_nonblocking(true)?;
        }
        for signal in [SIGTERM, SIGINT] {
            signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
        }
        let pulse = Arc::new(Pulse { quiet: AtomicBool::new(false), wake });
        let heard = Arc::clone(&pulse);
        let process = guest_process(&socket);
        let thread = std::thread::Builder::new().name("vw-warden".to_owned()).spawn(move || {
            let mut told = Held::default();
            while !stop.load(Ordering::Acquire) {
                let mut held = stats.held();
                if held == told {
                    heard.quiet.store(true, Ordering::Relaxed);
                    fence(Ordering::SeqCst);
                    held = stats.held();
                }
                let changes = held != told;
                if changes {
                    heard.quiet.store(false, Ordering::Relaxed);
                    reporter.send(&Status::from(&held));
                    told = held;
                }
                let over = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL;
                // A pidfd becomes readable when its process ends; without one the socket stands in.
                let mut fds = [
                    PollFd::new(&woken, PollFlags::IN),
                    PollFd::new(&socket, PollFlags::RDHUP),
                    process.as_ref().map_or(PollFd::new(&socket, PollFlags::empty()), |process| {
                        PollFd::new(process, PollFlags::IN)
                    }),
                ];
                let looked = poll(&mut fds, changes.then_some(&LOOK_EVERY)).is_ok();
                if looked && fds[1..].iter().any(|fd| fd.revents().intersects(over | PollFlags::IN)) {
                    seen_gone.store(true, Ordering::Release);
                    stop.store(true, Ordering::Release);
                }
                while matches!(woken.read(&mut [0; 64]), Ok(1..)) {}
                match finished.try_recv() {
                    Err(std::sync::mpsc::TryRecvError::Empty) => {}
                    _ => return,
                }
            }
            let since = Instant::now();
            region.control().command().signal_here();
            if finished.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                let held = stats.held();
                tracing::warn!(
                    objects = held.objects_text(),
                    memory = held.memory,
                    "the driver did not return within {:?} of the guest's end: freed by ending the process",
                    since.elapsed()
                );
                let end = if seen_gone.load(Ordering::Acquire) { End::Disconnected } else { End::Stopped };
                reporter.send(&Status::End(format!("{end}; the driver did not return")));
                exit(&end);
            }
        })?;
        Ok(Self { done, gone, pulse, thread })
    }

    /// For the session's thread.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Whether it was the guest's end that stopped the session.
    pub fn guest_is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The session has freed everything; the process is not ended any more.
    pub fn finish(self) {
        drop(self.done);
        self.pulse.stir();
        let _ = self.thread.join();
    }
}

/// Ends the process without running anything of the driver's.
fn exit(end: &End) -> ! {
    // SAFETY: ends the process at once; handlers that could wait for the driver do not run.
    unsafe { libc::_exit(end.exit_code().into()) }
}

/// The process that connected `socket`, to be told of its end: a child that it forked holds the socket too, and may
/// outlive it. For a virtual machine it is its monitor. None where the system does not say.
fn guest_process(socket: &OwnedFd) -> Option<OwnedFd> {
    // On other sockets the kernel answers with process 0.
    if socket_domain(socket).ok()? != AddressFamily::UNIX {
        return None;
    }
    let process = socket_peercred(socket).ok()?.pid;
    pidfd_open(process, PidfdFlags::empty()).ok()
}
