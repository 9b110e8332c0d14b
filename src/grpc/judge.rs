//! What becomes of one envelope before any actor sees it: found, classified, filtered. CPU only; runs on whatever thread
//! reads the stream, against the channel's snapshot.

use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::common::Status;
use orderer_actors::Channel;
use orderer_actors::channel::Entry;
use orderer_actors::mailbox::Submission;
use orderer_actors::node_context::{NodeContext, stamp};
use orderer_core::envelope::{Message, SignedEnvelope};
use orderer_core::processing::{Class, Refusal, RefusalKind, check_normal, classify, propose_creation, propose_update};

/// What a client is told of an envelope that is not ordered.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) status: Status,
    pub(super) info: String,
}

/// An envelope that may be ordered, or why not.
pub(super) type Verdict = Result<(Arc<Channel>, Submission), Refused>;

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

/// Judges the bytes of one `Envelope`.
pub(super) fn judge(raw: Bytes, context: &NodeContext) -> Verdict {
    let message = SignedEnvelope::parse(raw).and_then(Message::parse).map_err(Refusal::NoChannelId)?;
    let name = &message.channel_header.channel_id;
    let class = classify(message.channel_header.r#type);
    let at = context.circumstances();
    match context.directory.find(name) {
        Some(Entry::Open(channel)) => {
            let snapshot = channel.snapshot();
            let submission = match class {
                Class::Config => return Err(Refusal::NotDirectly.into()),
                Class::Normal => {
                    let checked_at = check_normal(&snapshot, &message, at)?;
                    Submission { envelope: message.envelope, checked_at, is_config: false }
                }
                Class::ConfigUpdate => {
                    let proposed = propose_update(&snapshot, &message, &*context.signer, stamp(), at)?;
                    Submission { envelope: proposed.envelope, checked_at: proposed.sequence, is_config: true }
                }
            };
            Ok((channel, submission))
        }
        Some(Entry::Broken(broken)) => {
            Err(Refused::unavailable(format!("channel '{}' cannot be opened: {}", broken.id, broken.cause)))
        }
        None => match (context.directory.system_channel(), class) {
            (_, Class::Config) => Err(Refusal::NotDirectly.into()),
            (Some(system), Class::ConfigUpdate) => {
                let channels = orderer_actors::solo_chain::channels_beside_system(context);
                let snapshot = system.snapshot();
                let proposed = propose_creation(&snapshot, channels, &message, &*context.signer, stamp(), at)?;
                let checked_at = proposed.sequence;
                Ok((system, Submission { envelope: proposed.envelope, checked_at, is_config: true }))
            }
            (Some(_), Class::Normal) => Err(Refusal::UnknownChannel(name.clone()).into()),
            // nothing can be created here, so asking for a channel that is not here is the client's mistake
            (None, _) => {
                Err(Refused { status: Status::BadRequest, info: Refusal::UnknownChannel(name.clone()).to_string() })
            }
        },
    }
}
