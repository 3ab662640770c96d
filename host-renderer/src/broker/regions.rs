//! Memory that virtual machines have as a device: the files, and which session has which part.
//!
//! A slice is given back when its session is over and its guest has hung up: a program whose session has ended may still write to
//! what it has mapped, until it lets go of that.

use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::Shutdown;
use vw_transport::attached::{FIRST_SLICE, Memory, Slice};
use vw_transport::layout::DEVICE_GRANULE;

use super::doors::Origin;
use crate::config::RegionConfig;
use crate::control::RegionInfo;
use crate::session::slice::{Denied, Request};

/// All regions.
#[derive(Debug, Default)]
pub(super) struct Regions(Vec<Region>);

#[derive(Debug)]
struct Region {
    config: RegionConfig,
    memory: Memory,
    taken: Vec<Taken>,
}

/// A slice in use.
#[derive(Debug)]
struct Taken {
    session: u64,
    offset: u64,
    length: u64,
    origin: Origin,
    /// The guest's socket.
    guest: OwnedFd,
    /// The session has ended.
    over: bool,
}

impl Regions {
    /// Makes a region, unless it is there already.
    ///
    /// # Errors
    /// What is wrong with the wish, or what the system says.
    pub(super) fn create(&mut self, config: RegionConfig) -> Result<RegionInfo, String> {
        config.check()?;
        if let Some(region) = self.0.iter().find(|region| region.config.name == config.name) {
            return if region.config == config {
                Ok(region.info())
            } else {
                Err(format!(
                    "there is a region {} already, of another size or for another guest",
                    config.name
                ))
            };
        }
        let memory =
            Memory::create(config.size.0).map_err(|error| format!("region {}: {error}", config.name))?;
        let region = Region { config, memory, taken: Vec::new() };
        let info = region.info();
        tracing::info!(region = info.name, id = %info.id, path = info.path, size = info.size, "region made");
        self.0.push(region);
        Ok(info)
    }

    /// Gives a region up; what has it mapped keeps the pages.
    ///
    /// # Errors
    /// There is none, or it is in use.
    pub(super) fn forget(&mut self, name: &str) -> Result<(), String> {
        let at = self.0.iter().position(|region| region.config.name == name);
        let at = at.ok_or_else(|| format!("there is no region {name}"))?;
        match self.0[at].taken.len() {
            0 => drop(self.0.remove(at)),
            count => return Err(format!("region {name} is in use by {count} sessions")),
        }
        tracing::info!(region = name, "region given up");
        Ok(())
    }

    /// A line for each.
    pub(super) fn list(&self) -> String {
        let mut text = String::new();
        self.0.iter().for_each(|region| region.info().write(&mut text));
        text
    }

    /// Hands out a part of a region to a session, whose guest is `guest` and comes from `origin`.
    pub(super) fn grant(
        &mut self,
        session: u64,
        origin: &Origin,
        request: &Request,
        guest: OwnedFd,
    ) -> Result<Slice, Denied> {
        let region = self.0.iter_mut().find(|region| region.memory.id() == request.id);
        let region = region.ok_or(Denied::Unknown)?;
        let other = region.config.guest.as_ref().is_some_and(|owner| *owner != origin.to_string());
        if other || region.taken.iter().any(|taken| taken.origin != *origin) {
            return Err(Denied::Another);
        }
        if region.taken.iter().any(|taken| taken.session == session) {
            return Err(Denied::Full);
        }
        let (offset, length) = region.find(request).ok_or(Denied::Full)?;
        let slice = region.memory.slice(offset, length).map_err(|error| {
            tracing::error!("no slice of region {}: {error}", region.config.name);
            Denied::Full
        })?;
        region.taken.push(Taken { session, offset, length, origin: origin.clone(), guest, over: false });
        Ok(slice)
    }

    /// The session has ended. Its guest learns it, if it is still there.
    pub(super) fn end(&mut self, session: u64) {
        for taken in self.0.iter_mut().flat_map(|region| &mut region.taken) {
            if taken.session == session {
                taken.over = true;
                let _ = rustix::net::shutdown(&taken.guest, Shutdown::Write);
            }
        }
    }

    /// Gives back the slices of sessions that have ended and whose guests are gone.
    pub(super) fn sweep(&mut self) {
        for region in &mut self.0 {
            let memory = &region.memory;
            region.taken.retain(|taken| {
                if !taken.over || !is_gone(&taken.guest) {
                    return true;
                }
                if let Err(error) = memory.punch(taken.offset, taken.length) {
                    tracing::error!("a slice is not given back: {error}");
                    return true;
                }
                tracing::debug!(session = taken.session, bytes = taken.length, "slice given back");
                false
            });
        }
    }

    /// What is readable when there is something to [`sweep`](Self::sweep).
    pub(super) fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        let over = self.0.iter().flat_map(|region| &region.taken).filter(|taken| taken.over);
        over.map(|taken| PollFd::new(&taken.guest, PollFlags::RDHUP))
    }
}

impl Region {
    /// Where a slice can be, and how long: as much as is asked for, or half of what is free in one piece.
    fn find(&self, request: &Request) -> Option<(u64, u64)> {
        let mut taken: Vec<_> = self.taken.iter().map(|taken| (taken.offset, taken.length)).collect();
        taken.push((self.memory.size(), 0));
        taken.sort_unstable();
        let mut start = FIRST_SLICE;
        let mut largest = (0, 0);
        for (offset, length) in taken {
            if offset - start > largest.1 {
                largest = (start, offset - start);
            }
            start = offset + length;
        }
        let least = request.least.checked_next_multiple_of(DEVICE_GRANULE).filter(|least| *least > 0)?;
        let wish = if request.most == 0 { largest.1 / 2 } else { request.most };
        let length = wish.min(largest.1) / DEVICE_GRANULE * DEVICE_GRANULE;
        let length = length.max(least);
        (length <= largest.1).then_some((largest.0, length))
    }

