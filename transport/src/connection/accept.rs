//! The host's side of the handshake.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Connection, HANDSHAKE_TIMEOUT};
use crate::attached::{Half, Place, RegionId, Slice, pump};
use crate::handshake::{Grant, Hello, Message, MessageError, Offer, Refusal, Versions, Welcome, feature};
use crate::layout::{Layout, Limits, MAX_PAGE_SIZE, MIN_PAGE_SIZE, system_page_size};
use crate::message::{Channel, ChannelError};
use crate::mirror::{Mirror, Side};
use crate::peer::Peer;
use crate::region::{Region, RegionError};

/// A guest that did not become a session.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The guest was built differently; it was told so.
    #[error(
        "refused a guest whose versions differ: it has {theirs}, this side has {ours}: install the same version of vw on both sides"
    )]
    VersionMismatch {
        /// What this side was built with.
        ours: Versions,
        /// What the guest was built with.
        theirs: Versions,
    },
    /// The caller refused the guest; it was told so.
    #[error("refused {program} (process {pid}): {message}")]
    Refused {
        /// The guest's program, as it says.
        program: String,
        /// The guest's process, as it says.
        pid: u32,
        /// Why.
        message: String,
    },
    /// The guest did not finish the handshake in time.
    #[error("a guest did not finish the handshake within {0:?}: dropped")]
    TimedOut(Duration),
    /// The guest went away.
    #[error("a guest closed the connection during the handshake: dropped")]
    Closed,
    /// The guest sent something else.
    #[error("a guest sent no valid handshake: {0}: dropped")]
    Malformed(#[from] MessageError),
    /// The guest left in the middle of the handshake, and said why.
    #[error("{program} (process {pid}) left during the handshake: {reason}")]
    Left {
        /// The guest's program, as it says.
        program: String,
        /// The guest's process, as it says.
        pid: u32,
        /// Why.
        reason: String,
    },
    /// The guest does not see the pages that this side sees; it was told so.
    #[error(
        "{program} (process {pid}) does not see the pages of region {region} that this side sees: it was swapped with another guest's, or is made up"
    )]
    Proof {
        /// The guest's program, as it says.
        program: String,
        /// The guest's process, as it says.
        pid: u32,
        /// The region.
        region: RegionId,
    },
    /// The region for the guest could not be made; it was told so.
    #[error("no session for {program} (process {pid}): {source}")]
    Region {
        /// The guest's program, as it says.
        program: String,
        /// The guest's process, as it says.
        pid: u32,
        /// What went wrong.
        source: RegionError,
    },
    /// The operating system refused a step.
    #[error("the handshake with a guest failed: {0}")]
    Os(#[source] io::Error),
}

/// Shakes hands with a guest that has connected, within [`HANDSHAKE_TIMEOUT`]: reads its hello, compares versions,
/// asks `decide` what to grant (or why not), makes the region and sends it.
///
/// `decide` may look at the hello's wishes ([`crate::Limits::or`] fills in the zeros). The time that it takes is the
/// guest's to wait, and not bounded here.
///
/// # Errors
/// [`AcceptError`]; the guest was told wherever it can be.
pub fn accept_handshake(
    stream: impl Into<OwnedFd>,
    ours: Versions,
    decide: impl FnOnce(&Hello) -> Result<Offer, String>,
) -> Result<Connection, AcceptError> {
    accept_handshake_within(stream, ours, HANDSHAKE_TIMEOUT, decide)
}

