//! `vwctl vm`: what a virtual machine needs to reach the renderer, in the words of its monitor.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use clap::{Args, ValueEnum};
use vw_host_renderer::config::{RegionConfig, Size};
use vw_host_renderer::control::{self, RegionInfo};

/// A virtual machine that is to be told how to reach the renderer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The machine's name
    name: String,
    /// In options of QEMU (the default)
    #[arg(long, group = "monitor")]
    qemu: bool,
    /// In XML of libvirt
    #[arg(long, group = "monitor")]
    libvirt: bool,
    /// In options of Cloud Hypervisor
    #[arg(long, group = "monitor")]
    cloud_hypervisor: bool,
    /// In a configuration of Firecracker
    #[arg(long, group = "monitor")]
    firecracker: bool,
    /// The memory that the machine and this host have in common
    #[arg(long, default_value = "1 GiB")]
    size: Size,
    /// The machine's number on vsock, which no other machine has
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..))]
    cid: u32,
    /// The port at which the renderer listens
    #[arg(long, default_value_t = 5000)]
    port: u32,
    /// The device as which QEMU shows the memory
    #[arg(long, value_enum, default_value_t = Device::Pmem)]
    device: Device,
}

/// How QEMU shows memory to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    /// virtio-pmem: the guest's processor caches it
    Pmem,
    /// ivshmem-plain: write-combining, for guests without a driver for virtio-pmem
    Ivshmem,
}

/// A monitor of virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Monitor {
    Qemu,
    Libvirt,
    CloudHypervisor,
    Firecracker,
}

/// Has the renderer that listens at `socket` make the memory, and prints what is to be written where.
pub(crate) fn run(options: &Options, socket: &Path) -> io::Result<()> {
    // Where the renderer's sockets are, those of machines are too.
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let vhost = Path::new("/dev/vhost-vsock").exists();
    let guest = Some(options.guest(folder, vhost));
    let region = RegionConfig { name: options.name.clone(), size: options.size, guest };
    let region = control::region(socket, region)?;
    print!("{}", options.explain(&region, folder, vhost));
    Ok(())
}

impl Options {
    fn monitor(&self) -> Monitor {
        match self {
            Self { libvirt: true, .. } => Monitor::Libvirt,
            Self { cloud_hypervisor: true, .. } => Monitor::CloudHypervisor,
            Self { firecracker: true, .. } => Monitor::Firecracker,
            _ => Monitor::Qemu,
        }
    }

    /// Whether the host's kernel carries vsock to the machine. Otherwise the monitor has a unix socket for each port.
    fn by_kernel(&self, vhost: bool) -> bool {
        match self.monitor() {
            Monitor::Qemu => vhost,
            Monitor::Libvirt => true,
            Monitor::CloudHypervisor | Monitor::Firecracker => false,
        }
    }

    /// The unix socket of the machine's vsock device, where it has one.
    fn vsock(&self, folder: &Path) -> String {
        folder.join(format!("{}.vsock", self.name)).display().to_string()
    }

    /// The guest as the renderer knows it, which alone may use the memory. `vhost`: this host's kernel has vsock for guests.
    fn guest(&self, folder: &Path, vhost: bool) -> String {
        if self.by_kernel(vhost) {
            format!("vsock:{}", self.cid)
        } else {
            format!("unix:{}_{}", self.vsock(folder), self.port)
        }
    }

