//! Which server certificates are taken: those that Go's TLS client would take, and whose key is the one that the channel's
//! configuration names for the consenter.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use orderer_x509::{Certificate, Curve, HostnameError, Options, ParseError, Pool, PublicKey, Purpose, VerifyError};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature_with_raw_key,
};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};

use super::material::{Identity, Roots};
use crate::membership::PinnedKey;

/// An authority that has expired as well is looked for so often.
const MAX_STEPS_BACK: usize = 8;

/// The server that is expected.
#[derive(Clone, Debug)]
pub(crate) struct PinnedServer {
    /// Its host name or IP address, which the certificate has to be for.
    pub(crate) host: String,
    /// Its HOST:PORT, for messages.
    pub(crate) endpoint: String,
    /// Its key.
    pub(crate) key: PinnedKey,
    /// Certificates are judged as if it were so much earlier.
    pub(crate) time_shift: Duration,
    /// Take a certificate that has expired, if its key is the right one.
    pub(crate) tolerate_expired: bool,
}

/// What a connection to that server needs. The identity is shown whatever authorities the server names.
pub(crate) fn client_config(server: PinnedServer, identity: &Identity, roots: &Roots) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier = ServerVerifier { server, roots: Arc::clone(&roots.0), algorithms };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Shows(Arc::clone(&identity.certified))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    // a session that is resumed is not verified again
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Shows one certificate to whoever asks.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Why a server is not the one that is expected.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Malformed(#[from] ParseError),
    #[error(transparent)]
    Chain(#[from] VerifyError),
    #[error(transparent)]
    Host(#[from] HostnameError),
    #[error("public key of server certificate presented by {0} doesn't match the expected public key")]
    OtherKey(String),
}

/// Whether a server that shows this chain at this time (seconds since 1970) is the right one.
fn judge(
    end: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: &Pool,
    server: &PinnedServer,
    now: i64,
) -> Result<(), Refused> {
    let leaf = read(end)?;
    let between: Result<Vec<_>, _> = between.iter().map(read).collect();
    let between = Pool::new(between?);
    let is_pinned = PinnedKey::of(&leaf).is_ok_and(|key| key == server.key);
    let shift = i64::try_from(server.time_shift.as_secs()).unwrap_or(i64::MAX);
    let mut at = now.saturating_sub(shift);
    let mut verdict = verify(&leaf, roots, &between, at);
    for _ in 0..MAX_STEPS_BACK {
        let Some(end) = verdict.as_ref().err().and_then(expired_at) else { break };
        if !(server.tolerate_expired && is_pinned) || end >= at || end < leaf.not_before() {
            break;
        }
        at = end;
        verdict = verify(&leaf, roots, &between, at);
    }
    leaf.verify_hostname(&server.host)?;
    verdict?;
    if is_pinned { Ok(()) } else { Err(Refused::OtherKey(server.endpoint.clone())) }
}

fn verify(leaf: &Arc<Certificate>, roots: &Pool, between: &Pool, at: i64) -> Result<(), VerifyError> {
    let options = Options { at, purpose: Purpose::ServerAuth };
    orderer_x509::verify_with(leaf, roots, between, &options, &mut orderer_x509::Memo::default()).map(|_| ())
}

/// When the certificate expired for which there is no chain.
fn expired_at(error: &VerifyError) -> Option<i64> {
    match error {
        VerifyError::Expired { not_after, .. } => Some(*not_after),
        VerifyError::UnknownAuthority { hint: Some(hint), .. } => expired_at(hint.reason()),
        _ => None,
    }
}

/// Reads a certificate as Go does.
fn read(der: &CertificateDer<'_>) -> Result<Arc<Certificate>, ParseError> {
    Certificate::parse(&Bytes::copy_from_slice(der)).map(Arc::new)
}

#[derive(Debug)]
struct ServerVerifier {
    server: PinnedServer,
    roots: Arc<Pool>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        judge(end_entity, intermediates, &self.roots, &self.server, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|cause| CertificateError::Other(OtherError(Arc::new(cause))).into())
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
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

    const IN_2026: i64 = 1_780_000_000;

    struct Authority {
        params: CertificateParams,
        key: KeyPair,
    }

    impl Authority {
        fn new(until: i32) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, format!("authority until {until}"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
            Self { params, key: KeyPair::generate().unwrap() }
        }

        fn pool(&self) -> Pool {
            Pool::new([read(self.params.self_signed(&self.key).unwrap().der()).unwrap()])
        }

        fn server(&self, name: &str, key: &KeyPair, until: i32) -> CertificateDer<'static> {
            let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
            leaf.not_before = date_time_ymd(2020, 2, 1);
            leaf.not_after = date_time_ymd(until, 1, 1);
            leaf.signed_by(key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().clone()
        }
    }

    fn pinned(certificate: &CertificateDer<'_>) -> PinnedServer {
        PinnedServer {
            host: "orderer.example.com".to_owned(),
            endpoint: "orderer.example.com:7050".to_owned(),
            key: PinnedKey::of(&read(certificate).unwrap()).unwrap(),
            time_shift: Duration::ZERO,
            tolerate_expired: false,
        }
    }

    fn verdict(end: &CertificateDer<'_>, authority: &Authority, server: &PinnedServer) -> String {
        let judged = judge(end, &[], &authority.pool(), server, IN_2026);
        judged.map_or_else(|error| error.to_string(), |()| "taken".to_owned())
    }

    #[test]
    fn a_server_is_the_one_whose_key_is_pinned_and_whose_chain_go_takes() {
        let (authority, other) = (Authority::new(2040), Authority::new(2041));
        let (key, another) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let good = authority.server("orderer.example.com", &key, 2039);
        let server = pinned(&good);
        assert_eq!(verdict(&good, &authority, &server), "taken");
        let renewed = authority.server("orderer.example.com", &key, 2030);
        assert_eq!(verdict(&renewed, &authority, &server), "taken", "renewed with the same key");
        let rotated = authority.server("orderer.example.com", &another, 2039);
        assert_eq!(
            verdict(&rotated, &authority, &server),
            "public key of server certificate presented by orderer.example.com:7050 doesn't match the expected public key"
        );
        let elsewhere = authority.server("peer.example.com", &key, 2039);
        assert_eq!(
            verdict(&elsewhere, &authority, &server),
            "certificate is valid for peer.example.com, not orderer.example.com"
        );
        assert!(verdict(&good, &other, &server).starts_with("certificate signed by unknown authority"));
        let broken = CertificateDer::from(vec![0x30, 0]);
        assert_eq!(verdict(&broken, &authority, &server), "malformed tbs certificate");
    }

    #[test]
    fn the_clock_is_shifted_and_expiry_tolerated_only_where_that_is_set_and_the_key_is_right() {
        let authority = Authority::new(2040);
        let key = KeyPair::generate().unwrap();
        let expired = authority.server("orderer.example.com", &key, 2026);
        let server = pinned(&expired);
        assert!(verdict(&expired, &authority, &server).contains("expired"));
        let two_years = Duration::from_secs(2 * 365 * 86_400);
        assert_eq!(verdict(&expired, &authority, &PinnedServer { time_shift: two_years, ..server.clone() }), "taken");
        let tolerant = PinnedServer { tolerate_expired: true, ..server };
        assert_eq!(verdict(&expired, &authority, &tolerant), "taken");
        let others = authority.server("orderer.example.com", &KeyPair::generate().unwrap(), 2026);
        assert!(verdict(&others, &authority, &tolerant).contains("expired"), "another key");
        // the authority as well, before or after the certificate
        for until in [2024, 2025] {
            let authority = Authority::new(until);
            let expired = authority.server("orderer.example.com", &key, 2025);
            assert_eq!(verdict(&expired, &authority, &tolerant), "taken", "{until}");
            assert!(verdict(&expired, &Authority::new(2041), &tolerant).contains("unknown authority"));
        }
        // valid for longer than its authority was
        let authority = Authority::new(2024);
        assert_eq!(verdict(&authority.server("orderer.example.com", &key, 2039), &authority, &tolerant), "taken");
    }
}
