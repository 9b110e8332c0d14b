//! The actor that follows a channel of which this node is not a consenter: it replicates the blocks from other orderers
//! until a config block makes this node a consenter.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, StreamHandler, WrapFuture as _,
};
use bytes::Bytes;
use orderer_core::block::{ChainTip, EncodedBlock};
use orderer_core::config::{ChannelSnapshot, ConfigCache};
use orderer_core::own::is_consenter;
use orderer_core::replication::endpoints;
use orderer_core::types::BlockNumber;

use super::block_pull::{NO_MORE_BLOCKS, ReplicatedTip, copy, own_id, pull, shown};
use super::opening::{OpenChainError, make_joining_log};
use super::shared::RaftSharedState;
use crate::block_writer::BlockWriter;
use crate::chain_state::{ChainResumePoint, error_chain};
use crate::channel::{Channel, ChannelState, StateLease};
use crate::consensus::ConsenterSupport;
use crate::mailbox::CountedAddr;
use crate::node_context::NodeContext;
use crate::replication::{Batch, BlockRange, CatchUpProgress, StartPoint};
use crate::status::{ActivityKind, StatusCell};
use crate::supervision::{ExitGuard, ExitReason, Halt, StopNow};

/// Name of the actor, below the channel.
const FOLLOWER: &str = "raft-follower";
/// Interval at which the follower checks whether this node has got other TLS certificates.
const LOOK_AT_KEYS_EVERY: Duration = Duration::from_secs(1);
const ACTION_JOIN_BLOCK: &str = "remove the channel from this orderer and join it again";
const LOG: &str = "orderer.common.follower";

/// The block that a channel was joined with.
#[derive(Clone, Copy)]
struct PendingJoin {
    number: BlockNumber,
    /// Whether this node is one of the block's consenters.
    consents: bool,
}

/// Follows one channel. It accepts no envelopes: the channel's gate stays closed.
pub(super) struct RaftFollower {
    channel: Arc<Channel>,
    lease: StateLease,
    context: Arc<NodeContext>,
    shared: Arc<RaftSharedState>,
    writer: CountedAddr<BlockWriter>,
    reached: ReplicatedTip,
    /// The public keys of this node with which it was none of the consenters.
    keys: Arc<Vec<Bytes>>,
    /// Whether it is ending, and waits until the blocks are durable.
    gives_way: bool,
    /// The block that the channel was joined with, while the ledger does not contain it.
    joined_with: Option<PendingJoin>,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

impl RaftFollower {
    /// Creates a follower that continues after the ledger.
    pub(super) fn new(support: ConsenterSupport, shared: Arc<RaftSharedState>) -> Self {
        let ConsenterSupport { channel, context, state, writer, lease, children } = support;
        let (status, guard) = (children.cell(FOLLOWER), children.guard(FOLLOWER));
        let ChainResumePoint { last, snapshot, .. } = state;
        let reached = ReplicatedTip { block: last, snapshot };
        let keys = context.tls_keys.load_full();
        let (gives_way, joined_with) = (false, None);
        Self { channel, lease, context, shared, writer, reached, keys, gives_way, joined_with, status, guard }
    }

    /// Reads the join block, which is stored beside the ledger until the ledger has reached it, and starts replication.
    fn read_join_block(&mut self, ctx: &mut Context<Self>) {
        let (path, catalog) = (self.context.ledgers.join_block(self.channel.id()), Arc::clone(&self.context.catalog));
        let read = self.context.blocking_runtime.spawn_blocking(move || read_joined_with(&path, &catalog));
        let resume = read.into_actor(self).map(|outcome, follower: &mut Self, ctx| match outcome {
            Ok(Ok(joined_with)) => follower.follow(joined_with, ctx),
            Ok(Err(cause)) => follower.exit_with(ExitReason::Unrecoverable { cause, action: ACTION_JOIN_BLOCK }, ctx),
            Err(panicked) => follower.exit_with(ExitReason::Panicked(panicked.to_string()), ctx),
        });
        ctx.spawn(resume);
    }

    fn follow(&mut self, joined_with: Option<JoinBlockConfig>, ctx: &mut Context<Self>) {
        let number = self.reached.block.number();
        // the text of Fabric's log line
        tracing::info!(target: LOG, "Created and started a follower.Chain for channel {}", self.channel.id());
        self.status.set_state("following", format!("height {}", number.0 + 1));
        let tip = ChainTip::of(&self.reached.block, (*self.reached.snapshot).clone());
        let mut goal =
            BlockRange { start: StartPoint::After(tip), to: BlockNumber(u64::MAX), hash: None, also: Vec::new() };
        if let Some(JoinBlockConfig { block, snapshot }) = joined_with {
            goal.to = block.number();
            goal.hash = Some(*block.header_hash());
            goal.also = endpoints(&snapshot);
            let consents = is_consenter(&snapshot, &self.context.tls_keys.load());
            self.joined_with = Some(PendingJoin { number: block.number(), consents });
            self.log_onboarding();
            if number >= block.number() {
                return self.joined(ctx);
            }
        } else {
            self.channel.set_state_with_lease(self.lease, ChannelState::Following);
            tracing::info!(target: LOG, channel = %self.channel.id(), block = %number,
                "this orderer is not a consenter of the channel; following it");
            ctx.run_interval(LOOK_AT_KEYS_EVERY, Self::look_at_keys);
        }
        pull(&self.context, &self.shared.parts.replication, goal, ctx);
    }

