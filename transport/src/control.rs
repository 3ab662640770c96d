//! The control page: the few words that both sides read and write.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::answers::{self, Answer};
use crate::bell::{Bell, Word};
use crate::credit::Credit;
use crate::cursor::{Cursor, order};
use crate::wait::{Signal, WaitWord};

/// First word of a region: "vwregion" in memory.
pub const REGION_MAGIC: u64 = u64::from_le_bytes(*b"vwregion");

/// Queues that can be numbered in one session.
pub const QUEUE_SLOTS: usize = 64;

/// Credits that stand in the control page; both sides number them alike.
pub const CREDITS: usize = 17;

/// Bytes of a reply that stand beside its number, on the same cache line: one transfer between cores instead of two.
pub const SHORT_REPLY: usize = 56;

/// In a reply's length: the reply stands beside it, and not in the reply area.
const SHORT: u32 = 1 << 31;

/// Something that stands alone on its cache lines: 128 bytes, because x86 fetches lines in pairs and some Arm cores
/// have lines of 128.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct Line<T>(T);

impl<T> Deref for Line<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The first page of a region. Atomics only: the other side changes it at any time. Who reads a word that the
/// other side may write must take its value once and check it.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Page {
    /// [`REGION_MAGIC`], written by the side that makes the region.
    pub magic: Line<AtomicU64>,
    /// Bytes of the ring ever published; written by the producer (guest).
    pub tail: Line<AtomicU64>,
    /// The doorbell, guest to host: `tail` has moved, or the host's own thread is to look at its stop flag.
    pub command: Line<WaitWord>,
    /// Bytes of the ring ever released; written by the consumer (host).
    pub head: Line<AtomicU64>,
    /// Host to guest: `head` has moved.
    pub space: Line<WaitWord>,
    /// Host to guest: a reply stands in the reply area, or an answer in `answers`.
    pub reply: Line<WaitWord>,
    /// The reply that stands there.
    pub reply_state: Line<ReplyState>,
    /// Something in `completed` or `device_lost` has changed. Guest threads also signal it to each other.
    pub completion: Line<WaitWord>,
    /// Not 0: the device is lost; the value is the host's reason code, the words are in its log.
    pub device_lost: Line<AtomicU32>,
    /// Per queue slot: the number of the last submission that has completed.
    pub completed: Line<[AtomicU64; QUEUE_SLOTS]>,
    /// Where the region is part of a device: random numbers of the host's, by which both sides know that they see the same
    /// pages.
    pub proof: Line<[AtomicU64; 4]>,
    /// Answers to questions that were sent.
    pub answers: Line<answers::Slots>,
    /// What the guest may take without asking.
    pub credits: Line<[Credit; CREDITS]>,
}

/// Number and length of the last reply, and the reply itself if it is short.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ReplyState {
    /// Replies ever posted (wraps).
    pub seq: AtomicU32,
    /// Whole length of the last reply in bytes, which may exceed the reply area; with [`SHORT`] where that is so.
    pub len: AtomicU32,
    /// The bytes of a short reply, and anything behind them.
    short: [AtomicU64; SHORT_REPLY / 8],
}

// One page of the smallest size: the layout gives control one page.
const _: () = assert!(size_of::<Page>() <= 4096 && align_of::<Page>() == 128);
const _: () = assert!(size_of::<WaitWord>() == 8);
// One cache line of the usual size.
const _: () = assert!(size_of::<ReplyState>() == 64);

/// The control page of a mapped region, and how the other side is woken.
#[derive(Debug)]
pub struct Control {
    page: NonNull<Page>,
    /// The page is memory whose loads and stores other processors may see in another order.
    weak: bool,
    bell: OnceLock<Arc<dyn Bell>>,
}

