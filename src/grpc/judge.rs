//! What becomes of envelopes before any actor sees them: found, classified, filtered. CPU only; runs on whatever thread
//! reads the stream, against the channel's snapshot.

use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::common::Status;
use orderer_actors::Channel;
use orderer_actors::channel::{BrokenChannel, Entry};
use orderer_actors::mailbox::Submission;
use orderer_actors::node_context::{NodeContext, stamp};
use orderer_core::config::ChannelSnapshot;
use orderer_core::envelope::{Message, SignedEnvelope};
use orderer_core::policy::Proof;
use orderer_core::processing::{
    Class, Refusal, RefusalKind, check_normal, classify, propose_creation, propose_update, prove,
};

/// What a client is told of an envelope that is not ordered.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) status: Status,
    pub(crate) info: String,
}

/// An envelope that may be ordered, or why not.
pub(crate) type Verdict = Result<(Arc<Channel>, Submission), Refused>;

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.kind().status(), info: refusal.to_string() }
    }
}

impl Refused {
    pub(super) fn unavailable(info: String) -> Self {
        Self { status: RefusalKind::ServiceUnavailable.status(), info }
    }
}

/// Judges the bytes of several `Envelope`s, in their order. Of the signatures, those that gain by it are verified
/// together.
pub(super) fn judge_all(raw: Vec<Bytes>, context: &NodeContext) -> Vec<Verdict> {
    let found: Vec<Result<Found, Refused>> = raw.into_iter().map(|raw| Found::new(raw, context)).collect();
    let normal = |found: &Found| match &found.place {
        Place::Channel(_, snapshot) if found.class == Class::Normal => Some(Arc::clone(snapshot)),
        _ => None,
    };
    let provable: Vec<_> = found
        .iter()
        .map(|found| found.as_ref().ok().and_then(|found| Some((normal(found)?, &found.message))))
        .collect();
    let proofs = prove(&provable);
    drop(provable);
    let judge = |(found, proof): (Result<Found, Refused>, Option<Proof>)| found.and_then(|f| f.judge(proof, context));
    found.into_iter().zip(proofs).map(judge).collect()
}

/// Judges the bytes of an `Envelope` that is to update the configuration of a channel that exists.
pub(crate) fn judge_config_update(raw: Bytes, context: &NodeContext) -> Verdict {
    let found = Found::new(raw, context)?;
    let name = &found.message.channel_header.channel_id;
    match (found.class, &found.place) {
        (Class::ConfigUpdate, Place::Nowhere) => Err(Refusal::UnknownChannel(name.clone()).into()),
        (Class::ConfigUpdate, _) => found.judge(None, context),
        _ => Err(Refused { status: Status::BadRequest, info: "the envelope is not of type CONFIG_UPDATE".to_owned() }),
    }
}

/// An envelope, and where it belongs.
struct Found {
    message: Message,
    class: Class,
    place: Place,
}

enum Place {
    /// A channel that exists, with the configuration the envelope is judged under.
    Channel(Arc<Channel>, Arc<ChannelSnapshot>),
    Broken(Arc<BrokenChannel>),
    Nowhere,
}

impl Found {
    fn new(raw: Bytes, context: &NodeContext) -> Result<Self, Refused> {
        let message = SignedEnvelope::parse(raw).and_then(Message::parse).map_err(Refusal::NoChannelId)?;
        let class = classify(message.channel_header.r#type);
        let place = match context.directory.find(&message.channel_header.channel_id) {
            Some(Entry::Open(channel)) => {
                let snapshot = channel.snapshot();
                Place::Channel(channel, snapshot)
            }
            Some(Entry::Broken(broken)) => Place::Broken(broken),
            None => Place::Nowhere,
        };
        Ok(Self { message, class, place })
    }

    fn judge(self, proof: Option<Proof>, context: &NodeContext) -> Verdict {
        let Self { message, class, place } = self;
        let at = context.circumstances();
        match place {
            Place::Channel(channel, snapshot) => {
                let submission = match class {
                    Class::Config => return Err(Refusal::NotDirectly.into()),
                    Class::Normal => {
                        let checked_at = check_normal(&snapshot, &message, proof, at)?;
                        Submission { envelope: message.envelope, checked_at, is_config: false }
                    }
                    Class::ConfigUpdate => {
                        let proposed = propose_update(&snapshot, &message, &*context.signer.get(), stamp(), at)?;
                        Submission { envelope: proposed.envelope, checked_at: proposed.sequence, is_config: true }
                    }
                };
                Ok((channel, submission))
            }
            Place::Broken(broken) => {
                Err(Refused::unavailable(format!("channel '{}' cannot be opened: {}", broken.id, broken.cause)))
            }
            Place::Nowhere => judge_for_no_channel(&message, class, context),
        }
    }
}

/// An envelope for a channel that does not exist: perhaps it creates one.
fn judge_for_no_channel(message: &Message, class: Class, context: &NodeContext) -> Verdict {
    let unknown = Refusal::UnknownChannel(message.channel_header.channel_id.clone());
    match (context.directory.system_channel(), class) {
        (_, Class::Config) => Err(Refusal::NotDirectly.into()),
        (Some(system), Class::ConfigUpdate) => {
            let channels = orderer_actors::config_work::channels_beside_system(context);
            let (snapshot, at) = (system.snapshot(), context.circumstances());
            let proposed = propose_creation(&snapshot, channels, message, &*context.signer.get(), stamp(), at)?;
            let checked_at = proposed.sequence;
            Ok((system, Submission { envelope: proposed.envelope, checked_at, is_config: true }))
        }
        (Some(_), Class::Normal) => Err(unknown.into()),
        // nothing can be created here, so asking for a channel that is not here is the client's mistake
        (None, _) => Err(Refused { status: Status::BadRequest, info: unknown.to_string() }),
    }
}
