//! QEMU with a guest in it, and the vsock device beside it.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::child::{self, Running};
use crate::vm::image::Image;
use crate::vm::job::{Answer, Job};
use crate::vm::modules::Modules;
use crate::{Error, Result, doing, products, scratch_folder};

/// How long a guest may take from its start to its end: a boot takes 5 to 20 s without KVM on an idle machine, and tests must
/// pass on a busy one.
pub const LIMIT: Duration = Duration::from_secs(180);
/// How long the smallest guest may take under KVM: hosts that offer it may lack what it needs.
const PROBE: Duration = Duration::from_secs(15);
/// What QEMU's exit code is when the guest has written 0 to the port that ends it.
const ENDED_WELL: i32 = 1;

/// A kernel that set-up has unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Debian 12's.
    Linux6_1,
    /// Of its backports.
    Linux6_12,
}

impl Kernel {
    fn folder(self) -> PathBuf {
        let name = match self {
            Self::Linux6_1 => "linux-6.1",
            Self::Linux6_12 => "linux-6.12",
        };
        products::setup_folder().join("vm").join(name)
    }

    /// Its modules.
    ///
    /// # Errors
    /// When set-up has not unpacked it.
    pub fn modules(self) -> Result<Modules> {
        products::installed("vm")?;
        Modules::of(&self.folder())
    }

    fn image(self) -> Result<PathBuf> {
        let boot = self.folder().join("boot");
        let entries = fs::read_dir(&boot).map_err(doing(format!("listing {}", boot.display())))?;
        let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        files
            .find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
            .ok_or_else(|| Error::NotAvailable { what: "a kernel".into(), remedy: "run `cargo xtask setup`" })
    }
}

/// A region of shared memory as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// virtio-pmem.
    Pmem,
    /// ivshmem-plain.
    Ivshmem,
}

/// A machine that can be started.
#[derive(Debug)]
pub struct Machine {
    kernel: Kernel,
    memory_mib: u32,
    parameters: String,
    region: Option<(Attachment, PathBuf, u64)>,
    vsock: Option<(PathBuf, u32)>,
    limit: Duration,
}

impl Machine {
    /// With a kernel, memory and a way to write, and nothing else.
    ///
    /// # Errors
    /// When set-up could not unpack what it needs, or has not.
    pub fn new(kernel: Kernel) -> Result<Self> {
        products::installed("vm")?;
        Ok(Self {
            kernel,
            memory_mib: 512,
            parameters: String::new(),
            region: None,
            vsock: None,
            limit: LIMIT,
        })
    }

    /// With so much memory.
    #[must_use]
    pub fn memory(self, mib: u32) -> Self {
        Self { memory_mib: mib, ..self }
    }

    /// With parameters of the kernel.
    #[must_use]
    pub fn parameters(self, parameters: &str) -> Self {
        Self { parameters: parameters.to_owned(), ..self }
    }

    /// With a vsock device: what the guest dials at the host's port P is a connection to the unix socket `<path>_P`.
    #[must_use]
    pub fn vsock(self, path: &Path, cid: u32) -> Self {
        Self { vsock: Some((path.to_owned(), cid)), ..self }
    }

    /// With a file of this size as shared memory.
    #[must_use]
    pub fn region(self, attachment: Attachment, file: &Path, size: u64) -> Self {
        Self { region: Some((attachment, file.to_owned(), size)), ..self }
    }

    /// With another limit than [`LIMIT`].
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Boots, runs the job to its end and returns the answers. A boot that hangs or ends otherwise than the job does is
    /// repeated once.
    ///
    /// # Errors
    /// [`Error::Guest`] with the console when the second boot fails too.
    pub fn run(&self, image: &[u8]) -> Result<Vec<Answer>> {
        match self.start_on(accelerator(), image, self.limit)?.wait() {
            Err(Error::Guest { what, console }) => {
                eprintln!("the guest {what}; it is started once more; its console:\n{console}");
                self.start_on(accelerator(), image, self.limit)?.wait()
            }
            result => result,
        }
    }

    /// Boots a guest that runs beside others, and has the more time for it.
    ///
    /// # Errors
    /// When QEMU or the vsock device cannot be started.
    pub fn start(&self, image: &[u8]) -> Result<Guest> {
        self.start_on(accelerator(), image, 2 * self.limit)
    }

    fn start_on(&self, accelerator: &[&str], image: &[u8], limit: Duration) -> Result<Guest> {
        let folder = scratch_folder("vm")?;
        let initrd = folder.join("initramfs");
        fs::write(&initrd, image).map_err(doing("writing an initramfs"))?;
        // A QEMU that aborts would leave the guest's memory behind.
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
            .map_err(|error| doing("turning core dumps off")(error.into()))?;
        let mut qemu = qemu();
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]).args(accelerator);
        qemu.arg("-m").arg(format!("{},slots=2,maxmem=8G", self.memory_mib));
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        for name in ["console", "answers"] {
            qemu.arg("-serial").arg(format!("file:{}", folder.join(name).display()));
        }
        qemu.arg("-kernel").arg(self.kernel.image()?).arg("-initrd").arg(&initrd);
        // The timer's interrupt is not checked at the start: that fails where the emulated processor comes too late.
        let parameters = format!("console=ttyS0 quiet panic=-1 no_timer_check {}", self.parameters);
        qemu.args(["-append", &parameters]);
        let mut machine = "q35".to_owned();
        let mut vsock = None;
        if let Some((path, cid)) = &self.vsock {
            vsock = Some(vsock_device(&folder, path, *cid)?);
            qemu.arg("-object");
            qemu.arg(format!("memory-backend-memfd,id=ram,size={}M,share=on", self.memory_mib));
            machine += ",memory-backend=ram";
            qemu.arg("-chardev").arg(format!("socket,id=vsock,path={}", folder.join("vhost").display()));
            qemu.args(["-device", "vhost-user-vsock-pci,chardev=vsock"]);
        }
        qemu.arg("-machine").arg(machine);
        if let Some((attachment, file, size)) = &self.region {
            let (path, size) = (file.display(), size);
            qemu.arg("-object");
            qemu.arg(format!("memory-backend-file,id=region,mem-path={path},size={size},share=on"));
            qemu.args(match attachment {
                Attachment::Pmem => ["-device", "virtio-pmem-pci,memdev=region,id=pmem"],
                Attachment::Ivshmem => ["-device", "ivshmem-plain,memdev=region"],
            });
        }
        Ok(Guest { qemu: Some(child::start(&mut qemu)?), _vsock: vsock, folder, limit })
    }
}

