// WebGPU with npm's `webgpu`, which is Dawn: computes and draws off screen and prints the hash of what comes back.
// Run with the folder that `node_modules` is in as the current one.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';

const { create, globals } = await import(createRequire(`${process.cwd()}/`).resolve('webgpu'));
Object.assign(globalThis, globals);

const SIZE = { width: 256, height: 160 };

function report(name, bytes) {
  const hash = createHash('sha256').update(bytes).digest('hex');
  console.log(`${name}: ${bytes.length} bytes, ${new Set(bytes).size > 8 ? 'varied' : 'uniform'}, ${hash}`);
}

function buffer(device, usage, data) {
  const made = device.createBuffer({ size: (data.byteLength + 3) & ~3, usage, mappedAtCreation: true });
  new Uint8Array(made.getMappedRange()).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  made.unmap();
  return made;
}

async function bytesOf(device, size, record) {
  const staging = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
  const encoder = device.createCommandEncoder();
  record(encoder, staging);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const bytes = new Uint8Array(staging.getMappedRange()).slice();
  staging.unmap();
  staging.destroy();
  return bytes;
}

function pixelsOf(device, texture, texel, aspect = 'all') {
  const bytesPerRow = SIZE.width * texel;
  return bytesOf(device, bytesPerRow * SIZE.height, (encoder, staging) =>
    encoder.copyTextureToBuffer({ texture, aspect }, { buffer: staging, bytesPerRow }, SIZE));
}

// A sum over work groups in shared memory, in two dispatches, the second one indirect.
async function reduce(device) {
  const module = device.createShaderModule({ code: `
    @group(0) @binding(0) var<storage, read> source: array<u32>;
    @group(0) @binding(1) var<storage, read_write> sums: array<u32>;
    override SCALE: u32 = 1;
    var<workgroup> part: array<u32, 64>;
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) local: u32,
            @builtin(workgroup_id) group: vec3u) {
      part[local] = select(0, source[id.x] * SCALE, id.x < arrayLength(&source));
      for (var step = 32u; step > 0; step /= 2) {
        workgroupBarrier();
        if (local < step) { part[local] += part[local + step]; }
      }
      if (local == 0) { sums[group.x] = part[0]; }
    }` });
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
  const source = buffer(device, usage, Uint32Array.from({ length: 4096 }, (_, i) => (i * 2654435761) >>> 8));
  const sums = device.createBuffer({ size: 64 * 4, usage });
  const total = device.createBuffer({ size: 4, usage });
  const groups = buffer(device, GPUBufferUsage.INDIRECT, new Uint32Array([1, 1, 1]));
  const pipelines = await Promise.all([3, 1].map(SCALE =>
    device.createComputePipelineAsync({ layout: 'auto', compute: { module, constants: { SCALE } } })));
  const bytes = await bytesOf(device, 256 + 4, (encoder, staging) => {
    const pass = encoder.beginComputePass();
    for (const [pipeline, from, to] of [[pipelines[0], source, sums], [pipelines[1], sums, total]]) {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [
        { binding: 0, resource: { buffer: from } }, { binding: 1, resource: { buffer: to } }] }));
      if (from === source) pass.dispatchWorkgroups(64); else pass.dispatchWorkgroupsIndirect(groups, 0);
    }
    pass.end();
    encoder.copyBufferToBuffer(sums, 0, staging, 0, 256);
    encoder.copyBufferToBuffer(total, 0, staging, 256, 4);
  });
  const expected = Uint32Array.from({ length: 4096 }, (_, i) => ((i * 2654435761) >>> 8) * 3).reduce((a, b) => (a + b) >>> 0, 0);
  console.log(`reduce: right ${new Uint32Array(bytes.buffer)[64] === expected}`);
  report('reduce', bytes);
}

