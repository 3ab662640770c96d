//! Measuring: everything on every driver in turn, again and again.
//!
//! Each number is taken in a process of its own, on one driver after the other, in an order that changes: a machine
//! that gets slower or faster in between does so for all of them.

mod client;
mod guests;
mod process;
mod programs;
mod scene;
mod side;
mod whole;
mod windows;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;
use vw_conformance::child;
use vw_conformance::driver::Driver;

use crate::effort::Effort;
use crate::measure;
use crate::results::{Machine, Results};
use crate::root;
use crate::row::Row;
use side::Side;
use whole::Observer;

pub(crate) use guests::{WAYS, side_in_guest};
pub(crate) use scene::{Play, play};
pub(crate) use side::{NATIVE, PEER, PEER_NO_FEEDBACK, STREAM, VW, WITHOUT};

/// What the way between guest and host matters for.
const TRANSPORTS: [&str; 8] = [
    "call",
    "call-after-2ms",
    "submit",
    "draws",
    "transfer-small",
    "transfer-large",
    "upload",
    "frames-1080p",
];

/// Longest run of one measurement.
const LIMIT: Duration = Duration::from_secs(60);

/// What the rows of programs in windows are called together.
const WINDOWS: &str = "windows";

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Harness(#[from] vw_conformance::Error),
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    #[error("{0}")]
    Message(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What to measure, and on what.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Folder of a system with the peer in it; everything is run inside (see CONTRIBUTING.md).
    #[arg(long, value_name = "FOLDER")]
    peer: Option<PathBuf>,
    /// A first impression, in under two minutes.
    #[arg(long)]
    quick: bool,
    /// Everything once or twice: whether it works at all.
    #[arg(long, hide = true, conflicts_with = "quick")]
    smoke: bool,
    /// Only programs in windows, and outside of the peer's folder.
    #[arg(long, hide = true)]
    windows_alone: bool,
    /// Rounds; each measures everything on every driver.
    #[arg(long)]
    rounds: Option<u32>,
    /// Most programs at once (1, 2, 4, 8).
    #[arg(long, value_name = "N")]
    sessions: Option<u32>,
    /// Only measurements whose names contain one of these words.
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Manifest of the host's Vulkan driver; by default lavapipe, that of Mesa 25 where there is one.
    #[arg(long, value_name = "FILE")]
    host_driver: Option<PathBuf>,
    /// Instead of everything: native, vw, and vw where guest and host have no pages in common.
    #[arg(long, conflicts_with = "peer")]
    transports: bool,
    /// Instead of everything: native and vw in virtual machines, next to each other in the same one.
    #[arg(long, conflicts_with_all = ["peer", "host_driver"])]
    guests: bool,
    /// Also vw with this as VW_PERF, for what switching something off costs; may be given several times.
    #[arg(long, value_name = "WORDS")]
    without: Vec<String>,
    /// The program vkmark; by default the installed one.
    #[arg(long, value_name = "FILE")]
    vkmark: Option<PathBuf>,
    /// The program vkoverhead; by default the installed one.
    #[arg(long, value_name = "FILE")]
    vkoverhead: Option<PathBuf>,
}

impl Options {
    fn effort(&self) -> Effort {
        match (self.smoke, self.quick) {
            (true, _) => Effort::Smoke,
            (_, true) => Effort::Quick,
            _ => Effort::Full,
        }
    }

    fn wants(&self, name: &str) -> bool {
        if self.is_about_transports() && self.only.is_empty() {
            return TRANSPORTS.contains(&name);
        }
        (name == WINDOWS || !self.windows_alone)
            && (self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str())))
    }

    /// Whether it is the ways between guest and host that are compared.
    pub(crate) fn is_about_transports(&self) -> bool {
        self.transports || self.guests
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(match self.effort() {
            Effort::Smoke => 1,
            Effort::Quick => 3,
            Effort::Full | Effort::Work => 5,
        })
    }

    /// Programs in windows are measured by a process of their own: the peer presents to no X server without DRI3, and its
    /// folder needs neither a server nor these programs.
    pub(crate) fn has_windows_outside(&self) -> bool {
        self.peer.is_some() && self.wants(WINDOWS)
    }

    fn host(&self) -> Result<Driver> {
        if let Some(manifest) = &self.host_driver {
            return Ok(Driver::manifest("the host's driver", manifest.clone()));
        }
        // Inside of the peer's root the driver is that of its system.
        let newer = self.peer.is_none().then(|| Driver::newer_lavapipe().ok()).flatten();
        newer.map_or_else(|| Ok(Driver::lavapipe()?), Ok)
    }
}

