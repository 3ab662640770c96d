//! Semaphores and fences that two processes share. No lavapipe has them, so that what must come out is written here.

use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use ash::vk;

use crate::gpu::{Outcome, PATIENCE, check, text};
use crate::side::{Partner, Side, expect, hear, is_open, tell};

type SemaphoreTypes = vk::ExternalSemaphoreHandleTypeFlags;
type FenceTypes = vk::ExternalFenceHandleTypeFlags;

/// Submissions of each process where they take turns.
pub(crate) const ROUNDS: u32 = 60;

/// A wait that is not to succeed, in nanoseconds.
const MOMENT: u64 = 30_000_000;

/// What two processes do together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scene {
    /// Binary semaphores order the submissions of both.
    PingPong,
    /// A timeline semaphore does, all submissions made before the first may run.
    Timeline,
    /// Semaphores that are imported for one wait.
    Temporary,
    /// A fence is submitted, waited for and reset by both.
    Fences,
    /// The partner is killed with submissions of its own that wait.
    Killed,
    /// The partner is killed with a submission that never ends.
    Hanging,
    /// What is not supported, and descriptors of something else.
    Refused,
    /// Nothing is left of many.
    Many,
    /// Sparse binding waits for them and signals them, on a queue that has it.
    Sparse,
}

pub(crate) unsafe fn run(scene: Scene) -> Outcome {
    // As a program that crashes: nothing is destroyed, and where a partner was killed, there is work that never ends.
    let side = ManuallyDrop::new(Side::open()?);
    match scene {
        Scene::PingPong => ping_pong(&side),
        Scene::Timeline => timeline(&side),
        Scene::Temporary => temporary(&side),
        Scene::Fences => fences(&side),
        Scene::Killed => killed(&side, "killed"),
        Scene::Hanging => killed(&side, "hanging"),
        Scene::Refused => refused(&side),
        Scene::Many => many(&side),
        Scene::Sparse => sparse(&side),
    }
}

/// What the other process does, with the descriptors that it was given.
pub(crate) unsafe fn partner(scene: Scene, descriptors: &[RawFd]) -> Outcome {
    let side = ManuallyDrop::new(Side::open()?);
    let mut given = descriptors.iter().map(|fd| OwnedFd::from_raw_fd(*fd));
    let mut next = || given.next().ok_or_else(|| String::from("a descriptor is missing"));
    match scene {
        Scene::PingPong => {
            let (a, b) = (side.imported(None, next()?)?, side.imported(None, next()?)?);
            let words = side.words(Some(next()?))?;
            for round in 1..=ROUNDS {
                let note = side.note(&words, round)?;
                hear()?;
                side.submit(round % 3 == 0, Some((a, 0)), Some(note), Some((b, 0)), vk::Fence::null())?;
                tell()?;
            }
        }
        Scene::Timeline => {
            let turn = side.imported(Some(0), next()?)?;
            let words = side.words(Some(next()?))?;
            for round in 1..=ROUNDS {
                let (note, value) = (side.note(&words, round)?, u64::from(round) * 2);
                let (wait, signal) = ((turn, value), (turn, value + 1));
                side.submit(round % 3 == 0, Some(wait), Some(note), Some(signal), vk::Fence::null())?;
            }
            tell()?;
            let last = u64::from(ROUNDS) * 2 + 1;
            expect("the partner's wait", side.reach(&[turn], &[last], false, PATIENCE), vk::Result::SUCCESS)?;
        }
        Scene::Fences => {
            let (fence, ready) = (side.fence(true, false)?, side.imported(Some(0), next()?)?);
            side.import_fence(fence, next()?, false)?;
            expect("before", side.await_fence(fence, MOMENT), vk::Result::TIMEOUT)?;
            tell()?;
            expect("after", side.await_fence(fence, PATIENCE), vk::Result::SUCCESS)?;
            hear()?;
            side.gpu.device.reset_fences(&[fence]).map_err(text("vkResetFences"))?;
            tell()?;
            hear()?;
            side.submit(false, Some((ready, 2)), None, None, fence)?;
            tell()?;
        }
        Scene::Killed | Scene::Hanging => {
            let (never, done) = (side.imported(Some(0), next()?)?, side.imported(Some(0), next()?)?);
            let fence = side.fence(false, false)?;
            side.import_fence(fence, next()?, false)?;
            side.submit(false, None, None, Some((done, 1)), vk::Fence::null())?;
            if scene == Scene::Killed {
                side.submit(true, Some((never, 1)), None, Some((done, 2)), fence)?;
            } else {
                let device = &side.gpu.device;
                let event =
                    device.create_event(&vk::EventCreateInfo::default(), None).map_err(text("an event"))?;
                let (host, all) = (vk::PipelineStageFlags::HOST, vk::PipelineStageFlags::ALL_COMMANDS);
                let hang =
                    side.commands(|cb| device.cmd_wait_events(cb, &[event], host, all, &[], &[], &[]))?;
                side.submit(true, None, Some(hang), Some((done, 2)), fence)?;
            }
            tell()?;
            // Until the end.
            let _ = hear();
        }
        Scene::Temporary | Scene::Refused | Scene::Many | Scene::Sparse => {
            return Err("a scene without a partner".into());
        }
    }
    side.gpu.device.device_wait_idle().map_err(text("vkDeviceWaitIdle"))
}

