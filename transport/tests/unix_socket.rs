//! Connecting, accepting and refusing over a real socket.
#![cfg(not(loom))]
#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use support::{TempDir, VERSIONS, hello, offer, small};
use vw_transport::connection::{accept_handshake_within, connect_within, refuse};
use vw_transport::handshake::{Message, PREAMBLE_SIZE, PROTOCOL_VERSION, Welcome, feature};
use vw_transport::{
    AcceptError, Address, BindError, Choice, ConnectError, Connection, Dial, Hello, Layout, Limits, Listener,
    Liveness, Offer, Region, RegionError, Versions, accept_handshake, connect,
};

const SHORT: Duration = Duration::from_millis(200);

/// How long something that is a matter of milliseconds may take on a machine with too much to do.
const SOON: Duration = Duration::from_secs(20);

/// Serves one guest at a socket of its own.
fn serve<T: Send + 'static>(
    f: impl FnOnce(UnixStream) -> T + Send + 'static,
) -> (TempDir, PathBuf, JoinHandle<T>) {
    let dir = TempDir::new();
    let path = dir.socket();
    let listener = Listener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || f(listener.accept().unwrap()));
    (dir, path, thread)
}

fn established() -> (Connection, Connection) {
    let (_dir, path, host) = serve(|stream| accept_handshake(stream, VERSIONS, |_| Ok(offer())).unwrap());
    let guest = connect(&path, &hello()).unwrap();
    (guest, host.join().unwrap())
}

#[test]
fn connect_when_the_host_welcomes_shares_the_region() {
    let (_dir, path, host) = serve(|stream| {
        accept_handshake(stream, VERSIONS, |hello: &Hello| {
            assert_eq!(hello.program, "a test");
            let limits = hello.limits.or(small());
            Ok(Offer { limits, features: 0b0110, ..offer() })
        })
        .unwrap()
    });
    let wishes = Limits { window_size: 3 << 20, ..Limits::HOST_CHOICE };
    let guest = connect(&path, &Hello { limits: wishes, features: 0b0011, ..hello() }).unwrap();
    let host = host.join().unwrap();
    assert_eq!(guest.welcome, host.welcome);
    assert_eq!(guest.welcome.features, 0b0010 | feature::PASSED);
    assert_eq!(guest.welcome.host, "test host 1.0");
    assert_eq!(guest.region.window().1, 3 << 20);
    assert_eq!(guest.region.ring().1, 64 << 10);
    guest.region.control().post_reply(77);
    assert_eq!(host.region.control().reply_seq(), 1);
    assert_eq!(host.region.control().reply_len(), 77);
    assert!(guest.peer.alive() && host.peer.alive());
}

#[test]
fn connect_when_the_guest_has_larger_pages_rounds_the_region_up() {
    let (_dir, path, host) = serve(|stream| {
        let limits = Limits { reply_size: 4096, arena_size: 0, ..small() };
        accept_handshake(stream, VERSIONS, |_| Ok(Offer { limits, ..offer() })).unwrap()
    });
    let guest = connect(&path, &Hello { page_size: 64 << 10, ..hello() }).unwrap();
    assert_eq!(guest.welcome.layout.page_size(), 64 << 10);
    assert_eq!(guest.region.reply().1, 64 << 10);
    assert_eq!(host.join().unwrap().welcome, guest.welcome);
}

#[test]
fn connection_when_begun_is_made_ready_and_finished_whenever_the_guest_likes() {
    let (_dir, path, host) = serve(|stream| accept_handshake(stream, VERSIONS, |_| Ok(offer())).unwrap());
    let begun = Dial::new(Address::Unix(path)).begin(&hello()).unwrap().expect("memory is passed");
    let host = host.join().unwrap();
    let guest = begun.finish().unwrap();
    assert_eq!(guest.welcome, host.welcome);
    guest.region.control().post_reply(77);
    assert_eq!(host.region.control().reply_len(), 77);
}

#[test]
fn connection_when_begun_with_a_host_that_is_started_again_is_made_with_the_new_one() {
    let dir = TempDir::new();
    let old = Listener::bind(dir.socket()).unwrap();
    let begun = Dial::new(Address::Unix(dir.socket())).begin(&hello()).unwrap().unwrap();
    drop(old);
    let new = Listener::bind(dir.socket()).unwrap();
    let host = std::thread::spawn(move || {
        accept_handshake(new.accept().unwrap(), VERSIONS, |_| Ok(offer())).unwrap().welcome
    });
    assert_eq!(begun.finish().unwrap().welcome, host.join().unwrap());
}

