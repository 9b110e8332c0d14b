//! Computes the keys that can have made an ECDSA signature. A signature and a digest leave two of them, rarely three or
//! four. So one signature is compared with a hundred keys at the cost of a few verifications.
//!
//! The result only rules out keys. With a key that is among the recovered ones, the signature is still verified.

use ecdsa::RecoveryId;

use crate::algorithm::{Hash, SignatureAlgorithm};
use crate::ecdsa::Signature;
use crate::key::Curve;

/// Uncompressed points of all keys with which the signature can verify.
#[derive(Debug, Default)]
pub(crate) struct Recovered(Vec<Vec<u8>>);

impl Recovered {
    /// Computes the keys for a signature over `signed`. Returns `None` if the algorithm is not ECDSA, or its hash is
    /// SHA-1.
    pub(crate) fn of(curve: Curve, algorithm: SignatureAlgorithm, signed: &[u8], signature: &[u8]) -> Option<Self> {
        let SignatureAlgorithm::Ecdsa(hash @ (Hash::Sha256 | Hash::Sha384 | Hash::Sha512)) = algorithm else {
            return None;
        };
        let Some(signature) = Signature::parse_strict(signature) else { return Some(Self::default()) };
        Some(Self::from_digest(curve, hash.digest(signed).as_ref(), &signature))
    }

    fn from_digest(curve: Curve, digest: &[u8], signature: &Signature) -> Self {
        macro_rules! recover {
            ($curve:ident, $digest_bytes:expr) => {{
                use $curve::ecdsa::{Signature, VerifyingKey};
                let recover = || {
                    let (r, s) = signature.padded(curve)?;
                    let number = crate::ecdsa::leftmost(digest, $digest_bytes)?;
                    let signature = Signature::from_slice(&[r, s].concat()).ok()?;
                    let key = |(is_y_odd, is_x_reduced)| {
                        let id = RecoveryId::new(is_y_odd, is_x_reduced);
                        let key = VerifyingKey::recover_from_prehash(&number, &signature, id).ok()?;
                        Some(key.to_sec1_point(false).as_bytes().to_vec())
                    };
                    let ids = [(false, false), (true, false), (false, true), (true, true)];
                    Some(ids.into_iter().filter_map(key).collect())
                };
                // the numbers cannot be a signature: no key verifies it
                Self(recover().unwrap_or_default())
            }};
        }
        match curve {
            Curve::P224 => recover!(p224, 28),
            Curve::P256 => recover!(p256, 32),
            Curve::P384 => recover!(p384, 48),
            // no digest is longer, and none is cut
            Curve::P521 => recover!(p521, 64),
        }
    }

    /// Whether the key with this point is one of them.
    pub(crate) fn contain(&self, point: &[u8]) -> bool {
        self.0.iter().any(|known| known == point)
    }
}

#[cfg(test)]
mod tests;