unsafe fn ping_pong(side: &Side) -> Outcome {
    let (a, b, words) = (side.semaphore(None, true)?, side.semaphore(None, true)?, side.words(None)?);
    let given = [side.export(a)?, side.export(b)?, side.export_words(&words)?];
    let mut partner = Partner::start("ping-pong", &given)?;
    for round in 1..=ROUNDS {
        // A wait follows the submission of its signal, as binary semaphores want it.
        let wait = (round > 1).then_some((b, 0));
        side.submit(round % 2 == 0, wait, Some(side.say(&words, round)?), Some((a, 0)), vk::Fence::null())?;
        partner.tell()?;
        partner.hear()?;
    }
    side.pass(b, false)?;
    words.check()?;
    partner.finish()
}

unsafe fn timeline(side: &Side) -> Outcome {
    let (turn, words) = (side.semaphore(Some(0), true)?, side.words(None)?);
    let mut partner = Partner::start("timeline", &[side.export(turn)?, side.export_words(&words)?])?;
    let fence = side.fence(false, false)?;
    for round in 1..=ROUNDS {
        let (say, value) = (side.say(&words, round)?, u64::from(round) * 2);
        let last = if round == ROUNDS { fence } else { vk::Fence::null() };
        side.submit(round % 2 == 0, Some((turn, value - 1)), Some(say), Some((turn, value)), last)?;
    }
    partner.hear()?;
    let (device, own) = (&side.gpu.device, side.semaphore(Some(0), false)?);
    expect("too early", side.reach(&[turn], &[1], false, MOMENT), vk::Result::TIMEOUT)?;
    expect("too early", side.reach(&[own, turn], &[1, 1], true, MOMENT), vk::Result::TIMEOUT)?;
    expect("too early", side.await_fence(fence, 0), vk::Result::TIMEOUT)?;
    let value = device.get_semaphore_counter_value(turn).map_err(text("the value"))?;
    check(value == 0, || format!("{value} before the start"))?;
    let start = vk::SemaphoreSignalInfo::default().semaphore(turn).value(1);
    device.signal_semaphore(&start).map_err(text("vkSignalSemaphore"))?;
    let last = u64::from(ROUNDS) * 2 + 1;
    expect("any", side.reach(&[own, turn], &[1, last], true, PATIENCE), vk::Result::SUCCESS)?;
    expect("all", side.reach(&[turn, own], &[last, 0], false, PATIENCE), vk::Result::SUCCESS)?;
    expect("the fence", side.await_fence(fence, PATIENCE), vk::Result::SUCCESS)?;
    let value = device.get_semaphore_counter_value(turn).map_err(text("the value"))?;
    check(value == last, || format!("{value} at the end"))?;
    words.check()?;
    partner.finish()
}

