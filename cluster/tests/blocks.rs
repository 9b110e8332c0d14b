//! Pulls blocks from orderers that are slow, close the connection, lie, or send without end.

#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{BufMut as _, Bytes, BytesMut};
use fabric_proto::Message as _;
use fabric_proto::common::{self, Block, BlockData, BlockHeader, ChannelHeader, Envelope, Payload, SignatureHeader};
use fabric_proto::orderer::deliver_response::Type;
use fabric_proto::orderer::{DeliverResponse, SeekInfo, seek_position};
use futures_util::future::BoxFuture;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orderer_cluster::{
    BlockEndpoint, BlockSources as _, BlockStream, DeliverClient, PullError, PullSettings, RequestSigner, Roots,
    WINDOW_BYTES,
};
use support::{Authority, LIMIT, Pair, server_config};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The function that sends on one stream of a server.
type Sends = Arc<dyn Fn(SeekInfo, Out) -> BoxFuture<'static, ()> + Send + Sync>;

/// The sending half of a stream.
struct Out {
    frames: mpsc::Sender<Frame<Bytes>>,
    sent_bytes: Arc<AtomicUsize>,
}

impl Out {
    async fn bytes(&self, bytes: Bytes) -> bool {
        let length = bytes.len();
        let is_taken = self.frames.send(Frame::data(bytes)).await.is_ok();
        self.sent_bytes.fetch_add(length, Ordering::SeqCst);
        is_taken
    }

    async fn answer(&self, answer: Type) -> bool {
        self.bytes(framed(answer)).await
    }

    async fn status(&self, code: tonic::Code, message: &str) {
        let mut trailers = http::HeaderMap::new();
        tonic::Status::new(code, message).add_header(&mut trailers).unwrap();
        let _ = self.frames.send(Frame::trailers(trailers)).await;
    }
}

fn framed(answer: Type) -> Bytes {
    let message = DeliverResponse { r#type: Some(answer) }.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.extend_from_slice(&message);
    frame.freeze()
}

struct Frames(mpsc::Receiver<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// An orderer that serves blocks, or something else.
struct Server {
    port: u16,
    requests: watch::Receiver<Vec<Envelope>>,
    sent_bytes: Arc<AtomicUsize>,
    /// Number of open connections.
    open: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(authority: &Authority, certificate: &Pair, sends: Sends) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&authority.pem(), certificate)));
        let (tell, requests) = watch::channel(Vec::new());
        let (count, open) = watch::channel(0);
        let (tell, count, sent_bytes) = (Arc::new(tell), Arc::new(count), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        let bytes = Arc::clone(&sent_bytes);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, sends, tell) = (acceptor.clone(), Arc::clone(&sends), Arc::clone(&tell));
                let (count, bytes) = (Arc::clone(&count), Arc::clone(&bytes));
                connections.spawn(async move {
                    let Ok(secured) = acceptor.accept(socket).await else { return };
                    count.send_modify(|open| *open += 1);
                    let answer = service_fn(move |request: hyper::Request<Incoming>| {
                        let (sends, tell, bytes) = (Arc::clone(&sends), Arc::clone(&tell), Arc::clone(&bytes));
                        async move { Ok::<_, Infallible>(answer(request, &sends, &tell, bytes).await) }
                    });
                    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(secured), answer);
                    // this returns when the connection ends
                    let _ = served.await;
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { port, requests, sent_bytes, open, _tasks: tasks }
    }

    fn endpoint(&self, roots: Roots) -> BlockEndpoint {
        BlockEndpoint { address: format!("127.0.0.1:{}", self.port), roots }
    }

    async fn closed(&self) {
        let mut open = self.open.clone();
        tokio::time::timeout(LIMIT, open.wait_for(|open| *open == 0)).await.expect("it is closed").unwrap();
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    sends: &Sends,
    tell: &watch::Sender<Vec<Envelope>>,
    sent_bytes: Arc<AtomicUsize>,
) -> hyper::Response<Frames> {
    assert_eq!(request.uri().path(), "/orderer.AtomicBroadcast/Deliver");
    let mut body = request.into_body();
    let mut message = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        message.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    let envelope = Envelope::decode(message.split_off(5).freeze()).unwrap();
    let payload = Payload::decode(envelope.payload.clone()).unwrap();
    tell.send_modify(|all| all.push(envelope));
    let (frames, receiver) = mpsc::channel(1);
    tokio::spawn(sends(SeekInfo::decode(payload.data).unwrap(), Out { frames, sent_bytes }));
    hyper::Response::builder().header("content-type", "application/grpc").body(Frames(receiver)).unwrap()
}

