//! The filters of a channel.
//!
//! A 1 KiB envelope of a known client: 0.6 µs hash and 50 µs signature, everything else below 1 µs.

use super::Circumstances;
use super::refusal::Refusal;
use crate::channel::ConfigSequence;
use crate::config::{ChannelSnapshot, ConsensusState};
use crate::envelope::Message;
use crate::identity::expires_at;
use crate::policy::{SignedDatum, Signers};

/// Unknown fields of an envelope are stored with it but do not count as payload. More of them than this are refused.
const PADDING_MAX_BYTES: usize = 1024;

/// The configuration that a message was found valid under.
pub type Judged = Result<ConfigSequence, Refusal>;

/// Judges a normal message for an existing channel.
pub fn check_normal(snapshot: &ChannelSnapshot, message: &Message, at: Circumstances) -> Judged {
    if snapshot.orderer().state == ConsensusState::Maintenance
        && snapshot.orderer().capabilities.consensus_type_migration()
    {
        return Err(Refusal::Maintenance);
    }
    apply(snapshot, message, at)?;
    Ok(snapshot.sequence())
}

/// The standard filters: empty, expired, too large, signature.
pub(super) fn apply(snapshot: &ChannelSnapshot, message: &Message, at: Circumstances) -> Result<(), Refusal> {
    let envelope = &message.envelope;
    if envelope.payload().is_empty() {
        return Err(Refusal::Empty);
    }
    let signature_header = message.read_signature_header();
    if at.expiration_checks
        && snapshot.orderer().capabilities.since_v1_1()
        && let Ok(header) = &signature_header
    {
        let not_after = match snapshot.msps().identify(&header.creator) {
            Ok(identity) => Some(identity.not_after()),
            Err(_) => expires_at(&header.creator),
        };
        if let Some(not_after) = not_after
            && not_after < at.now
        {
            return Err(Refusal::Expired { not_after: not_after.0, now: at.now.0 });
        }
    }
    let max = snapshot.orderer().batch_size.absolute_max_bytes;
    let bytes = envelope.size_bytes();
    if bytes > max as usize {
        return Err(Refusal::TooLarge { bytes, max });
    }
    let padding = envelope.raw().len() - bytes;
    if padding > PADDING_MAX_BYTES {
        return Err(Refusal::Padded(padding));
    }
    let header = signature_header.map_err(Refusal::SignatureHeader)?;
    let datum = SignedDatum {
        message: envelope.payload().clone(),
        creator: header.creator,
        signature: envelope.signature().clone(),
    };
    let policy = match snapshot.orderer().state {
        ConsensusState::Normal => "/Channel/Writers",
        ConsensusState::Maintenance => "/Channel/Orderer/Writers",
    };
    let signers = Signers::verify(&[datum], snapshot.msps());
    snapshot.policies().evaluate(policy, &signers).map_err(|denied| Refusal::Denied(Box::new(denied)))
}
