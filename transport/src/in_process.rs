//! Both sides in one process: for tests, and for a renderer loaded into the program itself.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::connection::Connection;
use crate::handshake::{Hello, Versions, Welcome, feature};
use crate::layout::Limits;
use crate::mirror::{Mirror, Side};
use crate::peer::Peer;
use crate::region::{Region, RegionError};

/// The (guest's, host's) ends of one region, mapped twice as between processes. Dropping one end is noticed by the
/// other as if its process had ended.
///
/// # Errors
/// [`RegionError`] if the region cannot be made.
pub fn pair(limits: &Limits) -> Result<(Connection, Connection), RegionError> {
    let versions = Versions::new(0, 0);
    let (region, fd) = Region::create(limits)?;
    let layout = *region.layout();
    let attached = Region::attach(fd, &layout)?;
    let (a, b) = UnixStream::pair().map_err(|source| RegionError::Os {
        step: "make a socket pair",
        size: layout.total_size(),
        source,
    })?;
    let hello = Hello::new(versions, "in-process");
    let welcome = Welcome {
        versions,
        features: feature::DESCRIPTORS | feature::PASSED,
        layout,
        pid: std::process::id(),
        host: "in-process".to_owned(),
        place: None,
    };
    let guest = Connection {
        region: Arc::new(attached),
        peer: Arc::new(Peer::new(a.into(), versions)),
        hello: hello.clone(),
        welcome: welcome.clone(),
    };
    let host = Connection {
        region: Arc::new(region),
        peer: Arc::new(Peer::new(b.into(), versions)),
        hello,
        welcome,
    };
    Ok((guest, host))
}

/// As [`pair`], with a region for each end, which a stream keeps alike. `compare`: as for [`Mirror::start`].
///
/// # Errors
/// As [`pair`].
pub fn mirrored(limits: &Limits, compare: bool) -> Result<(Connection, Connection), RegionError> {
    let versions = Versions::new(0, 0);
    let os = |source| RegionError::Os { step: "make a stream", size: 0, source };
    let (a, b) = UnixStream::pair().map_err(os)?;
    let (guest, _) = Region::create(limits)?;
    let (host, _) = Region::create(limits)?;
    let hello = Hello::new(versions, "in-process");
    let welcome = Welcome {
        versions,
        features: 0,
        layout: *host.layout(),
        pid: std::process::id(),
        host: "in-process".to_owned(),
        place: None,
    };
    let end = |socket: UnixStream, region: Region, side| -> Result<Connection, RegionError> {
        let region = Arc::new(region);
        let peer = Mirror::connect(&region, socket.into(), versions, side, compare).map_err(os)?;
        Ok(Connection { region, peer: Arc::new(peer), hello: hello.clone(), welcome: welcome.clone() })
    };
    Ok((end(a, guest, Side::Guest)?, end(b, host, Side::Host)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::liveness::PeerGone;
    use crate::ring::{Consumer, Producer};
    use std::os::fd::AsFd as _;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn descriptor_when_sent_arrives_and_nothing_else_is_taken_for_one() {
        let (guest, host) = pair(&Limits { window_size: 1 << 20, ..Limits::default() }).unwrap();
        assert!(host.peer.receive_descriptor().is_none());
        let file = crate::SharedFile::create(1 << 16).unwrap();
        guest.peer.send_descriptor(file.as_fd()).unwrap();
        let received = host.peer.receive_descriptor().unwrap();
        assert_eq!(crate::SharedFile::attach(received).unwrap().len(), 1 << 16);
        host.peer.close("over");
        assert!(guest.peer.receive_descriptor().is_none());
        assert!(guest.peer.send_descriptor(file.as_fd()).is_err());
    }

    #[test]
    fn pair_when_one_end_is_dropped_is_noticed_by_the_other() {
        let limits = Limits { window_size: 1 << 20, ..Limits::default() };
        let (guest, host) = pair(&limits).unwrap();
        assert_ne!(guest.region.ring().0, host.region.ring().0);
        let mut producer = Producer::new(guest.region.clone(), guest.peer.clone());
        let mut consumer = Consumer::new(host.region.clone());
        let stop = AtomicBool::new(false);

        let space = producer.reserve(16).unwrap();
        // SAFETY: the space has at least 16 bytes, which this thread alone writes.
        unsafe { space.ptr.cast::<[u64; 2]>().write([16 << 32 | 5, 6]) };
        producer.commit(16);
        producer.publish();
        assert_eq!(consumer.wait(&*host.peer, &stop), Ok(true));
        let record = consumer.next().unwrap().unwrap();
        assert_eq!((record.word, record.len), (16 << 32 | 5, 8));

        drop((producer, guest));
        assert_eq!(consumer.next(), Ok(None));
        assert_eq!(consumer.wait(&*host.peer, &stop), Err(PeerGone));
    }
}
