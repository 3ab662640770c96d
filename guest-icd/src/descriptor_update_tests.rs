//! Descriptor updates as the host sees them: together, in order, and before what follows them.

use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle as _;
use vw_transport::{Connection, Consumer};
use vw_wire_protocol::descriptor_update::{Copy, Header as Write};
use vw_wire_protocol::generated::commands::opcodes;
use vw_wire_protocol::record::{Header, op};

use crate::descriptor_update::vkUpdateDescriptorSets;
use crate::dispatch::Head;
use crate::session::Session;
use crate::test_host;

const DEVICE: u64 = 5;
const UNIFORM: vk::DescriptorType = vk::DescriptorType::UNIFORM_BUFFER;

struct World {
    session: Arc<Session>,
    device: Head,
    _host: Connection,
    consumer: Consumer,
}

impl World {
    fn new() -> Self {
        let (session, host, consumer) = test_host::session(0);
        let device = Head::new(DEVICE, Arc::clone(&session));
        Self { session, device, _host: host, consumer }
    }

    fn update(&self, writes: &[vk::WriteDescriptorSet<'_>]) {
        self.copy(writes, &[]);
    }

    fn copy(&self, writes: &[vk::WriteDescriptorSet<'_>], copies: &[vk::CopyDescriptorSet<'_>]) {
        let device = (&raw const self.device).cast_mut().cast::<c_void>();
        let (written, copied) = (writes.len() as u32, copies.len() as u32);
        // SAFETY: a live device's head, and writes that point to arrays.
        unsafe { vkUpdateDescriptorSets(device, written, writes.as_ptr(), copied, copies.as_ptr()) };
    }

    /// Opcode and words of each record that is there.
    fn records(&mut self) -> Vec<(u16, Vec<u64>)> {
        self.session.flush();
        let mut records = Vec::new();
        while let Some(record) = self.consumer.next().unwrap() {
            // SAFETY: the payload lies in the ring until it is released, aligned.
            let words = unsafe { std::slice::from_raw_parts(record.payload.as_ptr().cast(), record.len / 8) };
            records.push((Header::from_word(record.word).opcode, words.to_vec()));
        }
        self.consumer.release();
        records
    }
}

fn buffers(count: u64) -> Vec<vk::DescriptorBufferInfo> {
    let info = |i| vk::DescriptorBufferInfo { buffer: vk::Buffer::from_raw(i + 1), offset: i, range: 16 };
    (0..count).map(info).collect()
}

fn write(set: u64, buffers: &[vk::DescriptorBufferInfo]) -> vk::WriteDescriptorSet<'_> {
    vk::WriteDescriptorSet::default()
        .dst_set(vk::DescriptorSet::from_raw(set))
        .dst_binding(3)
        .dst_array_element(4)
        .descriptor_type(UNIFORM)
        .buffer_info(buffers)
}

#[test]
fn updates_when_another_record_follows_are_one_record_before_it() {
    let mut world = World::new();
    let two = buffers(2);
    world.update(&[write(7, &two[..1]), write(8, &two)]);
    let images = [vk::DescriptorImageInfo {
        sampler: vk::Sampler::from_raw(11),
        image_view: vk::ImageView::from_raw(12),
        image_layout: vk::ImageLayout::GENERAL,
    }];
    let image = vk::WriteDescriptorSet::default()
        .dst_set(vk::DescriptorSet::from_raw(9))
        .descriptor_type(vk::DescriptorType::STORAGE_IMAGE)
        .image_info(&images);
    world.update(&[image]);
    world.session.send(99, &|w| w.put_u64(1)).unwrap();
    let head = |set, count| Write { set, binding: 3, element: 4, count, ty: UNIFORM.as_raw() as u32 };
    let storage = vk::DescriptorType::STORAGE_IMAGE.as_raw() as u32;
    let expected = [
        &[DEVICE][..],
        &head(7, 1).to_words(),
        &[1, 0, 16],
        &head(8, 2).to_words(),
        &[1, 0, 16, 2, 1, 16],
        &Write { set: 9, binding: 0, element: 0, count: 1, ty: storage }.to_words(),
        &[11, 12, 1],
    ];
    assert_eq!(world.records(), [(op::UPDATE_DESCRIPTOR_SETS, expected.concat()), (99, vec![1])]);
}

