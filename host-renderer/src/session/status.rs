//! What a session process tells the broker: lines on a pipe.

use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use super::stats::Held;

/// Longest line that the broker reads, in bytes: the session process decodes what a guest sends, so it is trusted less.
pub const MAX_LINE: usize = 4096;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The guest's program and process id, as it says.
    Guest {
        /// Process id in the guest.
        pid: u32,
        /// Name of the program.
        program: String,
    },
    /// What the session holds now.
    Held {
        /// Live objects.
        objects: u32,
        /// Device memory in bytes.
        memory: u64,
        /// Records taken from the ring so far.
        records: u64,
    },
    /// What was found out about the host's device and holds for the next process too: see [`Ready`](super::greet::Ready).
    Tried(String),
    /// Why the session ends.
    End(String),
}

impl Status {
    /// The line, without its end.
    pub fn to_line(&self) -> String {
        match self {
            Self::Guest { pid, program } => format!("guest {pid} {}", one_line(program)),
            Self::Held { objects, memory, records } => format!("held {objects} {memory} {records}"),
            Self::Tried(text) => format!("tried {}", one_line(text)),
            Self::End(reason) => format!("end {}", one_line(reason)),
        }
    }

    /// Reads a line; `None` for one that means nothing.
    pub fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        match kind {
            "guest" => {
                let (pid, program) = rest.split_once(' ')?;
                Some(Self::Guest { pid: pid.parse().ok()?, program: program.to_owned() })
            }
            "held" => {
                let mut numbers = rest.split(' ');
                let objects = numbers.next()?.parse().ok()?;
                let memory = numbers.next()?.parse().ok()?;
                let records = numbers.next()?.parse().ok()?;
                Some(Self::Held { objects, memory, records })
            }
            "tried" => Some(Self::Tried(rest.to_owned())),
            "end" => Some(Self::End(rest.to_owned())),
            _ => None,
        }
    }
}

impl From<&Held> for Status {
    fn from(held: &Held) -> Self {
        let objects = held.objects.iter().map(|(_, count)| count).sum();
        Self::Held { objects, memory: held.memory, records: held.records }
    }
}

fn one_line(text: &str) -> String {
    // At most 4 bytes each: half of a line.
    text.chars().take(MAX_LINE / 8).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The session process's end of the pipe.
#[derive(Debug)]
pub struct Reporter(Mutex<Option<File>>);

impl Reporter {
    /// Writes to `pipe`; to nobody without one.
    pub fn new(pipe: Option<File>) -> Self {
        Self(Mutex::new(pipe))
    }

    /// Sends a line. A broker that is gone does not hear it.
    pub fn send(&self, status: &Status) {
        if let Ok(mut pipe) = self.0.lock()
            && let Some(pipe) = pipe.as_mut()
        {
            let _ = pipe.write_all(format!("{}\n", status.to_line()).as_bytes());
        }
    }
}

/// Joins bytes of a pipe to lines.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes and gives `f` each line that they complete. What is longer than [`MAX_LINE`] is dropped.
    pub fn take(&mut self, bytes: &[u8], mut f: impl FnMut(Status)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(part);
            if self.0.last() == Some(&b'\n') {
                if let Some(status) =
                    std::str::from_utf8(&self.0).ok().and_then(|line| Status::parse(line.trim_end()))
                {
                    f(status);
                }
                self.0.clear();
            } else if self.0.len() > MAX_LINE {
                self.0.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_when_cut_anywhere_are_joined() {
        let all = [
            Status::Guest { pid: 7, program: "vkcube --x".to_owned() },
            Status::Held { objects: 3, memory: 1 << 40, records: 9 },
            Status::Tried("1-2-3 4096 0 7".to_owned()),
            Status::End("protocol violation: a b".to_owned()),
        ];
        let text: String = all.iter().map(|status| status.to_line() + "\n").collect();
        for step in 1..text.len() {
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for part in text.as_bytes().chunks(step) {
                lines.take(part, |status| got.push(status));
            }
            assert_eq!(got, all);
        }
    }

    #[test]
    fn lines_when_hostile_are_bounded() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.take(&[b'x'; 1000], |_| panic!("no line"));
            assert!(lines.0.len() <= MAX_LINE + 1000);
        }
        assert_eq!(Status::End("a\nb\x1b".to_owned()).to_line(), "end a b ");
    }
}
