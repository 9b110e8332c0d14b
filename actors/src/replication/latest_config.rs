//! Determines the newest configuration of other orderers. After a long time without a leader, a node learns from it
//! whether it is still a consenter.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use orderer_cluster::{BlockEndpoint, PullError};
use orderer_core::block::{ChainTip, EncodedBlock};
use orderer_core::config::ChannelSnapshot;
use orderer_core::replication::{
    LatestConfig, LatestConfigError, SequenceError, endpoints, read_block, verify_latest_config,
};
use orderer_core::types::BlockNumber;

use super::context::{LOG, ReplicationContext};
use super::source::{check_number, gather, in_words, to_connect};
use crate::validation_queue::{OwnThreadError, on_own_thread};

/// The newest configuration that another orderer has.
#[derive(Clone, Debug)]
pub struct FetchedConfig {
    /// Number of the config block.
    pub number: BlockNumber,
    /// Configuration in that block.
    pub snapshot: Arc<ChannelSnapshot>,
    /// The block; `None` if this node has it already.
    pub block: Option<EncodedBlock>,
    /// Number of blocks that the orderer has.
    pub height: u64,
    /// Address of the orderer.
    pub source: String,
}

/// The newest configuration cannot be determined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoLatestConfig {
    /// The configuration of this node names no orderers.
    #[error("the configuration names no orderers")]
    NoEndpoints,
    /// All orderers that responded denied access. Orderers deny it if this node may not, or may no longer, read the
    /// channel.
    #[error("forbidden pulling the channel")]
    Forbidden,
    /// All orderers that responded do not serve the channel at present.
    #[error("service unavailable")]
    ServiceUnavailable,
    /// No orderer sent acceptable blocks.
    #[error("retry attempts exhausted: {0}")]
    Nobody(String),
}

/// Determines the newest config block from the orderers that this node's configuration names, like Fabric's
/// `PullLastConfigBlock`, starting with the one that has the most blocks. Verifies the orderer's newest block, the
/// config block that it names, and up to a batch of blocks after that one: the first two by the configuration in `tip`,
/// the others by the configuration that precedes each. Tries each orderer once.
/// Blocks that are signed by orderers that this node's configuration does not know are rejected, as in Fabric. If the
/// ordering organizations have changed since, only [`catch_up`](super::catch_up) can get there.
///
/// # Cancel safety
/// Dropping the future ends the requests; nothing else is lost.
///
/// # Errors
/// Fails as described at [`NoLatestConfig`].
pub async fn fetch_latest_config(
    replication: &ReplicationContext,
    tip: &ChainTip,
) -> Result<FetchedConfig, NoLatestConfig> {
    let channel = tip.snapshot.channel();
    let mut asked: FuturesUnordered<_> = endpoints(&tip.snapshot)
        .iter()
        .map(to_connect)
        .map(|endpoint| async {
            let height = replication.sources.height(channel.as_str(), &endpoint).await;
            (endpoint, height)
        })
        .collect();
    let mut outcome = NoLatestConfig::NoEndpoints;
    let mut found: Vec<(BlockEndpoint, u64)> = Vec::new();
    while let Some((endpoint, height)) = asked.next().await {
        match height {
            Ok(height) => found.push((endpoint, height)),
            Err(error) => {
                tracing::warn!(target: LOG, "[channel: {channel}] {}: {}", endpoint.address, in_words(&error));
                outcome = match (outcome, error) {
                    (_, PullError::Forbidden) | (NoLatestConfig::Forbidden, _) => NoLatestConfig::Forbidden,
                    (_, PullError::ServiceUnavailable) | (NoLatestConfig::ServiceUnavailable, _) => {
                        NoLatestConfig::ServiceUnavailable
                    }
                    (_, error) => NoLatestConfig::Nobody(format!("{}: {}", endpoint.address, in_words(&error))),
                };
            }
        }
    }
    found.sort_by_key(|(_, height)| std::cmp::Reverse(*height));
    for (endpoint, height) in found {
        match of_one(replication, tip, &endpoint, height).await {
            Ok(newest) => {
                let number = newest.number;
                tracing::info!(target: LOG, "[channel: {channel}] Last config block was found to be block [{number}]");
                return Ok(newest);
            }
            Err(error) => {
                let why = format!("{}: {}", endpoint.address, in_words(&error));
                tracing::warn!(target: LOG, "[channel: {channel}] Failed pulling the last config block: {why}");
                outcome = NoLatestConfig::Nobody(why);
            }
        }
    }
    Err(outcome)
}

/// The reason why an orderer's response is rejected.
#[derive(Debug, thiserror::Error)]
enum ResponseError {
    #[error("the block did not arrive")]
    NoBlock,
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    NotDone(#[from] OwnThreadError),
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error(transparent)]
    Newest(#[from] LatestConfigError),
}

async fn of_one(
    replication: &ReplicationContext,
    tip: &ChainTip,
    endpoint: &BlockEndpoint,
    height: u64,
) -> Result<FetchedConfig, ResponseError> {
    let channel = tip.snapshot.channel().as_str();
    let newest = BlockNumber(height.checked_sub(1).ok_or(ResponseError::NoBlock)?);
    let _room = replication.room().await;
    let mut stream = replication.sources.pull(channel, endpoint, newest.0, newest.0);
    let bytes = stream.next().await.ok_or(ResponseError::NoBlock)??;
    drop(stream);
    let own = tip.snapshot.clone();
    let named = on_own_thread(move || -> Result<BlockNumber, ResponseError> {
        let block = read_block(&bytes).map_err(SequenceError::from)?;
        check_number(newest, block.number())?;
        Ok(verify_latest_config(&block, &own)?)
    });
    let named = named.await??;
    let found =
        |number, snapshot, block| FetchedConfig { number, snapshot, block, height, source: endpoint.address.clone() };
    if named <= tip.last_config {
        return Ok(found(tip.last_config, Arc::new(tip.snapshot.clone()), None));
    }
    let mut stream = replication.sources.pull(channel, endpoint, named.0, newest.0);
    let gathered = gather(&mut *stream, replication.batch_bytes).await;
    if let (true, Some(Err(error))) = (gathered.blocks.is_empty(), gathered.end) {
        return Err(error.into());
    }
    let own = tip.snapshot.clone();
    let config = on_own_thread(move || -> Result<LatestConfig, ResponseError> {
        let mut blocks = gathered.blocks.iter();
        let first = read_block(blocks.next().ok_or(ResponseError::NoBlock)?).map_err(SequenceError::from)?;
        let config = LatestConfig::judge(first, named, &own)?;
        let mut followers = config.followers();
        for bytes in blocks {
            let block = read_block(bytes).map_err(SequenceError::from)?;
            followers.verify_next(block)?;
        }
        Ok(config)
    });
    let LatestConfig { block, snapshot } = config.await??;
    Ok(found(named, snapshot, Some(block)))
}
