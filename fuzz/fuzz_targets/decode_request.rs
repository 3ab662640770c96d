//! The host's view: a request that need not be one. What is accepted must be whole: it encodes again, can be
//! "called" and has a reply.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vw_wire_protocol::codec::{Arena, Reader, Writer, decode_request, encode_reply, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::MAX_RECORD;

#[path = "../../wire-protocol/tests/common/mod.rs"]
mod common;

use common::host::{Objects, store_ids};
use common::result::Driver;

fuzz_target!(|data: &[u8]| {
    let [a, b, bytes @ ..] = data else { return };
    let index = usize::from(u16::from_le_bytes([*a, *b])) % commands::ALL.len();
    let cmd = commands::ALL[index];
    let arena = Arena::new(4 << 20);
    let mut objects = Objects::default();
    // SAFETY: the command is of the tables; accepted memory is what the encoder may walk.
    unsafe {
        let Ok(mut req) = decode_request(cmd, &mut Reader::new(bytes), &arena, &mut objects) else { return };
        store_ids(&req, &mut objects);
        let mut again = Vec::new();
        let mut w = Writer::growing(&mut again, MAX_RECORD);
        encode_request(cmd, &req.args[..cmd.param_count.into()], &mut w);
        let _ = w.finish();
        if arena.used() < 64 << 10 {
            Driver::new(0).call(cmd, &mut req.args);
            let mut reply = Vec::new();
            let mut w = Writer::growing(&mut reply, MAX_RECORD);
            encode_reply(cmd, &req, 0, &mut w);
            let _ = w.finish();
        }
    }
});
