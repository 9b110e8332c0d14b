//! The files for connections to other orderers: the client certificate, and the trusted roots.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use orderer_actors::ChannelRegistry;
use orderer_actors::node_context::SignerCell;
use orderer_cluster::{
    Connections, DeliverClient, Identity, IdentityError, PullSettings, RequestSigner, Roots, RootsError,
};
use orderer_hsm::TokenPool;
use orderer_x509::Certificate;
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::file_stamps::FileStamps;
use crate::settings::ClusterSettings;
use crate::tls::{PendingCertificate, Reloaded};

/// Interval at which the channels are checked: a configuration may bring an authority of an orderer that has to be
/// connected to now.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Connections to other orderers, with the files that they are opened with.
pub struct Orderers {
    connections: Arc<Connections>,
    blocks: Arc<DeliverClient>,
    directory: Arc<ChannelRegistry>,
    files: ClientFiles,
    identity: ArcSwap<Identity>,
    pending: ArcSwapOption<PendingCertificate>,
    trusted: Mutex<Trusted>,
    /// Generation of the directory when the channels were last read.
    generation: AtomicU64,
}

/// Signs requests for blocks with the node's current signer.
struct Requests(Arc<SignerCell>, Option<Arc<TokenPool>>);

impl RequestSigner for Requests {
    fn creator(&self) -> Bytes {
        self.0.get().creator().clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Bytes, String> {
        // the request is repeated anyway, and is not worth a wait for a token
        if let Some(away) = self.1.as_ref().and_then(|token| token.status().away) {
            return Err(away.cause);
        }
        self.0.get().sign(message).map_err(|error| error.to_string())
    }
}

/// Paths of certificate, key and authorities.
#[derive(Clone, Debug)]
struct ClientFiles {
    certificate: PathBuf,
    key: PathBuf,
    roots: Vec<PathBuf>,
}

/// The roots that the files contain.
struct Trusted {
    listed: Roots,
}

/// Reason for which the files cannot be used. The texts begin with the key that names the file.
#[derive(Debug, thiserror::Error)]
pub enum OrderersError {
    /// A file cannot be read.
    #[error("General.Cluster.{key} {}: {error}", path.display())]
    File {
        /// The setting, below `General.Cluster`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        error: std::io::Error,
    },
    /// Certificate and key cannot be used.
    #[error("General.Cluster.ClientCertificate {}: {error}", path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// The cause.
        error: IdentityError,
    },
    /// A file contains no certificate.
    #[error("General.Cluster.RootCAs: {0}")]
    Roots(#[from] RootsError),
}

impl ClientFiles {
    fn new(settings: &ClusterSettings) -> Self {
        Self {
            certificate: settings.client_certificate.clone(),
            key: settings.client_key.clone(),
            roots: settings.roots.clone(),
        }
    }

    /// Reads and parses the files. Performs blocking I/O.
    fn read(&self) -> Result<(Identity, Roots), OrderersError> {
        let read = |key, path: &PathBuf| {
            std::fs::read(path).map_err(|error| OrderersError::File { key, path: path.clone(), error })
        };
        let (certificate, key) = (read("ClientCertificate", &self.certificate)?, read("ClientPrivateKey", &self.key)?);
        let useless = |error| OrderersError::Identity { path: self.certificate.clone(), error };
        let identity = Identity::from_pem(&certificate, &key).map_err(useless)?;
        let roots = self.roots.iter().map(|path| read("RootCAs", path)).collect::<Result<Vec<_>, _>>()?;
        Ok((identity, Roots::from_pem(roots)?))
    }
}

/// Checks whether connections to other orderers could be opened with the files. Performs blocking I/O.
pub fn check_client_files(settings: &ClusterSettings) -> Result<(), OrderersError> {
    ClientFiles::new(settings).read().map(drop)
}

impl Orderers {
    /// Reads the files. Channels may be added to `directory` later. Connections run on `runtime`.
    pub fn open(
        settings: &ClusterSettings,
        directory: Arc<ChannelRegistry>,
        (signer, token): (Arc<SignerCell>, Option<Arc<TokenPool>>),
        runtime: Handle,
    ) -> Result<Arc<Self>, OrderersError> {
        let files = ClientFiles::new(settings);
        let (identity, listed) = files.read()?;
        let pull = PullSettings {
            dial_timeout: settings.connections.dial_timeout,
            pull_timeout: settings.replication.pull_timeout,
            time_shift: settings.connections.time_shift,
            ..PullSettings::default()
        };
        let blocks = DeliverClient::new(pull, identity.clone(), Requests(signer, token), runtime.clone());
        let connections = Connections::new(settings.connections.clone(), identity.clone(), listed.clone(), runtime);
        Ok(Arc::new(Self {
            connections: Arc::new(connections),
            blocks: Arc::new(blocks),
            directory,
            files,
            identity: ArcSwap::from_pointee(identity),
            pending: ArcSwapOption::default(),
            trusted: Mutex::new(Trusted { listed }),
            generation: AtomicU64::new(0),
        }))
    }

