//! What is known of requirements without a call, and what is asked ahead.

use std::ptr::null;
use std::sync::Arc;
use std::thread;

use vw_transport::{ANSWERS, Connection, Consumer};
use vw_wire_protocol::record::{Header, op};

use super::*;
use crate::device::Device;
use crate::image::{vkCreateImage, vkGetImageMemoryRequirements, vkGetImageMemoryRequirements2};
use crate::test_host;

#[test]
fn rule_when_sizes_are_padded_to_granules_alone_is_found() {
    let trials = |f: fn(u64) -> (u64, u64, u32)| {
        TRIALS.map(|asked| {
            let (size, alignment, memory_type_bits) = f(asked);
            (asked, vk::MemoryRequirements { size, alignment, memory_type_bits })
        })
    };
    let rule = Rule::shown_by(&trials(|size| (size.next_multiple_of(64), 64, 3)));
    assert_eq!(rule, Rule::RoundedUp { granule: 64, alignment: 64, types: 3 });
    let found = rule.requirements(65).map(|found| (found.size, found.alignment, found.memory_type_bits));
    assert_eq!(found, Some((128, 64, 3)));
    assert!(rule.requirements(u64::MAX).is_none());
    let exact = Rule::shown_by(&trials(|size| (size, 64, 1)));
    assert_eq!(exact.requirements(77).map(|found| found.size), Some(77));
    for irregular in [
        |size: u64| (size.next_multiple_of(64) + 64, 64, 3),
        |size: u64| (size.next_multiple_of(if size > 1 << 20 { 65536 } else { 64 }), 64, 3),
        |size: u64| (size.next_multiple_of(64), 64, if size > 4096 { 1 } else { 3 }),
        |size: u64| (size.next_multiple_of(48), 64, 3),
        |size: u64| (size.next_multiple_of(64), if size > 4096 { 256 } else { 64 }, 3),
    ] {
        assert_eq!(Rule::shown_by(&trials(irregular)), Rule::None);
    }
    assert_eq!(Rule::shown_by(&[]), Rule::None);
}

/// A guest's session with a device, whose host the test plays.
struct World {
    session: Arc<Session>,
    device: Box<Device>,
    host: Consumer,
    /// The guest's peer is alive as long as it is.
    _connection: Connection,
}

impl World {
    fn new() -> Self {
        let (session, connection, host) = test_host::session(0);
        let device = Box::new(Device::without_queues(&session));
        Self { session, device, host, _connection: connection }
    }

    fn device(&self) -> *mut c_void {
        std::ptr::from_ref(&*self.device).cast_mut().cast()
    }

    fn create(&self, width: u32, flags: vk::ImageCreateFlags) -> u64 {
        let info =
            vk::ImageCreateInfo::default().flags(flags).extent(vk::Extent3D { width, height: 1, depth: 1 });
        let mut image = 0;
        // SAFETY: valid arguments.
        assert_eq!(unsafe { vkCreateImage(self.device(), &raw const info, null(), &raw mut image) }, 0);
        image
    }

    /// Numbers of the questions that have come since, with the images that they are about.
    fn questions(&mut self) -> Vec<[u64; 2]> {
        self.session.flush();
        let mut found = Vec::new();
        while let Some(record) = self.host.next().unwrap() {
            if Header::from_word(record.word).opcode == op::TELL_REQUIREMENTS {
                assert_eq!(record.len, 16);
                // SAFETY: two words, until the record is released.
                found.push(unsafe { record.payload.cast::<[u64; 2]>().read() });
            }
        }
        self.host.release();
        found
    }

    fn answer(&self, number: u64, words: [u64; 3]) {
        self.host.region().control().push_answer(number, words);
    }

    fn requirements(&self, image: u64) -> [u64; 3] {
        let mut out = vk::MemoryRequirements::default();
        // SAFETY: valid arguments.
        unsafe { vkGetImageMemoryRequirements(self.device(), image, (&raw mut out).cast()) };
        [out.size, out.alignment, out.memory_type_bits.into()]
    }
}