/// Measures everything.
pub(crate) fn collect(options: &Options) -> Result<Results> {
    let outside = Options { peer: None, ..options.clone() };
    let options = if options.windows_alone { &outside } else { options };
    let mut results = Results::new(Machine::look());
    results.notes.extend(prepare());
    if options.transports || !options.guests {
        results = here(options, results)?;
    }
    if options.guests {
        guests::measure(options, &mut results)?;
    }
    Ok(results)
}

/// Measures with guests that are processes of this machine.
fn here(options: &Options, results: Results) -> Result<Results> {
    let program = std::env::current_exe().map_err(system("finding this program"))?;
    if let Some(folder) = &options.peer {
        let built = program.parent().map(Path::to_path_buf).into_iter().collect::<Vec<_>>();
        let what =
            || format!("entering {} (it wants root, or namespaces for ordinary users)", folder.display());
        root::enter(folder, &built).map_err(|source| Error::System { what: what(), source })?;
    }
    let sides = side::open(&options.host()?, options.transports, options.peer.is_some(), &options.without)?;
    let mut collector =
        Collector { program, effort: options.effort(), sides, results, failed: BTreeSet::new(), turn: 0 };
    let rounds = options.rounds();
    collector.results.sides = collector.sides.iter().map(|side| side.name.clone()).collect();
    collector.measurements(options, rounds);
    collector.observations(options, if collector.effort == Effort::Full { rounds.min(3) } else { 1 });
    collector.at_once(options);
    collector.programs(options);
    collector.windows(options);
    Ok(collector.results)
}

/// vw alone, outside of any other root.
pub(crate) fn open_vw(options: &Options) -> Result<Side> {
    let options = Options { peer: None, ..options.clone() };
    let sides = side::open(&options.host()?, false, false, &[])?;
    let vw = sides.into_iter().find(|side| side.name == VW);
    vw.ok_or_else(|| Error::Message("vw is not among the drivers".into()))
}

/// Makes this process's share of the processor its own matter. What could not be done is told.
fn prepare() -> Option<String> {
    // The servers end with this process, and this process with the one that reports.
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    let automatic = fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").unwrap_or_default();
    if automatic.trim() != "1" {
        return tied.err().map(|error| format!("not tied to the reporting process: {error}"));
    }
    // Sessions share the processor equally whatever the niceness of their processes; this one asks for more.
    fs::write("/proc/self/autogroup", "-10")
        .err()
        .map(|error| format!("kernel.sched_autogroup_enabled is 1 and this session got no priority: {error}"))
}

struct Collector {
    program: PathBuf,
    effort: Effort,
    sides: Vec<Side>,
    results: Results,
    /// What failed, so that it is told once.
    failed: BTreeSet<String>,
    turn: usize,
}

impl Collector {
    /// The sides in an order that changes from call to call.
    fn order(&mut self) -> Vec<usize> {
        self.turn += 1;
        let count = self.sides.len();
        let mut order: Vec<usize> = (0..count).map(|place| (place + self.turn) % count).collect();
        if self.turn.is_multiple_of(2) {
            order.reverse();
        }
        order
    }

    fn add(&mut self, row: &Row, side: usize, value: Option<f64>) {
        let name = self.sides[side].name.clone();
        self.results.row(row).values.entry(name).or_default().push(value);
    }

    /// Adds a value for each row, or none for any of them and a note.
    fn add_all(&mut self, name: &str, rows: &[Row], side: usize, values: Result<Vec<Option<f64>>>) {
        let values = values.unwrap_or_else(|error| {
            let title = format!("{name} on {}", self.sides[side].name);
            if self.failed.insert(title.clone()) {
                let text = error.to_string();
                eprintln!("vw-bench: {title}: {text}");
                let mut lines = text.lines().filter(|line| !line.trim().is_empty());
                let (first, last) = (lines.next().unwrap_or_default(), lines.next_back().unwrap_or_default());
                self.results.notes.push(format!("{title}: {first} {last}"));
            }
            vec![None; rows.len()]
        });
        for (row, value) in rows.iter().zip(values) {
            self.add(row, side, value);
        }
    }

