//! Validates envelopes before they reach the actor tree: resolves the channel, classifies the message, checks the
//! sender's rate and applies the filters. CPU only; runs on the thread that reads the stream, against the channel's
//! snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::common::{HeaderType, Status};
use orderer_actors::Channel;
use orderer_actors::channel::{ChannelEntry, UnavailableChannel};
use orderer_actors::mailbox::{Announcement, OrderError, ValidatedEnvelope};
use orderer_actors::node_context::{NodeContext, fresh_header_fields};
use orderer_actors::observer::{EnvelopeIdentity, EnvelopeKind, RejectionCause, TxKey, ValidationRecord};
use orderer_actors::trace::{StagedSpan, TARGET, is_enabled};
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::{ParsedEnvelope, SignedEnvelope, config_update_channel};
use orderer_core::processing::{
    Creator, MessageClass, MessageOrigin, PreparedConfigMessage, Rejection, RejectionKind, ValidationContext, classify,
    process_channel_creation, process_config_update, validate_normal_with,
};
use orderer_core::rate_limit::{RateLimitBatch, RateLimited, RateLimiter, SenderKey};
use orderer_core::text::truncate_at_char_boundary;

use super::message_reader::IncomingMessage;
use crate::admission::Charge;
use crate::traces::RemoteParent;

/// Maximum length in bytes of a channel's name in the log, because clients choose it.
const LOGGED_NAME_MAX_BYTES: usize = 250;

/// The response to an envelope that is not ordered.
#[derive(Debug, Clone)]
pub(crate) struct RejectedResponse {
    pub(crate) status: Status,
    pub(crate) info: String,
    /// Whether the stream continues after this response.
    pub(crate) keeps_stream_open: bool,
}

/// An envelope that passed validation.
#[derive(Debug)]
pub(crate) struct ValidEnvelope {
    pub(crate) channel: Arc<Channel>,
    pub(crate) submission: ValidatedEnvelope,
    pub(crate) identity: EnvelopeIdentity,
}

/// A validated envelope, or its rejection.
pub(crate) type ValidationResult = Result<ValidEnvelope, RejectedResponse>;

/// A verdict, and what is retained of its envelope until the response is sent.
pub(super) struct ValidationOutcome {
    pub(super) verdict: ValidationResult,
    pub(super) validation: ValidationRecord,
    /// The channel of a rejected envelope, if it belongs to one.
    pub(super) channel: Option<Arc<Channel>>,
    /// The envelope's span, if tracing is enabled.
    pub(super) trace: StagedSpan,
}

impl From<&Rejection> for RejectedResponse {
    fn from(refusal: &Rejection) -> Self {
        let keeps_stream_open = matches!(refusal, Rejection::RateLimited(_));
        Self { status: refusal.kind().status(), info: refusal.to_string(), keeps_stream_open }
    }
}

impl From<OrderError> for RejectedResponse {
    fn from(refusal: OrderError) -> Self {
        match refusal {
            OrderError::NoLongerValid { kind, text } => Self::new(kind, text),
            refusal => Self::unavailable(refusal.to_string()),
        }
    }
}

impl RejectedResponse {
    /// Creates a rejection that ends the stream.
    pub(super) fn new(kind: RejectionKind, info: String) -> Self {
        Self { status: kind.status(), info, keeps_stream_open: false }
    }

    pub(super) fn unavailable(info: String) -> Self {
        Self::new(RejectionKind::ServiceUnavailable, info)
    }
}

/// The results for several envelopes, in the order in which they were read.
pub(super) struct ValidatedBatch {
    /// Each with its charge.
    pub(super) outcomes: Vec<(ValidationOutcome, Charge)>,
    /// One for each channel that gets normal envelopes.
    pub(super) announced: Vec<Announcement>,
}

