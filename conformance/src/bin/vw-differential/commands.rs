//! Recording, submission, and the pieces that most cases need.

use ash::vk;

use crate::gpu::Gpu;
use crate::resources::Buffer;
use crate::shaders;

/// How long a wait may last, in nanoseconds; longer means that something hangs.
pub(crate) const PATIENCE: u64 = 20_000_000_000;

/// Makes everything before visible to everything after, the host included.
pub(crate) unsafe fn barrier_all(device: &ash::Device, cb: vk::CommandBuffer) {
    let barrier = vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
        .dst_access_mask(vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE);
    let stages = vk::PipelineStageFlags::ALL_COMMANDS | vk::PipelineStageFlags::HOST;
    device.cmd_pipeline_barrier(cb, stages, stages, vk::DependencyFlags::empty(), &[barrier], &[], &[]);
}

impl Gpu {
    /// A pool whose buffers can be reset one by one.
    pub(crate) unsafe fn command_pool(&self) -> vk::CommandPool {
        let info = vk::CommandPoolCreateInfo::default()
            .queue_family_index(self.family)
            .flags(vk::CommandPoolCreateFlags::RESET_COMMAND_BUFFER);
        let pool = self.device.create_command_pool(&info, None).expect("a command pool");
        self.later(move |device| device.destroy_command_pool(pool, None));
        pool
    }

    /// Command buffers of a pool of their own.
    pub(crate) unsafe fn command_buffers(
        &self,
        level: vk::CommandBufferLevel,
        count: u32,
    ) -> Vec<vk::CommandBuffer> {
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(self.command_pool())
            .level(level)
            .command_buffer_count(count);
        self.device.allocate_command_buffers(&info).expect("command buffers")
    }

    /// Records a command buffer, submits it and waits.
    pub(crate) unsafe fn run(&self, record: impl FnOnce(vk::CommandBuffer)) {
        let cb = self.record(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, record);
        self.submit_and_wait(cb);
    }

    /// Records a primary command buffer.
    pub(crate) unsafe fn record(
        &self,
        flags: vk::CommandBufferUsageFlags,
        record: impl FnOnce(vk::CommandBuffer),
    ) -> vk::CommandBuffer {
        let cb = self.command_buffers(vk::CommandBufferLevel::PRIMARY, 1)[0];
        let begin = vk::CommandBufferBeginInfo::default().flags(flags);
        self.device.begin_command_buffer(cb, &begin).expect("recording begins");
        record(cb);
        self.device.end_command_buffer(cb).expect("recording ends");
        cb
    }

    /// Submits one command buffer and waits for its fence.
    pub(crate) unsafe fn submit_and_wait(&self, cb: vk::CommandBuffer) {
        let fence = self.device.create_fence(&vk::FenceCreateInfo::default(), None).expect("a fence");
        let buffers = [cb];
        let submit = vk::SubmitInfo::default().command_buffers(&buffers);
        {
            let _queue = self.queue_lock.lock();
            self.device.queue_submit(self.queue, &[submit], fence).expect("a submission");
        }
        self.device.wait_for_fences(&[fence], true, PATIENCE).expect("a finished submission");
        self.device.destroy_fence(fence, None);
    }

