//! Organizations created for a test: CAs, members, and the configuration of an MSP.

#![allow(dead_code, unreachable_pub, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test that panics has failed")]

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::msp::{FabricMspConfig, FabricNodeOUs, FabricOuIdentifier, MspConfig};
use orderer_core::crypto::{Signer as _, SigningIdentity, SigningKey};
use orderer_core::identity::{Msp, MspError, MspVersion};
use orderer_core::policy::SignedData;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// A certificate authority.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub pem: String,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub fn root(name: &str) -> Self {
        let (params, key) = (ca_params(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    pub fn below(&self, name: &str) -> Self {
        let (mut params, key) = (ca_params(name), KeyPair::generate().unwrap());
        params.use_authority_key_identifier_extension = true;
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Self { params, key, pem }
    }

    pub fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    pub fn leaf(&self, units: &[&str], key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, "member");
        for unit in units {
            params.distinguished_name.push(DnType::OrganizationalUnitName, *unit);
        }
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem();
        Leaf { pem, key }
    }

    pub fn client(&self) -> Leaf {
        self.leaf(&["client"], KeyPair::generate().unwrap(), |_| {})
    }
}

pub struct Leaf {
    pub pem: String,
    key: KeyPair,
}

impl Leaf {
    pub fn signer(&self) -> SigningIdentity {
        let key = SigningKey::from_pem(self.key.serialize_pem().as_bytes()).unwrap();
        SigningIdentity::new("Org", self.pem.as_bytes(), key).unwrap()
    }

    pub fn sign(&self, message: &'static str) -> SignedData {
        let signer = self.signer();
        SignedData {
            message: message.into(),
            signature: signer.sign(message.as_bytes()).unwrap(),
            creator: signer.creator().clone(),
        }
    }
}

pub fn config(root: &Authority) -> FabricMspConfig {
    let unit = |name: &str| {
        Some(FabricOuIdentifier { certificate: Bytes::new(), organizational_unit_identifier: name.into() })
    };
    FabricMspConfig {
        name: "Org".into(),
        root_certs: vec![root.pem.clone().into()],
        fabric_node_ous: Some(FabricNodeOUs {
            enable: true,
            client_ou_identifier: unit("client"),
            peer_ou_identifier: unit("peer"),
            admin_ou_identifier: unit("admin"),
            orderer_ou_identifier: unit("orderer"),
        }),
        ..FabricMspConfig::default()
    }
}

pub fn msp(config: &FabricMspConfig) -> Result<Msp, MspError> {
    msp_by(config, MspVersion::LATEST)
}

/// Builds the MSP by the rules of an older channel.
pub fn msp_by(config: &FabricMspConfig, version: MspVersion) -> Result<Msp, MspError> {
    Msp::from_config(&MspConfig { r#type: 0, config: config.encode_to_vec().into() }, version)
}
