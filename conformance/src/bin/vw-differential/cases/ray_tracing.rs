//! Acceleration structures, ray queries, ray tracing pipelines.

use ash::{khr, vk};
use vk::AccelerationStructureTypeKHR as Level;

use crate::commands::barrier_all;
use crate::gpu::Gpu;
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer};
use crate::shaders;

/// Every use that ray tracing makes of a buffer.
fn usage() -> vk::BufferUsageFlags {
    ANY_USE
        | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS
        | vk::BufferUsageFlags::ACCELERATION_STRUCTURE_STORAGE_KHR
        | vk::BufferUsageFlags::ACCELERATION_STRUCTURE_BUILD_INPUT_READ_ONLY_KHR
        | vk::BufferUsageFlags::SHADER_BINDING_TABLE_KHR
}

struct Tracer<'a> {
    gpu: &'a Gpu,
    functions: khr::acceleration_structure::Device,
}

impl<'a> Tracer<'a> {
    fn new(gpu: &'a Gpu, report: &Report) -> Option<Self> {
        if gpu.more.acceleration.acceleration_structure == 0 || gpu.more.ray_query.ray_query == 0 {
            report.line("ray tracing", "not offered");
            return None;
        }
        let functions = khr::acceleration_structure::Device::new(&gpu.instance, &gpu.device);
        Some(Self { gpu, functions })
    }

    unsafe fn buffer_of<T: bytemuck::NoUninit>(&self, data: &[T]) -> Buffer {
        let buffer = self.gpu.buffer(size_of_val(data) as u64, usage());
        buffer.write(0, data);
        buffer
    }

    unsafe fn address(&self, buffer: &Buffer) -> vk::DeviceAddress {
        let info = vk::BufferDeviceAddressInfo::default().buffer(buffer.handle);
        self.gpu.device.get_buffer_device_address(&info)
    }

    unsafe fn create(&self, level: Level, size: u64) -> vk::AccelerationStructureKHR {
        let storage = self.gpu.buffer(size, usage());
        let info =
            vk::AccelerationStructureCreateInfoKHR::default().buffer(storage.handle).size(size).ty(level);
        let made = self.functions.create_acceleration_structure(&info, None).expect("a structure");
        let functions = self.functions.clone();
        self.gpu.later(move |_| functions.destroy_acceleration_structure(made, None));
        made
    }

    /// Builds a structure of one geometry.
    unsafe fn build(
        &self,
        report: &Report,
        level: Level,
        geometry: vk::AccelerationStructureGeometryKHR<'_>,
        count: u32,
    ) -> vk::AccelerationStructureKHR {
        let geometries = [geometry];
        let mut info = vk::AccelerationStructureBuildGeometryInfoKHR::default()
            .ty(level)
            .flags(vk::BuildAccelerationStructureFlagsKHR::ALLOW_COMPACTION)
            .mode(vk::BuildAccelerationStructureModeKHR::BUILD)
            .geometries(&geometries);
        let mut sizes = vk::AccelerationStructureBuildSizesInfoKHR::default();
        let kind = vk::AccelerationStructureBuildTypeKHR::DEVICE;
        self.functions.get_acceleration_structure_build_sizes(kind, &info, &[count], &mut sizes);
        report.line("sizes", format!("{} {}", sizes.acceleration_structure_size, sizes.build_scratch_size));
        let made = self.create(level, sizes.acceleration_structure_size);
        let scratch = self.gpu.buffer(sizes.build_scratch_size.max(256), usage());
        info = info.dst_acceleration_structure(made);
        info.scratch_data.device_address = self.address(&scratch);
        let range = vk::AccelerationStructureBuildRangeInfoKHR::default().primitive_count(count);
        self.gpu.run(|cb| {
            self.functions.cmd_build_acceleration_structures(cb, &[info], &[&[range]]);
            barrier_all(&self.gpu.device, cb);
        });
        made
    }

    unsafe fn device_address(&self, structure: vk::AccelerationStructureKHR) -> u64 {
        let info = vk::AccelerationStructureDeviceAddressInfoKHR::default().acceleration_structure(structure);
        self.functions.get_acceleration_structure_device_address(&info)
    }

