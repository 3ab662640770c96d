//! Records that are taken without the tables are those that the tables take, and mean the same.
#![cfg(not(miri))]

mod common;

use std::cell::RefCell;

use common::build::Builder;
use common::guard::Guarded;
use common::host::{Objects, store_ids};
use common::mem::Pool;
use common::{Rng, written};
use vw_wire_protocol::codec::{Arena, HandleError, Reader, Resolve, decode_request, encode_request};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::generated::{commands, straight};
use vw_wire_protocol::schema::{Class, Command};
use vw_wire_protocol::straight::{Host, Pfn, Scratch, Target};

/// The device that everything belongs to.
const DEVICE: u16 = 7;

/// Takes the arguments instead of a driver.
#[derive(Default)]
struct Recorder {
    objects: RefCell<Objects>,
    args: RefCell<Option<Vec<u64>>>,
}

impl Host for Recorder {
    fn handle(&self, device: u16, ty: HandleType, id: u64) -> Result<u64, HandleError> {
        assert_eq!(device, DEVICE);
        self.objects.borrow_mut().resolve(ty, id)
    }

    unsafe fn call(&self, _: impl Fn(Pfn, &[u64]) -> u64, _: Pfn, args: &[u64]) {
        let before = self.args.replace(Some(args.to_vec()));
        assert!(before.is_none(), "called twice");
    }
}

unsafe extern "system" fn never() {
    unreachable!("the recorder calls nothing");
}

/// A payload, padded as a record's is.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The record that arguments make once more: equal for equal arguments.
fn again(cmd: &Command, args: &[u64]) -> Vec<u8> {
    // SAFETY: arguments that were decoded for this command.
    unsafe { written(|w| encode_request(cmd, args, w)) }
}

/// What the tables make of a payload in the stream of command buffer `id`, encoded once more; none when they refuse it.
fn by_tables(cmd: &'static Command, payload: &[u8], id: u64, host: &Recorder) -> Option<Vec<u8>> {
    of_object(cmd, payload, (HandleType::CommandBuffer, id), host)
}

/// As [`by_tables`], of any command of this object.
fn of_object(
    cmd: &'static Command,
    payload: &[u8],
    (ty, id): (HandleType, u64),
    host: &Recorder,
) -> Option<Vec<u8>> {
    let (arena, mut reader) = (Arena::new(1 << 20), Reader::new(payload));
    let mut objects = host.objects.borrow_mut();
    let buffer = objects.dispatchable(ty, id).expose_provenance() as u64;
    // SAFETY: the command is of the tables.
    let request = unsafe { decode_request(cmd, &mut reader, &arena, &mut *objects) }.ok()?;
    reader.finish().ok()?;
    drop(objects);
    let sound = request.poisoned.is_none() && request.args[0] == buffer;
    sound.then(|| again(cmd, &request.args[..cmd.param_count.into()]))
}

/// What is made of it without the tables; none when it is not taken.
fn straight(
    cmd: &Command,
    payload: &[u8],
    id: u64,
    host: &Recorder,
    scratch: &mut Scratch,
) -> Option<Vec<u8>> {
    let take = straight::take::<Recorder>(cmd.opcode)?;
    let buffer = host.objects.borrow_mut().dispatchable(HandleType::CommandBuffer, id);
    let mut target = Target::new(host, DEVICE, (id, buffer.expose_provenance() as u64), scratch);
    // SAFETY: the recorder calls nothing; the payload is readable.
    let taken = unsafe { target.take(take, never, payload.as_ptr(), payload.len()) };
    let args = host.args.take();
    assert_eq!(taken.is_some(), args.is_some(), "{}", cmd.name);
    args.map(|args| again(cmd, &args))
}

fn commands() -> impl Iterator<Item = &'static Command> {
    commands::ALL.iter().copied().filter(|cmd| straight::take::<Recorder>(cmd.opcode).is_some())
}

