//! Memory of a device that is kept like parts of the window, for devices that cannot use the window's pages themselves.
//!
//! The other side writes to the window and reads from it at any time; the device does so with its own memory. A
//! shadow holds what both had in common last, so that what differs from it is what one of them has written. It is carried over byte
//! by byte where both may write, because what lies beside it may be written meanwhile: distinct bytes are what Vulkan promises.
//!
//! Who submits [takes](Copies::take) what the program has written before, and [gives](Copies::give) what the device has
//! written before anybody is told of a completion.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ranges::Ranges;
use crate::region::Region;
use crate::shadow::Shadow;

/// Bytes that are compared at a time. Windows begin with whole ones.
const PIECE: usize = 4096;

/// The parts of a window of which there are copies.
#[derive(Debug)]
pub struct Copies {
    region: Arc<Region>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By where they begin in the window.
    copies: BTreeMap<u64, Copy>,
    /// What the device may write, in the window.
    changeable: Ranges,
}

/// One part of the window, and the device's memory that it goes with.
#[derive(Debug)]
struct Copy {
    device: NonNull<u8>,
    length: usize,
    shadow: Shadow,
    /// The pieces that shadow and device have in common. What is in the others is what the device's memory began with, and of no
    /// meaning to anybody.
    known: Vec<bool>,
}

// SAFETY: an address, which whoever has added it keeps mapped.
unsafe impl Send for Copy {}

impl Copies {
    /// None so far.
    pub fn new(region: Arc<Region>) -> Self {
        Self { region, state: Mutex::default() }
    }

    /// The program sees `length` bytes of the window from `offset` on (whole pages but for the end), and from now on they are
    /// kept like the device's memory. What the device may have written already is there when this returns. Nothing happens
    /// where that is so already.
    ///
    /// # Errors
    /// When there is no memory for a shadow.
    ///
    /// # Safety
    /// `device` must lead to `length` bytes that may be read and written until they are [forgotten](Self::forget), and
    /// `offset` to as many in the window, which overlap no other copy.
    pub unsafe fn show(&self, offset: u64, device: NonNull<u8>, length: u64) -> io::Result<()> {
        let length = length as usize;
        let mut state = self.lock();
        let State { copies, changeable } = &mut *state;
        if let Entry::Vacant(vacant) = copies.entry(offset) {
            let pieces = length.div_ceil(PIECE);
            let shadow = Shadow::new(pieces * PIECE)?;
            let mut copy = Copy { device, length, shadow, known: vec![false; pieces] };
            for (start, end) in changeable.within(offset, offset + length as u64) {
                copy.adopt(self.program(offset), (start - offset) as usize, (end - offset) as usize);
            }
            vacant.insert(copy);
        }
        self.give_all(&mut state);
        Ok(())
    }

    /// The device may write `length` bytes of the window from `offset` on, until they are [forgotten](Self::forget).
    pub fn may_change(&self, offset: u64, length: u64) {
        let end = offset.saturating_add(length);
        let mut state = self.lock();
        state.changeable.add(offset, end);
        let before = state.copies.range_mut(..end);
        for (start, copy) in before.rev().take_while(|(start, copy)| **start + copy.length as u64 > offset) {
            copy.clear(offset.saturating_sub(*start) as usize, (end - start) as usize);
        }
    }

    /// The device's memory for these bytes is about to go.
    pub fn forget(&self, offset: u64, length: u64) {
        let mut state = self.lock();
        state.copies.remove(&offset);
        state.changeable.remove(offset, offset.saturating_add(length));
    }

    /// Carries what the program has written to the device.
    pub fn take(&self) {
        let mut state = self.lock();
        let State { copies, changeable } = &mut *state;
        for (offset, copy) in copies {
            let program = self.program(*offset);
            for (start, end) in self.region.existing(*offset, offset + copy.length as u64) {
                copy.take(program, (start - offset) as usize, (end - offset) as usize, |from, to| {
                    changeable.within(offset + from as u64, offset + to as u64).next().is_some()
                });
            }
        }
    }

    /// Carries what the device has written to the program.
    pub fn give(&self) {
        self.give_all(&mut self.lock());
    }

    fn give_all(&self, state: &mut State) {
        for (offset, copy) in &mut state.copies {
            for (start, end) in state.changeable.within(*offset, offset + copy.length as u64) {
                copy.give(self.program(*offset), (start - offset) as usize, (end - offset) as usize);
            }
        }
    }

