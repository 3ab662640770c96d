//! Whatever a guest sends, its own session ends with the reason, and nobody else notices. No GPU: `--null`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ash::vk;
use common::recording::{begin, end, fill, is_lost, record_commands, stream};
use common::{
    Renderer, UNSEEN, allocate_payload, dispatchable, flagged_record, in_process, record, request, ret,
    violates,
};
use vw_host_renderer::session::end::End;
use vw_transport::SharedFile;
use vw_wire_protocol::descriptor_update::COPY;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::{FLAG_LAST, FLAG_REPLY, Header, IN_FILE, op};

#[test]
fn session_when_records_are_wrong_ends_with_the_reason() {
    let cases: [(&str, &[u8], &str); 10] = [
        ("unknown opcode", &record(0xEFFF, &[]), "unknown opcode 0xefff"),
        ("own opcode", &record(0xF0FF, &[]), "unknown opcode 0xf0ff"),
        ("truncated", &record(commands::VK_CREATE_BUFFER.opcode, &[1]), "vkCreateBuffer"),
        ("recorded", &record(commands::VK_CMD_DRAW.opcode, &[]), "outside of a command buffer's stream"),
        ("plain", &record(commands::VK_CREATE_DEVICE.opcode, &[]), "a record of vw's own"),
        ("fetch", &record(op::FETCH_REPLY, &0_u64.to_le_bytes()), "a reply"),
        ("stream", &record(op::STREAM, &7_u64.to_le_bytes()), "names no live object"),
        ("arena", &record(op::ARENA_STREAM, &[0xFF; 32]), "command arena"),
        ("question", &record(op::TELL_REQUIREMENTS, &[7; 16]), "names no live object"),
        ("half a question", &record(op::TELL_REQUIREMENTS, &[7; 8]), "0 are left"),
    ];
    for (name, bytes, reason) in cases {
        let text = violates(|guest| {
            guest.push(bytes).unwrap();
            assert!(guest.is_ended(), "{name}");
        });
        assert!(text.contains(reason), "{name}: {text}");
    }
}

#[test]
fn session_when_record_lengths_are_wrong_ends() {
    for length in [0_u32, 4, 9, 1 << 20, u32::MAX] {
        let word = Header { opcode: 1, flags: 0, length }.to_word().to_le_bytes();
        let text = violates(|guest| {
            guest.push(&word).unwrap();
            assert!(guest.is_ended(), "{length}");
        });
        assert!(text.contains(&length.to_string()), "{length}: {text}");
    }
    let text = violates(|guest| {
        guest.connection.region.control().tail_cursor().position.store(u64::MAX, Ordering::Release);
        guest.connection.region.control().command().signal();
        assert!(guest.is_ended());
    });
    assert!(text.contains("tail") || text.contains("producer"), "{text}");
}

