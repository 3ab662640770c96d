//! The broker: accepts connections and serves each by a process of its own.
//!
//! It never opens a GPU driver and never reads what guests send. A session process is started by exec of this same
//! program, because drivers do not survive a fork, and dies with the broker.

mod child;
mod control;
mod doors;
pub(crate) mod handoff;
mod regions;

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use vw_transport::BindError;
use vw_transport::connection::refuse;

use self::child::SessionProcess;
use self::control::Control;
use self::doors::{Door, Origin};
use self::regions::Regions;
use crate::config::{Config, ConfigError};
use crate::control::Request;
use crate::frames::watch::Wish;
use crate::session::greet::VERSIONS;

/// How long session processes may take to end when the broker does.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// How long nothing is accepted after the system had no descriptors or processes left.
const PAUSE: Duration = Duration::from_millis(100);

/// How long after a guest has come the next session process is started to wait for another, unless a session ends before
/// that: getting the device ready takes a processor some 50 ms, and the guest that is starting needs it more.
const REPLENISH: Duration = Duration::from_millis(500);

/// Why the broker cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Not at this address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Not at this port.
    #[error(
        "cannot listen at vsock port {port}: {source}; it needs the kernel's vhost_vsock, or use the unix socket of the virtual machine's monitor"
    )]
    Vsock {
        /// The port.
        port: u32,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The configuration cannot be handed on.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused something.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> BrokerError {
    move |source| BrokerError::System { what, source }
}

/// Signals that the broker acts on.
#[derive(Debug)]
struct Signals {
    /// Readable when one came.
    wake: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        for signal in [SIGTERM, SIGINT, SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { wake, stop })
    }

    fn clear(&mut self) {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(count) if count > 0) {}
    }
}

/// Accepts guests until it is told to stop.
#[derive(Debug)]
pub struct Broker {
    doors: Vec<Door>,
    /// Where `vwctl` asks.
    control: Control,
    signals: Signals,
    /// Memory of virtual machines.
    regions: Regions,
    config: Config,
    /// The configuration as session processes read it.
    handed_on: String,
    sessions: Vec<SessionProcess>,
    /// Processes that have the host's device ready and no guest yet.
    warm: Vec<SessionProcess>,
    /// What one of these found out about the host's device; the next need not try it again.
    tried: Option<String>,
    /// When there may be more processes that wait.
    replenish_at: Option<Instant>,
    next: u64,
    paused_until: Option<Instant>,
}

impl Broker {
    /// Listens where `config` says.
    ///
    /// # Errors
    /// [`BrokerError`] says what is in the way.
    pub fn new(config: Config) -> Result<Self, BrokerError> {
        let signals = Signals::register().map_err(system("handle signals"))?;
        let doors = config.listen.iter().map(Door::open).collect::<Result<_, _>>()?;
        let control = Control::new(config.main_socket())?;
        let mut regions = Regions::default();
        for region in &config.region {
            regions.create(region.clone()).map_err(ConfigError::Value)?;
        }
        let handed_on = config.to_toml()?;
        Ok(Self {
            doors,
            control,
            signals,
            regions,
            config,
            handed_on,
            sessions: Vec::new(),
            warm: Vec::new(),
            tried: None,
            replenish_at: Some(Instant::now()),
            next: 1,
            paused_until: None,
        })
    }

    /// Serves until SIGTERM or SIGINT, then ends all sessions and removes the socket.
    ///
    /// # Errors
    /// When the system does not let it wait for guests.
    pub fn run(mut self) -> Result<(), BrokerError> {
        let listen: Vec<_> = self.config.listen.iter().map(ToString::to_string).collect();
        tracing::info!(
            listen = listen.join(" "),
            null = self.config.null,
            "vw-renderer {} listens",
            env!("CARGO_PKG_VERSION")
        );
        while !self.signals.stop.load(Ordering::Acquire) {
            self.wait().map_err(|error| system("wait for guests")(error.into()))?;
            self.signals.clear();
            self.look_at_sessions();
            self.warm.retain_mut(|process| !process.look());
            self.accept();
            self.replenish();
            self.answer_control();
        }
        self.shut_down();
        Ok(())
    }

