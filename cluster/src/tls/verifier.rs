//! Verifies server certificates as Go's TLS client does. The certificate of a consenter must also have the key that the
//! channel's configuration names.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use orderer_x509::handshake::{self, read};
use orderer_x509::{Certificate, HostnameError, Memo, Options, ParseError, Pool, Purpose, VerifyError};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::material::{Identity, Roots};
use crate::membership::PinnedKey;

/// Maximum number of expired certificates in a chain that are tolerated if expiry is tolerated.
const MAX_STEPS_BACK: usize = 8;

/// The expected server.
#[derive(Clone, Debug)]
pub(crate) struct ExpectedServer {
    /// Host name or IP address that the certificate has to be valid for.
    pub(crate) host: String,
    /// HOST:PORT of the server, for error texts.
    pub(crate) endpoint: String,
    /// Expected public key; `None` accepts any key.
    pub(crate) key: Option<PinnedKey>,
    /// Duration by which the verification time is earlier than the current time.
    pub(crate) time_shift: Duration,
    /// Whether to accept an expired certificate if it has the expected key.
    pub(crate) tolerate_expired: bool,
}

/// A presented certificate, and the result of its verification.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The server's certificate in DER, followed by the certificates of its issuers.
    pub(crate) chain: Vec<Bytes>,
    /// The reason for which it is rejected. Does not consider the key.
    pub(crate) verdict: Result<(), String>,
}

/// Returns the TLS configuration for a connection to this server. The identity is presented whatever authorities the
/// server names.
pub(crate) fn client_config(server: ExpectedServer, identity: &Identity, roots: &Roots) -> Result<ClientConfig, Error> {
    config(server, Some(identity), roots, None)
}

/// Like [`client_config`], but accepts any certificate, and stores it in `shown` with the result of its verification.
/// Only for probes, which send nothing confidential.
pub(crate) fn observing_config(
    server: ExpectedServer,
    identity: Option<&Identity>,
    roots: &Roots,
    shown: Arc<OnceLock<Shown>>,
) -> Result<ClientConfig, Error> {
    config(server, identity, roots, Some(shown))
}