#[test]
fn session_when_handles_are_wrong_ends_with_the_handle() {
    let destroy = &commands::VK_DESTROY_BUFFER;
    for (id, needle) in
        [(2, "Buffer 0x2"), (1 | 1 << 32, "Buffer 0x100000001"), (u64::MAX, "0xffffffffffffffff")]
    {
        let text = violates(|guest| {
            assert_eq!(guest.create_device(), Ok(0));
            guest.create_buffer(1).unwrap();
            guest.command(destroy, &[dispatchable(1), id, 0]).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains(needle) && text.contains("vkDestroyBuffer"), "{text}");
    }
    let twice = violates(|guest| {
        assert_eq!(guest.create_device(), Ok(0));
        guest.create_buffer(1).unwrap();
        guest.command(destroy, &[dispatchable(1), 1, 0]).unwrap();
        guest.command(destroy, &[dispatchable(1), 1, 0]).unwrap();
        assert!(guest.is_ended());
    });
    assert!(twice.contains("names no live object"), "{twice}");
    for (id, needle) in [(1, "in use"), (1 << 32, "no object"), (1 << 25, "not below")] {
        let text = violates(|guest| {
            assert_eq!(guest.create_device(), Ok(0));
            guest.create_buffer(1).unwrap();
            guest.create_buffer(id).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains(needle), "{text}");
    }
}

#[test]
fn session_when_memory_is_outside_of_the_window_or_taken_ends() {
    let cases = [
        (0, 8192, 100, "whole pages"),
        (1 << 20, 4096, 1, "whole pages"),
        ((1 << 20) - 4096, 8192, 1, "whole pages"),
        (u64::MAX - 4095, 4096, 1, "whole pages"),
        (4096, u64::MAX, 1, "whole pages"),
        (4096, 4096, 1, "overlap"),
        (0, 4096, 0, "does not see"),
        (UNSEEN, 4096, 1, "whole pages"),
        (UNSEEN, 4096, 9, "memory type 9"),
    ];
    for (offset, size, ty, needle) in cases {
        let (offset, ty) = if ty == 100 { (100, 1) } else { (offset, ty) };
        let text = violates(|guest| {
            assert_eq!(guest.create_device(), Ok(0));
            assert_eq!(guest.allocate(1, 0), Ok(0));
            let _ = guest.call(op::ALLOCATE_MEMORY, &allocate_payload(2, size, offset, ty));
            assert!(guest.is_ended());
        });
        assert!(text.contains(needle), "{offset:#x} {size}: {text}");
    }
}

/// The payload that gives memory `old` the id `new`.
fn rename(old: u64, new: u64) -> Vec<u8> {
    [old.to_le_bytes(), new.to_le_bytes()].concat()
}

#[test]
fn session_when_memory_is_renamed_wrongly_ends() {
    for (old, new, expected) in [
        (9, 2, "there is none"),
        (1 | 1 << 32, 2, "there is none"),
        (1, 0, "index 0"),
        (1, 1, "used before"),
        (1, 1 << 30, "not below"),
    ] {
        let text = violates(|guest| {
            assert_eq!(guest.create_device(), Ok(0));
            assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 4096, 0, 1)).unwrap()), 0);
            let _ = guest.send(op::RENAME_MEMORY, &rename(old, new));
            let _ = guest.call(op::FACTS, &[]);
        });
        assert!(text.contains(expected), "{text}");
    }
    let end = in_process(|guest| {
        assert_eq!(guest.create_device(), Ok(0));
        assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 4096, 0, 1)).unwrap()), 0);
        guest.send(op::RENAME_MEMORY, &rename(1, 2)).unwrap();
        guest.command(&commands::VK_FREE_MEMORY, &[dispatchable(1), 2, 0]).unwrap();
        // Its pages are free again.
        let again = allocate_payload(1 | 1 << 32, 4096, 0, 1);
        assert_eq!(ret(&guest.call(op::ALLOCATE_MEMORY, &again).unwrap()), 0);
    });
    assert_eq!(end, End::Disconnected);
}

#[test]
fn session_when_memory_in_a_file_is_wrong_ends() {
    let file = || Some(SharedFile::create(8192).unwrap().as_fd().try_clone_to_owned().unwrap());
    let pipe = || Some(rustix::pipe::pipe().unwrap().0);
    for (fd, size, ty, needle) in [
        (None, 8192, 1, "without its descriptor"),
        (file(), 8193, 1, "8193 bytes in a file of 8192"),
        (file(), u64::MAX, 1, "in a file of 8192"),
        (file(), 8192, 0, "not in files"),
        (file(), 8192, 9, "memory type 9"),
        (pipe(), 8192, 1, "not a file of shared pages"),
    ] {
        let text = violates(|guest| {
            assert_eq!(guest.create_device(), Ok(0));
            if let Some(fd) = fd {
                guest.connection.peer.send_descriptor(fd.as_fd()).unwrap();
            }
            let _ = guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, size, IN_FILE, ty));
            assert!(guest.is_ended());
        });
        assert!(text.contains(needle), "{size} {ty}: {text}");
    }
}

