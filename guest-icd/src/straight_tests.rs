//! Straight-line recording writes what the tables write.

use std::ffi::c_void;
use std::ptr::null;
use std::sync::Arc;

use ash::vk;
use vw_transport::Consumer;
use vw_wire_protocol::codec::{Writer, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::generated::names::NAMES;
use vw_wire_protocol::generated::structs;
use vw_wire_protocol::record::{HEADER_SIZE, Header};
use vw_wire_protocol::rules::{Hook, Rule};
use vw_wire_protocol::schema::{Class, Command, Count, Dir, Elem, Op, Pointer, Struct};

use crate::chunks::CHUNK_SIZE;
use crate::command_buffer::{self, CommandBuffer};
use crate::command_pool::CommandPool;
use crate::dispatch::Head;
use crate::generated::entry::structures::info;
use crate::generated::procs::PROCS;
use crate::queue::{Queue, QueueAddress, vkQueueSubmit, vkQueueSubmit2};
use crate::session::Session;
use crate::straight::{self, Straight};
use crate::submission::{Info, Plain};
use crate::test_host;

/// What the application's arrays hold.
static DATA: [u64; 512] = {
    let mut words = [0; 512];
    let mut i = 0;
    while i < words.len() {
        words[i] = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        i += 1;
    }
    words
};

/// Whether arguments can be made for it here: all that is recorded straight, and command buffers, which are not.
fn flat(op: &Op) -> bool {
    match op {
        Op::Bytes { .. } | Op::Handle { .. } => true,
        Op::Pointer(Pointer { elem, count, dir, rule, .. }) => {
            let elem = match elem {
                Elem::Bytes { .. } | Elem::Handle { .. } => true,
                Elem::Struct(desc) => desc.hook == Hook::None && desc.ops.iter().all(flat),
                _ => false,
            };
            let count = matches!(
                count,
                Count::One
                    | Count::Const(_)
                    | Count::Field { .. }
                    | Count::CeilDiv { .. }
                    | Count::Terminated
            );
            elem && count && *dir == Dir::In && matches!(rule, Rule::Always)
        }
        _ => false,
    }
}

/// Arguments and structures for flat commands.
struct Maker<'a> {
    /// All of the same.
    buffers: &'a [*mut CommandBuffer],
    /// Elements of each array.
    count: u64,
    /// Whether there are arrays.
    arrays: bool,
    memory: Vec<Box<[u64]>>,
}

impl Maker<'_> {
    fn arguments(&mut self, cmd: &Command) -> Vec<u64> {
        let mut args: Vec<u64> =
            (0..u64::from(cmd.param_count)).map(|i| 0x0123_4567_89AB_CDEF ^ (i << 20)).collect();
        // SAFETY: the arguments have a slot for each parameter.
        unsafe { self.fill(cmd.params, args.as_mut_ptr().cast()) };
        args
    }

    /// Stores counts, pointers and command buffers where the ops say.
    unsafe fn fill(&mut self, ops: &'static [Op], base: *mut u8) {
        // SAFETY: all offsets lie within what `base` points to.
        let store = |off: u16, word: u64| unsafe { base.add(off.into()).cast::<u64>().write(word) };
        for op in ops {
            if let Op::Handle { off, ty, .. } = op
                && ty.dispatchable()
            {
                store(*off, self.buffers[0] as u64);
            }
            if let Op::Inline { off, desc, .. } = op {
                // SAFETY: as above.
                unsafe { self.structure(desc, base.add(usize::from(*off))) };
            }
            if let Op::Pointer(p) = op {
                let array = match p.elem {
                    _ if matches!(p.count, Count::Terminated) => c"main".as_ptr() as u64,
                    Elem::Handle { ty, .. } if ty.dispatchable() => self.buffers.as_ptr() as u64,
                    Elem::Struct(desc) => self.structures(desc),
                    _ => DATA.as_ptr() as u64,
                };
                store(p.off, if self.arrays { array } else { 0 });
                if let Rule::FieldEquals { off, value } = p.rule {
                    // SAFETY: as above.
                    unsafe { base.add(off.into()).cast::<u32>().write(value) };
                }
                if let Count::Field { off, size } | Count::CeilDiv { off, size, .. } = p.count {
                    // SAFETY: as above.
                    unsafe { base.add(off.into()).copy_from(self.count.to_le_bytes().as_ptr(), size.into()) };
                }
            }
        }
    }

    /// A structure without a chain.
    unsafe fn structure(&mut self, desc: &'static Struct, at: *mut u8) {
        // SAFETY: there is room for it.
        unsafe {
            if let Some(s_type) = desc.s_type {
                at.cast::<i32>().write(s_type);
                at.add(8).cast::<u64>().write(0);
            }
            self.fill(desc.ops, at);
        }
    }

    /// As many structures as any array has.
    fn structures(&mut self, desc: &'static Struct) -> u64 {
        let size = desc.size as usize;
        let mut memory = DATA[..(5 * size).div_ceil(8)].to_vec().into_boxed_slice();
        let base: *mut u8 = memory.as_mut_ptr().cast();
        for at in (0..5).map(|i| base.wrapping_add(i * size)) {
            // SAFETY: five structures lie there.
            unsafe { self.structure(desc, at) };
        }
        self.memory.push(memory);
        base as u64
    }
}

