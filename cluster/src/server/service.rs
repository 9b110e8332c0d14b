//! Handles a Step stream, whichever listener reads its requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fabric_proto::lenient;
use fabric_proto::orderer::step_request::Payload;
use fabric_proto::orderer::{ConsensusRequest, StepRequest, SubmitRequest};
use futures_util::{Stream, StreamExt as _};
use orderer_x509::Certificate;
use tonic::{Code, Status};

use super::api::{ClusterChannel, Router, StepRejection};
use crate::expiration::{ExpirationCheck, as_go_duration, unix_now};
use crate::membership::{ConsenterId, PinnedKey};
use crate::wire::NOT_AUTHORIZED;

/// Fabric's loggers.
const LOG: &str = "orderer.common.cluster";
const STEP_LOG: &str = "orderer.common.cluster.step";
/// Minimum interval in seconds between warnings about rejected requests: a rejected consenter retries at every
/// heartbeat.
const REFUSAL_INTERVAL_SECONDS: i64 = 60;

/// Handles the streams of other consenters. Cloning shares it.
#[derive(Clone)]
pub struct StepService(Arc<Shared>);

struct Shared {
    router: Arc<dyn Router>,
    expiration_warning: Duration,
    streams: AtomicUsize,
    consensus: AtomicU64,
    submit: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    last_refusal: AtomicI64,
}

/// The client that opened a stream.
#[derive(Clone, Debug)]
pub struct StepClient {
    /// The client's address.
    pub address: SocketAddr,
    /// The client's TLS certificate in DER, if it presented one. The handshake has proven that it has the
    /// certificate's key.
    pub certificate: Option<Bytes>,
}

/// Number of streams, and totals of their requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceFigures {
    /// Number of open streams (`cluster_comm_ingress_stream_count`).
    pub streams: usize,
    /// Number of consensus messages that a channel accepted.
    pub consensus: u64,
    /// Number of transactions that a channel accepted.
    pub submit: u64,
    /// Number of consensus messages for which a channel had no capacity.
    pub dropped: u64,
    /// Number of streams that ended because a request was rejected.
    pub refused: u64,
}

impl StepService {
    /// Passes requests to the channels that `router` finds, and warns when a client's certificate is valid for no
    /// longer than `expiration_warning` (`CertExpirationWarningThreshold`).
    pub fn new(router: Arc<dyn Router>, expiration_warning: Duration) -> Self {
        Self(Arc::new(Shared {
            router,
            expiration_warning,
            streams: AtomicUsize::new(0),
            consensus: AtomicU64::new(0),
            submit: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_refusal: AtomicI64::new(i64::MIN),
        }))
    }

    /// Begins a stream.
    pub fn open(&self, client: &StepClient) -> StepSession {
        self.0.streams.fetch_add(1, Ordering::Relaxed);
        let shown = match &client.certificate {
            None => Shown::Nothing,
            Some(der) => match Certificate::parse(der) {
                Err(_) => Shown::Unreadable,
                Ok(certificate) => Shown::Certificate {
                    key: PinnedKey::of(&certificate).ok(),
                    name: certificate.subject().common_name().unwrap_or_default().to_owned(),
                    expiration: ExpirationCheck::new(certificate.not_after(), self.0.expiration_warning),
                },
            },
        };
        let session = StepSession { shared: Arc::clone(&self.0), address: client.address, shown, is_known: false };
        tracing::debug!(target: LOG, "Connection from {}({})", session.name(), session.address);
        session
    }

    /// Returns the totals so far.
    pub fn figures(&self) -> ServiceFigures {
        ServiceFigures {
            streams: self.0.streams.load(Ordering::Relaxed),
            consensus: self.0.consensus.load(Ordering::Relaxed),
            submit: self.0.submit.load(Ordering::Relaxed),
            dropped: self.0.dropped.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
        }
    }
}

/// The certificate that a client has presented.
enum Shown {
    Nothing,
    Unreadable,
    Certificate { key: Option<PinnedKey>, name: String, expiration: ExpirationCheck },
}

/// One open stream, until this is dropped.
pub struct StepSession {
    shared: Arc<Shared>,
    address: SocketAddr,
    shown: Shown,
    /// Whether a request came from a consenter.
    is_known: bool,
}

impl StepSession {
    /// Handles one request after the other, and returns the status with which the stream has to end.
    ///
    /// The head of the response should be sent together with that status and not before, as Fabric does
    /// ([`Status::into_http`]). A client opens two streams for each channel on its one connection, so a listener for
    /// the orderers of many channels has to allow as many. Dropping the future ends the stream; a transaction that
    /// the channel has not accepted is lost then.
    pub async fn run(mut self, requests: impl Stream<Item = Result<Bytes, Status>>) -> Status {
        let mut requests = std::pin::pin!(requests);
        while let Some(request) = requests.next().await {
            let handled = match request {
                Ok(request) => self.handle(request).await,
                Err(status) => {
                    // a client that has proven to be a consenter is logged each time
                    if self.is_known {
                        tracing::warn!(target: LOG, "Stream read from {} failed: {}", self.address, status.message());
                    } else {
                        tracing::debug!(target: LOG, "Stream read from {} failed: {}", self.address, status.message());
                    }
                    Err(status)
                }
            };
            if let Err(status) = handled {
                return status;
            }
        }
        tracing::debug!(target: LOG, "{}({}) disconnected", self.name(), self.address);
        Status::ok("")
    }

