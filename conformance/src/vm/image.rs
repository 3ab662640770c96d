//! The initramfs of a guest: process 1, the programs with the libraries that they need, the guest package as it is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::vm::cpio::Archive;
use crate::vm::job::{self, Job, RENDER, USER};
use crate::vm::modules::Modules;
use crate::{Error, Result, doing, products, scratch_folder};

/// Where libraries are looked for with no cache of their places.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";
/// What the dynamic linker of the C library is called, wherever it comes from.
const LINKER: &str = "ld-linux-x86-64.so.2";

/// An initramfs in the making.
#[derive(Debug)]
pub struct Image {
    archive: Archive,
    modules: Vec<String>,
    /// Where libraries are looked for first.
    folders: Vec<PathBuf>,
}

impl Image {
    /// Folders and users, and nothing else: what a container starts with.
    pub fn bare() -> Self {
        let mut image = Self {
            archive: Archive::default(),
            modules: Vec::new(),
            folders: vec![unpacked_udev().join("usr").join(LIBRARIES)],
        };
        for folder in ["proc", "sys", "dev", "run", "tmp", "home"] {
            image.archive.folder(folder);
        }
        image.text("etc/passwd", &format!("root:x:0:0::/:/bin/sh\nguest:x:{USER}:{USER}::/tmp:/bin/sh\n"));
        image.text("etc/group", &format!("root:x:0:\nrender:x:{RENDER}:guest\nguest:x:{USER}:\n"));
        image
    }

    /// The same with process 1.
    ///
    /// # Errors
    /// When `vw-vm-init` is not built.
    pub fn new() -> Result<Self> {
        let mut image = Self::bare();
        image.archive.device("dev/console", 5, 1);
        image.program(&products::program("vw-vm-init")?, "init")?;
        Ok(image)
    }

    /// A text file.
    pub fn text(&mut self, path: &str, text: &str) {
        self.archive.file(path, 0o644, text.as_bytes().to_vec());
    }

    /// A program or library of this machine, without what debuggers read, and the libraries that it names.
    ///
    /// # Errors
    /// When it cannot be read, or something that it names is not there.
    pub fn program(&mut self, file: &Path, inside: &str) -> Result<()> {
        self.archive.file(inside, 0o755, stripped(file)?);
        self.libraries(file)
    }

