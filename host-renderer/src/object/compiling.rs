//! Pipelines that are being compiled while the session goes on.
//!
//! A creation that nobody waits for becomes a job; what it creates stays reserved in the tables until it is settled. The
//! first record that names such a pipeline settles its job ([`Resolver`](crate::session::resolve::Resolver)), so that
//! nothing else of the session knows of it. What a job reads is destroyed after it.

use std::collections::VecDeque;
use std::sync::Arc;

use ash::vk;
use vw_wire_protocol::codec::{Arena, NewHandles, Request, failed};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::lost;
use vw_wire_protocol::schema::Command;

use super::queue::Shared;
use crate::gpu::procs::{Entry, Pfn};
use crate::null;
use crate::session::tables::{Object, Tables};
use crate::session::workers::Workers;

/// Most jobs that are not settled, and most bytes that their requests take when decoded: beyond that the session waits for
/// the oldest, and so does the guest, when the ring is full.
const MOST_JOBS: usize = 64;
const MOST_BYTES: usize = 64 << 20;

/// The jobs of a session.
#[derive(Debug, Default)]
pub struct Compiling {
    workers: Option<Workers<Compiled>>,
    /// In the order of their numbers.
    jobs: VecDeque<Job>,
    /// What is to be destroyed.
    graves: Vec<Grave>,
    bytes: usize,
}

/// A request that creates pipelines, with all that it points to.
#[derive(Debug)]
pub struct Creation {
    command: &'static Command,
    entry: Entry,
    request: Request<'static>,
    /// Keeps what the request points to.
    arena: Arena,
    /// Number of the device.
    device: u16,
    shared: Arc<Shared>,
}

// SAFETY: the request points into the arena alone, which goes with it.
unsafe impl Send for Creation {}

/// What became of it: the ids with their handles, 0 where there is none.
type Compiled = (vk::Result, Vec<(u64, u64)>);

#[derive(Debug)]
struct Job {
    number: u64,
    command: &'static Command,
    device: u16,
    ids: Vec<u64>,
    /// What the driver may read until it is done.
    uses: Vec<(HandleType, u64)>,
    bytes: usize,
}

/// An object without an id that a job may read.
#[derive(Debug)]
struct Grave {
    /// The last job that was not settled then.
    after: u64,
    command: &'static Command,
    destroy: Pfn,
    /// Number and handle of the device.
    device: (u16, u64),
    object: u64,
}

impl Creation {
    /// A request for device number `device`, out of `arena`, in whose place an empty one with this `limit` is put.
    ///
    /// # Safety
    /// The request must have been decoded for `command` into `arena`, and `entry` be the command's.
    pub unsafe fn new(
        command: &'static Command,
        entry: Entry,
        request: Request<'static>,
        (arena, limit): (&mut Arena, usize),
        (device, shared): (u16, Arc<Shared>),
    ) -> Self {
        let arena = std::mem::replace(arena, Arena::new(limit));
        Self { command, entry, request, arena, device, shared }
    }

    fn ids(&self) -> impl Iterator<Item = u64> {
        self.request.new.iter().flat_map(|new| new.ids).copied()
    }

    fn run(self) -> Compiled {
        let ret = match self.entry {
            // SAFETY: the pointer was looked up by the command's name, the arguments decoded by its table; what they name
            // lives until the job is settled.
            Entry::Native(pfn) => unsafe { (self.command.invoke)(pfn, &self.request.args) },
            // SAFETY: the request was decoded for this command.
            Entry::Null => unsafe { null::answer(self.command, &self.request) },
            Entry::Absent => vk::Result::ERROR_FEATURE_NOT_PRESENT.as_raw() as i64 as u64,
        };
        let result = vk::Result::from_raw(ret as i32);
        if result == vk::Result::ERROR_DEVICE_LOST {
            self.shared.lose(lost::DRIVER, &format!("{} returned {result}", self.command.name));
        }
        let created: Vec<_> = self.request.new.iter().flat_map(NewHandles::created).collect();
        match created[..] {
            [(id, _)] if failed(self.command, ret) => (result, vec![(id, 0)]),
            _ => (result, created),
        }
    }
}

