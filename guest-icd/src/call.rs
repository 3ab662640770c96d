//! Calls: records that are answered.
//!
//! One call is outstanding per connection. The host writes the answer to the reply area and counts it.

use std::os::fd::BorrowedFd;

use vw_transport::{Answer, SHORT_REPLY, Woken};
use vw_wire_protocol::codec::{DecodeError, Reader, Writer, decode_reply, encode_request, failed};
use vw_wire_protocol::record::{MAX_RECORD, op};
use vw_wire_protocol::schema::Command;

use ash::vk;

use crate::failure::Failure;
use crate::sender::Payload;
use crate::session::{Session, lock};

/// Most remembered answers; when there are more, all are forgotten.
const MAX_MEMO: usize = 8192;

/// Largest answer that is remembered, in bytes.
const MAX_MEMO_BYTES: usize = 4096;

impl Session {
    /// Sends a record and hands its answer to `read`. An answer that `read` refuses ends the session.
    pub(crate) fn call<R, E: std::fmt::Display>(
        &self,
        opcode: u16,
        payload: Payload<'_>,
        read: impl FnOnce(&mut Reader<'_>) -> Result<R, E>,
    ) -> Result<R, Failure> {
        self.call_with(None, opcode, payload, read)
    }

    /// As [`Session::call`], with a descriptor that goes before the record.
    pub(crate) fn call_with<R, E: std::fmt::Display>(
        &self,
        descriptor: Option<BorrowedFd<'_>>,
        opcode: u16,
        payload: Payload<'_>,
        read: impl FnOnce(&mut Reader<'_>) -> Result<R, E>,
    ) -> Result<R, Failure> {
        let mut replies = lock(&self.call);
        if self.broken() {
            // The socket may be another process's by now: one that forked this one.
            return Err(Failure::Lost);
        }
        if let Some(Err(gone)) = descriptor.map(|fd| self.peer.send_descriptor(fd)) {
            self.give_up(&gone);
            return Err(Failure::Lost);
        }
        let length = self.exchange(&mut replies, opcode, payload)?;
        let (area, size) = self.region().reply();
        let result = if let Some(words) = self.control().short_reply() {
            let bytes = words.map(u64::to_le_bytes);
            read(&mut Reader::new(&bytes.as_flattened()[..length.min(SHORT_REPLY)]))
        } else if length <= size {
            // SAFETY: the reply area is mapped as long as the session, and the host leaves it alone until the next
            // call, which waits for the lock. (A host that does not, only spoils the answer.)
            read(&mut unsafe { Reader::from_raw(area.as_ptr(), length) })
        } else {
            let whole = self.fetch(&mut replies, length)?;
            read(&mut Reader::new(&whole))
        };
        drop(replies);
        result.map_err(|e| {
            self.give_up(&format_args!("the reply to the record with opcode {opcode:#x} is wrong: {e}"));
            Failure::Lost
        })
    }

    /// Calls a Vulkan command and writes its results through `args`.
    ///
    /// # Safety
    /// `args` are valid arguments of `cmd`.
    pub(crate) unsafe fn call_command(&self, cmd: &Command, args: &[u64]) -> Result<u64, Failure> {
        // SAFETY: the caller's promise.
        self.call(cmd.opcode, &|w| unsafe { encode_request(cmd, args, w) }, |r| unsafe {
            decode_reply(cmd, args, r)
        })
    }

    /// As [`Session::call_command`], for commands whose answer `key` determines: the same key is asked once.
    ///
    /// # Safety
    /// As [`Session::call_command`].
    pub(crate) unsafe fn call_once(&self, cmd: &Command, args: &[u64], key: Vec<u8>) -> Result<u64, Failure> {
        let decode = |r: &mut Reader<'_>| {
            // SAFETY: the caller's promise.
            unsafe { decode_reply(cmd, args, r) }
        };
        if !self.perf.memo {
            // SAFETY: the caller's promise.
            return unsafe { self.call_command(cmd, args) };
        }
        if let Some(reply) = lock(&self.memo).get(key.as_slice()) {
            // Decoded before with arguments of the same shape.
            return decode(&mut Reader::new(reply)).map_err(|_| Failure::Lost);
        }
        let (ret, reply) = self.call(
            cmd.opcode,
            // SAFETY: the caller's promise.
            &|w| unsafe { encode_request(cmd, args, w) },
            |r| -> Result<_, DecodeError> {
                let mut reply = vec![0; r.left()];
                r.take_bytes(&mut reply)?;
                Ok((decode(&mut Reader::new(&reply))?, reply))
            },
        )?;
        let lasting = !failed(cmd, ret) || ret as i32 == vk::Result::ERROR_FORMAT_NOT_SUPPORTED.as_raw();
        if lasting && reply.len() <= MAX_MEMO_BYTES {
            let mut memo = lock(&self.memo);
            if memo.len() >= MAX_MEMO {
                memo.clear();
            }
            memo.insert(key.into(), reply.into());
        }
        Ok(ret)
    }

    /// Sends the record and waits for the answer; returns the answer's length.
    fn exchange(&self, replies: &mut u32, opcode: u16, payload: Payload<'_>) -> Result<usize, Failure> {
        self.send_now(opcode, payload)?;
        *replies = replies.wrapping_add(1);
        let expected = *replies;
        let control = self.control();
        let answered = || control.reply_seq() == expected;
        let woken =
            control.reply().wait_until(&self.reply_spin, None, &*self.peer, || answered() || self.broken());
        match woken {
            Ok(Woken::Ready) if answered() => Ok(control.reply_len() as usize),
            Ok(_) => Err(Failure::Lost),
            Err(gone) => {
                self.give_up(&gone);
                Err(Failure::Lost)
            }
        }
    }

    /// The answer to a question that was sent; waits for it. None when another one has taken its place, and where there is no
    /// host any more.
    pub(crate) fn await_answer(&self, number: u64) -> Option<[u64; 3]> {
        let control = self.control();
        let come = || control.answer(number) != Answer::Awaited || self.broken();
        if let Err(gone) = control.reply().wait_until(&self.reply_spin, None, &*self.peer, come) {
            self.give_up(&gone);
        }
        match control.answer(number) {
            Answer::Here(words) => Some(words),
            Answer::Awaited | Answer::Gone => None,
        }
    }

    /// Joins an answer of `length` bytes that is larger than the reply area, whose first part is there.
    fn fetch(&self, replies: &mut u32, length: usize) -> Result<Vec<u8>, Failure> {
        if length > MAX_RECORD {
            self.give_up(&format_args!("a reply of {length} bytes was announced"));
            return Err(Failure::Lost);
        }
        let (area, size) = self.region().reply();
        let mut whole = vec![0; length];
        let mut at = 0;
        loop {
            let part = size.min(length - at);
            // SAFETY: as in `call`; `part` is at most the size of the area.
            let taken =
                unsafe { Reader::from_raw(area.as_ptr(), part) }.take_bytes(&mut whole[at..at + part]);
            taken.map_err(|_| Failure::Lost)?;
            at += part;
            if at == length {
                return Ok(whole);
            }
            self.exchange(replies, op::FETCH_REPLY, &|w: &mut Writer<'_>| w.put_u64(at as u64))?;
        }
    }
}
