//! Starts the chains of channels of consensus type etcdraft.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor as _;
use orderer_core::config::{ChannelSnapshot, ConsenterKind};
use orderer_core::own::is_consenter;

use super::block_pull::first_block;
use super::chain::RaftChain;
use super::follower::RaftFollower;
use super::shared::{RaftContext, RaftSharedState};
use crate::consensus::{ChainHandle, Consenter, ConsenterSupport, FirstBlock, StartError};

/// Starts a chain, or a follower, for each channel of consensus type etcdraft.
pub struct RaftConsenter(Arc<RaftSharedState>);

impl RaftConsenter {
    /// Creates a consenter with this network, replication and settings.
    pub fn new(parts: RaftContext) -> Self {
        Self(Arc::new(RaftSharedState::new(parts)))
    }
}

impl fmt::Debug for RaftConsenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftConsenter").field("settings", &self.0.parts.settings).finish_non_exhaustive()
    }
}

impl Consenter for RaftConsenter {
    fn serves(&self, engine: &ConsenterKind) -> bool {
        matches!(engine, ConsenterKind::Raft)
    }

    /// Returns before the chain runs: it reads its Raft log first, and publishes its state itself.
    fn start(&self, _: &ConsenterKind, support: ConsenterSupport) -> Result<ChainHandle, StartError> {
        let shared = Arc::clone(&self.0);
        // until all blocks before the join block are replicated, the ledger's configuration is not the current one
        let is_complete = !support.context.ledgers.join_block(support.channel.id()).exists();
        if is_complete && is_consenter(&support.state.snapshot, &support.context.tls_keys.load()) {
            let chain = RaftChain::new(support, shared).start();
            return Ok(ChainHandle::new(&chain));
        }
        let follower = RaftFollower::new(support, shared).start();
        Ok(ChainHandle::new(&follower))
    }

    fn first_block(&self, later: &Arc<ChannelSnapshot>, limit: Duration) -> Option<FirstBlock> {
        let (later, replication) = (Arc::clone(later), self.0.parts.replication.clone());
        Some(Box::pin(async move { first_block(&replication, &later, limit).await }))
    }
}
