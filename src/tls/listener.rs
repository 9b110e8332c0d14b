//! What a listener secures its next connection with. That of the gRPC services follows the channels: with mutual TLS the
//! clients of every organization of every channel are let in, beside those whose roots are listed in the settings, as the
//! reference does. Endpoints for operators let in only who is listed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use orderer_actors::Directory;
use orderer_x509::Certificate;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::CertificateDer;

use super::client_verifier::{ClientVerifier, read};
use orderer_localconfig::tls_files::{Clients, Material, TlsError, TlsFiles};

/// Whom a listener serves.
#[derive(Clone)]
pub enum Audience {
    /// Members of the channels' organizations, over HTTP/2.
    Members(Arc<Directory>),
    /// Operators, over any HTTP.
    Operators,
}

impl Audience {
    fn generation(&self) -> u64 {
        match self {
            Self::Members(directory) => directory.generation(),
            Self::Operators => 0,
        }
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Members(_) => vec![b"h2".to_vec()],
            Self::Operators => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// See the module's description.
pub struct ListenerTls {
    files: TlsFiles,
    audience: Audience,
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
    pub fn new(files: TlsFiles, audience: Audience) -> Result<Self, TlsError> {
        let material = Material::read(&files)?;
        let built = build(&material, &audience)?;
        Ok(Self { files, audience, material: Mutex::new(material), current: ArcSwap::from_pointee(built) })
    }

    /// The files, to watch them.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// For the next connection; `None` if nobody could be let in. Builds it anew when a channel or its configuration was
    /// added since: some 50 µs a root.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        if self.current.load().generation != self.audience.generation() {
            let material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
            match build(&material, &self.audience) {
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
        let built = build(&read, &self.audience)?;
        *material = read;
        self.current.store(Arc::new(built));
        Ok(())
    }

    /// Whether it is that of the gRPC services.
    pub fn is_for_members(&self) -> bool {
        matches!(self.audience, Audience::Members(_))
    }

    /// The listener's own certificate in DER.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.material.lock().unwrap_or_else(PoisonError::into_inner).certificates.first().cloned()
    }
}

fn build(material: &Material, audience: &Audience) -> Result<Built, TlsError> {
    let generation = audience.generation();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let roots = match audience {
        Audience::Members(directory) => trusted(material.clients.roots(), Some(directory))?,
        Audience::Operators => trusted(material.clients.roots(), None)?,
    };
    let builder = match &material.clients {
        Clients::MustShow(_) if roots.is_empty() => {
            tracing::warn!(target: "orderer.tls", "no client can be let in: no channel and no setting names a root");
            return Ok(Built { generation, config: None });
        }
        Clients::MustShow(_) | Clients::MayShow(_) if !roots.is_empty() => {
            let is_mandatory = matches!(material.clients, Clients::MustShow(_));
            builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(roots, is_mandatory, &provider)))
        }
        Clients::MustShow(_) | Clients::MayShow(_) | Clients::Anybody => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(material.certificates.clone(), material.key.clone_key())?;
    config.alpn_protocols = audience.protocols();
    Ok(Built { generation, config: Some(Arc::new(config)) })
}

/// The roots that are listed, all of which must be certificates, and those of the channels' organizations.
fn trusted(
    listed: &[CertificateDer<'static>],
    directory: Option<&Arc<Directory>>,
) -> Result<Vec<Arc<Certificate>>, TlsError> {
    let mut roots = listed.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut seen: BTreeSet<Bytes> = roots.iter().map(|root| root.raw().clone()).collect();
    for channel in directory.iter().flat_map(|directory| directory.open()) {
        for msp in channel.snapshot().msps().iter() {
            for root in msp.tls_roots().iter().chain(msp.tls_intermediates()) {
                if seen.insert(root.raw().clone()) {
                    roots.push(Arc::clone(root));
                }
            }
        }
    }
    Ok(roots)
}
