//! Parses revocation lists.
//!
//! Go reads them with `encoding/asn1` (see the module `asn1`), more leniently than certificates.
//!
//! | Rule | In Go |
//! |---|---|
//! | PEM is read where the text begins with `-----BEGIN X509 CRL` and its first good block has that label; anything else is DER. | `ParseCRL` |
//! | The version may be absent or any number; the two algorithms may differ, and the outer one counts. | `pkix.CertificateList`, `CheckCRLSignature` |
//! | Names, times and extensions are well formed; what they say does not count, but for the first authority key identifier. | `pkix.TBSCertificateList`, Fabric's `getAuthorityKeyIdentifierFromCrl` |
//! | A serial number may be negative. | `pkix.RevokedCertificate` |
//! | What follows in a sequence is ignored; what follows the list is not. | `ParseDERCRL` |

use bytes::Bytes;

use crate::algorithm::SignatureAlgorithm;
use crate::asn1::{self, Fields, Refused};
use crate::{der, ecdsa, pem};

/// Go does not parse the revocation list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// A part of the list is malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// There are octets after the list.
    #[error("trailing data after CRL")]
    TrailingData,
}

/// One certificate on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedCertificate {
    /// Content octets of the serial number, minimal.
    pub serial: Bytes,
}

/// A revocation list that Go's lenient `ParseCRL` accepts.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// The whole list, signature included.
    pub(crate) raw: Bytes,
    /// The part that is signed.
    pub(crate) tbs: Bytes,
    /// The outer algorithm, which is used for the verification.
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) signature: Bytes,
    /// The value of the first authority key identifier extension.
    pub(crate) authority_key_id: Option<Bytes>,
    pub(crate) revoked: Vec<RevokedCertificate>,
}

const PEM_PREFIX: &[u8] = b"-----BEGIN X509 CRL";
const PEM_LABEL: &str = "X509 CRL";
/// 2.5.29.35.
const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];

impl RevocationList {
    /// Parses a list in PEM (label `X509 CRL`, at the very beginning) or DER.
    ///
    /// # Errors
    /// Go rejects the bytes.
    pub fn parse(bytes: &Bytes) -> Result<Self, CrlError> {
        if bytes.starts_with(PEM_PREFIX)
            && let Some((block, _)) = pem::decode(bytes)
            && block.label == PEM_LABEL
        {
            return Self::parse_der(&block.contents);
        }
        Self::parse_der(bytes)
    }

    fn parse_der(der: &Bytes) -> Result<Self, CrlError> {
        fn part<T>(result: Result<T, Refused>, message: &'static str) -> Result<T, CrlError> {
            result.map_err(|Refused| CrlError::Malformed(message))
        }

        let mut input = Fields::new(der);
        let mut outer = Fields::new(part(input.required(asn1::SEQUENCE), "malformed crl")?);
        let tbs = part(outer.required_whole(asn1::SEQUENCE), "malformed tbs crl")?;
        let (authority_key_id, revoked) = read_tbs(der, tbs.contents()).map_err(CrlError::Malformed)?;
        let (oid, parameters) = part(outer.algorithm(), "malformed algorithm identifier")?;
        let signature = part(outer.bit_string(), "malformed signature")?;
        if !input.rest().is_empty() {
            return Err(CrlError::TrailingData);
        }
        Ok(Self {
            raw: der.clone(),
            tbs: der.slice_ref(tbs.whole),
            algorithm: SignatureAlgorithm::from_identifier(oid, parameters),
            signature: signature.right_aligned().into(),
            authority_key_id,
            revoked,
        })
    }

    /// Returns the list in the form that Fabric keeps: an ECDSA signature is encoded again, which drops everything after its two
    /// numbers.
    ///
    /// # Errors
    /// The algorithm is ECDSA, and the signature does not start with two positive numbers; Fabric rejects the whole MSP then.
    pub fn with_plain_signature(self) -> Result<Self, CrlError> {
        if !matches!(self.algorithm, SignatureAlgorithm::Ecdsa(_)) {
            return Ok(self);
        }
        let signature = ecdsa::Signature::parse_lenient(&self.signature)
            .ok_or(CrlError::Malformed("the signature is no ECDSA signature"))?;
        Ok(Self { signature: signature.to_der().into(), ..self })
    }

    /// Returns the signature algorithm.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Returns the part that is signed.
    pub fn raw_tbs(&self) -> &Bytes {
        &self.tbs
    }

    /// Returns the signature.
    pub fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// Returns the body of the authority key identifier extension, not interpreted; it identifies the authority whose
    /// certificates the list revokes.
    pub fn authority_key_id_extension(&self) -> Option<&Bytes> {
        self.authority_key_id.as_ref()
    }

    /// Returns the revoked certificates.
    pub fn revoked(&self) -> &[RevokedCertificate] {
        &self.revoked
    }
}

type Tbs = (Option<Bytes>, Vec<RevokedCertificate>);

