//! The table as Markdown.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use crate::collect::{NATIVE, PEER, PEER_NO_FEEDBACK, STREAM, VW, WAYS, WITHOUT, side_in_guest};
use crate::results::{Results, RowResult};
use crate::row::Met;

/// Lines of a file between which the table stands, that of the ways to have memory in common, and that of virtual machines.
const MARKS: (&str, &str) = ("<!-- table: begin -->", "<!-- table: end -->");
const TRANSPORTS: (&str, &str) = ("<!-- transports: begin -->", "<!-- transports: end -->");
const GUESTS: (&str, &str) = ("<!-- guests: begin -->", "<!-- guests: end -->");

/// The whole report.
pub(crate) fn table(results: &Results) -> String {
    let mut text = String::new();
    for (_, part) in parts(results) {
        text += &part;
    }
    text
}

/// Its tables, each with the lines between which it stands in a file.
fn parts(results: &Results) -> Vec<((&'static str, &'static str), String)> {
    let part = |write: fn(&mut String, &Results) -> std::fmt::Result| {
        let mut text = String::new();
        // Writing to a String cannot fail, here and below.
        let _ = write(&mut text, results);
        text
    };
    let mut parts = Vec::new();
    if results.has_stream() {
        parts.push((TRANSPORTS, part(transports)));
    }
    if results.guests.is_some() {
        parts.push((GUESTS, part(guests)));
    }
    if parts.is_empty() {
        parts.push((MARKS, whole(results)));
    }
    parts
}

fn whole(results: &Results) -> String {
    let mut text = String::new();
    let _ = rows(&mut text, results);
    let _ = summary(&mut text, results);
    let _ = without(&mut text, results);
    let _ = instructions(&mut text, results);
    text
}

fn machine(text: &mut String, results: &Results) -> std::fmt::Result {
    let machine = &results.machine;
    writeln!(
        text,
        "{}, {} cores, Linux {}, load {:.1} at the beginning. Medians; ratios are medians of the ratios of \
         each round.\n",
        machine.processor, machine.cores, machine.kernel, machine.load
    )
}

fn transports(text: &mut String, results: &Results) -> std::fmt::Result {
    machine(text, results)?;
    writeln!(
        text,
        "| what | unit | native | same pages | over a stream | same pages / native | stream / native | stream / same pages |"
    )?;
    writeln!(text, "|---|---|---:|---:|---:|---:|---:|---:|")?;
    for row in results.rows.iter().filter(|row| row.median(STREAM).is_some()) {
        let [native, same, stream] = [NATIVE, VW, STREAM].map(|side| value(row, side));
        let ratios =
            [(VW, NATIVE), (STREAM, NATIVE), (STREAM, VW)].map(|(side, other)| ratio(row, side, other));
        let (name, unit) = (&row.name, &row.unit);
        writeln!(text, "| {name} | {unit} | {native} | {same} | {stream} | {} |", ratios.join(" | "))?;
    }
    notes(text, results)
}

fn guests(text: &mut String, results: &Results) -> std::fmt::Result {
    let Some(guests) = &results.guests else { return Ok(()) };
    machine(text, results)?;
    let how = if guests.emulated { "emulated by QEMU (TCG)" } else { "that of the host (KVM)" };
    writeln!(text, "In guests with Linux {} and one processor, {how}.\n", guests.kernel)?;
    let ways = WAYS.map(|(way, _)| way);
    let ratios = ways.map(|way| format!("{way} / native"));
    writeln!(text, "| what | unit | native | {} | {} |", ways.join(" | "), ratios.join(" | "))?;
    writeln!(text, "|---|---|---:|---:|---:|---:|---:|---:|---:|")?;
    let native = ways.map(|way| side_in_guest(NATIVE, way));
    for row in results.rows.iter().filter(|row| row.median_of_all(&native).is_some()) {
        let vw = ways.map(|way| value(row, &side_in_guest(VW, way)));
        let ratios = ways.map(|way| ratio(row, &side_in_guest(VW, way), &side_in_guest(NATIVE, way)));
        let (name, unit, native) = (&row.name, &row.unit, row.median_of_all(&native));
        let native = native.map_or_else(String::new, number);
        writeln!(text, "| {name} | {unit} | {native} | {} | {} |", vw.join(" | "), ratios.join(" | "))?;
    }
    notes(text, results)
}

fn ratio(row: &RowResult, side: &str, other: &str) -> String {
    row.ratio(side, other).map_or_else(|| "-".into(), factor)
}

