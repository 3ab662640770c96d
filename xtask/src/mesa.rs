//! A second, newer Mesa beside the system's, unpacked and never installed: lavapipe with Vulkan 1.4, and zink.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::packages::NETWORK;
use crate::process::{self, Error, Result, file_error};
use crate::python;
use crate::workspace::Workspace;

/// Debian's suite that has it for Debian 12.
const SUITE: &str = "bookworm-backports";
/// Packages unpacked: the Vulkan driver, the OpenGL drivers, and the libraries that they need newer than the system's.
const PACKAGES: &[&str] = &[
    "mesa-vulkan-drivers",
    "libgl1-mesa-dri",
    "mesa-libgallium",
    "libegl-mesa0",
    "libglx-mesa0",
    "libgbm1",
    "libdrm2",
    "libdrm-amdgpu1",
    "libdrm-intel1",
];
/// How long a download may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Downloads and unpacks the packages into `target/setup/mesa` and writes a driver manifest, unless done already.
pub(crate) fn unpack(workspace: &Workspace) -> Result<()> {
    let folder = workspace.setup().join("mesa");
    let name = folder.join("installed");
    python::stamped(&name, &PACKAGES.join("\n"), || unpack_into(&folder))
}

fn unpack_into(folder: &Path) -> Result<()> {
    if !process::exists("apt-get") || !process::exists("dpkg-deb") {
        return Err(Error::Message("it is taken from Debian's backports, by apt-get and dpkg-deb".into()));
    }
    let apt = Apt::new(folder)?;
    process::run_within(LIMIT, apt.get().arg("update"))?;
    // Also unpacked: libraries that the system may lack, and does lack where no other Mesa is installed.
    let mut wanted: Vec<String> = PACKAGES.iter().map(|package| format!("{package}/{SUITE}")).collect();
    wanted.extend(apt.llvm()?);
    process::run_within(LIMIT, apt.get().current_dir(folder).arg("download").args(&wanted))?;
    // Beside the one that may be in use, and exchanged with it when whole.
    let (root, fresh) = (folder.join("root"), folder.join("root.new"));
    remove(&fresh)?;
    for entry in fs::read_dir(folder).map_err(file_error("listing the downloads"))? {
        let path = entry.map_err(file_error("listing the downloads"))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            process::run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&fresh))?;
            fs::remove_file(&path).map_err(file_error("removing a download"))?;
        }
    }
    let old = folder.join("root.old");
    remove(&old)?;
    if root.exists() {
        fs::rename(&root, &old).map_err(file_error("moving the old Mesa"))?;
    }
    fs::rename(&fresh, &root).map_err(file_error("moving the new Mesa"))?;
    remove(&old)?;
    let library = find(&root, "libvulkan_lvp.so")
        .ok_or_else(|| Error::Message("the driver's package holds no libvulkan_lvp.so".into()))?;
    let text = format!(
        "{{\n  \"file_format_version\": \"1.0.0\",\n  \"ICD\": {{ \"library_path\": \"{}\", \"api_version\": \"1.4.0\" }}\n}}\n",
        library.display()
    );
    fs::write(folder.join("lvp_icd.json"), text).map_err(file_error("writing the manifest"))
}

/// Removes a folder, if there is one.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(file_error(format!("removing {}", folder.display())))?;
    }
    Ok(())
}

/// apt with lists, cache and sources of its own, so that the system's configuration stays as it is.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path) -> Result<Self> {
        let apt = folder.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(part)).map_err(file_error("making apt's folders"))?;
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        if !Path::new(keyring).is_file() {
            return Err(Error::Message(format!("{keyring} is missing: install debian-archive-keyring")));
        }
        let base = format!("deb [signed-by={keyring}] http://deb.debian.org/debian");
        let sources = apt.join("sources.list");
        fs::write(&sources, format!("{base} {SUITE} main\n{base} bookworm main\n"))
            .map_err(file_error("writing apt's sources"))?;
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State={}", apt.join("state").display()),
            "Dir::State::status=/var/lib/dpkg/status".to_owned(),
            format!("Dir::Cache={}", apt.join("cache").display()),
            // The user `_apt` cannot write below the checkout; downloads are verified either way.
            "APT::Sandbox::User=root".to_owned(),
            // Descriptions for software centres: megabytes that nobody reads.
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        Ok(Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect() })
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").args(NETWORK).args(&self.options);
        command
    }

    /// The package of the LLVM library that the driver depends on.
    fn llvm(&self) -> Result<Option<String>> {
        let text = process::capture(
            Command::new("apt-cache").args(&self.options).args(["show", &format!("{}/{SUITE}", PACKAGES[0])]),
        )?;
        let depends = text.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        let package = depends.split([',', ' ']).find(|word| word.starts_with("libllvm"));
        Ok(package.map(str::to_owned))
    }
}

/// The first file of this name below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if path.file_name().is_some_and(|file| file == name) {
            return Some(path);
        }
    }
    None
}
