//! What was found out while certificates that belong together are judged, so that it is found out once: the definition of an
//! organization has its certificates verified several times, in chains that share all but their lowest links.
//!
//! It changes no verdict: a check that is remembered counts in a search's budget as one that is made.

use std::collections::HashMap;

use bytes::Bytes;

use crate::algorithm::SignatureAlgorithm;
use crate::certificate::Certificate;
use crate::crl::RevocationList;
use crate::key::{Curve, PublicKey};
use crate::recovery::Recovered;
use crate::signature::SignatureError;

/// So many outcomes are remembered, some 6 MB; what goes beyond is checked anew each time. A configuration of 1 MiB stays below.
const OUTCOMES_MAX: usize = 1 << 18;
/// After so many checks of one ECDSA signature against different keys, it is found out which keys it can be from.
const RECOVER_FROM: u8 = 8;

/// Small numbers for certificates, lists and keys.
type Id = u32;

/// See the module's description. One serves one thread, for as long as one definition is judged.
#[derive(Debug, Default)]
pub struct Memo {
    signed: Numbers,
    keys: Numbers,
    outcomes: HashMap<(Id, Id), Result<(), SignatureError>>,
    /// By what is signed, and the curve of the keys that were tried.
    tried: HashMap<(Id, Curve), Tried>,
}

/// What is known of a signature that several keys were tried for.
#[derive(Debug)]
enum Tried {
    /// So many keys, one by one.
    Times(u8),
    /// It can be from one of these only.
    From(Recovered),
}

/// Numbers things by their content. What is seen again at the same address is not compared again.
#[derive(Debug, Default)]
struct Numbers {
    /// With the bytes themselves, so that nothing else gets their address.
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
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// [`Certificate::check_signature_from`], once for a certificate and a key.
    ///
    /// # Errors
    /// As there.
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

    /// [`RevocationList::check_signature`], once for a list and a key.
    ///
    /// # Errors
    /// As there.
    pub fn check_list(&mut self, list: &RevocationList, issuer: &Certificate) -> Result<(), SignatureError> {
        let check = Check {
            verify: || list.check_signature(issuer),
            algorithm: list.algorithm,
            signed: &list.tbs,
            signature: &list.signature,
        };
        self.outcome(&list.raw, issuer, check)
    }

    fn outcome<F>(&mut self, raw: &Bytes, issuer: &Certificate, check: Check<'_, F>) -> Result<(), SignatureError>
    where
        F: FnOnce() -> Result<(), SignatureError>,
    {
        let id = self.signed.of(raw);
        let pair = (id, self.keys.of(&issuer.raw_spki));
        if let Some(outcome) = self.outcomes.get(&pair) {
            return *outcome;
        }
        let outcome = match &issuer.public_key {
            Some(PublicKey::Ec { curve, point }) if self.excludes(id, *curve, point, &check) => {
                Err(SignatureError::Wrong)
            }
            _ => (check.verify)(),
        };
        if self.outcomes.len() < OUTCOMES_MAX {
            self.outcomes.insert(pair, outcome);
        }
        outcome
    }

    /// Whether it is known that a signature by ECDSA is not from this key.
    fn excludes<F>(&mut self, id: Id, curve: Curve, point: &[u8], check: &Check<'_, F>) -> bool {
        let tried = self.tried.entry((id, curve)).or_insert(Tried::Times(0));
        match tried {
            Tried::From(keys) => return !keys.contain(point),
            Tried::Times(times) if *times < RECOVER_FROM => *times += 1,
            Tried::Times(_) => {
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

/// A check that is to be made, unless it is known what comes of it.
struct Check<'a, F> {
    verify: F,
    algorithm: SignatureAlgorithm,
    signed: &'a [u8],
    signature: &'a [u8],
}

#[cfg(test)]
mod tests;
