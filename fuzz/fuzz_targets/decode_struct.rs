//! One structure that need not be one. What is accepted encodes again, to the same bytes where no rule hides
//! a pointer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vw_wire_protocol::codec::{Arena, Mode, Reader, Writer, decode_struct, encode_struct};
use vw_wire_protocol::generated::structs;
use vw_wire_protocol::record::MAX_RECORD;

#[path = "../../wire-protocol/tests/common/mod.rs"]
mod common;

use common::host::Objects;

fuzz_target!(|data: &[u8]| {
    let [a, b, form, bytes @ ..] = data else { return };
    let index = usize::from(u16::from_le_bytes([*a, *b])) % structs::ALL.len();
    let desc = structs::ALL[index];
    let mode = if form & 1 == 0 { Mode::Full } else { Mode::Shape };
    if mode == Mode::Shape && !common::can_be_result(desc) {
        return;
    }
    let arena = Arena::new(4 << 20);
    let mut objects = Objects::default();
    let mut r = Reader::new(bytes);
    // SAFETY: the structure is of the tables; accepted memory is what the encoder may walk.
    unsafe {
        let Ok(mem) = decode_struct(desc, mode, &mut r, &arena, &mut objects) else { return };
        let used = bytes.len() - r.left();
        let mut again = Vec::new();
        let mut w = Writer::growing(&mut again, MAX_RECORD);
        encode_struct(desc, mem.as_ptr(), mode, &mut w);
        w.finish().expect("no more than what came in");
        assert!(again.len() <= used, "{}: {} bytes from {used}", desc.name, again.len());
    }
});
