use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::layout::Limits;
use crate::liveness::{AlwaysAlive, Liveness, PeerGone};
use crate::region::Region;
use crate::spin::Spin;
use crate::wait::Woken;

const RING: usize = 64 << 10;

struct Dead;

impl Liveness for Dead {
    fn alive(&self) -> bool {
        false
    }
}

fn limits() -> Limits {
    let page = crate::layout::system_page_size();
    Limits { ring_size: RING as u64, reply_size: page, arena_size: 0, window_size: 0, page_size: page }
}

fn ring_with(peer: Arc<dyn Liveness>) -> (Producer, Consumer) {
    let (region, _fd) = Region::create(&limits()).unwrap();
    let region = Arc::new(region);
    let mut producer = Producer::new(region.clone(), peer);
    let mut consumer = Consumer::new(region);
    producer.set_spin(Spin::off());
    consumer.set_spin(Spin::off());
    (producer, consumer)
}

fn ring() -> (Producer, Consumer) {
    ring_with(Arc::new(AlwaysAlive))
}

/// Writes a record of `length` bytes whose payload is derived from `tag`, at the start of `space`.
fn write(space: Space, length: usize, tag: u32) {
    assert!(length <= space.len && length >= 8);
    let word = (length as u64) << 32 | u64::from(tag);
    // SAFETY: the space has `length` bytes, which this thread alone writes.
    unsafe {
        space.ptr.cast::<u64>().write(word);
        for i in 8..length {
            space.ptr.add(i).write(tag as u8 ^ i as u8);
        }
    }
}

fn send(producer: &mut Producer, length: usize, tag: u32) {
    let space = producer.reserve(length).unwrap();
    write(space, length, tag);
    producer.commit(length);
}

/// Whether the record is what [`write`] wrote.
fn check(record: RawRecord, length: usize, tag: u32) {
    assert_eq!((record.word as u32, record.len), (tag, length - 8));
    for i in 0..record.len {
        // SAFETY: the record has `len` bytes of payload and was not released yet.
        let byte = unsafe { record.payload.add(i).read() };
        assert_eq!(byte, tag as u8 ^ (i + 8) as u8, "byte {i} of record {tag}");
    }
}

#[test]
fn record_when_it_crosses_the_end_is_contiguous() {
    let (mut producer, mut consumer) = ring();
    let mut crossed = 0;
    for tag in 0..50 {
        let length = 12344;
        let start = producer.position() as usize % RING;
        crossed += usize::from(start + length > RING);
        send(&mut producer, length, tag);
        producer.publish();
        check(consumer.next().unwrap().unwrap(), length, tag);
        consumer.release();
    }
    assert!(crossed >= 5, "{crossed}");
    assert_eq!(producer.consumed(), producer.position());
}

#[test]
fn next_when_nothing_is_published_gives_nothing() {
    let (mut producer, mut consumer) = ring();
    assert_eq!(consumer.next(), Ok(None));
    send(&mut producer, 16, 1);
    assert_eq!(producer.unpublished(), 16);
    assert_eq!(consumer.next(), Ok(None));
    producer.publish();
    assert!(consumer.next().unwrap().is_some());
    assert_eq!(consumer.next(), Ok(None));
}

#[test]
fn reserve_when_more_than_half_the_ring_is_asked_for_fails() {
    let (mut producer, _consumer) = ring();
    assert_eq!(
        producer.reserve(RING / 2 + 1),
        Err(ReserveError::TooLarge { asked: RING / 2 + 1, most: RING / 2 })
    );
    assert_eq!(producer.reserve(RING / 2).unwrap().len, RING);
}

#[test]
fn reserve_when_the_ring_is_full_publishes_and_waits_for_room() {
    let (mut producer, mut consumer) = ring();
    let reader = std::thread::spawn(move || {
        let stop = AtomicBool::new(false);
        let mut tag = 0;
        while tag < 16 {
            assert_eq!(consumer.wait(&AlwaysAlive, &stop), Ok(true));
            std::thread::sleep(Duration::from_millis(2));
            while let Some(record) = consumer.next().unwrap() {
                check(record, 16384, tag);
                tag += 1;
                consumer.release();
            }
        }
    });
    // Nothing is published by hand: a full ring must do it, or both sleep for ever.
    for tag in 0..16 {
        send(&mut producer, 16384, tag);
    }
    assert_eq!(producer.wait_consumed(producer.position(), None), Ok(Woken::Ready));
    reader.join().unwrap();
}