    /// Handles the bytes of a `StepRequest`. The next one must not be read before the future resolves. If the future
    /// is dropped earlier, a transaction may or may not have been accepted.
    ///
    /// # Errors
    /// Fails with the status with which the stream has to end, as Fabric would end it. A stream that ends otherwise
    /// ends with OK. No response is sent before the end: Fabric's clients do not read.
    pub async fn handle(&mut self, request: Bytes) -> Result<(), Status> {
        let length = request.len();
        let request: StepRequest = lenient::decode(request)
            .map_err(|error| Status::internal(format!("grpc: failed to unmarshal the received message: {error}")))?;
        let handled = match request.payload {
            Some(Payload::SubmitRequest(request)) => self.submit(request, length).await,
            Some(Payload::ConsensusRequest(request)) => self.consensus(request, length),
            None => Err("message is neither a Submit nor a Consensus request".to_owned()),
        };
        // an error without a gRPC code has this one
        handled.map_err(|text| {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            Status::new(Code::Unknown, text)
        })
    }

    fn consensus(&mut self, request: ConsensusRequest, length: usize) -> Result<(), String> {
        self.arrived("ConsensusRequest", &request.channel, length);
        let identified = self.identify(&request.channel);
        let (channel, from) = identified.inspect_err(|text| self.warn_of_refusal("consensus message", text))?;
        self.is_of_consenter(&request.channel);
        match channel.consensus(from, request.payload, request.metadata) {
            Ok(()) => self.shared.consensus.fetch_add(1, Ordering::Relaxed),
            Err(StepRejection::NoRoom) => self.shared.dropped.fetch_add(1, Ordering::Relaxed),
            Err(refused @ StepRejection::Refused(_)) => return Err(refused.to_string()),
        };
        Ok(())
    }

    async fn submit(&mut self, request: SubmitRequest, length: usize) -> Result<(), String> {
        self.arrived("SubmitRequest", &request.channel, length);
        let identified = self.identify(&request.channel);
        let (channel, from) = identified.inspect_err(|text| self.warn_of_refusal("transaction", text))?;
        self.is_of_consenter(&request.channel);
        let taken = channel.submit(from, request.last_validation_seq, request.payload).await;
        let taken = taken.map_err(|refused| refused.to_string());
        match &taken {
            Ok(()) => {
                self.shared.submit.fetch_add(1, Ordering::Relaxed);
            }
            Err(text) => tracing::warn!(target: LOG, "Handling of Submit() from {} failed: {text}", self.address),
        }
        taken
    }

    /// Logs that a request has arrived.
    fn arrived(&self, kind: &str, channel: &str, length: usize) {
        tracing::trace!(
            target: STEP_LOG,
            "Received message from {}({}): {kind} for channel {channel} with {length} bytes",
            self.name(),
            self.address,
        );
    }

    /// Notes that a request came from a consenter, and warns if its certificate is about to expire.
    fn is_of_consenter(&mut self, channel: &str) {
        self.is_known = true;
        if let Shown::Certificate { name, expiration, .. } = &mut self.shown
            && let Some(left) = expiration.warn_now(unix_now())
        {
            let (address, left) = (self.address, as_go_duration(left));
            tracing::warn!(
                target: LOG,
                "Certificate of {name} from {address} for channel {channel} expires in less than {left}"
            );
        }
    }

    /// Returns the channel, and the client's ID in it.
    fn identify(&self, channel: &str) -> Result<(Arc<dyn ClusterChannel>, ConsenterId), String> {
        if channel.is_empty() {
            return Err("badly formatted message, cannot extract channel".to_owned());
        }
        let Some(found) = self.shared.router.channel(channel) else {
            return Err(format!("channel {channel} doesn't exist"));
        };
        let key = match &self.shown {
            Shown::Nothing => return Err("no TLS certificate sent".to_owned()),
            Shown::Unreadable => None,
            Shown::Certificate { key, .. } => key.as_ref(),
        };
        let from = key.and_then(|key| found.membership().sender(key));
        from.map(|from| (found, from)).ok_or_else(|| NOT_AUTHORIZED.to_owned())
    }

    /// Warns about a rejection, but not more often than the interval, because any client that reaches the listener
    /// could fill the log.
    fn warn_of_refusal(&self, what: &str, text: &str) {
        let (now, last) = (unix_now(), &self.shared.last_refusal);
        if now.saturating_sub(last.load(Ordering::Relaxed)) >= REFUSAL_INTERVAL_SECONDS {
            last.store(now, Ordering::Relaxed);
            tracing::warn!(target: LOG, "A {what} from {}({}) is refused: {text}", self.name(), self.address);
        }
    }

