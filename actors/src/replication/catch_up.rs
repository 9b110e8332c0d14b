//! Replicates the blocks that this node lacks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use orderer_cluster::PullError;
use orderer_core::block::{ChainTip, Hash};
use orderer_core::config::ConfigCache;
use orderer_core::crypto::hex;
use orderer_core::replication::{
    Action, Event, OrdererEndpoint, PullOutcome, SequenceError, SequenceVerifier, SourceThroughput, Sources,
    VerifiedBlock, endpoints, read_block,
};
use orderer_core::types::{BlockNumber, ChannelId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::context::{LOG, ReplicationContext};
use super::source::{PulledBatch, check_number, gather, in_words, to_connect};
use crate::validation_queue::on_own_thread;

/// A range of blocks to replicate.
#[derive(Clone, Debug)]
pub struct BlockRange {
    /// The predecessor of the first block.
    pub start: StartPoint,
    /// Number of the last block. The highest possible number stands for all future blocks (a follower's goal).
    pub to: BlockNumber,
    /// Hash of the last block's header, if it is known from elsewhere: from a snapshot, or from a join block. A block
    /// with another hash is rejected.
    pub hash: Option<Hash>,
    /// Orderers to ask in addition to those of the configurations, unless the address is among them: those of a join
    /// block.
    pub also: Vec<OrdererEndpoint>,
}

/// The predecessor of the blocks.
#[derive(Clone, Debug)]
pub enum StartPoint {
    /// The newest block of this node.
    After(ChainTip),
    /// None: the range starts with the genesis block of this channel. That block has no signature. A caller that relies
    /// on it needs a [`BlockRange::hash`].
    Genesis(ChannelId, Arc<ConfigCache>),
}

impl StartPoint {
    fn next(&self) -> BlockNumber {
        match self {
            Self::After(tip) => tip.number.next(),
            Self::Genesis(..) => BlockNumber::GENESIS,
        }
    }

    fn channel(&self) -> &ChannelId {
        match self {
            Self::After(tip) => tip.snapshot.channel(),
            Self::Genesis(channel, _) => channel,
        }
    }

    fn sequence(&self) -> SequenceVerifier {
        match self {
            Self::After(tip) => SequenceVerifier::after(tip.clone()),
            Self::Genesis(channel, catalog) => SequenceVerifier::from_genesis(channel.clone(), Arc::clone(catalog)),
        }
    }
}

/// Verified blocks, in their order. Holds a permit for their bytes; to be dropped when they are written.
#[derive(Debug)]
pub struct Batch {
    /// At least one block.
    pub blocks: Vec<VerifiedBlock>,
    room: Option<OwnedSemaphorePermit>,
}

impl Batch {
    /// Returns the blocks, and the permit for their bytes.
    pub fn into_parts(self) -> (Vec<VerifiedBlock>, Option<OwnedSemaphorePermit>) {
        (self.blocks, self.room)
    }
}

/// Progress of catching up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatchUpProgress {
    /// Number of the next block to hand over.
    pub next: u64,
    /// Number of the last requested block.
    pub to: u64,
    /// Address of the source that blocks are being pulled from, if any.
    pub source: Option<String>,
    /// The last error. Contains the address of the source, if it is about one.
    pub last_error: Option<String>,
    /// The sources that could not be asked, with the reasons.
    pub unreached: BTreeMap<String, String>,
    /// The last rejected block, with its source.
    pub last_refusal: Option<String>,
}

/// The receiver of the batches was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("blocks are not wanted any more")]
pub struct ReceiverClosed;

/// Replicates blocks from other orderers, verifies them, and hands them over until the last one has arrived. If a
/// source fails, other sources are used. A source that sends a block which does not belong to the chain is logged and
/// suspended for long. The orderers to ask are updated from the configurations among the blocks. The number of attempts
/// is not limited.
///
/// # Cancel safety
/// Dropping the future ends the replication: batches that were handed over stay valid, and connections are closed.
///
/// # Errors
/// Fails if the receiver of the batches was dropped.
pub async fn catch_up(
    replication: &ReplicationContext,
    goal: BlockRange,
    batches: &mpsc::Sender<Batch>,
    progress: &watch::Sender<CatchUpProgress>,
) -> Result<(), ReceiverClosed> {
    tokio::select! {
        biased;
        () = batches.closed() => Err(ReceiverClosed),
        outcome = CatchUp::new(replication, goal, batches, progress).run() => outcome,
    }
}

