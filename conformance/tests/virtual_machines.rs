//! A real guest: a kernel of its own under QEMU, the guest package unpacked in it.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use vw_conformance::compare::{Explained, assert_same, assert_same_suite};
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::vm::image::Image;
use vw_conformance::vm::installed::{self, PORT, devices, machine};
use vw_conformance::vm::job::{Answer, Job, Step};
use vw_conformance::vm::machine::{Attachment, Guest, Kernel, Machine};
use vw_conformance::{child, or_skip, products, scratch_folder};

const LIMIT: Duration = Duration::from_secs(360);
/// How soon everything of a guest that was killed must be freed: a second, and what a machine with too much to do adds.
const SOON: Duration = Duration::from_secs(10);

/// Cases of the differential suite that a guest runs: one of each kind of object, and memory in every way.
const CORE: &[&str] = &[
    "buffers",
    "recording",
    "compute",
    "descriptors",
    "drawing.triangles",
    "drawing.textures",
    "mapped",
    "memory",
    "synchronisation",
];

/// Those for which the driver compiles nothing, which takes it long in a guest: memory in every way, and copies.
const COPIES: &[&str] = &[
    "memory.round_trip",
    "memory.persistent_mapping",
    "memory.shared_by_buffers",
    "mapped",
    "transfer.images",
];

/// The picture that a guest renders.
const SCENE: &[&str] = &["--frames", "2", "--width", "320", "--height", "180"];

/// A guest with the package installed and programs to run; `None`, with the reason said, where there can be none.
fn image(kernel: Kernel) -> Option<Image> {
    let mut image = or_skip(installed::image(kernel))?;
    image.installed("vulkaninfo").unwrap();
    for program in ["vw-differential", "vw-wgpu-scene"] {
        image.program(&products::program(program).unwrap(), &format!("usr/bin/{program}")).unwrap();
    }
    Some(image)
}

/// The programs that a user of the guest runs.
fn programs() -> [Step; 4] {
    let only: Vec<&str> = CORE.iter().flat_map(|name| ["--only", name]).collect();
    let scene = [&["vw-wgpu-scene"], SCENE, &["--output", "/tmp/scene.png"]].concat();
    [
        Step::new("doctor", &["vw-guest", "doctor"]),
        Step::new("vulkaninfo", &["vulkaninfo", "--summary"]),
        Step::new("differential", &[&["vw-differential"], only.as_slice()].concat()),
        Step::new("scene", &scene).writing("/tmp/scene.png"),
    ]
}

fn job(steps: impl IntoIterator<Item = Step>) -> Job {
    Job { steps: steps.into_iter().collect(), ..Job::default() }
}

fn answer<'a>(answers: &'a [Answer], name: &str) -> &'a Answer {
    answers.iter().find(|answer| answer.name == name).unwrap_or_else(|| panic!("no {name} in {answers:?}"))
}

