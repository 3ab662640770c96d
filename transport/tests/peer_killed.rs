//! A peer that is killed (SIGKILL: it can say nothing) is noticed from every wait.
#![cfg(not(loom))]
#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{TempDir, VERSIONS, hello, offer};
use vw_transport::{
    ConnectError, Connection, Consumer, Listener, PeerGone, Producer, ReserveError, Spin, accept_handshake,
    connect,
};

/// How soon a wait must end: a second, and what a machine with too much to do adds.
const SOON: Duration = Duration::from_secs(10);

const ROLE: &str = "VW_TRANSPORT_TEST_ROLE";
const SOCKET: &str = "VW_TRANSPORT_TEST_SOCKET";

/// Not a test: what runs in the other process, which starts this program again with a role.
#[test]
#[ignore = "run by the other tests in a process of its own"]
fn other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let path = PathBuf::from(std::env::var_os(SOCKET).unwrap());
    let _kept: Box<dyn std::any::Any> = match role.as_str() {
        "guest" => Box::new(connect(path, &hello()).unwrap()),
        "host" => {
            let listener = Listener::bind(path).unwrap();
            let stream = listener.accept().unwrap();
            Box::new((accept_handshake(stream, VERSIONS, |_| Ok(offer())).unwrap(), listener))
        }
        "silent host" => {
            let listener = Listener::bind(path).unwrap();
            Box::new((listener.accept().unwrap(), listener))
        }
        other => panic!("role {other}"),
    };
    std::thread::sleep(Duration::from_secs(60));
}

/// The other process, which is killed with its owner.
struct Other(Child);

