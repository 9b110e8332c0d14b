//! Verifies client certificates by the rules of Go's TLS server, which Fabric's orderer uses.
//!
//! Chains are found by the rules of Go's crypto/x509: version 1 certificates and self-signed roots are valid as
//! clients' certificates, and an expired authority verifies no certificate.

use std::sync::Arc;
use std::time::Duration;

use orderer_x509::handshake::{self, read};
use orderer_x509::{Certificate, Memo, Options, Pool, Purpose};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

/// Verifies clients' certificates, and the signatures of their handshakes.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// Trusted roots; `None` if certificates are not verified against any.
    roots: Option<Pool>,
    /// Names of the roots, for clients that choose among certificates.
    hints: Vec<DistinguishedName>,
    is_mandatory: bool,
    /// How much earlier than now certificates are verified.
    time_shift: Duration,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// Creates a verifier that trusts these roots; a client need not present a certificate unless `is_mandatory`.
    pub(super) fn new(
        roots: Vec<Arc<Certificate>>,
        is_mandatory: bool,
        time_shift: Duration,
        provider: &CryptoProvider,
    ) -> Self {
        let hints = roots.iter().map(|root| DistinguishedName::from(root.raw_subject().to_vec())).collect();
        let algorithms = provider.signature_verification_algorithms;
        Self { roots: Some(Pool::new(roots)), hints, is_mandatory, time_shift, algorithms }
    }

    /// Creates a verifier that asks for a certificate and accepts a client with none, or with any certificate whose
    /// key it has; a service may know it by that (Go's `RequestClientCert`).
    pub(super) fn asking(provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { roots: None, hints: Vec::new(), is_mandatory: false, time_shift: Duration::ZERO, algorithms }
    }
}

/// Verifies the chain that a client presents, at this time in seconds since 1970.
fn judge(
    end: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: Option<&Pool>,
    at: i64,
) -> Result<(), Arc<dyn std::error::Error + Send + Sync>> {
    let client = read(end).map_err(|error| Arc::new(error) as Arc<_>)?;
    let between: Result<Vec<_>, _> = between.iter().map(read).collect();
    let between = Pool::new(between.map_err(|error| Arc::new(error) as Arc<_>)?);
    let Some(roots) = roots else { return Ok(()) };
    let options = Options { at, purpose: Purpose::ClientAuth };
    match orderer_x509::verify_with(&client, roots, &between, &options, &mut Memo::new()) {
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
        let at = now.as_secs().saturating_sub(self.time_shift.as_secs());
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        judge(end_entity, intermediates, self.roots.as_ref(), at)
            .map(|()| ClientCertVerified::assertion())
            .map_err(|cause| CertificateError::Other(OtherError(cause)).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        handshake::verify_tls12(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        handshake::verify_tls13(message, cert, dss, &self.algorithms)
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
            judge(end, &[], Some(&Pool::new([read(root).unwrap()])), IN_2026).is_ok()
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
        let unverified = |end: &CertificateDer<'_>| judge(end, &[], None, IN_2026).is_ok();
        assert!(unverified(&client(&expired, ExtendedKeyUsagePurpose::ServerAuth)), "nobody has to vouch for it");
        assert!(!unverified(&CertificateDer::from(vec![0x30, 0])), "no certificate");
    }
}
