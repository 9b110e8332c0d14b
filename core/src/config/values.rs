//! The values of a configuration that an orderer acts on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fabric_proto::common::{BlockDataHashingStructure, Capabilities, HashingAlgorithm, OrdererAddresses};
use fabric_proto::lenient;
use fabric_proto::msp::MspConfig;
use fabric_proto::orderer::{
    BatchSize as BatchSizeValue, BatchTimeout, ChannelRestrictions, ConsensusType, KafkaBrokers, consensus_type,
};
use prost::{Message, Name};

use super::capabilities::{ChannelCapabilities, OrdererCapabilities};
use super::catalog::Catalog;
use super::duration::parse_go_duration;
use super::key;
use super::snapshot::ConfigError;
use super::tree::GroupRef;
use crate::identity::{Msp, MspVersion};
use crate::ordering::cutter::BatchLimits;

/// Whether a channel is being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsensusState {
    /// It takes everyone's messages.
    Normal,
    /// It takes orderer administrators' messages, and its consensus type may be changed.
    Maintenance,
}

/// Limits of a batch, in messages and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// At least 1.
    pub max_message_count: u32,
    /// No larger message is taken.
    pub absolute_max_bytes: u32,
    /// At most the absolute maximum.
    pub preferred_max_bytes: u32,
}

impl BatchSize {
    /// What the block cutter wants to know of it.
    pub fn limits(self) -> BatchLimits {
        BatchLimits {
            max_message_count: self.max_message_count as usize,
            preferred_max_bytes: self.preferred_max_bytes as usize,
        }
    }
}

/// The Orderer group.
#[derive(Clone, Debug)]
pub struct OrdererConfig {
    /// `solo`, `kafka`, `etcdraft`, ..
    pub consensus_type: String,
    /// Meant for the consenter of that type.
    pub consensus_metadata: Bytes,
    /// See [`ConsensusState`].
    pub state: ConsensusState,
    /// See [`BatchSize`].
    pub batch_size: BatchSize,
    /// After so long a batch that is not full is cut.
    pub batch_timeout: Duration,
    /// host:port each.
    pub kafka_brokers: Vec<String>,
    /// So many channels may be created; 0 for any number.
    pub max_channels: u64,
    /// See [`OrdererCapabilities`].
    pub capabilities: OrdererCapabilities,
    /// MSP id by the name of the organization's group.
    pub organizations: BTreeMap<String, String>,
}

impl OrdererConfig {
    /// The policy of those who may be sent blocks: in maintenance mode the orderers' own.
    pub fn readers_policy(&self) -> &'static str {
        match self.state {
            ConsensusState::Normal => "/Channel/Readers",
            ConsensusState::Maintenance => "/Channel/Orderer/Readers",
        }
    }

    /// The policy of those who may send messages: in maintenance mode the orderers' own.
    pub fn writers_policy(&self) -> &'static str {
        match self.state {
            ConsensusState::Normal => "/Channel/Writers",
            ConsensusState::Maintenance => "/Channel/Orderer/Writers",
        }
    }
}

/// Reads the value `name` of `group`; an absent one is its type's zero.
pub(super) fn value<M: Message + Name + Default>(
    path: &str,
    group: GroupRef<'_>,
    name: &str,
) -> Result<M, ConfigError> {
    match group.values().get(name) {
        Some(value) => lenient::decode(value.value.clone())
            .map_err(|e| ConfigError::Value { path: format!("{path}/{name}"), problem: e.to_string() }),
        None => Ok(M::default()),
    }
}

/// Checks the Channel group's own values.
pub(super) fn read_channel(group: GroupRef<'_>) -> Result<ChannelCapabilities, ConfigError> {
    let path = "/Channel";
    let wrong = |name: &str, problem: String| ConfigError::Value { path: format!("{path}/{name}"), problem };
    let hashing: HashingAlgorithm = value(path, group, key::HASHING_ALGORITHM)?;
    // blocks are hashed with SHA-256 whatever it says
    if !matches!(hashing.name.as_str(), "SHA256" | "SHA3_256") {
        return Err(wrong(key::HASHING_ALGORITHM, format!("unknown hashing algorithm '{}'", hashing.name)));
    }
    let structure: BlockDataHashingStructure = value(path, group, key::BLOCK_DATA_HASHING_STRUCTURE)?;
    if structure.width != u32::MAX {
        let problem = format!("merkle tree width {} is not supported, only {}", structure.width, u32::MAX);
        return Err(wrong(key::BLOCK_DATA_HASHING_STRUCTURE, problem));
    }
    let capabilities = ChannelCapabilities::new(&value::<Capabilities>(path, group, key::CAPABILITIES)?);
    let addresses: OrdererAddresses = value(path, group, key::ORDERER_ADDRESSES)?;
    capabilities
        .check_global_addresses(&addresses.addresses)
        .map_err(|problem| wrong(key::ORDERER_ADDRESSES, problem.to_owned()))?;
    Ok(capabilities)
}

