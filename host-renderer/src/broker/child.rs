//! A session process as the broker sees it.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal};

use super::doors::Origin;
use super::handoff;
use super::regions::Regions;
use crate::control::SessionInfo;
use crate::frames::watch::Wish;
use crate::perf::Perf;
use crate::session::end::End;
use crate::session::slice::{self, Request};
use crate::session::status::{Lines, Status};

/// This program, whatever happened to its file since.
const SELF: &str = "/proc/self/exe";

/// Settings of glibc's allocator (its manual, "Tunables"), which a process has from its start on only.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Freed blocks of each size that a thread keeps at hand, instead of 7: software drivers and those that record into lists
/// of their own allocate each command of a command buffer, and free them all together.
const KEPT_BLOCKS: &str = "glibc.malloc.tcache_count=32768";

/// One session process.
#[derive(Debug)]
pub(super) struct SessionProcess {
    /// 0 as long as it has no guest.
    number: u64,
    child: Child,
    /// Where it gets its guest from, and then those who want to look at its frames; where it asks for memory.
    handoff: UnixStream,
    /// Where its guest has come in.
    origin: Option<Origin>,
    /// It has closed its end, or sent what cannot be read: nothing more is heard there.
    mute: bool,
    pipe: Option<ChildStdout>,
    lines: Lines,
    guest: Option<(u32, String)>,
    reason: Option<String>,
    tried: Option<String>,
    /// Objects, bytes of memory, records.
    held: (u32, u64, u64),
    started: Instant,
}

impl SessionProcess {
    /// Starts a process, which gets the host's device ready and waits for a guest; `tried` is what an earlier one
    /// [found out](Self::tried).
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(config: &str, tried: Option<&str>) -> io::Result<Self> {
        let (handoff, theirs) = UnixStream::pair()?;
        let mut command = Command::new(SELF);
        if Perf::from_environment().malloc {
            command.env(TUNABLES, tunables(std::env::var(TUNABLES).ok()));
        }
        let mut child = command
            .arg0("vw-renderer")
            .args(["session", "--broker", &std::process::id().to_string()])
            .args(["--config-text", config])
            .args(tried.into_iter().flat_map(|text| ["--tried", text]))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .spawn()?;
        let pipe = child.stdout.take();
        if let Some(pipe) = &pipe {
            let flags = rustix::fs::fcntl_getfl(pipe)?;
            rustix::fs::fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
        }
        tracing::debug!(pid = child.id(), "session process started");
        Ok(Self {
            number: 0,
            child,
            handoff,
            origin: None,
            mute: false,
            pipe,
            lines: Lines::default(),
            guest: None,
            reason: None,
            tried: None,
            held: (0, 0, 0),
            started: Instant::now(),
        })
    }

    /// What it found out about the host's device. What it says once it has a guest is not believed: the guest may have
    /// taken it over.
    pub(super) fn tried(&mut self) -> Option<String> {
        if self.number == 0 {
            self.read();
        }
        self.tried.take()
    }

    /// Gives it its guest.
    ///
    /// # Errors
    /// What the system says; the process may have ended.
    pub(super) fn hand_over(
        &mut self,
        number: u64,
        guest: BorrowedFd<'_>,
        origin: &Origin,
    ) -> io::Result<()> {
        handoff::send(self.handoff.as_fd(), [number, 0, 0, 0, 0], Some(guest))?;
        self.number = number;
        self.origin = Some(origin.clone());
        self.started = Instant::now();
        tracing::debug!(session = number, pid = self.child.id(), "session process has its guest");
        Ok(())
    }

    /// The broker's number for its session.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Sends it one who wants something of its session.
    ///
    /// # Errors
    /// What the system says; the process may have ended, or not have taken the last ones.
    pub(super) fn introduce(&self, wish: Wish, who: &UnixStream) -> io::Result<()> {
        handoff::send(self.handoff.as_fd(), [wish.to_u64(), 0, 0, 0, 0], Some(who.as_fd()))
    }

