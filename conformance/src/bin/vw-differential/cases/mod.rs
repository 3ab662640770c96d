//! The cases, by the kind of object that they are about.

mod buffers;
mod captures;
mod colour_models;
mod compute;
mod conditional;
mod descriptor_buffers;
mod descriptors;
mod device;
mod drawing;
mod dynamic_states;
mod external;
mod formats;
mod generated_commands;
mod host_copies;
mod images;
mod indirect;
mod inline_blocks;
mod local_read;
mod maintenance;
mod mapped;
mod memory;
mod mesh_shaders;
mod offered;
mod passes;
mod pipelines;
mod presentation;
mod queries;
mod ray_tracing;
mod recording;
mod robustness;
mod samplers;
mod shader_objects;
mod sparse;
mod states;
mod synchronisation;
mod threads;
mod timelines;
mod transfer;
mod whole_device;

pub(crate) use external::run_peer;

use crate::gpu::Gpu;
use crate::report::Report;

/// A case: valid usage of the device; prints what it got.
pub(crate) type Case = unsafe fn(&Gpu, &Report);

macro_rules! cases {
    ($($module:ident: $($case:ident)*;)*) => {
        /// All cases by name, in the order in which they run.
        pub(crate) const ALL: &[(&str, Case)] =
            &[$($((concat!(stringify!($module), ".", stringify!($case)), $module::$case),)*)*];
    };
}

cases! {
    device: instances facts properties extensions everything_enabled refused queues private_data names;
    formats: properties image_formats sparse external;
    memory: round_trip persistent_mapping ranges shared_by_buffers requirements too_much accounting;
    mapped: placed reported;
    sparse: buffer images;
    external: capabilities host_pointer host_pointer_image file processes;
    buffers: usages views addresses;
    images: clears levels layers volumes linear one_dimension depth_stencil views mutable compressed requirements;
    samplers: filters borders comparison anisotropy;
    descriptors: every_type templates copies pools push_descriptors update_after_bind variable_count
        immutable_samplers support;
    inline_blocks: written copied update_after_bind;
    host_copies: pitches large opaque opaque_layers;
    compute: fill specialisation subgroups chain base_group;
    pipelines: cache feedback_and_flags derivatives libraries many_at_once;
    drawing: triangles indices restart instances topologies tessellation geometry textures push_constants clip;
    states: dynamic more_dynamic vertex_input blending depth stencil samples logic_and_masks viewports lines;
    passes: one_subpass input_attachment second_version depth_resolve imageless multiview dynamic_rendering
        suspended two_targets;
    recording: secondary inheritance reuse reset pools simultaneous large;
    transfer: buffers images blits resolve clears updates second_version;
    indirect: draws indexed counts indexed_counts dispatches;
    queries: occlusion timestamps statistics more_statistics results reset streams;
    captures: pauses queries;
    synchronisation: fences events many_events semaphores timeline wait_before_signal second_version batches
        many_submissions in_order;
    timelines: chain crossed one_for_all in_turn;
    robustness: outside_of_buffers outside_of_vertices outside_of_descriptors null_descriptors null_vertices
        parts_of_buffers smallest_images;
    conditional: draws dispatches clears secondary;
    generated_commands: draws dispatches pipelines;
    offered: transform_feedback multi_draw divisors provoking;
    shader_objects: graphics compute;
    mesh_shaders: draws queries;
    ray_tracing: queries copies pipelines;
    maintenance: facts requirements mapping fifth sixth;
    descriptor_buffers: offsets embedded_samplers mutable;
    colour_models: planes;
    local_read: attachments own_layout subpasses;
    dynamic_states: rasterisation blending tessellation depth_bounds unused;
    presentation: surface frames images;
    whole_device: group clocks priorities several without_loader;
    threads: recording_and_submitting creating compiling waiting;
}
