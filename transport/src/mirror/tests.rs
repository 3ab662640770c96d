use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::*;
use crate::connection::Connection;
use crate::in_process::mirrored;
use crate::layout::Limits;
use crate::{Consumer, Producer, Spin, Woken};

fn limits() -> Limits {
    Limits {
        ring_size: 64 << 10,
        reply_size: 64 << 10,
        arena_size: 0,
        window_size: 1 << 20,
        ..Limits::default()
    }
}

fn write(connection: &Connection, at: usize, bytes: &[u8]) {
    let (window, _) = connection.region.window();
    // SAFETY: the tests stay in the window, and write from one thread.
    unsafe { window.as_ptr().add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

fn read(connection: &Connection, at: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    // SAFETY: as above.
    unsafe {
        connection.region.window().0.as_ptr().add(at).copy_to_nonoverlapping(bytes.as_mut_ptr(), length);
    };
    bytes
}

fn mirror(connection: &Connection) -> &Mirror {
    connection.region.mirror().unwrap()
}

fn record(producer: &mut Producer, words: &[u64]) {
    let length = 8 * (words.len() + 1);
    let space = producer.reserve(length).unwrap();
    let at: NonNull<u64> = space.ptr.cast();
    // SAFETY: the space is at least as long as was asked for.
    unsafe {
        at.write((length as u64) << 32);
        words.iter().enumerate().for_each(|(i, word)| at.add(i + 1).write(*word));
    }
    producer.commit(length);
}

/// Waits for the next record, and returns its words.
fn next(consumer: &mut Consumer, connection: &Connection) -> Vec<u64> {
    loop {
        if let Some(record) = consumer.next().unwrap() {
            // SAFETY: so many words are there.
            let words = (0..record.len / 8).map(|i| unsafe { record.payload.cast::<u64>().add(i).read() });
            return words.collect();
        }
        assert_eq!(consumer.wait(&*connection.peer, &AtomicBool::new(false)), Ok(true));
    }
}

fn wait_for(connection: &Connection, word: Word, ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let waited = connection.region.control().word(word).wait_until(
        &Spin::off(),
        Some(deadline),
        &*connection.peer,
        ready,
    );
    assert_eq!(waited, Ok(Woken::Ready));
}

fn both_ways(test: impl Fn(bool)) {
    test(false);
    test(true);
}

#[test]
fn window_when_written_by_the_guest_is_there_before_the_record_that_follows() {
    both_ways(|compare| {
        let (guest, host) = mirrored(&limits(), compare).unwrap();
        let mut producer = Producer::new(guest.region.clone(), guest.peer.clone());
        let mut consumer = Consumer::new(host.region.clone());
        mirror(&guest).show(0x3000, 0x5000);
        for round in 1..20_u8 {
            write(&guest, 0x3000 + usize::from(round), &[round]);
            write(&guest, 0x7fff, &[round]);
            write(&guest, 0x9000, &[round]);
            mirror(&guest).settle();
            record(&mut producer, &[round.into()]);
            producer.publish();
            assert_eq!(next(&mut consumer, &host), [u64::from(round)]);
            consumer.release();
            assert_eq!(read(&host, 0x3000, 30), read(&guest, 0x3000, 30));
            assert_eq!(read(&host, 0x7fff, 1), [round]);
            assert_eq!(read(&host, 0x9000, 1), [0], "what the program does not see is not sent");
        }
        mirror(&guest).settle_range(0x9000, 1);
        record(&mut producer, &[]);
        producer.publish();
        next(&mut consumer, &host);
        assert_eq!(read(&host, 0x9000, 1), [19]);
    });
}

#[test]
fn window_when_both_sides_write_the_same_line_keeps_all_bytes() {
    both_ways(|compare| {
        let (guest, host) = mirrored(&limits(), compare).unwrap();
        mirror(&guest).show(0, 4096);
        mirror(&host).show(0, 4096);
        mirror(&host).may_change(0, 1 << 20);
        let mut producer = Producer::new(guest.region.clone(), guest.peer.clone());
        let mut consumer = Consumer::new(host.region.clone());
        for round in 1..200_u8 {
            // Even bytes are the guest's, odd ones the host's; both write at once.
            write(&guest, usize::from(round % 64) * 2, &[round]);
            write(&host, usize::from(round % 64) * 2 + 1, &[round]);
            mirror(&guest).settle();
            record(&mut producer, &[]);
            producer.publish();
            host.region.control().complete(3, round.into());
            next(&mut consumer, &host);
            consumer.release();
            wait_for(&guest, Word::Completion, || guest.region.control().completed(3) == u64::from(round));
            let expected: Vec<u8> = (0..128_u32)
                .map(|at| (1..=round).rev().find(|r| u32::from(r % 64) == at / 2).unwrap_or(0))
                .collect();
            assert_eq!(read(&guest, 0, 128), expected, "guest, round {round}");
            assert_eq!(read(&host, 0, 128), expected, "host, round {round}");
        }
    });
}

#[test]
fn window_when_the_device_wrote_is_there_before_the_completion() {
    let (guest, host) = mirrored(&limits(), false).unwrap();
    for side in [&guest, &host] {
        mirror(side).show(0, 1 << 19);
    }
    mirror(&host).may_change(1 << 18, 1 << 19);
    for round in 1..10_u8 {
        write(&host, 1 << 18, &vec![round; 1 << 18]);
        write(&host, 100, &[round]);
        write(&host, 1 << 19, &[round]);
        host.region.control().complete(0, round.into());
        wait_for(&guest, Word::Completion, || guest.region.control().completed(0) == u64::from(round));
        assert_eq!(read(&guest, 1 << 18, 1 << 18), vec![round; 1 << 18]);
        // What the device does not write or the program does not see is not looked at.
        assert_eq!((read(&guest, 100, 1), read(&guest, 1 << 19, 1)), (vec![0], vec![0]));
    }
    let (sent, _) = mirror(&host).volume();
    assert!(sent.bytes < 9 * (1 << 18) * 102 / 100, "{sent:?}");
}

#[test]
fn window_when_punched_reads_zero_on_both_sides_and_is_known_to() {
    both_ways(|compare| {
        let (guest, host) = mirrored(&limits(), compare).unwrap();
        let mut producer = Producer::new(guest.region.clone(), guest.peer.clone());
        let mut consumer = Consumer::new(host.region.clone());
        let mut exchange = || {
            mirror(&guest).settle();
            record(&mut producer, &[]);
            producer.publish();
            next(&mut consumer, &host);
            consumer.release();
            host.region.control().post_reply(0);
            let seq = host.region.control().reply_seq();
            wait_for(&guest, Word::Reply, || guest.region.control().reply_seq() == seq);
        };
        mirror(&guest).show(0, 8192);
        write(&guest, 4096, &[5; 4096]);
        exchange();
        assert_eq!(read(&host, 4096, 4096), [5; 4096]);
        host.region.punch(4096, 4096).unwrap();
        exchange();
        assert_eq!((read(&host, 4096, 4096), read(&guest, 4096, 4096)), (vec![0; 4096], vec![0; 4096]));
        // The same bytes as before are news.
        write(&guest, 4096, &[5; 64]);
        exchange();
        assert_eq!(read(&host, 4096, 65), [[5; 64].as_slice(), &[0]].concat());
    });
}

#[test]
fn ring_when_much_larger_amounts_pass_keeps_every_record() {
    let (guest, host) = mirrored(&limits(), false).unwrap();
    let mut producer = Producer::new(guest.region.clone(), guest.peer.clone());
    let reader = std::thread::spawn(move || {
        let mut consumer = Consumer::new(host.region.clone());
        for number in 0..3000 {
            let words = next(&mut consumer, &host);
            assert_eq!((words[0], words.len()), (number, 1 + (number as usize * 37) % 4000));
            assert!(words.iter().all(|word| *word == number));
            consumer.release();
        }
        host
    });
    for number in 0..3000 {
        record(&mut producer, &vec![number; 1 + (number as usize * 37) % 4000]);
        if number % 3 == 0 {
            producer.publish();
        }
    }
    let position = producer.position();
    producer.publish();
    mirror(&guest).ask(position);
    let head = guest.region.control().head_cursor();
    wait_for(&guest, Word::Space, || head.load() == position);
    drop(reader.join().unwrap());
}

#[test]
fn reply_when_it_fills_the_area_comes_whole() {
    let (guest, host) = mirrored(&limits(), false).unwrap();
    let (area, size) = host.region.reply();
    for (round, length) in (1..).zip([0, 1, 16 << 10, size, size + 1000]) {
        let bytes: Vec<u8> = (0..size).map(|i| (i * round) as u8).collect();
        // SAFETY: the area is as large as it says.
        unsafe { area.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), size) };
        host.region.control().post_reply(length as u32);
        wait_for(&guest, Word::Reply, || guest.region.control().reply_seq() == round as u32);
        assert_eq!(guest.region.control().reply_len() as usize, length);
        let mut got = vec![0; length.min(size)];
        // SAFETY: as above.
        unsafe { guest.region.reply().0.as_ptr().copy_to_nonoverlapping(got.as_mut_ptr(), got.len()) };
        assert_eq!(got, bytes[..got.len()]);
    }
    let before = guest.region.control().reply_seq();
    host.region.control().post_short_reply([1, 2, 3, 4, 5, 6, 7], 12);
    wait_for(&guest, Word::Reply, || guest.region.control().reply_seq() != before);
    assert_eq!((guest.region.control().reply_len(), guest.region.control().short_reply()), (12, None));
    // SAFETY: as above.
    let got = unsafe { guest.region.reply().0.cast::<[u32; 3]>().read() };
    assert_eq!(got, [1, 0, 2]);
}