/// Boots a guest, runs the programs, and compares with what they answer natively.
fn compare(kernel: Kernel, how: Option<Attachment>, memory: &str) {
    let Some(image) = image(kernel) else { return };
    let native = Driver::lavapipe().unwrap();
    let renderer = Renderer::start_for_machines(&native, &["guest"], PORT).unwrap();
    let image = image.finish(&job(devices().into_iter().chain(programs()))).unwrap();
    let answers = machine(&renderer, "guest", 4, kernel, how).unwrap().run(&image).unwrap();
    for answer in &answers {
        println!("{}: {}, {} ms", answer.name, answer.status, answer.ms);
    }
    let doctor = answer(&answers, "doctor").expect_success();
    assert!(doctor.lines().any(|line| line.starts_with("memory") && line.contains(memory)), "{doctor}");
    assert!(doctor.contains("triangle") && doctor.contains("vsock:2:5000"), "{doctor}");
    let vulkaninfo = answer(&answers, "vulkaninfo").expect_success();
    assert!(vulkaninfo.contains("= vw (llvmpipe"), "{vulkaninfo}");

    let mut command = native.command(products::program("vw-differential").unwrap());
    let suite = child::run(command.args(CORE.iter().flat_map(|name| ["--only", name])), LIMIT).unwrap();
    // What cannot be where descriptors do not pass is the same with and without memory in common.
    let explained = Explained::from_file("stream.txt");
    let differential = answer(&answers, "differential").expect_success();
    assert_same_suite(suite.expect_success("natively"), differential, explained);

    let folder = scratch_folder("scene").unwrap();
    let picture = folder.join("scene.png");
    let mut command = native.command(products::program("vw-wgpu-scene").unwrap());
    let scene = child::run(command.args(SCENE).arg("--output").arg(&picture), LIMIT).unwrap();
    let guest = answer(&answers, "scene");
    let explained = Explained::from_file("scene.txt");
    assert_same("the scene", scene.expect_success("natively"), guest.expect_success(), &explained);
    assert!(guest.file == std::fs::read(&picture).unwrap(), "the pictures differ");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn guest_when_memory_is_virtio_pmem_answers_as_natively() {
    compare(Kernel::Linux6_1, Some(Attachment::Pmem), "attached");
}

#[test]
fn guest_when_memory_is_ivshmem_answers_as_natively() {
    compare(Kernel::Linux6_1, Some(Attachment::Ivshmem), "attached");
}

#[test]
fn guest_when_there_is_vsock_alone_answers_as_natively() {
    compare(Kernel::Linux6_1, None, "stream");
}

#[test]
fn guest_when_there_is_vsock_alone_and_a_newer_kernel_answers_as_natively() {
    compare(Kernel::Linux6_12, None, "stream");
}

/// A host whose kernel makes dma-bufs of shared pages, in a guest: renderer, driver and program side by side.
#[test]
fn host_when_its_driver_imports_dma_bufs_answers_as_natively() {
    let kernel = Kernel::Linux6_12;
    let (Some(native), Some(modules)) = (or_skip(Driver::newer_lavapipe()), or_skip(kernel.modules())) else {
        return;
    };
    let mut image = Image::new().unwrap();
    image.modules(&modules, &[]).unwrap();
    image.library("libvulkan.so.1").unwrap();
    image.newer_lavapipe().unwrap();
    let parts = [
        products::program("vw-differential").unwrap(),
        products::renderer().unwrap(),
        products::control().unwrap(),
        products::guest_driver().unwrap(),
    ];
    for part in parts {
        let name = part.file_name().unwrap().to_string_lossy().into_owned();
        image.program(&part, &format!("usr/bin/{name}")).unwrap();
    }
    image.text(
        "etc/vw/renderer.toml",
        "listen = \"unix:/tmp/vw.sock\"\nimport = \"udmabuf\"\nlog = \"debug\"\n",
    );
    let manifest = r#"{ "file_format_version": "1.0.0", "ICD": { "library_path": "/usr/bin/libvulkan_vw.so", "api_version": "1.4.309" } }"#;
    image.text("etc/vw/icd.json", manifest);
    let only: Vec<&str> = COPIES.iter().flat_map(|name| ["--only", name]).collect();
    let (config, log) = (["--config", "/etc/vw/renderer.toml"], "/tmp/renderer.log");
    let renderer = Step::new("renderer", &[&["vw-renderer"], config.as_slice()].concat());
    // It takes as long as the renderer until it has its driver, which a program would not wait for.
    let doctor = [&["vwctl", "--socket", "unix:/tmp/vw.sock", "doctor"], config.as_slice()].concat();
    let suite = Step::new("suite", &[&["vw-differential"], only.as_slice()].concat());
    let steps = [
        renderer.as_root().in_background().writing(log),
        Step::new("doctor", &doctor).as_root(),
        suite
            .as_root()
            .with("VK_DRIVER_FILES", "/etc/vw/icd.json")
            .with("VW_HOST", "unix:/tmp/vw.sock")
            .writing(log),
    ];
    let image = image.finish(&job(steps)).unwrap();
    // What is larger than the kernel makes dma-bufs of is copied: that is the largest buffer of all.
    let machine = Machine::new(kernel).unwrap().memory(1536).parameters("udmabuf.size_limit_mb=4");
    let answers = machine.run(&image).unwrap();
    for answer in &answers {
        println!("{}: {}, {} ms", answer.name, answer.status, answer.ms);
    }
    let doctor = answer(&answers, "doctor").expect_success();
    assert!(doctor.contains("imported as dma-bufs"), "{doctor}");
    let suite = answer(&answers, "suite");
    let text = suite.expect_success();
    let log = String::from_utf8_lossy(&suite.file);
    assert!(log.contains("import=\"udmabuf\"") && !log.contains("WARN"), "{log}");
    let copied = log.lines().filter(|line| line.contains("memory is copied"));
    assert_eq!(copied.filter(|line| line.contains("bytes=8388608")).count(), 2, "{log}");
    let mut command = native.command(products::program("vw-differential").unwrap());
    let expected = child::run(command.args(&only), LIMIT).unwrap();
    assert_same_suite(expected.expect_success("natively"), text, Explained::from_file("copy.txt"));
}

#[test]
fn guest_when_there_is_no_host_has_no_device_and_says_why() {
    let kernel = Kernel::Linux6_1;
    let Some(image) = image(kernel) else { return };
    let image = image.finish(&job([Step::new("doctor", &["vw-guest", "doctor"])])).unwrap();
    let folder = scratch_folder("nobody").unwrap();
    let machine = Machine::new(kernel).unwrap().vsock(&folder.join("guest.vsock"), 4);
    let answers = machine.run(&image).unwrap();
    let doctor = answer(&answers, "doctor");
    assert!(doctor.status == "exit code 1" && doctor.stdout.contains("host           BROKEN"), "{doctor:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// Waits for something of the machines, within their limit.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < LIMIT, "{what} did not happen within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn guest_when_another_one_is_killed_does_not_notice_and_the_killed_one_can_be_started_again() {
    let kernel = Kernel::Linux6_1;
    let (Some(victim), Some(again), Some(other)) = (image(kernel), image(kernel), image(kernel)) else {
        return;
    };
    let native = Driver::lavapipe().unwrap();
    let renderer = Renderer::start_for_machines(&native, &["victim", "other"], PORT).unwrap();
    let endless = ["vw-wgpu-scene", "--frames", "1000000", "--output", "/tmp/scene.png"];
    let victim = victim.finish(&job(devices().into_iter().chain([Step::new("endless", &endless)]))).unwrap();
    let scene = [&["vw-wgpu-scene"], SCENE, &["--output", "/tmp/scene.png"]].concat();
    let scenes = (0..3).map(|_| Step::new("scene", &scene).writing("/tmp/scene.png"));
    let other = other.finish(&job(devices().into_iter().chain(scenes))).unwrap();
    let machine = |name: &str, cid| -> Machine {
        machine(&renderer, name, cid, kernel, Some(Attachment::Pmem)).unwrap()
    };
    let killed_one = machine("victim", 5);
    let mut victim: Guest = killed_one.start(&victim).unwrap();
    until("the victim's session", || renderer.sessions().len() == 1);
    let other = machine("other", 6).start(&other).unwrap();
    until("the other's session", || renderer.sessions().len() == 2);
    victim.kill();
    let killed = Instant::now();
    until("the end of the victim's session", || renderer.log().contains("everything of the guest is freed"));
    let elapsed = killed.elapsed();
    println!("freed after {elapsed:?}");
    // A fraction of a second where nothing else runs.
    assert!(elapsed < SOON, "freed after {elapsed:?}");
    let answers = other.wait().unwrap();
    let pictures: Vec<&Answer> = answers.iter().filter(|answer| answer.name == "scene").collect();
    assert_eq!(pictures.len(), 3, "{answers:?}");
    for picture in &pictures {
        picture.expect_success();
        assert!(picture.file == pictures[0].file && !picture.file.is_empty());
    }
    // Its memory is as it was left.
    let doctor = Step::new("doctor", &["vw-guest", "doctor"]);
    let again = again.finish(&job(devices().into_iter().chain([doctor]))).unwrap();
    let answers = killed_one.run(&again).unwrap();
    let doctor = answer(&answers, "doctor").expect_success();
    assert!(doctor.lines().any(|line| line.starts_with("memory") && line.contains("attached")), "{doctor}");
}
