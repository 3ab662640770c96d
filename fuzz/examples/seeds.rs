//! Writes the corpora that are checked in: one small input for some of the commands and structures each.
//!
//! `cargo run --example seeds` in `fuzz/`; needed again when the wire format changes.

use std::path::{Path, PathBuf};

use vw_wire_protocol::codec::{
    Arena, Mode, Reader, decode_request, encode_reply, encode_request, encode_struct,
};
use vw_wire_protocol::generated::{commands, structs};
use vw_wire_protocol::schema::Class;

#[path = "../../wire-protocol/tests/common/mod.rs"]
mod common;

use common::build::Builder;
use common::host::Objects;
use common::mem::Pool;
use common::result::Driver;
use common::written;

/// Inputs longer than this slow the fuzzer down.
const LONGEST: usize = 400;
/// One in so many commands and structures gets a seed; the fuzzer finds the way from there.
const EVERY: usize = 6;

fn main() -> std::io::Result<()> {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["decode_request", "decode_reply", "decode_struct"] {
        let dir = corpus.join(target);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
    }
    for (n, cmd) in commands::ALL.iter().enumerate() {
        // Every call has a reply; of the others some will do.
        if cmd.class != Class::Call && n % EVERY != 0 {
            continue;
        }
        let (mut pool, mut objects) = (Pool::default(), Objects::default());
        let args = Builder::new(&mut pool, &mut objects, 0).args(cmd);
        let arena = Arena::default();
        // SAFETY: the arguments are of the command.
        let (request, reply) = unsafe {
            let request = written(|w| encode_request(cmd, &args, w));
            let mut req = decode_request(cmd, &mut Reader::new(&request), &arena, &mut objects)
                .expect("encoded by ourselves");
            Driver::new(0).call(cmd, &mut req.args);
            let reply = written(|w| encode_reply(cmd, &req, 0, w));
            (request, reply)
        };
        let index = u16::try_from(n).expect("opcodes are small").to_le_bytes();
        if n % EVERY == 0 {
            put(&corpus.join("decode_request"), cmd.name, &index, &request)?;
        }
        if cmd.class == Class::Call {
            put(&corpus.join("decode_reply"), cmd.name, &[index[0], index[1], 0], &reply)?;
        }
    }
    for (n, desc) in structs::ALL.iter().enumerate().step_by(EVERY) {
        let (mut pool, mut objects) = (Pool::default(), Objects::default());
        let mem = Builder::new(&mut pool, &mut objects, 0).structure(desc);
        let index = u16::try_from(n).expect("few structures").to_le_bytes();
        let result = common::can_be_result(desc) && n % 2 == 1;
        let mode = if result { Mode::Shape } else { Mode::Full };
        // SAFETY: `mem` is such a structure.
        let bytes = unsafe { written(|w| encode_struct(desc, mem, mode, w)) };
        put(&corpus.join("decode_struct"), desc.name, &[index[0], index[1], result.into()], &bytes)?;
    }
    Ok(())
}

fn put(dir: &Path, name: &str, head: &[u8], body: &[u8]) -> std::io::Result<()> {
    if head.len() + body.len() > LONGEST {
        return Ok(());
    }
    std::fs::write(dir.join(name), [head, body].concat())
}