#[test]
fn queue_when_its_slot_is_assigned_anew_starts_from_zero_with_the_next_reply() {
    let (guest, host) = mirrored(&limits(), false).unwrap();
    let control = host.region.control();
    control.complete(7, 40);
    wait_for(&guest, Word::Completion, || guest.region.control().completed(7) == 40);
    control.assign(7);
    control.post_reply(0);
    wait_for(&guest, Word::Reply, || guest.region.control().reply_seq() == 1);
    assert_eq!(guest.region.control().completed(7), 0);
    control.complete(7, 2);
    wait_for(&guest, Word::Completion, || guest.region.control().completed(7) == 2);
    control.lose_device(5);
    wait_for(&guest, Word::Completion, || guest.region.control().device_lost() == Some(5));
}

#[test]
fn peer_when_it_leaves_is_noticed_by_who_waits_and_its_words_are_kept() {
    let (guest, host) = mirrored(&limits(), false).unwrap();
    host.peer.close("over");
    let waited = guest.region.control().reply().wait_until(&Spin::off(), None, &*guest.peer, || false);
    assert_eq!(waited, Err(PeerGone));
    assert_eq!(guest.peer.last_words().as_deref(), Some("over"));
    assert!(guest.peer.send_descriptor(std::os::fd::AsFd::as_fd(&std::io::stdin())).is_err());

    let (guest, host) = mirrored(&limits(), false).unwrap();
    drop(guest);
    let mut consumer = Consumer::new(host.region.clone());
    assert_eq!(consumer.wait(&*host.peer, &AtomicBool::new(false)), Err(PeerGone));
}

