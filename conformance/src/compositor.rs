//! A Wayland compositor without a screen, for programs that want a window.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::picture::Picture;
use crate::{Error, Result, child, doing, products, scratch_folder};

/// How long it may take until programs may connect.
const PATIENCE: Duration = Duration::from_secs(60);

/// Seconds that it may take until something changes on the screen.
const PAUSE: &str = "10";

/// Name of its socket.
const SOCKET: &str = "wayland-vw";

/// A Weston that runs; killed, and its folder removed, when dropped.
pub struct Compositor {
    server: Child,
    folder: PathBuf,
}

impl Compositor {
    /// Starts one with a socket in a folder of its own.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start() -> Result<Self> {
        products::installed("weston")?;
        let folder = scratch_folder("weston")?.join("runtime");
        // Programs refuse a folder that others may read.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(doing("making a folder for Weston"))?;
        let mut command = Command::new("weston");
        // `--debug` lets programs take pictures of the screen.
        command.args(["--backend=headless-backend.so", "--use-pixman", "--no-config", "--debug"]);
        command.arg(format!("--socket={SOCKET}")).args(["--width=800", "--height=600"]);
        command
            .env("XDG_RUNTIME_DIR", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = command.spawn().map_err(doing("starting weston"))?;
        let this = Self { server, folder };
        let started = Instant::now();
        while !this.folder.join(SOCKET).exists() {
            if started.elapsed() > PATIENCE {
                return Err(Error::NotAvailable { what: "weston".into(), remedy: "it does not listen" });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(this)
    }

    /// Makes it the compositor of a program.
    pub fn apply(&self, command: &mut Command) {
        command.envs(self.variables());
    }

    /// The variables by which programs find it.
    pub fn variables(&self) -> [(&'static str, &OsStr); 2] {
        [("XDG_RUNTIME_DIR", self.folder.as_os_str()), ("WAYLAND_DISPLAY", OsStr::new(SOCKET))]
    }

    /// A picture of the screen, which is taken when something changes on it; none where that takes long.
    ///
    /// # Errors
    /// When Weston's own program for that fails.
    pub fn screenshot(&self) -> Result<Option<Picture>> {
        let folder = self.folder.join("screenshot");
        // Of an earlier picture; none is as good.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).map_err(doing("making a folder for a picture"))?;
        let mut command = Command::new("timeout");
        command.arg(PAUSE).arg("weston-screenshooter").current_dir(&folder);
        self.apply(&mut command);
        child::run(&mut command, PATIENCE)?;
        // It chooses the name.
        let entries = std::fs::read_dir(&folder).map_err(doing("listing pictures"))?;
        entries.filter_map(|entry| Some(Picture::read(&entry.ok()?.path()))).next().transpose()
    }

    /// Ends it at once, whoever uses it.
    pub fn kill(&mut self) {
        // Gone already is as good.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        self.kill();
        if let Some(folder) = self.folder.parent() {
            // A folder that stays behind does no harm.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
