//! Performs the effects of the state machine.

use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Instant;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use bytes::Bytes;
use fabric_proto::raftpb::{self, MessageType};
use orderer_cluster::{SendError, Urgency};
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::raft::{Effect, EnvelopeOrigin, Event, NewBlock, SubmittedEnvelope};
use orderer_core::processing::{Rejection, RejectionKind};
use orderer_core::types::BlockNumber;
use prost::Message as _;

use super::chain::RaftChain;
use super::cluster_endpoint::UNWRITTEN_BYTES;
use super::log_writer::LogTask;
use super::membership::membership;
use super::opening::snapshot_block;
use super::position::rules;
use super::revalidate::{examine, revalidate_submission};
use super::running::WaitingSender;
use crate::block_writer::{WriteOp, WriteRequest};
use crate::config_processor::{ConfigOutcome, apply_config};
use crate::mailbox::OrderError;
use crate::observer::CutReason;
use crate::status::ActivityKind;
use crate::supervision::ExitReason;
use crate::validation_queue::{on_own_thread, signing_on_own_thread};

const LOG: &str = "orderer.consensus.etcdraft";

impl RaftChain {
    /// Performs one effect. Outcomes that are available at once are queued as events.
    pub(super) fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        match effect {
            Effect::Persist(write) => running.log.send(LogTask::Write(Box::new(write))),
            Effect::SaveSnapshot { snapshot, trim } => {
                self.channel.observer().raft().snapshot(snapshot_block(&snapshot).0);
                running.log.send(LogTask::Snapshot { snapshot, trim });
            }
            Effect::Send { to, message, metadata } => self.send(to, &message, metadata),
            Effect::Forward { to, submission } => self.forward(to, *submission, ctx),
            Effect::Validate(submission) => self.examine(*submission, ctx),
            Effect::Revalidate(submissions) => self.revalidate_all(submissions, ctx),
            Effect::Acknowledge(sequences) => {
                // the reply is missing if the sender got a response before
                sequences
                    .iter()
                    .filter_map(|sequence| running.replies.remove(sequence))
                    .for_each(|waiting| waiting.reply.send(Ok(())));
            }
            Effect::Dropped(submission, why) => self.dropped(&submission, why),
            Effect::WriteBlock(block) => self.write(block),
            Effect::Apply { number, envelope } => self.apply(number, envelope, ctx),
            Effect::WriteConfigBlock(block) => self.write_config(block, ctx),
            Effect::ArmTimer => self.arm_timer(ctx),
            Effect::DisarmTimer => self.disarm_timer(ctx),
            Effect::Connect(members) => {
                self.channel.observer().raft().consents(members.len());
                let membership = membership(&members, running.machine.id());
                running.peers.configure(&membership);
                running.endpoint.configure(membership);
            }
            Effect::Leader(leader) => self.leader(leader),
            Effect::CatchUp { number } => self.catch_up(number, ctx),
            Effect::Suspect => self.suspect(ctx),
            Effect::Removed => {
                // the text of Fabric's log line
                tracing::warn!(target: LOG, channel = %self.channel.id(), "This node was removed from replica set");
                self.exit_with(ExitReason::Replaced, ctx);
            }
            // effects that a later version of the machine may add
            other => self.exit_with(ExitReason::Failed(format!("the chain cannot do this: {other:?}")), ctx),
        }
    }

    fn send(&mut self, to: u64, message: &raftpb::Message, metadata: Bytes) {
        let Some(running) = &mut self.running else { return };
        let sent = running.peers.consensus(to, message.encode_to_vec().into(), metadata, urgency(message));
        if message.r#type == MessageType::MsgSnap as i32 {
            running.events.push_back(Event::SnapshotSent { to, sent: sent.is_ok() });
        }
        if let Err(error) = sent {
            tracing::debug!(target: LOG, channel = %self.channel.id(), to, %error, "failed to send a Raft message");
            running.events.push_back(Event::Unreachable(to));
        }
    }

    fn forward(&mut self, to: u64, submission: SubmittedEnvelope, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        let mut sent = running.peers.submit(to, submission.validated_at.0, submission.envelope.raw().clone());
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
                chain.process(event, ctx);
            }
        });
        ctx.spawn(resume);
    }

    /// Returns the event for an envelope that was handed to the stream to the leader, if the machine needs it.
    fn forwarded(&self, submission: &SubmittedEnvelope) -> Option<Event> {
        match submission.origin {
            EnvelopeOrigin::Local(sequence) if self.shared.parts.settings.acknowledge.follows_forwarding() => {
                Some(Event::Forwarded(sequence))
            }
            _ => None,
        }
    }

    fn not_forwarded(&self, to: u64, error: &SendError, submission: SubmittedEnvelope) -> Event {
        tracing::debug!(target: LOG, channel = %self.channel.id(), to, %error, "failed to forward an envelope to the leader");
        self.channel.observer().raft().proposal_failed();
        Event::NotForwarded(submission)
    }

    fn examine(&mut self, submission: SubmittedEnvelope, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let examined = signing_on_own_thread(move || examine(&snapshot, &context, submission));
        let waiting = self.status.begin_background(ActivityKind::Recheck);
        let resume = examined.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(examined) => chain.process(Event::Validated(examined), ctx),
                Err(not_done) => chain.exit_with(not_done.into(), ctx),
            }
        });
        ctx.spawn(resume);
    }

    /// Revalidates the envelopes one after the other, so that any number of them uses only one thread.
    fn revalidate_all(&mut self, submissions: Vec<SubmittedEnvelope>, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let revalidated = signing_on_own_thread(move || {
            let revalidate = |submission: SubmittedEnvelope| match submission.origin {
                EnvelopeOrigin::Local(sequence) => {
                    Some(revalidate_submission(&snapshot, &context, &submission).map(|valid| (sequence, valid)))
                }
                EnvelopeOrigin::Consenter(_) => None,
            };
            submissions.into_iter().filter_map(revalidate).collect::<Result<Vec<_>, _>>()
        });
        let resume = revalidated.into_actor(self).map(|outcome, chain: &mut Self, ctx| match outcome {
            Ok(verdicts) => {
                for (sequence, valid) in verdicts {
                    chain.process(Event::Revalidated { sequence, valid }, ctx);
                }
            }
            Err(not_done) => chain.exit_with(not_done.into(), ctx),
        });
        ctx.spawn(resume);
    }

    fn dropped(&mut self, submission: &SubmittedEnvelope, why: &'static str) {
        let (channel, is_config) = (self.channel.id(), submission.is_config);
        if let (EnvelopeOrigin::Local(sequence), Some(running)) = (submission.origin, &mut self.running) {
            drop(running.rooms.take(sequence));
            if let Some(WaitingSender { reply, .. }) = running.replies.remove(&sequence) {
                tracing::warn!(target: LOG, %channel, is_config, why, "envelope was dropped");
                return reply
                    .send(Err(OrderError::NoLongerValid { kind: RejectionKind::BadRequest, text: why.to_owned() }));
            }
        }
        tracing::warn!(target: LOG, %channel, is_config, why,
            "acknowledged envelope was dropped");
    }

    fn write(&mut self, block: NewBlock) {
        let NewBlock { envelopes, metadata, pending_below, header_hash, ordered, .. } = block;
        self.channel.observer().cut(CutReason::Agreed, envelopes.len(), None);
        let bytes = envelopes.iter().map(|envelope| envelope.raw().len()).sum();
        let (consenter_metadata, header_hash) = (metadata, Some(header_hash));
        self.hand_over(
            WriteOp::WriteBlock { envelopes, pending_below, consenter_metadata, header_hash },
            bytes,
            &ordered,
        );
    }

    fn hand_over(&mut self, op: WriteOp, bytes: usize, ordered: &[u64]) {
        let Some(running) = &mut self.running else { return };
        let mut rooms: Vec<_> = ordered.iter().filter_map(|sequence| running.rooms.take(*sequence)).collect();
        // takes at most the available permits; if none is left, no more entries are accepted until blocks are written
        let unwritten = &running.endpoint.unwritten;
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(UNWRITTEN_BYTES);
        let there = u32::try_from(unwritten.available_permits()).unwrap_or(u32::MAX);
        rooms.extend(Arc::clone(unwritten).try_acquire_many_owned(wanted.min(there)));
        self.writer.send(WriteRequest { ops: vec![op], replies: Vec::new(), rooms });
    }

    fn apply(&mut self, number: BlockNumber, envelope: SignedEnvelope, ctx: &mut Context<Self>) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let applied = on_own_thread(move || apply_config(&snapshot, &context, &envelope));
        let waiting = self.status.begin_background(ActivityKind::Apply);
        let resume = applied.into_actor(self).map(move |outcome, chain: &mut Self, ctx| {
            drop(waiting);
            match outcome {
                Ok(Ok(applied)) => chain.applied(number, applied, ctx),
                // two messages that create the same channel were ordered; the first one counts, as in Fabric
                Ok(Err(Rejection::ChannelExists(_))) => chain.applied(number, ConfigOutcome::Created(None), ctx),
                Ok(Err(refusal)) => chain
                    .cannot_apply(format!("the config message of block {number} cannot be applied: {refusal}"), ctx),
                Err(not_done) => chain.exit_with(ExitReason::Panicked(not_done.to_string()), ctx),
            }
        });
        ctx.spawn(resume);
    }

    fn applied(&mut self, number: BlockNumber, applied: ConfigOutcome, ctx: &mut Context<Self>) {
        let mut next_rules = None;
        if let ConfigOutcome::Config(next) = &applied {
            self.snapshot = Arc::clone(next);
            // a channel that migrates away from etcdraft has no Raft consenters any more; the previous ones write its
            // last block
            next_rules = rules(next).ok();
        }
        if let Some(running) = &mut self.running {
            running.applied = Some((number, applied));
        }
        self.process(Event::Applied(next_rules), ctx);
    }

    fn write_config(&mut self, block: NewBlock, ctx: &mut Context<Self>) {
        let Some(running) = &mut self.running else { return };
        let NewBlock { number, envelopes, metadata, pending_below, header_hash, ordered } = block;
        let applied = running.applied.take().filter(|(of, _)| *of == number);
        let (Some((_, applied)), Some(envelope)) = (applied, envelopes.into_iter().next()) else {
            return self.cannot_apply(format!("the config message of block {number} was not applied"), ctx);
        };
        let (next, created) = match applied {
            ConfigOutcome::Config(next) => {
                tracing::info!(target: "orderer.chain", channel = %self.channel.id(), sequence = %next.sequence(),
                    "configuration updated");
                (Some(next), None)
            }
            ConfigOutcome::Created(created) => (None, created),
        };
        self.channel.observer().cut(CutReason::Config, 1, None);
        let bytes = envelope.raw().len();
        let header_hash = Some(header_hash);
        let consenter_metadata = metadata;
        let op = WriteOp::WriteConfigBlock { envelope, pending_below, consenter_metadata, header_hash, next, created };
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
            chain.process(Event::Timer, ctx);
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

    fn leader(&mut self, leader: Option<u64>) {
        let id = self.running.as_ref().map_or(0, |running| running.machine.id());
        let term = self.running.as_ref().map_or(0, |running| running.machine.term());
        let consenters = self.running.as_ref().map_or(0, |running| running.machine.members().len());
        let now = (leader.unwrap_or(0), term);
        let before = std::mem::replace(&mut self.led, now);
        if let Some(running) = &mut self.running {
            running.leaderless_since = leader.is_none().then(Instant::now);
        }
        // whoever reads the log finds it so
        let figures = self.channel.observer().raft();
        figures.leader_changed();
        figures.leads(leader == Some(id));
        // the texts of Fabric's log lines, which its integration tests and operators' alerts match
        if before == (id, term) && leader.is_none() {
            tracing::warn!(target: LOG, channel = %self.channel.id(), "{id:x} stepped down to follower since quorum is not active");
        }
        // logged only for at most two consenters, as in Fabric
        if leader.is_none() && consenters <= 2 {
            tracing::warn!(target: LOG, channel = %self.channel.id(), "No leader is present, cluster size is {consenters}");
        }
        tracing::info!(target: LOG, channel = %self.channel.id(), node = id, "Raft leader changed: {} -> {}", before.0, now.0);
        if leader == Some(id) {
            let number = self.channel.ledger().height().saturating_sub(1);
            tracing::info!(target: LOG, channel = %self.channel.id(), "Start accepting requests as Raft leader at block [{number}]");
        }
        self.log_leader(leader);
    }
}

/// Returns when a message is sent. Heartbeats and their responses wait for those of other channels.
fn urgency(message: &raftpb::Message) -> Urgency {
    match MessageType::try_from(message.r#type) {
        Ok(MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResp) => Urgency::Soon,
        _ => Urgency::Now,
    }
}
