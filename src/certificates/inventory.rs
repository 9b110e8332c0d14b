//! Lists every certificate that matters to the node: its own, the roots of its clients' certificates, and those in
//! its channels' configurations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use fabric_proto::Message as _;
use fabric_proto::msp::FabricMspConfig;
use orderer_actors::NodeContext;
use orderer_actors::node_context::unix_now;
use orderer_actors::status::HealthLevel;
use orderer_core::identity::{CertificateInfo, describe};
use serde::Serialize;

use super::orderers::Orderers;
use crate::tls::{ListenerTls, PendingCertificate};

/// Days before expiry from which an operator should act, and from which at once.
const DAYS_SOON: i64 = 30;
const DAYS_FEW: i64 = 7;
const DAY_SECS: i64 = 24 * 3600;
/// Maximum number of channels named for one certificate.
const CHANNELS_NAMED: usize = 20;

/// The sources of the node's own certificates.
#[derive(Clone)]
pub struct CertificateInventory {
    /// The MSP directory of the signing identity.
    pub msp_dir: PathBuf,
    /// The MSP ID of the signing identity.
    pub msp_id: String,
    /// The listeners with TLS.
    pub listeners: Vec<Arc<ListenerTls>>,
    /// The client certificate for other orderers, if the node may connect to any.
    pub orderers: Option<Arc<Orderers>>,
    /// The client certificate for Kafka's brokers, in PEM.
    pub kafka_client: Option<Vec<u8>>,
}

/// One certificate, serialized for operators.
#[derive(Debug, Serialize)]
pub struct CertificateView {
    kind: &'static str,
    msp_id: Option<String>,
    subject: String,
    issuer: String,
    serial: String,
    /// SHA-256 of the certificate, in hexadecimal.
    fingerprint: String,
    not_before_ms: i64,
    not_after_ms: i64,
    /// Whole days until expiry, negative when it has expired.
    pub days_left: i64,
    /// Severity by the days left.
    pub level: HealthLevel,
    #[serde(rename = "where")]
    place: String,
    channels: Vec<String>,
    channel_count: usize,
    /// Whether it has replaced another one in its file, and is not used yet, because `channels` name the other one.
    pub pending: bool,
}

impl CertificateView {
    /// Returns a name for use in a sentence.
    pub fn name(&self) -> String {
        format!("{} '{}'", self.kind, self.subject)
    }

    fn new(kind: &'static str, msp_id: Option<String>, facts: CertificateInfo, place: String) -> Self {
        let days_left = (facts.not_after.0 - unix_now().0).div_euclid(DAY_SECS);
        let level = if days_left <= DAYS_FEW {
            HealthLevel::Bad
        } else if days_left <= DAYS_SOON {
            HealthLevel::Busy
        } else {
            HealthLevel::Good
        };
        Self {
            kind,
            msp_id,
            subject: facts.subject,
            issuer: facts.issuer,
            serial: facts.serial,
            fingerprint: facts.fingerprint,
            not_before_ms: facts.not_before.0.saturating_mul(1000),
            not_after_ms: facts.not_after.0.saturating_mul(1000),
            days_left,
            level,
            place,
            channels: Vec::new(),
            channel_count: 0,
            pending: false,
        }
    }

    /// Lists a certificate that is not used yet.
    fn of_pending(kind: &'static str, pending: &PendingCertificate, place: String) -> Option<Self> {
        let facts = CertificateInfo::of_der(&pending.certificate).ok()?;
        let channels = pending.need_old.iter().take(CHANNELS_NAMED).map(ToString::to_string).collect();
        let channel_count = pending.need_old.len();
        Some(Self { pending: true, channels, channel_count, ..Self::new(kind, None, facts, place) })
    }
}

impl CertificateInventory {
    /// Returns all certificates, the first to expire first. Takes some milliseconds for a network of ten
    /// organizations, however many channels share it: call it on a blocking thread.
    pub fn all(&self, context: &NodeContext) -> Vec<CertificateView> {
        let mut all = self.own(context);
        all.extend(of_channels(context));
        all.sort_by_key(|certificate| certificate.not_after_ms);
        all
    }

    /// Returns the node's own certificates.
    pub fn own(&self, context: &NodeContext) -> Vec<CertificateView> {
        let mut own = Vec::new();
        if let Some((_, Some(facts))) = describe(context.signer.get().creator()) {
            let place = self.msp_dir.join("signcerts").display().to_string();
            own.push(CertificateView::new("enrollment", Some(self.msp_id.clone()), facts, place));
        }
        for listener in &self.listeners {
            let certificate = listener.certificate();
            let facts = certificate.and_then(|der| CertificateInfo::of_der(&der).ok());
            let place = listener.files().certificate.display().to_string();
            own.extend(facts.map(|facts| CertificateView::new("tls server", None, facts, place.clone())));
            own.extend(
                listener.pending().and_then(|pending| CertificateView::of_pending("tls server", &pending, place)),
            );
            for root in listener.files().clients.roots() {
                let facts = std::fs::read(root).ok().and_then(|pem| CertificateInfo::of_pem(&pem).ok());
                let place = root.display().to_string();
                own.extend(facts.map(|facts| CertificateView::new("tls root ca", None, facts, place)));
            }
        }
        if let Some(orderers) = &self.orderers {
            let identity = orderers.identity();
            let facts = identity.certificate().first().and_then(|der| CertificateInfo::of_der(der).ok());
            let place = orderers.certificate_file().display().to_string();
            own.extend(facts.map(|facts| CertificateView::new("tls client", None, facts, place.clone())));
            own.extend(
                orderers.pending().and_then(|pending| CertificateView::of_pending("tls client", &pending, place)),
            );
        }
        let kafka = self.kafka_client.as_deref().and_then(|pem| CertificateInfo::of_pem(pem).ok());
        own.extend(
            kafka.map(|facts| CertificateView::new("tls client", None, facts, "Kafka.TLS.Certificate".to_owned())),
        );
        own
    }
}

/// Returns the certificates in the channels' configurations. An organization that several channels define identically
/// is parsed once.
fn of_channels(context: &NodeContext) -> Vec<CertificateView> {
    let mut definitions: BTreeMap<(String, bytes::Bytes), Vec<String>> = BTreeMap::new();
    for channel in context.directory.open_channels() {
        for msp in channel.snapshot().msps().iter() {
            let key = (msp.id().to_owned(), msp.definition().clone());
            definitions.entry(key).or_default().push(channel.id().to_string());
        }
    }
    let mut found: BTreeMap<(&'static str, String), CertificateView> = BTreeMap::new();
    for ((msp_id, definition), channels) in definitions {
        let Ok(msp) = FabricMspConfig::decode(definition) else { continue };
        let lists = [
            ("root ca", &msp.root_certs),
            ("intermediate ca", &msp.intermediate_certs),
            ("tls root ca", &msp.tls_root_certs),
            ("tls intermediate ca", &msp.tls_intermediate_certs),
            ("admin", &msp.admins),
        ];
        for (kind, pems) in lists {
            for facts in pems.iter().filter_map(|pem| CertificateInfo::of_pem(pem).ok()) {
                let key = (kind, facts.fingerprint.clone());
                let place = || "the channels' configuration".to_owned();
                let shown = found
                    .entry(key)
                    .or_insert_with(|| CertificateView::new(kind, Some(msp_id.clone()), facts, place()));
                shown.channel_count += channels.len();
                let room = CHANNELS_NAMED.saturating_sub(shown.channels.len());
                shown.channels.extend(channels.iter().take(room).cloned());
            }
        }
    }
    found.into_values().collect()
}
