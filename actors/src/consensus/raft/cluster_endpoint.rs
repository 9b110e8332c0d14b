//! Receives the requests of other consenters: decodes them, bounds their memory, and passes them to the chain.

use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Recipient};
use arc_swap::ArcSwap;
use bytes::Bytes;
use fabric_proto::raftpb::{self, MessageType};
use futures_util::future::BoxFuture;
use orderer_cluster::{ClusterChannel, ConsenterId, Membership, PeerEvents, StepRejection};
use orderer_core::envelope::{self, SignedEnvelope};
use orderer_core::ordering::raft::{EnvelopeOrigin, Event, SubmittedEnvelope};
use orderer_core::processing::{MessageClass, classify};
use orderer_core::types::ConfigSequence;
use prost::Message as _;
use tokio::sync::Semaphore;

use super::messages::{EventOccurred, ForwardedEnvelope, StepMessage};
use crate::status::StatusCell;

/// Maximum size in bytes of the messages from other consenters that the chain has not processed yet.
const INGRESS_BYTES: u32 = 64 << 20;
/// Estimated memory of a message beyond its payload, in bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 512;
/// Maximum size in bytes of the envelopes in committed blocks that are not durable yet. Above that, no more entries are
/// accepted.
pub(super) const UNWRITTEN_BYTES: u32 = 64 << 20;

/// Receives the transport's requests on behalf of a chain.
pub(super) struct ChainEndpoint {
    membership: ArcSwap<Membership>,
    chain: ChainSender,
    ingress: Arc<Semaphore>,
    /// Permits for the bytes of envelopes that other consenters forward.
    intake: Arc<Semaphore>,
    intake_bytes: u32,
    /// Permits for the bytes of committed blocks that are not written yet.
    pub(super) unwritten: Arc<Semaphore>,
}

/// Addresses of a chain, for the transport and the log writer.
#[derive(Clone)]
pub(super) struct ChainSender {
    step: Recipient<StepMessage>,
    forwarded: Recipient<ForwardedEnvelope>,
    happened: Recipient<EventOccurred>,
    status: Arc<StatusCell>,
}

impl ChainSender {
    /// Creates a link to this chain, which publishes its status to `status`.
    pub(super) fn new<A>(chain: &Addr<A>, status: &Arc<StatusCell>) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<StepMessage> + Handler<ForwardedEnvelope> + Handler<EventOccurred>,
    {
        Self {
            step: chain.clone().recipient(),
            forwarded: chain.clone().recipient(),
            happened: chain.clone().recipient(),
            status: Arc::clone(status),
        }
    }

    /// Sends an event to the chain.
    pub(super) fn happened(&self, event: Event) {
        self.status.count_sent();
        #[expect(
            clippy::disallowed_methods,
            reason = "one for what the chain has asked for, or for a connection that was lost"
        )]
        self.happened.do_send(EventOccurred(event));
    }
}

impl PeerEvents for ChainSender {
    fn connected(&self, _: ConsenterId) {}

    fn unreachable(&self, peer: ConsenterId) {
        self.happened(Event::Unreachable(peer));
    }

    fn estranged(&self, peer: ConsenterId) {
        self.happened(Event::Estranged(peer));
    }
}

impl ChainEndpoint {
    /// Creates the receiver of a chain. `intake_bytes`, the capacity of the channel's gate, is also the maximum size of
    /// the forwarded envelopes in the intake.
    pub(super) fn new(chain: ChainSender, membership: Membership, intake_bytes: u32) -> Self {
        Self {
            membership: ArcSwap::from_pointee(membership),
            chain,
            ingress: Arc::new(Semaphore::new(INGRESS_BYTES as usize)),
            intake: Arc::new(Semaphore::new(intake_bytes as usize)),
            intake_bytes,
            unwritten: Arc::new(Semaphore::new(UNWRITTEN_BYTES as usize)),
        }
    }

    /// Replaces the set of consenters whose requests are accepted.
    pub(super) fn configure(&self, membership: Membership) {
        self.membership.store(Arc::new(membership));
    }
}

