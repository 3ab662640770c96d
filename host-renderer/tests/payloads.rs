//! Semaphores and fences that several processes share, from guests that say what is not true. No GPU: the null device.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::os::fd::{AsFd, OwnedFd};

use ash::vk;
use common::{Guest, dispatchable, in_process, request, violates, wait_for};
use vw_host_renderer::session::end::End;
use vw_transport::Payload;
use vw_transport::payload::Kind;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::op;
use vw_wire_protocol::schema::Command;

/// Number of the payload that guests have.
const PAYLOAD: u64 = 7;

fn words(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn attach(guest: &mut Guest, number: u64, fd: Option<OwnedFd>) -> Result<Vec<u8>, String> {
    if let Some(fd) = fd {
        guest.connection.peer.send_descriptor(fd.as_fd()).unwrap();
    }
    guest.call(op::ATTACH_PAYLOAD, &words(&[number]))
}

/// A guest with device 1, queue 1, semaphore 1 and a payload.
fn prepare(guest: &mut Guest, kind: Kind) -> Payload {
    assert_eq!(guest.create_device(), Ok(0));
    let (info, id) = (vk::SemaphoreCreateInfo::default(), 1_u64);
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
    guest.command(&commands::VK_CREATE_SEMAPHORE, &args).unwrap();
    let (payload, fd) = Payload::create(kind, 0).unwrap();
    assert_eq!(attach(guest, PAYLOAD, Some(fd)), Ok(vec![0; 4]));
    payload
}

/// The payload of `SUBMIT_SHARED`: lists of semaphores with their payloads, and a submission of so many batches that wait for
/// and signal semaphore 1.
fn shared(waits: &[[u64; 3]], signals: &[[u64; 3]], command: &Command, batches: u32) -> Vec<u8> {
    let semaphores: [vk::Semaphore; 1] = [vk::Handle::from_raw(1)];
    let stages = [vk::PipelineStageFlags::ALL_COMMANDS];
    let batch = vk::SubmitInfo::default()
        .wait_semaphores(&semaphores[..waits.len().min(1)])
        .wait_dst_stage_mask(&stages[..waits.len().min(1)])
        .signal_semaphores(&semaphores[..signals.len().min(1)]);
    let infos = vec![batch; batches as usize];
    let args = [dispatchable(1), u64::from(batches), infos.as_ptr() as u64, 0];
    let list =
        |list: &[[u64; 3]]| [(list.len() as u32).to_le_bytes().to_vec(), words(list.as_flattened())].concat();
    let opcode = u32::from(command.opcode).to_le_bytes().to_vec();
    [list(waits), list(signals), opcode, request(&commands::VK_QUEUE_SUBMIT, &args)].concat()
}

const SUBMIT: &Command = &commands::VK_QUEUE_SUBMIT;

#[test]
fn session_when_payloads_are_wrong_ends_with_the_reason() {
    let text = violates(|guest| {
        let _ = attach(guest, 1, None);
    });
    assert!(text.contains("without its descriptor"), "{text}");
    let text = violates(|guest| {
        let _ = attach(guest, 1, Some(rustix::pipe::pipe().unwrap().0));
    });
    assert!(text.contains("not a file of shared pages"), "{text}");
    let text = violates(|guest| {
        prepare(guest, Kind::Fence);
        let _ = attach(guest, PAYLOAD, None);
    });
    assert!(text.contains("has a payload already"), "{text}");
    let text = violates(|guest| {
        prepare(guest, Kind::Fence);
        for _ in 0..2 {
            guest.send(op::DETACH_PAYLOAD, &words(&[PAYLOAD])).unwrap();
        }
        assert!(guest.is_ended());
    });
    assert!(text.contains("no payload"), "{text}");
    for (fence, needle) in [([1, 8], "no payload"), ([9, PAYLOAD], "without a queue")] {
        let text = violates(|guest| {
            prepare(guest, Kind::Fence);
            guest.send(op::SIGNAL_FENCE, &words(&fence)).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains(needle), "{text}");
    }
}

#[test]
fn session_when_submissions_of_shared_semaphores_are_wrong_ends_with_the_reason() {
    let good = [1, PAYLOAD, 0];
    for (payload, needle) in [
        (shared(&[[2, PAYLOAD, 0]], &[], SUBMIT, 1), "Semaphore 0x2"),
        (shared(&[], &[[1, 8, 0]], SUBMIT, 1), "no payload"),
        (shared(&[good], &[], &commands::VK_CREATE_BUFFER, 1), "a submission with opcode"),
        (shared(&[good], &[], SUBMIT, 2), "one batch"),
        (shared(&[good], &[], SUBMIT, 0), "one batch"),
        (u32::MAX.to_le_bytes().to_vec(), ""),
    ] {
        let text = violates(|guest| {
            prepare(guest, Kind::BinarySemaphore);
            guest.send(op::SUBMIT_SHARED, &payload).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains(needle), "{text}");
    }
}

#[test]
fn payload_when_submissions_signal_it_is_signalled_also_after_it_was_detached() {
    let end = in_process(|guest| {
        let payload = prepare(guest, Kind::BinarySemaphore);
        let good = [1, PAYLOAD, 0];
        guest.send(op::SUBMIT_SHARED, &shared(&[], &[good], SUBMIT, 1)).unwrap();
        assert!(wait_for(|| payload.value() == 1));
        guest.send(op::SUBMIT_SHARED, &shared(&[good], &[], SUBMIT, 1)).unwrap();
        assert!(wait_for(|| payload.value() == 0));
        guest.send(op::SIGNAL_FENCE, &words(&[1, PAYLOAD])).unwrap();
        guest.send(op::DETACH_PAYLOAD, &words(&[PAYLOAD])).unwrap();
        assert!(wait_for(|| payload.value() == 1));
        assert!(wait_for(|| guest.connection.region.control().completed(0) == 2));
    });
    assert_eq!(end, End::Disconnected);
}