/// The host's end of a stream, and a socket on which its guest says what it likes.
fn hostile() -> (Connection, std::os::unix::net::UnixStream) {
    let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
    let (region, _) = Region::create(&limits()).unwrap();
    let region = Arc::new(region);
    let versions = Versions::new(0, 0);
    let peer = Mirror::connect(&region, a.into(), versions, Side::Host, false).unwrap();
    let welcome = crate::Welcome {
        versions,
        features: 0,
        layout: *region.layout(),
        pid: 1,
        host: String::new(),
        place: None,
    };
    let hello = crate::Hello::new(versions, "a test");
    (Connection { region, peer: Arc::new(peer), hello, welcome }, b)
}

#[test]
fn host_when_a_frame_says_what_cannot_be_ends_and_says_why() {
    use std::io::{Read as _, Write as _};
    let run = |first: u64, count: u64| (first | count << 48 | 1 << 63).to_le_bytes().to_vec();
    for (kind, payload, why) in [
        (Kind::Ring, vec![0; 7], "7 bytes where 0 of 65536"),
        (Kind::Pages, run((1 << 20) / 64, 1), "1 lines from 0x4000"),
        (Kind::Pages, run((1 << 48) - 1, 1), "lines"),
        (Kind::Pages, run(0, 3), "fewer lines"),
        (Kind::Ask, vec![0; 7], "ends before"),
        (Kind::Ask, vec![0; 9], "1 bytes more"),
        (Kind::State, vec![0; 16], "a guest does not send it"),
        (Kind::Reply, vec![0; 16], "a guest does not send it"),
        (Kind::Punch, vec![0; 16], "a guest does not send it"),
        (Kind::Bell, vec![0; 4], "a guest does not send it"),
    ] {
        let (host, mut guest) = hostile();
        let bytes = [crate::frame::header(kind, 0, 0, payload.len()).as_slice(), &payload].concat();
        guest.write_all(&bytes).unwrap();
        assert_eq!(guest.read(&mut [0]).unwrap(), 0, "{kind:?}");
        let waited = host.region.control().command().wait_until(&Spin::off(), None, &*host.peer, || false);
        assert_eq!(waited, Err(PeerGone));
        let fault = host.peer.link().unwrap().fault().unwrap_or_default().to_owned();
        assert!(fault.contains(why), "{kind:?}: {fault}");
    }
}