impl ClusterChannel for ChainEndpoint {
    fn membership(&self) -> Arc<Membership> {
        self.membership.load_full()
    }

    fn consensus(&self, from: ConsenterId, payload: Bytes, metadata: Bytes) -> Result<(), StepRejection> {
        let bytes = payload.len() + metadata.len() + MESSAGE_OVERHEAD_BYTES;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(INGRESS_BYTES);
        let mut message = raftpb::Message::decode(payload).map_err(|error| {
            StepRejection::Refused(format!("failed to unmarshal StepRequest payload to Raft Message: {error}"))
        })?;
        if message.from != from {
            return Err(StepRejection::Refused(format!(
                "consenter {from} has sent a Raft message in the name of consenter {}",
                message.from
            )));
        }
        if carries_blocks(&message) && self.unwritten.available_permits() == 0 {
            return Err(StepRejection::NoRoom);
        }
        let room = Arc::clone(&self.ingress).try_acquire_many_owned(bytes).map_err(|_| StepRejection::NoRoom)?;
        keep_apart(&mut message);
        self.chain.status.count_sent();
        let metadata = Bytes::copy_from_slice(&metadata);
        #[expect(clippy::disallowed_methods, reason = "bounded by the room that each message holds")]
        self.chain.step.do_send(StepMessage { from, message: Box::new(message), metadata, _room: room });
        Ok(())
    }

    fn submit(
        &self,
        from: ConsenterId,
        last_validation_seq: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), StepRejection>> {
        let submission = match submission(from, last_validation_seq, &envelope) {
            Ok(submission) => submission,
            Err(refused) => return Box::pin(std::future::ready(Err(refused))),
        };
        let bytes = envelope.len() + MESSAGE_OVERHEAD_BYTES;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.intake_bytes);
        let (intake, unwritten, chain) = (Arc::clone(&self.intake), Arc::clone(&self.unwritten), self.chain.clone());
        Box::pin(async move {
            let closed = |_| StepRejection::Refused("chain is stopped".to_owned());
            let room = intake.acquire_many_owned(bytes).await.map_err(closed)?;
            // while the disk is behind, consenters wait as clients do
            drop(unwritten.acquire_owned().await.map_err(closed)?);
            chain.status.count_sent();
            #[expect(clippy::disallowed_methods, reason = "bounded by the room that each envelope holds")]
            chain.forwarded.do_send(ForwardedEnvelope { submission, room });
            Ok(())
        })
    }
}

fn submission(
    from: ConsenterId,
    last_validation_seq: u64,
    envelope: &Bytes,
) -> Result<SubmittedEnvelope, StepRejection> {
    let refused = |cause: String| StepRejection::Refused(format!("bad message: {cause}"));
    // copied, so that the pending envelope does not keep the whole request in memory
    let envelope = SignedEnvelope::parse(Bytes::copy_from_slice(envelope)).map_err(|e| refused(e.to_string()))?;
    let parsed = envelope::ParsedEnvelope::parse(envelope.clone()).map_err(|e| refused(e.to_string()))?;
    let class = classify(parsed.channel_header.r#type);
    if class == MessageClass::ConfigUpdate {
        return Err(refused("a config update is not ordered before it is made a config message".to_owned()));
    }
    let is_config = class == MessageClass::Config;
    Ok(SubmittedEnvelope {
        envelope,
        validated_at: ConfigSequence(last_validation_seq),
        is_config,
        origin: EnvelopeOrigin::Consenter(from),
    })
}

fn carries_blocks(message: &raftpb::Message) -> bool {
    !message.entries.is_empty() || message.r#type == MessageType::MsgSnap as i32
}

/// Copies the payloads of a message. Entries stay in memory long after the request, and a slice would keep the whole
/// request in memory.
fn keep_apart(message: &mut raftpb::Message) {
    let own = |data: &mut Option<Bytes>| {
        if let Some(data) = data {
            *data = Bytes::copy_from_slice(data);
        }
    };
    message.entries.iter_mut().for_each(|entry| own(&mut entry.data));
    if let Some(snapshot) = &mut message.snapshot {
        own(&mut snapshot.data);
    }
    own(&mut message.context);
}
