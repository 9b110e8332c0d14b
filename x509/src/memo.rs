//! Cache of verification results for certificates that belong together: an organization's definition needs its certificates
//! verified several times, in chains that share all but their lowest certificates.
//!
//! The cache changes no result: a cached check counts in a search's budget like one that is made. The memo also counts the work,
//! and ends it when an optional budget is used up.

use std::collections::HashMap;

use bytes::Bytes;

use crate::algorithm::SignatureAlgorithm;
use crate::certificate::Certificate;
use crate::constraints::{ConstraintError, Constraints};
use crate::cost;
use crate::crl::RevocationList;
use crate::key::{Curve, PublicKey};
use crate::recovery::Recovered;
use crate::signature::SignatureError;

/// Maximum number of cached results, about 6 MB; further checks are made each time. A configuration of 1 MiB stays below.
const OUTCOMES_MAX: usize = 1 << 18;
/// Number of checks of one ECDSA signature against different keys after which the keys that can have made it are computed.
const RECOVER_FROM: u8 = 8;

/// Small number that stands for a certificate, list or key.
type Id = u32;

/// Cache of verification results, and counter of the work. A memo serves one thread, for the validation of one definition.
#[derive(Debug, Default)]
pub struct Memo {
    signed: Numbers,
    keys: Numbers,
    outcomes: HashMap<(Id, Id), Result<(), SignatureError>>,
    /// Keys tried for a signature, by the signed content and the curve.
    tried: HashMap<(Id, Curve), Tried>,
    /// Parsed name constraints, by the certificate that has them.
    constraints: HashMap<Id, Constraints>,
    /// Whether an authority's name constraints allow a certificate's names, by the certificate and the authority.
    allowed: HashMap<(Id, Id), Result<(), ConstraintError>>,
    /// Work spent so far.
    spent: u64,
    /// Maximum work, if there is a limit.
    limit: Option<u64>,
}

/// Knowledge about an ECDSA signature for which several keys were tried.
#[derive(Debug)]
enum Tried {
    /// Number of keys that were tried one by one.
    Times(u8),
    /// The only keys that can have made the signature.
    From(Recovered),
}

/// Assigns numbers to byte strings by content. Bytes at a known address are not compared again.
#[derive(Debug, Default)]
struct Numbers {
    /// By address and length; holds the bytes, so that no others can get their address.
    by_address: HashMap<(usize, usize), (Id, Bytes)>,
    by_content: HashMap<Bytes, Id>,
}

impl Numbers {
    fn of(&mut self, bytes: &Bytes) -> Id {
        let address = (bytes.as_ptr().addr(), bytes.len());
        if let Some((id, _)) = self.by_address.get(&address) {
            return *id;
        }
        let next = Id::try_from(self.by_content.len()).unwrap_or(Id::MAX);
        let id = *self.by_content.entry(bytes.clone()).or_insert(next);
        self.by_address.insert(address, (id, bytes.clone()));
        id
    }
}

impl Memo {
    /// Creates an empty memo without a budget: only Go's limits apply.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty memo with a budget, for definitions that clients send. See [`is_exhausted`](Self::is_exhausted).
    #[must_use]
    pub fn bounded() -> Self {
        Self { limit: Some(cost::BUDGET), ..Self::default() }
    }

    /// Counts work that is about to be done.
    pub(crate) fn spend(&mut self, cost: u64) {
        self.spent = self.spent.saturating_add(cost);
    }

    /// Whether the budget is used up; no signature is verified any more then.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.limit.is_some_and(|limit| self.spent > limit)
    }

    /// Verifies a certificate's signature as [`Certificate::check_signature_from`] does, once for each certificate and key.
    ///
    /// # Errors
    /// The signature is invalid, the issuer may not sign, or the budget is used up.
    pub fn check_certificate(&mut self, certificate: &Certificate, issuer: &Certificate) -> Result<(), SignatureError> {
        issuer.check_may_sign()?;
        let check = Check {
            verify: || certificate.check_signature_by(issuer.public_key.as_ref()),
            algorithm: certificate.algorithm,
            signed: &certificate.tbs,
            signature: &certificate.signature,
        };
        self.outcome(&certificate.raw, issuer, check)
    }

    /// Verifies a list's signature as [`RevocationList::check_signature`] does, once for each list and key.
    ///
    /// # Errors
    /// The signature is invalid, or the budget is used up.
    pub fn check_list(&mut self, list: &RevocationList, issuer: &Certificate) -> Result<(), SignatureError> {
        let check = Check {
            verify: || list.check_signature(issuer),
            algorithm: list.algorithm,
            signed: &list.tbs,
            signature: &list.signature,
        };
        self.outcome(&list.raw, issuer, check)
    }

    /// Checks that the name constraints of `authority` allow the names of `certificate`, once for each pair.
    pub(crate) fn names_allowed(
        &mut self,
        certificate: &Certificate,
        authority: &Certificate,
        check: impl FnOnce(&Constraints) -> Result<(), ConstraintError>,
    ) -> Result<(), ConstraintError> {
        let pair = (self.signed.of(&certificate.raw), self.signed.of(&authority.raw));
        if let Some(outcome) = self.allowed.get(&pair) {
            return outcome.clone();
        }
        let outcome = check(self.constraints.entry(pair.1).or_insert_with(|| Constraints::of(authority)));
        if self.allowed.len() < OUTCOMES_MAX {
            self.allowed.insert(pair, outcome.clone());
        }
        outcome
    }

    fn outcome<F>(&mut self, raw: &Bytes, issuer: &Certificate, check: Check<'_, F>) -> Result<(), SignatureError>
    where
        F: FnOnce() -> Result<(), SignatureError>,
    {
        let id = self.signed.of(raw);
        let pair = (id, self.keys.of(&issuer.raw_spki));
        self.spend(cost::KNOWN);
        if let Some(outcome) = self.outcomes.get(&pair) {
            return *outcome;
        }
        if self.is_exhausted() {
            return Err(SignatureError::WorkLimit);
        }
        let outcome = match &issuer.public_key {
            Some(PublicKey::Ec { curve, point }) if self.excludes(id, *curve, point, &check) => {
                Err(SignatureError::Wrong)
            }
            _ => {
                self.spend(cost::of_check(issuer.public_key.as_ref()));
                (check.verify)()
            }
        };
        if self.outcomes.len() < OUTCOMES_MAX {
            self.outcomes.insert(pair, outcome);
        }
        outcome
    }

    /// Whether the signature, if it is ECDSA, is known not to be from this key.
    fn excludes<F>(&mut self, id: Id, curve: Curve, point: &[u8], check: &Check<'_, F>) -> bool {
        let tried = self.tried.entry((id, curve)).or_insert(Tried::Times(0));
        match tried {
            Tried::From(keys) => return !keys.contain(point),
            Tried::Times(times) if *times < RECOVER_FROM => *times += 1,
            Tried::Times(_) => {
                self.spent = self.spent.saturating_add(cost::of_recovery(curve));
                if let Some(keys) = Recovered::of(curve, check.algorithm, check.signed, check.signature) {
                    let excludes = !keys.contain(point);
                    *tried = Tried::From(keys);
                    return excludes;
                }
            }
        }
        false
    }
}

/// A check to be made, unless its result is cached.
struct Check<'a, F> {
    verify: F,
    algorithm: SignatureAlgorithm,
    signed: &'a [u8],
    signature: &'a [u8],
}

#[cfg(test)]
mod tests;
