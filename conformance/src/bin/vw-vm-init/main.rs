//! Process 1 of a guest: does the job that lies in its initramfs, answers on the second serial port and ends the machine.

mod power;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use vw_conformance::child;
use vw_conformance::vm::job::{Answer, Job, PATH, RENDER, Step, USER};

/// How long a step may take; the machine has its own limit, which is shorter than that of several steps.
const LIMIT: Duration = Duration::from_secs(150);
/// Where answers go.
const ANSWERS: &str = "/dev/ttyS1";

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("vw-vm-init is process 1 of the guests of vw's tests, and nothing else");
        return ExitCode::FAILURE;
    }
    let code = match work() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("vw-vm-init: {error}");
            1
        }
    };
    power::end(code)
}

fn work() -> io::Result<()> {
    let mounts =
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("tmpfs", "/tmp")];
    for (kind, at) in mounts {
        mount(kind, at, kind, MountFlags::empty(), c"")?;
    }
    fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777))?;
    let job: Job = serde_json::from_str(&fs::read_to_string(PATH)?)?;
    for module in &job.modules {
        let loaded = rustix::system::finit_module(File::open(module)?, c"", 0);
        loaded.map_err(|error| io::Error::other(format!("{module}: {error}")))?;
    }
    let mut answers = File::options().read(true).write(true).open(ANSWERS)?;
    let mut settings = tcgetattr(&answers)?;
    settings.make_raw();
    tcsetattr(&answers, OptionalActions::Now, &settings)?;
    for step in &job.steps {
        if let Some(answer) = run(step) {
            answer.write(&mut answers)?;
        }
    }
    rustix::termios::tcdrain(&answers)?;
    Ok(())
}

/// Runs a step; no answer comes of one in the background.
fn run(step: &Step) -> Option<Answer> {
    let mut answer = Answer {
        name: step.name.clone(),
        status: String::new(),
        stdout: String::new(),
        stderr: String::new(),
        file: Vec::new(),
        ms: 0,
    };
    let (program, arguments) = step.command.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/tmp").env_clear();
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("HOME", "/tmp");
    command.envs(step.environment.iter().map(|(name, value)| (name, value)));
    if !step.root {
        // The user's own group is not needed: what is opened to the group of the GPU is what counts.
        command.uid(USER).gid(RENDER);
    }
    if step.background {
        command.stdin(Stdio::null());
        let started = match &step.file {
            Some(file) => File::create(file).and_then(|file| command.stderr(file).spawn()),
            None => command.spawn(),
        };
        let error = started.err()?;
        answer.status = format!("cannot be started: {error}");
        return Some(answer);
    }
    match child::run(&mut command, LIMIT) {
        Ok(output) => {
            answer.status = child::describe(output.status);
            answer.ms = output.elapsed.as_millis().try_into().unwrap_or(u64::MAX);
            (answer.stdout, answer.stderr) = (output.stdout, output.stderr);
        }
        Err(error) => answer.status = error.to_string(),
    }
    if let Some(file) = &step.file {
        answer.file = fs::read(file).unwrap_or_default();
    }
    Some(answer)
}
