//! Config updates: checks of the read set, the write set and the signatures against the configuration in force.

use std::collections::HashSet;

use bytes::Bytes;
use fabric_proto::common::{ConfigUpdateEnvelope, HeaderType, SignatureHeader};
use fabric_proto::lenient;

use super::delta::{Changed, Delta};
use super::snapshot::{ChannelSnapshot, ConfigError};
use super::tree::{ConfigMessage, KeyError, Tree, TreeDecodeError, UpdateMessage, config_envelope_bytes, is_key};
use crate::envelope::{EnvelopeError, ParsedEnvelope, SignedEnvelope};
use crate::identity::WorkLimit;
use crate::policy::{Lookup, PolicyDenied, Signers};

/// Maximum number of bytes that all signatures of an update from a client cover together: about ten seconds of hashing. Fabric has
/// no such limit; an update of 1 MiB reaches it with 16,000 signatures, which alone take more time than that.
const MAX_HASHED_BYTES: u64 = 16 << 30;

/// A config update is invalid. The texts name elements by their full names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The envelope does not parse.
    #[error("error converting envelope to config update: {0}")]
    Envelope(EnvelopeError),
    /// The envelope is not of type CONFIG_UPDATE.
    #[error("error converting envelope to config update: invalid type {0}, expected CONFIG_UPDATE")]
    NotAnUpdate(i32),
    /// The data of the envelope does not parse.
    #[error("error converting envelope to config update: error unmarshalling message for type CONFIG_UPDATE: {0}")]
    Data(prost::DecodeError),
    /// The update in the envelope does not parse.
    #[error("error authorizing update: error unmarshalling ConfigUpdate: {0}")]
    Update(TreeDecodeError),
    /// The update is for another channel.
    #[error("error authorizing update: ConfigUpdate for channel '{update}' but envelope for channel '{channel}'")]
    OtherChannel {
        /// Channel in the update.
        update: String,
        /// Channel to which the update is applied.
        channel: String,
    },
    /// A tree of the update is invalid.
    #[error("error authorizing update: error mapping {set}: {cause}")]
    Tree {
        /// `ReadSet` or `WriteSet`.
        set: &'static str,
        /// Error of the tree.
        cause: KeyError,
    },
    /// The mod policy of an element names a group, not a policy in it.
    #[error(
        "error authorizing update: error validating DeltaSet: mod_policy {policy} of {name} is the path of a group; \
         no Fabric orderer gets over it"
    )]
    GroupAsPolicy {
        /// Name of the element.
        name: String,
        /// Mod policy of the element.
        policy: String,
    },
    /// An element of the read set does not exist.
    #[error(
        "error authorizing update: error validating ReadSet: existing config does not contain element for {0} but was in the read set"
    )]
    ReadMissing(String),
    /// An element of the read set has changed since it was read.
    #[error(
        "error authorizing update: error validating ReadSet: proposed update requires that key {name} be at version {read}, but it is currently at version {current}"
    )]
    ReadStale {
        /// Name of the element.
        name: String,
        /// Version in the read set.
        read: u64,
        /// Current version.
        current: u64,
    },
    /// The update changes nothing.
    #[error("error authorizing update: error validating DeltaSet: delta set was empty -- update would have no effect")]
    NoEffect,
    /// The mod policy of the new or changed element is not a usable name of a policy.
    #[error("error authorizing update: error validating DeltaSet: invalid mod_policy for element {name}: {problem}")]
    ModPolicy {
        /// Name of the element.
        name: String,
        /// Description of the error.
        problem: String,
    },
    /// A new element's version is not 0.
    #[error(
        "error authorizing update: error validating DeltaSet: attempt to set key {name} to version {wanted}, but key does not exist"
    )]
    NewVersion {
        /// Name of the element.
        name: String,
        /// Version in the write set.
        wanted: u64,
    },
    /// A changed element's version is not one higher than the current one.
    #[error(
        "error authorizing update: error validating DeltaSet: attempt to set key {name} to version {wanted}, but key is at version {current}"
    )]
    Version {
        /// Name of the element.
        name: String,
        /// Version in the write set.
        wanted: u64,
        /// Current version.
        current: u64,
    },
    /// The element's mod policy does not exist.
    #[error("error authorizing update: error validating DeltaSet: unexpected missing policy {policy} for item {name}")]
    NoPolicy {
        /// Name of the element.
        name: String,
        /// Mod policy of the element.
        policy: String,
    },
    /// The signatures do not satisfy the element's mod policy.
    #[error("error authorizing update: error validating DeltaSet: policy for {name} not satisfied: {denied}")]
    Denied {
        /// Name of the element.
        name: String,
        /// Reason of the denial.
        denied: Box<PolicyDenied>,
    },
    /// The header of a signature does not parse.
    #[error("error authorizing update: signature {index} of the update: error unmarshalling SignatureHeader: {cause}")]
    Signature {
        /// Index of the signature.
        index: usize,
        /// Error of the decoder.
        cause: prost::DecodeError,
    },
    /// Hashing the update once for each signature would take too long.
    #[error(
        "error authorizing update: {signatures} signatures over an update of {update} bytes are too much to verify: \
         leave out those that no policy asks for"
    )]
    TooMuchSigned {
        /// Number of signatures.
        signatures: usize,
        /// Size of the update in bytes.
        update: u64,
    },
    /// A group lists a member that is in neither configuration.
    #[error("error authorizing update: missing element {0} in the proposed config")]
    ResultMissing(String),
    /// The resulting configuration is invalid.
    #[error("initializing channelconfig failed: {0}")]
    Config(#[from] ConfigError),
    /// The resulting configuration requires a capability that this node does not have.
    #[error("config update is not compatible: {0}")]
    Unsupported(ConfigError),
    /// The resulting configuration is incompatible with the one in force.
    #[error("config update is not compatible: {0}")]
    Incompatible(String),
    /// An organization's definition would publish a private key.
    #[error(
        "MSP '{0}' has a signing identity, whose private key everyone could read: define the organization without it"
    )]
    PrivateKey(String),
    /// A CONFIG message does not parse, or lacks its configuration or update.
    #[error("config message does not parse: {0}")]
    ConfigMessage(String),
    /// The sequence of a CONFIG message is not the channel's next one.
    #[error("config currently at sequence {current}, cannot validate config at sequence {proposed}")]
    Sequence {
        /// Sequence of the channel.
        current: u64,
        /// Sequence of the message.
        proposed: u64,
    },
    /// The update in a CONFIG message does not lead to its configuration.
    #[error("ConfigEnvelope LastUpdate did not produce the supplied config result")]
    OtherResult,
}

