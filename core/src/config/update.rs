//! Config updates: what somebody looked at, what they want, and whether the policies in force allow it.

use std::collections::HashSet;

use bytes::Bytes;
use fabric_proto::common::{ConfigUpdateEnvelope, HeaderType, SignatureHeader};
use fabric_proto::lenient;

use super::delta::{Changed, Delta};
use super::snapshot::{ChannelSnapshot, ConfigError};
use super::tree::{ConfigMessage, KeyError, Tree, TreeDecodeError, UpdateMessage, config_envelope_bytes, is_key};
use crate::envelope::{EnvelopeError, Message, SignedEnvelope};
use crate::policy::{Denied, Lookup, SignedDatum, Signers};

/// Bytes that all signatures of one update cover together: some ten seconds of hashing. Fabric has no such limit; an update
/// of 1 MiB meets it with 16,000 signatures, which alone take more than that.
const HASHED_MAX_BYTES: u64 = 16 << 30;

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
    Update(TreeDecodeError),
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
        cause: KeyError,
    },
    /// The mod policy of an element names a group, not a policy in it.
    #[error(
        "error authorizing update: error validating DeltaSet: mod_policy {policy} of {name} is the path of a group; \
         no Fabric orderer gets over it"
    )]
    GroupAsPolicy {
        /// The element.
        name: String,
        /// Its mod policy.
        policy: String,
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
    /// Hashing it once for each signature would take too long.
    #[error(
        "error authorizing update: {signatures} signatures over an update of {update} bytes are too much to verify: \
         leave out those that no policy asks for"
    )]
    TooMuchSigned {
        /// How many.
        signatures: usize,
        /// Bytes.
        update: u64,
    },
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
    /// An organization's definition would publish a private key.
    #[error(
        "MSP '{0}' has a signing identity, whose private key everyone could read: define the organization without it"
    )]
    PrivateKey(String),
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

/// What an update makes of a configuration.
#[derive(Debug)]
pub struct ProposedConfig {
    /// The serialized `common.ConfigEnvelope`: the configuration, and the update that led to it.
    pub envelope: Bytes,
    /// The configuration, read and checked.
    pub next: ChannelSnapshot,
}

impl ChannelSnapshot {
    /// Judges a CONFIG_UPDATE envelope and gives back the configuration that it makes, the update included. The result
    /// is checked as a whole and against the configuration in force.
    pub fn propose(&self, update: &SignedEnvelope) -> Result<ProposedConfig, UpdateError> {
        let tree = self.updated_tree(update)?;
        let sequence = self.sequence().next();
        let envelope = config_envelope_bytes(sequence.0, &tree, update);
        Ok(ProposedConfig { envelope, next: self.followed_by(tree)? })
    }

    /// Applies the data of a CONFIG message, a serialized `common.ConfigEnvelope`: repeats the proposal from the update in
    /// it, which must lead to the very same configuration, fields included that are not known here.
    pub fn apply(&self, envelope: &Bytes) -> Result<ChannelSnapshot, UpdateError> {
        let missing = |what: &str| UpdateError::ConfigMessage(format!("it has no {what}"));
        let message = ConfigMessage::read(envelope).map_err(|e| UpdateError::ConfigMessage(e.to_string()))?;
        let (sequence, tree) = message.config.ok_or_else(|| missing("config"))?;
        let expected = self.sequence().next().0;
        if sequence != expected {
            return Err(UpdateError::Sequence { current: self.sequence().0, proposed: sequence });
        }
        let update = message.last_update.ok_or_else(|| missing("last_update"))?;
        let updated = self.updated_tree(&update)?;
        if tree.as_ref() != Some(&updated) {
            return Err(UpdateError::OtherResult);
        }
        self.followed_by(updated)
    }

    fn followed_by(&self, tree: Tree) -> Result<ChannelSnapshot, UpdateError> {
        let next = Self::from_tree(self.channel().clone(), self.sequence().next().0, tree, self.catalog())?;
        next.check_supported().map_err(UpdateError::Unsupported)?;
        self.check_successor(&next)?;
        Ok(next)
    }