#[test]
fn updates_when_they_are_many_are_several_records_in_order() {
    let mut world = World::new();
    let one = buffers(1);
    (0..1000).for_each(|set| world.update(&[write(set + 1, &one)]));
    let records = world.records();
    assert!(records.len() > 2, "{}", records.len());
    let sets = records.iter().flat_map(|(opcode, words)| {
        assert_eq!((*opcode, words[0]), (op::UPDATE_DESCRIPTOR_SETS, DEVICE));
        words[1..].chunks(6).map(|write| write[0])
    });
    assert!(sets.eq(1..=1000));
}

#[test]
fn update_when_it_is_large_or_has_a_chain_goes_by_itself_behind_those_before() {
    let mut world = World::new();
    let (one, many) = (buffers(1), buffers(1000));
    world.update(&[write(1, &one)]);
    world.update(&[write(2, &one), write(3, &many)]);
    let mut inline = vk::WriteDescriptorSetInlineUniformBlock::default().data(&[1, 2, 3, 4]);
    let block = vk::WriteDescriptorSet {
        descriptor_type: vk::DescriptorType::INLINE_UNIFORM_BLOCK,
        descriptor_count: 4,
        ..write(4, &one).push_next(&mut inline)
    };
    world.update(&[block]);
    world.update(&[write(5, &one)]);
    let opcodes: Vec<u16> = world.records().into_iter().map(|(opcode, _)| opcode).collect();
    let (gathered, single) = (op::UPDATE_DESCRIPTOR_SETS, opcodes::VK_UPDATE_DESCRIPTOR_SETS);
    assert_eq!(opcodes, [gathered, single, single, gathered]);
}

#[test]
fn update_when_it_writes_over_the_one_before_takes_its_place() {
    let mut world = World::new();
    let three = buffers(3);
    world.update(&[write(7, &three[..1])]);
    world.update(&[write(7, &three[1..2])]);
    world.update(&[write(8, &three[..1]), write(7, &three[2..])]);
    let head = |set| Write { set, binding: 3, element: 4, count: 1, ty: UNIFORM.as_raw() as u32 }.to_words();
    let expected =
        [&[DEVICE][..], &head(7), &[2, 1, 16], &head(8), &[1, 0, 16], &head(7), &[3, 2, 16]].concat();
    assert_eq!(world.records(), [(op::UPDATE_DESCRIPTOR_SETS, expected)]);
}

#[test]
fn copies_when_they_follow_writes_stand_behind_them_and_the_same_one_once() {
    let mut world = World::new();
    let one = buffers(1);
    let copy = vk::CopyDescriptorSet {
        src_set: vk::DescriptorSet::from_raw(7),
        src_binding: 1,
        src_array_element: 2,
        dst_set: vk::DescriptorSet::from_raw(8),
        dst_binding: 3,
        dst_array_element: 4,
        descriptor_count: 5,
        ..Default::default()
    };
    world.copy(&[write(7, &one)], &[copy]);
    world.copy(&[], &[copy]);
    world.copy(&[], &[]);
    world.copy(&[write(7, &one)], &[vk::CopyDescriptorSet { descriptor_count: 6, ..copy }]);
    let head = Write { set: 7, binding: 3, element: 4, count: 1, ty: UNIFORM.as_raw() as u32 };
    let write = [&head.to_words()[..], &[1, 0, 16]].concat();
    let copied = |count| {
        let (source, source_binding, source_element) = (7, 1, 2);
        Copy { source, source_binding, source_element, count, set: 8, binding: 3, element: 4 }.to_words()
    };
    let expected = [&[DEVICE][..], &write, &copied(5), &write, &copied(6)].concat();
    assert_eq!(world.records(), [(op::UPDATE_DESCRIPTOR_SETS, expected)]);
}
