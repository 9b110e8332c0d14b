//! Config updates: what somebody looked at, what they want, and whether the policies in force allow it.

use bytes::Bytes;
use fabric_proto::common::{
    Config, ConfigEnvelope, ConfigGroup, ConfigUpdate, ConfigUpdateEnvelope, Envelope, HeaderType, SignatureHeader,
};
use prost::Message as _;

use super::elements::{self, Element, Elements, TreeError, group_name, policy_name, value_name};
use super::snapshot::{ChannelSnapshot, ConfigError};
use crate::envelope::{EnvelopeError, Message, SignedEnvelope};
use crate::policy::{Denied, SignedDatum, Signers};

/// More signatures on one update are refused before any is verified.
const SIGNATURES_MAX: usize = 1000;

/// Why an update is refused. The texts name elements by their full names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The envelope.
    #[error("error converting envelope to config update: {0}")]
    Envelope(EnvelopeError),
    /// The envelope is of another kind.
    #[error("error converting envelope to config update: invalid type {0}, expected CONFIG_UPDATE")]
    NotAnUpdate(i32),
    /// Its data.
    #[error("error converting envelope to config update: error unmarshalling message for type CONFIG_UPDATE: {0}")]
    Data(prost::DecodeError),
    /// The update inside.
    #[error("error authorizing update: error unmarshalling ConfigUpdate: {0}")]
    Update(prost::DecodeError),
    /// It is for another channel.
    #[error("error authorizing update: ConfigUpdate for channel '{update}' but envelope for channel '{channel}'")]
    OtherChannel {
        /// In the update.
        update: String,
        /// Ours.
        channel: String,
    },
    /// One of its trees.
    #[error("error authorizing update: error mapping {set}: {cause}")]
    Tree {
        /// `ReadSet` or `WriteSet`.
        set: &'static str,
        /// What is wrong.
        cause: TreeError,
    },
    /// Something that was read is not there.
    #[error(
        "error authorizing update: error validating ReadSet: existing config does not contain element for {0} but was in the read set"
    )]
    ReadMissing(String),
    /// Something that was read has changed.
    #[error(
        "error authorizing update: error validating ReadSet: proposed update requires that key {name} be at version {read}, but it is currently at version {current}"
    )]
    ReadStale {
        /// The element.
        name: String,
        /// Version in the read set.
        read: u64,
        /// Version now.
        current: u64,
    },
    /// Nothing would change.
    #[error("error authorizing update: error validating DeltaSet: delta set was empty -- update would have no effect")]
    NoEffect,
    /// The new element names no usable policy for later changes.
    #[error("error authorizing update: error validating DeltaSet: invalid mod_policy for element {name}: {problem}")]
    ModPolicy {
        /// The element.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A new element begins at version 0.
    #[error(
        "error authorizing update: error validating DeltaSet: attempt to set key {name} to version {wanted}, but key does not exist"
    )]
    NewVersion {
        /// The element.
        name: String,
        /// Version in the write set.
        wanted: u64,
    },
    /// A changed element's version is one higher.
    #[error(
        "error authorizing update: error validating DeltaSet: attempt to set key {name} to version {wanted}, but key is at version {current}"
    )]
    Version {
        /// The element.
        name: String,
        /// Version in the write set.
        wanted: u64,
        /// Version now.
        current: u64,
    },
    /// The element's mod policy does not exist.
    #[error("error authorizing update: error validating DeltaSet: unexpected missing policy {policy} for item {name}")]
    NoPolicy {
        /// The element.
        name: String,
        /// Its mod policy.
        policy: String,
    },
    /// The signatures do not satisfy the element's mod policy.
    #[error("error authorizing update: error validating DeltaSet: policy for {name} not satisfied: {denied}")]
    Denied {
        /// The element.
        name: String,
        /// Why.
        denied: Box<Denied>,
    },
    /// A signature of the update cannot be read.
    #[error("error authorizing update: signature {index} of the update: error unmarshalling SignatureHeader: {cause}")]
    Signature {
        /// Position.
        index: usize,
        /// What is wrong.
        cause: prost::DecodeError,
    },
    /// There are too many.
    #[error("error authorizing update: the update has {0} signatures, more than {SIGNATURES_MAX}")]
    TooManySignatures(usize),
    /// A group lists a member that is in neither configuration.
    #[error("error authorizing update: missing element {0} in the proposed config")]
    ResultMissing(String),
    /// The configuration that would come of it.
    #[error("initializing channelconfig failed: {0}")]
    Config(#[from] ConfigError),
    /// This node could not follow it.
    #[error("config update is not compatible: {0}")]
    Unsupported(ConfigError),
    /// It contradicts the one in force.
    #[error("config update is not compatible: {0}")]
    Incompatible(String),
    /// A CONFIG message without configuration.
    #[error("config message does not parse: {0}")]
    ConfigMessage(String),
    /// A CONFIG message for another state of the channel.
    #[error("config currently at sequence {current}, cannot validate config at sequence {proposed}")]
    Sequence {
        /// Of the channel.
        current: u64,
        /// Of the message.
        proposed: u64,
    },
    /// A CONFIG message whose update does not lead to its configuration.
    #[error("ConfigEnvelope LastUpdate did not produce the supplied config result")]
    OtherResult,
}