/// A record of the command and the id of its command buffer.
fn record(cmd: &Command, host: &Recorder, seed: u64) -> (Vec<u8>, u64) {
    let mut pool = Pool::default();
    let args = Builder::new(&mut pool, &mut host.objects.borrow_mut(), seed).args(cmd);
    // SAFETY: the arguments are of the command.
    let bytes = padded(unsafe { written(|w| encode_request(cmd, &args, w)) });
    let id = u64::from_le_bytes(bytes[..8].try_into().expect("an id"));
    // No stream is of the null command buffer.
    (bytes, id.max(1))
}

#[test]
fn record_when_taken_without_the_tables_is_the_same_call() {
    let (host, mut scratch) = (Recorder::default(), Scratch::default());
    let mut never_taken = Vec::new();
    for (n, cmd) in commands().enumerate() {
        let mut taken = 0;
        for seed in 0..64u64 {
            let (payload, id) = record(cmd, &host, seed << 32 | n as u64);
            let tables = by_tables(cmd, &payload, id, &host);
            let straight = straight(cmd, &payload, id, &host, &mut scratch);
            taken += u32::from(straight.is_some());
            assert!(straight.is_none() || straight == tables, "{}, seed {seed}", cmd.name);
        }
        if taken == 0 {
            never_taken.push(cmd.name);
        }
    }
    assert!(commands().count() > 180);
    assert_eq!(never_taken, [""; 0], "never taken");
}

