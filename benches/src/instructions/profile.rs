//! Reads what callgrind writes.

use std::collections::{BTreeMap, HashMap};

/// Calls of one function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Calls {
    count: u64,
    /// Instructions, with all that the function calls in turn.
    cost: u64,
}

impl Calls {
    /// Instructions of one call.
    pub(super) fn each(self) -> u64 {
        self.cost / self.count.max(1)
    }
}

/// The calls of each function, by its name.
///
/// The format is valgrind's "callgrind format": lines `cfn=(number) name`, then `calls=count ...`, then a line
/// whose last number is the cost of these calls. A name is written only where its number is new.
pub(super) fn inclusive(profile: &str) -> BTreeMap<String, Calls> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut costs: BTreeMap<String, Calls> = BTreeMap::new();
    let mut called = "";
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some(function) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if line.starts_with("cfn=") {
                called = names.get(number).copied().unwrap_or_default();
            }
        } else if let Some(count) = line.strip_prefix("calls=") {
            let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
            let calls = costs.entry(called.to_owned()).or_default();
            calls.count += number(count.split(' ').next());
            calls.cost += number(lines.next().and_then(|line| line.split(' ').next_back()));
        }
    }
    costs
}

#[cfg(test)]
mod tests {
    use super::inclusive;

    #[test]
    fn profile_when_names_are_abbreviated_gives_the_sums() {
        let text = "fn=(1) main\n12 5\ncfn=(2) a::encode\ncalls=3 0\n13 300\ncfn=(3) b\ncalls=1 0\n14 7\n\
                    fn=(2)\n1 280\ncfn=(3)\ncalls=2 0\n2 20\n";
        let costs = inclusive(text);
        assert_eq!(costs["a::encode"], super::Calls { count: 3, cost: 300 });
        assert_eq!(costs["b"].each(), 9);
    }
}