const SCENE = `
  struct Uniforms { turn: f32, shift: f32 };
  @group(0) @binding(0) var<uniform> uniforms: Uniforms;
  @group(1) @binding(0) var picture: texture_2d<f32>;
  @group(1) @binding(1) var smooth_: sampler;
  struct Vertex { @builtin(position) position: vec4f, @location(0) at: vec2f, @location(1) @interpolate(flat) number: u32 };
  @vertex fn vertex(@location(0) corner: vec2f, @location(1) place: vec3f, @builtin(instance_index) number: u32) -> Vertex {
    let angle = uniforms.turn + f32(number);
    let by = mat2x2f(cos(angle), sin(angle), -sin(angle), cos(angle));
    return Vertex(vec4f(by * corner * 0.45 + place.xy + uniforms.shift, place.z, 1), corner + 0.5, number);
  }
  struct Pixel { @location(0) colour: vec4f, @location(1) number: u32 };
  @fragment fn fragment(vertex: Vertex) -> Pixel {
    let texel = textureSample(picture, smooth_, vertex.at * 3);
    return Pixel(vec4f(texel.rgb * (0.4 + 0.1 * f32(vertex.number)), 0.8), vertex.number + 1);
  }`;

// Two targets, depth and stencil, instances from a second vertex buffer, a bundle, dynamic offsets, a query.
async function draw(device) {
  const module = device.createShaderModule({ code: SCENE });
  const picture = device.createTexture({ size: [32, 32], format: 'rgba8unorm-srgb', mipLevelCount: 3,
    usage: GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.COPY_DST });
  for (let mipLevel = 0; mipLevel < 3; mipLevel++) {
    const side = 32 >> mipLevel;
    const texels = Uint8Array.from({ length: side * side * 4 }, (_, i) => (i * 37 + mipLevel * 90) & 255);
    device.queue.writeTexture({ texture: picture, mipLevel }, texels, { bytesPerRow: side * 4 }, [side, side]);
  }
  const target = (format) => device.createTexture({ size: SIZE, format,
    usage: GPUTextureUsage.RENDER_ATTACHMENT | GPUTextureUsage.COPY_SRC });
  const [colour, numbers, depth] = ['rgba8unorm', 'r32uint', 'depth24plus-stencil8'].map(target);
  const stride = device.limits.minUniformBufferOffsetAlignment;
  const values = new Float32Array(stride / 4 * 2);
  values.set([0.3, -0.1]);
  values.set([1.1, 0.15], stride / 4);
  const uniforms = buffer(device, GPUBufferUsage.UNIFORM, values);
  const layout = device.createBindGroupLayout({ entries: [
    { binding: 0, visibility: GPUShaderStage.VERTEX, buffer: { hasDynamicOffset: true, minBindingSize: 8 } }] });
  const textures = device.createBindGroupLayout({ entries: [
    { binding: 0, visibility: GPUShaderStage.FRAGMENT, texture: {} },
    { binding: 1, visibility: GPUShaderStage.FRAGMENT, sampler: {} }] });
  const stencil = { compare: 'always', passOp: 'increment-wrap' };
  const pipeline = device.createRenderPipeline({
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout, textures] }),
    vertex: { module, buffers: [
      { arrayStride: 8, attributes: [{ shaderLocation: 0, offset: 0, format: 'float32x2' }] },
      { arrayStride: 12, stepMode: 'instance', attributes: [{ shaderLocation: 1, offset: 0, format: 'float32x3' }] }] },
    fragment: { module, targets: [
      { format: 'rgba8unorm', blend: { color: { srcFactor: 'src-alpha', dstFactor: 'one-minus-src-alpha' }, alpha: {} } },
      { format: 'r32uint' }] },
    primitive: { topology: 'triangle-strip', stripIndexFormat: 'uint16' },
    depthStencil: { format: 'depth24plus-stencil8', depthWriteEnabled: true, depthCompare: 'less',
      stencilFront: stencil, stencilBack: stencil },
  });
  const first = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer: uniforms, size: 8 } }] });
  const second = device.createBindGroup({ layout: textures, entries: [
    { binding: 0, resource: picture.createView() },
    { binding: 1, resource: device.createSampler({ minFilter: 'linear', mipmapFilter: 'linear', addressModeU: 'mirror-repeat',
      maxAnisotropy: 1 }) }] });
  const corners = buffer(device, GPUBufferUsage.VERTEX, new Float32Array([-0.5, -0.5, 0.5, -0.5, -0.5, 0.5, 0.5, 0.5]));
  const places = buffer(device, GPUBufferUsage.VERTEX,
    Float32Array.from({ length: 15 }, (_, i) => i % 3 === 2 ? (i * 7 % 11) / 11 : Math.sin(i * 2.3) * 0.6));
  const indices = buffer(device, GPUBufferUsage.INDEX, new Uint16Array([0, 1, 2, 3]));
  const bundle = device.createRenderBundleEncoder({ colorFormats: ['rgba8unorm', 'r32uint'],
    depthStencilFormat: 'depth24plus-stencil8' });
  bundle.setPipeline(pipeline);
  bundle.setBindGroup(0, first, [stride]);
  bundle.setBindGroup(1, second);
  bundle.setVertexBuffer(0, corners);
  bundle.setVertexBuffer(1, places);
  bundle.setIndexBuffer(indices, 'uint16');
  bundle.drawIndexed(4, 5);
  const recorded = bundle.finish();
  const queries = device.createQuerySet({ type: 'occlusion', count: 2 });
  const counts = device.createBuffer({ size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
  const counted = await bytesOf(device, 16, (encoder, staging) => {
    const pass = encoder.beginRenderPass({ occlusionQuerySet: queries,
      colorAttachments: [
        { view: colour.createView(), loadOp: 'clear', storeOp: 'store', clearValue: [0.1, 0.2, 0.4, 1] },
        { view: numbers.createView(), loadOp: 'clear', storeOp: 'store', clearValue: [0, 0, 0, 0] }],
      depthStencilAttachment: { view: depth.createView(), depthLoadOp: 'clear', depthClearValue: 1, depthStoreOp: 'store',
        stencilLoadOp: 'clear', stencilClearValue: 3, stencilStoreOp: 'store' } });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, first, [0]);
    pass.setBindGroup(1, second);
    pass.setVertexBuffer(0, corners);
    pass.setVertexBuffer(1, places);
    pass.setIndexBuffer(indices, 'uint16');
    pass.setViewport(20, 10, 200, 140, 0, 1);
    pass.setScissorRect(30, 20, 180, 120);
    pass.beginOcclusionQuery(0);
    pass.drawIndexed(4, 3);
    pass.endOcclusionQuery();
    pass.beginOcclusionQuery(1);
    pass.endOcclusionQuery();
    pass.executeBundles([recorded]);
    pass.end();
    encoder.resolveQuerySet(queries, 0, 2, counts, 0);
    encoder.copyBufferToBuffer(counts, 0, staging, 0, 16);
  });
  const [seen, nothing] = new BigUint64Array(counted.buffer);
  console.log(`draw: seen ${seen > 0n}, nothing ${nothing === 0n}`);
  report('draw, colour', await pixelsOf(device, colour, 4));
  report('draw, numbers', await pixelsOf(device, numbers, 4));
  report('draw, stencil', await pixelsOf(device, depth, 1, 'stencil-only'));
}

