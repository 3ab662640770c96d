//! `VkPipeline`: creation is not waited for, unless the program asks how it went.

use std::ffi::c_void;

use ash::vk;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::schema::Command;

use crate::alloc::HostAllocator;
use crate::chain;
use crate::device;
use crate::dispatch;
use crate::forward::{self, NewHandles};
use crate::session::Session;

/// The program would rather have no pipeline than wait for a compiler: only the host knows which it will be.
const MUST_NOT_COMPILE: u64 = vk::PipelineCreateFlags::FAIL_ON_PIPELINE_COMPILE_REQUIRED.as_raw() as u64;

/// None of those behind a pipeline that fails is created.
const EARLY_RETURN: u64 = vk::PipelineCreateFlags::EARLY_RETURN_ON_FAILURE.as_raw() as u64;

/// What the create infos of all kinds of pipelines begin with.
#[repr(C)]
struct CommonInfo {
    s_type: vk::StructureType,
    p_next: *const c_void,
    flags: u32,
}

/// One call that creates pipelines.
struct Creation<'a> {
    device: *mut c_void,
    cmd: &'a Command,
    /// The arguments.
    args: &'a [u64],
    /// Index of the number of pipelines among the arguments; the infos follow, then the allocator and the handles.
    count: usize,
    /// Size of one info in bytes.
    stride: usize,
}

impl Creation<'_> {
    fn len(&self) -> usize {
        (self.args[self.count] & 0xFFFF_FFFF) as usize
    }

    fn info(&self, i: usize) -> *const CommonInfo {
        (self.args[self.count + 1] as *const u8).wrapping_add(i * self.stride).cast()
    }

    /// Creates the pipelines.
    ///
    /// # Safety
    /// The arguments must be valid for the command.
    unsafe fn run(&self) -> i32 {
        // SAFETY: the caller's promise: `len` infos and handles.
        unsafe {
            let mut waits = false;
            for i in 0..self.len() {
                no_feedback((*self.info(i)).p_next);
                waits |= flags(self.info(i)) & MUST_NOT_COMPILE != 0;
            }
            forward::guard(self.device, self.cmd.lost, || {
                let Some(session) = dispatch::session(self.device) else { return self.cmd.lost };
                let callbacks = self.args[self.count + 2] as *const c_void;
                let allocator = device::allocator(self.device, callbacks);
                let ty = HandleType::Pipeline;
                if self.len() > 1 && allocator.is_given() {
                    self.each_with_memory(session, allocator, waits)
                } else {
                    forward::try_create(session, self.cmd, self.args, ty, &allocator, waits)
                }
                .as_raw()
            })
        }
    }

    /// Creates all of them, and then asks the program's callbacks for each. One that is refused is destroyed again: what
    /// derives from it by its index was created with it, and stays.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn each_with_memory(&self, session: &Session, own: HostAllocator, waits: bool) -> vk::Result {
        let ty = HandleType::Pipeline;
        let new = NewHandles { first: self.args[self.count + 3] as *mut u64, count: self.len() };
        // SAFETY: the caller's promise: room for as many handles as there are infos.
        unsafe {
            let mut result =
                forward::try_create(session, self.cmd, self.args, ty, &HostAllocator::default(), waits);
            let mut returned = false;
            for i in 0..new.count {
                let id = new.load(i);
                if id == 0 || !returned && session.back_id(ty, id, own) {
                    continue;
                }
                result = vk::Result::ERROR_OUT_OF_HOST_MEMORY;
                returned |= flags(self.info(i)) & EARLY_RETURN != 0;
                new.clear(i);
                forward::destroy(
                    self.device,
                    &commands::VK_DESTROY_PIPELINE,
                    &[self.device as u64, id, 0],
                    id,
                    ty,
                );
            }
            result
        }
    }
}

/// `VkPipelineCreateFlags2` of a pipeline.
///
/// # Safety
/// `info` must be valid.
unsafe fn flags(info: *const CommonInfo) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match chain::find::<vk::PipelineCreateFlags2CreateInfoKHR<'_>>((*info).p_next).as_ref() {
            Some(wide) => wide.flags.as_raw(),
            None => (*info).flags.into(),
        }
    }
}

/// Says in the feedback of a pipeline, if it is asked for, that there is none: as long as the host has not answered.
///
/// # Safety
/// The chain must be valid.
unsafe fn no_feedback(next: *const c_void) {
    // SAFETY: the caller's promise: as many stages as the structure says.
    unsafe {
        let Some(feedback) = chain::find::<vk::PipelineCreationFeedbackCreateInfo<'_>>(next).as_ref() else {
            return;
        };
        let none = vk::PipelineCreationFeedback::default();
        if let Some(of_pipeline) = feedback.p_pipeline_creation_feedback.as_mut() {
            *of_pipeline = none;
        }
        for i in 0..feedback.pipeline_stage_creation_feedback_count as usize {
            feedback.p_pipeline_stage_creation_feedbacks.add(i).write(none);
        }
    }
}