#[test]
fn host_when_the_ring_is_overrun_ends() {
    use std::io::Write as _;
    let (host, mut guest) = hostile();
    let payload = vec![0; 16 << 9];
    for number in 0..9 {
        let bytes =
            [crate::frame::header(Kind::Ring, 0, number, payload.len()).as_slice(), &payload].concat();
        if guest.write_all(&bytes).is_err() {
            break;
        }
    }
    let waited = host.region.control().command().wait_until(&Spin::off(), None, &*host.peer, || false);
    assert_eq!(waited, Err(PeerGone));
    assert!(host.peer.last_words().unwrap().contains("8192 bytes where 65536 of 65536 are not read"));
    // What was never said to be whole is not read.
    assert_eq!(Consumer::new(host.region.clone()).next(), Ok(None));
}

#[test]
fn guest_when_a_frame_says_what_cannot_be_ends_and_says_why() {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    for (kind, payload, why) in [
        (Kind::State, vec![0; 15], "ends before"),
        (Kind::State, words(&[0, 0, 64, 1]), "slot 64 of 64"),
        (Kind::State, words(&[0, 0, 1]), "ends before"),
        (Kind::Reply, vec![255; 12], "0 bytes at 0xffffffff"),
        (Kind::Punch, words(&[0, 1]), "not whole pages"),
        (Kind::Punch, words(&[1 << 20, 4096]), "not whole pages"),
        (Kind::Punch, words(&[4096, u64::MAX - 4095]), "not whole pages"),
        (Kind::Ring, vec![0; 8], "a host does not send it"),
    ] {
        let (guest, host) = mirrored(&limits(), false).unwrap();
        let link = &mirror(&host).link;
        let mut batch = link.batch();
        batch.put(kind, 0, &[&payload]).and_then(|()| batch.flush()).unwrap();
        let waited = guest.region.control().reply().wait_until(&Spin::off(), None, &*guest.peer, || false);
        assert_eq!(waited, Err(PeerGone));
        assert!(guest.peer.last_words().unwrap().contains(why), "{kind:?}: {:?}", guest.peer.last_words());
    }
}
