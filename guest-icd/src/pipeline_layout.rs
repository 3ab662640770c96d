//! `VkPipelineLayout`: may be destroyed while recordings that name it go on.

use std::ffi::c_void;

use vw_wire_protocol::codec::{Writer, encode_request};
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::MAX_RECORD;

use crate::dispatch;
use crate::log;
use crate::recordings::Deferred;
use crate::session::Session;

/// `vkDestroyPipelineLayout`
pub(crate) unsafe extern "system" fn vkDestroyPipelineLayout(
    device: *mut c_void,
    layout: u64,
    callbacks: *const c_void,
) {
    if layout == 0 {
        return;
    }
    let cmd = &commands::VK_DESTROY_PIPELINE_LAYOUT;
    log::command(cmd.name);
    let args = [device as u64, layout, callbacks as u64];
    // SAFETY: the application's valid usage of this command.
    let Some(session) = (unsafe { dispatch::session(device) }) else { return };
    // The id is in use until the recordings are over; the application's memory is not.
    session.free_backing(HandleType::PipelineLayout, layout);
    let mut payload = Vec::new();
    let mut writer = Writer::growing(&mut payload, MAX_RECORD);
    // SAFETY: as above.
    unsafe { encode_request(cmd, &args, &mut writer) };
    if writer.finish().is_ok()
        && let Some(now) = session.recordings.defer(layout, payload)
    {
        destroy(session, &now);
    }
    // What it waits for may be a recording that need not wait any more.
    session.hand_over_oldest();
}

/// Sends a destruction and takes the id back.
fn destroy(session: &Session, layout: &Deferred) {
    let cmd = &commands::VK_DESTROY_PIPELINE_LAYOUT;
    if session.send(cmd.opcode, &|w| w.put_bytes(&layout.payload)).is_ok() {
        session.free_id(HandleType::PipelineLayout, layout.id);
    }
}

impl Session {
    /// A recording was handed over or dropped: sends the destructions that waited for it.
    pub(crate) fn recording_over(&self, ticket: u64) {
        for layout in self.recordings.end(ticket) {
            destroy(self, &layout);
        }
    }
}
