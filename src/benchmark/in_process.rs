//! The node inside this process, called without a network: the same service, over queues instead of sockets.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use orderer_actors::channel::{ChannelState, Entry};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::grpc::AtomicBroadcast;
use crate::node;
use crate::settings::Settings;

/// A new chain of one block runs within milliseconds.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Pieces of a body that wait for the other side.
const QUEUE: usize = 64;

/// A node on threads of its own. Stopped when dropped.
pub(super) struct InsideNode {
    pub(super) service: InProcess,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl InsideNode {
    /// Starts it and waits until the channel's chain runs.
    pub(super) async fn start(settings: Settings, genesis: Vec<PathBuf>, channel: String) -> anyhow::Result<Self> {
        let (tell, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("bench-node".to_owned()).spawn(move || {
            let mut tell = Some(tell);
            let ended = node::run_inside(&settings, &genesis, async |service, context| {
                let found = context.directory.find(&channel);
                let Some(Entry::Open(found)) = found else { anyhow::bail!("no channel '{channel}'") };
                let mut states = found.states();
                let running = states.wait_for(|state| *state == ChannelState::Running);
                tokio::time::timeout(START_LIMIT, running)
                    .await
                    .context("its chain does not run")?
                    .context("the chain")?;
                if let Some(tell) = tell.take() {
                    let _ = tell.send(Ok(InProcess { service, node: context.io.clone() }));
                }
                let _ = stopped.await;
                Ok(())
            });
            if let (Err(error), Some(tell)) = (ended, tell) {
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

/// The node's service, whose work is done on the node's threads, so that the clients' can be told from it.
#[derive(Clone)]
pub(super) struct InProcess {
    service: AtomicBroadcast,
    node: Handle,
}

impl Service<Request<Body>> for InProcess {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Called by a client: its own body is read on its own runtime.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, carry(body, &Handle::current()));
        let answer = self.service.call(request);
        let node = self.node.clone();
        ready(answer.into_inner().map(|response| response.map(|body| carry(body, &node))))
    }
}

/// The same body, read on `runtime`.
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