    /// What to write where. `folder` is where the renderer's sockets are.
    fn explain(&self, region: &RegionInfo, folder: &Path, vhost: bool) -> String {
        let mut text = String::new();
        let by_kernel = self.by_kernel(vhost);
        let listen = if by_kernel { format!("vsock:{}", self.port) } else { self.guest(folder, vhost) };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "# 1. The renderer listens for it (`listen` in /etc/vw/renderer.toml, or --listen):"
        );
        let _ = writeln!(text, "{listen}\n");
        let _ = writeln!(text, "# 2. The machine is started with:");
        text += &match self.monitor() {
            Monitor::Qemu => self.qemu(region, folder, by_kernel),
            Monitor::Libvirt => self.libvirt(region),
            Monitor::CloudHypervisor => self.cloud_hypervisor(region, folder),
            Monitor::Firecracker => self.firecracker(region, folder),
        };
        let _ = writeln!(text, "\n# 3. In the machine, with the package vw-guest, /etc/vw/guest.toml has:");
        let _ = writeln!(text, "host = \"vsock:2:{}\"", self.port);
        let _ =
            writeln!(text, "\n# The memory lasts as long as the renderer runs: after a restart ask again.");
        text
    }

    fn qemu(&self, region: &RegionInfo, folder: &Path, by_kernel: bool) -> String {
        let (path, size) = (region.path.as_str(), region.size);
        let mut text = format!("-object memory-backend-file,id=vw,mem-path={path},size={size},share=on\n");
        text += match self.device {
            Device::Pmem => {
                "-device virtio-pmem-pci,memdev=vw,id=vw-memory\n# and -m with room for it: -m <memory>,slots=2,maxmem=<memory and its size together, or more>\n"
            }
            Device::Ivshmem => "-device ivshmem-plain,memdev=vw\n",
        };
        if by_kernel {
            let _ = writeln!(text, "-device vhost-vsock-pci,guest-cid={}", self.cid);
        } else {
            let socket = self.vsock(folder);
            let _ = writeln!(text, "-chardev socket,id=vw-vsock,path={socket}.vhost");
            let _ = writeln!(text, "-device vhost-user-vsock-pci,chardev=vw-vsock");
            let _ = writeln!(
                text,
                "# and the machine's own memory shared: -object memory-backend-memfd,id=ram,size=<memory>,share=on -machine memory-backend=ram"
            );
            let _ = writeln!(
                text,
                "# This host's kernel has no vsock for guests (/dev/vhost-vsock; modprobe vhost_vsock). Without it, start before QEMU:"
            );
            let _ = writeln!(
                text,
                "vhost-device-vsock --vm guest-cid={},uds-path={socket},socket={socket}.vhost",
                self.cid
            );
        }
        text
    }

    fn libvirt(&self, region: &RegionInfo) -> String {
        let (path, size) = (region.path.as_str(), region.size >> 10);
        format!(
            "\
<!-- below <domain>: room for it; <memory> is the machine's own -->
<maxMemory slots='2' unit='KiB'>MEMORY AND {size} TOGETHER, OR MORE</maxMemory>
<!-- below <devices>; only root may open the memory: in /etc/libvirt/qemu.conf, set user to root -->
<memory model='virtio-pmem' access='shared'>
  <source>
    <path>{path}</path>
  </source>
  <target>
    <size unit='KiB'>{size}</size>
  </target>
</memory>
<vsock model='virtio'>
  <cid auto='no' address='{}'/>
</vsock>
",
            self.cid
        )
    }

    fn cloud_hypervisor(&self, region: &RegionInfo, folder: &Path) -> String {
        format!(
            "--pmem file={},size={}\n--vsock cid={},socket={}\n",
            region.path.as_str(),
            region.size,
            self.cid,
            self.vsock(folder)
        )
    }

    fn firecracker(&self, region: &RegionInfo, folder: &Path) -> String {
        let pmem = serde_json::json!({
            "pmem": [{ "id": "vw", "path_on_host": region.path, "root_device": false, "read_only": false }],
            "vsock": { "guest_cid": self.cid, "uds_path": self.vsock(folder) }
        });
        format!("{pmem:#}\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn explain(arguments: &[&str], vhost: bool) -> (String, String) {
        let options = Cli::parse_from([&["vm", "desk"], arguments].concat()).options;
        let region = RegionInfo {
            name: "desk".to_owned(),
            path: "/proc/7/fd/9".to_owned(),
            size: 1 << 30,
            id: "00112233445566778899aabbccddeeff".parse().unwrap(),
            sessions: 0,
            used: 0,
            resident: 0,
            guest: None,
        };
        let folder = Path::new("/run/vw");
        (options.explain(&region, folder, vhost), options.guest(folder, vhost))
    }

    #[test]
    fn qemu_when_the_kernel_has_vsock_uses_it() {
        let (text, guest) = explain(&["--cid", "42"], true);
        assert!(text.contains("mem-path=/proc/7/fd/9,size=1073741824,share=on"), "{text}");
        assert!(text.contains("-device virtio-pmem-pci,memdev=vw"), "{text}");
        assert!(text.contains("vhost-vsock-pci,guest-cid=42") && text.contains("\nvsock:5000\n"), "{text}");
        assert!(text.contains("host = \"vsock:2:5000\""), "{text}");
        assert_eq!(guest, "vsock:42");
    }

    #[test]
    fn qemu_when_the_kernel_has_no_vsock_uses_a_device_beside_it() {
        let (text, guest) = explain(&["--device", "ivshmem", "--port", "7"], false);
        assert!(text.contains("-device ivshmem-plain,memdev=vw"), "{text}");
        assert!(
            text.contains("--vm guest-cid=3,uds-path=/run/vw/desk.vsock,socket=/run/vw/desk.vsock.vhost"),
            "{text}"
        );
        assert_eq!(guest, "unix:/run/vw/desk.vsock_7");
        assert!(text.contains(&format!("\n{guest}\n")), "{text}");
    }

    #[test]
    fn other_monitors_when_asked_for_are_written_for_in_their_words() {
        let (text, guest) = explain(&["--libvirt"], false);
        assert!(
            text.contains("<path>/proc/7/fd/9</path>") && text.contains("<size unit='KiB'>1048576<"),
            "{text}"
        );
        assert_eq!(guest, "vsock:3");
        let (text, guest) = explain(&["--cloud-hypervisor"], true);
        assert!(text.contains("--pmem file=/proc/7/fd/9,size=1073741824"), "{text}");
        assert_eq!(guest, "unix:/run/vw/desk.vsock_5000");
        let (text, _) = explain(&["--firecracker"], true);
        let json = &text[text.find('{').unwrap_or(0)..=text.rfind('}').unwrap_or(0)];
        let json: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        assert_eq!(json["pmem"][0]["path_on_host"], "/proc/7/fd/9");
        assert_eq!(json["vsock"]["uds_path"], "/run/vw/desk.vsock");
        assert!(Cli::try_parse_from(["vm", "desk", "--qemu", "--libvirt"]).is_err());
    }
}
