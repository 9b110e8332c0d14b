//! Template configuration of a new channel that is created through the system channel.

use fabric_proto::common::{ConfigUpdateEnvelope, Consortium};
use fabric_proto::lenient;
use prost::Message as _;

use super::key;
use super::snapshot::{ChannelSnapshot, ConfigError};
use super::tree::{Group, GroupId, PolicyBody, PolicyElement, Tree, TreeDecodeError, UpdateMessage, Value};
use crate::envelope::ParsedEnvelope;
use crate::identity::WorkLimit;
use crate::types::{ChannelId, ChannelIdError};

/// No template can be built for an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The data of the envelope does not parse.
    #[error("Failing initial channel config creation because of config update envelope unmarshalling error: {0}")]
    Envelope(prost::DecodeError),
    /// The update in the envelope does not parse.
    #[error("Failing initial channel config creation because of config update unmarshalling error: {0}")]
    Update(TreeDecodeError),
    /// The update and the channel header name different channels.
    #[error("Failing initial channel config creation: mismatched channel IDs: '{update}' != '{header}'")]
    OtherChannel {
        /// Channel in the update.
        update: String,
        /// Channel in the channel header.
        header: String,
    },
    /// The update has no write set.
    #[error("Config update has an empty writeset")]
    NoWriteSet,
    /// The write set has no Application group.
    #[error("Config update has missing application group")]
    NoApplication,
    /// The Application group's version is not 1, which marks the group as changed.
    #[error("Config update for channel creation does not set application group version to 1, was {0}")]
    ApplicationVersion(u64),
    /// The update does not name a consortium.
    #[error("Consortium config value missing")]
    NoConsortium,
    /// The consortium value does not parse.
    #[error("Error reading unmarshalling consortium name: {0}")]
    ConsortiumName(prost::DecodeError),
    /// The channel is not a system channel.
    #[error("The ordering system channel does not appear to support creating channels")]
    NoConsortiums,
    /// The named consortium does not exist.
    #[error("Unknown consortium name: {0}")]
    UnknownConsortium(String),
    /// The new channel has no members although the consortium has some.
    #[error("Proposed configuration has no application group members, but consortium contains members")]
    NoMembers,
    /// A member of the new channel is not in the consortium.
    #[error("Attempted to include member {0} which is not in the consortium")]
    Outsider(String),
    /// The channel ID is invalid.
    #[error("initializing configtx manager failed: bad channel ID: {0}")]
    ChannelId(#[from] ChannelIdError),
    /// The template itself is an invalid configuration.
    #[error("initializing channelconfig failed: {0}")]
    Config(#[from] ConfigError),
}

/// Builds the configuration of sequence 0 to which the CONFIG_UPDATE `message` is then applied, like any update. It has
/// the Channel values and the Orderer group of the system channel, and an Application group with the consortium members
/// that the update names. The consortium's creation policy governs that group.
pub fn channel_from_template(
    system: &ChannelSnapshot,
    message: &ParsedEnvelope,
) -> Result<ChannelSnapshot, TemplateError> {
    let envelope: ConfigUpdateEnvelope = lenient::decode(message.data.clone()).map_err(TemplateError::Envelope)?;
    let update = UpdateMessage::read(&envelope.config_update, system.recursion_max()).map_err(TemplateError::Update)?;
    let header_channel = &message.channel_header.channel_id;
    if update.channel_id != *header_channel {
        return Err(TemplateError::OtherChannel { update: update.channel_id, header: header_channel.clone() });
    }
    let write_set = update.write_set.ok_or(TemplateError::NoWriteSet)?;
    let write_set = write_set.root();
    let wanted = write_set.below(key::APPLICATION).ok_or(TemplateError::NoApplication)?;
    if wanted.version != 1 {
        return Err(TemplateError::ApplicationVersion(wanted.version));
    }
    let consortium_value = write_set.values().get(key::CONSORTIUM).ok_or(TemplateError::NoConsortium)?;
    let named: Consortium = lenient::decode(consortium_value.value.clone()).map_err(TemplateError::ConsortiumName)?;
    let system_group = system.tree().root();
    let consortiums = system_group.below(key::CONSORTIUMS).ok_or(TemplateError::NoConsortiums)?;
    let unknown = || TemplateError::UnknownConsortium(named.name.clone());
    let consortium = system.consortium(&named.name).ok_or_else(unknown)?;
    let members = consortiums.below(&named.name).ok_or_else(unknown)?;

    // an old tool's update brings its own Admins policy at version 0, as a new one: the template must not have one yet
    let brings_admins = wanted.policies().get(key::ADMINS).is_some_and(|policy| policy.version == 0);
    let policy_key = if system.orderer().capabilities.creation_policy_as_admins() && !brings_admins {
        key::ADMINS
    } else {
        key::CHANNEL_CREATION_POLICY
    };
    let creation_policy = PolicyElement {
        policy: Some(PolicyBody::of_message(consortium.channel_creation_policy.clone())),
        mod_policy: policy_key.to_owned(),
        ..PolicyElement::default()
    };
    let application = Group {
        mod_policy: policy_key.to_owned(),
        policies: [(policy_key.to_owned(), creation_policy)].into(),
        ..Group::default()
    };
    let mut root =
        Group { values: system_group.values().clone(), policies: system_group.policies().clone(), ..Group::default() };
    let consortium_value = Value {
        value: Consortium { name: named.name.clone() }.encode_to_vec().into(),
        mod_policy: key::ADMINS.to_owned(),
        ..Value::default()
    };
    root.values.insert(key::CONSORTIUM.to_owned(), consortium_value);
    let mut tree = Tree::new(root);
    let application = tree.insert(GroupId::ROOT, key::APPLICATION.to_owned(), application);
    if members.groups_len() > 0 {
        if wanted.groups_len() == 0 {
            return Err(TemplateError::NoMembers);
        }
        for (name, _) in wanted.groups() {
            let member = members.below(name).ok_or_else(|| TemplateError::Outsider(name.to_owned()))?;
            tree.graft(application, name, member);
        }
    }
    if let Some(orderer) = system_group.below(key::ORDERER) {
        tree.graft(GroupId::ROOT, key::ORDERER, orderer);
    }
    if system.orderer().capabilities.since_v1_1() {
        tree.get_mut(GroupId::ROOT).mod_policy.clone_from(&system_group.mod_policy);
        tree.zero_versions();
    }
    let channel = ChannelId::parse(header_channel)?;
    Ok(ChannelSnapshot::from_tree(channel, 0, tree, (system.catalog(), WorkLimit::AsNeeded))?)
}
