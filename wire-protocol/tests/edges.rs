//! The codec's edges, with small tables made by hand: what the registry's tables do not reach today, and
//! violations one by one.

use std::ptr::{from_ref, null, null_mut};

use vw_wire_protocol::codec::{
    Arena, DecodeError, EncodeError, HandleError, MAX_DEPTH, Mode, NoHandles, Reader, Resolve, Writer,
    decode_reply, decode_request, decode_struct, decode_struct_out, encode_reply, encode_request,
    encode_struct, encode_struct_out,
};
use vw_wire_protocol::generated::commands::{self, VK_DESTROY_BUFFER};
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::rules::{Hook, Rule};
use vw_wire_protocol::schema::{Class, Command, Count, Dir, Elem, Op, Pointer, Ret, Struct};

const fn structure(name: &'static str, size: u32, ops: &'static [Op], min_wire: u32) -> Struct {
    Struct {
        name,
        size,
        align: 8,
        s_type: None,
        ops,
        extended_by: &[],
        min_wire,
        results: false,
        hook: Hook::None,
        provided_by: &[],
    }
}

const fn pointer(off: u16, elem: Elem, count: Count, dir: Dir) -> Op {
    Op::Pointer(Pointer { off, elem, count, dir, rule: Rule::Always })
}

const fn command(params: &'static [Op], param_count: u8, ret: Ret) -> Command {
    // The invoker is never called here; any real one will do.
    let invoke = VK_DESTROY_BUFFER.invoke;
    Command {
        name: "vkTest",
        aliases: &[],
        opcode: 0,
        params,
        param_count,
        ret,
        lost: 0,
        class: Class::Call,
        memo: false,
        provided_by: &[],
        invoke,
    }
}

/// Ids are the handles; 13 is unknown, 14 failed to be created.
struct Ids;

impl Resolve for Ids {
    fn resolve(&mut self, _: HandleType, id: u64) -> Result<u64, HandleError> {
        match id {
            13 => Err(HandleError::Unknown),
            14 => Err(HandleError::Poisoned),
            _ => Ok(id + 100),
        }
    }
}

fn written(f: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut v = Vec::new();
    let mut w = Writer::growing(&mut v, 1 << 20);
    f(&mut w);
    w.finish().expect("small");
    v
}

/// A structure that points to one of its own kind.
static NODE: Struct = structure(
    "Node",
    16,
    &[pointer(0, Elem::Struct(&NODE), Count::One, Dir::In), Op::Bytes { off: 8, len: 4 }],
    5,
);

#[test]
fn nesting_when_too_deep_is_refused_by_both_sides() {
    let mut nodes: Vec<[usize; 2]> = vec![[0, 7]; usize::from(MAX_DEPTH) + 1];
    let base = nodes.as_mut_ptr();
    for i in 0..usize::from(MAX_DEPTH) {
        // SAFETY: both are elements of the vector.
        unsafe { (*base.add(i))[0] = base.add(i + 1).expose_provenance() };
    }
    let encode = |from: usize| {
        let mut v = Vec::new();
        let mut w = Writer::growing(&mut v, 1 << 20);
        // SAFETY: each node is one, and the last points nowhere.
        unsafe { encode_struct(&NODE, base.add(from).cast(), Mode::Full, &mut w) };
        w.finish().map(|_| v)
    };
    assert_eq!(encode(0).err(), Some(EncodeError::TooDeep(MAX_DEPTH)));
    let bytes = encode(1).expect("as deep as allowed");

    let arena = Arena::default();
    // SAFETY: the table describes the bytes' structure.
    let decode =
        |b: &[u8]| unsafe { decode_struct(&NODE, Mode::Full, &mut Reader::new(b), &arena, &mut NoHandles) };
    assert!(decode(&bytes).is_ok());
    assert_eq!(decode(&[1; 64]).err(), Some(DecodeError::TooDeep(MAX_DEPTH)));
}

/// `vkCmdDrawMultiEXT`, in short: count, pointer, distance.
static DRAW_MULTI: Command = command(
    &[
        Op::Bytes { off: 0, len: 4 },
        Op::Bytes { off: 16, len: 4 },
        pointer(
            8,
            Elem::Strided { size: 8, align: 4, stride: 16 },
            Count::Field { off: 0, size: 4 },
            Dir::In,
        ),
    ],
    3,
    Ret::Void,
);