fn sends<F: Future<Output = ()> + Send + 'static>(what: impl Fn(SeekInfo, Out) -> F + Send + Sync + 'static) -> Sends {
    Arc::new(move |seek, out| Box::pin(what(seek, out)))
}

fn block(number: u64, bytes: usize) -> Block {
    let header = BlockHeader { number, previous_hash: vec![1; 32].into(), data_hash: vec![2; 32].into() };
    Block { header: Some(header), data: Some(BlockData { data: vec![vec![3; bytes].into()] }), metadata: None }
}

fn first(seek: &SeekInfo) -> u64 {
    match seek.start.as_ref().unwrap().r#type.as_ref().unwrap() {
        seek_position::Type::Specified(from) => from.number,
        _ => 9,
    }
}

/// Serves blocks 0 to 9 as requested.
fn well() -> Sends {
    sends(|seek, out| async move {
        for number in first(&seek)..10 {
            if !out.answer(Type::Block(block(number, 100))).await {
                return;
            }
        }
        std::future::pending::<()>().await;
    })
}

struct Me;

impl RequestSigner for Me {
    fn creator(&self) -> Bytes {
        Bytes::from_static(b"me")
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, String> {
        Ok(Bytes::copy_from_slice(digest(&SHA256, message).as_ref()))
    }
}

fn client(pair: &Pair, settings: PullSettings) -> DeliverClient {
    DeliverClient::new(settings, pair.identity(), Me, tokio::runtime::Handle::current())
}

/// Returns settings with a time limit that only responses that never come exceed.
fn impatient() -> PullSettings {
    let limit = Duration::from_millis(300);
    PullSettings { dial_timeout: LIMIT, pull_timeout: limit, ..PullSettings::default() }
}

fn patient() -> PullSettings {
    PullSettings { dial_timeout: LIMIT, pull_timeout: LIMIT, ..PullSettings::default() }
}

struct World {
    authority: Authority,
    client: Pair,
    server: Server,
}

impl World {
    async fn new(sends: Sends) -> Self {
        let authority = Authority::new();
        let (client, certificate) = (authority.issue("orderer1"), authority.issue("orderer2"));
        let server = Server::start(&authority, &certificate, sends).await;
        Self { authority, client, server }
    }

    fn endpoint(&self) -> BlockEndpoint {
        self.server.endpoint(self.authority.roots())
    }

