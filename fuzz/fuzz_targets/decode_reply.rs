//! The guest's view: a reply that need not be one, to a call of the application's. Nothing may be written where
//! the application made no room.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vw_wire_protocol::codec::{Reader, decode_reply};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Class;

#[path = "../../wire-protocol/tests/common/mod.rs"]
mod common;

use common::build::Builder;
use common::host::Objects;
use common::mem::Pool;

fuzz_target!(|data: &[u8]| {
    let [a, b, call, bytes @ ..] = data else { return };
    let index = usize::from(u16::from_le_bytes([*a, *b])) % commands::ALL.len();
    let cmd = commands::ALL[index];
    if cmd.class != Class::Call {
        return;
    }
    let (mut pool, mut objects) = (Pool::default(), Objects::default());
    let args = Builder::new(&mut pool, &mut objects, (*call).into()).args(cmd);
    // SAFETY: the arguments are of the command.
    let _ = unsafe { decode_reply(cmd, &args, &mut Reader::new(bytes)) };
    pool.check();
});
