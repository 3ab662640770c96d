//! Streams as the host sees them: the same records in the same order, however they travel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vw_transport::{Connection, Consumer};
use vw_wire_protocol::generated::commands::{self, opcodes};
use vw_wire_protocol::record::{FLAG_LAST, Header, abandoned_offset, op};

use crate::chunks::CHUNK_SIZE;
use crate::dispatch::Head;
use crate::sender::Sender;
use crate::session::Session;
use crate::stream::Stream;
use crate::test_host;

const BUFFER: u64 = 9;

/// What [`World::replay`] gives for the end of a recording.
const END: u64 = u64::MAX;

struct World {
    session: Arc<Session>,
    head: Head,
    host: Connection,
    consumer: Consumer,
    /// Bytes of a record that comes in parts.
    joined: Vec<u8>,
}

impl World {
    fn new(chunks: usize) -> Self {
        let (session, host, consumer) = test_host::session((chunks * CHUNK_SIZE) as u64);
        let head = Head::new(BUFFER, Arc::clone(&session));
        Self { session, head, host, consumer, joined: Vec::new() }
    }

    /// `vkCmdDraw` with a number to know it by.
    fn draw(&self, stream: &mut Stream, number: u64) {
        let args = [&raw const self.head as u64, number, 1, 0, 0];
        // SAFETY: valid arguments; the head stands for a command buffer.
        unsafe { stream.append(&self.session, BUFFER, &commands::VK_CMD_DRAW, &args) };
    }

    /// `vkCmdUpdateBuffer` with `size` bytes.
    fn update(&self, stream: &mut Stream, size: usize) {
        let data = vec![7u8; size];
        let args = [&raw const self.head as u64, 1, 0, size as u64, data.as_ptr() as u64];
        // SAFETY: valid arguments; the head stands for a command buffer.
        unsafe { stream.append(&self.session, BUFFER, &commands::VK_CMD_UPDATE_BUFFER, &args) };
    }

    fn finish(&self, stream: &mut Stream) {
        self.session
            .with_sender(|sender| {
                stream.finish(&self.session, sender, BUFFER)?;
                sender.publish();
                Ok(())
            })
            .unwrap();
    }

    /// As [`World::finish`], for more than the ring holds; returns what the host has received.
    fn finish_and_replay(&mut self, stream: &mut Stream) -> Vec<u64> {
        let session = Arc::clone(&self.session);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let finish = |sender: &mut Sender| {
                    stream.finish(&session, sender, BUFFER)?;
                    sender.publish();
                    Ok(())
                };
                session.with_sender(finish).unwrap();
                done.store(true, Ordering::Release);
            });
            let mut seen = Vec::new();
            loop {
                let last = done.load(Ordering::Acquire);
                seen.extend(self.replay().0);
                if last {
                    return seen;
                }
            }
        })
    }

    /// The records of the streams received: for draws their number, for others their length. And how many came by
    /// the ring.
    fn replay(&mut self) -> (Vec<u64>, usize) {
        let (mut seen, mut in_ring) = (Vec::new(), 0);
        while let Some(record) = self.consumer.next().unwrap() {
            let header = Header::from_word(record.word);
            // SAFETY: nothing else touches the record before it is released.
            let payload = unsafe { std::slice::from_raw_parts(record.payload.as_ptr(), record.len) }.to_vec();
            self.consumer.release();
            let word = |i: usize| u64::from_le_bytes(payload[8 * i..8 * i + 8].try_into().unwrap());
            match header.opcode {
                op::ARENA_STREAM => {
                    assert_eq!(word(0), BUFFER);
                    let (base, size) = self.host.region.arena();
                    let (offset, length) = (word(1) as usize, word(2) as usize);
                    assert!(offset + length <= size);
                    // SAFETY: the range lies in the arena; the guest has handed it over.
                    let bytes = unsafe { std::slice::from_raw_parts(base.as_ptr().add(offset), length) };
                    walk(bytes, &mut seen);
                }
                op::STREAM => {
                    assert_eq!(word(0), BUFFER);
                    walk(&payload[8..], &mut seen);
                    in_ring += 1;
                }
                op::FRAGMENT => {
                    self.joined.extend_from_slice(&payload);
                    if header.flags & FLAG_LAST != 0 {
                        let whole = std::mem::take(&mut self.joined);
                        walk(&whole[16..], &mut seen);
                        in_ring += 1;
                    }
                }
                opcodes::VK_END_COMMAND_BUFFER => seen.push(END),
                other => panic!("opcode {other:#x}"),
            }
        }
        (seen, in_ring)
    }
}

