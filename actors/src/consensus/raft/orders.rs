//! Handles envelopes that pass the channel's gate.

use std::sync::Arc;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, WrapFuture as _};
use orderer_core::ordering::raft::{Event, Origin, Submission};
use orderer_core::processing::RefusalKind;

use super::chain::RaftChain;
use super::judge::{Led, lead_to};
use crate::block_writer::{Accepted, Op, Write};
use crate::judging::on_own_thread;
use crate::mailbox::{Order, OrderRefusal, Reply};
use crate::status::Task;
use crate::supervision::Exit;

impl Handler<Order> for RaftChain {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Context<Self>) {
        let _taken = self.status.take(Task::Order);
        let Order { submission, reply } = order;
        self.count_proposal(submission.is_config);
        if self.running.as_ref().is_some_and(|running| running.machine.is_leaving()) {
            let text = "this orderer is no longer a consenter of the channel".to_owned();
            reply.send(Err(OrderRefusal::NoLongerValid { kind: RefusalKind::ServiceUnavailable, text }));
            return self.pace.after_one(ctx);
        }
        let submission = Submission {
            envelope: submission.envelope,
            checked_at: submission.checked_at,
            is_config: submission.is_config,
            origin: Origin::Here(0),
        };
        if submission.is_config {
            self.look_at_config(submission, reply, ctx);
        } else {
            self.accept(submission, reply, ctx);
        }
        self.pace.after_one(ctx);
    }
}

impl RaftChain {
    /// Assigns the envelope its sequence and starts ordering it. The sender gets its response as
    /// [`Acknowledge`](orderer_core::ordering::raft::Acknowledge) says; the gate's permit is held until the envelope is
    /// in a block.
    fn accept(&mut self, submission: Submission, mut reply: Reply, ctx: &mut Context<Self>) {
        // dropping the reply tells the sender that the chain has ended
        let Some(running) = &mut self.running else { return };
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        running.rooms.hold(sequence, reply.take_room());
        if self.shared.parts.settings.acknowledge.keeps() {
            let accepted = Accepted {
                envelope: submission.envelope.clone(),
                checked_at: submission.checked_at,
                is_config: submission.is_config,
                sequence,
            };
            self.writer.tell(Write { ops: vec![Op::Hold(Arc::new(accepted))], reply: Some(reply), rooms: Vec::new() });
        } else {
            running.replies.insert(sequence, reply);
        }
        self.feed(Event::Order(Submission { origin: Origin::Here(sequence), ..submission }), ctx);
    }

    /// Validates a config message before it is acknowledged. Rejects one that would cost the channel its quorum, and
    /// one that changes more consenters than Raft can change at a time.
    fn look_at_config(&mut self, submission: Submission, reply: Reply, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let looked = on_own_thread(move || (lead_to(&snapshot, &context, &submission), submission));
        let waiting = self.status.wait_for(Task::Apply);
        let resume = looked.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok((Ok(led), submission)) => match chain.cannot_be(&led) {
                    None => {
                        let Led { envelope, checked_at, .. } = led;
                        chain.accept(Submission { envelope, checked_at, ..submission }, reply, ctx);
                    }
                    Some(why) => chain.refuse(RefusalKind::BadRequest, why, reply),
                },
                Ok((Err(refusal), _)) => chain.refuse(refusal.kind(), refusal.to_string(), reply),
                Err(panicked) => chain.stop_because(Exit::Panicked(panicked.to_string()), ctx),
            }
        });
        ctx.spawn(resume);
    }

    /// Returns the reason why the consenters of a config message are not permitted, if there is one.
    fn cannot_be(&self, led: &Led) -> Option<String> {
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

    fn refuse(&self, kind: RefusalKind, text: String, reply: Reply) {
        tracing::warn!(target: "orderer.consensus.etcdraft", channel = %self.channel.id(), reason = %text,
            "a config update is refused");
        reply.send(Err(OrderRefusal::NoLongerValid { kind, text }));
    }
}
