//! A certificate authority for development.

use std::path::Path;
use std::time::Duration;

use orderer_core::crypto::SigningKey;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SignatureAlgorithm,
};
use time::OffsetDateTime;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};
use x509_parser::x509::X509Name;

use super::{CryptoError, MARK, io_error};

/// Validity of all certificates, which are for development: ten years.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Time by which certificates are backdated, since clocks of other machines may be behind.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// Object identifiers of name attributes that the library does not name.
const STREET_ADDRESS: [u64; 4] = [2, 5, 4, 9];
const POSTAL_CODE: [u64; 4] = [2, 5, 4, 17];
const UNIT: [u64; 4] = [2, 5, 4, 11];

/// Kind of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// P-256, which every version of Fabric accepts.
    #[default]
    Ecdsa,
    /// Ed25519, which members may have from channel capability V3_0 on.
    Ed25519,
}

/// Attributes of a certificate's subject beside its common name, as in cryptogen's files.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    pub(super) country: String,
    pub(super) province: String,
    pub(super) locality: String,
    pub(super) organization: Option<String>,
    pub(super) units: Vec<String>,
    pub(super) street_address: String,
    pub(super) postal_code: String,
}

/// A certificate authority with its key.
pub(super) struct CertificateAuthority {
    params: CertificateParams,
    key: FabricKey,
    /// The authority's certificate, in PEM.
    certificate: String,
    subject: Subject,
    /// Prefix of file names.
    pub(super) name: String,
}

/// A certificate and its key, in PEM.
pub(super) struct IssuedCertificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The use of a certificate.
pub(super) enum Purpose<'a> {
    /// Signing as a member, with this organizational unit.
    Signing { unit: Option<&'a str> },
    /// TLS server and client with these names.
    Tls { names: &'a [String] },
}

impl CertificateAuthority {
    /// Creates an authority with this common name, whose subject says that it is for development.
    pub(super) fn new(name: &str, subject: Subject, algorithm: Algorithm) -> Result<Self, CryptoError> {
        let failed = |cause| CryptoError::Certificate { name: name.to_owned(), cause };
        let key = FabricKey::new(algorithm).map_err(failed)?;
        let mut marked = subject.clone();
        marked.units.push(MARK.to_owned());
        let mut params = params(name, &marked);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.key_identifier_method = key_identifier(&key);
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { params, key, certificate, subject, name: name.to_owned() })
    }

    /// Reads the authority in a directory that cryptogen made: a certificate, and its key in a file that ends in `_sk`.
    /// `subject` is for the certificates that the authority issues.
    pub(super) fn load(folder: &Path, name: String, subject: Subject) -> Result<Self, CryptoError> {
        let wrong = |problem: String| CryptoError::Authority { folder: folder.to_owned(), problem };
        let read = |ending: &str| -> Result<String, CryptoError> {
            let mut entries = std::fs::read_dir(folder).map_err(io_error("read", folder))?.flatten();
            let file = entries.find(|entry| entry.file_name().to_string_lossy().ends_with(ending));
            let file = file.ok_or_else(|| wrong(format!("there is no file that ends in {ending}")))?.path();
            std::fs::read_to_string(&file).map_err(io_error("read", &file))
        };
        let (certificate, key) = (read(".pem")?, read("_sk")?);
        let key = FabricKey::from_pem(&key).map_err(|error| wrong(format!("the key cannot be read: {error}")))?;
        let params = read_params(&certificate, &key).map_err(|problem| wrong(problem.to_owned()))?;
        Ok(Self { params, key, certificate, subject, name })
    }

    /// Returns the authority's certificate, in PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Returns the authority's key, in PEM.
    pub(super) fn key(&self) -> String {
        self.key.pem()
    }

    /// Issues a certificate for a new key.
    pub(super) fn issue(
        &self,
        common_name: &str,
        purpose: &Purpose<'_>,
        algorithm: Algorithm,
    ) -> Result<IssuedCertificate, CryptoError> {
        let failed = |cause| CryptoError::Certificate { name: common_name.to_owned(), cause };
        let key = FabricKey::new(algorithm).map_err(failed)?;
        let mut subject = Subject { organization: None, ..self.subject.clone() };
        if let Purpose::Signing { unit: Some(unit) } = purpose {
            subject.units.push((*unit).to_owned());
        }
        let mut params = params(common_name, &subject);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.key_identifier_method = key_identifier(&key);
        if let Purpose::Tls { names } = purpose {
            params.subject_alt_names = CertificateParams::new(names.to_vec()).map_err(failed)?.subject_alt_names;
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok(IssuedCertificate { certificate: certificate.pem(), key: key.pem() })
    }
}

/// Returns the contents of a member's signing certificate whose key has this identifier.
pub fn signing_params(common_name: &str, unit: &str, ski: [u8; 32]) -> CertificateParams {
    let mut params = params(common_name, &Subject { units: vec![unit.to_owned()], ..Subject::default() });
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.key_identifier_method = KeyIdMethod::PreSpecified(ski.to_vec());
    params
}

/// Returns Fabric's identifier of a key.
fn key_identifier(key: &FabricKey) -> KeyIdMethod {
    KeyIdMethod::PreSpecified(key.ours.ski().to_vec())
}

/// A key that signs as Fabric requires: ECDSA with the lower of two values for s.
pub struct FabricKey {
    pair: KeyPair,
    ours: SigningKey,
}

impl FabricKey {
    fn new(algorithm: Algorithm) -> Result<Self, rcgen::Error> {
        Self::of(KeyPair::generate_for(match algorithm {
            Algorithm::Ecdsa => &PKCS_ECDSA_P256_SHA256,
            Algorithm::Ed25519 => &PKCS_ED25519,
        })?)
    }

    /// Reads a key on P-256 or of Ed25519, in PEM.
    ///
    /// # Errors
    /// The text is no such key.
    pub fn from_pem(text: &str) -> Result<Self, rcgen::Error> {
        Self::of(KeyPair::from_pem(text)?)
    }

    fn of(pair: KeyPair) -> Result<Self, rcgen::Error> {
        let ours = SigningKey::from_der(&pair.serialize_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        Ok(Self { pair, ours })
    }

    fn pem(&self) -> String {
        self.pair.serialize_pem()
    }
}

impl PublicKeyData for FabricKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.pair.algorithm()
    }
}

