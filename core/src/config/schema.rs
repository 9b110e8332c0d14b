//! Shape of a configuration: the groups and values that it may have, by place and capability. Checks only what is
//! needed to read a channel; the values' meaning is validated elsewhere.

use bytes::Bytes;
use fabric_proto::common::{
    BlockDataHashingStructure, Capabilities, Consortium, HashingAlgorithm, OrdererAddresses, Orderers, Policy,
};
use fabric_proto::lenient;
use fabric_proto::msp::MspConfig;
use fabric_proto::orderer::{BatchSize, BatchTimeout, ChannelRestrictions, ConsensusType, KafkaBrokers};
use fabric_proto::protos::{AcLs, AnchorPeers};
use prost::{Message, Name};

use super::capabilities::ChannelCapabilities;
use super::key;
use super::snapshot::ConfigError;
use super::tree::GroupRef;
use super::values::value;

/// Name of a value, and a check that bytes are a value of its message type.
type ValueSchema = (&'static str, fn(&Bytes) -> Result<(), prost::DecodeError>);

fn is<M: Message + Name + Default>(bytes: &Bytes) -> Result<(), prost::DecodeError> {
    lenient::decode::<M>(bytes.clone()).map(drop)
}

const CHANNEL: &[ValueSchema] = &[
    (key::HASHING_ALGORITHM, is::<HashingAlgorithm>),
    (key::BLOCK_DATA_HASHING_STRUCTURE, is::<BlockDataHashingStructure>),
    (key::ORDERER_ADDRESSES, is::<OrdererAddresses>),
    (key::CONSORTIUM, is::<Consortium>),
    (key::CAPABILITIES, is::<Capabilities>),
];
const ORDERER: &[ValueSchema] = &[
    (key::CONSENSUS_TYPE, is::<ConsensusType>),
    (key::BATCH_SIZE, is::<BatchSize>),
    (key::BATCH_TIMEOUT, is::<BatchTimeout>),
    (key::KAFKA_BROKERS, is::<KafkaBrokers>),
    (key::CHANNEL_RESTRICTIONS, is::<ChannelRestrictions>),
    (key::CAPABILITIES, is::<Capabilities>),
    (key::ORDERERS, is::<Orderers>),
];
const ORDERER_ORGANIZATION: &[ValueSchema] = &[(key::MSP, is::<MspConfig>), (key::ENDPOINTS, is::<OrdererAddresses>)];
const APPLICATION: &[ValueSchema] = &[(key::ACLS, is::<AcLs>), (key::CAPABILITIES, is::<Capabilities>)];
const APPLICATION_ORGANIZATION: &[ValueSchema] = &[(key::MSP, is::<MspConfig>), (key::ANCHOR_PEERS, is::<AnchorPeers>)];
const CONSORTIUM: &[ValueSchema] = &[(key::CHANNEL_CREATION_POLICY, is::<Policy>)];
const ORGANIZATION: &[ValueSchema] = &[(key::MSP, is::<MspConfig>)];

/// Application capabilities that allow ACLs.
const ACLS_SINCE: [&str; 5] = ["V1_2", "V1_3", "V1_4_2", "V2_0", "V2_5"];

/// Checks the tree whose root is the Channel group, as Fabric does.
pub(super) fn check(channel: GroupRef<'_>) -> Result<(), ConfigError> {
    let path = "/Channel";
    check_capabilities_order(channel)?;
    check_values(path, channel, CHANNEL)?;
    let capabilities = capabilities(channel);
    let channel_capabilities = ChannelCapabilities::new(&capabilities);
    for (name, group) in channel.groups() {
        let path = format!("{path}/{name}");
        match name {
            key::ORDERER => {
                check_values(&path, group, ORDERER)?;
                if group.values().contains_key(key::ORDERERS) && !capabilities.capabilities.contains_key("V3_0") {
                    return Err(unexpected(&path, key::ORDERERS));
                }
                check_organizations(&path, group, ORDERER_ORGANIZATION)?;
                check_endpoints(&path, group, &channel_capabilities)?;
            }
            key::APPLICATION => {
                check_values(&path, group, APPLICATION)?;
                let has = self::capabilities(group).capabilities;
                if group.values().contains_key(key::ACLS) && !ACLS_SINCE.iter().any(|name| has.contains_key(*name)) {
                    let problem = "ACLs may not be specified without the required capability".to_owned();
                    return Err(ConfigError::Value { path: format!("{path}/{}", key::ACLS), problem });
                }
                check_organizations(&path, group, APPLICATION_ORGANIZATION)?;
            }
            // the group's own values are not checked, as no node reads them
            key::CONSORTIUMS => {
                for (name, consortium) in group.groups() {
                    let path = format!("{path}/{name}");
                    check_values(&path, consortium, CONSORTIUM)?;
                    check_organizations(&path, consortium, ORGANIZATION)?;
                }
            }
            _ => return Err(ConfigError::Group { path, problem: "disallowed channel group".to_owned() }),
        }
    }
    Ok(())
}

/// Rejects channel or application capabilities where the Orderer group has none.
fn check_capabilities_order(channel: GroupRef<'_>) -> Result<(), ConfigError> {
    let says = |group: GroupRef<'_>| group.values().contains_key(key::CAPABILITIES);
    let Some(orderer) = channel.below(key::ORDERER) else { return Ok(()) };
    let enabled = match channel.below(key::APPLICATION) {
        _ if says(orderer) => return Ok(()),
        _ if says(channel) => "channel",
        Some(application) if says(application) => "application",
        _ => return Ok(()),
    };
    Err(ConfigError::Value {
        path: format!("/Channel/{}/{}", key::ORDERER, key::CAPABILITIES),
        problem: format!("cannot enable {enabled} capabilities without orderer support first"),
    })
}

fn check_organizations(path: &str, group: GroupRef<'_>, kinds: &[ValueSchema]) -> Result<(), ConfigError> {
    for (name, organization) in group.groups() {
        let path = format!("{path}/{name}");
        if organization.groups_len() > 0 {
            return Err(ConfigError::Group { path, problem: "organizations do not support sub-groups".to_owned() });
        }
        check_values(&path, organization, kinds)?;
    }
    Ok(())
}

fn check_values(path: &str, group: GroupRef<'_>, kinds: &[ValueSchema]) -> Result<(), ConfigError> {
    for (name, value) in group.values() {
        let (_, is_one) = kinds.iter().find(|(known, _)| known == name).ok_or_else(|| unexpected(path, name))?;
        let path = || format!("{path}/{name}");
        is_one(&value.value).map_err(|e| ConfigError::Value { path: path(), problem: e.to_string() })?;
    }
    Ok(())
}

fn check_endpoints(path: &str, orderer: GroupRef<'_>, channel: &ChannelCapabilities) -> Result<(), ConfigError> {
    let mut all = Vec::with_capacity(orderer.groups_len());
    for (name, organization) in orderer.groups() {
        let has = organization.values().contains_key(key::ENDPOINTS);
        let endpoints: OrdererAddresses = value(&format!("{path}/{name}"), organization, key::ENDPOINTS)?;
        all.push((name, has.then_some(endpoints.addresses.len())));
    }
    let wrong = |problem| ConfigError::Group { path: path.to_owned(), problem };
    channel.check_endpoints(all.into_iter()).map_err(wrong)
}

fn unexpected(path: &str, name: &str) -> ConfigError {
    ConfigError::Value { path: format!("{path}/{name}"), problem: format!("unexpected key {name}") }
}

/// Returns the group's capabilities; none if the value is absent or does not parse, which is detected elsewhere.
fn capabilities(group: GroupRef<'_>) -> Capabilities {
    let value = group.values().get(key::CAPABILITIES);
    value.and_then(|value| lenient::decode(value.value.clone()).ok()).unwrap_or_default()
}
