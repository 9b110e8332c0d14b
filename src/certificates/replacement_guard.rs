//! Withholds a replaced certificate from connections with other orderers while channels still name the previous one.

use std::path::Path;
use std::sync::Arc;

use orderer_actors::NodeContext;
use orderer_actors::channel::Channel;
use orderer_core::config::ConsenterKind;
use orderer_core::own::{CertificateReplacement, ClusterCertificate, public_key_of};
use orderer_core::types::ChannelId;
use rustls_pki_types::CertificateDer;

use crate::tls::{PendingCertificate, Reloaded};

const ACTION: &str = "name the new certificate in the consenters of these channels by config updates; it is used as soon as no channel \
     names the previous one, without a restart (a restart uses the new files at once, and separates the node from these channels)";

/// Decides when a replaced certificate is used.
pub(super) struct ReplacementGuard {
    which: ClusterCertificate,
    withheld: Option<Withheld>,
}

/// A certificate that is not used yet.
#[derive(PartialEq)]
struct Withheld {
    certificate: CertificateDer<'static>,
    replacement: CertificateReplacement,
}

/// The decision on one certificate.
pub(super) struct Decision(CertificateReplacement);

impl Decision {
    /// Decides on a new certificate, by the configurations of the channels that this node orders by Raft.
    pub(super) fn on(
        which: ClusterCertificate,
        context: &NodeContext,
        old: Option<&CertificateDer<'_>>,
        new: &CertificateDer<'_>,
    ) -> Self {
        let old = old.and_then(|old| public_key_of(old));
        // a certificate without a usable key can be named by no channel
        let new = public_key_of(new).unwrap_or_default();
        let Some(old) = old else { return Self(CertificateReplacement::default()) };
        let is_of_raft =
            |channel: &Arc<Channel>| matches!(context.engine(&channel.snapshot()), Ok(ConsenterKind::Raft));
        let channels = context.directory.open_channels().into_iter().filter(is_of_raft);
        let snapshots: Vec<_> = channels.map(|channel| channel.snapshot()).collect();
        Self(CertificateReplacement::of(snapshots.iter().map(|snapshot| &**snapshot), which, &old, &new))
    }

    /// Returns whether the certificate may be used.
    pub(super) fn is_allowed(&self) -> bool {
        self.0.is_allowed()
    }
}

impl ReplacementGuard {
    pub(super) fn new(which: ClusterCertificate) -> Self {
        Self { which, withheld: None }
    }

    /// Returns the kind of certificate that this guard decides on.
    pub(super) fn which(&self) -> ClusterCertificate {
        self.which
    }

    /// Returns whether a certificate is withheld, and may be used after a config update.
    pub(super) fn waits(&self) -> bool {
        self.withheld.is_some()
    }

    /// Stores the outcome, and logs it if it is new. Returns the certificate to publish as pending.
    pub(super) fn settle(
        &mut self,
        outcome: Option<&Reloaded>,
        decision: Option<Decision>,
        path: &Path,
    ) -> Option<PendingCertificate> {
        let withheld = match (outcome, decision) {
            (Some(Reloaded::Withheld(certificate)), Some(Decision(replacement))) => {
                Some(Withheld { certificate: certificate.clone(), replacement })
            }
            _ => None,
        };
        if let Some(new) = withheld.as_ref().filter(|new| self.withheld.as_ref() != Some(new)) {
            let CertificateReplacement { need_old, need_new } = &new.replacement;
            let certificate = match self.which {
                ClusterCertificate::Client => "cluster",
                ClusterCertificate::Server => "TLS",
            };
            tracing::warn!(target: "orderer.certificates", certificate, path = %path.display(),
                channels = names(need_old), channels_with_new = names(need_new), action = ACTION,
                "the new certificate was not taken into use: channels name the previous one as a consenter's");
        }
        self.withheld = withheld;
        self.withheld.as_ref().map(|Withheld { certificate, replacement }| PendingCertificate {
            certificate: certificate.clone(),
            need_old: replacement.need_old.clone(),
        })
    }
}

/// Maximum number of channels in a log line.
const NAMED_MAX: usize = 10;

fn names(channels: &[ChannelId]) -> String {
    let mut named: Vec<_> = channels.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if channels.len() > NAMED_MAX {
        named.push(format!("{} more", channels.len() - NAMED_MAX));
    }
    named.join(", ")
}
