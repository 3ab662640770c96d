//! The shaders, compiled from `conformance/shaders` by `cargo xtask shaders`.

use ash::vk;

use crate::gpu::Gpu;

macro_rules! shaders {
    ($($name:ident = $file:literal;)*) => {
        $(pub(crate) const $name: &[u8] = include_bytes!(concat!("../../../shaders/", $file, ".spv"));)*
    };
}

shaders! {
    ADDRESS = "address.comp";
    ALL_TYPES = "all_types.comp";
    CAPTURE = "capture.vert";
    COMPARE = "compare.comp";
    COVER = "cover.vert";
    DRAW_PARAMETERS = "draw_parameters.vert";
    FILL = "fill.comp";
    INDEXED = "indexed.comp";
    INLINE_BLOCK = "inline_block.comp";
    MESH = "mesh.vert";
    MESHLET = "meshlet.mesh";
    MESHLET_TASK = "meshlet.task";
    OUTSIDE = "outside.comp";
    PASS_COLOUR = "mesh.frag";
    PATCH_CONTROL = "patch.tesc";
    PATCH_EVALUATION = "patch.tese";
    PUSH_COLOUR = "push.frag";
    RAY_QUERY = "ray_query.comp";
    ROBUST = "robust.comp";
    SAMPLE = "sample.comp";
    SAMPLES = "samples.frag";
    SCATTER = "scatter.comp";
    SPECIALISED = "specialised.comp";
    SPLIT = "split.geom";
    SUBGROUP = "subgroup.comp";
    SUBPASS = "subpass.frag";
    TEXTURED = "textured.frag";
    TRACE = "trace.rgen";
    TRACE_HIT = "trace.rchit";
    TRACE_MISS = "trace.rmiss";
    TWO_TARGETS = "two_targets.frag";
    UNIFORM = "uniform.comp";
    VIEW = "view.vert";
}

/// A shader's words.
pub(crate) fn words(code: &[u8]) -> Vec<u32> {
    code.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// The module of a shader, destroyed with the case.
pub(crate) unsafe fn module(gpu: &Gpu, code: &[u8]) -> vk::ShaderModule {
    let words = words(code);
    let info = vk::ShaderModuleCreateInfo::default().code(&words);
    let module = gpu.device.create_shader_module(&info, None).expect("a shader module");
    gpu.later(move |device| device.destroy_shader_module(module, None));
    module
}
