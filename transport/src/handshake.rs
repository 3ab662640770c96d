//! The messages by which two sides agree on a region: what stands in them and how they are read.
//!
//! A message is a [`Preamble`] and a body. The preamble and the refusal's body stay as they are in every version of
//! the protocol, so that sides of different versions can tell each other so. The reader takes every byte as hostile:
//! lengths are bounded before anything is read, text is cleaned before it can reach a log.

use std::fmt;

use bytemuck::{Pod, Zeroable};

use crate::attached::{Half, Place, RegionId, Slice};
use crate::layout::{Layout, LayoutError, Limits, system_page_size};

/// Version of what this crate defines: handshake, region, ring. Both sides must have the same.
pub const PROTOCOL_VERSION: u32 = 5;

/// First bytes of every message.
pub const MAGIC: [u8; 8] = *b"vwshake\n";

/// Longest body that is read, in bytes.
pub const MAX_BODY: usize = 4096;

/// Longest text in a message, in bytes of UTF-8; longer ones are cut.
pub const MAX_TEXT: usize = 1024;

/// Size of a [`Preamble`] in bytes.
pub const PREAMBLE_SIZE: usize = size_of::<Preamble>();

/// Optional features, agreed on in the handshake: bits.
pub mod feature {
    /// Descriptors pass on the socket: [`Peer::send_descriptor`](crate::Peer::send_descriptor).
    pub const DESCRIPTORS: u64 = 1;
    /// The host's device has memory of its own, which the host keeps like what the program sees of the window: the guest says
    /// what that is.
    pub const COPIED: u64 = 2;
    /// The region is a file whose descriptor comes with the welcome.
    pub const PASSED: u64 = 1 << 8;
    /// The region is a slice of memory that both sides have already: a device of the guest's machine.
    pub const ATTACHED: u64 = 1 << 9;
    /// Each side has a region of its own, and a stream keeps them alike.
    pub const STREAM: u64 = 1 << 10;
    /// All ways to have memory in common. A hello has those that the guest can go, a welcome the one that is gone.
    pub const MEMORY: u64 = PASSED | ATTACHED | STREAM;
}

/// Most regions that a hello names.
pub const MAX_REGIONS: usize = 4;

/// What must be the same on both sides for their records to mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// Version of the registry that the tables were made from.
    pub registry: u32,
    /// Hash of the tables that records are coded by.
    pub table_hash: u64,
}

impl Versions {
    /// This crate's protocol with the caller's tables.
    pub const fn new(registry: u32, table_hash: u64) -> Self {
        Self { protocol: PROTOCOL_VERSION, registry, table_hash }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "protocol {}, registry {}, tables {:016x}", self.protocol, self.registry, self.table_hash)
    }
}

/// What the guest says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the guest was built with.
    pub versions: Versions,
    /// Page size of the guest's machine in bytes.
    pub page_size: u64,
    /// Optional features that the guest can use: [`feature`]s.
    pub features: u64,
    /// Sizes that the guest would like; 0 where the host is to choose.
    pub limits: Limits,
    /// The guest's process id, as it sees itself; for logs only.
    pub pid: u32,
    /// Name of the guest's program; for logs and policy by agreement, not proven.
    pub program: String,
    /// The regions that the guest's machine has as devices; the first [`MAX_REGIONS`] are sent.
    pub regions: Vec<RegionId>,
    /// What the guest would have liked and cannot, for the host's log; usually empty.
    pub note: String,
}

impl Hello {
    /// A hello from this process with no wishes.
    pub fn new(versions: Versions, program: impl Into<String>) -> Self {
        Self {
            versions,
            page_size: system_page_size(),
            features: 0,
            limits: Limits::HOST_CHOICE,
            pid: std::process::id(),
            program: program.into(),
            regions: Vec::new(),
            note: String::new(),
        }
    }
}