unsafe fn temporary(side: &Side) -> Outcome {
    let exported = side.semaphore(None, true)?;
    for second in [false, true] {
        // Over a payload of its own, and over a permanent one.
        for own in [side.semaphore(None, false)?, side.semaphore(None, true)?] {
            for _ in 0..3 {
                side.raise(own, second)?;
                side.pass(own, second)?;
                side.import(own, side.export(exported)?, true)?;
                side.raise(exported, second)?;
                side.pass(own, second)?;
            }
            // The wait took the signal: both can be signalled again, and are of two payloads.
            side.raise(own, second)?;
            side.raise(exported, second)?;
            side.pass(exported, second)?;
            side.pass(own, second)?;
            // One batch that waits for the one and signals the other.
            side.import(own, side.export(exported)?, true)?;
            side.raise(exported, second)?;
            side.submit(second, Some((own, 0)), None, Some((own, 0)), vk::Fence::null())?;
            side.pass(own, second)?;
            side.gpu.device.destroy_semaphore(own, None);
        }
    }
    let (fence, other) = (side.fence(false, false)?, side.fence(true, true)?);
    let status = |fence| side.gpu.device.get_fence_status(fence).map_err(text("vkGetFenceStatus"));
    side.import_fence(fence, side.export_fence(other)?, true)?;
    check(status(fence)?, || "the imported fence is not signalled".into())?;
    side.gpu.device.reset_fences(&[fence]).map_err(text("vkResetFences"))?;
    check(!status(fence)? && status(other)?, || "a reset is not of the payload before".into())?;
    side.submit(false, None, None, None, fence)?;
    expect("the own fence", side.await_fence(fence, PATIENCE), vk::Result::SUCCESS)?;
    side.gpu.device.reset_fences(&[other]).map_err(text("vkResetFences"))?;
    check(status(fence)? && !status(other)?, || "the fences are not two".into())
}

unsafe fn fences(side: &Side) -> Outcome {
    let (fence, ready) = (side.fence(false, true)?, side.semaphore(Some(0), true)?);
    let status = || side.gpu.device.get_fence_status(fence).map_err(text("vkGetFenceStatus"));
    side.submit(false, Some((ready, 1)), None, None, fence)?;
    let mut partner = Partner::start("fences", &[side.export(ready)?, side.export_fence(fence)?])?;
    partner.hear()?;
    check(!status()?, || "signalled too early".into())?;
    let signal = |value| {
        let info = vk::SemaphoreSignalInfo::default().semaphore(ready).value(value);
        side.gpu.device.signal_semaphore(&info).map_err(text("vkSignalSemaphore"))
    };
    signal(1)?;
    expect("the fence", side.await_fence(fence, PATIENCE), vk::Result::SUCCESS)?;
    partner.tell()?;
    partner.hear()?;
    check(!status()?, || "the partner's reset is not seen".into())?;
    let own = side.fence(false, false)?;
    partner.tell()?;
    partner.hear()?;
    let both = [own, fence];
    let wait = |all, timeout| {
        side.gpu.device.wait_for_fences(&both, all, timeout).err().unwrap_or(vk::Result::SUCCESS)
    };
    expect("any, too early", wait(false, MOMENT), vk::Result::TIMEOUT)?;
    signal(2)?;
    expect("any", wait(false, PATIENCE), vk::Result::SUCCESS)?;
    expect("all", wait(true, MOMENT), vk::Result::TIMEOUT)?;
    // A submission of nothing signals it at once.
    side.gpu.device.reset_fences(&[fence]).map_err(text("vkResetFences"))?;
    side.gpu.device.queue_submit(side.gpu.queue, &[], fence).map_err(text("vkQueueSubmit"))?;
    side.gpu.device.queue_submit(side.gpu.queue, &[], own).map_err(text("vkQueueSubmit"))?;
    expect("all", wait(true, PATIENCE), vk::Result::SUCCESS)?;
    partner.finish()
}

unsafe fn killed(side: &Side, scene: &str) -> Outcome {
    let (never, done) = (side.semaphore(Some(0), true)?, side.semaphore(Some(0), true)?);
    let fence = side.fence(false, true)?;
    let given = [side.export(never)?, side.export(done)?, side.export_fence(fence)?];
    let mut partner = Partner::start(scene, &given)?;
    let own = side.fence(false, false)?;
    side.submit(false, Some((done, 2)), None, None, own)?;
    partner.hear()?;
    expect("what ran", side.reach(&[done], &[1], false, PATIENCE), vk::Result::SUCCESS)?;
    expect("what waits", side.reach(&[done], &[2], false, MOMENT), vk::Result::TIMEOUT)?;
    partner.kill()?;
    // What it had submitted is over, one way or the other.
    expect("the semaphore", side.reach(&[done], &[2], false, PATIENCE), vk::Result::SUCCESS)?;
    expect("the fence", side.await_fence(fence, PATIENCE), vk::Result::SUCCESS)?;
    expect("the queue", side.await_fence(own, PATIENCE), vk::Result::SUCCESS)?;
    // What nobody will signal is waited for as long as the program wants, and its end is not held up by it.
    side.gpu.device.reset_fences(&[own]).map_err(text("vkResetFences"))?;
    side.submit(true, Some((never, 1)), None, None, own)?;
    expect("never", side.reach(&[never], &[1], false, MOMENT), vk::Result::TIMEOUT)?;
    expect("never", side.await_fence(own, MOMENT), vk::Result::TIMEOUT)
}

