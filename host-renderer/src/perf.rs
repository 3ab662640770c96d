//! `VW_PERF`, as the guest's driver reads it: the renderer's own optimisations can be switched off too.
//!
//! A list of words, separated by commas; those that only the guest's driver knows mean nothing here.

use vw_transport::Spin;

/// Which optimisations are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Perf {
    /// The simplest commands are decoded without the tables (`no_straight`).
    pub straight: bool,
    /// Waits begin with a short spin (`no_spin`).
    pub spin: bool,
    /// The session's thread is awake when a punctual program comes (`no_foretell`).
    pub foretell: bool,
    /// The drivers' small blocks of memory are kept for reuse (`no_malloc`).
    pub malloc: bool,
    /// Pipelines that nobody waits for are compiled by other threads (`no_pipeline_pool`).
    pub pipeline_pool: bool,
    /// Submissions of command buffers alone reach the driver several at a time (`no_join`).
    pub join: bool,
}

impl Perf {
    /// How long a wait may spin.
    pub fn new_spin(self) -> Spin {
        if self.spin { Spin::adaptive() } else { Spin::off() }
    }
}

impl Perf {
    /// From the environment.
    pub fn from_environment() -> Self {
        Self::parse(&std::env::var("VW_PERF").unwrap_or_default())
    }

    fn parse(words: &str) -> Self {
        let off = |name: &str| words.split(',').map(str::trim).any(|word| word == name || word == "none");
        Self {
            straight: !off("no_straight"),
            spin: !off("no_spin"),
            foretell: !off("no_foretell"),
            malloc: !off("no_malloc"),
            pipeline_pool: !off("no_pipeline_pool"),
            join: !off("no_join"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_when_given_switch_off_what_they_name() {
        assert!(Perf::parse("").straight);
        assert!(Perf::parse("no_memo,no_straights").straight);
        assert!(!Perf::parse("no_memo, no_straight").straight);
        assert!(Perf::parse("no_straight").spin && !Perf::parse("no_spin").spin);
        assert!(Perf::parse("no_spin").malloc && !Perf::parse("no_malloc").malloc);
        assert!(Perf::parse("no_spin").pipeline_pool && !Perf::parse("no_pipeline_pool").pipeline_pool);
        assert!(Perf::parse("no_spin").foretell && !Perf::parse("no_foretell").foretell);
        assert!(Perf::parse("no_spin").join && !Perf::parse("no_join").join);
        let none = Perf::parse("none");
        assert!(
            !none.straight
                && !none.spin
                && !none.malloc
                && !none.pipeline_pool
                && !none.join
                && !none.foretell
        );
    }
}