    fn updated_tree(&self, envelope: &SignedEnvelope) -> Result<Tree, UpdateError> {
        let signed = read_update_envelope(envelope)?;
        let update = UpdateMessage::read(&signed.config_update, self.recursion_max()).map_err(UpdateError::Update)?;
        if update.channel_id != self.channel().as_str() {
            let channel = self.channel().to_string();
            return Err(UpdateError::OtherChannel { update: update.channel_id, channel });
        }
        for (set, tree) in [("ReadSet", &update.read_set), ("WriteSet", &update.write_set)] {
            let check = tree.as_ref().map_or(Ok(()), Tree::check_keys);
            check.map_err(|cause| UpdateError::Tree { set, cause })?;
        }
        let delta = Delta { current: self.tree(), read: update.read_set.as_ref(), write: update.write_set.as_ref() };
        delta.check_read_set()?;
        // versions first: they cost nothing, signatures do
        let changed = delta.changed()?;
        self.check_signatures(&changed, &signed)?;
        delta.result()
    }

    /// Whether the policy in force of everything that is changed allows it. Each policy is asked once.
    fn check_signatures(&self, changed: &[Changed<'_>], signed: &ConfigUpdateEnvelope) -> Result<(), UpdateError> {
        let headers = signature_headers(signed)?;
        // each signature covers its header, then the update; no two of these are held at a time
        let data = signed.signatures.iter().zip(headers).map(|(signature, header)| SignedDatum {
            message: [&signature.signature_header[..], &signed.config_update].concat().into(),
            creator: header.creator,
            signature: signature.signature.clone(),
        });
        let signers = Signers::verify(data, self.msps());
        let mut asked = HashSet::new();
        for element in changed {
            if !asked.insert((element.policy_group.id(), element.mod_policy)) {
                continue;
            }
            // a relative path begins at the group, an absolute one at the root
            let policy = element.mod_policy.to_owned();
            let group = if policy.starts_with('/') { "/Channel".to_owned() } else { element.policy_group.path() };
            let path = match self.policies().resolve(&group, &policy) {
                Lookup::Found(path) => path,
                Lookup::Missing => return Err(UpdateError::NoPolicy { name: element.name(), policy }),
                Lookup::Group => return Err(UpdateError::GroupAsPolicy { name: element.name(), policy }),
            };
            let denied = |denied| UpdateError::Denied { name: element.name(), denied: Box::new(denied) };
            self.policies().evaluate(path, &signers).map_err(denied)?;
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
    lenient::decode(message.data).map_err(UpdateError::Data)
}

/// The headers of the signatures, all of which must be readable. What is to be hashed has a budget, the same everywhere.
fn signature_headers(signed: &ConfigUpdateEnvelope) -> Result<Vec<SignatureHeader>, UpdateError> {
    let update = signed.config_update.len() as u64;
    if update.saturating_mul(signed.signatures.len() as u64) > HASHED_MAX_BYTES {
        return Err(UpdateError::TooMuchSigned { signatures: signed.signatures.len(), update });
    }
    let read = |(index, header): (usize, &Bytes)| {
        lenient::decode(header.clone()).map_err(|cause| UpdateError::Signature { index, cause })
    };
    signed.signatures.iter().map(|signature| &signature.signature_header).enumerate().map(read).collect()
}

/// Refuses what no later change could name as a policy.
pub(super) fn check_mod_policy(name: impl FnOnce() -> String, mod_policy: &str) -> Result<(), UpdateError> {
    let problem = if mod_policy.is_empty() {
        "mod_policy not set".to_owned()
    } else if mod_policy.strip_prefix('/').unwrap_or(mod_policy).split('/').all(is_key) {
        return Ok(());
    } else {
        format!("path element of '{mod_policy}' is invalid")
    };
    Err(UpdateError::ModPolicy { name: name(), problem })
}
