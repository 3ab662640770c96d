//! Containers: what `vwctl cdi` prints, applied as a runtime does, gives a program in a container the host's device.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::vm::image::Image;
use vw_conformance::{child, or_skip, products, scratch_folder};

const LIMIT: Duration = Duration::from_secs(360);

/// A container's root with the Vulkan loader and `vulkaninfo`, and no driver.
fn root() -> PathBuf {
    let mut image = Image::bare();
    image.installed("vulkaninfo").unwrap();
    // Parts of the C library that every system has, for programs that are linked against an older one.
    for library in ["libvulkan.so.1", "libdl.so.2", "libpthread.so.0"] {
        image.library(library).unwrap();
    }
    let folder = scratch_folder("container").unwrap();
    image.unpack(&folder.join("rootfs")).unwrap();
    folder
}

/// What a container is given, by `vwctl cdi`.
fn edits(renderer: &Renderer, folder: &Path) -> Value {
    let manifest = products::workspace().join("packaging/guest/vw_icd.json");
    let mut command = Command::new(products::control().unwrap());
    command.arg("--socket").arg(format!("unix:{}", renderer.socket().display())).arg("cdi");
    command.arg("--driver").arg(products::guest_driver().unwrap()).arg("--manifest").arg(manifest);
    let output = child::run(&mut command, LIMIT).unwrap();
    let text = output.expect_success("vwctl cdi");
    std::fs::write(folder.join("cdi.json"), text).unwrap();
    let specification: Value = serde_json::from_str(text).unwrap();
    assert_eq!(specification["kind"], "vw/gpu");
    specification["devices"][0]["containerEdits"].clone()
}

fn mounts(edits: &Value) -> &[Value] {
    edits["mounts"].as_array().unwrap()
}

/// The device that `vulkaninfo` found.
fn device(text: &str) -> String {
    let line = text.lines().find(|line| line.contains("deviceName")).unwrap_or_else(|| panic!("{text}"));
    line.split_once('=').unwrap().1.trim().to_owned()
}

/// Starts a bundle. crun refuses machines that have both kinds of cgroups, of which it needs none here.
const CRUN: &str = r#"
set -eu
umount -R /sys/fs/cgroup 2> /dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
exec crun --root "$1/state" --cgroup-manager=disabled run --bundle "$1" "$2"
"#;

#[test]
fn container_when_crun_starts_it_with_the_specification_has_the_hosts_device() {
    let Some(()) = or_skip(products::installed("crun")) else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may start a container like this");
        return;
    }
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let folder = root();
    let edits = edits(&renderer, &folder);
    let own = [
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }),
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }),
    ];
    let given = mounts(&edits).iter().map(|mount| {
        json!({ "destination": mount["containerPath"], "source": mount["hostPath"], "type": "bind",
            "options": mount["options"] })
    });
    let mut environment = edits["env"].as_array().unwrap().clone();
    environment.extend(["PATH=/usr/bin", "VW_LOG=error"].map(Value::from));
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
    let bundle = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "mounts": own.into_iter().chain(given).collect::<Vec<_>>(),
        "process": {
            "args": ["vulkaninfo", "--summary"], "cwd": "/", "env": environment, "noNewPrivileges": true,
            "user": { "uid": 0, "gid": 0 }
        },
        "linux": { "namespaces": namespaces }
    });
    std::fs::write(folder.join("config.json"), bundle.to_string()).unwrap();
    let name = format!("vw-{}", std::process::id());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-c", CRUN, "sh"]);
    let output = child::run(command.arg(&folder).arg(&name), LIMIT).unwrap();
    assert!(device(output.expect_success("crun")).starts_with("vw (llvmpipe"), "{}", output.stdout);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Does with a root folder what a runtime does with a specification: one word for each mount, then the program.
const RUN: &str = r#"
set -eu
root=$1; shift
while [ "$1" != -- ]; do
    mkdir -p "$root$(dirname "$2")"
    touch "$root$2"
    mount --bind "$1" "$root$2"
    shift 2
done
shift
mount -t tmpfs none "$root/dev"
exec chroot "$root" "$@"
"#;

#[test]
fn container_when_made_of_namespaces_with_the_specification_has_the_hosts_device() {
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let folder = root();
    let edits = edits(&renderer, &folder);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "--net", "--ipc", "--uts", "--", "sh", "-c", RUN, "sh"]);
    command.arg(folder.join("rootfs"));
    for mount in mounts(&edits) {
        command.args([&mount["hostPath"], &mount["containerPath"]].map(|path| path.as_str().unwrap()));
    }
    command.args(["--", "/usr/bin/vulkaninfo", "--summary"]);
    for variable in edits["env"].as_array().unwrap() {
        let (name, value) = variable.as_str().unwrap().split_once('=').unwrap();
        command.env(name, value);
    }
    let output = child::run(&mut command, LIMIT).unwrap();
    assert!(device(output.expect_success("unshare")).starts_with("vw (llvmpipe"), "{}", output.stdout);
    std::fs::remove_dir_all(folder).unwrap();
}
