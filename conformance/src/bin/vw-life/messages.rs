//! `VK_EXT_debug_utils`.

use std::ffi::{CStr, c_void};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ash::ext::debug_utils;
use ash::vk;
use ash::vk::Handle;

use crate::gpu::{Gpu, Outcome, check, text};

/// How long the device may take to be lost.
const LIMIT: Duration = Duration::from_secs(30);

/// What messengers have heard.
type Heard = Vec<String>;

unsafe extern "system" fn hear(
    severity: vk::DebugUtilsMessageSeverityFlagsEXT,
    kinds: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    heard: *mut c_void,
) -> vk::Bool32 {
    let string = |text: *const std::ffi::c_char| {
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    };
    let (id, message) = (string((*data).p_message_id_name), string((*data).p_message));
    (*heard.cast::<Heard>()).push(format!("{severity:?} {kinds:?} {id}: {message}"));
    vk::FALSE
}

unsafe fn open() -> Result<Gpu, String> {
    let entry = ash::Entry::load().map_err(|error| error.to_string())?;
    Gpu::open_with(entry, &[debug_utils::NAME], &[], None)
}

fn messenger(heard: &mut Heard) -> vk::DebugUtilsMessengerCreateInfoEXT<'_> {
    let mut info = vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(
            vk::DebugUtilsMessageSeverityFlagsEXT::ERROR | vk::DebugUtilsMessageSeverityFlagsEXT::WARNING,
        )
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::GENERAL)
        .pfn_user_callback(Some(hear));
    info.p_user_data = std::ptr::from_mut(heard).cast();
    info
}

/// Names an object.
unsafe fn name(
    names: &debug_utils::Device,
    object_type: vk::ObjectType,
    object_handle: u64,
    name: &CStr,
) -> Outcome {
    let info = vk::DebugUtilsObjectNameInfoEXT {
        object_type,
        object_handle,
        p_object_name: name.as_ptr(),
        ..Default::default()
    };
    names.set_debug_utils_object_name(&info).map_err(text("vkSetDebugUtilsObjectNameEXT"))
}

pub(crate) unsafe fn run() -> Outcome {
    let gpu = open()?;
    let instance = debug_utils::Instance::new(&gpu.entry, &gpu.instance);
    let mut heard = Heard::new();
    let info = messenger(&mut heard);
    let messenger = instance.create_debug_utils_messenger(&info, None).map_err(text("a messenger"))?;
    let data =
        vk::DebugUtilsMessengerCallbackDataEXT::default().message_id_name(c"own").message(c"the program's");
    let general = vk::DebugUtilsMessageTypeFlagsEXT::GENERAL;
    for severity in
        [vk::DebugUtilsMessageSeverityFlagsEXT::WARNING, vk::DebugUtilsMessageSeverityFlagsEXT::INFO]
    {
        instance.submit_debug_utils_message(severity, general, &data);
    }
    // The loader has messages of its own.
    heard.retain(|line| line.contains("own"));
    heard.iter().for_each(|line| println!("{line}"));
    check(heard.len() == 1, || format!("a message was heard {} times", heard.len()))?;
    names_and_labels(&gpu)?;
    gpu.work(7).map_err(text("after the names"))?;
    instance.destroy_debug_utils_messenger(messenger, None);
    instance.submit_debug_utils_message(vk::DebugUtilsMessageSeverityFlagsEXT::ERROR, general, &data);
    check(heard.len() == 1, || "a message was heard without a messenger".into())?;
    gpu.close(None);
    Ok(())
}

