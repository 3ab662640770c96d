"""Offscreen work with PyPI's wgpu, in the manner of its own examples: a compute pass and a rendered triangle."""

import hashlib

import numpy as np
import wgpu
from wgpu.utils.compute import compute_with_buffers

COMPUTE = """
@group(0) @binding(0) var<storage, read> data1: array<i32>;
@group(0) @binding(1) var<storage, read_write> data2: array<i32>;

@compute @workgroup_size(1)
fn main(@builtin(global_invocation_id) index: vec3<u32>) {
    let i: u32 = index.x;
    data2[i] = data1[i] * data1[i] + i32(i) / 2;
}
"""

DRAW = """
struct VertexOutput {
    @location(0) color: vec4<f32>,
    @builtin(position) pos: vec4<f32>,
};

@vertex
fn vs_main(@builtin(vertex_index) index: u32) -> VertexOutput {
    var positions = array<vec2<f32>, 3>(vec2<f32>(0.0, -0.5), vec2<f32>(0.5, 0.5), vec2<f32>(-0.5, 0.75));
    var colors = array<vec3<f32>, 3>(vec3<f32>(1.0, 1.0, 0.0), vec3<f32>(1.0, 0.0, 1.0), vec3<f32>(0.0, 1.0, 1.0));
    var out: VertexOutput;
    out.pos = vec4<f32>(positions[index], 0.0, 1.0);
    out.color = vec4<f32>(colors[index], 1.0);
    return out;
}

@fragment
fn fs_main(in: VertexOutput) -> @location(0) vec4<f32> {
    return vec4<f32>(pow(in.color.rgb, vec3<f32>(2.2)), in.color.a);
}
"""


def compute():
    count = 256
    out = compute_with_buffers(
        {0: np.arange(count, dtype=np.int32)}, {1: count * 4}, COMPUTE, n=count
    )
    result = np.frombuffer(out[1], dtype=np.int32)
    print("compute:", result[:8].tolist(), hashlib.sha256(result.tobytes()).hexdigest())


def draw(device, size=(640, 480)):
    texture = device.create_texture(
        size=(*size, 1),
        format=wgpu.TextureFormat.rgba8unorm_srgb,
        usage=wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.COPY_SRC,
    )
    shader = device.create_shader_module(code=DRAW)
    pipeline = device.create_render_pipeline(
        layout="auto",
        vertex={"module": shader, "entry_point": "vs_main"},
        primitive={"topology": wgpu.PrimitiveTopology.triangle_list},
        fragment={"module": shader, "entry_point": "fs_main", "targets": [{"format": texture.format}]},
    )
    encoder = device.create_command_encoder()
    render = encoder.begin_render_pass(
        color_attachments=[
            {
                "view": texture.create_view(),
                "clear_value": (0, 0, 0.2, 1),
                "load_op": wgpu.LoadOp.clear,
                "store_op": wgpu.StoreOp.store,
            }
        ]
    )
    render.set_pipeline(pipeline)
    render.draw(3, 1, 0, 0)
    render.end()
    device.queue.submit([encoder.finish()])
    data = device.queue.read_texture(
        {"texture": texture, "mip_level": 0, "origin": (0, 0, 0)},
        {"offset": 0, "bytes_per_row": size[0] * 4, "rows_per_image": size[1]},
        (*size, 1),
    )
    pixels = bytes(data)
    print("picture:", len(set(zip(*[iter(pixels)] * 4))) > 100, hashlib.sha256(pixels).hexdigest())


def main():
    adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    print("device:", adapter.info["device"])
    print("backend:", adapter.info["backend_type"])
    compute()
    draw(adapter.request_device_sync())


main()
