//! Verifies signatures in TLS handshakes by keys of certificates that Go can parse: rustls' own functions parse a certificate
//! again, by stricter rules. The mathematics is that of the algorithms in the caller's provider.

use std::sync::Arc;

use bytes::Bytes;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use crate::certificate::{Certificate, ParseError};
use crate::key::{Curve, PublicKey};

/// Parses the certificate of a connection's peer.
///
/// # Errors
/// Go does not parse it.
pub fn read(der: &CertificateDer<'_>) -> Result<Arc<Certificate>, ParseError> {
    Certificate::parse(&Bytes::copy_from_slice(der)).map(Arc::new)
}

/// Verifies the signature of a TLS 1.2 handshake. Leaves keys that are not on P-256, P-384 or P-521 to rustls, with its rules on
/// certificates.
///
/// # Errors
/// Go does not parse the certificate, or the signature is not by its key.
pub fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let read = read(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let Some(PublicKey::Ec { curve: Curve::P256 | Curve::P384 | Curve::P521, point }) = read.public_key() else {
        return verify_tls12_signature(message, certificate, signature, algorithms);
    };
    let of_scheme = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
    let of_scheme = of_scheme.map_or(&[][..], |(_, algorithms)| algorithms);
    if of_scheme.iter().any(|algorithm| algorithm.verify_signature(point, message, signature.signature()).is_ok()) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

/// Verifies the signature of a TLS 1.3 handshake.
///
/// # Errors
/// Go does not parse the certificate, or the signature is not by its key.
pub fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let read = read(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let key = SubjectPublicKeyInfoDer::from(&read.raw_spki()[..]);
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}
