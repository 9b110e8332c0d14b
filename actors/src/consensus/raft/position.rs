//! Consenters of a channel, read from its configuration and its newest block.

use bytes::Bytes;
use orderer_core::block::{EncodedBlock, consenter_metadata};
use orderer_core::config::{ChannelSnapshot, ConsentersError, consensus_metadata};
use orderer_core::ordering::raft::{ConsenterSet, ConsenterSetError, OrderingConfig, snapshot_bytes};
use orderer_core::own::place_of;

/// The consenters of a channel cannot be determined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainPositionError {
    /// The consensus metadata in the configuration is invalid.
    #[error("the metadata of consensus type etcdraft is invalid: {0}")]
    Metadata(#[from] ConsentersError),
    /// The Raft metadata of the newest block does not parse.
    #[error("the consenter metadata of the newest block does not parse: {0}")]
    BlockMetadata(prost::DecodeError),
    /// The consenters in the configuration and in the newest block contradict each other.
    #[error(transparent)]
    Members(#[from] ConsenterSetError),
}

/// The consenters and the Raft state of a channel as of its newest block.
#[derive(Debug)]
pub(super) struct ChainPosition {
    pub(super) rules: OrderingConfig,
    /// Raft metadata of the block, `etcdraft.BlockMetadata`.
    pub(super) metadata: Bytes,
    pub(super) members: ConsenterSet,
    /// Raft index in the block's metadata; 0 if it has none.
    pub(super) index: u64,
}

/// Returns the rules by which a chain orders under this configuration.
pub(super) fn rules(snapshot: &ChannelSnapshot) -> Result<OrderingConfig, ConsentersError> {
    let metadata = consensus_metadata(snapshot)?;
    let options = metadata.options.ok_or(ConsentersError::NoOptions)?;
    Ok(OrderingConfig {
        sequence: snapshot.sequence(),
        limits: snapshot.orderer().batch_size.limits(),
        consenters: metadata.consenters,
        snapshot_bytes: snapshot_bytes(&options),
    })
}

impl ChainPosition {
    /// Reads the metadata of this newest block, under the configuration as of that block.
    pub(super) fn read(snapshot: &ChannelSnapshot, last: &EncodedBlock) -> Result<Self, ChainPositionError> {
        let rules = rules(snapshot)?;
        let metadata = consenter_metadata(&last.decode()).map_err(ChainPositionError::BlockMetadata)?;
        let (members, index) = ConsenterSet::read(&metadata, &rules.consenters)?;
        Ok(Self { rules, metadata, members, index })
    }

    /// Returns the index of a node in the list of consenters, and its Raft ID. `keys` are the public keys of its TLS
    /// certificates; `None` if none of them belongs to a consenter.
    pub(super) fn own(&self, keys: &[Bytes]) -> Option<(usize, u64)> {
        let place = place_of(&self.rules.consenters, keys)?;
        Some((place, self.members.ids().nth(place)?))
    }
}
