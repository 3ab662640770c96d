//! How host-visible memory of the guest becomes the driver's: a ladder, tried from the top before a guest is let in.
//!
//! What drivers advertise is not what they do, so each rung is tried, for each memory type, on a region like the session's.

use std::ffi::CStr;

use ash::vk;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use vw_transport::layout::system_page_size;
use vw_transport::{Limits as Sizes, Region};

use super::Gpu;
use super::sparse::Sparse;
use super::trial::Trial;
use super::udmabuf::Udmabuf;

/// Device extension by which pages are imported as they are.
pub const EXTENSION: &CStr = c"VK_EXT_external_memory_host";

/// The handle type of pages that are imported as they are.
pub const HANDLE_TYPE: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// One way for the driver to have what the guest writes to the window, and the other way around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// The driver imports pages of the window by their address: nothing is copied.
    HostPointer,
    /// The driver imports pages of the window as a dma-buf that the kernel makes of them: nothing is copied.
    Udmabuf,
    /// The driver has memory of its own, and the host copies. That works everywhere.
    Copy,
}

impl Rung {
    /// All, the best first.
    pub const ALL: [Self; 3] = [Self::HostPointer, Self::Udmabuf, Self::Copy];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::HostPointer => "host-pointer",
            Self::Udmabuf => "udmabuf",
            Self::Copy => "copy",
        }
    }

    /// Device extensions that it needs.
    pub fn extensions(self) -> &'static [&'static CStr] {
        match self {
            Self::HostPointer => &[EXTENSION],
            Self::Udmabuf => &[c"VK_KHR_external_memory_fd", c"VK_EXT_external_memory_dma_buf"],
            Self::Copy => &[],
        }
    }

    /// What buffers and images are declared to take.
    pub fn handle_type(self) -> vk::ExternalMemoryHandleTypeFlags {
        match self {
            Self::HostPointer => HANDLE_TYPE,
            Self::Udmabuf => vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT,
            Self::Copy => vk::ExternalMemoryHandleTypeFlags::empty(),
        }
    }
}

/// Which rungs an operator wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// The best that works.
    #[default]
    Auto,
    /// This one.
    HostPointer,
    /// This one.
    Udmabuf,
    /// This one.
    Copy,
}

impl Choice {
    /// The only rung, if there is one.
    fn only(self) -> Option<Rung> {
        match self {
            Self::Auto => None,
            Self::HostPointer => Some(Rung::HostPointer),
            Self::Udmabuf => Some(Rung::Udmabuf),
            Self::Copy => Some(Rung::Copy),
        }
    }
}

/// Which memory types guests see, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// How.
    pub rung: Rung,
    /// Alignment that addresses and sizes need, in bytes.
    pub alignment: u64,
    /// How sparse resources get their memory.
    pub sparse: Sparse,
    /// Bit *i*: memory type *i* is host-visible, coherent, and can be had in this way.
    types: u32,
    /// Why no better rung was taken, in words; empty for the first, or where this one is the operator's choice.
    pub missed: String,
}

impl Import {
    /// Import by address of exactly these memory types.
    pub fn of_types(types: u32, alignment: u64) -> Self {
        Self { rung: Rung::HostPointer, alignment, sparse: Sparse::Imported, types, missed: String::new() }
    }

    /// As text, for a process that has the same device.
    pub fn to_text(&self) -> String {
        let Self { rung, alignment, sparse, types, missed } = self;
        format!("{} {alignment} {} {types} {missed}", rung.name(), *sparse as u32)
    }

    /// Reads [`Import::to_text`]; none if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(5, ' ');
        let name = words.next()?;
        let rung = Rung::ALL.into_iter().find(|rung| rung.name() == name)?;
        let alignment: u64 = words.next()?.parse().ok()?;
        let sparse = match words.next()? {
            "0" => Sparse::Imported,
            "1" => Sparse::Driver,
            "2" => Sparse::Hidden,
            _ => return None,
        };
        let types = words.next()?.parse().ok()?;
        let missed = words.next().unwrap_or_default().to_owned();
        alignment.is_power_of_two().then_some(Self { rung, alignment, sparse, types, missed })
    }

    /// Whether the guest sees memory of type `index`, in the window.
    pub fn serves(&self, index: u32) -> bool {
        index < 32 && self.types & 1 << index != 0
    }

    /// The rung, and why there is no better one, in words.
    pub fn describe(&self) -> String {
        let how = match self.rung {
            Rung::HostPointer => {
                format!("pages of guests are imported by host pointer, {} bytes at a time", self.alignment)
            }
            Rung::Udmabuf => "pages of guests are imported as dma-bufs (udmabuf)".to_owned(),
            Rung::Copy => {
                "what guests write and read is copied between their pages and the GPU's memory".to_owned()
            }
        };
        if self.missed.is_empty() { how } else { format!("{how}: {}", self.missed) }
    }
}