    fn info(&self) -> RegionInfo {
        RegionInfo {
            name: self.config.name.clone(),
            size: self.config.size.0,
            id: self.memory.id(),
            path: path(self.memory.as_fd()),
            sessions: self.taken.len(),
            used: self.taken.iter().map(|taken| taken.length).sum(),
            resident: self.memory.resident_bytes().unwrap_or(0),
            guest: self.config.guest.clone(),
        }
    }
}

/// What others open a descriptor of this process by.
fn path(file: BorrowedFd<'_>) -> String {
    let mut path = format!("/proc/{}/fd/", std::process::id());
    // Writing to a String cannot fail.
    let _ = write!(path, "{}", file.as_raw_fd());
    path
}

/// Whether nobody is at the other end, or never was.
fn is_gone(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let looked = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    looked.is_ok() && !fds[0].revents().is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::net::UnixStream;

    use vw_transport::attached::RegionId;

    use super::*;
    use crate::config::Size;

    const MIB: u64 = 1 << 20;

    fn regions(guest: Option<&str>) -> (Regions, RegionId) {
        let mut regions = Regions::default();
        let config =
            RegionConfig { name: "a".to_owned(), size: Size(36 * MIB), guest: guest.map(ToOwned::to_owned) };
        let id = regions.create(config).unwrap().id;
        (regions, id)
    }

    fn origin(cid: u32) -> Origin {
        Origin::Vsock(cid)
    }

    fn grant(
        regions: &mut Regions,
        session: u64,
        cid: u32,
        request: Request,
    ) -> (Result<(u64, u64), Denied>, UnixStream) {
        let (guest, ours) = UnixStream::pair().unwrap();
        let slice = regions.grant(session, &origin(cid), &request, ours.into());
        (slice.map(|slice| (slice.offset, slice.length)), guest)
    }

    #[test]
    fn slices_when_handed_out_do_not_overlap_and_come_back() {
        let (mut regions, id) = regions(None);
        let ask = |least, most| Request { id, least, most };
        let (first, one) = grant(&mut regions, 1, 3, ask(MIB, 0));
        assert_eq!(first, Ok((4 * MIB, 16 * MIB)));
        let (second, _two) = grant(&mut regions, 2, 3, ask(MIB, 100 * MIB));
        assert_eq!(second, Ok((20 * MIB, 16 * MIB)));
        assert_eq!(grant(&mut regions, 3, 3, ask(1, 0)).0, Err(Denied::Full));
        regions.end(1);
        regions.sweep();
        // The guest still has it mapped, as far as anybody knows.
        assert_eq!(grant(&mut regions, 3, 3, ask(1, 0)).0, Err(Denied::Full));
        assert_eq!(regions.polled().count(), 1);
        drop(one);
        regions.sweep();
        assert_eq!(grant(&mut regions, 3, 3, ask(17 * MIB, 0)).0, Err(Denied::Full));
        assert_eq!(grant(&mut regions, 4, 3, ask(10 * MIB, 0)).0, Ok((4 * MIB, 10 * MIB)));
        assert_eq!(regions.forget("a").unwrap_err(), "region a is in use by 2 sessions");
        assert_eq!(regions.forget("b").unwrap_err(), "there is no region b");
    }

    #[test]
    fn slice_when_of_no_region_or_of_another_guest_s_is_denied() {
        let (mut all, id) = regions(None);
        let ask = Request { id, least: MIB, most: MIB };
        let unknown = Request { id: bytemuck::Zeroable::zeroed(), ..ask };
        assert_eq!(grant(&mut all, 1, 3, unknown).0, Err(Denied::Unknown));
        let (granted, _guest) = grant(&mut all, 1, 3, ask);
        assert!(granted.is_ok());
        assert_eq!(grant(&mut all, 1, 3, ask).0, Err(Denied::Full), "one for each session");
        assert_eq!(grant(&mut all, 2, 4, ask).0, Err(Denied::Another));
        let (mut bound, id) = regions(Some("vsock:7"));
        let ask = Request { id, ..ask };
        assert_eq!(grant(&mut bound, 1, 3, ask).0, Err(Denied::Another));
        assert!(grant(&mut bound, 1, 7, ask).0.is_ok());
        for absurd in [0, u64::MAX, 1 << 60] {
            assert_eq!(grant(&mut bound, 2, 7, Request { least: absurd, ..ask }).0, Err(Denied::Full));
        }
    }

    #[test]
    fn region_when_asked_for_twice_is_one() {
        let (mut regions, id) = regions(None);
        let config = |size| RegionConfig { name: "a".to_owned(), size: Size(size), guest: None };
        let again = regions.create(config(36 * MIB)).unwrap();
        assert_eq!((again.id, again.sessions, again.used), (id, 0, 0));
        assert!(
            again.path.starts_with("/proc/") && std::fs::metadata(&again.path).unwrap().len() == 36 * MIB
        );
        assert!(regions.create(config(38 * MIB)).unwrap_err().contains("already"));
        for name in ["", "a b", "../x", &"x".repeat(65)] {
            assert!(regions.create(RegionConfig { name: name.to_owned(), ..config(36 * MIB) }).is_err());
        }
        assert!(regions.create(RegionConfig { name: "c".to_owned(), ..config(MIB) }).is_err());
        regions.forget("a").unwrap();
        assert_eq!(regions.list(), "");
    }
}