// Four samples, resolved, into a layer of an array; then a storage texture that a compute pass fills.
async function samples(device) {
  const module = device.createShaderModule({ code: `
    @vertex fn vertex(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
      return vec4f(f32(i % 2) * 1.7 - 0.8, f32(i / 2) * 1.5 - 0.6, 0, 1);
    }
    @fragment fn fragment(@builtin(position) at: vec4f, @builtin(sample_index) sample: u32) -> @location(0) vec4f {
      return vec4f(fract(at.xy / 16), f32(sample) / 4, 1);
    }
    @group(0) @binding(0) var filled: texture_storage_2d<rgba16float, write>;
    @compute @workgroup_size(8, 8) fn fill(@builtin(global_invocation_id) id: vec3u) {
      textureStore(filled, id.xy, vec4f(vec2f(id.xy) / 64, sin(f32(id.x * id.y)), 1));
    }` });
  const many = device.createTexture({ size: SIZE, format: 'rgba8unorm', sampleCount: 4, usage: GPUTextureUsage.RENDER_ATTACHMENT });
  const layers = device.createTexture({ size: [SIZE.width, SIZE.height, 3], format: 'rgba8unorm',
    usage: GPUTextureUsage.RENDER_ATTACHMENT | GPUTextureUsage.COPY_SRC });
  const pipeline = device.createRenderPipeline({ layout: 'auto', vertex: { module },
    fragment: { module, targets: [{ format: 'rgba8unorm' }] }, multisample: { count: 4 } });
  const bytes = await bytesOf(device, SIZE.width * SIZE.height * 4, (encoder, staging) => {
    const pass = encoder.beginRenderPass({ colorAttachments: [{ view: many.createView(), loadOp: 'clear', storeOp: 'discard',
      resolveTarget: layers.createView({ dimension: '2d', baseArrayLayer: 2, arrayLayerCount: 1 }) }] });
    pass.setPipeline(pipeline);
    pass.draw(3);
    pass.end();
    encoder.copyTextureToBuffer({ texture: layers, origin: [0, 0, 2] }, { buffer: staging, bytesPerRow: SIZE.width * 4 }, SIZE);
  });
  report('samples', bytes);
  const filled = device.createTexture({ size: SIZE, format: 'rgba16float',
    usage: GPUTextureUsage.STORAGE_BINDING | GPUTextureUsage.COPY_SRC });
  const fill = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(fill);
  pass.setBindGroup(0, device.createBindGroup({ layout: fill.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: filled.createView() }] }));
  pass.dispatchWorkgroups(SIZE.width / 8, SIZE.height / 8);
  pass.end();
  device.queue.submit([encoder.finish()]);
  report('filled', await pixelsOf(device, filled, 8));
}

