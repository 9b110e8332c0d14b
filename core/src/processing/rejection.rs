//! Reasons why a message is not ordered, and the response to its sender.

use fabric_proto::common::Status;
use serde::Serialize;

use crate::config::{ConfigError, ConsentersError, MaintenanceError, TemplateError, UpdateError};
use crate::crypto::SignError;
use crate::envelope::EnvelopeError;
use crate::policy::{PolicyDenied, PolicyExplanation};
use crate::rate_limit::RateLimited;
use crate::types::ChannelId;

/// Class of a rejection, which determines the status of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RejectionKind {
    /// The message is invalid.
    BadRequest,
    /// A policy denies the sender.
    Forbidden,
    /// The message names a channel that does not exist.
    NotFound,
    /// The message may be accepted later.
    ServiceUnavailable,
}

impl RejectionKind {
    /// Returns the gRPC API's status.
    pub fn status(self) -> Status {
        match self {
            Self::BadRequest => Status::BadRequest,
            Self::Forbidden => Status::Forbidden,
            Self::NotFound => Status::NotFound,
            Self::ServiceUnavailable => Status::ServiceUnavailable,
        }
    }
}

/// Reason why a message is not ordered. The client receives the text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The channel ID cannot be determined.
    #[error("could not determine channel ID: {}", with_cause(.0))]
    NoChannelId(EnvelopeError),
    /// The channel does not exist.
    #[error("channel does not exist: '{0}'")]
    UnknownChannel(String),
    /// The message is of type CONFIG or ORDERER_TRANSACTION, which only orderers make.
    #[error("message is of type that cannot be processed directly")]
    ConfigMessageNotAllowed,
    /// The payload is empty.
    #[error("message payload is empty")]
    Empty,
    /// The sender's certificate has expired.
    #[error(
        "broadcast client identity expired: the certificate's NotAfter {not_after} (seconds since 1970) is before now, {now}"
    )]
    Expired {
        /// End of the certificate's validity, in seconds since 1970.
        not_after: i64,
        /// Current time, in seconds since 1970.
        now: i64,
    },
    /// The message is larger than the channel allows.
    #[error("message payload is {bytes} bytes and exceeds maximum allowed {max} bytes")]
    TooLarge {
        /// Size of payload and signature in bytes.
        bytes: usize,
        /// The channel's absolute maximum in bytes.
        max: u32,
    },
    /// The envelope has too many bytes beside payload and signature.
    #[error("envelope has {0} bytes beside payload and signature")]
    ExcessUnknownFields(usize),
    /// The signature header cannot be read.
    #[error("could not convert message to signedData: GetSignatureHeaderFromBytes failed, err {}", with_cause(.0))]
    SignatureHeader(EnvelopeError),
    /// The signature does not satisfy the channel's policy.
    #[error("{0}: permission denied")]
    Denied(Box<PolicyDenied>),
    /// The sender exceeds a rate limit. This is the only rejection after which a Broadcast stream
    /// continues.
    #[error(transparent)]
    RateLimited(Box<RateLimited>),
    /// The channel is in maintenance mode.
    #[error("normal transactions are rejected: maintenance mode")]
    Maintenance,
    /// A config update is invalid.
    #[error("error applying config update to existing channel '{channel}': {cause}")]
    Update {
        /// The channel.
        channel: ChannelId,
        /// Error of the update.
        cause: Box<UpdateError>,
    },
    /// The consensus metadata of a config update is invalid.
    #[error(
        "error applying config update to existing channel '{channel}': consensus metadata update for channel config update is invalid: {}{cause}",
        invalid_metadata(.cause)
    )]
    Consenters {
        /// The channel.
        channel: ChannelId,
        /// Error of the metadata.
        cause: Box<ConsentersError>,
    },
    /// A config update that maintenance mode does not allow.
    #[error(
        "config update for existing channel did not pass maintenance checks: config transaction inspection failed: {0}"
    )]
    MaintenanceChecks(Box<MaintenanceError>),
    /// The config message made of a config update does not pass the orderer's own filters.
    #[error("config update for existing channel did not pass final checks: {0}")]
    FinalChecks(Box<Rejection>),
    /// A channel creation fails at its template.
    #[error("{0}")]
    Template(Box<TemplateError>),
    /// A channel creation's update cannot be applied to the template.
    #[error(
        "error validating channel creation transaction for new channel '{channel}', \
         could not successfully apply update to template configuration: {cause}"
    )]
    Creation {
        /// ID of the channel to create.
        channel: String,
        /// Error of the update.
        cause: Box<UpdateError>,
    },
    /// The consensus metadata of a channel creation is invalid: the channel could never run.
    #[error("channel '{channel}' cannot be created: invalid new config metadata: {cause}")]
    CreationMetadata {
        /// ID of the channel to create.
        channel: String,
        /// Error of the metadata.
        cause: Box<ConsentersError>,
    },
    /// The system channel's maximum number of channels is reached.
    #[error("channel creation would exceed maximum number of channels: {0}")]
    TooManyChannels(u64),
    /// The channel exists already.
    #[error("channel '{0}' exists already")]
    ChannelExists(String),
    /// A config message that is to be applied cannot be parsed.
    #[error("config message does not parse: {0}")]
    ConfigMessage(String),
    /// The configuration in a config message is invalid.
    #[error("{0}")]
    Config(Box<ConfigError>),
    /// The orderer's own signature failed.
    #[error("the orderer could not sign: {0}")]
    Sign(SignError),
}

impl Rejection {
    /// Returns how the policy was evaluated that was not satisfied, if that is the reason.
    pub fn verdict(&self) -> Option<&PolicyExplanation> {
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

    /// Returns the class of the rejection.
    pub fn kind(&self) -> RejectionKind {
        match self {
            Self::UnknownChannel(_) => RejectionKind::NotFound,
            Self::Denied(_) => RejectionKind::Forbidden,
            Self::Maintenance | Self::Sign(_) | Self::RateLimited(_) => RejectionKind::ServiceUnavailable,
            Self::FinalChecks(inner) => inner.kind(),
            _ => RejectionKind::BadRequest,
        }
    }
}

/// Returns Fabric's phrase for an error of the new metadata itself; empty if the step to it is the
/// error.
fn invalid_metadata(cause: &ConsentersError) -> &'static str {
    if matches!(cause, ConsentersError::ManyChanges { .. }) { "" } else { "invalid new config metadata: " }
}

/// Returns the part that could not be parsed, and the decoder's error.
fn with_cause(error: &EnvelopeError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
