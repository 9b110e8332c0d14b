//! Pulls blocks over TLS and HTTP/2.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Version, header};
use hyper::client::conn::http2::SendRequest;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Status;

use super::api::{BlockEndpoint, BlockSources, BlockStream, PullError, PullSettings, RequestSigner};
use super::messages::{Messages, SingleMessageBody, in_short};
use super::seek::{Wanted, request};
use crate::client::{DialedConnection, describe, dial};
use crate::tls::{ExpectedServer, Identity};

/// Maximum number of bytes of a stream that a server may send before they are requested.
pub const WINDOW_BYTES: u32 = 1 << 20;

/// Pulls blocks from other orderers.
pub struct DeliverClient(Arc<Shared>);

struct Shared {
    settings: PullSettings,
    identity: ArcSwap<Identity>,
    signer: Arc<dyn RequestSigner>,
    runtime: Handle,
}

impl DeliverClient {
    /// Presents `identity` to the servers, and signs requests with `signer`. All tasks run on `runtime`.
    pub fn new(settings: PullSettings, identity: Identity, signer: impl RequestSigner, runtime: Handle) -> Self {
        let identity = ArcSwap::from_pointee(identity);
        Self(Arc::new(Shared { settings, identity, signer: Arc::new(signer), runtime }))
    }

    /// Presents this identity on connections opened from now on.
    pub fn replace_identity(&self, identity: Identity) {
        self.0.identity.store(Arc::new(identity));
    }
}

impl BlockSources for DeliverClient {
    fn height(&self, channel: &str, endpoint: &BlockEndpoint) -> BoxFuture<'static, Result<u64, PullError>> {
        let shared = Arc::clone(&self.0);
        let source = Source { channel: channel.to_owned(), endpoint: endpoint.clone(), wanted: Wanted::Newest };
        Box::pin(async move {
            // the task ends when this set is dropped
            let (mut task, runtime) = (JoinSet::new(), shared.runtime.clone());
            task.spawn_on(
                async move {
                    let mut open = open(&shared, &source).await?;
                    within(shared.settings.pull_timeout, open.messages.height()).await
                },
                &runtime,
            );
            let height = task.join_next().await.and_then(Result::ok);
            height.unwrap_or_else(|| Err(PullError::Ended("its task ended".to_owned())))
        })
    }

    fn pull(&self, channel: &str, endpoint: &BlockEndpoint, from: u64, to: u64) -> Box<dyn BlockStream> {
        let count = to.checked_sub(from).map_or(0, |more| more.saturating_add(1));
        Box::new(Pulled::new(&self.0, channel, endpoint, from, count))
    }
}

type Answer = Result<Bytes, PullError>;

/// A stream that a task of the client's runtime reads, one block per request.
struct Pulled {
    /// The source, until the task is started.
    source: Option<Source>,
    shared: Arc<Shared>,
    remaining: u64,
    /// Sends the task a channel on which to return the next block.
    ask: Option<mpsc::UnboundedSender<oneshot::Sender<Answer>>>,
    /// The requested block that has not come yet.
    awaited: Option<oneshot::Receiver<Answer>>,
    /// The task. It ends when this value is dropped.
    task: JoinSet<()>,
}

/// A source, and the blocks to pull from it.
struct Source {
    channel: String,
    endpoint: BlockEndpoint,
    wanted: Wanted,
}

impl Pulled {
    fn new(shared: &Arc<Shared>, channel: &str, endpoint: &BlockEndpoint, from: u64, count: u64) -> Self {
        let wanted = Wanted::From(from);
        let source = Source { channel: channel.to_owned(), endpoint: endpoint.clone(), wanted };
        let shared = Arc::clone(shared);
        Self { source: Some(source), shared, remaining: count, ask: None, awaited: None, task: JoinSet::new() }
    }

    async fn read(&mut self) -> Answer {
        if let Some(source) = self.source.take() {
            // the channel holds at most one request, because the next block is requested after the previous one has
            // arrived
            let (ask, asked) = mpsc::unbounded_channel();
            self.task.spawn_on(run(Arc::clone(&self.shared), source, asked), &self.shared.runtime);
            self.ask = Some(ask);
        }
        if self.awaited.is_none() {
            let (give, given) = oneshot::channel();
            // a task that has ended does not reply
            let _ = self.ask.as_ref().map(|ask| ask.send(give));
            self.awaited = Some(given);
        }
        let answer = match &mut self.awaited {
            Some(awaited) => awaited.await,
            None => return Err(PullError::Ended("it was not asked for a block".to_owned())),
        };
        self.awaited = None;
        answer.unwrap_or_else(|_| Err(PullError::Ended("its task ended".to_owned())))
    }
}

