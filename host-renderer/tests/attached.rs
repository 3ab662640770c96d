//! Regions that virtual machines have as devices: slices, guests that are kept apart, guests and sessions that are killed. The
//! device is the broker's file, opened by its path; no GPU: `--null`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::{Folder, Guest, Renderer, allocate_payload, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use vw_host_renderer::config::{RegionConfig, Size};
use vw_host_renderer::control::{self, RegionInfo};
use vw_host_renderer::session::greet::VERSIONS;
use vw_transport::{Address, Choice, Connection, Dial, Hello, Versions};
use vw_wire_protocol::record::op;

const MIB: u64 = 1 << 20;

/// A renderer with two doors, `vw.sock` and `b.sock`.
fn renderer() -> Renderer {
    let folder = Folder::new();
    let second = format!("unix:{}", folder.file("b.sock").display());
    let renderer = Renderer::start_in(folder, &["--listen", &second]);
    assert!(renderer.logs(&["listens"]), "{}", renderer.log());
    renderer
}

fn region(renderer: &Renderer, name: &str, mib: u64, guest: Option<&str>) -> RegionInfo {
    let guest = guest.map(|socket| format!("unix:{}", renderer.folder.file(socket).display()));
    let config = RegionConfig { name: name.to_owned(), size: Size(mib * MIB), guest };
    control::region(&renderer.socket(), config).unwrap()
}

fn state(renderer: &Renderer, name: &str) -> RegionInfo {
    let regions = control::regions(&renderer.socket()).unwrap();
    regions.into_iter().find(|region| region.name == name).unwrap()
}

/// Dials one of the doors with a region as the device.
fn dial(renderer: &Renderer, socket: &str, device: &str, versions: Versions) -> Result<Connection, String> {
    let dial = Dial {
        memory: Choice::Attached,
        device: Some(device.into()),
        timeout: common::PATIENCE,
        ..Dial::new(Address::Unix(renderer.folder.file(socket)))
    };
    dial.connect(&Hello::new(versions, "vm")).map_err(|error| error.to_string())
}

fn guest(renderer: &Renderer, socket: &str, region: &RegionInfo) -> Guest {
    Guest::over(dial(renderer, socket, &region.path, VERSIONS).unwrap())
}

/// Uses memory and leaves bytes in it.
fn work(guest: &mut Guest, byte: u8) {
    assert_eq!(guest.create_device(), Ok(0));
    assert_eq!(guest.allocate(1, 0), Ok(0));
    // SAFETY: the window is larger, and only this thread uses it.
    unsafe { guest.connection.region.window().0.as_ptr().write_bytes(byte, 8192) };
}

#[test]
fn sessions_when_several_share_a_region_are_kept_apart_and_leave_nothing() {
    let renderer = renderer();
    let region = region(&renderer, "vm", 256, None);
    let mut guests: Vec<_> = (0..3).map(|_| guest(&renderer, "vw.sock", &region)).collect();
    guests.iter_mut().zip(1..).for_each(|(guest, byte)| work(guest, byte));
    for (guest, byte) in guests.iter().zip(1_u8..) {
        // SAFETY: as above.
        assert_eq!(unsafe { guest.connection.region.window().0.as_ptr().add(8191).read() }, byte);
    }
    let full = state(&renderer, "vm");
    assert_eq!(full.sessions, 3);
    assert!(full.used > 200 * MIB && full.resident > region.resident, "{full:?}");
    guests.remove(0);
    assert!(wait_for(|| state(&renderer, "vm").sessions == 2), "{}", renderer.log());
    // The others go on.
    for guest in &mut guests {
        assert_eq!(guest.allocate(2, 16384), Ok(0));
    }
    drop(guests);
    let empty = |region: &RegionInfo| (region.sessions, region.used, region.resident);
    assert!(wait_for(|| empty(&state(&renderer, "vm")) == (0, 0, region.resident)), "{}", renderer.log());
    assert!(renderer.logs(&["everything of the guest is freed"]));
    control::forget_region(&renderer.socket(), "vm").unwrap();
    assert_eq!(control::regions(&renderer.socket()).unwrap(), []);
}

#[test]
fn region_when_it_is_used_up_says_so_on_both_sides() {
    let renderer = renderer();
    let region = region(&renderer, "vm", 64, None);
    let first = guest(&renderer, "vw.sock", &region);
    let refusal = dial(&renderer, "vw.sock", &region.path, VERSIONS).unwrap_err();
    assert!(refusal.contains("no room left"), "{refusal}");
    assert!(renderer.logs(&["refused", "no room left"]), "{}", renderer.log());
    drop(first);
    assert!(wait_for(|| dial(&renderer, "vw.sock", &region.path, VERSIONS).is_ok()), "{}", renderer.log());
}

