//! Tests of TLS and mutual TLS: which clients are accepted, and that a Deliver request is valid only on the connection
//! of the client that created it.

#![allow(clippy::unwrap_used, missing_docs)]

use crate::world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::common::{Config, ConfigGroup, ConfigUpdate, Status};
use fabric_proto::msp::{FabricMspConfig, MspConfig};
use orderer_core::block::EncodedBlock;
use orderer_core::crypto::sha256;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::{self, sign::any_supported_type};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use world::config_updates::{config_of, same_version, signed_update, update_of};
use world::messages::{DELIVER_SEEK_INFO, envelope_with, oldest, seek_info, transaction};
use world::node::orderer_folder;
use world::tls::{endpoint, secured, trust};
use world::{Client, NET, Node, Setup, Step, TestIdentity, within};

const CHANNEL: &str = "app";

fn org(number: u8) -> PathBuf {
    Path::new(NET).join(format!("crypto/peerOrganizations/org{number}.example.com"))
}

fn tls_root(number: u8) -> PathBuf {
    org(number).join(format!("tlsca/tlsca.org{number}.example.com-cert.pem"))
}

/// Returns the directory with `client.crt` and `client.key` of an organization's user.
fn client_folder(number: u8) -> PathBuf {
    org(number).join(format!("users/User1@org{number}.example.com/tls"))
}

fn with_tls() -> Setup {
    secured(Setup::application())
}

/// Requires client certificates that chain to this root or to a CA of the channel's organizations.
fn with_mutual_tls(root: &Path) -> Setup {
    with_tls().set("GENERAL_TLS_CLIENTAUTHREQUIRED", true).set("GENERAL_TLS_CLIENTROOTCAS", root.display())
}

/// A new CA for each test, which issues certificates for servers and clients.
struct Authority(rcgen::Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// Issues a certificate for a server of this name or a client. Returns certificate and key in PEM.
    fn leaf(&self, name: &str, lasts: time::Duration) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = time::OffsetDateTime::now_utc() + lasts;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn client(&self) -> Identity {
        let (certificate, key) = self.leaf("client", time::Duration::days(300));
        Identity::from_pem(certificate, key)
    }
}

fn identity(org: u8) -> Identity {
    let file = |name| std::fs::read(client_folder(org).join(name)).unwrap();
    Identity::from_pem(file("client.crt"), file("client.key"))
}

async fn works(client: &Client) {
    client.order([transaction(&TestIdentity::user(1), CHANNEL, "x")]).await;
}

/// Asserts that no request succeeds. With TLS 1.3 a client learns only after its own handshake that it was rejected.
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
    // a client without a handshake is not waited for
    node.ended_at_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_lets_in_whom_the_settings_and_the_channels_vouch_for() {
    let (listed, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, &listed.1).unwrap();
    let node = with_mutual_tls(&root).start().await;
    refused(&endpoint(&node, trust("localhost"))).await;
    refused(&endpoint(&node, trust("localhost").identity(stranger.client()))).await;
    for insider in [listed.client(), identity(1), identity(2)] {
        works(&Client::on(endpoint(&node, trust("localhost").identity(insider))).await).await;
    }
    node.stop().await;
}

