//! Orderers that order the channel `app` by Raft, each as a process.

use std::array::from_fn;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fabric_proto::common::Status;
use fabric_proto::etcdraft::{ConfigMetadata, Consenter};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use time::OffsetDateTime;
use tonic::transport::Channel;

use super::config_updates::{consenters, genesis_of_raft};
use super::http::Http;
use super::messages::transaction;
use super::metrics::Scrape;
use super::node::orderer_folder;
use super::{Client, NET, Node, Setup, TestIdentity, tls, within};

/// The channel that the orderers order.
pub const CHANNEL: &str = "app";

/// The settings of `N` orderers, and the ports at which the orderers reach each other.
pub struct Members<const N: usize> {
    pub setups: [Setup; N],
    /// For requests of consenters.
    pub ports: [u16; N],
    /// For requests for blocks.
    pub addresses: [u16; N],
    /// Interval of Raft's clock.
    pub tick: &'static str,
}

/// Sets up orderers that serve each other on their general listeners. Each has its own TLS files, which a test may
/// replace.
pub fn members<const N: usize>() -> Members<N> {
    let setups = from_fn(|_| {
        let setup = Setup::with_genesis("AppSolo.block");
        fs::create_dir(tls_file(&setup, "")).unwrap();
        fs::copy(orderer_folder().join("tls/ca.crt"), tls_file(&setup, "ca.crt")).unwrap();
        let key = KeyPair::generate().unwrap();
        fs::write(tls_file(&setup, "server.key"), key.serialize_pem()).unwrap();
        fs::write(tls_file(&setup, "server.crt"), certificate(&key)).unwrap();
        let (certificate, key) = (tls_file(&setup, "server.crt"), tls_file(&setup, "server.key"));
        setup
            .set("GENERAL_TLS_ENABLED", true)
            .set("GENERAL_TLS_CERTIFICATE", certificate.display())
            .set("GENERAL_TLS_PRIVATEKEY", key.display())
            .set("METRICS_PROVIDER", "prometheus")
    });
    let ports = from_fn(|at| setups[at].port());
    Members { setups, ports, addresses: ports, tick: "100ms" }
}

impl<const N: usize> Members<N> {
    /// Gives one orderer a separate cluster listener.
    pub fn with_listener(mut self, at: usize) -> Self {
        self.ports[at] = Setup::without_channels().port();
        let port = self.ports[at];
        self.map(|number, setup| {
            if number != at {
                return setup;
            }
            let [certificate, key, root] =
                ["server.crt", "server.key", "ca.crt"].map(|name| tls_file(&setup, name).display().to_string());
            setup
                .set("GENERAL_CLUSTER_LISTENADDRESS", "127.0.0.1")
                .set("GENERAL_CLUSTER_LISTENPORT", port)
                .set("GENERAL_CLUSTER_SERVERCERTIFICATE", &certificate)
                .set("GENERAL_CLUSTER_SERVERPRIVATEKEY", &key)
                .set("GENERAL_CLUSTER_CLIENTCERTIFICATE", &certificate)
                .set("GENERAL_CLUSTER_CLIENTPRIVATEKEY", &key)
                .set("GENERAL_CLUSTER_ROOTCAS", root)
        })
    }

    /// Sets the interval of Raft's clock.
    pub fn with_tick(self, tick: &'static str) -> Self {
        Self { tick, ..self }
    }

    /// Changes the settings of each orderer.
    pub fn map(self, mut change: impl FnMut(usize, Setup) -> Setup) -> Self {
        let mut number = 0..;
        let setups = self.setups.map(|setup| change(number.next().unwrap_or_default(), setup));
        Self { setups, ..self }
    }

    /// Starts all orderers and waits for a leader. The channel's configuration names the certificates in their files.
    pub async fn start(self) -> ([Setup; N], [Node; N]) {
        self.start_with("AppSolo.block").await
    }

