//! `VkAllocationCallbacks`.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;

use ash::vk;

use crate::gpu::{Gpu, Outcome, check, text};

/// Counts, and refuses on demand.
#[derive(Default)]
struct Recorder {
    live: RefCell<HashMap<usize, Layout>>,
    /// Allocations made since the last look.
    made: Cell<u32>,
    /// Allocations that are granted before the rest is refused.
    granted: Cell<Option<u32>>,
    unknown: Cell<u32>,
}

unsafe extern "system" fn allocate(
    recorder: *mut c_void,
    size: usize,
    align: usize,
    _: vk::SystemAllocationScope,
) -> *mut c_void {
    let recorder = &*recorder.cast::<Recorder>();
    recorder.made.set(recorder.made.get() + 1);
    if let Some(left) = recorder.granted.get() {
        match left.checked_sub(1) {
            Some(left) => recorder.granted.set(Some(left)),
            None => return std::ptr::null_mut(),
        }
    }
    let Ok(layout) = Layout::from_size_align(size.max(1), align.max(1)) else {
        return std::ptr::null_mut();
    };
    let memory = alloc(layout);
    recorder.live.borrow_mut().insert(memory as usize, layout);
    memory.cast()
}

unsafe extern "system" fn reallocate(
    recorder: *mut c_void,
    old: *mut c_void,
    size: usize,
    align: usize,
    scope: vk::SystemAllocationScope,
) -> *mut c_void {
    let new = allocate(recorder, size, align, scope);
    let kept = (*recorder.cast::<Recorder>()).live.borrow().get(&(old as usize)).map_or(0, Layout::size);
    if !new.is_null() && !old.is_null() {
        new.cast::<u8>().copy_from_nonoverlapping(old.cast(), kept.min(size));
        free(recorder, old);
    }
    new
}

unsafe extern "system" fn free(recorder: *mut c_void, memory: *mut c_void) {
    let recorder = &*recorder.cast::<Recorder>();
    let layout = recorder.live.borrow_mut().remove(&(memory as usize));
    match layout {
        Some(layout) => dealloc(memory.cast(), layout),
        None if memory.is_null() => {}
        None => recorder.unknown.set(recorder.unknown.get() + 1),
    }
}

