//! TLS of a listener's next connection. That of the gRPC services depends on the channels: with mutual TLS the
//! clients of every organization of every channel are accepted, beside those whose roots are listed in the settings,
//! as in Fabric; without it clients are asked for a certificate that is verified against no root, by which other
//! orderers are known. Endpoints for operators accept only clients of the listed roots.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use orderer_actors::ChannelRegistry;
use orderer_core::types::ChannelId;
use orderer_x509::Certificate;
use orderer_x509::handshake::read;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::CertificateDer;

use super::client_verifier::ClientVerifier;
use orderer_localconfig::tls_files::{Clients, Material, TlsError, TlsFiles};

/// The clients that a listener serves.
#[derive(Clone)]
pub enum ClientTrust {
    /// Members of the channels' organizations, over HTTP/2.
    Members(Arc<ChannelRegistry>),
    /// Other orderers only, over HTTP/2; they are trusted through the channels, as members are.
    Orderers(Arc<ChannelRegistry>),
    /// Operators, over any HTTP.
    Operators,
}

impl ClientTrust {
    fn generation(&self) -> u64 {
        match self {
            Self::Members(directory) | Self::Orderers(directory) => directory.version(),
            Self::Operators => 0,
        }
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Members(_) | Self::Orderers(_) => vec![b"h2".to_vec()],
            Self::Operators => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        }
    }
}

/// A certificate that has replaced another one in its file, and is not used yet: channels still name the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCertificate {
    /// The certificate in DER.
    pub certificate: CertificateDer<'static>,
    /// The channels whose configurations name the certificate in use.
    pub need_old: Vec<ChannelId>,
}

/// The outcome of [`ListenerTls::reload`].
#[derive(Debug)]
pub enum Reloaded {
    /// The files contain the certificate in use.
    Same,
    /// The certificate in the files is used from now on.
    Replaced,
    /// The certificate in the files is not used.
    Withheld(CertificateDer<'static>),
}

/// The TLS configuration of one listener, rebuilt when files or channels change.
pub struct ListenerTls {
    files: TlsFiles,
    audience: ClientTrust,
    /// Contents of the files. Locked while a configuration is built, which is seldom.
    material: Mutex<Material>,
    current: ArcSwap<Built>,
    pending: ArcSwapOption<PendingCertificate>,
}

struct Built {
    /// Generation of the directory from which the configuration was built.
    generation: u64,
    /// `None` if clients must present a certificate and there is no root to verify it against.
    config: Option<Arc<ServerConfig>>,
}

impl ListenerTls {
    /// Reads the files; channels may be added later.
    pub fn new(files: TlsFiles, audience: ClientTrust) -> Result<Self, TlsError> {
        let material = Material::read(&files)?;
        let built = build(&material, &audience, files.time_shift)?;
        let (material, current) = (Mutex::new(material), ArcSwap::from_pointee(built));
        Ok(Self { files, audience, material, current, pending: ArcSwapOption::default() })
    }

    /// Returns the files, so that they can be watched.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Returns the configuration for the next connection; `None` if no client could be accepted. Rebuilds it when a
    /// channel or its configuration was added since: some 50 µs a root.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        if self.current.load().generation != self.audience.generation() {
            let material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
            match build(&material, &self.audience, self.files.time_shift) {
                Ok(built) => self.current.store(Arc::new(built)),
                Err(error) => {
                    tracing::error!(target: "orderer.tls", %error, "failed to use the root certificates of the channels; the previous ones stay in use");
                }
            }
        }
        self.current.load().config.clone()
    }

    /// Reads the files again, for future connections. The certificate stays if `may_replace` rejects the one in the files;
    /// the roots of clients are replaced all the same.
    ///
    /// # Errors
    /// Fails if the files cannot be used; what was read before then stays in force.
    pub fn reload(&self, may_replace: impl FnOnce(&CertificateDer<'_>) -> bool) -> Result<Reloaded, TlsError> {
        let mut read = Material::read(&self.files)?;
        let mut material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
        let (new, old) = (read.certificates.first().cloned(), material.certificates.first());
        let mut outcome = if new.as_ref() == old { Reloaded::Same } else { Reloaded::Replaced };
        if matches!(outcome, Reloaded::Replaced)
            && let Some(new) = new
            && !may_replace(&new)
        {
            read.certificates.clone_from(&material.certificates);
            read.key = material.key.clone_key();
            outcome = Reloaded::Withheld(new);
        }
        let built = build(&read, &self.audience, self.files.time_shift)?;
        *material = read;
        self.current.store(Arc::new(built));
        Ok(outcome)
    }

    /// Publishes the certificate in the files that is not in use yet.
    pub fn set_pending(&self, pending: Option<PendingCertificate>) {
        self.pending.store(pending.map(Arc::new));
    }

    /// Returns the certificate in the files that is not in use yet.
    pub fn pending(&self) -> Option<Arc<PendingCertificate>> {
        self.pending.load_full()
    }

    /// Returns whether this is the listener of the gRPC services.
    pub fn is_for_members(&self) -> bool {
        matches!(self.audience, ClientTrust::Members(_))
    }

    /// Returns whether this is the listener for other orderers only.
    pub fn is_for_orderers(&self) -> bool {
        matches!(self.audience, ClientTrust::Orderers(_))
    }

    /// Returns the listener's own certificate in DER.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.material.lock().unwrap_or_else(PoisonError::into_inner).certificates.first().cloned()
    }
}

fn build(material: &Material, audience: &ClientTrust, time_shift: Duration) -> Result<Built, TlsError> {
    let generation = audience.generation();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let roots = match audience {
        ClientTrust::Members(directory) | ClientTrust::Orderers(directory) => {
            trusted(material.clients.roots(), Some(directory))?
        }
        ClientTrust::Operators => trusted(material.clients.roots(), None)?,
    };
    let builder = match &material.clients {
        Clients::MustShow(_) if roots.is_empty() => {
            tracing::warn!(target: "orderer.tls", "all client connections will be rejected: no channel and no setting names a root certificate");
            return Ok(Built { generation, config: None });
        }
        Clients::MustShow(_) | Clients::MayShow(_) if !roots.is_empty() => {
            let is_mandatory = matches!(material.clients, Clients::MustShow(_));
            builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(roots, is_mandatory, time_shift, &provider)))
        }
        Clients::Anybody if matches!(audience, ClientTrust::Members(_)) => {
            builder.with_client_cert_verifier(Arc::new(ClientVerifier::asking(&provider)))
        }
        Clients::MustShow(_) | Clients::MayShow(_) | Clients::Anybody => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(material.certificates.clone(), material.key.clone_key())?;
    config.alpn_protocols = audience.protocols();
    Ok(Built { generation, config: Some(Arc::new(config)) })
}

/// Returns the listed roots, all of which must be certificates, and those of the channels' organizations.
fn trusted(
    listed: &[CertificateDer<'static>],
    directory: Option<&Arc<ChannelRegistry>>,
) -> Result<Vec<Arc<Certificate>>, TlsError> {
    let mut roots = listed.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut seen: BTreeSet<Bytes> = roots.iter().map(|root| root.raw().clone()).collect();
    for channel in directory.iter().flat_map(|directory| directory.open_channels()) {
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
