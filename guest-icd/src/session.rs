//! One connection to the host and everything that is shared by the objects behind it.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::mm::{Advice, madvise};
use vw_transport::handshake::feature;
use vw_transport::{Connection, Control, Liveness as _, Peer, Producer, Region, Spin};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{ABANDONED_SLOTS, FLAG_REPLY, abandoned_offset};

use crate::alloc::{Backing, HostAllocator, OutOfHostMemory};
use crate::chunks::{Chunks, Words};
use crate::debug_utils::{Messengers, Severity};
use crate::failure::Failure;
use crate::forward;
use crate::ids::Ids;
use crate::lifeline::Lifeline;
use crate::log;
use crate::memories::Memories;
use crate::objects::Objects;
use crate::perf::Perf;
use crate::physical_device::DeviceFacts;
use crate::recordings::Recordings;
use crate::sender::{Payload, Sender};
use crate::straight::Straight;

/// Answers by what determines them.
type Memo = HashMap<Box<[u8]>, Box<[u8]>>;

/// Locks without caring whether another thread panicked while it held the lock: the data are kept consistent
/// by every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection to the host.
///
/// Locks are taken in the order `call`, a queue's, `sender`; the others are held for a few instructions and
/// nothing else is locked meanwhile.
pub(crate) struct Session {
    region: Arc<Region>,
    pub(crate) peer: Arc<Peer>,
    sender: Mutex<Sender>,
    /// Number of replies received; held from a call's record to its reply.
    pub(crate) call: Mutex<u32>,
    lifeline: Lifeline,
    ids: [Mutex<Ids>; HandleType::COUNT],
    /// There was an object with memory of the application's behind it.
    backed: AtomicBool,
    /// Queue slots in use, one bit each.
    slots: Mutex<u64>,
    chunks: Mutex<Chunks>,
    /// What is being recorded.
    pub(crate) recordings: Recordings,
    /// How many ended recordings are held back; changes under the sender's lock.
    pub(crate) held: AtomicUsize,
    /// Ring position behind the last recording that another one looks at.
    kept: AtomicU64,
    /// Replies that the request's bytes determine.
    pub(crate) memo: Mutex<Memo>,
    pub(crate) reply_spin: Spin,
    pub(crate) completion_spin: Spin,
    pub(crate) memories: Memories,
    pub(crate) objects: Objects,
    /// Whether descriptors pass to the host.
    pub(crate) descriptors: bool,
    /// Whether the host's device works in copies of the window.
    pub(crate) copied: bool,
    /// Files that the host's driver keeps memory in, by their numbers.
    pub(crate) files: Mutex<HashMap<u64, OwnedFd>>,
    /// Number of the next payload.
    pub(crate) next_payload: AtomicU64,
    facts: OnceLock<DeviceFacts>,
    /// Those of the instance.
    messengers: Arc<Messengers>,
    /// The messengers know that the device is lost.
    loss_told: AtomicBool,
    /// Which optimisations are on.
    pub(crate) perf: Perf,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("broken", &self.broken()).finish_non_exhaustive()
    }
}

impl Session {
    /// A session over a fresh connection; `messengers` hear of its troubles.
    pub(crate) fn new(connection: Connection, messengers: Arc<Messengers>) -> Self {
        let descriptors = connection.welcome.features & feature::DESCRIPTORS != 0;
        let copied = connection.welcome.features & feature::COPIED != 0;
        let region = connection.region;
        let peer = connection.peer;
        let (window, size) = region.window();
        let mut memories = Memories::new(window, size, region.layout().page_size());
        memories.mirror(&region);
        let perf = Perf::from_environment();
        let spin = || if perf.spin { Spin::adaptive() } else { Spin::off() };
        let mut producer = Producer::new(Arc::clone(&region), Arc::<Peer>::clone(&peer));
        producer.set_spin(spin());
        Self {
            sender: Mutex::new(Sender::new(producer, perf.batch)),
            chunks: Mutex::new(Chunks::new(region.arena().1)),
            memories,
            region,
            peer,
            call: Mutex::new(0),
            lifeline: Lifeline::new(),
            ids: std::array::from_fn(|_| Mutex::default()),
            backed: AtomicBool::new(false),
            slots: Mutex::new(0),
            recordings: Recordings::default(),
            held: AtomicUsize::new(0),
            kept: AtomicU64::new(0),
            memo: Mutex::default(),
            reply_spin: spin(),
            completion_spin: spin(),
            objects: Objects::default(),
            descriptors,
            copied,
            files: Mutex::default(),
            next_payload: AtomicU64::new(0),
            facts: OnceLock::new(),
            messengers,
            loss_told: AtomicBool::new(false),
            perf,
        }
    }