/// Result of applying an update to a configuration.
#[derive(Debug)]
pub struct ProposedConfig {
    /// Serialized `common.ConfigEnvelope`: the new configuration and the update that led to it.
    pub envelope: Bytes,
    /// The new configuration, parsed and validated.
    pub next: ChannelSnapshot,
}

impl ChannelSnapshot {
    /// Validates a CONFIG_UPDATE envelope and returns the configuration that results from it, together with the update. The
    /// result is validated as a whole and against the configuration in force.
    pub fn propose(&self, update: &SignedEnvelope) -> Result<ProposedConfig, UpdateError> {
        self.propose_within(update, WorkLimit::AsNeeded)
    }

    /// Validates a CONFIG_UPDATE envelope as [`propose`](Self::propose) does, with at most the work that `effort` allows for
    /// signatures, policies, and the certificates in the result.
    pub fn propose_within(&self, update: &SignedEnvelope, effort: WorkLimit) -> Result<ProposedConfig, UpdateError> {
        let tree = self.updated_tree(update, effort)?;
        let sequence = self.sequence().next();
        let envelope = config_envelope_bytes(sequence.0, &tree, update);
        Ok(ProposedConfig { envelope, next: self.followed_by(tree, effort)? })
    }

    /// Applies the data of a CONFIG message, a serialized `common.ConfigEnvelope`: repeats the proposal from its update,
    /// which must lead to exactly the same configuration, unknown fields included.
    pub fn apply(&self, envelope: &Bytes) -> Result<ChannelSnapshot, UpdateError> {
        let missing = |what: &str| UpdateError::ConfigMessage(format!("it has no {what}"));
        let message = ConfigMessage::read(envelope).map_err(|e| UpdateError::ConfigMessage(e.to_string()))?;
        let (sequence, tree) = message.config.ok_or_else(|| missing("config"))?;
        let expected = self.sequence().next().0;
        if sequence != expected {
            return Err(UpdateError::Sequence { current: self.sequence().0, proposed: sequence });
        }
        let update = message.last_update.ok_or_else(|| missing("last_update"))?;
        let updated = self.updated_tree(&update, WorkLimit::AsNeeded)?;
        if tree.as_ref() != Some(&updated) {
            return Err(UpdateError::OtherResult);
        }
        self.followed_by(updated, WorkLimit::AsNeeded)
    }

