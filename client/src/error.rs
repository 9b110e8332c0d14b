//! What can go wrong on a client's side.

use std::path::PathBuf;

use orderer_core::block::BlockError;
use orderer_core::crypto::SignError;

/// Every text names what it is about; why is its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is none.
    #[error("'{0}' is not HOST:PORT")]
    Address(String),
    /// A file of the connection's cannot be read.
    #[error("{what} {}", path.display())]
    File {
        /// What it is for.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        cause: std::io::Error,
    },
    /// A certificate file has no certificate in it.
    #[error("{what} {}: no certificate in PEM found", path.display())]
    NoCertificate {
        /// What it is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// Nobody answers, or not in a way that can be understood.
    #[error("connect to {address}: {problem}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        problem: String,
    },
    /// No certificate can be for it.
    #[error("'{0}' is no name of a server")]
    ServerName(String),
    /// An endpoint cannot be reached, or does not speak HTTP.
    #[error("ask {address}: {problem}")]
    Endpoint {
        /// Where.
        address: String,
        /// Why not.
        problem: String,
    },
    /// A stream ended with an error.
    #[error("the orderer ended the stream: {} ({:?})", .0.message(), .0.code())]
    Stream(Box<tonic::Status>),
    /// A stream ended before everything was answered.
    #[error("the stream ended and left {unanswered} envelopes unanswered: they may be in the chain or not")]
    Unanswered {
        /// How many.
        unanswered: usize,
        /// How it ended, if with an error.
        #[source]
        cause: Option<Box<tonic::Status>>,
    },
    /// The orderer sent something that is no block.
    #[error("the orderer sent a block that cannot be used")]
    Block(#[from] BlockError),
    /// The orderer sent an answer without content, or of a kind that is not known.
    #[error("the orderer sent an answer that is not understood")]
    Answer,
    /// A signature could not be made.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        Self::Stream(Box::new(status))
    }
}
