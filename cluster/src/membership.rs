//! The consenters of a channel, and the identification of one by its TLS certificate.
//!
//! Fabric compares public keys and not certificates (`CertificatesWithSamePublicKey`), so that a certificate that was
//! renewed with the same key needs no config update. Keys of kinds that Go cannot encode equal no key, not even
//! themselves.

use std::collections::BTreeMap;

use bytes::Bytes;
use orderer_x509::{Certificate, ParseError, PublicKey, pem};

/// The Raft ID of a consenter. Never 0.
pub type ConsenterId = u64;

/// A consenter as the channel's configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consenter {
    /// The consenter's Raft ID.
    pub id: ConsenterId,
    /// The consenter's host name or IP address.
    pub host: String,
    /// The consenter's port.
    pub port: u16,
    /// PEM of the certificate that the consenter presents as a client.
    pub client_certificate: Bytes,
    /// PEM of the certificate that the consenter presents as a server.
    pub server_certificate: Bytes,
}

impl Consenter {
    /// Returns HOST:PORT, with brackets around an IPv6 address.
    pub fn endpoint(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Reason for which a certificate identifies no consenter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The text contains no PEM block.
    #[error("invalid PEM block")]
    NoPem,
    /// Go does not parse the certificate.
    #[error("invalid certificate DER: {0}")]
    Malformed(#[from] ParseError),
    /// The key is of a kind that Go does not encode, so it equals no other key.
    #[error("the public key is of an unsupported kind")]
    UnsupportedKey,
}

/// A certificate's public key, which identifies its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedKey(PublicKey);

impl PinnedKey {
    /// Returns the key of a certificate in DER.
    ///
    /// # Errors
    /// Fails if the certificate identifies no consenter.
    pub fn of_der(der: &Bytes) -> Result<Self, CertificateError> {
        Self::of(&Certificate::parse(der)?)
    }

    /// Returns the key of the first certificate in a PEM text.
    ///
    /// # Errors
    /// Fails if the certificate identifies no consenter.
    pub fn of_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let (block, _) = pem::decode(text).ok_or(CertificateError::NoPem)?;
        Self::of_der(&block.contents)
    }

    /// Returns the key of a certificate.
    ///
    /// # Errors
    /// Fails if the key is of a kind that Go does not encode.
    pub fn of(certificate: &Certificate) -> Result<Self, CertificateError> {
        match certificate.public_key() {
            // Go reads DSA keys and does not write them
            None | Some(PublicKey::Dsa) => Err(CertificateError::UnsupportedKey),
            Some(key) => Ok(Self(key.clone())),
        }
    }
}

/// One consenter, and the keys that identify it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The consenter in the configuration.
    pub consenter: Consenter,
    /// The key that it has to present as a client, or why its certificate has none.
    pub client_key: Result<PinnedKey, CertificateError>,
    /// The key that it has to present as a server, or why its certificate has none.
    pub server_key: Result<PinnedKey, CertificateError>,
}

/// The consenters of one channel under one configuration. It never changes: a config update creates another.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    own: Option<ConsenterId>,
    members: BTreeMap<ConsenterId, Member>,
}

impl Membership {
    /// Creates the membership of these consenters, of which this node is `own`, if it is one.
    ///
    /// A consenter whose certificate cannot be parsed is a member all the same, as in Fabric: no client is identified
    /// as it, or it is not connected to. Of two consenters with the same ID the latter is used.
    pub fn new(own: Option<ConsenterId>, consenters: impl IntoIterator<Item = Consenter>) -> Self {
        let member = |consenter: Consenter| {
            let client_key = PinnedKey::of_pem(&consenter.client_certificate);
            let server_key = PinnedKey::of_pem(&consenter.server_certificate);
            (consenter.id, Member { consenter, client_key, server_key })
        };
        Self { own, members: consenters.into_iter().map(member).collect() }
    }

    /// Returns this node's ID, if it is a consenter.
    pub fn own(&self) -> Option<ConsenterId> {
        self.own
    }

