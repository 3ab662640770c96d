//! How each command is sent.

use crate::lower::{Elem, Step};
use crate::model::Model;
use crate::registry::CommandDecl;

/// Name of the `Class` variant.
pub fn class(model: &Model, c: &CommandDecl, steps: &[Step]) -> &'static str {
    let o = &model.overlay.commands;
    let listed = |list: &[String]| list.contains(&c.name);
    if listed(&o.local) {
        return "Local";
    }
    if c.name.starts_with("vkCmd") {
        return "Record";
    }
    if listed(&o.send) {
        return "Send";
    }
    if listed(&o.call) {
        return "Call";
    }
    let creates = created(steps).is_some();
    let returns = steps.iter().any(|s| matches!(s, Step::Pointer { dir: "Out" | "InOut", .. }));
    if creates || c.name.starts_with("vkDestroy") || c.name.starts_with("vkFree") {
        return "Send";
    }
    if c.ret == "void" && !returns { "Send" } else { "Call" }
}

/// Type of the handles that a command creates.
pub fn created(steps: &[Step]) -> Option<&str> {
    steps.iter().find_map(|s| match s {
        Step::Pointer { dir: "New", elem: Elem::Handle { ty, .. }, .. } => Some(ty.as_str()),
        _ => None,
    })
}

/// The object family, which is the generated file that a command or structure is in. Names are tried in order:
/// the first keyword found decides.
pub fn family(name: &str) -> &'static str {
    const KEYWORDS: &[(&str, &str)] = &[
        ("Video", "video"),
        ("Indirect", "generated_commands"),
        ("GeneratedCommands", "generated_commands"),
        ("Micromap", "ray_tracing"),
        ("AccelerationStructure", "ray_tracing"),
        ("RayTracing", "ray_tracing"),
        ("TraceRays", "ray_tracing"),
        ("PhysicalDevice", "physical_device"),
        ("PipelineBinary", "pipeline"),
        ("Descriptor", "descriptor"),
        ("PipelineLayout", "descriptor"),
        ("RenderPass", "render_pass"),
        ("Rendering", "render_pass"),
        ("Subpass", "render_pass"),
        ("Framebuffer", "render_pass"),
        ("Attachment", "render_pass"),
        ("CmdSet", "dynamic_state"),
        ("CmdDraw", "draw"),
        ("CmdDispatch", "draw"),
        ("Pipeline", "pipeline"),
        ("Shader", "pipeline"),
        ("Semaphore", "sync"),
        ("Fence", "sync"),
        ("Event", "sync"),
        ("Barrier", "sync"),
        ("Query", "query"),
        ("Copy", "transfer"),
        ("Blit", "transfer"),
        ("Resolve", "transfer"),
        ("Clear", "transfer"),
        ("Image", "image"),
        ("Sampler", "image"),
        ("Buffer", "buffer"),
        ("Memory", "memory"),
        ("Queue", "queue"),
        ("Submit", "queue"),
        ("Surface", "surface"),
        ("Present", "surface"),
        ("Swapchain", "surface"),
        ("Display", "surface"),
        ("Cmd", "command_buffer"),
    ];
    // Command buffers first: their names contain "Buffer".
    if name.contains("CommandBuffer") || name.contains("CommandPool") {
        return "command_buffer";
    }
    KEYWORDS.iter().find(|(k, _)| name.contains(k)).map_or("device", |(_, f)| f)
}
