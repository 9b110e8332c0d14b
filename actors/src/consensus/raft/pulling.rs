//! Blocks that come from other orderers, verified, on their way to the ledger.

use std::sync::Arc;

use actix::{Actor, AsyncContext as _, Context, StreamHandler};
use orderer_core::block::EncodedBlock;
use orderer_core::channel::BlockNumber;
use orderer_core::config::ChannelSnapshot;
use orderer_core::replication::{VerifiedBlock, endpoints};
use tokio::sync::{mpsc, watch};

use super::standing::Standing;
use crate::block_writer::{BlockWriter, Op, Write};
use crate::mailbox::Counted;
use crate::node_context::NodeContext;
use crate::replication::{Batch, Goal, Progress, Replication, Start, catch_up};

/// Pulling ends by itself before its last block only if it panics.
pub(super) const NO_MORE_BLOCKS: &str = "blocks are not pulled any more";

/// The first block of a channel, of which a later configuration is known.
pub(super) async fn first_block(
    replication: &Replication,
    later: &Arc<ChannelSnapshot>,
) -> Result<EncodedBlock, String> {
    let start = Start::Genesis(later.channel().clone(), Arc::default());
    let goal = Goal { start, to: BlockNumber::GENESIS, hash: None, also: endpoints(later) };
    let (batches, mut came) = mpsc::channel(1);
    let (progress, _shown) = watch::channel(Progress::default());
    // there is room for the only batch
    catch_up(replication, goal, &batches, &progress).await.map_err(|stopped| stopped.to_string())?;
    let first = came.try_recv().ok().and_then(|batch| batch.blocks.into_iter().next());
    first.map(|first| first.block).ok_or_else(|| NO_MORE_BLOCKS.to_owned())
}

/// Has blocks pulled; the actor gets them in batches, and hears how it goes. It ends with the actor.
pub(super) fn pull<A>(context: &NodeContext, replication: &Replication, goal: Goal, ctx: &mut Context<A>)
where
    A: Actor<Context = Context<A>> + StreamHandler<Batch> + StreamHandler<Progress>,
{
    // one is verified while one is written
    let (batches, mut came) = mpsc::channel(1);
    let (progress, mut seen) = watch::channel(Progress::default());
    let replication = replication.clone();
    // ends when nobody takes the batches any more
    context.io.spawn(async move { catch_up(&replication, goal, &batches, &progress).await });
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

/// For people: how far it has come, and what is in the way.
pub(super) fn shown(progress: &Progress) -> String {
    let source = progress.source.as_deref().unwrap_or("nobody");
    let error = progress.last_error.as_ref().map(|error| format!("; last error: {error}")).unwrap_or_default();
    format!("block {} comes from {source}{error}", progress.next)
}

/// The newest block of those that are on their way to the disk, and the configuration behind it.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) block: EncodedBlock,
    pub(super) snapshot: Arc<ChannelSnapshot>,
}

/// Hands the blocks to the writer as they are. Gives back where they lead to, from `snapshot` on.
pub(super) fn copy(batch: Batch, snapshot: &Arc<ChannelSnapshot>, writer: &Counted<BlockWriter>) -> Option<Reached> {
    let (blocks, room) = batch.into_parts();
    let mut reached: Option<Reached> = None;
    let mut ops = Vec::with_capacity(blocks.len());
    for VerifiedBlock { block, snapshot: next } in blocks {
        let before = reached.as_ref().map_or(snapshot, |reached| &reached.snapshot);
        let snapshot = next.clone().unwrap_or_else(|| Arc::clone(before));
        ops.push(Op::Copy { block: block.clone(), next });
        reached = Some(Reached { block, snapshot });
    }
    // bounded by the room that the batch holds
    writer.tell(Write { ops, reply: None, rooms: room.into_iter().collect() });
    reached
}

/// The Raft ID of this node where the newest block is this one; `None` if it is no consenter there.
pub(super) fn own_id(reached: &Reached, context: &NodeContext) -> Option<u64> {
    let standing = Standing::read(&reached.snapshot, &reached.block).ok()?;
    standing.own(&context.tls_keys.load()).map(|(_, id)| id)
}