    fn followed_by(&self, tree: Tree, effort: WorkLimit) -> Result<ChannelSnapshot, UpdateError> {
        let next = Self::from_tree(self.channel().clone(), self.sequence().next().0, tree, (self.catalog(), effort))?;
        next.check_supported().map_err(UpdateError::Unsupported)?;
        self.check_successor(&next)?;
        Ok(next)
    }

    fn updated_tree(&self, envelope: &SignedEnvelope, effort: WorkLimit) -> Result<Tree, UpdateError> {
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
        // versions first, because checking them is cheap and signatures are not
        let changed = delta.changed()?;
        self.check_signatures(&changed, &signed, effort)?;
        delta.result()
    }

    /// Checks that the signatures satisfy the mod policy in force of each changed element. Evaluates each policy once.
    fn check_signatures(
        &self,
        changed: &[Changed<'_>],
        signed: &ConfigUpdateEnvelope,
        effort: WorkLimit,
    ) -> Result<(), UpdateError> {
        let headers = signature_headers(signed, effort)?;
        // each signature covers its header, then the update; only one such concatenation is in memory at a time
        let claims = signed.signatures.iter().zip(headers).map(|(signature, header)| {
            let message = || [&signature.signature_header[..], &signed.config_update].concat().into();
            (header.creator, signature.signature.clone(), message)
        });
        let signers = Signers::verify_claims(claims, self.msps());
        let mut evaluation = self.policies().evaluation(&signers, effort);
        let mut asked = HashSet::new();
        for element in changed {
            if !asked.insert((element.policy_group.id(), element.mod_policy)) {
                continue;
            }
            // a relative path starts at the group, an absolute one at the root
            let policy = element.mod_policy.to_owned();
            let group = if policy.starts_with('/') { "/Channel".to_owned() } else { element.policy_group.path() };
            let path = match self.policies().resolve(&group, &policy) {
                Lookup::Found(path) => path,
                Lookup::Missing => return Err(UpdateError::NoPolicy { name: element.name(), policy }),
                Lookup::Group => return Err(UpdateError::GroupAsPolicy { name: element.name(), policy }),
            };
            let denied = |denied| UpdateError::Denied { name: element.name(), denied: Box::new(denied) };
            evaluation.evaluate(path).map_err(denied)?;
        }
        Ok(())
    }
}

/// Parses the data of a CONFIG_UPDATE envelope.
pub(super) fn read_update_envelope(envelope: &SignedEnvelope) -> Result<ConfigUpdateEnvelope, UpdateError> {
    let message = ParsedEnvelope::parse(envelope.clone()).map_err(UpdateError::Envelope)?;
    if message.channel_header.r#type != HeaderType::ConfigUpdate as i32 {
        return Err(UpdateError::NotAnUpdate(message.channel_header.r#type));
    }
    lenient::decode(message.data).map_err(UpdateError::Data)
}

/// Parses the headers of all signatures. Rejects an update of a client with too many bytes to hash.
fn signature_headers(signed: &ConfigUpdateEnvelope, effort: WorkLimit) -> Result<Vec<SignatureHeader>, UpdateError> {
    let update = signed.config_update.len() as u64;
    if effort == WorkLimit::Bounded && update.saturating_mul(signed.signatures.len() as u64) > MAX_HASHED_BYTES {
        return Err(UpdateError::TooMuchSigned { signatures: signed.signatures.len(), update });
    }
    let read = |(index, header): (usize, &Bytes)| {
        lenient::decode(header.clone()).map_err(|cause| UpdateError::Signature { index, cause })
    };
    signed.signatures.iter().map(|signature| &signature.signature_header).enumerate().map(read).collect()
}

/// Rejects a mod policy that cannot name a policy.
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

#[cfg(test)]
mod tests {
    use fabric_proto::common::ConfigSignature;

    use super::*;

    #[test]
    fn what_signatures_cover_is_limited_for_clients_alone() {
        let signed = |signatures: usize| ConfigUpdateEnvelope {
            config_update: vec![0; 1 << 20].into(),
            signatures: vec![ConfigSignature::default(); signatures],
        };
        let many = 16 << 10;
        assert_eq!(signature_headers(&signed(many), WorkLimit::Bounded).map(|headers| headers.len()), Ok(many));
        let refused = UpdateError::TooMuchSigned { signatures: many + 1, update: 1 << 20 };
        assert_eq!(signature_headers(&signed(many + 1), WorkLimit::Bounded), Err(refused));
        assert_eq!(
            signature_headers(&signed(many + 1), WorkLimit::AsNeeded).map(|headers| headers.len()),
            Ok(many + 1)
        );
    }
}
