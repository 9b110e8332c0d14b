//! Whether this node orders a channel of type etcdraft.

use bytes::Bytes;
use fabric_proto::etcdraft::Consenter;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::{
    ChannelSnapshot, ConsensusMapping, ConsenterKind, UnsupportedConsensus, consensus_metadata, validate_consenters,
};

/// A channel is not ordered by this node. Operators read the texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelNotServed {
    /// This node has no consenter for the channel.
    #[error(transparent)]
    NotServed(#[from] UnsupportedConsensus),
    /// The only consenter of the channel is another node.
    #[error(
        "the configuration names one consenter, {host}:{port}, and its server TLS certificate has another public key than this node's: two nodes that each order the channel alone would make two chains of it"
    )]
    OtherConsenter {
        /// Host of the consenter.
        host: String,
        /// Port of the consenter.
        port: u32,
    },
    /// The channel is ordered by Raft, and this node has no TLS certificate to be identified by.
    #[error(
        "TLS is required for running ordering nodes of cluster type: enable General.TLS, or set the listener of General.Cluster"
    )]
    NoTls,
    /// This node has no certificate by which it could be identified as the only consenter.
    #[error(
        "the configuration names one consenter, {host}:{port}, by its server TLS certificate, and this node has none: enable General.TLS with that certificate"
    )]
    NoCertificate {
        /// Host of the consenter.
        host: String,
        /// Port of the consenter.
        port: u32,
    },
}

/// Returns the consenter for a channel with this configuration, on a node whose TLS certificates have the public keys `own` (see
/// [`public_key_of`]). An etcdraft channel with a single consenter that orders alone is ordered by no other node. A channel that
/// is ordered by Raft is accepted by any node with TLS: its chain determines whether the node is one of the consenters.
///
/// # Errors
/// The node has no consenter for the channel, is not the channel's only consenter, or has no TLS certificate.
pub fn engine(
    serving: &ConsensusMapping,
    snapshot: &ChannelSnapshot,
    own: &[Bytes],
) -> Result<ConsenterKind, ChannelNotServed> {
    let engine = serving.engine(snapshot)?;
    if engine == ConsenterKind::Solo && snapshot.orderer().consensus_type == "etcdraft" {
        let consenters = validate_consenters(snapshot).map_err(UnsupportedConsensus::from)?;
        check_alone(&consenters, own)?;
    }
    if engine == ConsenterKind::Raft && own.is_empty() {
        return Err(ChannelNotServed::NoTls);
    }
    Ok(engine)
}

/// Returns the index of the consenter that is this node, whose TLS certificates have these public keys. Compares the public key
/// of the server certificate, as Fabric does. If several consenters have one of the keys, the one with the first key is this
/// node: the key in use precedes that of a certificate that is not used yet.
pub fn place_of(consenters: &[Consenter], own: &[Bytes]) -> Option<usize> {
    let keys: Vec<_> = consenters.iter().map(|consenter| public_key_of_pem(&consenter.server_tls_cert)).collect();
    own.iter().find_map(|own| keys.iter().position(|key| key.as_ref() == Some(own)))
}

/// Whether a node with these public keys is one of the consenters in the configuration.
pub fn is_consenter(snapshot: &ChannelSnapshot, own: &[Bytes]) -> bool {
    consensus_metadata(snapshot).is_ok_and(|metadata| place_of(&metadata.consenters, own).is_some())
}

fn check_alone(consenters: &[Consenter], own: &[Bytes]) -> Result<(), ChannelNotServed> {
    if place_of(consenters, own).is_some() {
        return Ok(());
    }
    let (host, port) = consenters.first().map(|only| (only.host.clone(), only.port)).unwrap_or_default();
    if own.is_empty() {
        return Err(ChannelNotServed::NoCertificate { host, port });
    }
    Err(ChannelNotServed::OtherConsenter { host, port })
}

/// Returns the public key of a certificate in DER, as encoded there (`SubjectPublicKeyInfo`).
pub fn public_key_of(certificate: &[u8]) -> Option<Bytes> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(Bytes::copy_from_slice(certificate.public_key().raw))
}

/// Returns the public key of the first certificate in a PEM text, like [`public_key_of`].
pub(super) fn public_key_of_pem(text: &[u8]) -> Option<Bytes> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(text).ok()?;
    public_key_of(&pem.contents)
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
            Err(ChannelNotServed::OtherConsenter { host: host.clone(), port })
        );
        assert_eq!(
            check_alone(&[consenter(&certificate(&mine))], &[]),
            Err(ChannelNotServed::NoCertificate { host, port })
        );
    }

    #[test]
    fn the_key_in_use_decides_which_of_two_consenters_a_node_is() {
        let (old, new) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let [old, new] = [&old, &new].map(certificate);
        let consenters = [consenter(&new), consenter(&old)];
        let [old, new] = [old, new].map(|certificate| public_key_of(certificate.der()).expect("a key"));
        assert_eq!(place_of(&consenters, &[old.clone(), new.clone()]), Some(1));
        assert_eq!(place_of(&consenters, &[new.clone(), old.clone()]), Some(0));
        assert_eq!(place_of(&consenters[..1], &[old.clone(), new]), Some(0), "the old one was removed");
        assert_eq!(place_of(&consenters[..1], &[old]), None);
    }
}
