//! The configuration that a new channel starts from, when it is created through the system channel.

use fabric_proto::common::{ConfigUpdateEnvelope, Consortium};
use fabric_proto::lenient;
use prost::Message as _;

use super::key;
use super::snapshot::{ChannelSnapshot, ConfigError};
use super::tree::{Group, GroupId, PolicyBody, PolicyElement, Tree, TreeDecodeError, UpdateMessage, Value};
use crate::channel::{ChannelId, ChannelIdError};
use crate::envelope::Message;

/// Why no channel is made of an update.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The data of the envelope.
    #[error("Failing initial channel config creation because of config update envelope unmarshalling error: {0}")]
    Envelope(prost::DecodeError),
    /// The update inside.
    #[error("Failing initial channel config creation because of config update unmarshalling error: {0}")]
    Update(TreeDecodeError),
    /// The header names another channel.
    #[error("Failing initial channel config creation: mismatched channel IDs: '{update}' != '{header}'")]
    OtherChannel {
        /// In the update.
        update: String,
        /// In the channel header.
        header: String,
    },
    /// Nothing is asked for.
    #[error("Config update has an empty writeset")]
    NoWriteSet,
    /// No application.
    #[error("Config update has missing application group")]
    NoApplication,
    /// The application group's version says that it is changed, which it is.
    #[error("Config update for channel creation does not set application group version to 1, was {0}")]
    ApplicationVersion(u64),
    /// No consortium is named.
    #[error("Consortium config value missing")]
    NoConsortium,
    /// The consortium's name does not parse.
    #[error("Error reading unmarshalling consortium name: {0}")]
    ConsortiumName(prost::DecodeError),
    /// This is no system channel.
    #[error("The ordering system channel does not appear to support creating channels")]
    NoConsortiums,
    /// The consortium does not exist.
    #[error("Unknown consortium name: {0}")]
    UnknownConsortium(String),
    /// A consortium with members makes no channel without.
    #[error("Proposed configuration has no application group members, but consortium contains members")]
    NoMembers,
    /// A member from elsewhere.
    #[error("Attempted to include member {0} which is not in the consortium")]
    Outsider(String),
    /// The name of the channel.
    #[error("initializing configtx manager failed: bad channel ID: {0}")]
    ChannelId(#[from] ChannelIdError),
    /// The template itself.
    #[error("initializing channelconfig failed: {0}")]
    Config(#[from] ConfigError),
}

/// The configuration of sequence 0 that the CONFIG_UPDATE `message` is then applied to, like any update: Channel values
/// and Orderer group of the system channel, and an Application group of the consortium members that the update names,
/// which the consortium's creation policy governs.
pub fn new_channel(system: &ChannelSnapshot, message: &Message) -> Result<ChannelSnapshot, TemplateError> {
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

    // an update by an old tool brings its own Admins policy at version 0, as something new: there must not be one yet
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
    Ok(ChannelSnapshot::from_tree(channel, 0, tree, system.catalog())?)
}
