//! Sessions whose guest shares no pages with the host.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ash::vk;
use vw_host_renderer::config::Limits;
use vw_host_renderer::gpu::Gpu;
use vw_host_renderer::gpu::import::Import;
use vw_host_renderer::session::Session;
use vw_host_renderer::session::greet::VERSIONS;
use vw_host_renderer::session::stats::Stats;
use vw_transport::handshake::{Message, PREAMBLE_SIZE, Preamble, feature};
use vw_transport::{Address, Choice, Dial, Hello, Limits as Sizes};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::op;

use crate::common::{Guest, Renderer, allocate_payload, dispatchable, ret, wait_for};

fn connect(renderer: &Renderer) -> Guest {
    let host = Address::Unix(renderer.socket());
    let dial = Dial { memory: Choice::Stream, ..Dial::new(host) };
    Guest::over(dial.connect(&Hello::new(VERSIONS, "test-guest")).unwrap())
}

/// `VK_SUCCESS` as an answer.
const SUCCESS: [u8; 4] = [0; 4];

#[test]
fn session_when_memory_is_shown_goes_on_and_when_there_is_none_ends() {
    let renderer = Renderer::start(&[]);
    let mut guest = connect(&renderer);
    assert_eq!(guest.create_device(), Ok(0));
    assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 8192, 0, 1)).unwrap()), 0);
    assert_eq!(guest.call(op::SHOW_MEMORY, &1_u64.to_le_bytes()), Ok(SUCCESS.to_vec()));
    assert_eq!(guest.call(op::SHOW_MEMORY, &1_u64.to_le_bytes()), Ok(SUCCESS.to_vec()));
    // Freed pages are zero on both sides.
    let mirror = guest.connection.region.mirror().unwrap();
    let (window, _) = guest.connection.region.window();
    mirror.show(0, 8192);
    // SAFETY: the guest's own pages, which nobody else uses.
    unsafe { window.as_ptr().write(7) };
    mirror.settle();
    mirror.hide(0, 8192);
    guest.command(&commands::VK_FREE_MEMORY, &[dispatchable(1), 1, 0]).unwrap();
    let again = allocate_payload(1 | 1 << 32, 8192, 0, 1);
    assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &again).unwrap()), 0);
    // SAFETY: as above.
    assert_eq!(unsafe { window.as_ptr().read() }, 0);
    assert!(guest.call(op::SHOW_MEMORY, &1_u64.to_le_bytes()).is_err());
    assert!(renderer.logs(&["protocol violation", "cannot be shown: there is none"]), "{}", renderer.log());
}

#[test]
fn session_when_work_completes_sends_what_the_device_may_have_written_and_nothing_else() {
    let sizes = Sizes { arena_size: 0, window_size: 1 << 20, ..Sizes::default() };
    let (guest, host) = vw_transport::in_process::mirrored(&sizes, false).unwrap();
    let gpu = Gpu::open(true, None, "test").unwrap();
    let limits = Limits::default();
    let mut session =
        Session::new(&host, gpu, (Import::of_types(2, 4096), None), &limits, Arc::new(Stats::default()));
    let device = Arc::clone(&host.region);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            session.serve(&host, &stop, None);
            host.peer.close("over");
        });
        let mut guest = Guest::over(guest);
        assert_eq!(guest.create_device(), Ok(0));
        assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 8192, 0, 1)).unwrap()), 0);
        for (id, usage) in [
            (1_u64, vk::BufferUsageFlags::UNIFORM_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC),
            (2, vk::BufferUsageFlags::STORAGE_BUFFER),
        ] {
            let info = vk::BufferCreateInfo::default().size(4096).usage(usage);
            let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
            guest.command(&commands::VK_CREATE_BUFFER, &args).unwrap();
            let bind = [dispatchable(1), id, 1, (id - 1) * 4096];
            guest.command(&commands::VK_BIND_BUFFER_MEMORY, &bind).unwrap();
        }
        let ours = Arc::clone(&guest.connection.region);
        let seen = |at: usize| {
            // SAFETY: in the guest's window; what comes is there before what is waited for.
            unsafe { ours.window().0.as_ptr().add(at).read_volatile() }
        };
        let write = |at: usize, byte: u8| {
            // SAFETY: in the host's window, where nobody else writes.
            unsafe { device.window().0.as_ptr().add(at).write_volatile(byte) };
        };
        let mut finished = 0;
        let mut run = |guest: &mut Guest| {
            guest.submit(&[dispatchable(1), 0, 0, 0]).unwrap();
            finished += 1;
            assert!(wait_for(|| ours.control().completed(0) == finished));
        };
        write(4096, 5);
        run(&mut guest);
        assert_eq!(seen(4096), 0, "the program does not look there yet");
        assert_eq!(guest.call(op::SHOW_MEMORY, &1_u64.to_le_bytes()), Ok(SUCCESS.to_vec()));
        assert_eq!(seen(4096), 5, "what was written before");
        write(0, 6);
        write(8191, 7);
        run(&mut guest);
        assert_eq!((seen(0), seen(8191)), (0, 7));
        drop(guest);
    });
}

