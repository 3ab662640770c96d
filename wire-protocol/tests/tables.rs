//! What the codec takes for granted about the tables.

mod common;

use std::collections::BTreeSet;

use common::is_len;
use vw_wire_protocol::codec::{Arena, MAX_PARAMS, NewList};
use vw_wire_protocol::generated::{commands, structs};
use vw_wire_protocol::rules::Rule;
use vw_wire_protocol::schema::{Count, Dir, Elem, Inner, Op, Pointer, Struct};

/// Structures and parameter lists alike: `(name, ops, size)`.
fn holders() -> impl Iterator<Item = (&'static str, &'static [Op], usize)> {
    let s = structs::ALL.iter().map(|s| (s.name, s.ops, s.size as usize));
    s.chain(commands::ALL.iter().map(|c| (c.name, c.params, 8 * usize::from(c.param_count))))
}

/// Every op, those in arms included, with the ops that come before it.
fn walk(ops: &'static [Op], mut f: impl FnMut(&[&'static Op], &'static Op)) {
    fn go(ops: &'static [Op], seen: &mut Vec<&'static Op>, f: &mut dyn FnMut(&[&'static Op], &'static Op)) {
        for op in ops {
            f(seen, op);
            seen.push(op);
            if let Op::Select { arms, .. } = op {
                for arm in *arms {
                    let outer = seen.len();
                    go(arm.ops, seen, f);
                    seen.truncate(outer);
                }
            }
        }
    }
    go(ops, &mut Vec::new(), &mut f);
}

