//! Line-by-line comparison of what two runs of a program wrote.

use std::fs;
use std::path::Path;

use crate::driver::in_stream;

/// The differing lines of two texts, in the manner of `diff -U0`, at most `limit` of them; empty when equal.
///
/// Lines are matched by a longest common subsequence on windows around each difference, so that one line more or
/// less does not make all that follow differ.
pub fn differences(expected: &str, actual: &str, limit: usize) -> Vec<String> {
    /// How far ahead a match for the other side's line is looked for.
    const WINDOW: usize = 200;
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    let (mut left, mut right) = (0, 0);
    let mut found = Vec::new();
    while (left < expected.len() || right < actual.len()) && found.len() < limit {
        if expected.get(left) == actual.get(right) {
            left += 1;
            right += 1;
            continue;
        }
        // The nearest pair of equal lines, by how many lines it skips.
        let next = (0..WINDOW).find_map(|skipped| {
            (0..=skipped).find_map(|l| {
                let (l, r) = (left + l, right + skipped - l);
                (expected.get(l).is_some() && expected.get(l) == actual.get(r)).then_some((l, r))
            })
        });
        let (next_left, next_right) = next.unwrap_or((expected.len(), actual.len()));
        found.extend(expected[left..next_left].iter().map(|line| format!("- {line}")));
        found.extend(actual[right..next_right].iter().map(|line| format!("+ {line}")));
        (left, right) = (next_left, next_right);
    }
    found.truncate(limit);
    found
}

/// Differences that are as they should be, each with its reason.
///
/// A file of these has one to a line, `pattern ## reason`; a `*` in the pattern stands for any text, and lines that
/// begin with `##` are comments. A pattern is matched with a whole line, spaces at its ends apart.
#[derive(Debug, Default)]
pub struct Explained {
    patterns: Vec<String>,
}

impl Explained {
    /// These and others.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.patterns.extend(other.patterns);
        self
    }

    /// None: everything must be equal.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// What differs because the whole run is in another mode ([`MEMORY`](crate::driver::MEMORY)); nothing by itself.
    ///
    /// # Panics
    /// As [`from_file`](Self::from_file).
    #[track_caller]
    pub fn of_this_run() -> Self {
        if in_stream() { Self::from_file("stream.txt") } else { Self::nothing() }
    }

    /// Those of a file in the folder `explained` of this crate.
    ///
    /// # Panics
    /// When the file cannot be read or a line has no reason (for tests).
    #[track_caller]
    pub fn from_file(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("explained").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("##"));
        let patterns = lines.map(|line| match line.split_once("##") {
            Some((pattern, reason)) if !reason.trim().is_empty() => pattern.trim().to_owned(),
            _ => panic!("{}: no reason: {line}", path.display()),
        });
        Self { patterns: patterns.collect() }
    }

    /// Whether a line, of either side, may differ.
    pub fn allows(&self, line: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, line.trim()))
    }
}

/// Whether a pattern with `*` matches a whole text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        match rest.find(part) {
            Some(at) => (rest, last) = (&rest[at + part.len()..], Some(part)),
            None => return false,
        }
    }
    // The last part must stand at the end, not just anywhere.
    last.map_or(rest.is_empty(), |part| part.is_empty() || text.ends_with(part))
}

/// Fails with the differing lines unless both texts are equal without those that are explained.
///
/// # Panics
/// When they differ (for tests).
#[track_caller]
pub fn assert_same(what: &str, expected: &str, actual: &str, explained: &Explained) {
    let rest =
        |text: &str| text.lines().filter(|line| !explained.allows(line)).collect::<Vec<_>>().join("\n");
    let found = differences(&rest(expected), &rest(actual), 80);
    assert!(found.is_empty(), "{what}: lines differ (- native, + vw)\n{}", found.join("\n"));
}

/// Compares what the differential suite writes. The guest's surfaces are its own: where the host's driver has none, there is
/// nothing to compare them with. `explained`: what differs besides.
///
/// # Panics
/// As [`assert_same`].
#[track_caller]
pub fn assert_same_suite(native: &str, vw: &str, explained: Explained) {
    let surfaces = !native.contains("headless surfaces: not offered");
    let comparable = |text: &str| {
        let lines = text.lines().filter(|line| surfaces || !line.starts_with("presentation."));
        lines.collect::<Vec<_>>().join("\n")
    };
    let explained = Explained::from_file("differential.txt").and(explained);
    assert_same("the differential suite", &comparable(native), &comparable(vw), &explained);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_when_equal_are_none() {
        assert!(differences("a\nb\n", "a\nb\n", 10).is_empty());
    }

    #[test]
    fn differences_when_a_line_is_inserted_name_that_line_alone() {
        assert_eq!(differences("a\nb\nc", "a\nx\nb\nc", 10), ["+ x"]);
        assert_eq!(differences("a\nb\nc", "a\nc", 10), ["- b"]);
    }

    #[test]
    fn differences_when_a_line_is_changed_show_both_sides() {
        assert_eq!(differences("a\nb\nc", "a\nB\nc", 10), ["- b", "+ B"]);
        assert_eq!(differences("a", "", 10), ["- a"]);
    }

    #[test]
    fn pattern_when_it_has_stars_matches_any_text_there() {
        for (pattern, text) in
            [("a*c", "abc"), ("a*c", "ac"), ("*", ""), ("x = *", "x = 1"), ("a*b*", "a-b-b"), ("a*b", "abab")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*c", "abd"), ("a", "ab"), ("x = *", "y = 1"), ("a*b", "aba")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
