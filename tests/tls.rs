//! TLS and mutual TLS: who is let in, and that a Deliver request counts only on the connection of who made it.

#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::Status;
use orderer_core::crypto::sha256;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use world::messages::{DELIVER_SEEK_INFO, envelope_with, oldest, seek_info, transaction};
use world::node::orderer_folder;
use world::{Client, NET, Node, Person, Setup, Step};

const CHANNEL: &str = "app";

fn org(number: u8) -> PathBuf {
    Path::new(NET).join(format!("crypto/peerOrganizations/org{number}.example.com"))
}

fn tls_root(number: u8) -> PathBuf {
    org(number).join(format!("tlsca/tlsca.org{number}.example.com-cert.pem"))
}

/// Folder with `client.crt` and `client.key` of an organization's user.
fn client_folder(number: u8) -> PathBuf {
    org(number).join(format!("users/User1@org{number}.example.com/tls"))
}

fn with_tls() -> Setup {
    let tls = orderer_folder().join("tls");
    Setup::application()
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display())
}

/// Clients of Org1 are let in, and nobody else.
fn with_mutual_tls() -> Setup {
    with_tls().set("GENERAL_TLS_CLIENTAUTHREQUIRED", true).set("GENERAL_TLS_CLIENTROOTCAS", tls_root(1).display())
}

/// Trusts the orderer's authority, and expects a server of this name.
fn trust(name: &str) -> ClientTlsConfig {
    let root = std::fs::read(orderer_folder().join("tls/ca.crt")).unwrap();
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(root)).domain_name(name)
}

fn identity(org: u8) -> Identity {
    let file = |name| std::fs::read(client_folder(org).join(name)).unwrap();
    Identity::from_pem(file("client.crt"), file("client.key"))
}

fn endpoint(node: &Node, tls: ClientTlsConfig) -> Endpoint {
    Endpoint::from_shared(format!("https://{}", node.address)).unwrap().tls_config(tls).unwrap()
}

async fn works(client: &Client) {
    client.order([transaction(&Person::user(1), CHANNEL, "x")]).await;
}

/// That no request gets through. With TLS 1.3 a client learns that it was turned away only after its own handshake.
async fn refused(endpoint: &Endpoint) {
    if let Ok(channel) = endpoint.connect().await {
        let opened = Client::over(channel).try_broadcasting().await;
        assert!(opened.is_err(), "a request got through");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_node_is_reached_by_each_of_its_names_and_not_in_plaintext() {
    let node = with_tls().start().await;
    for name in ["orderer.example.com", "localhost", "127.0.0.1"] {
        works(&Client::on(endpoint(&node, trust(name))).await).await;
    }
    assert!(endpoint(&node, trust("other.example.com")).connect().await.is_err());
    refused(&Endpoint::from_shared(format!("http://{}", node.address)).unwrap()).await;
    let _silent = std::net::TcpStream::connect(&node.address).unwrap();
    works(&Client::on(endpoint(&node, trust("localhost"))).await).await;
    node.assert_no_panic();
    node.terminate();
    assert_eq!(
        node.ended(Duration::from_secs(3)).await.code(),
        Some(0),
        "a client without a handshake is not waited for"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_lets_in_whom_the_client_roots_vouch_for() {
    let node = with_mutual_tls().start().await;
    refused(&endpoint(&node, trust("localhost"))).await;
    refused(&endpoint(&node, trust("localhost").identity(identity(2)))).await;
    works(&Client::on(endpoint(&node, trust("localhost").identity(identity(1)))).await).await;
    node.stop().await;
}

/// What a request with this hash of a certificate is answered.
async fn deliver(client: &Client, hash: Bytes) -> Status {
    let data = seek_info(oldest(), oldest()).encode_to_vec();
    let request = envelope_with(&Person::user(1), DELIVER_SEEK_INFO, CHANNEL, data, |header, _| {
        header.tls_cert_hash = hash;
    });
    let mut stream = client.delivering().await;
    stream.send(request).await;
    match stream.next().await {
        Step::Block(_) => stream.status().await,
        Step::Status(status, _) => status,
        Step::End(end) => panic!("{end:?}"),
    }
}

fn hash_of(certificate: &Path) -> Bytes {
    Bytes::copy_from_slice(&sha256(&[&CertificateDer::from_pem_file(certificate).unwrap()]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_mutual_tls_a_deliver_request_names_its_connections_certificate() {
    let node = with_mutual_tls().start().await;
    let client = Client::on(endpoint(&node, trust("localhost").identity(identity(1)))).await;
    let (own, other) = (hash_of(&client_folder(1).join("client.crt")), hash_of(&client_folder(2).join("client.crt")));
    assert_eq!(deliver(&client, own).await, Status::Success);
    assert_eq!(deliver(&client, other).await, Status::BadRequest);
    assert_eq!(deliver(&client, Bytes::new()).await, Status::BadRequest);
    assert_eq!(deliver(&client, "no hash".into()).await, Status::BadRequest);
    node.stop().await;

    let node = with_tls().start().await;
    let client = Client::on(endpoint(&node, trust("localhost"))).await;
    for hash in [Bytes::new(), "whatever".into()] {
        assert_eq!(deliver(&client, hash).await, Status::Success, "without mutual TLS nothing is bound");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_files_that_are_of_no_use_are_named() {
    let no_certificate = orderer_folder().join("tls/server.key");
    let another_key = orderer_folder().with_file_name("orderer2.example.com").join("tls/server.key");
    let cases = [
        (with_tls().set("GENERAL_TLS_CERTIFICATE", no_certificate.display()), "server.key: no certificate"),
        (with_tls().set("GENERAL_TLS_PRIVATEKEY", another_key.display()), "General.TLS"),
        (with_tls().set("GENERAL_TLS_PRIVATEKEY", tls_root(1).display()), "tlsca.org1.example.com-cert.pem"),
        (with_tls().set("GENERAL_TLS_CLIENTAUTHREQUIRED", true), "General.TLS.ClientRootCAs must list a file"),
    ];
    for (setup, part) in cases {
        let ended = setup.run();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("orderer: ") && last.contains(part), "'{part}' is not in '{last}'");
    }
}
