//! Tests of the gRPC service for other orderers, on the general listener and on a cluster listener: which responses
//! clients that are not consenters get, and that they hold no memory.

#![allow(clippy::float_cmp, reason = "counts of what was sent are exact")]
#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::path::PathBuf;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::orderer::step_request::Payload;
use fabric_proto::orderer::{ConsensusRequest, StepRequest, SubmitRequest};
use futures_util::stream::{self, Stream};
use futures_util::{FutureExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Identity};
use tonic::{Code, Status};
use world::http::Http;
use world::metrics::Scrape;
use world::node::orderer_folder;
use world::raw_grpc::{call_path, prefix};
use world::tls::{secured, trust};
use world::{Client, Setup, TestIdentity, within};

const STEP: &str = "/orderer.Cluster/Step";
const CHANNEL: &str = "app";

fn tls_file(name: &str) -> PathBuf {
    orderer_folder().join("tls").join(name)
}

fn with_tls() -> Setup {
    secured(Setup::application()).set("METRICS_PROVIDER", "prometheus")
}

/// Adds a cluster listener that trusts the CA certificates in `roots`. Returns its address.
fn with_listener(setup: Setup, roots: &str) -> (Setup, String) {
    let port = Setup::without_channels().port();
    let file = setup.folder().join("cluster-roots.pem");
    std::fs::write(&file, roots).unwrap();
    let setup = setup
        .set("GENERAL_CLUSTER_LISTENADDRESS", "127.0.0.1")
        .set("GENERAL_CLUSTER_LISTENPORT", port)
        .set("GENERAL_CLUSTER_SERVERCERTIFICATE", tls_file("server.crt").display())
        .set("GENERAL_CLUSTER_SERVERPRIVATEKEY", tls_file("server.key").display())
        .set("GENERAL_CLUSTER_CLIENTCERTIFICATE", tls_file("server.crt").display())
        .set("GENERAL_CLUSTER_CLIENTPRIVATEKEY", tls_file("server.key").display())
        .set("GENERAL_CLUSTER_ROOTCAS", file.display());
    (setup, format!("127.0.0.1:{port}"))
}

/// Creates a CA that no channel knows, and a client certificate of it.
fn authority() -> (String, Identity) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    (pem, Identity::from_pem(leaf.pem(), key.serialize_pem()))
}

/// Returns another orderer of the fixtures, which is not a consenter of the channel.
fn other_orderer() -> Identity {
    let folder = orderer_folder().with_file_name("orderer2.example.com").join("tls");
    let file = |name| std::fs::read(folder.join(name)).unwrap();
    Identity::from_pem(file("server.crt"), file("server.key"))
}

fn endpoint(address: &str, identity: Option<Identity>) -> Endpoint {
    let tls = trust("localhost");
    let tls = match identity {
        Some(identity) => tls.identity(identity),
        None => tls,
    };
    Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap()
}

async fn connected(address: &str, identity: Option<Identity>) -> Channel {
    endpoint(address, identity).connect().await.unwrap()
}

fn framed(message: &[u8]) -> Bytes {
    Bytes::from([&prefix(message.len())[..], message].concat())
}

fn consensus(channel: &str, payload: Vec<u8>) -> Bytes {
    let request = ConsensusRequest { channel: channel.to_owned(), payload: payload.into(), ..Default::default() };
    framed(&StepRequest { payload: Some(Payload::ConsensusRequest(request)) }.encode_to_vec())
}

fn submit(channel: &str) -> Bytes {
    let request = SubmitRequest { channel: channel.to_owned(), ..Default::default() };
    framed(&StepRequest { payload: Some(Payload::SubmitRequest(request)) }.encode_to_vec())
}

/// Sends a message on a stream, keeps the stream open, and returns the status in the response headers.
async fn ends(channel: &Channel, sent: Bytes) -> Status {
    let (end, body) = open_end(stream::iter([sent]));
    let answer = within("the end of a stream", call_path(channel, STEP, body)).await.unwrap();
    end.cancel();
    Status::from_header_map(answer.headers()).unwrap_or_else(|| panic!("{answer:?}"))
}

