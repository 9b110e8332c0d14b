//! Validates envelopes before they reach the actor tree: resolves the channel, classifies the message, checks the
//! sender's rate and applies the filters. CPU only; runs on the thread that reads the stream, against the channel's
//! snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fabric_proto::common::{HeaderType, Status};
use orderer_actors::Channel;
use orderer_actors::channel::{BrokenChannel, Entry};
use orderer_actors::mailbox::Submission;
use orderer_actors::node_context::{NodeContext, stamp};
use orderer_actors::observe::{EnvelopeKind, Judged, Named, TxKey, Why};
use orderer_actors::trace::{TARGET, Trace, is_on};
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::{Message, SignedEnvelope, config_update_channel};
use orderer_core::fairness::{Client, Fairness, OverLimit, Tally};
use orderer_core::processing::{
    Circumstances, Class, Creator, Judging, Proposed, Refusal, RefusalKind, check_normal_of, classify,
    propose_creation, propose_update,
};

use super::message_reader::IncomingMessage;
use crate::admission::Charge;
use crate::traces::RemoteParent;

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
    pub(crate) submission: Submission,
    pub(crate) named: Named,
}

/// A validated envelope, or its rejection.
pub(crate) type ValidationResult = Result<ValidEnvelope, RejectedResponse>;

/// A verdict, and what is retained of its envelope until the response is sent.
pub(super) struct ValidationOutcome {
    pub(super) verdict: ValidationResult,
    pub(super) judged: Judged,
    /// The channel of a rejected envelope, if it belongs to one.
    pub(super) channel: Option<Arc<Channel>>,
    /// The envelope's span, if tracing is enabled.
    pub(super) trace: Trace,
}

impl From<&Refusal> for RejectedResponse {
    fn from(refusal: &Refusal) -> Self {
        let keeps_stream_open = matches!(refusal, Refusal::OverLimit(_));
        Self { status: refusal.kind().status(), info: refusal.to_string(), keeps_stream_open }
    }
}

impl RejectedResponse {
    /// Creates a rejection that ends the stream.
    pub(super) fn new(kind: RefusalKind, info: String) -> Self {
        Self { status: kind.status(), info, keeps_stream_open: false }
    }

    pub(super) fn unavailable(info: String) -> Self {
        Self::new(RefusalKind::ServiceUnavailable, info)
    }
}

/// Validates several `Envelope`s in the order in which they were read. Each keeps its charge.
pub(super) fn validate_batch(
    read: Vec<IncomingMessage>,
    context: &NodeContext,
    parent: &RemoteParent,
) -> Vec<(ValidationOutcome, Charge)> {
    let (began, count) = (Instant::now(), u32::try_from(read.len()).unwrap_or(u32::MAX).max(1));
    let (circumstances, uptime) = (context.circumstances(Judging::AtTheDoor), context.uptime());
    let mut found: Vec<(Result<RoutedEnvelope, RejectedResponse>, Charge)> = Vec::with_capacity(read.len());
    for IncomingMessage { bytes, charge } in read {
        found.push((
            RoutedEnvelope::new(bytes, context).map(|found| found.with_rate_check(&context.fairness, uptime)),
            charge,
        ));
    }
    let traces: Vec<Trace> =
        if is_on() { found.iter().map(|(found, _)| follow(found.as_ref().ok(), parent)).collect() } else { Vec::new() };
    let mut traces = traces.into_iter();
    let mut tally = context.fairness.tally(uptime);
    let mut before = Instant::now();
    // each envelope has its share of what was done for all together
    let share = (before - began) / count;
    let judge = |(found, charge): (Result<RoutedEnvelope, RejectedResponse>, Charge)| {
        let kind = found.as_ref().map_or(EnvelopeKind::UNKNOWN, RoutedEnvelope::kind);
        let tx = found.as_ref().ok().and_then(|found| found.transaction(context));
        let (verdict, channel) = match found
            .map_err(|refused| (refused, None))
            .and_then(|f| f.judge(Some(&mut tally), circumstances, context))
        {
            Ok(accepted) => (Ok(accepted), None),
            Err((refused, channel)) => (Err(refused), channel),
        };
        let at = Instant::now();
        // a rejected envelope may reuse the transaction ID of a committed one
        let tx = tx.filter(|_| verdict.is_ok());
        let judged = Judged { kind, took: share + (at - before), at, tx };
        if let Ok(accepted) = &verdict {
            accepted.channel.observed().accepted(&judged);
        }
        before = at;
        let mut trace = traces.next().unwrap_or_default();
        match &verdict {
            Ok(_) => trace.enter("gate"),
            Err(refused) => {
                trace.leave();
                if let Some(span) = trace.span() {
                    span.record("refused", refused.info.as_str()).record("otel.status_code", "ERROR");
                }
            }
        }
        (ValidationOutcome { verdict, judged, channel, trace }, charge)
    };
    let mut judged = Vec::with_capacity(found.len());
    judged.extend(found.into_iter().map(judge));
    judged
}