impl BlockStream for Pulled {
    fn next(&mut self) -> BoxFuture<'_, Option<Answer>> {
        Box::pin(async {
            if self.remaining == 0 {
                return None;
            }
            let answer = self.read().await;
            self.remaining = if answer.is_ok() { self.remaining - 1 } else { 0 };
            if self.remaining == 0 {
                self.task.abort_all();
            }
            Some(answer)
        })
    }
}

/// Reads a block for each request, until an error, or until no more requests come.
async fn run(shared: Arc<Shared>, source: Source, mut asked: mpsc::UnboundedReceiver<oneshot::Sender<Answer>>) {
    let Some(first) = asked.recv().await else { return };
    let limit = shared.settings.pull_timeout;
    let mut open = match open(&shared, &source).await {
        Ok(open) => open,
        Err(error) => return drop(first.send(Err(error))),
    };
    let mut next = Some(first);
    while let Some(give) = next {
        let block = within(limit, open.messages.block()).await;
        let is_over = block.is_err();
        // the requester may have stopped waiting; the next request continues with the next block
        let _ = give.send(block);
        if is_over {
            return;
        }
        next = asked.recv().await;
    }
}

/// A stream whose response has begun. Its connection ends with it.
struct Open {
    messages: Messages,
    /// hyper closes a connection on which no more requests can be made
    _sender: SendRequest<SingleMessageBody>,
    _connection: JoinSet<()>,
}

async fn open(shared: &Shared, source: &Source) -> Result<Open, PullError> {
    let Source { channel, endpoint, wanted } = source;
    let settings = &shared.settings;
    let (host, port) = host_and_port(&endpoint.address).ok_or_else(|| PullError::Address(endpoint.address.clone()))?;
    let identity = shared.identity.load_full();
    let server = ExpectedServer {
        host: host.to_owned(),
        endpoint: endpoint.address.clone(),
        key: None,
        time_shift: settings.time_shift,
        tolerate_expired: false,
    };
    let dialing = dial(server, port, &identity, &endpoint.roots, Some(WINDOW_BYTES));
    let DialedConnection { mut sender, driver, .. } = match timeout(settings.dial_timeout, dialing).await {
        Ok(dialed) => dialed.map_err(PullError::Connect)?,
        Err(_) => return Err(PullError::Connect(format!("it does not answer within {:?}", settings.dial_timeout))),
    };
    let mut connection = JoinSet::new();
    connection.spawn(async move { drop(driver.await) });
    let (signer, name, wanted) = (Arc::clone(&shared.signer), channel.clone(), *wanted);
    // the key may be in hardware that takes its time
    let signing = tokio::task::spawn_blocking(move || {
        request(&name, wanted, identity.der(), &*signer, SystemTime::now(), rand::random())
    });
    let envelope = signing.await.map_err(|panicked| PullError::Sign(panicked.to_string()))??;
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("https://{}/orderer.AtomicBroadcast/Deliver", endpoint.address))
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(SingleMessageBody::new(&envelope))
        .map_err(|_| PullError::Address(endpoint.address.clone()))?;
    let response = within(settings.pull_timeout, async {
        sender.send_request(request).await.map_err(|error| PullError::Ended(describe(&error)))
    });
    let response = response.await?;
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Err(PullError::Ended(in_short(&status)));
    }
    if response.status() != http::StatusCode::OK {
        return Err(PullError::Ended(format!("HTTP {}", response.status())));
    }
    let messages = Messages::new(response.into_body(), settings.max_block_bytes);
    Ok(Open { messages, _sender: sender, _connection: connection })
}

async fn within<T>(limit: Duration, read: impl Future<Output = Result<T, PullError>>) -> Result<T, PullError> {
    timeout(limit, read).await.unwrap_or(Err(PullError::Timeout(limit)))
}

/// Splits HOST:PORT; an IPv6 address is in brackets.
fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if host.is_empty() { None } else { Some((host, port.parse().ok()?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(host_and_port("orderer.example.com:7050"), Some(("orderer.example.com", 7050)));
        assert_eq!(host_and_port("[::1]:7050"), Some(("::1", 7050)));
        for wrong in ["orderer", "orderer:", ":7050", "::1", "[::1]", "[::1:7050", "orderer:70500", "a:b:7050", ""] {
            assert_eq!(host_and_port(wrong), None, "{wrong}");
        }
    }
}
