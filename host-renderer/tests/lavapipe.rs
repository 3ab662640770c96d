//! A session on a real driver: what the GPU writes is seen in the window, and work that never ends does not outlive its
//! guest. Needs a Vulkan device that imports shared pages; lavapipe does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use ash::vk::{self, Handle};
use common::{Guest, Renderer, allocate_payload, dispatchable, record, request, ret, wait_for};
use vw_host_renderer::gpu::Gpu;
use vw_wire_protocol::facts::Facts;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::record::op;

/// A renderer on the host's driver; none, with a word about it, where there is no driver.
fn renderer() -> Option<Renderer> {
    if let Err(error) = Gpu::open(false, None, "test") {
        eprintln!("skipped: {error}");
        return None;
    }
    Some(Renderer::start_with_driver(&[]))
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

#[test]
fn gpu_when_it_fills_a_buffer_writes_to_the_window() {
    let Some(renderer) = renderer() else { return };
    let mut guest = renderer.connect();
    let facts = Facts::decode(&guest.call(op::FACTS, &[]).unwrap()).unwrap();
    let ty = visible_type(&facts);
    assert_eq!(guest.create_device(), Ok(0), "{}", renderer.log());
    let page = guest.connection.region.layout().page_size() as u64;
    let reply = guest.call(op::ALLOCATE_MEMORY, &allocate_payload(1, 4096, page, ty)).unwrap();
    assert_eq!(ret(&reply), 0);
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
    for at in [page, page + 4092] {
        // SAFETY: the window is larger than two pages.
        let word = unsafe { region.window().0.as_ptr().add(at as usize).cast::<u32>().read_volatile() };
        assert_eq!(word, 0xABCD_1234, "at {at}");
    }
    assert_eq!(region.control().device_lost(), None);
}

#[test]
fn guest_when_it_disappears_with_work_that_never_ends_is_freed() {
    let Some(renderer) = renderer() else { return };
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
