//! Which cases are run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use regex::{Regex, RegexSet};

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// File with patterns.
    pub(crate) subset: Option<PathBuf>,
    /// One pattern.
    pub(crate) filter: Option<String>,
    /// One case of so many.
    pub(crate) fraction: usize,
    /// About so many cases.
    pub(crate) sample: Option<usize>,
    /// Where the drawing starts.
    pub(crate) seed: u64,
}

impl Selection {
    /// The cases of the lists that are asked for, sorted, each once.
    ///
    /// # Errors
    /// A file cannot be read, a pattern is none, or nothing is left.
    pub(crate) fn cases(&self, lists: &[PathBuf]) -> Result<Vec<String>> {
        let mut cases = Vec::new();
        for list in lists {
            cases.extend(lines(list)?);
        }
        cases.sort_unstable();
        cases.dedup();
        if let Some(subset) = &self.subset {
            let patterns = RegexSet::new(lines(subset)?).context("the subset's patterns")?;
            cases.retain(|case| patterns.is_match(case));
        }
        if let Some(filter) = &self.filter {
            let pattern = Regex::new(filter).context("--filter")?;
            cases.retain(|case| pattern.is_match(case));
        }
        if self.fraction > 1 {
            let start = (self.seed as usize) % self.fraction;
            cases = cases.into_iter().skip(start).step_by(self.fraction).collect();
        }
        if let Some(wanted) = self.sample {
            cases = sample(cases, wanted, self.seed);
        }
        if cases.is_empty() {
            bail!("no case is left to run");
        }
        Ok(cases)
    }
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

/// The group that a case is counted under: the part behind `dEQP-VK.`.
pub(crate) fn group(case: &str) -> &str {
    case.split('.').nth(1).unwrap_or(case)
}

/// About `wanted` cases: from each group by the square root of its size, evenly spread in it.
fn sample(cases: Vec<String>, wanted: usize, seed: u64) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in cases {
        groups.entry(group(&case).to_owned()).or_default().push(case);
    }
    let roots: f64 = groups.values().map(|g| (g.len() as f64).sqrt()).sum();
    let mut drawn = Vec::new();
    for (index, group) in groups.into_values().enumerate() {
        let share = ((group.len() as f64).sqrt() / roots * wanted as f64).round() as usize;
        let share = share.clamp(1, group.len());
        // A fixed step from a start that depends on the seed: every part of the group is drawn from.
        let step = group.len() as f64 / share as f64;
        let start = fraction_of(seed.wrapping_add(index as u64)) * step;
        drawn.extend((0..share).filter_map(|i| group.get((start + i as f64 * step) as usize).cloned()));
    }
    drawn
}

/// A number in 0..1 that is spread evenly over consecutive seeds (the golden ratio's multiples).
fn fraction_of(seed: u64) -> f64 {
    (seed as f64 * 0.618_033_988_749_895).fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(group: &str, n: usize) -> Vec<String> {
        (0..n).map(|i| format!("dEQP-VK.{group}.case_{i:06}")).collect()
    }

    #[test]
    fn sample_when_groups_differ_in_size_draws_by_square_root() {
        let cases = [many("api", 100), many("draw", 10_000)].concat();
        let drawn = sample(cases, 110, 1);
        let api = drawn.iter().filter(|c| group(c) == "api").count();
        assert_eq!((api, drawn.len() - api), (10, 100));
    }

    #[test]
    fn sample_when_seed_differs_draws_other_cases() {
        let cases = many("api", 10_000);
        assert_ne!(sample(cases.clone(), 50, 1), sample(cases, 50, 2));
    }

    #[test]
    fn sample_when_group_is_tiny_draws_it() {
        assert_eq!(sample(many("info", 1), 1, 7).len(), 1);
    }
}
