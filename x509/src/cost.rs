//! Costs of the steps of validating certificates, in units of about 0.1 µs, and the budget.
//!
//! Go has no such limit, and its work on some lists of certificates grows with the square of their size, for instance with
//! revocation lists that name authorities which did not sign them. So only requests of clients are validated within a budget;
//! ordered messages are validated as Go does it, however long that takes. The work is counted and not timed, so that every
//! machine rejects the same requests.

use crate::key::{Curve, PublicKey};

/// Budget of one [bounded](crate::Memo::bounded) memo: about twenty seconds, or 500,000 Ed25519 signatures. A definition with
/// thousands of authorities and lists needs a thousandth of it.
pub(crate) const BUDGET: u64 = 200_000_000;
/// Cost of a candidate for an issuer in a search.
pub(crate) const CANDIDATE: u64 = 1;
/// Cost of a policy, or a mapping of one, in a chain.
pub(crate) const POLICY: u64 = 40;
/// Cost of looking up a cached result.
pub(crate) const KNOWN: u64 = 1;

/// Returns the cost of verifying a signature by this key; for RSA it depends on exponent and modulus.
pub(crate) fn of_check(key: Option<&PublicKey>) -> u64 {
    match key {
        Some(PublicKey::Ec { curve, .. }) => of_curve(*curve),
        Some(PublicKey::Ed25519(_)) => 400,
        Some(PublicKey::Rsa { modulus, exponent }) => {
            let limbs = modulus.len().div_ceil(8) as u64;
            let bits = u64::from(u64::BITS - exponent.leading_zeros()) + u64::from(exponent.count_ones());
            let product = limbs.saturating_mul(limbs).saturating_mul(bits) / 150;
            // larger moduli are verified by another library
            product.saturating_mul(if limbs > 128 { 16 } else { 1 }).saturating_add(50)
        }
        Some(PublicKey::Dsa) | None => KNOWN,
    }
}

/// Returns the cost of computing the keys that can have made a signature.
pub(crate) fn of_recovery(curve: Curve) -> u64 {
    4 * of_curve(curve)
}

fn of_curve(curve: Curve) -> u64 {
    match curve {
        Curve::P256 => 600,
        Curve::P384 => 3_000,
        // P-224 is verified by another library
        Curve::P224 | Curve::P521 => 4_000,
    }
}
