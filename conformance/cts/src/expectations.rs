//! What is known to differ, each with its reason.

use std::path::Path;

use anyhow::{Context, Result, bail};
use regex::{Regex, RegexSet};
use serde::Deserialize;

/// How a case is expected to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Passes natively and not through vw.
    Fails,
    /// Sometimes fails, natively too.
    Flakes,
    /// Is not run at all.
    Skips,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    case: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    pattern: String,
    kind: Kind,
    reason: String,
}

/// The expectations file.
#[derive(Debug)]
pub(crate) struct Expectations {
    entries: Vec<(Regex, Kind, String)>,
}

impl Expectations {
    /// Reads `expectations.toml`: a list of `[[case]]` with `pattern`, `kind` and `reason`.
    ///
    /// # Errors
    /// The file cannot be read, or a line has no reason.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let file: File = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let mut entries = Vec::new();
        for entry in file.case {
            if entry.reason.trim().is_empty() {
                bail!("{}: {} has no reason", path.display(), entry.pattern);
            }
            let pattern = Regex::new(&format!("^(?:{})$", entry.pattern)).context("a pattern")?;
            entries.push((pattern, entry.kind, entry.reason));
        }
        Ok(Self { entries })
    }

    /// Why this case is of this kind, if it is.
    pub(crate) fn reason(&self, case: &str, kind: Kind) -> Option<&str> {
        self.entries.iter().find(|(p, k, _)| *k == kind && p.is_match(case)).map(|(_, _, r)| r.as_str())
    }

    /// All patterns of a kind.
    ///
    /// # Errors
    /// None that [`Expectations::read`] would not have reported.
    pub(crate) fn patterns(&self, kind: Kind) -> Result<RegexSet> {
        let of_kind = self.entries.iter().filter(|(_, k, _)| *k == kind);
        Ok(RegexSet::new(of_kind.map(|(p, ..)| p.as_str()))?)
    }
}
