//! Bytes from a peer that means harm: nothing is read past the record, and nothing panics.
//!
//! Records stand at the end of a mapping with a hole behind it, so that reading on is a fault.
#![cfg(not(miri))]

mod common;

use common::build::Builder;
use common::guard::Guarded;
use common::host::{Objects, UNKNOWN, store_ids};
use common::mem::Pool;
use common::result::Driver;
use common::{Rng, written};
use vw_wire_protocol::codec::{
    Arena, DecodeError, EncodeError, HandleError, Mode, Reader, Writer, decode_reply, decode_request,
    decode_struct, encode_reply, encode_request, encode_struct,
};
use vw_wire_protocol::generated::{commands, structs};
use vw_wire_protocol::record::MAX_RECORD;
use vw_wire_protocol::schema::Command;

const ROOM: usize = 1 << 20;

/// Lengths to cut a record to: all of a short one, some of a long one.
fn cuts(len: usize, rng: &mut Rng) -> Vec<usize> {
    if len <= 256 {
        return (0..len).collect();
    }
    (0..64).chain((0..128).map(|_| rng.below(len as u64) as usize)).chain([len - 1]).collect()
}

/// Something else than what was there.
fn mutate(bytes: &mut [u8], rng: &mut Rng) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len() as u64) as usize;
        let left = bytes.len() - at;
        match rng.below(6) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next() as u8,
            2 if left >= 4 => bytes[at..at + 4].fill(0xFF),
            3 if left >= 8 => bytes[at..at + 8].fill(0xFF),
            4 if left >= 4 => bytes[at..at + 4].copy_from_slice(&(rng.below(1 << 24) as u32).to_le_bytes()),
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
}

/// What was accepted is whole: everything in it can be read, and it has a reply.
unsafe fn use_request(cmd: &Command, bytes: &[u8], arena: &Arena, objects: &mut Objects, seed: u64) {
    // SAFETY: the command is of the tables; accepted memory is what the encoder may walk.
    unsafe {
        let Ok(mut req) = decode_request(cmd, &mut Reader::new(bytes), arena, objects) else { return };
        store_ids(&req, objects);
        let mut again = Vec::new();
        let mut w = Writer::growing(&mut again, MAX_RECORD);
        encode_request(cmd, &req.args[..cmd.param_count.into()], &mut w);
        let _ = w.finish();
        if arena.used() < 1 << 20 {
            Driver::new(seed).call(cmd, &mut req.args);
            let _ = written(|w| encode_reply(cmd, &req, 0, w));
        }
    }
}

#[test]
fn request_when_cut_or_changed_is_refused_or_whole() {
    let mut guard = Guarded::new(ROOM);
    let mut arena = Arena::new(16 << 20);
    for (n, cmd) in commands::ALL.iter().enumerate() {
        for seed in 0..4u64 {
            let (mut pool, mut objects) = (Pool::default(), Objects::default());
            let seed = seed << 32 | n as u64;
            let args = Builder::new(&mut pool, &mut objects, seed).args(cmd);
            let mut rng = Rng(seed);
            // SAFETY: the arguments are of the command.
            let bytes = unsafe { written(|w| encode_request(cmd, &args, w)) };
            if bytes.len() > ROOM {
                continue;
            }
            for cut in cuts(bytes.len(), &mut rng) {
                let record = guard.put(&bytes[..cut]);
                // SAFETY: the command is of the tables.
                let res = unsafe { decode_request(cmd, &mut Reader::new(record), &arena, &mut objects) };
                let truncated = matches!(res, Err(DecodeError::Truncated { .. }));
                assert!(truncated, "{} cut to {cut} of {}", cmd.name, bytes.len());
                arena.reset();
            }
            for _ in 0..64 {
                let mut changed = bytes.clone();
                mutate(&mut changed, &mut rng);
                let record = guard.put(&changed);
                // SAFETY: as above.
                unsafe { use_request(cmd, record, &arena, &mut objects, seed) };
                arena.reset();
            }
        }
    }
}

#[test]
fn reply_when_cut_or_changed_is_refused_and_stays_within_the_room() {
    let mut guard = Guarded::new(ROOM);
    for (n, cmd) in commands::ALL.iter().enumerate() {
        for seed in 0..4u64 {
            let (mut pool, mut objects) = (Pool::default(), Objects::default());
            let seed = seed << 32 | n as u64;
            let args = Builder::new(&mut pool, &mut objects, seed).args(cmd);
            let mut rng = Rng(seed);
            let arena = Arena::default();
            // SAFETY: the arguments are of the command.
            unsafe {
                let bytes = written(|w| encode_request(cmd, &args, w));
                let mut req = decode_request(cmd, &mut Reader::new(&bytes), &arena, &mut objects)
                    .expect("encoded by ourselves");
                Driver::new(seed).call(cmd, &mut req.args);
                let reply = written(|w| encode_reply(cmd, &req, 0, w));
                for round in 0..64 {
                    let mut changed = reply.clone();
                    if round < 16 {
                        changed.truncate(rng.below(reply.len() as u64) as usize);
                    } else {
                        mutate(&mut changed, &mut rng);
                    }
                    // Counts that an earlier round has written are no more than fit: start afresh.
                    let (mut pool, mut objects) = (Pool::default(), Objects::default());
                    let args = Builder::new(&mut pool, &mut objects, seed).args(cmd);
                    let _ = decode_reply(cmd, &args, &mut Reader::new(guard.put(&changed)));
                    pool.check();
                }
            }
            pool.check();
        }
    }
}