#[test]
fn elements_when_apart_travel_close_together() {
    let draws: [u32; 12] = [1, 2, 99, 99, 3, 4, 99, 99, 5, 6, 99, 99];
    let args = [3, draws.as_ptr().expose_provenance() as u64, 16];
    // SAFETY: the arguments are of the command.
    unsafe {
        let bytes = written(|w| encode_request(&DRAW_MULTI, &args, w));
        assert_eq!(bytes.len(), 4 + 4 + 1 + 24);
        let arena = Arena::default();
        let mut hostile = bytes.clone();
        // Whatever distance the peer claims, the host's is the true one.
        hostile[4..8].fill(0xFF);
        for bytes in [bytes, hostile] {
            let req = decode_request(&DRAW_MULTI, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
            assert_eq!(req.args[2], 8);
            let draws = std::ptr::with_exposed_provenance::<[u32; 6]>(req.args[1] as usize);
            assert_eq!(draws.read(), [1, 2, 3, 4, 5, 6]);
        }
    }
}

/// Two-call enumeration with two arrays of one count: count, first array, second array.
static ENUMERATE: Command = command(
    &[
        pointer(0, Elem::Bytes { size: 4, align: 4 }, Count::One, Dir::InOut),
        pointer(8, Elem::Bytes { size: 8, align: 8 }, Count::Deref { off: 0, size: 4 }, Dir::Out),
        pointer(16, Elem::Struct(&LIST), Count::Deref { off: 0, size: 4 }, Dir::Out),
    ],
    3,
    Ret::Result,
);

/// A result that holds an array: count, pointer.
static LIST: Struct = structure(
    "List",
    16,
    &[
        Op::Len { off: 0, size: 4 },
        pointer(8, Elem::Bytes { size: 2, align: 2 }, Count::Field { off: 0, size: 4 }, Dir::In),
    ],
    5,
);

#[repr(C)]
struct List {
    count: u32,
    items: *mut u16,
}

#[test]
fn enumeration_when_asked_for_counts_and_values_answers_both() {
    let arena = Arena::default();
    for (capacity, found, ret) in [(3u32, 2u32, 0u64), (3, 3, 0), (1, 1, 5), (0, 0, 5), (2, 9, 5)] {
        let mut count = capacity;
        let mut numbers = [7u64; 4];
        let mut items = [[9u16; 4]; 4];
        let mut lists: Vec<List> =
            items.iter_mut().map(|i| List { count: 3, items: i.as_mut_ptr() }).collect();
        let args = [
            (&raw mut count).expose_provenance() as u64,
            numbers.as_mut_ptr().expose_provenance() as u64,
            lists.as_mut_ptr().expose_provenance() as u64,
        ];
        // SAFETY: the arguments are of the command, and the "driver" stays within its room.
        unsafe {
            let bytes = written(|w| encode_request(&ENUMERATE, &args, w));
            let req = decode_request(&ENUMERATE, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
            let at = |i: usize| std::ptr::with_exposed_provenance_mut::<u8>(req.args[i] as usize);
            assert!((0..3).all(|i| !at(i).is_null()), "room for nothing is room");
            assert_eq!(at(0).cast::<u32>().read(), capacity);
            at(0).cast::<u32>().write(found);
            for i in 0..found.min(capacity) as usize {
                at(1).cast::<u64>().add(i).write(100 + i as u64);
                let list = at(2).cast::<List>().add(i);
                assert_eq!((*list).count, 3);
                (*list).items.write(50 + i as u16);
                (*list).count = 1;
            }
            let reply = written(|w| encode_reply(&ENUMERATE, &req, ret, w));
            assert_eq!(decode_reply(&ENUMERATE, &args, &mut Reader::new(&reply)), Ok(ret));
        }
        assert_eq!(count, found);
        let n = found.min(capacity) as usize;
        for i in 0..4 {
            let there = i < n;
            assert_eq!(numbers[i], if there { 100 + i as u64 } else { 7 });
            assert_eq!(lists[i].count, if there { 1 } else { 3 });
            assert_eq!(items[i][0], if there { 50 + i as u16 } else { 9 });
            assert_eq!(items[i][1], 9, "only one was found");
        }
    }
}

#[test]
fn enumeration_when_only_the_count_is_asked_for_has_no_arrays() {
    let arena = Arena::default();
    let mut count = 1234u32;
    let args = [(&raw mut count).expose_provenance() as u64, 0, 0];
    // SAFETY: the arguments are of the command.
    unsafe {
        let bytes = written(|w| encode_request(&ENUMERATE, &args, w));
        let req = decode_request(&ENUMERATE, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
        assert_eq!(req.args[1..3], [0, 0]);
        std::ptr::with_exposed_provenance_mut::<u32>(req.args[0] as usize).write(6);
        let reply = written(|w| encode_reply(&ENUMERATE, &req, 0, w));
        assert_eq!(decode_reply(&ENUMERATE, &args, &mut Reader::new(&reply)), Ok(0));
    }
    assert_eq!(count, 6);
}

#[test]
fn reply_when_it_has_more_than_there_is_room_for_is_refused() {
    let arena = Arena::default();
    let mut count = 3u32;
    let mut numbers = [7u64; 4];
    let args =
        [(&raw mut count).expose_provenance() as u64, numbers.as_mut_ptr().expose_provenance() as u64, 0];
    // SAFETY: the arguments are of the command.
    unsafe {
        let bytes = written(|w| encode_request(&ENUMERATE, &args, w));
        let req = decode_request(&ENUMERATE, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
        let mut reply = written(|w| encode_reply(&ENUMERATE, &req, 0, w));
        // ret, presence, then the number of elements.
        assert_eq!(reply[9..17], 3u64.to_le_bytes());
        reply[9] = 4;
        let err = DecodeError::TooMany { count: 4, capacity: 3 };
        assert_eq!(decode_reply(&ENUMERATE, &args, &mut Reader::new(&reply)), Err(err));
        // An array that the guest did not offer.
        let args = [args[0], 0, 0];
        assert_eq!(decode_reply(&ENUMERATE, &args, &mut Reader::new(&reply)), Err(DecodeError::Mismatch));
    }
    assert_eq!((count, numbers), (3, [7; 4]));
}

#[test]
fn reply_when_the_call_failed_is_the_code_alone() {
    let arena = Arena::default();
    let mut count = 3u32;
    let args = [(&raw mut count).expose_provenance() as u64, 0, 0];
    // SAFETY: the arguments are of the command.
    unsafe {
        let bytes = written(|w| encode_request(&ENUMERATE, &args, w));
        let req = decode_request(&ENUMERATE, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
        let lost = i64::from(-4i32) as u64;
        let reply = written(|w| encode_reply(&ENUMERATE, &req, lost, w));
        assert_eq!(reply, lost.to_le_bytes());
        assert_eq!(decode_reply(&ENUMERATE, &args, &mut Reader::new(&reply)), Ok(lost));
    }
    assert_eq!(count, 3);
}

#[test]
fn reply_when_some_of_several_pipelines_failed_says_which() {
    let arena = Arena::default();
    let cmd = &commands::VK_CREATE_COMPUTE_PIPELINES;
    let mut ids = [21u64, 22];
    let device = [5u64; 4];
    let args =
        [device.as_ptr().expose_provenance() as u64, 0, 2, 0, 0, ids.as_mut_ptr().expose_provenance() as u64];
    // SAFETY: the arguments are of the command, whose infos may be missing on the wire.
    unsafe {
        let bytes = written(|w| encode_request(cmd, &args, w));
        let req = decode_request(cmd, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
        req.new.iter().next().expect("one array").raw.write(77);
        let failed = i64::from(-2i32) as u64;
        let reply = written(|w| encode_reply(cmd, &req, failed, w));
        assert_eq!(decode_reply(cmd, &args, &mut Reader::new(&reply)), Ok(failed));
    }
    assert_eq!(ids, [21, 0]);
}

/// Creates as many objects as it is told to: parent, count, ids, text.
static CREATE: Command = command(
    &[
        Op::Handle { off: 0, ty: HandleType::Buffer, lenient: false },
        Op::Bytes { off: 8, len: 4 },
        pointer(
            16,
            Elem::Handle { ty: HandleType::Buffer, lenient: false },
            Count::Field { off: 8, size: 4 },
            Dir::New,
        ),
        pointer(24, Elem::Bytes { size: 1, align: 1 }, Count::Terminated, Dir::In),
    ],
    4,
    Ret::Result,
);

#[test]
fn handles_when_created_are_told_apart_from_those_that_were_not() {
    let arena = Arena::default();
    let mut ids = [21u64, 22, 23];
    let args = [5, 3, ids.as_mut_ptr().expose_provenance() as u64, 0];
    // SAFETY: the arguments are of the command.
    unsafe {
        let bytes = written(|w| encode_request(&CREATE, &args, w));
        let req = decode_request(&CREATE, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
        assert_eq!((req.args[0], req.args[3], req.poisoned), (105, 0, None));
        let new = req.new.iter().next().expect("one array");
        assert_eq!((new.ids, new.raw.expose_provenance() as u64), (&[21, 22, 23][..], req.args[2]));
        new.raw.write(1);
        new.raw.add(2).write(3);
        assert_eq!(new.created().collect::<Vec<_>>(), [(21, 1), (22, 0), (23, 3)]);
        let reply = written(|w| encode_reply(&CREATE, &req, 0, w));
        assert_eq!(decode_reply(&CREATE, &args, &mut Reader::new(&reply)), Ok(0));
    }
    assert_eq!(ids, [21, 0, 23]);
}

#[test]
fn id_when_its_creation_had_failed_is_noted_and_the_rest_decoded() {
    let arena = Arena::default();
    let mut ids = [21u64];
    let args = [14, 1, ids.as_mut_ptr().expose_provenance() as u64, 0];
    // SAFETY: the arguments are of the command.
    unsafe {
        let bytes = written(|w| encode_request(&CREATE, &args, w));
        let req = decode_request(&CREATE, &mut Reader::new(&bytes), &arena, &mut Ids).expect("no violation");
        let bad = req.poisoned.expect("noted");
        assert_eq!((bad.ty, bad.id, req.args[0]), (HandleType::Buffer, 14, 0));
        assert_eq!(req.new.iter().next().expect("what is to be poisoned").ids, [21]);
    }
}

#[test]
fn string_when_not_terminated_at_its_end_is_refused() {
    let arena = Arena::default();
    let record = |n: u64, text: &[u8]| {
        let mut v = vec![0; 8 + 4];
        v.push(0); // no array of ids
        v.push(1);
        v.extend(n.to_le_bytes());
        v.extend(text);
        v
    };
    // SAFETY: the command is a sound table.
    let decode = |b: Vec<u8>| unsafe {
        decode_request(&CREATE, &mut Reader::new(&b), &arena, &mut Ids).map(|r| r.args[3]).err()
    };
    assert_eq!(decode(record(3, b"ab\0")), None);
    assert_eq!(decode(record(1, b"\0")), None);
    assert_eq!(decode(record(2, b"ab")), Some(DecodeError::BadString(2)));
    assert_eq!(decode(record(4, b"a\0b\0")), Some(DecodeError::BadString(4)));
    assert_eq!(decode(record(0, b"")), Some(DecodeError::BadString(0)));
    let huge = Some(DecodeError::Truncated { needed: u64::MAX, left: 3 });
    assert_eq!(decode(record(u64::MAX, b"ab\0")), huge);
}

/// A structure that may be extended by one other.
static ROOT: Struct = Struct {
    s_type: Some(1),
    extended_by: &[&LINK],
    ..structure("Root", 24, &[Op::Bytes { off: 16, len: 4 }], 8)
};
static LINK: Struct =
    Struct { s_type: Some(2), ..structure("Link", 24, &[Op::Bytes { off: 16, len: 4 }], 4) };

#[repr(C)]
struct Linked {
    s_type: i32,
    next: *mut Linked,
    value: u32,
}

#[test]
fn chain_when_it_holds_strangers_or_repetitions_carries_the_known_once() {
    let mut links = [
        Linked { s_type: 1, next: null_mut(), value: 10 },
        Linked { s_type: 99, next: null_mut(), value: 11 },
        Linked { s_type: 2, next: null_mut(), value: 12 },
        Linked { s_type: 2, next: null_mut(), value: 13 },
    ];
    let base = links.as_mut_ptr();
    // SAFETY: the links are elements of one array; the last points to the second, so that the chain is a ring.
    unsafe {
        for (i, next) in [(0, 1), (1, 2), (2, 3), (3, 1)] {
            (*base.add(i)).next = base.add(next);
        }
        let bytes = written(|w| encode_struct(&ROOT, base.cast(), Mode::Full, w));
        assert_eq!(bytes.len(), 4 + 4 + 4 + 4);
        let arena = Arena::default();
        let back = decode_struct(&ROOT, Mode::Full, &mut Reader::new(&bytes), &arena, &mut NoHandles);
        let root = back.expect("whole").cast::<Linked>().as_ref();
        assert_eq!((root.s_type, root.value), (1, 10));
        let link = root.next.as_ref().expect("the known link");
        assert_eq!((link.s_type, link.value, link.next.is_null()), (2, 12, true));
    }
}

#[test]
fn chain_when_a_link_does_not_belong_or_repeats_is_refused() {
    let arena = Arena::default();
    let decode = |words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        // SAFETY: the table is sound.
        unsafe { decode_struct(&ROOT, Mode::Full, &mut Reader::new(&bytes), &arena, &mut NoHandles).err() }
    };
    assert_eq!(decode(&[2, 7, u32::MAX, 8]), None);
    let stranger = DecodeError::NotInChain { parent: "Root", s_type: 3 };
    assert_eq!(decode(&[3, 7, u32::MAX, 8]), Some(stranger));
    let repeated = DecodeError::Repeated { parent: "Root", s_type: 2 };
    assert_eq!(decode(&[2, 7, 2, 7, u32::MAX, 8]), Some(repeated));
}

#[test]
fn result_when_its_chain_is_not_that_of_the_request_is_refused() {
    let mut link = Linked { s_type: 2, next: null_mut(), value: 0 };
    let mut root = Linked { s_type: 1, next: &raw mut link, value: 0 };
    let alone = Linked { s_type: 1, next: null_mut(), value: 3 };
    // SAFETY: these are such structures.
    unsafe {
        let bytes = written(|w| encode_struct_out(&ROOT, from_ref(&alone).cast(), w));
        let root = (&raw mut root).cast::<u8>();
        assert_eq!(decode_struct_out(&ROOT, root, &mut Reader::new(&bytes)), Err(DecodeError::Mismatch));
    }
}

/// Arrays whose size the record announces.
static SIZES: Command = command(
    &[
        Op::Bytes { off: 0, len: 8 },
        pointer(8, Elem::Bytes { size: 16, align: 4 }, Count::Field { off: 0, size: 8 }, Dir::In),
        pointer(16, Elem::Bytes { size: 16, align: 4 }, Count::Field { off: 0, size: 8 }, Dir::Out),
        pointer(24, Elem::Strings, Count::Field { off: 0, size: 8 }, Dir::In),
    ],
    4,
    Ret::Void,
);

#[test]
fn count_when_absurd_allocates_nothing() {
    let arena = Arena::new(1 << 20);
    for n in [1u64 << 20, 1 << 32, 1 << 60, u64::MAX] {
        for which in 0..3 {
            let mut record = n.to_le_bytes().to_vec();
            record.extend((0..3).map(|i| u8::from(i == which)));
            // SAFETY: the table is sound.
            let res = unsafe { decode_request(&SIZES, &mut Reader::new(&record), &arena, &mut Ids) };
            let err = res.expect_err("too many");
            match which {
                1 => assert!(matches!(err, DecodeError::TooLarge { .. }), "{err}"),
                _ => assert!(matches!(err, DecodeError::Truncated { .. }), "{err}"),
            }
            assert_eq!(arena.used(), 0);
        }
    }
}

#[test]
fn string_when_null_among_strings_is_sent_as_the_empty_one() {
    let strings = [c"one".as_ptr(), null()];
    let args = [2, 0, 0, strings.as_ptr().expose_provenance() as u64];
    let arena = Arena::default();
    // SAFETY: the arguments are of the command.
    unsafe {
        let bytes = written(|w| encode_request(&SIZES, &args, w));
        let req = decode_request(&SIZES, &mut Reader::new(&bytes), &arena, &mut Ids).expect("whole");
        let back = std::ptr::with_exposed_provenance::<*const i8>(req.args[3] as usize);
        assert_eq!(std::ffi::CStr::from_ptr(back.read().cast()), c"one");
        assert_eq!(std::ffi::CStr::from_ptr(back.add(1).read().cast()), c"");
    }
}
