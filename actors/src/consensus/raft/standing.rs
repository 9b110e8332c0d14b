//! Consenters of a channel, read from its configuration and its newest block.

use bytes::Bytes;
use orderer_core::block::{EncodedBlock, consenter_metadata};
use orderer_core::config::{ChannelSnapshot, ConsentersError, consensus_metadata};
use orderer_core::ordering::raft::{Members, MembersError, Rules, snapshot_bytes};
use orderer_core::own::place_of;

/// Why that cannot be said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandingError {
    /// The configuration's metadata.
    #[error("the metadata of consensus type etcdraft is invalid: {0}")]
    Metadata(#[from] ConsentersError),
    /// That of the newest block.
    #[error("the consenter metadata of the newest block does not parse: {0}")]
    BlockMetadata(prost::DecodeError),
    /// The consenters in the configuration and in the newest block do not fit.
    #[error(transparent)]
    Members(#[from] MembersError),
}

/// Where a channel stands with its newest block.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) rules: Rules,
    /// What the block remembers of Raft, `etcdraft.BlockMetadata`.
    pub(super) metadata: Bytes,
    pub(super) members: Members,
    /// The block's index in the Raft log, as the block says it; 0 for a first block.
    pub(super) index: u64,
}

/// What a chain goes by under this configuration.
pub(super) fn rules(snapshot: &ChannelSnapshot) -> Result<Rules, ConsentersError> {
    let metadata = consensus_metadata(snapshot)?;
    let options = metadata.options.ok_or(ConsentersError::NoOptions)?;
    Ok(Rules {
        sequence: snapshot.sequence(),
        limits: snapshot.orderer().batch_size.limits(),
        consenters: metadata.consenters,
        snapshot_bytes: snapshot_bytes(&options),
    })
}

impl Standing {
    /// With this newest block, and the configuration that is in force behind it.
    pub(super) fn read(snapshot: &ChannelSnapshot, last: &EncodedBlock) -> Result<Self, StandingError> {
        let rules = rules(snapshot)?;
        let metadata = consenter_metadata(&last.decode()).map_err(StandingError::BlockMetadata)?;
        let (members, index) = Members::read(&metadata, &rules.consenters)?;
        Ok(Self { rules, metadata, members, index })
    }

    /// The place of a node among the consenters, and its Raft ID; `None` if none of `keys`, public keys of its TLS certificates, is a
    /// consenter's.
    pub(super) fn own(&self, keys: &[Bytes]) -> Option<(usize, u64)> {
        let place = place_of(&self.rules.consenters, keys)?;
        Some((place, self.members.ids().nth(place)?))
    }
}
