//! Performs the effects of the state machine.

use std::sync::Arc;
use std::task::{self, Poll, Waker};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use bytes::Bytes;
use fabric_proto::raftpb::{self, MessageType};
use orderer_cluster::SendError;
use orderer_core::channel::BlockNumber;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::raft::{Effect, Event, NewBlock, Origin, Submission};
use orderer_core::processing::{Refusal, RefusalKind};
use prost::Message as _;

use super::chain::RaftChain;
use super::judge::{examine, rejudge};
use super::log_writer::LogJob;
use super::membership::membership;
use super::opening::snapshot_block;
use super::seat::UNWRITTEN_BYTES;
use super::standing::rules;
use crate::block_writer::{Op, Write};
use crate::config_work::{Applied, apply};
use crate::judging::on_own_thread;
use crate::mailbox::OrderRefusal;
use crate::observe::CutReason;
use crate::status::Task;
use crate::supervision::Exit;

const LOG: &str = "orderer.consensus.etcdraft";

impl RaftChain {
    /// Performs one effect. Outcomes that are available at once are queued as events.
    pub(super) fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        match effect {
            Effect::Persist(write) => running.log.tell(LogJob::Write(Box::new(write))),
            Effect::SaveSnapshot { snapshot, trim } => {
                self.channel.observed().raft().snapshot(snapshot_block(&snapshot).0);
                running.log.tell(LogJob::Snapshot { snapshot, trim });
            }
            Effect::Send { to, message, metadata } => self.send(to, &message, metadata),
            Effect::Forward { to, submission } => self.forward(to, *submission, ctx),
            Effect::Examine(submission) => self.examine(*submission, ctx),
            Effect::Rejudge(submissions) => self.rejudge(submissions, ctx),
            Effect::Acknowledge(sequences) => {
                // the reply is missing if the sender got a response before
                sequences
                    .iter()
                    .filter_map(|sequence| running.replies.remove(sequence))
                    .for_each(|reply| reply.send(Ok(())));
            }
            Effect::Dropped(submission, why) => self.dropped(&submission, why),
            Effect::Write(block) => self.write(block),
            Effect::Apply { number, envelope } => self.apply(number, envelope, ctx),
            Effect::WriteConfig(block) => self.write_config(block, ctx),
            Effect::ArmTimer => self.arm_timer(ctx),
            Effect::DisarmTimer => self.disarm_timer(ctx),
            Effect::Connect(members) => {
                self.channel.observed().raft().consents(members.len());
                let membership = membership(&members, running.machine.id());
                running.peers.configure(&membership);
                running.seat.configure(membership);
            }
            Effect::Leader(leader) => self.leader(leader, ctx),
            Effect::CatchUp { number } => self.catch_up(number, ctx),
            Effect::Suspect => self.suspect(ctx),
            Effect::Removed => {
                // the text of Fabric's log line
                tracing::warn!(target: LOG, channel = %self.channel.id(), "This node was removed from replica set");
                self.stop_because(Exit::Replaced, ctx);
            }
            // effects that a later version of the machine may add
            other => self.stop_because(Exit::Failed(format!("the chain cannot do this: {other:?}")), ctx),
        }
    }

    fn send(&mut self, to: u64, message: &raftpb::Message, metadata: Bytes) {
        let Some(running) = &mut self.running else { return };
        let sent = running.peers.consensus(to, message.encode_to_vec().into(), metadata);
        if message.r#type == MessageType::MsgSnap as i32 {
            running.events.push_back(Event::SnapshotSent { to, sent: sent.is_ok() });
        }
        if let Err(error) = sent {
            tracing::debug!(target: LOG, channel = %self.channel.id(), to, %error, "a Raft message was not sent");
            running.events.push_back(Event::Unreachable(to));
        }
    }

    fn forward(&mut self, to: u64, submission: Submission, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        let mut sent = running.peers.submit(to, submission.checked_at.0, submission.envelope.raw().clone());
        // polled here once, because envelopes are sent in the order of their first polls, which actix does not preserve
        // for an actor's futures; an envelope that is overtaken would count as lost
        if let Poll::Ready(sent) = sent.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
            let event = match sent {
                Ok(()) => self.forwarded(&submission),
                Err(error) => Some(self.not_forwarded(to, &error, submission)),
            };
            if let Some(running) = &mut self.running {
                running.events.extend(event);
            }
            return;
        }
        let resume = sent.into_actor(self).map(move |sent, chain: &mut Self, ctx| {
            let event = match sent {
                Ok(()) => chain.forwarded(&submission),
                Err(error) => Some(chain.not_forwarded(to, &error, submission)),
            };
            if let Some(event) = event {
                chain.feed(event, ctx);
            }
        });
        ctx.spawn(resume);
    }

    /// Returns the event for an envelope that was handed to the stream to the leader, if the machine needs it.
    fn forwarded(&self, submission: &Submission) -> Option<Event> {
        match submission.origin {
            Origin::Here(sequence) if self.shared.parts.settings.acknowledge.follows_forwarding() => {
                Some(Event::Forwarded(sequence))
            }
            _ => None,
        }
    }

    fn not_forwarded(&self, to: u64, error: &SendError, submission: Submission) -> Event {
        tracing::debug!(target: LOG, channel = %self.channel.id(), to, %error, "an envelope was not forwarded");
        self.channel.observed().raft().proposal_failed();
        Event::NotForwarded(submission)
    }

    fn examine(&mut self, submission: Submission, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let examined = on_own_thread(move || examine(&snapshot, &context, submission));
        let waiting = self.status.wait_for(Task::Recheck);
        let resume = examined.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(examined) => chain.feed(Event::Examined(examined), ctx),
                Err(not_done) => chain.stop_because(Exit::Panicked(not_done.to_string()), ctx),
            }
        });
        ctx.spawn(resume);
    }

    /// Revalidates the envelopes one after the other, so that any number of them uses only one thread.
    fn rejudge(&mut self, submissions: Vec<Submission>, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let judged = on_own_thread(move || {
            let judge = |submission: Submission| match submission.origin {
                Origin::Here(sequence) => Some((sequence, rejudge(&snapshot, &context, &submission))),
                Origin::Consenter(_) => None,
            };
            submissions.into_iter().filter_map(judge).collect::<Vec<_>>()
        });
        let resume = judged.into_actor(self).map(|outcome, chain: &mut Self, ctx| match outcome {
            Ok(judged) => {
                for (sequence, valid) in judged {
                    chain.feed(Event::Rejudged { sequence, valid }, ctx);
                }
            }
            Err(not_done) => chain.stop_because(Exit::Panicked(not_done.to_string()), ctx),
        });
        ctx.spawn(resume);
    }

    fn dropped(&mut self, submission: &Submission, why: &'static str) {
        let (channel, is_config) = (self.channel.id(), submission.is_config);
        if let (Origin::Here(sequence), Some(running)) = (submission.origin, &mut self.running) {
            drop(running.rooms.take(sequence));
            if let Some(reply) = running.replies.remove(&sequence) {
                tracing::warn!(target: LOG, %channel, is_config, why, "an envelope is dropped");
                return reply
                    .send(Err(OrderRefusal::NoLongerValid { kind: RefusalKind::BadRequest, text: why.to_owned() }));
            }
        }
        tracing::warn!(target: LOG, %channel, is_config, why,
            "an envelope is dropped, though its sender was told that it would be ordered");
    }

    fn write(&mut self, block: NewBlock) {
        let NewBlock { envelopes, metadata, pending_below, header_hash, ordered, .. } = block;
        self.channel.observed().cut(CutReason::Agreed, envelopes.len(), None);
        let bytes = envelopes.iter().map(|envelope| envelope.raw().len()).sum();
        let (consenter_metadata, header_hash) = (metadata, Some(header_hash));
        self.hand_over(Op::Block { envelopes, pending_below, consenter_metadata, header_hash }, bytes, &ordered);
    }

    fn hand_over(&mut self, op: Op, bytes: usize, ordered: &[u64]) {
        let Some(running) = &mut self.running else { return };
        let mut rooms: Vec<_> = ordered.iter().filter_map(|sequence| running.rooms.take(*sequence)).collect();
        // takes at most the available permits; if none is left, no more entries are accepted until blocks are written
        let unwritten = &running.seat.unwritten;
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(UNWRITTEN_BYTES);
        let there = u32::try_from(unwritten.available_permits()).unwrap_or(u32::MAX);
        rooms.extend(Arc::clone(unwritten).try_acquire_many_owned(wanted.min(there)));
        self.writer.tell(Write { ops: vec![op], reply: None, rooms });
    }

    fn apply(&mut self, number: BlockNumber, envelope: SignedEnvelope, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let applied = on_own_thread(move || apply(&snapshot, &context, &envelope));
        let waiting = self.status.wait_for(Task::Apply);
        let resume = applied.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok(applied)) => chain.applied(number, applied, ctx),
                // two messages that create the same channel were ordered; the first one counts, as in Fabric
                Ok(Err(Refusal::ChannelExists(_))) => chain.applied(number, Applied::Created(None), ctx),
                Ok(Err(refusal)) => chain
                    .cannot_apply(format!("the config message of block {number} cannot be applied: {refusal}"), ctx),
                Err(not_done) => chain.stop_because(Exit::Panicked(not_done.to_string()), ctx),
            }
        });
        ctx.spawn(resume);
    }

    fn applied(&mut self, number: BlockNumber, applied: Applied, ctx: &mut Context<Self>) {
        let mut next_rules = None;
        if let Applied::Config(next) = &applied {
            self.snapshot = Arc::clone(next);
            // a channel that migrates away from etcdraft has no Raft consenters any more; the previous ones write its
            // last block
            next_rules = rules(next).ok();
        }
        if let Some(running) = &mut self.running {
            running.applied = Some((number, applied));
        }
        self.feed(Event::Applied(next_rules), ctx);
    }

    fn write_config(&mut self, block: NewBlock, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        let NewBlock { number, envelopes, metadata, pending_below, header_hash, ordered } = block;
        let applied = running.applied.take().filter(|(of, _)| *of == number);
        let (Some((_, applied)), Some(envelope)) = (applied, envelopes.into_iter().next()) else {
            return self.cannot_apply(format!("the config message of block {number} was not applied"), ctx);
        };
        let (next, created) = match applied {
            Applied::Config(next) => {
                tracing::info!(target: "orderer.chain", channel = %self.channel.id(), sequence = %next.sequence(),
                    "configuration updated");
                (Some(next), None)
            }
            Applied::Created(created) => (None, created),
        };
        self.channel.observed().cut(CutReason::Config, 1, None);
        let bytes = envelope.raw().len();
        let header_hash = Some(header_hash);
        let consenter_metadata = metadata;
        let op = Op::ConfigBlock { envelope, pending_below, consenter_metadata, header_hash, next, created };
        self.hand_over(op, bytes, &ordered);
    }

    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        let timeout = self.snapshot.orderer().batch_timeout;
        self.channel.gauges().timer(Some(timeout));
        let timer = ctx.run_later(timeout, |chain, ctx| {
            if let Some(running) = &mut chain.running {
                running.timer = None;
            }
            chain.channel.gauges().timer(None);
            chain.feed(Event::Timer, ctx);
        });
        if let Some(running) = &mut self.running {
            running.timer = Some(timer);
        }
    }

    fn disarm_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.running.as_mut().and_then(|running| running.timer.take()) {
            self.channel.gauges().timer(None);
            ctx.cancel_future(timer);
        }
    }

    fn leader(&mut self, leader: Option<u64>, ctx: &mut Context<Self>) {
        let id = self.running.as_ref().map_or(0, |running| running.machine.id());
        let term = self.running.as_ref().map_or(0, |running| running.machine.term());
        let consenters = self.running.as_ref().map_or(0, |running| running.machine.members().len());
        let now = (leader.unwrap_or(0), term);
        let before = std::mem::replace(&mut self.led, now);
        // the texts of Fabric's log lines, which its integration tests and operators' alerts match
        if before == (id, term) && leader.is_none() {
            tracing::warn!(target: LOG, channel = %self.channel.id(), "{id:x} stepped down to follower since quorum is not active");
        }
        // logged only for at most two consenters, as in Fabric
        if leader.is_none() && consenters <= 2 {
            tracing::warn!(target: LOG, channel = %self.channel.id(), "No leader is present, cluster size is {consenters}");
        }
        tracing::info!(target: LOG, channel = %self.channel.id(), node = id, "Raft leader changed: {} -> {}", before.0, now.0);
        let figures = self.channel.observed().raft();
        figures.leader_changed();
        figures.leads(leader == Some(id));
        self.say_who_leads(leader);
        if self.halting.is_some() && leader.is_some_and(|leader| leader != id) {
            self.finish_halt(ctx);
        }
    }
}