impl Compiling {
    /// Begins a creation whose ids are reserved and which reads `uses`.
    pub fn begin(&mut self, tables: &mut Tables, creation: Creation, uses: &[(HandleType, u64)]) {
        self.collect(tables);
        let bytes = creation.arena.used();
        while self.jobs.len() >= MOST_JOBS || !self.jobs.is_empty() && self.bytes + bytes > MOST_BYTES {
            self.settle(tables, 0);
        }
        let (command, device, ids) = (creation.command, creation.device, creation.ids().collect());
        let number = self.workers.get_or_insert_default().submit(move || creation.run());
        self.bytes += bytes;
        // The device outlives its jobs, and would be in all of them.
        let uses = uses.iter().filter(|(ty, _)| *ty != HandleType::Device).copied().collect();
        self.jobs.push_back(Job { number, command, device, ids, uses, bytes });
    }

    /// Waits for the job that creates this pipeline; false: there is none.
    pub fn settle_pipeline(&mut self, tables: &mut Tables, id: u64) -> bool {
        let at = self.jobs.iter().position(|job| job.ids.contains(&id));
        at.inspect(|at| self.settle(tables, *at)).is_some()
    }

    /// Waits for the jobs that read one of these.
    pub fn settle_users(&mut self, tables: &mut Tables, used: &[(HandleType, u64)]) {
        while let Some(at) = self.jobs.iter().position(|job| used.iter().any(|used| job.uses.contains(used)))
        {
            self.settle(tables, at);
        }
    }

    /// Gives the pipelines that are done to the tables.
    pub fn collect(&mut self, tables: &mut Tables) {
        if self.jobs.is_empty() {
            return;
        }
        for number in self.workers.as_ref().map(Workers::done).unwrap_or_default() {
            if let Some(at) = self.jobs.iter().position(|job| job.number == number) {
                self.settle(tables, at);
            }
        }
    }

    /// Ends the jobs of a device: those that nobody has begun create nothing.
    pub fn drop_device(&mut self, tables: &mut Tables, device: u16) {
        while let Some(at) = self.jobs.iter().position(|job| job.device == device) {
            let number = self.jobs[at].number;
            if self.workers.as_ref().is_some_and(|workers| workers.cancel(number)) {
                if let Some(job) = self.remove(at) {
                    job.ids.iter().for_each(|id| tables.cancel(HandleType::Pipeline, *id));
                }
            } else {
                self.settle(tables, at);
            }
        }
        self.bury(|grave| grave.device.0 == device);
    }

    /// Whether a job reads this object.
    #[inline]
    pub fn is_used(&self, ty: HandleType, id: u64) -> bool {
        self.jobs.iter().any(|job| job.uses.contains(&(ty, id)))
    }

    /// Destroys an object, which has no id any more, when the jobs that may read it are settled: by `command`, of the device
    /// with this number and handle.
    pub fn destroy_after(
        &mut self,
        command: &'static Command,
        destroy: Pfn,
        device: (u16, u64),
        object: u64,
    ) {
        let after = self.jobs.back().map_or(0, |job| job.number);
        self.graves.push(Grave { after, command, destroy, device, object });
    }

    /// Waits for what has been begun and begins nothing more; for sessions that can only end.
    pub fn stop(&mut self) {
        self.workers = None;
    }

    fn settle(&mut self, tables: &mut Tables, at: usize) {
        let Some(job) = self.remove(at) else { return };
        let result = self.workers.as_ref().and_then(|workers| workers.wait(job.number));
        let (result, created) = result
            .unwrap_or_else(|| (vk::Result::ERROR_UNKNOWN, job.ids.iter().map(|id| (*id, 0)).collect()));
        for (id, raw) in created {
            let poisoned = raw == 0;
            if poisoned {
                tracing::warn!("{} failed ({result}): Pipeline {id:#x} is poisoned", job.command.name);
            }
            let object = Object { raw, pool: 0, device: job.device, poisoned };
            tables.commit(HandleType::Pipeline, id, object);
        }
        let oldest = self.jobs.front().map_or(u64::MAX, |job| job.number);
        self.bury(|grave| grave.after < oldest);
    }

    fn remove(&mut self, at: usize) -> Option<Job> {
        let job = self.jobs.remove(at)?;
        self.bytes -= job.bytes;
        Some(job)
    }

    /// Destroys what no job may read any more.
    fn bury(&mut self, ready: impl Fn(&Grave) -> bool) {
        for grave in self.graves.iter().filter(|grave| ready(grave)) {
            // SAFETY: the object has no id any more, and no job is left that was begun while it had one; its device
            // lives: it waits for this.
            unsafe { (grave.command.invoke)(grave.destroy, &[grave.device.1, grave.object, 0]) };
        }
        self.graves.retain(|grave| !ready(grave));
    }
}

#[cfg(test)]
#[path = "compiling_tests.rs"]
mod tests;
