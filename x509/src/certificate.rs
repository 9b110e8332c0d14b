//! Parses certificates.
//!
//! | Rule | In Go |
//! |---|---|
//! | A version is 1 to 3; absent it is 1. The highest integer of 64 bits overflows, and counts as 1. | `parseCertificate` |
//! | A serial number is minimal and not negative; it may be zero, and of any length. | `parseCertificate` |
//! | The algorithm within what is signed and the one outside are the same octets. | `parseCertificate` |
//! | Names, times, the key, extensions: see the modules with these names. A validity may end before it begins. | `parseCertificate` |
//! | Unique identifiers are read in versions 2 and 3, extensions in version 3; elsewhere, and after an unexpected field, they are ignored. | `parseCertificate` |
//! | What follows in a sequence is ignored; what follows the certificate is not. | `ParseCertificate` |
//! | Bits of the signature are shifted right by those unused. | `parseCertificate` |

use bytes::Bytes;

use crate::algorithm::SignatureAlgorithm;
use crate::der::{self, Reader};
use crate::ecdsa;
use crate::extension::Extensions;
use crate::key::{KeyError, PublicKey};
use crate::name::Name;
use crate::{asn1, recode, time};

/// Go does not parse the certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A part of the certificate is malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The key is invalid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An extension is there twice.
    #[error("certificate contains duplicate extension with OID {0}")]
    DuplicateExtension(String),
    /// There are octets after the certificate.
    #[error("trailing data")]
    TrailingData,
}

/// A certificate that Go's parser accepts. Cloning shares its bytes.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(crate) raw: Bytes,
    pub(crate) tbs: Bytes,
    pub(crate) raw_issuer: Bytes,
    pub(crate) raw_subject: Bytes,
    pub(crate) raw_spki: Bytes,
    pub(crate) version: u8,
    pub(crate) serial: Bytes,
    pub(crate) issuer: Name,
    pub(crate) subject: Name,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) raw_algorithm: Bytes,
    pub(crate) signature: Bytes,
    pub(crate) extensions: Extensions,
}

impl Certificate {
    /// Parses a certificate in DER.
    ///
    /// # Errors
    /// Go rejects the bytes.
    pub fn parse(der: &Bytes) -> Result<Self, ParseError> {
        const MALFORMED: &str = "malformed certificate";
        const MALFORMED_TBS: &str = "malformed tbs certificate";
        const MALFORMED_SPKI: &str = "malformed spki";

        let mut input = Reader::new(der);
        let raw = input.element(der::SEQUENCE).ok_or(ParseError::Malformed(MALFORMED))?;
        let trailing_data = !input.is_empty();
        let mut outer = Reader::new(raw.contents);
        let tbs = outer.element(der::SEQUENCE).ok_or(ParseError::Malformed(MALFORMED_TBS))?;
        let mut inner = Reader::new(tbs.contents);

        let version = version(&mut inner)?;
        let serial = inner.integer().ok_or(ParseError::Malformed("malformed serial number"))?;
        if serial.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(ParseError::Malformed("negative serial number"));
        }
        let inner_algorithm = inner.element(der::SEQUENCE);
        let inner_algorithm =
            inner_algorithm.ok_or(ParseError::Malformed("malformed signature algorithm identifier"))?;
        let outer_algorithm =
            outer.contents(der::SEQUENCE).ok_or(ParseError::Malformed("malformed algorithm identifier"))?;
        if inner_algorithm.contents != outer_algorithm {
            return Err(ParseError::Malformed("inner and outer signature algorithm identifiers don't match"));
        }
        let algorithm = algorithm(outer_algorithm).map_err(ParseError::Malformed)?;

        let raw_issuer = inner.element(der::SEQUENCE).ok_or(ParseError::Malformed("malformed issuer"))?.whole;
        let issuer = Name::parse(raw_issuer).map_err(ParseError::Malformed)?;
        let mut validity = inner.enter(der::SEQUENCE).ok_or(ParseError::Malformed("malformed validity"))?;
        let not_before = read_time(&mut validity).map_err(ParseError::Malformed)?;
        let not_after = read_time(&mut validity).map_err(ParseError::Malformed)?;
        let raw_subject = inner.element(der::SEQUENCE).ok_or(ParseError::Malformed("malformed subject"))?.whole;
        let subject = Name::parse(raw_subject).map_err(ParseError::Malformed)?;
        let raw_spki = inner.element(der::SEQUENCE).ok_or(ParseError::Malformed(MALFORMED_SPKI))?.whole;
        let public_key = PublicKey::from_spki(raw_spki)?;
        let extensions = extensions(der, version, &mut inner)?;