/// Returns an update that adds a TLS root to Org1.
fn add_tls_root(config: &Config, pem: &str) -> ConfigUpdate {
    let application = &config.channel_group.as_ref().unwrap().groups["Application"];
    let org1 = &application.groups["Org1MSP"];
    let mut value = org1.values["MSP"].clone();
    let mut msp = MspConfig::decode(value.value).unwrap();
    let mut definition = FabricMspConfig::decode(msp.config).unwrap();
    definition.tls_root_certs.push(pem.to_owned().into());
    msp.config = definition.encode_to_vec().into();
    value.value = msp.encode_to_vec().into();
    value.version += 1;
    let with = |group: ConfigGroup| {
        let organizations = [("Org1MSP".to_owned(), group)].into();
        ConfigGroup { groups: organizations, ..same_version(application) }
    };
    update_of(config, CHANNEL, |read, write| {
        read.groups.insert("Application".to_owned(), with(same_version(org1)));
        let changed = ConfigGroup { values: [("MSP".to_owned(), value)].into(), ..same_version(org1) };
        write.groups.insert("Application".to_owned(), with(changed));
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_an_organization_adds_lets_its_clients_in_at_once() {
    let newcomer = Authority::new();
    let node = with_mutual_tls(&tls_root(1)).start().await;
    let late = endpoint(&node, trust("localhost").identity(newcomer.client()));
    refused(&late).await;
    let (admin, client) =
        (TestIdentity::admin(1), Client::on(endpoint(&node, trust("localhost").identity(identity(1)))).await);
    let config = config_of(
        &EncodedBlock::parse(&std::fs::read(Path::new(NET).join("AppSolo.block")).unwrap()).unwrap().decode(),
    );
    let request = signed_update(&admin, &[&admin], CHANNEL, &add_tls_root(&config, &newcomer.1));
    // the update is acknowledged when its block is on disk, and is in force then
    assert_eq!(client.broadcast(request).await, (Status::Success, String::new()));
    works(&Client::on(late).await).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_change_are_read_without_a_restart() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    let put = |lasts| {
        let (certificate_pem, key_pem) = authority.leaf("localhost", lasts);
        std::fs::write(&certificate, certificate_pem).unwrap();
        std::fs::write(&key, key_pem).unwrap();
    };
    let served = || std::fs::read_to_string(&certificate).unwrap();
    put(time::Duration::hours(73));
    let mut node = with_tls()
        .set("GENERAL_TLS_CERTIFICATE", certificate.display())
        .set("GENERAL_TLS_PRIVATEKEY", key.display())
        .start()
        .await;
    let line = node.line("certificate expires within a week").await;
    assert!(line.contains("days=3") && line.contains("server.crt"), "{line}");
    let trust_it =
        || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.1)).domain_name("localhost");
    let old = Client::on(endpoint(&node, trust_it())).await;
    works(&old).await;

    let before = served();
    put(time::Duration::days(300));
    assert_ne!(served(), before);
    node.signal("HUP");
    node.line("certificate was reloaded").await;
    works(&Client::on(endpoint(&node, trust_it())).await).await;
    works(&old).await;

    // an invalid key file: the node keeps the previous one
    std::fs::write(&key, "no key").unwrap();
    node.signal("HUP");
    let line = node.line("failed to load the new certificate").await;
    assert!(line.contains("server.key"), "{line}");
    works(&Client::on(endpoint(&node, trust_it())).await).await;
    node.assert_no_panic();
    node.stop().await;
}

/// Returns the status of a request with this certificate hash.
async fn deliver(client: &Client, hash: Bytes) -> Status {
    let data = seek_info(oldest(), oldest()).encode_to_vec();
    let request = envelope_with(&TestIdentity::user(1), DELIVER_SEEK_INFO, CHANNEL, data, |header, _| {
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
    let node = with_mutual_tls(&tls_root(1)).start().await;
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
    let folder = tempfile::tempdir().unwrap();
    let encrypted = folder.path().join("server.key");
    std::fs::write(&encrypted, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
        .unwrap();
    let cases = [
        (with_tls().set("GENERAL_TLS_CERTIFICATE", no_certificate.display()), "server.key: no certificate"),
        (with_tls().set("GENERAL_TLS_PRIVATEKEY", another_key.display()), "it is not the key of the certificate"),
        (with_tls().set("GENERAL_TLS_PRIVATEKEY", tls_root(1).display()), "tlsca.org1.example.com-cert.pem"),
        (with_tls().set("GENERAL_TLS_PRIVATEKEY", tls_root(1).display()), "there is a certificate in it and no key"),
        (with_tls().set("GENERAL_TLS_PRIVATEKEY", encrypted.display()), "the key is encrypted"),
    ];
    for (setup, part) in cases {
        let ended = setup.run();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.starts_with("orderer: ") && last.contains(part), "'{part}' is not in '{last}'");
    }
}

async fn greeted(node: &Node, certificate: &str, key: &str) -> bool {
    greeted_at(&node.address, certificate, key).await
}

/// Connects with these certificate files, without the client-side checks of a library, and returns whether the server
/// sends its SETTINGS frame.
async fn greeted_at(address: &str, certificate: &str, key: &str) -> bool {
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);
    impl ResolvesClientCert for Shows {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = any_supported_type(&PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(orderer_folder().join("tls/ca.crt")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config =
        config.with_client_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(vec![certificate], key)))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, socket).await else { return false };
    // an HTTP/2 preface and an empty SETTINGS frame
    let begun = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut frame = [0; 9];
    begun.is_ok() && within("a frame", stream.read_exact(&mut frame)).await.is_ok() && frame[3] == 4
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_let_in_that_gos_server_lets_in() {
    let fixture = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-1").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let authority = |until| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("until {until}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let (pem, key_pem) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        (Authority(Issuer::new(params, key), pem), key_pem)
    };
    let ((good, good_key), (expired, _)) = (authority(2120), authority(2021));
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, [&fixture("ca.crt"), &good.1, &expired.1].map(String::as_str).concat()).unwrap();
    let node = with_mutual_tls(&roots).start().await;
    let days = time::Duration::days(300);
    let (of_good, of_expired) = (good.leaf("client", days), expired.leaf("client", days));
    assert!(greeted(&node, &of_good.0, &of_good.1).await, "a usual client");
    assert!(greeted(&node, &fixture("v1.crt"), &fixture("v1.key")).await, "a version 1 certificate");
    assert!(greeted(&node, &good.1, &good_key).await, "the trusted root itself");
    assert!(!greeted(&node, &of_expired.0, &of_expired.1).await, "its authority has expired");
    assert!(!greeted(&node, &fixture("v1.crt"), &good_key).await, "without the certificate's key");
    node.assert_no_panic();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_endpoint_judges_certificates_as_of_the_time_that_is_set() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.pem");
    std::fs::write(&root, &authority.1).unwrap();
    let (certificate, key) = authority.leaf("client", -time::Duration::hours(1));
    let tls = orderer_folder().join("tls");
    for (shift, is_let_in) in [("0s", false), ("2h", true)] {
        let setup = Setup::application()
            .set("ADMIN_LISTENADDRESS", "127.0.0.1:0")
            .set("ADMIN_TLS_ENABLED", true)
            .set("ADMIN_TLS_CERTIFICATE", tls.join("server.crt").display())
            .set("ADMIN_TLS_PRIVATEKEY", tls.join("server.key").display())
            .set("ADMIN_TLS_CLIENTROOTCAS", root.display())
            .set("ADMIN_TLS_TLSHANDSHAKETIMESHIFT", shift);
        let mut node = setup.start().await;
        let admin = world::http::address(&mut node, "admin").await;
        assert_eq!(greeted_at(&admin, &certificate, &key).await, is_let_in, "{shift}");
        node.stop().await;
    }
}