    /// Two triangles, at depths 0 and 0.5.
    unsafe fn triangles(&self, report: &Report) -> vk::AccelerationStructureKHR {
        let corners: [[f32; 3]; 6] = [
            [-0.9, -0.9, 0.0],
            [0.5, -0.9, 0.0],
            [-0.9, 0.5, 0.0],
            [0.9, 0.9, 0.5],
            [-0.5, 0.9, 0.5],
            [0.9, -0.5, 0.5],
        ];
        let vertices = self.buffer_of(&corners);
        let triangles = vk::AccelerationStructureGeometryTrianglesDataKHR::default()
            .vertex_format(vk::Format::R32G32B32_SFLOAT)
            .vertex_data(vk::DeviceOrHostAddressConstKHR { device_address: self.address(&vertices) })
            .vertex_stride(12)
            .max_vertex(5)
            .index_type(vk::IndexType::NONE_KHR);
        let geometry = vk::AccelerationStructureGeometryKHR::default()
            .geometry_type(vk::GeometryTypeKHR::TRIANGLES)
            .geometry(vk::AccelerationStructureGeometryDataKHR { triangles })
            .flags(vk::GeometryFlagsKHR::OPAQUE);
        self.build(report, Level::BOTTOM_LEVEL, geometry, 2)
    }

    /// The bottom structure twice, the second smaller and nearer.
    unsafe fn scene(
        &self,
        report: &Report,
        bottom: vk::AccelerationStructureKHR,
    ) -> vk::AccelerationStructureKHR {
        let instance = |scale: f32, z: f32, index: u32| -> [u32; 16] {
            let rows = [scale, 0.0, 0.0, 0.0, 0.0, scale, 0.0, 0.0, 0.0, 0.0, 1.0, z];
            let mut words = [0; 16];
            for (word, value) in words.iter_mut().zip(rows) {
                *word = f32::to_bits(value);
            }
            words[12] = index | 0xff << 24;
            words[13] = vk::GeometryInstanceFlagsKHR::TRIANGLE_FACING_CULL_DISABLE.as_raw() << 24;
            let address = self.device_address(bottom);
            (words[14], words[15]) = (address as u32, (address >> 32) as u32);
            words
        };
        let instances = self.buffer_of(&[instance(1.0, 0.0, 1), instance(0.5, -0.25, 2)]);
        let data = vk::AccelerationStructureGeometryInstancesDataKHR::default()
            .data(vk::DeviceOrHostAddressConstKHR { device_address: self.address(&instances) });
        let geometry = vk::AccelerationStructureGeometryKHR::default()
            .geometry_type(vk::GeometryTypeKHR::INSTANCES)
            .geometry(vk::AccelerationStructureGeometryDataKHR { instances: data });
        self.build(report, Level::TOP_LEVEL, geometry, 2)
    }

    /// A set of the scene and a buffer of results.
    unsafe fn set(
        &self,
        scene: vk::AccelerationStructureKHR,
        result: &Buffer,
    ) -> (vk::DescriptorSetLayout, vk::DescriptorSet) {
        let types = [vk::DescriptorType::ACCELERATION_STRUCTURE_KHR, vk::DescriptorType::STORAGE_BUFFER];
        let layout = self.gpu.set_layout(&types);
        let set = self.gpu.set(layout, &types);
        let scenes = [scene];
        let mut structures =
            vk::WriteDescriptorSetAccelerationStructureKHR::default().acceleration_structures(&scenes);
        let mut write = vk::WriteDescriptorSet::default()
            .dst_set(set)
            .descriptor_type(types[0])
            .push_next(&mut structures);
        write.descriptor_count = 1;
        self.gpu.device.update_descriptor_sets(&[write], &[]);
        self.gpu.write_buffer(set, 1, types[1], result.whole());
        (layout, set)
    }

    unsafe fn query(&self, report: &Report, label: &str, scene: vk::AccelerationStructureKHR) {
        let result = self.gpu.buffer(16 * 16 * 4, ANY_USE);
        let set = self.set(scene, &result);
        self.gpu.dispatch(shaders::RAY_QUERY, &[set], &[], [2, 2, 1]);
        report.bytes(label, &result.read());
        report.words(label, &result.words(256)[96..112]);
    }
}

pub(super) unsafe fn queries(gpu: &Gpu, report: &Report) {
    let Some(tracer) = Tracer::new(gpu, report) else { return };
    let bottom = tracer.triangles(report);
    let scene = tracer.scene(report, bottom);
    tracer.query(report, "hits", scene);
}