fn read_tbs(list: &Bytes, contents: &[u8]) -> Result<Tbs, &'static str> {
    let mut fields = Fields::new(contents);
    let version = fields.optional(asn1::INTEGER).map_err(|Refused| "malformed version")?;
    if version.is_some_and(|version| der::int64(version).is_none()) {
        return Err("malformed version");
    }
    fields.algorithm().map_err(|Refused| "malformed signature algorithm identifier")?;
    fields.name().map_err(|Refused| "malformed issuer")?;
    fields.time().map_err(|Refused| "malformed time of this update")?;
    fields.optional_time().map_err(|Refused| "malformed time of the next update")?;
    let revoked = revoked(list, &mut fields).map_err(|Refused| "malformed list of revoked certificates")?;
    let authority_key_id = extensions(list, &mut fields).map_err(|Refused| "malformed extensions")?;
    Ok((authority_key_id, revoked))
}

fn revoked(list: &Bytes, fields: &mut Fields<'_>) -> Result<Vec<RevokedCertificate>, Refused> {
    let Some(sequence) = fields.optional(asn1::SEQUENCE)? else { return Ok(Vec::new()) };
    asn1::sequence_of(sequence, asn1::SEQUENCE)?
        .into_iter()
        .map(|contents| {
            let mut fields = Fields::new(contents);
            let serial = list.slice_ref(fields.integer()?);
            fields.time()?;
            if let Some(extensions) = fields.optional(asn1::SEQUENCE)? {
                for extension in asn1::sequence_of(extensions, asn1::SEQUENCE)? {
                    asn1::extension(extension)?;
                }
            }
            Ok(RevokedCertificate { serial })
        })
        .collect()
}

/// Returns the body of the first authority key identifier among the extensions.
fn extensions(list: &Bytes, fields: &mut Fields<'_>) -> Result<Option<Bytes>, Refused> {
    let mut found = None;
    if let Some(extensions) = fields.optional_explicit(0, asn1::SEQUENCE)? {
        for extension in asn1::sequence_of(extensions, asn1::SEQUENCE)? {
            let (oid, _, body) = asn1::extension(extension)?;
            if oid == AUTHORITY_KEY_ID {
                found.get_or_insert_with(|| list.slice_ref(body));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::encode;

    const ALGORITHM: &[u8] = &[0x30, 3, 6, 1, 0x2a];
    const TIME: &[u8] = b"\x17\x0d700101000000Z";

    fn list(version: &[u8], behind_time: &[u8]) -> Vec<u8> {
        let tbs = [version, ALGORITHM, &[0x30, 0], TIME, behind_time].concat();
        encode(0x30, &[&encode(0x30, &tbs), ALGORITHM, &[3, 2, 0, 7]].concat())
    }

    fn parse(version: &[u8], behind_time: &[u8]) -> Result<RevocationList, CrlError> {
        RevocationList::parse(&list(version, behind_time).into())
    }

    #[test]
    fn versions_do_not_count() {
        for version in [&[][..], &[2, 1, 0], &[2, 1, 1], &[2, 1, 0x85]] {
            assert!(parse(version, &[]).is_ok(), "{version:x?}");
        }
        assert!(parse(&[2, 2, 0, 1], &[]).is_err());
    }

    #[test]
    fn what_is_revoked() {
        let entry = |serial: &[u8]| encode(0x30, &[&encode(2, serial), TIME].concat());
        let entries = encode(0x30, &[entry(&[1]), entry(&[0x80])].concat());
        let list = parse(&[], &[TIME, &entries].concat()).unwrap();
        assert_eq!(list.revoked().iter().map(|entry| entry.serial[0]).collect::<Vec<_>>(), [1, 0x80]);
        let not_minimal = encode(0x30, &entry(&[0, 1]));
        assert!(parse(&[], &not_minimal).is_err());
    }

    #[test]
    fn the_first_authority_key_identifier_counts() {
        let extension = |body: &[u8]| encode(0x30, &[&[6, 3, 0x55, 0x1d, 35], &encode(4, body)[..]].concat());
        let extensions = encode(0xa0, &encode(0x30, &[extension(&[1]), extension(&[2])].concat()));
        assert_eq!(parse(&[], &extensions).unwrap().authority_key_id_extension().map(|body| &body[..]), Some(&[1][..]));
        assert_eq!(parse(&[], &[]).unwrap().authority_key_id_extension(), None);
    }

    #[test]
    fn what_follows_is_read_as_far_as_a_field_may_stand_there() {
        assert!(parse(&[], &[5, 0, 0xff]).is_ok());
        // a header that ends the structure, where a wrapper may stand
        assert!(parse(&[], &[5, 0]).is_err());
        assert!(parse(&[], &[0x1f]).is_err());
        let mut der = list(&[], &[]);
        der.push(0);
        assert_eq!(RevocationList::parse(&der.into()).unwrap_err(), CrlError::TrailingData);
    }

    #[test]
    fn pem_begins_at_the_beginning() {
        use base64::Engine as _;
        let body = base64::prelude::BASE64_STANDARD.encode(list(&[], &[]));
        let text = |label: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\nmore");
        let read = |text: String| RevocationList::parse(&text.into()).is_ok();
        assert!(read(text("X509 CRL")));
        assert!(!read(text("X509 CRLS")));
        assert!(!read(text("CRL")));
        assert!(!read(format!("\n{}", text("X509 CRL"))));
    }
}
