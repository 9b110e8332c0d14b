//! Handles envelopes that pass the channel's gate.

use std::sync::Arc;
use std::time::Instant;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use orderer_core::ordering::raft::{EnvelopeOrigin, Event, SubmittedEnvelope};
use orderer_core::processing::RejectionKind;

use super::chain::RaftChain;
use super::revalidate::{RevalidatedConfig, lead_to};
use super::running::WaitingSender;
use crate::block_writer::{PendingMessage, WriteOp, WriteRequest};
use crate::mailbox::{Order, OrderBatch, OrderError, Reply};
use crate::status::ActivityKind;
use crate::supervision::ExitReason;
use crate::validation_queue::on_own_thread;

impl Handler<OrderBatch> for RaftChain {
    type Result = ();

    fn handle(&mut self, batch: OrderBatch, ctx: &mut Context<Self>) {
        let _activity = self.status.begin_message(ActivityKind::Order);
        let count = batch.orders.len();
        for order in batch.orders {
            self.order(order, ctx);
        }
        self.pace.after_messages(count, ctx);
    }
}

impl RaftChain {
    fn order(&mut self, Order { submission, reply }: Order, ctx: &mut Context<Self>) {
        self.count_proposal(submission.is_config);
        if self.running.as_ref().is_some_and(|running| running.machine.is_leaving()) {
            let text = "this orderer is no longer a consenter of the channel".to_owned();
            reply.send(Err(OrderError::NoLongerValid { kind: RejectionKind::ServiceUnavailable, text }));
            return;
        }
        let submission = SubmittedEnvelope {
            envelope: submission.envelope,
            validated_at: submission.validated_at,
            is_config: submission.is_config,
            origin: EnvelopeOrigin::Local(0),
        };
        if submission.is_config {
            self.look_at_config(submission, reply, ctx);
        } else {
            self.accept(submission, reply, ctx);
        }
    }

    /// Assigns the envelope its sequence and starts ordering it. The sender gets its response as
    /// [`AcknowledgePoint`](orderer_core::ordering::raft::AcknowledgePoint) says; the gate's permit is held until the envelope is
    /// in a block.
    fn accept(&mut self, submission: SubmittedEnvelope, mut reply: Reply, ctx: &mut Context<Self>) {
        // dropping the reply tells the sender that the chain has ended
        let Some(running) = &mut self.running else { return };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        running.rooms.hold(sequence, reply.take_room());
        if self.shared.parts.settings.acknowledge.keeps() {
            let accepted = PendingMessage {
                envelope: submission.envelope.clone(),
                validated_at: submission.validated_at,
                is_config: submission.is_config,
                sequence,
            };
            self.writer.send(WriteRequest {
                ops: vec![WriteOp::AppendPending(Arc::new(accepted))],
                replies: vec![reply],
                rooms: Vec::new(),
            });
        } else {
            running.replies.insert(sequence, WaitingSender { reply, since: Instant::now() });
        }
        self.process(Event::Order(SubmittedEnvelope { origin: EnvelopeOrigin::Local(sequence), ..submission }), ctx);
    }

    /// Validates a config message before it is acknowledged. Rejects one that would cost the channel its quorum, and
    /// one that changes more consenters than Raft can change at a time.
    fn look_at_config(&mut self, submission: SubmittedEnvelope, reply: Reply, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let looked = on_own_thread(move || (lead_to(&snapshot, &context, &submission), submission));
        let waiting = self.status.begin_background(ActivityKind::Apply);
        let resume = looked.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok((Ok(led), submission)) => match chain.cannot_be(&led) {
                    None => {
                        let RevalidatedConfig { envelope, validated_at, .. } = led;
                        chain.accept(SubmittedEnvelope { envelope, validated_at, ..submission }, reply, ctx);
                    }
                    Some(why) => chain.refuse(RejectionKind::BadRequest, why, reply),
                },
                Ok((Err(refusal), _)) => chain.refuse(refusal.kind(), refusal.to_string(), reply),
                Err(panicked) => chain.exit_with(ExitReason::Panicked(panicked.to_string()), ctx),
            }
        });
        ctx.spawn(resume);
    }

    /// Returns the reason why the consenters of a config message are not permitted, if there is one.
    fn cannot_be(&self, led: &RevalidatedConfig) -> Option<String> {
        let (running, consenters) = (self.running.as_ref()?, led.consenters.as_ref()?);
        let change = match running.machine.members().change_to(consenters) {
            Ok(change) => change,
            Err(error) => return Some(error.to_string()),
        };
        let active = running.machine.active();
        // the text of Fabric's error (`UnacceptableQuorumLoss`)
        change.loses_quorum(active).then(|| {
            format!(
                "{} out of {} nodes are alive, configuration will result in quorum loss",
                active.len(),
                running.machine.members().len()
            )
        })
    }

    /// Responds to senders that have waited too long for a leader, in Fabric's words. With `Raft.Acknowledge: durable` no sender
    /// waits for one.
    pub(super) fn give_up_waiting(&mut self) {
        let patience = self.shared.parts.leader_patience;
        let Some(running) = &mut self.running else { return };
        for reply in running.give_up_waiting(patience) {
            let text = format!("no Raft leader: channel '{}' has had none for {patience:?}", self.channel.id());
            reply.send(Err(OrderError::NoLongerValid { kind: RejectionKind::ServiceUnavailable, text }));
        }
    }

    fn refuse(&self, kind: RejectionKind, text: String, reply: Reply) {
        tracing::warn!(target: "orderer.consensus.etcdraft", channel = %self.channel.id(), reason = %text,
            "config update was rejected");
        reply.send(Err(OrderError::NoLongerValid { kind, text }));
    }
}
