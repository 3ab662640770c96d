//! A triangle, drawn by the driver that the Vulkan loader finds, and looked at.

use std::ffi::CStr;
use std::path::Path;

use ash::vk;

/// Width and height of the picture in texels.
const SIZE: u32 = 64;
const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;
/// What the triangle's texels are, and the rest.
const INSIDE: [u8; 4] = [255, 128, 0, 255];
const OUTSIDE: [u8; 4] = [0, 0, 255, 255];

/// How long the host may take for it, in nanoseconds.
const PATIENCE: u64 = 30_000_000_000;

/// The Vulkan loader.
pub(crate) struct Loader {
    entry: ash::Entry,
    /// Whose functions `entry` are.
    _library: libloading::Library,
}

/// A device that the loader offers.
pub(crate) struct Device<'l> {
    instance: ash::Instance,
    physical: vk::PhysicalDevice,
    /// Its name.
    pub(crate) name: String,
    _loader: &'l Loader,
}

impl Loader {
    /// The system's.
    pub(crate) fn open() -> Result<Self, String> {
        // SAFETY: the loader's initialisers do what those of any program's libraries do; the function has this type in every
        // version of it, and the library stays open as long as it is used.
        unsafe {
            let library = libloading::Library::new("libvulkan.so.1").map_err(|error| error.to_string())?;
            let get_instance_proc_addr = *library
                .get::<vk::PFN_vkGetInstanceProcAddr>(b"vkGetInstanceProcAddr\0")
                .map_err(|error| error.to_string())?;
            let entry = ash::Entry::from_static_fn(ash::StaticFn { get_instance_proc_addr });
            Ok(Self { entry, _library: library })
        }
    }

    /// The device of vw, or the names of those that there are.
    pub(crate) fn device(&self, manifest: &Path) -> Result<Device<'_>, String> {
        // SAFETY: no other thread runs that could read the environment; valid arguments.
        let instance = unsafe {
            for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
                std::env::set_var(name, manifest);
            }
            self.entry.create_instance(&vk::InstanceCreateInfo::default(), None)
        };
        let instance = instance.map_err(|error| format!("vkCreateInstance: {error}"))?;
        let mut device =
            Device { instance, physical: vk::PhysicalDevice::null(), name: String::new(), _loader: self };
        // SAFETY: a live instance.
        let found = unsafe { device.instance.enumerate_physical_devices() };
        let found = found.map_err(|error| format!("vkEnumeratePhysicalDevices: {error}"))?;
        let Some(&physical) = found.first() else { return Err("the driver offers no device".into()) };
        // SAFETY: a device of the instance.
        let properties = unsafe { device.instance.get_physical_device_properties(physical) };
        let name = properties.device_name_as_c_str().unwrap_or_default().to_string_lossy();
        (device.physical, device.name) = (physical, name.into_owned());
        Ok(device)
    }
}

impl Drop for Device<'_> {
    fn drop(&mut self) {
        // SAFETY: nothing of the instance is left.
        unsafe { self.instance.destroy_instance(None) };
    }
}

impl Device<'_> {
    /// Draws the triangle and compares what came of it.
    pub(crate) fn draw(&self) -> Result<(), String> {
        // SAFETY: valid arguments throughout; the device is destroyed after what was made of it.
        unsafe {
            let families = self.instance.get_physical_device_queue_family_properties(self.physical);
            let family = families
                .iter()
                .position(|family| family.queue_flags.contains(vk::QueueFlags::GRAPHICS))
                .ok_or("the device draws nothing")?;
            let family = u32::try_from(family).map_err(|error| error.to_string())?;
            let queues =
                [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
            let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
            let device = self.instance.create_device(self.physical, &info, None);
            let device = device.map_err(|error| format!("vkCreateDevice: {error}"))?;
            let memory = self.instance.get_physical_device_memory_properties(self.physical);
            let drawn = Drawing { device: &device, memory: &memory, family }.texels();
            // What was made for the picture goes with the device.
            device.destroy_device(None);
            judge(&drawn.map_err(|error| format!("drawing failed: {error}"))?)
        }
    }
}

/// Whether the texels are those of the triangle.
fn judge(texels: &[u8]) -> Result<(), String> {
    for (i, texel) in texels.chunks_exact(4).enumerate() {
        let (x, y) = (i as u32 % SIZE, i as u32 / SIZE);
        // The diagonal itself is either.
        let expected = match x.cmp(&y) {
            std::cmp::Ordering::Less => INSIDE,
            std::cmp::Ordering::Equal => continue,
            std::cmp::Ordering::Greater => OUTSIDE,
        };
        if texel != expected {
            return Err(format!("the texel at {x}, {y} is {texel:?} and not {expected:?}"));
        }
    }
    Ok(())
}

/// What the picture is made with.
struct Drawing<'d> {
    device: &'d ash::Device,
    memory: &'d vk::PhysicalDeviceMemoryProperties,
    family: u32,
}

