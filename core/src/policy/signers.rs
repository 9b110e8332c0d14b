//! Signatures, each verified once.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::together::{Claim, Proof, prove_together};
use super::verdict::PrincipalVerdict;
use crate::crypto::SignatureError;
use crate::envelope::SignedEnvelope;
use crate::identity::{Identity, IdentityError, Msps, Principal, PrincipalMismatch, Role};

/// More signers than this on one request do not count: the sets used during evaluation are bits of one number.
pub(super) const SIGNERS_MAX: usize = 128;

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
    TooMany,
}

/// Who signed, without repetition, and why the others did not count.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    valid: Vec<Arc<Identity>>,
    rejected: Vec<Rejection>,
}

impl Signers {
    /// Verifies each signature once; about 50 µs each for P-256. Of two by the same identity the first counts, as in
    /// the reference.
    pub fn verify(data: &[SignedDatum], msps: &Msps) -> Self {
        let identities: Vec<Identified> = data.iter().map(|datum| msps.identify(&datum.creator)).collect();
        let claims = identities.iter().zip(data).map(|(identity, datum)| datum.claim(identity));
        let claims: Vec<Result<Claim<'_>, &Arc<IdentityError>>> = claims.collect();
        let proofs = prove_together(&claims.iter().map(|claim| claim.ok()).collect::<Vec<_>>());
        let mut signers = Self::default();
        let mut seen: Vec<&Arc<Identity>> = Vec::with_capacity(data.len().min(SIGNERS_MAX));
        for (claim, proof) in claims.into_iter().zip(proofs) {
            if let Ok(Claim { identity, .. }) = claim {
                if seen.iter().any(|other| other.key() == identity.key()) {
                    continue;
                }
                if seen.len() == SIGNERS_MAX {
                    signers.rejected.push(Rejection::TooMany);
                    break;
                }
                seen.push(identity);
            }
            signers.add(claim, proof);
        }
        signers
    }

    /// The same of one signature, whose signer is found already, and which may be proven.
    pub fn verify_one(claim: Result<Claim<'_>, &Arc<IdentityError>>, proof: Option<Proof>) -> Self {
        let mut signers = Self::default();
        signers.add(claim, proof);
        signers
    }

    fn add(&mut self, claim: Result<Claim<'_>, &Arc<IdentityError>>, proof: Option<Proof>) {
        let claim = match claim {
            Ok(claim) => claim,
            Err(cause) => return self.rejected.push(Rejection::Identity(Arc::clone(cause))),
        };
        let is_proven = proof.is_some_and(|proof| proof.covers(claim));
        match if is_proven { Ok(()) } else { claim.verify() } {
            Ok(()) => self.valid.push(Arc::clone(claim.identity)),
            Err(cause) => self.rejected.push(Rejection::Signature(Arc::clone(claim.identity), cause)),
        }
    }

    /// Identities whose signatures verify, in the order in which they signed.
    pub(super) fn valid(&self) -> &[Arc<Identity>] {
        &self.valid
    }

    /// Whether one of them is what a principal asks for, and why not: the reason of the one that comes closest.
    pub(super) fn judge(&self, principal: &Principal) -> PrincipalVerdict {
        let mut reasons = Vec::new();
        for identity in &self.valid {
            match identity.satisfies(principal) {
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
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{} '{}' ", identity.msp_id(), identity.subject());
            let _ = match (identity.validity(), identity.role()) {
                (Err(why), _) => write!(text, "is not valid: {why}"),
                (Ok(()), Some(role)) => write!(text, "signed as {}", role.as_str()),
                (Ok(()), None) => write!(text, "signed as member"),
            };
        }
        for rejection in &self.rejected {
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = match rejection {
                Rejection::Identity(why) => write!(text, "{separator}the signer is not known: {why}"),
                Rejection::Signature(identity, why) => {
                    write!(text, "{separator}{} '{}': {why}", identity.msp_id(), identity.subject())
                }
                Rejection::TooMany => write!(text, "{separator}more than {SIGNERS_MAX} signers"),
            };
        }
        text
    }
}
