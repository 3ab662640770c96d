//! What only an observer of the processes can measure: processor time, context switches, memory, many at once.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::process::{memory, processor_seconds, switches};
use super::scene::{DONE, READY};
use super::side::{NATIVE, Side};
use super::{Error, Result};
use crate::effort::Effort;
use crate::row::Row;

/// Measures one side from outside.
pub(crate) struct Observer<'a> {
    pub(crate) program: PathBuf,
    pub(crate) effort: Effort,
    pub(crate) side: &'a Side,
}

/// One observation, which may give several numbers, or none for a side that has no such thing.
pub(crate) struct Observation {
    /// Name for choosing it.
    pub(crate) name: &'static str,
    /// What its numbers are.
    pub(crate) rows: &'static [Row],
    /// Gives a number for each row.
    pub(crate) run: fn(&Observer<'_>) -> Result<Vec<Option<f64>>>,
}

/// All of them, in the order of the table.
pub(crate) const ALL: &[Observation] = &[
    Observation {
        name: "processor-time",
        rows: &[Row::lower("processor time of both sides for all of the above, a fixed amount of each", "s")
            .native(1.4)],
        run: processor_time,
    },
    Observation {
        name: "frame-costs",
        rows: &[
            Row::lower("voluntary context switches a frame, all processes", "1"),
            Row::lower("doorbells a frame, guest to host", "1").absolute(1.0),
            Row::lower("wakes a frame, host to guest", "1").absolute(1.0),
            Row::lower("calls that wait for an answer, a frame", "1"),
        ],
        run: frame_costs,
    },
    Observation {
        name: "idle",
        rows: &[
            Row::lower("context switches of the host a second, idle guest", "1/s").absolute(0.0),
            Row::lower("resident, idle (native: the program; else: what the host has more for it)", "MiB")
                .beyond(25.0),
            Row::lower("the same without files", "MiB"),
        ],
        run: idle,
    },
    Observation {
        name: "objects",
        rows: &[Row::lower("memory of both sides for each of many live buffers", "bytes").beyond(100.0)],
        run: objects,
    },
];

/// Programs at once that are measured.
pub(crate) const AT_ONCE: [(u32, Row); 4] = [
    (1, Row::higher("1 program, frames a second", "1/s").native(0.95)),
    (2, Row::higher("2 programs at once, frames a second in all", "1/s").native(0.95)),
    (4, Row::higher("4 programs at once, frames a second in all", "1/s").native(0.95)),
    (8, Row::higher("8 programs at once, frames a second in all", "1/s").native(0.95)),
];

impl Observer<'_> {
    fn start(&self, arguments: &[&str]) -> Result<Client> {
        let mut command: Command = self.side.command(&self.program);
        Client::start(command.arg("play").args(arguments))
    }

    /// The program and everything that serves it.
    fn everybody(&self, client: &Client) -> Vec<u32> {
        let mut pids = self.side.servers();
        pids.push(client.pid());
        pids
    }

    fn is_smoke(&self) -> bool {
        self.effort == Effort::Smoke
    }
}

fn processor_time(observer: &Observer<'_>) -> Result<Vec<Option<f64>>> {
    let before = processor_seconds(&observer.side.servers());
    let smoke: &[&str] = if observer.is_smoke() { &["work", "--smoke"] } else { &["work"] };
    let client = observer.start(smoke)?;
    client.until(DONE)?;
    let after = processor_seconds(&observer.everybody(&client));
    client.finish()?;
    Ok(vec![Some(after - before)])
}

fn frame_costs(observer: &Observer<'_>) -> Result<Vec<Option<f64>>> {
    let frames = if observer.is_smoke() { 4 } else { 200 };
    let start = |frames: u32| -> Result<(f64, Option<Totals>)> {
        let ended = observer.side.log().map(|log| Totals::all(&log).len());
        let mut client = observer.start(&["frames", &frames.to_string()])?;
        client.until(READY)?;
        let everybody = observer.everybody(&client);
        let before = switches(&everybody);
        client.go();
        client.until(DONE)?;
        let after = switches(&everybody);
        client.finish()?;
        let totals = ended.map(|ended| Totals::next(observer.side, ended)).transpose()?;
        Ok(((after.voluntary.saturating_sub(before.voluntary)) as f64, totals))
    };
    // What a session costs besides is in both.
    let (_, few) = start(frames)?;
    let (switches, many) = start(2 * frames)?;
    let each =
        |value: fn(&Totals) -> f64| Some((value(many.as_ref()?) - value(few.as_ref()?)) / f64::from(frames));
    Ok(vec![
        Some(switches / f64::from(2 * frames)),
        each(|totals| totals.doorbells),
        each(|totals| totals.wakes),
        each(|totals| totals.calls),
    ])
}

