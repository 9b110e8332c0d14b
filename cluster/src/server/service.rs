//! One Step stream, however its requests are read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use super::api::Router;

/// Takes the streams of other consenters.
#[derive(Clone)]
pub struct StepService {
    router: Arc<dyn Router>,
    expiration_warning: Duration,
}

/// Who opened a stream.
#[derive(Clone, Debug)]
pub struct StepClient {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Its TLS certificate in DER, if it showed one.
    pub certificate: Option<Bytes>,
}

/// How many streams there are, and what became of their requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceFigures {
    /// Streams that are open.
    pub streams: usize,
    /// Consensus messages that a channel took.
    pub consensus: u64,
    /// Transactions that a channel took.
    pub submit: u64,
    /// Consensus messages for which a channel had no room.
    pub dropped: u64,
    /// Streams that ended because a request was refused.
    pub refused: u64,
}

/// One stream that is open.
pub struct StepSession {}

impl StepService {
    /// Passes requests on to the channels that `router` finds, and warns when a client's certificate is valid for no longer than
    /// `expiration_warning`.
    pub fn new(router: Arc<dyn Router>, expiration_warning: Duration) -> Self {
        Self { router, expiration_warning }
    }

    /// A stream begins.
    pub fn open(&self, client: StepClient) -> StepSession {
        let _ = (&self.router, self.expiration_warning, client);
        StepSession {}
    }

    /// What has happened so far.
    pub fn figures(&self) -> ServiceFigures {
        ServiceFigures::default()
    }
}

impl StepSession {
    /// Handles the bytes of a `StepRequest`. The next one must not be read before the future is ready.
    ///
    /// # Errors
    /// The status with which the stream has to end, as Fabric would end it. A stream that ends otherwise ends with OK. Nothing is
    /// ever answered before the end: Fabric's clients do not read.
    pub async fn handle(&mut self, request: Bytes) -> Result<(), Status> {
        let _ = request;
        Ok(())
    }
}
