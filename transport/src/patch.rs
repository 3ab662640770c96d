//! Changed bytes of a memory, as they travel: those that differ and no others, because the bytes between them may have been
//! written on the other side meanwhile.
//!
//! A patch is a sequence of runs. A run is a `u64` (bits 0 to 47: number of its first line; 48 to 62: how many lines; 63: they
//! are whole) and its lines of [`LINE`] bytes: whole ones as they are, others as a `u64` with a bit for each byte that has
//! changed, and these bytes.

use crate::frame::{FrameError, Kind, MAX_PAYLOAD};

/// Bytes of a line.
pub const LINE: usize = 64;

/// Most lines of a run.
const MAX_LINES: u64 = (1 << 15) - 1;

const COUNT_AT: u32 = 48;
const WHOLE: u64 = 1 << 63;

/// Patches that are being made, none larger than a frame takes.
#[derive(Debug, Default)]
pub struct Encoder {
    full: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    /// Where the header of the last run is, and the line that would continue it.
    run: Option<(usize, u64)>,
}

impl Encoder {
    /// Adds the bytes of line `number` that `changed` has bits for.
    fn line(&mut self, number: u64, new: &[u8; LINE], changed: u64) {
        let whole = changed == u64::MAX;
        let needed = if whole { LINE } else { size_of::<u64>() + changed.count_ones() as usize };
        let continued = self.run.and_then(|(at, next)| {
            let header = u64::from_le_bytes(*self.bytes.get(at..)?.first_chunk()?);
            let fits = self.bytes.len() + needed <= MAX_PAYLOAD && header >> COUNT_AT & MAX_LINES < MAX_LINES;
            (next == number && (header & WHOLE != 0) == whole && fits).then_some((at, header))
        });
        let at = match continued {
            Some((at, header)) => {
                let more = header + (1 << COUNT_AT);
                self.bytes[at..at + size_of::<u64>()].copy_from_slice(&more.to_le_bytes());
                at
            }
            None => {
                if self.bytes.len() + size_of::<u64>() + needed > MAX_PAYLOAD {
                    self.full.push(std::mem::take(&mut self.bytes));
                }
                let header = number | 1 << COUNT_AT | if whole { WHOLE } else { 0 };
                self.bytes.extend(header.to_le_bytes());
                self.bytes.len() - size_of::<u64>()
            }
        };
        if whole {
            self.bytes.extend(new);
        } else {
            self.bytes.extend(changed.to_le_bytes());
            let mut rest = changed;
            while rest != 0 {
                self.bytes.push(new[rest.trailing_zeros() as usize]);
                rest &= rest - 1;
            }
        }
        self.run = Some((at, number + 1));
    }

    /// Adds what differs between `old` and `new`, which are whole lines from line `first` on, and makes `old` the same.
    pub fn differences(&mut self, first: u64, old: &mut [u8], new: &[u8]) {
        let lines = old.as_chunks_mut::<LINE>().0.iter_mut().zip(new.as_chunks::<LINE>().0);
        for (number, (old, new)) in (first..).zip(lines) {
            if old != new {
                self.line(number, new, changed(old, new));
                *old = *new;
            }
        }
    }

    /// Takes the patches that are complete; with `all` also the last one.
    pub fn take(&mut self, all: bool) -> impl Iterator<Item = Vec<u8>> {
        let mut full = std::mem::take(&mut self.full);
        if all && !self.bytes.is_empty() {
            full.push(std::mem::take(&mut self.bytes));
        }
        if self.bytes.is_empty() {
            self.run = None;
        }
        full.into_iter()
    }
}

/// A bit for each byte that differs.
fn changed(old: &[u8; LINE], new: &[u8; LINE]) -> u64 {
    old.iter().zip(new).rev().fold(0, |bits, (old, new)| bits << 1 | u64::from(old != new))
}