    /// Returns the connections.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Returns the client that pulls blocks.
    pub fn blocks(&self) -> &Arc<DeliverClient> {
        &self.blocks
    }

    /// Keeps the authorities of the channels' ordering organizations trusted, until `stopping`.
    pub async fn follow_channels(self: Arc<Self>, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            if self.directory.version() != self.generation.load(Ordering::Relaxed) {
                let orderers = Arc::clone(&self);
                // some milliseconds for a thousand channels
                let _ = tokio::task::spawn_blocking(move || orderers.trust_channels()).await;
            }
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    fn trusted(&self) -> MutexGuard<'_, Trusted> {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trust_channels(&self) {
        let trusted = self.trusted();
        let generation = self.directory.version();
        self.connections.replace_roots(trusted.listed.with(authorities(&self.directory)));
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Reads the files again. If they cannot be used, what was read before stays in force. Connections that were
    /// opened with another certificate are replaced, without a gap. The certificate stays if `may_replace` rejects the one
    /// in the files; the roots are replaced all the same.
    pub(super) fn reload(
        &self,
        may_replace: impl FnOnce(&CertificateDer<'_>) -> bool,
    ) -> Result<Reloaded, OrderersError> {
        let (identity, listed) = self.files.read()?;
        self.trusted().listed = listed;
        self.trust_channels();
        if self.identity.load().certificate() == identity.certificate() {
            return Ok(Reloaded::Same);
        }
        if let Some(new) = identity.certificate().first()
            && !may_replace(new)
        {
            return Ok(Reloaded::Withheld(new.clone()));
        }
        self.identity.store(Arc::new(identity.clone()));
        self.blocks.replace_identity(identity.clone());
        self.connections.replace_identity(identity);
        self.connections.renew();
        Ok(Reloaded::Replaced)
    }

    /// Publishes the certificate in the files that is not in use yet.
    pub(super) fn set_pending(&self, pending: Option<PendingCertificate>) {
        self.pending.store(pending.map(Arc::new));
    }

    /// Returns the certificate in the files that is not in use yet.
    pub fn pending(&self) -> Option<Arc<PendingCertificate>> {
        self.pending.load_full()
    }

    /// Returns the metadata of the files.
    pub(super) fn stamps(&self) -> FileStamps {
        let ClientFiles { certificate, key, roots } = &self.files;
        FileStamps::of([certificate, key].into_iter().chain(roots).map(PathBuf::as_path))
    }

    /// Returns the path of the certificate.
    pub fn certificate_file(&self) -> &PathBuf {
        &self.files.certificate
    }

    /// Returns the certificate with its intermediates, and the key.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }
}

/// Returns the TLS authorities of the organizations that order any of the channels, each once.
fn authorities(directory: &ChannelRegistry) -> Vec<Arc<Certificate>> {
    let mut found: std::collections::BTreeMap<bytes::Bytes, Arc<Certificate>> = std::collections::BTreeMap::new();
    for channel in directory.open_channels() {
        let snapshot = channel.snapshot();
        let organizations = &snapshot.orderer().organizations;
        for msp in snapshot.msps().iter().filter(|msp| organizations.values().any(|id| id == msp.id())) {
            for authority in msp.tls_roots().iter().chain(msp.tls_intermediates()) {
                found.entry(authority.raw().clone()).or_insert_with(|| Arc::clone(authority));
            }
        }
    }
    found.into_values().collect()
}
