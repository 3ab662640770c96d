//! Which physical device guests get.

use std::cmp::Reverse;

use ash::vk;

/// What is known of a physical device when one is chosen.
#[derive(Clone)]
pub struct Candidate {
    /// `deviceName`.
    pub name: String,
    /// Discrete, integrated, ...
    pub device_type: vk::PhysicalDeviceType,
    /// Core version that it implements.
    pub api_version: u32,
    /// `deviceUUID`.
    pub uuid: [u8; 16],
    /// Domain, bus, device, function, where it has them.
    pub pci: Option<[u32; 4]>,
}

impl Candidate {
    fn usable(&self) -> bool {
        self.api_version >= vk::API_VERSION_1_1
    }

    /// A device of vw itself: the renderer may run inside a guest, but does not choose a chain of renderers.
    fn is_vw(&self) -> bool {
        self.name.starts_with("vw (")
    }

    fn rank(&self) -> u32 {
        match self.device_type {
            vk::PhysicalDeviceType::DISCRETE_GPU => 0,
            vk::PhysicalDeviceType::INTEGRATED_GPU => 1,
            vk::PhysicalDeviceType::VIRTUAL_GPU => 2,
            vk::PhysicalDeviceType::CPU => 3,
            _ => 4,
        }
    }

    fn describe(&self, index: usize) -> String {
        let pci = self.pci.map_or(String::new(), |[domain, bus, device, function]| {
            format!(", pci {domain:04x}:{bus:02x}:{device:02x}.{function:x}")
        });
        format!("{index}: {} (uuid {}{pci})", self.name, hex(&self.uuid))
    }
}

/// Index of the device to use.
///
/// `wanted` is an index, a UUID (32 hexadecimal digits, dashes allowed), a PCI address (`0000:03:00.0`, the domain
/// may be left out) or a part of the name in any case. Without it the first of the best type is taken:
/// discrete, integrated, virtual, CPU.
///
/// # Errors
/// A text that says what was wanted and what there is.
pub fn choose(candidates: &[Candidate], wanted: Option<&str>) -> Result<usize, String> {
    let listed = || {
        let list: Vec<_> = candidates.iter().enumerate().map(|(i, c)| c.describe(i)).collect();
        if list.is_empty() {
            "the host has no Vulkan device".to_owned()
        } else {
            format!("there are {}", list.join("; "))
        }
    };
    let Some(wanted) = wanted else {
        let usable = candidates.iter().enumerate().filter(|(_, c)| c.usable() && !c.is_vw());
        return usable
            .min_by_key(|(i, c)| (c.rank(), *i))
            .map(|(i, _)| i)
            .ok_or_else(|| format!("no device of the host implements Vulkan 1.1; {}", listed()));
    };
    let found = find(candidates, wanted).ok_or_else(|| format!("no device `{wanted}`; {}", listed()))?;
    if candidates[found].usable() {
        Ok(found)
    } else {
        Err(format!("device `{wanted}` implements Vulkan 1.0 only; 1.1 is needed"))
    }
}

fn find(candidates: &[Candidate], wanted: &str) -> Option<usize> {
    if let Ok(index) = wanted.parse::<usize>() {
        return (index < candidates.len()).then_some(index);
    }
    let digits: String = wanted.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return candidates.iter().position(|c| hex(&c.uuid) == digits);
    }
    if let Some(address) = pci_address(wanted) {
        return candidates.iter().position(|c| c.pci == Some(address));
    }
    let wanted = wanted.to_lowercase();
    let matching = candidates.iter().enumerate().filter(|(_, c)| c.name.to_lowercase().contains(&wanted));
    // Where several match, a real device before one of vw's.
    matching.min_by_key(|(i, c)| (c.is_vw(), Reverse(c.usable()), *i)).map(|(i, _)| i)
}

fn pci_address(text: &str) -> Option<[u32; 4]> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':').map(|part| u32::from_str_radix(part, 16).ok());
    let device = parts.next()??;
    let bus = parts.next()??;
    let domain = parts.next().unwrap_or(Some(0))?;
    let function = u32::from_str_radix(function, 16).ok()?;
    parts.next().is_none().then_some([domain, bus, device, function])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn device(name: &str, device_type: vk::PhysicalDeviceType, bus: u32) -> Candidate {
        let uuid = [bus as u8; 16];
        Candidate {
            name: name.to_owned(),
            device_type,
            api_version: vk::API_VERSION_1_3,
            uuid,
            pci: Some([0, bus, 0, 0]),
        }
    }

    fn host() -> Vec<Candidate> {
        vec![
            device("llvmpipe (LLVM 15)", vk::PhysicalDeviceType::CPU, 0xaa),
            device("Integrated One", vk::PhysicalDeviceType::INTEGRATED_GPU, 1),
            device("vw (Big Card)", vk::PhysicalDeviceType::DISCRETE_GPU, 2),
            device("Big Card", vk::PhysicalDeviceType::DISCRETE_GPU, 3),
            device("Big Card", vk::PhysicalDeviceType::DISCRETE_GPU, 4),
        ]
    }

    #[test]
    fn choose_when_nothing_is_wanted_takes_the_best_type() {
        assert_eq!(choose(&host(), None), Ok(3));
        assert_eq!(choose(&host()[..2], None), Ok(1));
        assert_eq!(choose(&host()[..1], None), Ok(0));
        assert!(choose(&[], None).unwrap_err().contains("no Vulkan device"));
    }

    #[test]
    fn choose_when_wanted_finds_by_index_uuid_pci_and_name() {
        let host = host();
        assert_eq!(choose(&host, Some("4")), Ok(4));
        assert_eq!(choose(&host, Some("04040404-0404-0404-0404-040404040404")), Ok(4));
        assert_eq!(choose(&host, Some("0000:04:00.0")), Ok(4));
        assert_eq!(choose(&host, Some("aa:00.0")), Ok(0));
        assert_eq!(choose(&host, Some("LLVMPIPE")), Ok(0));
        assert_eq!(choose(&host, Some("big card")), Ok(3));
        assert_eq!(choose(&host, Some("vw (")), Ok(2));
    }

    #[test]
    fn choose_when_absent_or_too_old_says_what_there_is() {
        let mut host = host();
        let error = choose(&host, Some("radeon")).unwrap_err();
        assert!(
            error.contains("radeon") && error.contains("llvmpipe") && error.contains("0000:aa:00.0"),
            "{error}"
        );
        assert!(choose(&host, Some("5")).is_err());
        host[0].api_version = vk::API_VERSION_1_0;
        assert!(choose(&host, Some("0")).unwrap_err().contains("1.1"));
        assert!(choose(&host[..1], None).is_err());
    }
}
