//! The newest configuration that other orderers have: whether this node is still a consenter, when it has had no leader for
//! long.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use orderer_cluster::{BlockEndpoint, PullError};
use orderer_core::block::{ChainTip, EncodedBlock};
use orderer_core::channel::BlockNumber;
use orderer_core::config::ChannelSnapshot;
use orderer_core::replication::{NewestConfig, NewestConfigError, SequenceError, check_newest, endpoints, read_block};

use super::context::{LOG, Replication};
use super::source::{check_number, gather, in_words, to_connect};
use crate::judging::{NotDone, on_own_thread};

/// The newest configuration that another orderer has.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The config block.
    pub number: BlockNumber,
    /// Its configuration.
    pub snapshot: Arc<ChannelSnapshot>,
    /// The block; `None`: this node has it.
    pub block: Option<EncodedBlock>,
    /// Number of blocks that the orderer has.
    pub height: u64,
    /// Its address.
    pub source: String,
}

/// The reason why the newest configuration is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoNewest {
    /// The configuration of this node names no orderers.
    #[error("the configuration names no orderers")]
    NoEndpoints,
    /// All that responded deny access, as orderers do that serve a channel which this node may not read (any more).
    #[error("forbidden pulling the channel")]
    Forbidden,
    /// All that responded do not serve the channel now.
    #[error("service unavailable")]
    ServiceUnavailable,
    /// No orderer gave acceptable blocks.
    #[error("retry attempts exhausted: {0}")]
    Nobody(String),
}

/// Asks the orderers that this node's configuration names for the newest config block, as Fabric does (`PullLastConfigBlock`):
/// the tallest first. Its newest block, the config block that this names, and blocks behind that one, up to a batch, are
/// verified: the first two by the configuration in `tip`, the others by the one that they follow. Tries each orderer once.
///
/// Blocks that are signed by orderers that this node's configuration does not know are rejected, as in Fabric: where the
/// ordering
/// organizations have changed since, only [`catch_up`](super::catch_up) leads there.
///
/// Dropping the future ends it.
///
/// # Errors
/// See [`NoNewest`].
pub async fn newest_config(replication: &Replication, tip: &ChainTip) -> Result<Newest, NoNewest> {
    let channel = tip.snapshot.channel();
    let mut asked: FuturesUnordered<_> = endpoints(&tip.snapshot)
        .iter()
        .map(to_connect)
        .map(|endpoint| async {
            let height = replication.sources.height(channel.as_str(), &endpoint).await;
            (endpoint, height)
        })
        .collect();
    let mut outcome = NoNewest::NoEndpoints;
    let mut found: Vec<(BlockEndpoint, u64)> = Vec::new();
    while let Some((endpoint, height)) = asked.next().await {
        match height {
            Ok(height) => found.push((endpoint, height)),
            Err(error) => {
                tracing::warn!(target: LOG, "[channel: {channel}] {}: {}", endpoint.address, in_words(&error));
                outcome = match (outcome, error) {
                    (_, PullError::Forbidden) | (NoNewest::Forbidden, _) => NoNewest::Forbidden,
                    (_, PullError::ServiceUnavailable) | (NoNewest::ServiceUnavailable, _) => {
                        NoNewest::ServiceUnavailable
                    }
                    (_, error) => NoNewest::Nobody(format!("{}: {}", endpoint.address, in_words(&error))),
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
                outcome = NoNewest::Nobody(why);
            }
        }
    }
    Err(outcome)
}

/// The reason why an orderer's response is rejected.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the block did not come")]
    NoBlock,
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error(transparent)]
    NotDone(#[from] NotDone),
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    #[error(transparent)]
    Newest(#[from] NewestConfigError),
}

async fn of_one(
    replication: &Replication,
    tip: &ChainTip,
    endpoint: &BlockEndpoint,
    height: u64,
) -> Result<Newest, Refused> {
    let channel = tip.snapshot.channel().as_str();
    let newest = BlockNumber(height.checked_sub(1).ok_or(Refused::NoBlock)?);
    let _room = replication.room().await;
    let mut stream = replication.sources.pull(channel, endpoint, newest.0, newest.0);
    let bytes = stream.next().await.ok_or(Refused::NoBlock)??;
    drop(stream);
    let own = tip.snapshot.clone();
    let named = on_own_thread(move || -> Result<BlockNumber, Refused> {
        let block = read_block(&bytes).map_err(SequenceError::from)?;
        check_number(newest, block.number())?;
        Ok(check_newest(&block, &own)?)
    });
    let named = named.await??;
    let found = |number, snapshot, block| Newest { number, snapshot, block, height, source: endpoint.address.clone() };
    if named <= tip.last_config {
        return Ok(found(tip.last_config, Arc::new(tip.snapshot.clone()), None));
    }
    let mut stream = replication.sources.pull(channel, endpoint, named.0, newest.0);
    let gathered = gather(&mut *stream, replication.batch_bytes).await;
    if let (true, Some(Err(error))) = (gathered.blocks.is_empty(), gathered.end) {
        return Err(error.into());
    }
    let own = tip.snapshot.clone();
    let config = on_own_thread(move || -> Result<NewestConfig, Refused> {
        let mut blocks = gathered.blocks.iter();
        let first = read_block(blocks.next().ok_or(Refused::NoBlock)?).map_err(SequenceError::from)?;
        let config = NewestConfig::judge(first, named, &own)?;
        let mut followers = config.followers();
        for bytes in blocks {
            let block = read_block(bytes).map_err(SequenceError::from)?;
            followers.take(block)?;
        }
        Ok(config)
    });
    let NewestConfig { block, snapshot } = config.await??;
    Ok(found(named, snapshot, Some(block)))
}
