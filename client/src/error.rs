//! Errors of a client.

use std::error::Error as _;

use orderer_core::block::BlockError;
use orderer_core::crypto::SignError;

use super::error_text::describe_disconnect;
use orderer_localconfig::tls_files::TlsError;

/// Error of a client. Every text names its subject; the cause is its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is invalid.
    #[error("'{0}' is not HOST:PORT")]
    Address(String),
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The orderer cannot be reached, or sends something unintelligible.
    #[error("connect to {address}: {problem}")]
    Connect {
        /// The orderer's address.
        address: String,
        /// The cause.
        problem: String,
    },
    /// The text is no valid server name.
    #[error("'{0}' is no name of a server")]
    ServerName(String),
    /// An endpoint cannot be reached, or does not speak HTTP.
    #[error("ask {address}: {problem}")]
    Endpoint {
        /// The endpoint's address.
        address: String,
        /// The cause.
        problem: String,
    },
    /// A stream ended with an error.
    #[error("the orderer ended the stream: {}", status_in_words(.0))]
    Stream(Box<tonic::Status>),
    /// The server does not implement the service.
    #[error("what answers there is no orderer: it does not know AtomicBroadcast, this may be another port")]
    NoOrderer,
    /// A stream ended before everything was answered.
    #[error("the stream ended{}: {}", how_it_ended(cause.as_deref()), left_unanswered(*unanswered))]
    Unanswered {
        /// Number of unanswered envelopes.
        unanswered: usize,
        /// The error with which it ended, if any.
        cause: Option<Box<tonic::Status>>,
    },
    /// The orderer sent something that is no block.
    #[error("the orderer sent a block that cannot be used")]
    Block(#[from] BlockError),
    /// The orderer sent a response without content, or of an unknown kind.
    #[error("the orderer sent an answer that is not understood")]
    Answer,
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        // a server without gRPC responds so in HTTP
        let in_http = |message: &str| {
            let failed = message.split_once("while receiving response with status: ");
            message.starts_with("grpc-status header missing")
                || failed.is_some_and(|(_, code)| !code.starts_with("200"))
        };
        if status.code() == tonic::Code::Unimplemented || in_http(status.message()) {
            return Self::NoOrderer;
        }
        Self::Stream(Box::new(status))
    }
}

/// Describes the cause, without the library's name for it.
fn status_in_words(status: &tonic::Status) -> String {
    match status.source() {
        Some(cause) => describe_disconnect(cause),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

fn how_it_ended(cause: Option<&tonic::Status>) -> String {
    cause.map_or(String::new(), |status| format!(" ({})", status_in_words(status)))
}

fn left_unanswered(count: usize) -> String {
    match count {
        0 => "everything that was sent is answered".to_owned(),
        1 => "1 envelope is unanswered, it may be in the chain or not".to_owned(),
        _ => format!("{count} envelopes are unanswered, they may be in the chain or not"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_in_the_chain_is_said_of_what_was_sent_alone() {
        let left = |unanswered| {
            let cause = Some(Box::new(tonic::Status::unavailable("the node stops")));
            ClientError::Unanswered { unanswered, cause }.to_string()
        };
        assert_eq!(left(0), "the stream ended (the node stops): everything that was sent is answered");
        assert!(left(1).ends_with("1 envelope is unanswered, it may be in the chain or not"));
        assert!(left(2).ends_with("2 envelopes are unanswered, they may be in the chain or not"));
    }

    #[test]
    fn a_status_is_said_once_and_without_the_librarys_words() {
        let mut broken = tonic::Status::unknown("transport error");
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        broken.set_source(std::sync::Arc::new(reset));
        assert_eq!(ClientError::from(broken).to_string(), "the orderer ended the stream: the connection broke");
        let other = ClientError::from(tonic::Status::unimplemented("")).to_string();
        assert!(other.contains("no orderer"), "{other}");
        let flag = "protocol error: received message with invalid compression flag: 123 while receiving response with status: ";
        let said = |code: &str| ClientError::from(tonic::Status::internal(format!("{flag}{code}"))).to_string();
        assert!(said("404 Not Found").contains("no orderer") && !said("200 OK").contains("no orderer"));
    }
}