/// The record that the tables make.
fn expected(cmd: &Command, args: &[u64]) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut writer = Writer::growing(&mut payload, CHUNK_SIZE);
    // SAFETY: arguments made for this command.
    unsafe { encode_request(cmd, args, &mut writer) };
    writer.pad_to(8);
    let length = HEADER_SIZE + writer.finish().unwrap();
    let header = Header { opcode: cmd.opcode, flags: 0, length: length as u32 };
    [&header.to_word().to_le_bytes()[..], &payload].concat()
}

#[test]
fn record_when_written_straight_is_that_of_the_tables() {
    let (session, _host, _) = test_host::session(CHUNK_SIZE as u64);
    let chunk = session.region().arena().0.as_ptr().cast_const();
    let pool = Arc::new(CommandPool::default());
    let mut compared = 0;
    for cmd in commands::ALL {
        // The latter is written by hand: it hands over what it looks at.
        if cmd.class != Class::Record
            || !cmd.params.iter().all(flat)
            || cmd.name == "vkCmdPreprocessGeneratedCommandsEXT"
        {
            continue;
        }
        let at = NAMES.binary_search_by(|name| name.name.cmp(cmd.name)).unwrap();
        let proc = &PROCS[at];
        for (count, arrays) in [(0, true), (1, true), (3, true), (5, true), (0, false)] {
            let mut buffer = command_buffer::place(&session, &pool, true).unwrap();
            let buffers = [buffer.as_ptr(); 5];
            let mut maker = Maker { buffers: &buffers, count, arrays, memory: Vec::new() };
            let args = maker.arguments(cmd);
            let expected = expected(cmd, &args);
            // SAFETY: a live command buffer; arguments made for the command, whose entry point the table names. The
            // chunk is mapped, and nothing else reads or writes it.
            let records = unsafe {
                let end = |_: &mut Straight| Some(());
                assert!(straight::record(buffer.as_ptr().cast(), 1, end).is_none(), "no room yet");
                // The first record finds no chunk, and goes the common way.
                (cmd.invoke)(proc.ptr, &args);
                (cmd.invoke)(proc.ptr, &args);
                let records = std::slice::from_raw_parts(chunk, 2 * expected.len()).to_vec();
                assert!(straight::record(buffer.as_ptr().cast(), 1, end).is_some());
                buffer.as_mut().reset();
                command_buffer::remove(&session, &pool, buffer);
                if let Some(space) = pool.take_spare() {
                    space.release(&session);
                }
                records
            };
            assert_eq!(records[..expected.len()], expected, "{}, the common way", cmd.name);
            assert_eq!(records[expected.len()..], expected, "{}, {count} elements, straight", cmd.name);
            compared += 1;
        }
    }
    assert!(compared > 5 * 180, "{compared}");
}