#[test]
fn structure_when_cut_or_changed_is_refused_or_whole() {
    let mut guard = Guarded::new(ROOM);
    let mut arena = Arena::new(16 << 20);
    for (n, desc) in structs::ALL.iter().enumerate() {
        let (mut pool, mut objects) = (Pool::default(), Objects::default());
        let mem = Builder::new(&mut pool, &mut objects, n as u64).structure(desc);
        let mut rng = Rng(n as u64);
        for mode in [Mode::Full, Mode::Shape] {
            if mode == Mode::Shape && !common::can_be_result(desc) {
                continue;
            }
            // SAFETY: `mem` is such a structure.
            let bytes = unsafe { written(|w| encode_struct(desc, mem, mode, w)) };
            for cut in cuts(bytes.len(), &mut rng) {
                let mut r = Reader::new(guard.put(&bytes[..cut]));
                // SAFETY: the structure is of the tables.
                let res = unsafe { decode_struct(desc, mode, &mut r, &arena, &mut objects) };
                assert!(matches!(res, Err(DecodeError::Truncated { .. })), "{} cut to {cut}", desc.name);
                arena.reset();
            }
            for _ in 0..64 {
                let mut changed = bytes.clone();
                mutate(&mut changed, &mut rng);
                let mut r = Reader::new(guard.put(&changed));
                // SAFETY: as above; accepted memory is what the encoder may walk.
                unsafe {
                    if let Ok(back) = decode_struct(desc, mode, &mut r, &arena, &mut objects) {
                        let mut again = Vec::new();
                        let mut w = Writer::growing(&mut again, MAX_RECORD);
                        encode_struct(desc, back.as_ptr(), mode, &mut w);
                        let _ = w.finish();
                    }
                }
                arena.reset();
            }
        }
    }
}

#[test]
fn writer_when_its_space_is_short_never_leaves_it() {
    let mut guard = Guarded::new(ROOM);
    for (n, cmd) in commands::ALL.iter().enumerate() {
        let (mut pool, mut objects) = (Pool::default(), Objects::default());
        let args = Builder::new(&mut pool, &mut objects, 99 + n as u64).args(cmd);
        let mut rng = Rng(n as u64);
        // SAFETY: the arguments are of the command.
        let whole = unsafe { written(|w| encode_request(cmd, &args, w)) };
        for cut in cuts(whole.len().min(ROOM), &mut rng) {
            let space = guard.space(cut);
            let mut w = Writer::new(space);
            // SAFETY: as above.
            unsafe { encode_request(cmd, &args, &mut w) };
            assert_eq!(w.finish(), Err(EncodeError::Overflow { needed: whole.len() }), "{}", cmd.name);
        }
        let space = guard.space(whole.len());
        let mut w = Writer::new(space);
        // SAFETY: as above.
        unsafe { encode_request(cmd, &args, &mut w) };
        assert_eq!(w.finish(), Ok(whole.len()), "{}", cmd.name);
        assert_eq!(space, whole, "{}", cmd.name);
    }
}

#[test]
fn id_when_unknown_is_refused_but_where_the_field_is_lenient() {
    use vw_wire_protocol::schema::Op;
    let mut refused = 0;
    for cmd in commands::ALL {
        for op in cmd.params {
            let Op::Handle { off, ty, lenient } = op else { continue };
            let mut args = vec![0u64; cmd.param_count.into()];
            let mut objects = Objects::default();
            for op in cmd.params {
                if let Op::Handle { off, ty, .. } = op {
                    args[usize::from(*off) / 8] = objects.handle(*ty, 1);
                }
            }
            for id in [UNKNOWN, 0] {
                args[usize::from(*off) / 8] = objects.handle(*ty, id);
                let arena = Arena::default();
                // SAFETY: null is read nowhere.
                let res = unsafe {
                    let bytes = written(|w| encode_request(cmd, &args, w));
                    decode_request(cmd, &mut Reader::new(&bytes), &arena, &mut objects)
                };
                // A dispatchable handle is never null.
                if *lenient || id == 0 && !ty.dispatchable() {
                    assert_eq!(res.expect("null").args[usize::from(*off) / 8], 0, "{}", cmd.name);
                } else {
                    let want = DecodeError::Handle { ty: *ty, id, reason: HandleError::Unknown };
                    assert_eq!(res.expect_err("unknown"), want, "{}", cmd.name);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 300);
}
