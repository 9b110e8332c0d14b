//! Work that a Raft chain runs on other threads: revalidates envelopes and determines the effect of config messages.

use fabric_proto::etcdraft::Consenter;
use orderer_core::config::ChannelSnapshot;
use orderer_core::crypto::SignError;
use orderer_core::envelope::SignedEnvelope;
use orderer_core::ordering::raft::{RevalidationResult, SubmittedEnvelope};
use orderer_core::processing::Rejection;
use orderer_core::types::ConfigSequence;

use super::position::rules;
use crate::config_processor::{leads_to, revalidate, signed};
use crate::node_context::NodeContext;

/// A config message that is valid under the current configuration.
pub(super) struct RevalidatedConfig {
    pub(super) envelope: SignedEnvelope,
    pub(super) validated_at: ConfigSequence,
    /// The consenters that it leads to; `None` if the channel is not of type etcdraft afterwards.
    pub(super) consenters: Option<Vec<Consenter>>,
}

/// Revalidates a config message if the configuration has changed, and determines the consenters that it leads to.
/// Verifies signatures: call from a blocking thread.
pub(super) fn lead_to(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    submission: &SubmittedEnvelope,
) -> Result<RevalidatedConfig, Rejection> {
    let (envelope, validated_at) = again(snapshot, context, submission)?;
    let next = leads_to(snapshot, context, &envelope)?;
    let next = next.filter(|next| next.orderer().consensus_type == "etcdraft");
    let consenters = next.and_then(|next| rules(&next).ok()).map(|rules| rules.consenters);
    Ok(RevalidatedConfig { envelope, validated_at, consenters })
}

fn again(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    submission: &SubmittedEnvelope,
) -> Result<(SignedEnvelope, ConfigSequence), Rejection> {
    if submission.validated_at >= snapshot.sequence() {
        return Ok((submission.envelope.clone(), submission.validated_at));
    }
    revalidate(snapshot, context, &submission.envelope, submission.is_config)
}

/// Validates an envelope under the current configuration before it is ordered. Verifies signatures if the configuration
/// has changed: call from a blocking thread.
///
/// # Errors
/// The envelope is a config message that must be signed anew, and the key cannot be used now.
pub(super) fn examine(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    submission: SubmittedEnvelope,
) -> Result<RevalidationResult, SignError> {
    let validated = if submission.is_config {
        lead_to(snapshot, context, &submission)
    } else {
        again(snapshot, context, &submission).map(|(envelope, validated_at)| RevalidatedConfig {
            envelope,
            validated_at,
            consenters: None,
        })
    };
    Ok(match signed(validated)? {
        Ok(RevalidatedConfig { envelope, validated_at, consenters }) => RevalidationResult::Valid {
            submission: SubmittedEnvelope { envelope, validated_at, ..submission },
            consenters,
        },
        Err(refusal) => {
            tracing::warn!(target: "orderer.consensus.etcdraft", channel = %snapshot.channel(), reason = %refusal,
                "envelope was rejected: no longer valid under the channel's configuration");
            RevalidationResult::Invalid(submission)
        }
    })
}

/// Revalidates a pending envelope under the current configuration. Returns `None` if it is no longer valid. Verifies
/// signatures: call from a blocking thread.
///
/// # Errors
/// See [`examine`].
pub(super) fn revalidate_submission(
    snapshot: &ChannelSnapshot,
    context: &NodeContext,
    submission: &SubmittedEnvelope,
) -> Result<Option<SubmittedEnvelope>, SignError> {
    let valid = signed(again(snapshot, context, submission))?.ok();
    let (is_config, origin) = (submission.is_config, submission.origin);
    Ok(valid.map(|(envelope, validated_at)| SubmittedEnvelope { envelope, validated_at, is_config, origin }))
}
