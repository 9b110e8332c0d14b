//! Organizations: authorities, members, and the definition of an MSP.

use fabric_proto::msp::{FabricMspConfig, FabricNodeOUs, FabricOuIdentifier};

use crate::certificate::{Certificate, authority_name, member_name};
use crate::keys::{Key, Kind, key};
use crate::pem;

/// An authority: its certificate before it is signed, and the key.
pub struct Authority {
    /// Its certificate.
    pub certificate: Certificate,
    /// Its key.
    pub key: &'static Key,
}

impl Authority {
    /// A root.
    pub fn root(name: &str, kind: Kind, number: usize) -> Self {
        let key = key(kind, number);
        let certificate = Certificate::authority(key, key, authority_name(name), authority_name(name), number as u64);
        Self { certificate, key }
    }

    /// One below another.
    #[must_use]
    pub fn below(&self, name: &str, kind: Kind, number: usize) -> Self {
        let key = key(kind, number);
        let issuer = self.certificate.subject.clone();
        Self {
            certificate: Certificate::authority(key, self.key, authority_name(name), issuer, 100 + number as u64),
            key,
        }
    }

    /// A member's certificate, not yet signed.
    pub fn member(&self, name: &str, units: &[&str], key: &Key) -> Certificate {
        Certificate::member(key, self.key, member_name(name, units), self.certificate.subject.clone(), 1000)
    }
}

/// A unit that makes a role.
pub fn unit(name: &str, certificate: Vec<u8>) -> FabricOuIdentifier {
    FabricOuIdentifier { certificate: certificate.into(), organizational_unit_identifier: name.to_owned() }
}

/// Units for all four roles.
pub fn node_ous() -> FabricNodeOUs {
    FabricNodeOUs {
        enable: true,
        client_ou_identifier: Some(unit("client", Vec::new())),
        peer_ou_identifier: Some(unit("peer", Vec::new())),
        admin_ou_identifier: Some(unit("admin", Vec::new())),
        orderer_ou_identifier: Some(unit("orderer", Vec::new())),
    }
}

/// An MSP with these roots and intermediates, in DER.
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
