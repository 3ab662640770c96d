//! Frames that guests present, seen from the host. No GPU: the null device, which finishes everything at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use ash::vk;
use common::{Guest, PATIENCE, Renderer, UNSEEN, allocate_payload, dispatchable, violates, wait_for};
use vw_host_renderer::control::{self, Pictures};
use vw_host_renderer::frames::picture::Format;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::{MAX_FRAMES, MAX_SHOWN, op};

/// What a `FRAME` says.
#[derive(Clone, Copy)]
struct Frame {
    queue: u64,
    memory: u64,
    offset: u64,
    size: (u32, u32),
    row: u32,
    format: vk::Format,
}

const FRAME: Frame =
    Frame { queue: 1, memory: 1, offset: 16, size: (3, 2), row: 16, format: vk::Format::R8G8B8A8_UNORM };

impl Frame {
    fn payload(self) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [self.queue, 5, self.memory, self.offset].iter().flat_map(|word| word.to_le_bytes()).collect();
        let format = self.format.as_raw().cast_unsigned();
        bytes.extend([self.size.0, self.size.1, self.row, format].iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }
}

fn shown(latencies: &[u64], count: u32) -> Vec<u8> {
    let mut bytes = count.to_le_bytes().to_vec();
    bytes.extend(latencies.iter().flat_map(|latency| latency.to_le_bytes()));
    bytes
}

/// A device, a queue, and memory 1 of two pages at the start of the window.
fn prepare(guest: &mut Guest) {
    guest.create_device().unwrap();
    guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 8192, 0, 1)).unwrap();
}

fn present(guest: &mut Guest, frame: Frame, byte: u8) {
    guest.send(op::FRAME, &frame.payload()).unwrap();
    // The frame before may be looked at until the host has taken the record.
    guest.call(op::FACTS, &[]).unwrap();
    // SAFETY: the window is larger.
    unsafe { guest.connection.region.window().0.add(frame.offset as usize).write_bytes(byte, 64) };
    guest.submit(&[dispatchable(1), 0, 0, 0]).unwrap();
}

#[test]
fn frame_when_what_is_said_of_it_is_wrong_ends_the_session() {
    let wrong = [
        (Frame { queue: 9, ..FRAME }, "without a queue"),
        (Frame { memory: 7, ..FRAME }, "which is none"),
        (Frame { memory: 2, ..FRAME }, "which is none"),
        (Frame { offset: 8192 - 27, ..FRAME }, "of 8192 bytes"),
        (Frame { offset: u64::MAX - 3, ..FRAME }, "of 8192 bytes"),
        (Frame { size: (0, 2), ..FRAME }, "with rows"),
        (Frame { size: (3, 0), ..FRAME }, "with rows"),
        (Frame { size: (3, 40_000), ..FRAME }, "with rows"),
        (Frame { row: 11, ..FRAME }, "with rows of 11"),
        (Frame { row: u32::MAX, ..FRAME }, "of 8192 bytes"),
        (Frame { format: vk::Format::R16_UINT, ..FRAME }, "of format"),
    ];
    for (frame, expected) in wrong {
        let text = violates(|guest| {
            prepare(guest);
            // Memory that the guest does not see.
            guest.call(op::ALLOCATE_MEMORY, &allocate_payload(2, 8192, UNSEEN, 0)).unwrap();
            let _ = guest.send(op::FRAME, &frame.payload());
            let _ = guest.call(op::FACTS, &[]);
        });
        assert!(text.contains(expected), "{text}");
    }
    let text = violates(|guest| {
        prepare(guest);
        for _ in 0..=MAX_FRAMES {
            let _ = guest.send(op::FRAME, &FRAME.payload());
        }
        let _ = guest.call(op::FACTS, &[]);
    });
    assert!(text.contains("of one submission"), "{text}");
    for payload in [shown(&[], MAX_SHOWN as u32 + 1), shown(&[1], 2)] {
        violates(|guest| {
            let _ = guest.send(op::SHOWN, &payload);
            let _ = guest.call(op::FACTS, &[]);
        });
    }
}

#[test]
fn frames_when_presented_are_seen_and_measured_on_the_host() {
    let renderer = Renderer::start(&[]);
    let mut guest = renderer.connect();
    prepare(&mut guest);
    let mut pictures = Pictures::of(&renderer.socket(), 1, None).unwrap();
    for (serial, byte) in [(1, 11), (2, 22)] {
        present(&mut guest, FRAME, byte);
        let picture = pictures.next(PATIENCE).unwrap();
        assert_eq!((picture.serial, picture.surface.get()), (serial, 1));
        assert_eq!((picture.width, picture.height, picture.format), (3, 2, Format::Rgba));
        assert_eq!(picture.texels, [byte; 24]);
    }
    // One who comes later sees the last frame.
    let last = Pictures::of(&renderer.socket(), 1, None).unwrap().next(PATIENCE).unwrap();
    assert_eq!((last.serial, last.texels), (2, vec![22; 24]));
    guest.send(op::SHOWN, &shown(&[1_000_000, 3_000_000], 2)).unwrap();
    guest.call(op::FACTS, &[]).unwrap();
    let summary = control::statistics(&renderer.socket(), 1).unwrap();
    assert_eq!((summary.frames, summary.done.count, summary.interval.count), (2, 2, 1));
    assert!(summary.shown.count == 2 && summary.shown.max.abs_diff(3_000_000) < 50_000, "{summary:?}");
    // What is freed is not seen any more.
    guest.command(&commands::VK_FREE_MEMORY, &[dispatchable(1), 1, 0]).unwrap();
    guest.call(op::FACTS, &[]).unwrap();
    let nothing = Pictures::of(&renderer.socket(), 1, None).unwrap().next(Duration::from_millis(300));
    assert_eq!(nothing.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(guest);
    assert_eq!(pictures.next(PATIENCE).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn session_when_there_is_none_is_an_error_with_words() {
    let renderer = Renderer::start(&[]);
    let socket = renderer.socket();
    let error = Pictures::of(&socket, 7, None).unwrap().next(PATIENCE).unwrap_err().to_string();
    assert_eq!(error, "there is no session 7");
    assert_eq!(control::statistics(&socket, 7).unwrap_err().to_string(), "there is no session 7");
    // Those who say nothing keep nobody.
    let silent: Vec<_> = (0..100).filter_map(|_| UnixStream::connect(control::path(&socket)).ok()).collect();
    (&silent[0]).write_all(b"pict").unwrap();
    assert!(wait_for(|| control::sessions(&socket).is_ok()));
}

#[test]
fn pictures_when_written_by_vwctl_are_files() {
    let renderer = Renderer::start(&[]);
    let mut guest = renderer.connect();
    prepare(&mut guest);
    present(&mut guest, FRAME, 200);
    let vwctl = |arguments: &[&str]| {
        let socket = format!("unix:{}", renderer.socket().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_vwctl"));
        let output = command.args(["--socket", &socket]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let file = renderer.folder.file("shot.png");
    assert!(vwctl(&["screenshot", "1", file.to_str().unwrap()]).contains("frame 1: 3 x 2, surface 1"));
    let file = std::io::BufReader::new(std::fs::File::open(file).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut bytes).unwrap();
    assert_eq!(bytes, [200; 18]);
    let folder = renderer.folder.file("frames");
    vwctl(&["record", "1", folder.to_str().unwrap(), "--frames", "1", "--raw"]);
    assert_eq!(std::fs::read(folder.join("00000001-3x2.rgba")).unwrap(), [200; 24]);
    assert!(vwctl(&["frames", "1"]).starts_with("1 frames"));
}
