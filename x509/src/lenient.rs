//! What Fabric's MSP reads with Go's lenient `encoding/asn1`: key identifiers in extensions.

use bytes::Bytes;

/// Why an extension does not hold a key identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the extension does not hold a key identifier")]
pub struct LenientError;

/// The subject key identifier in the body of that extension.
///
/// # Errors
/// Go's `asn1.Unmarshal` refuses it.
pub fn subject_key_id(_extension: &[u8]) -> Result<Bytes, LenientError> {
    todo!()
}

/// The key identifier in the body of an authority key identifier extension; empty if it has none.
///
/// # Errors
/// Go's `asn1.Unmarshal` refuses it.
pub fn authority_key_id(_extension: &[u8]) -> Result<Bytes, LenientError> {
    todo!()
}
