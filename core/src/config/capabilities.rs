//! Capabilities: which rules a group of nodes has agreed to.

use std::collections::BTreeSet;

use fabric_proto::common::Capabilities;
use fabric_proto::lenient::RECURSION_MAX;

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

    /// The rules for members. (V2_0 is at least V1_4_3, and V1_4_2 is V1_3: Fabric counts so.)
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

    /// Kinds of consensus since Fabric 3, and the rules that came with them: the orderers of an organization are listed with
    /// it, and nowhere else.
    pub fn since_v3_0(&self) -> bool {
        self.0.contains("V3_0")
    }

    /// Messages below each other in updates and signature policies. Only Fabric 3, which such a channel needs, has protobuf's
    /// limit: in the message types of 2.5 it begins anew with each message.
    pub(super) fn recursion_max(&self) -> usize {
        if self.since_v3_0() { RECURSION_MAX } else { usize::MAX }
    }

    /// The consensus type may be changed at all.
    pub fn consensus_type_migration(&self) -> bool {
        self.organization_endpoints()
    }

    /// Addresses of orderers may be listed by organization alone.
    pub fn organization_endpoints(&self) -> bool {
        ["V1_4_2", "V1_4_3", "V2_0", "V3_0"].iter().any(|v| self.0.contains(*v))
    }

    /// Whether the Channel group may have these OrdererAddresses.
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

    /// Whether ordering organizations may have these Endpoints, `None` where there is no such value: the names of those that
    /// may not, and why.
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

    /// Whether the Orderer group may have these KafkaBrokers; else one that it may not. Fabric 3 does not look at them, and
    /// channels of V3_0 have no other orderers.
    pub(super) fn check_brokers<'a>(&self, brokers: &'a [String]) -> Result<(), &'a str> {
        match brokers.iter().find(|broker| !is_broker(broker)) {
            Some(bad) if !self.since_v3_0() => Err(bad),
            _ => Ok(()),
        }
    }
}

/// `host:port`, as Fabric reads it: a host of letters, digits, dots and hyphens, none of the latter two at its ends, or none
/// at all; a port of digits, up to 65535.
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
