//! Watches the guest's connection while the session thread may be inside the driver.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, pidfd_open};
use vw_transport::Region;

use super::end::End;
use super::stats::{Held, Stats};
use super::status::{Reporter, Status};

/// How long a session may take to free everything after its guest is gone. The process ends then at the latest, which
/// frees it as well.
const GRACE: Duration = Duration::from_millis(800);

/// How often a stop by the daemon is looked for, and the broker told what the session holds.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The thread that watches. It ends with the session.
#[derive(Debug)]
pub struct Warden {
    done: Sender<()>,
    gone: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Warden {
    /// Watches `socket`. When the guest is gone, `stop` is set, so that nothing that it left in the ring keeps the
    /// session; when `stop` is set, the session thread is woken, and if [`Warden::finish`] does not follow in time, the
    /// process ends. Meanwhile `reporter` is told what the session holds.
    ///
    /// # Errors
    /// When the thread cannot be started.
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
        let process = guest_process(&socket);
        let thread = std::thread::Builder::new().name("vw-warden".to_owned()).spawn(move || {
            let mut told = Held::default();
            loop {
                let held = stats.held();
                if held != told {
                    reporter.send(&Status::from(&held));
                    told = held;
                }
                let over = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL;
                // A pidfd becomes readable when its process ends; without one the socket stands in.
                let mut fds = [
                    PollFd::new(&socket, PollFlags::RDHUP),
                    process.as_ref().map_or(PollFd::new(&socket, PollFlags::empty()), |process| {
                        PollFd::new(process, PollFlags::IN)
                    }),
                ];
                let looked = poll(&mut fds, Some(&LOOK_EVERY)).is_ok();
                if looked && fds.iter().any(|fd| fd.revents().intersects(over | PollFlags::IN)) {
                    seen_gone.store(true, Ordering::Release);
                    stop.store(true, Ordering::Release);
                }
                if stop.load(Ordering::Acquire) {
                    break;
                }
                match finished.try_recv() {
                    Err(std::sync::mpsc::TryRecvError::Empty) => {}
                    _ => return,
                }
            }
            let since = Instant::now();
            region.control().command.signal();
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
        Ok(Self { done, gone, thread })
    }

    /// Whether it was the guest's end that stopped the session.
    pub fn guest_is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The session has freed everything; the process is not ended any more.
    pub fn finish(self) {
        drop(self.done);
        let _ = self.thread.join();
    }
}

/// Ends the process without running anything of the driver's.
fn exit(end: &End) -> ! {
    // SAFETY: ends the process at once; handlers that could wait for the driver do not run.
    unsafe { libc::_exit(end.exit_code().into()) }
}

/// The process that connected `socket`, to be told of its end: a child that it forked holds the socket too, and may
/// outlive it. None where the system does not say, as with guests on another kernel.
fn guest_process(socket: &OwnedFd) -> Option<OwnedFd> {
    let process = socket_peercred(socket).ok()?.pid;
    pidfd_open(process, PidfdFlags::empty()).ok()
}
