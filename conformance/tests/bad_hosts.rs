//! What a program sees when its host is not there, refuses it, or dies.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use vw_conformance::child::{self, Output};
use vw_conformance::driver::Driver;
use vw_conformance::renderer::Renderer;
use vw_conformance::{products, scratch_folder};
use vw_transport::connection::accept_handshake;
use vw_transport::handshake::Versions;

const LIMIT: Duration = Duration::from_secs(60);
/// How soon a program must know that its host is dead: a second, and what a machine with too much to do adds.
const SOON: Duration = Duration::from_secs(10);

/// The devices that `vulkaninfo` finds when both lavapipe and a vw without a host are installed.
fn beside_lavapipe(vw: &Driver) -> Output {
    let both = Driver::lavapipe().unwrap().and(vw);
    let mut command = both.command("vulkaninfo");
    child::run(command.arg("--summary"), LIMIT).unwrap()
}

/// Fails unless lavapipe alone is offered and one line says why vw is not.
#[track_caller]
fn assert_only_lavapipe(output: &Output, reason: &str) {
    let text = output.expect_success("vulkaninfo");
    let devices: Vec<_> = text.lines().filter(|line| line.trim_start().starts_with("deviceName")).collect();
    assert_eq!(devices.len(), 1, "{text}");
    assert!(devices[0].contains("llvmpipe") && !devices[0].contains("vw ("), "{text}");
    let said: Vec<_> = output.stderr.lines().filter(|line| line.starts_with("vw: ")).collect();
    assert_eq!(said.len(), 1, "one line from vw: {}", output.stderr);
    assert!(said[0].contains(reason), "`{reason}` in: {}", said[0]);
}

#[test]
fn program_when_no_host_listens_gets_no_device_and_one_line_with_the_reason() {
    let folder = scratch_folder("absent").unwrap();
    let path = folder.join("nobody.sock");
    assert_only_lavapipe(&beside_lavapipe(&Driver::vw(&path, &folder).unwrap()), "nobody.sock");
    // Left behind by a renderer that is gone.
    drop(UnixListener::bind(&path).unwrap());
    assert_only_lavapipe(&beside_lavapipe(&Driver::vw(&path, &folder).unwrap()), "nobody.sock");
    fs::write(folder.join("file"), "").unwrap();
    assert_only_lavapipe(
        &beside_lavapipe(&Driver::vw(&folder.join("file"), &folder).unwrap()),
        "not a socket",
    );
    let nonsense = Driver::vw(&path, &folder).unwrap().with("VW_HOST", "nonsense");
    assert_only_lavapipe(&beside_lavapipe(&nonsense), "VW_HOST");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn program_when_it_may_not_connect_is_told_so() {
    let renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    // Where any user can read the driver.
    let folder = scratch_folder("forbidden").unwrap();
    let library = folder.join("libvulkan_vw.so");
    fs::copy(products::guest_driver().unwrap(), &library).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(renderer.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = rustix::process::geteuid().is_root();
    fs::set_permissions(renderer.socket(), fs::Permissions::from_mode(if root { 0o600 } else { 0 })).unwrap();
    let vw = Driver::vw_library(&library, &renderer.socket(), &folder).unwrap();
    let both = Driver::lavapipe().unwrap().and(&vw);
    let mut command = both.command("vulkaninfo");
    command.arg("--summary").current_dir("/");
    if root {
        // The superuser may do anything: somebody else, then.
        command.uid(65_534).gid(65_534);
    }
    assert_only_lavapipe(&child::run(&mut command, LIMIT).unwrap(), "ermission");
    fs::remove_dir_all(folder).unwrap();
}

/// A host that was built differently.
#[test]
fn program_when_versions_differ_is_told_both() {
    let folder = scratch_folder("versions").unwrap();
    let path = folder.join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let ours = Versions { protocol: 4_711, registry: 12, table_hash: 13 };
    let host = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        assert!(accept_handshake(stream, ours, |_| Err("not reached".into())).is_err());
    });
    let output = beside_lavapipe(&Driver::vw(&path, &folder).unwrap());
    assert_only_lavapipe(&output, "4711");
    host.join().unwrap();
    fs::remove_dir_all(folder).unwrap();
}

/// Something that is not a renderer: it says nothing, or nonsense, or hangs up.
#[test]
fn program_when_another_server_answers_gets_no_device() {
    let folder = scratch_folder("stranger").unwrap();
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0xff; 4096]] {
        let path = folder.join("stranger.sock");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            use std::io::Write;
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(answer);
        });
        assert_only_lavapipe(&beside_lavapipe(&Driver::vw(&path, &folder).unwrap()), "");
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    /// The daemon and its sessions.
    Everything,
    /// The program's session alone.
    Session,
}