unsafe fn refused(side: &Side) -> Outcome {
    let instance = &side.gpu.instance;
    let all = [SemaphoreTypes::OPAQUE_FD, SemaphoreTypes::SYNC_FD, SemaphoreTypes::OPAQUE_WIN32];
    for (offered, types) in all.into_iter().enumerate().map(|(i, types)| (i == 0, types)) {
        for kind in [vk::SemaphoreType::BINARY, vk::SemaphoreType::TIMELINE] {
            let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(kind);
            let info =
                vk::PhysicalDeviceExternalSemaphoreInfo::default().handle_type(types).push_next(&mut kind);
            let mut found = vk::ExternalSemaphoreProperties::default();
            instance.get_physical_device_external_semaphore_properties(side.gpu.physical, &info, &mut found);
            let features = found.external_semaphore_features.as_raw();
            check((features == 0b11) == offered && (features == 0) != offered, || {
                format!("{types:?}: {found:?}")
            })?;
            let named = (found.export_from_imported_handle_types, found.compatible_handle_types);
            let expected = if offered { types } else { SemaphoreTypes::empty() };
            check(named == (expected, expected), || format!("{types:?}: {found:?}"))?;
        }
    }
    for (types, offered) in [(FenceTypes::OPAQUE_FD, true), (FenceTypes::SYNC_FD, false)] {
        let info = vk::PhysicalDeviceExternalFenceInfo::default().handle_type(types);
        let mut found = vk::ExternalFenceProperties::default();
        instance.get_physical_device_external_fence_properties(side.gpu.physical, &info, &mut found);
        let expected =
            if offered { (0b11, types, types) } else { (0, FenceTypes::empty(), FenceTypes::empty()) };
        let named = (found.export_from_imported_handle_types, found.compatible_handle_types);
        let found = (found.external_fence_features.as_raw(), named.0, named.1);
        check(found == expected, || format!("{types:?}: {found:?}"))?;
    }
    // Descriptors of something else stay the program's.
    let (binary, timeline) = (side.semaphore(None, true)?, side.semaphore(Some(0), true)?);
    let fence = side.fence(false, true)?;
    let file = || std::fs::File::open("/dev/null").map_err(|error| error.to_string());
    let (into_binary, into_timeline) = (side.semaphore(None, false)?, side.semaphore(Some(0), false)?);
    let invalid = vk::Result::ERROR_INVALID_EXTERNAL_HANDLE;
    for (into, fd) in [
        (into_binary, file()?.into()),
        (into_binary, side.export(timeline)?),
        (into_binary, side.export_fence(fence)?),
        (into_timeline, side.export(binary)?),
    ] {
        let fd: OwnedFd = fd;
        let mut info = vk::ImportSemaphoreFdInfoKHR::default()
            .semaphore(into)
            .handle_type(SemaphoreTypes::OPAQUE_FD)
            .fd(fd.as_raw_fd());
        for types in [SemaphoreTypes::OPAQUE_FD, SemaphoreTypes::SYNC_FD] {
            info.handle_type = types;
            let result = side.semaphores.import_semaphore_fd(&info).err();
            expect("an import", result.unwrap_or(vk::Result::SUCCESS), invalid)?;
        }
        check(is_open(fd.as_raw_fd()), || "a descriptor was closed that was not taken".into())?;
    }
    for fd in [file()?.into(), side.export(binary)?] {
        let fd: OwnedFd = fd;
        let into = side.fence(false, false)?;
        let info = vk::ImportFenceFdInfoKHR::default()
            .fence(into)
            .handle_type(FenceTypes::OPAQUE_FD)
            .fd(fd.as_raw_fd());
        let result = side.fences.import_fence_fd(&info).err().unwrap_or(vk::Result::SUCCESS);
        expect("an import", result, invalid)?;
        check(is_open(fd.as_raw_fd()), || "a descriptor was closed that was not taken".into())?;
    }
    let info = vk::SemaphoreGetFdInfoKHR::default().semaphore(binary).handle_type(SemaphoreTypes::SYNC_FD);
    let result = side.semaphores.get_semaphore_fd(&info).err().unwrap_or(vk::Result::SUCCESS);
    expect("an export", result, vk::Result::ERROR_TOO_MANY_OBJECTS)?;
    let info = vk::FenceGetFdInfoKHR::default().fence(fence).handle_type(FenceTypes::SYNC_FD);
    let result = side.fences.get_fence_fd(&info).err().unwrap_or(vk::Result::SUCCESS);
    expect("an export", result, vk::Result::ERROR_TOO_MANY_OBJECTS)?;
    side.gpu.work(1).map_err(text("the work afterwards"))
}

