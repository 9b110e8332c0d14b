//! Signatures, each verified once.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::claim::Claim;
use super::verdict::PrincipalVerdict;
use crate::crypto::SignatureError;
use crate::envelope::SignedEnvelope;
use crate::identity::{Identity, IdentityError, Msps, Principal, PrincipalMismatch, Role};

/// A text about signers is not longer than this, and one of them.
const TEXT_MAX_BYTES: usize = 800;
/// Of so many signatures it is remembered why they do not count.
const REJECTED_MAX: usize = 128;
/// Why so many do not satisfy a principal is said.
const REASONS_MAX: usize = 8;

/// Who a serialized identity is, or why it is nobody.
type Identified = Result<Arc<Identity>, Arc<IdentityError>>;

/// What somebody claims to have signed.
#[derive(Clone, Debug)]
pub struct SignedDatum {
    /// The bytes that the signature covers.
    pub message: Bytes,
    /// A serialized identity.
    pub creator: Bytes,
    /// The signature.
    pub signature: Bytes,
}

impl SignedDatum {
    /// What `creator` claims to have signed by an envelope.
    pub fn of(envelope: &SignedEnvelope, creator: Bytes) -> Self {
        Self { message: envelope.payload().clone(), creator, signature: envelope.signature().clone() }
    }

    fn claim<'a>(&'a self, identity: &'a Identified) -> Result<Claim<'a>, &'a Arc<IdentityError>> {
        identity.as_ref().map(|identity| Claim { identity, message: &self.message, signature: &self.signature })
    }
}

/// Why a signature did not count.
#[derive(Clone, Debug)]
enum Rejection {
    Identity(Arc<IdentityError>),
    Signature(Arc<Identity>, SignatureError),
}

/// Who signed, without repetition, and why the others did not count.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    valid: Vec<Arc<Identity>>,
    /// The first of them.
    rejected: Vec<Rejection>,
    more_rejected: usize,
}

impl Signers {
    /// Verifies the signatures one by one, about 50 µs each for P-256, as Fabric does: in their order, and those of an
    /// identity until one of them is good.
    pub fn verify<D: Borrow<SignedDatum>>(data: impl IntoIterator<Item = D>, msps: &Msps) -> Self {
        let mut signers = Self::default();
        let mut seen = HashSet::new();
        for datum in data {
            let datum = datum.borrow();
            let identity = msps.identify(&datum.creator);
            let claim = datum.claim(&identity);
            if let Ok(Claim { identity, .. }) = claim {
                let (msp_id, certificate) = identity.key();
                let key = (msp_id.to_owned(), *certificate);
                if seen.contains(&key) {
                    continue;
                }
                if signers.add(claim) {
                    seen.insert(key);
                }
            } else {
                signers.add(claim);
            }
        }
        signers
    }

    /// The same of one signature, whose signer is found already.
    pub fn verify_one(claim: Result<Claim<'_>, &Arc<IdentityError>>) -> Self {
        let mut signers = Self::default();
        signers.add(claim);
        signers
    }

    /// A signer whose signature counts for nothing, whether it would verify or not.
    pub fn refused(claim: Result<Claim<'_>, &Arc<IdentityError>>, why: SignatureError) -> Self {
        let rejection = match claim {
            Ok(claim) => Rejection::Signature(Arc::clone(claim.identity), why),
            Err(cause) => Rejection::Identity(Arc::clone(cause)),
        };
        Self { valid: Vec::new(), rejected: vec![rejection], more_rejected: 0 }
    }

    /// Whether the signature counts.
    fn add(&mut self, claim: Result<Claim<'_>, &Arc<IdentityError>>) -> bool {
        let verified = match claim {
            Ok(claim) => {
                let rejection = |why| Rejection::Signature(Arc::clone(claim.identity), why);
                claim.verify().map(|()| Arc::clone(claim.identity)).map_err(rejection)
            }
            Err(cause) => Err(Rejection::Identity(Arc::clone(cause))),
        };
        match verified {
            Ok(identity) => {
                self.valid.push(identity);
                return true;
            }
            Err(rejection) if self.rejected.len() < REJECTED_MAX => self.rejected.push(rejection),
            Err(_) => self.more_rejected += 1,
        }
        false
    }

    /// Identities whose signatures verify, in the order in which they signed.
    pub(super) fn valid(&self) -> &[Arc<Identity>] {
        &self.valid
    }

    /// Whether one of them is what a principal asks for, and why not: the reason of the one that comes closest.
    pub(super) fn judge(&self, principal: &Principal) -> PrincipalVerdict {
        let mut reasons = Vec::new();
        for identity in &self.valid {
            let mismatch = identity.satisfies(principal);
            if mismatch.is_err() && reasons.len() == REASONS_MAX {
                continue;
            }
            match mismatch {
                Ok(()) => {
                    return PrincipalVerdict { principal: principal.to_string(), satisfied: true, why: String::new() };
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
        PrincipalVerdict { principal: principal.to_string(), satisfied: false, why }
    }

    /// Who signed and what came of it, for people.
    pub(super) fn describe(&self) -> String {
        if self.valid.is_empty() && self.rejected.is_empty() {
            return "nobody signed".to_owned();
        }
        let mut text = String::new();
        for identity in &self.valid {
            if text.len() > TEXT_MAX_BYTES {
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
            if text.len() > 2 * TEXT_MAX_BYTES {
                text.push_str("; ..");
                break;
            }
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = match rejection {
                Rejection::Identity(why) => write!(text, "{separator}the signer is not known: {why}"),
                Rejection::Signature(identity, why) => {
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
