//! Starts the chains of channels that are ordered by Raft.

use std::fmt;
use std::sync::Arc;

use actix::Actor as _;
use orderer_core::config::{ChannelSnapshot, Engine};
use orderer_core::own::is_consenter;

use super::chain::RaftChain;
use super::follower::RaftFollower;
use super::pulling::first_block;
use super::shared::{RaftParts, RaftShared};
use crate::consensus::{ChainHandle, Consenter, ConsenterSupport, FirstBlock, StartError};

/// Starts a chain for each channel that is ordered by Raft.
pub struct RaftConsenter(Arc<RaftShared>);

impl RaftConsenter {
    /// One that reaches other orderers so.
    pub fn new(parts: RaftParts) -> Self {
        Self(Arc::new(RaftShared::new(parts)))
    }
}

impl fmt::Debug for RaftConsenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftConsenter").field("settings", &self.0.parts.settings).finish_non_exhaustive()
    }
}

impl Consenter for RaftConsenter {
    fn serves(&self, engine: &Engine) -> bool {
        matches!(engine, Engine::Raft)
    }

    /// The chain says itself when it runs: it reads its log first.
    fn start(&self, _: &Engine, support: ConsenterSupport) -> Result<ChainHandle, StartError> {
        let shared = Arc::clone(&self.0);
        // before the blocks are there that a channel was joined with, the ledger's configuration says nothing of now
        let is_complete = !support.context.ledgers.join_block(support.channel.id()).exists();
        if is_complete && is_consenter(&support.state.snapshot, &support.context.tls_keys.load()) {
            let chain = RaftChain::new(support, shared).start();
            return Ok(ChainHandle::new(&chain));
        }
        let follower = RaftFollower::new(support, shared).start();
        Ok(ChainHandle::new(&follower))
    }

    fn first_block(&self, later: &Arc<ChannelSnapshot>) -> Option<FirstBlock> {
        let (later, replication) = (Arc::clone(later), self.0.parts.replication.clone());
        Some(Box::pin(async move { first_block(&replication, &later).await }))
    }
}
