//! TLS material from files and from channels: the node's own certificate, and trusted authorities.

use std::sync::Arc;

use bytes::Bytes;
use orderer_x509::{Certificate, Pool, PublicKey, pem};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::membership::{CertificateError, PinnedKey};

/// The certificate that this node presents to servers (`General.Cluster.ClientCertificate`), and its private key.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    key: PinnedKey,
    expires_at: i64,
}

/// Two PEM texts do not form an identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The certificate cannot be used.
    #[error("client certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The private key cannot be parsed.
    #[error("client key: {0}")]
    Key(#[source] rustls_pki_types::pem::Error),
    /// The private key cannot be used for signatures.
    #[error("client key: {0}")]
    UnfitKey(#[source] rustls::Error),
    /// The private key belongs to another certificate.
    #[error("the client key is not that of the client certificate")]
    OtherKey,
}

impl Identity {
    /// Parses a certificate, followed by the certificates of its issuers, and its private key.
    ///
    /// # Errors
    /// Fails if one of them cannot be used, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain = certificates(chain);
        let first = chain.first().ok_or(CertificateError::NoPem)?;
        let certificate = Certificate::parse(first).map_err(CertificateError::Malformed)?;
        let pinned = PinnedKey::of(&certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::Key)?;
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(IdentityError::UnfitKey)?;
        if let Some(public) = key.public_key()
            && PublicKey::from_spki(&public).ok().flatten().as_ref() != certificate.public_key()
        {
            return Err(IdentityError::OtherKey);
        }
        let chain = chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        let certified = Arc::new(CertifiedKey::new(chain, key));
        Ok(Self { certified, key: pinned, expires_at: certificate.not_after() })
    }

    /// Returns the certificate's public key, by which other orderers identify this node.
    pub fn key(&self) -> &PinnedKey {
        &self.key
    }

    /// Returns the certificate in DER, followed by the certificates of its issuers.
    pub fn certificate(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Returns the end of the certificate's validity, in seconds since 1970.
    pub fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// Returns the certificate alone, in DER.
    pub(crate) fn der(&self) -> &[u8] {
        self.certified.cert.first().map_or(&[], |certificate| certificate)
    }

    /// Whether the other identity has the same certificate.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// The authorities whose servers are trusted: `General.Cluster.RootCAs` and the TLS roots of the channels. Clones share
/// them.
///
/// Without any authority, no server is trusted; Fabric trusts those of the operating system in that case.
#[derive(Clone, Debug, Default)]
pub struct Roots(pub(super) Arc<Pool>);

/// A text that should contain authorities has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error adding root certificate: text {number} holds no certificate that can be read")]
pub struct RootsError {
    /// Position of the text, from 1 on.
    pub number: usize,
}

impl Roots {
    /// Creates a set of these certificates.
    pub fn new(certificates: impl IntoIterator<Item = Arc<Certificate>>) -> Self {
        Self(Arc::new(Pool::new(certificates)))
    }

    /// Creates a set of all certificates in these PEM texts. Blocks that are not a valid certificate are skipped, as in
    /// Go (`AppendCertsFromPEM`).
    ///
    /// # Errors
    /// Fails if a text contains no valid certificate.
    pub fn from_pem<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Result<Self, RootsError> {
        let mut pool = Pool::default();
        for (at, text) in texts.into_iter().enumerate() {
            let mut is_empty = true;
            for der in certificates(text.as_ref()) {
                if let Ok(certificate) = Certificate::parse(&der) {
                    pool.add(Arc::new(certificate));
                    is_empty = false;
                }
            }
            if is_empty {
                return Err(RootsError { number: at + 1 });
            }
        }
        Ok(Self(Arc::new(pool)))
    }

    /// Returns a set of these authorities and others.
    #[must_use]
    pub fn with(&self, others: impl IntoIterator<Item = Arc<Certificate>>) -> Self {
        let mut pool = Pool::new(self.0.certificates().iter().cloned());
        for certificate in others {
            pool.add(certificate);
        }
        Self(Arc::new(pool))
    }
}

/// Returns the contents of the PEM blocks that are labelled as certificates.
fn certificates(text: &[u8]) -> Vec<Bytes> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((block, behind)) = pem::decode(rest) {
        if block.label == "CERTIFICATE" {
            found.push(block.contents);
        }
        rest = behind;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_key_has_to_be_that_of_the_certificate() {
        let ((one, key), (_, other)) = (made("one"), made("other"));
        let identity = Identity::from_pem(one.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(identity.key(), &PinnedKey::of_pem(one.as_bytes()).unwrap());
        for (chain, key, why) in [
            (&one[..], &other[..], "is not that of the client certificate"),
            (&key[..], &key[..], "client certificate: invalid PEM block"),
            (&one[..], &one[..], "client key: "),
            ("", &key[..], "client certificate: invalid PEM block"),
        ] {
            let error = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn texts_without_an_authority_are_refused_by_number() {
        let (one, key) = made("one");
        assert_eq!(Roots::from_pem([&one, &one]).unwrap().0.certificates().len(), 1);
        let both = format!("{key}{one}");
        assert!(Roots::from_pem([&both]).is_ok());
        assert_eq!(Roots::from_pem([&one, &key]).unwrap_err(), RootsError { number: 2 });
        assert!(Roots::from_pem::<&[u8]>([]).unwrap().0.certificates().is_empty());
    }
}
