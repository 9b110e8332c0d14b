//! Reading a block that a channel is to be joined with.

use bytes::Bytes;
use orderer_core::block::{BlockError, EncodedBlock};
use orderer_core::config::{ChannelSnapshot, ConsenterKind, UnsupportedConsensus};
use orderer_core::own::{ChannelNotServed, is_consenter};
use orderer_core::types::BlockNumber;

use crate::chain_state::error_chain;
use crate::channel::ConsensusRelation;
use crate::node_context::NodeContext;
use crate::participation::{JoinBlock, JoinError};

impl JoinBlock {
    /// Parses and validates a block. Parses certificates: call it from a thread that may be held.
    pub fn parse(bytes: &Bytes, context: &NodeContext) -> Result<Self, JoinError> {
        let invalid = |e: &dyn std::error::Error| JoinError::Invalid(error_chain(e));
        let block = EncodedBlock::parse(bytes).map_err(|e| match e {
            // Fabric's words
            BlockError::NoHeader => JoinError::Invalid("block is not a config block".to_owned()),
            e => invalid(&e),
        })?;
        let decoded = block.decode();
        let snapshot = ChannelSnapshot::from_config_block(&decoded, &context.catalog).map_err(|e| invalid(&e))?;
        if !snapshot.is_system_channel() && !snapshot.is_application_channel() {
            let text = "invalid config: must have at least one of application or consortiums";
            return Err(JoinError::Invalid(text.to_owned()));
        }
        let is_first = block.number() == BlockNumber::GENESIS;
        if is_first && !block.previous_hash().is_empty() {
            return Err(JoinError::Invalid("block 0 names a block before it".to_owned()));
        }
        snapshot.check_supported().map_err(|e| JoinError::Unsupported(error_chain(&e)))?;
        let engine = context.engine(&snapshot).map_err(|e| match &e {
            // Fabric's words
            ChannelNotServed::NotServed(UnsupportedConsensus::Consenters(cause)) => JoinError::Unsupported(format!(
                "failed to determine cluster membership from join-block: failed to validate config metadata of ordering config: \
                 {cause}"
            )),
            ChannelNotServed::NotServed(UnsupportedConsensus::Bft | UnsupportedConsensus::Unknown(_)) => {
                let of_type = &snapshot.orderer().consensus_type;
                JoinError::Unsupported(format!("failed to find a consenter for consensus type: {of_type}: {e}"))
            }
            other => JoinError::Unsupported(other.to_string()),
        })?;
        if !is_first && engine != ConsenterKind::Raft {
            return Err(JoinError::NotGenesis(block.number()));
        }
        let ours = context.check_own_part(&context.signer.own(), &snapshot);
        ours.map_err(|e| JoinError::Unsupported(error_chain(&e)))?;
        Ok(Self { block, snapshot })
    }

    /// Returns whether it is the channel's first block.
    pub fn is_first(&self) -> bool {
        self.block.number() == BlockNumber::GENESIS
    }

    /// Returns this node's relation to the channel, if nothing changes until it has come to this block.
    pub fn relation(&self, context: &NodeContext) -> ConsensusRelation {
        if self.snapshot.orderer().consensus_type != "etcdraft" {
            return ConsensusRelation::Other;
        }
        let is_raft = context.engine(&self.snapshot).is_ok_and(|engine| engine == ConsenterKind::Raft);
        if is_raft && !is_consenter(&self.snapshot, &context.tls_keys.load()) {
            ConsensusRelation::Follower
        } else {
            ConsensusRelation::Consenter
        }
    }
}