#[test]
fn record_when_sent_in_parts_is_executed_and_parts_are_checked() {
    let end = in_process(|guest| {
        let mut whole = record(op::FACTS, &[]);
        whole.resize(8, 0);
        let last = [
            Header { opcode: op::FRAGMENT, flags: FLAG_LAST, length: 16 }.to_word().to_le_bytes().to_vec(),
            whole,
        ]
        .concat();
        guest.push(&last).unwrap();
        assert!(common::wait_for(|| guest.connection.region.control().reply_seq() == 1));
    });
    assert_eq!(end, End::Disconnected);
    for inner in [record(op::FRAGMENT, &[]), record(op::FACTS, &[0; 8])[..8].to_vec(), vec![]] {
        let header = Header { opcode: op::FRAGMENT, flags: FLAG_LAST, length: 8 + inner.len() as u32 };
        let bytes = [header.to_word().to_le_bytes().to_vec(), inner].concat();
        let text = violates(|guest| {
            guest.push(&bytes).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains("parts"), "{text}");
    }
}

/// Records of a session that does a little of everything.
#[test]
fn queue_when_its_slot_is_a_new_devices_has_completed_nothing() {
    let end = in_process(|guest| {
        assert_eq!(guest.create_device(), Ok(0));
        let region = Arc::clone(&guest.connection.region);
        let completed = || region.control().completed(0);
        for _ in 0..3 {
            guest.submit(&[dispatchable(1), 0, 0, 0]).unwrap();
        }
        assert!(common::wait_for(|| completed() == 3));
        guest.command(&commands::VK_DESTROY_DEVICE, &[dispatchable(1), 0]).unwrap();
        assert_eq!(guest.create_device_as(1 | 1 << 32, 0), Ok(0));
        assert_eq!(completed(), 0);
    });
    assert_eq!(end, End::Disconnected);
}

#[test]
fn submission_when_its_objects_are_wrong_is_refused() {
    let buffers = |id| -> [vk::CommandBuffer; 1] { [vk::Handle::from_raw(dispatchable(id))] };
    let semaphores: [vk::Semaphore; 1] = [vk::Handle::from_raw(9)];
    let stages = [vk::PipelineStageFlags::ALL_COMMANDS];
    let (one, nine) = (buffers(1), buffers(9));
    let good = vk::SubmitInfo::default().command_buffers(&one);
    let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(nine[0])];
    let payload = |queue, info: &vk::SubmitInfo<'_>, fence| {
        let args = [dispatchable(queue), 1, std::ptr::from_ref(info) as u64, fence];
        (commands::VK_QUEUE_SUBMIT.opcode, request(&commands::VK_QUEUE_SUBMIT, &args))
    };
    let second = |infos| {
        let info = vk::SubmitInfo2::default().command_buffer_infos(infos);
        let args = [dispatchable(1), 1, std::ptr::from_ref(&info) as u64, 0];
        (commands::VK_QUEUE_SUBMIT_2.opcode, request(&commands::VK_QUEUE_SUBMIT_2, &args))
    };
    let null = [one[0], vk::CommandBuffer::null()];
    let null_infos = null.map(|buffer| vk::CommandBufferSubmitInfo::default().command_buffer(buffer));
    let (opcode, whole) = payload(1, &good, 0);
    let waits = vk::SubmitInfo::default().wait_semaphores(&semaphores).wait_dst_stage_mask(&stages);
    let cases = [
        ("queue", payload(2, &good, 0), "Queue 0x2"),
        ("fence", payload(1, &good, 7), "Fence 0x7"),
        ("command buffer", payload(1, &vk::SubmitInfo::default().command_buffers(&nine), 0), "Buffer 0x9"),
        ("second command", second(&infos), "Buffer 0x9"),
        ("null", payload(1, &vk::SubmitInfo::default().command_buffers(&null), 0), "Buffer 0x0"),
        ("null of the second command", second(&null_infos), "Buffer 0x0"),
        ("null queue", payload(0, &good, 0), "Queue 0x0"),
        ("semaphore", payload(1, &waits, 0), "Semaphore 0x9"),
        ("cut off", (opcode, whole[..16].to_vec()), "vkQueueSubmit"),
        ("empty", (opcode, Vec::new()), "vkQueueSubmit"),
    ];
    for (name, (opcode, payload), needle) in cases {
        let text = violates(|guest| {
            record_commands(guest);
            end(guest);
            guest.send(opcode, &payload).unwrap();
            assert!(guest.is_ended(), "{name}");
        });
        assert!(text.contains(needle), "{name}: {text}");
    }
}