type HeightProbes = FuturesUnordered<BoxFuture<'static, (String, Result<u64, PullError>)>>;

struct CatchUp<'a> {
    replication: &'a ReplicationContext,
    goal: BlockRange,
    batches: &'a mpsc::Sender<Batch>,
    progress: &'a watch::Sender<CatchUpProgress>,
    channel: ChannelId,
    next: BlockNumber,
    /// `None` while another thread uses it.
    sequence: Option<SequenceVerifier>,
    endpoints: Vec<OrdererEndpoint>,
    sources: Sources,
    /// Number of consecutive failures of each source, and their reason.
    unreached: BTreeMap<String, (u32, String)>,
}

impl<'a> CatchUp<'a> {
    fn new(
        replication: &'a ReplicationContext,
        goal: BlockRange,
        batches: &'a mpsc::Sender<Batch>,
        progress: &'a watch::Sender<CatchUpProgress>,
    ) -> Self {
        let (channel, next) = (goal.start.channel().clone(), goal.start.next());
        let sequence = Some(goal.start.sequence());
        let mut of_tip = match &goal.start {
            StartPoint::After(tip) => endpoints(&tip.snapshot),
            StartPoint::Genesis(..) => Vec::new(),
        };
        add(&mut of_tip, &goal.also);
        let addresses = of_tip.iter().map(|endpoint| endpoint.address.clone());
        let sources = Sources::new(addresses, next, goal.to, replication.pauses);
        progress.send_replace(CatchUpProgress { next: next.0, to: goal.to.0, ..CatchUpProgress::default() });
        let unreached = BTreeMap::new();
        Self { replication, goal, batches, progress, channel, next, sequence, endpoints: of_tip, sources, unreached }
    }

    async fn run(mut self) -> Result<(), ReceiverClosed> {
        let began = Instant::now();
        let mut heights = HeightProbes::new();
        let mut event = Event::Begin;
        loop {
            let action = self.sources.on(event, began.elapsed());
            event = match action {
                Action::Done => return Ok(()),
                Action::Wait(pause) => self.rest(pause).await,
                Action::Probe(addresses) => {
                    heights = self.probe(&addresses);
                    self.heard(&mut heights).await
                }
                Action::Nothing => self.heard(&mut heights).await,
                Action::Pull { source, from, to } => {
                    heights.clear();
                    tracing::info!(
                        target: LOG,
                        "[channel: {}] Pulling blocks {from} to {to} from {source}",
                        self.channel
                    );
                    self.progress.send_modify(|progress| progress.source = Some(source.clone()));
                    let how = self.pull(&source, to).await?;
                    self.progress.send_modify(|progress| progress.source = None);
                    Event::Ended { next: self.next, how }
                }
            };
        }
    }

    async fn rest(&mut self, pause: Duration) -> Event {
        if self.endpoints.is_empty() {
            self.unreachable("configuration", "it names no orderers".to_owned());
        }
        tracing::debug!(
            target: LOG,
            "[channel: {}] Block {} is not to be had now, trying again in {pause:?}",
            self.channel,
            self.next
        );
        tokio::time::sleep(pause).await;
        Event::Begin
    }