unsafe fn sparse(side: &Side) -> Outcome {
    let families = side.gpu.instance.get_physical_device_queue_family_properties(side.gpu.physical);
    let flags =
        families.get(side.gpu.family as usize).map_or(vk::QueueFlags::empty(), |family| family.queue_flags);
    check(flags.contains(vk::QueueFlags::SPARSE_BINDING), || {
        format!("a queue with {flags:?} binds nothing")
    })?;
    let (binary, timeline) = (side.semaphore(None, true)?, side.semaphore(Some(0), true)?);
    let other = side.imported(Some(0), side.export(timeline)?)?;
    let fence = side.fence(false, true)?;
    // Between submissions, which order it.
    for _ in 0..3 {
        side.bind_nothing(None, Some((binary, 0)), vk::Fence::null())?;
        side.pass(binary, true)?;
        side.raise(binary, false)?;
        side.bind_nothing(Some((binary, 0)), None, fence)?;
        expect("the fence", side.await_fence(fence, PATIENCE), vk::Result::SUCCESS)?;
        side.gpu.device.reset_fences(&[fence]).map_err(text("vkResetFences"))?;
    }
    // Before the host signals.
    side.bind_nothing(Some((timeline, 1)), Some((other, 2)), fence)?;
    side.submit(true, Some((timeline, 2)), None, Some((timeline, 3)), vk::Fence::null())?;
    expect("too early", side.reach(&[timeline], &[1], false, MOMENT), vk::Result::TIMEOUT)?;
    expect("too early", side.await_fence(fence, 0), vk::Result::TIMEOUT)?;
    let start = vk::SemaphoreSignalInfo::default().semaphore(other).value(1);
    side.gpu.device.signal_semaphore(&start).map_err(text("vkSignalSemaphore"))?;
    expect("the end", side.reach(&[other], &[3], false, PATIENCE), vk::Result::SUCCESS)?;
    expect("the fence", side.await_fence(fence, PATIENCE), vk::Result::SUCCESS)?;
    side.gpu.device.device_wait_idle().map_err(text("vkDeviceWaitIdle"))
}

unsafe fn many(side: &Side) -> Outcome {
    let device = &side.gpu.device;
    let open = || vw_conformance::procfs::descriptors(std::process::id());
    let maps = || std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    let before = (open(), maps());
    for round in 0..200 {
        let (exported, imported) = (side.semaphore(None, true)?, side.semaphore(None, false)?);
        side.import(imported, side.export(exported)?, round % 2 == 0)?;
        side.raise(exported, false)?;
        side.pass(imported, true)?;
        let (fence, other) = (side.fence(false, true)?, side.fence(false, false)?);
        side.import_fence(other, side.export_fence(fence)?, round % 2 == 0)?;
        side.submit(true, None, None, None, fence)?;
        expect("the fence", side.await_fence(other, PATIENCE), vk::Result::SUCCESS)?;
        device.device_wait_idle().map_err(text("vkDeviceWaitIdle"))?;
        for semaphore in [exported, imported] {
            device.destroy_semaphore(semaphore, None);
        }
        for fence in [fence, other] {
            device.destroy_fence(fence, None);
        }
    }
    let after = (open(), maps());
    check(after.0 == before.0 && after.1 <= before.1 + 8, || {
        format!("descriptors and mappings: {before:?} before, {after:?} after")
    })
}