/// Kills the host while the program makes a call; the program must say that its device is lost, soon.
/// `memory`: its `VW_MEMORY`.
fn kill_during(call: &str, memory: &str, victim: Victim, delay: Duration) {
    let mut renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
    let ready = renderer.folder().join("ready");
    let driver = renderer.guest().with("VW_LOG", "error").with("VW_MEMORY", memory);
    let mut command = driver.command(products::program("vw-load").unwrap());
    command.args(["until-lost", "--call", call, "--ready"]).arg(&ready);
    let mut program = child::start(&mut command).unwrap();
    wait_for(&ready, &mut program);
    thread::sleep(delay);
    assert!(program.is_running(), "{call}: ended by itself: {:?}", program.wait(LIMIT));
    let killed = Instant::now();
    match victim {
        Victim::Everything => renderer.kill(),
        Victim::Session => {
            for session in renderer.sessions() {
                rustix::process::kill_process(
                    rustix::process::Pid::from_raw(session.cast_signed()).unwrap(),
                    rustix::process::Signal::KILL,
                )
                .unwrap();
            }
        }
    }
    let output = program.wait(LIMIT).unwrap();
    let took = killed.elapsed();
    let text = output.expect_success(&format!("{call}, {victim:?} killed"));
    assert!(text.contains("lost: ERROR_DEVICE_LOST"), "{call}: {text}");
    assert!(took < SOON, "{call}: the program noticed only after {took:?}");
    assert!(
        output.stderr.lines().any(|line| line.starts_with("vw: ")),
        "{call}: no reason given: {}",
        output.stderr
    );
    if victim == Victim::Session {
        // The daemon goes on.
        let mut next = renderer.guest().command(products::program("vw-differential").unwrap());
        child::run(next.args(["--only", "compute.fill"]), LIMIT).unwrap().expect_success("the next program");
    }
}

fn wait_for(file: &Path, program: &mut child::Running) {
    let started = Instant::now();
    while !file.exists() {
        assert!(program.is_running() && started.elapsed() < LIMIT, "the program did not get ready");
        thread::sleep(Duration::from_millis(2));
    }
}

const CALLS: [&str; 10] = [
    "wait-for-fences",
    "wait-semaphores",
    "queue-wait-idle",
    "device-wait-idle",
    "get-query-pool-results",
    "allocate-memory",
    "create-pipelines",
    "queue-submit",
    "get-fence-status",
    "record",
];

#[test]
fn call_when_the_host_is_killed_says_soon_that_the_device_is_lost() {
    for (call, delay) in CALLS.into_iter().zip((10..).step_by(17)) {
        kill_during(call, "auto", Victim::Everything, Duration::from_millis(delay));
    }
}

#[test]
fn call_when_the_host_of_a_stream_is_killed_says_soon_that_the_device_is_lost() {
    for (call, delay) in CALLS.into_iter().zip((7..).step_by(19)) {
        kill_during(call, "stream", Victim::Everything, Duration::from_millis(delay));
    }
}

#[test]
fn call_when_its_session_is_killed_says_so_and_the_daemon_goes_on() {
    for (call, delay) in CALLS.into_iter().zip((5..).step_by(13)) {
        kill_during(call, "auto", Victim::Session, Duration::from_millis(delay));
    }
}

/// Large programs, with threads of their own, killed under at many moments: none hangs, none crashes.
#[test]
fn programs_when_the_host_is_killed_at_any_moment_end_by_themselves() {
    let programs: [(&str, &[&str]); 3] = [
        ("vw-differential", &[]),
        ("vw-load", &["work", "--seconds", "20"]),
        ("vw-wgpu-scene", &["--frames", "1000", "--width", "160", "--height", "90"]),
    ];
    for (program, arguments) in programs {
        for delay in [1, 20, 60, 120, 250, 600] {
            let mut renderer = Renderer::start(&Driver::lavapipe().unwrap()).unwrap();
            let mut command = renderer.guest().command(products::program(program).unwrap());
            let running = child::start(command.args(arguments)).unwrap();
            thread::sleep(Duration::from_millis(delay));
            renderer.kill();
            let output = running.wait(LIMIT).unwrap();
            let how = child::describe(output.status);
            assert!(output.status.code().is_some(), "{program} after {delay} ms: {how}\n{}", output.stderr);
        }
    }
}