impl ChannelSnapshot {
    /// Judges a CONFIG_UPDATE envelope and gives back the configuration that it makes, the update included. The result
    /// is checked as a whole and against the configuration in force.
    pub fn propose(&self, update: &SignedEnvelope) -> Result<(ConfigEnvelope, ChannelSnapshot), UpdateError> {
        let group = self.updated_group(update)?;
        let config = Config { sequence: self.sequence().next().0, channel_group: Some(group) };
        let next = Self::from_config(self.channel().clone(), config.clone(), self.catalog())?;
        next.check_supported().map_err(UpdateError::Unsupported)?;
        self.check_successor(&next)?;
        let last_update = Envelope { payload: update.payload().clone(), signature: update.signature().clone() };
        Ok((ConfigEnvelope { config: Some(config), last_update: Some(last_update) }, next))
    }

    /// Applies the data of a CONFIG message: repeats the proposal from the update in it, which must lead to the very
    /// same configuration.
    pub fn apply(&self, envelope: &ConfigEnvelope) -> Result<ChannelSnapshot, UpdateError> {
        let missing = |what: &str| UpdateError::ConfigMessage(format!("it has no {what}"));
        let config = envelope.config.as_ref().ok_or_else(|| missing("config"))?;
        let expected = self.sequence().next().0;
        if config.sequence != expected {
            return Err(UpdateError::Sequence { current: self.sequence().0, proposed: config.sequence });
        }
        let update = envelope.last_update.as_ref().ok_or_else(|| missing("last_update"))?;
        let update = SignedEnvelope::from_parts(update.payload.clone(), update.signature.clone());
        let (proposed, next) = self.propose(&update)?;
        if proposed.config.as_ref() != Some(config) {
            return Err(UpdateError::OtherResult);
        }
        Ok(next)
    }

    fn updated_group(&self, envelope: &SignedEnvelope) -> Result<ConfigGroup, UpdateError> {
        let signed = read_update_envelope(envelope)?;
        let update = ConfigUpdate::decode(signed.config_update.clone()).map_err(UpdateError::Update)?;
        if update.channel_id != self.channel().as_str() {
            let channel = self.channel().to_string();
            return Err(UpdateError::OtherChannel { update: update.channel_id, channel });
        }
        let no_group = ConfigGroup::default();
        let tree = |set: &'static str| move |cause| UpdateError::Tree { set, cause };
        let current = elements::flatten(self.channel_group()).map_err(tree("current config"))?;
        let read = elements::flatten(update.read_set.as_ref().unwrap_or(&no_group)).map_err(tree("ReadSet"))?;
        check_read_set(&read, &current)?;
        let write = elements::flatten(update.write_set.as_ref().unwrap_or(&no_group)).map_err(tree("WriteSet"))?;
        let delta: Elements<'_> = write
            .into_iter()
            .filter(|(name, placed)| {
                read.get(name).is_none_or(|read| read.element.version() != placed.element.version())
            })
            .collect();
        self.check_delta(&delta, &current, &signed)?;
        overlay(current, delta)
    }

    fn check_delta(
        &self,
        delta: &Elements<'_>,
        current: &Elements<'_>,
        signed: &ConfigUpdateEnvelope,
    ) -> Result<(), UpdateError> {
        if delta.is_empty() {
            return Err(UpdateError::NoEffect);
        }
        // versions first: they cost nothing, signatures do
        for (name, placed) in delta {
            let (name, wanted) = (name.clone(), placed.element.version());
            check_mod_policy(&name, placed.element.mod_policy())?;
            match current.get(&name).map(|c| c.element.version()) {
                None if wanted != 0 => return Err(UpdateError::NewVersion { name, wanted }),
                Some(current) if current.checked_add(1) != Some(wanted) => {
                    return Err(UpdateError::Version { name, wanted, current });
                }
                _ => {}
            }
        }
        let signers = Signers::verify(&signed_data(signed)?, self.msps());
        for name in delta.keys() {
            let Some(existing) = current.get(name) else { continue };
            let mod_policy = existing.element.mod_policy();
            let path = if mod_policy.starts_with('/') {
                mod_policy.to_owned()
            } else {
                format!("{}/{mod_policy}", existing.policy_group)
            };
            if !self.policies().has(&path) {
                return Err(UpdateError::NoPolicy { name: name.clone(), policy: mod_policy.to_owned() });
            }
            let denied = |denied| UpdateError::Denied { name: name.clone(), denied: Box::new(denied) };
            self.policies().evaluate(&path, &signers).map_err(denied)?;
        }
        Ok(())
    }
}