/// `vkCreateGraphicsPipelines`
pub(crate) unsafe extern "system" fn vkCreateGraphicsPipelines(
    device: *mut c_void,
    cache: u64,
    count: u32,
    infos: *const c_void,
    callbacks: *const c_void,
    pipelines: *mut u64,
) -> i32 {
    let args = [device as u64, cache, count.into(), infos as u64, callbacks as u64, pipelines as u64];
    let cmd = &commands::VK_CREATE_GRAPHICS_PIPELINES;
    let stride = size_of::<vk::GraphicsPipelineCreateInfo<'_>>();
    // SAFETY: the application's valid usage of this command.
    unsafe { Creation { device, cmd, args: &args, count: 2, stride }.run() }
}

/// `vkCreateComputePipelines`
pub(crate) unsafe extern "system" fn vkCreateComputePipelines(
    device: *mut c_void,
    cache: u64,
    count: u32,
    infos: *const c_void,
    callbacks: *const c_void,
    pipelines: *mut u64,
) -> i32 {
    let args = [device as u64, cache, count.into(), infos as u64, callbacks as u64, pipelines as u64];
    let cmd = &commands::VK_CREATE_COMPUTE_PIPELINES;
    let stride = size_of::<vk::ComputePipelineCreateInfo<'_>>();
    // SAFETY: the application's valid usage of this command.
    unsafe { Creation { device, cmd, args: &args, count: 2, stride }.run() }
}

/// `vkCreateRayTracingPipelinesKHR`: never deferred, which is said where it was asked for.
pub(crate) unsafe extern "system" fn vkCreateRayTracingPipelinesKHR(
    device: *mut c_void,
    deferred: u64,
    cache: u64,
    count: u32,
    infos: *const c_void,
    callbacks: *const c_void,
    pipelines: *mut u64,
) -> i32 {
    let args =
        [device as u64, deferred, cache, count.into(), infos as u64, callbacks as u64, pipelines as u64];
    let cmd = &commands::VK_CREATE_RAY_TRACING_PIPELINES_KHR;
    let stride = size_of::<vk::RayTracingPipelineCreateInfoKHR<'_>>();
    // SAFETY: the application's valid usage of this command.
    let result = unsafe { Creation { device, cmd, args: &args, count: 3, stride }.run() };
    if deferred != 0 && result == vk::Result::SUCCESS.as_raw() {
        return vk::Result::OPERATION_NOT_DEFERRED_KHR.as_raw();
    }
    result
}

/// `vkCreateRayTracingPipelinesNV`
pub(crate) unsafe extern "system" fn vkCreateRayTracingPipelinesNV(
    device: *mut c_void,
    cache: u64,
    count: u32,
    infos: *const c_void,
    callbacks: *const c_void,
    pipelines: *mut u64,
) -> i32 {
    let args = [device as u64, cache, count.into(), infos as u64, callbacks as u64, pipelines as u64];
    let cmd = &commands::VK_CREATE_RAY_TRACING_PIPELINES_NV;
    let stride = size_of::<vk::RayTracingPipelineCreateInfoNV<'_>>();
    // SAFETY: the application's valid usage of this command.
    unsafe { Creation { device, cmd, args: &args, count: 2, stride }.run() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipeline_when_it_must_not_be_compiled_is_seen_by_either_flags() {
        let mut info = vk::ComputePipelineCreateInfo::default();
        // SAFETY: valid structures.
        unsafe {
            assert_eq!(flags((&raw const info).cast()), 0);
            info.flags = vk::PipelineCreateFlags::FAIL_ON_PIPELINE_COMPILE_REQUIRED;
            assert_eq!(flags((&raw const info).cast()), MUST_NOT_COMPILE);
            let wide = vk::PipelineCreateFlags2CreateInfoKHR::default();
            info.p_next = (&raw const wide).cast();
            assert_eq!(flags((&raw const info).cast()), 0, "the wide flags replace the others");
        }
    }

    #[test]
    fn feedback_when_asked_for_is_not_valid() {
        let valid =
            vk::PipelineCreationFeedback { flags: vk::PipelineCreationFeedbackFlags::VALID, duration: 7 };
        let (mut whole, mut stages) = (valid, [valid; 2]);
        let feedback = vk::PipelineCreationFeedbackCreateInfo::default()
            .pipeline_creation_feedback(&mut whole)
            .pipeline_stage_creation_feedbacks(&mut stages);
        // SAFETY: a valid chain.
        unsafe { no_feedback((&raw const feedback).cast()) };
        assert!(whole.flags.is_empty() && stages.iter().all(|stage| stage.flags.is_empty()));
    }
}