    /// What the host has said about its physical device; none before it was asked.
    pub(crate) fn facts(&self) -> Option<&DeviceFacts> {
        self.facts.get()
    }

    /// Keeps what the host says about its physical device; the first answer counts.
    pub(crate) fn set_facts(&self, facts: DeviceFacts) {
        let _ = self.facts.set(facts);
    }

    /// The shared region.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// The region's control page.
    pub(crate) fn control(&self) -> &Control {
        self.region.control()
    }

    /// Where the host sees other pages than the program: sends what the program has written, before what is sent next.
    pub(crate) fn settle(&self) {
        if let Some(mirror) = self.region.mirror() {
            mirror.settle();
        }
    }

    /// Whether the connection is of no more use, or another process's: one that forked this one.
    pub(crate) fn broken(&self) -> bool {
        !self.lifeline.holds()
    }

    /// Gives the connection up: every later command fails, and who waits is woken.
    pub(crate) fn give_up(&self, reason: &dyn std::fmt::Display) {
        if self.lifeline.cut() {
            let mut text = format!("the connection to the host is lost: {reason}");
            if let Some(words) = self.peer.last_words() {
                text += &format!(" (it said: {words})");
            }
            self.control().completion().signal_here();
            self.control().reply().signal_here();
            self.tell_loss(&text);
        }
    }

    /// Says once why the device is lost.
    pub(crate) fn tell_loss(&self, text: &str) {
        if !self.loss_told.swap(true, Ordering::Relaxed) {
            self.complain(c"vw-device-lost", text);
        }
    }

    /// Says to the log and to the program's messengers what is wrong; `id` is the message's name.
    pub(crate) fn complain(&self, id: &CStr, text: &str) {
        log::error!("{text}");
        self.messengers.say(Severity::ERROR, id, text);
    }

    /// Notices that the host is gone. For commands that a program may repeat for ever without waiting.
    pub(crate) fn check(&self) {
        // The peer looks at its socket now and then only, so that this costs little.
        if !self.peer.alive() {
            self.give_up(&vw_transport::PeerGone);
        }
    }

    /// Appends records to the ring, in one go: no other thread's record comes between.
    pub(crate) fn with_sender<R>(
        &self,
        work: impl FnOnce(&mut Sender) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        if self.broken() {
            return Err(Failure::Lost);
        }
        let result = work(&mut lock(&self.sender));
        match result {
            Ok(_) => {}
            Err(Failure::Lost) => self.give_up(&"no room is made in the command ring any more"),
            Err(Failure::TooLarge) => {
                self.complain(c"vw-too-large", "a command is larger or nests deeper than can be carried");
            }
        }
        result
    }

    /// Appends one record.
    pub(crate) fn send(&self, opcode: u16, payload: Payload<'_>) -> Result<u64, Failure> {
        self.with_sender(|sender| sender.push(opcode, payload))
    }

