//! Stands in for the chain of a channel that cannot be ordered because of its own configuration: takes the one config update
//! that mends it, and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::Bytes;
use orderer_core::config::{ChannelSnapshot, ConsenterKind};
use orderer_core::processing::RejectionKind;
use tokio::sync::oneshot;

use super::{ChainHandle, ConsenterSupport};
use crate::block_writer::{BlockWriter, WriteOp, WriteRequest};
use crate::chain_state::error_chain;
use crate::config_processor::{ConfigOutcome, apply_config, revalidate};
use crate::mailbox::{CountedAddr, Order, OrderBatch, OrderError, Reply, ValidatedEnvelope};
use crate::node_context::NodeContext;
use crate::status::{ActivityKind, StatusCell};
#[cfg(test)]
use crate::supervision::PanicNow;
use crate::supervision::{ExitGuard, ExitReason, Halt, StopNow};
use crate::validation_queue::on_own_thread;

/// The actor that stands in for a chain until an update mends the channel. An update mends the channel if this node alone orders it from then on: no other orderer can
/// take the same update, so the channel stays one chain.
pub(crate) struct RepairChain {
    context: Arc<NodeContext>,
    writer: CountedAddr<BlockWriter>,
    /// The configuration that cannot be served.
    snapshot: Arc<ChannelSnapshot>,
    /// Envelopes that were acknowledged once and are in no block stay what they are.
    pending_below: u64,
    /// The reason why the channel accepts nothing else.
    cause: String,
    /// Orders that wait while one before them is validated on another thread.
    orders: VecDeque<Order>,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

/// A config block, and the configuration in it.
type RepairedConfig = (WriteOp, Arc<ChannelSnapshot>);

/// The actor, below the channel.
const REPAIR_CHAIN: &str = "repair-chain";

/// Starts it, and opens the channel's gate to it.
pub(crate) fn start(support: ConsenterSupport, cause: String) -> ChainHandle {
    let ConsenterSupport { channel, context, state, writer, children, .. } = support;
    let status = children.cell(REPAIR_CHAIN);
    let chain = RepairChain {
        context,
        writer,
        pending_below: state.pending.first().map_or(0, |pending| pending.sequence),
        snapshot: state.snapshot,
        cause,
        orders: VecDeque::new(),
        status: Arc::clone(&status),
        guard: children.guard(REPAIR_CHAIN),
    };
    let chain = chain.start();
    channel.gate().open(chain.clone().recipient(), status);
    ChainHandle::new(&chain)
}

impl RepairChain {
    fn refuse(&self, kind: RejectionKind, why: &str, reply: Reply) {
        let channel = self.snapshot.channel();
        let text =
            format!("channel '{channel}' takes nothing but a config update that mends it ({}): {why}", self.cause);
        reply.send(Err(OrderError::NoLongerValid { kind, text }));
    }

    /// The update is on its way to the disk: the writer says when it has ended, and a chain can be built.
    fn written(&mut self, (op, next): RepairedConfig, reply: Reply, ctx: &mut Context<Self>) {
        tracing::info!(target: "orderer.chain", channel = %next.channel(), sequence = %next.sequence(),
            "channel's configuration was repaired");
        self.writer.send(WriteRequest { ops: vec![op], replies: vec![reply], rooms: Vec::new() });
        let (done, ended) = oneshot::channel();
        self.writer.send_uncounted(Halt { done });
        let end = ended.into_actor(self).map(|_, chain: &mut Self, ctx| {
            // if the writer failed instead, it was the first to say so
            chain.guard.set_exit_reason(ExitReason::Replaced);
            ctx.stop();
        });
        ctx.wait(end);
    }
}

/// Validates the update under the configuration that is in the ledger, and checks that this node can order by the result.
/// Performs blocking I/O.
fn repair(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    submission: ValidatedEnvelope,
    pending_below: u64,
) -> Result<RepairedConfig, (RejectionKind, String)> {
    let bad = |text: String| (RejectionKind::BadRequest, text);
    let refused = |refusal: orderer_core::processing::Rejection| (refusal.kind(), refusal.to_string());
    let mut envelope = submission.envelope;
    if submission.validated_at != snapshot.sequence() {
        (envelope, _) = revalidate(snapshot, context, &envelope, true).map_err(refused)?;
    }
    let ConfigOutcome::Config(next) = apply_config(snapshot, context, &envelope).map_err(refused)? else {
        return Err(bad("it creates another channel".to_owned()));
    };
    match context.engine(&next) {
        Ok(ConsenterKind::Solo) => {}
        Ok(ConsenterKind::Kafka { .. }) => {
            return Err(bad("other orderers would follow a topic that does not have this update".to_owned()));
        }
        Ok(ConsenterKind::Raft) => {
            return Err(bad("other consenters would not have this update in their Raft logs".to_owned()));
        }
        Err(still) => return Err(bad(format!("with the update, {}", error_chain(&still)))),
    }
    let ours = context.check_own_part(&context.signer.own(), &next);
    ours.map_err(|e| bad(format!("with the update, {}", error_chain(&e))))?;
    let op = WriteOp::WriteConfigBlock {
        envelope,
        pending_below,
        consenter_metadata: Bytes::new(),
        header_hash: None,
        next: Some(Arc::clone(&next)),
        created: None,
    };
    Ok((op, next))
}

impl Actor for RepairChain {
    type Context = Context<Self>;
}

impl Handler<OrderBatch> for RepairChain {
    type Result = ();

    fn handle(&mut self, batch: OrderBatch, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Order);
        self.orders.extend(batch.orders);
        self.proceed(ctx);
    }
}

impl RepairChain {
    /// Processes the orders at hand, until one is validated on another thread.
    fn proceed(&mut self, ctx: &mut Context<Self>) {
        while let Some(Order { submission, reply }) = self.orders.pop_front() {
            if submission.is_config {
                return self.try_update(submission, reply, ctx);
            }
            self.refuse(RejectionKind::ServiceUnavailable, "this is no config update", reply);
        }
    }

    fn try_update(&mut self, submission: ValidatedEnvelope, reply: Reply, ctx: &mut Context<Self>) {
        let (snapshot, context, pending_below) =
            (Arc::clone(&self.snapshot), Arc::clone(&self.context), self.pending_below);
        let work = on_own_thread(move || repair(&snapshot, &context, submission, pending_below));
        let waiting = self.status.begin_background(ActivityKind::Apply);
        let resume = work.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok(mended)) => chain.written(mended, reply, ctx),
                Ok(Err((kind, why))) => {
                    chain.refuse(kind, &why, reply);
                    chain.proceed(ctx);
                }
                Err(panicked) => {
                    chain.guard.set_exit_reason(ExitReason::Panicked(panicked.to_string()));
                    ctx.stop();
                }
            }
        });
        ctx.wait(resume);
    }
}

impl Handler<Halt> for RepairChain {
    type Result = ();

    fn handle(&mut self, halt: Halt, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Halt);
        self.writer.send_uncounted(halt);
        self.guard.set_exit_reason(ExitReason::Requested);
        ctx.stop();
    }
}

impl Handler<StopNow> for RepairChain {
    type Result = ();

    fn handle(&mut self, _: StopNow, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Abandon);
        ctx.stop();
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<PanicNow> for RepairChain {
    type Result = ();
    fn handle(&mut self, _: PanicNow, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