    fn program(&self, offset: u64) -> NonNull<u8> {
        // SAFETY: who has added a copy has promised that it lies in the window.
        unsafe { self.region.window().0.add(offset as usize) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `piece` with number, start and end of each piece that lies between `start` and `end`, or as much of it as does.
fn pieces(start: usize, end: usize, mut piece: impl FnMut(usize, usize, usize)) {
    let mut at = start;
    while at < end {
        let to = (at + PIECE - at % PIECE).min(end);
        piece(at / PIECE, at, to);
        at = to;
    }
}

impl Copy {
    /// Bytes between `from` and `to` at once, as others may write them meanwhile.
    ///
    /// # Safety
    /// `base` must lead to as many as this has; at most a piece is asked for.
    unsafe fn read(base: NonNull<u8>, from: usize, to: usize, buffer: &mut [u8; PIECE]) -> &mut [u8] {
        let bytes = &mut buffer[..to - from];
        // SAFETY: the caller's promise.
        unsafe { base.as_ptr().add(from).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        bytes
    }

    /// The whole pieces around a range become what the device has.
    fn adopt(&mut self, program: NonNull<u8>, start: usize, end: usize) {
        let end = end.next_multiple_of(PIECE).min(self.length);
        let mut buffer = [0; PIECE];
        pieces(start / PIECE * PIECE, end, |number, from, to| {
            if std::mem::replace(&mut self.known[number], true) {
                return;
            }
            // SAFETY: pieces of both memories, which the program has not seen.
            unsafe {
                let bytes = Self::read(self.device, from, to, &mut buffer);
                program.as_ptr().add(from).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                self.shadow.bytes(from, bytes.len()).copy_from_slice(bytes);
            }
        });
    }

    /// Before the device may write to a range: nothing that it has not written is carried to the program.
    fn clear(&mut self, start: usize, end: usize) {
        let end = end.min(self.length).next_multiple_of(PIECE).min(self.length);
        pieces(start / PIECE * PIECE, end, |number, from, to| {
            if !std::mem::replace(&mut self.known[number], true) {
                // SAFETY: a piece of the device's memory, with nothing of meaning in it; its shadow is zero from the start.
                unsafe { self.device.as_ptr().add(from).write_bytes(0, to - from) };
            }
        });
    }

    /// `exact`: whether the device may write between these places.
    fn take(&mut self, program: NonNull<u8>, start: usize, end: usize, exact: impl Fn(usize, usize) -> bool) {
        let mut buffer = [0; PIECE];
        pieces(start, end.min(self.length), |number, from, to| {
            let shadow = self.shadow.bytes(from, to - from);
            let known = std::mem::replace(&mut self.known[number], true);
            // SAFETY: a piece of the window.
            if known && unsafe { is_alike(program.as_ptr().add(from), shadow) } {
                return;
            }
            // SAFETY: the same.
            let bytes = unsafe { Self::read(program, from, to, &mut buffer) };
            // SAFETY: the same piece of the device's memory.
            unsafe {
                let device = self.device.as_ptr().add(from);
                if known && exact(from, to) {
                    carry(device, shadow, bytes);
                } else {
                    device.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
            }
            shadow.copy_from_slice(bytes);
        });
    }

    fn give(&mut self, program: NonNull<u8>, start: usize, end: usize) {
        let mut buffer = [0; PIECE];
        pieces(start, end.min(self.length), |_, from, to| {
            let shadow = self.shadow.bytes(from, to - from);
            // SAFETY: a piece of the device's memory.
            if unsafe { is_alike(self.device.as_ptr().add(from), shadow) } {
                return;
            }
            // SAFETY: the same, and the same piece of the window.
            unsafe {
                let bytes = Self::read(self.device, from, to, &mut buffer);
                carry(program.as_ptr().add(from), shadow, bytes);
                shadow.copy_from_slice(bytes);
            }
        });
    }
}

/// Whether memory has the shadow's bytes. Where it is written meanwhile, that is found the next time.
///
/// # Safety
/// `memory` must lead to as many bytes, which may change.
unsafe fn is_alike(memory: *const u8, shadow: &[u8]) -> bool {
    // SAFETY: the caller's promise.
    unsafe { libc::memcmp(memory.cast(), shadow.as_ptr().cast(), shadow.len()) == 0 }
}

/// Writes those bytes of `new` that are not as in `old`, and no others.
///
/// # Safety
/// `to` must lead to as many bytes as either has.
unsafe fn carry(to: *mut u8, old: &[u8], new: &[u8]) {
    const WORD: usize = size_of::<u64>();
    let (old_words, _) = old.as_chunks::<WORD>();
    let (new_words, new_rest) = new.as_chunks::<WORD>();
    let bytes = |at: usize, old: &[u8], new: &[u8]| {
        for (i, byte) in new.iter().enumerate().filter(|(i, byte)| old[*i] != **byte) {
            // SAFETY: the caller's promise.
            unsafe { to.add(at + i).write_volatile(*byte) };
        }
    };
    for (i, (old, new)) in old_words.iter().zip(new_words).enumerate().filter(|(_, (old, new))| old != new) {
        let differ = u64::from_ne_bytes(*old) ^ u64::from_ne_bytes(*new);
        // Whether no byte of it is 0.
        if differ.wrapping_sub(0x0101_0101_0101_0101) & !differ & 0x8080_8080_8080_8080 == 0 {
            // SAFETY: as above.
            unsafe { to.add(i * WORD).cast::<[u8; WORD]>().write_volatile(*new) };
        } else {
            bytes(i * WORD, old, new);
        }
    }
    let rest = new.len() - new_rest.len();
    bytes(rest, &old[rest..], new_rest);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::Limits;

    const SIZE: usize = 5 * PIECE + 100;
    const OFFSET: u64 = 2 * PIECE as u64;

    /// A program's memory in a window, and a device's.
    struct Pair {
        region: Arc<Region>,
        device: Vec<u8>,
        copies: Copies,
    }

    impl Pair {
        /// The device's memory has garbage in it.
        fn new() -> Self {
            let limits = Limits {
                ring_size: 64 << 10,
                reply_size: 64 << 10,
                arena_size: 0,
                window_size: 1 << 20,
                ..Limits::default()
            };
            let region = Arc::new(Region::create(&limits).unwrap().0);
            Self { device: vec![0xAA; SIZE], copies: Copies::new(Arc::clone(&region)), region }
        }

        fn show(&mut self) {
            let device = NonNull::new(self.device.as_mut_ptr()).unwrap();
            // SAFETY: the memory lives as long as the copies, and is not moved.
            unsafe { self.copies.show(OFFSET, device, SIZE as u64).unwrap() };
        }

        /// The device may write these bytes.
        fn change(&self, from: usize, to: usize) {
            self.copies.may_change(OFFSET + from as u64, (to - from) as u64);
        }

        fn at(&self, at: usize) -> *mut u8 {
            // SAFETY: the window is larger.
            unsafe { self.region.window().0.as_ptr().add(OFFSET as usize + at) }
        }

        fn write(&self, at: usize, bytes: &[u8]) {
            // SAFETY: the tests stay in the window, and write from one thread.
            unsafe { self.at(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }

        fn read(&self, at: usize, length: usize) -> Vec<u8> {
            let mut bytes = vec![0; length];
            // SAFETY: as above.
            unsafe { self.at(at).copy_to_nonoverlapping(bytes.as_mut_ptr(), length) };
            bytes
        }
    }

    #[test]
    fn memory_when_the_program_wrote_it_is_the_devices_from_the_next_take_on() {
        let mut pair = Pair::new();
        pair.show();
        pair.write(10, &[1, 2, 3]);
        pair.write(SIZE - 2, &[4, 5]);
        pair.copies.take();
        assert_eq!((&pair.device[10..13], &pair.device[SIZE - 2..]), (&[1, 2, 3][..], &[4, 5][..]));
        // What the program has never touched has no pages, and gets none.
        assert_eq!(pair.device[2 * PIECE], 0xAA);
        pair.write(11, &[0]);
        pair.copies.take();
        assert_eq!(pair.device[10..13], [1, 0, 3]);
    }

    #[test]
    fn memory_when_the_device_wrote_it_before_it_was_shown_is_there_when_it_is() {
        let mut pair = Pair::new();
        pair.change(100, 200);
        pair.device[150] = 7;
        pair.show();
        assert_eq!(pair.read(150, 1), [7]);
        // What it cannot have written is not looked at.
        assert_eq!(pair.read(4 * PIECE, 1), [0]);
    }

    #[test]
    fn memory_when_the_device_may_change_it_later_keeps_what_the_program_wrote_before() {
        let mut pair = Pair::new();
        pair.show();
        pair.write(PIECE + 5, &[9]);
        pair.change(PIECE, 2 * PIECE);
        pair.device[PIECE + 6] = 8;
        pair.copies.give();
        assert_eq!(pair.read(PIECE + 4, 3), [0, 9, 8]);
        pair.copies.take();
        assert_eq!(pair.device[PIECE + 4..PIECE + 7], [0, 9, 8]);
        pair.copies.forget(OFFSET, SIZE as u64);
        pair.write(PIECE + 5, &[1]);
        pair.copies.take();
        assert_eq!(pair.device[PIECE + 5], 9);
    }

    /// What is done to a pair.
    #[derive(Debug, Clone)]
    enum Step {
        /// The program, or the device, writes a byte; which byte decides who may.
        Write {
            at: usize,
            byte: u8,
        },
        Take,
        Give,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = (0..SIZE, 0..4_u8).prop_map(|(at, byte)| Step::Write { at, byte });
        // Close to each other, so that they share words.
        let close = (0..64_usize, 0..4_u8).prop_map(|(at, byte)| Step::Write { at, byte });
        prop::collection::vec(prop_oneof![write, close, Just(Step::Take), Just(Step::Give)], 0..200)
    }

    proptest! {
        /// Every third byte is the device's, the others are the program's; both write at any time.
        #[test]
        fn memory_when_both_write_distinct_bytes_has_them_all(steps in steps(), shown in any::<bool>()) {
            let mut pair = Pair::new();
            if shown {
                pair.show();
            }
            pair.change(0, SIZE);
            pair.device.fill(0);
            pair.show();
            let mut expected = vec![0; SIZE];
            for step in steps {
                match step {
                    Step::Write { at, byte } => {
                        expected[at] = byte;
                        if at % 3 == 0 { pair.device[at] = byte } else { pair.write(at, &[byte]) }
                    }
                    Step::Take => pair.copies.take(),
                    Step::Give => pair.copies.give(),
                }
            }
            pair.copies.take();
            pair.copies.give();
            prop_assert!(pair.read(0, SIZE) == expected && pair.device == expected);
        }
    }
}
