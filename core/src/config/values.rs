//! Values of a configuration that an orderer uses.

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

use super::cache::ConfigCache;
use super::capabilities::{ChannelCapabilities, OrdererCapabilities};
use super::duration::parse_go_duration;
use super::key;
use super::snapshot::ConfigError;
use super::tree::GroupRef;
use crate::identity::{Msp, MspVersion, WorkLimit};
use crate::ordering::block_cutter::BatchLimits;

/// Mode of a channel's consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsensusState {
    /// Normal operation.
    Normal,
    /// Maintenance mode: senders must satisfy the orderers' own Writers policy. With the capability
    /// for consensus type migration, normal messages are rejected and the type may be changed.
    Maintenance,
}

/// Limits of a batch, in messages and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// Maximum number of messages, at least 1.
    pub max_message_count: u32,
    /// Maximum size of one message in bytes.
    pub absolute_max_bytes: u32,
    /// Preferred size of a batch in bytes, from 1 to the absolute maximum.
    pub preferred_max_bytes: u32,
}

impl BatchSize {
    /// Returns the limits for the block cutter.
    pub fn limits(self) -> BatchLimits {
        BatchLimits {
            max_message_count: self.max_message_count as usize,
            preferred_max_bytes: self.preferred_max_bytes as usize,
        }
    }
}

/// Values of the Orderer group.
#[derive(Clone, Debug)]
pub struct OrdererConfig {
    /// Consensus type: `solo`, `kafka`, `etcdraft`, ..
    pub consensus_type: String,
    /// Metadata for the consenter of that type.
    pub consensus_metadata: Bytes,
    /// Mode of consensus.
    pub state: ConsensusState,
    /// Limits of a batch.
    pub batch_size: BatchSize,
    /// Time after which a batch that is not full is cut.
    pub batch_timeout: Duration,
    /// Kafka brokers, each as host:port.
    pub kafka_brokers: Vec<String>,
    /// Maximum number of channels that may be created; 0 for no limit.
    pub max_channels: u64,
    /// Capabilities of the Orderer group.
    pub capabilities: OrdererCapabilities,
    /// MSP ID by the name of the organization's group.
    pub organizations: BTreeMap<String, String>,
}

impl OrdererConfig {
    /// Returns the policy that receivers of blocks must satisfy: in maintenance mode, the orderers'
    /// own.
    pub fn readers_policy(&self) -> &'static str {
        match self.state {
            ConsensusState::Normal => "/Channel/Readers",
            ConsensusState::Maintenance => "/Channel/Orderer/Readers",
        }
    }

    /// Returns the policy that senders of messages must satisfy: in maintenance mode, the orderers'
    /// own.
    pub fn writers_policy(&self) -> &'static str {
        match self.state {
            ConsensusState::Normal => "/Channel/Writers",
            ConsensusState::Maintenance => "/Channel/Orderer/Writers",
        }
    }
}

/// Decodes the value `name` of `group`; an absent one is its type's default.
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

/// Parses and validates the Channel group's own values.
pub(super) fn read_channel(group: GroupRef<'_>) -> Result<ChannelCapabilities, ConfigError> {
    let path = "/Channel";
    let wrong = |name: &str, problem: String| ConfigError::Value { path: format!("{path}/{name}"), problem };
    let hashing: HashingAlgorithm = value(path, group, key::HASHING_ALGORITHM)?;
    // blocks are hashed with SHA-256 regardless of this value
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

/// Parses and validates the Orderer group.
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

/// Returns the MSP of an organization's group at `path`.
pub(super) fn read_msp(
    path: &str,
    group: GroupRef<'_>,
    version: MspVersion,
    (catalog, effort): (&ConfigCache, WorkLimit),
) -> Result<Arc<Msp>, ConfigError> {
    let definition: MspConfig = value(path, group, key::MSP)?;
    let wrong = |cause| ConfigError::Msp { path: format!("{path}/{}", key::MSP), cause: Box::new(cause) };
    catalog.msp(&definition, version, effort).map_err(wrong)
}