fn notes(text: &mut String, results: &Results) -> std::fmt::Result {
    results.notes.iter().try_for_each(|note| writeln!(text, "\nNote: {note}."))
}

fn rows(text: &mut String, results: &Results) -> std::fmt::Result {
    machine(text, results)?;
    let peer = results.has_peer();
    let (head, line) =
        if peer { (" Venus | Venus, no_fence_feedback |", "---:|---:|") } else { Default::default() };
    let (lead, lead_line) = if peer { (" better than Venus |", "---:|") } else { Default::default() };
    writeln!(text, "| what | unit | native | vw |{head} vw / native |{lead} target | |")?;
    writeln!(text, "|---|---|---:|---:|{line}---:|{lead_line}---|---|")?;
    for row in &results.rows {
        write!(text, "| {} | {} | {} | {} |", row.name, row.unit, value(row, NATIVE), value(row, VW))?;
        if peer {
            write!(text, " {} | {} |", value(row, PEER), value(row, PEER_NO_FEEDBACK))?;
        }
        write!(text, " {} |", ratio(row, VW, NATIVE))?;
        if peer {
            write!(
                text,
                " {} |",
                row.lead().map_or_else(|| "-".into(), |lead| format!("{} ×", factor(lead)))
            )?;
        }
        let target = row.target.map_or_else(String::new, |target| target.text(row.better));
        let met = match row.is_met() {
            Some(Met::Yes) => "yes",
            Some(Met::AsRatio) => "as a ratio",
            Some(Met::No) => "no",
            None => "",
        };
        writeln!(text, " {target} | {met} |")?;
    }
    Ok(())
}

fn summary(text: &mut String, results: &Results) -> std::fmt::Result {
    let judged: Vec<Met> = results.rows.iter().filter_map(RowResult::is_met).collect();
    let count = |wanted| judged.iter().filter(|met| **met == wanted).count();
    let (met, as_ratio) = (count(Met::Yes), count(Met::AsRatio));
    write!(text, "\nTargets reached: {} of {}", met + as_ratio, judged.len())?;
    if as_ratio > 0 {
        write!(
            text,
            ", {as_ratio} of them as the ratio to the native driver on the machine that they were set on"
        )?;
    }
    writeln!(text, ".")?;
    let leads: Vec<(f64, &str)> =
        results.rows.iter().filter_map(|row| Some((row.lead()?, row.name.as_str()))).collect();
    if !leads.is_empty() {
        let mean = (leads.iter().map(|(lead, _)| lead.ln()).sum::<f64>() / leads.len() as f64).exp();
        let behind: Vec<&str> = leads.iter().filter(|(lead, _)| *lead < 1.0).map(|(_, name)| *name).collect();
        writeln!(
            text,
            "Against the better mode of Venus in each row: {} × better by the geometric mean of {} rows.",
            factor(mean),
            leads.len()
        )?;
        if !behind.is_empty() {
            writeln!(text, "Behind it in: {}.", behind.join("; "))?;
        }
    }
    notes(text, results)
}

/// What becomes worse, by how much, where something is switched off.
fn without(text: &mut String, results: &Results) -> std::fmt::Result {
    /// Less than this may be chance.
    const NOTABLE: f64 = 1.1;
    let sides: Vec<&String> = results.sides.iter().filter(|side| side.starts_with(WITHOUT)).collect();
    if sides.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n| `VW_PERF` | what becomes worse by a tenth or more |\n|---|---|")?;
    for side in sides {
        let worse = results.rows.iter().filter_map(|row| {
            let times = row.better.advantage(1.0, row.ratio(side, VW)?);
            (times >= NOTABLE).then(|| format!("{}: {} ×", row.name, factor(times)))
        });
        let worse: Vec<String> = worse.collect();
        let worse = if worse.is_empty() { "nothing".to_owned() } else { worse.join("; ") };
        writeln!(text, "| `{}` | {worse} |", side.trim_start_matches(WITHOUT))?;
    }
    Ok(())
}

fn instructions(text: &mut String, results: &Results) -> std::fmt::Result {
    if results.instructions.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nInstructions for one command, counted by callgrind: of the guest's entry point with everything that it does, of \
         the tables' encoder and of their decoder alone, and of the decoder without the tables.\n"
    )?;
    writeln!(text, "| command | entry point | encode | decode | straight |\n|---|---:|---:|---:|---:|")?;
    for line in &results.instructions {
        let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let (entry, straight) = (count(line.entry), count(line.straight));
        writeln!(text, "| `{}` | {entry} | {} | {} | {straight} |", line.command, line.encode, line.decode)?;
    }
    Ok(())
}

