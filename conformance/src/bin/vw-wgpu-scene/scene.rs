//! The scene: its resources and the commands of a frame.

use std::mem::size_of;

use crate::geometry::{Geometry, Vertex};
use crate::gpu::Gpu;
use crate::matrix::{Matrix, Vector, look_at, multiply, normalize, orthographic, perspective};
use crate::textures;

const COLOUR: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8UnormSrgb;
const DEPTH: wgpu::TextureFormat = wgpu::TextureFormat::Depth32Float;
const SAMPLES: u32 = 4;
/// Width and height of the shadow map in texels.
const SHADOW_SIZE: u32 = 1024;
const CUBES: u32 = 12;
/// The floor, the knot, the cubes.
const INSTANCES: u32 = 2 + CUBES;
const HISTOGRAM_BINS: u64 = 64;
/// Scene time that passes with a frame, in seconds.
const STEP: f32 = 1.0 / 30.0;

/// `Globals` of the shaders.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Globals {
    view: Matrix,
    light: Matrix,
    eye: Vector,
    time: f32,
    light_direction: Vector,
    frame: u32,
}

/// A pipeline with the bindings that it uses.
struct Stage<P> {
    pipeline: P,
    bindings: wgpu::BindGroup,
}

/// All resources. What is public can be read back.
pub(crate) struct Scene {
    pub(crate) picture: wgpu::Texture,
    pub(crate) histogram: wgpu::Buffer,
    pub(crate) instances: wgpu::Buffer,
    geometry: Geometry,
    vertices: wgpu::Buffer,
    indices: wgpu::Buffer,
    globals: wgpu::Buffer,
    samples: wgpu::TextureView,
    depth: wgpu::TextureView,
    shadow_map: wgpu::TextureView,
    motion: Stage<wgpu::ComputePipeline>,
    shadows: Stage<wgpu::RenderPipeline>,
    drawing: Stage<wgpu::RenderPipeline>,
    measuring: Stage<wgpu::ComputePipeline>,
}