    /// Where it asks for memory; readable when it does.
    pub(super) fn asks(&self) -> Option<BorrowedFd<'_>> {
        (!self.mute && self.origin.is_some()).then(|| self.handoff.as_fd())
    }

    /// Answers what it has asked for, from `regions`.
    pub(super) fn serve(&mut self, regions: &mut Regions) {
        let Some(origin) = self.origin.as_ref().filter(|_| !self.mute) else { return };
        let parcel = match handoff::try_receive(self.handoff.as_fd()) {
            Ok(Some(parcel)) => parcel,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(None) | Err(_) => return self.mute = true,
        };
        let Some((request, guest)) = Request::parse(parcel) else { return self.mute = true };
        let slice = regions.grant(self.number, origin, &request, guest);
        if let Err(error) = slice::answer(self.handoff.as_fd(), slice.as_ref().map_err(|denied| *denied)) {
            tracing::warn!(session = self.number, "a session process does not hear its answer: {error}");
        }
    }

    /// What it tells; readable when there is something.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what it told and looks whether it has ended; then logs how, and returns true.
    pub(super) fn look(&mut self) -> bool {
        let status = self.child.try_wait();
        self.read();
        match status {
            Ok(None) => false,
            Ok(Some(status)) => {
                self.log_end(status);
                true
            }
            Err(error) => {
                tracing::error!(session = self.number, "a session process cannot be waited for: {error}");
                true
            }
        }
    }

    /// What is known of it.
    pub(super) fn info(&self) -> SessionInfo {
        let (guest_pid, program) = self.guest.clone().unwrap_or_default();
        let (objects, memory, records) = self.held;
        SessionInfo {
            number: self.number,
            pid: self.child.id(),
            guest_pid,
            age_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            objects,
            memory,
            records,
            program,
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It is not reaped yet, so the number is its own.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    /// Ends it.
    pub(super) fn kill(mut self) {
        tracing::warn!(
            session = self.number,
            pid = self.child.id(),
            "a session process did not end in time: killed"
        );
        let _ = self.child.kill();
        if let Ok(status) = self.child.wait() {
            self.read();
            self.log_end(status);
        }
    }

    fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = [0; 1024];
        // A few reads each time: a process that writes without end must not keep the broker.
        for _ in 0..4 {
            match pipe.read(&mut bytes) {
                Ok(0) => {
                    self.pipe = None;
                    return;
                }
                Ok(count) => {
                    let (guest, reason, held) = (&mut self.guest, &mut self.reason, &mut self.held);
                    let (tried, waits) = (&mut self.tried, self.number == 0);
                    self.lines.take(&bytes[..count], |status| match status {
                        Status::Guest { pid, program } => *guest = Some((pid, program)),
                        Status::Held { objects, memory, records } => *held = (objects, memory, records),
                        Status::Tried(text) if waits => *tried = Some(text),
                        Status::Tried(_) => {}
                        Status::End(text) => *reason = Some(text),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn log_end(&self, status: ExitStatus) {
        if self.number == 0 {
            tracing::debug!(pid = self.child.id(), "a session process without a guest ended: {status}");
            return;
        }
        let (guest_pid, program) = self.guest.clone().unwrap_or((0, "unknown".to_owned()));
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => match End::kind(code) {
                Some(kind) => kind.to_owned(),
                None => format!("exit code {code}"),
            },
            (_, Some(signal)) => format!("killed by signal {signal}"),
            _ => status.to_string(),
        };
        tracing::info!(
            session = self.number,
            pid = self.child.id(),
            program,
            guest_pid,
            how,
            reason = self.reason.as_deref().unwrap_or("none given"),
            lifetime = format_args!("{:.3} s", self.started.elapsed().as_secs_f64()),
            "session ended"
        );
    }
}

/// What a session process gets as [`TUNABLES`], where this process has `own`; what is chosen there counts.
fn tunables(own: Option<String>) -> String {
    match own {
        Some(own) if own.contains("tcache_count") => own,
        Some(own) if !own.is_empty() => format!("{own}:{KEPT_BLOCKS}"),
        _ => KEPT_BLOCKS.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunables_when_chosen_by_the_user_are_kept() {
        let own = |text: &str| tunables(Some(text.to_owned()));
        assert_eq!(tunables(None), KEPT_BLOCKS);
        assert_eq!(own(""), KEPT_BLOCKS);
        assert_eq!(own("glibc.malloc.check=3"), format!("glibc.malloc.check=3:{KEPT_BLOCKS}"));
        assert_eq!(own("glibc.malloc.tcache_count=0"), "glibc.malloc.tcache_count=0");
    }
}