    /// The program with this name in `PATH`, as `/usr/bin/<name>`.
    ///
    /// # Errors
    /// [`Error::NotAvailable`] when there is none; otherwise as [`program`](Self::program).
    pub fn installed(&mut self, name: &str) -> Result<()> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let file = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        let remedy = "`cargo xtask setup` installs it";
        let file = file.ok_or_else(|| Error::NotAvailable { what: name.to_owned(), remedy })?;
        self.program(&file, &format!("usr/bin/{name}"))
    }

    /// Debian's udev, as set-up has unpacked it, with no rules but those of packages in the image.
    ///
    /// # Errors
    /// As [`program`](Self::program).
    pub fn udev(&mut self) -> Result<()> {
        self.program(&unpacked_udev().join("bin/udevadm"), "usr/bin/udevadm")?;
        self.archive.link("usr/lib/systemd/systemd-udevd", "/usr/bin/udevadm");
        Ok(())
    }

    /// A library of this machine that programs open while they run.
    ///
    /// # Errors
    /// As [`installed`](Self::installed).
    pub fn library(&mut self, name: &str) -> Result<()> {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
        let file = folders.iter().map(|folder| Path::new(folder).join(name)).find(|file| file.is_file());
        let remedy = "`cargo xtask setup` installs it";
        let file = file.ok_or_else(|| Error::NotAvailable { what: name.to_owned(), remedy })?;
        self.program(&file, &format!("{LIBRARIES}/{name}"))
    }

    /// The newer lavapipe that set-up has unpacked.
    ///
    /// # Errors
    /// As [`installed`](Self::installed).
    pub fn newer_lavapipe(&mut self) -> Result<()> {
        let folder = products::setup_folder().join("mesa/root/usr").join(LIBRARIES);
        let driver = folder.join("libvulkan_lvp.so");
        if !driver.is_file() {
            let remedy = "`cargo xtask setup` unpacks it on Debian 12";
            return Err(Error::NotAvailable { what: "Mesa 25 from Debian's backports".to_owned(), remedy });
        }
        self.folders.insert(0, folder);
        let inside = format!("{LIBRARIES}/libvulkan_lvp.so");
        self.program(&driver, &inside)?;
        let manifest = serde_json::json!({
            "file_format_version": "1.0.0",
            "ICD": { "library_path": format!("/{inside}"), "api_version": "1.4.0" }
        });
        self.text("usr/share/vulkan/icd.d/lvp_icd.json", &manifest.to_string());
        Ok(())
    }

    /// The files of a Debian package, as they lie when it is installed, and the libraries that they name.
    ///
    /// # Errors
    /// When it cannot be unpacked.
    pub fn package(&mut self, package: &Path) -> Result<()> {
        let folder = scratch_folder("package")?;
        let unpacked = Command::new("dpkg-deb")
            .arg("-x")
            .arg(package)
            .arg(&folder)
            .stdin(Stdio::null())
            .status()
            .map_err(doing("starting dpkg-deb"))?;
        let what = || doing(format!("unpacking {}", package.display()));
        if !unpacked.success() {
            return Err(what()(std::io::Error::other("dpkg-deb failed")));
        }
        self.tree(&folder, Path::new("")).map_err(what())?;
        for entry in ["usr/bin", LIBRARIES, "usr/lib/x86_64-linux-gnu"] {
            let Ok(entries) = fs::read_dir(folder.join(entry)) else { continue };
            for file in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if fs::read(&file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")) {
                    self.libraries(&file)?;
                }
            }
        }
        fs::remove_dir_all(&folder).map_err(what())
    }

    fn tree(&mut self, folder: &Path, inside: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder.join(inside))? {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            let (kind, name) = (entry.file_type()?, path.to_string_lossy().into_owned());
            if kind.is_dir() {
                self.tree(folder, &path)?;
            } else if kind.is_symlink() {
                self.archive.link(&name, &fs::read_link(entry.path())?.to_string_lossy());
            } else {
                let mode = entry.metadata()?.permissions().mode() & 0o777;
                self.archive.file(&name, mode, fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// Modules of a kernel, which process 1 loads first.
    ///
    /// # Errors
    /// As [`Modules::closure`].
    pub fn modules(&mut self, kernel: &Modules, names: &[&str]) -> Result<()> {
        for (name, contents) in kernel.closure(names)? {
            let path = format!("vm/modules/{name}.ko");
            self.archive.file(&path, 0o644, contents);
            self.modules.push(format!("/{path}"));
        }
        Ok(())
    }

    /// The archive, with what is to be done in the guest.
    ///
    /// # Errors
    /// Never for a job made of text.
    pub fn finish(mut self, job: &Job) -> Result<Vec<u8>> {
        let job = Job { modules: self.modules.iter().chain(&job.modules).cloned().collect(), ..job.clone() };
        let text = serde_json::to_string(&job).map_err(|error| doing("writing the job")(error.into()))?;
        self.text(job::PATH.trim_start_matches('/'), &text);
        Ok(self.archive.finish())
    }

    /// The files in a folder, as [`Archive::unpack`] has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn unpack(&self, folder: &Path) -> Result<()> {
        self.archive.unpack(folder).map_err(doing(format!("making {}", folder.display())))
    }

    /// The libraries that a program names, and those that these name.
    fn libraries(&mut self, file: &Path) -> Result<()> {
        let what = || doing(format!("asking what {} needs", file.display()));
        let mut ldd = Command::new("ldd");
        ldd.arg(file)
            .env("LC_ALL", "C")
            .env("LD_LIBRARY_PATH", std::env::join_paths(&self.folders).unwrap_or_default());
        let output = ldd.output().map_err(what())?;
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(name), second, third) = (words.next(), words.next(), words.next()) else { continue };
            if third == Some("not") {
                return Err(what()(std::io::Error::other(format!("{name} is not there"))));
            }
            let (inside, place) = match (second, third) {
                _ if name.ends_with(LINKER) => (format!("lib64/{LINKER}"), format!("/lib64/{LINKER}")),
                (Some("=>"), Some(place)) => (format!("{LIBRARIES}/{name}"), place.to_owned()),
                _ => continue,
            };
            if !self.archive.has(&inside) {
                let bytes = fs::read(&place).map_err(doing(format!("reading {place}")))?;
                self.archive.file(&inside, 0o755, bytes);
            }
        }
        Ok(())
    }
}

fn unpacked_udev() -> PathBuf {
    products::setup_folder().join("vm/udev")
}

/// The bytes of a program without what debuggers read, which is most of those that were just built.
fn stripped(file: &Path) -> Result<Vec<u8>> {
    let folder = scratch_folder("strip")?;
    let copy: PathBuf = folder.join("stripped");
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(&copy).arg(file).stdin(Stdio::null()).stderr(Stdio::null());
    // What cannot be made smaller is taken as it is.
    let done = strip.status().is_ok_and(|status| status.success());
    let from = if done { copy.as_path() } else { file };
    let bytes = fs::read(from).map_err(doing(format!("reading {}", from.display())))?;
    fs::remove_dir_all(&folder).map_err(doing("removing a folder"))?;
    Ok(bytes)
}
