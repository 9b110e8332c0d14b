//! A client's TLS towards a node.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use orderer_localconfig::tls_files::{TlsError, certificates, not_of, why_no_key};

/// The servers that a client trusts.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// A server whose certificate leads to an authority in these files and has the expected name.
    Authorities(Vec<PathBuf>),
    /// The server that presents the first certificate of this file, whatever its name: a node on the same machine.
    PinnedCertificate(PathBuf),
}

/// Creates a client's configuration; `identity` are the files of its own certificate and key, for a server that asks
/// for one. The server's certificate is verified as of `behind` ago.
pub fn client_config(
    trust: &ServerTrust,
    identity: Option<(&Path, &Path)>,
    protocol: &[u8],
    behind: Duration,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(ClockShift(behind)))
        .with_safe_default_protocol_versions()?;
    let builder = match trust {
        ServerTrust::Authorities(files) => {
            let mut roots = RootCertStore::empty();
            for file in files {
                for root in certificates("TLS root", file)? {
                    roots.add(root).map_err(|e| unfit("TLS root", file, &e))?;
                }
            }
            builder.with_root_certificates(roots)
        }
        ServerTrust::PinnedCertificate(file) => {
            let certificate = certificates("TLS certificate", file)?.swap_remove(0);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(PinnedCertificate { certificate, provider }))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("TLS client certificate", certificate)?;
            let failed = |error: &dyn std::error::Error| unfit("TLS client key", key, error);
            let no_key = |problem| TlsError::File { what: "TLS client key", path: key.to_owned(), problem };
            let der = PrivateKeyDer::from_pem_file(key).map_err(|e| no_key(why_no_key(key, &e)))?;
            builder.with_client_auth_cert(chain, der).map_err(|e| match e {
                Error::InconsistentKeys(_) => no_key(not_of(certificate)),
                other => failed(&other),
            })?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

fn unfit(what: &'static str, path: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError::File { what, path: path.to_owned(), problem: error.to_string() }
}

/// A clock that is behind by this duration.
#[derive(Debug)]
struct ClockShift(Duration);

impl TimeProvider for ClockShift {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since.saturating_sub(self.0)))
    }
}

/// Accepts one certificate and no other; the server must have its key all the same.
#[derive(Debug)]
struct PinnedCertificate {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