/// Reads the data of a CONFIG_UPDATE envelope.
pub(super) fn read_update_envelope(envelope: &SignedEnvelope) -> Result<ConfigUpdateEnvelope, UpdateError> {
    let message = Message::parse(envelope.clone()).map_err(UpdateError::Envelope)?;
    if message.channel_header.r#type != HeaderType::ConfigUpdate as i32 {
        return Err(UpdateError::NotAnUpdate(message.channel_header.r#type));
    }
    ConfigUpdateEnvelope::decode(message.data).map_err(UpdateError::Data)
}

/// Each signature covers its header, then the update.
fn signed_data(signed: &ConfigUpdateEnvelope) -> Result<Vec<SignedDatum>, UpdateError> {
    if signed.signatures.len() > SIGNATURES_MAX {
        return Err(UpdateError::TooManySignatures(signed.signatures.len()));
    }
    let mut data = Vec::with_capacity(signed.signatures.len());
    for (index, signature) in signed.signatures.iter().enumerate() {
        let header = SignatureHeader::decode(signature.signature_header.clone())
            .map_err(|cause| UpdateError::Signature { index, cause })?;
        let message = Bytes::from([&signature.signature_header[..], &signed.config_update].concat());
        data.push(SignedDatum { message, creator: header.creator, signature: signature.signature.clone() });
    }
    Ok(data)
}

fn check_read_set(read: &Elements<'_>, current: &Elements<'_>) -> Result<(), UpdateError> {
    for (name, placed) in read {
        let existing = current.get(name).ok_or_else(|| UpdateError::ReadMissing(name.clone()))?;
        let (read, current) = (placed.element.version(), existing.element.version());
        if read != current {
            return Err(UpdateError::ReadStale { name: name.clone(), read, current });
        }
    }
    Ok(())
}

fn check_mod_policy(name: &str, mod_policy: &str) -> Result<(), UpdateError> {
    let wrong = |problem: &str| UpdateError::ModPolicy { name: name.to_owned(), problem: problem.to_owned() };
    if mod_policy.is_empty() {
        return Err(wrong("mod_policy not set"));
    }
    let relative = mod_policy.strip_prefix('/').unwrap_or(mod_policy);
    if relative.split('/').all(elements::is_key) {
        Ok(())
    } else {
        Err(wrong(&format!("path element of '{mod_policy}' is invalid")))
    }
}

/// The tree in which the delta's elements replace the current ones. A group has the members that it lists itself: so a
/// changed group drops what its write set leaves out, and an unchanged one keeps what it had.
fn overlay<'a>(mut current: Elements<'a>, delta: Elements<'a>) -> Result<ConfigGroup, UpdateError> {
    current.extend(delta);
    rebuild(&format!("/{}", elements::ROOT), &current)
}

fn rebuild(path: &str, all: &Elements<'_>) -> Result<ConfigGroup, UpdateError> {
    let find = |name: String| match all.get(&name) {
        Some(placed) => Ok(placed.element),
        None => Err(UpdateError::ResultMissing(name)),
    };
    let Element::Group(group) = find(group_name(path))? else {
        return Err(UpdateError::ResultMissing(group_name(path)));
    };
    let mut rebuilt =
        ConfigGroup { version: group.version, mod_policy: group.mod_policy.clone(), ..ConfigGroup::default() };
    for key in group.groups.keys() {
        rebuilt.groups.insert(key.clone(), rebuild(&format!("{path}/{key}"), all)?);
    }
    for key in group.values.keys() {
        if let Element::Value(value) = find(value_name(&format!("{path}/{key}")))? {
            rebuilt.values.insert(key.clone(), value.clone());
        }
    }
    for key in group.policies.keys() {
        if let Element::Policy(policy) = find(policy_name(&format!("{path}/{key}")))? {
            rebuilt.policies.insert(key.clone(), policy.clone());
        }
    }
    Ok(rebuilt)
}