/// What the host grants a guest.
#[derive(Debug)]
pub struct Offer {
    /// How the two have memory in common: one of the ways that the hello names.
    pub memory: Grant,
    /// Sizes of the region. Rounded up to the larger of the two sides' page sizes.
    pub limits: Limits,
    /// Features that both sides use from now on: a subset of the hello's.
    pub features: u64,
    /// Who the host is, for the guest's log: name and version of the renderer.
    pub host: String,
}

/// How the host lets a guest have memory in common with it.
#[derive(Debug)]
pub enum Grant {
    /// A region of its own, by descriptor.
    Passed,
    /// A slice of a region that the guest's machine has as a device.
    Attached(Slice),
    /// None: each side has a region of its own, and a stream keeps them alike.
    Stream,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Stream => f.write_str("none, over the stream"),
            Self::Attached(slice) => write!(f, "attached at {} of region {}", slice.offset, slice.id),
        }
    }
}

impl Grant {
    /// The [`feature`] that stands for it.
    pub fn feature(&self) -> u64 {
        match self {
            Self::Passed => feature::PASSED,
            Self::Attached(_) => feature::ATTACHED,
            Self::Stream => feature::STREAM,
        }
    }
}

/// The host's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// What the host was built with; the same as the guest's.
    pub versions: Versions,
    /// Features that both sides use from now on.
    pub features: u64,
    /// The region that comes with the message.
    pub layout: Layout,
    /// The session process's id, as it sees itself; for logs only.
    pub pid: u32,
    /// Who the host is, for the guest's log.
    pub host: String,
    /// Where the region is, if it is part of a device.
    pub place: Option<Place>,
}

/// The host's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the host was built with.
    pub versions: Versions,
    /// True if the versions are the reason.
    pub versions_differ: bool,
    /// What the host has to say: what happened and what to do.
    pub message: String,
}

/// Any message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Guest to host, first.
    Hello(Hello),
    /// Host to guest, with the region's descriptor.
    Welcome(Welcome),
    /// Host to guest, and the end.
    Refusal(Refusal),
    /// Either side, with a descriptor that the next record is about.
    Descriptor(Versions),
    /// Guest to host, after a welcome to a place: what only those can know who see the host's pages there.
    Proof(Versions, Half),
    /// Host to guest: the proof holds. Frames follow.
    Ready(Versions),
    /// Either side, and the end: why it leaves.
    Goodbye {
        /// What the sender was built with.
        versions: Versions,
        /// Why it leaves.
        reason: String,
    },
}

/// Bytes that are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The first bytes are not vw's.
    #[error("what came is not a handshake of vw (it starts with {0:02x?}): another program's socket?")]
    Magic([u8; 8]),
    /// The message is of no known kind.
    #[error("message of unknown kind {0}")]
    Kind(u32),
    /// The message is longer than any message.
    #[error("message of {0} bytes; at most {MAX_BODY} are read")]
    TooLong(u32),
    /// The body is shorter than its kind, or than its text.
    #[error("message of kind {kind} with a body of {found} bytes where {expected} are needed")]
    Short {
        /// The kind.
        kind: u32,
        /// Bytes there.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// A welcome whose region cannot be.
    #[error("the region offered cannot be: {0}")]
    Layout(#[from] LayoutError),
}

const HELLO: u32 = 1;
const WELCOME: u32 = 2;
const REFUSAL: u32 = 3;
const GOODBYE: u32 = 4;
const DESCRIPTOR: u32 = 5;
const PROOF: u32 = 6;
const READY: u32 = 7;

/// Start of every message, the same in every version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Preamble {
    magic: [u8; 8],
    kind: u32,
    /// Bytes that follow.
    length: u32,
    protocol: u32,
    registry: u32,
    table_hash: u64,
}

impl Preamble {
    /// Reads a preamble.
    ///
    /// # Errors
    /// [`MessageError`] if it is not vw's or the body would be too long.
    pub fn decode(bytes: &[u8; PREAMBLE_SIZE]) -> Result<Self, MessageError> {
        let preamble: Self = bytemuck::pod_read_unaligned(bytes);
        if preamble.magic != MAGIC {
            return Err(MessageError::Magic(preamble.magic));
        }
        if preamble.length as usize > MAX_BODY {
            return Err(MessageError::TooLong(preamble.length));
        }
        Ok(preamble)
    }

