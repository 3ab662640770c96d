//! Transform feedback that is interrupted, goes on, and is asked how much it wrote.

use ash::{ext, vk};

use crate::gpu::Gpu;
use crate::graphics::State;
use crate::report::Report;
use crate::resources::{ANY_USE, Buffer, Image};
use crate::shaders;

/// Bytes of one captured vertex.
const VERTEX: u64 = 32;

/// A pipeline that captures points, and where to.
struct Capture<'a> {
    gpu: &'a Gpu,
    functions: ext::transform_feedback::Device,
    pipeline: vk::Pipeline,
    target: Image,
    captured: Buffer,
    counter: Buffer,
}

impl<'a> Capture<'a> {
    /// Room for so many vertices.
    unsafe fn new(gpu: &'a Gpu, report: &Report, room: u64) -> Option<Self> {
        if gpu.more.transform_feedback.transform_feedback == 0 {
            report.line("transform feedback", "not offered");
            return None;
        }
        let usage = ANY_USE
            | vk::BufferUsageFlags::TRANSFORM_FEEDBACK_BUFFER_EXT
            | vk::BufferUsageFlags::TRANSFORM_FEEDBACK_COUNTER_BUFFER_EXT;
        let mut state = State::new(shaders::CAPTURE, shaders::PASS_COLOUR);
        state.stages.truncate(1);
        state.raster = state.raster.rasterizer_discard_enable(true);
        state.assembly = state.assembly.topology(vk::PrimitiveTopology::POINT_LIST);
        Some(Self {
            gpu,
            functions: ext::transform_feedback::Device::new(&gpu.instance, &gpu.device),
            pipeline: state.build(gpu, gpu.pipeline_layout(&[])),
            target: gpu.target(),
            captured: gpu.buffer(room * VERTEX, usage),
            counter: gpu.buffer(16, usage),
        })
    }

    /// Captures a draw, from where the counter says if it is to go on.
    unsafe fn part(&self, cb: vk::CommandBuffer, goes_on: bool, first: u32, count: u32) {
        let fp = self.functions.fp();
        let counter = if goes_on { &raw const self.counter.handle } else { std::ptr::null() };
        let offset = &8;
        (fp.cmd_begin_transform_feedback_ext)(cb, 0, u32::from(goes_on), counter, offset);
        self.gpu.device.cmd_draw(cb, count, 1, first, 0);
        (fp.cmd_end_transform_feedback_ext)(cb, 0, 1, &self.counter.handle, offset);
    }

    /// A pass with the pipeline and the buffer bound.
    unsafe fn pass(&self, draw: impl FnOnce(vk::CommandBuffer)) {
        self.gpu.render(&self.target, None, |cb| {
            self.gpu.bind_graphics(cb, self.pipeline);
            let bind = self.functions.fp().cmd_bind_transform_feedback_buffers_ext;
            bind(cb, 0, 1, &self.captured.handle, &0, &vk::WHOLE_SIZE);
            draw(cb);
        });
    }

    unsafe fn show(&self, report: &Report, label: &str) {
        report.bytes(&format!("{label}, captured"), &self.captured.read());
        report.words(&format!("{label}, counter"), &self.counter.words(4));
    }
}

/// Paused for a draw that is not captured, taken up in the same pass and in another submission.
pub(super) unsafe fn pauses(gpu: &Gpu, report: &Report) {
    let Some(capture) = Capture::new(gpu, report, 32) else { return };
    capture.pass(|cb| {
        capture.part(cb, false, 0, 5);
        gpu.device.cmd_draw(cb, 7, 1, 100, 0);
        // What the counter holds is read behind a barrier, which does not stand within rendering.
    });
    capture.show(report, "begun");
    capture.pass(|cb| capture.part(cb, true, 20, 6));
    capture.show(report, "gone on");
    capture.pass(|cb| capture.part(cb, true, 40, 3));
    capture.show(report, "gone on again");
    capture.pass(|cb| capture.part(cb, false, 60, 2));
    capture.show(report, "begun anew");
    // The host says where it goes on.
    capture.counter.write(8, &[20 * VERTEX as u32]);
    capture.pass(|cb| capture.part(cb, true, 80, 4));
    capture.show(report, "from elsewhere");
}

/// What was written and what was needed, in each part and over all of them, with more vertices than room.
pub(super) unsafe fn queries(gpu: &Gpu, report: &Report) {
    let Some(capture) = Capture::new(gpu, report, 8) else { return };
    let mut properties = vk::PhysicalDeviceTransformFeedbackPropertiesEXT::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut properties);
    gpu.instance.get_physical_device_properties2(gpu.physical, &mut all);
    if properties.transform_feedback_queries == 0 {
        report.line("queries", "not offered");
        return;
    }
    let info = vk::QueryPoolCreateInfo::default()
        .query_type(vk::QueryType::TRANSFORM_FEEDBACK_STREAM_EXT)
        .query_count(4);
    let pool = gpu.device.create_query_pool(&info, None).unwrap();
    gpu.later(move |device| device.destroy_query_pool(pool, None));
    gpu.run(|cb| gpu.device.cmd_reset_query_pool(cb, pool, 0, 4));
    for (query, (goes_on, count)) in (0u32..).zip([(false, 3), (true, 4), (true, 5), (false, 1)]) {
        capture.pass(|cb| {
            gpu.device.cmd_begin_query(cb, pool, query, vk::QueryControlFlags::empty());
            capture.part(cb, goes_on, query * 10, count);
            gpu.device.cmd_end_query(cb, pool, query);
        });
        capture.show(report, &format!("part {query}"));
    }
    let mut values = [[0u64; 3]; 4];
    let flags =
        vk::QueryResultFlags::TYPE_64 | vk::QueryResultFlags::WAIT | vk::QueryResultFlags::WITH_AVAILABILITY;
    report.debug("results", gpu.device.get_query_pool_results(pool, 0, &mut values, flags));
    report.debug("written, needed, available", values);
    let copied = gpu.buffer(64, ANY_USE);
    gpu.run(|cb| {
        let flags = vk::QueryResultFlags::WAIT;
        gpu.device.cmd_copy_query_pool_results(cb, pool, 0, 4, copied.handle, 0, 8, flags);
        crate::commands::barrier_all(&gpu.device, cb);
    });
    report.words("copied", &copied.words(8));
}
