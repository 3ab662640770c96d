//! Rows of the table: what a number is called, its unit, which way is better and what is aimed at.

use serde::{Deserialize, Serialize};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// Times, memory.
    Lower,
    /// Rates.
    Higher,
}

/// What is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// No more, or no less, than this in the row's unit, whichever is better.
    Absolute(f64),
    /// The same, set on a machine where the native driver had this value: what it is as a ratio counts as well.
    Scaled {
        /// In the row's unit.
        limit: f64,
        /// Of the native driver on that machine.
        native: f64,
    },
    /// No more, or no less, than native times this.
    Native(f64),
    /// No more than native and this in the row's unit.
    Beyond(f64),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    /// What is measured.
    pub(crate) name: &'static str,
    /// In what.
    pub(crate) unit: &'static str,
    /// Which way is better.
    pub(crate) better: Better,
    /// What is aimed at, if anything is.
    pub(crate) target: Option<Target>,
}

impl Row {
    /// A time or a size.
    pub(crate) const fn lower(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Lower, target: None }
    }

    /// A rate.
    pub(crate) const fn higher(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Higher, target: None }
    }

    /// With a target in the row's unit.
    pub(crate) const fn absolute(self, value: f64) -> Self {
        Self { target: Some(Target::Absolute(value)), ..self }
    }

    /// With a target in the row's unit that was set on a machine where the native driver had the value `native`.
    pub(crate) const fn scaled(self, limit: f64, native: f64) -> Self {
        Self { target: Some(Target::Scaled { limit, native }), ..self }
    }

    /// With a target that is a multiple of the native value.
    pub(crate) const fn native(self, factor: f64) -> Self {
        Self { target: Some(Target::Native(factor)), ..self }
    }

    /// With a target that is the native value and something on top.
    pub(crate) const fn beyond(self, value: f64) -> Self {
        Self { target: Some(Target::Beyond(value)), ..self }
    }
}

impl Better {
    /// How many times better `value` is than `other`; above 1 means better.
    pub(crate) fn advantage(self, value: f64, other: f64) -> f64 {
        match self {
            Self::Lower => other / value,
            Self::Higher => value / other,
        }
    }
}

/// Whether a target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// As it stands.
    Yes,
    /// As a ratio to the native driver.
    AsRatio,
    /// Not reached.
    No,
}

impl Target {
    /// Whether `value` reaches it, where the native driver has `native`.
    pub(crate) fn is_met(self, better: Better, value: f64, native: f64) -> Met {
        let within = |limit: f64| match better {
            Better::Lower => value <= limit,
            Better::Higher => value >= limit,
        };
        let met = |reached| if reached { Met::Yes } else { Met::No };
        match self {
            Self::Absolute(limit) => met(within(limit)),
            Self::Scaled { limit, .. } if within(limit) => Met::Yes,
            Self::Scaled { limit, native: there } if within(limit / there * native) => Met::AsRatio,
            Self::Scaled { .. } => Met::No,
            Self::Native(factor) => met(within(factor * native)),
            Self::Beyond(more) => met(within(native + more)),
        }
    }

    /// For the table.
    pub(crate) fn text(self, better: Better) -> String {
        let sign = match better {
            Better::Lower => '≤',
            Better::Higher => '≥',
        };
        match self {
            Self::Absolute(limit) => format!("{sign} {limit}"),
            Self::Scaled { limit, native } => {
                format!("{sign} {limit} ({:.2} × native)", limit / native)
            }
            Self::Native(factor) => format!("{sign} {factor} × native"),
            Self::Beyond(more) => format!("{sign} native + {more}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Better, Met, Target};

    #[test]
    fn target_when_the_value_lies_on_either_side_is_met_or_not() {
        let reached = |target: Target, better, value, native| target.is_met(better, value, native) != Met::No;
        let absolute = Target::Absolute(2.0);
        assert!(reached(absolute, Better::Lower, 1.9, 0.1) && !reached(absolute, Better::Lower, 2.1, 0.1));
        assert!(reached(absolute, Better::Higher, 2.1, 0.1) && !reached(absolute, Better::Higher, 1.9, 0.1));
        let native = Target::Native(1.3);
        assert!(reached(native, Better::Lower, 12.9, 10.0) && !reached(native, Better::Lower, 13.1, 10.0));
        let beyond = Target::Beyond(5.0);
        assert!(reached(beyond, Better::Lower, 14.9, 10.0) && !reached(beyond, Better::Lower, 15.1, 10.0));
        let scaled = Target::Scaled { limit: 12.0, native: 8.0 };
        assert_eq!(scaled.is_met(Better::Lower, 11.0, 1.0), Met::Yes);
        assert_eq!(scaled.is_met(Better::Lower, 29.0, 20.0), Met::AsRatio);
        assert_eq!(scaled.is_met(Better::Lower, 31.0, 20.0), Met::No);
    }

    #[test]
    fn advantage_when_better_is_above_one() {
        assert!(Better::Lower.advantage(1.0, 2.0) > 1.9);
        assert!(Better::Higher.advantage(1.0, 2.0) < 0.6);
    }
}