    /// Bytes of body to read, at most [`MAX_BODY`].
    pub fn body_length(&self) -> usize {
        self.length as usize
    }

    /// What the sender was built with.
    pub fn versions(&self) -> Versions {
        Versions { protocol: self.protocol, registry: self.registry, table_hash: self.table_hash }
    }

    /// Whether the body can be read whatever the sender's version: a refusal or a goodbye.
    pub fn is_farewell(&self) -> bool {
        matches!(self.kind, REFUSAL | GOODBYE)
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SizesWire {
    ring: u64,
    reply: u64,
    arena: u64,
    window: u64,
    page: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HelloWire {
    sizes: SizesWire,
    page_size: u64,
    features: u64,
    /// Zeros: none.
    regions: [RegionId; MAX_REGIONS],
    pid: u32,
    program_length: u32,
    note_length: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct WelcomeWire {
    sizes: SizesWire,
    features: u64,
    /// Zeros where the region is not part of a device.
    place: Place,
    pid: u32,
    host_length: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct FarewellWire {
    versions_differ: u32,
    text_length: u32,
}

impl From<Limits> for SizesWire {
    fn from(l: Limits) -> Self {
        Self {
            ring: l.ring_size,
            reply: l.reply_size,
            arena: l.arena_size,
            window: l.window_size,
            page: l.page_size,
        }
    }
}

impl From<SizesWire> for Limits {
    fn from(s: SizesWire) -> Self {
        Self {
            ring_size: s.ring,
            reply_size: s.reply,
            arena_size: s.arena,
            window_size: s.window,
            page_size: s.page,
        }
    }
}

impl Message {
    /// The message as bytes, preamble included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(h) => {
                let (program, note) = (clip(&h.program), clip(&h.note));
                let mut regions = [RegionId::zeroed(); MAX_REGIONS];
                regions.iter_mut().zip(&h.regions).for_each(|(to, id)| *to = *id);
                let body = HelloWire {
                    sizes: h.limits.into(),
                    page_size: h.page_size,
                    features: h.features,
                    regions,
                    pid: h.pid,
                    program_length: program.len() as u32,
                    note_length: note.len() as u32,
                    reserved: 0,
                };
                frame(HELLO, h.versions, bytemuck::bytes_of(&body), &[program, note].concat())
            }
            Self::Welcome(w) => {
                let text = clip(&w.host);
                let body = WelcomeWire {
                    sizes: (*w.layout.limits()).into(),
                    features: w.features,
                    place: w.place.unwrap_or(Place::zeroed()),
                    pid: w.pid,
                    host_length: text.len() as u32,
                };
                frame(WELCOME, w.versions, bytemuck::bytes_of(&body), text)
            }
            Self::Refusal(r) => {
                let text = clip(&r.message);
                let body = FarewellWire {
                    versions_differ: u32::from(r.versions_differ),
                    text_length: text.len() as u32,
                };
                frame(REFUSAL, r.versions, bytemuck::bytes_of(&body), text)
            }
            Self::Descriptor(versions) => frame(DESCRIPTOR, *versions, &[], ""),
            Self::Proof(versions, half) => frame(PROOF, *versions, bytemuck::bytes_of(half), ""),
            Self::Ready(versions) => frame(READY, *versions, &[], ""),
            Self::Goodbye { versions, reason } => {
                let text = clip(reason);
                let body = FarewellWire { versions_differ: 0, text_length: text.len() as u32 };
                frame(GOODBYE, *versions, bytemuck::bytes_of(&body), text)
            }
        }
    }

    /// Reads the body that follows `preamble`. Bytes beyond the text are ignored.
    ///
    /// # Errors
    /// [`MessageError`] says what is wrong with it. Hello and welcome are to be read only if the preamble's protocol
    /// is [`PROTOCOL_VERSION`].
    pub fn decode(preamble: &Preamble, body: &[u8]) -> Result<Self, MessageError> {
        let versions = preamble.versions();
        match preamble.kind {
            HELLO => {
                let (hello, rest) = head::<HelloWire>(HELLO, body)?;
                let program = text(HELLO, hello.program_length, rest)?;
                // As long as the text that was there.
                let rest = &rest[hello.program_length as usize..];
                Ok(Self::Hello(Hello {
                    versions,
                    page_size: hello.page_size,
                    features: hello.features,
                    limits: hello.sizes.into(),
                    pid: hello.pid,
                    program,
                    regions: hello.regions.into_iter().filter(|id| *id != RegionId::zeroed()).collect(),
                    note: text(HELLO, hello.note_length, rest)?,
                }))
            }
            WELCOME => {
                let (welcome, rest) = head::<WelcomeWire>(WELCOME, body)?;
                let limits = welcome.sizes.into();
                let attached = welcome.features & feature::ATTACHED != 0;
                Ok(Self::Welcome(Welcome {
                    versions,
                    features: welcome.features,
                    layout: if attached { Layout::in_device(&limits)? } else { Layout::new(&limits)? },
                    pid: welcome.pid,
                    host: text(WELCOME, welcome.host_length, rest)?,
                    place: attached.then_some(welcome.place),
                }))
            }
            REFUSAL => {
                let (farewell, rest) = head::<FarewellWire>(REFUSAL, body)?;
                Ok(Self::Refusal(Refusal {
                    versions,
                    versions_differ: farewell.versions_differ != 0,
                    message: text(REFUSAL, farewell.text_length, rest)?,
                }))
            }
            DESCRIPTOR => Ok(Self::Descriptor(versions)),
            PROOF => Ok(Self::Proof(versions, head::<Half>(PROOF, body)?.0)),
            READY => Ok(Self::Ready(versions)),
            GOODBYE => {
                let (farewell, rest) = head::<FarewellWire>(GOODBYE, body)?;
                Ok(Self::Goodbye { versions, reason: text(GOODBYE, farewell.text_length, rest)? })
            }
            other => Err(MessageError::Kind(other)),
        }
    }

    /// Reads a whole message, preamble included.
    ///
    /// # Errors
    /// [`MessageError`] says what is wrong with it.
    pub fn decode_frame(bytes: &[u8]) -> Result<Self, MessageError> {
        let short = |expected| MessageError::Short { kind: 0, found: bytes.len(), expected };
        let (start, rest) = bytes.split_first_chunk().ok_or(short(PREAMBLE_SIZE))?;
        let preamble = Preamble::decode(start)?;
        let body = rest.get(..preamble.body_length()).ok_or(short(PREAMBLE_SIZE + preamble.body_length()))?;
        Self::decode(&preamble, body)
    }
}

fn frame(kind: u32, versions: Versions, body: &[u8], text: &str) -> Vec<u8> {
    let preamble = Preamble {
        magic: MAGIC,
        kind,
        length: (body.len() + text.len()) as u32,
        protocol: versions.protocol,
        registry: versions.registry,
        table_hash: versions.table_hash,
    };
    [bytemuck::bytes_of(&preamble), body, text.as_bytes()].concat()
}

/// The fixed part of a body and what follows it.
fn head<T: Pod>(kind: u32, body: &[u8]) -> Result<(T, &[u8]), MessageError> {
    let short = MessageError::Short { kind, found: body.len(), expected: size_of::<T>() };
    let (fixed, rest) = body.split_at_checked(size_of::<T>()).ok_or(short)?;
    Ok((bytemuck::pod_read_unaligned(fixed), rest))
}

/// The text of a message, fit for a log: valid UTF-8, no control characters.
fn text(kind: u32, length: u32, rest: &[u8]) -> Result<String, MessageError> {
    let expected = length as usize;
    let bytes = rest.get(..expected).ok_or(MessageError::Short { kind, found: rest.len(), expected })?;
    let clean = String::from_utf8_lossy(bytes).replace(|c: char| c.is_control(), " ");
    Ok(clip(&clean).to_owned())
}

/// The text, cut to [`MAX_TEXT`] bytes.
fn clip(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