impl Scene {
    pub(crate) fn new(gpu: &Gpu, width: u32, height: u32) -> Self {
        use wgpu::{BindingResource, BufferUsages as Use, TextureUsages as TextureUse};
        let geometry = Geometry::new();
        let vertices = gpu.buffer(bytemuck::cast_slice(&geometry.vertices), Use::VERTEX);
        let indices = gpu.buffer(bytemuck::cast_slice(&geometry.indices), Use::INDEX);
        let globals = buffer(gpu, size_of::<Globals>() as u64, Use::UNIFORM | Use::COPY_DST);
        let instances = buffer(gpu, u64::from(INSTANCES) * 80, Use::STORAGE | Use::COPY_SRC);
        let histogram = buffer(gpu, HISTOGRAM_BINS * 4, Use::STORAGE | Use::COPY_SRC | Use::COPY_DST);
        let target = |format, size: [u32; 2], samples, usage| {
            gpu.device.create_texture(&wgpu::TextureDescriptor {
                label: None,
                size: wgpu::Extent3d { width: size[0], height: size[1], depth_or_array_layers: 1 },
                mip_level_count: 1,
                sample_count: samples,
                dimension: wgpu::TextureDimension::D2,
                format,
                usage: usage | TextureUse::RENDER_ATTACHMENT,
                view_formats: &[],
            })
        };
        let view = |texture: &wgpu::Texture| texture.create_view(&Default::default());
        let picture = target(COLOUR, [width, height], 1, TextureUse::COPY_SRC | TextureUse::TEXTURE_BINDING);
        let samples = view(&target(COLOUR, [width, height], SAMPLES, TextureUse::empty()));
        let depth = view(&target(DEPTH, [width, height], SAMPLES, TextureUse::empty()));
        let shadow_map = view(&target(DEPTH, [SHADOW_SIZE; 2], 1, TextureUse::TEXTURE_BINDING));

        let shaders = gpu.device.create_shader_module(wgpu::include_wgsl!("shaders.wgsl"));
        let motion = compute_pipeline(gpu, &shaders, "move_instances");
        let shadows = shadow_pipeline(gpu, &shaders);
        let drawing = drawing_pipeline(gpu, &shaders);
        let measuring = compute_pipeline(gpu, &shaders, "measure");

        let pictures = upload_textures(gpu);
        let repeating = gpu.device.create_sampler(&wgpu::SamplerDescriptor {
            address_mode_u: wgpu::AddressMode::Repeat,
            address_mode_v: wgpu::AddressMode::Repeat,
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            mipmap_filter: wgpu::MipmapFilterMode::Linear,
            ..Default::default()
        });
        let shadow_compare = gpu.device.create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            compare: Some(wgpu::CompareFunction::LessEqual),
            ..Default::default()
        });
        let of_globals = (0, globals.as_entire_binding());
        let of_instances = (2, instances.as_entire_binding());
        let of_motion = [of_globals.clone(), (1, instances.as_entire_binding())];
        let of_drawing = [
            of_globals.clone(),
            of_instances.clone(),
            (3, BindingResource::TextureView(&pictures)),
            (4, BindingResource::Sampler(&repeating)),
            (5, BindingResource::TextureView(&shadow_map)),
            (6, BindingResource::Sampler(&shadow_compare)),
        ];
        let of_picture = view(&picture);
        let of_measuring =
            [(0, BindingResource::TextureView(&of_picture)), (1, histogram.as_entire_binding())];
        Self {
            motion: Stage {
                bindings: bind(gpu, &motion.get_bind_group_layout(0), &of_motion),
                pipeline: motion,
            },
            shadows: Stage {
                bindings: bind(gpu, &shadows.get_bind_group_layout(0), &[of_globals, of_instances]),
                pipeline: shadows,
            },
            drawing: Stage {
                bindings: bind(gpu, &drawing.get_bind_group_layout(0), &of_drawing),
                pipeline: drawing,
            },
            measuring: Stage {
                bindings: bind(gpu, &measuring.get_bind_group_layout(0), &of_measuring),
                pipeline: measuring,
            },
            picture,
            histogram,
            instances,
            geometry,
            vertices,
            indices,
            globals,
            samples,
            depth,
            shadow_map,
        }
    }

    /// Records and submits a frame.
    pub(crate) fn frame(&self, gpu: &Gpu, number: u32) -> wgpu::SubmissionIndex {
        let globals = self.globals_of(number);
        gpu.queue.write_buffer(&self.globals, 0, bytemuck::bytes_of(&globals));
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&self.histogram, 0, None);
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.motion.pipeline);
            pass.set_bind_group(0, &self.motion.bindings, &[]);
            pass.dispatch_workgroups(INSTANCES.div_ceil(16), 1, 1);
        }
        self.draw(&mut encoder, &self.shadows, None, &self.shadow_map);
        self.draw(&mut encoder, &self.drawing, Some(&self.samples), &self.depth);
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.measuring.pipeline);
            pass.set_bind_group(0, &self.measuring.bindings, &[]);
            pass.dispatch_workgroups(self.picture.width().div_ceil(8), self.picture.height().div_ceil(8), 1);
        }
        gpu.queue.submit([encoder.finish()])
    }

    fn draw(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        stage: &Stage<wgpu::RenderPipeline>,
        colour: Option<&wgpu::TextureView>,
        depth: &wgpu::TextureView,
    ) {
        let resolved = self.picture.create_view(&Default::default());
        let colour = colour.map(|view| wgpu::RenderPassColorAttachment {
            view,
            depth_slice: None,
            resolve_target: Some(&resolved),
            ops: wgpu::Operations {
                load: wgpu::LoadOp::Clear(wgpu::Color { r: 0.42, g: 0.58, b: 0.80, a: 1.0 }),
                store: wgpu::StoreOp::Discard,
            },
        });
        let keep = if colour.is_some() { wgpu::StoreOp::Discard } else { wgpu::StoreOp::Store };
        let attachments: &[_] = if colour.is_some() { &[colour] } else { &[] };
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            color_attachments: attachments,
            depth_stencil_attachment: Some(wgpu::RenderPassDepthStencilAttachment {
                view: depth,
                depth_ops: Some(wgpu::Operations { load: wgpu::LoadOp::Clear(1.0), store: keep }),
                stencil_ops: None,
            }),
            ..Default::default()
        });
        pass.set_pipeline(&stage.pipeline);
        pass.set_bind_group(0, &stage.bindings, &[]);
        pass.set_vertex_buffer(0, self.vertices.slice(..));
        pass.set_index_buffer(self.indices.slice(..), wgpu::IndexFormat::Uint32);
        pass.draw_indexed(self.geometry.floor.clone(), 0, 0..1);
        pass.draw_indexed(self.geometry.knot.clone(), 0, 1..2);
        pass.draw_indexed(self.geometry.cube.clone(), 0, 2..INSTANCES);
    }

    fn globals_of(&self, number: u32) -> Globals {
        let time = number as f32 * STEP;
        let aspect = self.picture.width() as f32 / self.picture.height() as f32;
        let eye = [7.2 * (0.1 * time + 0.6).sin(), 4.6, 7.2 * (0.1 * time + 0.6).cos()];
        let light_direction = normalize([-0.55, -0.85, -0.35]);
        let light_place = light_direction.map(|value| -14.0 * value);
        Globals {
            view: multiply(&perspective(0.85, aspect, 0.1, 60.0), &look_at(eye, [0.0, 1.2, 0.0])),
            light: multiply(&orthographic(8.0, 1.0, 30.0), &look_at(light_place, [0.0; 3])),
            eye,
            time,
            light_direction,
            frame: number,
        }
    }
}

