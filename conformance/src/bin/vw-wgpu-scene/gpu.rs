//! The device, and moving data to and from it.

use std::time::Duration;

use wgpu::util::DeviceExt;

use crate::Result;

/// How long one wait may last; longer means that something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// An open device.
pub(crate) struct Gpu {
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
}

impl Gpu {
    /// Opens the first Vulkan device, of whatever kind.
    pub(crate) fn open() -> Result<Self> {
        let mut options = wgpu::InstanceDescriptor::new_without_display_handle();
        options.backends = wgpu::Backends::VULKAN;
        let instance = wgpu::Instance::new(options);
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
        let request =
            wgpu::DeviceDescriptor { required_limits: wgpu::Limits::default(), ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&request))?;
        Ok(Self { info: adapter.get_info(), device, queue })
    }

    /// A buffer with contents.
    pub(crate) fn buffer(&self, contents: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    }

    /// Waits until all that was submitted is done.
    pub(crate) fn wait(&self) -> Result<()> {
        self.device.poll(wgpu::PollType::Wait { submission_index: None, timeout: Some(PATIENCE) })?;
        Ok(())
    }

    /// Waits until that submission is done.
    pub(crate) fn wait_for(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        self.device
            .poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(PATIENCE) })?;
        Ok(())
    }

    /// The contents of a buffer that may be copied from.
    pub(crate) fn read_buffer(&self, buffer: &wgpu::Buffer) -> Result<Vec<u8>> {
        let copy = self.readback(buffer.size());
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
        self.queue.submit([encoder.finish()]);
        self.contents(&copy)
    }

    /// The texels of the first level of a texture with 4 bytes each, rows without gaps.
    pub(crate) fn read_texture(&self, texture: &wgpu::Texture) -> Result<Vec<u8>> {
        let row = texture.width() * 4;
        let padded = row.next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let copy = self.readback(u64::from(padded) * u64::from(texture.height()));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let target = wgpu::TexelCopyBufferInfo {
            buffer: &copy,
            layout: wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(padded),
                rows_per_image: None,
            },
        };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), target, texture.size());
        self.queue.submit([encoder.finish()]);
        let rows = self.contents(&copy)?;
        Ok(rows.chunks(padded as usize).flat_map(|chunk| &chunk[..row as usize]).copied().collect())
    }

    fn readback(&self, size: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        })
    }

    fn contents(&self, copy: &wgpu::Buffer) -> Result<Vec<u8>> {
        let (sender, receiver) = std::sync::mpsc::channel();
        copy.map_async(wgpu::MapMode::Read, .., move |result| {
            // Nobody listens only when the wait below failed already.
            let _ = sender.send(result);
        });
        self.wait()?;
        receiver.recv()??;
        Ok(copy.get_mapped_range(..)?.to_vec())
    }
}
