//! What differs.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use deqp_runner::RunnerStatus;

use crate::cases::group;
use crate::expectations::{Expectations, Kind};
use crate::run::Suite;

/// Passed, not supported, or anything else.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    pass: usize,
    skip: usize,
    other: usize,
}

impl Counts {
    fn add(&mut self, status: Option<RunnerStatus>) {
        match status {
            Some(
                RunnerStatus::Pass | RunnerStatus::Warn | RunnerStatus::Flake | RunnerStatus::KnownFlake,
            ) => {
                self.pass += 1;
            }
            Some(RunnerStatus::Skip) => self.skip += 1,
            _ => self.other += 1,
        }
    }
}

fn passes(status: Option<&RunnerStatus>) -> bool {
    let mut counts = Counts::default();
    counts.add(status.copied());
    counts.pass == 1
}

/// Counts of one run on standard output.
pub(crate) fn print_counts(name: &str, results: &HashMap<String, RunnerStatus>) {
    let mut total = Counts::default();
    for status in results.values() {
        total.add(Some(*status));
    }
    println!("{name}: {} pass, {} not supported, {} other", total.pass, total.skip, total.other);
}

/// Writes the report, prints its summary, and tells whether nothing differs that should not.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(
    path: &Path,
    about: &str,
    cases: &[String],
    native: &Suite,
    vw: &Suite,
    expectations: &Expectations,
) -> Result<bool> {
    let mut groups: BTreeMap<&str, (Counts, Counts)> = BTreeMap::new();
    let (mut lost, mut other) = (Vec::new(), Vec::new());
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases {
        let (n, v) = (native.results.get(case), vw.results.get(case));
        let row = groups.entry(group(case)).or_default();
        row.0.add(n.copied());
        row.1.add(v.copied());
        let name = |s: Option<&RunnerStatus>| s.map_or("not run".to_owned(), ToString::to_string);
        let line = format!("| `{case}` | {} | {} |", name(n), name(v));
        if passes(n) && !passes(v) {
            match expectations.reason(case, Kind::Fails).or_else(|| expectations.reason(case, Kind::Flakes)) {
                Some(reason) => *expected.entry(reason).or_default() += 1,
                None => lost.push(line),
            }
        } else if n != v {
            other.push(line);
        }
    }
    let mut text = String::from("# CTS: natively and through vw\n\n");
    let (nt, vt) = (native.elapsed.as_secs_f64(), vw.elapsed.as_secs_f64());
    writeln!(text, "{about}: {} cases; {nt:.0} s natively and {vt:.0} s through vw.\n", cases.len())?;
    text.push_str("| group | native pass | not supported | other | vw pass | not supported | other |\n|---|---|---|---|---|---|---|\n");
    let mut total = (Counts::default(), Counts::default());
    for (name, (n, v)) in &groups {
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            n.pass, n.skip, n.other, v.pass, v.skip, v.other
        )?;
        for (sum, part) in [(&mut total.0, n), (&mut total.1, v)] {
            sum.pass += part.pass;
            sum.skip += part.skip;
            sum.other += part.other;
        }
    }
    let (n, v) = total;
    writeln!(
        text,
        "| **all** | {} | {} | {} | {} | {} | {} |",
        n.pass, n.skip, n.other, v.pass, v.skip, v.other
    )?;
    let head = "\n| case | native | vw |\n|---|---|---|\n";
    writeln!(text, "\n## Passes natively and not through vw: {}\n{head}{}", lost.len(), lost.join("\n"))?;
    if !expected.is_empty() {
        let total: usize = expected.values().sum();
        writeln!(text, "\n## As expected: {total}\n\n| cases | reason |\n|---|---|")?;
        for (reason, count) in &expected {
            writeln!(text, "| {count} | {reason} |")?;
        }
    }
    writeln!(text, "\n## Other differences: {}\n{head}{}", other.len(), other.join("\n"))?;
    std::fs::write(path, text)?;
    print_counts("native", &native.results);
    print_counts("vw", &vw.results);
    for line in lost.iter().take(20) {
        println!("{line}");
    }
    println!(
        "{} passed, {} failed (natively passing cases that do not pass through vw); report in {}",
        v.pass,
        lost.len(),
        path.display()
    );
    Ok(lost.is_empty())
}
