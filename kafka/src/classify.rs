//! Classifies the errors of rskafka and brokers by their origin.

use std::io;

use rskafka::SaslError;
use rskafka::messenger::{RequestError, SyncVersionsError};
use rskafka::protocol::error::Error as Code;
use rskafka::protocol::frame;

use crate::error::{Error, Operation, Unavailable};
use crate::settings::Sasl;

/// Classifies a connection that broke, or a TLS handshake that failed. In TLS 1.3 a broker rejects the client's certificate
/// only after the handshake, in place of its first answer.
pub(crate) fn connection_error(broker: &str, operation: Operation, cause: &io::Error) -> Error {
    let broker = broker.to_owned();
    match cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(cause) => Error::Tls { broker, cause: cause.clone() },
        None => Error::Lost { broker, operation, cause: io::Error::new(cause.kind(), cause.to_string()) },
    }
}

pub(crate) fn request_error(broker: &str, operation: Operation, error: &RequestError) -> Error {
    match error {
        RequestError::Poisoned(first) => request_error(broker, operation, first),
        RequestError::IO(cause)
        | RequestError::ReadFramedMessageError(frame::ReadError::IO(cause))
        | RequestError::WriteMessageError(frame::WriteError::IO(cause)) => connection_error(broker, operation, cause),
        RequestError::NoVersionMatch { .. } => Error::NoCommonVersion { broker: broker.to_owned(), operation },
        other => Error::Protocol { broker: broker.to_owned(), operation, reason: other.to_string() },
    }
}

pub(crate) fn versions_error(broker: &str, error: &SyncVersionsError) -> Error {
    let operation = Operation::Connect;
    match error {
        SyncVersionsError::NoWorkingVersion => Error::NoCommonVersion { broker: broker.to_owned(), operation },
        SyncVersionsError::RequestError(error) => request_error(broker, operation, error),
        other => Error::Protocol { broker: broker.to_owned(), operation, reason: other.to_string() },
    }
}

pub(crate) fn sasl_error(broker: &str, sasl: &Sasl, error: &SaslError) -> Error {
    let refused = |reason: String| Error::Authentication {
        broker: broker.to_owned(),
        mechanism: sasl.mechanism(),
        user: sasl.user().to_owned(),
        reason,
    };
    match error {
        SaslError::RequestError(error) => request_error(broker, Operation::Authenticate, error),
        SaslError::ApiError(Code::SaslAuthenticationFailed) => refused("wrong user or password".to_owned()),
        SaslError::ApiError(Code::UnsupportedSaslMechanism) | SaslError::UnsupportedSaslMechanism => {
            refused("the listener does not offer the mechanism".to_owned())
        }
        SaslError::ApiError(Code::IllegalSaslState) => refused("the listener does not do sasl".to_owned()),
        other => refused(other.to_string()),
    }
}

/// A broker's error code about `topic`.
pub(crate) fn topic_error(topic: &str, operation: Operation, code: Code) -> Error {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopicId | Code::InconsistentTopicId => {
            Error::UnknownTopic { topic: topic.to_owned() }
        }
        other => subject_error(format!("topic {topic}"), operation, other, None),
    }
}

/// A broker's error code about something else than a topic's records.
pub(crate) fn subject_error(subject: String, operation: Operation, code: Code, message: Option<String>) -> Error {
    let name = format!("{code:?}");
    let unavailable = |reason| Error::Unavailable { subject: subject.clone(), operation, reason, code: name.clone() };
    match code {
        Code::LeaderNotAvailable
        | Code::ReplicaNotAvailable
        | Code::BrokerNotAvailable
        | Code::EligibleLeadersNotAvailable
        | Code::PreferredLeaderNotAvailable => unavailable(Unavailable::NoLeader),
        Code::NotLeaderOrFollower | Code::FencedLeaderEpoch | Code::UnknownLeaderEpoch => {
            unavailable(Unavailable::LeaderMoved)
        }
        Code::NotEnoughReplicas => unavailable(Unavailable::NotEnoughReplicas),
        Code::NotEnoughReplicasAfterAppend => unavailable(Unavailable::NotEnoughReplicasAfterAppend),
        Code::RequestTimedOut => unavailable(Unavailable::ReplicationTimedOut),
        Code::UnknownServerError
        | Code::OffsetNotAvailable
        | Code::KafkaStorageError
        | Code::NetworkException
        | Code::NotController
        | Code::StaleControllerEpoch
        | Code::StaleBrokerEpoch
        | Code::ReassignmentInProgress
        | Code::ThrottlingQuotaExceeded => unavailable(Unavailable::Other),
        // passes: brokers that are only starting count as missing ones
        Code::InvalidReplicationFactor => unavailable(Unavailable::TooFewBrokers),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::GroupAuthorizationFailed => {
            Error::Authorization { subject, operation, code: name }
        }
        _ => Error::Refused { subject, operation, code: name, message },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_broken_connection_is_transient_however_deep_rskafka_wraps_it() {
        let broken = frame::ReadError::IO(io::ErrorKind::UnexpectedEof.into());
        let inner = RequestError::Poisoned(Arc::new(RequestError::ReadFramedMessageError(broken)));
        let error = request_error("b:1", Operation::Produce, &RequestError::Poisoned(Arc::new(inner)));
        assert!(matches!(error, Error::Lost { operation: Operation::Produce, .. }), "{error:?}");
        assert!(error.is_transient() && error.may_have_appended());
    }

    #[test]
    fn a_refused_certificate_is_not_a_broken_connection() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let cause = io::Error::new(io::ErrorKind::InvalidData, alert);
        let error = connection_error("b:1", Operation::Connect, &cause);
        assert!(matches!(error, Error::Tls { .. }) && !error.is_transient(), "{error:?}");
    }

    #[test]
    fn codes_are_told_apart_by_what_helps() {
        let transient = [Code::NotLeaderOrFollower, Code::NotEnoughReplicas, Code::RequestTimedOut];
        for code in transient {
            assert!(topic_error("t", Operation::Produce, code).is_transient(), "{code:?}");
        }
        let lasting = [Code::TopicAuthorizationFailed, Code::UnknownTopicOrPartition, Code::PolicyViolation];
        for code in lasting {
            assert!(!topic_error("t", Operation::Produce, code).is_transient(), "{code:?}");
        }
    }
}