    fn log_onboarding(&self) {
        let Some(PendingJoin { number, consents }) = self.joined_with else { return };
        let next = self.reached.block.number().0 + 1;
        let state = ChannelState::Onboarding { next, to: number.0, consents };
        self.channel.set_state_with_lease(self.lease, state);
    }

    /// Ends the follower if this node has got a certificate by which it is a consenter.
    fn look_at_keys(&mut self, ctx: &mut Context<Self>) {
        let keys = self.context.tls_keys.load_full();
        if self.gives_way || Arc::ptr_eq(&keys, &self.keys) {
            return;
        }
        self.keys = keys;
        if let Some(id) = own_id(&self.reached, &self.context) {
            self.gives_way = true;
            self.give_way(self.reached.block.number(), Some(id), ctx);
        }
    }

    /// Ends the follower when the ledger has reached the join block. The chain or the follower that starts next uses
    /// the ledger's configuration as the current one.
    fn joined(&mut self, ctx: &mut Context<Self>) {
        let reached = self.reached.block.number();
        let id = own_id(&self.reached, &self.context);
        self.gives_way = true;
        self.give_way(reached, id, ctx);
    }

    /// Waits until this block is durable, creates the Raft log if this node is a consenter from there on, and ends, so
    /// that a chain or another follower starts.
    fn give_way(&mut self, number: BlockNumber, id: Option<u64>, ctx: &mut Context<Self>) {
        let (channel, context, shared) =
            (Arc::clone(&self.channel), Arc::clone(&self.context), Arc::clone(&self.shared));
        let made = async move {
            let mut heights = channel.ledger().heights();
            // this cannot fail, because `channel` holds the ledger that sends the heights
            let _ = heights.wait_for(|height| *height > number.0).await;
            let permit = shared.log_permit(channel.id()).await;
            let io = context.blocking_runtime.clone();
            let work = move || {
                let _permit = permit;
                if let Some(id) = id {
                    make_joining_log(channel.ledger(), id)?;
                }
                forget_join_block(&context.ledgers.join_block(channel.id()))
            };
            io.spawn_blocking(work).await
        };
        let waiting = self.status.begin_background(ActivityKind::Start);
        let resume = made.into_actor(self).map(move |outcome, follower: &mut Self, ctx| {
            drop(waiting);
            let exit = match outcome {
                Ok(Ok(())) => {
                    tracing::info!(target: LOG, channel = %follower.channel.id(), block = %number, node = id,
                        "this orderer has the channel's blocks up to here");
                    ExitReason::Replaced
                }
                Ok(Err(failed)) => failed.exit(),
                Err(panicked) => ExitReason::Panicked(panicked.to_string()),
            };
            follower.exit_with(exit, ctx);
        });
        ctx.spawn(resume);
    }

    fn exit_with(&mut self, exit: ExitReason, ctx: &mut Context<Self>) {
        self.guard.set_exit_reason(exit);
        ctx.stop();
    }
}

/// The block that a channel was joined with, and its configuration.
struct JoinBlockConfig {
    block: EncodedBlock,
    snapshot: ChannelSnapshot,
}

/// Reads the join block; `None` if there is none. Performs blocking I/O.
fn read_joined_with(path: &Path, catalog: &Arc<ConfigCache>) -> Result<Option<JoinBlockConfig>, String> {
    let failed = |cause: String| format!("{}: {cause}", path.display());
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let block = EncodedBlock::parse(&bytes).map_err(|e| failed(error_chain(&e)))?;
    let snapshot = ChannelSnapshot::from_config_block(&block.decode(), catalog).map_err(|e| failed(error_chain(&e)))?;
    Ok(Some(JoinBlockConfig { block, snapshot }))
}

/// Deletes the join block. Performs blocking I/O.
fn forget_join_block(path: &Path) -> Result<(), OpenChainError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(OpenChainError::JoinBlock(cause)),
        _ => Ok(()),
    }
}

impl Actor for RaftFollower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.status.set_state("opening", "");
        self.read_join_block(ctx);
    }
}

impl StreamHandler<CatchUpProgress> for RaftFollower {
    fn handle(&mut self, progress: CatchUpProgress, _: &mut Context<Self>) {
        self.status.set_state("following", shown(&progress));
    }

    /// The batches report the end.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Batch> for RaftFollower {
    fn handle(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        if self.gives_way {
            return;
        }
        let Some(reached) = copy(batch, &self.reached.snapshot, &self.writer) else { return };
        let is_new = !Arc::ptr_eq(&self.reached.snapshot, &reached.snapshot);
        self.reached = reached;
        let number = self.reached.block.number();
        if let Some(joined_with) = self.joined_with {
            self.log_onboarding();
            if number >= joined_with.number {
                self.joined(ctx);
            }
        } else if is_new && let Some(id) = own_id(&self.reached, &self.context) {
            self.gives_way = true;
            self.give_way(number, Some(id), ctx);
        }
    }

    /// Handles the end of the batches: the join block has arrived, or the pulling task has panicked.
    fn finished(&mut self, ctx: &mut Context<Self>) {
        if !self.gives_way {
            self.exit_with(ExitReason::Failed(NO_MORE_BLOCKS.to_owned()), ctx);
        }
    }
}

impl Handler<Halt> for RaftFollower {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Halt);
        self.writer.send_uncounted(halt);
        self.exit_with(ExitReason::Requested, ctx);
    }
}

impl Handler<StopNow> for RaftFollower {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        self.exit_with(ExitReason::Requested, ctx);
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<crate::supervision::PanicNow> for RaftFollower {
    type Result = ();
    fn handle(&mut self, _: crate::supervision::PanicNow, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
