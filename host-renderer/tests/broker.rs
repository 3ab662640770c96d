//! The broker over a real socket: processes, sockets, limits. No GPU: `--null`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use common::{Folder, Guest, Renderer, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use vw_host_renderer::session::greet::VERSIONS;
use vw_transport::Hello;
use vw_transport::handshake::Message;
use vw_wire_protocol::record::op;

#[test]
fn broker_when_terminated_ends_sessions_and_removes_its_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut renderer = Renderer::start(&[]);
        let guest = renderer.connect();
        let children = renderer.children();
        assert_eq!(children.len(), 1);
        renderer.signal(signal);
        let status = renderer.wait().expect("the broker ends");
        assert!(status.success(), "{status}\n{}", renderer.log());
        assert!(!renderer.socket().exists());
        assert!(!Path::new(&format!("/proc/{}", children[0])).exists());
        assert!(guest.is_ended());
        assert!(renderer.logs(&["session ended", "stopped with the daemon"]), "{}", renderer.log());
    }
}

#[test]
fn broker_when_killed_takes_its_sessions_along() {
    let mut renderer = Renderer::start(&[]);
    let _guest = renderer.connect();
    let children = renderer.children();
    renderer.signal(Signal::KILL);
    renderer.wait().expect("the broker ends");
    // Nobody may reap it in a container without an init process: a zombie is an end, too.
    let ended = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('Z')))
    };
    assert!(wait_for(|| children.iter().all(|pid| ended(*pid))));
}

#[test]
fn socket_when_stale_is_replaced_and_when_live_refused() {
    let folder = Folder::new();
    drop(UnixListener::bind(folder.file("vw.sock")).unwrap());
    assert!(folder.file("vw.sock").exists());
    let renderer = Renderer::start_in(folder, &[]);
    assert!(renderer.logs(&["listens"]), "{}", renderer.log());
    let mut guest = renderer.connect();

    let mut second = Renderer::start_in(renderer.folder.clone(), &[]);
    let status = second.wait().expect("the second ends");
    assert!(!status.success());
    assert!(second.log().contains("another renderer already listens"), "{}", second.log());
    assert!(guest.call(op::FACTS, &[]).is_ok());
    assert!(renderer.socket().exists());
}

#[test]
fn guest_when_the_renderer_is_full_is_refused_with_the_reason() {
    let renderer = Renderer::start(&["--max-sessions", "2"]);
    let first = renderer.connect();
    let _second = renderer.connect();
    let refusal = Guest::connect(&renderer.socket()).err().expect("no third session");
    assert!(refusal.contains("max_sessions"), "{refusal}");
    drop(first);
    assert!(wait_for(|| Guest::connect(&renderer.socket()).is_ok()), "{}", renderer.log());
}

#[test]
fn guest_when_a_process_waits_is_served_by_it_and_another_one_waits() {
    let renderer = Renderer::start(&["--warm", "1"]);
    assert!(wait_for(|| renderer.children().len() == 1), "{}", renderer.log());
    let waiting = renderer.children();
    let mut guest = renderer.connect();
    assert!(guest.call(op::FACTS, &[]).is_ok());
    assert!(renderer.children().contains(&waiting[0]));
    assert!(wait_for(|| renderer.children().len() == 2), "{}", renderer.log());
    drop(guest);
    assert!(wait_for(|| !renderer.children().contains(&waiting[0])));
    assert_eq!(renderer.children().len(), 1);
}

#[test]
fn guest_when_the_waiting_process_has_died_is_served_all_the_same() {
    let renderer = Renderer::start(&["--warm", "2"]);
    assert!(wait_for(|| renderer.children().len() == 2), "{}", renderer.log());
    for pid in renderer.children() {
        kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    }
    assert!(wait_for(|| renderer.children().is_empty()), "{}", renderer.log());
    let mut guest = renderer.connect();
    assert!(guest.call(op::FACTS, &[]).is_ok(), "{}", renderer.log());
    // Not over and over without a guest, but with the next one.
    assert!(wait_for(|| renderer.children().len() == 3), "{}", renderer.log());
}

#[test]
fn processes_that_wait_when_the_broker_ends_end_with_it() {
    let mut renderer = Renderer::start(&["--warm", "3"]);
    assert!(wait_for(|| renderer.children().len() == 3), "{}", renderer.log());
    let waiting = renderer.children();
    renderer.signal(Signal::TERM);
    assert!(renderer.wait().expect("the broker ends").success(), "{}", renderer.log());
    assert!(waiting.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    // They are nobody's session.
    assert!(!renderer.log().contains("session ended"), "{}", renderer.log());
}

#[test]
fn guest_when_its_versions_differ_is_refused_with_both() {
    let renderer = Renderer::start(&[]);
    let mut versions = VERSIONS;
    versions.table_hash ^= 1;
    let error = vw_transport::connect(renderer.socket(), &Hello::new(versions, "old")).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains(&format!("{:016x}", VERSIONS.table_hash)), "{text}");
    assert!(text.contains(&format!("{:016x}", versions.table_hash)), "{text}");
    assert!(renderer.logs(&["session ended", "refused"]), "{}", renderer.log());
}

