//! Records into the command ring: encoded in place, published when it pays.

use vw_transport::Producer;
use vw_wire_protocol::codec::{EncodeError, Writer};
use vw_wire_protocol::record::{ALIGNMENT, FLAG_LAST, HEADER_SIZE, Header, MAX_RECORD, op, record_length};

use crate::failure::Failure;
use crate::frame;
use crate::held::HeldRecordings;
use crate::ids::Spare;
use crate::straight::Straight;

/// Committed bytes after which the host is told without anybody asking.
const PUBLISH_AT: u64 = 16 << 10;

/// Space asked for before a record's size is known: more than nearly all records take.
const FIRST_TRY: usize = 512;

/// Largest record that is written straight.
const MOST_STRAIGHT: usize = 16 << 10;

/// Largest part of a record that is larger than the ring takes, header included.
const PART: usize = 256 << 10;

/// Bytes of descriptor updates that go together: few enough to stay in the caches of the host.
const GATHERED: usize = 8 << 10;

/// Writes a record's payload. May be called twice, and must write the same both times.
pub(crate) type Payload<'a> = &'a dyn Fn(&mut Writer<'_>);

/// The guest's end of the ring; used under the session's lock.
pub(crate) struct Sender {
    producer: Producer,
    /// [`PUBLISH_AT`], or 0 to publish every record at once.
    publish_at: u64,
    /// The record that is being gathered; its space is reserved and not committed.
    gathered: Option<Gathered>,
    /// Questions sent so far, whose answers stand in the control page.
    questions: u64,
    /// Ids for records that create what others have destroyed.
    pub(crate) spare: Spare,
    /// Ended recordings that the host has not got.
    pub(crate) held: HeldRecordings,
}

/// Descriptor updates that no other record follows yet.
struct Gathered {
    device: u64,
    start: *mut u8,
    /// Bytes written, header included, and bytes that there are.
    length: usize,
    room: usize,
    /// Where the last update begins.
    last: usize,
}

impl Gathered {
    /// Begins an update of `size` bytes with `head`; returns where it goes on.
    ///
    /// # Safety
    /// There must be room for it.
    #[inline(always)]
    unsafe fn append<const N: usize>(&mut self, head: [u64; N], size: usize) -> *mut u64 {
        self.last = self.length;
        self.length += size;
        // SAFETY: the caller's promise; lengths are multiples of 8, and the start is aligned to 8 bytes.
        unsafe {
            let at = self.start.add(self.last).cast::<[u64; N]>();
            at.write(head);
            at.add(1).cast()
        }
    }
}

// SAFETY: the space is the producer's own until it is committed.
unsafe impl Send for Gathered {}

impl Sender {
    /// Over the ring's producer; `batch`: records are published together.
    pub(crate) fn new(producer: Producer, batch: bool) -> Self {
        Self {
            producer,
            publish_at: if batch { PUBLISH_AT } else { 0 },
            gathered: None,
            questions: 0,
            spare: Spare::default(),
            held: HeldRecordings::default(),
        }
    }

    /// Appends a record, and returns the ring position behind it.
    pub(crate) fn push(&mut self, opcode: u16, payload: Payload<'_>) -> Result<u64, Failure> {
        self.push_with(opcode, 0, payload)
    }

    /// As [`Sender::push`], with flags in the header.
    pub(crate) fn push_with(
        &mut self,
        opcode: u16,
        flags: u16,
        payload: Payload<'_>,
    ) -> Result<u64, Failure> {
        self.close();
        let mut want = FIRST_TRY;
        // The second time the size is known. (A third would mean that the payload changes between calls.)
        for _ in 0..2 {
            let space = self.reserve(want)?;
            // SAFETY: reserved for this producer alone until it is committed.
            match unsafe { frame::write(space.0, space.1, opcode, flags, payload) } {
                Ok(length) => {
                    self.commit(length);
                    return Ok(self.producer.position());
                }
                Err(EncodeError::Overflow { needed })
                    if record_length(needed) + ALIGNMENT <= self.producer.max_reserve() =>
                {
                    want = record_length(needed) + ALIGNMENT;
                }
                Err(EncodeError::Overflow { needed }) => {
                    return self.push_parts(opcode, flags, needed, payload);
                }
                Err(_) => return Err(Failure::TooLarge),
            }
        }
        Err(Failure::TooLarge)
    }

    /// Appends a record of at most 64 bytes behind its header, which `put` puts.
    #[inline]
    pub(crate) fn push_straight(
        &mut self,
        opcode: u16,
        put: impl FnOnce(&mut Straight),
    ) -> Result<(), Failure> {
        let mut to = self.begin()?;
        put(&mut to);
        self.end(to, opcode, 0);
        Ok(())
    }

    /// Room for a record, more than nearly all take, which counts when it is [ended](Self::end), before anything else happens here.
    #[inline]
    pub(crate) fn begin(&mut self) -> Result<Straight, Failure> {
        self.close();
        let (start, room) = self.reserve(FIRST_TRY)?;
        // SAFETY: so much was reserved for this producer, aligned to 8 bytes.
        unsafe { Straight::new(start, room.min(MOST_STRAIGHT)) }.ok_or(Failure::TooLarge)
    }

    /// Appends the record that was begun.
    #[inline]
    pub(crate) fn end(&mut self, record: Straight, opcode: u16, flags: u16) {
        // SAFETY: it was begun in the space that is reserved.
        let length = unsafe { record.end(opcode, flags) };
        self.commit(length);
    }

    /// Asks for the memory requirements of an image, and lets the host see the question. Returns its number.
    pub(crate) fn ask_requirements(&mut self, image: u64) -> Result<u64, Failure> {
        let number = self.questions + 1;
        // SAFETY: the two words that are put have room.
        self.push_straight(op::TELL_REQUIREMENTS, |to| unsafe {
            to.put(number);
            to.put(image);
        })?;
        self.questions = number;
        self.publish();
        Ok(number)
    }

    /// Appends a record of `needed` payload bytes, too large for the ring, in parts.
    fn push_parts(
        &mut self,
        opcode: u16,
        flags: u16,
        needed: usize,
        payload: Payload<'_>,
    ) -> Result<u64, Failure> {
        let total = record_length(needed);
        if total > MAX_RECORD {
            return Err(Failure::TooLarge);
        }
        let mut whole = Vec::with_capacity(total);
        let header = Header { opcode, flags, length: total as u32 };
        whole.extend_from_slice(&header.to_word().to_le_bytes());
        let mut writer = Writer::growing(&mut whole, total - HEADER_SIZE);
        payload(&mut writer);
        writer.pad_to(8);
        writer.finish().map_err(|_| Failure::TooLarge)?;
        if whole.len() != total {
            return Err(Failure::TooLarge);
        }
        let part = PART.min(self.producer.max_reserve()) - HEADER_SIZE;
        let mut parts = whole.chunks(part).peekable();
        while let Some(bytes) = parts.next() {
            let flags = if parts.peek().is_none() { FLAG_LAST } else { 0 };
            // Both are multiples of 8, so that no part needs padding.
            let length = HEADER_SIZE + bytes.len();
            let space = self.reserve(length)?;
            let header = Header { opcode: op::FRAGMENT, flags, length: length as u32 };
            // SAFETY: at least `length` bytes were reserved for this producer, aligned to 8 bytes.
            unsafe {
                space.0.cast::<u64>().write(header.to_word().to_le());
                space.0.add(HEADER_SIZE).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
            self.commit(length);
        }
        Ok(self.producer.position())
    }

    /// Appends an update, which begins with `head`, to the record of updates of this device's descriptor sets, which ends
    /// where another record follows. Returns room for the `words` of 8 bytes that follow the head, which the caller writes
    /// at once: far fewer than the host takes in one record. An update with the head of the last one takes its place:
    /// whatever has the same head has the same length, and is written to the same descriptors.
    #[inline(always)]
    pub(crate) fn gather<const N: usize>(
        &mut self,
        device: u64,
        head: [u64; N],
        words: usize,
    ) -> Result<*mut u64, Failure> {
        let size = (N + words) * size_of::<u64>();
        if let Some(record) = &mut self.gathered
            && record.device == device
        {
            // SAFETY: both lie in the room that was reserved; what is read was written.
            unsafe {
                let last = record.start.add(record.last).cast::<[u64; N]>();
                if record.length - record.last >= size && last.read() == head {
                    return Ok(last.add(1).cast());
                }
                if size <= record.room - record.length {
                    return Ok(record.append(head, size));
                }
            }
        }
        self.gather_anew(device, head, size)
    }

    #[cold]
    fn gather_anew<const N: usize>(
        &mut self,
        device: u64,
        head: [u64; N],
        size: usize,
    ) -> Result<*mut u64, Failure> {
        self.close();
        // The header and the device's id.
        let first = HEADER_SIZE + size_of::<u64>();
        let least = first + size;
        let (start, room) = self.reserve(GATHERED.max(least).min(self.producer.max_reserve()))?;
        if least > room {
            return Err(Failure::TooLarge);
        }
        // SAFETY: at least so much was reserved, aligned to 8 bytes.
        unsafe { start.add(HEADER_SIZE).cast::<u64>().write(device.to_le()) };
        let room = room.min(GATHERED.max(least));
        let record = self.gathered.insert(Gathered { device, start, length: first, room, last: first });
        // SAFETY: there is room.
        Ok(unsafe { record.append(head, size) })
    }

    /// Ends the record that was being gathered.
    #[inline(always)]
    fn close(&mut self) {
        if let Some(record) = self.gathered.take() {
            let length = record.length as u32;
            let header = Header { opcode: op::UPDATE_DESCRIPTOR_SETS, flags: 0, length };
            // SAFETY: the space was reserved for this producer, aligned to 8 bytes.
            unsafe { record.start.cast::<u64>().write(header.to_word().to_le()) };
            self.commit(record.length);
        }
    }

    /// The ring position behind every record that has ended.
    pub(crate) fn position(&self) -> u64 {
        self.producer.position()
    }

    /// Lets the host see everything appended so far.
    pub(crate) fn publish(&mut self) {
        self.close();
        self.producer.publish();
    }

    /// At least `min` bytes of ring space; waits for the host to make room.
    fn reserve(&mut self, min: usize) -> Result<(*mut u8, usize), Failure> {
        let space = self.producer.reserve(min).map_err(|_| Failure::Lost)?;
        Ok((space.ptr.as_ptr(), space.len))
    }

    fn commit(&mut self, length: usize) {
        self.producer.commit(length);
        if self.producer.unpublished() >= self.publish_at {
            self.producer.publish();
        }
    }
}