fn pointers(ops: &'static [Op]) -> Vec<&'static Pointer> {
    let mut all = Vec::new();
    walk(ops, |_, op| {
        if let Op::Pointer(p) = op {
            all.push(p);
        }
    });
    all
}

/// The bytes of an op in the structure itself.
fn extent(op: &Op) -> Option<(usize, usize)> {
    Some(match op {
        Op::Bytes { off, len } => ((*off).into(), (*len).into()),
        Op::Len { off, size } => ((*off).into(), (*size).into()),
        Op::Handle { off, .. } => ((*off).into(), 8),
        Op::Inline { off, count, desc } => ((*off).into(), usize::from(*count) * desc.size as usize),
        Op::Pointer(p) => (p.off.into(), 8),
        Op::Select { .. } => return None,
    })
}

/// Whether the ops send the `size` bytes at `off` by value.
fn sends(before: &[&Op], off: u16, size: usize) -> bool {
    let (off, end) = (usize::from(off), usize::from(off) + size);
    before.iter().any(|op| match op {
        Op::Bytes { .. } | Op::Len { .. } => extent(op).is_some_and(|(o, l)| o <= off && end <= o + l),
        _ => false,
    })
}

fn earlier_pointer(before: &[&'static Op], off: u16) -> Option<&'static Pointer> {
    before.iter().find_map(|op| match op {
        Op::Pointer(p) if p.off == off => Some(p),
        _ => None,
    })
}

#[test]
fn byte_when_in_a_structure_belongs_to_one_op() {
    for (name, ops, size) in holders() {
        let s_type = structs::ALL.iter().any(|s| s.name == name && s.s_type.is_some());
        let mut owner = vec![0u8; size];
        if s_type {
            owner[..4].fill(1);
            owner[8..16].fill(1);
        }
        // Arms of a union share their bytes.
        let take = |op: &Op, shared: &mut Vec<u8>| {
            if let Some((off, len)) = extent(op) {
                assert!(len > 0 && off + len <= size, "{name}: {off}+{len} in {size} bytes");
                for (i, owned) in shared.iter_mut().enumerate().skip(off).take(len) {
                    assert_eq!(*owned, 0, "{name}: byte {i} is carried twice");
                    *owned = 1;
                }
            }
        };
        for op in ops {
            take(op, &mut owner);
        }
        let mut arms_of = |arms: &[vw_wire_protocol::schema::Arm]| {
            let before = owner.clone();
            let mut after = owner.clone();
            for arm in arms {
                let mut own = before.clone();
                arm.ops.iter().for_each(|op| take(op, &mut own));
                after.iter_mut().zip(own).for_each(|(a, o)| *a |= o);
            }
            owner = after;
        };
        for op in ops {
            if let Op::Select { arms, .. } = op {
                arms_of(arms);
            }
        }
        if commands::ALL.iter().any(|c| c.name == name) {
            continue;
        }
        // What nobody carries is padding, or dropped on purpose by the overlay.
        let gaps: Vec<usize> = (0..size).filter(|i| owner[*i] == 0 && !(s_type && *i < 8)).collect();
        let padding = |i: &usize| {
            let next = (*i..size).find(|j| owner[*j] != 0).unwrap_or(size);
            let start = (0..*i).rev().find(|j| owner[*j] != 0).map_or(0, |j| j + 1);
            next - start < 8 && next % (next - start).next_power_of_two() == 0
        };
        let lost: Vec<usize> = gaps.into_iter().filter(|i| !padding(i)).collect();
        assert!(lost.is_empty() || DROPS.contains(&name), "{name}: bytes {lost:?} are lost");
    }
}

/// Structures of which the overlay drops members, with its reasons.
const DROPS: &[&str] = &["VkDeviceCreateInfo", "VkRayTracingShaderGroupCreateInfoKHR"];

#[test]
fn count_when_met_is_known_from_what_precedes() {
    for (name, ops, _) in holders() {
        walk(ops, |before, op| {
            let Op::Pointer(p) = op else { return };
            let at = p.off;
            match p.count {
                Count::One | Count::Const(_) => {}
                Count::Field { off, size } => {
                    assert!(sends(before, off, size.into()), "{name} at {at}");
                }
                Count::Div { off, size, by } | Count::CeilDiv { off, size, by } => {
                    assert!(by > 0 && sends(before, off, size.into()), "{name} at {at}");
                }
                Count::Deref { off, size } => {
                    let q = earlier_pointer(before, off).unwrap_or_else(|| panic!("{name} at {at}"));
                    let fits = matches!(q.elem, Elem::Bytes { size: s, .. } if s == u32::from(size));
                    assert!(fits && matches!(q.count, Count::One), "{name} at {at}");
                    assert!(matches!(q.dir, Dir::In | Dir::InOut), "{name} at {at}");
                }
                Count::Path { off, field } => {
                    let q = earlier_pointer(before, off).unwrap_or_else(|| panic!("{name} at {at}"));
                    let Elem::Struct(desc) = &q.elem else { panic!("{name} at {at}") };
                    let inside: Vec<&Op> = desc.ops.iter().collect();
                    assert!(matches!(q.count, Count::One) && sends(&inside, field, 4), "{name} at {at}");
                    assert_ne!(q.dir, Dir::Out, "{name} at {at}");
                }
                Count::Param { slot, field, size } => {
                    let users = commands::ALL.iter().filter(|cmd| {
                        let names = |p: &&Pointer| matches!(p.elem, Elem::Struct(desc) if desc.name == name);
                        pointers(cmd.params).iter().any(names)
                    });
                    let users: Vec<_> = users.collect();
                    assert!(!users.is_empty(), "{name} at {at}");
                    for cmd in users {
                        let before: Vec<&Op> = cmd.params.iter().collect();
                        let q = earlier_pointer(&before, slot).unwrap_or_else(|| panic!("{name} at {at}"));
                        let Elem::Struct(desc) = &q.elem else { panic!("{name} at {at}") };
                        let inside: Vec<&Op> = desc.ops.iter().collect();
                        assert!(sends(&inside, field, size.into()), "{name} at {at}");
                        assert_eq!(q.dir, Dir::InOut, "{name} at {at}");
                    }
                }
                Count::Terminated => {
                    assert!(matches!(p.elem, Elem::Bytes { size: 1, .. }), "{name} at {at}");
                }
            }
            if let Elem::Strided { stride, size, .. } = p.elem {
                assert!(sends(before, stride, 4) && size > 0 && p.dir == Dir::In, "{name} at {at}");
            }
            if let Elem::Pointers { count: Inner::OfElement { array, stride, field }, .. } = p.elem {
                let q = earlier_pointer(before, array).unwrap_or_else(|| panic!("{name} at {at}"));
                let Elem::Struct(desc) = &q.elem else { panic!("{name} at {at}") };
                let inside: Vec<&Op> = desc.ops.iter().collect();
                assert!(desc.size == u32::from(stride) && sends(&inside, field, 4), "{name} at {at}");
                // Element i of one array has its count in element i of the other.
                assert_eq!(format!("{:?}", p.count), format!("{:?}", q.count), "{name} at {at}");
                assert_ne!(q.dir, Dir::Out, "{name} at {at}");
            }
        });
        walk(ops, |before, op| {
            if let Op::Select { selector, arms } = op {
                assert!(sends(before, *selector, 4), "{name}: selector at {selector}");
                let values: Vec<i32> = arms.iter().flat_map(|a| a.values.iter().copied()).collect();
                assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len(), "{name}");
            }
        });
    }
}

#[test]
fn result_when_it_holds_arrays_sends_their_capacities() {
    // Structures that come back, with all that comes with them.
    fn results(elem: &'static Elem, out: &mut Vec<&'static Struct>) {
        if let Elem::Struct(desc) = elem
            && !out.iter().any(|s| s.name == desc.name)
        {
            out.push(desc);
            let links = desc.extended_by.iter().copied();
            let inside = desc.ops.iter().filter_map(|op| match op {
                Op::Inline { desc, .. } => Some(*desc),
                _ => None,
            });
            for s in links.chain(inside).collect::<Vec<_>>() {
                if !out.iter().any(|o| o.name == s.name) {
                    out.push(s);
                    pointers(s.ops).iter().for_each(|p| results(&p.elem, out));
                }
            }
            pointers(desc.ops).iter().for_each(|p| results(&p.elem, out));
        }
    }
    let mut all = Vec::new();
    for cmd in commands::ALL {
        for p in pointers(cmd.params) {
            if p.dir == Dir::Out {
                results(&p.elem, &mut all);
            }
        }
    }
    assert!(all.len() > 20);
    for desc in all {
        walk(desc.ops, |before, op| {
            if let Op::Pointer(p) = op {
                let counted = match p.count {
                    Count::One | Count::Const(_) => true,
                    Count::Field { off, .. } => is_len(desc, off),
                    // The whole of the other parameter is sent.
                    Count::Param { .. } => true,
                    _ => false,
                };
                let in_arm = before.iter().any(|op| matches!(op, Op::Select { .. }));
                assert!(counted && !in_arm, "{}: pointer at {}", desc.name, p.off);
            }
        });
    }
}

/// The reply's walk looks at no rules, and at no unions.
#[test]
fn structure_when_it_leads_to_results_is_always_followed() {
    let mut some = 0;
    for (name, ops, _) in holders() {
        for op in ops {
            let leads = |elem: &Elem| matches!(elem, Elem::Struct(desc) if desc.results);
            match op {
                Op::Pointer(p) if leads(&p.elem) => assert_eq!(p.rule, Rule::Always, "{name}"),
                Op::Select { arms, .. } => {
                    let inside = arms.iter().flat_map(|arm| arm.ops);
                    for op in inside {
                        assert!(
                            !matches!(op, Op::Pointer(p) if p.dir != Dir::In || leads(&p.elem)),
                            "{name}"
                        );
                    }
                }
                _ => {}
            }
        }
    }
    for desc in structs::ALL {
        let own = pointers(desc.ops).iter().any(|p| matches!(p.dir, Dir::Out | Dir::InOut));
        assert!(!own || desc.results, "{}", desc.name);
        some += usize::from(own);
    }
    assert!(some >= 4);
}

#[test]
fn structure_when_looked_at_has_sound_figures() {
    fn least(ops: &[Op]) -> u32 {
        ops.iter()
            .map(|op| match op {
                Op::Bytes { len, .. } => u32::from(*len),
                Op::Len { size, .. } => u32::from(*size),
                Op::Handle { .. } => 8,
                Op::Inline { count, desc, .. } => u32::from(*count) * desc.min_wire,
                Op::Pointer(_) => 1,
                Op::Select { .. } => 0,
            })
            .sum()
    }
    for s in structs::ALL {
        assert!(s.min_wire > 0, "{} takes nothing on the wire", s.name);
        // A bound from below: counts are checked with it before anything is allocated.
        let exact = least(s.ops) + if s.s_type.is_some() { 4 } else { 0 };
        assert!(s.min_wire <= exact && s.min_wire * 2 >= exact, "{}: {} of {exact}", s.name, s.min_wire);
        assert!(s.align.is_power_of_two() && s.align as usize <= Arena::ALIGN, "{}", s.name);
        assert!(s.size > 0 && s.size.is_multiple_of(s.align), "{}", s.name);
        assert!(s.extended_by.is_empty() || s.s_type.is_some(), "{}", s.name);
        assert!(s.extended_by.len() <= 512, "{}", s.name);
        assert!(s.extended_by.iter().all(|e| e.s_type.is_some() && e.size >= 16), "{}", s.name);
        assert!(s.extended_by.is_sorted_by(|a, b| a.s_type < b.s_type), "{}: chain is not sorted", s.name);
    }
    assert!(structs::ALL.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn elements_when_aligned_fit_the_arena() {
    fn check(elem: &Elem, name: &str) {
        match elem {
            Elem::Bytes { size, align } | Elem::Strided { size, align, .. } => {
                assert!(*size > 0 && align.is_power_of_two() && *align as usize <= Arena::ALIGN, "{name}");
            }
            Elem::Pointers { elem, .. } => check(elem, name),
            _ => {}
        }
    }
    for (name, ops, _) in holders() {
        pointers(ops).iter().for_each(|p| check(&p.elem, name));
    }
}

#[test]
fn command_when_looked_at_has_sound_figures() {
    for (i, c) in commands::ALL.iter().enumerate() {
        assert!(usize::from(c.param_count) <= MAX_PARAMS, "{}", c.name);
        assert!(std::ptr::eq(commands::by_opcode(c.opcode).expect("known"), *c), "{}", c.name);
        assert_eq!(usize::from(c.opcode), i + 1, "{}", c.name);
        for op in c.params {
            let (off, len) = extent(op).expect("no unions among parameters");
            // Neighbours that fill their slots may be one op.
            assert!(off % 8 == 0 && len > 0, "{}", c.name);
        }
        let new = pointers(c.params).into_iter().filter(|p| p.dir == Dir::New);
        let new: Vec<_> =
            new.inspect(|p| assert!(matches!(p.elem, Elem::Handle { .. }), "{}", c.name)).collect();
        assert!(new.len() <= NewList::CAPACITY, "{}", c.name);
    }
    assert!(commands::by_opcode(0).is_none());
    assert!(commands::by_opcode(commands::ALL.len() as u16 + 1).is_none());
    for s in structs::ALL {
        let creates = pointers(s.ops).iter().any(|p| p.dir == Dir::New);
        assert!(!creates || s.name == "VkPipelineBinaryHandlesInfoKHR", "{}", s.name);
    }
}
