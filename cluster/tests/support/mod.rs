//! Certificate authorities, and orderers that record what they receive.

// each test uses only a part
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _, stream};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orderer_cluster::{
    ClientSettings, ClusterChannel, Connections, Consenter, ConsenterId, Identity, Membership, PeerEvents, Roots,
    Router, StepClient, StepRejection, StepService,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::Status;

/// Time limit that no step should reach.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);

/// Issues certificates for 127.0.0.1.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "tlsca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { params, key: KeyPair::generate().unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    pub(crate) fn issue(&self, name: &str) -> Pair {
        self.renew(name, &KeyPair::generate().unwrap().serialize_pem())
    }

    /// Issues another certificate for a key.
    pub(crate) fn renew(&self, name: &str, key: &str) -> Pair {
        let key = KeyPair::from_pem(key).unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = Issuer::from_params(&self.params, &self.key);
        Pair { certificate: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem([self.pem()]).unwrap()
    }

    /// Creates a client with these settings.
    pub(crate) fn connections(&self, identity: &Pair, settings: ClientSettings) -> Connections {
        Connections::new(settings, identity.identity(), self.roots(), tokio::runtime::Handle::current())
    }
}

impl Pair {
    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).unwrap()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

pub(crate) fn consenter(id: ConsenterId, port: u16, client: &Pair, server: &Pair) -> Consenter {
    Consenter {
        id,
        host: "127.0.0.1".to_owned(),
        port,
        client_certificate: client.certificate.clone().into(),
        server_certificate: server.certificate.clone().into(),
    }
}

pub(crate) fn quick() -> ClientSettings {
    ClientSettings { pause: (Duration::from_millis(20), Duration::from_millis(100)), ..ClientSettings::default() }
}

/// A message that arrived at a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    Consensus { from: ConsenterId, payload: Bytes, metadata: Bytes },
    Submit { from: ConsenterId, sequence: u64, envelope: Bytes },
}

/// A channel that records the messages that arrive.
pub(crate) struct Recorder {
    pub(crate) membership: Mutex<Arc<Membership>>,
    arrived: watch::Sender<Vec<Arrived>>,
    pub(crate) refusal: Mutex<Option<StepRejection>>,
}

impl Recorder {
    pub(crate) fn new(membership: Membership) -> Arc<Self> {
        let (arrived, _) = watch::channel(Vec::new());
        Arc::new(Self { membership: Mutex::new(Arc::new(membership)), arrived, refusal: Mutex::default() })
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.borrow().clone()
    }

    /// Waits until this number of messages has arrived.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Arrived> {
        let mut arrived = self.arrived.subscribe();
        let enough = tokio::time::timeout(LIMIT, arrived.wait_for(|arrived| arrived.len() >= count)).await;
        enough.expect("they arrive").unwrap().clone()
    }

    fn take(&self, arrived: Arrived) -> Result<(), StepRejection> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        self.arrived.send_modify(|all| all.push(arrived));
        Ok(())
    }
}

impl ClusterChannel for Recorder {
    fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership.lock().unwrap())
    }

    fn consensus(&self, from: ConsenterId, payload: Bytes, metadata: Bytes) -> Result<(), StepRejection> {
        self.take(Arrived::Consensus { from, payload, metadata })
    }

    fn submit(
        &self,
        from: ConsenterId,
        sequence: u64,
        envelope: Bytes,
    ) -> BoxFuture<'static, Result<(), StepRejection>> {
        Box::pin(std::future::ready(self.take(Arrived::Submit { from, sequence, envelope })))
    }
}

struct Table(BTreeMap<String, Arc<Recorder>>);

impl Router for Table {
    fn channel(&self, name: &str) -> Option<Arc<dyn ClusterChannel>> {
        self.0.get(name).map(|found| Arc::clone(found) as Arc<dyn ClusterChannel>)
    }
}

/// An orderer's listener. Dropping it kills it.
pub(crate) struct Orderer {
    pub(crate) port: u16,
    pub(crate) service: StepService,
    /// While this is true, new streams are not read.
    pub(crate) is_deaf: Arc<AtomicBool>,
    /// All requests as they were read.
    pub(crate) requests: Arc<Mutex<Vec<Bytes>>>,
    /// Certificates of clients, in the order of connections.
    pub(crate) shown: watch::Receiver<Vec<Option<CertificateDer<'static>>>>,
    tasks: JoinSet<()>,
}

impl Orderer {
    pub(crate) async fn start(
        authority: &Authority,
        server: &Pair,
        port: u16,
        channels: &[(&str, &Arc<Recorder>)],
    ) -> Self {
        Self::start_among(&authority.pem(), server, port, channels).await
    }