        let signature = outer.bit_string().ok_or(ParseError::Malformed("malformed signature"))?;
        let signature = match signature.whole_octets() {
            Some(octets) => der.slice_ref(octets),
            None => signature.right_aligned().into(),
        };
        if trailing_data {
            return Err(ParseError::TrailingData);
        }
        Ok(Self {
            raw: der.clone(),
            tbs: der.slice_ref(tbs.whole),
            raw_issuer: der.slice_ref(raw_issuer),
            raw_subject: der.slice_ref(raw_subject),
            raw_spki: der.slice_ref(raw_spki),
            version,
            serial: der.slice_ref(serial),
            issuer,
            subject,
            not_before,
            not_after,
            public_key,
            algorithm,
            raw_algorithm: der.slice_ref(inner_algorithm.whole),
            signature,
            extensions,
        })
    }

    /// Returns DER of the whole certificate.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Returns DER of the part that the issuer signed.
    pub fn raw_tbs(&self) -> &Bytes {
        &self.tbs
    }

    /// Returns DER of the issuer's name.
    pub fn raw_issuer(&self) -> &Bytes {
        &self.raw_issuer
    }

    /// Returns DER of the subject's name.
    pub fn raw_subject(&self) -> &Bytes {
        &self.raw_subject
    }

    /// Returns DER of the `SubjectPublicKeyInfo`.
    pub fn raw_spki(&self) -> &Bytes {
        &self.raw_spki
    }

    /// Returns the version, 1 to 3.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// Returns the content octets of the serial number.
    pub fn serial(&self) -> &Bytes {
        &self.serial
    }

    /// Returns the issuer's name.
    pub fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// Returns the subject's name.
    pub fn subject(&self) -> &Name {
        &self.subject
    }

    /// Returns the start of the validity, in seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Returns the last second of the validity, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Returns the key, if it is of a kind that Go knows.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// Returns the signature algorithm.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Returns the issuer's signature.
    pub fn signature(&self) -> &Bytes {
        &self.signature
    }

    /// Returns the extensions.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether the basic constraints say that this is an authority's certificate.
    pub fn is_ca(&self) -> bool {
        self.extensions.basic_constraints.is_some_and(|constraints| constraints.is_ca)
    }

    /// Returns DER of the `AlgorithmIdentifier` of the signature.
    pub fn raw_algorithm(&self) -> &Bytes {
        &self.raw_algorithm
    }

    /// Returns this certificate with the low-S form of its ECDSA signature, which Fabric keeps; unchanged if it has that form
    /// already or is signed otherwise. Rewriting drops everything after the signature in the outer sequence, and after the
    /// parameters of the algorithm.
    ///
    /// # Errors
    /// The signature is not an ECDSA signature; or Fabric, which parses the certificate again with `encoding/asn1` for this,
    /// rejects it then.
    pub fn with_low_s(&self, curve: crate::Curve) -> Result<Self, ParseError> {
        if !matches!(self.algorithm, SignatureAlgorithm::Ecdsa(_)) {
            return Ok(self.clone());
        }
        let signature = ecdsa::Signature::parse_lenient(&self.signature)
            .ok_or(ParseError::Malformed("the signature is no ECDSA signature"))?;
        let low = signature.to_low(curve).to_der();
        if low == self.signature {
            return Ok(self.clone());
        }
        let der = recode::with_signature(&self.raw, &low).map_err(|asn1::Refused| {
            ParseError::Malformed("the certificate does not unmarshal into its ASN.1 structure")
        })?;
        Self::parse(&der.into())
    }
}

/// Reads the version, 1 to 3.
fn version(tbs: &mut Reader<'_>) -> Result<u8, ParseError> {
    let malformed = ParseError::Malformed("malformed version");
    let Some(wrapper) = tbs.optional(der::constructed(0)) else { return Err(malformed) };
    let Some(wrapper) = wrapper else { return Ok(1) };
    let mut wrapper = Reader::new(wrapper);
    match wrapper.int64().filter(|_| wrapper.is_empty()) {
        // Go adds one to the highest integer, which overflows to the lowest, and treats the certificate as one without extensions
        Some(0 | i64::MAX) => Ok(1),
        Some(1) => Ok(2),
        Some(2) => Ok(3),
        Some(3..) => Err(ParseError::Malformed("invalid version")),
        _ => Err(malformed),
    }
}

fn algorithm(contents: &[u8]) -> Result<SignatureAlgorithm, &'static str> {
    let mut reader = Reader::new(contents);
    let oid = reader.oid().ok_or("malformed OID")?;
    let parameters = if reader.is_empty() { &[] } else { reader.any().ok_or("malformed parameters")?.whole };
    Ok(SignatureAlgorithm::from_identifier(oid, parameters))
}