#[test]
fn creation_and_the_like_when_written_straight_are_those_of_the_tables() {
    let (session, _host, mut consumer) = test_host::session(0);
    let mut object = Head::new(7, Arc::clone(&session));
    let objects = [(&raw mut object).cast::<CommandBuffer>(); 5];
    let mut compared = 0;
    for cmd in commands::ALL.iter().filter(|cmd| info(cmd.opcode).is_some()) {
        for (count, arrays) in [(0, true), (1, true), (3, true), (0, false)] {
            let mut maker = Maker { buffers: &objects, count, arrays: true, memory: Vec::new() };
            let mut args = maker.arguments(cmd);
            let mut inner = Maker { buffers: &objects, count, arrays, memory: Vec::new() };
            let info = cmd.params.iter().find_map(|op| match op {
                Op::Pointer(Pointer { off, elem: Elem::Struct(desc), .. }) => Some((*off, *desc)),
                _ => None,
            });
            let (off, desc) = info.expect(cmd.name);
            args[usize::from(off) / 8] = inner.structures(desc);
            let mut new = 0u64;
            // SAFETY: arguments made for the command, of a live object.
            unsafe {
                if let [.., object] = &mut *args
                    && matches!(cmd.params.last(), Some(Op::Pointer(p)) if p.dir == Dir::New)
                {
                    *object = (&raw mut new) as u64;
                    if args.len() == 6 {
                        args[2] = 1;
                    }
                    let result = straight::create(&session, cmd, &args, HandleType::Buffer);
                    assert_eq!(result, Some(vk::Result::SUCCESS), "{}", cmd.name);
                    assert_ne!(new, 0);
                } else {
                    assert!(
                        straight::send(&session, cmd, &args).is_some_and(|sent| sent.is_ok()),
                        "{}",
                        cmd.name
                    );
                }
            }
            session.flush();
            assert_eq!(next_record(&mut consumer), expected(cmd, &args), "{}, {count} elements", cmd.name);
            compared += 1;
        }
    }
    assert!(compared > 4 * 20, "{compared}");
}

/// Whether the submission is written without the tables; the record is not sent.
unsafe fn goes_straight<T: Info>(session: &Session, infos: *const T, count: u32) -> bool {
    let mut space = vec![0u64; 8 << 10];
    // SAFETY: the caller's promise: so many valid infos; the space is there.
    unsafe {
        let Some(plain) = Plain::new(session, infos, count) else { return false };
        let mut to = Straight::new(space.as_mut_ptr().cast(), 8 * space.len()).unwrap();
        plain.put(&mut to, 3).is_some()
    }
}

/// The bytes of the next record.
fn next_record(consumer: &mut Consumer) -> Vec<u8> {
    let record = consumer.next().unwrap().expect("a record");
    // SAFETY: the record lies in the ring until it is released, its header before its payload.
    let bytes = unsafe {
        let start = record.payload.as_ptr().sub(HEADER_SIZE);
        std::slice::from_raw_parts(start, HEADER_SIZE + record.len).to_vec()
    };
    consumer.release();
    bytes
}

