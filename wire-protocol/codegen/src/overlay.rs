//! The overlay: what vk.xml does not say, or says in a way that vw cannot follow. Each line has its reason.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// `overlay.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// Extensions that are not offered: name -> reason.
    pub not_offered: BTreeMap<String, String>,
    /// Families of extensions that are not offered: name prefix -> reason.
    pub not_offered_prefix: BTreeMap<String, String>,
    /// Extensions that the guest implements itself: name -> how.
    pub guest: BTreeMap<String, String>,
    /// Structures that never travel: name -> reason.
    pub skip: BTreeMap<String, String>,
    /// Unions that are carried as plain bytes: name -> reason.
    pub plain_unions: BTreeMap<String, String>,
    /// Exceptions for single members and parameters: `VkStruct.member` or `vkCommand.param`.
    pub members: BTreeMap<String, Member>,
    /// Structures whose chain begins with another structure and its chain: name -> the others.
    pub nested_chains: BTreeMap<String, Vec<String>>,
    /// Hooks: structure -> name of the `Hook` variant.
    pub hooks: BTreeMap<String, String>,
    /// How commands are sent.
    pub commands: Commands,
    /// Structures that the `ash` of the layout test lacks or has under an extension's name.
    pub newer_than_ash: Vec<String>,
}

/// Exception for one member.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Expression of a `Rule`, `FieldEquals { off: 24, value: 1 }`; `@name` stands for the offset of a member.
    pub rule: Option<String>,
    /// The handle may be garbage in some states.
    #[serde(default)]
    pub lenient: bool,
    /// Never sent: null or zero on the other side.
    #[serde(default)]
    pub drop: bool,
    /// Direction in place of the derived one.
    pub dir: Option<String>,
    /// Type behind the pointer in place of the declared one.
    pub ty: Option<String>,
    /// Number of elements in place of `len`; `vkCommand.param->member` goes through a parameter.
    pub len: Option<String>,
    /// Travels as a plain scalar though its C type is opaque.
    #[serde(default)]
    pub plain: bool,
    /// Why the exception stands.
    pub why: String,
}

/// How commands are sent, where the default for their shape does not fit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// Answered in the guest alone; hand-written there.
    pub local: Vec<String>,
    /// Need a hidden feature: name -> reason. Their entry points refuse.
    pub absent: BTreeMap<String, String>,
    /// On the wire, but hand-written in the guest.
    pub hand: Vec<String>,
    /// Returns a `VkResult` but is not waited for.
    pub send: Vec<String>,
    /// A creation that is waited for.
    pub call: Vec<String>,
    /// Answers may be kept by the guest.
    pub memo: Vec<String>,
}

/// Reads the overlay.
///
/// # Errors
/// Not TOML of this shape.
pub fn parse(text: &str) -> Result<Overlay> {
    toml::from_str(text).context("overlay.toml")
}

impl Overlay {
    /// Why the extension is not offered.
    pub fn refusal(&self, name: &str, platform: &str, instance: bool) -> Option<String> {
        if let Some(reason) = self.not_offered.get(name) {
            return Some(reason.clone());
        }
        if let Some((_, reason)) = self.not_offered_prefix.iter().find(|(p, _)| name.starts_with(p.as_str()))
        {
            return Some(reason.clone());
        }
        if self.guest.contains_key(name) {
            return None;
        }
        if !platform.is_empty() && platform != "provisional" {
            return Some(format!("needs the platform `{platform}`"));
        }
        instance.then(|| "an instance extension that the guest does not implement".to_owned())
    }

    /// The exception for a member, if any.
    pub fn member(&self, owner: &str, name: &str) -> Option<&Member> {
        self.members.get(&format!("{owner}.{name}"))
    }
}