fn buffer(gpu: &Gpu, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

fn bind(
    gpu: &Gpu,
    layout: &wgpu::BindGroupLayout,
    resources: &[(u32, wgpu::BindingResource<'_>)],
) -> wgpu::BindGroup {
    let entries: Vec<_> = resources
        .iter()
        .map(|(binding, resource)| wgpu::BindGroupEntry { binding: *binding, resource: resource.clone() })
        .collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
}

fn upload_textures(gpu: &Gpu) -> wgpu::TextureView {
    let size = wgpu::Extent3d {
        width: textures::SIZE,
        height: textures::SIZE,
        depth_or_array_layers: textures::LAYERS,
    };
    let texture = gpu.device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: textures::MIP_LEVELS,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: COLOUR,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    });
    for number in 0..textures::LAYERS {
        for (level, texels) in (0..).zip(textures::layer(number)) {
            let width = textures::SIZE >> level;
            let mut target = texture.as_image_copy();
            target.mip_level = level;
            target.origin.z = number;
            gpu.queue.write_texture(
                target,
                &texels,
                wgpu::TexelCopyBufferLayout {
                    offset: 0,
                    bytes_per_row: Some(width * 4),
                    rows_per_image: None,
                },
                wgpu::Extent3d { width, height: width, depth_or_array_layers: 1 },
            );
        }
    }
    texture.create_view(&wgpu::TextureViewDescriptor {
        dimension: Some(wgpu::TextureViewDimension::D2Array),
        ..Default::default()
    })
}

fn compute_pipeline(gpu: &Gpu, shaders: &wgpu::ShaderModule, entry_point: &str) -> wgpu::ComputePipeline {
    gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: shaders,
        entry_point: Some(entry_point),
        compilation_options: Default::default(),
        cache: None,
    })
}

fn shadow_pipeline(gpu: &Gpu, shaders: &wgpu::ShaderModule) -> wgpu::RenderPipeline {
    render_pipeline(gpu, shaders, "shadow_vertex", None, 1)
}

fn drawing_pipeline(gpu: &Gpu, shaders: &wgpu::ShaderModule) -> wgpu::RenderPipeline {
    render_pipeline(gpu, shaders, "scene_vertex", Some("scene_fragment"), SAMPLES)
}

fn render_pipeline(
    gpu: &Gpu,
    module: &wgpu::ShaderModule,
    vertex: &str,
    fragment: Option<&str>,
    samples: u32,
) -> wgpu::RenderPipeline {
    let attributes = wgpu::vertex_attr_array![0 => Float32x3, 1 => Float32x3, 2 => Float32x2];
    let layout = wgpu::VertexBufferLayout {
        array_stride: size_of::<Vertex>() as u64,
        step_mode: wgpu::VertexStepMode::Vertex,
        attributes: &attributes,
    };
    gpu.device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: None,
        layout: None,
        vertex: wgpu::VertexState {
            module,
            entry_point: Some(vertex),
            compilation_options: Default::default(),
            buffers: &[Some(layout)],
        },
        primitive: wgpu::PrimitiveState { cull_mode: Some(wgpu::Face::Back), ..Default::default() },
        depth_stencil: Some(wgpu::DepthStencilState {
            format: DEPTH,
            depth_write_enabled: Some(true),
            depth_compare: Some(wgpu::CompareFunction::Less),
            stencil: Default::default(),
            bias: Default::default(),
        }),
        multisample: wgpu::MultisampleState { count: samples, ..Default::default() },
        fragment: fragment.map(|entry_point| wgpu::FragmentState {
            module,
            entry_point: Some(entry_point),
            compilation_options: Default::default(),
            targets: &[Some(wgpu::ColorTargetState {
                format: COLOUR,
                blend: None,
                write_mask: wgpu::ColorWrites::ALL,
            })],
        }),
        multiview_mask: None,
        cache: None,
    })
}
