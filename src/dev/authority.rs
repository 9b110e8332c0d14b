//! A certificate authority for development.

use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;

/// Everything made for development is good for ten years.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks of other machines may be behind.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// See the module's description.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
    domain: String,
}

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What a certificate is for.
pub(super) enum Purpose<'a> {
    /// To sign as a member with this organizational unit.
    Signing { unit: &'a str },
    /// To be a TLS server and client under these names.
    Tls { names: &'a [String] },
}

impl Authority {
    /// An authority called `NAME.DOMAIN`.
    pub(super) fn new(name: &str, domain: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(&format!("{name}.{domain}"), domain, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self { params, key, certificate, domain: domain.to_owned() })
    }

    /// Its own certificate, in PEM.
    pub(super) fn certificate(&self) -> String {
        self.certificate.pem()
    }

    /// Its key, in PEM.
    pub(super) fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// Issues a certificate for a new key.
    pub(super) fn issue(&self, common_name: &str, purpose: &Purpose<'_>) -> Result<Issued, rcgen::Error> {
        let key = KeyPair::generate()?;
        let unit = match purpose {
            Purpose::Signing { unit } => Some(*unit),
            Purpose::Tls { .. } => None,
        };
        let mut params = params(common_name, &self.domain, unit);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if let Purpose::Tls { names } = purpose {
            params.subject_alt_names = CertificateParams::new(names.to_vec())?.subject_alt_names;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(common_name: &str, organization: &str, unit: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + VALIDITY;
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization);
    if let Some(unit) = unit {
        name.push(DnType::OrganizationalUnitName, unit);
    }
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params
}
