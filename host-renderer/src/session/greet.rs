//! From a connection to a session: handshake, the host's device, the region.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ash::vk;
use vw_transport::attached::{RegionId, Slice};
use vw_transport::connection::{AcceptError, accept_handshake, no_memory};
use vw_transport::handshake::feature;
use vw_transport::layout::{DEVICE_GRANULE, system_page_size};
use vw_transport::{Connection, Grant, Hello, Layout, Limits as Sizes, Offer, Versions};
use vw_wire_protocol::generated::extensions::{REGISTRY_VERSION, TABLE_HASH};

use super::end::End;
use super::slice::Request;
use crate::config::Config;
use crate::gpu::Gpu;
use crate::gpu::import::{Import, Rung, climb};
use crate::gpu::udmabuf::Udmabuf;

/// What both sides must have in common.
pub const VERSIONS: Versions = Versions::new(REGISTRY_VERSION, TABLE_HASH);

/// Bytes of host-visible memory that a session can do something with.
const LEAST_WINDOW: u64 = 16 << 20;

/// Bytes of a command arena that are enough; of a slice it takes no more than an eighth above that.
const LEAST_ARENA: u64 = 8 << 20;

/// What a session is made from.
#[derive(Debug)]
pub struct Greeted {
    /// The connection with its region.
    pub connection: Connection,
    /// The host's device.
    pub gpu: Gpu,
    /// Which memory types the guest sees, and how.
    pub import: Import,
    /// What makes dma-bufs, where that is how.
    pub udmabuf: Option<Udmabuf>,
}

/// What can be had before there is a guest: the driver loaded and tried.
#[derive(Debug)]
pub struct Ready {
    gpu: Gpu,
    import: Import,
    udmabuf: Option<Udmabuf>,
}

impl Ready {
    /// Loads the driver and finds out how guests' memory becomes its memory: by trials, unless `tried` is what
    /// [`Ready::tried`] said for the same device and driver.
    ///
    /// # Errors
    /// Why no guest can be served, in words for the guest.
    pub fn new(config: &Config, tried: Option<&str>) -> Result<Self, String> {
        let gpu = open(config, "vw")?;
        let known =
            tried.and_then(|text| Import::parse(text.strip_prefix(&gpu.identity())?.strip_prefix(' ')?));
        tracing::debug!(known = known.is_some(), "the ways to import memory");
        let (import, udmabuf) = match known {
            Some(import) if import.rung == Rung::Udmabuf => (import, Some(Udmabuf::open()?)),
            Some(import) => (import, None),
            None => climb(&gpu, config.import)?,
        };
        // The guest need not wait for these.
        let _ = (gpu.survey(), gpu.procs());
        Ok(Self { gpu, import, udmabuf })
    }

    /// What was found out, for the next process.
    pub fn tried(&self) -> String {
        format!("{} {}", self.gpu.identity(), self.import.to_text())
    }

    /// Whether the driver draws with the host's processor.
    pub fn is_software(&self) -> bool {
        self.gpu.device_type == vk::PhysicalDeviceType::CPU
    }

    /// The device, and how guests' memory becomes its memory, in words.
    pub fn describe(&self) -> (String, String) {
        (self.gpu.name.clone(), self.import.describe())
    }

    /// The device for a guest's program. Drivers of GPUs choose workarounds by its name, so that it gets an instance
    /// of its own; this one has kept the driver in memory until then. A software driver has nothing to choose.
    fn into_device(self, config: &Config, program: &str) -> Result<Self, String> {
        if self.is_software() {
            return Ok(self);
        }
        Ok(Self { gpu: open(config, program)?, ..self })
    }
}

fn open(config: &Config, program: &str) -> Result<Gpu, String> {
    Gpu::open(config.null, config.device.as_deref(), program).map_err(|error| error.to_string())
}

