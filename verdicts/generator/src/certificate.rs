//! Certificates in which the caller controls every field.

use crate::der::{bits, boolean, octets, oid, sequence, set, tag, tlv, unsigned};
use crate::keys::{Form, Hash, Key, authority_key_identifier, version};

/// Last arcs of the OIDs of attribute types.
pub mod attribute {
    #![allow(missing_docs, reason = "the names say it")]
    pub const COMMON_NAME: u64 = 3;
    pub const COUNTRY: u64 = 6;
    pub const ORGANIZATION: u64 = 10;
    pub const UNIT: u64 = 11;
}

/// Encodes a name with one attribute per RDN: type, tag of the string, text.
pub fn name(parts: &[(u64, u8, &[u8])]) -> Vec<u8> {
    let rdn = |(kind, tag, text): &(u64, u8, &[u8])| set(&[sequence(&[oid(&[2, 5, 4, *kind]), tlv(*tag, text)])]);
    sequence(&parts.iter().map(rdn).collect::<Vec<_>>())
}

/// Encodes the name of a CA.
pub fn authority_name(common_name: &str) -> Vec<u8> {
    name(&[
        (attribute::COUNTRY, tag::PRINTABLE, b"US"),
        (attribute::ORGANIZATION, tag::PRINTABLE, b"Org"),
        (attribute::COMMON_NAME, tag::PRINTABLE, common_name.as_bytes()),
    ])
}

/// Encodes the name of a member with these organizational units.
pub fn member_name(common_name: &str, units: &[&str]) -> Vec<u8> {
    let mut parts: Vec<(u64, u8, &[u8])> = vec![(attribute::ORGANIZATION, tag::PRINTABLE, b"Org")];
    parts.extend(units.iter().map(|unit| (attribute::UNIT, tag::UTF8, unit.as_bytes())));
    parts.push((attribute::COMMON_NAME, tag::UTF8, common_name.as_bytes()));
    name(&parts)
}

/// An extension.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The OID, as an encoded element.
    pub oid: Vec<u8>,
    /// Whether the extension is critical: an encoded BOOLEAN, or nothing.
    pub critical: Vec<u8>,
    /// The content of the OCTET STRING.
    pub body: Vec<u8>,
}

impl Extension {
    /// Creates an extension whose OID has these arcs.
    pub fn new(arcs: &[u64], critical: bool, body: Vec<u8>) -> Self {
        Self { oid: oid(arcs), critical: if critical { boolean(true) } else { Vec::new() }, body }
    }

    fn write(&self) -> Vec<u8> {
        sequence(&[self.oid.clone(), self.critical.clone(), octets(&self.body)])
    }
}

/// Returns the arcs of an OID below `id-ce`.
pub fn id_ce(last: u64) -> [u64; 4] {
    [2, 5, 29, last]
}

/// A certificate before it is signed. All fields are encoded elements, and need not be valid.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "as in RFC 5280")]
pub struct Certificate {
    pub version: Vec<u8>,
    pub serial: Vec<u8>,
    pub inner_algorithm: Vec<u8>,
    pub outer_algorithm: Vec<u8>,
    pub issuer: Vec<u8>,
    pub validity: Vec<u8>,
    pub subject: Vec<u8>,
    pub spki: Vec<u8>,
    pub unique_ids: Vec<u8>,
    pub extensions: Vec<Extension>,
    /// Replaces the extensions if it is set.
    pub instead_of_extensions: Option<Vec<u8>>,
    pub hash: Hash,
    pub form: Form,
    /// Bytes after the signature, within the outer sequence.
    pub tail: Vec<u8>,
    /// Bytes after the certificate.
    pub trailer: Vec<u8>,
    pub unused_signature_bits: u8,
}

/// Encodes a validity period.
pub fn validity(from: &str, until: &str) -> Vec<u8> {
    let time = |text: &str| match text.len() {
        15 => tlv(tag::GENERALIZED_TIME, text.as_bytes()),
        _ => tlv(tag::UTC_TIME, text.as_bytes()),
    };
    sequence(&[time(from), time(until)])
}

/// Begin of the usual validity.
pub const FROM: &str = "250101000000Z";
/// End of the usual validity.
pub const UNTIL: &str = "450101000000Z";

impl Certificate {
    fn plain(key: &Key, issuer_key: &Key, subject: Vec<u8>, issuer: Vec<u8>, serial: u64) -> Self {
        let hash = issuer_key.hash();
        Self {
            version: version(2),
            serial: unsigned(&(0x1000_0000 + serial).to_be_bytes()),
            inner_algorithm: issuer_key.algorithm(hash),
            outer_algorithm: issuer_key.algorithm(hash),
            issuer,
            validity: validity(FROM, UNTIL),
            subject,
            spki: key.spki(),
            unique_ids: Vec::new(),
            extensions: Vec::new(),
            instead_of_extensions: None,
            hash,
            form: Form::LowS,
            tail: Vec::new(),
            trailer: Vec::new(),
            unused_signature_bits: 0,
        }
    }

    /// Creates the certificate of a CA, issued by another CA or self-signed.
    pub fn authority(key: &Key, issuer_key: &Key, subject: Vec<u8>, issuer: Vec<u8>, serial: u64) -> Self {
        let mut certificate = Self::plain(key, issuer_key, subject, issuer, serial);
        certificate.extensions = vec![
            Extension::new(&id_ce(15), true, bits(1, &[0x06])),
            Extension::new(&id_ce(19), true, sequence(&[boolean(true)])),
            Extension::new(&id_ce(14), false, octets(&key.identifier())),
            Extension::new(&id_ce(35), false, authority_key_identifier(&issuer_key.identifier())),
        ];
        certificate
    }

    /// Creates the certificate of a member.
    pub fn member(key: &Key, issuer_key: &Key, subject: Vec<u8>, issuer: Vec<u8>, serial: u64) -> Self {
        let mut certificate = Self::plain(key, issuer_key, subject, issuer, serial);
        certificate.extensions = vec![
            Extension::new(&id_ce(15), true, bits(7, &[0x80])),
            Extension::new(&id_ce(19), true, sequence(&[])),
            Extension::new(&id_ce(35), false, authority_key_identifier(&issuer_key.identifier())),
        ];
        certificate
    }

    /// Encodes the `TBSCertificate`, which is signed.
    pub fn tbs(&self) -> Vec<u8> {
        let extensions = match &self.instead_of_extensions {
            Some(instead) => instead.clone(),
            None if self.extensions.is_empty() => Vec::new(),
            None => {
                let list = sequence(&self.extensions.iter().map(Extension::write).collect::<Vec<_>>());
                crate::der::explicit(3, &list)
            }
        };
        sequence(&[
            self.version.clone(),
            self.serial.clone(),
            self.inner_algorithm.clone(),
            self.issuer.clone(),
            self.validity.clone(),
            self.subject.clone(),
            self.spki.clone(),
            self.unique_ids.clone(),
            extensions,
        ])
    }

    /// Signs the certificate and encodes it.
    pub fn sign(&self, issuer_key: &Key) -> Vec<u8> {
        self.sign_tbs(self.tbs(), issuer_key)
    }

    /// Signs a changed `TBSCertificate` and encodes the certificate.
    pub fn sign_tbs(&self, tbs: Vec<u8>, issuer_key: &Key) -> Vec<u8> {
        let signature = issuer_key.sign(self.hash, &tbs, self.form);
        let signature = bits(self.unused_signature_bits, &signature);
        let mut der = sequence(&[tbs, self.outer_algorithm.clone(), signature, self.tail.clone()]);
        der.extend(&self.trailer);
        der
    }
}