fn idle(observer: &Observer<'_>) -> Result<Vec<Option<f64>>> {
    const MIB: f64 = 1048576.0;
    if !observer.is_smoke() {
        // Until the session before is gone, and whatever the host keeps ready for the next one is ready.
        thread::sleep(Duration::from_millis(500));
    }
    let before = memory(&observer.side.servers());
    let client = observer.start(&["idle"])?;
    client.until(DONE)?;
    let (servers, pid) = (observer.side.servers(), client.pid());
    let time = Duration::from_millis(if observer.is_smoke() { 50 } else { 2_000 });
    let from = switches(&servers);
    thread::sleep(time);
    let to = switches(&servers);
    let native = observer.side.name == NATIVE;
    // One process of the host may serve a program that another one was ready for: what counts is what all have more.
    let after = memory(if native { std::slice::from_ref(&pid) } else { &servers });
    client.finish()?;
    let count = (to.voluntary + to.forced).saturating_sub(from.voluntary + from.forced);
    Ok(vec![
        (!native).then(|| count as f64 / time.as_secs_f64()),
        Some((after.resident as f64 - before.resident as f64) / MIB),
        Some((after.own as f64 - before.own as f64) / MIB),
    ])
}

fn objects(observer: &Observer<'_>) -> Result<Vec<Option<f64>>> {
    let count = if observer.is_smoke() { 2_000 } else { 100_000 };
    let mut client = observer.start(&["objects", &count.to_string()])?;
    client.until(READY)?;
    let before = memory(&observer.everybody(&client)).own;
    client.go();
    client.until(DONE)?;
    let after = memory(&observer.everybody(&client)).own;
    client.finish()?;
    Ok(vec![Some((after as f64 - before as f64) / f64::from(count))])
}

/// Frames a second of `count` programs that run at once.
pub(crate) fn at_once(observer: &Observer<'_>, count: u32) -> Result<f64> {
    let milliseconds = match observer.effort {
        Effort::Smoke => "20",
        Effort::Quick => "700",
        Effort::Full | Effort::Work => "2000",
    };
    let start = |_| observer.start(&["loop", milliseconds]);
    let mut clients = (0..count).map(start).collect::<Result<Vec<Client>>>()?;
    for client in &clients {
        client.until(READY)?;
    }
    clients.iter_mut().for_each(Client::go);
    let mut sum = 0.0;
    for client in &clients {
        let lines = client.until(DONE)?;
        let rate = lines.last().and_then(|line| line.parse::<f64>().ok());
        sum += rate.ok_or_else(|| Error::Message("it did not print its rate".into()))?;
    }
    clients.into_iter().try_for_each(Client::finish)?;
    Ok(sum)
}

/// What the renderer logs at the end of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Totals {
    calls: f64,
    doorbells: f64,
    wakes: f64,
}

impl Totals {
    /// Those of all sessions that have ended.
    fn all(log: &str) -> Vec<Self> {
        log.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut words = line.split_ascii_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some(Self {
            calls: number("calls")?,
            doorbells: number("doorbells")?,
            wakes: number("completion_wakes")?,
        })
    }

    /// Those of the session that ends after `ended` others.
    fn next(side: &Side, ended: usize) -> Result<Self> {
        let asked = Instant::now();
        loop {
            if let Some(totals) = side.log().and_then(|log| Self::all(&log).get(ended).copied()) {
                return Ok(totals);
            }
            if asked.elapsed() > Duration::from_secs(10) {
                return Err(Error::Message("the renderer did not log the session's end".into()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Totals;

    #[test]
    fn totals_when_a_line_has_them_are_read() {
        let line =
            "INFO vw: freed objects=\"none\" records=46 calls=7 doorbells=9 completion_wakes=3 took=1ms";
        let other = "INFO vw: guest connected";
        assert_eq!(
            Totals::all(&format!("{other}\n{line}")),
            [Totals { calls: 7.0, doorbells: 9.0, wakes: 3.0 }]
        );
    }
}
