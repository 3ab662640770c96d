//! Regions that are part of a device, over a socket that nothing but bytes passes: the device is the daemon's file, opened by a
//! path. Each side maps it for itself and sleeps on futexes of its own, as on two kernels.
#![cfg(not(loom))]
#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{TempDir, VERSIONS, hello, offer};
use vw_transport::attached::{Device, DeviceError, FIRST_SLICE, Memory, Place};
use vw_transport::connection::accept_handshake_within;
use vw_transport::handshake::{Message, PREAMBLE_SIZE, Preamble, Versions, Welcome, feature};
use vw_transport::{
    AcceptError, Address, Choice, ConnectError, Connection, Consumer, Dial, Grant, Hello, Layout, Limits,
    Listener, Liveness, Offer, Producer, Spin, Woken, accept_handshake,
};

const SIZE: u64 = 32 << 20;

/// How long something that is a matter of milliseconds may take on a machine with too much to do.
const SOON: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits {
        ring_size: 2 << 20,
        reply_size: 1 << 20,
        arena_size: 0,
        window_size: 1 << 20,
        ..Limits::default()
    }
}

fn length() -> u64 {
    Layout::in_device(&limits()).unwrap().total_size() as u64
}

/// What the device is to a guest on the same machine.
fn device(memory: &Memory) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), memory.as_fd().as_raw_fd()).into()
}

fn grant(memory: &Memory, offset: u64) -> Offer {
    Offer { memory: Grant::Attached(memory.slice(offset, length()).unwrap()), limits: limits(), ..offer() }
}

/// Serves one guest with what `serve` makes of its connection, and lets `device` be its device.
fn dial<T: Send + 'static>(
    device: PathBuf,
    serve: impl FnOnce(UnixStream) -> T + Send + 'static,
) -> (Result<Connection, ConnectError>, T) {
    let dir = TempDir::new();
    let listener = Listener::bind(dir.socket()).unwrap();
    let host: JoinHandle<T> = std::thread::spawn(move || serve(listener.accept().unwrap()));
    let dial = Dial {
        memory: Choice::Attached,
        device: Some(device),
        timeout: SOON,
        ..Dial::new(Address::Unix(dir.socket()))
    };
    let guest = dial.connect(&hello());
    (guest, host.join().unwrap())
}

fn connected(memory: Memory) -> (Connection, Connection) {
    let path = device(&memory);
    let (guest, host) = dial(path, move |stream| {
        accept_handshake(stream, VERSIONS, |hello| {
            assert_eq!(hello.regions, [memory.id()]);
            assert_eq!(hello.features & feature::MEMORY, feature::ATTACHED);
            Ok(grant(&memory, FIRST_SLICE))
        })
        .unwrap()
    });
    (guest.unwrap(), host)
}

/// Somebody else notices that the other side is gone: who sleeps wakes by a bell, or never.
struct Awaited;

impl Liveness for Awaited {
    fn alive(&self) -> bool {
        true
    }

    fn ask_every(&self) -> Option<Duration> {
        None
    }
}

#[test]
fn sides_when_they_see_the_same_pages_wake_each_other_by_frames_alone() {
    const CALLS: u32 = 200;
    let (guest, host) = connected(Memory::create(SIZE).unwrap());
    let server = std::thread::spawn(move || {
        let mut consumer = Consumer::new(host.region.clone());
        consumer.set_spin(Spin::off());
        let stop = AtomicBool::new(false);
        for call in 0..CALLS {
            assert!(consumer.wait(&Awaited, &stop).unwrap());
            let record = consumer.next().unwrap().unwrap();
            assert_eq!(record.word, 8 << 32 | u64::from(call));
            consumer.release();
            host.region.control().post_reply(call);
        }
        host.region.control().wakes()
    });
    let mut producer = Producer::new(guest.region.clone(), guest.peer.clone());
    let control = guest.region.control();
    for call in 0..CALLS {
        let before = control.reply_seq();
        let space = producer.reserve(8).unwrap();
        // SAFETY: the space has at least 8 bytes, which this thread alone writes.
        unsafe { space.ptr.cast::<u64>().write(8 << 32 | u64::from(call)) };
        producer.commit(8);
        producer.publish();
        let deadline = Some(Instant::now() + SOON);
        let woken =
            control.reply().wait_until(&Spin::off(), deadline, &Awaited, || control.reply_seq() != before);
        assert_eq!(woken, Ok(Woken::Ready), "nobody rings");
        assert_eq!(control.reply_len(), call);
    }
    let wakes = server.join().unwrap();
    assert!(wakes.doorbells > 0 && wakes.replies > 0, "nobody has slept: {wakes:?}");
    let link = guest.peer.link().unwrap();
    assert!(link.sent().frames >= u64::from(wakes.doorbells.min(1)) && link.received().frames > 0);
}

