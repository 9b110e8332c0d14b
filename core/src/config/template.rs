//! The configuration that a new channel starts from, when it is created through the system channel.

use fabric_proto::common::{
    Config, ConfigGroup, ConfigPolicy, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue, Consortium,
};
use prost::Message as _;

use super::key;
use super::snapshot::{ChannelSnapshot, ConfigError};
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
    Update(prost::DecodeError),
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
    let envelope = ConfigUpdateEnvelope::decode(message.data.clone()).map_err(TemplateError::Envelope)?;
    let update = ConfigUpdate::decode(envelope.config_update).map_err(TemplateError::Update)?;
    let header_channel = &message.channel_header.channel_id;
    if update.channel_id != *header_channel {
        return Err(TemplateError::OtherChannel { update: update.channel_id, header: header_channel.clone() });
    }
    let write_set = update.write_set.ok_or(TemplateError::NoWriteSet)?;
    let wanted = write_set.groups.get(key::APPLICATION).ok_or(TemplateError::NoApplication)?;
    if wanted.version != 1 {
        return Err(TemplateError::ApplicationVersion(wanted.version));
    }
    let consortium_value = write_set.values.get(key::CONSORTIUM).ok_or(TemplateError::NoConsortium)?;
    let consortium_name =
        Consortium::decode(consortium_value.value.clone()).map_err(TemplateError::ConsortiumName)?.name;
    let system_group = system.channel_group();
    let consortiums = system_group.groups.get(key::CONSORTIUMS).ok_or(TemplateError::NoConsortiums)?;
    let unknown = || TemplateError::UnknownConsortium(consortium_name.clone());
    let consortium = system.consortium(&consortium_name).ok_or_else(unknown)?;
    let members = &consortiums.groups.get(&consortium_name).ok_or_else(unknown)?.groups;

    // an update by an old tool brings its own Admins policy at version 0, as something new: there must not be one yet
    let brings_admins = wanted.policies.get(key::ADMINS).is_some_and(|policy| policy.version == 0);
    let policy_key = if system.orderer().capabilities.creation_policy_as_admins() && !brings_admins {
        key::ADMINS
    } else {
        key::CHANNEL_CREATION_POLICY
    };
    let mut application = ConfigGroup { mod_policy: policy_key.to_owned(), ..ConfigGroup::default() };
    let creation_policy = ConfigPolicy {
        version: 0,
        policy: Some(consortium.channel_creation_policy.clone()),
        mod_policy: policy_key.to_owned(),
    };
    application.policies.insert(policy_key.to_owned(), creation_policy);
    if !members.is_empty() {
        if wanted.groups.is_empty() {
            return Err(TemplateError::NoMembers);
        }
        for name in wanted.groups.keys() {
            let member = members.get(name).ok_or_else(|| TemplateError::Outsider(name.clone()))?;
            application.groups.insert(name.clone(), member.clone());
        }
    }

    let mut group = ConfigGroup {
        values: system_group.values.clone(),
        policies: system_group.policies.clone(),
        ..ConfigGroup::default()
    };
    if let Some(orderer) = system_group.groups.get(key::ORDERER) {
        group.groups.insert(key::ORDERER.to_owned(), orderer.clone());
    }
    group.groups.insert(key::APPLICATION.to_owned(), application);
    let consortium_value = ConfigValue {
        value: Consortium { name: consortium_name.clone() }.encode_to_vec().into(),
        mod_policy: key::ADMINS.to_owned(),
        version: 0,
    };
    group.values.insert(key::CONSORTIUM.to_owned(), consortium_value);
    if system.orderer().capabilities.since_v1_1() {
        group.mod_policy.clone_from(&system_group.mod_policy);
        zero_versions(&mut group);
    }
    let channel = ChannelId::parse(header_channel)?;
    let config = Config { sequence: 0, channel_group: Some(group) };
    Ok(ChannelSnapshot::from_config(channel, config, system.catalog())?)
}

fn zero_versions(group: &mut ConfigGroup) {
    group.version = 0;
    group.values.values_mut().for_each(|v| v.version = 0);
    group.policies.values_mut().for_each(|p| p.version = 0);
    group.groups.values_mut().for_each(zero_versions);
}