#[test]
fn guest_when_it_disappears_has_everything_freed() {
    let renderer = Renderer::start(&[]);
    let mut guest = renderer.connect();
    assert_eq!(guest.create_device(), Ok(0), "{}", renderer.log());
    assert_eq!(guest.allocate(1, 0), Ok(0));
    for id in 1..=10 {
        guest.create_buffer(id).unwrap();
    }
    assert!(guest.call(op::FACTS, &[]).is_ok());
    drop(guest);
    assert!(wait_for(|| renderer.children().is_empty()));
    assert!(
        renderer.logs(&[
            "everything of the guest is freed",
            "Buffer 10",
            "DeviceMemory 1",
            "memory_bytes=8192"
        ]),
        "{}",
        renderer.log()
    );
    assert!(
        renderer.logs(&["session ended", "program=\"test-guest\"", "guest disconnected"]),
        "{}",
        renderer.log()
    );
}

#[test]
fn control_when_asked_lists_the_sessions() {
    let renderer = Renderer::start(&[]);
    let mut guest = renderer.connect();
    guest.create_device().unwrap();
    assert_eq!(guest.allocate(1, 0), Ok(0));
    let ask = || vw_host_renderer::control::sessions(&renderer.socket()).unwrap();
    assert!(wait_for(|| ask().first().is_some_and(|session| session.memory == 8192)), "{:?}", ask());
    let sessions = ask();
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].number, sessions[0].pid), (1, renderer.children()[0]));
    assert_eq!((sessions[0].guest_pid, sessions[0].program.as_str()), (std::process::id(), "test-guest"));
    // The device, its queue, the memory.
    assert_eq!(sessions[0].objects, 3);
    drop(guest);
    assert!(wait_for(|| ask().is_empty()));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vwctl"))
        .args(["--socket", &format!("unix:{}", renderer.socket().display()), "status"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"SESSION"), "{output:?}");
}

#[test]
fn memory_when_freed_gives_its_pages_back() {
    let renderer = Renderer::start(&[]);
    let mut guest = renderer.connect();
    guest.create_device().unwrap();
    assert_eq!(guest.allocate(1, 4096), Ok(0));
    // SAFETY: the window is larger than 12288 bytes.
    let byte = unsafe { guest.connection.region.window().0.as_ptr().add(5000) };
    // SAFETY: as above.
    unsafe { byte.write_volatile(7) };
    guest
        .command(&vw_wire_protocol::generated::commands::VK_FREE_MEMORY, &[common::dispatchable(1), 1, 0])
        .unwrap();
    assert!(guest.call(op::FACTS, &[]).is_ok());
    // SAFETY: as above.
    assert_eq!(unsafe { byte.read_volatile() }, 0);
    // The range and the id (with a new generation) are free again.
    assert_eq!(guest.allocate(1 | 1 << 32, 4096), Ok(0));
}

/// A guest that leaves at a moment that `number` chooses.
fn leave_early(socket: &Path, number: usize) {
    let moment = number % 9;
    if moment < 4 {
        let Ok(mut stream) = UnixStream::connect(socket) else { return };
        let hello = Message::Hello(Hello::new(VERSIONS, "leaver")).encode();
        let _ = match moment {
            0 => Ok(()),
            1 => stream.write_all(&hello[..hello.len() / 2]),
            2 => stream.write_all(&hello),
            _ => stream.write_all(&[number as u8; 100]),
        };
        return;
    }
    let Ok(mut guest) = Guest::connect(socket) else { return };
    if moment > 4 {
        let _ = guest.create_device();
    }
    match moment {
        6 => drop(guest.allocate(1, 0)),
        7 => drop(guest.create_buffer(1)),
        // In the middle of a record.
        8 => drop(guest.push(&[1, 0, 0, 0, 0, 1, 0, 0])),
        _ => {}
    }
}

#[test]
fn broker_when_1000_guests_die_at_any_moment_leaks_nothing() {
    let renderer = Renderer::start(&[]);
    let socket = renderer.socket();
    let round = |count: usize| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let socket = &socket;
                scope
                    .spawn(move || (thread..count).step_by(4).for_each(|number| leave_early(socket, number)));
            }
        });
        assert!(wait_for(|| renderer.children().is_empty()), "{:?}\n{}", renderer.children(), renderer.log());
    };
    round(100);
    let (descriptors, memory) = (renderer.descriptors(), renderer.memory());
    round(900);
    assert_eq!(renderer.descriptors(), descriptors);
    let grown = renderer.memory().saturating_sub(memory);
    assert!(grown < 512, "{grown} KiB more");
    let mut guest = renderer.connect();
    assert!(guest.call(op::FACTS, &[]).is_ok());
}