impl Recorder {
    fn callbacks(&self) -> vk::AllocationCallbacks<'static> {
        vk::AllocationCallbacks {
            p_user_data: std::ptr::from_ref(self).cast_mut().cast(),
            pfn_allocation: Some(allocate),
            pfn_reallocation: Some(reallocate),
            pfn_free: Some(free),
            ..Default::default()
        }
    }

    /// That creating calls back, refusing fails as it should, and destroying leaves nothing.
    unsafe fn object<T: vk::Handle + Copy>(
        &self,
        what: &str,
        create: impl Fn(&vk::AllocationCallbacks<'_>) -> Result<T, vk::Result>,
        destroy: impl Fn(T, &vk::AllocationCallbacks<'_>),
    ) -> Outcome {
        let callbacks = self.callbacks();
        let before = self.live.borrow().len();
        self.made.set(0);
        let object = create(&callbacks).map_err(text(what))?;
        check(self.made.get() > 0, || format!("{what}: the callbacks were not called"))?;
        destroy(object, &callbacks);
        check(self.live.borrow().len() == before, || format!("{what}: something is left"))?;
        for granted in 0..self.made.get() {
            self.granted.set(Some(granted));
            let refused = create(&callbacks);
            self.granted.set(None);
            match refused {
                Err(vk::Result::ERROR_OUT_OF_HOST_MEMORY) => {}
                // What is only nice to have may be gone without.
                Ok(object) if granted > 0 => destroy(object, &callbacks),
                Ok(_) => return Err(format!("{what}: created without memory")),
                Err(code) => return Err(format!("{what}: {code:?} without memory")),
            }
            check(self.live.borrow().len() == before, || format!("{what}: a refusal leaks"))?;
        }
        check(self.unknown.get() == 0, || format!("{what}: freed what was never allocated"))
    }
}

pub(crate) unsafe fn run() -> Outcome {
    let gpu = Gpu::open()?;
    let recorder = Recorder::default();
    simple_objects(&gpu, &recorder)?;
    pooled_objects(&gpu, &recorder)?;
    several_pipelines(&gpu, &recorder)?;
    gpu.close(None);
    parents(&recorder)
}

unsafe fn simple_objects(gpu: &Gpu, recorder: &Recorder) -> Outcome {
    let device = &gpu.device;
    macro_rules! object {
        ($info:expr, $create:ident, $destroy:ident) => {
            recorder.object(
                stringify!($create),
                |callbacks| device.$create(&$info, Some(callbacks)),
                |object, callbacks| device.$destroy(object, Some(callbacks)),
            )?
        };
    }
    let buffer = vk::BufferCreateInfo::default().size(64).usage(vk::BufferUsageFlags::UNIFORM_TEXEL_BUFFER);
    object!(buffer, create_buffer, destroy_buffer);
    let image = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(vk::Format::R8G8B8A8_UNORM)
        .extent(vk::Extent3D { width: 4, height: 4, depth: 1 })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::SAMPLED);
    object!(image, create_image, destroy_image);
    let memory = vk::MemoryAllocateInfo::default().allocation_size(4096).memory_type_index(gpu.memory_type);
    object!(memory, allocate_memory, free_memory);
    object!(vk::FenceCreateInfo::default(), create_fence, destroy_fence);
    object!(vk::SemaphoreCreateInfo::default(), create_semaphore, destroy_semaphore);
    object!(vk::EventCreateInfo::default(), create_event, destroy_event);
    let queries = vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::OCCLUSION).query_count(4);
    object!(queries, create_query_pool, destroy_query_pool);
    object!(vk::SamplerCreateInfo::default(), create_sampler, destroy_sampler);
    object!(vk::PipelineCacheCreateInfo::default(), create_pipeline_cache, destroy_pipeline_cache);
    object!(vk::PipelineLayoutCreateInfo::default(), create_pipeline_layout, destroy_pipeline_layout);
    object!(
        vk::DescriptorSetLayoutCreateInfo::default(),
        create_descriptor_set_layout,
        destroy_descriptor_set_layout
    );
    let commands = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    object!(commands, create_command_pool, destroy_command_pool);
    let slot = vk::PrivateDataSlotCreateInfo::default();
    object!(slot, create_private_data_slot, destroy_private_data_slot);
    Ok(())
}

/// Objects of pools take their memory from the pools' callbacks.
unsafe fn pooled_objects(gpu: &Gpu, recorder: &Recorder) -> Outcome {
    let (device, callbacks) = (&gpu.device, recorder.callbacks());
    let info = vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family);
    let pool = device.create_command_pool(&info, Some(&callbacks)).map_err(text("a command pool"))?;
    let before = recorder.live.borrow().len();
    let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(3);
    recorder.granted.set(Some(1));
    let refused = device.allocate_command_buffers(&info);
    recorder.granted.set(None);
    check(refused.err() == Some(vk::Result::ERROR_OUT_OF_HOST_MEMORY), || "command buffers".into())?;
    check(recorder.live.borrow().len() == before, || "command buffers: a refusal leaks".into())?;
    device.allocate_command_buffers(&info).map_err(text("command buffers"))?;
    device.destroy_command_pool(pool, Some(&callbacks));
    check(recorder.live.borrow().is_empty(), || "a command pool leaves something".into())?;

    let binding = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::UNIFORM_BUFFER)
        .descriptor_count(1)];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&binding);
    let layout = device.create_descriptor_set_layout(&info, None).map_err(text("a set layout"))?;
    let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::UNIFORM_BUFFER, descriptor_count: 4 }];
    let info = vk::DescriptorPoolCreateInfo::default().max_sets(4).pool_sizes(&sizes);
    let pool = device.create_descriptor_pool(&info, Some(&callbacks)).map_err(text("a descriptor pool"))?;
    let layouts = [layout; 4];
    let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
    device.allocate_descriptor_sets(&info).map_err(text("descriptor sets"))?;
    device.destroy_descriptor_pool(pool, Some(&callbacks));
    device.destroy_descriptor_set_layout(layout, None);
    check(recorder.live.borrow().is_empty(), || "a descriptor pool leaves something".into())
}

