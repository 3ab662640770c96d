//! Which recordings are going on, for objects that programs destroy under them.
//!
//! The host replays a recording when its stream is handed over. A pipeline layout is used up, in a driver that records
//! at once, when the command that names it returns, and programs do destroy it before the recording ends: that
//! destruction waits until every recording that was going on has been handed over.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::session::lock;

/// The recordings of one session, by ticket.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Ticket of the last recording; the first has 1.
    last: u64,
    /// Tickets of those that are going on, in order.
    active: Vec<u64>,
    /// What waits, oldest first.
    deferred: VecDeque<Deferred>,
}

/// A destruction that waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deferred {
    /// It waits for the recordings with a smaller ticket.
    before: u64,
    /// The object's id.
    pub(crate) id: u64,
    /// The record's payload.
    pub(crate) payload: Vec<u8>,
}

impl Recordings {
    /// A recording begins; returns its ticket.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = lock(&self.state);
        state.last += 1;
        let ticket = state.last;
        state.active.push(ticket);
        ticket
    }

    /// A recording was handed over or dropped; returns the destructions that need wait no longer.
    pub(crate) fn end(&self, ticket: u64) -> Vec<Deferred> {
        let mut state = lock(&self.state);
        if let Ok(index) = state.active.binary_search(&ticket) {
            state.active.remove(index);
        }
        if state.deferred.is_empty() {
            return Vec::new();
        }
        let oldest = state.active.first().copied().unwrap_or(u64::MAX);
        let due = state.deferred.partition_point(|d| d.before <= oldest);
        state.deferred.drain(..due).collect()
    }

    /// Keeps a destruction until the recordings of this moment have ended; gives it back when there are none.
    pub(crate) fn defer(&self, id: u64, payload: Vec<u8>) -> Option<Deferred> {
        let mut state = lock(&self.state);
        let deferred = Deferred { before: state.last + 1, id, payload };
        if state.active.is_empty() {
            return Some(deferred);
        }
        state.deferred.push_back(deferred);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(deferred: &[Deferred]) -> Vec<u64> {
        deferred.iter().map(|d| d.id).collect()
    }

    #[test]
    fn destruction_when_nothing_is_recorded_is_not_deferred() {
        let recordings = Recordings::default();
        let ticket = recordings.begin();
        assert!(recordings.end(ticket).is_empty());
        assert_eq!(recordings.defer(7, Vec::new()).map(|d| d.id), Some(7));
    }

    #[test]
    fn destruction_when_recordings_overlap_waits_for_the_earlier_ones_only() {
        let recordings = Recordings::default();
        let (first, second) = (recordings.begin(), recordings.begin());
        assert_eq!(recordings.defer(7, Vec::new()), None);
        let third = recordings.begin();
        assert_eq!(recordings.defer(8, Vec::new()), None);
        assert!(recordings.end(second).is_empty());
        assert_eq!(ids(&recordings.end(first)), [7]);
        assert_eq!(ids(&recordings.end(third)), [8]);
    }
}