fn read_time(reader: &mut Reader<'_>) -> Result<i64, &'static str> {
    if reader.next_is(der::UTC_TIME) {
        reader.contents(der::UTC_TIME).and_then(time::utc_time).ok_or("malformed UTCTime")
    } else if reader.next_is(der::GENERALIZED_TIME) {
        reader.contents(der::GENERALIZED_TIME).and_then(time::generalized_time).ok_or("malformed GeneralizedTime")
    } else {
        Err("unsupported time format")
    }
}

/// Reads the extensions of `certificate`, which come after the part that `tbs` has read so far.
fn extensions(certificate: &Bytes, version: u8, tbs: &mut Reader<'_>) -> Result<Extensions, ParseError> {
    if version == 1 {
        return Ok(Extensions::default());
    }
    tbs.optional(der::context(1)).ok_or(ParseError::Malformed("malformed issuerUniqueID"))?;
    tbs.optional(der::context(2)).ok_or(ParseError::Malformed("malformed subjectUniqueID"))?;
    if version == 2 {
        return Ok(Extensions::default());
    }
    let malformed = ParseError::Malformed("malformed extensions");
    let Some(wrapper) = tbs.optional(der::constructed(3)) else { return Err(malformed) };
    let Some(wrapper) = wrapper else { return Ok(Extensions::default()) };
    let sequence = Reader::new(wrapper).enter(der::SEQUENCE).ok_or(malformed)?;
    Extensions::parse(certificate, sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::encode;

    const UNKNOWN_ALGORITHM: &[u8] = &[0x30, 3, 6, 1, 0x2a];
    const NAME: &[u8] = &[0x30, 0];
    const TIMES: &[u8] = b"\x30\x1e\x17\x0d700101000000Z\x17\x0d700101000001Z";
    /// An X25519 key, which is not kept.
    const KEY: &[u8] = &[0x30, 10, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 3, 1, 0];
    const SIGNATURE: &[u8] = &[3, 3, 0, 1, 2];

    fn certificate(version: &[u8], serial: &[u8], tail: &[u8]) -> Vec<u8> {
        let tbs = [version, serial, UNKNOWN_ALGORITHM, NAME, TIMES, NAME, KEY, tail].concat();
        encode(0x30, &[&encode(0x30, &tbs), UNKNOWN_ALGORITHM, SIGNATURE].concat())
    }

    fn parse(version: &[u8], serial: &[u8], tail: &[u8]) -> Result<Certificate, ParseError> {
        Certificate::parse(&certificate(version, serial, tail).into())
    }

    const V3: &[u8] = &[0xa0, 3, 2, 1, 2];

    #[test]
    fn the_least_certificate() {
        let certificate = parse(&[], &[2, 1, 0], &[]).unwrap();
        assert_eq!(certificate.version(), 1);
        assert_eq!((certificate.not_before(), certificate.not_after()), (0, 1));
        assert_eq!(certificate.public_key(), None);
        assert_eq!(certificate.algorithm(), SignatureAlgorithm::Unknown);
        assert_eq!(certificate.signature()[..], [1, 2]);
        assert!(!certificate.is_ca());
    }

    #[test]
    fn versions() {
        for (version, expected) in [
            (&[0xa0, 3, 2, 1, 0][..], Some(1)),
            (&[0xa0, 3, 2, 1, 1], Some(2)),
            (V3, Some(3)),
            (&[0xa0, 10, 2, 8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Some(1)),
            (&[0xa0, 10, 2, 8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], None),
            (&[0xa0, 3, 2, 1, 3], None),
            (&[0xa0, 3, 2, 1, 0xff], None),
            (&[0xa0, 4, 2, 1, 0, 0], None),
            (&[0xa0, 0], None),
        ] {
            assert_eq!(parse(version, &[2, 1, 1], &[]).ok().map(|c| c.version()), expected, "{version:x?}");
        }
    }

    #[test]
    fn a_serial_number_is_minimal_and_not_negative() {
        assert!(parse(&[], &[2, 2, 0, 0x80], &[]).is_ok());
        assert!(parse(&[], &[2, 2, 0, 0x7f], &[]).is_err());
        assert_eq!(parse(&[], &[2, 1, 0x80], &[]).unwrap_err(), ParseError::Malformed("negative serial number"));
    }

    #[test]
    fn extensions_are_seen_in_version_3_where_they_stand() {
        let extensions = encode(0xa3, &encode(0x30, &encode(0x30, &[6, 1, 0x2a, 4, 0])));
        let count = |version: &[u8], tail: &[u8]| parse(version, &[2, 1, 1], tail).map(|c| c.extensions().all.len());
        assert_eq!(count(V3, &extensions), Ok(1));
        assert_eq!(count(&[], &extensions), Ok(0));
        assert_eq!(count(&[0xa0, 3, 2, 1, 1], &extensions), Ok(0));
        assert_eq!(count(V3, &[&[0x81, 0, 0x82, 0], &extensions[..]].concat()), Ok(1));
        assert_eq!(count(V3, &[&[0xa1, 0], &extensions[..]].concat()), Ok(0));
        assert!(count(V3, &[0xa3, 0]).is_err());
        assert!(count(V3, &[0x81, 1]).is_err());
    }

    #[test]
    fn what_follows_counts_outside_only() {
        let mut der = certificate(&[], &[2, 1, 1], &[0xff, 0xff]);
        assert!(Certificate::parse(&der.clone().into()).is_ok());
        der.push(0);
        assert_eq!(Certificate::parse(&der.into()).unwrap_err(), ParseError::TrailingData);
    }

    #[test]
    fn the_two_algorithms_are_the_same() {
        let mut der = certificate(&[], &[2, 1, 1], &[]);
        let outer = der.len() - SIGNATURE.len() - 1;
        der[outer] ^= 1;
        assert!(Certificate::parse(&der.into()).is_err());
    }
}
