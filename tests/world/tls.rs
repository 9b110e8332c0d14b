//! A node with TLS, and clients that trust it.

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::node::orderer_folder;
use super::{Client, Node, Setup};

/// Enables TLS on the general listener, with the certificate of the fixtures' orderer.
pub fn secured(setup: Setup) -> Setup {
    let tls = orderer_folder().join("tls");
    setup
        .set("GENERAL_TLS_ENABLED", true)
        .set("GENERAL_TLS_CERTIFICATE", tls.join("server.crt").display())
        .set("GENERAL_TLS_PRIVATEKEY", tls.join("server.key").display())
}

/// Trusts the CA of the orderer's certificate, and expects this server name.
pub fn trust(name: &str) -> ClientTlsConfig {
    let root = std::fs::read(orderer_folder().join("tls/ca.crt")).unwrap();
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(root)).domain_name(name)
}

/// Returns the endpoint of a node with this TLS configuration.
pub fn endpoint(node: &Node, tls: ClientTlsConfig) -> Endpoint {
    Endpoint::from_shared(format!("https://{}", node.address)).unwrap().tls_config(tls).unwrap()
}

/// Connects a client without a certificate.
pub async fn client(node: &Node) -> Client {
    Client::on(endpoint(node, trust("localhost"))).await
}
