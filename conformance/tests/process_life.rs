//! Programs that fork, unload the driver, lose their descriptors or end without a word, and objects that come and go in
//! every order. The programs check themselves (`vw-life`); here their sessions are looked at as well.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vw_conformance::child::{self, Output};
use vw_conformance::driver::{Driver, in_stream};
use vw_conformance::products;
use vw_conformance::renderer::Renderer;

const LIMIT: Duration = Duration::from_secs(90);

fn renderer() -> Renderer {
    Renderer::start(&Driver::lavapipe().unwrap()).unwrap()
}

fn run_on(driver: &Driver, arguments: &[&str]) -> Output {
    child::run(driver.command(products::program("vw-life").unwrap()).args(arguments), LIMIT).unwrap()
}

/// Runs a mode natively and through vw. Both must end well, and no session may stay.
#[track_caller]
fn both(arguments: &[&str]) {
    run_on(&Driver::lavapipe().unwrap(), arguments).expect_success("natively");
    let renderer = renderer();
    run_on(&renderer.guest(), arguments).expect_success("through vw");
    assert_nothing_left(&renderer);
}

/// Fails unless all sessions end soon: a second, and what a machine with too much to do adds.
#[track_caller]
fn assert_nothing_left(renderer: &Renderer) {
    let asked = Instant::now();
    while !renderer.sessions().is_empty() {
        assert!(asked.elapsed() < Duration::from_secs(20), "sessions left: {:?}", renderer.sessions());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `ready` holds.
#[track_caller]
fn wait_until(what: &str, ready: impl Fn() -> bool) {
    let asked = Instant::now();
    while !ready() {
        assert!(asked.elapsed() < LIMIT, "{what} does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn child_when_forked_with_a_device_may_end_or_exec_and_the_parent_goes_on() {
    for child in ["exit", "return", "exec"] {
        both(&["fork", "--child", child]);
    }
}

/// Not something that a native driver with threads of its own survives: through vw the child's device is lost.
#[test]
fn child_when_it_destroys_what_it_inherited_leaves_the_parent_alone() {
    let renderer = renderer();
    run_on(&renderer.guest(), &["fork", "--child", "destroy"]).expect_success("through vw");
    assert_nothing_left(&renderer);
}

#[test]
fn child_when_it_makes_an_instance_of_its_own_has_a_session_of_its_own() {
    both(&["fork", "--child", "own"]);
    both(&["fork-first"]);
}

#[test]
fn session_when_its_program_ends_does_not_stay_for_a_forked_child() {
    let renderer = renderer();
    let mut command = renderer.guest().command(products::program("vw-life").unwrap());
    let mut program =
        command.arg("leave-child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let open = program.stdin.take();
    assert!(program.wait().unwrap().success());
    // The child still waits for its input, with the socket in its hands.
    assert_nothing_left(&renderer);
    drop(open);
}

#[test]
fn loader_when_loaded_and_unloaded_many_times_leaves_nothing_behind() {
    let renderer = renderer();
    run_on(&renderer.guest(), &["reload"]).expect_success("through vw");
    assert_nothing_left(&renderer);
}

#[test]
fn program_when_it_ends_with_work_going_on_leaves_no_session() {
    let renderer = renderer();
    run_on(&renderer.guest(), &["just-exit"]).expect_success("through vw");
    assert_nothing_left(&renderer);
}

/// The device is lost with the socket; the program's own descriptors under the same numbers are left alone.
#[test]
fn program_when_it_closes_all_descriptors_loses_the_device_and_nothing_else() {
    let renderer = renderer();
    for memory in ["auto", "stream"] {
        let output = run_on(&renderer.guest().with("VW_MEMORY", memory), &["close-descriptors"]);
        assert_eq!(output.expect_success(memory).trim(), "after: Some(ERROR_DEVICE_LOST)");
        assert_nothing_left(&renderer);
    }
}

#[test]
fn renderer_when_stopped_for_a_while_is_waited_for() {
    let renderer = renderer();
    let ready = renderer.folder().join("ready");
    let mut command = renderer.guest().command(products::program("vw-life").unwrap());
    command.args(["work", "--seconds", "4", "--ready"]).arg(&ready);
    let program = child::start(&mut command).unwrap();
    wait_until("the work", || ready.exists());
    let all: Vec<u32> = renderer.sessions().into_iter().chain([renderer.pid()]).collect();
    all.iter().for_each(|&pid| signal(pid, Signal::STOP));
    thread::sleep(Duration::from_millis(1500));
    all.iter().for_each(|&pid| signal(pid, Signal::CONT));
    let output = program.wait(LIMIT).unwrap();
    let text = output.expect_success("through vw");
    let longest = text.trim().strip_prefix("longest: ").and_then(|text| text.strip_suffix(" ms"));
    // It was stopped for that long indeed.
    assert!(longest.and_then(|ms| ms.parse::<u64>().ok()).is_some_and(|ms| ms >= 1000), "{text}");
}

/// Runs `vw-life record-ahead`; `stopped` are the processes that execute nothing while it records.
#[track_caller]
fn record_ahead(driver: &Driver, folder: &Path, stopped: impl FnOnce() -> Vec<u32>) {
    let [ready, go, recorded] = ["ready", "go", "recorded"].map(|name| folder.join(name));
    let mut command = driver.command(products::program("vw-life").unwrap());
    command
        .arg("record-ahead")
        .arg("--ready")
        .arg(&ready)
        .arg("--go")
        .arg(&go)
        .arg("--recorded")
        .arg(&recorded);
    let program = child::start(&mut command).unwrap();
    wait_until("the device", || ready.exists());
    let stopped = stopped();
    stopped.iter().for_each(|&pid| signal(pid, Signal::STOP));
    fs::write(&go, "").unwrap();
    wait_until("the end of the recording", || recorded.exists());
    stopped.iter().for_each(|&pid| signal(pid, Signal::CONT));
    fs::remove_file(&go).unwrap();
    program.wait(LIMIT).unwrap().expect_success("recording ahead");
}

#[test]
fn recording_when_the_host_does_nothing_is_held_back_until_it_is_submitted() {
    let renderer = renderer();
    let native = renderer.folder().join("native");
    fs::create_dir(&native).unwrap();
    record_ahead(&Driver::lavapipe().unwrap(), &native, Vec::new);
    // Over a stream nothing but the socket holds what was recorded.
    record_ahead(&renderer.guest(), renderer.folder(), || {
        if in_stream() { Vec::new() } else { renderer.sessions() }
    });
}

#[test]
fn instances_and_devices_when_many_and_in_threads_do_not_disturb_each_other() {
    both(&["many"]);
}

#[test]
fn objects_when_destroyed_in_any_allowed_order_harm_nothing() {
    both(&["orders"]);
}

#[test]
fn allocation_callbacks_when_given_are_called_for_every_object_and_may_refuse() {
    let renderer = renderer();
    run_on(&renderer.guest(), &["callbacks"]).expect_success("through vw");
}

/// On the null device, which has ray tracing wherever the tests run.
#[test]
fn deferred_operation_when_given_to_pipelines_is_not_deferred() {
    let renderer = Renderer::start_with(&Driver::lavapipe().unwrap(), &["--null"]).unwrap();
    run_on(&renderer.guest(), &["deferred"]).expect_success("through vw");
}

/// No lavapipe shares semaphores and fences: the program knows what must come out.
#[track_caller]
fn sharing(scene: &str) {
    let renderer = renderer();
    run_on(&renderer.guest(), &["sharing", scene]).expect_success("through vw");
    assert_nothing_left(&renderer);
}

#[test]
fn semaphores_when_shared_by_two_processes_order_their_submissions() {
    sharing("ping-pong");
    sharing("timeline");
}

/// On a host whose queues bind sparse resources.
#[test]
fn semaphores_when_shared_order_sparse_binding_too() {
    let renderer = Renderer::start(&Driver::newer_lavapipe().unwrap()).unwrap();
    run_on(&renderer.guest(), &["sharing", "sparse"]).expect_success("through vw");
    assert_nothing_left(&renderer);
}

#[test]
fn semaphores_and_fences_when_imported_for_a_while_have_their_own_payload_back() {
    sharing("temporary");
}

#[test]
fn fence_when_shared_by_two_processes_is_one() {
    sharing("fences");
}

#[test]
fn partner_when_killed_leaves_nobody_waiting_for_what_it_had_submitted() {
    sharing("killed");
    sharing("hanging");
}

#[test]
fn handles_when_not_supported_or_of_something_else_are_refused() {
    sharing("refused");
}

#[test]
fn payloads_when_many_come_and_go_leave_nothing_behind() {
    sharing("many");
}

#[test]
fn debug_utils_when_used_answer_as_natively() {
    let native = run_on(&Driver::lavapipe().unwrap(), &["messages"]);
    let renderer = renderer();
    let vw = run_on(&renderer.guest(), &["messages"]);
    assert_eq!(native.expect_success("natively"), vw.expect_success("through vw"));
}

#[test]
fn messenger_when_the_device_is_lost_hears_why_once() {
    let mut renderer = renderer();
    let ready = renderer.folder().join("ready");
    let mut command = renderer.guest().command(products::program("vw-life").unwrap());
    command.args(["message-of-loss", "--ready"]).arg(&ready);
    let program = child::start(&mut command).unwrap();
    wait_until("the work", || ready.exists());
    renderer.kill();
    let output = program.wait(LIMIT).unwrap();
    let heard: Vec<_> =
        output.expect_success("through vw").lines().filter(|line| line.contains("vw-")).collect();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].starts_with("ERROR GENERAL vw-device-lost: the connection to the host is lost"),
        "{heard:?}"
    );
}

/// The validation layer under the renderer stands for any tool on the host.
#[test]
fn name_when_given_in_the_guest_is_seen_by_tools_on_the_host() {
    let host = Driver::lavapipe().unwrap().with("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation");
    let renderer = Renderer::start(&host).unwrap();
    run_on(&renderer.guest(), &["named-misuse"]).expect_success("through vw");
    assert_nothing_left(&renderer);
    let log = renderer.log();
    assert!(log.contains("the forgotten one"), "{log}");
}