impl rcgen::SigningKey for FabricKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.ours.sign(message).map(|signature| signature.to_vec()).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// Returns the parameters that make certificates name the issuer exactly as it is in the certificate.
fn read_params(pem: &str, key: &FabricKey) -> Result<CertificateParams, &'static str> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| "the certificate is no PEM")?;
    let read = pem.parse_x509().map_err(|_| "the certificate cannot be read")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = read_name(read.subject()).ok_or("the certificate's subject is not supported")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let identifier = read.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    });
    params.key_identifier_method = identifier.map_or_else(|| key_identifier(key), KeyIdMethod::PreSpecified);
    // encodes it again and compares, since names are compared by their bytes
    let again = params.self_signed(key).map_err(|_| "the key cannot sign")?;
    let (_, again) = X509Certificate::from_der(again.der()).map_err(|_| "the certificate cannot be read")?;
    if again.subject().as_raw() != read.subject().as_raw() {
        return Err("the certificate's subject is not supported");
    }
    if again.public_key().raw != read.public_key().raw {
        return Err("the key is not that of the certificate");
    }
    Ok(params)
}

/// Reads a name; returns `None` for one that the library cannot write.
fn read_name(read: &X509Name<'_>) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for attribute in read.iter_attributes() {
        let mut kind = DnType::from_oid(&attribute.attr_type().iter()?.collect::<Vec<_>>());
        if kind == DnType::OrganizationalUnitName && name.get(&kind).is_some() {
            kind = DnType::CustomDnType(UNIT.to_vec());
        }
        if name.get(&kind).is_some() {
            return None;
        }
        let text = attribute.as_str().ok()?;
        let value = match attribute.attr_value().tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(text.try_into().ok()?),
            Tag::Ia5String => DnValue::Ia5String(text.try_into().ok()?),
            _ => return None,
        };
        name.push(kind, value);
    }
    Some(name)
}

fn params(common_name: &str, subject: &Subject) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + VALIDITY;
    let mut name = DistinguishedName::new();
    let mut push = |kind, text: &str| {
        if !text.is_empty() {
            name.push(kind, text);
        }
    };
    push(DnType::CountryName, &subject.country);
    push(DnType::StateOrProvinceName, &subject.province);
    push(DnType::LocalityName, &subject.locality);
    push(DnType::CustomDnType(STREET_ADDRESS.to_vec()), &subject.street_address);
    push(DnType::CustomDnType(POSTAL_CODE.to_vec()), &subject.postal_code);
    push(DnType::OrganizationName, subject.organization.as_deref().unwrap_or_default());
    // the library keeps one value of each kind, and treats a kind given by its number as another
    for (kind, unit) in
        [DnType::OrganizationalUnitName, DnType::CustomDnType(UNIT.to_vec())].into_iter().zip(&subject.units)
    {
        push(kind, unit);
    }
    push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params
}