    /// Starts an orderer that trusts clients' certificates of the authority in this PEM text.
    pub(crate) async fn start_among(
        authority: &str,
        server: &Pair,
        port: u16,
        channels: &[(&str, &Arc<Recorder>)],
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let channels = channels.iter().map(|(name, recorder)| ((*name).to_owned(), Arc::clone(recorder))).collect();
        let service = StepService::new(Arc::new(Table(channels)), Duration::from_secs(60));
        let acceptor = TlsAcceptor::from(Arc::new(server_config(authority, server)));
        let is_deaf = Arc::new(AtomicBool::new(false));
        let requests = Arc::<Mutex<Vec<Bytes>>>::default();
        let (tell, shown) = watch::channel(Vec::new());
        let tell = Arc::new(tell);
        let mut tasks = JoinSet::new();
        let (of_listener, deaf, read) = (service.clone(), Arc::clone(&is_deaf), Arc::clone(&requests));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, address) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), of_listener.clone());
                let (deaf, tell, read) = (Arc::clone(&deaf), Arc::clone(&tell), Arc::clone(&read));
                connections.spawn(async move { serve(socket, address, acceptor, service, (deaf, read), tell).await });
            }
        });
        Self { port, service, is_deaf, requests, shown, tasks }
    }

    /// Kills the orderer, and all its connections.
    pub(crate) async fn kill(mut self) -> u16 {
        self.tasks.shutdown().await;
        self.port
    }
}

async fn serve(
    socket: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    service: StepService,
    (deaf, read): (Arc<AtomicBool>, Arc<Mutex<Vec<Bytes>>>),
    tell: Arc<watch::Sender<Vec<Option<CertificateDer<'static>>>>>,
) {
    let Ok(secured) = acceptor.accept(socket).await else { return };
    let shown = secured.get_ref().1.peer_certificates().and_then(|shown| shown.first()).cloned();
    tell.send_modify(|all| all.push(shown.clone().map(CertificateDer::into_owned)));
    let certificate = shown.map(|shown| Bytes::copy_from_slice(&shown));
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let session = service.open(&StepClient { address, certificate: certificate.clone() });
        let (deaf, read) = (Arc::clone(&deaf), Arc::clone(&read));
        async move {
            assert_eq!(request.uri().path(), "/orderer.Cluster/Step");
            if deaf.load(Ordering::SeqCst) {
                let _unread = request;
                return std::future::pending().await;
            }
            let noted = messages(request.into_body()).inspect(|message| {
                if let Ok(message) = message {
                    read.lock().unwrap().push(message.clone());
                }
            });
            let status = session.run(noted).await;
            Ok::<_, std::convert::Infallible>(status.into_http::<tonic::body::Body>())
        }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(128 << 10)
        .serve_connection(TokioIo::new(secured), answer);
    // this returns when the connection ends
    let _ = served.await;
}

/// Yields the messages of a request.
fn messages(body: Incoming) -> impl Stream<Item = Result<Bytes, Status>> {
    stream::unfold((body, BytesMut::new()), |(mut body, mut read)| async move {
        loop {
            if read.len() >= 5 {
                let length = u32::from_be_bytes([read[1], read[2], read[3], read[4]]) as usize;
                if read.len() >= 5 + length {
                    read.advance(5);
                    return Some((Ok(read.split_to(length).freeze()), (body, read)));
                }
            }
            let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
            match frame {
                None => return None,
                Some(Err(error)) => return Some((Err(Status::cancelled(error.to_string())), (body, read))),
                Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
        }
    })
    .boxed()
}

pub(crate) fn server_config(authority: &str, server: &Pair) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![server.der()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Records the events of peers.
pub(crate) struct Events(watch::Sender<Vec<(ConsenterId, bool)>>, watch::Sender<Vec<ConsenterId>>);

impl Events {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(watch::channel(Vec::new()).0, watch::channel(Vec::new()).0))
    }

    /// Waits until the peer and this node have proven to know different certificates.
    pub(crate) async fn wait_for_estranged(&self, peer: ConsenterId) {
        let mut seen = self.1.subscribe();
        tokio::time::timeout(LIMIT, seen.wait_for(|seen| seen.contains(&peer))).await.expect("it happens").unwrap();
    }

    /// Waits until the peer has been connected, or lost, this number of times.
    pub(crate) async fn wait_for(&self, peer: ConsenterId, is_connected: bool, times: usize) {
        let mut seen = self.0.subscribe();
        let often = |seen: &Vec<(ConsenterId, bool)>| {
            seen.iter().filter(|event| **event == (peer, is_connected)).count() >= times
        };
        tokio::time::timeout(LIMIT, seen.wait_for(often)).await.expect("it happens").unwrap();
    }

    pub(crate) fn is_estranged(&self, peer: ConsenterId) -> bool {
        self.1.borrow().contains(&peer)
    }

    pub(crate) fn count(&self, peer: ConsenterId, is_connected: bool) -> usize {
        self.0.borrow().iter().filter(|event| **event == (peer, is_connected)).count()
    }
}

impl PeerEvents for Events {
    fn connected(&self, peer: ConsenterId) {
        self.0.send_modify(|seen| seen.push((peer, true)));
    }

    fn unreachable(&self, peer: ConsenterId) {
        self.0.send_modify(|seen| seen.push((peer, false)));
    }

    fn estranged(&self, peer: ConsenterId) {
        self.1.send_modify(|seen| seen.push(peer));
    }
}