/// Returns the key of the queue in which a config update waits: the name of an existing channel, or an empty string
/// for all channels to be created. `None` for envelopes that wait in no queue.
pub(crate) fn config_update_queue(raw: &[u8], context: &NodeContext) -> Option<String> {
    let name = String::from_utf8_lossy(config_update_channel(raw)?);
    Some(if context.directory.find(&name).is_some() { name.into_owned() } else { String::new() })
}

/// Rejects an envelope that cannot be validated now.
pub(super) fn reject_without_validation(why: String, context: &NodeContext) -> ValidationOutcome {
    let refused = RejectedResponse::unavailable(why);
    context.observed.refused(None, refused.status, Why::Text(&refused.info));
    let kind = EnvelopeKind::of(HeaderType::ConfigUpdate as i32);
    let judged = Judged { kind, took: Duration::ZERO, at: Instant::now(), tx: None };
    ValidationOutcome { verdict: Err(refused), judged, channel: None, trace: Trace::default() }
}

/// Starts the span of an envelope that was read and is being validated.
fn follow(found: Option<&RoutedEnvelope>, parent: &RemoteParent) -> Trace {
    let header = found.map(|found| &found.message.channel_header);
    let (channel, tx) = header.map_or(("", ""), |header| (header.channel_id.as_str(), header.tx_id.as_str()));
    let kind = found.map_or(EnvelopeKind::UNKNOWN, RoutedEnvelope::kind).name();
    let span = tracing::debug_span!(target: TARGET, parent: None, "envelope", channel, tx, kind,
        refused = tracing::field::Empty, otel.status_code = tracing::field::Empty);
    parent.set_as_parent_of(&span);
    let mut trace = Trace::of(span);
    trace.enter("judge");
    trace
}

/// Validates the bytes of an `Envelope` that updates the configuration of an existing channel.
pub(crate) fn validate_config_update(raw: Bytes, context: &NodeContext) -> ValidationResult {
    let began = Instant::now();
    let found = RoutedEnvelope::new(raw, context)?;
    let name = &found.message.channel_header.channel_id;
    match (found.class, &found.place) {
        (Class::ConfigUpdate, Route::New(_) | Route::Nowhere) => {
            return Err(RejectedResponse::from(&Refusal::UnknownChannel(name.clone())));
        }
        (Class::ConfigUpdate, _) => {}
        _ => {
            return Err(RejectedResponse::new(
                RefusalKind::BadRequest,
                "the envelope is not of type CONFIG_UPDATE".to_owned(),
            ));
        }
    }
    let (kind, tx) = (found.kind(), found.transaction(context));
    // administrators have no rate
    let accepted =
        found.judge(None, context.circumstances(Judging::AtTheDoor), context).map_err(|(refused, _)| refused)?;
    accepted.channel.observed().accepted(&Judged { kind, took: began.elapsed(), at: Instant::now(), tx });
    Ok(accepted)
}

/// A parsed envelope, and the channel it belongs to.
struct RoutedEnvelope {
    message: Message,
    class: Class,
    place: Route,
    /// The limit that its sender has exceeded, if any.
    over: Option<OverLimit>,
}

enum Route {
    /// An existing channel.
    Channel(ChannelScope),
    /// A channel that the envelope may create through the system channel, whose configuration validates it.
    New(ChannelScope),
    Broken(Arc<BrokenChannel>),
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
        let message = SignedEnvelope::parse(raw).and_then(Message::parse).map_err(Refusal::NoChannelId);
        let message = message.map_err(|refusal| refuse(context, None, &refusal))?;
        let class = classify(message.channel_header.r#type);
        let place = match context.directory.find(&message.channel_header.channel_id) {
            Some(Entry::Open(channel)) => Route::Channel(ChannelScope::of(channel, &message)),
            Some(Entry::Broken(broken)) => Route::Broken(broken),
            None => match context.directory.system_channel().filter(|_| class == Class::ConfigUpdate) {
                Some(system) => Route::New(ChannelScope::of(system, &message)),
                None => Route::Nowhere,
            },
        };
        Ok(Self { message, class, place, over: None })
    }

    /// Checks the sender's rate, before anything is verified.
    fn with_rate_check(mut self, fairness: &Fairness, uptime: Duration) -> Self {
        self.over = self.client().and_then(|client| fairness.look(client, uptime).err());
        self
    }

