//! Orderers in a channel's configuration.

use std::collections::BTreeSet;

use fabric_proto::common::OrdererAddresses;
use prost::Message as _;

use crate::config::tree::GroupRef;
use crate::config::{ChannelSnapshot, key};

/// Warning for a channel of type solo whose configuration names several orderers.
pub const WARNING_SOLO: &str = "the channel is of type solo, and its configuration names several orderers: each of them that serves it makes a chain of its own";

/// Returns the orderers' addresses that clients and peers find in the configuration: those of the ordering organizations
/// and those of the whole channel.
pub fn orderer_addresses(snapshot: &ChannelSnapshot) -> BTreeSet<String> {
    let root = snapshot.tree().root();
    let mut addresses: BTreeSet<String> = listed(root, key::ORDERER_ADDRESSES).into_iter().collect();
    let organizations = root.below(key::ORDERER).into_iter().flat_map(GroupRef::groups);
    for (_, organization) in organizations {
        addresses.extend(listed(organization, key::ENDPOINTS));
    }
    addresses
}

/// Returns the addresses if the channel is of type solo and has several: no node can tell which of them serve it.
pub fn other_orderers_of_solo(snapshot: &ChannelSnapshot) -> Option<BTreeSet<String>> {
    if snapshot.orderer().consensus_type != "solo" {
        return None;
    }
    Some(orderer_addresses(snapshot)).filter(|addresses| addresses.len() > 1)
}

fn listed(group: GroupRef<'_>, value: &str) -> Vec<String> {
    let value = group.values().get(value);
    let decoded = value.and_then(|value| OrdererAddresses::decode(value.value.clone()).ok());
    decoded.unwrap_or_default().addresses
}
