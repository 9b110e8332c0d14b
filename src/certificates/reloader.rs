//! Reloads the node's certificates when their files change, and warns before they expire.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orderer_actors::NodeContext;
use orderer_actors::chain_state::error_chain;
use orderer_actors::node_context::unix_now;
use orderer_core::crypto::Signer;
use orderer_core::identity::expires_at;
use orderer_core::own::{self, ClusterCertificate, OwnSigner};
use orderer_core::types::{ChannelId, UnixSeconds};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::FromDer as _;

use super::expiry::{ExpiryNotice, ExpiryTracker};
use super::file_stamps::FileStamps;
use super::orderers::Orderers;
use super::replacement_guard::{Decision, ReplacementGuard};
use crate::local_msp::{KeySource, LocalMspError, read_signer};
use crate::reload::Reloader;
use crate::signals::HangupSignals;
use crate::systemd;
use crate::tls::{ListenerTls, Reloaded};

/// Interval at which the files are checked. SIGHUP makes it at once.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// Interval at which the generation of the channels' configurations is checked while a new certificate waits for an update.
const PENDING_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Watches the files of the signing identity, the listeners and the connections to other orderers.
pub struct CertificateReloader {
    context: Arc<NodeContext>,
    enrollment: SigningFiles,
    listeners: Vec<ListenerFiles>,
    orderers: Option<ToOrderers>,
    /// Generation of the channels' configurations when the files were last checked.
    checked_at: u64,
}

/// The client certificate for other orderers.
struct ToOrderers {
    orderers: Arc<Orderers>,
    /// `None` until the files were checked for the first time.
    stamps: Option<FileStamps>,
    guard: ReplacementGuard,
    expiry: ExpiryTracker,
}

/// The identity that the node signs with.
struct SigningFiles {
    msp_dir: PathBuf,
    msp_id: String,
    keys: KeySource,
    /// `None` until the files were checked for the first time: they may have been replaced since they were read.
    stamps: Option<FileStamps>,
    /// Generation of the channels' configurations under which a new identity was rejected; a later one may accept it.
    refused_at: Option<u64>,
    expiry: ExpiryTracker,
}

/// The certificate of a listener.
struct ListenerFiles {
    tls: Arc<ListenerTls>,
    /// Decides on new certificates if other orderers know this node by this one.
    guard: Option<ReplacementGuard>,
    /// `None` until the files were checked for the first time.
    stamps: Option<FileStamps>,
    expiry: ExpiryTracker,
}

impl CertificateReloader {
    /// Watches the identity in an MSP directory, the listeners' certificates, and the client certificate for other orderers, all
    /// read when the node began to start.
    pub fn new(
        context: Arc<NodeContext>,
        msp_dir: &Path,
        msp_id: &str,
        keys: KeySource,
        tls: Vec<Arc<ListenerTls>>,
        orderers: Option<Arc<Orderers>>,
    ) -> Self {
        let enrollment = SigningFiles {
            stamps: None,
            refused_at: None,
            msp_dir: msp_dir.to_owned(),
            msp_id: msp_id.to_owned(),
            keys,
            expiry: ExpiryTracker::default(),
        };
        // other orderers know the node by the certificate of their own listener, if there is one
        let has_own = tls.iter().any(|tls| tls.is_for_orderers());
        let names_node = |tls: &ListenerTls| if has_own { tls.is_for_orderers() } else { tls.is_for_members() };
        let listener = |tls: Arc<ListenerTls>| ListenerFiles {
            guard: names_node(&tls).then(|| ReplacementGuard::new(ClusterCertificate::Server)),
            stamps: None,
            tls,
            expiry: ExpiryTracker::default(),
        };
        let listeners = tls.into_iter().map(listener).collect();
        let orderers = orderers.map(|orderers| ToOrderers {
            orderers,
            stamps: None,
            guard: ReplacementGuard::new(ClusterCertificate::Client),
            expiry: ExpiryTracker::default(),
        });
        Self { context, enrollment, listeners, orderers, checked_at: 0 }
    }