/// Copied, compacted, written to memory and read back.
pub(super) unsafe fn copies(gpu: &Gpu, report: &Report) {
    let Some(tracer) = Tracer::new(gpu, report) else { return };
    let functions = &tracer.functions;
    let bottom = tracer.triangles(report);
    let scene = tracer.scene(report, bottom);
    let kinds = [
        vk::QueryType::ACCELERATION_STRUCTURE_COMPACTED_SIZE_KHR,
        vk::QueryType::ACCELERATION_STRUCTURE_SERIALIZATION_SIZE_KHR,
    ];
    let sizes = kinds.map(|kind| {
        let info = vk::QueryPoolCreateInfo::default().query_type(kind).query_count(1);
        let pool = gpu.device.create_query_pool(&info, None).unwrap();
        gpu.later(move |device| device.destroy_query_pool(pool, None));
        gpu.run(|cb| {
            gpu.device.cmd_reset_query_pool(cb, pool, 0, 1);
            functions.cmd_write_acceleration_structures_properties(cb, &[scene], kind, pool, 0);
        });
        let mut size = [0u64];
        let wait = vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT;
        gpu.device.get_query_pool_results(pool, 0, &mut size, wait).unwrap();
        size[0]
    });
    report.debug("compacted and serialised sizes", sizes);
    let compact = tracer.create(Level::TOP_LEVEL, sizes[0]);
    let serialised = gpu.buffer(sizes[1], usage());
    let read_back = tracer.create(Level::TOP_LEVEL, sizes[1]);
    gpu.run(|cb| {
        let info = vk::CopyAccelerationStructureInfoKHR::default()
            .src(scene)
            .dst(compact)
            .mode(vk::CopyAccelerationStructureModeKHR::COMPACT);
        functions.cmd_copy_acceleration_structure(cb, &info);
        let info = vk::CopyAccelerationStructureToMemoryInfoKHR::default()
            .src(scene)
            .dst(vk::DeviceOrHostAddressKHR { device_address: tracer.address(&serialised) })
            .mode(vk::CopyAccelerationStructureModeKHR::SERIALIZE);
        (functions.fp().cmd_copy_acceleration_structure_to_memory_khr)(cb, &info);
        barrier_all(&gpu.device, cb);
        let info = vk::CopyMemoryToAccelerationStructureInfoKHR::default()
            .src(vk::DeviceOrHostAddressConstKHR { device_address: tracer.address(&serialised) })
            .dst(read_back)
            .mode(vk::CopyAccelerationStructureModeKHR::DESERIALIZE);
        (functions.fp().cmd_copy_memory_to_acceleration_structure_khr)(cb, &info);
        barrier_all(&gpu.device, cb);
    });
    tracer.query(report, "compacted", compact);
    tracer.query(report, "read back", read_back);
    let head: [u8; 32] = serialised.read()[..32].try_into().unwrap();
    let version = vk::AccelerationStructureVersionInfoKHR::default().version_data(&head);
    let fits = functions.get_device_acceleration_structure_compatibility(&version);
    report.debug("compatible", fits);
}

