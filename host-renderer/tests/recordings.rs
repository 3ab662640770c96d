//! Command buffers: what is recorded is replayed, unless it is wrong or nobody needs it any more. No GPU: `--null`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use common::recording::{begin, end, fill, is_lost, record_commands, stream, submit};
use common::{Guest, dispatchable, in_process, record, violates, wait_for};
use vw_host_renderer::session::end::End;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::{Header, abandoned_offset, op};

/// Puts `bytes` at the start of the arena, and hands them over as a part of the recording of command buffer 1 with this
/// ticket.
fn hand_over(guest: &mut Guest, bytes: &[u8], ticket: u64) {
    let (base, size) = guest.connection.region.arena();
    assert!(bytes.len() <= size);
    // SAFETY: the range lies in the arena, and the host reads it only after the record below.
    unsafe { base.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    let words = [1, 0, bytes.len() as u64, ticket].map(u64::to_le_bytes).concat();
    guest.send(op::ARENA_STREAM, &words).unwrap();
}

/// Says that recordings of command buffer 1 up to this ticket are abandoned.
fn abandon(guest: &Guest, ticket: u64) {
    let (base, size) = guest.connection.region.arena();
    let at = abandoned_offset(size).unwrap() + size_of::<u64>();
    // SAFETY: the table lies in the arena, aligned, and has a second slot.
    unsafe { base.add(at).cast::<AtomicU64>().as_ref() }.store(ticket, Ordering::Release);
}

#[test]
fn recording_when_it_is_abandoned_is_not_even_read_and_the_next_one_is_replayed() {
    let wrong = record(commands::VK_CREATE_BUFFER.opcode, &[]);
    let ended = in_process(|guest| {
        record_commands(guest);
        guest.create_buffer(1).unwrap();
        hand_over(guest, &fill(1), 5);
        abandon(guest, 5);
        hand_over(guest, &wrong, 5);
        guest.send(op::STREAM, &stream(1, std::slice::from_ref(&wrong))).unwrap();
        end(guest);
        begin(guest);
        hand_over(guest, &fill(1), 6);
        end(guest);
        submit(guest);
        assert!(!is_lost(guest));
        assert!(wait_for(|| guest.connection.region.control().completed(0) == 1));
    });
    assert_eq!(ended, End::Disconnected);
    let text = violates(|guest| {
        record_commands(guest);
        abandon(guest, 4);
        hand_over(guest, &wrong, 5);
        assert!(guest.is_ended());
    });
    assert!(text.contains("in a command buffer's stream"), "{text}");
}

#[test]
fn recording_when_it_is_abandoned_does_not_run() {
    let ended = in_process(|guest| {
        record_commands(guest);
        guest.create_buffer(1).unwrap();
        abandon(guest, 5);
        hand_over(guest, &fill(1), 5);
        end(guest);
        submit(guest);
        assert!(is_lost(guest));
    });
    assert_eq!(ended, End::Disconnected);
}

#[test]
fn command_buffer_when_a_handle_is_bad_is_poisoned_alone_until_recorded_anew() {
    let ended = in_process(|guest| {
        record_commands(guest);
        guest.create_buffer(1).unwrap();
        guest.send(op::STREAM, &stream(1, &[fill(1), fill(5), fill(1)])).unwrap();
        end(guest);
        assert!(!is_lost(guest));
        begin(guest);
        guest.send(op::STREAM, &stream(1, &[fill(1)])).unwrap();
        end(guest);
        submit(guest);
        assert!(!is_lost(guest));
        assert!(wait_for(|| guest.connection.region.control().completed(0) == 1));
    });
    assert_eq!(ended, End::Disconnected);
    let ended = in_process(|guest| {
        record_commands(guest);
        guest.send(op::STREAM, &stream(1, &[fill(5)])).unwrap();
        end(guest);
        submit(guest);
        assert!(is_lost(guest));
    });
    assert_eq!(ended, End::Disconnected);
}

#[test]
fn stream_when_its_structure_is_wrong_ends_the_session() {
    let header = |length| {
        Header { opcode: commands::VK_CMD_DRAW.opcode, flags: 0, length }.to_word().to_le_bytes().to_vec()
    };
    let mut cut = fill(1);
    cut.truncate(16);
    cut[4..8].copy_from_slice(&16_u32.to_le_bytes());
    let cases = [
        (header(0), "a record of 0 bytes"),
        (header(12), "a record of 12 bytes"),
        (header(64), "a record of 64 bytes"),
        (record(commands::VK_CREATE_BUFFER.opcode, &[]), "in a command buffer's stream"),
        (record(op::FACTS, &[]), "in a command buffer's stream"),
        (cut, "vkCmdFillBuffer"),
    ];
    for (bytes, needle) in cases {
        let text = violates(|guest| {
            record_commands(guest);
            guest.create_buffer(1).unwrap();
            guest.send(op::STREAM, &stream(1, &[bytes])).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains(needle), "{text}");
    }
}

#[test]
fn pool_when_destroyed_takes_its_command_buffers_along() {
    let text = violates(|guest| {
        record_commands(guest);
        guest.command(&commands::VK_DESTROY_COMMAND_POOL, &[dispatchable(1), 1, 0]).unwrap();
        end(guest);
        assert!(guest.is_ended());
    });
    assert!(text.contains("CommandBuffer 0x1"), "{text}");
}

#[test]
fn submission_when_nothing_was_recorded_is_refused_and_counted() {
    let ended = in_process(|guest| {
        record_commands(guest);
        submit(guest);
        assert!(is_lost(guest));
    });
    assert_eq!(ended, End::Disconnected);
}
