//! Binding memory: what does not lie in the memory that it is bound to ends the session.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use ash::vk::{self, Handle};
use common::{Guest, Renderer, allocate_payload, dispatchable, in_process, request, ret, violates};
use vw_host_renderer::gpu::Gpu;
use vw_host_renderer::session::end::End;
use vw_transport::Answer;
use vw_wire_protocol::codec::{Reader, decode_reply};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::op;
use vw_wire_protocol::schema::Command;

/// Bytes of memory 1. Buffer 1 has half as many, and is aligned to 256.
const MEMORY: u64 = 8192;

/// Device 1 with memory 1 and buffer 1.
fn prepare(guest: &mut Guest) {
    assert_eq!(guest.create_device(), Ok(0));
    assert_eq!(guest.allocate(1, 0), Ok(0));
    guest.create_buffer(1).unwrap();
}

/// Creates image 1, of 8 x 8 texels: less than half of the memory.
fn create_image(guest: &mut Guest, format: vk::Format, flags: vk::ImageCreateFlags) {
    let info = vk::ImageCreateInfo::default()
        .flags(flags)
        .image_type(vk::ImageType::TYPE_2D)
        .format(format)
        .extent(vk::Extent3D { width: 8, height: 8, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::SAMPLED);
    let id = 1_u64;
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
    guest.command(&commands::VK_CREATE_IMAGE, &args).unwrap();
}

/// What the session says of a binding at an offset; none: it is done.
fn refusal(command: &Command, memory: u64, offset: u64, image: bool) -> Option<String> {
    let args = if command.param_count == 4 {
        vec![dispatchable(1), 1, memory, offset]
    } else {
        let buffer = vk::BindBufferMemoryInfo::default()
            .buffer(Handle::from_raw(1))
            .memory(Handle::from_raw(memory))
            .memory_offset(offset);
        let of_image = vk::BindImageMemoryInfo::default()
            .image(Handle::from_raw(1))
            .memory(Handle::from_raw(memory))
            .memory_offset(offset);
        // Kept until the process of the test ends.
        let info = if image {
            std::ptr::from_ref(Box::leak(Box::new(of_image))) as u64
        } else {
            std::ptr::from_ref(Box::leak(Box::new(buffer))) as u64
        };
        vec![dispatchable(1), 1, info]
    };
    let end = in_process(|guest| {
        prepare(guest);
        if image {
            create_image(guest, vk::Format::R8G8B8A8_UNORM, vk::ImageCreateFlags::empty());
        }
        guest.command(command, &args).unwrap();
        // Whether the session goes on.
        let _ = guest.allocate(2, MEMORY);
    });
    match end {
        End::Violation(text) => Some(text),
        _ => None,
    }
}

#[test]
fn binding_when_not_in_the_memory_ends_the_session() {
    let commands = [
        (&commands::VK_BIND_BUFFER_MEMORY, false),
        (&commands::VK_BIND_BUFFER_MEMORY_2, false),
        (&commands::VK_BIND_IMAGE_MEMORY, true),
        (&commands::VK_BIND_IMAGE_MEMORY_2, true),
    ];
    for (command, image) in commands {
        for offset in [0, MEMORY / 2] {
            assert_eq!(refusal(command, 1, offset, image), None, "{} at {offset}", command.name);
        }
        for (memory, offset, needle) in [
            (1, MEMORY - 256, "of memory"),
            (1, MEMORY, "of memory"),
            (1, u64::MAX - 255, "of memory"),
            (1, 100, "alignment"),
            (0, 0, "without memory"),
        ] {
            let text = refusal(command, memory, offset, image).unwrap_or_default();
            assert!(text.contains(needle), "{} at {offset:#x}: {text:?}", command.name);
        }
    }
}

#[test]
fn plane_when_it_is_not_bound_by_itself_ends_the_session() {
    let planar = vk::Format::G8_B8_R8_3PLANE_420_UNORM;
    let disjoint = vk::ImageCreateFlags::DISJOINT;
    let plain = vk::ImageCreateFlags::empty();
    for (format, flags, plane) in [
        (vk::Format::R8G8B8A8_UNORM, plain, Some(vk::ImageAspectFlags::PLANE_0)),
        (planar, plain, Some(vk::ImageAspectFlags::PLANE_1)),
        (planar, disjoint, Some(vk::ImageAspectFlags::COLOR)),
        (planar, disjoint, None),
    ] {
        let text = violates(|guest| {
            prepare(guest);
            create_image(guest, format, flags);
            let mut of_plane =
                vk::BindImagePlaneMemoryInfo::default().plane_aspect(plane.unwrap_or_default());
            let mut info =
                vk::BindImageMemoryInfo::default().image(Handle::from_raw(1)).memory(Handle::from_raw(1));
            if plane.is_some() {
                info = info.push_next(&mut of_plane);
            }
            let args = [dispatchable(1), 1, std::ptr::from_ref(&info) as u64];
            guest.command(&commands::VK_BIND_IMAGE_MEMORY_2, &args).unwrap();
            assert!(guest.is_ended());
        });
        assert!(text.contains("plane"), "{format:?} {flags:?} {plane:?}: {text}");
    }
}

#[test]
fn sparse_binding_when_not_in_object_and_memory_ends_the_session() {
    let bind = |resource_offset, size, memory_offset| vk::SparseMemoryBind {
        resource_offset,
        size,
        memory: Handle::from_raw(1),
        memory_offset,
        ..Default::default()
    };
    let of_buffer = |bind: vk::SparseMemoryBind| {
        violates(|guest| {
            prepare(guest);
            let binds = [bind];
            let buffers =
                [vk::SparseBufferMemoryBindInfo::default().buffer(Handle::from_raw(1)).binds(&binds)];
            let info = vk::BindSparseInfo::default().buffer_binds(&buffers);
            let args = [dispatchable(1), 1, std::ptr::from_ref(&info) as u64, 0];
            guest.command(&commands::VK_QUEUE_BIND_SPARSE, &args).unwrap();
            assert!(guest.is_ended());
        })
    };
    for (bind, needle) in [
        (bind(4096, 256, 0), "of an object"),
        (bind(0, 8192, 0), "of an object"),
        (bind(u64::MAX, 2, 0), "of an object"),
        (bind(0, 4096, 4352), "of memory"),
        (bind(0, 4096, u64::MAX - 8), "of memory"),
    ] {
        let text = of_buffer(bind);
        assert!(text.contains(needle), "{bind:?}: {text}");
    }
    let text = violates(|guest| {
        prepare(guest);
        create_image(guest, vk::Format::R8G8B8A8_UNORM, vk::ImageCreateFlags::empty());
        let binds = [bind(0, 256, 0)];
        let images =
            [vk::SparseImageOpaqueMemoryBindInfo::default().image(Handle::from_raw(1)).binds(&binds)];
        let info = vk::BindSparseInfo::default().image_opaque_binds(&images);
        let args = [dispatchable(1), 1, std::ptr::from_ref(&info) as u64, 0];
        guest.command(&commands::VK_QUEUE_BIND_SPARSE, &args).unwrap();
        assert!(guest.is_ended());
    });
    assert!(text.contains("parts of an image"), "{text}");
}

#[test]
fn requirements_when_told_are_those_that_a_call_returns_and_none_of_planes() {
    if let Err(error) = Gpu::open(false, None, "test") {
        eprintln!("skipped: {error}");
        return;
    }
    let renderer = Renderer::start_with_driver(&[]);
    for (number, flags) in
        [(1_u64, vk::ImageCreateFlags::empty()), (u64::MAX, vk::ImageCreateFlags::DISJOINT)]
    {
        let mut guest = renderer.connect();
        assert_eq!(guest.create_device(), Ok(0), "{}", renderer.log());
        let planar = flags.contains(vk::ImageCreateFlags::DISJOINT);
        let format = if planar { vk::Format::G8_B8_R8_3PLANE_420_UNORM } else { vk::Format::R8G8B8A8_UNORM };
        create_image(&mut guest, format, flags);
        let question = [number.to_le_bytes(), 1_u64.to_le_bytes()];
        guest.send(op::TELL_REQUIREMENTS, question.as_flattened()).unwrap();
        guest.call(op::FACTS, &[]).unwrap();
        let told = guest.connection.region.control().answer(number);
        if planar {
            assert_eq!(told, Answer::Here([0; 3]));
            continue;
        }
        let mut out = vk::MemoryRequirements::default();
        let args = [dispatchable(1), 1, &raw mut out as u64];
        let command = &commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS;
        let reply = guest.call(command.opcode, &request(command, &args)).unwrap();
        // SAFETY: arguments of the command.
        unsafe { decode_reply(command, &args, &mut Reader::new(&reply)) }.unwrap();
        let Answer::Here([size, alignment, types]) = told else { panic!("{told:?}") };
        assert_eq!((size, alignment, types as u32), (out.size, out.alignment, out.memory_type_bits));
    }
}

/// The driver's own sizes: a buffer that fits to the byte is bound, and one byte further the guest is gone.
#[test]
fn binding_on_a_driver_when_it_fits_exactly_is_done_and_else_ends_the_session() {
    if let Err(error) = Gpu::open(false, None, "test") {
        eprintln!("skipped: {error}");
        return;
    }
    let renderer = Renderer::start_with_driver(&[]);
    for (size, fits) in [(MEMORY, true), (MEMORY + 1, false)] {
        let mut guest = renderer.connect();
        assert_eq!(guest.create_device(), Ok(0), "{}", renderer.log());
        let reply = guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, MEMORY, 0, 0));
        assert_eq!(reply.map(|reply| ret(&reply)), Ok(0));
        let info = vk::BufferCreateInfo::default().size(size).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        let id = 1_u64;
        let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, 0, std::ptr::from_ref(&id) as u64];
        guest.command(&commands::VK_CREATE_BUFFER, &args).unwrap();
        guest.command(&commands::VK_BIND_BUFFER_MEMORY, &[dispatchable(1), 1, 1, 0]).unwrap();
        // The answer to the next call tells whether there is still somebody.
        let alive = guest.call(op::FACTS, &[]).is_ok();
        assert_eq!(alive, fits, "{size} bytes: {}", renderer.log());
    }
}
