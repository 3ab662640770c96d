//! Measuring inside of virtual machines: the native driver and vw in turn, in one boot for each way to have memory in common
//! with the host.
//!
//! Both end in lavapipe of Mesa 25: the native driver in the guest, vw on the host. Where QEMU runs the guest's instructions by
//! itself that is as if the guest had a slow processor: what vw has the host do runs at the host's speed.

use std::time::Duration;

use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::vm::image::Image;
use vw_conformance::vm::installed::{self, PORT};
use vw_conformance::vm::job::{Answer, Job, Step};
use vw_conformance::vm::machine::{Attachment, Kernel, is_emulated};

use super::side::{ENVIRONMENT, prepared};
use super::{NATIVE, Options, Result, VW, arguments, numbers};
use crate::measure::{self, Measure};
use crate::results::{Guests, Results};

/// The ways: what a machine with it is called, and how its memory is attached.
pub(crate) const WAYS: [(&str, Option<Attachment>); 3] =
    [("virtio-pmem", Some(Attachment::Pmem)), ("ivshmem", Some(Attachment::Ivshmem)), ("vsock alone", None)];

/// Longest run of one guest: its processor may be emulated.
const LIMIT: Duration = Duration::from_secs(1500);

/// Memory of a guest in MiB: the native driver and its compiler are 200 MiB, in the image and unpacked.
const MEMORY: u32 = 1536;

/// The kernel of the guests, and its name in the report.
const KERNEL: (Kernel, &str) = (Kernel::Linux6_1, "6.1");

/// Manifests in the guest: the native driver's, and that of the package.
const LAVAPIPE: &str = "/usr/share/vulkan/icd.d/lvp_icd.json";
const INSTALLED: &str = "/usr/share/vulkan/icd.d/vw_icd.json";

/// The name in results of a driver, [`NATIVE`] or [`VW`], in a guest.
pub(crate) fn side_in_guest(driver: &str, way: &str) -> String {
    format!("{driver}: {way}")
}

/// Boots a guest for each way and adds what it measured.
pub(super) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let host = prepared(Driver::newer_lavapipe()?);
    let renderer = Renderer::start_for_machines(&host, &WAYS.map(|(way, _)| file(way)), PORT)?;
    results.guests = Some(Guests { kernel: KERNEL.1.to_owned(), emulated: is_emulated() });
    for (number, (way, attachment)) in (4..).zip(WAYS) {
        eprintln!("in a guest: {way}");
        // Where that cannot be had there are no numbers, instead of those of another way.
        let memory = if attachment.is_some() { "attached" } else { "stream" };
        let (image, job) = prepare(options, memory)?;
        let image = image.finish(&job)?;
        let machine = installed::machine(&renderer, file(way), number, KERNEL.0, attachment)?;
        let answers = machine.memory(MEMORY).within(LIMIT).run(&image)?;
        for driver in [NATIVE, VW] {
            results.sides.push(side_in_guest(driver, way));
        }
        for answer in &answers {
            add(answer, way, results);
        }
    }
    Ok(())
}

/// A way as part of a file's name.
fn file(way: &'static str) -> &'static str {
    way.split_once(' ').map_or(way, |(first, _)| first)
}

/// The guest's files, and what it is to do.
fn prepare(options: &Options, memory: &str) -> Result<(Image, Job)> {
    let mut image = installed::image(KERNEL.0)?;
    let program = std::env::current_exe().map_err(super::system("finding this program"))?;
    image.program(&program, "usr/bin/vw-bench")?;
    image.newer_lavapipe()?;
    let native = vec![("VK_DRIVER_FILES".to_owned(), LAVAPIPE.to_owned())];
    let vw = [("VK_DRIVER_FILES", INSTALLED), ("VW_MEMORY", memory)];
    let vw = vw.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut steps = installed::devices().to_vec();
    for round in 0..options.rounds() {
        for measure in chosen(options) {
            let mut sides = [(NATIVE, &native), (VW, &vw)];
            if round % 2 == 1 {
                sides.reverse();
            }
            for (driver, environment) in sides {
                let command = [&["vw-bench"], arguments(options.effort(), measure.name).as_slice()].concat();
                let mut step = Step::new(&format!("{driver} {}", measure.name), &command);
                step.environment.clone_from(environment);
                steps.push(ENVIRONMENT.iter().fold(step, |step, (name, value)| step.with(name, value)));
            }
        }
    }
    Ok((image, Job { steps, ..Job::default() }))
}

fn chosen(options: &Options) -> impl Iterator<Item = &'static Measure> {
    measure::all().filter(|measure| options.wants(measure.name))
}

/// Adds the numbers of a step, or none and a note.
fn add(answer: &Answer, way: &str, results: &mut Results) {
    let Some((driver, name)) = answer.name.split_once(' ') else { return };
    let Some(measure) = measure::all().find(|measure| measure.name == name) else { return };
    let side = side_in_guest(driver, way);
    let values = numbers(&answer.stdout, name, measure.rows.len()).unwrap_or_else(|| {
        let said = answer.stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        eprintln!("vw-bench: {name} on {side}: {}: {}{}", answer.status, answer.stdout, answer.stderr);
        let note = format!("{name} on {side}: {} {said}", answer.status);
        if !results.notes.contains(&note) {
            results.notes.push(note);
        }
        vec![None; measure.rows.len()]
    });
    for (row, value) in measure.rows.iter().zip(values) {
        results.row(row).values.entry(side.clone()).or_default().push(value);
    }
}
