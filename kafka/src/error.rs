//! Errors between an orderer and its brokers, told apart by their origin and their remedy.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::api::Offsets;

/// An operation that a broker was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a connection: TCP, TLS, and the exchange of versions.
    Connect,
    /// Authenticating this client by SASL.
    Authenticate,
    /// Asking for brokers, topics and leaders.
    Metadata,
    /// Creating a topic.
    CreateTopic,
    /// Reading settings of a topic or a broker.
    Settings,
    /// Appending records.
    Produce,
    /// Reading records.
    Fetch,
    /// Asking for the first and the next offset.
    Offsets,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Authenticate => "authenticate",
            Self::Metadata => "read metadata",
            Self::CreateTopic => "create the topic",
            Self::Settings => "read settings",
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::Offsets => "read offsets",
        })
    }
}

/// The reason why a cluster cannot serve a topic at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unavailable {
    /// No broker leads the topic.
    NoLeader,
    /// The broker that was asked no longer leads the topic.
    LeaderMoved,
    /// Too few replicas are in sync; nothing was appended.
    NotEnoughReplicas,
    /// The leader appended, then too few replicas followed.
    NotEnoughReplicasAfterAppend,
    /// The leader appended and gave up waiting for its replicas.
    ReplicationTimedOut,
    /// A topic that is to be made wants more replicas than there are brokers now.
    TooFewBrokers,
    /// Another passing trouble of the broker's.
    Other,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "it has no leader",
            Self::LeaderMoved => "its leader has moved",
            Self::NotEnoughReplicas => "too few of its replicas are in sync",
            Self::NotEnoughReplicasAfterAppend => "too few of its replicas followed an append",
            Self::ReplicationTimedOut => "its replicas were too slow to follow an append",
            Self::TooFewBrokers => "fewer brokers are up than Kafka.Topic.ReplicationFactor asks for",
            Self::Other => "the broker is in trouble",
        })
    }
}

/// The error of a call.
///
/// [`is_transient`](Self::is_transient) says whether a retry can help; [`may_have_appended`](Self::may_have_appended)
/// whether a failed produce is in the topic nevertheless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection to a broker. Transient.
    #[error("kafka broker {broker}: cannot be reached")]
    Unreachable {
        /// The address.
        broker: String,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },
    /// A broker kept silent until the deadline. Transient.
    #[error("kafka broker {broker}: no answer within {after:?} to: {operation}")]
    Timeout {
        /// The address.
        broker: String,
        /// The operation that was requested.
        operation: Operation,
        /// The deadline.
        after: Duration,
    },
    /// A connection broke before the answer came. Transient.
    #[error(
        "kafka broker {broker}: connection lost before the answer to: {operation}{}",
        listener_hint(*operation)
    )]
    Lost {
        /// The address.
        broker: String,
        /// The operation that was requested.
        operation: Operation,
        /// The error that broke the connection.
        #[source]
        cause: io::Error,
    },
    /// The topic cannot be served at the moment. Transient.
    #[error("{subject}: cannot {operation} now, {reason} ({code})")]
    Unavailable {
        /// The topic or broker, in words.
        subject: String,
        /// The operation that was requested.
        operation: Operation,
        /// The reason.
        reason: Unavailable,
        /// The protocol's name for it.
        code: String,
    },
    /// TLS could not be agreed on: certificates, names, versions.
    #[error("kafka broker {broker}: tls refused; check Kafka.TLS and the broker's certificate")]
    Tls {
        /// The address.
        broker: String,
        /// The TLS error, which says which side rejected what.
        #[source]
        cause: rustls::Error,
    },
    /// The broker does not accept this client's credentials, or this client does not accept the broker.
    #[error("kafka broker {broker}: {mechanism} authentication of user {user} refused: {reason}")]
    Authentication {
        /// The address.
        broker: String,
        /// The SASL mechanism.
        mechanism: &'static str,
        /// The user's name.
        user: String,
        /// The text of the broker or of the mechanism.
        reason: String,
    },
    /// The broker knows us and forbids it.
    #[error("{subject}: not allowed to {operation} ({code}); grant it to the orderer's user")]
    Authorization {
        /// The topic or cluster, in words.
        subject: String,
        /// The operation that was denied.
        operation: Operation,
        /// The protocol's name for it.
        code: String,
    },
    /// A batch that the topic will never take. Nothing was appended.
    #[error(
        "topic {topic}: a batch of {bytes} bytes is too large{}; raise max.message.bytes of the topic above the \
         channel's absolute maximum", limit_text(*limit)
    )]
    MessageTooLarge {
        /// The topic.
        topic: String,
        /// Size of the batch's values.
        bytes: usize,
        /// The limit, where it is known.
        limit: Option<usize>,
    },
    /// The topic does not hold the offset: trimmed, recreated, or never that long.
    #[error("topic {topic}: does not hold offset {offset}{}", held_text(*held))]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The offset that was asked for.
        offset: i64,
        /// The offsets that the topic holds, if they could be read.
        held: Option<Offsets>,
    },
    /// There is no such topic.
    #[error("topic {topic}: does not exist on the brokers")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// A topic whose records have no single order.
    #[error("topic {topic}: has {found} partitions, a channel needs exactly one; recreate it with one")]
    WrongPartitionCount {
        /// The topic.
        topic: String,
        /// The number of its partitions.
        found: usize,
    },
    /// Stored bytes that cannot be read, and will not be by trying again.
    #[error("topic {topic}: the batch at offset {offset} cannot be read: {reason}")]
    Poison {
        /// The topic.
        topic: String,
        /// First offset of the unreadable batch; everything before it can be read.
        offset: i64,
        /// The error that was found in it.
        reason: String,
    },
    /// The broker rejected the request for a reason that a retry does not change.
    #[error("{subject}: broker refused to {operation}: {code}{}", said(message.as_deref()))]
    Refused {
        /// The topic or broker, in words.
        subject: String,
        /// The operation that was requested.
        operation: Operation,
        /// The protocol's name for the reason.
        code: String,
        /// The broker's message, if it sent one.
        message: Option<String>,
    },
    /// The broker speaks no version of a request that this program speaks.
    #[error("kafka broker {broker}: has no version in common with this program to {operation}; Kafka 0.11 to 4.x have")]
    NoCommonVersion {
        /// The address.
        broker: String,
        /// The operation that was to be requested.
        operation: Operation,
    },
    /// An answer that the protocol does not allow.
    #[error("kafka broker {broker}: answer not understood to: {operation}: {reason}")]
    Protocol {
        /// The address.
        broker: String,
        /// The operation that was requested.
        operation: Operation,
        /// The error that was found in the answer.
        reason: String,
    },
}

