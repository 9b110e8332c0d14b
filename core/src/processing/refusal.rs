//! Why a message is not ordered, and what its sender is told.

use fabric_proto::common::Status;
use serde::Serialize;

use crate::channel::ChannelId;
use crate::config::{ConfigError, ConsentersError, MaintenanceError, TemplateError, UpdateError};
use crate::crypto::SignError;
use crate::envelope::EnvelopeError;
use crate::fairness::OverLimit;
use crate::policy::{Denied, Verdict};

/// What a refusal means to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RefusalKind {
    /// The message is at fault.
    BadRequest,
    /// Its sender is.
    Forbidden,
    /// It names a channel that does not exist.
    NotFound,
    /// It may be taken later.
    ServiceUnavailable,
}

impl RefusalKind {
    /// The status on the wire.
    pub fn status(self) -> Status {
        match self {
            Self::BadRequest => Status::BadRequest,
            Self::Forbidden => Status::Forbidden,
            Self::NotFound => Status::NotFound,
            Self::ServiceUnavailable => Status::ServiceUnavailable,
        }
    }
}

/// See the module's description. The text is what the client reads.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No channel can be told from it.
    #[error("could not determine channel ID: {}", with_cause(.0))]
    NoChannelId(EnvelopeError),
    /// The channel does not exist.
    #[error("channel does not exist: '{0}'")]
    UnknownChannel(String),
    /// CONFIG and ORDERER_TRANSACTION are made by orderers.
    #[error("message is of type that cannot be processed directly")]
    NotDirectly,
    /// Nothing is in it.
    #[error("message payload is empty")]
    Empty,
    /// The sender's certificate has expired.
    #[error(
        "broadcast client identity expired: the certificate's NotAfter {not_after} (seconds since 1970) is before now, {now}"
    )]
    Expired {
        /// Seconds since 1970.
        not_after: i64,
        /// Seconds since 1970.
        now: i64,
    },
    /// It is larger than the channel takes.
    #[error("message payload is {bytes} bytes and exceeds maximum allowed {max} bytes")]
    TooLarge {
        /// Payload and signature.
        bytes: usize,
        /// The channel's absolute maximum.
        max: u32,
    },
    /// It carries bytes that count for nothing.
    #[error("envelope has {0} bytes beside payload and signature")]
    Padded(usize),
    /// The signature header cannot be read.
    #[error("could not convert message to signedData: GetSignatureHeaderFromBytes failed, err {}", with_cause(.0))]
    SignatureHeader(EnvelopeError),
    /// The signature does not satisfy the channel's policy.
    #[error("{0}: permission denied")]
    Denied(Box<Denied>),
    /// Its sender sends too much. The only refusal behind which a Broadcast stream goes on.
    #[error(transparent)]
    OverLimit(Box<OverLimit>),
    /// The channel is being worked on.
    #[error("normal transactions are rejected: maintenance mode")]
    Maintenance,
    /// A config update.
    #[error("error applying config update to existing channel '{channel}': {cause}")]
    Update {
        /// The channel.
        channel: ChannelId,
        /// What is wrong.
        cause: Box<UpdateError>,
    },
    /// A config update that says something impossible of the consenters.
    #[error(
        "error applying config update to existing channel '{channel}': consensus metadata update for channel config update is invalid: {}{cause}",
        invalid_metadata(.cause)
    )]
    Consenters {
        /// The channel.
        channel: ChannelId,
        /// What is wrong.
        cause: Box<ConsentersError>,
    },
    /// A config update that maintenance mode does not allow.
    #[error(
        "config update for existing channel did not pass maintenance checks: config transaction inspection failed: {0}"
    )]
    MaintenanceChecks(Box<MaintenanceError>),
    /// What the orderer would make of a config update is refused by its own filters.
    #[error("config update for existing channel did not pass final checks: {0}")]
    FinalChecks(Box<Refusal>),
    /// A channel creation: the template.
    #[error("{0}")]
    Template(Box<TemplateError>),
    /// A channel creation: the update applied to the template.
    #[error(
        "error validating channel creation transaction for new channel '{channel}', \
         could not successfully apply update to template configuration: {cause}"
    )]
    Creation {
        /// The channel that would be.
        channel: String,
        /// What is wrong.
        cause: Box<UpdateError>,
    },
    /// A channel creation: what it says of the consenters. The channel could never run.
    #[error("channel '{channel}' cannot be created: invalid new config metadata: {cause}")]
    CreationMetadata {
        /// The channel that would be.
        channel: String,
        /// What is wrong.
        cause: Box<ConsentersError>,
    },
    /// As many channels as the system channel allows exist.
    #[error("channel creation would exceed maximum number of channels: {0}")]
    TooManyChannels(u64),
    /// The channel exists already.
    #[error("channel '{0}' exists already")]
    ChannelExists(String),
    /// A config message that was to be applied.
    #[error("config message does not parse: {0}")]
    ConfigMessage(String),
    /// Its configuration.
    #[error("{0}")]
    Config(Box<ConfigError>),
    /// The orderer's own signature failed.
    #[error("the orderer could not sign: {0}")]
    Sign(SignError),
}

impl Refusal {
    /// How the policy was judged that was not satisfied, if that is why.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Denied(denied) => denied.verdict.as_deref(),
            Self::FinalChecks(inner) => inner.verdict(),
            Self::Update { cause, .. } | Self::Creation { cause, .. } => match &**cause {
                UpdateError::Denied { denied, .. } => denied.verdict.as_deref(),
                _ => None,
            },
            _ => None,
        }
    }

    /// What it means to the client.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::UnknownChannel(_) => RefusalKind::NotFound,
            Self::Denied(_) => RefusalKind::Forbidden,
            Self::Maintenance | Self::Sign(_) | Self::OverLimit(_) => RefusalKind::ServiceUnavailable,
            Self::FinalChecks(inner) => inner.kind(),
            _ => RefusalKind::BadRequest,
        }
    }
}

/// Fabric's words, where the new metadata is wrong and not the step to it.
fn invalid_metadata(cause: &ConsentersError) -> &'static str {
    if matches!(cause, ConsentersError::ManyChanges { .. }) { "" } else { "invalid new config metadata: " }
}

/// The part that did not parse, and what the decoder said.
fn with_cause(error: &EnvelopeError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
