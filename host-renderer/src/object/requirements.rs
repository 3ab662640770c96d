//! Memory requirements that the guest asks for without waiting: the answer stands in the control page when it wants it.

use ash::vk;
use ash::vk::Handle as _;
use vw_wire_protocol::codec::Reader;
use vw_wire_protocol::generated::commands;
use vw_wire_protocol::generated::handles::HandleType;
use vw_wire_protocol::record::{PREFERS_DEDICATED, REQUIRES_DEDICATED};

use crate::session::Session;
use crate::session::end::{End, violation};

impl Session {
    /// Tells the requirements of an image; see [`TELL_REQUIREMENTS`](vw_wire_protocol::record::op::TELL_REQUIREMENTS).
    ///
    /// # Errors
    /// When the record is malformed, or there is no such image.
    pub(crate) fn tell_requirements(&mut self, mut reader: Reader<'_>) -> Result<(), End> {
        let number = reader.take_u64().map_err(violation)?;
        let id = reader.take_u64().map_err(violation)?;
        reader.finish().map_err(violation)?;
        let answer = self.image_requirements(id)?;
        self.region.control().push_answer(number, answer);
        Ok(())
    }

    /// The three words of the answer.
    fn image_requirements(&self, id: u64) -> Result<[u64; 3], End> {
        const UNKNOWN: [u64; 3] = [0; 3];
        let image = self.tables.object(HandleType::Image, id).ok_or_else(|| {
            violation(format!("requirements of VkImage {id:#x}, which names no live object"))
        })?;
        let made = self.images.get(&id).filter(|made| !made.flags.contains(vk::ImageCreateFlags::DISJOINT));
        if image.poisoned || made.is_none() {
            // Its planes have requirements of their own, or there is no image.
            return Ok(UNKNOWN);
        }
        let device = self.device(image.device)?;
        let ask = vk::ImageMemoryRequirementsInfo2::default().image(vk::Image::from_raw(image.raw));
        let mut dedicated = vk::MemoryDedicatedRequirements::default();
        let mut needs = vk::MemoryRequirements2::default().push_next(&mut dedicated);
        let raw = device.shared.device.handle().as_raw();
        let args = [raw, &raw const ask as u64, &raw mut needs as u64];
        let command = &commands::VK_GET_IMAGE_MEMORY_REQUIREMENTS_2;
        // SAFETY: a live image of this device, and structures for the answer.
        unsafe { self.call_args(&device.procs, command, &args)? };
        let needs = needs.memory_requirements;
        let flag = |set: u32, flag: u64| if set == 0 { 0 } else { flag };
        let types = u64::from(needs.memory_type_bits)
            | flag(dedicated.prefers_dedicated_allocation, PREFERS_DEDICATED)
            | flag(dedicated.requires_dedicated_allocation, REQUIRES_DEDICATED);
        Ok([needs.size, needs.alignment, types])
    }
}