    /// Appends the record that creates `count` objects of this type, without callbacks of the application's: what `put` puts, and
    /// their ids, which go to `first`. False when it has to go the common way: nothing has happened then.
    ///
    /// # Safety
    /// There must be room for so many ids.
    pub(crate) unsafe fn send_new(
        &self,
        ty: HandleType,
        opcode: u16,
        (first, count): (*mut u64, usize),
        put: impl FnOnce(&mut Straight) -> Option<()>,
    ) -> Result<bool, Failure> {
        self.with_sender(|sender| {
            let mut to = sender.begin()?;
            let room = put(&mut to).and_then(|()| to.need(1 + count.saturating_mul(size_of::<u64>())));
            if room.is_none() {
                return Ok(false);
            }
            // SAFETY: there is room for this, and for the ids.
            unsafe { to.put(1u8) };
            for i in 0..count {
                let new = sender.spare.take(ty).or_else(|| lock(&self.ids[ty as usize]).allocate());
                let Some(id) = new else {
                    // SAFETY: the caller's promise; these were written.
                    (0..i).for_each(|i| self.free_id(ty, unsafe { first.add(i).read() }));
                    return Ok(false);
                };
                // SAFETY: the caller's promise, and as above.
                unsafe {
                    first.add(i).write(id);
                    to.put(id);
                }
            }
            sender.end(to, opcode, 0);
            if forward::is_urgent(ty) {
                sender.publish();
            }
            Ok(true)
        })
    }

    /// Appends the record of two handles that destroys an object, and gives its id and the memory behind it back.
    pub(crate) fn send_last(&self, opcode: u16, owner: u64, (ty, id): (HandleType, u64)) {
        let kept = self.with_sender(|sender| {
            // SAFETY: there is room for two handles.
            sender.push_straight(opcode, |to| unsafe {
                to.put(owner);
                to.put(id);
            })?;
            Ok(!self.backed.load(Ordering::Relaxed) && sender.spare.keep(ty, id))
        });
        // Where there is no host any more, the object's memory is still the application's.
        if !kept.unwrap_or(false) {
            self.free_id(ty, id);
        }
    }

    /// Appends one record that asks for a reply, and lets the host see it at once.
    pub(crate) fn send_now(&self, opcode: u16, payload: Payload<'_>) -> Result<u64, Failure> {
        self.with_sender(|sender| {
            let position = sender.push_with(opcode, FLAG_REPLY, payload)?;
            sender.publish();
            Ok(position)
        })
    }

    /// Lets the host see everything sent so far.
    pub(crate) fn flush(&self) {
        if !self.broken() {
            lock(&self.sender).publish();
        }
    }

    /// A new id for an object whose memory `allocator` provides. None when either is used up, which is
    /// `VK_ERROR_OUT_OF_HOST_MEMORY`.
    pub(crate) fn allocate_id(&self, ty: HandleType, allocator: HostAllocator) -> Option<u64> {
        let ids = &self.ids[ty as usize];
        let id = lock(ids).allocate()?;
        if self.back_id(ty, id, allocator) {
            return Some(id);
        }
        lock(ids).free(id);
        None
    }

    /// Puts the application's memory behind an object, where it gave callbacks; false where they refuse.
    pub(crate) fn back_id(&self, ty: HandleType, id: u64, allocator: HostAllocator) -> bool {
        // No lock is held while the application's functions run.
        match Backing::new(allocator, ty) {
            Ok(None) => true,
            Ok(Some(backing)) => {
                self.backed.store(true, Ordering::Relaxed);
                lock(&self.ids[ty as usize]).back(id, backing);
                true
            }
            Err(OutOfHostMemory) => false,
        }
    }

    /// Gives an id and the memory behind it back, once the record that destroys the object is in the ring.
    pub(crate) fn free_id(&self, ty: HandleType, id: u64) {
        let backing = {
            let mut ids = lock(&self.ids[ty as usize]);
            ids.free(id);
            ids.unback(id)
        };
        if let Some(backing) = backing {
            backing.release();
        }
    }

    /// Gives the application's memory behind an object back, whose id is still in use.
    pub(crate) fn free_backing(&self, ty: HandleType, id: u64) {
        let backing = lock(&self.ids[ty as usize]).unback(id);
        if let Some(backing) = backing {
            backing.release();
        }
    }

