//! A session on a real driver: what the GPU writes is seen in the window, and work that never ends does not outlive its
//! guest. Needs a Vulkan device that imports shared pages; lavapipe does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use ash::vk::{self, Handle};
use common::{Guest, Renderer, allocate_payload, dispatchable, record, request, ret, wait_for};
use vw_host_renderer::gpu::Gpu;
use vw_host_renderer::gpu::import::{Choice, Import, Rung, climb};
use vw_host_renderer::gpu::offer::Offer;
use vw_wire_protocol::facts::Facts;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::op;

/// A renderer on the host's driver; none, with a word about it, where there is no driver.
fn renderer(arguments: &[&str]) -> Option<Renderer> {
    if let Err(error) = Gpu::open(false, None, "test") {
        eprintln!("skipped: {error}");
        return None;
    }
    Some(Renderer::start_with_driver(arguments))
}

/// The first host-visible memory type that the guest may use.
fn visible_type(facts: &Facts) -> u32 {
    // SAFETY: the root of this chain is this structure.
    let memory = unsafe { facts.memory.root().get::<vk::PhysicalDeviceMemoryProperties2<'_>>() };
    let types = memory.memory_properties.memory_types_as_slice();
    let visible =
        types.iter().position(|ty| ty.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE));
    visible.expect("a host-visible memory type") as u32
}

fn create<T>(guest: &mut Guest, command: &vw_wire_protocol::schema::Command, info: &T) {
    let id = 1_u64;
    let args = [dispatchable(1), std::ptr::from_ref(info) as u64, 0, std::ptr::from_ref(&id) as u64];
    guest.command(command, &args).unwrap();
}

/// What the program finds in its memory after the GPU has filled that; `shown`: it has said that it looks.
fn filled(renderer: &Renderer, shown: bool) -> [u32; 2] {
    let mut guest = renderer.connect();
    let facts = Facts::decode(&guest.call(op::FACTS, &[]).unwrap()).unwrap();
    let ty = visible_type(&facts);
    assert_eq!(guest.create_device(), Ok(0), "{}", renderer.log());
    let page = guest.connection.region.layout().page_size() as u64;
    let reply = guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 4096, page, ty)).unwrap();
    assert_eq!(ret(&reply), 0);
    if shown {
        assert_eq!(guest.call(op::SHOW_MEMORY, &1_u64.to_le_bytes()), Ok(vec![0; 4]), "{}", renderer.log());
    }
    let info = vk::BufferCreateInfo::default().size(4096).usage(vk::BufferUsageFlags::TRANSFER_DST);
    create(&mut guest, &commands::VK_CREATE_BUFFER, &info);
    guest.command(&commands::VK_BIND_BUFFER_MEMORY, &[dispatchable(1), 1, 1, 0]).unwrap();
    create(&mut guest, &commands::VK_CREATE_COMMAND_POOL, &vk::CommandPoolCreateInfo::default());
    let info =
        vk::CommandBufferAllocateInfo::default().command_pool(Handle::from_raw(1)).command_buffer_count(1);
    let buffer = dispatchable(1);
    let args = [dispatchable(1), std::ptr::from_ref(&info) as u64, std::ptr::from_ref(&buffer) as u64];
    guest.command(&commands::VK_ALLOCATE_COMMAND_BUFFERS, &args).unwrap();
    let info = vk::CommandBufferBeginInfo::default();
    guest
        .command(&commands::VK_BEGIN_COMMAND_BUFFER, &[dispatchable(1), std::ptr::from_ref(&info) as u64])
        .unwrap();
    let fill = &commands::VK_CMD_FILL_BUFFER;
    let fill = record(fill.opcode, &request(fill, &[dispatchable(1), 1, 0, vk::WHOLE_SIZE, 0xABCD_1234]));
    guest.send(op::STREAM, &[1_u64.to_le_bytes().to_vec(), fill].concat()).unwrap();
    guest.command(&commands::VK_END_COMMAND_BUFFER, &[dispatchable(1)]).unwrap();
    let buffers: [vk::CommandBuffer; 1] = [Handle::from_raw(dispatchable(1))];
    let info = vk::SubmitInfo::default().command_buffers(&buffers);
    let args = [dispatchable(1), 1, std::ptr::from_ref(&info) as u64, 0];
    guest.submit(&args).unwrap();
    let region = &guest.connection.region;
    assert!(wait_for(|| region.control().completed(0) == 1), "{}", renderer.log());
    assert_eq!(region.control().device_lost(), None);
    [page, page + 4092].map(|at| {
        // SAFETY: the window is larger than two pages.
        unsafe { region.window().0.as_ptr().add(at as usize).cast::<u32>().read_volatile() }
    })
}