    fn measurements(&mut self, options: &Options, rounds: u32) {
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            for measure in measure::all().filter(|measure| options.wants(measure.name)) {
                for side in self.order() {
                    let values = self.measure(measure.name, measure.rows.len(), side);
                    self.add_all(measure.name, measure.rows, side, values);
                }
            }
        }
    }

    /// Takes one measurement in a process of its own.
    fn measure(&self, name: &str, rows: usize, side: usize) -> Result<Vec<Option<f64>>> {
        let mut command = self.sides[side].command(&self.program);
        let output = child::run(command.args(arguments(self.effort, name)), LIMIT)?;
        let values = output.status.success().then(|| numbers(&output.stdout, name, rows)).flatten();
        values.ok_or_else(|| {
            let how = child::describe(output.status);
            Error::Message(format!("{how}\n{}{}", output.stdout, output.stderr))
        })
    }

    fn observations(&mut self, options: &Options, rounds: u32) {
        for observation in whole::ALL.iter().filter(|observation| options.wants(observation.name)) {
            eprintln!("{}", observation.name);
            for _ in 0..rounds {
                for side in self.order() {
                    let values = (observation.run)(&self.observer(side));
                    self.add_all(observation.name, observation.rows, side, values);
                }
            }
        }
    }

    fn observer(&self, side: usize) -> Observer<'_> {
        Observer { program: self.program.clone(), effort: self.effort, side: &self.sides[side] }
    }

    fn at_once(&mut self, options: &Options) {
        let most = options.sessions.unwrap_or(match self.effort {
            Effort::Full | Effort::Work => 8,
            Effort::Quick | Effort::Smoke => 2,
        });
        for (count, row) in whole::AT_ONCE.iter().filter(|(count, _)| *count <= most) {
            let name = format!("sessions-{count}");
            if !options.wants(&name) {
                continue;
            }
            eprintln!("{name}");
            for _ in 0..if self.effort == Effort::Full { 3 } else { 1 } {
                for side in self.order() {
                    let value = whole::at_once(&self.observer(side), *count).map(|rate| vec![Some(rate)]);
                    self.add_all(&name, std::slice::from_ref(row), side, value);
                }
            }
        }
    }

    fn programs(&mut self, options: &Options) {
        if self.effort != Effort::Full && options.vkmark.is_none() && options.vkoverhead.is_none() {
            return;
        }
        match options.vkmark.clone().or_else(|| find("vkmark")) {
            _ if !options.wants("vkmark") => (),
            Some(program) => self.vkmark(&program),
            None => self.results.notes.push("no rows of vkmark: it is not installed".into()),
        }
        match options.vkoverhead.clone().or_else(|| find("vkoverhead")) {
            _ if !options.wants("vkoverhead") => (),
            Some(program) => self.vkoverhead(&program),
            None => self.results.notes.push("no rows of vkoverhead: it is not installed".into()),
        }
    }

    /// Programs in windows, where they and an X server are installed.
    fn windows(&mut self, options: &Options) {
        if !options.wants(WINDOWS) || options.peer.is_some() {
            return;
        }
        let display = match windows::display() {
            Ok(display) => display,
            Err(error) => return self.results.notes.push(format!("no rows of windows: {error}")),
        };
        for window in &windows::ALL {
            let name = window.rows[0].name;
            eprintln!("{name}");
            let times = match self.effort {
                Effort::Smoke => 1,
                Effort::Quick => 3,
                Effort::Full | Effort::Work => 7,
            };
            for _ in 0..times {
                for side in self.order() {
                    let values = window.measure(&self.sides[side], &display, self.effort);
                    let values = values.map(|values| values.map(Some).to_vec());
                    self.add_all(name, &window.rows, side, values);
                }
            }
        }
    }

    fn vkmark(&mut self, program: &Path) {
        eprintln!("vkmark");
        for _ in 0..2 {
            for side in self.order() {
                let values = programs::mark(program, &self.sides[side], self.effort);
                let values = values.map(|values| values.into_iter().map(Some).collect());
                self.add_all("vkmark", &programs::MARK, side, values);
            }
        }
    }

    fn vkoverhead(&mut self, program: &Path) {
        for (group, row) in programs::OVERHEAD {
            eprintln!("vkoverhead {group}");
            let (mut sides, mut all) = (Vec::new(), Vec::new());
            for side in self.order() {
                match programs::overhead(program, &self.sides[side], group, self.effort) {
                    Ok(cases) => {
                        sides.push(side);
                        all.push(cases);
                    }
                    Err(error) => self.add_all(&format!("vkoverhead {group}"), &[row], side, Err(error)),
                }
            }
            for (side, mean) in sides.into_iter().zip(programs::means(&all.iter().collect::<Vec<_>>())) {
                self.add(&row, side, Some(mean));
            }
        }
    }
}

/// What this program is told that takes one measurement.
fn arguments(effort: Effort, name: &str) -> [&str; 4] {
    let effort = match effort {
        Effort::Smoke => "smoke",
        Effort::Quick => "quick",
        Effort::Full | Effort::Work => "full",
    };
    ["measure", "--effort", effort, name]
}

/// What it prints then: a number for each row.
fn numbers(printed: &str, name: &str, rows: usize) -> Option<Vec<Option<f64>>> {
    let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'))?;
    let values: Vec<Option<f64>> =
        line.split('\t').filter_map(|value| value.parse().ok()).map(Some).collect();
    (values.len() == rows).then_some(values)
}

/// An installed program.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what: what.into(), source }
}
