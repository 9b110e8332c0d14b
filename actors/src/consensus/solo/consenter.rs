//! Starts the chains of channels that this node orders alone.

use std::sync::Arc;

use actix::Actor as _;
use orderer_core::config::ConsenterKind;
use orderer_core::own;

use super::chain::SoloChain;
use crate::chain_state::ChainResumePoint;
use crate::channel::{Channel, ChannelState};
use crate::consensus::{ChainHandle, Consenter, ConsenterSupport, StartError};

/// Path of the chain's actor below the channel.
const CHAIN: &str = "solo-chain";

/// Starts a solo chain for each channel that this node orders alone.
#[derive(Debug)]
pub struct SoloConsenter;

impl Consenter for SoloConsenter {
    fn serves(&self, engine: &ConsenterKind) -> bool {
        matches!(engine, ConsenterKind::Solo)
    }

    fn start(&self, _: &ConsenterKind, support: ConsenterSupport) -> Result<ChainHandle, StartError> {
        let ConsenterSupport { channel, context, state, writer, lease, children } = support;
        warn_of_other_orderers(&channel, &state);
        let height = state.tip.number.0 + 1;
        let status = children.cell(CHAIN);
        let guard = children.guard(CHAIN);
        let chain = SoloChain::new(Arc::clone(&channel), context, writer, state, Arc::clone(&status), guard).start();
        // opened after the chain was started: what was acknowledged before a restart is ordered first
        channel.gate().open(chain.clone().recipient(), status);
        channel.set_state_with_lease(lease, ChannelState::Running);
        tracing::info!(target: "orderer.chain", channel = %channel.id(), height, "chain is running");
        Ok(ChainHandle::new(&chain))
    }
}

/// Warns of a solo channel that names other orderers: each of them would order a chain of its own.
fn warn_of_other_orderers(channel: &Channel, state: &ChainResumePoint) {
    if let Some(addresses) = own::other_orderers_of_solo(&state.snapshot) {
        let addresses = addresses.into_iter().collect::<Vec<_>>().join(", ");
        tracing::warn!(target: "orderer.chain", channel = %channel.id(), %addresses, "{}", own::WARNING_SOLO);
    }
}