/// Returns a body that sends these messages and then stays open until the token is cancelled. The client library keeps
/// a request whose body has not ended.
fn open_end(
    sent: impl Stream<Item = Bytes> + Send + Unpin + 'static,
) -> (CancellationToken, impl Stream<Item = Bytes> + Send + Unpin + 'static) {
    let end = CancellationToken::new();
    (end.clone(), sent.chain(Box::pin(stream::pending().take_until(end.cancelled_owned()))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_strangers_end_at_their_first_request_and_hold_nothing() {
    let mut node = with_tls().start().await;
    let http = Http::of(&mut node, "operations").await;
    let before = Scrape::of(&http).await;
    assert_eq!(before.value("cluster_comm_ingress_stream_count"), 0.0);
    assert_eq!(before.value("cluster_comm_egress_tls_connection_count"), 0.0);
    let mut ended = 0;
    for identity in [None, Some(authority().1), Some(other_orderer())] {
        let channel = connected(&node.address, identity).await;
        let nowhere = "channel nowhere doesn't exist";
        // no Raft chain runs here, so the service knows no channel
        for (sent, code, text) in [
            (consensus(CHANNEL, vec![1]), Code::Unknown, "channel app doesn't exist"),
            (submit(CHANNEL), Code::Unknown, "channel app doesn't exist"),
            (consensus("nowhere", vec![1]), Code::Unknown, nowhere),
            (consensus("", vec![1]), Code::Unknown, "badly formatted message, cannot extract channel"),
            (framed(&[]), Code::Unknown, "message is neither a Submit nor a Consensus request"),
            (framed(&[0xff; 40]), Code::Internal, "grpc: failed to unmarshal the received message"),
            (consensus("nowhere", vec![1; 32 << 10]), Code::Unknown, nowhere),
            (consensus("nowhere", vec![1; 100 << 10]), Code::ResourceExhausted, "received message larger than max"),
            (Bytes::from_static(&[1, 0, 0, 0, 1, 0]), Code::Unimplemented, "compressed"),
        ] {
            let status = ends(&channel, sent).await;
            assert!(status.code() == code && status.message().contains(text), "{text}: {status:?}");
            ended += 1;
        }
        // a length prefix alone reserves no memory
        let status = ends(&channel, prefix(90 << 20)).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        ended += 1;
        // a client that sends nothing receives nothing
        let (end, body) = open_end(stream::empty());
        let mut silent = Box::pin(call_path(&channel, STEP, body));
        assert!((&mut silent).now_or_never().is_none());
        ends(&channel, submit(CHANNEL)).await;
        ended += 1;
        assert!((&mut silent).now_or_never().is_none(), "it was there before the one that has ended");
        end.cancel();
        let answer = within("the end of a stream", silent).await.unwrap();
        assert_eq!(Status::from_header_map(answer.headers()).unwrap().code(), Code::Ok);
        ended += 1;
    }
    let used = |scrape: &Scrape| scrape.value(r#"orderer_memory_used_bytes{part="incoming"}"#);
    let of_step = |scrape: &Scrape| -> f64 {
        let codes = ["Unknown", "Internal", "ResourceExhausted", "Unimplemented", "OK"];
        let labels = |code| format!(r#"{{code="{code}",method="Step",service="orderer_Cluster"}}"#);
        let series = codes.map(|code| format!("grpc_server_stream_requests_completed{}", labels(code)));
        series.iter().filter_map(|series| scrape.series.get(series)).sum()
    };
    let released = async {
        loop {
            let scrape = Scrape::of(&http).await;
            // each scrape uses a new connection, and the previous one may still be open
            let is_open = |scrape: &Scrape| scrape.value(r#"orderer_streams_open{kind="clients"}"#) > 0.0;
            // a stream is counted as completed after its client has got the response
            if !is_open(&scrape) && of_step(&scrape) >= f64::from(ended) && used(&scrape) < used(&before) + 1e6 {
                return scrape;
            }
        }
    };
    let scrape = within("what was held is released", released).await;
    assert_eq!(scrape.value("cluster_comm_ingress_stream_count"), 0.0);
    assert_eq!(of_step(&scrape), f64::from(ended));
    // the same connections serve clients
    let client = Client::over(connected(&node.address, Some(authority().1)).await);
    client.order([world::messages::transaction(&TestIdentity::user(1), CHANNEL, "x")]).await;
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_silent_end_with_the_node() {
    let node = with_tls().start().await;
    let channel = connected(&node.address, None).await;
    let (_end, body) = open_end(stream::empty());
    let silent = call_path(&channel, STEP, body);
    let status = ends(&channel, submit(CHANNEL)).await;
    assert_eq!(status.code(), Code::Unknown);
    node.terminate();
    let answer = within("the end of a stream", silent).await;
    if let Ok(answer) = answer {
        assert_eq!(Status::from_header_map(answer.headers()).unwrap().code(), Code::Unavailable);
    }
    node.ended_at_once().await;
}

/// Asserts that no request succeeds. With TLS 1.3 a client learns only after its own handshake that it was rejected.
async fn refused(endpoint: &Endpoint) {
    if let Ok(channel) = endpoint.connect().await {
        let answer = within("an answer", call_path(&channel, STEP, stream::iter([submit(CHANNEL)]))).await;
        assert!(answer.is_err(), "a request got through: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_of_its_own_is_for_other_orderers_alone() {
    let (listed, of_listed) = authority();
    // the general listener needs no TLS
    let setup = Setup::application().set("METRICS_PROVIDER", "prometheus");
    let (setup, cluster) = with_listener(setup, &listed);
    let mut node = setup.start().await;
    node.line("cluster endpoint is open").await;
    refused(&endpoint(&cluster, None)).await;
    refused(&endpoint(&cluster, Some(authority().1))).await;
    refused(&Endpoint::from_shared(format!("http://{cluster}")).unwrap()).await;
    // certificates of the channel's organizations are accepted as well
    for identity in [of_listed, other_orderer()] {
        let channel = connected(&cluster, Some(identity)).await;
        let status = ends(&channel, submit(CHANNEL)).await;
        assert_eq!((status.code(), status.message()), (Code::Unknown, "channel app doesn't exist"));
        let broadcast = call_path(&channel, "/orderer.AtomicBroadcast/Broadcast", stream::empty()).await.unwrap();
        assert_eq!(Status::from_header_map(broadcast.headers()).unwrap().code(), Code::Unimplemented);
    }
    // the general listener does not have the service
    let status = ends(&node.client().await.channel, submit(CHANNEL)).await;
    assert_eq!(status.code(), Code::Unimplemented);
    let http = Http::of(&mut node, "operations").await;
    let certificates = http.get("/debug/certificates").await.json();
    let kinds: Vec<_> = certificates["certificates"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert!(kinds.iter().any(|kind| *kind == "tls client"), "{certificates}");
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_there_is_no_such_service() {
    let node = Setup::application().start().await;
    let status = ends(&node.client().await.channel, submit(CHANNEL)).await;
    assert_eq!(status.code(), Code::Unimplemented);
    node.stop().await;
}

#[test]
fn files_and_keys_that_are_of_no_use_are_named() {
    let (setup, _) = with_listener(with_tls(), &authority().0);
    let some = setup.again(&["start"]).unset("GENERAL_CLUSTER_SERVERPRIVATEKEY");
    let no_root = setup.folder().join("no-root.pem");
    std::fs::write(&no_root, "nothing").unwrap();
    let cases = [
        (some, "General.Cluster.ServerPrivateKey, should be defined altogether."),
        (
            setup.again(&["start"]).set("GENERAL_CLUSTER_CLIENTPRIVATEKEY", tls_file("ca.crt").display()),
            "General.Cluster.ClientCertificate",
        ),
        (
            setup.again(&["start"]).set("GENERAL_CLUSTER_SERVERPRIVATEKEY", tls_file("ca.crt").display()),
            "there is a certificate in it and no key",
        ),
        (setup.again(&["start"]).set("GENERAL_CLUSTER_ROOTCAS", no_root.display()), "no-root.pem"),
    ];
    for (setup, part) in cases {
        let ended = setup.run();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(part), "'{part}' is not in {}", ended.stderr);
        let checked = setup.again(&["config", "check"]).run();
        assert_eq!(checked.code, Some(1), "{checked:?}");
        assert!((checked.stdout.clone() + &checked.stderr).contains(part), "'{part}' is not in {checked:?}");
    }
    let checked = setup.again(&["config", "check"]).run();
    let shown = "General.Cluster: other orderers are shown the certificate of General.TLS";
    assert!(checked.stdout.contains(shown), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_orderers_are_shown_is_read_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("client.crt"), folder.path().join("client.key"));
    let put = || {
        let key_pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["orderer".to_owned()]).unwrap();
        std::fs::write(&certificate, params.self_signed(&key_pair).unwrap().pem()).unwrap();
        std::fs::write(&key, key_pair.serialize_pem()).unwrap();
    };
    put();
    let mut node = with_tls()
        .set("GENERAL_CLUSTER_CLIENTCERTIFICATE", certificate.display())
        .set("GENERAL_CLUSTER_CLIENTPRIVATEKEY", key.display())
        .start()
        .await;
    put();
    node.signal("HUP");
    let line = node.line("certificate was reloaded").await;
    assert!(line.contains("certificate=\"cluster\"") && line.contains("client.crt"), "{line}");
    std::fs::write(&key, "no key").unwrap();
    node.signal("HUP");
    let line = node.line("failed to load the new certificate").await;
    assert!(line.contains("certificate=\"cluster\""), "{line}");
    node.assert_no_panic();
    node.stop().await;
}
