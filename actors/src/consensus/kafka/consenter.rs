//! Starts the chains of channels that are ordered by a topic.

use std::sync::Arc;

use actix::Actor as _;
use orderer_core::block::{EncodedBlock, consenter_metadata};
use orderer_core::config::ConsenterKind;
use orderer_core::ordering::kafka::LastBlock;
use orderer_core::types::BlockNumber;

use super::chain::KafkaChain;
use super::context::KafkaContext;
use crate::chain_state::{ChainResumePoint, error_chain};
use crate::consensus::{ChainHandle, Consenter, ConsenterSupport, StartError};

/// Starts a Kafka chain for each channel whose configuration names brokers. Its chains share the connection settings.
#[derive(Debug)]
pub struct KafkaConsenter(Arc<KafkaContext>);

impl KafkaConsenter {
    /// Creates the consenter with these connection settings.
    pub fn new(kafka: KafkaContext) -> Self {
        Self(Arc::new(kafka))
    }
}

impl Consenter for KafkaConsenter {
    fn serves(&self, engine: &ConsenterKind) -> bool {
        matches!(engine, ConsenterKind::Kafka { .. })
    }

    /// The chain says itself when it runs.
    fn start(&self, engine: &ConsenterKind, support: ConsenterSupport) -> Result<ChainHandle, StartError> {
        let ConsenterKind::Kafka { brokers } = engine else { return Err(StartError::NoConsenter(engine.clone())) };
        let unsuitable = |error: &dyn std::error::Error| StartError::Unsuitable(error_chain(error));
        check_engine_before(&support.state.last, &support.state).map_err(StartError::Unsuitable)?;
        let last = LastBlock::parse(&support.state.last).map_err(|e| unsuitable(&e))?;
        let cluster = (self.0.connector)(brokers).map_err(|e| unsuitable(&e))?;
        let chain = KafkaChain::new(support, Arc::clone(&self.0), cluster, last).start();
        Ok(ChainHandle::new(&chain))
    }
}

/// Checks that a topic can go on where the ledger ends. It cannot behind what solo has ordered: no block says how much of
/// the topic is in the chain, and what solo acknowledged is in no topic.
fn check_engine_before(last: &EncodedBlock, state: &ChainResumePoint) -> Result<(), String> {
    const BACK: &str = "solo ordered the channel before, and a topic cannot continue its chain: set Consensus.Serve.etcdraft back to solo";
    if !state.pending.is_empty() {
        return Err(format!("{BACK} ({} acknowledged envelopes are in no block yet)", state.pending.len()));
    }
    let is_plain = last.number() > BlockNumber::GENESIS && !last.is_config();
    let has_none = consenter_metadata(&last.decode()).is_ok_and(|metadata| metadata.is_empty());
    if is_plain && has_none && state.snapshot.orderer().consensus_type == "etcdraft" {
        return Err(format!("{BACK} (block {} names no offset of a topic)", last.number()));
    }
    Ok(())
}
