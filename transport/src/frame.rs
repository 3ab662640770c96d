//! Frames: what travels on the socket after the handshake where the two sides do not share a kernel.
//!
//! A frame is a header of 8 bytes and what follows it, together at most [`MAX_FRAME`]. The reader takes every byte of it as
//! hostile; what a frame of some kind may say is checked by who handles that kind.

/// Largest frame in bytes, header included, and most that one write to the socket carries: some devices that carry the
/// stream of a virtual machine silently drop what a guest writes in larger pieces.
pub const MAX_FRAME: usize = 16 << 10;

/// Bytes of a header.
pub const HEADER: usize = 8;

/// Most bytes that follow a header.
pub const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Threads of the receiver that sleep on wait words are to wake: `u32`, a bit for each [`Word`](crate::bell::Word).
    Bell = 1,
    /// The sender leaves: why, in UTF-8.
    Goodbye = 2,
    /// The receiver is to answer with a [`Kind::Pong`].
    Ping = 3,
    /// The answer.
    Pong = 4,
    /// Guest to host: bytes of the command ring; with [`END`] they end with a whole record.
    Ring = 5,
    /// Guest to host: the host is to tell how far it has read the ring, as soon as it is `u64`.
    Ask = 6,
    /// Host to guest: `u32` number and length of a reply and `u32` offset in the reply area, then bytes that stand there;
    /// with [`END`] it is there as a whole.
    Reply = 7,
    /// Host to guest: `u64` how far the ring is read, `u32` why the device is lost (0: it is not), `u32` 0, then pairs of
    /// `u64`: slot of a queue, and its last submission that is complete.
    State = 8,
    /// Bytes of the window that have changed; see [`patch`](crate::patch).
    Pages = 9,
    /// Host to guest: a part of the window reads as 0 from now on: `u64` offset, `u64` length, whole pages.
    Punch = 10,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Bell,
        Self::Goodbye,
        Self::Ping,
        Self::Pong,
        Self::Ring,
        Self::Ask,
        Self::Reply,
        Self::State,
        Self::Pages,
        Self::Punch,
    ];

    fn from_u8(kind: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == kind)
    }
}

/// Flag of a frame that ends what earlier ones began.
pub const END: u8 = 1;

/// What is wrong with what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No such kind.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// Longer than any.
    #[error("frame of {0} bytes; at most {MAX_PAYLOAD} may follow the header")]
    TooLong(u32),
    /// Frames are missing.
    #[error("frame number {found} where {expected} should come: the stream has lost what was in between")]
    Gap {
        /// The number that it has.
        found: u16,
        /// The number of the next.
        expected: u16,
    },
    /// What follows the header is not what its kind says.
    #[error("frame of kind {kind:?}: {what}")]
    Malformed {
        /// The kind.
        kind: Kind,
        /// What is wrong with it.
        what: String,
    },
}

impl FrameError {
    /// A frame of some kind whose contents are wrong.
    pub fn malformed(kind: Kind, what: impl Into<String>) -> Self {
        Self::Malformed { kind, what: what.into() }
    }
}

/// A frame that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is about.
    pub kind: Kind,
    /// Flags of the kind.
    pub flags: u8,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The number at the start of `payload`, which it is shortened by.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] where it ends before.
    pub fn take_u64(&mut self) -> Result<u64, FrameError> {
        self.take().map(u64::from_le_bytes)
    }

    /// As [`take_u64`](Self::take_u64).
    ///
    /// # Errors
    /// As there.
    pub fn take_u32(&mut self) -> Result<u32, FrameError> {
        self.take().map(u32::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let Some((number, rest)) = self.payload.split_first_chunk() else {
            return Err(FrameError::malformed(self.kind, "it ends before it should"));
        };
        self.payload = rest;
        Ok(*number)
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] where there is.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.payload.len() {
            0 => Ok(()),
            more => Err(FrameError::malformed(self.kind, format!("{more} bytes more than belong there"))),
        }
    }
}

/// The header of frame `number`.
pub(crate) fn header(kind: Kind, flags: u8, number: u16, length: usize) -> [u8; HEADER] {
    let [a, b] = number.to_le_bytes();
    let [c, d, e, f] = (length as u32).to_le_bytes();
    [kind as u8, flags, a, b, c, d, e, f]
}

/// The frame at the start of `bytes`, and its whole length; none if it is not there as a whole. `expected` is its number.
///
/// # Errors
/// [`FrameError`]: then nothing that follows can be read.
pub(crate) fn parse(bytes: &[u8], expected: u16) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [kind, flags, a, b, c, d, e, f] = *header;
    let (found, length) = (u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f]));
    let kind = Kind::from_u8(kind).ok_or(FrameError::Kind(kind))?;
    if length as usize > MAX_PAYLOAD {
        return Err(FrameError::TooLong(length));
    }
    if found != expected {
        return Err(FrameError::Gap { found, expected });
    }
    let payload = rest.get(..length as usize);
    Ok(payload.map(|payload| (Frame { kind, flags, payload }, HEADER + payload.len())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frame_when_whole_is_read_and_when_cut_is_waited_for() {
        let mut bytes = header(Kind::State, END, 7, 3).to_vec();
        bytes.extend([1, 2, 3, 99]);
        let (frame, length) = parse(&bytes, 7).unwrap().unwrap();
        assert_eq!(frame, Frame { kind: Kind::State, flags: END, payload: &[1, 2, 3] });
        assert_eq!(length, 11);
        for cut in 0..11 {
            assert_eq!(parse(&bytes[..cut], 7), Ok(None), "{cut}");
        }
    }

    #[test]
    fn frame_when_bad_says_how() {
        let with = |at: usize, value: u8| {
            let mut bytes = header(Kind::Ring, 0, 0x0102, 4);
            bytes[at] = value;
            parse(&bytes, 0x0102).unwrap_err()
        };
        assert_eq!(with(0, 0), FrameError::Kind(0));
        assert_eq!(with(0, 11), FrameError::Kind(11));
        assert_eq!(with(2, 3), FrameError::Gap { found: 0x0103, expected: 0x0102 });
        assert_eq!(with(6, 1), FrameError::TooLong(0x1_0004));
        assert_eq!(parse(&header(Kind::Ring, 0, 0, MAX_PAYLOAD), 0), Ok(None));
        assert!(parse(&header(Kind::Ring, 0, 0, MAX_PAYLOAD + 1), 0).is_err());
    }

    proptest! {
        #[test]
        fn frame_when_bytes_are_anything_never_panics(bytes: Vec<u8>, number: u16) {
            if let Ok(Some((mut frame, length))) = parse(&bytes, number) {
                prop_assert!(length <= bytes.len());
                let _ = frame.take_u64().and_then(|_| frame.take_u32()).and_then(|_| frame.finish());
            }
        }
    }
}
