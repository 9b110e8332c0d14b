//! The filters of a channel.
//!
//! A 1 KiB envelope of a known client: 0.6 µs hash and 50 µs signature, everything else below 1 µs.

use super::creator::Creator;
use super::refusal::Refusal;
use super::{Circumstances, Judging};
use crate::channel::ConfigSequence;
use crate::config::{ChannelSnapshot, ConsensusState};
use crate::crypto::SignatureError;
use crate::envelope::Message;
use crate::policy::{Proof, Signers, prove_together};

/// Unknown fields of an envelope are stored with it but do not count as payload. More of them than this are refused.
const PADDING_MAX_BYTES: usize = 1024;

/// The configuration that a message was found valid under.
pub type Judged = Result<ConfigSequence, Refusal>;

/// Judges a normal message for an existing channel.
pub fn check_normal(snapshot: &ChannelSnapshot, message: &Message, at: Circumstances) -> Judged {
    check_normal_of(snapshot, message, &Creator::of(message, snapshot.msps()), None, at)
}

/// The same for who has found its creator already, and perhaps proven its signature, both under the same `snapshot`.
pub fn check_normal_of(
    snapshot: &ChannelSnapshot,
    message: &Message,
    creator: &Creator,
    proof: Option<Proof>,
    at: Circumstances,
) -> Judged {
    if snapshot.orderer().state == ConsensusState::Maintenance
        && snapshot.orderer().capabilities.consensus_type_migration()
    {
        return Err(Refusal::Maintenance);
    }
    apply_of(snapshot, message, creator, proof, at)?;
    Ok(snapshot.sequence())
}

/// Verifies together what may be verified together of messages that are about to be judged: a proof each where there is
/// one. Costs next to nothing where nobody signs with Ed25519 keys.
pub fn prove<'a>(messages: &[Option<(&'a Message, &'a Creator)>]) -> Vec<Option<Proof>> {
    let claim = |&entry: &Option<(&'a Message, &'a Creator)>| {
        let (message, creator) = entry?;
        creator.signed(&message.envelope).ok()?.ok()
    };
    prove_together(&messages.iter().map(claim).collect::<Vec<_>>())
}

/// The standard filters: empty, expired, too large, signature.
pub(super) fn apply(snapshot: &ChannelSnapshot, message: &Message, at: Circumstances) -> Result<(), Refusal> {
    apply_of(snapshot, message, &Creator::of(message, snapshot.msps()), None, at)
}

fn apply_of(
    snapshot: &ChannelSnapshot,
    message: &Message,
    creator: &Creator,
    proof: Option<Proof>,
    at: Circumstances,
) -> Result<(), Refusal> {
    let envelope = &message.envelope;
    if envelope.payload().is_empty() {
        return Err(Refusal::Empty);
    }
    if at.expiration_checks
        && snapshot.orderer().capabilities.since_v1_1()
        && let Some(not_after) = creator.not_after()
        && not_after < at.now
    {
        return Err(Refusal::Expired { not_after: not_after.0, now: at.now.0 });
    }
    let max = snapshot.orderer().batch_size.absolute_max_bytes;
    let bytes = envelope.size_bytes();
    if bytes > max as usize {
        return Err(Refusal::TooLarge { bytes, max });
    }
    let padding = envelope.raw().len() - bytes;
    let is_at_the_door = at.judging == Judging::AtTheDoor;
    if is_at_the_door && padding > PADDING_MAX_BYTES {
        return Err(Refusal::Padded(padding));
    }
    let signed = creator.signed(envelope).map_err(|cause| Refusal::SignatureHeader(cause.clone()))?;
    let policy = snapshot.orderer().writers_policy();
    let is_ecdsa = creator.identity().is_some_and(|identity| !identity.public_key().is_ed25519());
    let signers = if is_at_the_door && is_ecdsa && !has_canonical_form(envelope.signature()) {
        Signers::refused(signed, SignatureError::Malformed)
    } else {
        Signers::verify_one(signed, proof)
    };
    snapshot.policies().evaluate(policy, &signers).map_err(|denied| Refusal::Denied(Box::new(denied)))
}

/// Whether a signature is an ECDSA signature in DER that nobody but its maker could have written otherwise: two positive
/// integers in their shortest form, and nothing inside or behind that Fabric would skip. An empty one is another matter.
fn has_canonical_form(signature: &[u8]) -> bool {
    fn integer(bytes: &[u8]) -> Option<&[u8]> {
        let (&[0x02, length], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (integer, rest) = rest.split_at_checked(usize::from(length))?;
        let is_shortest = match integer {
            [] => false,
            [0, second, ..] => *second >= 0x80,
            [first, ..] => *first < 0x80,
        };
        (length < 0x80 && is_shortest).then_some(rest)
    }
    let content = match signature {
        [] => return true,
        [0x30, 0x81, length, content @ ..] if *length >= 0x80 && content.len() == usize::from(*length) => content,
        [0x30, length, content @ ..] if *length < 0x80 && content.len() == usize::from(*length) => content,
        _ => return false,
    };
    integer(content).and_then(integer).is_some_and(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_one_form() {
        for good in [&[][..], &[0x30, 6, 2, 1, 1, 2, 1, 0x7f], &[0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]] {
            assert!(has_canonical_form(good), "{good:?}");
        }
        for bad in [
            &[0x30, 6, 2, 1, 1, 2, 1, 1, 0][..],
            &[0x30, 8, 2, 1, 1, 2, 1, 1, 5, 0],
            &[0x30, 7, 2, 2, 0, 1, 2, 1, 1],
            &[0x30, 6, 2, 1, 0x80, 2, 1, 1],
            &[0x30, 0x81, 6, 2, 1, 1, 2, 1, 1],
            &[0x30, 5, 2, 0, 2, 1, 1],
            &[0x31, 6, 2, 1, 1, 2, 1, 1],
            &[0x30],
        ] {
            assert!(!has_canonical_form(bad), "{bad:?}");
        }
    }
}
