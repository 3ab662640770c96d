//! Credit for memory: what was granted needs no call, what was not ends the session, and what fails is told. No GPU: `--null`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use ash::vk;
use common::{
    Guest, Renderer, UNSEEN, allocate_payload, dispatchable, in_process, request, ret, violates, wait_for,
};
use vw_host_renderer::session::end::End;
use vw_transport::Credit;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::{ALLOCATIONS, IN_FILE, PROGRAM, lost, op};

const MIB: u64 = 1 << 20;

fn credit(guest: &Guest, number: usize) -> &Credit {
    guest.connection.region.control().credit(number).unwrap()
}

/// A device, and an allocation that is called: then something is granted.
fn granted(guest: &mut Guest) {
    assert_eq!(guest.create_device(), Ok(0));
    assert_eq!((0..=ALLOCATIONS).map(|number| credit(guest, number).left()).sum::<u64>(), 0);
    assert_eq!(guest.allocate(1, 0), Ok(0));
    assert!(wait_for(|| credit(guest, ALLOCATIONS).left() > 0));
}

/// Allocates hidden memory without a call.
fn send(guest: &mut Guest, id: u64, size: u64) {
    guest.send(op::ALLOCATE_MEMORY, &allocate_payload(id, size, UNSEEN, 0)).unwrap();
}

#[test]
fn allocation_when_granted_needs_no_call_and_comes_back_when_freed() {
    let end = in_process(|guest| {
        granted(guest);
        let whole = credit(guest, 0).left();
        assert!(whole >= 8 * MIB && credit(guest, 2).left() == 0, "{whole}");
        let called = guest.connection.region.control().reply_seq();
        assert!(credit(guest, 0).take(MIB) && credit(guest, ALLOCATIONS).take(1));
        send(guest, 2, MIB);
        guest.command(&commands::VK_FREE_MEMORY, &[dispatchable(1), 2, 0]).unwrap();
        assert!(wait_for(|| guest.producer.consumed() == guest.producer.position()));
        assert_eq!(credit(guest, 0).left(), whole);
        assert_eq!(guest.connection.region.control().reply_seq(), called);
        // In the window too: the memory is there, for its pages are taken.
        assert!(credit(guest, 1).take(8192) && credit(guest, ALLOCATIONS).take(1));
        guest.send(op::ALLOCATE_MEMORY, &allocate_payload(3, 8192, 8192, 1)).unwrap();
        guest.send(op::RENAME_MEMORY, &[3_u64.to_le_bytes(), 4_u64.to_le_bytes()].concat()).unwrap();
        assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &allocate_payload(5, 4096, 16384, 1)).unwrap()), 0);
    });
    assert_eq!(end, End::Disconnected);
}

#[test]
fn session_when_more_is_allocated_without_a_call_than_was_granted_ends() {
    let more = "without a call are more than was granted";
    // Before anything was granted; then of bytes; then, whatever the guest writes there, of bytes again.
    let first = violates(|guest| {
        assert_eq!(guest.create_device(), Ok(0));
        send(guest, 1, 4096);
        assert!(guest.is_ended());
    });
    assert!(first.contains(more), "{first}");
    for added in [0, 1 << 60] {
        let text = violates(|guest| {
            granted(guest);
            let whole = credit(guest, 0).left();
            credit(guest, 0).add(added);
            send(guest, 2, whole / 2);
            send(guest, 3, whole);
            assert!(guest.is_ended());
        });
        assert!(text.contains(more), "{text}");
    }
    // The null device holds 4096 allocations at a time; for how many more there is credit is granted anew all the time.
    let many = violates(|guest| {
        granted(guest);
        let sent = (2..4096)
            .take_while(|id| guest.send(op::ALLOCATE_MEMORY, &allocate_payload(*id, 1, UNSEEN, 0)).is_ok());
        assert!(sent.count() > 2000 && guest.is_ended());
    });
    assert!(many.contains(more), "{many}");
}

#[test]
fn session_when_memory_is_not_called_for_whose_place_matters_ends() {
    for offset in [IN_FILE, 8192 | PROGRAM] {
        let text = violates(|guest| {
            granted(guest);
            guest.send(op::ALLOCATE_MEMORY, &allocate_payload(2, 8192, offset, 1)).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains("without a call"), "{text}");
    }
}

/// Memory for a buffer that could not be created: in its place the driver's refusal, which nobody waits for either.
#[test]
fn memory_when_it_could_not_be_had_is_poisoned_and_its_binding_loses_the_device() {
    let renderer = Renderer::start_with_driver(&["--warm", "0"]);
    let mut guest = renderer.connect();
    granted_on(&mut guest);
    let id = 1_u64;
    // More than any driver has.
    let info = vk::BufferCreateInfo::default().size(1 << 60).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    let args = [dispatchable(1), &raw const info as u64, 0, &raw const id as u64];
    guest.command(&commands::VK_CREATE_BUFFER, &args).unwrap();
    let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(vk::Handle::from_raw(1));
    let info = vk::MemoryAllocateInfo::default().allocation_size(4096).push_next(&mut dedicated);
    let id = 2_u64;
    let args = [dispatchable(1), &raw const info as u64, 0, &raw const id as u64];
    let mut payload = 8192_u64.to_le_bytes().to_vec();
    payload.extend_from_slice(&request(&commands::VK_ALLOCATE_MEMORY, &args));
    assert!(credit(&guest, 0).take(4096) && credit(&guest, ALLOCATIONS).take(1));
    guest.send(op::ALLOCATE_MEMORY, &payload).unwrap();
    // The buffer is at fault, which is nothing new.
    guest.command(&commands::VK_BIND_BUFFER_MEMORY, &[dispatchable(1), 1, 2, 0]).unwrap();
    guest.call(op::FACTS, &[]).unwrap();
    assert_eq!(guest.connection.region.control().device_lost(), None, "{}", renderer.log());
    // It can be shown, renamed, and bound to, as any other.
    guest.send(op::RENAME_MEMORY, &[2_u64.to_le_bytes(), 3_u64.to_le_bytes()].concat()).unwrap();
    assert_eq!(guest.call(op::SHOW_MEMORY, &3_u64.to_le_bytes()), Ok(vec![0; 4]));
    guest.create_buffer(2).unwrap();
    guest.command(&commands::VK_BIND_BUFFER_MEMORY, &[dispatchable(1), 2, 3, 0]).unwrap();
    guest.call(op::FACTS, &[]).unwrap();
    assert_eq!(guest.connection.region.control().device_lost(), Some(lost::MEMORY));
    assert!(renderer.logs(&["vkBindBufferMemory binds memory that could not be allocated"]));
    // Nobody uses the buffer without memory.
    guest.command(&commands::VK_BIND_BUFFER_MEMORY, &[dispatchable(1), 2, 1, 0]).unwrap();
    guest.command(&commands::VK_DESTROY_BUFFER, &[dispatchable(1), 2, 0]).unwrap();
    guest.command(&commands::VK_FREE_MEMORY, &[dispatchable(1), 3, 0]).unwrap();
    guest.call(op::FACTS, &[]).unwrap();
    drop(guest);
    assert!(renderer.logs(&["session ended", "guest disconnected"]), "{}", renderer.log());
}

/// As [`granted`], on a driver's device, whose memory is all seen.
fn granted_on(guest: &mut Guest) {
    assert_eq!(guest.create_device(), Ok(0));
    assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 8192, 0, 0)).unwrap()), 0);
    assert!(wait_for(|| credit(guest, ALLOCATIONS).left() > 0));
}