#[test]
fn connection_when_begun_before_a_fork_is_left_to_the_parent() {
    let dir = TempDir::new();
    let listener = Listener::bind(dir.socket()).unwrap();
    let parent = Hello { pid: std::process::id() + 1, ..hello() };
    let begun = Dial::new(Address::Unix(dir.socket())).begin(&parent).unwrap().unwrap();
    let host = std::thread::spawn(move || {
        let _parents = listener.accept().unwrap();
        accept_handshake(listener.accept().unwrap(), VERSIONS, |_| Ok(offer())).unwrap().hello
    });
    begun.finish().unwrap();
    assert_eq!(host.join().unwrap().pid, std::process::id());
}

#[test]
fn connection_when_the_host_would_wait_for_more_than_a_hello_is_not_begun() {
    let dir = TempDir::new();
    let dial = |memory| Dial { memory, ..Dial::new(Address::Unix(dir.socket())) };
    for memory in [Choice::Attached, Choice::Stream, Choice::StreamCompared] {
        assert!(dial(memory).begin(&hello()).unwrap().is_none(), "{memory}");
    }
    assert!(matches!(dial(Choice::Passed).begin(&hello()), Err(ConnectError::NoSocket(_))));
}

#[test]
fn connect_when_there_is_no_socket_says_so() {
    let dir = TempDir::new();
    let error = connect(dir.socket(), &hello()).unwrap_err();
    assert!(matches!(error, ConnectError::NoSocket(_)), "{error}");
    assert!(error.to_string().contains(dir.socket().to_str().unwrap()), "{error}");
}

#[test]
fn connect_when_the_path_is_a_file_says_so() {
    let dir = TempDir::new();
    std::fs::write(dir.socket(), "x").unwrap();
    let error = connect(dir.socket(), &hello()).unwrap_err();
    assert!(matches!(error, ConnectError::NotASocket(_)), "{error}");
}

#[test]
fn connect_when_the_path_is_too_long_says_so() {
    let error = connect("/tmp/".to_owned() + &"x".repeat(200), &hello()).unwrap_err();
    assert!(matches!(error, ConnectError::PathTooLong(_)), "{error}");
}

#[test]
fn connect_when_nobody_listens_says_so() {
    let dir = TempDir::new();
    drop(UnixListener::bind(dir.socket()).unwrap());
    let error = connect(dir.socket(), &hello()).unwrap_err();
    assert!(matches!(error, ConnectError::NobodyListening(_)), "{error}");
}