#[test]
fn record_when_cut_or_changed_is_taken_only_if_the_tables_take_it() {
    let (host, mut scratch, mut guard) = (Recorder::default(), Scratch::default(), Guarded::new(1 << 20));
    let mut refused = 0;
    for (n, cmd) in commands().enumerate() {
        for seed in 0..16u64 {
            let seed = seed << 32 | n as u64;
            let (payload, id) = record(cmd, &host, seed);
            let mut rng = Rng(seed);
            for _ in 0..64 {
                let mut changed = payload.clone();
                if rng.one_in(4) {
                    changed.truncate(8 * rng.below(payload.len() as u64 / 8) as usize);
                }
                for _ in 0..rng.below(3) {
                    let at = rng.below(changed.len() as u64) as usize;
                    if let Some(byte) = changed.get_mut(at) {
                        *byte = if rng.one_in(2) { *byte ^ 1 << rng.below(8) } else { rng.next() as u8 };
                    }
                }
                // At the end of a mapping: reading on is a fault.
                let changed = guard.put(&changed);
                if let Some(straight) = straight(cmd, changed, id, &host, &mut scratch) {
                    assert_eq!(Some(straight), by_tables(cmd, changed, id, &host), "{}", cmd.name);
                } else {
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn creation_when_read_without_the_tables_is_the_same() {
    let (host, mut scratch) = (Recorder::default(), Scratch::default());
    let mut creations = 0;
    for (n, cmd) in commands::ALL.iter().enumerate() {
        let Some(creation) = straight::creation::<Recorder>(cmd.opcode) else { continue };
        let mut taken = 0;
        for seed in 0..64u64 {
            let (payload, id) = record(cmd, &host, seed << 32 | n as u64);
            let words: Vec<u64> =
                payload.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect();
            let device =
                host.objects.borrow_mut().dispatchable(HandleType::Device, id).expose_provenance() as u64;
            let mut target = Target::new(&host, DEVICE, (id, device), &mut scratch);
            // SAFETY: the words are a payload.
            let Some((info, new)) =
                (unsafe { target.creation(creation, words.as_ptr().cast(), payload.len()) })
            else {
                continue;
            };
            let args =
                [device, info.expose_provenance() as u64, 0, (&raw const new).expose_provenance() as u64];
            let straight = again(cmd, &args);
            let (arena, mut objects) = (Arena::new(1 << 20), host.objects.borrow_mut());
            // SAFETY: the command is of the tables.
            let request = unsafe { decode_request(cmd, &mut Reader::new(&payload), &arena, &mut *objects) };
            let request = request.expect("what is taken is sound");
            store_ids(&request, &mut objects);
            drop(objects);
            assert_eq!(straight, again(cmd, &request.args[..4]), "{}, seed {seed}", cmd.name);
            taken += 1;
        }
        assert!(taken > 0, "{} is never taken", cmd.name);
        creations += 1;
    }
    assert!(creations > 20, "{creations}");
}

/// What is made of a submission to queue `id` without the tables, encoded once more; none when it is not taken.
fn submitted(
    cmd: &Command,
    payload: &[u8],
    id: u64,
    host: &Recorder,
    scratch: &mut Scratch,
) -> Option<Vec<u8>> {
    let submission = straight::submission::<Recorder>(cmd.opcode)?;
    let queue = host.objects.borrow_mut().dispatchable(HandleType::Queue, id).expose_provenance() as u64;
    let mut target = Target::new(host, DEVICE, (id, queue), scratch);
    // SAFETY: the payload is readable.
    let (infos, count) = unsafe { target.submission(submission, payload.as_ptr(), payload.len()) }?;
    Some(again(cmd, &[queue, count.into(), infos.expose_provenance() as u64, 0]))
}

#[test]
fn submission_when_read_without_the_tables_is_the_same() {
    let (host, mut scratch, mut guard) = (Recorder::default(), Scratch::default(), Guarded::new(1 << 20));
    for cmd in [&commands::VK_QUEUE_SUBMIT, &commands::VK_QUEUE_SUBMIT_2] {
        let (mut taken, mut refused) = (0, 0);
        for seed in 0..512u64 {
            let mut pool = Pool::default();
            let mut args = Builder::new(&mut pool, &mut host.objects.borrow_mut(), seed).args(cmd);
            // No fence travels.
            args[3] = if seed % 16 == 0 { args[3] } else { 0 };
            // SAFETY: the arguments are of the command.
            let payload = padded(unsafe { written(|w| encode_request(cmd, &args, w)) });
            let id = u64::from_le_bytes(payload[..8].try_into().expect("an id")).max(1);
            let mut rng = Rng(seed);
            for round in 0..32 {
                let mut changed = payload.clone();
                if round > 0 && rng.one_in(4) {
                    changed.truncate(8 * rng.below(payload.len() as u64 / 8) as usize);
                }
                for _ in 0..if round > 0 { rng.below(3) } else { 0 } {
                    let at = rng.below(changed.len() as u64) as usize;
                    if let Some(byte) = changed.get_mut(at) {
                        *byte ^= 1 << rng.below(8);
                    }
                }
                // At the end of a mapping: reading on is a fault.
                let changed = guard.put(&changed);
                let tables = of_object(cmd, changed, (HandleType::Queue, id), &host);
                match submitted(cmd, changed, id, &host, &mut scratch) {
                    Some(straight) => {
                        assert_eq!(Some(straight), tables, "{}, seed {seed}", cmd.name);
                        taken += 1;
                    }
                    None => refused += 1,
                }
            }
        }
        assert!(taken > 200 && refused > 1000, "{}: {taken} and {refused}", cmd.name);
    }
    assert!(straight::submission::<Recorder>(commands::VK_QUEUE_BIND_SPARSE.opcode).is_none());
}

#[test]
fn record_when_of_another_command_buffer_or_an_unknown_object_is_left_to_the_tables() {
    let (host, mut scratch) = (Recorder::default(), Scratch::default());
    let cmd = &commands::VK_CMD_BIND_PIPELINE;
    let payload = |buffer: u64, pipeline: u64| {
        padded([&buffer.to_le_bytes()[..], &0u32.to_le_bytes(), &pipeline.to_le_bytes()].concat())
    };
    assert!(straight(cmd, &payload(3, 5), 3, &host, &mut scratch).is_some());
    assert!(straight(cmd, &payload(4, 5), 3, &host, &mut scratch).is_none());
    assert!(straight(cmd, &payload(3, common::host::UNKNOWN), 3, &host, &mut scratch).is_none());
    assert!(commands().all(|cmd| cmd.class == Class::Record));
}