/// A ray tracing pipeline, made with and without a deferred operation.
pub(super) unsafe fn pipelines(gpu: &Gpu, report: &Report) {
    let Some(tracer) = Tracer::new(gpu, report) else { return };
    if gpu.more.ray_tracing.ray_tracing_pipeline == 0 {
        report.line("ray tracing pipelines", "not offered");
        return;
    }
    let bottom = tracer.triangles(report);
    let scene = tracer.scene(report, bottom);
    let result = gpu.buffer(16 * 16 * 4, ANY_USE);
    let (set_layout, set) = tracer.set(scene, &result);
    let layout = gpu.pipeline_layout(&[set_layout]);
    let pipelines = khr::ray_tracing_pipeline::Device::new(&gpu.instance, &gpu.device);
    let stage = |stage, code| {
        let module = shaders::module(gpu, code);
        vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module).name(c"main")
    };
    let stages = [
        stage(vk::ShaderStageFlags::RAYGEN_KHR, shaders::TRACE),
        stage(vk::ShaderStageFlags::MISS_KHR, shaders::TRACE_MISS),
        stage(vk::ShaderStageFlags::CLOSEST_HIT_KHR, shaders::TRACE_HIT),
    ];
    let group = |ty, general, hit| {
        vk::RayTracingShaderGroupCreateInfoKHR::default()
            .ty(ty)
            .general_shader(general)
            .closest_hit_shader(hit)
            .any_hit_shader(vk::SHADER_UNUSED_KHR)
            .intersection_shader(vk::SHADER_UNUSED_KHR)
    };
    let unused = vk::SHADER_UNUSED_KHR;
    let groups = [
        group(vk::RayTracingShaderGroupTypeKHR::GENERAL, 0, unused),
        group(vk::RayTracingShaderGroupTypeKHR::GENERAL, 1, unused),
        group(vk::RayTracingShaderGroupTypeKHR::TRIANGLES_HIT_GROUP, unused, 2),
    ];
    let dynamic = [vk::DynamicState::RAY_TRACING_PIPELINE_STACK_SIZE_KHR];
    let dynamic = vk::PipelineDynamicStateCreateInfo::default().dynamic_states(&dynamic);
    let info = vk::RayTracingPipelineCreateInfoKHR::default()
        .stages(&stages)
        .groups(&groups)
        .max_pipeline_ray_recursion_depth(1)
        .dynamic_state(&dynamic)
        .layout(layout);
    let deferred = khr::deferred_host_operations::Device::new(&gpu.instance, &gpu.device);
    let operation = deferred.create_deferred_operation(None).unwrap();
    // How many may join is the driver's business.
    let _ = deferred.get_deferred_operation_max_concurrency(operation);
    let mut pipeline = vk::Pipeline::null();
    let create = pipelines.fp().create_ray_tracing_pipelines_khr;
    let (device, no_cache) = (gpu.device.handle(), vk::PipelineCache::null());
    let code = create(device, operation, no_cache, 1, &info, std::ptr::null(), &mut pipeline);
    let created =
        [vk::Result::OPERATION_DEFERRED_KHR, vk::Result::OPERATION_NOT_DEFERRED_KHR, vk::Result::SUCCESS];
    report.line("created, deferred or not", created.contains(&code));
    while deferred.deferred_operation_join(operation) == Err(vk::Result::THREAD_IDLE_KHR) {}
    report.debug("result", deferred.get_deferred_operation_result(operation));
    deferred.destroy_deferred_operation(operation, None);
    gpu.later(move |device| device.destroy_pipeline(pipeline, None));

    let mut properties = vk::PhysicalDeviceRayTracingPipelinePropertiesKHR::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut properties);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut all);
    let size = properties.shader_group_handle_size as usize;
    let base = properties.shader_group_base_alignment as usize;
    let handles = pipelines.get_ray_tracing_shader_group_handles(pipeline, 0, 3, 3 * size).unwrap();
    report
        .line("handles", handles.chunks(size).filter(|handle| handle.iter().any(|byte| *byte != 0)).count());
    let kind = vk::ShaderGroupShaderKHR::GENERAL;
    report.line("stack", pipelines.get_ray_tracing_shader_group_stack_size(pipeline, 0, kind));
    let table = gpu.buffer(3 * base as u64 + size as u64, usage());
    for (i, handle) in handles.chunks(size).enumerate() {
        table.write(i * base, handle);
    }
    let region = |i: u64| vk::StridedDeviceAddressRegionKHR {
        device_address: tracer.address(&table) + i * base as u64,
        stride: base as u64,
        size: base as u64,
    };
    let regions = [region(0), region(1), region(2), vk::StridedDeviceAddressRegionKHR::default()];
    let extent = tracer.buffer_of(&[16u32, 16, 1]);
    let words = |regions: &[vk::StridedDeviceAddressRegionKHR; 4]| -> Vec<u64> {
        let mut words = vec![regions[0].device_address, regions[0].size];
        words.extend(regions[1..].iter().flat_map(|r| [r.device_address, r.size, r.stride]));
        words.push(16 | 16 << 32);
        words.push(1);
        words
    };
    let indirect = tracer.buffer_of(&words(&regions));
    let maintenance = khr::ray_tracing_maintenance1::Device::new(&gpu.instance, &gpu.device);
    for way in 0..3 {
        if way == 1 && gpu.more.ray_tracing.ray_tracing_pipeline_trace_rays_indirect == 0
            || way == 2 && gpu.more.ray_tracing1.ray_tracing_pipeline_trace_rays_indirect2 == 0
        {
            continue;
        }
        result.write(0, &[0u32; 256]);
        gpu.run(|cb| {
            let point = vk::PipelineBindPoint::RAY_TRACING_KHR;
            gpu.device.cmd_bind_pipeline(cb, point, pipeline);
            gpu.device.cmd_bind_descriptor_sets(cb, point, layout, 0, &[set], &[]);
            pipelines.cmd_set_ray_tracing_pipeline_stack_size(cb, 4096);
            let [raygen, miss, hit, callable] = &regions;
            match way {
                0 => pipelines.cmd_trace_rays(cb, raygen, miss, hit, callable, 16, 16, 1),
                1 => {
                    let at = tracer.address(&extent);
                    (pipelines.fp().cmd_trace_rays_indirect_khr)(cb, raygen, miss, hit, callable, at);
                }
                _ => (maintenance.fp().cmd_trace_rays_indirect2_khr)(cb, tracer.address(&indirect)),
            }
            barrier_all(&gpu.device, cb);
        });
        report.bytes(&format!("traced {way}"), &result.read());
    }
}