impl Error {
    /// Returns whether the same call may succeed later without an operator's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Lost { .. } | Self::Unavailable { .. })
    }

    /// Returns whether the records of a failed produce may be in the topic all the same, now or a little later. A caller that
    /// produces them again may write them twice.
    pub fn may_have_appended(&self) -> bool {
        match self {
            Self::Timeout { operation, .. } | Self::Lost { operation, .. } | Self::Protocol { operation, .. } => {
                *operation == Operation::Produce
            }
            Self::Unavailable { operation: Operation::Produce, reason, .. } => !matches!(
                reason,
                // the leader says these before it touches its log; of a move it may hear while it waits for replicas
                Unavailable::NoLeader | Unavailable::NotEnoughReplicas
            ),
            _ => false,
        }
    }
}

fn listener_hint(operation: Operation) -> &'static str {
    // brokers hang up on what does not belong on a listener: the first bytes, or the first request
    let is_first = matches!(operation, Operation::Connect | Operation::Metadata);
    if is_first { "; does its listener expect tls or sasl?" } else { "" }
}

fn limit_text(limit: Option<usize>) -> String {
    limit.map(|limit| format!(", the limit is {limit}")).unwrap_or_default()
}

fn held_text(held: Option<Offsets>) -> String {
    held.map(|held| format!(", it begins at {} and the next record will be {}", held.earliest, held.next))
        .unwrap_or_default()
}

fn said(message: Option<&str>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(operation: Operation) -> Error {
        Error::Timeout { broker: "b:1".to_owned(), operation, after: Duration::from_secs(1) }
    }

    fn unavailable(reason: Unavailable) -> Error {
        Error::Unavailable {
            subject: "topic t".to_owned(),
            operation: Operation::Produce,
            reason,
            code: "X".to_owned(),
        }
    }

    #[test]
    fn a_produce_is_ambiguous_exactly_when_the_leader_may_have_appended() {
        assert!(timeout(Operation::Produce).may_have_appended());
        assert!(!timeout(Operation::Connect).may_have_appended());
        assert!(!unavailable(Unavailable::NotEnoughReplicas).may_have_appended());
        assert!(unavailable(Unavailable::NotEnoughReplicasAfterAppend).may_have_appended());
        assert!(unavailable(Unavailable::LeaderMoved).may_have_appended());
    }

    #[test]
    fn a_text_says_what_is_held_and_what_was_asked() {
        let held = Some(Offsets { earliest: 900, next: 1000 });
        let error = Error::OffsetOutOfRange { topic: "t".to_owned(), offset: 812, held };
        let expected = "topic t: does not hold offset 812, it begins at 900 and the next record will be 1000";
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_transient());
    }
}