    /// Starts all orderers with the channel of a genesis block of the fixtures, and waits for a leader.
    pub async fn start_with(self, genesis_file: &str) -> ([Setup; N], [Node; N]) {
        let mut options = consenters(&[]).options.unwrap();
        self.tick.clone_into(&mut options.tick_interval);
        let consenters = self.setups.iter().zip(self.ports).map(|(setup, port)| {
            let certificate = fs::read(tls_file(setup, "server.crt")).unwrap();
            let (client_tls_cert, server_tls_cert) = (certificate.clone().into(), certificate.into());
            Consenter { host: "127.0.0.1".to_owned(), port: port.into(), client_tls_cert, server_tls_cert }
        });
        let metadata = ConfigMetadata { options: Some(options), consenters: consenters.collect() };
        let addresses = self.addresses.map(|port| format!("127.0.0.1:{port}"));
        let genesis = genesis_of_raft(genesis_file, &metadata, &addresses);
        let setups = self.setups.map(|setup| {
            let file = setup.folder().join("genesis.block");
            fs::write(&file, &genesis).unwrap();
            setup.set("GENERAL_BOOTSTRAPFILE", file.display())
        });
        let mut nodes = from_fn(|at| setups[at].spawn());
        for node in &mut nodes {
            node.line("Beginning to serve requests").await;
            node.line("Raft leader changed:").await;
        }
        (setups, nodes)
    }
}

/// Returns the path of a TLS file of a node.
pub fn tls_file(setup: &Setup, name: &str) -> PathBuf {
    setup.folder().join("tls").join(name)
}

/// Issues a TLS certificate for `key`, in PEM, by the TLS CA of the fixtures.
pub fn certificate(key: &KeyPair) -> String {
    let now = OffsetDateTime::now_utc();
    certificate_until(key, now + time::Duration::days(30))
}

/// Issues a TLS certificate for `key`, in PEM, that expires at `not_after`, which may be in the past.
pub fn certificate_until(key: &KeyPair, not_after: OffsetDateTime) -> String {
    let folder = Path::new(NET).join("crypto/ordererOrganizations/example.com/tlsca");
    let ca_key = KeyPair::from_pem(&fs::read_to_string(folder.join("priv_sk")).unwrap()).unwrap();
    let ca = fs::read_to_string(folder.join("tlsca.example.com-cert.pem")).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = not_after - time::Duration::days(60);
    params.not_after = not_after;
    params.signed_by(key, &Issuer::from_ca_cert_pem(&ca, ca_key).unwrap()).unwrap().pem()
}

/// Connects to a node over TLS.
pub async fn connected(node: &Node) -> Channel {
    tls::endpoint(node, tls::trust("localhost")).connect().await.unwrap()
}

/// Broadcasts an envelope with this many bytes of data, and retries until the node has a leader.
pub async fn orders(node: &Node, bytes: usize) {
    let ordered = async {
        loop {
            let client = Client::over(connected(node).await);
            let envelope = transaction(&TestIdentity::user(1), CHANNEL, vec![7; bytes]);
            match client.broadcast(envelope).await {
                (Status::Success, _) => return,
                (Status::ServiceUnavailable, _) => tokio::time::sleep(Duration::from_millis(50)).await,
                other => panic!("{other:?}"),
            }
        }
    };
    within("an envelope is ordered", ordered).await;
}

/// Waits until all nodes have the same number of blocks, and more than `height`.
pub async fn above(http: &[Http], height: f64) -> f64 {
    let series = format!(r#"ledger_blockchain_height{{channel="{CHANNEL}"}}"#);
    let same = async {
        loop {
            let mut heights = Vec::new();
            for http in http {
                heights.push(Scrape::of(http).await.value(&series));
            }
            #[allow(clippy::float_cmp, reason = "counts are exact")]
            if heights[0] > height && heights.iter().all(|other| *other == heights[0]) {
                return heights[0];
            }
        }
    };
    within("all have the blocks", same).await
}

/// Connects to the operations endpoint of each node.
pub async fn operations<const N: usize>(nodes: &mut [Node; N]) -> [Http; N] {
    let mut all = Vec::new();
    for node in nodes {
        all.push(Http::of(node, "operations").await);
    }
    all.try_into().unwrap_or_else(|_| panic!("one for each"))
}

/// Returns the value of a metric of the channel.
pub fn of_app(scrape: &Scrape, name: &str) -> f64 {
    scrape.value(&format!(r#"{name}{{channel="{CHANNEL}"}}"#))
}
