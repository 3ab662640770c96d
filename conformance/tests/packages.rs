//! The Debian packages: what is in them, what they need, and that nothing stays behind.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vw_conformance::{child, or_skip, products, scratch_folder};

const LIMIT: Duration = Duration::from_secs(360);

/// The newest version of glibc that the guest's programs may ask for.
const FLOOR: (u32, u32) = (2, 31);

fn run(command: &mut Command) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    child::run(command, LIMIT).unwrap().expect_success(&name).to_owned()
}

/// The files of a package in a folder of their own.
fn unpacked(package: &Path) -> PathBuf {
    let folder = scratch_folder("unpacked").unwrap();
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&folder));
    folder
}

/// What `readelf` says of a file.
fn readelf(option: &str, file: &Path) -> String {
    run(Command::new("readelf").args(["--wide", option]).arg(file).env("LC_ALL", "C"))
}

/// The versions of glibc whose symbols a file asks for.
fn glibc_versions(file: &Path) -> BTreeSet<(u32, u32)> {
    let text = readelf("--version-info", file);
    let versions = text.split("GLIBC_").skip(1).filter_map(|rest| {
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    versions.collect()
}

#[test]
fn driver_when_packaged_needs_the_c_library_alone_and_shows_the_loader_its_functions() {
    let Some(package) = or_skip(products::package("vw-guest")) else { return };
    let folder = unpacked(&package);
    let driver = folder.join("usr/lib/vw/libvulkan_vw.so");
    assert!(fs::metadata(&driver).unwrap().len() <= 6 << 20);
    let dynamic = readelf("--dynamic", &driver);
    let needed: BTreeSet<&str> = dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .collect();
    // What glibc 2.31 consists of; newer ones have the first two for programs like this one.
    let glibc = ["libdl.so.2", "libpthread.so.0", "libc.so.6", "ld-linux-x86-64.so.2"];
    assert!(needed.iter().all(|name| glibc.contains(name)), "{needed:?}");
    let symbols = readelf("--dyn-syms", &driver);
    let exported: BTreeSet<&str> = symbols
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.len() == 8 && fields[4] != "LOCAL" && fields[6] != "UND" && fields[0] != "Num:")
                .then(|| fields[7])
        })
        .collect();
    let loader = [
        "vk_icdGetInstanceProcAddr",
        "vk_icdGetPhysicalDeviceProcAddr",
        "vk_icdNegotiateLoaderICDInterfaceVersion",
    ];
    assert_eq!(exported, BTreeSet::from(loader));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn guest_when_packaged_runs_where_glibc_is_as_old_as_promised() {
    let Some(()) = or_skip(products::installed("libc")) else { return };
    let Some(package) = or_skip(products::package("vw-guest")) else { return };
    let folder = unpacked(&package);
    for file in ["usr/lib/vw/libvulkan_vw.so", "usr/bin/vw-run", "usr/bin/vw-guest"] {
        let versions = glibc_versions(&folder.join(file));
        let newest = versions.last().unwrap();
        assert!(*newest <= FLOOR, "{file} asks for glibc {newest:?}: {versions:?}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn packages_when_lintian_reads_them_have_no_errors() {
    let Some(()) = or_skip(products::installed("lintian")) else { return };
    for name in ["vw-guest", "vw-host"] {
        let Some(package) = or_skip(products::package(name)) else { return };
        // Its exit code says whether there are errors.
        run(Command::new("lintian").args(["--allow-root", "--fail-on", "error"]).arg(package));
    }
}

/// Installs and purges a package on a copy of this system that is kept in memory, and lists what differs after either.
const CHANGES: &str = r#"
set -eu
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay none -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
cp "$2" "$1/root/package.deb"
changed() { cd "$1/upper"; find . ! -type d ! -path ./package.deb ! -path './var/lib/dpkg/*' ! -path './var/log/*' \
    ! -path './var/cache/*' | sort; cd /; }
chroot "$1/root" dpkg --install /package.deb >&2
echo installed; changed "$1"
chroot "$1/root" dpkg --purge "$3" >&2
echo purged; changed "$1"
find "$1/root/var/lib/dpkg/info" -name "$3.*"
"#;

#[test]
fn packages_when_installed_and_purged_leave_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may mount a copy of this system");
        return;
    }
    for (name, expected) in [
        ("vw-guest", ["usr/share/vulkan/icd.d/vw_icd.json", "etc/vw/guest.toml", "usr/bin/vw-guest"]),
        ("vw-host", ["usr/lib/systemd/system/vw-renderer.service", "etc/vw/renderer.toml", "usr/bin/vwctl"]),
    ] {
        let Some(package) = or_skip(products::package(name)) else { return };
        let folder = scratch_folder("system").unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", CHANGES, "sh"]);
        let text = run(command.arg(&folder).arg(&package).arg(name));
        let (installed, purged) = text.strip_prefix("installed\n").unwrap().split_once("purged\n").unwrap();
        for file in expected {
            assert!(installed.lines().any(|line| line == format!("./{file}")), "{file}:\n{installed}");
        }
        assert_eq!(purged, "", "left behind by {name}");
        fs::remove_dir_all(folder).unwrap();
    }
}

/// The options that a program's help names.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

#[test]
fn manual_pages_when_read_name_every_option_and_command() {
    let manual = |file: &str| {
        let text = fs::read_to_string(products::workspace().join("packaging").join(file)).unwrap();
        text.replace("\\-", "-")
    };
    let missing = |help: &str, page: &str| {
        let text = manual(page);
        let missing: Vec<_> = options(help).into_iter().filter(|option| !text.contains(option)).collect();
        assert!(missing.is_empty(), "{page} lacks {missing:?}");
    };
    let renderer = products::renderer().unwrap();
    missing(&run(Command::new(&renderer).arg("--help")), "host/vw-renderer.8");
    let control = products::control().unwrap();
    let help = run(Command::new(&control).arg("--help"));
    missing(&help, "host/vwctl.8");
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for command in commands.lines().filter_map(|line| line.split_whitespace().next()) {
        if command != "help" {
            assert!(manual("host/vwctl.8").contains(command), "vwctl.8 lacks {command}");
            missing(&run(Command::new(&control).args([command, "--help"])), "host/vwctl.8");
        }
    }
    missing(&run(Command::new(products::runner().unwrap()).arg("--help")), "guest/vw-run.1");
}
