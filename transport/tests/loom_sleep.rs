//! Model of the sleep handshake: every interleaving, on the weak memory of the language. A lost wake is a deadlock,
//! because the model's futex never times out.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p vw-transport --release --test loom_sleep
#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand")]
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "tests")]

use loom::sync::Arc;
use loom::thread;
use vw_transport::cursor::Cursor;
use vw_transport::sync::{AtomicU64, Ordering};
use vw_transport::wait::{Signal, WaitWord};

fn wait(word: Signal<'_>, ready: impl Fn() -> bool) {
    while !ready() && !word.sleep_unless(None, &ready) {}
}

/// Runs `f` in every interleaving with at most `preemptions` forced switches.
fn model(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// A word and the value that its waiters look at. The value is read and written relaxed: only the handshake's own
/// fences order it.
#[derive(Default)]
struct Shared {
    word: WaitWord,
    value: AtomicU64,
}

impl Shared {
    fn wait_for(&self, at_least: u64) {
        wait(self.word.shared(), || self.value.load(Ordering::Relaxed) >= at_least);
    }
}

#[test]
fn waiter_when_signalled_once_always_wakes() {
    loom::model(|| {
        let shared = Arc::new(Shared::default());
        let other = shared.clone();
        let waiter = thread::spawn(move || other.wait_for(1));
        shared.value.store(1, Ordering::Relaxed);
        shared.word.shared().signal();
        waiter.join().unwrap();
        assert!(shared.word.wakes() <= 1);
    });
}

#[test]
fn two_waiters_when_signalled_twice_for_different_values_both_wake() {
    model(3, || {
        let shared = Arc::new(Shared::default());
        let waiters = [1, 2].map(|value| {
            let shared = shared.clone();
            thread::spawn(move || shared.wait_for(value))
        });
        for value in 1..=2 {
            shared.value.store(value, Ordering::Relaxed);
            shared.word.shared().signal();
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(shared.word.wakes() <= 2);
    });
}

#[test]
fn waiter_when_two_threads_signal_at_once_misses_neither() {
    model(3, || {
        let shared = Arc::new(Shared::default());
        let signallers = [0, 1].map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.value.fetch_add(1, Ordering::Relaxed);
                shared.word.shared().signal();
            })
        });
        shared.wait_for(2);
        for signaller in signallers {
            signaller.join().unwrap();
        }
    });
}

/// The positions and words of a ring.
#[derive(Default)]
struct Ring {
    tail: AtomicU64,
    command: WaitWord,
    head: AtomicU64,
    space: WaitWord,
    /// What the records carry, written relaxed: the positions must order it.
    slots: [AtomicU64; CAPACITY as usize],
}

const CAPACITY: u64 = 2;

impl Ring {
    fn tail(&self) -> Cursor<'_> {
        Cursor { position: &self.tail, moved: self.command.shared(), weak: false }
    }

    fn head(&self) -> Cursor<'_> {
        Cursor { position: &self.head, moved: self.space.shared(), weak: false }
    }
}

/// Producer and consumer as `ring::Producer` and `ring::Consumer` do it: the consumer gives room back without a
/// fence and makes good for it before it sleeps.
#[test]
fn ring_when_it_fills_and_drains_passes_every_record_and_nobody_sleeps_for_ever() {
    const RECORDS: u64 = 3;
    model(3, || {
        let ring = Arc::new(Ring::default());
        let other = ring.clone();
        let consumer = thread::spawn(move || {
            let tail = other.tail();
            for position in 0..RECORDS {
                if tail.load() == position {
                    other.space.shared().signal();
                    wait(tail.moved, || tail.load() != position);
                }
                let value = other.slots[(position % CAPACITY) as usize].load(Ordering::Relaxed);
                assert_eq!(
                    value,
                    position + 1,
                    "a record is read before it is written, or after it is overwritten"
                );
                other.head().advance_lazily(position + 1);
            }
            other.space.shared().signal();
        });
        let head = ring.head();
        for position in 0..RECORDS {
            wait(head.moved, || position - head.load() < CAPACITY);
            ring.slots[(position % CAPACITY) as usize].store(position + 1, Ordering::Relaxed);
            ring.tail().advance(position + 1);
        }
        consumer.join().unwrap();
    });
}
