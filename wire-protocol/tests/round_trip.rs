//! Every command and every structure of the tables, with arbitrary values: what is decoded is what was encoded,
//! and encodes to the same bytes again; what the host's call leaves behind arrives in the guest.

mod common;

use common::build::Builder;
use common::host::{Objects, store_ids};
use common::mem::Pool;
use common::result::Driver;
use common::{compare, written};
use vw_wire_protocol::codec::{
    Arena, Mode, Reader, decode_reply, decode_request, decode_struct, decode_struct_out, encode_reply,
    encode_request, encode_struct, encode_struct_out,
};
use vw_wire_protocol::generated::{commands, structs};
use vw_wire_protocol::rules::Ctx;
use vw_wire_protocol::schema::{Command, Dir, Elem, Op, Pointer};

const SEEDS: u64 = if cfg!(miri) { 1 } else { 24 };

#[test]
fn command_when_encoded_and_decoded_is_the_same() {
    for (n, cmd) in commands::ALL.iter().enumerate() {
        for seed in 0..SEEDS {
            let (mut pool, mut objects) = (Pool::default(), Objects::default());
            let seed = seed << 32 | n as u64;
            let args = Builder::new(&mut pool, &mut objects, seed).args(cmd);
            // SAFETY: the arguments are of the command; what was decoded is of the same form.
            unsafe {
                let first = written(|w| encode_request(cmd, &args, w));
                let arena = Arena::default();
                let mut r = Reader::new(&first);
                let mut req = decode_request(cmd, &mut r, &arena, &mut objects)
                    .unwrap_or_else(|e| panic!("{} with seed {seed:#x}: {e}", cmd.name));
                assert_eq!(r.left(), 0, "{} with seed {seed:#x}", cmd.name);
                compare::request(cmd, &args, &req.args);

                store_ids(&req, &mut objects);
                let n = usize::from(cmd.param_count);
                let second = written(|w| encode_request(cmd, &req.args[..n], w));
                assert_eq!(first.len(), second.len(), "{} with seed {seed:#x}", cmd.name);
                let different = first.iter().zip(&second).filter(|(a, b)| a != b).count();
                // The distance between elements, a `u32`, is the elements' size after they were packed.
                let may_differ = if is_strided(cmd) { 4 } else { 0 };
                assert!(different <= may_differ, "{} with seed {seed:#x}", cmd.name);

                let mut driver = Driver::new(seed);
                driver.call(cmd, &mut req.args);
                let reply = written(|w| encode_reply(cmd, &req, 0, w));
                let mut r = Reader::new(&reply);
                let ret = decode_reply(cmd, &args, &mut r);
                assert_eq!(ret, Ok(0), "{} with seed {seed:#x}", cmd.name);
                assert_eq!(r.left(), 0, "{} with seed {seed:#x}", cmd.name);
                driver.check(cmd, &args, &req.args);
            }
            pool.check();
        }
    }
}

fn is_strided(cmd: &Command) -> bool {
    cmd.params.iter().any(|op| matches!(op, Op::Pointer(Pointer { elem: Elem::Strided { .. }, .. })))
}

#[test]
fn structure_when_encoded_and_decoded_is_the_same() {
    for (n, desc) in structs::ALL.iter().enumerate() {
        for seed in 0..SEEDS {
            let (mut pool, mut objects) = (Pool::default(), Objects::default());
            let seed = seed << 32 | n as u64;
            let mem = Builder::new(&mut pool, &mut objects, seed).structure(desc);
            // SAFETY: `mem` is such a structure, and so is what was decoded.
            unsafe {
                let first = written(|w| encode_struct(desc, mem, Mode::Full, w));
                assert!(first.len() >= desc.min_wire as usize, "{}", desc.name);
                let arena = Arena::default();
                let mut r = Reader::new(&first);
                let back = decode_struct(desc, Mode::Full, &mut r, &arena, &mut objects)
                    .unwrap_or_else(|e| panic!("{} with seed {seed:#x}: {e}", desc.name));
                assert_eq!(r.left(), 0, "{} with seed {seed:#x}", desc.name);
                compare::structure(desc, mem, back.as_ptr(), Ctx::default());
                let second = written(|w| encode_struct(desc, back.as_ptr(), Mode::Full, w));
                // Places for new handles are null until the call.
                let creates = desc.ops.iter().any(|op| matches!(op, Op::Pointer(p) if p.dir == Dir::New));
                assert!(creates || first == second, "{} with seed {seed:#x}", desc.name);
            }
        }
    }
}

#[test]
fn result_structure_when_filled_by_the_host_arrives_in_the_guest() {
    for (n, desc) in structs::ALL.iter().enumerate() {
        if !common::can_be_result(desc) {
            continue;
        }
        for seed in 0..SEEDS {
            let (mut pool, mut objects) = (Pool::default(), Objects::default());
            let seed = seed << 32 | n as u64;
            let mem = Builder::new(&mut pool, &mut objects, seed).structure(desc);
            // SAFETY: both are such structures, of one shape.
            unsafe {
                let shape = written(|w| encode_struct(desc, mem, Mode::Shape, w));
                let arena = Arena::default();
                let mut r = Reader::new(&shape);
                let host = decode_struct(desc, Mode::Shape, &mut r, &arena, &mut objects)
                    .unwrap_or_else(|e| panic!("{} with seed {seed:#x}: {e}", desc.name));
                assert_eq!(r.left(), 0, "{} with seed {seed:#x}", desc.name);
                compare::shape(desc, mem, host.as_ptr());
                assert_eq!(shape, written(|w| encode_struct(desc, host.as_ptr(), Mode::Shape, w)));

                let mut driver = Driver::new(seed);
                driver.result(desc, host.as_ptr());
                let out = written(|w| encode_struct_out(desc, host.as_ptr(), w));
                let mut r = Reader::new(&out);
                let done = decode_struct_out(desc, mem, &mut r);
                assert_eq!(done, Ok(()), "{} with seed {seed:#x}", desc.name);
                assert_eq!(r.left(), 0, "{} with seed {seed:#x}", desc.name);
                driver.check_struct(desc, mem, host.as_ptr());
            }
            pool.check();
        }
    }
}