/// Validates several `Envelope`s in the order in which they were read. Each keeps its charge.
pub(super) fn validate_batch(
    read: Vec<IncomingMessage>,
    context: &NodeContext,
    parent: &RemoteParent,
) -> ValidatedBatch {
    let (began, count) = (Instant::now(), u32::try_from(read.len()).unwrap_or(u32::MAX).max(1));
    let (circumstances, uptime) = (context.validation_context(MessageOrigin::Client), context.uptime());
    let mut found: Vec<(Result<RoutedEnvelope, RejectedResponse>, Charge)> = Vec::with_capacity(read.len());
    for IncomingMessage { bytes, charge } in read {
        found.push((
            RoutedEnvelope::new(bytes, context).map(|found| found.with_rate_check(&context.fairness, uptime)),
            charge,
        ));
    }
    let announced = announce(found.iter().filter_map(|(found, _)| found.as_ref().ok()));
    let traces: Vec<StagedSpan> = if is_enabled() {
        found.iter().map(|(found, _)| follow(found.as_ref().ok(), parent)).collect()
    } else {
        Vec::new()
    };
    let mut traces = traces.into_iter();
    let mut tally = context.fairness.begin_batch(uptime);
    let mut before = Instant::now();
    // each envelope has its share of what was done for all together
    let share = (before - began) / count;
    let validate = |(found, charge): (Result<RoutedEnvelope, RejectedResponse>, Charge)| {
        let kind = found.as_ref().map_or(EnvelopeKind::UNKNOWN, RoutedEnvelope::kind);
        let tx = found.as_ref().ok().and_then(|found| found.transaction(context));
        let (verdict, channel) = match found
            .map_err(|refused| (refused, None))
            .and_then(|f| f.validate(Some(&mut tally), circumstances, context))
        {
            Ok(accepted) => (Ok(accepted), None),
            Err((refused, channel)) => (Err(refused), channel),
        };
        let at = Instant::now();
        // a rejected envelope may reuse the transaction ID of a committed one
        let tx = tx.filter(|_| verdict.is_ok());
        let validation = ValidationRecord { kind, took: share + (at - before), at, tx };
        if let Ok(accepted) = &verdict {
            accepted.channel.observer().accepted(&validation);
        }
        before = at;
        let mut trace = traces.next().unwrap_or_default();
        match &verdict {
            Ok(_) => trace.enter_stage("gate"),
            Err(refused) => {
                trace.end_stage();
                if let Some(span) = trace.span() {
                    span.record("refused", refused.info.as_str()).record("otel.status_code", "ERROR");
                }
            }
        }
        (ValidationOutcome { verdict, validation, channel, trace }, charge)
    };
    let mut outcomes = Vec::with_capacity(found.len());
    outcomes.extend(found.into_iter().map(validate));
    ValidatedBatch { outcomes, announced }
}

/// Announces the batch at the gate of each channel that it has normal envelopes for. Config updates take too long to be waited for,
/// and envelopes whose claimed signer the channel does not know are rejected in any case.
fn announce<'a>(found: impl Iterator<Item = &'a RoutedEnvelope>) -> Vec<Announcement> {
    let mut last: Option<&Arc<Channel>> = None;
    let mut announced = Vec::new();
    for found in found.filter(|found| found.class == MessageClass::Normal && found.may_pass()) {
        let Route::Channel(ChannelScope { channel, .. }) = &found.place else { continue };
        // one is enough for envelopes that follow each other; a second one does no harm
        if !last.is_some_and(|last| Arc::ptr_eq(last, channel)) {
            announced.push(channel.gate().announce());
            last = Some(channel);
        }
    }
    announced
}

/// Returns the key of the queue in which a config update waits: the name of an existing channel, or an empty string
/// for all channels to be created. `None` for envelopes that wait in no queue.
pub(crate) fn config_update_queue(raw: &[u8], context: &NodeContext) -> Option<String> {
    let name = String::from_utf8_lossy(config_update_channel(raw)?);
    Some(if context.directory.get(&name).is_some() { name.into_owned() } else { String::new() })
}

/// Rejects an envelope that cannot be validated now.
pub(super) fn reject_without_validation(why: String, context: &NodeContext) -> ValidationOutcome {
    let refused = RejectedResponse::unavailable(why);
    context.observer.refused(None, refused.status, RejectionCause::Text(&refused.info));
    let kind = EnvelopeKind::of(HeaderType::ConfigUpdate as i32);
    let validation = ValidationRecord { kind, took: Duration::ZERO, at: Instant::now(), tx: None };
    ValidationOutcome { verdict: Err(refused), validation, channel: None, trace: StagedSpan::default() }
}

/// Starts the span of an envelope that was read and is being validated.
fn follow(found: Option<&RoutedEnvelope>, parent: &RemoteParent) -> StagedSpan {
    let header = found.map(|found| &found.message.channel_header);
    let (channel, tx) = header.map_or(("", ""), |header| (header.channel_id.as_str(), header.tx_id.as_str()));
    let kind = found.map_or(EnvelopeKind::UNKNOWN, RoutedEnvelope::kind).name();
    let span = tracing::debug_span!(target: TARGET, parent: None, "envelope", channel, tx, kind,
        refused = tracing::field::Empty, otel.status_code = tracing::field::Empty);
    parent.set_as_parent_of(&span);
    let mut trace = StagedSpan::new(span);
    trace.enter_stage("judge");
    trace
}

