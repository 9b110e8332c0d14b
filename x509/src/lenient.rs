//! Key identifiers in extensions, which Fabric's MSP reads with Go's lenient `encoding/asn1`.
//!
//! | Rule | In Fabric's `msp/mspimplvalidate.go` |
//! |---|---|
//! | A subject key identifier is an OCTET STRING; what follows is ignored. | `getSubjectKeyIdentifierFromCert` |
//! | An authority key identifier is a SEQUENCE with an identifier first, or none; the fields after it are read as far as they are primitive. A constructed serial number is an error. | `authorityKeyIdentifier`, `getAuthorityKeyIdentifierFromCrl` |

use bytes::Bytes;

use crate::asn1::{self, Fields, Kind, Refused};

/// An extension does not hold a key identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extension does not hold a key identifier")]
pub struct LenientError;

/// Returns the subject key identifier in the body of that extension.
///
/// # Errors
/// Go's `asn1.Unmarshal` rejects the body.
pub fn subject_key_id(extension: &[u8]) -> Result<Bytes, LenientError> {
    let id = Fields::new(extension).required(asn1::OCTET_STRING).map_err(|Refused| LenientError)?;
    Ok(Bytes::copy_from_slice(id))
}

/// Returns the key identifier in the body of an authority key identifier extension; empty if it has none.
///
/// # Errors
/// Go's `asn1.Unmarshal` rejects the body.
pub fn authority_key_id(extension: &[u8]) -> Result<Bytes, LenientError> {
    let id = read_authority_key_id(extension).map_err(|Refused| LenientError)?;
    Ok(Bytes::copy_from_slice(id))
}

fn read_authority_key_id(extension: &[u8]) -> Result<&[u8], Refused> {
    let mut fields = Fields::new(Fields::new(extension).required(asn1::SEQUENCE)?);
    let id = fields.optional(Kind::context(0))?.unwrap_or_default();
    fields.optional(Kind::context(1))?;
    // Fabric declares the serial number as a Go structure, which the library cannot fill
    if fields.optional(Kind::context_constructed(2))?.is_some() {
        return Err(Refused);
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_key_identifier_is_an_octet_string() {
        assert_eq!(subject_key_id(&[4, 2, 1, 2, 99]).unwrap()[..], [1, 2]);
        assert_eq!(subject_key_id(&[4, 0]).unwrap()[..], [0; 0]);
        for refused in [&[][..], &[4], &[4, 1], &[5, 0], &[0x24, 0]] {
            assert_eq!(subject_key_id(refused), Err(LenientError), "{refused:x?}");
        }
    }

    #[test]
    fn an_authority_key_identifier_begins_with_one_or_has_none() {
        let id = |fields: &[u8]| authority_key_id(&crate::der::encode(0x30, fields)).map(|id| id.to_vec());
        assert_eq!(id(&[]), Ok(vec![]));
        assert_eq!(id(&[0x80, 1, 7]), Ok(vec![7]));
        assert_eq!(id(&[0xa0, 1, 7]), Ok(vec![]));
        assert_eq!(id(&[0x80, 1, 7, 0xa1, 0, 0x82, 1, 1]), Ok(vec![7]));
        assert_eq!(id(&[0x80, 1, 7, 0x81, 0, 0x82, 1, 1]), Ok(vec![7]));
        assert_eq!(id(&[0x80, 1, 7, 0xa2, 0]), Err(LenientError));
        assert_eq!(id(&[0x80, 1, 7, 0x1f]), Err(LenientError));
        assert_eq!(authority_key_id(&[]), Err(LenientError));
        assert_eq!(authority_key_id(&[0x30, 0, 99]).map(|id| id.len()), Ok(0));
    }
}
