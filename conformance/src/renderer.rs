//! A renderer of one's own, on a private socket.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::driver::Driver;
use crate::{Error, Result, doing, procfs, products, scratch_folder};

/// How long a renderer may take until it listens, and to end when asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// Memory that a virtual machine would have as a device.
#[derive(Debug, Clone)]
pub struct Region {
    /// The broker's file.
    pub path: PathBuf,
    /// Sessions that have a part of it.
    pub sessions: usize,
    /// Bytes that have pages.
    pub resident: u64,
}

/// A `vw-renderer` that runs. Ended, and its folder removed, when dropped.
pub struct Renderer {
    child: Child,
    folder: PathBuf,
    guest: Driver,
}

impl Renderer {
    /// Starts one that renders with `host`.
    ///
    /// # Errors
    /// When it is not built, ends at once or does not listen within 10 s.
    pub fn start(host: &Driver) -> Result<Self> {
        Self::start_with(host, &[])
    }

    /// Starts one with more arguments.
    ///
    /// # Errors
    /// As [`Renderer::start`].
    pub fn start_with(host: &Driver, arguments: &[&str]) -> Result<Self> {
        Self::start_listening(host.command(products::renderer()?), arguments, &[])
    }

    /// Starts one that also listens for virtual machines with these names, at this port of theirs: each has a vsock device
    /// whose socket is `<name>.vsock` in the renderer's folder.
    ///
    /// # Errors
    /// As [`Renderer::start`].
    pub fn start_for_machines(host: &Driver, names: &[&str], port: u32) -> Result<Self> {
        let also: Vec<String> = names.iter().map(|name| format!("{name}.vsock_{port}")).collect();
        Self::start_listening(host.command(products::renderer()?), &[], &also)
    }

    /// Starts a prepared command; `--listen` is added here.
    ///
    /// # Errors
    /// As [`Renderer::start`].
    pub fn start_command(command: Command) -> Result<Self> {
        Self::start_listening(command, &[], &[])
    }

    /// Its own socket is the first that it listens at: the control socket is beside that. `also`: names of more sockets in
    /// its folder.
    fn start_listening(mut command: Command, arguments: &[&str], also: &[String]) -> Result<Self> {
        let folder = scratch_folder("renderer")?;
        let socket = folder.join("vw.sock");
        let guest = Driver::vw(&socket, &folder)?;
        let log = File::create(folder.join("log")).map_err(doing("making the renderer's log"))?;
        let log_too = log.try_clone().map_err(doing("making the renderer's log"))?;
        for path in std::iter::once(socket.clone()).chain(also.iter().map(|name| folder.join(name))) {
            command.arg("--listen").arg(format!("unix:{}", path.display()));
        }
        command.args(arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(doing("starting vw-renderer"))?;
        let mut renderer = Self { child, folder, guest };
        let started = Instant::now();
        while !procfs::listens(&socket) {
            if let Ok(Some(status)) = renderer.child.try_wait() {
                return Err(renderer.error(format!("ended at once ({})", crate::child::describe(status))));
            }
            if started.elapsed() > PATIENCE {
                return Err(renderer.error("does not listen".into()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(renderer)
    }

    /// The driver of programs that are to use this renderer.
    pub fn guest(&self) -> Driver {
        self.guest.clone()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("vw.sock")
    }

    /// A folder of its own, removed with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Process ids of its sessions, as it says itself: those that wait for a guest are none.
    pub fn sessions(&self) -> Vec<u32> {
        let text = self.ask("status");
        text.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect()
    }

    /// The region of this name, which is made unless it is there: memory that a virtual machine would have as a device.
    ///
    /// # Errors
    /// [`Error::Renderer`] when it cannot be.
    pub fn region(&self, name: &str, bytes: u64) -> Result<Region> {
        let text = self.ask(&format!("region {name} {bytes}"));
        let words: Vec<_> = text.split(' ').collect();
        match words[..] {
            [_, _, _, path, sessions, _, resident, ..] => Ok(Region {
                path: path.into(),
                sessions: sessions.parse().unwrap_or(usize::MAX),
                resident: resident.parse().unwrap_or(u64::MAX),
            }),
            _ => Err(self.error(format!("no region {name}: {text}"))),
        }
    }

    /// What the control socket answers; nothing where it does not.
    fn ask(&self, request: &str) -> String {
        let mut text = String::new();
        if let Ok(mut control) = UnixStream::connect(self.folder.join("vw.sock.ctl")) {
            // What cannot be read is no answer.
            let _ = writeln!(control, "{request}").and_then(|()| control.read_to_string(&mut text));
        }
        text
    }

    /// What it and its sessions wrote so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Kills the broker and all of its sessions, with no chance to say goodbye.
    pub fn kill(&mut self) {
        let sessions = procfs::children(self.pid());
        // Killed or gone, both are what was asked for.
        let _ = self.child.kill();
        for session in sessions {
            signal(session, Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// [`Error::Renderer`] when it has not ended after 10 s; then it is killed.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        signal(self.pid(), Signal::TERM);
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(doing("waiting for vw-renderer"))? {
                return Ok(status);
            }
            if asked.elapsed() > PATIENCE {
                self.kill();
                return Err(self.error("did not end on SIGTERM".into()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn error(&self, what: String) -> Error {
        Error::Renderer { what, log: self.log() }
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.stop().is_err() {
            eprintln!("vw-renderer did not end when asked and was killed");
        }
        if thread::panicking() {
            eprintln!("log of vw-renderer:\n{}", self.log());
        }
        // What is left in the folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends a signal; a process that is gone already is no error.
fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}