/// What a guest sends that shakes hands and then says what it likes.
fn hostile(renderer: &Renderer, bytes: &[u8]) {
    let mut stream = UnixStream::connect(renderer.socket()).unwrap();
    let hello = Hello { features: feature::STREAM, ..Hello::new(VERSIONS, "hostile") };
    stream.write_all(&Message::Hello(hello).encode()).unwrap();
    let mut start = [0; PREAMBLE_SIZE];
    stream.read_exact(&mut start).unwrap();
    let mut body = vec![0; Preamble::decode(&start).unwrap().body_length()];
    stream.read_exact(&mut body).unwrap();
    // The host may hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn frame(kind: u8, number: u16, payload: &[u8]) -> Vec<u8> {
    let [a, b] = number.to_le_bytes();
    [&[kind, 1, a, b][..], &(payload.len() as u32).to_le_bytes(), payload].concat()
}

#[test]
fn session_when_frames_are_wrong_ends_with_the_reason_and_others_go_on() {
    const RING: u8 = 5;
    const STATE: u8 = 8;
    const PAGES: u8 = 9;
    let renderer = Renderer::start(&[]);
    let mut witness = connect(&renderer);
    assert_eq!(witness.create_device(), Ok(0));
    for (bytes, reason) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "frame of unknown kind 71"),
        (frame(RING, 1, &[0; 8]), "frame number 1 where 0 should come"),
        (frame(RING, 0, &[0; 9]), "9 bytes where 0 of"),
        (frame(STATE, 0, &[0; 16]), "a guest does not send it"),
        (frame(PAGES, 0, &[0xFF; 8]), "in a window of"),
        (frame(PAGES, 0, &[1; 3]), "half of a run"),
        // A frame that is right, and a record in it that is not.
        (frame(RING, 0, &[0; 8]), "record at 0 of the command ring"),
    ] {
        hostile(&renderer, &bytes);
        assert!(renderer.logs(&["session ended", "protocol violation", reason]), "{}", renderer.log());
    }
    // Nothing at all, and half of something.
    hostile_and_gone(&renderer, &[]);
    hostile_and_gone(&renderer, &frame(RING, 0, &[0; 8])[..12]);
    assert_eq!(ret(&witness.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 4096, 0, 1)).unwrap()), 0);
    assert!(wait_for(|| renderer.children().len() == 1), "{}", renderer.log());
}

/// As [`hostile`], and then it is gone.
fn hostile_and_gone(renderer: &Renderer, bytes: &[u8]) {
    let guest = connect(renderer);
    let before = renderer.children().len();
    drop(guest);
    assert!(wait_for(|| renderer.children().len() < before));
    let mut stream = UnixStream::connect(renderer.socket()).unwrap();
    let hello = Hello { features: feature::STREAM, ..Hello::new(VERSIONS, "hostile") };
    stream.write_all(&Message::Hello(hello).encode()).unwrap();
    stream.write_all(bytes).unwrap();
}
