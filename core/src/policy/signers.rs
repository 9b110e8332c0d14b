//! Signatures, each verified once.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::claim::SignatureClaim;
use super::explanation::PrincipalResult;
use crate::crypto::SignatureError;
use crate::envelope::SignedEnvelope;
use crate::identity::{Identity, IdentityError, MspManager, Principal, PrincipalMismatch, Role};

/// Length in bytes after which the lists in a text about signers are cut off: once for valid signers, twice that for all.
const MAX_TEXT_BYTES: usize = 800;
/// Maximum number of signatures whose rejection is recorded with its reason.
const MAX_REJECTED: usize = 128;
/// Maximum number of reasons listed for a principal that is not satisfied.
const MAX_REASONS: usize = 8;

/// A signature with its message and the claimed signer.
#[derive(Clone, Debug)]
pub struct SignedData {
    /// The bytes that the signature covers.
    pub message: Bytes,
    /// Serialized identity of the claimed signer.
    pub creator: Bytes,
    /// The signature.
    pub signature: Bytes,
}

impl SignedData {
    /// Returns the claim that `creator` signed an envelope.
    pub fn of(envelope: &SignedEnvelope, creator: Bytes) -> Self {
        Self { message: envelope.payload().clone(), creator, signature: envelope.signature().clone() }
    }
}

/// Reason why a signature is not accepted.
#[derive(Clone, Debug)]
enum SignerError {
    Identity(Arc<IdentityError>),
    Signature(Arc<Identity>, SignatureError),
}

/// Signers without duplicates, and why other signatures were not accepted.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    valid: Vec<Arc<Identity>>,
    /// The first rejections, up to the maximum.
    rejected: Vec<SignerError>,
    more_rejected: usize,
}

impl Signers {
    /// Verifies the signatures one by one, about 50 µs each for P-256, as Fabric does: in their order, and those of one identity
    /// until one of them is valid.
    pub fn verify<D: Borrow<SignedData>>(data: impl IntoIterator<Item = D>, msps: &MspManager) -> Self {
        let claims = data.into_iter().map(|datum| {
            let SignedData { message, creator, signature } = datum.borrow().clone();
            (creator, signature, || message)
        });
        Self::verify_claims(claims, msps)
    }

    /// Verifies signatures as [`verify`](Self::verify) does. The items are the creator, the signature, and a function that builds
    /// the signed message; it is called only for a creator that was identified and whose signature has to be verified.
    pub(crate) fn verify_claims<M: FnOnce() -> Bytes>(
        claims: impl IntoIterator<Item = (Bytes, Bytes, M)>,
        msps: &MspManager,
    ) -> Self {
        let mut signers = Self::default();
        let mut seen = HashSet::new();
        for (creator, signature, message) in claims {
            match msps.deserialize_identity(&creator) {
                Ok(identity) => {
                    let (msp_id, certificate) = identity.key();
                    let key = (msp_id.to_owned(), *certificate);
                    if seen.contains(&key) {
                        continue;
                    }
                    if signers.add(Ok(SignatureClaim {
                        identity: &identity,
                        message: &message(),
                        signature: &signature,
                    })) {
                        seen.insert(key);
                    }
                }
                Err(cause) => drop(signers.add(Err(&cause))),
            }
        }
        signers
    }

    /// Verifies one signature whose signer has been identified already.
    pub fn verify_one(claim: Result<SignatureClaim<'_>, &Arc<IdentityError>>) -> Self {
        let mut signers = Self::default();
        signers.add(claim);
        signers
    }

    /// Returns a set in which the only signature is rejected for this reason, without verifying it.
    pub fn refused(claim: Result<SignatureClaim<'_>, &Arc<IdentityError>>, why: SignatureError) -> Self {
        let rejection = match claim {
            Ok(claim) => SignerError::Signature(Arc::clone(claim.identity), why),
            Err(cause) => SignerError::Identity(Arc::clone(cause)),
        };
        Self { valid: Vec::new(), rejected: vec![rejection], more_rejected: 0 }
    }

    /// Verifies a signature and records the result. Returns whether it is valid.
    fn add(&mut self, claim: Result<SignatureClaim<'_>, &Arc<IdentityError>>) -> bool {
        let verified = match claim {
            Ok(claim) => {
                let rejection = |why| SignerError::Signature(Arc::clone(claim.identity), why);
                claim.verify().map(|()| Arc::clone(claim.identity)).map_err(rejection)
            }
            Err(cause) => Err(SignerError::Identity(Arc::clone(cause))),
        };
        match verified {
            Ok(identity) => {
                self.valid.push(identity);
                return true;
            }
            Err(rejection) if self.rejected.len() < MAX_REJECTED => self.rejected.push(rejection),
            Err(_) => self.more_rejected += 1,
        }
        false
    }

    /// Returns the identities with valid signatures, in the order of the signatures.
    pub(super) fn valid(&self) -> &[Arc<Identity>] {
        &self.valid
    }

    /// Checks whether a signer satisfies a principal; if not, lists the reasons of the signers that belong to its organization.
    pub(super) fn judge(&self, principal: &Principal) -> PrincipalResult {
        let mut reasons = Vec::new();
        for identity in &self.valid {
            let mismatch = identity.satisfies(principal);
            if mismatch.is_err() && reasons.len() == MAX_REASONS {
                continue;
            }
            match mismatch {
                Ok(()) => {
                    return PrincipalResult { principal: principal.to_string(), satisfied: true, why: String::new() };
                }
                Err(PrincipalMismatch::OtherMsp) => {}
                Err(PrincipalMismatch::NotValid) => {
                    let cause = identity.validity().err().map(ToString::to_string).unwrap_or_default();
                    reasons.push(format!("'{}' is not valid: {cause}", identity.subject()));
                }
                Err(mismatch) => {
                    let role = identity.role().map_or("member", Role::as_str);
                    reasons.push(format!("'{}' ({role}): {mismatch}", identity.subject()));
                }
            }
        }
        let why = if reasons.is_empty() { "nobody of its organization signed".to_owned() } else { reasons.join("; ") };
        PrincipalResult { principal: principal.to_string(), satisfied: false, why }
    }

    /// Describes the signers and the results of their signatures, for display.
    pub(super) fn describe(&self) -> String {
        if self.valid.is_empty() && self.rejected.is_empty() {
            return "nobody signed".to_owned();
        }
        let mut text = String::new();
        for identity in &self.valid {
            if text.len() > MAX_TEXT_BYTES {
                text.push_str("; ..");
                break;
            }
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{} '{}' ", identity.msp_id(), identity.subject());
            let _ = match (identity.validity(), identity.role()) {
                (Err(why), _) => write!(text, "is not valid: {why}"),
                (Ok(()), Some(role)) => write!(text, "signed as {}", role.as_str()),
                (Ok(()), None) => write!(text, "signed as member"),
            };
        }
        for rejection in &self.rejected {
            if text.len() > 2 * MAX_TEXT_BYTES {
                text.push_str("; ..");
                break;
            }
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = match rejection {
                SignerError::Identity(why) => write!(text, "{separator}the signer is not known: {why}"),
                SignerError::Signature(identity, why) => {
                    write!(text, "{separator}{} '{}': {why}", identity.msp_id(), identity.subject())
                }
            };
        }
        if self.more_rejected > 0 {
            let _ = write!(text, "; and {} more signatures do not count", self.more_rejected);
        }
        text
    }
}
