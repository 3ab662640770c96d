//! How long a signal takes to wake the other process, and a call to come back, by kind of wait and by placement: where
//! the scheduler likes (often both on one core), and each process on a core of its own.
//!
//!     cargo run -p vw-transport --release --example latency

use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use vw_transport::{
    Connection, Consumer, Grant, Hello, Limits, Listener, Offer, PeerGone, Producer, Spin, Versions,
    accept_handshake, connect,
};

const VERSIONS: Versions = Versions::new(0, 0);
const CALLS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        let kind = std::env::args().nth(2).unwrap_or_default();
        return guest(&connect(path, &Hello::new(VERSIONS, "latency"))?, &kind);
    }
    let path = std::env::temp_dir().join(format!("vw-latency-{}.sock", std::process::id()));
    let listener = Listener::bind(&path)?;
    println!("{} cores, {CALLS} calls each", std::thread::available_parallelism()?);
    for kind in ["sleep", "adaptive", "spin", "sleep apart", "adaptive apart", "spin apart"] {
        // The child inherits the placement and counts its cores by it.
        place("anywhere", 0)?;
        let mut child =
            Command::new(std::env::current_exe()?).arg(&path).arg(kind).stdout(Stdio::inherit()).spawn()?;
        let offer =
            Offer { memory: Grant::Passed, limits: Limits::default(), features: 0, host: String::new() };
        host(&accept_handshake(listener.accept()?, VERSIONS, |_| Ok(offer))?, kind)?;
        child.wait()?;
    }
    drop(listener);
    std::fs::remove_file(format!("{}.lock", path.display()))?;
    Ok(())
}

fn spin(kind: &str) -> Spin {
    match kind {
        "sleep" | "sleep apart" => Spin::off(),
        "spin" | "spin apart" => Spin::with_max(Duration::from_millis(1)),
        _ => Spin::adaptive(),
    }
}

/// Puts this process on the core `core`, for the kinds that want that. After the first [`spin`], which counts cores.
fn place(kind: &str, core: usize) -> Result<(), Box<dyn Error>> {
    let mut set = rustix::thread::CpuSet::new();
    if kind.ends_with("apart") {
        set.set(core);
    } else {
        (0..rustix::thread::CpuSet::MAX_CPU).for_each(|core| set.set(core));
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Answers each record with the time at which it saw it.
fn host(connection: &Connection, kind: &str) -> Result<(), Box<dyn Error>> {
    let mut consumer = Consumer::new(connection.region.clone());
    consumer.set_spin(spin(kind));
    place(kind, 0)?;
    let stop = AtomicBool::new(false);
    loop {
        match consumer.wait(&*connection.peer, &stop) {
            Ok(_) => {}
            Err(PeerGone) => return Ok(()),
        }
        let seen = now();
        while consumer.next()?.is_some() {
            consumer.release();
            // SAFETY: the reply area has at least a page; the guest reads it only after `post_reply`.
            unsafe { connection.region.reply().0.cast::<u64>().write_volatile(seen) };
            connection.region.control().post_reply(8);
        }
    }
}

fn guest(connection: &Connection, kind: &str) -> Result<(), Box<dyn Error>> {
    let mut producer = Producer::new(connection.region.clone(), connection.peer.clone());
    let control = connection.region.control();
    let spin = spin(kind);
    place(kind, 1)?;
    let (mut one_way, mut round_trip) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let space = producer.reserve(64)?;
        // SAFETY: 8 of at least 64 bytes that this thread alone writes.
        unsafe { space.ptr.cast::<u64>().write(64 << 32) };
        producer.commit(64);
        let before = control.reply_seq();
        let (start, sent) = (Instant::now(), now());
        producer.publish();
        control.reply().wait_until(&spin, None, &*connection.peer, || control.reply_seq() != before)?;
        round_trip.push(start.elapsed().as_nanos() as u64);
        // SAFETY: the host wrote 8 bytes before it posted the reply.
        let seen = unsafe { connection.region.reply().0.cast::<u64>().read_volatile() };
        one_way.push(seen.saturating_sub(sent));
    }
    let wakes = control.wakes();
    println!(
        "{kind:14} signal to wake {}   call {}   wakes: {} doorbells, {} replies",
        percentiles(&mut one_way),
        percentiles(&mut round_trip),
        wakes.doorbells,
        wakes.replies
    );
    Ok(())
}

fn percentiles(samples: &mut [u64]) -> String {
    samples.sort_unstable();
    let at = |p: usize| samples[(samples.len() - 1) * p / 1000] as f64 / 1000.0;
    format!("p50 {:6.1} us, p99 {:6.1} us, p99.9 {:6.1} us", at(500), at(990), at(999))
}

/// Nanoseconds on the clock that all processes share.
fn now() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
