//! Revalidates messages and applies config messages on behalf of a chain. Verifies one or more signatures: call it from another
//! thread than an arbiter.

use std::sync::Arc;

use fabric_proto::common::HeaderType;
use orderer_core::block::EncodedBlock;
use orderer_core::config::{ChannelSnapshot, genesis};
use orderer_core::crypto::SignError;
use orderer_core::envelope::{self, SignedEnvelope};
use orderer_core::processing::{self, MessageOrigin, Rejection};
use orderer_core::types::{BlockNumber, ConfigSequence};
use orderer_ledger::OpenError;

use crate::chain_state::error_chain;
use crate::channel::{ChannelCreated, ChannelEntry};
use crate::node_context::{NodeContext, fresh_header_fields};
use crate::validation_queue::{OwnThreadError, signing_on_own_thread};

/// The outcome of applying a config message.
pub(crate) enum ConfigOutcome {
    /// The channel's own next configuration.
    Config(Arc<ChannelSnapshot>),
    /// Another channel; `None` if it is there already, after a crash.
    Created(Option<Box<ChannelCreated>>),
}

/// Validates a message under the current configuration. The envelope of a config message is built anew.
pub(crate) fn revalidate(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    envelope: &SignedEnvelope,
    is_config: bool,
) -> Result<(SignedEnvelope, ConfigSequence), Rejection> {
    let parsed = envelope::ParsedEnvelope::parse(envelope.clone()).map_err(Rejection::NoChannelId)?;
    let at = context.validation_context(MessageOrigin::Ordered);
    if is_config {
        let channels = application_channel_count(context);
        let signer = context.signer.get();
        let proposed = processing::revalidate_config(snapshot, channels, &parsed, &*signer, fresh_header_fields(), at)?;
        Ok((proposed.envelope, proposed.sequence))
    } else {
        Ok((envelope.clone(), processing::validate_normal(snapshot, &parsed, at)?))
    }
}

/// Revalidates a message on another thread: a config message on a thread of its own, any other on the I/O runtime's blocking
/// threads.
pub(crate) async fn rechecked(
    snapshot: Arc<ChannelSnapshot>,
    context: Arc<NodeContext>,
    envelope: SignedEnvelope,
    is_config: bool,
) -> Result<Result<(SignedEnvelope, ConfigSequence), Rejection>, OwnThreadError> {
    let io = context.blocking_runtime.clone();
    let work = move || signed(revalidate(&snapshot, &context, &envelope, is_config));
    if is_config {
        signing_on_own_thread(work).await
    } else {
        let validated = io.spawn_blocking(work).await.map_err(|error| OwnThreadError::Panicked(error.to_string()))?;
        validated.map_err(OwnThreadError::Sign)
    }
}

/// Separates the verdict on a message from a failure to sign that is over when the key can be used again. A message of which
/// nothing is known must not count as invalid.
pub(crate) fn signed<T>(verdict: Result<T, Rejection>) -> Result<Result<T, Rejection>, SignError> {
    match verdict {
        Err(Rejection::Sign(error)) if error.is_temporary() => Err(error),
        verdict => Ok(verdict),
    }
}

/// Returns the number of channels of the node less one, the system channel.
pub fn application_channel_count(context: &NodeContext) -> u64 {
    context.directory.entries().len().saturating_sub(1) as u64
}

/// Returns the configuration that a CONFIG message makes; `None` for an ORDERER_TRANSACTION message, whose channel is validated
/// and not created.
pub(crate) fn leads_to(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    envelope: &SignedEnvelope,
) -> Result<Option<ChannelSnapshot>, Rejection> {
    let parsed = envelope::ParsedEnvelope::parse(envelope.clone()).map_err(Rejection::NoChannelId)?;
    if parsed.channel_header.r#type != HeaderType::OrdererTransaction as i32 {
        return processing::apply_config(snapshot, &parsed).map(Some);
    }
    let (created, _) = processing::created_channel_config(snapshot, &parsed)?;
    match context.directory.get(created.channel().as_str()) {
        Some(_) => Err(Rejection::ChannelExists(created.channel().to_string())),
        None => Ok(None),
    }
}

/// Builds the configuration, or the channel, that a CONFIG or ORDERER_TRANSACTION message makes.
pub(crate) fn apply_config(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    envelope: &SignedEnvelope,
) -> Result<ConfigOutcome, Rejection> {
    let parsed = envelope::ParsedEnvelope::parse(envelope.clone()).map_err(Rejection::NoChannelId)?;
    if parsed.channel_header.r#type != HeaderType::OrdererTransaction as i32 {
        return processing::apply_config(snapshot, &parsed).map(|next| ConfigOutcome::Config(Arc::new(next)));
    }
    let (created, genesis) = processing::created_channel_config(snapshot, &parsed)?;
    Ok(ConfigOutcome::Created(create_channel_ledger(context, created, &genesis)?.map(Box::new)))
}

/// Creates the ledger of a new channel. It is created before the block that reports it: a crash in between leaves a channel
/// that the same message, ordered again, finds complete.
fn create_channel_ledger(
    context: &NodeContext,
    snapshot: ChannelSnapshot,
    genesis: &SignedEnvelope,
) -> Result<Option<ChannelCreated>, Rejection> {
    let channel = snapshot.channel();
    let failed = |text: String| Rejection::ConfigMessage(format!("channel '{channel}' cannot be created: {text}"));
    let block = EncodedBlock::parse(&genesis::genesis_block_from_envelope(genesis.raw().clone(), false))
        .map_err(|e| failed(e.to_string()))?;
    match context.directory.get(channel.as_str()) {
        Some(ChannelEntry::Open(existing)) => {
            let first = existing.ledger().block(BlockNumber::GENESIS);
            let is_same =
                first.is_ok_and(|first| first.is_some_and(|first| first.header_hash() == block.header_hash()));
            return if is_same { Ok(None) } else { Err(Rejection::ChannelExists(channel.to_string())) };
        }
        Some(ChannelEntry::Unavailable(_)) => return Err(Rejection::ChannelExists(channel.to_string())),
        None => {}
    }
    let ledger = context.ledgers.create(channel, &block).map_err(|error| match error {
        // created by the message before, and not in the directory yet
        OpenError::Exists { .. } => Rejection::ChannelExists(channel.to_string()),
        other => failed(error_chain(&other)),
    })?;
    Ok(Some(ChannelCreated { ledger: Arc::new(ledger), snapshot: Arc::new(snapshot) }))
}
