//! Revalidates messages and applies config messages on behalf of a chain. Verifies one or more signatures: call it from another
//! thread than an arbiter.

use std::sync::Arc;

use fabric_proto::common::HeaderType;
use orderer_core::block::EncodedBlock;
use orderer_core::channel::{BlockNumber, ConfigSequence};
use orderer_core::config::{ChannelSnapshot, genesis};
use orderer_core::envelope::{self, SignedEnvelope};
use orderer_core::processing::{self, Judging, Refusal};

use crate::chain_state::chain_text;
use crate::channel::{Entry, NewChannel};
use crate::judging::{NotDone, on_own_thread};
use crate::node_context::{NodeContext, stamp};

/// The outcome of applying a config message.
pub(crate) enum Applied {
    /// The channel's own next configuration.
    Config(Arc<ChannelSnapshot>),
    /// Another channel; `None` if it is there already, after a crash.
    Created(Option<Box<NewChannel>>),
}

/// Validates a message under the current configuration. The envelope of a config message is built anew.
pub(crate) fn recheck(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    envelope: &SignedEnvelope,
    is_config: bool,
) -> Result<(SignedEnvelope, ConfigSequence), Refusal> {
    let parsed = envelope::Message::parse(envelope.clone()).map_err(Refusal::NoChannelId)?;
    let at = context.circumstances(Judging::Ordered);
    if is_config {
        let channels = channels_beside_system(context);
        let signer = context.signer.get();
        let proposed = processing::recheck_config(snapshot, channels, &parsed, &*signer, stamp(), at)?;
        Ok((proposed.envelope, proposed.sequence))
    } else {
        Ok((envelope.clone(), processing::check_normal(snapshot, &parsed, at)?))
    }
}

/// Revalidates a message on another thread: a config message on a thread of its own, any other on the I/O runtime's blocking
/// threads.
pub(crate) async fn rechecked(
    snapshot: Arc<ChannelSnapshot>,
    context: Arc<NodeContext>,
    envelope: SignedEnvelope,
    is_config: bool,
) -> Result<Result<(SignedEnvelope, ConfigSequence), Refusal>, NotDone> {
    let io = context.io.clone();
    let work = move || recheck(&snapshot, &context, &envelope, is_config);
    if is_config {
        on_own_thread(work).await
    } else {
        io.spawn_blocking(work).await.map_err(|error| NotDone::Panicked(error.to_string()))
    }
}

/// Returns the number of channels of the node less one, the system channel.
pub fn channels_beside_system(context: &NodeContext) -> u64 {
    context.directory.all().len().saturating_sub(1) as u64
}

/// Returns the configuration that a CONFIG message makes; `None` for an ORDERER_TRANSACTION message, whose channel is validated
/// and not created.
pub(crate) fn leads_to(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    envelope: &SignedEnvelope,
) -> Result<Option<ChannelSnapshot>, Refusal> {
    let parsed = envelope::Message::parse(envelope.clone()).map_err(Refusal::NoChannelId)?;
    if parsed.channel_header.r#type != HeaderType::OrdererTransaction as i32 {
        return processing::apply_config(snapshot, &parsed).map(Some);
    }
    let (created, _) = processing::created_channel(snapshot, &parsed)?;
    match context.directory.find(created.channel().as_str()) {
        Some(_) => Err(Refusal::ChannelExists(created.channel().to_string())),
        None => Ok(None),
    }
}

/// Builds the configuration, or the channel, that a CONFIG or ORDERER_TRANSACTION message makes.
pub(crate) fn apply(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    envelope: &SignedEnvelope,
) -> Result<Applied, Refusal> {
    let parsed = envelope::Message::parse(envelope.clone()).map_err(Refusal::NoChannelId)?;
    if parsed.channel_header.r#type != HeaderType::OrdererTransaction as i32 {
        return processing::apply_config(snapshot, &parsed).map(|next| Applied::Config(Arc::new(next)));
    }
    let (created, genesis) = processing::created_channel(snapshot, &parsed)?;
    Ok(Applied::Created(create(context, created, &genesis)?.map(Box::new)))
}

/// Creates the ledger of a new channel. It is created before the block that reports it: a crash in between leaves a channel
/// that the same message, ordered again, finds complete.
fn create(
    context: &NodeContext,
    snapshot: ChannelSnapshot,
    genesis: &SignedEnvelope,
) -> Result<Option<NewChannel>, Refusal> {
    let channel = snapshot.channel();
    let failed = |text: String| Refusal::ConfigMessage(format!("channel '{channel}' cannot be created: {text}"));
    let block = EncodedBlock::parse(&genesis::genesis_block_of(genesis.raw().clone(), false))
        .map_err(|e| failed(e.to_string()))?;
    match context.directory.find(channel.as_str()) {
        Some(Entry::Open(existing)) => {
            let first = existing.ledger().block(BlockNumber::GENESIS);
            let is_same =
                first.is_ok_and(|first| first.is_some_and(|first| first.header_hash() == block.header_hash()));
            return if is_same { Ok(None) } else { Err(Refusal::ChannelExists(channel.to_string())) };
        }
        Some(Entry::Broken(_)) => return Err(Refusal::ChannelExists(channel.to_string())),
        None => {}
    }
    let ledger = context.ledgers.create(channel, &block).map_err(|e| failed(chain_text(&e)))?;
    Ok(Some(NewChannel { ledger: Arc::new(ledger), snapshot: Arc::new(snapshot) }))
}
