//! Encodes certificates again with another signature, as Fabric does with Go's `encoding/asn1`.

use crate::asn1::{self, Fields, Kind, Refused};
use crate::der;

/// Returns the certificate with this signature in place of its own. Keeps the signed part unchanged, and the object identifier
/// and parameters of the algorithm.
pub(crate) fn with_signature(certificate: &[u8], signature: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut outer = Fields::new(Fields::new(certificate).required(asn1::SEQUENCE)?);
    let tbs = outer.required_whole(asn1::SEQUENCE)?;
    check_tbs(tbs.contents())?;
    let (oid, parameters) = outer.algorithm()?;
    outer.bit_string()?;

    let algorithm = [&der::encode(der::OBJECT_IDENTIFIER, oid), parameters].concat();
    let contents = [
        tbs.whole,
        &der::encode(der::SEQUENCE, &algorithm),
        &der::encode(der::BIT_STRING, &[&[0], signature].concat()),
    ]
    .concat();
    Ok(der::encode(der::SEQUENCE, &contents))
}

/// Checks that the signed part unmarshals into Fabric's `tbsCertificate`.
fn check_tbs(contents: &[u8]) -> Result<(), Refused> {
    let mut fields = Fields::new(contents);
    if let Some(version) = fields.optional_explicit(0, asn1::INTEGER)? {
        der::int64(version).ok_or(Refused)?;
    }
    fields.integer()?;
    fields.algorithm()?;
    // the issuer
    fields.any()?;
    let mut validity = Fields::new(fields.required(asn1::SEQUENCE)?);
    validity.time()?;
    validity.time()?;
    // the subject
    fields.any()?;
    let mut key = Fields::new(fields.required(asn1::SEQUENCE)?);
    key.algorithm()?;
    key.bit_string()?;
    fields.optional_bit_string(Kind::context(1))?;
    fields.optional_bit_string(Kind::context(2))?;
    if let Some(extensions) = fields.optional_explicit(3, asn1::SEQUENCE)? {
        for extension in asn1::sequence_of(extensions, asn1::SEQUENCE)? {
            asn1::extension(extension)?;
        }
    }
    Ok(())
}