#[test]
fn submission_when_written_straight_is_that_of_the_tables() {
    let (session, _host, mut consumer) = test_host::session(0);
    let queue =
        Queue::new(Head::new(3, Arc::clone(&session)), 0, QueueAddress { family: 0, index: 0, flags: 0 });
    let mut object = Head::new(7, Arc::clone(&session));
    let buffers = [(&raw mut object).cast::<CommandBuffer>(); 5];
    let at = std::ptr::from_ref(&queue).cast_mut();
    let mut values = vk::TimelineSemaphoreSubmitInfo::default();
    let protected = vk::ProtectedSubmitInfo::default();
    for (inner, arrays) in [(0, true), (1, true), (3, true), (5, true), (0, false)] {
        for count in [1, 2, 5] {
            let cmd = &commands::VK_QUEUE_SUBMIT;
            let mut maker = Maker { buffers: &buffers, count: inner, arrays, memory: Vec::new() };
            let infos = maker.structures(&structs::VK_SUBMIT_INFO) as *mut vk::SubmitInfo<'_>;
            let args = [at as u64, count.into(), infos as u64, 0];
            // SAFETY: arguments made for the command, of a live queue, here and below.
            unsafe {
                assert!(goes_straight(&session, infos, count));
                assert_eq!(vkQueueSubmit(at, count, infos, 0), 0);
                assert_eq!(next_record(&mut consumer), expected(cmd, &args), "{count} of {inner}");
                // With the values of timeline semaphores, too.
                values.wait_semaphore_value_count = inner as u32;
                values.p_wait_semaphore_values = DATA.as_ptr();
                values.signal_semaphore_value_count = inner as u32;
                values.p_signal_semaphore_values = if arrays { DATA.as_ptr() } else { null() };
                (*infos).p_next = (&raw const values).cast();
                assert!(goes_straight(&session, infos, count));
                assert_eq!(vkQueueSubmit(at, count, infos, 0), 0);
                assert_eq!(next_record(&mut consumer), expected(cmd, &args), "{count} of {inner}, values");
                // With anything else the tables write it.
                (*infos).p_next = (&raw const protected).cast();
                assert!(!goes_straight(&session, infos, count));
                assert_eq!(vkQueueSubmit(at, count, infos, 0), 0);
                assert_eq!(next_record(&mut consumer), expected(cmd, &args), "{count} of {inner}, chained");
            }
            let cmd = &commands::VK_QUEUE_SUBMIT_2;
            let infos = maker.structures(&structs::VK_SUBMIT_INFO_2) as *const vk::SubmitInfo2<'_>;
            let args = [at as u64, count.into(), infos as u64, 0];
            // SAFETY: as above.
            unsafe {
                assert!(goes_straight(&session, infos, count));
                assert_eq!(vkQueueSubmit2(at, count, infos, 0), 0);
            }
            assert_eq!(next_record(&mut consumer), expected(cmd, &args), "{count} of {inner}, the second");
        }
    }
    let many = vec![vk::SubmitInfo::default(); 1000];
    // SAFETY: valid arguments.
    unsafe {
        assert!(goes_straight(&session, many.as_ptr(), 1000));
        assert!(Plain::new(&session, many.as_ptr(), 0).is_none());
        assert_eq!(vkQueueSubmit(at, 1000, many.as_ptr(), 0), 0);
    }
    let args = [at as u64, 1000, many.as_ptr() as u64, 0];
    assert_eq!(next_record(&mut consumer), expected(&commands::VK_QUEUE_SUBMIT, &args));
}

