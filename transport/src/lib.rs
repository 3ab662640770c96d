//! How the two sides of vw reach each other: one shared region, a command ring in it, waits, and the handshake
//! that sets them up. Nothing in this crate knows Vulkan.
//!
//! ```text
//! guest                                             host
//! Producer --- ring (mapped twice) -----------------> Consumer
//! Control  <-- head, tail, wait words, completed[] --> Control
//!          <-- reply area ---------------------------
//!          --- arena, window of host-visible memory ->
//! Peer     <-- socket: handshake, then liveness, and descriptors or frames
//! ```
//!
//! Both sides map the same pages ([`Region`]). The side that reads takes everything in it as hostile: each
//! scalar is read once into a local and checked there. A side that has nothing to do sleeps on a [`WaitWord`]; the
//! other side makes a system call only if somebody sleeps.
#![allow(unexpected_cfgs, reason = "cfg(loom) is set by hand for the models")]

#[cfg(not(target_endian = "little"))]
compile_error!("vw's records and handshake are little endian and are read in place");

pub mod bell;
pub mod credit;
pub mod cursor;
pub mod liveness;
pub mod spin;
pub mod sync;
pub mod wait;

#[cfg(not(loom))]
pub mod address;
#[cfg(not(loom))]
mod answers;
#[cfg(not(loom))]
pub mod attached;
#[cfg(not(loom))]
pub mod connection;
#[cfg(not(loom))]
pub mod control;
#[cfg(not(loom))]
pub mod copies;
#[cfg(not(loom))]
mod descriptor;
#[cfg(not(loom))]
pub mod frame;
#[cfg(not(loom))]
pub mod handshake;
#[cfg(not(loom))]
pub mod in_process;
#[cfg(not(loom))]
pub mod layout;
#[cfg(not(loom))]
pub mod link;
#[cfg(not(loom))]
mod message;
#[cfg(not(loom))]
pub mod mirror;
#[cfg(not(loom))]
pub mod pages;
#[cfg(not(loom))]
pub mod patch;
#[cfg(not(loom))]
pub mod payload;
#[cfg(not(loom))]
pub mod peer;
#[cfg(not(loom))]
mod ranges;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
mod rhythm;
#[cfg(not(loom))]
pub mod ring;
#[cfg(not(loom))]
mod shadow;
#[cfg(not(loom))]
mod thread;
#[cfg(not(loom))]
pub mod vsock;
#[cfg(not(loom))]
mod written;

pub use bell::{Bell, Word};
pub use credit::{Credit, Granted};
pub use liveness::{AlwaysAlive, Liveness, PeerGone};
pub use spin::Spin;
pub use wait::{Signal, WaitWord, Woken};

#[cfg(not(loom))]
pub use self::{
    address::{Address, AddressError},
    answers::{ANSWERS, Answer},
    connection::{
        AcceptError, Begun, BindError, Choice, ConnectError, Connection, Dial, Listener, accept_handshake,
        connect,
    },
    control::{Control, SHORT_REPLY},
    copies::Copies,
    handshake::{Grant, Hello, Offer, Versions, Welcome},
    layout::{Layout, LayoutError, Limits},
    link::Link,
    mirror::Mirror,
    pages::SharedFile,
    payload::Payload,
    peer::Peer,
    region::{Region, RegionError},
    ring::{Consumer, Producer, RawRecord, ReserveError, RingError, Space},
    vsock::VsockListener,
};