// Arithmetic in half precision and over subgroups, where the device has them.
async function features(device) {
  const optional = device.features.has('shader-f16') && device.features.has('subgroups');
  console.log(`features: ${[...device.features].sort().join(' ')}`);
  if (!optional) return;
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module: device.createShaderModule({ code: `
    enable f16; enable subgroups;
    @group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
    @compute @workgroup_size(32) fn main(@builtin(global_invocation_id) id: vec3u, @builtin(subgroup_size) size: u32) {
      let half = f16(id.x) * 0.37h + 1.0h;
      out[id.x] = vec4f(f32(sqrt(half)), f32(size), f32(subgroupAdd(id.x)), subgroupBroadcastFirst(f32(half)));
    }` }) } });
  const out = device.createBuffer({ size: 96 * 16, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  report('features', await bytesOf(device, 96 * 16, (encoder, staging) => {
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: out } }] }));
    pass.dispatchWorkgroups(3);
    pass.end();
    encoder.copyBufferToBuffer(out, 0, staging, 0, 96 * 16);
  }));
}

// Kept for as long as anything made from it: it is not counted among the objects that refer to it.
const gpu = (globalThis.gpu = create(['backend=vulkan']));
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error('no Vulkan adapter');
const requiredFeatures = ['shader-f16', 'subgroups', 'depth32float-stencil8', 'texture-compression-bc']
  .filter(name => adapter.features.has(name));
const device = await adapter.requestDevice({ requiredFeatures });
device.addEventListener('uncapturederror', event => { throw new Error(event.error.message); });
console.log(`device: ${adapter.info.description}`);
const limits = [];
for (const name in adapter.limits) limits.push(`${name}=${adapter.limits[name]}`);
console.log(`limits: ${limits.sort().join(' ')}`);
for (const part of [reduce, draw, samples, features]) await part(device);
device.destroy();
