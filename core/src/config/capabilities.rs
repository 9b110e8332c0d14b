//! Capabilities: the rules that a group of nodes has agreed to.

use std::collections::BTreeSet;

use fabric_proto::common::Capabilities;
use fabric_proto::lenient::RECURSION_MAX;

use crate::identity::MspVersion;

/// Capabilities of the Channel group that this orderer supports.
const CHANNEL: [&str; 6] = ["V1_1", "V1_3", "V1_4_2", "V1_4_3", "V2_0", "V3_0"];
/// Capabilities of the Orderer group that this orderer supports.
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

    /// Returns a required capability that this node does not have, if there is one.
    pub fn unsupported(&self) -> Option<String> {
        first_unknown(&self.0, &ORDERER)
    }

    /// Whether messages of expired identities are rejected, messages that a config change made invalid are ordered again, and
    /// new channels are created from a template whose versions are all zero.
    pub fn since_v1_1(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the consensus type may be changed in maintenance mode.
    pub fn consensus_type_migration(&self) -> bool {
        self.0.contains("V1_4_2") || self.0.contains("V2_0")
    }

    /// Whether a new channel's creation policy becomes its application's Admins policy.
    pub fn creation_policy_as_admins(&self) -> bool {
        self.0.contains("V2_0")
    }
}

impl ChannelCapabilities {
    /// Builds the capabilities from the value of the Channel group.
    pub fn new(capabilities: &Capabilities) -> Self {
        Self(names(capabilities))
    }

    /// Returns a required capability that this node does not have, if there is one.
    pub fn unsupported(&self) -> Option<String> {
        first_unknown(&self.0, &CHANNEL)
    }

    /// Returns the version of the rules for MSPs. (V2_0 implies V1_4_3, and V1_4_2 implies V1_3, as in Fabric.)
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

    /// Whether the rules of Fabric 3 apply: its consensus types, and addresses of orderers listed only with their
    /// organization.
    pub fn since_v3_0(&self) -> bool {
        self.0.contains("V3_0")
    }

    /// Returns the maximum nesting of messages in updates and signature policies. Only Fabric 3, which such a channel
    /// requires, has protobuf's limit: with the message types of 2.5 the count starts again at each message.
    pub(super) fn recursion_max(&self) -> usize {
        if self.since_v3_0() { RECURSION_MAX } else { usize::MAX }
    }

    /// Whether the consensus type may be changed at all.
    pub fn consensus_type_migration(&self) -> bool {
        self.organization_endpoints()
    }

    /// Whether addresses of orderers may be listed with their organization only.
    pub fn organization_endpoints(&self) -> bool {
        ["V1_4_2", "V1_4_3", "V2_0", "V3_0"].iter().any(|v| self.0.contains(*v))
    }

    /// Checks that the Channel group may have these OrdererAddresses.
    pub(super) fn check_global_addresses(&self, addresses: &[String]) -> Result<(), &'static str> {
        match addresses.is_empty() {
            true if !self.organization_endpoints() => Err("there must be at least one address"),
            false if self.since_v3_0() => {
                Err("global OrdererAddresses are not allowed with V3_0 capability, use org specific addresses only: \
                 list them as Endpoints of the ordering organizations")
            }
            _ => Ok(()),
        }
    }

    /// Checks that the ordering organizations may have these numbers of Endpoints, `None` where the value is absent. The
    /// error says which organizations may not, and why.
    pub(super) fn check_endpoints<'a>(
        &self,
        organizations: impl Iterator<Item = (&'a str, Option<usize>)>,
    ) -> Result<(), String> {
        let mut missing = Vec::new();
        for (name, endpoints) in organizations {
            if endpoints.is_some() && !self.organization_endpoints() {
                return Err(format!(
                    "orderer org {name} cannot contain endpoints value until V1_4_2+ capabilities have been enabled"
                ));
            }
            if endpoints.unwrap_or_default() == 0 {
                missing.push(name);
            }
        }
        if self.since_v3_0() && !missing.is_empty() {
            return Err(format!(
                "some orderer organizations endpoints are empty: [{}]; capability V3_0 wants Endpoints of each",
                missing.join(" ")
            ));
        }
        Ok(())
    }

    /// Checks that the Orderer group may have these KafkaBrokers; the error is one that it may not have. Fabric 3 does not
    /// read them, and only its orderers serve channels with V3_0.
    pub(super) fn check_brokers<'a>(&self, brokers: &'a [String]) -> Result<(), &'a str> {
        match brokers.iter().find(|broker| !is_broker(broker)) {
            Some(bad) if !self.since_v3_0() => Err(bad),
            _ => Ok(()),
        }
    }
}

/// Whether a text is `host:port` as Fabric parses it. The host has letters, digits, dots and hyphens, neither of the latter
/// two at its ends, and may be empty; the port has digits and is at most 65535.
fn is_broker(broker: &str) -> bool {
    let Some((host, port)) = broker.split_once(':') else { return false };
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let ends_well = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    host.bytes().all(is_inner)
        && ends_well(host.as_bytes().first())
        && ends_well(host.as_bytes().last())
        && !port.is_empty()
        && port.bytes().all(|b| b.is_ascii_digit())
        && matches!(port.trim_start_matches('0'), digits if digits.is_empty() || digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_what_fabric_takes_for_them() {
        for good in ["a:1", ":1", "a:0", "a.b-c:65535", "1.2.3.4:09092", "A9:1", "a..b:1"] {
            assert!(is_broker(good), "{good}");
        }
        for bad in
            ["a", "a:", "a:65536", "a:+1", "a:-1", "a_b:1", "[::1]:1", "a:1:2", "-a:1", "a-:1", ".a:1", "é:1", "a:1 "]
        {
            assert!(!is_broker(bad), "{bad}");
        }
    }
}