    /// Returns the consenter with this ID.
    pub fn get(&self, id: ConsenterId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Iterates over all consenters, by ID.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Iterates over all consenters but this node, by ID.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| Some(member.consenter.id) != self.own)
    }

    /// Returns the consenter that connects with this key. This node itself is never returned, as in Fabric. If
    /// several have the key, returns the one with the lowest ID (Fabric picks any of them).
    pub fn sender(&self, shown: &PinnedKey) -> Option<ConsenterId> {
        self.others().find(|member| member.client_key.as_ref() == Ok(shown)).map(|member| member.consenter.id)
    }

    /// Returns the consenter whose server certificate has this key, by which a node finds itself (`detectSelfID`).
    pub fn with_server_key(&self, key: &PinnedKey) -> Option<ConsenterId> {
        self.members().find(|member| member.server_key.as_ref() == Ok(key)).map(|member| member.consenter.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pem(key: &KeyPair, name: &str) -> Bytes {
        CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(key).unwrap().pem().into()
    }

    fn shown(pem: &Bytes) -> PinnedKey {
        PinnedKey::of_pem(pem).unwrap()
    }

    fn consenter(id: ConsenterId, client: &Bytes, server: &Bytes) -> Consenter {
        Consenter {
            id,
            host: format!("orderer{id}"),
            port: 7050,
            client_certificate: client.clone(),
            server_certificate: server.clone(),
        }
    }

    #[test]
    fn a_sender_is_known_by_the_key_of_its_client_certificate() {
        let keys: Vec<KeyPair> = (0..6).map(|_| KeyPair::generate().unwrap()).collect();
        let certificates: Vec<Bytes> = keys.iter().map(|key| pem(key, "first")).collect();
        let [client1, server1, client2, server2, client3, server3] = &certificates[..] else { unreachable!() };
        let members = [consenter(1, client1, server1), consenter(2, client2, server2), consenter(3, client3, server3)];
        let membership = Membership::new(Some(1), members.clone());
        assert_eq!(membership.sender(&shown(client2)), Some(2));
        assert_eq!(membership.sender(&shown(client3)), Some(3));
        assert_eq!(membership.sender(&shown(server2)), None, "a server certificate");
        assert_eq!(membership.sender(&shown(client1)), None, "this node itself");
        assert_eq!(membership.with_server_key(&shown(server1)), Some(1));
        assert_eq!(membership.with_server_key(&shown(client1)), None);
        assert_eq!(membership.others().map(|member| member.consenter.id).collect::<Vec<_>>(), [2, 3]);
        let renewed = pem(&keys[2], "renewed");
        assert_ne!(renewed, *client2);
        assert_eq!(membership.sender(&shown(&renewed)), Some(2), "renewed with the same key");
        // rotated by a config update: the new key is accepted, the old one is not
        let (other_key, mut rotated) = (KeyPair::generate().unwrap(), members.clone());
        let other = pem(&other_key, "rotated");
        rotated[1].client_certificate = other.clone();
        let rotated = Membership::new(Some(1), rotated);
        assert_eq!(rotated.sender(&shown(&other)), Some(2));
        assert_eq!(rotated.sender(&shown(client2)), None);
        // another channel, where the same node has another ID
        let elsewhere = Membership::new(None, [consenter(7, client2, server2)]);
        assert_eq!(elsewhere.sender(&shown(client2)), Some(7));
        assert_eq!(elsewhere.sender(&shown(client3)), None);
        // of several with one key, the lowest ID
        let twice = Membership::new(None, [consenter(9, client2, server2), consenter(8, client2, server2)]);
        assert_eq!(twice.sender(&shown(client2)), Some(8));
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_nobodys_and_spares_the_others() {
        let key = KeyPair::generate().unwrap();
        let good = pem(&key, "good");
        let broken = Bytes::from_static(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        let membership =
            Membership::new(None, [consenter(1, &broken, &Bytes::from_static(b"no PEM")), consenter(2, &good, &good)]);
        let first = membership.get(1).unwrap();
        assert_eq!(first.server_key, Err(CertificateError::NoPem));
        assert!(matches!(first.client_key, Err(CertificateError::Malformed(_))));
        assert_eq!(membership.sender(&shown(&good)), Some(2));
    }

    #[test]
    fn an_endpoint_has_brackets_around_an_address_of_ipv6() {
        let mut one = consenter(1, &Bytes::new(), &Bytes::new());
        assert_eq!(one.endpoint(), "orderer1:7050");
        one.host = "::1".to_owned();
        assert_eq!(one.endpoint(), "[::1]:7050");
    }
}