#[test]
fn side_when_the_other_one_is_gone_notices_and_hears_why() {
    let (guest, host) = connected(Memory::create(SIZE).unwrap());
    assert!(guest.peer.alive() && host.peer.alive());
    host.peer.close("protocol violation: test");
    let start = Instant::now();
    let control = guest.region.control();
    let waited = control.reply().wait_until(&Spin::off(), None, &*guest.peer, || false);
    assert!(waited.is_err() && start.elapsed() < SOON);
    assert_eq!(guest.peer.last_words().as_deref(), Some("protocol violation: test"));
    drop(guest);
    assert!(!host.peer.alive());
}

#[test]
fn sessions_when_they_share_a_region_have_slices_of_their_own() {
    let memory = Arc::new(Memory::create(SIZE).unwrap());
    let guests: Vec<_> = (0..2)
        .map(|i| {
            let host = Arc::clone(&memory);
            let (guest, host) = dial(device(&memory), move |stream| {
                accept_handshake(stream, VERSIONS, |_| Ok(grant(&host, FIRST_SLICE + i * length()))).unwrap()
            });
            (guest.unwrap(), host)
        })
        .collect();
    for (i, (guest, _)) in guests.iter().enumerate() {
        // SAFETY: the window is 1 MiB, and this thread alone uses it.
        unsafe { guest.region.window().0.as_ptr().write_bytes(i as u8 + 1, 1 << 20) };
        guest.region.control().lose_device(i as u32 + 1);
    }
    for (i, (_, host)) in guests.iter().enumerate() {
        // SAFETY: as above.
        let last = unsafe { host.region.window().0.as_ptr().add((1 << 20) - 1).read() };
        assert_eq!((last, host.region.control().device_lost()), (i as u8 + 1, Some(i as u32 + 1)));
    }
}

/// What both sides say of a host that answers with `answer`, and a device that is `device`.
fn refused(
    device: PathBuf,
    answer: impl FnOnce(&Hello) -> Result<Offer, String> + Send + 'static,
) -> (ConnectError, AcceptError) {
    let (guest, host) = dial(device, |stream| accept_handshake(stream, VERSIONS, answer));
    (guest.unwrap_err(), host.unwrap_err())
}

#[test]
fn device_when_it_is_of_no_use_is_named_on_both_sides() {
    let foreign = Memory::create(SIZE).unwrap();
    rustix::io::pwrite(&foreign, b"another!", 0).unwrap();
    let smaller = Memory::create(SIZE).unwrap();
    rustix::io::pwrite(&smaller, &(2 * SIZE).to_le_bytes(), 32).unwrap();
    let wrong = Memory::create(SIZE).unwrap();
    rustix::io::pwrite(&wrong, &5_u64.to_le_bytes(), 32).unwrap();
    for (memory, words) in [(foreign, "no header of vw"), (smaller, "its header says"), (wrong, "is damaged")]
    {
        let (guest, host) = refused(device(&memory), |hello| {
            assert_eq!(hello.regions, []);
            Err(vw_transport::connection::no_memory(hello))
        });
        assert!(matches!(guest, ConnectError::Device { .. }) && guest.to_string().contains(words), "{guest}");
        assert!(matches!(host, AcceptError::Refused { .. }) && host.to_string().contains(words), "{host}");
    }
}

#[test]
fn region_when_it_was_swapped_is_named_on_both_sides() {
    let (ours, theirs) = (Memory::create(SIZE).unwrap(), Memory::create(SIZE).unwrap());
    // The guest's device says that it is the host's region, and is another one.
    let mut header = [0; 48];
    rustix::io::pread(&ours, &mut header, 0).unwrap();
    rustix::io::pwrite(&theirs, &header, 0).unwrap();
    let (guest, host) = refused(device(&theirs), move |_| Ok(grant(&ours, FIRST_SLICE)));
    let swapped = matches!(&guest, ConnectError::Device { source: DeviceError::Swapped { .. }, .. });
    assert!(swapped && guest.to_string().contains("swapped"), "{guest}");
    assert!(matches!(host, AcceptError::Left { .. }) && host.to_string().contains("swapped"), "{host}");
    // The guest wrote nothing.
    let mut page = [0_u8; 4096];
    rustix::io::pread(&theirs, &mut page, FIRST_SLICE).unwrap();
    assert_eq!(page, [0; 4096]);
}

