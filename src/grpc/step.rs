//! The service `orderer.Cluster`: streams of other orderers, which the channels know as consenters.
//!
//! No response is sent before a stream ends: its status is sent as the head of the response. Until its first request
//! was accepted a stream is treated like any other silent one; a request from a client that is no consenter of the
//! request's channel ends it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{Request, Response};
use orderer_actors::channel::ChannelEntry;
use orderer_actors::observer::{Method, StreamHandle, StreamObserver};
use orderer_actors::{ChannelRegistry, NodeContext};
use orderer_cluster::{ClusterChannel, PinnedKey, Router, StepClient, StepService};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::message_reader::{Arriving, IncomingMessage, MessageReader};
use crate::admission::{Admission, Charge, OpenStream, Peer};
use crate::connection::ConnectInfo;

/// Maximum size in bytes of a request from a client that is no consenter of any channel. It is rejected whatever it
/// contains.
const STRANGERS_MAX_BYTES: usize = 64 << 10;

/// The gRPC service `orderer.Cluster`. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    service: StepService,
    context: Arc<NodeContext>,
    admission: Admission,
    max_receive_bytes: usize,
    stopping: CancellationToken,
}

/// Finds the channels that have a Raft chain.
pub struct RaftChannels(pub Arc<ChannelRegistry>);

impl Router for RaftChannels {
    fn channel(&self, name: &str) -> Option<Arc<dyn ClusterChannel>> {
        match self.0.get(name)? {
            ChannelEntry::Open(channel) => channel.cluster(),
            ChannelEntry::Unavailable(_) => None,
        }
    }
}

/// Returns whether a client with this TLS certificate is a consenter of a channel that Raft orders here. The
/// handshake has proven that the client has the certificate's key.
pub fn is_consenter(directory: &ChannelRegistry, certificate: &Bytes) -> bool {
    let Ok(key) = PinnedKey::of_der(certificate) else { return false };
    let has = |channel: Arc<dyn ClusterChannel>| channel.membership().sender(&key).is_some();
    directory.open_channels().iter().filter_map(|channel| channel.cluster()).any(has)
}

impl Cluster {
    /// Creates the service, which reads messages of at most `max_receive_bytes`.
    pub fn new(
        service: StepService,
        context: Arc<NodeContext>,
        admission: Admission,
        max_receive_bytes: usize,
        stopping: CancellationToken,
    ) -> Self {
        Self { service, context, admission, max_receive_bytes, stopping }
    }

    /// Reads a stream to its end.
    async fn answer(self, mut reader: MessageReader, connection: ConnectInfo, open: OpenStream) -> Response<Body> {
        let mut observer = self.context.observer.stream(Method::Step);
        let place = self.context.observer.streams().open(Method::Step, connection.peer);
        reader.turn().of_node();
        let client = StepClient { address: connection.peer, certificate: connection.tls_certificate };
        let is_favoured = reader.peer().is_favoured();
        if !is_favoured && !client.certificate.as_ref().is_some_and(|der| is_consenter(&self.context.directory, der)) {
            reader.limit(STRANGERS_MAX_BYTES);
        }
        let session = self.service.open(&client);
        let requests =
            Requests { reader, observer: &observer, place, count: 0, max_receive_bytes: self.max_receive_bytes };
        let status = tokio::select! {
            status = session.run(requests.stream()) => status,
            () = self.stopping.cancelled() => Status::unavailable("the orderer is shutting down"),
        };
        drop(open);
        observer.ends(status.code() as i32);
        status.into_http()
    }
}

/// The requests of one stream, and what counts them.
struct Requests<'a> {
    reader: MessageReader,
    observer: &'a StreamObserver,
    place: StreamHandle,
    count: usize,
    max_receive_bytes: usize,
}

impl<'a> Requests<'a> {
    /// Yields one request after the other. Polling for the second means that the first was accepted as a consenter's.
    fn stream(self) -> impl Stream<Item = Result<Bytes, Status>> + use<'a> {
        stream::unfold(self, |mut requests| async move {
            if requests.count == 1 {
                requests.reader.peer().favour();
                requests.reader.limit_is(requests.max_receive_bytes);
            }
            let next = requests.reader.next().await?;
            let next = next.map(|incoming| {
                requests.count += 1;
                requests.observer.received(1);
                requests.place.count(incoming.bytes.len());
                Bytes::from_owner(Held::from(incoming))
            });
            Some((next, requests))
        })
    }
}

/// A request, charged to its connection for as long as any part of it is retained.
struct Held {
    bytes: Bytes,
    _charge: Charge,
}

impl From<IncomingMessage> for Held {
    fn from(IncomingMessage { bytes, charge }: IncomingMessage) -> Self {
        Self { bytes, _charge: charge }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl NamedService for Cluster {
    const NAME: &'static str = "orderer.Cluster";
}

impl Service<Request<Body>> for Cluster {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connection = request.extensions().get::<ConnectInfo>().cloned().unwrap_or_default();
        // a request from within the process has no connection
        let peer = connection.admitted.clone();
        let peer = peer.unwrap_or_else(|| Arc::new(Peer::new(connection.peer, &self.admission.budget)));
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let body = request.into_body();
        let refuse = |status: Status, body| -> Self::Future {
            drop(Arriving::new(body, &peer));
            Box::pin(std::future::ready(Ok(status.into_http())))
        };
        if method != "Step" {
            return refuse(Status::unimplemented(format!("unknown method {method} for service {}", Self::NAME)), body);
        }
        let Some(open) = self.admission.streams.open(&peer) else {
            return refuse(Status::resource_exhausted("the orderer has as many streams open as it may"), body);
        };
        let reader = MessageReader::new(body, self.max_receive_bytes, peer.begin(), &self.admission);
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(reader, connection, open).await) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use orderer_actors::observer::NodeObserver;

    use super::super::message_reader::tests::Pieces;
    use super::*;

    fn framed(length: usize) -> Bytes {
        let prefix = u32::try_from(length).unwrap().to_be_bytes();
        [&[0][..], &prefix, &vec![7; length]].concat().into()
    }

    #[tokio::test]
    async fn a_request_is_charged_until_its_last_part_is_dropped_and_the_second_shows_a_consenter() {
        let admission = Admission::of_memory(64 << 20);
        let peer = Arc::new(Peer::new(([10, 0, 0, 1], 7).into(), &admission.budget));
        let body = Body::new(Pieces([framed(1000), framed(100 << 10)].into()));
        let mut reader = MessageReader::new(body, 1 << 20, peer.begin(), &admission);
        reader.limit(STRANGERS_MAX_BYTES);
        let node = NodeObserver::new();
        let (observer, place) = (node.stream(Method::Step), node.streams().open(Method::Step, peer.address()));
        let requests = Requests { reader, observer: &observer, place, count: 0, max_receive_bytes: 1 << 20 };
        let mut requests = Box::pin(requests.stream());
        let before = admission.budget.used();
        let first = requests.next().await.unwrap().unwrap();
        let part = first.slice(10..20);
        drop(first);
        assert!(admission.budget.used() >= before + 1000, "a part holds all of it");
        assert!(!peer.is_favoured(), "nobody has looked at the request yet");
        drop(part);
        assert_eq!(admission.budget.used(), before);
        let second = requests.next().await.unwrap().unwrap();
        assert_eq!(second.len(), 100 << 10, "consenters are not held to the size of strangers' requests");
        assert!(peer.is_favoured());
        drop(second);
        assert!(requests.next().await.is_none());
        drop(requests);
        drop(peer);
        assert_eq!(admission.budget.used(), 0);
    }
}
