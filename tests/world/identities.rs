//! Identities that sign: members of the fixtures' organizations, and identities with certificates that the tests
//! create.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fabric_proto::Message as _;
use fabric_proto::msp::SerializedIdentity;
use orderer_core::crypto::SigningKey;
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

use super::NET;

/// A serialized identity as in signature headers, and a signing key, which need not belong to it.
#[derive(Clone)]
pub struct TestIdentity {
    pub creator: Bytes,
    key: Arc<SigningKey>,
}

impl TestIdentity {
    /// Reads the certificate and the key in an MSP directory.
    pub fn from_msp(folder: &Path, msp_id: &str) -> Self {
        let key = SigningKey::from_pem(&only_file(&folder.join("keystore"))).unwrap();
        Self::new(msp_id, only_file(&folder.join("signcerts")), key)
    }

    fn new(msp_id: &str, certificate: Vec<u8>, key: SigningKey) -> Self {
        Self { creator: serialized(msp_id, certificate), key: Arc::new(key) }
    }

    fn of_org(number: u8, kind: &str, name: &str) -> Self {
        let domain = format!("org{number}.example.com");
        let folder = Path::new(NET).join(format!("crypto/peerOrganizations/{domain}/{kind}/{name}{domain}/msp"));
        Self::from_msp(&folder, &format!("Org{number}MSP"))
    }

    pub fn user(org: u8) -> Self {
        Self::of_org(org, "users", "User1@")
    }

    pub fn admin(org: u8) -> Self {
        Self::of_org(org, "users", "Admin@")
    }

    pub fn peer(org: u8) -> Self {
        Self::of_org(org, "peers", "peer0.")
    }

    pub fn orderer_admin() -> Self {
        let folder = Path::new(NET).join("crypto/ordererOrganizations/example.com/users/Admin@example.com/msp");
        Self::from_msp(&folder, "OrdererMSP")
    }

    /// Returns another identity with the same key.
    pub fn under(&self, creator: Bytes) -> Self {
        Self { creator, key: Arc::clone(&self.key) }
    }

    /// Signs with low-S, as Fabric requires.
    pub fn sign(&self, message: &[u8]) -> Bytes {
        self.key.sign(message).unwrap()
    }

    /// Returns an identity with a certificate of Org1's CA with this organizational unit. The validity is given in
    /// hours from now.
    pub fn issued(unit: &str, from_hours: i64, until_hours: i64) -> Self {
        Self::issued_between(unit, Duration::hours(from_hours), Duration::hours(until_hours))
    }

    /// Returns an identity as [`issued`](Self::issued) does, whose certificate expires in a few seconds.
    pub fn issued_for_seconds(unit: &str, seconds: i64) -> Self {
        Self::issued_between(unit, Duration::hours(-1), Duration::seconds(seconds))
    }

    /// Returns an identity as [`issued`](Self::issued) does, with a self-signed certificate.
    pub fn self_signed(unit: &str) -> Self {
        let (params, key) = request(unit, Duration::hours(-1), Duration::hours(1));
        Self::certified(&params.self_signed(&key).unwrap().pem(), &key)
    }

    fn issued_between(unit: &str, from: Duration, until: Duration) -> Self {
        let folder = PathBuf::from(NET).join("crypto/peerOrganizations/org1.example.com/ca");
        let certificate = fs::read_to_string(folder.join("ca.org1.example.com-cert.pem")).unwrap();
        let key = KeyPair::from_pem(&fs::read_to_string(folder.join("priv_sk")).unwrap()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).unwrap();
        let (params, key) = request(unit, from, until);
        Self::certified(&params.signed_by(&key, &issuer).unwrap().pem(), &key)
    }

    fn certified(certificate: &str, key: &KeyPair) -> Self {
        let key = SigningKey::from_pem(key.serialize_pem().as_bytes()).unwrap();
        Self::new("Org1MSP", certificate.as_bytes().to_vec(), key)
    }
}

/// Generates a key and the content of its certificate.
fn request(unit: &str, from: Duration, until: Duration) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    params.distinguished_name.push(DnType::CommonName, "made");
    params.not_before = OffsetDateTime::now_utc() + from;
    params.not_after = OffsetDateTime::now_utc() + until;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    (params, KeyPair::generate().unwrap())
}

/// Returns a serialized identity, as in signature headers.
pub fn serialized(msp_id: &str, certificate: impl Into<Bytes>) -> Bytes {
    SerializedIdentity { mspid: msp_id.to_owned(), id_bytes: certificate.into() }.encode_to_vec().into()
}

/// Returns the certificate of a serialized identity, in PEM.
pub fn certificate_of(creator: &Bytes) -> Bytes {
    SerializedIdentity::decode(creator.clone()).unwrap().id_bytes
}

/// Returns the signature with the other value of s. A verifier that does not require low-S accepts it as well.
pub fn with_high_s(signature: &[u8]) -> Bytes {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
        0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    // the DER is SEQUENCE { INTEGER r, INTEGER s }, and all lengths take one byte
    let r_end = 4 + usize::from(signature[3]);
    let (r, s) = (&signature[2..r_end], &signature[r_end + 2..]);
    let mut high = [0; 32];
    let mut borrow = 0;
    for (i, out) in high.iter_mut().enumerate().rev() {
        // the length of s differs from 32 if it has a leading zero or is short
        let from_end = 32 - i;
        let digit = s.len().checked_sub(from_end).map_or(0, |at| i16::from(s[at]));
        let difference = i16::from(ORDER[i]) - digit - borrow;
        borrow = i16::from(difference < 0);
        *out = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    // DER needs a leading zero byte if the highest bit is set
    let zero: &[u8] = if high[0] >= 0x80 { &[0] } else { &[] };
    let s = [&[0x02, u8::try_from(zero.len() + 32).unwrap()], zero, &high].concat();
    [&[0x30, u8::try_from(r.len() + s.len()).unwrap()], r, &s].concat().into()
}

fn only_file(folder: &Path) -> Vec<u8> {
    let entry = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
    fs::read(entry.path()).unwrap()
}
