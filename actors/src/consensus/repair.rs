//! Stands in for the chain of a channel that cannot be ordered because of its own configuration: takes the one config update
//! that mends it, and nothing else.

use std::sync::Arc;

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use bytes::Bytes;
use orderer_core::config::{ChannelSnapshot, Engine};
use orderer_core::processing::RefusalKind;
use tokio::sync::oneshot;

use super::{ChainHandle, ConsenterSupport};
use crate::block_writer::{BlockWriter, Op, Write};
use crate::chain_state::chain_text;
use crate::config_work::{Applied, apply, recheck};
use crate::judging::on_own_thread;
use crate::mailbox::{Counted, Order, OrderRefusal, Reply, Submission};
use crate::node_context::NodeContext;
use crate::status::{StatusCell, Task};
#[cfg(test)]
use crate::supervision::Crash;
use crate::supervision::{Abandon, Exit, ExitGuard, Halt};

/// The actor that stands in for a chain until an update mends the channel. An update mends the channel if this node alone orders it from then on: no other orderer can
/// take the same update, so the channel stays one chain.
pub(crate) struct RepairChain {
    context: Arc<NodeContext>,
    writer: Counted<BlockWriter>,
    /// The configuration that cannot be served.
    snapshot: Arc<ChannelSnapshot>,
    /// Envelopes that were acknowledged once and are in no block stay what they are.
    pending_below: u64,
    /// The reason why the channel accepts nothing else.
    cause: String,
    status: Arc<StatusCell>,
    guard: ExitGuard,
}

/// A config block, and the configuration in it.
type Mended = (Op, Arc<ChannelSnapshot>);

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
        status: Arc::clone(&status),
        guard: children.guard(REPAIR_CHAIN),
    };
    let chain = chain.start();
    channel.gate().open(chain.clone().recipient(), status);
    ChainHandle::new(&chain)
}

impl RepairChain {
    fn refuse(&self, kind: RefusalKind, why: &str, reply: Reply) {
        let channel = self.snapshot.channel();
        let text =
            format!("channel '{channel}' takes nothing but a config update that mends it ({}): {why}", self.cause);
        reply.send(Err(OrderRefusal::NoLongerValid { kind, text }));
    }

    /// The update is on its way to the disk: the writer says when it has ended, and a chain can be built.
    fn written(&mut self, (op, next): Mended, reply: Reply, ctx: &mut Context<Self>) {
        tracing::info!(target: "orderer.chain", channel = %next.channel(), sequence = %next.sequence(),
            "the channel's configuration is mended");
        self.writer.tell(Write { ops: vec![op], reply: Some(reply), rooms: Vec::new() });
        let (done, ended) = oneshot::channel();
        self.writer.tell_once(Halt { done });
        let end = ended.into_actor(self).map(|_, chain: &mut Self, ctx| {
            // if the writer failed instead, it was the first to say so
            chain.guard.will_exit(Exit::Replaced);
            ctx.stop();
        });
        ctx.wait(end);
    }
}

/// Validates the update under the configuration that is in the ledger, and checks that this node can order by the result.
/// Performs blocking I/O.
fn mend(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    submission: Submission,
    pending_below: u64,
) -> Result<Mended, (RefusalKind, String)> {
    let bad = |text: String| (RefusalKind::BadRequest, text);
    let refused = |refusal: orderer_core::processing::Refusal| (refusal.kind(), refusal.to_string());
    let mut envelope = submission.envelope;
    if submission.checked_at != snapshot.sequence() {
        (envelope, _) = recheck(snapshot, context, &envelope, true).map_err(refused)?;
    }
    let Applied::Config(next) = apply(snapshot, context, &envelope).map_err(refused)? else {
        return Err(bad("it creates another channel".to_owned()));
    };
    match context.engine(&next) {
        Ok(Engine::Solo) => {}
        Ok(Engine::Kafka { .. }) => {
            return Err(bad("other orderers would follow a topic that does not have this update".to_owned()));
        }
        Ok(Engine::Raft) => {
            return Err(bad("other consenters would not have this update in their Raft logs".to_owned()));
        }
        Err(still) => return Err(bad(format!("with the update, {}", chain_text(&still)))),
    }
    let ours = context.check_own_part(&context.signer.own(), &next);
    ours.map_err(|e| bad(format!("with the update, {}", chain_text(&e))))?;
    let op = Op::ConfigBlock {
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

impl Handler<Order> for RepairChain {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Order);
        let Order { submission, reply } = order;
        if !submission.is_config {
            self.refuse(RefusalKind::ServiceUnavailable, "this is no config update", reply);
            return;
        }
        let (snapshot, context, pending_below) =
            (Arc::clone(&self.snapshot), Arc::clone(&self.context), self.pending_below);
        let work = on_own_thread(move || mend(&snapshot, &context, submission, pending_below));
        let waiting = self.status.wait_for(Task::Apply);
        let resume = work.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok(mended)) => chain.written(mended, reply, ctx),
                Ok(Err((kind, why))) => chain.refuse(kind, &why, reply),
                Err(panicked) => {
                    chain.guard.will_exit(Exit::Panicked(panicked.to_string()));
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
        let _taken = self.status.take(Task::Halt);
        self.writer.tell_once(halt);
        self.guard.will_exit(Exit::Asked);
        ctx.stop();
    }
}

impl Handler<Abandon> for RepairChain {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Abandon);
        ctx.stop();
    }
}

/// Tests only: a handler that panics.
#[cfg(test)]
impl Handler<Crash> for RepairChain {
    type Result = ();
    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
