//! Builds the transaction that requests a new channel from a system channel.

use bytes::Bytes;
use fabric_proto::common::{
    ChannelHeader, Config, ConfigUpdate, ConfigUpdateEnvelope, ConfigValue, Consortium, Envelope, Header, HeaderType,
    Payload,
};
use prost::Message as _;

use super::{Profile, channel_group};
use crate::config::{ComputeError, compute_update, key};
use crate::types::{ChannelId, UnixSeconds};

/// A profile does not describe a channel that can be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreationError {
    /// The profile has no Application section.
    #[error("a channel is created with an Application section, and there is none")]
    NoApplication,
    /// The profile names no consortium, whose members create the channel.
    #[error("a channel is created for a Consortium, and none is named")]
    NoConsortium,
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
    let config = |group| Config { sequence: 0, channel_group: Some(group) };
    let mut update = compute_update(channel, &config(template), &config(wanted)).map_err(CreationError::Compute)?;
    let value = Consortium { name: consortium }.encode_to_vec().into();
    for (set, value) in [(&mut update.read_set, Bytes::new()), (&mut update.write_set, value)] {
        let named = ConfigValue { version: 0, value, mod_policy: String::new() };
        set.get_or_insert_default().values.insert(key::CONSORTIUM.to_owned(), named);
    }
    Ok(update)
}

/// Returns the update as an unsigned envelope, serialized.
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