#[test]
fn image_when_unlike_others_is_asked_about_with_its_creation() {
    let mut world = World::new();
    let plain = vk::ImageCreateFlags::empty();
    let first = world.create(7, plain);
    assert_eq!(world.questions(), [[1, first]]);
    world.answer(1, [4096, 64, 5 | PREFERS_DEDICATED]);
    assert_eq!(world.requirements(first), [4096, 64, 5]);

    let mut dedicated = vk::MemoryDedicatedRequirements::default();
    let mut out = vk::MemoryRequirements2::default().push_next(&mut dedicated);
    let ask = vk::ImageMemoryRequirementsInfo2::default().image(vk::Handle::from_raw(first));
    // SAFETY: valid arguments.
    unsafe {
        let out = (&raw mut out).cast();
        vkGetImageMemoryRequirements2(world.device(), (&raw const ask).cast(), out);
    }
    assert_eq!(out.memory_requirements.size, 4096);
    assert_eq!((dedicated.prefers_dedicated_allocation, dedicated.requires_dedicated_allocation), (1, 0));

    let second = world.create(7, plain);
    assert_eq!(world.questions(), [[2, second]], "it may not come again");
    let third = world.create(7, plain);
    assert_eq!(world.questions(), [[0; 2]; 0], "what came twice is remembered when it is asked for");
    assert!(matches!(world.session.objects.resources.images().get(third), Some(Kind::Any(_))));
    world.create(9, vk::ImageCreateFlags::DISJOINT);
    assert_eq!(world.questions(), [[0; 2]; 0], "its planes have requirements of their own");
}

#[test]
fn answer_when_it_has_not_come_is_waited_for_and_when_it_is_gone_is_none() {
    let mut world = World::new();
    let images: Vec<_> =
        (0..=ANSWERS as u32).map(|i| world.create(i + 1, vk::ImageCreateFlags::empty())).collect();
    let questions = world.questions();
    assert_eq!(questions.len(), ANSWERS + 1);
    let region = Arc::clone(world.host.region());
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(std::time::Duration::from_millis(20));
            questions.iter().for_each(|[number, _]| region.control().push_answer(*number, [*number, 1, 1]));
        });
        assert_eq!(world.requirements(images[ANSWERS]), [ANSWERS as u64 + 1, 1, 1]);
    });
    assert_eq!(world.session.await_answer(1), None);
    assert_eq!(world.session.await_answer(2), Some([2, 1, 1]));
    world.answer(ANSWERS as u64 + 2, [0; 3]);
    assert!(told([0; 3]).is_none(), "the host says that it is to be called");
}

#[test]
fn place_when_more_is_asked_for_is_none() {
    let mut dedicated = vk::MemoryDedicatedRequirements::default();
    let mut other = vk::MemoryDedicatedRequirements::default();
    let mut plain = vk::MemoryRequirements2::default();
    let memory = vk::MemoryRequirements { size: 3, alignment: 1, memory_type_bits: 1 };
    // SAFETY: valid chains.
    unsafe {
        assert!(Place::of(&raw mut plain).is_some_and(|place| place.dedicated.is_null()));
        plain.p_next = (&raw mut dedicated).cast();
        let place = Place::of(&raw mut plain).unwrap();
        assert!(place.write(Found { memory, dedicated: None }).is_none());
        assert!(place.write(Found { memory, dedicated: Some((false, true)) }).is_some());
        assert_eq!((plain.memory_requirements.size, dedicated.requires_dedicated_allocation), (3, 1));
        let mut longer =
            vk::MemoryDedicatedRequirements { p_next: (&raw mut other).cast(), ..Default::default() };
        plain.p_next = (&raw mut longer).cast();
        assert!(Place::of(&raw mut plain).is_none());
    }
}