#[test]
fn records_when_they_are_foretold_come_punctual_or_not() {
    const RECORDS: u32 = 60;
    let (mut producer, mut consumer) = ring();
    // The middle third comes late.
    let rest = |tag: u32| if (20..40).contains(&tag) { 3 + u64::from(tag % 7) } else { 3 };
    let writer = std::thread::spawn(move || {
        for tag in 0..RECORDS {
            std::thread::sleep(Duration::from_millis(rest(tag)));
            send(&mut producer, 16, tag);
            producer.publish();
        }
        producer
    });
    consumer.set_spin(Spin::with_max(Duration::from_micros(20)));
    consumer.foretell();
    let stop = AtomicBool::new(false);
    let mut tag = 0;
    while tag < RECORDS {
        assert_eq!(consumer.wait(&AlwaysAlive, &stop), Ok(true));
        while let Some(record) = consumer.next().unwrap() {
            check(record, 16, tag);
            tag += 1;
            consumer.release();
        }
    }
    writer.join().unwrap();
}

#[test]
fn reserve_when_the_ring_is_full_and_the_consumer_is_dead_fails() {
    let (mut producer, _consumer) = ring_with(Arc::new(Dead));
    send(&mut producer, RING / 2, 0);
    send(&mut producer, RING / 2, 1);
    assert_eq!(producer.reserve(8), Err(ReserveError::PeerGone(PeerGone)));
}

#[test]
fn wait_consumed_when_the_deadline_passes_times_out() {
    let (mut producer, _consumer) = ring();
    send(&mut producer, 16, 0);
    let deadline = Instant::now() + Duration::from_millis(10);
    assert_eq!(producer.wait_consumed(16, Some(deadline)), Ok(Woken::TimedOut));
    assert!(Instant::now() >= deadline);
}

#[test]
fn commit_when_part_of_the_space_is_taken_keeps_the_rest() {
    let (mut producer, mut consumer) = ring();
    let space = producer.reserve(64).unwrap();
    write(space, 24, 1);
    producer.commit(24);
    // SAFETY: 24 of at least 64 bytes.
    let rest = Space { ptr: unsafe { space.ptr.add(24) }, len: space.len - 24 };
    write(rest, 40, 2);
    producer.commit(40);
    producer.publish();
    check(consumer.next().unwrap().unwrap(), 24, 1);
    check(consumer.next().unwrap().unwrap(), 40, 2);
    consumer.release();
    assert_eq!(producer.consumed(), 64);
}

#[test]
fn wait_when_stop_is_set_and_signalled_returns_false_at_once() {
    let attempt = || {
        let (_producer, mut consumer) = ring();
        let stop = Arc::new(AtomicBool::new(false));
        let region = consumer.region().clone();
        let other = stop.clone();
        let waiter = std::thread::spawn(move || consumer.wait(&AlwaysAlive, &other));
        std::thread::sleep(Duration::from_millis(10));
        let start = Instant::now();
        stop.store(true, Ordering::Release);
        region.control().command().signal_here();
        assert_eq!(waiter.join().unwrap(), Ok(false));
        start.elapsed()
    };
    // Without the signal it takes the rest of the liveness period, each time; a busy machine does not.
    assert!((0..10).any(|_| attempt() < Duration::from_millis(30)));
}

#[test]
fn wait_when_the_producer_died_after_publishing_reads_what_it_left() {
    let (mut producer, mut consumer) = ring();
    let stop = AtomicBool::new(false);
    send(&mut producer, 8, 1);
    producer.publish();
    assert_eq!(consumer.wait(&Dead, &stop), Ok(true));
    assert!(consumer.next().unwrap().is_some());
    assert_eq!(consumer.wait(&Dead, &stop), Err(PeerGone));
}

#[test]
fn doorbell_when_the_consumer_is_awake_is_never_rung() {
    let (mut producer, mut consumer) = ring();
    for tag in 0..1000 {
        send(&mut producer, 64, tag);
        assert!(!producer.publish());
        consumer.next().unwrap().unwrap();
        consumer.release();
    }
    assert_eq!(producer.region().control().wakes(), crate::control::Wakes::default());
}