    /// Checks now, every few seconds, and on SIGHUP, until `stopping`. SIGHUP also applies what `reread` finds.
    pub async fn run(mut self, mut reread: Reloader, stopping: CancellationToken) {
        let mut hangups = HangupSignals::new();
        let mut asked = false;
        loop {
            // reads files and parses keys: not on a thread that serves
            let checked = tokio::task::spawn_blocking(move || {
                self.check();
                if asked {
                    reread.now();
                    systemd::ready();
                }
                (self, reread)
            });
            match checked.await {
                Ok(checked) => (self, reread) = checked,
                Err(panicked) => {
                    tracing::error!(target: "orderer.certificates", %panicked, "watching the certificates failed; changed files will not be noticed");
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => asked = false,
                () = self.permitted() => asked = false,
                () = hangups.next() => {
                    systemd::reloading();
                    tracing::info!(target: "orderer.certificates", "SIGHUP received: reloading certificates and log levels");
                    asked = true;
                }
                () = stopping.cancelled() => return,
            }
        }
    }

    fn check(&mut self) {
        // read before the configurations: a change in between is checked again
        let generation = self.context.directory.version();
        let is_changed = generation != self.checked_at;
        self.checked_at = generation;
        self.enrollment.check(&self.context);
        for listener in &mut self.listeners {
            listener.check(&self.context, is_changed);
        }
        if let Some(orderers) = &mut self.orderers {
            orderers.check(&self.context, is_changed);
        }
    }

    /// Waits until a configuration has changed since the last check, if a new certificate waits for that. Otherwise waits
    /// for ever.
    async fn permitted(&self) {
        let waits = self.enrollment.refused_at.is_some()
            || self.listeners.iter().filter_map(|listener| listener.guard.as_ref()).any(ReplacementGuard::waits)
            || self.orderers.as_ref().is_some_and(|orderers| orderers.guard.waits());
        if !waits {
            std::future::pending::<()>().await;
        }
        while self.context.directory.version() == self.checked_at {
            tokio::time::sleep(PENDING_POLL_INTERVAL).await;
        }
    }
}

impl SigningFiles {
    fn check(&mut self, context: &NodeContext) {
        let stamps = Some(enrollment_files(&self.msp_dir, &self.keys));
        let generation = context.directory.version();
        let is_asked_again = self.refused_at.is_some_and(|refused_at| refused_at != generation);
        if stamps != self.stamps || is_asked_again {
            self.stamps = stamps;
            match read_signer(&self.msp_dir, &self.msp_id, &self.keys) {
                Ok(identity) => self.replace(context, identity, generation),
                // the key is looked for again when the token is back
                Err(LocalMspError::Token(error)) if is_away(context) => {
                    self.stamps = None;
                    tracing::debug!(target: "orderer.certificates", %error, "certificate not checked, because the token is away");
                }
                Err(error) => report_useless("enrollment", &self.msp_dir, &error),
            }
        }
        if let Some(not_after) = expires_at(context.signer.get().creator()) {
            context.observer.certificate("enrollment", &self.msp_dir.display().to_string(), not_after);
            report_expiry("enrollment", &self.msp_dir, not_after, &mut self.expiry);
        }
    }
}

impl SigningFiles {
    /// Makes the node sign with the new identity, unless a channel would reject it.
    fn replace(&mut self, context: &NodeContext, identity: Arc<dyn Signer>, generation: u64) {
        self.refused_at = None;
        let old = context.signer.own();
        if old.signer().creator() == identity.creator() {
            return;
        }
        let new = OwnSigner::new(identity);
        let losing = losing_channels(context, &old, &new);
        let Some((channel, why)) = losing.first() else {
            context.signer.replace(new);
            report_read("enrollment", &self.msp_dir);
            return;
        };
        let others = losing.len() - 1;
        self.refused_at = Some(generation);
        tracing::error!(target: "orderer.certificates", path = %self.msp_dir.display(), %channel, others, %why,
            "the new certificate cannot be used: a channel would not take blocks that it signs; the old certificate stays in use; \
             put the certificate of an orderer that BlockValidation accepts in place, it is checked again when it changes, or \
             when a channel's configuration does");
    }
}

/// Returns the channels that accept blocks of the old signer and would reject those of the new one, each with the
/// reason.
fn losing_channels(context: &NodeContext, old: &OwnSigner, new: &OwnSigner) -> Vec<(ChannelId, String)> {
    let channels = context.directory.open_channels().into_iter();
    let losing = channels.filter_map(|channel| {
        let snapshot = channel.snapshot();
        let refused = new.check(&snapshot).err()?;
        old.check(&snapshot).is_ok().then(|| (channel.id().clone(), error_chain(&refused)))
    });
    losing.collect()
}

impl ListenerFiles {
    fn check(&mut self, context: &NodeContext, is_changed: bool) {
        let path = self.tls.files().certificate.clone();
        let stamps = Some(listener_files(&self.tls));
        let is_permitted = is_changed && self.guard.as_ref().is_some_and(ReplacementGuard::waits);
        if stamps != self.stamps || is_permitted {
            let is_first = self.stamps.is_none();
            let is_other = stamps != self.stamps;
            self.stamps = stamps;
            let before = self.tls.certificate();
            let mut decision = None;
            let reloaded = self.tls.reload(|new| {
                let Some(guard) = &self.guard else { return true };
                decision.insert(Decision::on(guard.which(), context, before.as_ref(), new)).is_allowed()
            });
            match &reloaded {
                // the same as when the node began to start
                Ok(Reloaded::Same) if is_first => {}
                Ok(Reloaded::Same) if !is_other => {}
                Ok(Reloaded::Same | Reloaded::Replaced) => report_read("TLS", &path),
                Ok(Reloaded::Withheld(_)) => {}
                Err(error) => report_useless("TLS", &path, error),
            }
            if let Some(guard) = &mut self.guard {
                let pending = guard.settle(reloaded.as_ref().ok(), decision, &path);
                let in_use = self.tls.certificate();
                let new = pending.as_ref().map(|pending| &pending.certificate);
                let keys = in_use.iter().chain(new).filter_map(|der| own::public_key_of(der));
                context.tls_keys.store(Arc::new(keys.collect()));
                self.tls.set_pending(pending);
            }
        }
        let certificate = self.tls.certificate();
        let parsed = certificate.as_ref().and_then(|der| x509_parser::certificate::X509Certificate::from_der(der).ok());
        if let Some((_, certificate)) = parsed {
            let not_after = UnixSeconds(certificate.validity().not_after.timestamp());
            context.observer.certificate("TLS", &path.display().to_string(), not_after);
            report_expiry("TLS", &path, not_after, &mut self.expiry);
        }
    }
}

impl ToOrderers {
    fn check(&mut self, context: &NodeContext, is_changed: bool) {
        let path = self.orderers.certificate_file().clone();
        let stamps = Some(self.orderers.stamps());
        if stamps != self.stamps || (is_changed && self.guard.waits()) {
            self.stamps = stamps;
            let before = self.orderers.identity();
            let mut decision = None;
            let reloaded = self.orderers.reload(|new| {
                let old = before.certificate().first();
                decision.insert(Decision::on(self.guard.which(), context, old, new)).is_allowed()
            });
            match &reloaded {
                Ok(Reloaded::Same | Reloaded::Withheld(_)) => {}
                Ok(Reloaded::Replaced) => report_read("cluster", &path),
                Err(error) => report_useless("cluster", &path, error),
            }
            self.orderers.set_pending(self.guard.settle(reloaded.as_ref().ok(), decision, &path));
        }
        let not_after = UnixSeconds(self.orderers.identity().expires_at());
        context.observer.certificate("cluster", &path.display().to_string(), not_after);
        report_expiry("cluster", &path, not_after, &mut self.expiry);
    }
}

fn enrollment_files(msp_dir: &Path, keys: &KeySource) -> FileStamps {
    let keystore = keys.keystore(msp_dir);
    FileStamps::of([msp_dir.join("signcerts").as_path()].into_iter().chain(keystore.as_deref()))
}

fn is_away(context: &NodeContext) -> bool {
    context.token.as_ref().is_some_and(|token| token.status().away.is_some())
}

fn listener_files(tls: &ListenerTls) -> FileStamps {
    let files = tls.files();
    let roots = files.clients.roots().iter().map(PathBuf::as_path);
    FileStamps::of([files.certificate.as_path(), files.private_key.as_path()].into_iter().chain(roots))
}

fn report_read(certificate: &str, path: &Path) {
    tracing::info!(target: "orderer.certificates", certificate, path = %path.display(), "certificate was reloaded");
}

fn report_useless(certificate: &str, path: &Path, error: &dyn std::error::Error) {
    tracing::error!(target: "orderer.certificates", certificate, path = %path.display(),
        error = %error_chain(error),
        "failed to load the new certificate; the old one stays in use (correct the files; they are read again when they change)");
}

fn report_expiry(certificate: &str, path: &Path, not_after: UnixSeconds, expiry: &mut ExpiryTracker) {
    let until = time::OffsetDateTime::from_unix_timestamp(not_after.0)
        .ok()
        .and_then(|t| t.format(&time::format_description::well_known::Rfc3339).ok());
    let until = until.unwrap_or_else(|| not_after.0.to_string());
    match expiry.check(unix_now(), not_after) {
        None => {}
        Some(ExpiryNotice::Soon(days)) => {
            tracing::warn!(target: "orderer.certificates", certificate, path = %path.display(), until, days,
                "certificate expires within a week (replace the file; no restart is needed)");
        }
        Some(ExpiryNotice::Expired) => {
            tracing::error!(target: "orderer.certificates", certificate, path = %path.display(), until,
                "certificate has expired (replace the file; no restart is needed)");
        }
    }
}
