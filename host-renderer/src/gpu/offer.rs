//! What guests may use of the device: a core version and extensions.

use std::collections::BTreeMap;
use std::ffi::CStr;

use vw_wire_protocol::generated::extensions::EXTENSIONS;
use vw_wire_protocol::schema::{Extension, Provider, Support};

/// Core version and extensions of a device, as far as vw forwards them.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Core version (`VK_MAKE_API_VERSION`).
    pub api_version: u32,
    /// Forwarded device extensions with the driver's revision.
    extensions: BTreeMap<&'static str, u32>,
    /// All extensions of the driver.
    host: Vec<String>,
    /// Extensions enabled in the host's instance.
    instance: Vec<&'static str>,
}

/// The registry's extension of this name.
pub fn extension(name: &str) -> Option<&'static Extension> {
    let at = EXTENSIONS.binary_search_by(|e| e.name.cmp(name)).ok()?;
    EXTENSIONS.get(at)
}

impl Offer {
    /// What a device of this version with these extensions (name, revision), in an instance with those, offers through
    /// vw.
    pub fn new(api_version: u32, host: Vec<(String, u32)>, instance: Vec<&'static str>) -> Self {
        let forwarded = host.iter().filter_map(|(name, revision)| {
            let extension = extension(name)?;
            (!extension.instance && extension.support == Support::Forwarded)
                .then_some((extension.name, (*revision).min(extension.spec_version)))
        });
        let extensions = forwarded.collect();
        Self { api_version, extensions, host: host.into_iter().map(|(name, _)| name).collect(), instance }
    }

    /// Guests are not to have the device extension `name`.
    pub fn withdraw(&mut self, name: &CStr) {
        self.extensions.retain(|known, _| known.as_bytes() != name.to_bytes());
    }

    /// Forwarded device extensions with their revisions, by name.
    pub fn extensions(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        self.extensions.iter().map(|(name, revision)| (*name, *revision))
    }

    /// Whether guests may enable the device extension `name` on the host.
    pub fn has(&self, name: &str) -> bool {
        self.extensions.contains_key(name)
    }

    /// Whether the driver has the device extension `name`, forwarded or not.
    pub fn host_has(&self, name: &str) -> bool {
        self.host.iter().any(|host| host == name)
    }

    /// Whether the extension is enabled in the host's instance.
    pub fn enabled(&self, name: &str) -> bool {
        self.instance.contains(&name)
    }

    /// Whether the driver knows what any of these provides: a core version that it implements, or an extension.
    pub fn provides(&self, providers: &[Provider]) -> bool {
        providers.iter().any(|provider| match provider {
            Provider::Core(version) => *version <= self.api_version,
            Provider::Extension(name) => self.has(name) || self.enabled(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::*;

    #[test]
    fn offer_when_made_leaves_out_what_is_not_forwarded() {
        let host = [
            "VK_EXT_external_memory_dma_buf",
            "VK_KHR_maintenance5",
            "VK_ACME_secret",
            "VK_KHR_external_memory_fd",
        ];
        let offer = Offer::new(
            vk::API_VERSION_1_2,
            host.map(|name| (name.to_owned(), 1)).to_vec(),
            vec!["VK_EXT_debug_utils"],
        );
        assert_eq!(offer.extensions().map(|(name, _)| name).collect::<Vec<_>>(), ["VK_KHR_maintenance5"]);
        assert!(offer.host_has("VK_KHR_external_memory_fd") && !offer.has("VK_KHR_external_memory_fd"));
        assert!(offer.provides(&[Provider::Core(vk::API_VERSION_1_1)]));
        assert!(!offer.provides(&[Provider::Core(vk::API_VERSION_1_3)]));
        assert!(offer.provides(&[Provider::Extension("VK_EXT_debug_utils")]));
        assert!(offer.provides(&[
            Provider::Core(vk::make_api_version(0, 1, 4, 0)),
            Provider::Extension("VK_KHR_maintenance5")
        ]));
    }
}
