//! Signatures of many envelopes, verified together where that is cheaper.

use std::sync::Arc;

use bytes::Bytes;

use super::signers::SignedDatum;
use crate::crypto::PublicKey;
use crate::identity::{Identity, Msps};

/// With fewer at hand it gains nothing.
const TOGETHER_LEAST: usize = 3;

/// That an identity's signature over a message was verified. Made here alone.
#[derive(Clone, Debug)]
pub struct Proof {
    identity: Arc<Identity>,
    message: Bytes,
    signature: Bytes,
}

impl Proof {
    /// Whether it is of this very signature. Bytes do not change: the same place says the same.
    pub(super) fn covers(&self, identity: &Arc<Identity>, datum: &SignedDatum) -> bool {
        let same = |a: &Bytes, b: &Bytes| a.as_ptr() == b.as_ptr() && a.len() == b.len();
        Arc::ptr_eq(&self.identity, identity)
            && same(&self.message, &datum.message)
            && same(&self.signature, &datum.signature)
    }
}

/// Proofs of the Ed25519 signatures among the claims, each under the MSPs of its channel. A claim without a proof may
/// still be good: it is of another kind, or was among others of which one is wrong.
pub fn prove_together(claims: &[(&Msps, &SignedDatum)]) -> Vec<Option<Proof>> {
    let edwards = |(msps, datum): &(&Msps, &SignedDatum)| {
        msps.identify(&datum.creator).ok().filter(|identity| identity.public_key().is_ed25519())
    };
    let identities: Vec<Option<Arc<Identity>>> = claims.iter().map(edwards).collect();
    let signed: Vec<(&PublicKey, &[u8], &[u8])> = identities
        .iter()
        .zip(claims)
        .filter_map(|(identity, (_, datum))| {
            Some((identity.as_ref()?.public_key(), datum.message.as_ref(), datum.signature.as_ref()))
        })
        .collect();
    if signed.len() < TOGETHER_LEAST || !PublicKey::verify_together(&signed) {
        return vec![None; claims.len()];
    }
    let prove = |(identity, (_, datum)): (Option<Arc<Identity>>, &(&Msps, &SignedDatum))| {
        Some(Proof { identity: identity?, message: datum.message.clone(), signature: datum.signature.clone() })
    };
    identities.into_iter().zip(claims).map(prove).collect()
}
