//! Whether a channel of type etcdraft is this node's to order.

use bytes::Bytes;
use fabric_proto::etcdraft::Consenter;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{ChannelSnapshot, Engine, NotServed, Serving, check_consenters};

/// Why a channel is not ordered by this node. The texts are for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotOrderedHere {
    /// No engine of this node orders it.
    #[error(transparent)]
    NotServed(#[from] NotServed),
    /// The only consenter is another node.
    #[error(
        "the configuration names one consenter, {host}:{port}, and its server TLS certificate has another public key than this node's: two nodes that each order the channel alone would make two chains of it"
    )]
    OtherConsenter {
        /// Where the consenter is.
        host: String,
        /// Where the consenter is.
        port: u32,
    },
    /// This node shows no certificate that a consenter could be known by.
    #[error(
        "the configuration names one consenter, {host}:{port}, by its server TLS certificate, and this node has none: enable General.TLS with that certificate"
    )]
    NoCertificate {
        /// Where the consenter is.
        host: String,
        /// Where the consenter is.
        port: u32,
    },
}

/// The engine for a channel with this configuration on a node whose TLS certificates have these public keys (see
/// [`public_key_of`]). An etcdraft channel that its consenter orders alone is ordered by no other node.
///
/// # Errors
/// See [`NotOrderedHere`].
pub fn engine(serving: &Serving, snapshot: &ChannelSnapshot, own: &[Bytes]) -> Result<Engine, NotOrderedHere> {
    let engine = serving.engine(snapshot)?;
    if engine == Engine::Solo && snapshot.orderer().consensus_type == "etcdraft" {
        let consenters = check_consenters(snapshot).map_err(NotServed::from)?;
        check_alone(&consenters, own)?;
    }
    Ok(engine)
}

/// As Fabric finds out which consenter a node is: by the public key of its server certificate.
fn check_alone(consenters: &[Consenter], own: &[Bytes]) -> Result<(), NotOrderedHere> {
    let is_own = |consenter: &Consenter| {
        let pem = x509_parser::pem::parse_x509_pem(&consenter.server_tls_cert);
        pem.ok().and_then(|(_, pem)| public_key_of(&pem.contents)).is_some_and(|key| own.contains(&key))
    };
    if consenters.iter().any(is_own) {
        return Ok(());
    }
    let (host, port) = consenters.first().map(|only| (only.host.clone(), only.port)).unwrap_or_default();
    if own.is_empty() {
        return Err(NotOrderedHere::NoCertificate { host, port });
    }
    Err(NotOrderedHere::OtherConsenter { host, port })
}

/// The public key of a certificate in DER, as it stands there (`SubjectPublicKeyInfo`).
pub fn public_key_of(certificate: &[u8]) -> Option<Bytes> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(Bytes::copy_from_slice(certificate.public_key().raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn certificate(key: &KeyPair) -> rcgen::Certificate {
        CertificateParams::default().self_signed(key).expect("a certificate")
    }

    fn consenter(certificate: &rcgen::Certificate) -> Consenter {
        let pem: Bytes = certificate.pem().into_bytes().into();
        let (client_tls_cert, server_tls_cert) = (Bytes::new(), pem);
        Consenter { host: "orderer".to_owned(), port: 7050, client_tls_cert, server_tls_cert }
    }

    #[test]
    fn a_renewed_certificate_with_the_same_key_is_the_consenters() {
        let (mine, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let own = [public_key_of(certificate(&mine).der()).expect("a key")];
        assert_eq!(check_alone(&[consenter(&certificate(&mine))], &own), Ok(()));
        let (host, port) = ("orderer".to_owned(), 7050);
        assert_eq!(
            check_alone(&[consenter(&certificate(&other))], &own),
            Err(NotOrderedHere::OtherConsenter { host: host.clone(), port })
        );
        assert_eq!(
            check_alone(&[consenter(&certificate(&mine))], &[]),
            Err(NotOrderedHere::NoCertificate { host, port })
        );
    }
}
