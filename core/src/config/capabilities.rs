//! Capabilities: which rules a group of nodes has agreed to.

use std::collections::BTreeSet;

use fabric_proto::common::Capabilities;

use crate::identity::MspVersion;

/// What an orderer of this version understands in the Channel group.
const CHANNEL: [&str; 6] = ["V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"];
/// And in the Orderer group.
const ORDERER: [&str; 3] = ["V1_1", "V1_4_2", "V2_0"];

/// Capabilities of the Orderer group.
#[derive(Clone, Debug, Default)]
pub struct OrdererCapabilities(BTreeSet<String>);

/// Capabilities of the Channel group.
#[derive(Clone, Debug, Default)]
pub struct ChannelCapabilities(BTreeSet<String>);

fn names(capabilities: &Capabilities) -> BTreeSet<String> {
    capabilities.capabilities.keys().cloned().collect()
}

fn first_unknown(required: &BTreeSet<String>, known: &[&str]) -> Option<String> {
    required.iter().find(|name| !known.contains(&name.as_str())).cloned()
}

impl OrdererCapabilities {
    pub(super) fn new(capabilities: &Capabilities) -> Self {
        Self(names(capabilities))
    }

    /// One that this node does not have.
    pub fn unsupported(&self) -> Option<String> {
        first_unknown(&self.0, &ORDERER)
    }

    /// Messages of expired identities are refused, invalid messages are ordered again after a config change, and new
    /// channels are made from a template whose versions are all zero.
    pub fn since_v1_1(&self) -> bool {
        !self.0.is_empty()
    }

    /// The consensus type may be changed in maintenance mode.
    pub fn consensus_type_migration(&self) -> bool {
        self.0.contains("V1_4_2") || self.0.contains("V2_0")
    }

    /// A new channel's creation policy becomes its application administrators' policy.
    pub fn creation_policy_as_admins(&self) -> bool {
        self.0.contains("V2_0")
    }
}

impl ChannelCapabilities {
    /// What the value of the Channel group says.
    pub fn new(capabilities: &Capabilities) -> Self {
        Self(names(capabilities))
    }

    /// One that this node does not have.
    pub fn unsupported(&self) -> Option<String> {
        first_unknown(&self.0, &CHANNEL)
    }

    /// The rules for members. (V2_0 is at least V1_4_3, and V1_4_2 is V1_3: the reference counts so.)
    pub fn msp_version(&self) -> MspVersion {
        let has = |names: &[&str]| names.iter().any(|name| self.0.contains(*name));
        match () {
            () if has(&["V3_0"]) => MspVersion::V3_0,
            () if has(&["V1_4_3", "V2_0"]) => MspVersion::V1_4_3,
            () if has(&["V1_3", "V1_4_2"]) => MspVersion::V1_3,
            () if has(&["V1_1"]) => MspVersion::V1_1,
            () => MspVersion::V1_0,
        }
    }

    /// The consensus type may be changed at all.
    pub fn consensus_type_migration(&self) -> bool {
        self.organization_endpoints()
    }

    /// Addresses of orderers may be listed by organization alone.
    pub fn organization_endpoints(&self) -> bool {
        ["V1_4_2", "V1_4_3", "V2_0", "V3_0"].iter().any(|v| self.0.contains(*v))
    }
}
