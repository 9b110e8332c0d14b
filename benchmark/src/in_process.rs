//! The node inside this process, called without a network: the same service, over queues instead of sockets. The
//! program that composes node and benchmark supplies the function that runs such a node.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use orderer_localconfig::settings::Settings;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

/// Capacity of the queue that carries a body to the other side, in frames.
const QUEUE: usize = 64;

/// Runs a node over the channels of these genesis blocks until [`InsideLink::serve`] returns. Blocks the thread.
pub type RunInside = fn(&Settings, &[PathBuf], &mut InsideLink) -> anyhow::Result<()>;

/// Connects a node inside this process to the code that measures it.
pub struct InsideLink {
    channels: Vec<String>,
    tell: Option<oneshot::Sender<anyhow::Result<InProcess>>>,
    stopped: oneshot::Receiver<()>,
}

impl InsideLink {
    /// Returns the channels that must run before the node is measured.
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    /// Hands over the node's service, whose work runs on the runtime `node`, and waits until the node is no longer
    /// needed.
    pub async fn serve(
        &mut self,
        service: impl Fn(Request<Body>) -> Response<Body> + Send + Sync + 'static,
        node: Handle,
    ) {
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(Ok(InProcess { service: Arc::new(service), node }));
        }
        // an error: the measuring side is gone
        let _ = (&mut self.stopped).await;
    }
}

/// A node on threads of its own, stopped when dropped.
pub(super) struct InsideNode {
    pub(super) service: InProcess,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl InsideNode {
    /// Starts the node and waits until the channels' chains run.
    pub(super) async fn start(
        run: RunInside,
        settings: Settings,
        genesis: Vec<PathBuf>,
        channels: Vec<String>,
    ) -> anyhow::Result<Self> {
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("bench-node".to_owned()).spawn(move || {
            let mut link = InsideLink { channels, tell: Some(tell), stopped };
            let ended = run(&settings, &genesis, &mut link);
            if let (Err(error), Some(tell)) = (ended, link.tell) {
                let _ = tell.send(Err(error));
            }
        });
        let thread = thread.context("start the node's thread")?;
        let service =
            told.await.context("the node inside this process died")?.context("the node inside this process")?;
        Ok(Self { service, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for InsideNode {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The node's service. Its work runs on the node's threads, so that it can be distinguished from the clients'.
#[derive(Clone)]
pub(super) struct InProcess {
    service: Arc<dyn Fn(Request<Body>) -> Response<Body> + Send + Sync>,
    node: Handle,
}

impl Service<Request<Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Calls the service for a client, whose body is read on its own runtime.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, carry(body, &Handle::current()));
        let node = self.node.clone();
        ready(Ok((self.service)(request).map(|body| carry(body, &node))))
    }
}

/// Returns the same body, read on `runtime`.
fn carry(mut body: Body, runtime: &Handle) -> Body {
    let (queue, queued) = mpsc::channel(QUEUE);
    runtime.spawn(async move {
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            if queue.send(frame).await.is_err() {
                return;
            }
        }
    });
    Body::new(Carried(queued))
}

struct Carried(mpsc::Receiver<Result<Frame<Bytes>, Status>>);

impl http_body::Body for Carried {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(cx)
    }
}
