//! A session in this process, whose host a test plays.

use std::sync::Arc;

use vw_transport::{Connection, Consumer, Limits};

use crate::session::Session;

/// A guest's session with a command arena of this size, and its host: the session lives as long as the connection.
pub(crate) fn session(arena_size: u64) -> (Arc<Session>, Connection, Consumer) {
    let limits =
        Limits { ring_size: 1 << 20, reply_size: 4096, arena_size, window_size: 4096, page_size: 4096 };
    let (guest, host) = vw_transport::in_process::pair(&limits).unwrap();
    let session = Arc::new(Session::new(guest, Arc::default()));
    let consumer = Consumer::new(Arc::clone(&host.region));
    (session, host, consumer)
}