#[test]
fn region_when_swapped_between_guests_is_named_on_both_sides() {
    let renderer = renderer();
    let first = region(&renderer, "first", 128, Some("vw.sock"));
    let second = region(&renderer, "second", 128, Some("b.sock"));
    let anybodys = region(&renderer, "anybody", 128, None).path;
    for (socket, device) in [("vw.sock", &second), ("b.sock", &first)] {
        let refusal = dial(&renderer, socket, &device.path, VERSIONS).unwrap_err();
        let named = |text: &str| text.contains("another guest") && text.contains(&device.id.to_string());
        assert!(named(&refusal), "{refusal}");
        assert!(
            wait_for(|| renderer.log().lines().any(|l| l.contains("refused") && named(l))),
            "{}",
            renderer.log()
        );
    }
    let _owner = guest(&renderer, "b.sock", &second);
    // A region of nobody's is one guest's at a time.
    let one = dial(&renderer, "vw.sock", &anybodys, VERSIONS).unwrap();
    assert!(dial(&renderer, "b.sock", &anybodys, VERSIONS).unwrap_err().contains("another guest"));
    drop(one);
    assert!(wait_for(|| dial(&renderer, "b.sock", &anybodys, VERSIONS).is_ok()), "{}", renderer.log());
}

#[test]
fn region_when_of_another_renderer_is_named_on_both_sides() {
    let (mine, other) = (renderer(), renderer());
    let foreign = region(&other, "vm", 128, None);
    let refusal = dial(&mine, "vw.sock", &foreign.path, VERSIONS).unwrap_err();
    assert!(refusal.contains("none of this renderer's"), "{refusal}");
    assert!(mine.logs(&["refused", "none of this renderer's"]), "{}", mine.log());
    let refusal = dial(&mine, "vw.sock", "/dev/null", VERSIONS).unwrap_err();
    assert!(refusal.contains("/dev/null"), "{refusal}");
    assert!(mine.logs(&["refused", "/dev/null"]), "{}", mine.log());
    let refusal = dial(&mine, "vw.sock", &foreign.path, Versions::new(1, 2)).unwrap_err();
    assert!(refusal.contains("versions differ"), "{refusal}");
    assert!(mine.logs(&["versions differ"]), "{}", mine.log());
}

#[test]
fn guest_when_it_announces_memory_outside_of_its_slice_ends_alone() {
    let renderer = renderer();
    let region = region(&renderer, "vm", 256, None);
    let mut other = guest(&renderer, "vw.sock", &region);
    work(&mut other, 7);
    let size = |guest: &Guest| guest.connection.region.window().1 as u64;
    for beyond in [|size| size, |_| u64::MAX - 8191, |size| size - 4096] {
        let mut guest = guest(&renderer, "vw.sock", &region);
        assert_eq!(guest.create_device(), Ok(0));
        let offset = beyond(size(&guest));
        assert!(guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 8192, offset, 1)).is_err());
        let words = guest.connection.peer.last_words().unwrap_or_default();
        assert!(words.contains("protocol violation") && words.contains("whole pages"), "{words}");
        assert!(renderer.logs(&["session over", "whole pages"]), "{}", renderer.log());
        // Its slice has to come back before there is room for the next.
        drop(guest);
        assert!(wait_for(|| state(&renderer, "vm").sessions == 1), "{}", renderer.log());
    }
    assert_eq!(other.allocate(2, 16384), Ok(0));
    // SAFETY: the window is larger, and only this thread uses it.
    assert_eq!(unsafe { other.connection.region.window().0.as_ptr().read() }, 7);
}

#[test]
fn slice_when_its_session_was_killed_stays_until_the_guest_lets_go() {
    let renderer = renderer();
    let region = region(&renderer, "vm", 256, None);
    let mut guest = guest(&renderer, "vw.sock", &region);
    work(&mut guest, 9);
    let used = state(&renderer, "vm").used;
    for pid in renderer.children() {
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    }
    assert!(guest.is_ended());
    assert!(wait_for(|| renderer.children().is_empty()));
    let left = state(&renderer, "vm");
    assert_eq!((left.sessions, left.used), (1, used));
    // The program may still read and write what it has mapped, and harms nobody.
    // SAFETY: as above.
    unsafe {
        let byte = guest.connection.region.window().0.as_ptr();
        assert_eq!(byte.read(), 9);
        byte.write(10);
    }
    drop(guest);
    assert!(wait_for(|| state(&renderer, "vm").sessions == 0), "{}", renderer.log());
    assert_eq!(state(&renderer, "vm").resident, region.resident);
}

#[test]
fn regions_when_in_the_configuration_are_there_from_the_start() {
    let folder = Folder::new();
    let config = folder.file("vw.toml");
    std::fs::write(&config, "[[region]]\nname = \"vm-1\"\nsize = \"64 MiB\"\n").unwrap();
    let renderer = Renderer::start_in(folder, &["--config", config.to_str().unwrap()]);
    assert!(renderer.logs(&["listens"]), "{}", renderer.log());
    let region = state(&renderer, "vm-1");
    assert_eq!((region.size, region.guest.as_deref()), (64 * MIB, None));
    assert!(Path::new(&region.path).exists());
    guest(&renderer, "vw.sock", &region).create_device().unwrap();
    let error = control::region(
        &renderer.socket(),
        RegionConfig { name: "vm-1".to_owned(), size: Size(128 * MIB), guest: None },
    );
    assert!(error.unwrap_err().to_string().contains("already"));
}
