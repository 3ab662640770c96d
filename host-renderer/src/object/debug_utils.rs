//! Names and tags of objects, for the tools that look at the host's driver.

use std::ffi::CString;

use ash::ext::debug_utils;
use ash::vk;
use vw_wire_protocol::codec::Reader;
use vw_wire_protocol::generated::handles::HandleType;

use crate::gpu::Gpu;
use crate::session::Session;
use crate::session::end::{End, violation};

/// A device's functions that name and tag.
pub struct Functions(debug_utils::Device);

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Functions").finish_non_exhaustive()
    }
}

/// The device's functions, where the host has the extension.
///
/// # Safety
/// `device` must be a live device of the host's instance.
pub unsafe fn load(gpu: &Gpu, device: &ash::Device) -> Option<Functions> {
    let names = [c"vkSetDebugUtilsObjectNameEXT", c"vkSetDebugUtilsObjectTagEXT"];
    let has = |name: &std::ffi::CStr| {
        // SAFETY: the caller's promise.
        unsafe { gpu.instance.get_device_proc_addr(device.handle(), name.as_ptr()) }.is_some()
    };
    let there = gpu.offer.enabled("VK_EXT_debug_utils") && names.into_iter().all(has);
    there.then(|| Functions(debug_utils::Device::new(&gpu.instance, device)))
}

/// What a record is about: a live object of a device.
struct Named<'a> {
    device: &'a debug_utils::Device,
    ty: vk::ObjectType,
    raw: u64,
}

impl Session {
    /// The record `NAME_OBJECT`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn name_object(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let (named, length) = self.named_object(&mut reader)?;
        let mut name = vec![0; length];
        reader.take_bytes(&mut name).map_err(violation)?;
        reader.finish().map_err(violation)?;
        let name = CString::new(name).map_err(|_| violation("a name with a zero byte in it"))?;
        if let Some(Named { device, ty, raw }) = named {
            let info = vk::DebugUtilsObjectNameInfoEXT {
                object_type: ty,
                object_handle: raw,
                p_object_name: name.as_ptr(),
                ..Default::default()
            };
            // SAFETY: the object is live, of this type, and of this device.
            let named = unsafe { device.set_debug_utils_object_name(&info) };
            named.unwrap_or_else(|result| tracing::debug!("an object was not named: {result}"));
        }
        Ok(())
    }

    /// The record `TAG_OBJECT`.
    ///
    /// # Errors
    /// When the guest broke the protocol.
    pub(crate) fn tag_object(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let (named, length) = self.named_object(&mut reader)?;
        let tag_name = reader.take_u64().map_err(violation)?;
        if length > reader.left() {
            return Err(violation(format!("a tag of {length} bytes in {}", reader.left())));
        }
        let mut tag = vec![0; length];
        reader.take_bytes(&mut tag).map_err(violation)?;
        reader.finish().map_err(violation)?;
        if let Some(Named { device, ty, raw }) = named {
            let mut info = vk::DebugUtilsObjectTagInfoEXT::default().tag_name(tag_name).tag(&tag);
            (info.object_type, info.object_handle) = (ty, raw);
            // SAFETY: as for names.
            let tagged = unsafe { device.set_debug_utils_object_tag(&info) };
            tagged.unwrap_or_else(|result| tracing::debug!("an object was not tagged: {result}"));
        }
        Ok(())
    }

    /// The beginning of such a record, and the length of what follows, which is there. No object where the host has no
    /// such extension, does not know the object (fences live in the guest), or where it is not of the device: instance
    /// and physical device are the host's own.
    fn named_object(&mut self, reader: &mut Reader<'_>) -> Result<(Option<Named<'_>>, usize), End> {
        let (device, id) = (reader.take_u64().map_err(violation)?, reader.take_u64().map_err(violation)?);
        let ty = reader.take_u32().map_err(violation)? as i32;
        let length = reader.take_u32().map_err(violation)? as usize;
        if length > reader.left() {
            return Err(violation(format!(
                "{length} bytes about an object, of which {} are there",
                reader.left()
            )));
        }
        let through = self
            .tables
            .live(HandleType::Device, device)
            .copied()
            .map_err(|error| violation(format!("an object named through Device {device:#x}: {error}")))?;
        let ty_of_object = (0..HandleType::COUNT as u8)
            .filter_map(HandleType::from_u8)
            .find(|known| known.object_type() == ty);
        if let Some(ty) = ty_of_object {
            // It is being created, or what is being created reads it.
            if ty == HandleType::Pipeline {
                self.compiling.settle_pipeline(&mut self.tables, id);
            }
            self.compiling.settle_users(&mut self.tables, &[(ty, id)]);
        }
        let object = ty_of_object
            .and_then(|ty| self.tables.live(ty, id).ok())
            .filter(|object| object.device == through.device);
        let device = self.device(through.device)?.debug_utils.as_ref();
        let named = device.zip(object).map(|(Functions(device), object)| Named {
            device,
            ty: vk::ObjectType::from_raw(ty),
            raw: object.raw,
        });
        Ok((named, length))
    }
}
