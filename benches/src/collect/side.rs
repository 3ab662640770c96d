//! The drivers that are compared, with what serves them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, kill_process};
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{procfs, products, scratch_folder};

use super::process;
use super::{Error, Result};

/// What every program and server gets.
pub(super) const ENVIRONMENT: [(&str, &str); 2] = [
    // Without this glibc gives the memory of every frame of lavapipe back to the system and takes it again, now and
    // then: frames are four times slower, or not, by chance.
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=268435456"),
    // Pipelines are to be compiled, whoever ran before.
    ("MESA_SHADER_CACHE_DISABLE", "true"),
];

/// The peer's server, and where Debian puts the driver of its clients.
const PEER_SERVER: &str = "/usr/bin/virgl_test_server";
const PEER_MANIFEST: &str = "/usr/share/vulkan/icd.d/virtio_icd.json";

/// Makes dma-bufs of ordinary memory where the kernel has no `/dev/udmabuf`: the peer maps no memory without.
const PEER_SHIM: &str = "/usr/local/lib/libfakeudmabuf.so";

/// A driver, and the processes that serve it.
pub(crate) struct Side {
    /// Its name in results.
    pub(crate) name: String,
    driver: Driver,
    server: Server,
}

enum Server {
    None,
    Renderer(Renderer),
    Peer(Peer),
}

/// Names of sides in results.
pub(crate) const NATIVE: &str = "native";
pub(crate) const VW: &str = "vw";
pub(crate) const PEER: &str = "venus";
pub(crate) const PEER_NO_FEEDBACK: &str = "venus no_fence_feedback";

/// vw where guest and host have no pages in common.
pub(crate) const STREAM: &str = "vw over a stream";

/// Before the words of `VW_PERF` that a side runs with.
pub(crate) const WITHOUT: &str = "vw, ";

/// Native and vw; with `stream` also vw over a stream; with `peer` also the peer in its two modes; for each of `without` vw with
/// this as `VW_PERF`. All use the driver `host` in the end.
pub(crate) fn open(host: &Driver, stream: bool, peer: bool, without: &[String]) -> Result<Vec<Side>> {
    let host = prepared(host.clone());
    let mut sides =
        vec![Side { name: NATIVE.into(), driver: host.clone(), server: Server::None }, vw(&host, None)?];
    if stream {
        let side = vw(&host, None)?;
        sides.push(Side { name: STREAM.into(), driver: side.driver.with("VW_MEMORY", "stream"), ..side });
    }
    if peer {
        for (name, mode) in [(PEER, None), (PEER_NO_FEEDBACK, Some("no_fence_feedback"))] {
            let peer = Peer::start(&host)?;
            let mut driver = prepared(Driver::manifest("venus", PEER_MANIFEST.into()))
                .with("VN_DEBUG", "vtest")
                .with("VTEST_SOCKET_NAME", peer.folder.join(SOCKET));
            if let Some(mode) = mode {
                driver = driver.with("VN_PERF", mode);
            }
            sides.push(Side { name: name.into(), driver, server: Server::Peer(peer) });
        }
    }
    for words in without {
        sides.push(vw(&host, Some(words))?);
    }
    Ok(sides)
}

/// vw with a renderer of its own.
fn vw(host: &Driver, without: Option<&str>) -> Result<Side> {
    let mut command = host.command(products::renderer()?);
    if let Some(words) = without {
        command.env("VW_PERF", words);
    }
    end_with_this_process(&mut command);
    let renderer = Renderer::start_command(command)?;
    let mut driver = prepared(renderer.guest());
    let mut name = VW.to_owned();
    if let Some(words) = without {
        name = format!("{WITHOUT}{words}");
        driver = driver.with("VW_PERF", words);
    }
    Ok(Side { name, driver, server: Server::Renderer(renderer) })
}

/// The driver with what every program and server gets.
pub(super) fn prepared(driver: Driver) -> Driver {
    ENVIRONMENT.iter().fold(driver, |driver, (name, value)| driver.with(name, *value))
}

impl Side {
    /// A command that runs a program on it.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        self.driver.command(program)
    }

    /// Its driver.
    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Makes a command run on it.
    pub(crate) fn apply(&self, command: &mut Command) {
        self.driver.apply(command);
    }

    /// All processes that serve it.
    pub(crate) fn servers(&self) -> Vec<u32> {
        match &self.server {
            Server::None => Vec::new(),
            Server::Renderer(renderer) => process::tree(renderer.pid()),
            Server::Peer(peer) => process::tree(peer.child.id()),
        }
    }

    /// What the renderer has logged, if there is one.
    pub(crate) fn log(&self) -> Option<String> {
        match &self.server {
            Server::Renderer(renderer) => Some(renderer.log()),
            Server::None | Server::Peer(_) => None,
        }
    }
}

/// The peer's server.
struct Peer {
    child: Child,
    folder: PathBuf,
}

const SOCKET: &str = "venus.sock";

impl Peer {
    fn start(host: &Driver) -> Result<Self> {
        let folder = scratch_folder("peer")?;
        let socket = folder.join(SOCKET);
        let mut command = host.command(PEER_SERVER);
        command.args(["--venus", "--no-virgl", "--multi-clients", "--socket-path"]).arg(&socket);
        command.env("LD_PRELOAD", preloaded());
        end_with_this_process(&mut command);
        let log = fs::File::create(folder.join("log")).map_err(system("making the peer's log"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(system(format!("starting {PEER_SERVER}")))?;
        let mut peer = Self { child, folder };
        let started = Instant::now();
        while !procfs::listens(&socket) {
            let ended = peer.child.try_wait().map_err(system("waiting for the peer's server"))?;
            if ended.is_some() || started.elapsed() > Duration::from_secs(10) {
                let log = fs::read_to_string(peer.folder.join("log")).unwrap_or_default();
                return Err(Error::Message(format!("the peer's server does not listen:\n{log}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for pid in process::tree(self.child.id()) {
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                // Gone already is as good.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
        // What is left in the folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// lavapipe's compiler looks mathematical functions up in the process: libm must be in the global scope.
fn preloaded() -> String {
    let shim = !Path::new("/dev/udmabuf").exists() && Path::new(PEER_SHIM).is_file();
    if shim { format!("{PEER_SHIM}:libm.so.6") } else { "libm.so.6".to_owned() }
}

/// A server must not outlive the measurement, however that ends.
fn end_with_this_process(command: &mut Command) {
    let tie = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?);
    // SAFETY: a system call and nothing else between fork and exec.
    unsafe { command.pre_exec(tie) };
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what: what.into(), source }
}