// SAFETY: the page consists of atomics and stays mapped as long as this exists (see `new`); a bell is both.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Control {
    /// The page at `base`.
    ///
    /// # Safety
    /// `base` must be aligned to 128 bytes and be `size_of::<Page>()` bytes of a shared mapping that stays until this is
    /// dropped.
    pub(crate) unsafe fn new(base: NonNull<u8>, weak: bool) -> Self {
        Self { page: base.cast(), weak, bell: OnceLock::new() }
    }

    pub(crate) fn page(&self) -> &Page {
        // SAFETY: the promise of `new`; every bit pattern is valid in atomics.
        unsafe { self.page.as_ref() }
    }

    /// From now on the other side is on another kernel, and reached by `bell` alone. To be called once, before anybody
    /// sleeps; later calls do nothing.
    pub fn set_bell(&self, bell: Arc<dyn Bell>) {
        let _ = self.bell.set(bell);
    }

    /// The wait word of this name.
    pub fn word(&self, name: Word) -> Signal<'_> {
        let page = self.page();
        let word = match name {
            Word::Command => &page.command,
            Word::Space => &page.space,
            Word::Reply => &page.reply,
            Word::Completion => &page.completion,
        };
        Signal::new(word, name, self.bell.get().map(|bell| &**bell))
    }

    /// The doorbell, guest to host: the tail has moved, or the host's own thread is to look at its stop flag.
    pub fn command(&self) -> Signal<'_> {
        self.word(Word::Command)
    }

    /// Host to guest: a reply stands in the reply area, or an answer in the control page.
    pub fn reply(&self) -> Signal<'_> {
        self.word(Word::Reply)
    }

    /// Host to guest: something is complete or the device is lost. Guest threads also signal it to each other.
    pub fn completion(&self) -> Signal<'_> {
        self.word(Word::Completion)
    }

    /// The producer's end of the ring.
    pub fn tail_cursor(&self) -> Cursor<'_> {
        Cursor { position: &self.page().tail, moved: self.command(), weak: self.weak }
    }

    /// The consumer's end of the ring.
    pub fn head_cursor(&self) -> Cursor<'_> {
        Cursor { position: &self.page().head, moved: self.word(Word::Space), weak: self.weak }
    }

    /// Host: announces the reply of `len` bytes (whole length) that now stands in the reply area.
    pub fn post_reply(&self, len: u32) {
        self.page().reply_state.len.store(len, Ordering::Relaxed);
        self.page().reply_state.seq.fetch_add(1, Ordering::Release);
        self.reply().signal();
    }

    /// Host: posts a reply of `len` bytes, at most [`SHORT_REPLY`], that begins these words. (All at once, for the guest looks
    /// at the line all the time.)
    pub fn post_short_reply(&self, words: [u64; SHORT_REPLY / 8], len: usize) {
        let state = &self.page().reply_state;
        for (to, word) in state.short.iter().zip(words).take(len.div_ceil(8)) {
            to.store(word, Ordering::Relaxed);
        }
        self.post_reply(len.min(SHORT_REPLY) as u32 | SHORT);
    }

    /// The words of a short reply, if the last one was short; to be read as [`Control::reply_len`].
    pub fn short_reply(&self) -> Option<[u64; SHORT_REPLY / 8]> {
        let state = &self.page().reply_state;
        let is_short = state.len.load(Ordering::Relaxed) & SHORT != 0;
        is_short.then(|| state.short.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }

    /// Guest: how many replies were ever posted (wraps). Read it before the call is sent; the reply has come when it
    /// has changed. Whatever was written before the reply was posted is visible then.
    pub fn reply_seq(&self) -> u32 {
        let seq = self.page().reply_state.seq.load(Ordering::Acquire);
        order(self.weak);
        seq
    }

    /// Guest: whole length in bytes of the last reply, to be read once after [`Control::reply_seq`] has changed.
    pub fn reply_len(&self) -> u32 {
        self.page().reply_state.len.load(Ordering::Relaxed) & !SHORT
    }

    /// Host: the answer to question `number`, which is larger than those of all questions answered before. It stands until
    /// that to `number +` [`ANSWERS`](crate::ANSWERS) takes its place.
    pub fn push_answer(&self, number: u64, words: [u64; 3]) {
        answers::write(&self.page().answers, number, words, self.weak);
        self.reply().signal();
    }

    /// Guest: what is known about the answer to question `number`. Who waits for it sleeps on [`Control::reply`].
    pub fn answer(&self, number: u64) -> Answer {
        answers::read(&self.page().answers, number, self.weak)
    }

    /// The credit with this number; none from [`CREDITS`] on. Where each side has a page of its own the guest sees nothing of
    /// what the host grants.
    pub fn credit(&self, number: usize) -> Option<&Credit> {
        self.page().credits.get(number)
    }

    /// Host: queue `slot` is a new queue's from now on, of which nothing has completed.
    pub fn assign(&self, slot: usize) {
        if let Some(completed) = self.page().completed.get(slot) {
            completed.store(0, Ordering::Release);
        }
    }

    /// Host: submission `seq` of queue `slot`, and all before it, are complete. Threads may tell of several in any
    /// order. Slots from [`QUEUE_SLOTS`] on are ignored (they were never assigned).
    pub fn complete(&self, slot: usize, seq: u64) {
        if let Some(completed) = self.page().completed.get(slot) {
            completed.fetch_max(seq, Ordering::Release);
            self.completion().signal();
        }
    }

    /// Guest: the last submission of queue `slot` that has completed; 0 for none or a slot that does not exist.
    pub fn completed(&self, slot: usize) -> u64 {
        let seq = self.page().completed.get(slot).map_or(0, |c| c.load(Ordering::Acquire));
        order(self.weak);
        seq
    }

    /// Host: the device is lost for `reason` (not 0). Wakes all that wait for completions. The first reason stays.
    pub fn lose_device(&self, reason: u32) {
        let _ =
            self.page().device_lost.compare_exchange(0, reason.max(1), Ordering::AcqRel, Ordering::Relaxed);
        self.completion().signal();
    }

    /// Why the device is lost, if it is.
    pub fn device_lost(&self) -> Option<u32> {
        Some(self.page().device_lost.load(Ordering::Acquire)).filter(|&reason| reason != 0)
    }

    /// Statistics: how often each side had to be woken.
    pub fn wakes(&self) -> Wakes {
        Wakes {
            doorbells: self.page().command.wakes(),
            space: self.page().space.wakes(),
            replies: self.page().reply.wakes(),
            completions: self.page().completion.wakes(),
        }
    }
}

/// How often a signal found a sleeper and so cost a system call, since the region was made (each wraps).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wakes {
    /// Guest to host: the host slept when records were published.
    pub doorbells: u32,
    /// Host to guest: the guest slept on a full ring.
    pub space: u32,
    /// Host to guest: the guest slept for a reply.
    pub replies: u32,
    /// Host to guest: guest threads slept for completions.
    pub completions: u32,
}
