//! What a listener secures its next connection with. It follows the channels: with mutual TLS the clients of every
//! organization of every channel are let in, beside those whose roots are listed in the settings, as the reference does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use orderer_actors::Directory;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::files::{Material, TlsError, TlsFiles};

/// See the module's description.
pub struct ListenerTls {
    files: TlsFiles,
    directory: Arc<Directory>,
    /// What was read from the files. Locked while a configuration is built, which is seldom.
    material: Mutex<Material>,
    current: ArcSwap<Built>,
}

struct Built {
    /// Of the directory, when the channels were asked.
    generation: u64,
    /// `None` if clients must show a certificate and there is no root that one could lead to.
    config: Option<Arc<ServerConfig>>,
}

impl ListenerTls {
    /// Reads the files; the channels may come later.
    pub fn new(files: TlsFiles, directory: Arc<Directory>) -> Result<Self, TlsError> {
        let material = Material::read(&files)?;
        let built = build(&material, &directory)?;
        Ok(Self { files, directory, material: Mutex::new(material), current: ArcSwap::from_pointee(built) })
    }

    /// The files, to watch them.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// For the next connection; `None` if nobody could be let in. Builds it anew when a channel or its configuration was
    /// added since: some 50 µs a root.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        if self.current.load().generation != self.directory.generation() {
            let material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
            match build(&material, &self.directory) {
                Ok(built) => self.current.store(Arc::new(built)),
                Err(error) => {
                    tracing::error!(target: "orderer.tls", %error, "the roots of the channels cannot be used, those before them stay in force");
                }
            }
        }
        self.current.load().config.clone()
    }

    /// Reads the files again, for connections to come; when they are of no use, what was read before stays in force.
    /// When the certificate expires, in seconds since 1970.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = Material::read(&self.files)?;
        let mut material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
        let built = build(&read, &self.directory)?;
        *material = read;
        self.current.store(Arc::new(built));
        Ok(())
    }

    /// The listener's own certificate in DER.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.material.lock().unwrap_or_else(PoisonError::into_inner).certificates.first().cloned()
    }
}

fn build(material: &Material, directory: &Directory) -> Result<Built, TlsError> {
    let generation = directory.generation();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &material.client_roots {
        None => builder.with_no_client_auth(),
        Some(listed) => {
            let roots = trusted(listed, directory)?;
            if roots.is_empty() {
                tracing::warn!(target: "orderer.tls", "no client can be let in: no channel and no setting names a root");
                return Ok(Built { generation, config: None });
            }
            builder.with_client_cert_verifier(verifier(roots, provider)?)
        }
    };
    let mut config = builder.with_single_cert(material.certificates.clone(), material.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Built { generation, config: Some(Arc::new(config)) })
}

/// The roots that are listed, all of which must be good, and those of the channels' organizations, of which each is as
/// good as its channel made it.
fn trusted(listed: &[CertificateDer<'static>], directory: &Directory) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in listed {
        roots.add(root.clone())?;
    }
    let mut seen: BTreeSet<Bytes> = listed.iter().map(|root| Bytes::copy_from_slice(root)).collect();
    for channel in directory.open() {
        for msp in channel.snapshot().msps().iter() {
            for root in msp.tls_roots() {
                if seen.insert(root.clone())
                    && let Err(error) = roots.add(CertificateDer::from(root.to_vec()))
                {
                    tracing::warn!(target: "orderer.tls", channel = %channel.id(), msp = msp.id(), %error,
                        "a TLS root of the channel's configuration cannot be used: its clients are not let in");
                }
            }
        }
    }
    Ok(roots)
}

fn verifier(
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}
