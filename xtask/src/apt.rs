//! Debian's packages unpacked below `target/setup`, never installed: apt with lists, cache and sources of its own, so that
//! the system's configuration stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::packages::NETWORK;
use crate::process::{self, Error, Result, file_error};

/// How long a download may take.
const LIMIT: Duration = Duration::from_secs(600);

/// apt for one folder.
pub(crate) struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    /// With the packages of these suites of Debian, whose lists are fetched.
    pub(crate) fn new(folder: &Path, suites: &[&str]) -> Result<Self> {
        if !process::exists("apt-get") || !process::exists("dpkg-deb") {
            return Err(Error::Message("it is taken from Debian, by apt-get and dpkg-deb".into()));
        }
        let apt = folder.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.join(part)).map_err(file_error("making apt's folders"))?;
        }
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        if !Path::new(keyring).is_file() {
            return Err(Error::Message(format!("{keyring} is missing: install debian-archive-keyring")));
        }
        let sources = apt.join("sources.list");
        let line =
            |suite: &&str| format!("deb [signed-by={keyring}] http://deb.debian.org/debian {suite} main\n");
        fs::write(&sources, suites.iter().map(line).collect::<String>())
            .map_err(file_error("writing apt's sources"))?;
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State={}", apt.join("state").display()),
            "Dir::State::status=/var/lib/dpkg/status".to_owned(),
            format!("Dir::Cache={}", apt.join("cache").display()),
            // The user `_apt` cannot write below the checkout; downloads are verified either way.
            "APT::Sandbox::User=root".to_owned(),
            // Nothing is installed: whoever holds the system's lock is not waited for.
            "Debug::NoLocking=1".to_owned(),
            // Descriptions for software centres and translations: megabytes that nobody reads.
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        let options = options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect();
        let apt = Self { folder: folder.to_owned(), options };
        process::run_within(LIMIT, apt.get().arg("update"))?;
        Ok(apt)
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").args(NETWORK).args(&self.options);
        command
    }

    /// The packages that one depends on; either may be `name/suite`.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let mut command = Command::new("apt-cache");
        let text =
            process::capture(command.args(&self.options).args(["show", "--no-all-versions", package]))?;
        let depends = text.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
        Ok(depends.split(',').filter_map(|part| part.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Downloads packages, each `name` or `name/suite`, and unpacks them into `root`, which is made anew.
    pub(crate) fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        process::run_within(LIMIT, self.get().current_dir(&self.folder).arg("download").args(packages))?;
        unpack_all(&self.folder, root)
    }

    /// The same for a package of a suite with all that it needs and the system lacks.
    pub(crate) fn unpack_with_dependencies(&self, package: &str, suite: &str, root: &Path) -> Result<()> {
        let mut command = self.get();
        command.args(["install", "--download-only", "-y", "--no-install-recommends", "-t", suite, package]);
        process::run_within(LIMIT, &mut command)?;
        unpack_all(&self.folder.join("apt/cache/archives"), root)
    }
}

/// Unpacks the packages that lie in `folder`, and removes them. What was in `root` is replaced in one step.
fn unpack_all(folder: &Path, root: &Path) -> Result<()> {
    let beside = |what: &str| {
        let mut path = root.as_os_str().to_owned();
        path.push(what);
        PathBuf::from(path)
    };
    let (fresh, old) = (beside(".new"), beside(".old"));
    remove(&fresh)?;
    for entry in fs::read_dir(folder).map_err(file_error("listing the downloads"))? {
        let path = entry.map_err(file_error("listing the downloads"))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            process::run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&fresh))?;
            fs::remove_file(&path).map_err(file_error("removing a download"))?;
        }
    }
    remove(&old)?;
    if root.exists() {
        fs::rename(root, &old).map_err(file_error("moving what was unpacked before"))?;
    }
    fs::rename(&fresh, root).map_err(file_error("moving what was unpacked"))?;
    remove(&old)
}

/// Removes a folder, if there is one.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(file_error(format!("removing {}", folder.display())))?;
    }
    Ok(())
}

/// The first file below a folder whose name `is` the one.
pub(crate) fn find(folder: &Path, is: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = find(&path, is) {
                return Some(found);
            }
        } else if path.file_name().is_some_and(|file| is(&file.to_string_lossy())) {
            return Some(path);
        }
    }
    None
}