/// Of several pipelines in one call those fail alone whose memory is refused, and those behind them where that is asked for.
unsafe fn several_pipelines(gpu: &Gpu, recorder: &Recorder) -> Outcome {
    let device = &gpu.device;
    let code: Vec<u32> = include_bytes!("../../../shaders/fill.comp.spv")
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    let info = vk::ShaderModuleCreateInfo::default().code(&code);
    let module = device.create_shader_module(&info, None).map_err(text("a shader module"))?;
    let binding = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&binding);
    let set = device.create_descriptor_set_layout(&info, None).map_err(text("a set layout"))?;
    let (sets, push) =
        ([set], [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::COMPUTE, offset: 0, size: 12 }]);
    let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&push);
    let layout = device.create_pipeline_layout(&info, None).map_err(text("a pipeline layout"))?;
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(c"main");
    let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout);
    let base = info.flags(vk::PipelineCreateFlags::ALLOW_DERIVATIVES).base_pipeline_index(-1);
    let derived = info.flags(vk::PipelineCreateFlags::DERIVATIVE).base_pipeline_index(0);
    let early = info.flags(vk::PipelineCreateFlags::EARLY_RETURN_ON_FAILURE);
    let callbacks = recorder.callbacks();
    for (what, infos, there) in [
        ("the last of three", [base, derived, info], [true, true, false]),
        ("the last two", [base, derived, early], [true, false, false]),
        ("all behind the first", [base, early, derived], [true, false, false]),
    ] {
        // How many allocations one pipeline takes.
        recorder.made.set(0);
        let one = device
            .create_compute_pipelines(vk::PipelineCache::null(), &infos[..1], Some(&callbacks))
            .map_err(|(_, code)| format!("{what}: {code:?}"))?;
        let each = recorder.made.get();
        device.destroy_pipeline(one[0], Some(&callbacks));
        let granted = there.iter().filter(|there| **there).count() as u32;
        recorder.granted.set(Some(granted * each));
        let created = device.create_compute_pipelines(vk::PipelineCache::null(), &infos, Some(&callbacks));
        recorder.granted.set(None);
        let Err((pipelines, vk::Result::ERROR_OUT_OF_HOST_MEMORY)) = created else {
            return Err(format!("{what}: {created:?}"));
        };
        let found: Vec<_> = pipelines.iter().map(|pipeline| *pipeline != vk::Pipeline::null()).collect();
        check(found == there, || format!("{what}: {found:?}"))?;
        pipelines.iter().for_each(|pipeline| device.destroy_pipeline(*pipeline, Some(&callbacks)));
        check(recorder.live.borrow().is_empty(), || format!("{what}: something is left"))?;
    }
    device.destroy_pipeline_layout(layout, None);
    device.destroy_descriptor_set_layout(set, None);
    device.destroy_shader_module(module, None);
    check(gpu.work(3).is_ok(), || "the device is of no use after refused pipelines".into())
}

/// Instances and devices call back, and stand in for objects that are created without callbacks.
unsafe fn parents(recorder: &Recorder) -> Outcome {
    let callbacks = recorder.callbacks();
    let entry = ash::Entry::load().map_err(|error| error.to_string())?;
    let gpu = Gpu::open_with(entry, &[], &[], Some(&callbacks))?;
    recorder.made.set(0);
    let info = vk::EventCreateInfo::default();
    let event = gpu.device.create_event(&info, None).map_err(text("an event"))?;
    check(recorder.made.get() > 0, || "the device's callbacks were not called for an event".into())?;
    gpu.device.destroy_event(event, None);
    gpu.close(Some(&callbacks));
    check(recorder.live.borrow().is_empty(), || "an instance leaves something".into())?;
    check(recorder.unknown.get() == 0, || "freed what was never allocated".into())
}