#[test]
fn command_buffer_when_null_is_freed_and_used_for_nothing_else() {
    let buffers = [vk::CommandBuffer::null(), vk::Handle::from_raw(dispatchable(1))];
    let free = [dispatchable(1), 1, 2, buffers.as_ptr() as u64];
    let ended = in_process(|guest| {
        record_commands(guest);
        end(guest);
        guest.command(&commands::VK_FREE_COMMAND_BUFFERS, &free).unwrap();
        assert!(!is_lost(guest));
    });
    assert_eq!(ended, End::Disconnected);
    for cmd in [&commands::VK_END_COMMAND_BUFFER, &commands::VK_RESET_COMMAND_BUFFER] {
        let text = violates(|guest| {
            record_commands(guest);
            guest.command(cmd, &[0; 2][..usize::from(cmd.param_count)]).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains("Buffer 0x0"), "{}: {text}", cmd.name);
    }
}

#[test]
fn submission_when_its_command_buffer_may_not_run_loses_the_device() {
    for second in [false, true] {
        let ended = in_process(|guest| {
            let buffers: [vk::CommandBuffer; 1] = [vk::Handle::from_raw(dispatchable(1))];
            let infos = [vk::CommandBufferSubmitInfo::default().command_buffer(buffers[0])];
            let first = vk::SubmitInfo::default().command_buffers(&buffers);
            let info = vk::SubmitInfo2::default().command_buffer_infos(&infos);
            let (command, info) = if second {
                (&commands::VK_QUEUE_SUBMIT_2, std::ptr::from_ref(&info) as u64)
            } else {
                (&commands::VK_QUEUE_SUBMIT, std::ptr::from_ref(&first) as u64)
            };
            let submission = request(command, &[dispatchable(1), 1, info, 0]);
            record_commands(guest);
            end(guest);
            guest.send(command.opcode, &submission).unwrap();
            assert!(!is_lost(guest));
            begin(guest);
            guest.send(command.opcode, &submission).unwrap();
            assert!(is_lost(guest));
        });
        assert_eq!(ended, End::Disconnected);
    }
}

fn valid_session() -> Vec<Vec<u8>> {
    let info = vk::BufferCreateInfo::default().size(4096).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    let id = 1_u64;
    let create = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
    let pool = vk::CommandPoolCreateInfo::default();
    let create_pool = [dispatchable(1), std::ptr::from_ref(&pool) as u64, 0, std::ptr::from_ref(&id) as u64];
    let allocate = vk::CommandBufferAllocateInfo::default()
        .command_pool(vk::Handle::from_raw(1))
        .command_buffer_count(1);
    let buffer = dispatchable(1);
    let allocate =
        [dispatchable(1), std::ptr::from_ref(&allocate) as u64, std::ptr::from_ref(&buffer) as u64];
    let begin = vk::CommandBufferBeginInfo::default();
    let begin = [dispatchable(1), std::ptr::from_ref(&begin) as u64];
    let semaphore = vk::SemaphoreCreateInfo::default();
    let create_semaphore =
        [dispatchable(1), std::ptr::from_ref(&semaphore) as u64, 0, std::ptr::from_ref(&id) as u64];
    let (buffers, semaphores): ([vk::CommandBuffer; 1], [vk::Semaphore; 1]) =
        ([vk::Handle::from_raw(dispatchable(1))], [vk::Handle::from_raw(1)]);
    let submit = [vk::SubmitInfo::default().command_buffers(&buffers).signal_semaphores(&semaphores)];
    let submit = [dispatchable(1), 1, submit.as_ptr() as u64, 0];
    let buffers = [vk::CommandBufferSubmitInfo::default().command_buffer(buffers[0])];
    let submit_2 = [vk::SubmitInfo2::default().command_buffer_infos(&buffers); 2];
    let submit_2 = [dispatchable(1), 2, submit_2.as_ptr() as u64, 0];
    let command = |command: &vw_wire_protocol::schema::Command, args: &[u64]| {
        record(command.opcode, &request(command, args))
    };
    let mut device = 1_u32.to_le_bytes().to_vec();
    device.extend_from_slice(&[0; 16]);
    device.extend_from_slice(&1_u64.to_le_bytes());
    device.extend_from_slice(&common::create_device_request(1, 0));
    vec![
        record(op::FACTS, &[]),
        record(op::CREATE_DEVICE, &device),
        flagged_record(op::ALLOCATE_MEMORY, FLAG_REPLY, &allocate_payload(1, 8192, 0, 1)),
        command(&commands::VK_CREATE_BUFFER, &create),
        command(&commands::VK_BIND_BUFFER_MEMORY, &[dispatchable(1), 1, 1, 0]),
        command(&commands::VK_CREATE_COMMAND_POOL, &create_pool),
        command(&commands::VK_ALLOCATE_COMMAND_BUFFERS, &allocate),
        command(&commands::VK_BEGIN_COMMAND_BUFFER, &begin),
        record(op::STREAM, &stream(1, &[fill(1), fill(1)])),
        command(&commands::VK_END_COMMAND_BUFFER, &[dispatchable(1)]),
        command(&commands::VK_CREATE_SEMAPHORE, &create_semaphore),
        command(&commands::VK_QUEUE_SUBMIT, &submit),
        command(&commands::VK_QUEUE_SUBMIT_2, &submit_2),
        command(&commands::VK_DESTROY_SEMAPHORE, &[dispatchable(1), 1, 0]),
        command(&commands::VK_DESTROY_COMMAND_POOL, &[dispatchable(1), 1, 0]),
        command(&commands::VK_DESTROY_BUFFER, &[dispatchable(1), 1, 0]),
        record(op::RENAME_MEMORY, &rename(1, 2)),
        command(&commands::VK_FREE_MEMORY, &[dispatchable(1), 2, 0]),
        command(&commands::VK_DESTROY_DEVICE, &[dispatchable(1), 0]),
    ]
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn valid_session_when_unchanged_is_accepted() {
    let end = in_process(|guest| {
        for record in valid_session() {
            guest.push(&record).unwrap();
        }
        assert!(common::wait_for(|| guest.producer.consumed() == guest.producer.position()));
        // FACTS, CREATE_DEVICE and ALLOCATE_MEMORY were answered.
        assert_eq!(guest.connection.region.control().reply_seq(), 3);
    });
    assert_eq!(end, End::Disconnected);
}

#[test]
fn session_when_valid_records_are_mutated_never_crashes() {
    let records = valid_session();
    let mut state = 0x1234_5678_9abc_def1;
    for _ in 0..600 {
        in_process(|guest| {
            let chosen = random(&mut state) as usize % records.len();
            for (number, record) in records.iter().enumerate() {
                let mut record = record.clone();
                if number == chosen || random(&mut state).is_multiple_of(16) {
                    for _ in 0..=random(&mut state) % 4 {
                        let at = random(&mut state) as usize % record.len();
                        record[at] ^= 1 << (random(&mut state) % 8);
                    }
                }
                if guest.push(&record).is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn session_when_records_are_random_never_crashes() {
    let mut state = 0xdead_beef_cafe_f00d;
    for _ in 0..300 {
        in_process(|guest| {
            let _ = guest.create_device();
            for _ in 0..8 {
                let opcode = random(&mut state) as u16 % 700;
                let length = random(&mut state) as usize % 200;
                let payload: Vec<u8> =
                    (0..length)
                        .map(|_| {
                            if random(&mut state).is_multiple_of(2) {
                                0
                            } else {
                                random(&mut state) as u8 % 4
                            }
                        })
                        .collect();
                if guest.push(&record(opcode, &payload)).is_err() {
                    break;
                }
            }
        });
    }
}

#[test]
fn broker_when_guests_are_hostile_logs_reasons_and_serves_others() {
    let renderer = Renderer::start(&[]);
    let mut witness = renderer.connect();
    assert_eq!(witness.create_device(), Ok(0));
    for bytes in [vec![0xFF; 100], vec![0; 4096], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut stream = UnixStream::connect(renderer.socket()).unwrap();
        stream.write_all(&bytes).unwrap();
    }
    assert!(renderer.logs(&["session ended", "handshake failed"]), "{}", renderer.log());
    let mut hostile = renderer.connect();
    hostile.push(&record(0xEFFF, &[])).unwrap();
    assert!(hostile.is_ended());
    assert_eq!(
        hostile.connection.peer.last_words().as_deref(),
        Some("protocol violation: unknown opcode 0xefff")
    );
    assert!(
        renderer.logs(&["session ended", "protocol violation", "unknown opcode 0xefff"]),
        "{}",
        renderer.log()
    );
    assert_eq!(ret(&witness.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 4096, 0, 1)).unwrap()), 0);
    assert_eq!(renderer.children().len(), 1);
}

/// The payload of a record about an object: `length` is announced, `rest` is there.
fn about(device: u64, ty: vk::ObjectType, id: u64, length: u32, rest: &[u8]) -> Vec<u8> {
    let mut payload = [device.to_le_bytes(), id.to_le_bytes()].concat();
    payload.extend_from_slice(&ty.as_raw().to_le_bytes());
    payload.extend_from_slice(&length.to_le_bytes());
    payload.extend_from_slice(rest);
    payload
}

#[test]
fn session_when_names_and_tags_are_wrong_ends_and_unknown_objects_are_nothing_to_name() {
    let pool = vk::ObjectType::COMMAND_POOL;
    let end = in_process(|guest| {
        record_commands(guest);
        for (ty, id) in [
            (pool, 1),
            (pool, 77),
            (vk::ObjectType::FENCE, 1),
            (vk::ObjectType::INSTANCE, 1),
            (vk::ObjectType::UNKNOWN, u64::MAX),
            (vk::ObjectType::from_raw(-5), 1),
        ] {
            guest.send(op::NAME_OBJECT, &about(1, ty, id, 4, b"name")).unwrap();
            guest.send(op::NAME_OBJECT, &about(1, ty, id, 0, b"")).unwrap();
            guest.send(op::TAG_OBJECT, &about(1, ty, id, 3, b"\x07\0\0\0\0\0\0\0tag")).unwrap();
        }
        assert!(!is_lost(guest));
    });
    assert_eq!(end, End::Disconnected);
    for (opcode, payload, reason) in [
        (op::NAME_OBJECT, about(9, pool, 1, 4, b"name"), "Device 0x9"),
        (op::NAME_OBJECT, about(1, pool, 1, u32::MAX, b"name"), "4294967295 bytes"),
        (op::NAME_OBJECT, about(1, pool, 1, 4, b"n\0me"), "zero byte"),
        (op::NAME_OBJECT, about(1, pool, 1, 4, b"name and a lot more"), ""),
        (op::TAG_OBJECT, about(1, pool, 1, 12, b"\x07\0\0\0\0\0\0\0tag"), "a tag of 12 bytes"),
        (op::TAG_OBJECT, vec![0; 8], ""),
    ] {
        let text = violates(|guest| {
            record_commands(guest);
            guest.send(opcode, &payload).unwrap();
            assert!(guest.is_ended(), "{reason}");
        });
        assert!(text.contains(reason), "{reason}: {text}");
    }
}

/// A record of updates for device 1, of these words.
fn updates(words: &[u64]) -> Vec<u8> {
    let words = [&[1], words].concat();
    record(op::UPDATE_DESCRIPTOR_SETS, &words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
}

#[test]
fn session_when_descriptor_updates_are_wrong_ends_with_the_reason() {
    let uniform = |count: u64| count | (vk::DescriptorType::UNIFORM_BUFFER.as_raw() as u64) << 32;
    let inline = 1 | (vk::DescriptorType::INLINE_UNIFORM_BLOCK.as_raw() as u64) << 32;
    let copy = 1 | u64::from(COPY) << 32;
    let cases: [(&[u64], &str); 10] = [
        (&[1, 0, copy, 1], "a copy of descriptors that is cut off"),
        (&[1, 0, copy, 1, 0], "a copy with DescriptorSet 0x1: names no live object"),
        (&[0, 0, copy, 1, 0], "a copy with DescriptorSet 0x0"),
        (&[1], "shorter than its header"),
        (&[1, 0, uniform(1), 1, 0], "a write of 1 descriptors where fewer are left"),
        (&[1, 0, uniform(u32::MAX.into()), 1, 0, 16], "a write of 4294967295 descriptors"),
        (&[1, 0, inline, 1, 0, 16], "descriptors of type 1000138000"),
        (&[1, 0, uniform(1), 1, 0, 16], "DescriptorSet 0x1: names no live object"),
        (&[0, 0, uniform(1), 1, 0, 16], "no descriptor set"),
        (&[0; 2100], "16800 bytes of descriptor updates"),
    ];
    for (words, reason) in cases {
        let text = violates(|guest| {
            assert_eq!(guest.create_device(), Ok(0));
            guest.create_buffer(1).unwrap();
            guest.push(&updates(words)).unwrap();
            assert!(guest.is_ended(), "{reason}");
        });
        assert!(text.contains(reason), "{text}");
    }
    let text = violates(|guest| {
        guest.push(&updates(&[])).unwrap();
        assert!(guest.is_ended());
    });
    assert!(text.contains("Device 0x1: names no live object"), "{text}");
}