    fn endpoint(&self, address: &str) -> Option<&OrdererEndpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.address == address)
    }

    fn probe(&self, addresses: &[String]) -> HeightProbes {
        let known = addresses.iter().filter_map(|address| self.endpoint(address));
        let asked = known.map(|endpoint| {
            let height = self.replication.sources.height(self.channel.as_str(), &to_connect(endpoint));
            let address = endpoint.address.clone();
            Box::pin(async move { (address, height.await) }) as BoxFuture<'static, _>
        });
        asked.collect()
    }

    async fn heard(&mut self, heights: &mut HeightProbes) -> Event {
        let Some((source, height)) = heights.next().await else {
            // all sources have responded, and none of the responses led to an action
            return self.rest(self.replication.pauses.retry).await;
        };
        match height {
            Ok(height) => {
                if self.unreached.remove(&source).is_some() {
                    self.progress.send_modify(|progress| drop(progress.unreached.remove(&source)));
                }
                tracing::debug!(target: LOG, "[channel: {}] {source} has {height} blocks", self.channel);
                Event::Height { source, height: Some(height) }
            }
            Err(error) => {
                self.unreachable(&source, in_words(&error));
                Event::Height { source, height: None }
            }
        }
    }

    /// Logs failures of a source. Equal failures in a row are logged at counts that are powers of two, so that a source
    /// that is down for long does not fill the log.
    fn unreachable(&mut self, source: &str, why: String) {
        let text = format!("{source}: {why}");
        // the text of Fabric's log line
        let is_forbidden = why == PullError::Forbidden.to_string();
        let (count, before) = self.unreached.entry(source.to_owned()).or_default();
        if *before != why {
            (*count, *before) = (0, why);
        }
        *count = count.saturating_add(1);
        if count.is_power_of_two() && is_forbidden {
            let why = PullError::Forbidden;
            tracing::warn!(target: LOG, "Received status:FORBIDDEN from {source}: {why} channel={}", self.channel);
        } else if count.is_power_of_two() {
            tracing::warn!(target: LOG, "[channel: {}] {text} ({count} times in a row)", self.channel);
        }
        self.progress.send_modify(|progress| {
            progress.unreached.insert(source.to_owned(), before.clone());
            progress.last_error = Some(text);
        });
    }

    fn failed(&self, why: &str) {
        tracing::warn!(target: LOG, "[channel: {}] {why}", self.channel);
        self.progress.send_modify(|progress| progress.last_error = Some(why.to_owned()));
    }

    /// Pulls from one source until it has sent all requested blocks, or fails.
    async fn pull(&mut self, source: &str, to: BlockNumber) -> Result<PullOutcome, ReceiverClosed> {
        let Some(endpoint) = self.endpoint(source) else { return Ok(PullOutcome::Failed) };
        let (channel, from) = (self.channel.as_str(), self.next.0);
        let mut stream = self.replication.sources.pull(channel, &to_connect(endpoint), from, to.0);
        let mut pace = SourceThroughput::default();
        loop {
            let room = self.replication.room().await;
            let began = Instant::now();
            let PulledBatch { blocks, end } = gather(&mut *stream, self.replication.batch_bytes).await;
            pace.add(blocks.len(), blocks.iter().map(Bytes::len).sum(), began.elapsed());
            match self.verify(source, blocks).await {
                Ok(blocks) => self.hand_over(source, blocks, room).await?,
                Err((blocks, how)) => {
                    self.hand_over(source, blocks, room).await?;
                    return Ok(how);
                }
            }
            match end {
                None if pace.is_slow(self.replication.pauses.patience) => {
                    self.failed(&format!("{source} is slow: others are asked for block {}", self.next));
                    return Ok(PullOutcome::Failed);
                }
                None => {}
                Some(Ok(())) => return Ok(PullOutcome::Complete),
                Some(Err(error)) => {
                    self.failed(&format!("pulling block {} from {source}: {}", self.next, in_words(&error)));
                    return Ok(PullOutcome::Failed);
                }
            }
        }
    }

    /// Verifies blocks on another thread. Returns also the valid blocks before the first rejected one.
    async fn verify(
        &mut self,
        source: &str,
        blocks: Vec<Bytes>,
    ) -> Result<Vec<VerifiedBlock>, (Vec<VerifiedBlock>, PullOutcome)> {
        if blocks.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.sequence.take();
        let before = known.as_ref().and_then(SequenceVerifier::tip);
        let sequence = known.unwrap_or_else(|| self.goal.start.sequence());
        let (next, last) = (self.next, self.goal.hash.map(|hash| (self.goal.to, hash)));
        let verified = on_own_thread(move || verify_all(sequence, next, last, blocks)).await;
        match verified {
            Ok((sequence, verified, None)) => {
                self.sequence = Some(sequence);
                Ok(verified)
            }
            Ok((sequence, verified, Some(refusal))) => {
                self.sequence = Some(sequence);
                let why = format!("{source} sent a bad block, and is left out from now on: {}", in_words(&refusal));
                self.failed(&why);
                self.progress.send_modify(|progress| progress.last_refusal = Some(why));
                Err((verified, PullOutcome::Lied))
            }
            Err(not_done) => {
                self.sequence = before.map(SequenceVerifier::after);
                self.failed(&format!("blocks from {source}: {}", in_words(&not_done)));
                Err((Vec::new(), PullOutcome::Failed))
            }
        }
    }

    async fn hand_over(
        &mut self,
        source: &str,
        blocks: Vec<VerifiedBlock>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(), ReceiverClosed> {
        let Some(newest) = blocks.last().map(|last| last.block.number()) else { return Ok(()) };
        let configured =
            blocks.iter().rev().find_map(|block| block.snapshot.as_ref()).map(|snapshot| endpoints(snapshot));
        tracing::info!(
            target: LOG,
            "[channel: {}] Got blocks {} to {newest} from {source}",
            self.channel,
            self.next
        );
        self.batches.send(Batch { blocks, room }).await.map_err(|_| ReceiverClosed)?;
        self.next = newest.next();
        self.progress.send_modify(|progress| progress.next = newest.next().0);
        if let Some(configured) = configured {
            self.follow(configured);
        }
        Ok(())
    }

    /// Uses the orderers of this configuration from now on, and also those that were known at the start, because those
    /// of a configuration long past may not exist any more.
    fn follow(&mut self, mut configured: Vec<OrdererEndpoint>) {
        if let StartPoint::After(tip) = &self.goal.start {
            add(&mut configured, &endpoints(&tip.snapshot));
        }
        add(&mut configured, &self.goal.also);
        self.unreached.retain(|address, _| configured.iter().any(|endpoint| endpoint.address == *address));
        self.sources.replace(configured.iter().map(|endpoint| endpoint.address.clone()));
        self.endpoints = configured;
    }
}

