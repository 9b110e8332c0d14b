//! Builds the update that sets the anchor peers of an organization in a channel that was just created.

use super::{Profile, channel_group};
use crate::config::{ComputeError, compute_update, key};
use crate::types::ChannelId;
use fabric_proto::common::{Config, ConfigUpdate};

/// A profile does not describe anchor peers that can be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorPeersError {
    /// The profile has no Application section.
    #[error("cannot update anchor peers without an application section")]
    NoApplication,
    /// The Application section does not list the organization.
    #[error("org with name '{0}' does not exist in config")]
    NoSuchOrganization(String),
    /// The organization has no anchor peers.
    #[error("org '{0}' does not have any anchor peers defined")]
    NoAnchorPeers(String),
    /// The update cannot be computed.
    #[error("could not compute update")]
    Compute(#[source] ComputeError),
}

/// Returns the update that adds an organization's anchor peers to the channel of a profile. The update applies to a
/// channel that was created through a system channel and has not been changed since: its Application group has version 1.
pub fn anchor_peers_update(
    profile: &Profile,
    channel: &ChannelId,
    organization: &str,
) -> Result<ConfigUpdate, AnchorPeersError> {
    if profile.application.is_none() {
        return Err(AnchorPeersError::NoApplication);
    }
    let mut updated = channel_group(profile);
    if let Some(application) = updated.groups.get_mut(key::APPLICATION) {
        application.version = 1;
    }
    let mut original = updated.clone();
    let application = original.groups.get_mut(key::APPLICATION);
    let own = application.and_then(|application| application.groups.get_mut(organization));
    let own = own.ok_or_else(|| AnchorPeersError::NoSuchOrganization(organization.to_owned()))?;
    if own.values.remove(key::ANCHOR_PEERS).is_none() {
        return Err(AnchorPeersError::NoAnchorPeers(organization.to_owned()));
    }
    let config = |group| Config { sequence: 0, channel_group: Some(group) };
    compute_update(channel, &config(original), &config(updated)).map_err(AnchorPeersError::Compute)
}