#[test]
fn connect_when_the_socket_is_not_permitted_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let _listener = Listener::bind(dir.socket()).unwrap();
    std::fs::set_permissions(dir.socket(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let path = dir.socket();
    // Root may do anything, so this thread (and only it) becomes nobody.
    let attempt = std::thread::spawn(move || {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::fs::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        connect(path, &hello()).unwrap_err()
    });
    let error = attempt.join().unwrap();
    assert!(matches!(error, ConnectError::PermissionDenied(_)), "{error}");
}

#[test]
fn connect_when_the_host_refuses_passes_its_message_on() {
    let (_dir, path, host) =
        serve(|s| accept_handshake(s, VERSIONS, |_| Err("quota of this user is used up".into())));
    let error = connect(&path, &hello()).unwrap_err();
    assert!(
        matches!(&error, ConnectError::Refused { message, .. } if message == "quota of this user is used up")
    );
    let error = host.join().unwrap().unwrap_err();
    assert!(matches!(error, AcceptError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("a test"), "{error}");
}

#[test]
fn connect_when_the_broker_refuses_without_reading_passes_its_message_on() {
    let (_dir, path, host) = serve(|s| refuse(&s, VERSIONS, "8 of 8 sessions are taken"));
    let error = connect(&path, &hello()).unwrap_err();
    assert!(error.to_string().contains("8 of 8 sessions"), "{error}");
    host.join().unwrap();
}

#[test]
fn connect_when_versions_differ_names_both_on_both_sides() {
    let theirs = Versions::new(310, 0xfeed_beef);
    let other_protocol = Versions { protocol: PROTOCOL_VERSION + 1, ..VERSIONS };
    for host_versions in [theirs, other_protocol, Versions::new(309, 1)] {
        let (_dir, path, host) =
            serve(move |s| accept_handshake(s, host_versions, |_| panic!("must not be asked")));
        let guest = connect(&path, &hello()).unwrap_err();
        let host = host.join().unwrap().unwrap_err();
        assert!(matches!(guest, ConnectError::VersionMismatch { .. }), "{guest}");
        assert!(matches!(host, AcceptError::VersionMismatch { .. }), "{host}");
        for message in [guest.to_string(), host.to_string()] {
            assert!(message.contains(&VERSIONS.to_string()), "{message}");
            assert!(message.contains(&host_versions.to_string()), "{message}");
        }
    }
}

#[test]
fn connect_when_a_newer_host_answers_in_its_own_way_names_its_version() {
    let theirs = Versions { protocol: PROTOCOL_VERSION + 7, ..VERSIONS };
    let (_dir, path, host) = serve(move |mut s| {
        let mut frame = Message::Hello(Hello::new(theirs, "")).encode();
        // A body that this version knows nothing of.
        frame[8..12].copy_from_slice(&99u32.to_le_bytes());
        s.write_all(&frame).unwrap();
        s
    });
    let error = connect(&path, &hello()).unwrap_err();
    assert!(matches!(&error, ConnectError::VersionMismatch { theirs: t, .. } if *t == theirs), "{error}");
    drop(host.join().unwrap());
}

#[test]
fn connect_when_the_host_never_answers_times_out() {
    let (_dir, path, host) = serve(|s| (s, std::thread::sleep(2 * SHORT)));
    let start = Instant::now();
    let error = connect_within(&path, &hello(), SHORT).unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() >= SHORT && start.elapsed() < SOON, "{:?}", start.elapsed());
    host.join().unwrap();
}

#[test]
fn connect_when_the_queue_of_connections_is_full_times_out() {
    let dir = TempDir::new();
    let listener = UnixListener::bind(dir.socket()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _queued = UnixStream::connect(dir.socket()).unwrap();
    let start = Instant::now();
    let error = connect_within(dir.socket(), &hello(), SHORT).unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() >= SHORT && start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn connect_when_the_host_closes_says_so() {
    let (_dir, path, host) = serve(drop);
    let error = connect(&path, &hello()).unwrap_err();
    assert!(matches!(error, ConnectError::Closed { .. }), "{error}");
    host.join().unwrap();
}

#[test]
fn connect_when_another_program_answers_says_so() {
    let (_dir, path, host) = serve(|mut s| {
        s.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
        s
    });
    let error = connect(&path, &hello()).unwrap_err();
    assert!(matches!(error, ConnectError::Malformed { .. }), "{error}");
    drop(host.join().unwrap());
}

/// A host that welcomes with `fd`, whatever that is.
fn welcomed_with(fd: Option<OwnedFd>, features: u64) -> ConnectError {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let (_dir, path, host) = serve(move |mut s| {
        let mut asked = [0; PREAMBLE_SIZE];
        s.read_exact(&mut asked).unwrap();
        let welcome = Welcome {
            versions: VERSIONS,
            features: features | feature::PASSED,
            layout: Layout::new(&small()).unwrap(),
            pid: 1,
            host: "x".into(),
            place: None,
        };
        let frame = Message::Welcome(welcome).encode();
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        }
        sendmsg(&s, &[std::io::IoSlice::new(&frame)], &mut ancillary, SendFlags::empty()).unwrap();
        s
    });
    let error = connect(&path, &hello()).unwrap_err();
    drop(host.join().unwrap());
    error
}

#[test]
fn connect_when_the_region_is_no_sealed_memfd_refuses_it() {
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let error = welcomed_with(Some(file.into()), 0);
    assert!(matches!(error, ConnectError::Region { source: RegionError::NotSealed { .. }, .. }), "{error}");
    let (_region, fd) = Region::create(&Limits { window_size: 2 << 20, ..small() }).unwrap();
    let error = welcomed_with(Some(fd), 0);
    assert!(matches!(error, ConnectError::Region { source: RegionError::Size { .. }, .. }), "{error}");
}

#[test]
fn connect_when_the_welcome_does_not_fit_the_hello_refuses_it() {
    let error = welcomed_with(None, 0);
    assert!(matches!(error, ConnectError::Unexpected { .. }), "{error}");
    let (_region, fd) = Region::create(&small()).unwrap();
    let error = welcomed_with(Some(fd), 1);
    assert!(error.to_string().contains("features"), "{error}");
}

#[test]
fn accept_when_the_guest_is_silent_times_out() {
    let (_guest, host) = UnixStream::pair().unwrap();
    let error = accept_handshake_within(host, VERSIONS, SHORT, |_| Ok(offer())).unwrap_err();
    assert!(matches!(error, AcceptError::TimedOut(_)), "{error}");
}

#[test]
fn accept_when_the_guest_drips_bytes_times_out_all_the_same() {
    let (mut guest, host) = UnixStream::pair().unwrap();
    let dripper = std::thread::spawn(move || {
        for byte in Message::Hello(hello()).encode() {
            if guest.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(SHORT / 4);
        }
    });
    let start = Instant::now();
    let error = accept_handshake_within(host, VERSIONS, SHORT, |_| Ok(offer())).unwrap_err();
    assert!(matches!(error, AcceptError::TimedOut(_)), "{error}");
    assert!(start.elapsed() < SOON);
    dripper.join().unwrap();
}

#[test]
fn accept_when_the_region_cannot_be_made_tells_the_guest() {
    let (_dir, path, host) = serve(|s| {
        let limits = Limits { ring_size: 3 << 20, ..small() };
        accept_handshake(s, VERSIONS, |_| Ok(Offer { limits, ..offer() }))
    });
    let error = connect(&path, &hello()).unwrap_err();
    assert!(error.to_string().contains("ring size"), "{error}");
    assert!(matches!(host.join().unwrap(), Err(AcceptError::Region { .. })));
}

#[test]
fn accept_when_the_page_size_is_absurd_refuses() {
    for page_size in [0, 1, 5000, 1 << 20, u64::MAX] {
        let (_dir, path, host) = serve(|s| accept_handshake(s, VERSIONS, |_| panic!("must not be asked")));
        let error = connect(&path, &Hello { page_size, ..hello() }).unwrap_err();
        assert!(error.to_string().contains("page size"), "{error}");
        assert!(host.join().unwrap().is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn accept_when_the_guest_sends_random_bytes_fails_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), honest in 0usize..150,
    ) {
        let (mut guest, host) = UnixStream::pair().unwrap();
        // Starts like a hello, so that the later checks are reached too.
        let mut start = Message::Hello(hello()).encode();
        start.truncate(honest.min(start.len() - 1));
        guest.write_all(&start).unwrap();
        guest.write_all(&bytes).unwrap();
        drop(guest);
        let _ = accept_handshake_within(host, VERSIONS, SHORT, |_| Err("no".into()));
    }
}

#[test]
fn peer_when_the_other_end_is_dropped_is_noticed() {
    let (guest, host) = established();
    drop(host);
    let deadline = Instant::now() + SOON;
    while guest.peer.alive() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(guest.peer.last_words(), None);
}

#[test]
fn peer_when_closed_with_a_reason_passes_it_on() {
    let (guest, host) = established();
    host.peer.close("protocol violation: record of 3 bytes");
    host.peer.close("a second reason is not heard");
    assert!(!host.peer.alive());
    let deadline = Instant::now() + SOON;
    while guest.peer.alive() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(guest.peer.last_words().as_deref(), Some("protocol violation: record of 3 bytes"));
}

#[test]
fn bind_when_a_stale_socket_is_there_replaces_it() {
    let dir = TempDir::new();
    drop(UnixListener::bind(dir.socket()).unwrap());
    assert!(dir.socket().exists());
    let listener = Listener::bind(dir.socket()).unwrap();
    let _guest = UnixStream::connect(dir.socket()).unwrap();
    listener.accept().unwrap();
}

#[test]
fn bind_when_a_live_server_is_there_is_refused_and_leaves_it_alone() {
    let dir = TempDir::new();
    let listener = Listener::bind(dir.socket()).unwrap();
    let error = Listener::bind(dir.socket()).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    let _guest = UnixStream::connect(dir.socket()).unwrap();
    listener.accept().unwrap();
    drop(listener);
    assert!(!dir.socket().exists());
    Listener::bind(dir.socket()).unwrap();
}

#[test]
fn bind_when_a_server_without_a_lock_lives_there_is_refused() {
    let dir = TempDir::new();
    let _other = UnixListener::bind(dir.socket()).unwrap();
    let error = Listener::bind(dir.socket()).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    assert!(dir.socket().exists());
}

#[test]
fn bind_when_something_else_is_in_the_way_says_what() {
    let dir = TempDir::new();
    std::fs::write(dir.socket(), "precious").unwrap();
    let error = Listener::bind(dir.socket()).unwrap_err();
    assert!(matches!(error, BindError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read(dir.socket()).unwrap(), b"precious");
    let error = Listener::bind(dir.path().join("no/such/vw.sock")).unwrap_err();
    assert!(matches!(error, BindError::NoDirectory(_)), "{error}");
}

#[test]
fn accept_when_the_listener_does_not_block_returns_would_block() {
    let dir = TempDir::new();
    let listener = Listener::bind(dir.socket()).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(listener.path(), dir.socket());
}