/// QEMU as set-up has unpacked it.
fn qemu() -> Command {
    let root = products::setup_folder().join("vm/qemu");
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let mut path = libraries.clone().into_os_string();
    path.push(":");
    path.push(root.join("lib/x86_64-linux-gnu"));
    let mut command = Command::new(root.join("usr/bin/qemu-system-x86_64"));
    command.env("LD_LIBRARY_PATH", path).env("QEMU_MODULE_DIR", libraries.join("qemu"));
    for data in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(root.join(data));
    }
    command
}

/// Starts the vsock device, which QEMU finds at `folder/vhost`.
fn vsock_device(folder: &Path, path: &Path, cid: u32) -> Result<Running> {
    let program = products::setup_folder().join("vm/vsock/usr/bin/vhost-device-vsock");
    let socket = folder.join("vhost");
    let about = format!("guest-cid={cid},uds-path={},socket={}", path.display(), socket.display());
    // One that was killed leaves it, and does not start over it.
    let _ = fs::remove_file(path);
    let mut device = child::start(Command::new(program).args(["--vm", &about]))?;
    let started = Instant::now();
    while !socket.exists() {
        if !device.is_running() || started.elapsed() > LIMIT {
            let output = device.wait(Duration::ZERO)?;
            return Err(doing(format!("starting the vsock device: {}", output.stderr))(
                std::io::ErrorKind::NotFound.into(),
            ));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(device)
}

const KVM: &[&str] = &["-accel", "kvm", "-cpu", "host"];
const TCG: &[&str] = &["-accel", "tcg,thread=multi", "-cpu", "max"];

/// Whether QEMU runs the guest's instructions by itself, many times slower than a processor.
pub fn is_emulated() -> bool {
    accelerator() == TCG
}

/// QEMU's options for what runs the guest's instructions: KVM where a guest boots on it, which its device file alone does
/// not say, else QEMU itself. What was found counts until this machine is started anew.
fn accelerator() -> &'static [&'static str] {
    static FOUND: OnceLock<&[&str]> = OnceLock::new();
    let boots = || {
        File::options().read(true).write(true).open("/dev/kvm").ok()?;
        let image = Image::new().ok()?.finish(&Job::default()).ok()?;
        Machine::new(Kernel::Linux6_1).ok()?.start_on(KVM, &image, PROBE).ok()?.wait().ok()
    };
    FOUND.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let notes = products::setup_folder().join("vm/accelerator");
        let noted = fs::read_to_string(&notes).unwrap_or_default();
        let boots = match noted.strip_prefix(&boot) {
            Some(words) => words == "kvm",
            None => {
                let boots = boots().is_some();
                // Without the note the next process tries again.
                let _ = fs::write(&notes, format!("{boot}{}", if boots { "kvm" } else { "tcg" }));
                boots
            }
        };
        if boots { KVM } else { TCG }
    })
}

/// A guest that runs. Killed, with its vsock device, when dropped.
pub struct Guest {
    qemu: Option<Running>,
    _vsock: Option<Running>,
    folder: PathBuf,
    limit: Duration,
}

impl Guest {
    /// Kills QEMU, as a machine that loses its power.
    pub fn kill(&mut self) {
        // Dropping it does.
        self.qemu = None;
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.qemu.as_mut().is_some_and(Running::is_running)
    }

    /// What it has written to its console so far.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.folder.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The answers so far.
    ///
    /// # Errors
    /// [`Error::Guest`] when they cannot be read, as those of a guest that was killed may be.
    pub fn answers(&self) -> Result<Vec<Answer>> {
        let wrong = |error: std::io::Error| self.error(format!("wrote no answers: {error}"));
        let mut from = BufReader::new(File::open(self.folder.join("answers")).map_err(wrong)?);
        let mut answers = Vec::new();
        while let Some(answer) = Answer::read(&mut from).map_err(wrong)? {
            answers.push(answer);
        }
        Ok(answers)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::Guest`] when it does not end within its limit from its start, or not as a job does.
    pub fn wait(mut self) -> Result<Vec<Answer>> {
        let Some(qemu) = self.qemu.take() else { return Err(self.error("was killed".into())) };
        match qemu.wait(self.limit) {
            Ok(output) if output.status.code() == Some(ENDED_WELL) => self.answers(),
            Ok(output) => {
                let how = child::describe(output.status);
                Err(self.error(format!("ended QEMU with {how}: {}", output.stderr)))
            }
            Err(Error::Hung { seconds, .. }) => Err(self.error(format!("did not end within {seconds} s"))),
            Err(error) => Err(error),
        }
    }

    fn error(&self, what: String) -> Error {
        Error::Guest { what, console: self.console() }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("console of the guest:\n{}", self.console());
        }
        // What is left in the folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