#[test]
fn doorbell_when_the_consumer_sleeps_is_rung_once_for_many_records() {
    let (mut producer, consumer) = ring();
    let command = consumer.region().control().command();
    // One round of the handshake that times out at once: the consumer has said that it sleeps.
    command.sleep_unless(Some(Duration::ZERO), || false);
    let rung = (0..100).filter(|&tag| {
        send(&mut producer, 64, tag);
        producer.publish()
    });
    assert_eq!(rung.count(), 1);
    assert_eq!(consumer.region().control().wakes().doorbells, 1);
}

#[test]
fn ring_when_two_threads_run_it_hard_passes_every_record() {
    const RECORDS: u32 = 100_000;
    let (mut producer, mut consumer) = ring();
    let length = |tag: u32| 8 + (tag as usize * 2_654_435_761 % 61) * 8;
    let reader = std::thread::spawn(move || {
        let stop = AtomicBool::new(false);
        let mut tag = 0;
        while tag < RECORDS {
            assert_eq!(consumer.wait(&AlwaysAlive, &stop), Ok(true));
            while let Some(record) = consumer.next().unwrap() {
                check(record, length(tag), tag);
                tag += 1;
                if tag % 3 == 0 {
                    consumer.release();
                }
            }
            consumer.release();
        }
    });
    for tag in 0..RECORDS {
        send(&mut producer, length(tag), tag);
        if tag % 7 == 0 {
            producer.publish();
        }
    }
    assert_eq!(producer.wait_consumed(producer.position(), None), Ok(Woken::Ready));
    reader.join().unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Publish,
    Read(usize),
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..=RING / 16).prop_map(|words| Step::Send(words * 8)),
        4 => (1usize..=64).prop_map(|words| Step::Send(words * 8)),
        3 => Just(Step::Publish),
        5 => (1usize..8).prop_map(Step::Read),
        3 => Just(Step::Release),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any order of sending, publishing, reading and releasing, the ring full and empty, wrapped many times.
    #[test]
    fn ring_when_used_in_any_order_gives_each_record_once_and_in_order(steps in steps()) {
        let (mut producer, mut consumer) = ring();
        let mut sent = Vec::new();
        let (mut published, mut read, mut released) = (0, 0, 0u64);
        let mut read_bytes = 0u64;
        for step in steps {
            match step {
                Step::Send(length) => {
                    if producer.position() + length as u64 - released > RING as u64 {
                        continue;
                    }
                    send(&mut producer, length, sent.len() as u32);
                    sent.push(length);
                }
                Step::Publish => {
                    producer.publish();
                    published = sent.len();
                }
                Step::Read(n) => for _ in 0..n {
                    let record = consumer.next().unwrap();
                    prop_assert_eq!(record.is_some(), read < published);
                    if let Some(record) = record {
                        check(record, sent[read], read as u32);
                        read_bytes += sent[read] as u64;
                        read += 1;
                    }
                },
                Step::Release => {
                    consumer.release();
                    released = read_bytes;
                    prop_assert_eq!(producer.consumed(), released);
                }
            }
        }
    }

    /// A wake is rung exactly when somebody has said that it sleeps since the last one.
    #[test]
    fn doorbell_when_sleeps_and_publishes_alternate_is_rung_once_per_sleep(
        sleeps in proptest::collection::vec(any::<bool>(), 1..100),
    ) {
        let (mut producer, mut consumer) = ring();
        let region = consumer.region().clone();
        let mut rung = 0;
        let mut slept = false;
        for (tag, sleep) in sleeps.into_iter().enumerate() {
            if sleep {
                region.control().command().sleep_unless(Some(Duration::ZERO), || false);
                slept = true;
            }
            send(&mut producer, 8, tag as u32);
            prop_assert_eq!(producer.publish(), slept);
            rung += u32::from(slept);
            slept = false;
            while consumer.next().unwrap().is_some() {}
            consumer.release();
        }
        prop_assert_eq!(region.control().wakes().doorbells, rung);
    }

    /// Whatever stands in the ring and in the tail, the consumer gives records inside the ring or an error.
    #[test]
    fn next_when_ring_and_tail_are_hostile_stays_inside_the_ring(
        words in proptest::collection::vec(
            prop_oneof![any::<u64>(), (0u64..40, any::<u32>()).prop_map(|(n, low)| (n * 8) << 32 | u64::from(low))],
            1..64,
        ),
        tails in proptest::collection::vec(prop_oneof![any::<u64>(), (0..RING as u64 / 4).prop_map(|n| n * 8)], 1..4),
    ) {
        let (_producer, mut consumer) = ring();
        let region = consumer.region().clone();
        let (base, size) = region.ring();
        for i in 0..size / 8 {
            // SAFETY: inside the ring, aligned.
            unsafe { base.cast::<u64>().add(i).write(words[i % words.len()]) };
        }
        'session: for tail in tails {
            region.control().page().tail.store(tail, Ordering::Release);
            loop {
                match consumer.next() {
                    Ok(Some(record)) => {
                        let start = record.payload.as_ptr() as usize - base.as_ptr() as usize;
                        prop_assert!(start >= 8 && start + record.len <= 2 * size);
                        prop_assert!(consumer.backlog() <= size as u64);
                    }
                    Ok(None) => break,
                    Err(RingError::BadTail { tail: said, .. }) => {
                        prop_assert_eq!(said, tail);
                        break 'session;
                    }
                    Err(RingError::BadLength { length, available, .. }) => {
                        prop_assert!(length == 0 || length % 8 != 0 || u64::from(length) > available);
                        break 'session;
                    }
                }
                if words[0] % 2 == 0 {
                    consumer.release();
                }
            }
        }
    }

    /// Whatever the head says, the producer gets room inside the ring or an error.
    #[test]
    fn reserve_when_the_head_is_hostile_gives_at_most_the_ring(
        heads in proptest::collection::vec(prop_oneof![any::<u64>(), 0..RING as u64 * 4], 1..40),
        length in 1usize..=RING / 16,
    ) {
        let (mut producer, consumer) = ring_with(Arc::new(Dead));
        let region = consumer.region().clone();
        for (tag, head) in heads.into_iter().enumerate() {
            region.control().page().head.store(head, Ordering::Release);
            match producer.reserve(length * 8) {
                Ok(space) => {
                    prop_assert!(space.len >= length * 8 && space.len <= RING);
                    write(space, length * 8, tag as u32);
                    producer.commit(length * 8);
                    producer.publish();
                }
                Err(ReserveError::BadHead { .. } | ReserveError::PeerGone(_)) => {}
                Err(e) => prop_assert!(false, "{}", e),
            }
            prop_assert!(producer.consumed() <= producer.position());
        }
    }
}