/// A part of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// Whole lines from this offset on, in bytes.
    Lines(u64, &'a [u8]),
    /// Of the line at this offset the bytes with these bits.
    Bytes(u64, u64, &'a [u8]),
}

/// Reads a patch of a memory of `size` bytes, whole lines, and gives each change to `apply`.
///
/// # Errors
/// [`FrameError::Malformed`] where it is no patch of such a memory; what came before was applied.
pub fn read(mut patch: &[u8], size: u64, mut apply: impl FnMut(Change<'_>)) -> Result<(), FrameError> {
    let malformed = |what: &str| FrameError::malformed(Kind::Pages, what);
    while !patch.is_empty() {
        let header = take_u64(&mut patch).ok_or_else(|| malformed("half of a run"))?;
        let (first, count) = (header & ((1 << COUNT_AT) - 1), header >> COUNT_AT & MAX_LINES);
        let line = LINE as u64;
        if count == 0 || first + count > size / line {
            return Err(malformed(&format!("{count} lines from {first:#x} on in a window of {size} bytes")));
        }
        if header & WHOLE != 0 {
            let length = count as usize * LINE;
            let Some((bytes, rest)) = patch.split_at_checked(length) else {
                return Err(malformed("fewer lines than there should be"));
            };
            apply(Change::Lines(first * line, bytes));
            patch = rest;
            continue;
        }
        for number in first..first + count {
            let bits = take_u64(&mut patch).ok_or_else(|| malformed("half of a line"))?;
            let Some((bytes, rest)) = patch.split_at_checked(bits.count_ones() as usize) else {
                return Err(malformed("fewer bytes than there should be"));
            };
            apply(Change::Bytes(number * line, bits, bytes));
            patch = rest;
        }
    }
    Ok(())
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Applies patches to a memory, and returns how many bytes were written.
    fn apply(patches: impl Iterator<Item = Vec<u8>>, memory: &mut [u8]) -> usize {
        let mut written = 0;
        for patch in patches {
            assert!(patch.len() <= MAX_PAYLOAD);
            let size = memory.len() as u64;
            let put = |change: Change<'_>| match change {
                Change::Lines(at, bytes) => {
                    memory[at as usize..][..bytes.len()].copy_from_slice(bytes);
                    written += bytes.len();
                }
                Change::Bytes(at, mut bits, bytes) => {
                    for byte in bytes {
                        memory[at as usize + bits.trailing_zeros() as usize] = *byte;
                        bits &= bits - 1;
                        written += 1;
                    }
                }
            };
            read(&patch, size, put).unwrap();
        }
        written
    }

    fn patches(old: &mut [u8], new: &[u8]) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::default();
        encoder.differences(0, old, new);
        encoder.take(true).collect()
    }

    #[test]
    fn patch_when_few_bytes_changed_is_small_and_leaves_the_others_alone() {
        let mut old = vec![0; 1 << 16];
        let mut new = old.clone();
        for at in [0, 63, 64, 1000, 65535] {
            new[at] = 7;
        }
        let patches = patches(&mut old, &new);
        assert_eq!(old, new);
        assert!(patches[0].len() < 80, "{}", patches[0].len());
        // What the other side wrote meanwhile stays.
        let mut theirs = vec![0; 1 << 16];
        theirs[1] = 9;
        assert_eq!(apply(patches.into_iter(), &mut theirs), 5);
        assert_eq!((theirs[0], theirs[1], theirs[63], theirs[1000]), (7, 9, 7, 7));
    }

    #[test]
    fn patch_when_all_changed_costs_hardly_more_than_the_bytes() {
        let size = 8 << 20;
        let (mut old, new) = (vec![0; size], vec![1; size]);
        let patches = patches(&mut old, &new);
        let bytes: usize = patches.iter().map(Vec::len).sum();
        assert!(bytes < size + size / 1000, "{bytes}");
        let mut theirs = vec![0; size];
        assert_eq!(apply(patches.into_iter(), &mut theirs), size);
        assert_eq!(theirs, new);
    }

    #[test]
    fn patch_when_out_of_the_memory_or_cut_is_refused() {
        let with = |bytes: &[u8]| read(bytes, 4096, |_| {}).unwrap_err().to_string();
        let run = |first: u64, count: u64, flag: u64| (first | count << COUNT_AT | flag).to_le_bytes();
        assert!(with(&run(64, 1, WHOLE)).contains("1 lines from 0x40"));
        assert!(with(&run(63, 2, 0)).contains("2 lines"));
        assert!(with(&run((1 << 48) - 1, MAX_LINES, WHOLE)).contains("lines"));
        assert!(with(&run(0, 0, 0)).contains("0 lines"));
        assert!(with(&run(0, 1, WHOLE)).contains("fewer lines"));
        assert!(with(&run(0, 1, 0)).contains("half of a line"));
        assert!(with(&[run(0, 1, 0), [255; 8]].concat()).contains("fewer bytes"));
        assert!(with(&[1, 2, 3]).contains("half of a run"));
    }

    proptest! {
        #[test]
        fn patch_when_applied_makes_the_other_the_same(
            mut old in prop::collection::vec(0..3u8, 4096),
            changes in prop::collection::vec((0..4096usize, 0..3u8), 0..600),
        ) {
            let mut new = old.clone();
            let mut theirs = old.clone();
            for (at, value) in changes {
                new[at] = value;
            }
            let differing = old.iter().zip(&new).filter(|(a, b)| a != b).count();
            prop_assert_eq!(apply(patches(&mut old, &new).into_iter(), &mut theirs), differing);
            prop_assert_eq!(theirs, new);
        }

        #[test]
        fn patch_when_bytes_are_anything_stays_in_the_memory(bytes: Vec<u8>) {
            let _ = read(&bytes, 1 << 16, |change| match change {
                Change::Lines(at, bytes) => assert!(at as usize + bytes.len() <= 1 << 16),
                Change::Bytes(at, bits, bytes) => {
                    assert!(at as usize + LINE <= 1 << 16 && bits.count_ones() as usize == bytes.len());
                }
            });
        }
    }
}
