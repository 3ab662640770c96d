//! What processes cost, as Linux counts it.

use std::fs;
use std::path::Path;

use vw_conformance::procfs;

/// A process and everything that it started.
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next) {
        all.extend(procfs::children(*parent));
        next += 1;
    }
    all
}

/// Processor time in seconds, children that have ended included.
pub(crate) fn processor_seconds(pids: &[u32]) -> f64 {
    let ticks: u64 = pids
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .map(|stat| ticks(&stat))
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// The sum of `utime`, `stime`, `cutime` and `cstime` of a line of `/proc/PID/stat`.
fn ticks(stat: &str) -> u64 {
    // The name in parentheses may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// How often the threads of some processes went to sleep, and were interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    /// They waited for something.
    pub(crate) voluntary: u64,
    /// Others were let run.
    pub(crate) forced: u64,
}

/// Context switches of all threads that live now.
pub(crate) fn switches(pids: &[u32]) -> Switches {
    let mut sum = Switches::default();
    for pid in pids {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.filter_map(Result::ok) {
            let status = Status::read(&task.path());
            sum.voluntary += status.number("voluntary_ctxt_switches:");
            sum.forced += status.number("nonvoluntary_ctxt_switches:");
        }
    }
    sum
}

/// Resident memory of some processes in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// All of it, files and what is shared among them included (and counted for each).
    pub(crate) resident: u64,
    /// Without the files.
    pub(crate) own: u64,
}

/// Resident memory now.
pub(crate) fn memory(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let status = Status::read(Path::new(&format!("/proc/{pid}")));
        sum.resident += status.number("VmRSS:") << 10;
        sum.own += (status.number("RssAnon:") + status.number("RssShmem:")) << 10;
    }
    sum
}

/// The text of a `status` file.
struct Status(String);

impl Status {
    fn read(folder: &Path) -> Self {
        Self(fs::read_to_string(folder.join("status")).unwrap_or_default())
    }

    /// The number behind a name; 0 where there is none.
    fn number(&self, name: &str) -> u64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_when_the_name_has_spaces_are_the_four_times() {
        assert_eq!(ticks("7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0"), 127);
    }

    #[test]
    fn numbers_when_asked_for_this_process_are_there() {
        let own = [std::process::id()];
        let memory = memory(&own);
        assert!(memory.own > 0 && memory.resident >= memory.own);
        assert!(tree(own[0]).contains(&own[0]));
    }
}