    fn pull(&self, settings: PullSettings, from: u64, to: u64) -> Box<dyn BlockStream> {
        client(&self.client, settings).pull("ch", &self.endpoint(), from, to)
    }
}

async fn error(stream: &mut Box<dyn BlockStream>) -> PullError {
    let error = stream.next().await.expect("something comes").expect_err("no block comes");
    assert!(stream.next().await.is_none(), "nothing comes behind it");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_come_in_order_and_the_request_is_bound_to_the_certificate() {
    let world = World::new(well()).await;
    let mut stream = world.pull(patient(), 3, 7);
    for number in 3..=7 {
        let taken = stream.next().await.unwrap().unwrap();
        assert_eq!(taken, block(number, 100).encode_to_vec());
    }
    assert!(stream.next().await.is_none());
    world.server.closed().await;
    let requests = world.server.requests.borrow().clone();
    let [request] = &requests[..] else { panic!("{} requests", requests.len()) };
    assert_eq!(request.signature, digest(&SHA256, &request.payload).as_ref());
    let header = Payload::decode(request.payload.clone()).unwrap().header.unwrap();
    let signature_header = SignatureHeader::decode(header.signature_header).unwrap();
    assert_eq!((&signature_header.creator[..], signature_header.nonce.len()), (&b"me"[..], 24));
    let channel_header = ChannelHeader::decode(header.channel_header).unwrap();
    assert_eq!(channel_header.channel_id, "ch");
    assert_eq!(channel_header.tls_cert_hash, digest(&SHA256, &world.client.der()).as_ref());
    // no block is requested
    assert!(world.pull(patient(), 4, 3).next().await.is_none());
    let height = client(&world.client, patient()).height("ch", &world.endpoint()).await;
    assert_eq!(height, Ok(10));
    world.server.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_height_is_known_before_the_block_is_there() {
    let world = World::new(sends(|_, out| async move {
        let whole = framed(Type::Block(block(41, 50_000_000)));
        out.bytes(whole.slice(..200)).await;
        out.frames.closed().await;
    }))
    .await;
    assert_eq!(client(&world.client, patient()).height("ch", &world.endpoint()).await, Ok(42));
    world.server.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_that_nobody_has_asked_for() {
    const BLOCK: usize = 300_000;
    // bytes from the server that hyper buffers
    const SLACK: usize = 4 * BLOCK + (1 << 20);
    let world = World::new(sends(|seek, out| async move {
        let mut number = first(&seek);
        while out.answer(Type::Block(block(number, BLOCK))).await {
            number += 1;
        }
    }))
    .await;
    let mut stream = world.pull(patient(), 0, u64::MAX);
    for taken in 1..40 {
        stream.next().await.unwrap().unwrap();
        tokio::task::yield_now().await;
        let sent = world.server.sent_bytes.load(Ordering::SeqCst);
        assert!(sent <= taken * (BLOCK + 100) + WINDOW_BYTES as usize + SLACK, "{sent} after {taken}");
    }
    // nor later, after enough time to send more
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sent = world.server.sent_bytes.load(Ordering::SeqCst);
    assert!(sent <= 39 * (BLOCK + 100) + WINDOW_BYTES as usize + SLACK, "{sent}");
    drop(stream);
    world.server.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_waiting_loses_no_block() {
    let (release, released) = watch::channel(0u64);
    let world = World::new(sends(move |seek, out| {
        let mut released = released.clone();
        async move {
            for number in first(&seek).. {
                // half of the block
                let whole = framed(Type::Block(block(number, 100)));
                out.bytes(whole.slice(..50)).await;
                let Ok(_) = released.wait_for(|count| *count > number).await else { return };
                out.bytes(whole.slice(50..)).await;
            }
        }
    }))
    .await;
    let mut stream = world.pull(patient(), 0, 2);
    for number in 0..=2 {
        for _ in 0..3 {
            let waited = tokio::time::timeout(Duration::from_millis(20), stream.next()).await;
            assert!(waited.is_err(), "block {number} is not there yet");
        }
        release.send_replace(number + 1);
        assert_eq!(stream.next().await.unwrap().unwrap(), block(number, 100).encode_to_vec());
    }
    assert!(stream.next().await.is_none());
    assert_eq!(world.server.requests.borrow().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_in_a_block_is_left() {
    let world = World::new(sends(|_, out| async move {
        out.answer(Type::Block(block(0, 100))).await;
        out.bytes(framed(Type::Block(block(1, 100))).slice(..50)).await;
        out.frames.closed().await;
    }))
    .await;
    let mut attempts = 0..100;
    let mut stream = loop {
        assert!(attempts.next().is_some(), "no first block in time");
        let mut stream = world.pull(impatient(), 0, 5);
        match stream.next().await.unwrap() {
            Ok(_) => break stream,
            // on a busy machine the first block may come too late as well
            Err(late) => assert_eq!(late, PullError::Timeout(Duration::from_millis(300))),
        }
    };
    assert_eq!(error(&mut stream).await, PullError::Timeout(Duration::from_millis(300)));
    drop(stream);
    world.server.closed().await;
    // nor by a server that sends byte after byte
    let world = World::new(sends(|_, out| async move {
        for byte in framed(Type::Block(block(0, 1_000_000))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if !out.bytes(Bytes::copy_from_slice(&[byte])).await {
                return;
            }
        }
    }))
    .await;
    let mut stream = world.pull(impatient(), 0, 5);
    assert_eq!(error(&mut stream).await, PullError::Timeout(Duration::from_millis(300)));
    let height = client(&world.client, impatient()).height("ch", &world.endpoint()).await;
    assert_eq!(height, Err(PullError::Timeout(Duration::from_millis(300))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_end_say_why() {
    let answers: [(Sends, &str); 8] = [
        (
            sends(|_, out| async move {
                let _ = out.answer(Type::Status(common::Status::Forbidden as i32)).await;
            }),
            "forbidden pulling the channel",
        ),
        (
            sends(|_, out| async move {
                let _ = out.answer(Type::Status(common::Status::NotFound as i32)).await;
            }),
            "faulty node, received status NOT_FOUND",
        ),
        (
            sends(|_, out| async move {
                out.answer(Type::Status(common::Status::ServiceUnavailable as i32)).await;
            }),
            "service unavailable",
        ),
        (
            sends(|_, out| async move { out.status(tonic::Code::Unknown, "as it pleases").await }),
            "the stream of blocks ended: Unknown: as it pleases",
        ),
        (sends(|_, out| async move { drop(out) }), "the stream of blocks ended: without a status"),
        (
            sends(|_, out| async move {
                out.bytes(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff])).await;
                out.frames.closed().await;
            }),
            "a block of 4294967295 bytes is larger than 104857600",
        ),
        (
            sends(|_, out| async move {
                out.bytes(Bytes::from_static(&[1, 0, 0, 0, 1, 0])).await;
            }),
            "malformed response: it is compressed",
        ),
        (
            sends(|_, out| async move {
                let _ = out.bytes(Bytes::from_static(&[0, 0, 0, 0, 2, 0x1a, 0])).await;
            }),
            "malformed response: it is neither a block nor a status",
        ),
    ];
    for (answer, expected) in answers {
        let world = World::new(answer).await;
        let mut stream = world.pull(patient(), 0, 5);
        assert_eq!(error(&mut stream).await.to_string(), expected);
        let height = client(&world.client, patient()).height("ch", &world.endpoint()).await;
        assert_eq!(height.unwrap_err().to_string(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_by_its_authority_and_its_name() {
    let world = World::new(well()).await;
    let client = client(&world.client, patient());
    let other = world.server.endpoint(Authority::new().roots());
    let why = |error: PullError| match error {
        PullError::Connect(why) => why,
        other => panic!("{other}"),
    };
    let refused = why(client.height("ch", &other).await.unwrap_err());
    assert!(refused.contains("its certificate is refused: certificate signed by unknown authority"), "{refused}");
    let nobody = world.server.endpoint(Roots::default());
    assert!(client.height("ch", &nobody).await.is_err());
    let named = BlockEndpoint { address: format!("localhost:{}", world.server.port), ..world.endpoint() };
    let refused = why(client.pull("ch", &named, 0, 1).next().await.unwrap().unwrap_err());
    assert!(refused.contains("localhost"), "{refused}");
    assert_eq!(world.server.requests.borrow().len(), 0, "nobody was asked for anything");
    let nowhere = BlockEndpoint { address: "nowhere".to_owned(), ..world.endpoint() };
    assert_eq!(client.height("ch", &nowhere).await, Err(PullError::Address("nowhere".to_owned())));
    // with the trusted authority the pull succeeds
    assert_eq!(client.height("ch", &world.endpoint()).await, Ok(10));
    client.replace_identity(world.authority.issue("renewed").identity());
    assert_eq!(client.height("ch", &world.endpoint()).await, Ok(10));
}