fn value(row: &RowResult, side: &str) -> String {
    row.median(side).map_or_else(|| "-".into(), number)
}

/// Three digits that count.
fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ if size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn factor(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Puts the tables of these results between their lines in a file.
///
/// # Errors
/// When the file cannot be read or written, or lacks the lines.
pub(crate) fn write_into(file: &Path, results: &Results) -> io::Result<()> {
    let mut text = fs::read_to_string(file)?;
    for (marks, part) in parts(results) {
        text = replaced(&text, marks, &part)
            .ok_or_else(|| io::Error::other(format!("the lines {} and {} are missing", marks.0, marks.1)))?;
    }
    fs::write(file, text)
}

fn replaced(text: &str, (begin, end): (&str, &str), table: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Guests, Machine};
    use crate::row::Row;

    #[test]
    fn table_when_only_two_drivers_were_measured_has_no_peer() {
        let mut results = Results::new(Machine::look());
        results.sides = vec![NATIVE.into(), VW.into()];
        let row = results.row(&Row::lower("a call", "µs").absolute(1.5));
        row.values.insert(NATIVE.into(), vec![Some(0.5)]);
        row.values.insert(VW.into(), vec![Some(1.0)]);
        let text = table(&results);
        assert!(text.contains("| a call | µs | 0.500 | 1.00 | 2.00 | ≤ 1.5 | yes |"), "{text}");
        assert!(!text.contains("Venus"));
        assert!(text.contains("Targets reached: 1 of 1."));
    }

    #[test]
    fn table_when_a_stream_was_measured_compares_it_with_the_same_pages() {
        let mut results = Results::new(Machine::look());
        results.sides = [NATIVE, VW, STREAM].map(Into::into).to_vec();
        let row = results.row(&Row::lower("a call", "µs"));
        for (side, value) in [(NATIVE, 0.5), (VW, 2.0), (STREAM, 50.0)] {
            row.values.insert(side.into(), vec![Some(value)]);
        }
        let text = table(&results);
        assert!(text.contains("| a call | µs | 0.500 | 2.00 | 50.0 | 4.00 | 100 | 25.00 |"), "{text}");
    }

    #[test]
    fn table_when_guests_were_measured_has_the_ratios_of_each() {
        let mut results = Results::new(Machine::look());
        results.guests = Some(Guests { kernel: "6.1".into(), emulated: true });
        let row = results.row(&Row::lower("a call", "µs"));
        for ((way, _), vw) in WAYS.into_iter().zip([2.0, 4.0, 50.0]) {
            row.values.insert(side_in_guest(NATIVE, way), vec![Some(0.5)]);
            row.values.insert(side_in_guest(VW, way), vec![Some(vw)]);
        }
        let text = table(&results);
        assert!(text.contains("Linux 6.1 and one processor, emulated by QEMU"), "{text}");
        assert!(text.contains("| a call | µs | 0.500 | 2.00 | 4.00 | 50.0 | 4.00 | 8.00 | 100 |"), "{text}");
    }

    #[test]
    fn table_when_something_was_switched_off_says_what_that_costs() {
        let mut results = Results::new(Machine::look());
        results.sides = vec![VW.into(), format!("{WITHOUT}no_spin")];
        for (name, row) in [("a call", Row::lower("a call", "µs")), ("draws", Row::higher("draws", "1/s"))] {
            let row = results.row(&row);
            row.values.insert(VW.into(), vec![Some(1.0)]);
            let value = if name == "a call" { 3.0 } else { 0.95 };
            row.values.insert(format!("{WITHOUT}no_spin"), vec![Some(value)]);
        }
        let text = table(&results);
        assert!(text.contains("| `no_spin` | a call: 3.00 × |"), "{text}");
    }

    #[test]
    fn file_when_written_keeps_what_stands_around_the_table() {
        let (begin, end) = MARKS;
        let text = format!("above\n{begin}\nold\n{end}\nbelow\n");
        assert_eq!(replaced(&text, MARKS, "new\n"), Some(format!("above\n{begin}\nnew\n{end}\nbelow\n")));
        assert_eq!(replaced(&text, TRANSPORTS, "new\n"), None);
    }
}