fn walk(mut bytes: &[u8], seen: &mut Vec<u64>) {
    while !bytes.is_empty() {
        let header = Header::from_word(u64::from_le_bytes(bytes[..8].try_into().unwrap()));
        assert!(header.length.is_multiple_of(8) && header.length as usize <= bytes.len(), "{header:?}");
        seen.push(if header.opcode == commands::VK_CMD_DRAW.opcode {
            u32::from_le_bytes(bytes[16..20].try_into().unwrap()).into()
        } else {
            assert_eq!(header.opcode, commands::VK_CMD_UPDATE_BUFFER.opcode);
            header.length.into()
        });
        bytes = &bytes[header.length as usize..];
    }
}

#[test]
fn stream_when_short_is_one_piece_of_the_arena() {
    let mut w = World::new(2);
    let mut stream = Stream::default();
    (0..10).for_each(|i| w.draw(&mut stream, i));
    assert_eq!(w.replay(), (vec![], 0), "nothing is handed over before the end");
    w.finish(&mut stream);
    assert_eq!(w.replay(), ((0..10).collect(), 0));
}

#[test]
fn stream_when_long_is_handed_over_meanwhile_in_order() {
    let mut w = World::new(4);
    let mut stream = Stream::default();
    let mut seen = Vec::new();
    for i in 0..20_000 {
        w.draw(&mut stream, i);
        if i % 1000 == 0 {
            seen.extend(w.replay().0);
        }
    }
    assert!(seen.len() > 10_000, "{} handed over while recording", seen.len());
    w.finish(&mut stream);
    seen.extend(w.replay().0);
    assert_eq!(seen, (0..20_000).collect::<Vec<_>>());
}

#[test]
fn stream_when_the_arena_is_full_travels_in_the_ring() {
    let mut w = World::new(1);
    let (mut first, mut second) = (Stream::default(), Stream::default());
    w.draw(&mut first, 1);
    (0..3000).for_each(|i| w.draw(&mut second, i));
    w.finish(&mut second);
    let (seen, in_ring) = w.replay();
    assert_eq!(seen, (0..3000).collect::<Vec<_>>());
    assert!(in_ring >= 2, "{in_ring}");
    w.finish(&mut first);
    assert_eq!(w.replay(), (vec![1], 0));
}

#[test]
fn stream_when_the_host_is_behind_is_held_back_and_goes_on_when_it_is_not() {
    let mut w = World::new(8);
    let mut stream = Stream::default();
    // More than twice the arena.
    (0..40_000).for_each(|i| w.draw(&mut stream, i));
    let (first, in_ring) = w.replay();
    assert!((1000..10_000).contains(&first.len()), "{} handed over while the host was behind", first.len());
    assert_eq!(in_ring, 0);
    (40_000..42_000).for_each(|i| w.draw(&mut stream, i));
    let (second, _) = w.replay();
    assert!(second.len() > 1000, "{} handed over when it was not any more", second.len());
    let held = w.session.with_sender(|sender| stream.is_held(&w.session, sender, BUFFER)).unwrap();
    assert!(held);
    let seen = [first, second, w.finish_and_replay(&mut stream)].concat();
    assert_eq!(seen, (0..42_000).collect::<Vec<_>>());
}

#[test]
fn recording_when_held_back_goes_piece_by_piece_once_the_host_is_not_behind() {
    let mut w = World::new(8);
    let mut stream = Stream::default();
    // More than the arena and the ring hold together.
    (0..60_000).for_each(|i| w.draw(&mut stream, i));
    let mut recording = Some(w.session.recordings.begin());
    assert_eq!(w.session.end_recording(&mut stream, BUFFER, &mut recording), Ok(true));
    assert!(w.session.holds_recordings() && recording.is_none());
    let mut seen = w.replay().0;
    while w.session.holds_recordings() {
        assert!(seen.len() < 60_000);
        w.session.hand_over_oldest();
        seen.extend(w.replay().0);
    }
    let expected: Vec<u64> = (0..60_000).chain([END]).collect();
    assert_eq!(seen, expected);
    assert!(w.session.recordings.defer(5, Vec::new()).is_some(), "the recording is over");
}