impl Drawing<'_> {
    /// Memory with these properties for requirements.
    unsafe fn allocate(
        &self,
        needs: vk::MemoryRequirements,
        properties: vk::MemoryPropertyFlags,
    ) -> Result<vk::DeviceMemory, vk::Result> {
        let fits = |index: &u32| {
            let kind = self.memory.memory_types[*index as usize];
            needs.memory_type_bits & 1 << index != 0 && kind.property_flags.contains(properties)
        };
        let index = (0..self.memory.memory_type_count).find(fits);
        let index = index.ok_or(vk::Result::ERROR_FEATURE_NOT_PRESENT)?;
        let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(index);
        // SAFETY: the caller's promise that the device lives.
        unsafe { self.device.allocate_memory(&info, None) }
    }

    unsafe fn image(&self) -> Result<(vk::Image, vk::ImageView), vk::Result> {
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(FORMAT)
            .extent(vk::Extent3D { width: SIZE, height: SIZE, depth: 1 })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .usage(vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC);
        // SAFETY: valid arguments; the caller's promise that the device lives.
        unsafe {
            let image = self.device.create_image(&info, None)?;
            let needs = self.device.get_image_memory_requirements(image);
            let memory = self.allocate(needs, vk::MemoryPropertyFlags::empty())?;
            self.device.bind_image_memory(image, memory, 0)?;
            let range = vk::ImageSubresourceRange {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                level_count: 1,
                layer_count: 1,
                ..Default::default()
            };
            let info = vk::ImageViewCreateInfo::default()
                .image(image)
                .view_type(vk::ImageViewType::TYPE_2D)
                .format(FORMAT)
                .subresource_range(range);
            Ok((image, self.device.create_image_view(&info, None)?))
        }
    }

    unsafe fn render_pass(&self) -> Result<vk::RenderPass, vk::Result> {
        let attachments = [vk::AttachmentDescription::default()
            .format(FORMAT)
            .samples(vk::SampleCountFlags::TYPE_1)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .final_layout(vk::ImageLayout::TRANSFER_SRC_OPTIMAL)];
        let colour =
            [vk::AttachmentReference { attachment: 0, layout: vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL }];
        let subpasses = [vk::SubpassDescription::default().color_attachments(&colour)];
        let dependencies = [vk::SubpassDependency::default()
            .src_subpass(0)
            .dst_subpass(vk::SUBPASS_EXTERNAL)
            .src_stage_mask(vk::PipelineStageFlags::COLOR_ATTACHMENT_OUTPUT)
            .src_access_mask(vk::AccessFlags::COLOR_ATTACHMENT_WRITE)
            .dst_stage_mask(vk::PipelineStageFlags::TRANSFER)
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ)];
        let info = vk::RenderPassCreateInfo::default()
            .attachments(&attachments)
            .subpasses(&subpasses)
            .dependencies(&dependencies);
        // SAFETY: valid arguments; the caller's promise that the device lives.
        unsafe { self.device.create_render_pass(&info, None) }
    }

    unsafe fn shader(&self, bytes: &[u8]) -> Result<vk::ShaderModule, vk::Result> {
        let code: Vec<u32> = bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect();
        // SAFETY: SPIR-V that a compiler made; the caller's promise that the device lives.
        unsafe { self.device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&code), None) }
    }

    unsafe fn pipeline(&self, pass: vk::RenderPass) -> Result<vk::Pipeline, vk::Result> {
        const MAIN: &CStr = c"main";
        // SAFETY: valid arguments; the caller's promise that the device lives.
        unsafe {
            let stage = |stage, module| {
                vk::PipelineShaderStageCreateInfo::default().stage(stage).module(module).name(MAIN)
            };
            let stages = [
                stage(
                    vk::ShaderStageFlags::VERTEX,
                    self.shader(include_bytes!("shaders/triangle.vert.spv"))?,
                ),
                stage(
                    vk::ShaderStageFlags::FRAGMENT,
                    self.shader(include_bytes!("shaders/triangle.frag.spv"))?,
                ),
            ];
            let layout = self.device.create_pipeline_layout(&Default::default(), None)?;
            let extent = vk::Extent2D { width: SIZE, height: SIZE };
            let side = SIZE as f32;
            let viewports =
                [vk::Viewport { width: side, height: side, max_depth: 1.0, ..Default::default() }];
            let scissors = [extent.into()];
            let viewport =
                vk::PipelineViewportStateCreateInfo::default().viewports(&viewports).scissors(&scissors);
            let vertices = vk::PipelineVertexInputStateCreateInfo::default();
            let assembly = vk::PipelineInputAssemblyStateCreateInfo::default()
                .topology(vk::PrimitiveTopology::TRIANGLE_LIST);
            let raster = vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0);
            let samples = vk::PipelineMultisampleStateCreateInfo::default()
                .rasterization_samples(vk::SampleCountFlags::TYPE_1);
            let blends = [vk::PipelineColorBlendAttachmentState {
                color_write_mask: vk::ColorComponentFlags::RGBA,
                ..Default::default()
            }];
            let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&blends);
            let info = vk::GraphicsPipelineCreateInfo::default()
                .stages(&stages)
                .vertex_input_state(&vertices)
                .input_assembly_state(&assembly)
                .viewport_state(&viewport)
                .rasterization_state(&raster)
                .multisample_state(&samples)
                .color_blend_state(&blend)
                .layout(layout)
                .render_pass(pass);
            let made = self.device.create_graphics_pipelines(vk::PipelineCache::null(), &[info], None);
            made.map(|pipelines| pipelines[0]).map_err(|(_, error)| error)
        }
    }

    /// The texels of the picture, row by row.
    unsafe fn texels(&self) -> Result<Vec<u8>, vk::Result> {
        let bytes = u64::from(SIZE * SIZE * 4);
        let extent = vk::Extent2D { width: SIZE, height: SIZE };
        // SAFETY: valid arguments; the caller's promise that the device lives. The mapping is as long as the buffer, and the
        // device is done with it.
        unsafe {
            let device = self.device;
            let (image, view) = self.image()?;
            let pass = self.render_pass()?;
            let views = [view];
            let info = vk::FramebufferCreateInfo::default()
                .render_pass(pass)
                .attachments(&views)
                .width(SIZE)
                .height(SIZE)
                .layers(1);
            let framebuffer = device.create_framebuffer(&info, None)?;
            let pipeline = self.pipeline(pass)?;
            let info = vk::BufferCreateInfo::default().size(bytes).usage(vk::BufferUsageFlags::TRANSFER_DST);
            let buffer = device.create_buffer(&info, None)?;
            let visible = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
            let memory = self.allocate(device.get_buffer_memory_requirements(buffer), visible)?;
            device.bind_buffer_memory(buffer, memory, 0)?;
            let info = vk::CommandPoolCreateInfo::default().queue_family_index(self.family);
            let pool = device.create_command_pool(&info, None)?;
            let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
            let commands = device.allocate_command_buffers(&info)?;
            let command = commands[0];
            device.begin_command_buffer(command, &vk::CommandBufferBeginInfo::default())?;
            let clear = [vk::ClearValue { color: vk::ClearColorValue { float32: [0.0, 0.0, 1.0, 1.0] } }];
            let begin = vk::RenderPassBeginInfo::default()
                .render_pass(pass)
                .framebuffer(framebuffer)
                .render_area(extent.into())
                .clear_values(&clear);
            device.cmd_begin_render_pass(command, &begin, vk::SubpassContents::INLINE);
            device.cmd_bind_pipeline(command, vk::PipelineBindPoint::GRAPHICS, pipeline);
            device.cmd_draw(command, 3, 1, 0, 0);
            device.cmd_end_render_pass(command);
            let copy = vk::BufferImageCopy {
                image_subresource: vk::ImageSubresourceLayers {
                    aspect_mask: vk::ImageAspectFlags::COLOR,
                    layer_count: 1,
                    ..Default::default()
                },
                image_extent: vk::Extent3D { width: SIZE, height: SIZE, depth: 1 },
                ..Default::default()
            };
            let layout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
            device.cmd_copy_image_to_buffer(command, image, layout, buffer, &[copy]);
            let barrier = vk::MemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::TRANSFER_WRITE)
                .dst_access_mask(vk::AccessFlags::HOST_READ);
            let (transfer, host) = (vk::PipelineStageFlags::TRANSFER, vk::PipelineStageFlags::HOST);
            let none = vk::DependencyFlags::empty();
            device.cmd_pipeline_barrier(command, transfer, host, none, &[barrier], &[], &[]);
            device.end_command_buffer(command)?;
            let fence = device.create_fence(&vk::FenceCreateInfo::default(), None)?;
            let queue = device.get_device_queue(self.family, 0);
            device.queue_submit(queue, &[vk::SubmitInfo::default().command_buffers(&commands)], fence)?;
            device.wait_for_fences(&[fence], true, PATIENCE)?;
            let mapped = device.map_memory(memory, 0, bytes, vk::MemoryMapFlags::empty())?;
            Ok(std::slice::from_raw_parts(mapped.cast::<u8>(), bytes as usize).to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_when_it_is_not_the_triangle_is_told() {
        let texel = |x, y| if x <= y { INSIDE } else { OUTSIDE };
        let mut texels: Vec<u8> = (0..SIZE).flat_map(|y| (0..SIZE).flat_map(move |x| texel(x, y))).collect();
        assert_eq!(judge(&texels), Ok(()));
        texels[4 * (SIZE as usize * 3 + 1)] = 0;
        assert!(judge(&texels).is_err_and(|why| why.contains("1, 3")));
    }
}
