//! Builds the transaction that requests a new channel from a system channel.

use bytes::Bytes;
use fabric_proto::common::{
    ChannelHeader, Config, ConfigGroup, ConfigPolicy, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue, Consortium,
    Envelope, Header, HeaderType, Payload,
};
use prost::Message as _;

use super::{Profile, channel_group};
use crate::config::{ComputeError, compute_update, key};
use crate::types::{ChannelId, UnixSeconds};

/// A profile does not describe a channel that can be requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreationError {
    /// The profile has no Application section.
    #[error("a channel is created with an Application section, and there is none")]
    NoApplication,
    /// The profile names no consortium, whose members create the channel.
    #[error("a channel is created for a Consortium, and none is named")]
    NoConsortium,
    /// The profile of the system channel has no consortiums.
    #[error("the base profile is of no system channel: it has no Consortiums")]
    NoSystemChannel,
    /// The system channel does not have the consortium.
    #[error("the base profile has no consortium {0}")]
    UnknownConsortium(String),
    /// The consortium does not have the organization.
    #[error("consortium {consortium} does not contain member org {organization}")]
    NoMember {
        /// Name of the consortium.
        consortium: String,
        /// Name of the organization.
        organization: String,
    },
    /// The update changes nothing: the Application section has no values, policies and capabilities.
    #[error("compute the update")]
    Compute(#[source] ComputeError),
}

/// Returns the update for the part of a profile that the members of a consortium decide: its Application section, with
/// the organizations by name. Everything else comes from the system channel.
pub fn channel_creation_update(profile: &Profile, channel: &ChannelId) -> Result<ConfigUpdate, CreationError> {
    if profile.application.is_none() {
        return Err(CreationError::NoApplication);
    }
    let consortium = profile.consortium.clone().ok_or(CreationError::NoConsortium)?;
    let wanted = channel_group(profile);
    let mut template = wanted.clone();
    if let Some(application) = template.groups.get_mut(key::APPLICATION) {
        application.values.clear();
        application.policies.clear();
    }
    from_template(channel, consortium, template, wanted)
}

/// Returns the update for a channel that also differs from its system channel in other parts than the Application
/// section, such as its orderers. `base` is the profile of the system channel as it is.
pub fn channel_creation_update_within(
    profile: &Profile,
    base: &Profile,
    channel: &ChannelId,
) -> Result<ConfigUpdate, CreationError> {
    let Some(application) = &profile.application else { return Err(CreationError::NoApplication) };
    let consortium = profile.consortium.clone().ok_or(CreationError::NoConsortium)?;
    let mut template = channel_group(base);
    let consortiums = template.groups.remove(key::CONSORTIUMS).ok_or(CreationError::NoSystemChannel)?;
    let Some(members) = consortiums.groups.get(&consortium) else {
        return Err(CreationError::UnknownConsortium(consortium));
    };
    let mut below = ConfigGroup::default();
    below.policies.insert(key::ADMINS.to_owned(), ConfigPolicy::default());
    for organization in &application.organizations {
        let Some(member) = members.groups.get(&organization.name) else {
            return Err(CreationError::NoMember { consortium, organization: organization.name.clone() });
        };
        below.groups.insert(organization.name.clone(), member.clone());
    }
    template.groups.insert(key::APPLICATION.to_owned(), below);
    let value = Consortium { name: consortium.clone() }.encode_to_vec().into();
    let value = ConfigValue { version: 0, value, mod_policy: key::ADMINS.to_owned() };
    template.values.insert(key::CONSORTIUM.to_owned(), value);
    from_template(channel, consortium, template, channel_group(profile))
}

/// Returns the update from what the orderer starts from to what is wanted. It names the consortium in any case.
fn from_template(
    channel: &ChannelId,
    consortium: String,
    template: ConfigGroup,
    wanted: ConfigGroup,
) -> Result<ConfigUpdate, CreationError> {
    let config = |group| Config { sequence: 0, channel_group: Some(group) };
    let mut update = compute_update(channel, &config(template), &config(wanted)).map_err(CreationError::Compute)?;
    let value = Consortium { name: consortium }.encode_to_vec().into();
    for (set, value) in [(&mut update.read_set, Bytes::new()), (&mut update.write_set, value)] {
        let named = ConfigValue { version: 0, value, mod_policy: String::new() };
        set.get_or_insert_default().values.insert(key::CONSORTIUM.to_owned(), named);
    }
    Ok(update)
}

/// Returns an update as an unsigned envelope, serialized.
pub fn channel_creation_envelope(update: &ConfigUpdate, now: UnixSeconds) -> Bytes {
    let channel_header = ChannelHeader {
        r#type: HeaderType::ConfigUpdate as i32,
        timestamp: Some(fabric_proto::Timestamp { seconds: now.0, nanos: 0 }),
        channel_id: update.channel_id.clone(),
        ..ChannelHeader::default()
    };
    let header = Header { channel_header: channel_header.encode_to_vec().into(), signature_header: Bytes::new() };
    let data = ConfigUpdateEnvelope { config_update: update.encode_to_vec().into(), signatures: Vec::new() };
    let payload = Payload { header: Some(header), data: data.encode_to_vec().into() };
    Envelope { payload: payload.encode_to_vec().into(), signature: Bytes::new() }.encode_to_vec().into()
}
