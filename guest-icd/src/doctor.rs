//! What `vw-guest doctor` asks the driver: the links between a program and its host, one by one.

use vw_transport::connection::ConnectError;
use vw_transport::handshake::feature;

use crate::{config, instance};

/// A link between a program and its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// What says where the host is.
    Configuration,
    /// Somebody answers there.
    Host,
    /// Both sides are of one version.
    Versions,
    /// Memory in common.
    Memory,
}

/// A host that was reached.
#[derive(Debug)]
pub struct Reached {
    /// Its address.
    pub address: String,
    /// What it says of itself.
    pub host: String,
    /// Both sides' version.
    pub versions: String,
    /// How memory is had in common.
    pub memory: String,
}

/// Connects as a program's first call does, and hangs up.
///
/// # Errors
/// The link that broke, why, and what to do.
pub fn reach() -> Result<Reached, (Link, String)> {
    let dial = config::dial().map_err(|why| (Link::Configuration, why))?;
    let connection = dial.connect(&instance::hello()).map_err(|error| {
        let link = match error {
            ConnectError::VersionMismatch { .. } => Link::Versions,
            ConnectError::Region { .. } | ConnectError::Device { .. } | ConnectError::CannotPass { .. } => {
                Link::Memory
            }
            _ => Link::Host,
        };
        (link, error.to_string())
    })?;
    let (_, window) = connection.region.window();
    let welcome = &connection.welcome;
    let way = match (welcome.features & feature::MEMORY, &welcome.place) {
        (feature::PASSED, _) => "passed by descriptor".to_owned(),
        (feature::ATTACHED, Some(place)) => format!("attached, a part of region {}", place.region),
        _ => "not shared: it travels on the stream".to_owned(),
    };
    Ok(Reached {
        address: dial.host.to_string(),
        host: welcome.host.clone(),
        versions: welcome.versions.to_string(),
        memory: format!("{way}; {} MiB for the host to see", window >> 20),
    })
}
