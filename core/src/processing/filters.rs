//! The filters of a channel.
//!
//! A 1 KiB envelope of a known client: 0.6 µs hash and 50 µs signature, everything else below 1 µs.

use std::sync::Arc;

use super::Circumstances;
use super::refusal::Refusal;
use crate::channel::ConfigSequence;
use crate::config::{ChannelSnapshot, ConsensusState};
use crate::envelope::Message;
use crate::identity::expires_at;
use crate::policy::{Proof, SignedDatum, Signers, prove_together};

/// Unknown fields of an envelope are stored with it but do not count as payload. More of them than this are refused.
const PADDING_MAX_BYTES: usize = 1024;

/// The configuration that a message was found valid under.
pub type Judged = Result<ConfigSequence, Refusal>;

/// Judges a normal message for an existing channel, whose signature may be proven already.
pub fn check_normal(snapshot: &ChannelSnapshot, message: &Message, proof: Option<Proof>, at: Circumstances) -> Judged {
    if snapshot.orderer().state == ConsensusState::Maintenance
        && snapshot.orderer().capabilities.consensus_type_migration()
    {
        return Err(Refusal::Maintenance);
    }
    apply(snapshot, message, proof, at)?;
    Ok(snapshot.sequence())
}

/// Verifies together what may be verified together of messages that are about to be judged, each with the configuration
/// it will be judged under: a proof each where there is one. Costs nothing where no channel takes Ed25519 keys.
pub fn prove(messages: &[Option<(Arc<ChannelSnapshot>, &Message)>]) -> Vec<Option<Proof>> {
    let datum = |entry: &Option<(Arc<ChannelSnapshot>, &Message)>| -> Option<SignedDatum> {
        let (snapshot, message) = entry.as_ref()?;
        if !snapshot.takes_ed25519() {
            return None;
        }
        Some(SignedDatum::of(&message.envelope, message.read_signature_header().ok()?.creator))
    };
    let data: Vec<Option<SignedDatum>> = messages.iter().map(datum).collect();
    let (mut claims, mut places) = (Vec::new(), Vec::new());
    for (place, (entry, datum)) in messages.iter().zip(&data).enumerate() {
        if let (Some((snapshot, _)), Some(datum)) = (entry, datum) {
            claims.push((snapshot.msps(), datum));
            places.push(place);
        }
    }
    let mut proofs = vec![None; messages.len()];
    for (place, proof) in places.into_iter().zip(prove_together(&claims)) {
        proofs[place] = proof;
    }
    proofs
}

/// The standard filters: empty, expired, too large, signature.
pub(super) fn apply(
    snapshot: &ChannelSnapshot,
    message: &Message,
    proof: Option<Proof>,
    at: Circumstances,
) -> Result<(), Refusal> {
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
    let datum = SignedDatum::of(envelope, header.creator);
    let policy = match snapshot.orderer().state {
        ConsensusState::Normal => "/Channel/Writers",
        ConsensusState::Maintenance => "/Channel/Orderer/Writers",
    };
    let signers = Signers::verify_one(&datum, proof, snapshot.msps());
    snapshot.policies().evaluate(policy, &signers).map_err(|denied| Refusal::Denied(Box::new(denied)))
}