/// Validates the bytes of an `Envelope` that updates the configuration of an existing channel.
pub(crate) fn validate_config_update(raw: Bytes, context: &NodeContext) -> ValidationResult {
    let began = Instant::now();
    let found = RoutedEnvelope::new(raw, context)?;
    let name = &found.message.channel_header.channel_id;
    match (found.class, &found.place) {
        (MessageClass::ConfigUpdate, Route::New(_) | Route::Nowhere) => {
            return Err(RejectedResponse::from(&Rejection::UnknownChannel(name.clone())));
        }
        (MessageClass::ConfigUpdate, _) => {}
        _ => {
            return Err(RejectedResponse::new(
                RejectionKind::BadRequest,
                "the envelope is not of type CONFIG_UPDATE".to_owned(),
            ));
        }
    }
    let (kind, tx) = (found.kind(), found.transaction(context));
    // administrators have no rate
    let accepted = found
        .validate(None, context.validation_context(MessageOrigin::Client), context)
        .map_err(|(refused, _)| refused)?;
    accepted.channel.observer().accepted(&ValidationRecord { kind, took: began.elapsed(), at: Instant::now(), tx });
    Ok(accepted)
}

/// A parsed envelope, and the channel it belongs to.
struct RoutedEnvelope {
    message: ParsedEnvelope,
    class: MessageClass,
    place: Route,
    /// The limit that its sender has exceeded, if any.
    over: Option<RateLimited>,
}

enum Route {
    /// An existing channel.
    Channel(ChannelScope),
    /// A channel that the envelope may create through the system channel, whose configuration validates it.
    New(ChannelScope),
    Broken(Arc<UnavailableChannel>),
    Nowhere,
}

/// The channel whose configuration validates the envelope, and the creator's identity in that channel.
struct ChannelScope {
    channel: Arc<Channel>,
    snapshot: Arc<ChannelSnapshot>,
    creator: Creator,
}

impl RoutedEnvelope {
    fn new(raw: Bytes, context: &NodeContext) -> Result<Self, RejectedResponse> {
        let message = SignedEnvelope::parse(raw).and_then(ParsedEnvelope::parse).map_err(Rejection::NoChannelId);
        let message = message.map_err(|refusal| refuse(context, None, &refusal))?;
        let class = classify(message.channel_header.r#type);
        let place = match context.directory.get(&message.channel_header.channel_id) {
            Some(ChannelEntry::Open(channel)) => Route::Channel(ChannelScope::of(channel, &message)),
            Some(ChannelEntry::Unavailable(broken)) => Route::Broken(broken),
            None => match context.directory.system_channel().filter(|_| class == MessageClass::ConfigUpdate) {
                Some(system) => Route::New(ChannelScope::of(system, &message)),
                None => Route::Nowhere,
            },
        };
        Ok(Self { message, class, place, over: None })
    }

    /// Checks the sender's rate, before anything is verified.
    fn with_rate_check(mut self, fairness: &RateLimiter, uptime: Duration) -> Self {
        self.over = self.client().and_then(|client| fairness.check(client, uptime).err());
        self
    }

    /// Returns the claimed signer, if its rate is to be charged.
    fn client(&self) -> Option<SenderKey<'_>> {
        match &self.place {
            Route::Channel(under) | Route::New(under) => under.client(),
            Route::Broken(_) | Route::Nowhere => None,
        }
    }

    /// Returns whether the envelope is worth waiting for: the channel knows its claimed signer, who is within the limit.
    fn may_pass(&self) -> bool {
        self.over.is_none() && self.client().is_some()
    }

    fn transaction(&self, context: &NodeContext) -> Option<TxKey> {
        context.observer.transactions().key(self.message.channel_header.tx_id.as_bytes())
    }

