//! Reading a block that a channel is to be joined with.

use bytes::Bytes;
use orderer_core::block::EncodedBlock;
use orderer_core::channel::BlockNumber;
use orderer_core::config::{ChannelSnapshot, NotServed};
use orderer_core::own::NotOrderedHere;

use crate::chain_state::chain_text;
use crate::membership::{JoinBlock, JoinError};
use crate::node_context::NodeContext;

impl JoinBlock {
    /// Reads and judges a block. Parses certificates: call it where a thread may be held.
    pub fn read(bytes: &Bytes, context: &NodeContext) -> Result<Self, JoinError> {
        let invalid = |e: &dyn std::error::Error| JoinError::Invalid(chain_text(e));
        let block = EncodedBlock::parse(bytes).map_err(|e| invalid(&e))?;
        let decoded = block.decode();
        let snapshot = ChannelSnapshot::from_config_block(&decoded, &context.catalog).map_err(|e| invalid(&e))?;
        if !snapshot.is_system_channel() && !snapshot.is_application_channel() {
            let text = "invalid config: must have at least one of application or consortiums";
            return Err(JoinError::Invalid(text.to_owned()));
        }
        if block.number() != BlockNumber::GENESIS {
            return Err(JoinError::NotGenesis(block.number()));
        }
        if !block.previous_hash().is_empty() {
            return Err(JoinError::Invalid("block 0 names a block before it".to_owned()));
        }
        snapshot.check_supported().map_err(|e| JoinError::NotServed(chain_text(&e)))?;
        context.engine(&snapshot).map_err(|e| match &e {
            // Fabric's words
            NotOrderedHere::NotServed(NotServed::Consenters(_)) => {
                JoinError::NotServed(format!("failed to determine cluster membership from join-block: {e}"))
            }
            NotOrderedHere::NotServed(NotServed::Bft | NotServed::Unknown(_)) => {
                let of_type = &snapshot.orderer().consensus_type;
                JoinError::NotServed(format!("failed to find a consenter for consensus type: {of_type}: {e}"))
            }
            other => JoinError::NotServed(other.to_string()),
        })?;
        let ours = context.check_own_part(&context.signer.own(), &snapshot);
        ours.map_err(|e| JoinError::NotServed(chain_text(&e)))?;
        Ok(Self { block, snapshot })
    }
}
