//! Organizations: CAs, members, and the definition of an MSP.

use fabric_proto::msp::{FabricMspConfig, FabricNodeOUs, FabricOuIdentifier};

use crate::certificate::{Certificate, authority_name, member_name};
use crate::keys::{Key, Kind, key};
use crate::pem;

/// A CA: its certificate before it is signed, and its key.
pub struct Authority {
    /// The certificate.
    pub certificate: Certificate,
    /// The key.
    pub key: &'static Key,
}

impl Authority {
    /// Creates a root CA.
    pub fn root(name: &str, kind: Kind, number: usize) -> Self {
        let key = key(kind, number);
        let certificate = Certificate::authority(key, key, authority_name(name), authority_name(name), number as u64);
        Self { certificate, key }
    }

    /// Creates an intermediate CA below this one.
    #[must_use]
    pub fn below(&self, name: &str, kind: Kind, number: usize) -> Self {
        let key = key(kind, number);
        let issuer = self.certificate.subject.clone();
        Self {
            certificate: Certificate::authority(key, self.key, authority_name(name), issuer, 100 + number as u64),
            key,
        }
    }

    /// Returns the certificate of a member before it is signed.
    pub fn member(&self, name: &str, units: &[&str], key: &Key) -> Certificate {
        Certificate::member(key, self.key, member_name(name, units), self.certificate.subject.clone(), 1000)
    }
}

/// Returns a unit that determines a role.
pub fn unit(name: &str, certificate: Vec<u8>) -> FabricOuIdentifier {
    FabricOuIdentifier { certificate: certificate.into(), organizational_unit_identifier: name.to_owned() }
}

/// Returns units for all four roles.
pub fn node_ous() -> FabricNodeOUs {
    FabricNodeOUs {
        enable: true,
        client_ou_identifier: Some(unit("client", Vec::new())),
        peer_ou_identifier: Some(unit("peer", Vec::new())),
        admin_ou_identifier: Some(unit("admin", Vec::new())),
        orderer_ou_identifier: Some(unit("orderer", Vec::new())),
    }
}

/// Returns an MSP with these roots and intermediates, in DER.
pub fn msp(id: &str, roots: &[Vec<u8>], intermediates: &[Vec<u8>]) -> FabricMspConfig {
    let all = |ders: &[Vec<u8>]| ders.iter().map(|der| pem::certificate(der).into()).collect();
    FabricMspConfig {
        name: id.to_owned(),
        root_certs: all(roots),
        intermediate_certs: all(intermediates),
        fabric_node_ous: Some(node_ous()),
        ..FabricMspConfig::default()
    }
}