    /// Returns the claimed signer, if its rate is to be charged.
    fn client(&self) -> Option<Client<'_>> {
        match &self.place {
            Route::Channel(under) | Route::New(under) => under.client(),
            Route::Broken(_) | Route::Nowhere => None,
        }
    }

    fn transaction(&self, context: &NodeContext) -> Option<TxKey> {
        context.observed.transactions().key(self.message.channel_header.tx_id.as_bytes())
    }

    fn kind(&self) -> EnvelopeKind {
        EnvelopeKind::of(self.message.channel_header.r#type)
    }

    /// Validates the envelope. A rejection comes with the channel it concerns, if there is one.
    fn judge(
        self,
        tally: Option<&mut Tally<'_>>,
        at: Circumstances,
        context: &NodeContext,
    ) -> Result<ValidEnvelope, (RejectedResponse, Option<Arc<Channel>>)> {
        let Self { message, class, place, over } = self;
        let (under, is_new) = match place {
            Route::Channel(under) => (under, false),
            Route::New(under) => (under, true),
            Route::Broken(broken) => {
                let text = format!("channel '{}' cannot be opened: {}", broken.id, broken.cause);
                let refused = RejectedResponse::unavailable(text);
                context.observed.refused(Some(&message), refused.status, Why::Text(&refused.info));
                return Err((refused, None));
            }
            Route::Nowhere => return Err((refuse_for_no_channel(&message, class, context), None)),
        };
        let snapshot = &*under.snapshot;
        let signer = || context.signer.get();
        let made = |proposed: Proposed| (Some(proposed.envelope), proposed.sequence);
        let checked = match (over, class) {
            (Some(over), _) => Err(Refusal::OverLimit(Box::new(over))),
            (None, Class::Config) => Err(Refusal::NotDirectly),
            (None, Class::Normal) => {
                check_normal_of(snapshot, &message, &under.creator, at).map(|checked_at| (None, checked_at))
            }
            (None, Class::ConfigUpdate) if is_new => {
                let channels = orderer_actors::config_work::channels_beside_system(context);
                propose_creation(snapshot, channels, &message, &*signer(), stamp(), at).map(made)
            }
            (None, Class::ConfigUpdate) => propose_update(snapshot, &message, &*signer(), stamp(), at).map(made),
        };
        let charged = checked.and_then(|checked| {
            if let (Some(tally), Some(client)) = (tally, under.client()) {
                tally.charge(client).map_err(|over| Refusal::OverLimit(Box::new(over)))?;
            }
            Ok(checked)
        });
        match charged {
            Ok((proposed, checked_at)) => {
                let is_config = proposed.is_some();
                let Message { envelope, channel_header, signature_header, .. } = message;
                let envelope = proposed.unwrap_or(envelope);
                let submission = Submission { envelope, checked_at, is_config };
                Ok(ValidEnvelope {
                    channel: under.channel,
                    submission,
                    named: Named { channel_header, signature_header },
                })
            }
            // a channel that was not created is no channel
            Err(refusal) => Err((refuse(context, Some(&message), &refusal), (!is_new).then_some(under.channel))),
        }
    }
}

impl ChannelScope {
    fn of(channel: Arc<Channel>, message: &Message) -> Self {
        let snapshot = channel.snapshot();
        let creator = Creator::of(message, snapshot.msps());
        Self { channel, snapshot, creator }
    }

    fn client(&self) -> Option<Client<'_>> {
        self.creator.identity().map(|identity| Client::from(&**identity))
    }
}

/// Records the rejection with the observers, and creates the client's response.
fn refuse(context: &NodeContext, message: Option<&Message>, refusal: &Refusal) -> RejectedResponse {
    let status = refusal.kind().status();
    match refusal {
        Refusal::OverLimit(over) => context.observed.over_limit(message, status, over),
        _ => context.observed.refused(message, status, Why::Refusal(refusal)),
    }
    RejectedResponse::from(refusal)
}

/// Rejects an envelope for a channel that does not exist, and which creates none.
fn refuse_for_no_channel(message: &Message, class: Class, context: &NodeContext) -> RejectedResponse {
    if class == Class::Config {
        return refuse(context, Some(message), &Refusal::NotDirectly);
    }
    let unknown = Refusal::UnknownChannel(message.channel_header.channel_id.clone());
    let mut refused = refuse(context, Some(message), &unknown);
    if context.directory.system_channel().is_none() {
        // nothing can be created here, so a request for an unknown channel is the client's error
        refused.status = Status::BadRequest;
        if class == Class::ConfigUpdate {
            refused.info.push_str(
                ": channel creation request not allowed because the orderer system channel is not defined; \
                 a channel is made by orderer channel join, or osnadmin channel join",
            );
        }
    }
    refused
}
