//! Filters that validate a message for a channel.
//!
//! Cost for a 1 KiB envelope of a known client: 0.6 µs for the hash, 50 µs for the signature, below 1 µs for
//! everything else.

use super::creator::Creator;
use super::rejection::Rejection;
use super::{MessageOrigin, ValidationContext};
use crate::config::{ChannelSnapshot, ConsensusState};
use crate::crypto::{SignatureError, has_strict_form};
use crate::envelope::ParsedEnvelope;
use crate::policy::Signers;
use crate::types::ConfigSequence;

/// Maximum size in bytes of an envelope's unknown fields, which are stored with it but do not count as payload.
const MAX_PADDING_BYTES: usize = 1024;

/// Result of the validation: the sequence of the configuration under which the message is valid.
pub type ValidationResult = Result<ConfigSequence, Rejection>;

/// Validates a normal message for an existing channel.
pub fn validate_normal(
    snapshot: &ChannelSnapshot,
    message: &ParsedEnvelope,
    at: ValidationContext,
) -> ValidationResult {
    validate_normal_with(snapshot, message, &Creator::of(message, snapshot.msps()), at)
}

/// Validates a normal message whose creator the caller has identified already, under the same `snapshot`.
pub fn validate_normal_with(
    snapshot: &ChannelSnapshot,
    message: &ParsedEnvelope,
    creator: &Creator,
    at: ValidationContext,
) -> ValidationResult {
    if snapshot.orderer().state == ConsensusState::Maintenance
        && snapshot.orderer().capabilities.consensus_type_migration()
    {
        return Err(Rejection::Maintenance);
    }
    apply_of(snapshot, message, creator, at)?;
    Ok(snapshot.sequence())
}

/// Applies the standard filters: empty, expired, too large, signature.
pub(super) fn apply(
    snapshot: &ChannelSnapshot,
    message: &ParsedEnvelope,
    at: ValidationContext,
) -> Result<(), Rejection> {
    apply_of(snapshot, message, &Creator::of(message, snapshot.msps()), at)
}

fn apply_of(
    snapshot: &ChannelSnapshot,
    message: &ParsedEnvelope,
    creator: &Creator,
    at: ValidationContext,
) -> Result<(), Rejection> {
    let envelope = &message.envelope;
    if envelope.payload().is_empty() {
        return Err(Rejection::Empty);
    }
    if at.expiration_checks
        && snapshot.orderer().capabilities.since_v1_1()
        && let Some(not_after) = creator.not_after()
        && not_after < at.now
    {
        return Err(Rejection::Expired { not_after: not_after.0, now: at.now.0 });
    }
    let max = snapshot.orderer().batch_size.absolute_max_bytes;
    let bytes = envelope.size_bytes();
    if bytes > max as usize {
        return Err(Rejection::TooLarge { bytes, max });
    }
    let padding = envelope.raw().len() - bytes;
    let is_at_the_door = at.judging == MessageOrigin::Client;
    if is_at_the_door && padding > MAX_PADDING_BYTES {
        return Err(Rejection::ExcessUnknownFields(padding));
    }
    let signed = creator.signed(envelope).map_err(|cause| Rejection::SignatureHeader(cause.clone()))?;
    let policy = snapshot.orderer().writers_policy();
    let is_ecdsa = creator.identity().is_some_and(|identity| !identity.public_key().is_ed25519());
    let signers =
        if is_at_the_door && is_ecdsa && !envelope.signature().is_empty() && !has_strict_form(envelope.signature()) {
            Signers::refused(signed, SignatureError::Malformed)
        } else {
            Signers::verify_one(signed)
        };
    snapshot.policies().evaluate(policy, &signers).map_err(|denied| Rejection::Denied(Box::new(denied)))
}
