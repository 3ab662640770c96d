//! From a socket to a connection: dialing, listening, and the handshake that says how memory is had in common.

mod accept;
mod connect;
mod error;
mod listener;

use std::sync::Arc;
use std::time::Duration;

pub use accept::{AcceptError, accept_handshake, accept_handshake_within, no_memory, refuse};
pub use connect::{Begun, Choice, ChoiceError, Dial, connect, connect_within};
pub use error::ConnectError;
pub use listener::{BindError, Listener};

use crate::handshake::{Hello, Welcome};
use crate::peer::Peer;
use crate::region::Region;

/// How long connecting and shaking hands may take, unless said otherwise.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// An established connection, on either side.
#[derive(Debug)]
pub struct Connection {
    /// The shared region.
    pub region: Arc<Region>,
    /// The other side.
    pub peer: Arc<Peer>,
    /// What the guest said.
    pub hello: Hello,
    /// What the host answered.
    pub welcome: Welcome,
}
