//! Performs what the machine of a chain decides.

use std::sync::Arc;

use actix::{Addr, AsyncContext as _, Context};
use bytes::Bytes;
use orderer_core::config::ConsenterKind;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::kafka::{Effect, Event, KafkaMetadata, OrderingConfig, RevalidationResult};
use orderer_core::types::BlockNumber;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use super::chain::{KafkaChain, UNWRITTEN_BYTES};
use super::messages::{ProduceTimeToCut, Resubmit, SetIngress};
use super::producer::KafkaProducer;
use crate::block_writer::{BlockWriter, WriteOp, WriteRequest};
use crate::config_processor::{ConfigOutcome, apply_config, rechecked};
use crate::mailbox::CountedAddr;
use crate::supervision::ExitReason;
use crate::validation_queue::{OwnThreadError, on_own_thread};

/// Exit cause of a chain whose producer ended before it.
const NOT_ACKNOWLEDGED: &str = "the producer ended before the brokers had acknowledged a message that is ordered again";
impl KafkaChain {
    pub(super) fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let Some(following) = &self.following else { return };
        match effect {
            Effect::Revalidate { envelope, is_config } => self.recheck(envelope, is_config, ctx),
            Effect::WriteBlock { number, envelopes, metadata } => self.write(number, envelopes, metadata, ctx),
            Effect::WriteConfigBlock { number, envelope, metadata } => self.apply(number, envelope, metadata, ctx),
            Effect::Resubmit(message) => {
                let (done, acknowledged) = oneshot::channel();
                #[expect(clippy::disallowed_methods, reason = "one at a time")]
                following.producer.do_send(Resubmit { message, done });
                // no block that is decided later may be durable before the broker has it; a producer that is gone has
                // not said so
                let then = |acknowledged: Result<(), RecvError>, chain: &mut Self, ctx: &mut Context<Self>| {
                    if acknowledged.is_err() {
                        chain.exit_with(ExitReason::Failed(NOT_ACKNOWLEDGED.to_owned()), ctx);
                    }
                };
                self.wait_for(acknowledged, then, ctx);
            }
            Effect::TimeToCut(block) => {
                #[expect(clippy::disallowed_methods, reason = "one a batch timer")]
                following.producer.do_send(ProduceTimeToCut(block));
            }
            Effect::CloseIngress => {
                tracing::info!(target: "orderer.kafka", channel = %self.channel.id(),
                    "revalidated config message was submitted again; Broadcast waits for it");
                send_ingress(&following.producer, false);
            }
            Effect::OpenIngress => send_ingress(&following.producer, true),
            Effect::ArmTimer => {
                let timeout = self.snapshot.orderer().batch_timeout;
                self.channel.gauges().timer(Some(timeout));
                self.timer = Some(ctx.run_later(timeout, |chain, ctx| {
                    chain.timer = None;
                    chain.channel.gauges().timer(None);
                    chain.step(Event::Timer);
                    chain.drive(ctx);
                }));
            }
            Effect::DisarmTimer => {
                if let Some(timer) = self.timer.take() {
                    self.channel.gauges().timer(None);
                    ctx.cancel_future(timer);
                }
            }
            Effect::Skip { offset, reason } => self.report_skip(offset, &reason),
            Effect::Fail(failure) => self.give_up(failure.to_string(), ctx),
        }
    }

    fn recheck(&mut self, envelope: SignedEnvelope, is_config: bool, ctx: &mut Context<Self>) {
        let revalidated = rechecked(Arc::clone(&self.snapshot), Arc::clone(&self.context), envelope, is_config);
        let then = |outcome, chain: &mut Self, ctx: &mut Context<Self>| match outcome {
            Ok(Ok((envelope, sequence))) => {
                chain.step(Event::Revalidated(RevalidationResult::Valid { envelope, sequence }));
            }
            Ok(Err(refusal)) => chain.step(Event::Revalidated(RevalidationResult::Invalid(refusal))),
            Err(not_done) => chain.exit_with(OwnThreadError::into(not_done), ctx),
        };
        self.wait_for(revalidated, then, ctx);
    }

    fn write(
        &mut self,
        number: BlockNumber,
        envelopes: Vec<SignedEnvelope>,
        metadata: KafkaMetadata,
        ctx: &mut Context<Self>,
    ) {
        let bytes: usize = envelopes.iter().map(|envelope| envelope.raw().len()).sum();
        let op = WriteOp::WriteBlock {
            envelopes,
            pending_below: 0,
            consenter_metadata: metadata.encode(),
            header_hash: None,
        };
        self.hand_over(number, op, bytes, ctx);
    }

    /// A message that the other orderers could apply and this one cannot must not be passed over: the chain ends.
    fn apply(
        &mut self,
        number: BlockNumber,
        envelope: SignedEnvelope,
        metadata: KafkaMetadata,
        ctx: &mut Context<Self>,
    ) {
        let (snapshot, context) = (Arc::clone(&self.snapshot), Arc::clone(&self.context));
        let of_thread = envelope.clone();
        let applied = on_own_thread(move || apply_config(&snapshot, &context, &of_thread));
        let then = move |outcome, chain: &mut Self, ctx: &mut Context<Self>| {
            let bytes = envelope.raw().len();
            let (next, created) = match outcome {
                Ok(Ok(ConfigOutcome::Config(next))) => (Some(next), None),
                Ok(Ok(ConfigOutcome::Created(created))) => (None, created),
                Ok(Err(refusal)) => {
                    let cause = format!("the config message of block {number} cannot be applied: {refusal}");
                    return chain.give_up(cause, ctx);
                }
                Err(not_done) => {
                    return chain.exit_with(OwnThreadError::into(not_done), ctx);
                }
            };
            let mut consenter_metadata = metadata.encode();
            if let Some(next) = &next {
                if !matches!(chain.context.consensus_mapping.engine(next), Ok(ConsenterKind::Kafka { .. })) {
                    // another engine goes on from here, which would not know what to make of an offset
                    consenter_metadata = Bytes::new();
                    tracing::warn!(target: "orderer.kafka", channel = %chain.channel.id(),
                        to = %next.orderer().consensus_type, "the channel migrates away from Kafka (restart the orderer)");
                }
                chain.snapshot = Arc::clone(next);
                tracing::info!(target: "orderer.chain", channel = %chain.channel.id(), sequence = %next.sequence(),
                    "configuration updated");
                chain.step(Event::Configured(OrderingConfig::of(next)));
            }
            let op = WriteOp::WriteConfigBlock {
                envelope,
                pending_below: 0,
                consenter_metadata,
                header_hash: None,
                next,
                created,
            };
            chain.hand_over(number, op, bytes, ctx);
        };
        self.wait_for(applied, then, ctx);
    }

    /// Hands an op to the writer, when there is capacity.
    fn hand_over(&mut self, number: BlockNumber, op: WriteOp, bytes: usize, ctx: &mut Context<Self>) {
        tracing::trace!(target: "orderer.kafka", channel = %self.channel.id(), block = %number, "block cut");
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(UNWRITTEN_BYTES);
        if let Ok(room) = Arc::clone(&self.unwritten).try_acquire_many_owned(bytes) {
            send_write(&self.writer, op, room);
            return;
        }
        let room = Arc::clone(&self.unwritten).acquire_many_owned(bytes);
        let then = |room, chain: &mut Self, _: &mut Context<Self>| {
            // never closed
            if let Ok(room) = room {
                send_write(&chain.writer, op, room);
            }
        };
        self.wait_for(room, then, ctx);
    }
}

fn send_ingress(producer: &Addr<KafkaProducer>, open: bool) {
    #[expect(clippy::disallowed_methods, reason = "one a config update that another overtook")]
    producer.do_send(SetIngress { open });
}

fn send_write(writer: &CountedAddr<BlockWriter>, op: WriteOp, room: tokio::sync::OwnedSemaphorePermit) {
    // bounded by the room that each block holds
    writer.send(WriteRequest { ops: vec![op], replies: Vec::new(), rooms: vec![room] });
}
