//! Questions to the physical device whose answers are not the driver's alone.

use ash::vk;
use vw_wire_protocol::codec::Request;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::schema::Command;

use super::external::{Question, find};
use crate::gpu::sparse::Sparse;
use crate::session::Session;
use crate::session::end::End;

/// Creation flags of sparse images.
const SPARSE: vk::ImageCreateFlags = vk::ImageCreateFlags::from_raw(
    vk::ImageCreateFlags::SPARSE_BINDING.as_raw()
        | vk::ImageCreateFlags::SPARSE_RESIDENCY.as_raw()
        | vk::ImageCreateFlags::SPARSE_ALIASED.as_raw(),
);

/// Commands that are looked at here.
const IMAGE_FORMAT: u16 = commands::VK_GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES.opcode;
const IMAGE_FORMAT_2: u16 = commands::VK_GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES_2.opcode;
const SPARSE_FORMAT: u16 = commands::VK_GET_PHYSICAL_DEVICE_SPARSE_IMAGE_FORMAT_PROPERTIES.opcode;
const SPARSE_FORMAT_2: u16 = commands::VK_GET_PHYSICAL_DEVICE_SPARSE_IMAGE_FORMAT_PROPERTIES_2.opcode;
const EXTERNAL_BUFFER: u16 = commands::VK_GET_PHYSICAL_DEVICE_EXTERNAL_BUFFER_PROPERTIES.opcode;

/// The result of a question about what there is not.
const NOT_SUPPORTED: u64 = vk::Result::ERROR_FORMAT_NOT_SUPPORTED.as_raw() as i64 as u64;

impl Session {
    /// A question about the physical device: asked of the driver in terms that it knows, and answered in the guest's.
    ///
    /// # Errors
    /// As [`Session::call`].
    ///
    /// # Safety
    /// The request must have been decoded for `command`, with no required pointer null.
    pub(crate) unsafe fn ask_physical(&self, command: &Command, request: &Request<'_>) -> Result<u64, End> {
        let args = &request.args;
        // SAFETY: the pointers are to what the command's table says, in the request's arena.
        unsafe {
            match command.opcode {
                IMAGE_FORMAT if self.hides_sparse(vk::ImageCreateFlags::from_raw(args[5] as u32)) => {
                    Ok(NOT_SUPPORTED)
                }
                IMAGE_FORMAT_2 => self.ask_image_format(command, request),
                SPARSE_FORMAT if self.import.sparse == Sparse::Hidden => {
                    (args[6] as *mut u32).write(0);
                    Ok(0)
                }
                SPARSE_FORMAT_2 if self.import.sparse == Sparse::Hidden => {
                    (args[2] as *mut u32).write(0);
                    Ok(0)
                }
                EXTERNAL_BUFFER => self.ask_external_buffer(command, request),
                _ => self.call(self.gpu.procs(), command, request),
            }
        }
    }

    fn hides_sparse(&self, flags: vk::ImageCreateFlags) -> bool {
        self.import.sparse == Sparse::Hidden && flags.intersects(SPARSE)
    }

    /// # Safety
    /// As [`Session::ask_physical`].
    unsafe fn ask_image_format(&self, command: &Command, request: &Request<'_>) -> Result<u64, End> {
        // SAFETY: the caller's promise.
        unsafe {
            let info = &*(request.args[1] as *const vk::PhysicalDeviceImageFormatInfo2<'_>);
            let external = find::<vk::PhysicalDeviceExternalImageFormatInfo<'_>>(info.p_next);
            let question = external.map_or(Question::Plain, |info| self.handles.ask(&mut info.handle_type));
            if question == Question::None || self.hides_sparse(info.flags) {
                return Ok(NOT_SUPPORTED);
            }
            let ret = self.call(self.gpu.procs(), command, request)?;
            let properties = &*(request.args[2] as *const vk::ImageFormatProperties2<'_>);
            if let Some(out) = find::<vk::ExternalImageFormatProperties<'_>>(properties.p_next) {
                question.answered(&mut out.external_memory_properties);
            }
            Ok(ret)
        }
    }

    /// # Safety
    /// As [`Session::ask_physical`].
    unsafe fn ask_external_buffer(&self, command: &Command, request: &Request<'_>) -> Result<u64, End> {
        // SAFETY: the caller's promise.
        unsafe {
            let info = &mut *(request.args[1] as *mut vk::PhysicalDeviceExternalBufferInfo<'_>);
            let out = &mut *(request.args[2] as *mut vk::ExternalBufferProperties<'_>);
            let question = self.handles.ask(&mut info.handle_type);
            let ret = match question {
                Question::None => 0,
                _ => self.call(self.gpu.procs(), command, request)?,
            };
            question.answered(&mut out.external_memory_properties);
            Ok(ret)
        }
    }
}