    /// A queue slot in the control page; none when all 64 are in use.
    pub(crate) fn allocate_slot(&self) -> Option<u8> {
        let mut used = lock(&self.slots);
        let slot = used.trailing_ones() as u8;
        *used |= 1u64.checked_shl(slot.into())?;
        Some(slot)
    }

    /// Gives a queue slot back, once the record that destroys the device is in the ring.
    pub(crate) fn free_slot(&self, slot: u8) {
        *lock(&self.slots) &= !(1 << slot);
    }

    /// Whether recordings have a place that the host sees.
    pub(crate) fn has_arena(&self) -> bool {
        self.perf.arena && self.region.arena().1 > 0
    }

    /// A chunk of the arena, as its offset; none when all are in use or the arena is not to be used.
    pub(crate) fn take_chunk(&self) -> Option<u64> {
        if !self.has_arena() {
            return None;
        }
        let consumed = self.control().head_cursor().load();
        lock(&self.chunks).take(consumed)
    }

    /// Memory of the guest's own for a recording; see [`Chunks::take_words`].
    pub(crate) fn take_words(&self) -> Words {
        lock(&self.chunks).take_words()
    }

    /// Keeps memory of the guest's own for another recording.
    pub(crate) fn keep_words(&self, words: Words) {
        // What is not kept is freed when nothing is locked any more.
        let _freed = lock(&self.chunks).keep_words(words);
    }

    /// Whether the host has so much to replay that it need not be given more before somebody needs it.
    pub(crate) fn host_is_behind(&self, sender: &Sender) -> bool {
        if !self.perf.hold || !self.has_arena() {
            return false;
        }
        let consumed = self.control().head_cursor().load();
        let in_ring = sender.position().saturating_sub(consumed);
        in_ring >= self.region.ring().1 as u64 / 2 || lock(&self.chunks).are_behind(consumed)
    }

    /// Another recording looks at one that was handed over, which may be reset at once: until the host has read both, nothing
    /// is abandoned.
    pub(crate) fn keep_recordings(&self) {
        self.kept.fetch_max(lock(&self.sender).position(), Ordering::Relaxed);
    }

    /// Tells the host that it need not replay what is left of a recording: its command buffer was reset.
    pub(crate) fn abandon(&self, buffer: u64, ticket: u64) {
        let kept = self.kept.load(Ordering::Relaxed);
        // A child that was forked has copies of the recordings of its parent, whose host must not hear of it.
        if self.broken() || kept != 0 && self.control().head_cursor().load() < kept {
            return;
        }
        let (base, size) = self.region.arena();
        let slot = buffer as u32 as usize;
        if let Some(table) = abandoned_offset(size).filter(|_| self.perf.abandon && slot < ABANDONED_SLOTS) {
            // SAFETY: the table lies in the arena, which is mapped as long as the session, aligned; the host only reads it.
            let slots = unsafe { base.add(table).cast::<AtomicU64>() };
            // SAFETY: there are so many slots.
            unsafe { slots.add(slot).as_ref() }.store(ticket, Ordering::Release);
        }
    }

    /// Gives the arena's pages back as far as a burst of recording has left them behind.
    pub(crate) fn trim_arena(&self) {
        // The arena of a forked child is its parent's.
        if self.broken() {
            return;
        }
        let _freed = lock(&self.chunks).take_all_words();
        let mut chunks = lock(&self.chunks);
        if let Some(range) = chunks.trim(self.control().head_cursor().load()) {
            // SAFETY: whole pages of the arena, of chunks that nobody uses while the lock is held.
            unsafe {
                let start = self.region.arena().0.add(range.start as usize);
                // Where this cannot be done, they stay.
                let _ =
                    madvise(start.as_ptr().cast(), (range.end - range.start) as usize, Advice::LinuxRemove);
            }
        }
    }

    /// Gives a chunk of the arena back; see [`Chunks::give_back`].
    pub(crate) fn give_chunk_back(&self, offset: u64, position: u64) {
        lock(&self.chunks).give_back(offset, position);
    }
}
