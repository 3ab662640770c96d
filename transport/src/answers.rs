//! Answers that the host gives to questions that were sent, not called: they stand in the control page until somebody looks.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::cursor::order;

/// Answers that stand there at a time.
pub const ANSWERS: usize = 32;

/// Where they stand: the answer to question `n` in the slot `n % ANSWERS`.
pub(crate) type Slots = [Slot; ANSWERS];

/// An answer of three words, and the number of its question: 0 while it is being written.
#[repr(C, align(32))]
#[derive(Debug, Default)]
pub(crate) struct Slot {
    number: AtomicU64,
    words: [AtomicU64; 3],
}

/// What is known about the answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has not come.
    Awaited,
    /// This is it.
    Here([u64; 3]),
    /// Another one has taken its place.
    Gone,
}

fn slot(slots: &Slots, number: u64) -> &Slot {
    &slots[(number % ANSWERS as u64) as usize]
}

/// Writes the answer to question `number`, not 0 and larger than any before it in this slot. One thread at a time.
pub(crate) fn write(slots: &Slots, number: u64, words: [u64; 3], weak: bool) {
    let slot = slot(slots, number);
    slot.number.store(0, Ordering::Relaxed);
    order(weak);
    // Who reads one of the words that follow finds the number changed.
    fence(Ordering::Release);
    for (to, word) in slot.words.iter().zip(words) {
        to.store(word, Ordering::Relaxed);
    }
    order(weak);
    slot.number.store(number, Ordering::Release);
}

/// The answer to question `number`.
pub(crate) fn read(slots: &Slots, number: u64, weak: bool) -> Answer {
    let slot = slot(slots, number);
    let found = slot.number.load(Ordering::Acquire);
    if found < number {
        return Answer::Awaited;
    }
    order(weak);
    let words = slot.words.each_ref().map(|word| word.load(Ordering::Relaxed));
    fence(Ordering::Acquire);
    order(weak);
    if found == number && slot.number.load(Ordering::Relaxed) == number {
        Answer::Here(words)
    } else {
        Answer::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_when_another_takes_its_place_is_gone() {
        let slots = Slots::default();
        assert_eq!(read(&slots, 5, false), Answer::Awaited);
        write(&slots, 5, [1, 2, 3], false);
        assert_eq!(read(&slots, 5, false), Answer::Here([1, 2, 3]));
        assert_eq!(read(&slots, 6, false), Answer::Awaited);
        let later = 5 + ANSWERS as u64;
        assert_eq!(read(&slots, later, false), Answer::Awaited);
        write(&slots, later, [4, 5, 6], true);
        assert_eq!(read(&slots, 5, false), Answer::Gone);
        assert_eq!(read(&slots, later, true), Answer::Here([4, 5, 6]));
    }

    #[test]
    fn answer_when_read_while_others_are_written_is_whole_or_none() {
        let slots = Slots::default();
        let last = 200_000;
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=last).for_each(|n| write(&slots, n, [n, n + 1, n + 2], false)));
            for number in (1..=last).step_by(7) {
                loop {
                    match read(&slots, number, false) {
                        Answer::Awaited => std::thread::yield_now(),
                        Answer::Here(words) => break assert_eq!(words, [number, number + 1, number + 2]),
                        Answer::Gone => break,
                    }
                }
            }
        });
    }
}