fn config(
    server: ExpectedServer,
    identity: Option<&Identity>,
    roots: &Roots,
    observer: Option<Arc<OnceLock<Shown>>>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let verifier = ServerVerifier { server, roots: Arc::clone(&roots.0), algorithms, observer };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(Shows(Arc::clone(&identity.certified)))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // disabled, because the certificate of a resumed session is not verified again
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Presents one certificate to any server that requests one.
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

/// A server is not the expected one.
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

/// Returns whether the text of a failed connection states that the server's key is not the expected one.
pub(crate) fn is_of_other_key(why: &str) -> bool {
    why.contains("doesn't match the expected public key")
}

/// Verifies the presented chain at this time (seconds since 1970).
fn judge(
    end: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: &Pool,
    server: &ExpectedServer,
    now: i64,
) -> Result<(), Refused> {
    let leaf = read(end)?;
    let between: Result<Vec<_>, _> = between.iter().map(read).collect();
    let between = Pool::new(between?);
    let shown = PinnedKey::of(&leaf).ok();
    let is_pinned = server.key.is_some() && shown == server.key;
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
    if is_pinned || server.key.is_none() { Ok(()) } else { Err(Refused::OtherKey(server.endpoint.clone())) }
}

fn verify(leaf: &Arc<Certificate>, roots: &Pool, between: &Pool, at: i64) -> Result<(), VerifyError> {
    let options = Options { at, purpose: Purpose::ServerAuth };
    orderer_x509::verify_with(leaf, roots, between, &options, &mut Memo::new()).map(|_| ())
}

/// Returns the end of validity of the expired certificate because of which no chain was found, if that is the cause.
fn expired_at(error: &VerifyError) -> Option<i64> {
    match error {
        VerifyError::Expired { not_after, .. } => Some(*not_after),
        VerifyError::UnknownAuthority { hint: Some(hint), .. } => expired_at(hint.reason()),
        _ => None,
    }
}

#[derive(Debug)]
struct ServerVerifier {
    server: ExpectedServer,
    roots: Arc<Pool>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Stores the presented chain, and makes the verifier accept it.
    observer: Option<Arc<OnceLock<Shown>>>,
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
        let verdict = judge(end_entity, intermediates, &self.roots, &self.server, now);
        if let Some(observer) = &self.observer {
            let chain = std::iter::once(end_entity).chain(intermediates);
            let chain = chain.map(|certificate| Bytes::copy_from_slice(certificate)).collect();
            let verdict = match verdict {
                Ok(()) | Err(Refused::OtherKey(_)) => Ok(()),
                Err(refused) => Err(refused.to_string()),
            };
            // only the first handshake of a connection presents a certificate
            let _ = observer.set(Shown { chain, verdict });
            return Ok(ServerCertVerified::assertion());
        }
        verdict
            .map(|()| ServerCertVerified::assertion())
            .map_err(|cause| CertificateError::Other(OtherError(Arc::new(cause))).into())
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

    fn pinned(certificate: &CertificateDer<'_>) -> ExpectedServer {
        ExpectedServer {
            host: "orderer.example.com".to_owned(),
            endpoint: "orderer.example.com:7050".to_owned(),
            key: Some(PinnedKey::of(&read(certificate).unwrap()).unwrap()),
            time_shift: Duration::ZERO,
            tolerate_expired: false,
        }
    }

    fn verdict(end: &CertificateDer<'_>, authority: &Authority, server: &ExpectedServer) -> String {
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
        let of_rotated = verdict(&rotated, &authority, &server);
        assert_eq!(
            of_rotated,
            "public key of server certificate presented by orderer.example.com:7050 doesn't match the expected public key"
        );
        assert!(is_of_other_key(&of_rotated));
        let elsewhere = authority.server("peer.example.com", &key, 2039);
        assert_eq!(
            verdict(&elsewhere, &authority, &server),
            "certificate is valid for peer.example.com, not orderer.example.com"
        );
        assert!(!is_of_other_key(&verdict(&elsewhere, &authority, &server)));
        assert!(verdict(&good, &other, &server).starts_with("certificate signed by unknown authority"));
        let broken = CertificateDer::from(vec![0x30, 0]);
        assert_eq!(verdict(&broken, &authority, &server), "malformed tbs certificate");
    }

    #[test]
    fn where_no_key_is_expected_any_is_taken_and_no_expiry_tolerated() {
        let authority = Authority::new(2040);
        let good = authority.server("orderer.example.com", &KeyPair::generate().unwrap(), 2039);
        let any = ExpectedServer { key: None, tolerate_expired: true, ..pinned(&good) };
        assert_eq!(verdict(&good, &authority, &any), "taken");
        let another = authority.server("orderer.example.com", &KeyPair::generate().unwrap(), 2039);
        assert_eq!(verdict(&another, &authority, &any), "taken");
        let expired = authority.server("orderer.example.com", &KeyPair::generate().unwrap(), 2026);
        assert!(verdict(&expired, &authority, &any).contains("expired"));
        let elsewhere = authority.server("peer.example.com", &KeyPair::generate().unwrap(), 2039);
        assert!(verdict(&elsewhere, &authority, &any).contains("not orderer.example.com"));
        assert!(verdict(&good, &Authority::new(2041), &any).contains("unknown authority"));
    }

    #[test]
    fn the_clock_is_shifted_and_expiry_tolerated_only_where_that_is_set_and_the_key_is_right() {
        let authority = Authority::new(2040);
        let key = KeyPair::generate().unwrap();
        let expired = authority.server("orderer.example.com", &key, 2026);
        let server = pinned(&expired);
        assert!(verdict(&expired, &authority, &server).contains("expired"));
        let two_years = Duration::from_secs(2 * 365 * 86_400);
        assert_eq!(verdict(&expired, &authority, &ExpectedServer { time_shift: two_years, ..server.clone() }), "taken");
        let tolerant = ExpectedServer { tolerate_expired: true, ..server };
        assert_eq!(verdict(&expired, &authority, &tolerant), "taken");
        let others = authority.server("orderer.example.com", &KeyPair::generate().unwrap(), 2026);
        assert!(verdict(&others, &authority, &tolerant).contains("expired"), "another key");
        // the authority expired as well, before or after the certificate
        for until in [2024, 2025] {
            let authority = Authority::new(until);
            let expired = authority.server("orderer.example.com", &key, 2025);
            assert_eq!(verdict(&expired, &authority, &tolerant), "taken", "{until}");
            assert!(verdict(&expired, &Authority::new(2041), &tolerant).contains("unknown authority"));
        }
        // the certificate is valid for longer than its authority was
        let authority = Authority::new(2024);
        assert_eq!(verdict(&authority.server("orderer.example.com", &key, 2039), &authority, &tolerant), "taken");
    }
}
