//! The cases, by the kind of object that they are about.

mod buffers;
mod compute;
mod descriptors;
mod device;
mod drawing;
mod external;
mod formats;
mod host_copies;
mod images;
mod indirect;
mod mapped;
mod memory;
mod offered;
mod passes;
mod pipelines;
mod queries;
mod recording;
mod robustness;
mod samplers;
mod sparse;
mod states;
mod synchronisation;
mod threads;
mod transfer;

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
    descriptors: every_type templates copies pools push_descriptors inline_blocks update_after_bind
        variable_count immutable_samplers null_descriptors support;
    host_copies: pitches large opaque;
    compute: fill specialisation subgroups chain base_group;
    pipelines: cache feedback_and_flags derivatives libraries many_at_once;
    drawing: triangles indices instances topologies tessellation geometry textures push_constants clip;
    states: dynamic more_dynamic vertex_input blending depth stencil samples logic_and_masks viewports lines;
    passes: one_subpass input_attachment second_version depth_resolve imageless multiview dynamic_rendering
        suspended two_targets;
    recording: secondary inheritance reuse reset pools simultaneous large;
    transfer: buffers images blits resolve clears updates second_version;
    indirect: draws indexed counts dispatches;
    queries: occlusion timestamps statistics results reset;
    synchronisation: fences events semaphores timeline wait_before_signal second_version batches many_submissions;
    robustness: outside_of_buffers outside_of_vertices;
    offered: transform_feedback conditional_rendering multi_draw divisors provoking;
    threads: recording_and_submitting creating waiting;
}
