//! Which client certificates a listener takes: those that Go's TLS server would take, which Fabric's orderer uses.
//!
//! Chains are found by the rules of Go's crypto/x509: version 1 certificates and self-signed roots are clients' certificates
//! like any other, and an authority that has expired vouches for nobody.

use std::sync::Arc;

use bytes::Bytes;
use orderer_x509::{Certificate, Curve, Options, ParseError, Pool, PublicKey, Purpose};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

/// Verifies clients' certificates, and the signatures that they make in handshakes.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    roots: Pool,
    /// Names of the roots, for clients that choose among certificates.
    hints: Vec<DistinguishedName>,
    is_mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// One that trusts these roots; a client need not show a certificate unless `is_mandatory`.
    pub(super) fn new(roots: Vec<Arc<Certificate>>, is_mandatory: bool, provider: &CryptoProvider) -> Self {
        let hints = roots.iter().map(|root| DistinguishedName::from(root.raw_subject().to_vec())).collect();
        let algorithms = provider.signature_verification_algorithms;
        Self { roots: Pool::new(roots), hints, is_mandatory, algorithms }
    }
}

/// Reads a certificate as Go does.
pub(super) fn read(der: &CertificateDer<'_>) -> Result<Arc<Certificate>, ParseError> {
    Certificate::parse(&Bytes::copy_from_slice(der)).map(Arc::new)
}

/// Whether a client that shows this chain at this time (seconds since 1970) is let in.
fn judge(
    end: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: &Pool,
    at: i64,
) -> Result<(), Arc<dyn std::error::Error + Send + Sync>> {
    let client = read(end).map_err(|error| Arc::new(error) as Arc<_>)?;
    let between: Result<Vec<_>, _> = between.iter().map(read).collect();
    let between = Pool::new(between.map_err(|error| Arc::new(error) as Arc<_>)?);
    let options = Options { at, purpose: Purpose::ClientAuth };
    match orderer_x509::verify_with(&client, roots, &between, &options, &mut orderer_x509::Memo::new()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Arc::new(error)),
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        judge(end_entity, intermediates, &self.roots, at)
            .map(|()| ClientCertVerified::assertion())
            .map_err(|cause| CertificateError::Other(OtherError(cause)).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // the library reads the certificate anew, by stricter rules; what it needs is the key
        let certificate = read(cert).map_err(|_| CertificateError::BadEncoding)?;
        let Some(PublicKey::Ec { curve: Curve::P256 | Curve::P384 | Curve::P521, point: key }) =
            certificate.public_key()
        else {
            return verify_tls12_signature(message, cert, dss, &self.algorithms);
        };
        let of_scheme = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
        let algorithms = of_scheme.map_or(&[][..], |(_, algorithms)| algorithms);
        if algorithms.iter().any(|algorithm| algorithm.verify_signature(key, message, dss.signature()).is_ok()) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = read(cert).map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(&certificate.raw_spki()[..]);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};

    fn authority(until: i32) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("authority until {until}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        (params, KeyPair::generate().unwrap())
    }

    #[test]
    fn clients_are_those_that_go_takes() {
        const IN_2026: i64 = 1_780_000_000;
        let admitted = |end: &CertificateDer<'_>, root: &CertificateDer<'_>| {
            judge(end, &[], &Pool::new([read(root).unwrap()]), IN_2026).is_ok()
        };
        let client = |(params, key): &(CertificateParams, KeyPair), usage| {
            let mut leaf = CertificateParams::default();
            leaf.extended_key_usages = vec![usage];
            leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::from_params(params, key)).unwrap().der().clone()
        };
        let (good, expired) = (authority(2040), authority(2021));
        let root = |(params, key): &(CertificateParams, KeyPair)| params.self_signed(key).unwrap().der().clone();
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        assert!(admitted(&client(&good, usage.clone()), &root(&good)));
        assert!(!admitted(&client(&good, ExtendedKeyUsagePurpose::ServerAuth), &root(&good)), "a server");
        assert!(!admitted(&client(&expired, usage.clone()), &root(&expired)), "its authority has expired");
        assert!(!admitted(&client(&good, usage), &root(&authority(2040))), "another authority's");
        let own = root(&good);
        assert!(admitted(&own, &own), "the root itself");
        assert!(!admitted(&CertificateDer::from(vec![0x30, 0]), &root(&good)), "no certificate");
    }
}