#[test]
fn pipeline_when_it_is_usual_is_written_straight_and_only_then() {
    let (session, _host, mut consumer) = test_host::session(0);
    let mut object = Head::new(7, Arc::clone(&session));
    let cmd = &commands::VK_CREATE_GRAPHICS_PIPELINES;
    let mut create = |info: &vk::GraphicsPipelineCreateInfo<'_>, count: usize| {
        let (infos, mut new) = (vec![*info; count], vec![0u64; count]);
        let args =
            [(&raw mut object) as u64, 0, count as u64, infos.as_ptr() as u64, 0, new.as_mut_ptr() as u64];
        // SAFETY: valid arguments, of a live device; ignored pointers lead nowhere.
        let result = unsafe { straight::create(&session, cmd, &args, HandleType::Pipeline) };
        assert!(new.iter().all(|id| (*id != 0) == result.is_some()));
        session.flush();
        let record = consumer.next().unwrap();
        assert_eq!(record.is_some(), result.is_some());
        if let Some(record) = record {
            // SAFETY: the record lies in the ring until it is released, its header before its payload.
            let bytes = unsafe {
                let start = record.payload.as_ptr().sub(HEADER_SIZE);
                std::slice::from_raw_parts(start, HEADER_SIZE + record.len).to_vec()
            };
            assert_eq!(bytes, expected(cmd, &args));
            consumer.release();
        }
        result.is_some()
    };
    let data = 7u32.to_ne_bytes();
    let entries = [vk::SpecializationMapEntry { constant_id: 3, offset: 0, size: 4 }];
    let special = vk::SpecializationInfo::default().map_entries(&entries).data(&data);
    let stages = [vk::ShaderStageFlags::VERTEX, vk::ShaderStageFlags::FRAGMENT].map(|stage| {
        vk::PipelineShaderStageCreateInfo::default().stage(stage).name(c"main").specialization_info(&special)
    });
    let input = vk::PipelineVertexInputStateCreateInfo::default();
    let assembly = vk::PipelineInputAssemblyStateCreateInfo::default();
    let raster = vk::PipelineRasterizationStateCreateInfo::default();
    let masks = [1];
    let samples = vk::PipelineMultisampleStateCreateInfo::default()
        .rasterization_samples(vk::SampleCountFlags::TYPE_4)
        .sample_mask(&masks);
    let mut viewport = vk::PipelineViewportStateCreateInfo::default().viewport_count(1).scissor_count(1);
    // Ignored, because they are dynamic.
    viewport.p_viewports = std::ptr::without_provenance(8);
    viewport.p_scissors = std::ptr::without_provenance(8);
    let attachments = [vk::PipelineColorBlendAttachmentState::default(); 2];
    let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&attachments);
    let states = [vk::DynamicState::VIEWPORT, vk::DynamicState::SCISSOR];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&states);
    let formats = [vk::Format::R8G8B8A8_UNORM; 2];
    let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
    let mut info = vk::GraphicsPipelineCreateInfo::default()
        .stages(&stages)
        .vertex_input_state(&input)
        .input_assembly_state(&assembly)
        .rasterization_state(&raster)
        .viewport_state(&viewport)
        .multisample_state(&samples)
        .color_blend_state(&blend)
        .dynamic_state(&dynamic);
    // Ignored as well: there is no such attachment, and no such stage.
    info.p_depth_stencil_state = std::ptr::without_provenance(8);
    info.p_tessellation_state = std::ptr::without_provenance(8);
    let chained = info.push_next(&mut rendering);
    assert!(create(&chained, 1), "dynamic rendering");
    assert!(create(&chained, 3), "several");
    assert!(!create(&chained, 0), "none");
    info.p_depth_stencil_state = null();
    info.p_next = null();
    assert!(create(&info, 1), "a render pass, no chain");
    let mut feedback = vk::PipelineCreationFeedback::default();
    let mut asked =
        vk::PipelineCreationFeedbackCreateInfo::default().pipeline_creation_feedback(&mut feedback);
    assert!(!create(&info.push_next(&mut asked), 1), "another link");
    let mut rendering = vk::PipelineRenderingCreateInfo::default().color_attachment_formats(&formats);
    rendering.p_next = (&raw const asked).cast();
    info.p_next = (&raw const rendering).cast();
    assert!(!create(&info, 1), "a link behind it");
    info.p_next = null();
    let mut subgroup = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default();
    let stage = [stages[0].push_next(&mut subgroup)];
    assert!(!create(&info.stages(&stage), 1), "the chain of a stage");
}

#[test]
fn record_when_there_is_no_room_for_all_of_it_does_not_count() {
    let mut room = [u64::MAX; 5];
    let array: *const c_void = DATA.as_ptr().cast();
    // Header and padding take 16 bytes.
    let mut put = |array: *const c_void, count: usize| {
        // SAFETY: the room is there, and elements as far as there is room for them.
        unsafe {
            let mut to = Straight::new(room.as_mut_ptr().cast(), size_of_val(&room)).unwrap();
            to.array(array, count, 8)?;
            Some(to.end(7, 0))
        }
    };
    assert_eq!(put(array, 2), Some(32));
    assert_eq!(put(array, 3), None);
    assert_eq!(put(array, usize::MAX), None, "the length does not wrap");
    assert_eq!(put(null(), usize::MAX), Some(16));
    assert_eq!(room[0].to_le() as u16, 7);
    assert_eq!(room[1], 0, "no array, and padding");
    // SAFETY: as above.
    unsafe {
        assert!(Straight::new(room.as_mut_ptr().cast(), 23).is_none());
        let to = Straight::new(room.as_mut_ptr().cast(), 24).unwrap();
        assert!(to.need(8).is_some() && to.need(9).is_none());
        assert_eq!(to.end(7, 0), 8);
    }
}