impl Other {
    fn start(role: &str, socket: &std::path::Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["other_process", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(SOCKET, socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Kills it in a moment from another thread; the result is when.
    fn kill_soon(mut self) -> std::thread::JoinHandle<Instant> {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            let at = Instant::now();
            self.0.kill().unwrap();
            self.0.wait().unwrap();
            at
        })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect_to_other(role: &str) -> (TempDir, Other, Result<Connection, ConnectError>) {
    let dir = TempDir::new();
    let other = Other::start(role, &dir.socket());
    let deadline = Instant::now() + SOON;
    while !dir.socket().exists() {
        assert!(Instant::now() < deadline, "the other process does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    if role == "silent host" {
        return (dir, other, Err(ConnectError::NoSocket(PathBuf::new())));
    }
    // Between its bind and its listen the socket stands there and refuses.
    let connection = loop {
        match connect(dir.socket(), &hello()) {
            Err(ConnectError::NobodyListening(_)) if Instant::now() < deadline => {}
            other => break other,
        }
    };
    (dir, other, connection)
}

/// Runs `wait` on the guest's side of a connection whose host is killed meanwhile.
fn host_killed_during<T>(wait: impl FnOnce(&Connection) -> T) -> T {
    let (_dir, other, connection) = connect_to_other("host");
    let connection = connection.unwrap();
    let killer = other.kill_soon();
    let result = wait(&connection);
    let noticed = Instant::now();
    let killed = killer.join().unwrap();
    let took = noticed.checked_duration_since(killed).expect("noticed before it was killed");
    assert!(took < SOON, "{took:?}");
    result
}

#[test]
fn reply_wait_when_the_host_is_killed_ends() {
    let result = host_killed_during(|c| {
        let control = c.region.control();
        control.reply().wait_until(&Spin::adaptive(), None, &*c.peer, || control.reply_seq() != 0)
    });
    assert_eq!(result, Err(PeerGone));
}

#[test]
fn completion_waits_of_several_threads_when_the_host_is_killed_all_end() {
    let results = host_killed_during(|c| {
        std::thread::scope(|scope| {
            let threads = [1, 2, 3].map(|slot| {
                scope.spawn(move || {
                    let control = c.region.control();
                    control.completion().wait_until(&Spin::adaptive(), None, &*c.peer, || {
                        control.completed(slot) >= 1 || control.device_lost().is_some()
                    })
                })
            });
            threads.map(|thread| thread.join().unwrap())
        })
    });
    assert_eq!(results, [Err(PeerGone); 3]);
}

#[test]
fn polling_with_no_time_when_the_host_is_killed_ends() {
    host_killed_during(|c| {
        let control = c.region.control();
        let poll = || {
            let now = Some(Instant::now());
            control.completion().wait_until(&Spin::adaptive(), now, &*c.peer, || control.completed(0) > 0)
        };
        while poll().is_ok() {}
    });
}

#[test]
fn reserve_when_the_ring_is_full_and_the_host_is_killed_ends() {
    let result = host_killed_during(|c| {
        let mut producer = Producer::new(c.region.clone(), c.peer.clone());
        loop {
            match producer.reserve(4096) {
                Ok(_) => producer.commit(4096),
                Err(e) => return e,
            }
        }
    });
    assert_eq!(result, ReserveError::PeerGone(PeerGone));
}

#[test]
fn wait_consumed_when_the_host_is_killed_ends() {
    let result = host_killed_during(|c| {
        let mut producer = Producer::new(c.region.clone(), c.peer.clone());
        producer.reserve(8).unwrap();
        producer.commit(8);
        producer.wait_consumed(producer.position(), None)
    });
    assert_eq!(result, Err(ReserveError::PeerGone(PeerGone)));
}

#[test]
fn connect_when_the_host_is_killed_during_the_handshake_ends() {
    let (dir, other, _) = connect_to_other("silent host");
    std::thread::sleep(Duration::from_millis(50));
    let killer = other.kill_soon();
    let error = connect(dir.socket(), &hello()).unwrap_err();
    let took = killer.join().unwrap().elapsed();
    assert!(matches!(error, ConnectError::Closed { .. }), "{error}");
    assert!(took < SOON, "{took:?}");
}

#[test]
fn consumer_wait_when_the_guest_is_killed_ends() {
    let dir = TempDir::new();
    let listener = Listener::bind(dir.socket()).unwrap();
    let other = Other::start("guest", &dir.socket());
    let stream = listener.accept().unwrap();
    let connection = accept_handshake(stream, VERSIONS, |_| Ok(offer())).unwrap();
    let mut consumer = Consumer::new(connection.region.clone());
    let killer = other.kill_soon();
    let stop = AtomicBool::new(false);
    assert_eq!(consumer.wait(&*connection.peer, &stop), Err(PeerGone));
    let took = killer.join().unwrap().elapsed();
    assert!(took < SOON, "{took:?}");
}

#[test]
fn stale_socket_when_its_server_was_killed_is_replaced() {
    let dir = TempDir::new();
    let mut other = Other::start("silent host", &dir.socket());
    let deadline = Instant::now() + SOON;
    while connect_refused(&dir) {
        assert!(Instant::now() < deadline, "the other process does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Listener::bind(dir.socket()).is_err());
    other.0.kill().unwrap();
    other.0.wait().unwrap();
    assert!(dir.socket().exists());
    Listener::bind(dir.socket()).unwrap();
}

fn connect_refused(dir: &TempDir) -> bool {
    std::os::unix::net::UnixStream::connect(dir.socket()).is_err()
}

#[test]
fn records_when_sent_between_processes_arrive() {
    // The guest's end in this process, the host's in a thread, over a real socket and two mappings.
    let dir = TempDir::new();
    let listener = Listener::bind(dir.socket()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    let host = std::thread::spawn(move || {
        let c = accept_handshake(listener.accept().unwrap(), VERSIONS, |_| Ok(offer())).unwrap();
        let mut consumer = Consumer::new(c.region.clone());
        let mut sum = 0u64;
        while consumer.wait(&*c.peer, &stop).is_ok_and(|more| more) {
            while let Some(record) = consumer.next().unwrap() {
                sum += record.word & 0xffff_ffff;
                consumer.release();
            }
            c.region.control().post_reply(sum as u32);
        }
        sum
    });
    let c = connect(dir.socket(), &hello()).unwrap();
    let mut producer = Producer::new(c.region.clone(), c.peer.clone());
    for n in 0..1000u64 {
        let space = producer.reserve(64).unwrap();
        // SAFETY: 8 of at least 64 bytes that this thread alone writes.
        unsafe { space.ptr.cast::<u64>().write(64 << 32 | n) };
        producer.commit(64);
        producer.publish();
    }
    let end = producer.position();
    producer.wait_consumed(end, None).unwrap();
    done.store(true, Ordering::Release);
    c.region.control().command().signal();
    assert_eq!(host.join().unwrap(), 999 * 500);
}
