//! Signatures of many envelopes, verified together where that is cheaper.

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::{PublicKey, SignatureError};
use crate::identity::Identity;

/// With fewer at hand it gains nothing.
const TOGETHER_LEAST: usize = 3;

/// That `signature` is an identity's over `message`.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Whose.
    pub identity: &'a Arc<Identity>,
    /// The bytes that the signature covers.
    pub message: &'a Bytes,
    /// The signature.
    pub signature: &'a Bytes,
}

impl Claim<'_> {
    pub(super) fn verify(&self) -> Result<(), SignatureError> {
        self.identity.verify(self.message, self.signature)
    }
}

/// That a claim was verified. Made here alone.
#[derive(Clone, Debug)]
pub struct Proof {
    identity: Arc<Identity>,
    message: Bytes,
    signature: Bytes,
}

impl Proof {
    /// Whether it is of this very claim. Bytes do not change: the same place says the same.
    pub(super) fn covers(&self, claim: Claim<'_>) -> bool {
        let same = |a: &Bytes, b: &Bytes| a.as_ptr() == b.as_ptr() && a.len() == b.len();
        Arc::ptr_eq(&self.identity, claim.identity)
            && same(&self.message, claim.message)
            && same(&self.signature, claim.signature)
    }
}

/// Proofs of the Ed25519 signatures among the claims. A claim without a proof may still be good: it is of another kind, or
/// was among others of which one is wrong.
pub fn prove_together(claims: &[Option<Claim<'_>>]) -> Vec<Option<Proof>> {
    let is_edwards = |claim: &Claim<'_>| claim.identity.public_key().is_ed25519();
    let signed = claims.iter().flatten().filter(|claim| is_edwards(claim));
    let signed: Vec<(&PublicKey, &[u8], &[u8])> =
        signed.map(|claim| (claim.identity.public_key(), claim.message.as_ref(), claim.signature.as_ref())).collect();
    if signed.len() < TOGETHER_LEAST || !PublicKey::verify_together(&signed) {
        return vec![None; claims.len()];
    }
    let prove = |claim: Claim<'_>| Proof {
        identity: Arc::clone(claim.identity),
        message: claim.message.clone(),
        signature: claim.signature.clone(),
    };
    claims.iter().map(|claim| claim.filter(is_edwards).map(prove)).collect()
}