#[test]
fn slice_when_the_guest_has_no_such_region_or_it_is_outside_is_named_on_both_sides() {
    let (ours, theirs) = (Memory::create(SIZE).unwrap(), Memory::create(SIZE).unwrap());
    let path = device(&theirs);
    let (guest, host) = refused(path, move |_| Ok(grant(&ours, FIRST_SLICE)));
    assert!(matches!(guest, ConnectError::Device { source: DeviceError::Unknown(_), .. }), "{guest}");
    assert!(host.to_string().contains("which this machine has not"), "{host}");

    let memory = Memory::create(SIZE).unwrap();
    let path = device(&memory);
    let outside = Place { offset: SIZE, ..bytemuck::Zeroable::zeroed() };
    let outside = Place { region: memory.id(), ..outside };
    let (guest, host) = dial(path, move |stream| liar(stream, outside));
    let guest = guest.unwrap_err();
    assert!(matches!(guest, ConnectError::Device { source: DeviceError::Outside { .. }, .. }), "{guest}");
    assert!(matches!(&host, Message::Goodbye { reason, .. } if reason.contains("hands out")), "{host:?}");
}

/// A host that hands out what it likes; returns what the guest answers.
fn liar(mut stream: UnixStream, place: Place) -> Message {
    receive(&mut stream).unwrap();
    let welcome = Welcome {
        versions: VERSIONS,
        features: feature::ATTACHED,
        layout: Layout::in_device(&limits()).unwrap(),
        pid: 1,
        host: String::new(),
        place: Some(place),
    };
    stream.write_all(&Message::Welcome(welcome).encode()).unwrap();
    receive(&mut stream).unwrap()
}

/// The next message; none when the stream ends.
fn receive(stream: &mut UnixStream) -> Option<Message> {
    let mut start = [0; PREAMBLE_SIZE];
    stream.read_exact(&mut start).ok()?;
    let preamble = Preamble::decode(&start).unwrap();
    let mut body = vec![0; preamble.body_length()];
    stream.read_exact(&mut body).ok()?;
    Some(Message::decode(&preamble, &body).unwrap())
}

#[test]
fn guest_when_it_does_not_see_the_pages_is_refused() {
    for answer in [Message::Proof(VERSIONS, [1, 2].into()), Message::Ready(VERSIONS)] {
        let memory = Memory::create(SIZE).unwrap();
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut hello = hello();
        hello.features = feature::ATTACHED;
        hello.regions = vec![memory.id()];
        guest.write_all(&Message::Hello(hello).encode()).unwrap();
        guest.write_all(&answer.encode()).unwrap();
        let error =
            accept_handshake_within(host, VERSIONS, SOON, |_| Ok(grant(&memory, FIRST_SLICE))).unwrap_err();
        assert!(matches!(error, AcceptError::Proof { .. }), "{error}");
        assert!(matches!(receive(&mut guest), Some(Message::Welcome(_))));
        let Some(Message::Refusal(refusal)) = receive(&mut guest) else { panic!("not a refusal") };
        assert!(refusal.message.contains("does not see the pages"), "{}", refusal.message);
    }
}

#[test]
fn guest_when_it_cannot_go_the_host_s_way_is_refused() {
    let (mut guest, host) = UnixStream::pair().unwrap();
    guest.write_all(&Message::Hello(Hello { features: feature::PASSED, ..hello() }).encode()).unwrap();
    let memory = Memory::create(SIZE).unwrap();
    let error =
        accept_handshake_within(host, VERSIONS, SOON, |_| Ok(grant(&memory, FIRST_SLICE))).unwrap_err();
    assert!(matches!(error, AcceptError::Refused { .. }), "{error}");
    let Some(Message::Refusal(refusal)) = receive(&mut guest) else { panic!("not a refusal") };
    assert!(refusal.message.contains("no way to have memory in common"), "{}", refusal.message);
}

/// A go-between that passes bytes on, and hangs up on both sides after so many of the guest's, or of the host's.
fn cut(guest: UnixStream, host: UnixStream, from_guest: usize, from_host: usize) {
    let pass = |mut from: UnixStream, mut to: UnixStream, most: usize| {
        std::thread::spawn(move || {
            let mut byte = [0];
            for _ in 0..most {
                if from.read(&mut byte).ok() != Some(1) || to.write_all(&byte).is_err() {
                    break;
                }
            }
            let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
        })
    };
    let there = pass(guest.try_clone().unwrap(), host.try_clone().unwrap(), from_guest);
    let back = pass(host, guest, from_host);
    there.join().unwrap();
    back.join().unwrap();
}