/// [`accept_handshake`] with `timeout` for each of the two messages.
///
/// # Errors
/// [`AcceptError`]; the guest was told wherever it can be.
pub fn accept_handshake_within(
    stream: impl Into<OwnedFd>,
    ours: Versions,
    timeout: Duration,
    decide: impl FnOnce(&Hello) -> Result<Offer, String>,
) -> Result<Connection, AcceptError> {
    let socket: OwnedFd = stream.into();
    let failed = |e| match e {
        ChannelError::TimedOut => AcceptError::TimedOut(timeout),
        ChannelError::Closed => AcceptError::Closed,
        ChannelError::Malformed(e) => AcceptError::Malformed(e),
        ChannelError::Os(e) => AcceptError::Os(e.into()),
    };
    let refuse = |message: &str, versions_differ| {
        let refusal = Refusal { versions: ours, versions_differ, message: message.to_owned() };
        // A guest that does not listen any more does not hear it.
        let _ = Channel::new(socket.as_fd(), Instant::now() + timeout).send(&Message::Refusal(refusal), None);
    };

    let received = Channel::new(socket.as_fd(), Instant::now() + timeout).receive().map_err(failed)?;
    let theirs = received.preamble.versions();
    if theirs != ours {
        let error = AcceptError::VersionMismatch { ours, theirs };
        refuse(&error.to_string(), true);
        return Err(error);
    }
    let hello = match Message::decode(&received.preamble, &received.body)? {
        Message::Hello(hello) => hello,
        _ => return Err(AcceptError::Closed),
    };
    let (program, pid) = (hello.program.clone(), hello.pid);
    let granted = check_page_size(&hello).and_then(|()| decide(&hello)).and_then(|offer| {
        if hello.features & offer.memory.feature() != 0 { Ok(offer) } else { Err(no_memory(&hello)) }
    });
    let offer = match granted {
        Ok(offer) => offer,
        Err(message) => {
            refuse(&message, false);
            return Err(AcceptError::Refused { program, pid, message });
        }
    };

    let page_size = offer.limits.page_size.max(hello.page_size).max(system_page_size());
    let limits = offer.limits.with_page_size(page_size);
    let memory = offer.memory.feature();
    let made = match offer.memory {
        Grant::Passed => Region::create(&limits).map(|(region, fd)| Made::Passed(region, fd)),
        Grant::Attached(slice) => attach(slice, &limits),
        Grant::Stream => Region::create(&limits).map(|(region, _)| Made::Mirrored(region)),
    };
    let made = match made {
        Ok(made) => made,
        Err(source) => {
            let error = AcceptError::Region { program, pid, source };
            refuse(&error.to_string(), false);
            return Err(error);
        }
    };
    let welcome = Welcome {
        versions: ours,
        features: (offer.features & !feature::MEMORY | memory) & hello.features,
        layout: *made.region().layout(),
        pid: std::process::id(),
        host: offer.host,
        place: made.place(),
    };
    Channel::new(socket.as_fd(), Instant::now() + timeout)
        .send(&Message::Welcome(welcome.clone()), made.descriptor())
        .map_err(failed)?;
    if let Made::Attached { place, answer, .. } = &made {
        let received = Channel::new(socket.as_fd(), Instant::now() + timeout).receive().map_err(failed)?;
        match Message::decode(&received.preamble, &received.body)? {
            Message::Proof(theirs, half) if theirs == ours && half == *answer => {}
            Message::Goodbye { reason, .. } => return Err(AcceptError::Left { program, pid, reason }),
            _ => {
                let error = AcceptError::Proof { program, pid, region: place.region };
                refuse(&error.to_string(), false);
                return Err(error);
            }
        }
        Channel::new(socket.as_fd(), Instant::now() + timeout)
            .send(&Message::Ready(ours), None)
            .map_err(failed)?;
    }
    let mirrored = matches!(made, Made::Mirrored(_));
    let region = Arc::new(made.into_region());
    let peer = if mirrored {
        Mirror::connect(&region, socket, ours, Side::Host, false).map_err(AcceptError::Os)?
    } else if welcome.place.is_some() {
        pump::connect(&region, socket, ours, false).map_err(AcceptError::Os)?
    } else {
        Peer::new(socket, ours)
    };
    Ok(Connection { region, peer: Arc::new(peer), hello, welcome })
}

/// A region as the guest learns of it.
enum Made {
    Passed(Region, OwnedFd),
    Mirrored(Region),
    Attached {
        region: Region,
        place: Place,
        /// What the guest answers who sees it.
        answer: Half,
    },
}

impl Made {
    fn place(&self) -> Option<Place> {
        match self {
            Self::Passed(..) | Self::Mirrored(_) => None,
            Self::Attached { place, .. } => Some(*place),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Passed(_, fd) => Some(fd.as_fd()),
            Self::Mirrored(_) | Self::Attached { .. } => None,
        }
    }

    fn region(&self) -> &Region {
        match self {
            Self::Passed(region, _) | Self::Mirrored(region) | Self::Attached { region, .. } => region,
        }
    }

    fn into_region(self) -> Region {
        match self {
            Self::Passed(region, _) | Self::Mirrored(region) | Self::Attached { region, .. } => region,
        }
    }
}

fn attach(slice: Slice, limits: &Limits) -> Result<Made, RegionError> {
    let (id, offset) = (slice.id, slice.offset);
    let (region, (proof, answer)) = Region::of_slice(slice, &Layout::in_device(limits)?)?;
    Ok(Made::Attached { region, place: Place { region: id, offset, proof }, answer })
}

/// Refuses a guest without a handshake, with `message` for its log: for a broker that is full. Never blocks.
pub fn refuse(stream: &impl AsFd, ours: Versions, message: &str) {
    let refusal = Refusal { versions: ours, versions_differ: false, message: message.to_owned() };
    let _ = Channel::new(stream.as_fd(), Instant::now()).send(&Message::Refusal(refusal), None);
}

/// Why a guest gets no session whose ways to have memory in common are not this side's.
pub fn no_memory(hello: &Hello) -> String {
    let mut text = format!(
        "there is no way to have memory in common (the guest can go {:#x})",
        hello.features & feature::MEMORY
    );
    if !hello.note.is_empty() {
        text += &format!("; it says: {}", hello.note);
    }
    text
}

fn check_page_size(hello: &Hello) -> Result<(), String> {
    let size = hello.page_size;
    if size.is_power_of_two() && (MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&size) {
        Ok(())
    } else {
        Err(format!("the guest's page size is {size}; from {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE} work"))
    }
}
