//! `vw-guest doctor` and `vwctl doctor`: each link of the chain that is broken is named, with what to do.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{child, products, scratch_folder};
use vw_transport::connection::accept_handshake;
use vw_transport::handshake::Versions;

const LIMIT: Duration = Duration::from_secs(360);

/// What the guest's doctor says.
fn guest(driver: &Driver) -> (bool, String) {
    let mut command = driver.command(products::guest_tool().unwrap());
    let output = child::run(command.arg("doctor"), LIMIT).unwrap();
    (output.status.success(), output.stdout)
}

/// The line of a link, for one that broke with the lines after it.
fn broken<'t>(text: &'t str, link: &str) -> &'t str {
    let at = text.find(&format!("{link:<14} BROKEN")).unwrap_or_else(|| panic!("{link} holds:\n{text}"));
    &text[at..]
}

#[test]
fn guest_when_everything_works_is_healthy() {
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let (well, text) = guest(&renderer.guest());
    assert!(well, "{text}");
    for link in ["loader", "driver", "host", "versions", "memory", "device", "triangle"] {
        assert!(text.lines().any(|line| line.starts_with(link)), "{link}:\n{text}");
    }
    assert!(text.contains("passed by descriptor") && text.contains("vw (llvmpipe"), "{text}");
}

#[test]
fn guest_when_the_driver_is_not_installed_says_so() {
    let folder = scratch_folder("doctor").unwrap();
    let other = folder.join("other.json");
    fs::write(&other, r#"{ "ICD": { "library_path": "/usr/lib/libvulkan_other.so" } }"#).unwrap();
    let (well, text) = guest(&Driver::manifest("other", other));
    assert!(!well && broken(&text, "driver").contains("vw-guest"), "{text}");
    let gone = folder.join("gone.json");
    fs::write(&gone, r#"{ "ICD": { "library_path": "/nonexistent/libvulkan_vw.so" } }"#).unwrap();
    let (well, text) = guest(&Driver::manifest("gone", gone));
    assert!(!well && broken(&text, "driver").contains("cannot be opened"), "{text}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn guest_when_the_configuration_is_wrong_says_so() {
    let folder = scratch_folder("doctor").unwrap();
    let driver = Driver::vw(&folder.join("none.sock"), &folder).unwrap();
    let (well, text) = guest(&driver.clone().with("VW_HOST", "carrier pigeon"));
    assert!(!well && broken(&text, "configuration").contains("VW_HOST"), "{text}");
    let (well, text) = guest(&driver.with("VW_MEMORY", "borrowed"));
    assert!(!well && broken(&text, "configuration").contains("VW_MEMORY"), "{text}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn guest_when_no_host_answers_says_so() {
    let folder = scratch_folder("doctor").unwrap();
    let socket = folder.join("vw.sock");
    let driver = Driver::vw(&socket, &folder).unwrap();
    let (well, text) = guest(&driver);
    assert!(!well && broken(&text, "host").contains("start the renderer"), "{text}");
    drop(UnixListener::bind(&socket).unwrap());
    let (well, text) = guest(&driver);
    assert!(!well && broken(&text, "host").contains("nobody listens"), "{text}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn guest_when_something_else_answers_says_so() {
    let folder = scratch_folder("doctor").unwrap();
    let socket = folder.join("vw.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Longer than any first message, so that it is read whole.
        stream.write_all(&[b'x'; 4096]).unwrap();
        // What was asked is not read: the end of the connection is enough.
        drop(stream);
    });
    let (well, text) = guest(&Driver::vw(&socket, &folder).unwrap());
    answering.join().unwrap();
    assert!(!well, "{text}");
    broken(&text, "host");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn guest_when_the_host_is_of_another_version_says_so() {
    let folder = scratch_folder("doctor").unwrap();
    let socket = folder.join("vw.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let ours = Versions { protocol: 4_711, registry: 12, table_hash: 13 };
    let answering = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        assert!(accept_handshake(stream, ours, |_| Err("not reached".into())).is_err());
    });
    let (well, text) = guest(&Driver::vw(&socket, &folder).unwrap());
    answering.join().unwrap();
    assert!(!well && broken(&text, "versions").contains("4711"), "{text}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn guest_when_the_host_has_no_device_says_so() {
    let renderer = Renderer::start(&Driver::manifest("none", "/nonexistent.json".into())).unwrap();
    let (well, text) = guest(&renderer.guest());
    assert!(!well && broken(&text, "host").contains("vkCreateInstance on the host"), "{text}");
}

/// A host that is gone once it was reached.
#[test]
fn guest_when_there_is_no_device_says_so() {
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let folder = scratch_folder("doctor").unwrap();
    let socket = folder.join("vw.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let behind = renderer.socket();
    let relay = std::thread::spawn(move || {
        let (guest, _) = listener.accept().unwrap();
        drop(listener);
        let host = UnixStream::connect(behind).unwrap();
        let there = carry(guest.try_clone().unwrap(), host.try_clone().unwrap());
        let back = carry(host, guest);
        there.join().unwrap();
        back.join().unwrap();
    });
    let driver = Driver::vw(&socket, &folder).unwrap();
    // Descriptors do not pass through the relay.
    let (well, text) = guest(&driver.with("VW_MEMORY", "stream"));
    relay.join().unwrap();
    assert!(!well, "{text}");
    broken(&text, "device");
    fs::remove_dir_all(folder).unwrap();
}

/// Carries bytes from one socket to another until either is closed.
fn carry(mut from: UnixStream, mut to: UnixStream) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        // The end of either connection, however it comes, is that of both.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    })
}

#[test]
fn guest_when_the_host_draws_nothing_says_so() {
    let renderer = Renderer::start_with(&Driver::lavapipe().unwrap(), &["--null"]).unwrap();
    let (well, text) = guest(&renderer.guest());
    assert!(!well && broken(&text, "triangle").contains("texel"), "{text}");
}

#[test]
fn guest_when_there_is_no_memory_device_says_so() {
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let folder = scratch_folder("doctor").unwrap();
    let foreign = folder.join("foreign");
    fs::write(&foreign, vec![7; 4 << 20]).unwrap();
    let driver = renderer.guest().with("VW_MEMORY", "attached").with("VW_REGION", &foreign);
    let (well, text) = guest(&driver);
    assert!(!well, "{text}");
    broken(&text, "memory");
    fs::remove_dir_all(folder).unwrap();
}

/// What the host's doctor says.
fn host(driver: &Driver, socket: &Path, configuration: &str) -> (bool, String) {
    let folder = scratch_folder("doctor").unwrap();
    let file = folder.join("renderer.toml");
    fs::write(&file, configuration).unwrap();
    let mut command: Command = driver.command(products::control().unwrap());
    command
        .arg("--socket")
        .arg(format!("unix:{}", socket.display()))
        .arg("doctor")
        .arg("--config")
        .arg(&file);
    let output = child::run(&mut command, LIMIT).unwrap();
    fs::remove_dir_all(folder).unwrap();
    (output.status.success(), output.stdout)
}

#[test]
fn host_when_everything_works_is_healthy() {
    let native = Driver::lavapipe().unwrap();
    let renderer = Renderer::start(&native).unwrap();
    let listen = format!("listen = \"unix:{}\"", renderer.socket().display());
    let (well, text) = host(&native, &renderer.socket(), &listen);
    assert!(well, "{text}");
    for line in
        ["GPU            llvmpipe", "memory         ", "renderer       answers", "listens at     unix:"]
    {
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

#[test]
fn host_when_a_link_is_broken_says_which() {
    let native = Driver::lavapipe().unwrap();
    let renderer = Renderer::start(&native).unwrap();
    let (well, text) = host(&native, &renderer.socket(), "colour = 1");
    assert!(!well && broken(&text, "configuration").contains("colour"), "{text}");
    let (well, text) = host(&native, &renderer.socket(), "device = \"voodoo\"");
    assert!(!well && broken(&text, "GPU").contains("voodoo"), "{text}");
    let none = Driver::manifest("none", "/nonexistent.json".into());
    let (well, text) = host(&none, &renderer.socket(), "");
    assert!(!well && broken(&text, "GPU").contains("install"), "{text}");
    let (well, text) = host(&native, Path::new("/nonexistent.sock"), "");
    assert!(!well && broken(&text, "renderer").contains("start it"), "{text}");
    let elsewhere = "listen = \"unix:/nonexistent/vw.sock\"";
    let (well, text) = host(&native, &renderer.socket(), elsewhere);
    assert!(!well && broken(&text, "listeners").contains("/nonexistent/vw.sock"), "{text}");
}