#[test]
fn handshake_when_the_stream_is_cut_at_any_step_ends_with_a_reason_on_both_sides() {
    let all = usize::MAX;
    let proof = Message::Proof(VERSIONS, [0, 0].into()).encode().len();
    let hello_length = Message::Hello(hello()).encode().len();
    let welcome = Message::Welcome(Welcome {
        versions: VERSIONS,
        features: feature::ATTACHED,
        layout: Layout::in_device(&limits()).unwrap(),
        pid: 1,
        host: offer().host,
        place: Some(bytemuck::Zeroable::zeroed()),
    });
    let welcome = welcome.encode().len();
    let ready = Message::Ready(VERSIONS).encode().len();
    for (from_guest, from_host) in [
        (1, all),
        (hello_length - 1, all),
        (hello_length, all),
        (hello_length + proof - 1, all),
        (all, 0),
        (all, welcome - 1),
        (all, welcome),
        (all, welcome + ready - 1),
    ] {
        let memory = Memory::create(SIZE).unwrap();
        let path = device(&memory);
        let dir = TempDir::new();
        let listener = Listener::bind(dir.socket()).unwrap();
        let host = std::thread::spawn(move || {
            let (near, far) = UnixStream::pair().unwrap();
            let guest = listener.accept().unwrap();
            let between = std::thread::spawn(move || cut(guest, far, from_guest, from_host));
            let result = accept_handshake_within(near, VERSIONS, SOON, |_| Ok(grant(&memory, FIRST_SLICE)));
            let error = result.map(|connection| {
                // It was the last message that did not arrive: the host learns of it as of any end.
                let start = Instant::now();
                while connection.peer.alive() && start.elapsed() < SOON {
                    std::thread::sleep(Duration::from_millis(5));
                }
                assert!(!connection.peer.alive());
            });
            between.join().unwrap();
            error
        });
        let dial = Dial {
            memory: Choice::Attached,
            device: Some(path),
            timeout: SOON,
            ..Dial::new(Address::Unix(dir.socket()))
        };
        let guest = dial.connect(&hello()).unwrap_err();
        assert!(matches!(guest, ConnectError::Closed { .. }), "{from_guest} {from_host}: {guest}");
        match host.join().unwrap() {
            Err(AcceptError::Closed) => {}
            Ok(()) if from_host >= welcome => {}
            other => panic!("{from_guest} {from_host}: {other:?}"),
        }
    }
}

#[test]
fn host_when_it_is_of_another_version_is_named_on_both_sides() {
    let memory = Memory::create(SIZE).unwrap();
    let path = device(&memory);
    let (guest, host) =
        dial(path, |stream| accept_handshake(stream, Versions::new(1, 2), |_| panic!("must not be asked")));
    assert!(matches!(guest.unwrap_err(), ConnectError::VersionMismatch { .. }));
    assert!(matches!(host.unwrap_err(), AcceptError::VersionMismatch { .. }));
}

#[test]
fn vsock_when_this_machine_has_none_says_so() {
    let host = Address::Vsock { cid: 2, port: 5001 };
    let passed = Dial { memory: Choice::Passed, ..Dial::new(host.clone()) };
    assert!(matches!(passed.connect(&hello()).unwrap_err(), ConnectError::CannotPass { .. }));
    let error = Dial::new(host).connect(&hello()).unwrap_err();
    // Nobody listens at that port either, where there is a vsock.
    let known = matches!(error, ConnectError::NoVsock { .. } | ConnectError::NobodyAnswers { .. });
    assert!(known && error.to_string().contains("vsock:2:5001"), "{error}");
    assert!(Device::find(Some("/dev/null".as_ref())).0.is_empty());
}

#[test]
fn bell_when_it_rings_for_no_word_or_says_too_much_ends_the_connection() {
    for payload in [&[][..], &[1, 0, 0, 0, 0]] {
        let (guest, host) = connected(Memory::create(SIZE).unwrap());
        let link = guest.peer.link().unwrap();
        let mut batch = link.batch();
        batch.put(vw_transport::frame::Kind::Bell, 0, &[payload]).unwrap();
        batch.flush().unwrap();
        drop(batch);
        let start = Instant::now();
        while host.peer.alive() && start.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(host.peer.link().unwrap().fault().is_some());
        assert_eq!(guest.region.control().device_lost(), None);
    }
}

#[test]
fn stop_when_set_wakes_this_side_s_own_thread() {
    let (_guest, host) = connected(Memory::create(SIZE).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let (region, stopped) = (host.region.clone(), stop.clone());
    let waiter = std::thread::spawn(move || Consumer::new(region).wait(&Awaited, &stopped));
    std::thread::sleep(Duration::from_millis(10));
    stop.store(true, Ordering::Release);
    host.region.control().command().signal_here();
    assert_eq!(waiter.join().unwrap(), Ok(false));
}