/// Takes the best rung that works, or the one that is chosen. With it comes what it needs of the system.
///
/// # Errors
/// Why none works, or not the chosen one; in words.
pub fn climb(gpu: &Gpu, choice: Choice) -> Result<(Import, Option<Udmabuf>), String> {
    if let Some(rung) = choice.only() {
        let made = reach(gpu, rung);
        return made.map_err(|reason| format!("import = \"{}\" is chosen, but {reason}", rung.name()));
    }
    let mut missed = Vec::new();
    for rung in Rung::ALL {
        match reach(gpu, rung) {
            Ok((import, udmabuf)) => return Ok((Import { missed: missed.join("; "), ..import }, udmabuf)),
            Err(reason) => missed.push(format!("not by {}, because {reason}", rung.name())),
        }
    }
    Err(format!("{} can have no memory in common with guests: {}", gpu.name, missed.join("; ")))
}

/// Tries one rung.
fn reach(gpu: &Gpu, rung: Rung) -> Result<(Import, Option<Udmabuf>), String> {
    if let Some(missing) = rung.extensions().iter().find_map(|name| {
        let name = name.to_str().unwrap_or_default();
        (!gpu.offer.host_has(name)).then_some(name)
    }) {
        return Err(format!("the driver of {} lacks {missing}", gpu.name));
    }
    if gpu.null && rung != Rung::HostPointer {
        return Err("the null executor has no memory".to_owned());
    }
    let udmabuf = if rung == Rung::Udmabuf { Some(Udmabuf::open()?) } else { None };
    let alignment = if rung == Rung::HostPointer { pointer_alignment(gpu)? } else { 1 };
    let page_size = system_page_size().max(alignment);
    let sizes = Sizes {
        ring_size: page_size,
        reply_size: page_size,
        arena_size: 0,
        window_size: page_size,
        page_size,
    };
    let (region, _) = Region::create(&sizes).map_err(|error| error.to_string())?;
    let types = types(gpu, &Trial::new(gpu, rung, udmabuf.as_ref(), &region, page_size)?)?;
    let sparse = match rung {
        Rung::HostPointer => Sparse::probe(gpu),
        // It is the driver's own memory.
        Rung::Copy => Sparse::Imported,
        Rung::Udmabuf => match Sparse::probe(gpu) {
            Sparse::Imported => Sparse::Imported,
            Sparse::Driver | Sparse::Hidden => Sparse::Hidden,
        },
    };
    Ok((Import { rung, alignment, sparse, types, missed: String::new() }, udmabuf))
}

/// Tries each memory type that a program could see.
fn types(gpu: &Gpu, trial: &Trial<'_>) -> Result<u32, String> {
    let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
    let mut types = 0;
    let mut reasons = Vec::new();
    for (index, ty) in gpu.memory_properties().memory_types_as_slice().iter().enumerate() {
        if !ty.property_flags.contains(vk::MemoryPropertyFlags::HOST_VISIBLE) {
            continue;
        }
        let result = if ty.property_flags.contains(wanted) {
            trial.try_type(index as u32)
        } else {
            Err("is not coherent".to_owned())
        };
        match result {
            Ok(()) => types |= 1 << index,
            Err(reason) => reasons.push(format!("memory type {index} {reason}")),
        }
    }
    if types == 0 {
        return Err(reasons.join(", "));
    }
    for reason in &reasons {
        tracing::info!("{reason}; guests do not see it as host-visible");
    }
    Ok(types)
}

/// Alignment in bytes that the driver asks of pages that are imported by their address.
fn pointer_alignment(gpu: &Gpu) -> Result<u64, String> {
    let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut host);
    // SAFETY: the instance and its physical device are live and have the extension.
    unsafe { gpu.instance.get_physical_device_properties2(gpu.physical, &mut properties) };
    let alignment = host.min_imported_host_pointer_alignment;
    if alignment.is_power_of_two() {
        Ok(alignment)
    } else {
        Err(format!("{} asks for imported memory aligned to {alignment} bytes", gpu.name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn import_when_handed_on_as_text_is_the_same() {
        for sparse in [Sparse::Imported, Sparse::Driver, Sparse::Hidden] {
            for (rung, missed) in Rung::ALL.into_iter().zip(["", "not by x, because y; no", "z"]) {
                let missed = missed.to_owned();
                let import = Import { rung, alignment: 4096, sparse, types: 0x8000_0001, missed };
                // A line may lose the blanks at its end.
                assert_eq!(Import::parse(import.to_text().trim_end()), Some(import.clone()));
                assert_eq!(Import::parse(&import.to_text()), Some(import));
            }
        }
        for text in [
            "",
            "copy 0",
            "copy 4096 3 1 ",
            "copy 0 0 1 ",
            "copy 4095 0 1 ",
            "x 4096 0 1 ",
            "copy 4096 0 -1 ",
        ] {
            assert_eq!(Import::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rung_when_chosen_but_impossible_is_named_with_the_reason() {
        let null = Gpu::open(true, None, "test").unwrap();
        let (import, udmabuf) = climb(&null, Choice::Auto).unwrap();
        assert!(import.rung == Rung::HostPointer && import.missed.is_empty() && udmabuf.is_none());
        for (choice, name) in [(Choice::Udmabuf, "udmabuf"), (Choice::Copy, "copy")] {
            let reason = climb(&null, choice).unwrap_err();
            assert!(reason.starts_with(&format!("import = \"{name}\" is chosen, but ")), "{reason}");
        }
    }
}