#[test]
fn next_when_the_other_side_scribbles_at_the_same_time_never_leaves_the_ring() {
    let (_producer, mut consumer) = ring();
    let region = consumer.region().clone();
    let stop = Arc::new(AtomicBool::new(false));
    let (other, stopped) = (region.clone(), stop.clone());
    let scribbler = std::thread::spawn(move || {
        let (base, size) = other.ring();
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        while !stopped.load(Ordering::Relaxed) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let word = if x & 3 == 0 { x } else { (x >> 32 & 0x78) << 32 };
            // SAFETY: aligned, inside the ring; written as an atomic because the consumer reads at the same time.
            unsafe { AtomicU64::from_ptr(base.cast::<u64>().as_ptr().add(x as usize % (size / 8))) }
                .store(word, Ordering::Relaxed);
            let tail = &other.control().page().tail;
            let step = if x & 0xff0 == 0 { x } else { x >> 40 & 0xff8 };
            tail.store(tail.load(Ordering::Relaxed).wrapping_add(step), Ordering::Release);
        }
    });
    let (base, size) = region.ring();
    let end = Instant::now() + Duration::from_millis(200);
    let mut errors = 0;
    while Instant::now() < end {
        match consumer.next() {
            Ok(Some(record)) => {
                let start = record.payload.as_ptr() as usize - base.as_ptr() as usize;
                assert!(start >= 8 && start + record.len <= 2 * size);
                consumer.release();
            }
            Ok(None) => {}
            // A session ends here; the next one starts where this one's positions stand.
            Err(_) => {
                errors += 1;
                region.control().page().tail.store(consumer.position(), Ordering::Release);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    scribbler.join().unwrap();
    assert!(errors > 0);
}