/// Shakes hands with the guest on `socket`, and opens the device that it gets.
///
/// `broker` is asked for memory that the guest has as a device; `heard` is called with the guest's hello before anything is
/// decided.
///
/// # Errors
/// [`End`] says why there is no session; the guest was told wherever it can be.
pub fn greet(
    socket: OwnedFd,
    config: &Config,
    ready: Result<Ready, String>,
    broker: BorrowedFd<'_>,
    heard: impl FnOnce(&Hello),
) -> Result<Greeted, End> {
    let guest = socket.try_clone().map_err(|error| End::Internal(format!("the guest's socket: {error}")))?;
    let mut opened = None;
    let accepted = accept_handshake(socket, VERSIONS, |hello| {
        heard(hello);
        let mut ready = ready?.into_device(config, &hello.program)?;
        let Ready { gpu, import, .. } = &mut ready;
        let offer = offer(gpu, config, hello, import, (broker, guest.as_fd()))?;
        import.alignment = offer.limits.page_size;
        tracing::info!(
            device = gpu.name,
            window = offer.limits.window_size,
            memory = %offer.memory,
            import = import.rung.name(),
            "session starts"
        );
        if import.rung != Rung::HostPointer {
            tracing::info!("{}", import.describe());
        }
        opened = Some(ready);
        Ok(offer)
    });
    match (accepted, opened) {
        (Ok(connection), Some(Ready { gpu, import, udmabuf })) => {
            Ok(Greeted { connection, gpu, import, udmabuf })
        }
        (Ok(_), None) => Err(End::Internal("accepted without a device".to_owned())),
        (Err(AcceptError::Refused { message, .. }), _) => Err(End::Refused(message)),
        (Err(error @ AcceptError::VersionMismatch { .. }), _) => Err(End::Refused(error.to_string())),
        (Err(error), _) => Err(End::Handshake(error.to_string())),
    }
}

/// What the guest is offered; `broker` and the guest's socket are for what only the broker can give.
fn offer(
    gpu: &Gpu,
    config: &Config,
    hello: &Hello,
    import: &Import,
    (broker, guest): (BorrowedFd<'_>, BorrowedFd<'_>),
) -> Result<Offer, String> {
    let page_size = system_page_size().max(hello.page_size).max(import.alignment);
    let limits = sizes(gpu, config, hello, page_size);
    let host = format!("vw-renderer {}", env!("CARGO_PKG_VERSION"));
    // What comes by descriptor is imported by its address, and nothing is copied to or from it.
    let (alone, features) = match import.rung {
        Rung::HostPointer => (feature::DESCRIPTORS, 0),
        Rung::Udmabuf | Rung::Copy => (0, feature::COPIED),
    };
    if hello.features & feature::PASSED != 0 {
        return Ok(Offer { memory: Grant::Passed, limits, features: alone | features, host });
    }
    let mut why = no_memory(hello);
    if hello.features & feature::ATTACHED != 0 {
        let chosen = config.limits.window.is_some() || hello.limits.window_size != 0;
        for id in &hello.regions {
            match attach(*id, limits, chosen, broker, guest) {
                Ok((slice, limits)) => {
                    return Ok(Offer { memory: Grant::Attached(slice), limits, features, host });
                }
                Err(error) => why = error,
            }
        }
    }
    if hello.features & feature::STREAM != 0 {
        if hello.features & feature::ATTACHED != 0 {
            tracing::warn!("no memory in common, everything goes over the stream: {why}");
        }
        // What is recorded goes with the ring.
        let limits = Sizes { arena_size: 0, ..limits };
        return Ok(Offer { memory: Grant::Stream, limits, features, host });
    }
    Err(why)
}

/// A slice of the region, and the sizes that it has room for; the window is as large as in `limits` at most, or if none was
/// `chosen` as large as the broker likes.
fn attach(
    id: RegionId,
    limits: Sizes,
    chosen: bool,
    broker: BorrowedFd<'_>,
    guest: BorrowedFd<'_>,
) -> Result<(Slice, Sizes), String> {
    let limits = Sizes { ring_size: limits.ring_size.max(DEVICE_GRANULE), ..limits };
    let laid_out = |arena_size, window_size| {
        Layout::in_device(&Sizes { arena_size, window_size, ..limits }).map_err(|error| error.to_string())
    };
    let arena = limits.arena_size.min(LEAST_ARENA);
    let least = laid_out(arena, limits.window_size.min(LEAST_WINDOW))?.total_size() as u64;
    let most = if chosen { laid_out(limits.arena_size, limits.window_size)?.total_size() as u64 } else { 0 };
    let slice = Request { id, least, most }.send(broker, guest)?;
    let pages = |bytes: u64| bytes / limits.page_size * limits.page_size;
    let arena_size = pages((slice.length / 8).clamp(arena, limits.arena_size));
    let window_offset = laid_out(arena_size, limits.page_size)?.window_offset() as u64;
    let window_size = pages(slice.length.saturating_sub(window_offset).min(limits.window_size));
    Ok((slice, Sizes { arena_size, window_size, ..limits }))
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
