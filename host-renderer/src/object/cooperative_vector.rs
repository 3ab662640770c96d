//! Matrices of cooperative vectors, converted by the host's processor: they stand in the window.

use vw_wire_protocol::codec::Request;
use vw_wire_protocol::cooperative_vector::{COLUMN_MAJOR, ConvertInfo, ROW_MAJOR, component_size};
use vw_wire_protocol::generated::commands;

use crate::session::Session;
use crate::session::end::{End, violation};

/// Index of the info among the arguments.
const INFO: usize = 1;

impl Session {
    /// Puts addresses in the places of the matrices' offsets, in a request of `vkConvertCooperativeVectorMatrixNV`. Returns
    /// where the window is written: offset and length.
    ///
    /// # Errors
    /// A violation when a matrix is not in the window, or the source shorter than what the driver reads. (The driver
    /// writes no more than it is told that there is room for.)
    pub(crate) fn place_matrices(
        &self,
        device: u16,
        request: &Request<'_>,
    ) -> Result<Option<(u64, u64)>, End> {
        // SAFETY: the policy requires the structure, which was decoded by its table; nothing else refers to it.
        let info = unsafe { &mut *(request.args[INFO] as *mut ConvertInfo) };
        // SAFETY: null or decoded by its table.
        let Some(room) = (unsafe { info.p_dst_size.as_ref() }).copied() else {
            return Err(violation("a matrix without the size of its destination"));
        };
        if info.dst_data == 0 {
            info.src_data = 0;
            return Ok(None);
        }
        let needed = self.source_bytes(device, request.args[0], info)?;
        if info.src_data == 0 || needed.is_none_or(|needed| needed > info.src_size) {
            return Err(violation(format!("a matrix of {} bytes that takes {needed:?}", info.src_size)));
        }
        info.src_data = self.address(info.src_data, info.src_size)?;
        let written = (info.dst_data, room as u64);
        info.dst_data = self.address(info.dst_data, room)?;
        Ok(Some(written))
    }

    /// The address of `bytes` at `offset` of the window.
    fn address(&self, offset: u64, bytes: usize) -> Result<u64, End> {
        let (base, window) = self.region.window();
        if offset.checked_add(bytes as u64).is_none_or(|end| end > window as u64) {
            return Err(violation(format!(
                "a matrix of {bytes} bytes at {offset:#x} of a window of {window} bytes"
            )));
        }
        Ok(base.as_ptr().expose_provenance() as u64 + offset)
    }

    /// Bytes of the source; of a layout of its own, the driver knows.
    fn source_bytes(&self, device: u16, raw: u64, info: &ConvertInfo) -> Result<Option<usize>, End> {
        let Some(component) = component_size(info.src_component_type) else { return Ok(None) };
        if matches!(info.src_layout, ROW_MAJOR | COLUMN_MAJOR) {
            return Ok(info.source_bytes());
        }
        let mut bytes = 0;
        let question = ConvertInfo {
            src_data: 0,
            p_dst_size: &raw mut bytes,
            dst_data: 0,
            dst_component_type: info.src_component_type,
            dst_layout: info.src_layout,
            dst_stride: info.src_stride,
            src_layout: ROW_MAJOR,
            src_stride: (info.num_columns as usize).saturating_mul(component),
            ..*info
        };
        let command = &commands::VK_CONVERT_COOPERATIVE_VECTOR_MATRIX_NV;
        let args = [raw, std::ptr::from_ref(&question) as u64];
        // SAFETY: a live device and a valid structure, whose chain was decoded.
        let ret = unsafe { self.call_args(&self.device(device)?.procs, command, &args)? };
        Ok((ret == 0).then_some(bytes))
    }
}