    fn kind(&self) -> EnvelopeKind {
        EnvelopeKind::of(self.message.channel_header.r#type)
    }

    /// Validates the envelope. A rejection comes with the channel it concerns, if there is one.
    fn validate(
        self,
        tally: Option<&mut RateLimitBatch<'_>>,
        at: ValidationContext,
        context: &NodeContext,
    ) -> Result<ValidEnvelope, (RejectedResponse, Option<Arc<Channel>>)> {
        let Self { message, class, place, over } = self;
        let (under, is_new) = match place {
            Route::Channel(under) => (under, false),
            Route::New(under) => (under, true),
            Route::Broken(broken) => {
                let text = format!("channel '{}' cannot be opened: {}", broken.id, broken.cause);
                let refused = RejectedResponse::unavailable(text);
                context.observer.refused(Some(&message), refused.status, RejectionCause::Text(&refused.info));
                return Err((refused, None));
            }
            Route::Nowhere => return Err((refuse_for_no_channel(&message, class, context), None)),
        };
        let snapshot = &*under.snapshot;
        let signer = || context.signer.get();
        let made = |proposed: PreparedConfigMessage| (Some(proposed.envelope), proposed.sequence);
        let checked = match (over, class) {
            (Some(over), _) => Err(Rejection::RateLimited(Box::new(over))),
            (None, MessageClass::Config) => Err(Rejection::ConfigMessageNotAllowed),
            (None, MessageClass::Normal) => {
                validate_normal_with(snapshot, &message, &under.creator, at).map(|validated_at| (None, validated_at))
            }
            (None, MessageClass::ConfigUpdate) if is_new => {
                let channels = orderer_actors::config_processor::application_channel_count(context);
                process_channel_creation(snapshot, channels, &message, &*signer(), fresh_header_fields(), at).map(made)
            }
            (None, MessageClass::ConfigUpdate) => {
                process_config_update(snapshot, &message, &*signer(), fresh_header_fields(), at).map(made)
            }
        };
        let charged = checked.and_then(|checked| {
            if let (Some(tally), Some(client)) = (tally, under.client()) {
                tally.charge(client).map_err(|over| Rejection::RateLimited(Box::new(over)))?;
            }
            Ok(checked)
        });
        match charged {
            Ok((proposed, validated_at)) => {
                let is_config = proposed.is_some();
                let ParsedEnvelope { envelope, channel_header, signature_header, .. } = message;
                let envelope = proposed.unwrap_or(envelope);
                let submission = ValidatedEnvelope { envelope, validated_at, is_config };
                Ok(ValidEnvelope {
                    channel: under.channel,
                    submission,
                    identity: EnvelopeIdentity { channel_header, signature_header },
                })
            }
            // a channel that was not created is no channel
            Err(refusal) => Err((refuse(context, Some(&message), &refusal), (!is_new).then_some(under.channel))),
        }
    }
}

impl ChannelScope {
    fn of(channel: Arc<Channel>, message: &ParsedEnvelope) -> Self {
        let snapshot = channel.snapshot();
        let creator = Creator::of(message, snapshot.msps());
        Self { channel, snapshot, creator }
    }

    fn client(&self) -> Option<SenderKey<'_>> {
        self.creator.identity().map(|identity| SenderKey::from(&**identity))
    }
}

/// Records the rejection with the observers, and creates the client's response.
fn refuse(context: &NodeContext, message: Option<&ParsedEnvelope>, refusal: &Rejection) -> RejectedResponse {
    let status = refusal.kind().status();
    match refusal {
        Rejection::RateLimited(over) => context.observer.rate_limited(message, status, over),
        _ => context.observer.refused(message, status, RejectionCause::Refusal(refusal)),
    }
    RejectedResponse::from(refusal)
}

/// Rejects an envelope for a channel that does not exist, and which creates none.
fn refuse_for_no_channel(message: &ParsedEnvelope, class: MessageClass, context: &NodeContext) -> RejectedResponse {
    if class == MessageClass::Config {
        return refuse(context, Some(message), &Rejection::ConfigMessageNotAllowed);
    }
    let mut named = message.channel_header.channel_id.clone();
    truncate_at_char_boundary(&mut named, LOGGED_NAME_MAX_BYTES);
    // ends with Fabric's text
    tracing::warn!(target: "orderer.common.broadcast", channel = ?named, "an envelope was rejected: channel does not exist");
    let unknown = Rejection::UnknownChannel(message.channel_header.channel_id.clone());
    let mut refused = refuse(context, Some(message), &unknown);
    if context.directory.system_channel().is_none() {
        // nothing can be created here, so a request for an unknown channel is the client's error
        refused.status = Status::BadRequest;
        if class == MessageClass::ConfigUpdate {
            refused.info.push_str(
                ": channel creation request not allowed because the orderer system channel is not defined; \
                 a channel is made by orderer channel join, or osnadmin channel join",
            );
        }
    }
    refused
}
