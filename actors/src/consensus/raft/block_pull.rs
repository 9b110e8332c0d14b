//! Pulls verified blocks from other orderers and passes them to the ledger's writer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext as _, Context, StreamHandler};
use orderer_core::block::EncodedBlock;
use orderer_core::config::ChannelSnapshot;
use orderer_core::replication::{VerifiedBlock, endpoints};
use orderer_core::types::BlockNumber;
use tokio::sync::{mpsc, watch};

use super::position::ChainPosition;
use crate::block_writer::{BlockWriter, WriteOp, WriteRequest};
use crate::mailbox::CountedAddr;
use crate::node_context::NodeContext;
use crate::replication::{Batch, BlockRange, CatchUpProgress, ReplicationContext, StartPoint, catch_up};

/// Error when pulling ends before its last block, which happens only if the pulling task panics.
pub(super) const NO_MORE_BLOCKS: &str = "blocks are not pulled any more";

/// Maximum number of different errors that are reported together.
const ERRORS_MAX: usize = 8;

/// Pulls and verifies the first block of a channel of which a later configuration is known. Fails after `limit` with the
/// answers of the orderers.
pub(super) async fn first_block(
    replication: &ReplicationContext,
    later: &Arc<ChannelSnapshot>,
    limit: Duration,
) -> Result<EncodedBlock, String> {
    let start = StartPoint::Genesis(later.channel().clone(), Arc::default());
    let goal = BlockRange { start, to: BlockNumber::GENESIS, hash: None, also: endpoints(later) };
    let (batches, mut came) = mpsc::channel(1);
    let (progress, shown) = watch::channel(CatchUpProgress::default());
    // the channel has capacity for the only batch
    let pulled = tokio::time::timeout(limit, catch_up(replication, goal, &batches, &progress)).await;
    let Ok(pulled) = pulled else {
        let shown = shown.borrow();
        let unreached = shown.unreached.iter().map(|(source, why)| format!("{source}: {why}"));
        let errors: BTreeSet<_> = unreached.chain(shown.last_error.clone()).take(ERRORS_MAX).collect();
        let errors: Vec<_> = errors.into_iter().collect();
        return Err(format!("none within {limit:?}: {}", errors.join("; ")));
    };
    pulled.map_err(|stopped| stopped.to_string())?;
    let first = came.try_recv().ok().and_then(|batch| batch.blocks.into_iter().next());
    first.map(|first| first.block).ok_or_else(|| NO_MORE_BLOCKS.to_owned())
}

/// Starts pulling blocks. The actor receives them in batches, and receives the progress. Pulling ends with the actor.
pub(super) fn pull<A>(context: &NodeContext, replication: &ReplicationContext, goal: BlockRange, ctx: &mut Context<A>)
where
    A: Actor<Context = Context<A>> + StreamHandler<Batch> + StreamHandler<CatchUpProgress>,
{
    // one batch is verified while another one is written
    let (batches, mut came) = mpsc::channel(1);
    let (progress, mut seen) = watch::channel(CatchUpProgress::default());
    let replication = replication.clone();
    // ends when the receiver of the batches is dropped
    context.blocking_runtime.spawn(async move { catch_up(&replication, goal, &batches, &progress).await });
    ctx.add_stream(async_stream::stream! {
        while let Some(batch) = came.recv().await {
            yield batch;
        }
    });
    ctx.add_stream(async_stream::stream! {
        while seen.changed().await.is_ok() {
            let progress = seen.borrow_and_update().clone();
            yield progress;
        }
    });
}

/// Describes the progress for operators: the next block, its source and the last error.
pub(super) fn shown(progress: &CatchUpProgress) -> String {
    let source = progress.source.as_deref().unwrap_or("nobody");
    let error = progress.last_error.as_ref().map(|error| format!("; last error: {error}")).unwrap_or_default();
    format!("block {} comes from {source}{error}", progress.next)
}

/// The newest block that was passed to the writer, and the configuration as of that block.
#[derive(Clone)]
pub(super) struct ReplicatedTip {
    pub(super) block: EncodedBlock,
    pub(super) snapshot: Arc<ChannelSnapshot>,
}

/// Passes the blocks to the writer unchanged. Returns the newest one with its configuration, starting from `snapshot`;
/// `None` if the batch is empty.
pub(super) fn copy(
    batch: Batch,
    snapshot: &Arc<ChannelSnapshot>,
    writer: &CountedAddr<BlockWriter>,
) -> Option<ReplicatedTip> {
    let (blocks, room) = batch.into_parts();
    let mut reached: Option<ReplicatedTip> = None;
    let mut ops = Vec::with_capacity(blocks.len());
    for VerifiedBlock { block, snapshot: next } in blocks {
        let before = reached.as_ref().map_or(snapshot, |reached| &reached.snapshot);
        let snapshot = next.clone().unwrap_or_else(|| Arc::clone(before));
        ops.push(WriteOp::CopyBlock { block: block.clone(), next });
        reached = Some(ReplicatedTip { block, snapshot });
    }
    // bounded by the permit of the batch
    writer.send(WriteRequest { ops, replies: Vec::new(), rooms: room.into_iter().collect() });
    reached
}

/// Returns the Raft ID of this node as of this block; `None` if it is not a consenter there.
pub(super) fn own_id(reached: &ReplicatedTip, context: &NodeContext) -> Option<u64> {
    let standing = ChainPosition::read(&reached.snapshot, &reached.block).ok()?;
    standing.own(&context.tls_keys.load()).map(|(_, id)| id)
}
