//! Line-by-line comparison of what two runs of a program wrote.

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

/// Fails with the differing lines unless both texts are equal.
///
/// # Panics
/// When they differ (for tests).
#[track_caller]
pub fn assert_same(what: &str, expected: &str, actual: &str) {
    let found = differences(expected, actual, 60);
    assert!(found.is_empty(), "{what}: lines differ (- native, + vw)\n{}", found.join("\n"));
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
}
