//! `VW_PERF`: each optimisation of the driver can be switched off, to find out whether it is at fault or what it brings.
//!
//! A list of words, separated by commas: `no_memo,no_spin`; `none` switches all of them off.

use crate::log;

/// Which optimisations are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Perf {
    /// Answers that the question determines are kept (`no_memo`).
    pub(crate) memo: bool,
    /// Command buffers are recorded into the shared arena (`no_arena`: into memory of the guest, copied at the end).
    pub(crate) arena: bool,
    /// The host does not replay recordings that were reset before it came to them (`no_abandon`).
    pub(crate) abandon: bool,
    /// Long recordings are held back while the host is behind, until they are needed (`no_hold`).
    pub(crate) hold: bool,
    /// Records are published together (`no_batch`: each at once).
    pub(crate) batch: bool,
    /// Waits begin with a short spin (`no_spin`).
    pub(crate) spin: bool,
    /// Descriptor sets that certainly fit are not waited for (`no_async_sets`).
    pub(crate) async_sets: bool,
    /// The simplest commands are recorded without the tables (`no_straight`).
    pub(crate) straight: bool,
    /// Descriptor updates go together, before what follows them (`no_gather`).
    pub(crate) gather: bool,
    /// The host tells of the completion of those submissions alone that the program can wait for (`no_unwatched`).
    pub(crate) unwatched: bool,
    /// Semaphores that only presentations wait for are not signalled on the host (`no_elide`).
    pub(crate) elide: bool,
    /// Small memory that is freed is kept for the next allocation alike (`no_recycle`).
    pub(crate) recycle: bool,
    /// Memory that the host has granted is not waited for (`no_credits`).
    pub(crate) credits: bool,
}

impl Perf {
    /// Everything on.
    const ALL: Self = Self {
        memo: true,
        arena: true,
        abandon: true,
        hold: true,
        batch: true,
        spin: true,
        async_sets: true,
        straight: true,
        gather: true,
        unwatched: true,
        elide: true,
        recycle: true,
        credits: true,
    };

    /// Everything off.
    const NONE: Self = Self {
        memo: false,
        arena: false,
        abandon: false,
        hold: false,
        batch: false,
        spin: false,
        async_sets: false,
        straight: false,
        gather: false,
        unwatched: false,
        elide: false,
        recycle: false,
        credits: false,
    };

    /// From the environment.
    pub(crate) fn from_environment() -> Self {
        std::env::var("VW_PERF").map_or(Self::ALL, |words| Self::parse(&words))
    }

    fn parse(words: &str) -> Self {
        let mut perf = Self::ALL;
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "no_memo" => perf.memo = false,
                "no_arena" => perf.arena = false,
                "no_abandon" => perf.abandon = false,
                "no_hold" => perf.hold = false,
                "no_batch" => perf.batch = false,
                "no_spin" => perf.spin = false,
                "no_async_sets" => perf.async_sets = false,
                "no_straight" => perf.straight = false,
                "no_gather" => perf.gather = false,
                "no_unwatched" => perf.unwatched = false,
                "no_elide" => perf.elide = false,
                "no_recycle" => perf.recycle = false,
                "no_credits" => perf.credits = false,
                // The renderer's own.
                "no_foretell" | "no_malloc" | "no_pipeline_pool" | "no_join" => {}
                "none" => perf = Self::NONE,
                _ => log::warning!("VW_PERF: nothing is called `{word}`"),
            }
        }
        perf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_when_given_switch_off_what_they_name_alone() {
        assert_eq!(Perf::parse(""), Perf::ALL);
        assert_eq!(Perf::parse("no_memo, no_spin"), Perf { memo: false, spin: false, ..Perf::ALL });
        assert!(!Perf::parse("none").arena);
    }
}