/// Adds the endpoints whose addresses are not listed yet.
fn add(endpoints: &mut Vec<OrdererEndpoint>, more: &[OrdererEndpoint]) {
    for endpoint in more {
        if !endpoints.iter().any(|known| known.address == endpoint.address) {
            endpoints.push(endpoint.clone());
        }
    }
}

type VerifiedBatch = (SequenceVerifier, Vec<VerifiedBlock>, Option<SequenceError>);

fn verify_all(
    mut sequence: SequenceVerifier,
    next: BlockNumber,
    last: Option<(BlockNumber, Hash)>,
    blocks: Vec<Bytes>,
) -> VerifiedBatch {
    let (mut verified, mut expected) = (Vec::with_capacity(blocks.len()), next);
    for bytes in blocks {
        match verify(&mut sequence, expected, last, &bytes) {
            Ok(block) => verified.push(block),
            Err(refusal) => return (sequence, verified, Some(refusal)),
        }
        expected = expected.next();
    }
    (sequence, verified, None)
}

fn verify(
    sequence: &mut SequenceVerifier,
    expected: BlockNumber,
    last: Option<(BlockNumber, Hash)>,
    bytes: &Bytes,
) -> Result<VerifiedBlock, SequenceError> {
    let block = read_block(bytes)?;
    let number = block.number();
    check_number(expected, number)?;
    if let Some((_, hash)) = last.filter(|(last, hash)| *last == number && hash != block.header_hash()) {
        return Err(SequenceError::OtherBlock { number, expected: hex(&hash), got: hex(block.header_hash()) });
    }
    sequence.verify_next(block)
}