    fn name(&self) -> &str {
        match &self.shown {
            Shown::Certificate { name, .. } => name,
            Shown::Nothing | Shown::Unreadable => "unidentified node",
        }
    }
}

impl Drop for StepSession {
    fn drop(&mut self) {
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
        tracing::debug!(target: LOG, "Closing connection from {}({})", self.name(), self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{Consenter, Membership};
    use fabric_proto::Message as _;
    use futures_util::future::BoxFuture;
    use futures_util::stream;

    struct Node {
        membership: Arc<Membership>,
    }

    impl Router for Node {
        fn channel(&self, name: &str) -> Option<Arc<dyn ClusterChannel>> {
            (name == "ch")
                .then(|| Arc::new(Node { membership: Arc::clone(&self.membership) }) as Arc<dyn ClusterChannel>)
        }
    }

    impl ClusterChannel for Node {
        fn membership(&self) -> Arc<Membership> {
            Arc::clone(&self.membership)
        }

        fn consensus(&self, _: ConsenterId, payload: Bytes, _: Bytes) -> Result<(), StepRejection> {
            if payload.is_empty() { Err(StepRejection::NoRoom) } else { Ok(()) }
        }

        fn submit(&self, from: ConsenterId, sequence: u64, _: Bytes) -> BoxFuture<'static, Result<(), StepRejection>> {
            let refused = StepRejection::Refused("no Raft leader".to_owned());
            Box::pin(std::future::ready(if (from, sequence) == (1, 7) { Ok(()) } else { Err(refused) }))
        }
    }

    fn consensus(channel: &str, payload: &'static [u8]) -> Bytes {
        let payload = Bytes::from_static(payload);
        let request = ConsensusRequest { channel: channel.to_owned(), payload, ..ConsensusRequest::default() };
        StepRequest { payload: Some(Payload::ConsensusRequest(request)) }.encode_to_vec().into()
    }

    fn submit(last_validation_seq: u64) -> Bytes {
        let request = SubmitRequest { channel: "ch".to_owned(), last_validation_seq, payload: Bytes::new() };
        StepRequest { payload: Some(Payload::SubmitRequest(request)) }.encode_to_vec().into()
    }

    #[tokio::test]
    async fn streams_end_as_fabric_ends_them() {
        const UNAUTHORIZED: &str = "certificate extracted from TLS connection isn't authorized";
        let made = rcgen::generate_simple_self_signed(vec!["orderer1".to_owned()]).unwrap();
        let certificate = Bytes::from(made.cert.pem());
        let consenter = Consenter {
            id: 1,
            host: "orderer1".to_owned(),
            port: 7050,
            client_certificate: certificate.clone(),
            server_certificate: certificate,
        };
        let membership = Arc::new(Membership::new(None, [consenter]));
        let service = StepService::new(Arc::new(Node { membership }), Duration::ZERO);
        let member = Some(Bytes::copy_from_slice(made.cert.der()));
        let other = rcgen::generate_simple_self_signed(vec!["orderer2".to_owned()]).unwrap();
        let other = Some(Bytes::copy_from_slice(other.cert.der()));
        let cases: [(&Option<Bytes>, Vec<Bytes>, Code, &str); 10] = [
            (&member, vec![consensus("ch", b"m"), submit(7), consensus("ch", b"")], Code::Ok, ""),
            (&member, vec![submit(8)], Code::Unknown, "no Raft leader"),
            (&member, vec![consensus("", b"m")], Code::Unknown, "badly formatted message, cannot extract channel"),
            (&member, vec![consensus("other", b"m")], Code::Unknown, "channel other doesn't exist"),
            (&None, vec![consensus("other", b"m")], Code::Unknown, "channel other doesn't exist"),
            (&None, vec![consensus("ch", b"m")], Code::Unknown, "no TLS certificate sent"),
            (&other, vec![consensus("ch", b"m")], Code::Unknown, UNAUTHORIZED),
            (&Some(Bytes::from_static(b"0")), vec![submit(7)], Code::Unknown, UNAUTHORIZED),
            (&member, vec![Bytes::new()], Code::Unknown, "message is neither a Submit nor a Consensus request"),
            (&member, vec![Bytes::from_static(&[0x0a])], Code::Internal, "grpc: failed to unmarshal"),
        ];
        for (certificate, requests, code, text) in cases {
            let client = StepClient { address: ([127, 0, 0, 1], 1).into(), certificate: certificate.clone() };
            let session = service.open(&client);
            assert_eq!(service.figures().streams, 1);
            let status = session.run(stream::iter(requests.into_iter().map(Ok))).await;
            assert_eq!(status.code(), code, "{}", status.message());
            assert!(status.message().starts_with(text), "{}", status.message());
        }
        let figures = ServiceFigures { streams: 0, consensus: 1, submit: 1, dropped: 1, refused: 8 };
        assert_eq!(service.figures(), figures);
        let cut = stream::iter([Err(Status::cancelled("it went away"))]);
        let client = StepClient { address: ([127, 0, 0, 1], 1).into(), certificate: None };
        assert_eq!(service.open(&client).run(cut).await.code(), Code::Cancelled);
    }
}