    /// A layout of descriptor sets; bindings in order, one descriptor each, for all stages.
    pub(crate) unsafe fn set_layout(&self, types: &[vk::DescriptorType]) -> vk::DescriptorSetLayout {
        let bindings: Vec<_> = (0..)
            .zip(types)
            .map(|(binding, kind)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(*kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::ALL)
            })
            .collect();
        self.set_layout_of(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings))
    }

    /// A layout as described.
    pub(crate) unsafe fn set_layout_of(
        &self,
        info: &vk::DescriptorSetLayoutCreateInfo<'_>,
    ) -> vk::DescriptorSetLayout {
        let layout = self.device.create_descriptor_set_layout(info, None).expect("a set layout");
        self.later(move |device| device.destroy_descriptor_set_layout(layout, None));
        layout
    }

    /// A pool with room for `each` descriptors of each of the types.
    pub(crate) unsafe fn descriptor_pool(
        &self,
        types: &[vk::DescriptorType],
        each: u32,
        sets: u32,
        flags: vk::DescriptorPoolCreateFlags,
    ) -> vk::DescriptorPool {
        let sizes: Vec<_> =
            types.iter().map(|ty| vk::DescriptorPoolSize { ty: *ty, descriptor_count: each }).collect();
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(sets).pool_sizes(&sizes).flags(flags);
        let pool = self.device.create_descriptor_pool(&info, None).expect("a descriptor pool");
        self.later(move |device| device.destroy_descriptor_pool(pool, None));
        pool
    }

    /// One set of a pool of its own.
    pub(crate) unsafe fn set(
        &self,
        layout: vk::DescriptorSetLayout,
        types: &[vk::DescriptorType],
    ) -> vk::DescriptorSet {
        let pool = self.descriptor_pool(types, 4, 1, vk::DescriptorPoolCreateFlags::empty());
        let layouts = [layout];
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
        self.device.allocate_descriptor_sets(&info).expect("a descriptor set")[0]
    }

    /// A set of storage buffers with its layout.
    pub(crate) unsafe fn storage_set(
        &self,
        buffers: &[Buffer],
    ) -> (vk::DescriptorSetLayout, vk::DescriptorSet) {
        let types = vec![vk::DescriptorType::STORAGE_BUFFER; buffers.len()];
        let layout = self.set_layout(&types);
        let set = self.set(layout, &types);
        for (binding, buffer) in (0..).zip(buffers) {
            self.write_buffer(set, binding, vk::DescriptorType::STORAGE_BUFFER, buffer.whole());
        }
        (layout, set)
    }

    /// Puts a buffer into a set.
    pub(crate) unsafe fn write_buffer(
        &self,
        set: vk::DescriptorSet,
        binding: u32,
        kind: vk::DescriptorType,
        info: vk::DescriptorBufferInfo,
    ) {
        let infos = [info];
        let write = vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(binding)
            .descriptor_type(kind)
            .buffer_info(&infos);
        self.device.update_descriptor_sets(&[write], &[]);
    }

    /// Puts an image, in the layout GENERAL, into a set.
    pub(crate) unsafe fn write_image(
        &self,
        set: vk::DescriptorSet,
        binding: u32,
        kind: vk::DescriptorType,
        view: vk::ImageView,
        sampler: vk::Sampler,
    ) {
        let infos =
            [vk::DescriptorImageInfo { sampler, image_view: view, image_layout: vk::ImageLayout::GENERAL }];
        let write = vk::WriteDescriptorSet::default()
            .dst_set(set)
            .dst_binding(binding)
            .descriptor_type(kind)
            .image_info(&infos);
        self.device.update_descriptor_sets(&[write], &[]);
    }

    /// A pipeline layout with 128 bytes of push constants for all stages.
    pub(crate) unsafe fn pipeline_layout(&self, sets: &[vk::DescriptorSetLayout]) -> vk::PipelineLayout {
        let push = [vk::PushConstantRange { stage_flags: vk::ShaderStageFlags::ALL, offset: 0, size: 128 }];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(sets).push_constant_ranges(&push);
        let layout = self.device.create_pipeline_layout(&info, None).expect("a pipeline layout");
        self.later(move |device| device.destroy_pipeline_layout(layout, None));
        layout
    }

    /// A compute pipeline with its layout.
    pub(crate) unsafe fn compute(
        &self,
        code: &[u8],
        sets: &[vk::DescriptorSetLayout],
    ) -> (vk::Pipeline, vk::PipelineLayout) {
        let layout = self.pipeline_layout(sets);
        let info = vk::ComputePipelineCreateInfo::default().layout(layout).stage(
            vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(shaders::module(self, code))
                .name(c"main"),
        );
        (self.compute_of(&info, vk::PipelineCache::null()), layout)
    }

    /// A compute pipeline as described.
    pub(crate) unsafe fn compute_of(
        &self,
        info: &vk::ComputePipelineCreateInfo<'_>,
        cache: vk::PipelineCache,
    ) -> vk::Pipeline {
        let infos = std::slice::from_ref(info);
        let pipeline =
            self.device.create_compute_pipelines(cache, infos, None).expect("a compute pipeline")[0];
        self.later(move |device| device.destroy_pipeline(pipeline, None));
        pipeline
    }

    /// Runs a compute shader once on sets of descriptors.
    pub(crate) unsafe fn dispatch(
        &self,
        code: &[u8],
        sets: &[(vk::DescriptorSetLayout, vk::DescriptorSet)],
        push: &[u8],
        groups: [u32; 3],
    ) {
        let layouts: Vec<_> = sets.iter().map(|(layout, _)| *layout).collect();
        let sets: Vec<_> = sets.iter().map(|(_, set)| *set).collect();
        let (pipeline, layout) = self.compute(code, &layouts);
        self.run(|cb| {
            self.bind_compute(cb, pipeline, layout, &sets, push);
            self.device.cmd_dispatch(cb, groups[0], groups[1], groups[2]);
            barrier_all(&self.device, cb);
        });
    }

    /// Binds a compute pipeline, its sets and push constants.
    pub(crate) unsafe fn bind_compute(
        &self,
        cb: vk::CommandBuffer,
        pipeline: vk::Pipeline,
        layout: vk::PipelineLayout,
        sets: &[vk::DescriptorSet],
        push: &[u8],
    ) {
        let point = vk::PipelineBindPoint::COMPUTE;
        self.device.cmd_bind_pipeline(cb, point, pipeline);
        if !sets.is_empty() {
            self.device.cmd_bind_descriptor_sets(cb, point, layout, 0, sets, &[]);
        }
        if !push.is_empty() {
            self.device.cmd_push_constants(cb, layout, vk::ShaderStageFlags::ALL, 0, push);
        }
    }
}