/// Reads the Orderer group.
pub(super) fn read_orderer(
    group: GroupRef<'_>,
    channel: &ChannelCapabilities,
    organizations: BTreeMap<String, String>,
) -> Result<OrdererConfig, ConfigError> {
    let path = "/Channel/Orderer";
    let wrong = |name: &str, problem: String| ConfigError::Value { path: format!("{path}/{name}"), problem };
    let consensus: ConsensusType = value(path, group, key::CONSENSUS_TYPE)?;
    let batch: BatchSizeValue = value(path, group, key::BATCH_SIZE)?;
    if batch.max_message_count == 0 {
        let problem = "attempted to set the batch size max message count to an invalid value: 0";
        return Err(wrong(key::BATCH_SIZE, problem.to_owned()));
    }
    if batch.absolute_max_bytes == 0 {
        let problem = "attempted to set the batch size absolute max bytes to an invalid value: 0";
        return Err(wrong(key::BATCH_SIZE, problem.to_owned()));
    }
    if batch.preferred_max_bytes == 0 || batch.preferred_max_bytes > batch.absolute_max_bytes {
        let problem = format!(
            "attempted to set the batch size preferred max bytes ({}) to zero or greater than the absolute max bytes ({})",
            batch.preferred_max_bytes, batch.absolute_max_bytes
        );
        return Err(wrong(key::BATCH_SIZE, problem));
    }
    let timeout: BatchTimeout = value(path, group, key::BATCH_TIMEOUT)?;
    let batch_timeout = match parse_go_duration(&timeout.timeout) {
        Some((duration, false)) if !duration.is_zero() => duration,
        Some(_) => {
            let problem = format!("attempted to set the batch timeout to a non-positive value: {}", timeout.timeout);
            return Err(wrong(key::BATCH_TIMEOUT, problem));
        }
        None => {
            let problem = format!("attempted to set the batch timeout to a invalid value: '{}'", timeout.timeout);
            return Err(wrong(key::BATCH_TIMEOUT, problem));
        }
    };
    let brokers: KafkaBrokers = value(path, group, key::KAFKA_BROKERS)?;
    channel
        .check_brokers(&brokers.brokers)
        .map_err(|bad| wrong(key::KAFKA_BROKERS, format!("invalid broker entry: '{bad}': write HOST:PORT")))?;
    Ok(OrdererConfig {
        state: match consensus_type::State::try_from(consensus.state) {
            Ok(consensus_type::State::Maintenance) => ConsensusState::Maintenance,
            _ => ConsensusState::Normal,
        },
        consensus_type: consensus.r#type,
        consensus_metadata: consensus.metadata,
        batch_size: BatchSize {
            max_message_count: batch.max_message_count,
            absolute_max_bytes: batch.absolute_max_bytes,
            preferred_max_bytes: batch.preferred_max_bytes,
        },
        batch_timeout,
        kafka_brokers: brokers.brokers,
        max_channels: value::<ChannelRestrictions>(path, group, key::CHANNEL_RESTRICTIONS)?.max_count,
        capabilities: OrdererCapabilities::new(&value::<Capabilities>(path, group, key::CAPABILITIES)?),
        organizations,
    })
}

/// Reads the MSP of an organization's group at `path`.
pub(super) fn read_msp(
    path: &str,
    group: GroupRef<'_>,
    version: MspVersion,
    catalog: &Catalog,
) -> Result<Arc<Msp>, ConfigError> {
    let definition: MspConfig = value(path, group, key::MSP)?;
    let wrong = |cause| ConfigError::Msp { path: format!("{path}/{}", key::MSP), cause: Box::new(cause) };
    catalog.msp(&definition, version).map_err(wrong)
}
