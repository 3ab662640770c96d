//! From a connection to a session: handshake, the host's device, the region.

use std::os::fd::OwnedFd;

use vw_transport::layout::system_page_size;
use vw_transport::unix::{AcceptError, accept_handshake};
use vw_transport::{Connection, Hello, Limits as Sizes, Offer, Region, Versions};
use vw_wire_protocol::generated::extensions::{REGISTRY_VERSION, TABLE_HASH};

use super::end::End;
use crate::config::Config;
use crate::gpu::Gpu;
use crate::gpu::import::{Import, alignment, probe};

/// What both sides must have in common.
pub const VERSIONS: Versions = Versions::new(REGISTRY_VERSION, TABLE_HASH);

/// What a session is made from.
#[derive(Debug)]
pub struct Greeted {
    /// The connection with its region.
    pub connection: Connection,
    /// The host's device.
    pub gpu: Gpu,
    /// Which memory types are imported from the region.
    pub import: Import,
}

/// Shakes hands with the guest on `socket`, and opens the device that it gets.
///
/// `heard` is called with the guest's hello before anything is decided.
///
/// # Errors
/// [`End`] says why there is no session; the guest was told wherever it can be.
pub fn greet(socket: OwnedFd, config: &Config, heard: impl FnOnce(&Hello)) -> Result<Greeted, End> {
    let mut opened = None;
    let accepted = accept_handshake(socket, VERSIONS, |hello| {
        heard(hello);
        let gpu = Gpu::open(config.null, config.device.as_deref(), &hello.program)
            .map_err(|error| error.to_string())?;
        let (import, offer) = offer(&gpu, config, hello)?;
        tracing::info!(device = gpu.name, window = offer.limits.window_size, "session starts");
        opened = Some((gpu, import));
        Ok(offer)
    });
    match (accepted, opened) {
        (Ok(connection), Some((gpu, import))) => Ok(Greeted { connection, gpu, import }),
        (Ok(_), None) => Err(End::Internal("accepted without a device".to_owned())),
        (Err(AcceptError::Refused { message, .. }), _) => Err(End::Refused(message)),
        (Err(error @ AcceptError::VersionMismatch { .. }), _) => Err(End::Refused(error.to_string())),
        (Err(error), _) => Err(End::Handshake(error.to_string())),
    }
}

/// What the guest is offered, or why nothing.
fn offer(gpu: &Gpu, config: &Config, hello: &Hello) -> Result<(Import, Offer), String> {
    let alignment = alignment(gpu)?;
    let page_size = system_page_size().max(hello.page_size).max(alignment);
    let limits = sizes(gpu, config, hello, page_size);
    let trial = Sizes {
        ring_size: page_size,
        reply_size: page_size,
        arena_size: 0,
        window_size: page_size,
        page_size,
    };
    // A region like the guest's, which does not exist yet: a refusal has to come before it.
    let (region, _) = Region::create(&trial).map_err(|error| error.to_string())?;
    let import = probe(gpu, region.window(), alignment)?;
    let host = format!("vw-renderer {}", env!("CARGO_PKG_VERSION"));
    Ok((import, Offer { limits, features: 0, host }))
}

/// The guest's wishes, within what the operator allows.
fn sizes(gpu: &Gpu, config: &Config, hello: &Hello, page_size: u64) -> Sizes {
    let own = &config.limits;
    let window = own.window.map_or_else(|| gpu.host_visible_bytes(), |size| size.0);
    let own = Sizes {
        ring_size: own.ring.0,
        reply_size: own.reply.0,
        arena_size: own.arena.0,
        // Pages exist from the first touch on; what no address space can hold is of no use.
        window_size: window.clamp(page_size, 1 << 42) / page_size * page_size,
        page_size,
    };
    let wish = hello.limits.or(own);
    Sizes {
        ring_size: if wish.ring_size.is_power_of_two() {
            wish.ring_size.min(own.ring_size)
        } else {
            own.ring_size
        },
        reply_size: wish.reply_size.min(own.reply_size).max(page_size),
        arena_size: wish.arena_size.min(own.arena_size),
        window_size: wish.window_size.min(own.window_size).max(page_size),
        page_size,
    }
}
