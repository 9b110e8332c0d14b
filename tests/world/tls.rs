//! A node with TLS, and who trusts it.

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::node::orderer_folder;
use super::{Client, Node, Setup};

/// With the certificate of the fixtures' orderer on the general listener.
pub fn secured(setup: Setup) -> Setup {
    let tls = orderer_folder().join("tls");
    setup
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display())
}

/// Trusts the orderer's authority, and expects a server of this name.
pub fn trust(name: &str) -> ClientTlsConfig {
    let root = std::fs::read(orderer_folder().join("tls/ca.crt")).unwrap();
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(root)).domain_name(name)
}

/// Where the node is, reached in this way.
pub fn endpoint(node: &Node, tls: ClientTlsConfig) -> Endpoint {
    Endpoint::from_shared(format!("https://{}", node.address)).unwrap().tls_config(tls).unwrap()
}

/// A client without a certificate.
pub async fn client(node: &Node) -> Client {
    Client::on(endpoint(node, trust("localhost"))).await
}