    /// Hears what the sessions say, and frees what those held that have ended.
    fn look_at_sessions(&mut self) {
        let (regions, before) = (&mut self.regions, self.sessions.len());
        self.sessions.retain_mut(|session| {
            let over = session.look();
            if over {
                regions.end(session.number());
            } else {
                session.serve(regions);
            }
            !over
        });
        regions.sweep();
        // Programs that are short come one after the other.
        if self.sessions.len() < before && self.replenish_at.is_some() {
            self.replenish_at = Some(Instant::now());
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Result<(), Errno> {
        let paused = self.paused_until.is_some();
        let next =
            self.paused_until.into_iter().chain(self.replenish_at).chain(self.control.deadline()).min();
        let mut fds = vec![PollFd::new(&self.signals.wake, PollFlags::IN)];
        fds.extend(
            self.sessions
                .iter()
                .filter_map(SessionProcess::pipe)
                .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)),
        );
        let asks = self.sessions.iter().filter_map(SessionProcess::asks);
        fds.extend(asks.map(|asks| PollFd::from_borrowed_fd(asks, PollFlags::IN)));
        fds.extend(self.regions.polled());
        fds.extend(self.control.polled());
        if !paused {
            fds.extend(self.doors.iter().map(|door| PollFd::from_borrowed_fd(door.as_fd(), PollFlags::IN)));
        }
        let timeout = next.map(|at| {
            let left = at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes all guests that wait.
    fn accept(&mut self) {
        if self.paused_until.take_if(|until| Instant::now() >= *until).is_none()
            && self.paused_until.is_some()
        {
            return;
        }
        for door in 0..self.doors.len() {
            if let Err((what, error)) = self.accept_at(door) {
                return self.pause(what, &error);
            }
        }
    }

    /// Takes all guests that wait at one door.
    fn accept_at(&mut self, door: usize) -> Result<(), (&'static str, std::io::Error)> {
        loop {
            let (stream, origin) = match self.doors[door].accept() {
                Ok(guest) => guest,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(("accept a guest", error)),
            };
            if self.sessions.len() >= self.config.max_sessions {
                let message = format!(
                    "the renderer serves {} sessions already, which is its limit (max_sessions): try again later",
                    self.sessions.len()
                );
                tracing::warn!("refused a guest: {message}");
                refuse(&stream, VERSIONS, &message);
                continue;
            }
            let number = self.next;
            self.next += 1;
            tracing::debug!(session = number, %origin, "a guest has come");
            let session =
                self.serve(number, stream.as_fd(), &origin).map_err(|e| ("start a session process", e))?;
            self.sessions.push(session);
            self.replenish_at.get_or_insert_with(|| Instant::now() + REPLENISH);
        }
    }

    /// A process for this guest: one that waits, or a new one.
    fn serve(
        &mut self,
        number: u64,
        guest: BorrowedFd<'_>,
        origin: &Origin,
    ) -> std::io::Result<SessionProcess> {
        while let Some(mut process) = self.warm.pop() {
            self.tried = process.tried().or_else(|| self.tried.take());
            match process.hand_over(number, guest, origin) {
                Ok(()) => return Ok(process),
                // It has ended, and nobody has looked yet.
                Err(error) => tracing::debug!("a session process does not take a guest: {error}"),
            }
            process.kill();
        }
        let mut process = SessionProcess::start(&self.handed_on, self.tried.as_deref())?;
        process.hand_over(number, guest, origin)?;
        Ok(process)
    }

    /// Starts a process that will wait for a guest, if there are too few and it is time. Those that end by themselves are
    /// replaced when the next guest has come, so that a broken driver is not started over and over.
    fn replenish(&mut self) {
        if self.replenish_at.take_if(|at| Instant::now() >= *at).is_none() {
            return;
        }
        let wanted = self.config.warm.min(self.config.max_sessions.saturating_sub(self.sessions.len()));
        while self.warm.len() < wanted {
            match SessionProcess::start(&self.handed_on, self.tried.as_deref()) {
                Ok(process) => self.warm.push(process),
                Err(error) => return tracing::warn!("no session process that waits for a guest: {error}"),
            }
        }
    }

    /// Tells everybody who asks what the sessions are, and sends those who want to look at one to its process.
    fn answer_control(&mut self) {
        for (request, stream) in self.control.look() {
            let (wish, number) = match request {
                Request::Status => {
                    let mut text = String::new();
                    self.sessions.iter().for_each(|session| session.info().write(&mut text));
                    control::answer(&stream, Ok(text));
                    continue;
                }
                Request::Regions => {
                    control::answer(&stream, Ok(self.regions.list()));
                    continue;
                }
                Request::Region(region) => {
                    let made = self.regions.create(region);
                    control::answer(&stream, made.map(|info| info.to_line()));
                    continue;
                }
                Request::Forget(name) => {
                    control::answer(&stream, self.regions.forget(&name).map(|()| String::new()));
                    continue;
                }
                Request::Statistics(number) => (Wish::Statistics, number),
                Request::Pictures(number, surface) => (Wish::Pictures(surface), number),
            };
            let session = self.sessions.iter().find(|session| session.number() == number);
            let why = match session.map(|session| session.introduce(wish, &stream)) {
                Some(Ok(())) => continue,
                Some(Err(error)) => format!("session {number} does not answer: {error}"),
                None => format!("there is no session {number}"),
            };
            control::refuse(&stream, &why);
        }
    }

    fn pause(&mut self, what: &str, error: &std::io::Error) {
        tracing::error!("cannot {what}: {error}; accepting again in {PAUSE:?}");
        self.paused_until = Some(Instant::now() + PAUSE);
    }

    fn shut_down(mut self) {
        let Self { doors, sessions, warm, .. } = &mut self;
        tracing::info!(sessions = sessions.len(), "shutting down");
        sessions.append(warm);
        let paths: Vec<_> =
            doors.iter().filter_map(Door::path).map(|path| path.display().to_string()).collect();
        for session in sessions.iter() {
            session.terminate();
        }
        let deadline = Instant::now() + SHUTDOWN;
        while !sessions.is_empty() && Instant::now() < deadline {
            sessions.retain_mut(|session| !session.look());
            if !sessions.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        for session in sessions.drain(..) {
            session.kill();
        }
        drop(self);
        tracing::info!(sockets = paths.join(" "), "stopped");
    }
}
