//! Jobs with a driver whose compiler takes as long as the test wants.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use vw_transport::{Limits, Region};
use vw_wire_protocol::codec::{Reader, Resolve, Writer, decode_request, encode_request};
use vw_wire_protocol::generated::commands;

use super::*;
use crate::session::resolve::Resolver;
use crate::session::stats::Stats;
use crate::window::Window;

const CACHE: HandleType = HandleType::PipelineCache;

/// What the driver is to do with a cache of this handle is known by the handle.
const FAILS: u64 = 1;
const AT_ONCE: u64 = 2;
/// Handles from here on are gates: compiled when the gate is opened.
const GATES: u64 = 100;

static OPEN: Mutex<Option<HashSet<u64>>> = Mutex::new(None);
static OPENED: Condvar = Condvar::new();
static DESTROYED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn open(gate: u64) {
    OPEN.lock().unwrap().get_or_insert_default().insert(gate);
    OPENED.notify_all();
}

/// A handle that no other test has.
fn gate() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(GATES);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

unsafe extern "system" fn compile(
    _: u64,
    cache: u64,
    count: u32,
    _: *const vk::ComputePipelineCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    pipelines: *mut u64,
) -> vk::Result {
    if cache == FAILS {
        return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    }
    if cache >= GATES {
        let open = OPEN.lock().unwrap();
        let closed = |open: &mut Option<HashSet<u64>>| !open.get_or_insert_default().contains(&cache);
        drop(OPENED.wait_while(open, closed).unwrap());
        assert!(!DESTROYED.lock().unwrap().contains(&cache), "the cache is in use");
    }
    for i in 0..count as usize {
        // SAFETY: the request has room for as many handles.
        unsafe { pipelines.add(i).write(cache * 1000 + i as u64) };
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy(_: u64, object: u64, _: *const vk::AllocationCallbacks<'_>) {
    DESTROYED.lock().unwrap().push(object);
}

fn pfn(f: *const ()) -> Pfn {
    // SAFETY: called with the arguments of the command that it stands for.
    unsafe { std::mem::transmute::<*const (), Pfn>(f) }
}

fn is_destroyed(object: u64) -> bool {
    DESTROYED.lock().unwrap().contains(&object)
}

struct Driver {
    tables: Tables,
    compiling: Compiling,
    shared: Arc<Shared>,
}

impl Driver {
    /// With device 1 and caches whose id is their handle.
    fn new(caches: &[u64]) -> Self {
        let mut tables = Tables::new(Arc::new(Stats::default()));
        let objects = caches.iter().map(|cache| (CACHE, *cache)).chain([(HandleType::Device, 1)]);
        for (ty, id) in objects {
            tables.reserve(ty, id).unwrap();
            tables.commit(ty, id, Object { raw: id, device: 1, ..Object::default() });
        }
        let region = Arc::new(Region::create(&Limits::default()).unwrap().0);
        let window = Arc::new(Window::new(Arc::clone(&region), false));
        // SAFETY: no function of this device is called.
        let device = unsafe { ash::Device::load_with(|_| std::ptr::null(), vk::Device::null()) };
        Self { tables, compiling: Compiling::default(), shared: Shared::new(device, region, window) }
    }

    fn create(&mut self, cache: u64, ids: &[u64]) {
        let command = &commands::VK_CREATE_COMPUTE_PIPELINES;
        let device = [0_u64, 1];
        let stage = vk::PipelineShaderStageCreateInfo::default().name(c"main");
        let infos = vec![vk::ComputePipelineCreateInfo::default().stage(stage); ids.len()];
        let count = ids.len() as u64;
        let args = [device.as_ptr() as u64, cache, count, infos.as_ptr() as u64, 0, ids.as_ptr() as u64];
        let mut bytes = Vec::new();
        let mut writer = Writer::growing(&mut bytes, 1 << 20);
        // SAFETY: valid arguments of the command.
        unsafe { encode_request(command, &args, &mut writer) };
        writer.finish().unwrap();
        let (mut arena, mut touched) = (Arena::default(), Vec::new());
        let mut resolver = Resolver::listing(&mut self.tables, &mut self.compiling, &mut touched);
        // SAFETY: a command of the tables; the request lives no longer than the arena, which goes along.
        let request = unsafe {
            let request = decode_request(command, &mut Reader::new(&bytes), &arena, &mut resolver).unwrap();
            std::mem::transmute::<Request<'_>, Request<'static>>(request)
        };
        for id in ids {
            self.tables.reserve(HandleType::Pipeline, *id).unwrap();
        }
        let entry = Entry::Native(pfn(compile as *const ()));
        // SAFETY: decoded above; the entry is of the command's type.
        let creation = unsafe {
            Creation::new(command, entry, request, (&mut arena, 1 << 20), (1, Arc::clone(&self.shared)))
        };
        self.compiling.begin(&mut self.tables, creation, &touched);
    }

    /// What a record that names this pipeline finds.
    fn resolve(&mut self, id: u64) -> Result<u64, vw_wire_protocol::codec::HandleError> {
        Resolver::new(&mut self.tables, &mut self.compiling).resolve(HandleType::Pipeline, id)
    }

    fn destroy_cache(&mut self, cache: u64) {
        self.tables.remove(CACHE, cache).unwrap();
        let command = &commands::VK_DESTROY_PIPELINE_CACHE;
        self.compiling.destroy_after(command, pfn(destroy as *const ()), (1, 1), cache);
    }
}

#[test]
fn pipeline_when_named_is_waited_for_and_no_other_is() {
    let (slow, never) = (gate(), gate());
    let mut driver = Driver::new(&[AT_ONCE, slow, never]);
    driver.create(slow, &[1, 2]);
    assert!(driver.tables.object(HandleType::Pipeline, 1).is_none());
    assert!(driver.tables.is_reserved(HandleType::Pipeline, 2));
    driver.create(AT_ONCE, &[3]);
    assert_eq!(driver.resolve(3), Ok(2000), "done by who waits, if the one worker is busy");
    open(slow);
    assert_eq!((driver.resolve(2), driver.resolve(1)), (Ok(slow * 1000 + 1), Ok(slow * 1000)));
    assert!(driver.resolve(4).is_err());
    driver.create(never, &[5]);
    driver.create(never, &[6]);
    open(never);
    driver.compiling.drop_device(&mut driver.tables, 1);
    assert!(driver.compiling.jobs.is_empty() && driver.compiling.bytes == 0);
    assert!(!driver.tables.is_reserved(HandleType::Pipeline, 6));
}

#[test]
fn pipeline_when_its_compiler_fails_is_poisoned() {
    let mut driver = Driver::new(&[FAILS]);
    driver.create(FAILS, &[1]);
    driver.create(FAILS, &[2, 3]);
    for id in 1..=3 {
        assert_eq!(driver.resolve(id), Err(vw_wire_protocol::codec::HandleError::Poisoned));
    }
}

#[test]
fn object_when_a_job_reads_it_is_destroyed_behind_the_job() {
    let (one, other) = (gate(), gate());
    let mut driver = Driver::new(&[one, other]);
    driver.create(one, &[1]);
    driver.create(other, &[2]);
    assert!(driver.compiling.is_used(CACHE, one) && !driver.compiling.is_used(CACHE, AT_ONCE));
    driver.destroy_cache(one);
    driver.destroy_cache(other);
    open(other);
    open(one);
    driver.resolve(1).unwrap();
    // Whichever was compiled first, both were there; and the last job takes both along.
    driver.resolve(2).unwrap();
    assert!(is_destroyed(one) && is_destroyed(other));
    assert!(driver.compiling.graves.is_empty());
}

#[test]
fn jobs_when_there_are_thousands_are_few_at_a_time() {
    let mut driver = Driver::new(&[AT_ONCE]);
    for id in 1..5_000 {
        driver.create(AT_ONCE, &[id]);
        assert!(driver.compiling.jobs.len() <= MOST_JOBS && driver.compiling.bytes <= MOST_BYTES);
    }
    driver.compiling.settle_users(&mut driver.tables, &[(CACHE, AT_ONCE)]);
    assert_eq!(driver.tables.count(HandleType::Pipeline), 4_999);
    assert!(driver.compiling.jobs.is_empty() && driver.compiling.bytes == 0);
}

#[test]
fn jobs_when_the_session_ends_are_dropped_and_what_waits_for_them_is_destroyed() {
    let slow = gate();
    let mut driver = Driver::new(&[slow]);
    for id in 1..=40 {
        driver.create(slow, &[id]);
    }
    driver.destroy_cache(slow);
    open(slow);
    driver.compiling.drop_device(&mut driver.tables, 1);
    assert!(is_destroyed(slow));
    driver.compiling.stop();
    assert_eq!(driver.compiling.jobs.len(), 0);
}