#[test]
fn gpu_when_it_fills_a_buffer_writes_to_the_window() {
    let Some(renderer) = renderer(&[]) else { return };
    assert_eq!(filled(&renderer, false), [0xABCD_1234; 2]);
}

#[test]
fn gpu_when_it_has_memory_of_its_own_is_copied_from_where_the_program_looks() {
    let Some(renderer) = renderer(&["--import", "copy"]) else { return };
    assert_eq!(filled(&renderer, true), [0xABCD_1234; 2]);
    assert_eq!(filled(&renderer, false), [0; 2]);
}

/// What a driver cannot do is tried no further, and said; the last way is left.
#[test]
fn driver_when_it_imports_nothing_has_its_memory_copied_and_the_reasons_are_told() {
    let Ok(mut gpu) = Gpu::open(false, None, "test") else { return eprintln!("skipped: no driver") };
    gpu.offer = Offer::new(gpu.offer.api_version, Vec::new(), Vec::new());
    let (import, udmabuf) = climb(&gpu, Choice::Auto).unwrap();
    assert!(import.rung == Rung::Copy && udmabuf.is_none());
    for reason in [
        "not by host-pointer, because the driver of ",
        " lacks VK_EXT_external_memory_host; not by udmabuf, because the driver of ",
        " lacks VK_KHR_external_memory_fd",
    ] {
        assert!(import.describe().contains(reason), "{}", import.describe());
    }
    assert_eq!(Import::parse(&import.to_text()), Some(import));
    assert!(climb(&gpu, Choice::HostPointer).unwrap_err().contains("lacks VK_EXT_external_memory_host"));
}

#[test]
fn guest_when_it_disappears_with_work_that_never_ends_is_freed() {
    let Some(renderer) = renderer(&[]) else { return };
    let mut guest = renderer.connect();
    let facts = Facts::decode(&guest.call(op::FACTS, &[]).unwrap()).unwrap();
    if facts.api_version < vk::API_VERSION_1_2 {
        eprintln!("skipped: no timeline semaphores");
        return;
    }
    let mut features = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true);
    assert_eq!(
        guest.create_device_with(std::ptr::from_mut(&mut features) as u64),
        Ok(0),
        "{}",
        renderer.log()
    );
    let mut ty = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
    create(
        &mut guest,
        &commands::VK_CREATE_SEMAPHORE,
        &vk::SemaphoreCreateInfo::default().push_next(&mut ty),
    );
    // Waits for a value that nobody will ever signal.
    let (semaphores, values): ([vk::Semaphore; 1], _) = ([Handle::from_raw(1)], [1]);
    let mut timeline = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values);
    let info = vk::SubmitInfo::default()
        .wait_semaphores(&semaphores)
        .wait_dst_stage_mask(&[vk::PipelineStageFlags::ALL_COMMANDS])
        .push_next(&mut timeline);
    let args = [dispatchable(1), 1, std::ptr::from_ref(&info) as u64, 0];
    guest.submit(&args).unwrap();
    guest.call(op::FACTS, &[]).unwrap();
    assert_eq!(guest.connection.region.control().completed(0), 0);
    drop(guest);
    assert!(wait_for(|| renderer.children().is_empty()), "{}", renderer.log());
    assert!(renderer.logs(&["session ended", "guest disconnected"]), "{}", renderer.log());
}

/// What a process found out about the device, the next one does not try again.
#[test]
fn trial_when_done_once_is_not_done_again() {
    let Some(renderer) = renderer(&["--warm", "1", "--log", "debug"]) else { return };
    assert!(renderer.logs(&["the ways to import memory", "known=false"]), "{}", renderer.log());
    // What a process says counts only before it has a guest, so that this may take more than one.
    let known = wait_for(|| {
        drop(renderer.connect());
        std::thread::sleep(Duration::from_millis(300));
        renderer.log().contains("known=true")
    });
    assert!(known, "{}", renderer.log());
}