unsafe fn names_and_labels(gpu: &Gpu) -> Outcome {
    let device = &gpu.device;
    let names = debug_utils::Device::new(&gpu.instance, device);
    let fence = device.create_fence(&vk::FenceCreateInfo::default(), None).map_err(text("a fence"))?;
    let event = device.create_event(&vk::EventCreateInfo::default(), None).map_err(text("an event"))?;
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = device.create_command_pool(&info, None).map_err(text("a pool"))?;
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let commands = device.allocate_command_buffers(&info).map_err(text("a command buffer"))?;
    // Loaders up to 1.3.239 pass on their own handles of instances and physical devices, which drivers do not survive.
    for (ty, raw) in [
        (vk::ObjectType::DEVICE, device.handle().as_raw()),
        (vk::ObjectType::QUEUE, gpu.queue.as_raw()),
        (vk::ObjectType::COMMAND_BUFFER, commands[0].as_raw()),
        (vk::ObjectType::COMMAND_POOL, pool.as_raw()),
        (vk::ObjectType::FENCE, fence.as_raw()),
        (vk::ObjectType::EVENT, event.as_raw()),
    ] {
        name(&names, ty, raw, c"a name")?;
        name(&names, ty, raw, c"")?;
        let mut info = vk::DebugUtilsObjectTagInfoEXT::default().tag_name(77).tag(b"a tag");
        (info.object_type, info.object_handle) = (ty, raw);
        names.set_debug_utils_object_tag(&info).map_err(text("vkSetDebugUtilsObjectTagEXT"))?;
    }
    let label = |name| vk::DebugUtilsLabelEXT::default().label_name(name).color([1.0, 0.5, 0.0, 1.0]);
    device
        .begin_command_buffer(commands[0], &vk::CommandBufferBeginInfo::default())
        .map_err(text("beginning"))?;
    names.cmd_begin_debug_utils_label(commands[0], &label(c"outer"));
    names.cmd_insert_debug_utils_label(commands[0], &label(c"here"));
    names.cmd_end_debug_utils_label(commands[0]);
    device.end_command_buffer(commands[0]).map_err(text("ending"))?;
    names.queue_begin_debug_utils_label(gpu.queue, &label(c"frame"));
    names.queue_insert_debug_utils_label(gpu.queue, &label(c"now"));
    let submit = [vk::SubmitInfo::default().command_buffers(&commands)];
    device.queue_submit(gpu.queue, &submit, fence).map_err(text("submitting"))?;
    names.queue_end_debug_utils_label(gpu.queue);
    device.queue_wait_idle(gpu.queue).map_err(text("waiting"))?;
    device.destroy_command_pool(pool, None);
    device.destroy_event(event, None);
    device.destroy_fence(fence, None);
    Ok(())
}

pub(crate) unsafe fn of_loss(ready: &Path) -> Outcome {
    let gpu = open()?;
    let instance = debug_utils::Instance::new(&gpu.entry, &gpu.instance);
    let mut heard = Heard::new();
    let info = messenger(&mut heard);
    let messenger = instance.create_debug_utils_messenger(&info, None).map_err(text("a messenger"))?;
    gpu.work(1).map_err(text("the first work"))?;
    fs::write(ready, "").map_err(|error| error.to_string())?;
    let started = Instant::now();
    let code = loop {
        match gpu.work(2) {
            Ok(()) => check(started.elapsed() < LIMIT, || "the device is not lost".into())?,
            Err(code) => break code,
        }
    };
    check(code == vk::Result::ERROR_DEVICE_LOST, || format!("{code:?}"))?;
    instance.destroy_debug_utils_messenger(messenger, None);
    gpu.close(None);
    heard.iter().for_each(|line| println!("{line}"));
    Ok(())
}

pub(crate) unsafe fn named_misuse() -> Outcome {
    let gpu = open()?;
    let names = debug_utils::Device::new(&gpu.instance, &gpu.device);
    let info = vk::BufferCreateInfo::default().size(64).usage(vk::BufferUsageFlags::TRANSFER_SRC);
    let buffer = gpu.device.create_buffer(&info, None).map_err(text("a buffer"))?;
    name(&names, vk::ObjectType::BUFFER, buffer.as_raw(), c"the forgotten one")?;
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = gpu.device.create_command_pool(&info, None).map_err(text("a pool"))?;
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
    let commands = gpu.device.allocate_command_buffers(&info).map_err(text("a command buffer"))?;
    let begin = vk::CommandBufferBeginInfo::default();
    gpu.device.begin_command_buffer(commands[0], &begin).map_err(text("beginning"))?;
    gpu.device.cmd_fill_buffer(commands[0], buffer, 0, 64, 0);
    gpu.device.end_command_buffer(commands[0]).map_err(text("ending"))?;
    // The host has come so far when this is done.
    gpu.work(1).map_err(text("the work"))?;
    gpu.device.destroy_command_pool(pool, None);
    gpu.device.destroy_buffer(buffer, None);
    gpu.close(None);
    Ok(())
}