#[test]
fn recording_when_held_back_and_dropped_is_not_sent() {
    let mut w = World::new(8);
    let mut stream = Stream::default();
    (0..40_000).for_each(|i| w.draw(&mut stream, i));
    assert_eq!(w.session.end_recording(&mut stream, BUFFER, &mut Some(1)), Ok(true));
    w.session.drop_held(BUFFER);
    assert!(!w.session.holds_recordings());
    w.session.hand_over_held([BUFFER].into_iter()).unwrap();
    w.session.flush();
    let seen = w.replay().0;
    assert!(seen.len() < 10_000 && !seen.contains(&END), "{}", seen.len());
    w.session.drop_held(BUFFER);
    assert!(!w.session.holds_recordings());
}

#[test]
fn stream_when_held_back_and_reset_leaves_the_arena_to_others() {
    let mut w = World::new(8);
    let mut stream = Stream::default();
    (0..40_000).for_each(|i| w.draw(&mut stream, i));
    stream.reset(&w.session);
    let handed_over = w.replay().0.len();
    let mut other = Stream::default();
    // As much as the arena can have, but for what is left of the first.
    (0..2000 * 6).for_each(|i| w.draw(&mut other, i));
    w.finish(&mut other);
    let (seen, in_ring) = w.replay();
    assert_eq!(seen, (0..2000 * 6).collect::<Vec<_>>());
    assert_eq!(in_ring, 0, "after {handed_over}");
}

#[test]
fn space_when_there_is_no_arena_is_kept_for_the_next_recording() {
    let mut w = World::new(0);
    let mut stream = Stream::default();
    for round in 0..2 {
        (0..3000).for_each(|i| w.draw(&mut stream, round * 3000 + i));
        w.finish(&mut stream);
        let space = stream.take_space().unwrap();
        assert!(space.worth_keeping(&w.session));
        stream.set_space(space);
    }
    assert_eq!(w.replay().0, (0..6000).collect::<Vec<_>>());
    // One that had to do without the arena is not to stay without it.
    let w = World::new(1);
    let (mut first, mut second) = (Stream::default(), Stream::default());
    w.draw(&mut first, 1);
    w.draw(&mut second, 2);
    w.finish(&mut second);
    assert!(!second.take_space().unwrap().worth_keeping(&w.session));
    first.take_space().unwrap().release(&w.session);
}

#[test]
fn record_when_larger_than_a_chunk_keeps_its_place() {
    let mut w = World::new(3);
    let mut stream = Stream::default();
    w.draw(&mut stream, 1);
    w.update(&mut stream, 65536);
    w.draw(&mut stream, 2);
    w.update(&mut stream, 900_000);
    w.draw(&mut stream, 3);
    w.finish(&mut stream);
    let (seen, in_ring) = w.replay();
    assert_eq!(in_ring, 2);
    assert_eq!((seen.len(), seen[0], seen[2], seen[4]), (5, 1, 2, 3));
    assert!(seen[1] > 65536 && seen[3] > 900_000, "{seen:?}");
}

#[test]
fn recording_when_another_looks_at_it_is_not_abandoned_before_both_are_read() {
    let mut w = World::new(8);
    let abandoned = |w: &World| {
        let (base, size) = w.host.region.arena();
        let table = abandoned_offset(size).unwrap();
        // SAFETY: the table lies in the arena, aligned, and has this slot.
        let slot = unsafe { base.add(table).cast::<AtomicU64>().add(BUFFER as usize).as_ref() };
        slot.load(Ordering::Acquire)
    };
    let mut stream = Stream::default();
    w.draw(&mut stream, 1);
    w.finish(&mut stream);
    w.session.keep_recordings();
    w.session.abandon(BUFFER, 7);
    assert_eq!(abandoned(&w), 0);
    w.replay();
    w.session.abandon(BUFFER, 8);
    assert_eq!(abandoned(&w), 8);
    w.session.give_up(&"a test");
    w.session.abandon(BUFFER, 9);
    assert_eq!(abandoned(&w), 8, "the arena of a connection that is over, or of a parent, is left alone");
}

#[test]
fn stream_when_reset_forgets_what_was_not_handed_over() {
    let mut w = World::new(2);
    let mut stream = Stream::default();
    w.draw(&mut stream, 1);
    w.finish(&mut stream);
    w.draw(&mut stream, 2);
    stream.reset(&w.session);
    w.draw(&mut stream, 3);
    w.finish(&mut stream);
    assert_eq!(w.replay().0, [1, 3]);
}

#[test]
fn chunk_when_the_host_has_read_it_is_used_again() {
    let mut w = World::new(1);
    for round in 0..10 {
        let mut stream = Stream::default();
        w.draw(&mut stream, round);
        w.finish(&mut stream);
        stream.take_space().unwrap().release(&w.session);
        assert_eq!(w.replay(), (vec![round], 0), "by the arena's one chunk");
    }
}
